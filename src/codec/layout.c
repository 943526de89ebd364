/* SPDX-License-Identifier: MIT */
/* layout.c - how the tokens of a page are divided and where its bytes lie. */
#include "base/check.h"
#include "codec/page.h"

static lx_split split_of(const lynx_codec *codec, const lynx_page_span *span)
{
    const uint32_t head_end = codec->spec.head_raw_tokens;
    const uint32_t tail_begin = span->prompt_tokens > codec->spec.tail_raw_tokens
                                    ? span->prompt_tokens - codec->spec.tail_raw_tokens
                                    : 0;
    lx_split s = {0};
    if (span->first_token < head_end)
        s.head = head_end - span->first_token;
    if (s.head > span->token_count)
        s.head = span->token_count;
    const uint32_t end = span->first_token + span->token_count;
    if (end > tail_begin)
        s.tail = end - tail_begin;
    if (s.tail > span->token_count - s.head)
        s.tail = span->token_count - s.head;
    s.coded = span->token_count - s.head - s.tail;
    const uint32_t recent = codec->spec.recent_tokens;
    const uint32_t coded_end = end - s.tail;
    const uint32_t begin = span->prompt_tokens > recent ? span->prompt_tokens - recent : 0;
    if (coded_end > begin)
        s.recent = coded_end - begin < s.coded ? coded_end - begin : s.coded;
    return s;
}

uint32_t lx_part_tokens(const lx_page_view *v, lx_part part)
{
    return part == LX_PART_RECENT ? v->split.recent : v->split.coded - v->split.recent;
}

size_t lx_row_bytes(uint32_t tokens)
{
    return (tokens + 7) / 8;
}

lx_page_view lx_page_view_of(const lynx_codec *codec, const lynx_side_shape *shape,
                             lynx_side side, const lynx_page_span *span)
{
    lx_page_view v = {.shape = shape,
                      .side = side,
                      .span = span,
                      .split = split_of(codec, span)};
    v.element_bytes = lynx_element_bytes(codec->options.element);
    v.meta_offset = LX_MODE_BYTES +
                    (size_t)(v.split.head + v.split.tail) * shape->channels * v.element_bytes;
    if (v.split.coded) {
        v.channel_meta = lx_channel_meta_bytes(&codec->spec, v.split.coded);
        v.head_meta = lx_head_meta_bytes(&codec->spec, v.split.coded);
    }
    const uint32_t heads = shape->channels / shape->head_channels;
    v.rows_offset = v.meta_offset + v.channel_meta * shape->channels + v.head_meta * heads;
    return v;
}

uint32_t lx_plane_rows(const lynx_codec *codec, const lx_page_view *v, uint32_t plane)
{
    return lynx_codec_spec_plane_rows(&codec->spec, v->side, plane, v->shape->channels);
}

size_t lx_page_raw_bytes(const lx_page_view *v)
{
    return LX_MODE_BYTES + (size_t)v->span->token_count * v->shape->channels * v->element_bytes;
}

size_t lx_page_coded_bytes(const lynx_codec *codec, const lx_page_view *v, uint32_t plane)
{
    const size_t row = lx_row_bytes(lx_part_tokens(v, LX_PART_EARLIER));
    const size_t rows = lx_plane_rows(codec, v, plane);
    if (plane > 0)
        return rows * row;
    size_t recent_rows = 0;
    for (uint32_t i = 0; i < codec->plane_count; i++)
        recent_rows += lx_plane_rows(codec, v, i);
    return v->rows_offset + rows * row +
           recent_rows * lx_row_bytes(lx_part_tokens(v, LX_PART_RECENT));
}

bool lx_page_is_worth_coding(const lynx_codec *codec, const lx_page_view *v)
{
    if (codec->spec.profile == LYNX_PROFILE_RAW || v->split.coded == 0)
        return false;
    size_t sum = 0;
    for (uint32_t plane = 0; plane < codec->plane_count; plane++)
        sum += lx_page_coded_bytes(codec, v, plane);
    return sum < lx_page_raw_bytes(v);
}

size_t lynx_codec_plane_bytes_max(const lynx_codec *codec, const lynx_side_shape *shape,
                                  lynx_side side, uint32_t plane, uint32_t token_count)
{
    const lynx_page_span span = {0, token_count, token_count};
    const lx_page_view v = lx_page_view_of(codec, shape, side, &span);
    if (plane == 0)
        return lx_page_raw_bytes(&v); /* coding is used only where it is smaller */
    return (size_t)lynx_codec_spec_plane_rows(&codec->spec, side, plane, shape->channels) *
           ((token_count + 7) / 8);
}

size_t lynx_codec_plane_bytes(const lynx_codec *codec, const lynx_side_shape *shape,
                              lynx_side side, uint32_t plane, const lynx_page_span *span)
{
    const lx_page_view v = lx_page_view_of(codec, shape, side, span);
    if (lx_page_is_worth_coding(codec, &v))
        return lx_page_coded_bytes(codec, &v, plane);
    return plane == 0 ? lx_page_raw_bytes(&v) : 0;
}

lynx_status lx_page_check(const lynx_codec *codec, const lynx_side_shape *shape, lynx_side side,
                          const lynx_page_span *span, const lynx_tile *tile)
{
    const size_t bytes = lynx_element_bytes(tile->element);
    LX_REQUIRE(side == LYNX_SIDE_KEYS || side == LYNX_SIDE_VALUES, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(shape->channels >= 1 && shape->channels <= codec->options.channels_max &&
                   shape->head_channels >= 1 && shape->channels % shape->head_channels == 0,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(shape->rope.pairing == LYNX_ROPE_NONE ||
                   (shape->rope.dims <= shape->head_channels && shape->rope.dims % 2 == 0 &&
                    shape->rope.base > 1.0f),
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(span->token_count >= 1 && span->token_count <= codec->options.page_tokens &&
                   span->first_token <= span->prompt_tokens &&
                   span->token_count <= span->prompt_tokens - span->first_token,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(tile->data &&
                   (tile->token_stride_bytes == bytes || tile->channel_stride_bytes == bytes),
               LYNX_ERR_ARGUMENT);
    return LYNX_OK;
}

lx_quantiser lx_page_quantiser(const lynx_codec *codec, const lx_page_view *v, uint32_t tokens,
                               uint32_t missing_bits)
{
    return (lx_quantiser){
        .spec = &codec->spec,
        .kernels = codec->kernels,
        .shared = &codec->shared,
        .paper = &codec->paper,
        .code_bits = codec->code_bits,
        .missing_bits = missing_bits,
        .is_bent = codec->spec.bend && v->side == LYNX_SIDE_VALUES,
        .tokens = tokens,
        .padded = (tokens + LX_KERNEL_TOKENS - 1) / LX_KERNEL_TOKENS * LX_KERNEL_TOKENS,
    };
}
