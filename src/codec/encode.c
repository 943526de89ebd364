/* SPDX-License-Identifier: MIT */
/* encode.c - a page to its planes. */
#include <string.h>

#include "base/check.h"
#include "codec/page.h"

static void encode_raw(const lynx_codec *codec, const lx_page_view *v, const lynx_tile *source,
                       uint8_t *const planes[], size_t plane_bytes[])
{
    const lynx_tile wire = lx_wire_tile(codec, v, planes[0] + LX_MODE_BYTES);
    memset(planes[0], 0, LX_MODE_BYTES);
    planes[0][0] = LX_MODE_RAW;
    lx_copy_values(source, &wire, v->span->token_count, v->shape->channels);
    plane_bytes[0] = lx_page_raw_bytes(v);
    for (uint32_t plane = 1; plane < codec->plane_count; plane++)
        plane_bytes[plane] = 0;
}

/* One channel to its bits, from values (RANGE) or, without them, from codes. */
static void put_bits(const lx_page_bits *p, uint32_t c, const float *values,
                     const uint8_t *codes)
{
    const lx_kernels *kernels = p->codec->kernels;
    const uint32_t code_bits = p->codec->code_bits;
    const lx_pair alone = {.a = c};
    if (values)
        kernels->quantize(values, p->codec->grids, code_bits, &p->area, c);
    else
        kernels->pack(codes, code_bits, &p->area, c);
    lx_rest rest;
    if (!lx_rest_init(&rest, p, &alone))
        return;
    if (values)
        kernels->quantize(values + rest.first, rest.grids, code_bits, &rest.area, 0);
    else
        kernels->pack(codes + rest.first, code_bits, &rest.area, 0);
    const uint32_t left = rest.tokens % 8; /* bits behind the last token are zero */
    for (uint32_t row = 0; row < p->count; row++) {
        uint8_t *at = lx_rest_at(p, row, c);
        memcpy(at, rest.bytes[0][row], rest.bytes_each);
        if (left)
            at[rest.bytes_each - 1] &= (uint8_t)((1u << left) - 1);
    }
}

static bool encode_channel(const lx_page_bits *p, uint32_t c, const float *values)
{
    uint8_t *meta = p->meta + c * p->view->channel_meta;
    if (p->codec->spec.profile == LYNX_PROFILE_PAPER) {
        if (!lx_paper_encode(&p->q, values, meta, p->codec->codes))
            return false;
        put_bits(p, c, NULL, p->codec->codes);
        return true;
    }
    if (!lx_range_meta(&p->q, values, meta))
        return false;
    lx_range_grids(&p->q, meta, true, lx_grids_of(p, c));
    put_bits(p, c, values, NULL);
    return true;
}

static bool encode_heads(const lx_page_bits *p)
{
    const uint32_t step = p->view->shape->head_channels;
    for (uint32_t c = 0; c < p->view->shape->channels; c += step)
        if (!lx_token_encode_head(&p->q, lx_block_row(p->codec, c), p->codec->row_values, step,
                                  p->meta + c / step * p->view->head_meta,
                                  lx_codes_row(p->codec, c)))
            return false;
    for (uint32_t c = 0; c < p->view->shape->channels; c++)
        put_bits(p, c, NULL, lx_codes_row(p->codec, c));
    return true;
}

/* Repeat the last token up to the padding. */
static void pad_row(const lx_quantiser *q, float *row)
{
    for (uint32_t t = q->tokens; t < q->padded; t++)
        row[t] = row[q->tokens - 1];
}

static bool encode_run(const lx_page_bits *p, const lynx_tile *run)
{
    const lynx_codec *codec = p->codec;
    const bool is_token = codec->spec.profile == LYNX_PROFILE_TOKEN;
    const lynx_tile rows = lx_rows_of(codec, run);
    lx_move_rows(codec, p->view, run, &rows);
    lx_pair_walk walk = lx_walk_pairs(p->codec, p->view);
    lx_pair pair;
    while (lx_next_pair(&walk, &pair)) {
        float *a = lx_block_row(codec, is_token ? pair.a : 0);
        float *b = lx_block_row(codec, is_token ? pair.b : 1);
        codec->kernels->load(&rows, &pair, p->q.tokens, a, b);
        pad_row(&p->q, a);
        if (pair.cosines)
            pad_row(&p->q, b);
        if (is_token)
            continue;
        if (!encode_channel(p, pair.a, a) || (pair.cosines && !encode_channel(p, pair.b, b)))
            return false;
    }
    return !is_token || encode_heads(p);
}

lynx_status lynx_codec_encode(lynx_codec *codec, const lynx_side_shape *shape, lynx_side side,
                              const lynx_page_span *span, const lynx_tile *source,
                              uint8_t *const planes[], size_t plane_bytes[], bool *is_raw)
{
    LX_TRY(lx_page_check(codec, shape, side, span, source));
    const lx_page_view v = lx_page_view_of(codec, shape, side, span);
    bool is_coded = lx_page_is_worth_coding(codec, &v);
    if (is_coded) {
        const lx_page_bits bits = lx_bits_of(codec, &v, planes, codec->plane_count);
        const lynx_tile run = lx_tile_at(source, v.split.head, 0);
        memset(planes[0], 0, LX_MODE_BYTES);
        lx_copy_raw_tokens(codec, &v, source, planes[0], true);
        is_coded = encode_run(&bits, &run);
        if (is_coded && codec->spec.spread) {
            lx_find_rows(&bits, planes, codec->plane_count);
            lx_scatter_rows(&bits);
        }
        for (uint32_t plane = 0; plane < codec->plane_count; plane++)
            plane_bytes[plane] = lx_page_coded_bytes(codec, &v, plane);
    }
    *is_raw = !is_coded && codec->spec.profile != LYNX_PROFILE_RAW;
    if (!is_coded)
        encode_raw(codec, &v, source, planes, plane_bytes);
    return LYNX_OK;
}
