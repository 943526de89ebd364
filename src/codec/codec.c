/* SPDX-License-Identifier: MIT */
/*
 * codec.c - a page between a tile and its planes; the bytes are those of docs/format.md.
 *
 *   plane 0:  | mode, 3 zero bytes | raw tokens | metadata | bit rows of the top bits |
 *   plane i:  | bit rows of the next bits |
 *
 * A page is head raw tokens, a coded run, tail raw tokens. The coded run is worked on head by
 * head in a block of channel-major floats that stays in the second-level cache.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/half.h"
#include "codec/quantiser.h"
#include "codec/rope.h"

enum { MODE_CODED = 0, MODE_RAW = 1, MODE_BYTES = 4, ROPE_TABLES = 4 };

/* Floats between rows: without them the rows of a head share a few sets of the first-level
 * cache. */
enum { ROW_GAP = 16 };

/* Cosines and sines of one rotation at the positions of one page. */
typedef struct rope_table {
    lynx_rope rope;
    uint32_t first, count;
    float *cosines, *sines; /* [pair][row_floats] */
} rope_table;

struct lynx_codec {
    const lynx_allocator *memory;
    lynx_codec_options options;
    lynx_codec_spec spec;
    const lx_kernels *kernels;
    uint32_t plane_count, code_bits;
    size_t row_floats; /* page_tokens rounded up to what kernels touch */
    float *block;      /* [channels_max][row_floats] */
    uint8_t *codes;    /* the same, one byte each */
    uint8_t *rows;     /* bit rows of one channel: [8][row_floats / 8] */
    rope_table ropes[ROPE_TABLES];
    uint32_t next_rope;
    size_t rope_floats;
    lx_paper_tables paper;
};

/* How the tokens of a page are divided. */
typedef struct split {
    uint32_t head, coded, tail;
} split;

/* Everything about one page that its planes' layout depends on. */
typedef struct page_view {
    const lynx_side_shape *shape;
    lynx_side side;
    const lynx_page_span *span;
    split split;
    size_t element_bytes; /* on the wire */
    size_t row_bytes;
    size_t meta_offset; /* in plane 0 */
    size_t channel_meta, head_meta;
    size_t rows_offset; /* in plane 0 */
} page_view;

/* ---- layout -------------------------------------------------------------------------- */

static split split_of(const lynx_codec *codec, const lynx_page_span *span)
{
    const uint32_t head_end = codec->spec.head_raw_tokens;
    const uint32_t tail_begin = span->prompt_tokens > codec->spec.tail_raw_tokens
                                    ? span->prompt_tokens - codec->spec.tail_raw_tokens
                                    : 0;
    split s = {0};
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
    return s;
}

static page_view view_of(const lynx_codec *codec, const lynx_side_shape *shape, lynx_side side,
                         const lynx_page_span *span)
{
    page_view v = {.shape = shape, .side = side, .span = span, .split = split_of(codec, span)};
    v.element_bytes = lynx_element_bytes(codec->options.element);
    v.row_bytes = (v.split.coded + 7) / 8;
    v.meta_offset =
        MODE_BYTES + (size_t)(v.split.head + v.split.tail) * shape->channels * v.element_bytes;
    if (v.split.coded) {
        v.channel_meta = lx_channel_meta_bytes(&codec->spec, v.split.coded);
        v.head_meta = lx_head_meta_bytes(&codec->spec, v.split.coded);
    }
    const uint32_t heads = shape->channels / shape->head_channels;
    v.rows_offset = v.meta_offset + v.channel_meta * shape->channels + v.head_meta * heads;
    return v;
}

static size_t raw_bytes(const page_view *v)
{
    return MODE_BYTES + (size_t)v->span->token_count * v->shape->channels * v->element_bytes;
}

static size_t coded_bytes(const lynx_codec *codec, const page_view *v, uint32_t plane)
{
    const size_t rows = codec->spec.plane_bits[v->side][plane] * v->row_bytes;
    return (plane == 0 ? v->rows_offset : 0) + rows * v->shape->channels;
}

static bool is_worth_coding(const lynx_codec *codec, const page_view *v)
{
    if (codec->spec.profile == LYNX_PROFILE_RAW || v->split.coded == 0)
        return false;
    size_t sum = 0;
    for (uint32_t plane = 0; plane < codec->plane_count; plane++)
        sum += coded_bytes(codec, v, plane);
    return sum < raw_bytes(v);
}

size_t lynx_codec_plane_bytes_max(const lynx_codec *codec, const lynx_side_shape *shape,
                                  lynx_side side, uint32_t plane, uint32_t token_count)
{
    const lynx_page_span span = {0, token_count, token_count};
    const page_view v = view_of(codec, shape, side, &span);
    if (plane == 0)
        return raw_bytes(&v); /* coding is used only where it is smaller */
    return (size_t)codec->spec.plane_bits[side][plane] * ((token_count + 7) / 8) *
           shape->channels;
}

/* ---- rotation ------------------------------------------------------------------------ */

static bool rope_is_equal(const lynx_rope *a, const lynx_rope *b)
{
    return a->pairing == b->pairing && a->dims == b->dims && a->base == b->base &&
           a->scale == b->scale;
}

/* The table for the coded run of a page; computed once for all layers that share it. */
static const rope_table *rope_for(lynx_codec *codec, const lynx_rope *rope, uint32_t first,
                                  uint32_t count)
{
    for (uint32_t i = 0; i < ROPE_TABLES; i++) {
        const rope_table *t = &codec->ropes[i];
        if (t->count == count && t->first == first && rope_is_equal(&t->rope, rope))
            return t;
    }
    rope_table *t = &codec->ropes[codec->next_rope];
    codec->next_rope = (codec->next_rope + 1) % ROPE_TABLES;
    for (uint32_t pair = 0; pair < rope->dims / 2; pair++)
        lx_rope_row(rope, pair, first, count, t->cosines + pair * codec->row_floats,
                    t->sines + pair * codec->row_floats);
    t->rope = *rope;
    t->first = first;
    t->count = count;
    return t;
}

static bool turns(const lynx_codec *codec, const page_view *v)
{
    return codec->spec.undo_rope && v->side == LYNX_SIDE_KEYS &&
           v->shape->rope.pairing != LYNX_ROPE_NONE;
}

/* The table of this page, or NULL when nothing is turned. */
static const rope_table *turn_of(lynx_codec *codec, const page_view *v)
{
    if (!turns(codec, v))
        return NULL;
    return rope_for(codec, &v->shape->rope, v->span->first_token + v->split.head,
                    v->split.coded);
}

/* Turn one pair of channels of the block back (before coding) or forth (after decoding). */
static void turn_pair(const lynx_codec *codec, const rope_table *t, uint32_t pair, bool is_back,
                      uint32_t padded)
{
    uint32_t a;
    uint32_t b;
    lx_rope_channels(&t->rope, pair, &a, &b);
    float *x = codec->block + a * codec->row_floats;
    float *y = codec->block + b * codec->row_floats;
    const size_t row = pair * codec->row_floats;
    /* Turning back swaps the roles: (y, x) by the same angle. */
    codec->kernels->rotate(is_back ? y : x, is_back ? x : y, t->cosines + row, t->sines + row,
                           padded);
}

/* The i-th channel of a head in the order of work: pairs first, so that both channels of one
 * are in the first-level cache when it is turned. */
static uint32_t channel_at(const rope_table *t, uint32_t i)
{
    if (!t || i >= t->rope.dims)
        return i;
    uint32_t channels[2];
    lx_rope_channels(&t->rope, i / 2, &channels[0], &channels[1]);
    return channels[i % 2];
}

/* ---- raw values ---------------------------------------------------------------------- */

static lynx_tile tile_at(const lynx_tile *tile, uint32_t token, uint32_t channel)
{
    lynx_tile part = *tile;
    part.data = (uint8_t *)tile->data + token * tile->token_stride_bytes +
                channel * tile->channel_stride_bytes;
    return part;
}

static lynx_tile wire_tile(const lynx_codec *codec, const page_view *v, void *data)
{
    return (lynx_tile){
        .data = data,
        .element = codec->options.element,
        .token_stride_bytes = v->shape->channels * v->element_bytes,
        .channel_stride_bytes = v->element_bytes,
    };
}

static float value_at(const lynx_tile *tile, const uint8_t *at)
{
    uint16_t half;
    float value;
    if (tile->element == LYNX_ELEMENT_F32) {
        memcpy(&value, at, sizeof(value));
        return value;
    }
    memcpy(&half, at, sizeof(half));
    return tile->element == LYNX_ELEMENT_F16 ? lx_float_of_half(half)
                                             : lx_float_of_bfloat(half);
}

static void put_value(const lynx_tile *tile, uint8_t *at, float value)
{
    if (tile->element == LYNX_ELEMENT_F32) {
        memcpy(at, &value, sizeof(value));
        return;
    }
    const uint16_t half =
        tile->element == LYNX_ELEMENT_F16 ? lx_half_of_float(value) : lx_bfloat_of_float(value);
    memcpy(at, &half, sizeof(half));
}

/* Copy values between tiles, bit for bit when the types are the same. */
static void copy_values(const lynx_tile *from, const lynx_tile *to, uint32_t tokens,
                        uint32_t channels)
{
    const size_t bytes = lynx_element_bytes(from->element);
    const bool is_same = from->element == to->element;
    const bool is_row =
        is_same && from->channel_stride_bytes == bytes && to->channel_stride_bytes == bytes;
    for (uint32_t t = 0; t < tokens; t++) {
        const uint8_t *source = (const uint8_t *)from->data + t * from->token_stride_bytes;
        uint8_t *target = (uint8_t *)to->data + t * to->token_stride_bytes;
        if (is_row) {
            memcpy(target, source, channels * bytes);
            continue;
        }
        for (uint32_t c = 0; c < channels; c++) {
            if (is_same)
                memcpy(target, source, bytes);
            else
                put_value(to, target, value_at(from, source));
            source += from->channel_stride_bytes;
            target += to->channel_stride_bytes;
        }
    }
}

/* Raw head and tail tokens between a page's tile and plane 0. */
static void copy_raw_tokens(const lynx_codec *codec, const page_view *v, const lynx_tile *page,
                            uint8_t *plane, bool is_encoding)
{
    const uint32_t channels = v->shape->channels;
    const lynx_tile wire = wire_tile(codec, v, plane + MODE_BYTES);
    const lynx_tile wire_tail = tile_at(&wire, v->split.head, 0);
    const lynx_tile page_tail = tile_at(page, v->split.head + v->split.coded, 0);
    copy_values(is_encoding ? page : &wire, is_encoding ? &wire : page, v->split.head,
                channels);
    copy_values(is_encoding ? &page_tail : &wire_tail, is_encoding ? &wire_tail : &page_tail,
                v->split.tail, channels);
}

static void encode_raw(const lynx_codec *codec, const page_view *v, const lynx_tile *source,
                       uint8_t *const planes[], size_t plane_bytes[])
{
    const lynx_tile wire = wire_tile(codec, v, planes[0] + MODE_BYTES);
    memset(planes[0], 0, MODE_BYTES);
    planes[0][0] = MODE_RAW;
    copy_values(source, &wire, v->span->token_count, v->shape->channels);
    plane_bytes[0] = raw_bytes(v);
    for (uint32_t plane = 1; plane < codec->plane_count; plane++)
        plane_bytes[plane] = 0;
}

/* ---- coded values -------------------------------------------------------------------- */

static lx_quantiser quantiser_of(const lynx_codec *codec, const page_view *v,
                                 uint32_t missing_bits)
{
    return (lx_quantiser){
        .spec = &codec->spec,
        .kernels = codec->kernels,
        .paper = &codec->paper,
        .code_bits = codec->code_bits,
        .missing_bits = missing_bits,
        .tokens = v->split.coded,
        .padded = (v->split.coded + LX_KERNEL_TOKENS - 1) / LX_KERNEL_TOKENS * LX_KERNEL_TOKENS,
    };
}

/* Load one head. */
static void load_head(lynx_codec *codec, const page_view *v, const lx_quantiser *q,
                      const lynx_tile *source, uint32_t head)
{
    const uint32_t channels = v->shape->head_channels;
    const lynx_tile tile = tile_at(source, v->split.head, head * channels);
    codec->kernels->load(codec->block, codec->row_floats, &tile, q->tokens, channels);
}

/* Repeat the last token of a channel up to the padding. */
static void pad_channel(const lx_quantiser *q, float *row)
{
    for (uint32_t t = q->tokens; t < q->padded; t++)
        row[t] = row[q->tokens - 1];
}

/* Bit rows of one channel to its place in every plane. */
static void pack_channel(const lynx_codec *codec, const page_view *v, const lx_quantiser *q,
                         uint32_t channel, const uint8_t *codes, uint8_t *const planes[])
{
    const size_t stride = codec->row_floats / 8;
    uint32_t shift = codec->code_bits;
    for (uint32_t plane = 0; plane < codec->plane_count; plane++) {
        const uint32_t bits = codec->spec.plane_bits[v->side][plane];
        shift -= bits;
        uint8_t *to = planes[plane] + (plane == 0 ? v->rows_offset : 0) +
                      (size_t)channel * bits * v->row_bytes;
        if (v->split.coded == q->padded) {
            codec->kernels->pack(codes, q->padded, shift, bits, to, v->row_bytes);
            continue;
        }
        codec->kernels->pack(codes, q->padded, shift, bits, codec->rows, stride);
        for (uint32_t row = 0; row < bits; row++)
            memcpy(to + row * v->row_bytes, codec->rows + row * stride, v->row_bytes);
    }
}

static bool encode_channel(const lx_quantiser *q, const float *values, uint8_t *meta,
                           uint8_t *codes)
{
    return q->spec->profile == LYNX_PROFILE_PAPER ? lx_paper_encode(q, values, meta, codes)
                                                  : lx_range_encode(q, values, meta, codes);
}

/* TOKEN needs all channels of a head before it can code the first. */
static bool encode_token_head(lynx_codec *codec, const page_view *v, const lx_quantiser *q,
                              uint32_t head, uint8_t *meta)
{
    const rope_table *t = turn_of(codec, v);
    for (uint32_t pair = 0; t && pair < t->rope.dims / 2; pair++)
        turn_pair(codec, t, pair, true, q->padded);
    return lx_token_encode_head(q, codec->block, codec->row_floats, v->shape->head_channels,
                                meta + head * v->head_meta, codec->codes);
}

static bool encode_head(lynx_codec *codec, const page_view *v, const lx_quantiser *q,
                        uint32_t head, uint8_t *const planes[])
{
    const uint32_t channels = v->shape->head_channels;
    const bool by_token = codec->spec.profile == LYNX_PROFILE_TOKEN;
    const rope_table *t = by_token ? NULL : turn_of(codec, v);
    uint8_t *meta = planes[0] + v->meta_offset;
    if (by_token && !encode_token_head(codec, v, q, head, meta))
        return false;
    for (uint32_t i = 0; i < channels; i++) {
        const uint32_t c = channel_at(t, i);
        const uint32_t channel = head * channels + c;
        uint8_t *codes = codec->codes + c * codec->row_floats;
        float *values = codec->block + c * codec->row_floats;
        if (t && i < t->rope.dims && i % 2 == 0)
            turn_pair(codec, t, i / 2, true, q->padded);
        pad_channel(q, values);
        if (!by_token && !encode_channel(q, values, meta + channel * v->channel_meta, codes))
            return false;
        memset(codes + q->tokens, 0, q->padded - q->tokens); /* padding bits are zero */
        pack_channel(codec, v, q, channel, codes, planes);
    }
    return true;
}

static lynx_status check_page(const lynx_codec *codec, const lynx_side_shape *shape,
                              lynx_side side, const lynx_page_span *span, const lynx_tile *tile)
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

lynx_status lynx_codec_encode(lynx_codec *codec, const lynx_side_shape *shape, lynx_side side,
                              const lynx_page_span *span, const lynx_tile *source,
                              uint8_t *const planes[], size_t plane_bytes[], bool *is_raw)
{
    LX_TRY(check_page(codec, shape, side, span, source));
    const page_view v = view_of(codec, shape, side, span);
    bool is_coded = is_worth_coding(codec, &v);
    if (is_coded) {
        const lx_quantiser q = quantiser_of(codec, &v, 0);
        memset(planes[0], 0, MODE_BYTES);
        copy_raw_tokens(codec, &v, source, planes[0], true);
        for (uint32_t head = 0; head < shape->channels / shape->head_channels && is_coded;
             head++) {
            load_head(codec, &v, &q, source, head);
            is_coded = encode_head(codec, &v, &q, head, planes);
        }
        for (uint32_t plane = 0; plane < codec->plane_count; plane++)
            plane_bytes[plane] = coded_bytes(codec, &v, plane);
    }
    *is_raw = !is_coded && codec->spec.profile != LYNX_PROFILE_RAW;
    if (!is_coded)
        encode_raw(codec, &v, source, planes, plane_bytes);
    return LYNX_OK;
}

/* ---- decode -------------------------------------------------------------------------- */

/* Everything that can be wrong with foreign planes. */
static lynx_status check_planes(const lynx_codec *codec, const page_view *v,
                                const lynx_bytes planes[], uint32_t plane_count)
{
    LX_REQUIRE(planes[0].size >= MODE_BYTES, LYNX_ERR_CORRUPT);
    const uint8_t *mode = planes[0].data;
    LX_REQUIRE(mode[0] <= MODE_RAW && mode[1] == 0 && mode[2] == 0 && mode[3] == 0,
               LYNX_ERR_CORRUPT);
    const bool is_raw = mode[0] == MODE_RAW;
    LX_REQUIRE(is_raw || is_worth_coding(codec, v), LYNX_ERR_CORRUPT);
    for (uint32_t plane = 0; plane < plane_count; plane++) {
        const size_t size = !is_raw      ? coded_bytes(codec, v, plane)
                            : plane == 0 ? raw_bytes(v)
                                         : 0;
        LX_REQUIRE(planes[plane].size == size, LYNX_ERR_CORRUPT);
    }
    if (is_raw)
        return LYNX_OK;
    const lx_quantiser q = quantiser_of(codec, v, 0);
    const uint8_t *meta = planes[0].data + v->meta_offset;
    const uint32_t heads = v->shape->channels / v->shape->head_channels;
    for (uint32_t head = 0; v->head_meta && head < heads; head++)
        LX_REQUIRE(lx_token_check_head(&q, meta + head * v->head_meta), LYNX_ERR_CORRUPT);
    for (uint32_t c = 0; v->channel_meta && c < v->shape->channels; c++)
        LX_REQUIRE(lx_range_check(&q, meta + c * v->channel_meta), LYNX_ERR_CORRUPT);
    return LYNX_OK;
}

static void unpack_channel(const lynx_codec *codec, const page_view *v, const lx_quantiser *q,
                           uint32_t channel, const lynx_bytes planes[], uint32_t plane_count,
                           uint8_t *codes)
{
    const size_t stride = codec->row_floats / 8;
    uint32_t shift = codec->code_bits;
    memset(codes, 0, q->padded);
    for (uint32_t plane = 0; plane < plane_count; plane++) {
        const uint32_t bits = codec->spec.plane_bits[v->side][plane];
        const uint8_t *from = planes[plane].data + (plane == 0 ? v->rows_offset : 0) +
                              (size_t)channel * bits * v->row_bytes;
        shift -= bits;
        if (v->split.coded == q->padded) {
            codec->kernels->unpack(from, v->row_bytes, q->padded, shift, bits, codes);
            continue;
        }
        for (uint32_t row = 0; row < bits; row++)
            memcpy(codec->rows + row * stride, from + row * v->row_bytes, v->row_bytes);
        codec->kernels->unpack(codec->rows, stride, q->padded, shift, bits, codes);
    }
}

/* Low bits that are not here stay zero in the codes; the quantiser adds their centre. */
static void decode_head(lynx_codec *codec, const page_view *v, const lx_quantiser *q,
                        uint32_t head, const lynx_bytes planes[], uint32_t plane_count,
                        const lynx_tile *target)
{
    const uint32_t channels = v->shape->head_channels;
    const bool by_token = codec->spec.profile == LYNX_PROFILE_TOKEN;
    const rope_table *t = turn_of(codec, v);
    const uint8_t *meta = planes[0].data + v->meta_offset;
    for (uint32_t i = 0; i < channels; i++) {
        const uint32_t c = channel_at(t, i);
        const uint32_t channel = head * channels + c;
        uint8_t *codes = codec->codes + c * codec->row_floats;
        float *values = codec->block + c * codec->row_floats;
        unpack_channel(codec, v, q, channel, planes, plane_count, codes);
        if (codec->spec.profile == LYNX_PROFILE_PAPER)
            lx_paper_decode(q, meta + channel * v->channel_meta, codes, values);
        else if (codec->spec.profile == LYNX_PROFILE_RANGE)
            lx_range_decode(q, meta + channel * v->channel_meta, codes, values);
        if (!by_token && t && i < t->rope.dims && i % 2 == 1)
            turn_pair(codec, t, i / 2, false, q->padded);
    }
    if (by_token)
        lx_token_decode_head(q, meta + head * v->head_meta, codec->codes, codec->row_floats,
                             channels, codec->block);
    for (uint32_t pair = 0; by_token && t && pair < t->rope.dims / 2; pair++)
        turn_pair(codec, t, pair, false, q->padded);
    const lynx_tile tile = tile_at(target, v->split.head, head * channels);
    codec->kernels->store(codec->block, codec->row_floats, &tile, q->tokens, channels);
}

lynx_status lynx_codec_decode(lynx_codec *codec, const lynx_side_shape *shape, lynx_side side,
                              const lynx_page_span *span, const lynx_bytes planes[],
                              uint32_t plane_count, const lynx_tile *target)
{
    LX_TRY(check_page(codec, shape, side, span, target));
    LX_REQUIRE(plane_count >= 1 && plane_count <= codec->plane_count, LYNX_ERR_ARGUMENT);
    const page_view v = view_of(codec, shape, side, span);
    LX_TRY(check_planes(codec, &v, planes, plane_count));
    uint8_t *plane0 = (uint8_t *)(uintptr_t)planes[0].data; /* only read below */
    if (plane0[0] == MODE_RAW) {
        const lynx_tile wire = wire_tile(codec, &v, plane0 + MODE_BYTES);
        copy_values(&wire, target, span->token_count, shape->channels);
        return LYNX_OK;
    }
    uint32_t present = 0;
    for (uint32_t plane = 0; plane < plane_count; plane++)
        present += codec->spec.plane_bits[side][plane];
    const lx_quantiser q = quantiser_of(codec, &v, codec->code_bits - present);
    copy_raw_tokens(codec, &v, target, plane0, false);
    for (uint32_t head = 0; head < shape->channels / shape->head_channels; head++)
        decode_head(codec, &v, &q, head, planes, plane_count, target);
    return LYNX_OK;
}

/* ---- life ---------------------------------------------------------------------------- */

void lynx_codec_options_init(lynx_codec_options *options)
{
    *options = (lynx_codec_options){
        .struct_size = sizeof(*options),
        .page_tokens = 256,
        .element = LYNX_ELEMENT_F16,
    };
    /* "range" is one of the built-in names. */
    (void)!lynx_codec_spec_named(&options->spec, "range");
}

static lynx_status codec_init(lynx_codec *codec)
{
    const lynx_allocator *memory = codec->memory;
    const size_t channels = codec->options.channels_max;
    codec->row_floats = (codec->options.page_tokens + LX_KERNEL_TOKENS - 1) / LX_KERNEL_TOKENS *
                        LX_KERNEL_TOKENS;
    codec->block = lx_alloc_zeroed(memory, channels * codec->row_floats, sizeof(float));
    codec->codes = lx_alloc_zeroed(memory, channels * codec->row_floats, 1);
    codec->rows = lx_alloc_zeroed(memory, codec->row_floats, 1);
    LX_REQUIRE(codec->block && codec->codes && codec->rows, LYNX_ERR_MEMORY);
    if (codec->spec.undo_rope) {
        codec->rope_floats = (channels / 2 + 1) * codec->row_floats;
        for (uint32_t i = 0; i < ROPE_TABLES; i++) {
            rope_table *t = &codec->ropes[i];
            t->cosines = lx_alloc_zeroed(memory, codec->rope_floats, sizeof(float));
            t->sines = lx_alloc_zeroed(memory, codec->rope_floats, sizeof(float));
            LX_REQUIRE(t->cosines && t->sines, LYNX_ERR_MEMORY);
        }
    }
    if (codec->spec.profile == LYNX_PROFILE_PAPER)
        lx_paper_tables_init(&codec->paper, codec->spec.alpha);
    return LYNX_OK;
}

lynx_status lynx_codec_create(lynx_codec **codec, const lynx_codec_options *options)
{
    LX_TRY(lynx_codec_spec_check(&options->spec));
    LX_REQUIRE(options->page_tokens >= 32 && options->page_tokens <= LYNX_PAGE_TOKENS_MAX &&
                   options->page_tokens % 32 == 0,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(options->channels_max >= 1 && options->channels_max <= LYNX_CHANNELS_MAX,
               LYNX_ERR_ARGUMENT);
    const lx_kernels *kernels = lx_kernels_named(options->kernels);
    LX_REQUIRE(kernels, LYNX_ERR_UNSUPPORTED);
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    lynx_codec *c = lx_alloc_zeroed(memory, 1, sizeof(*c));
    LX_REQUIRE(c, LYNX_ERR_MEMORY);
    c->memory = memory;
    c->options = *options;
    c->spec = options->spec;
    c->kernels = kernels;
    c->plane_count = lynx_codec_spec_plane_count(&c->spec);
    for (uint32_t plane = 0; plane < c->plane_count; plane++)
        c->code_bits += c->spec.plane_bits[0][plane];
    const lynx_status status = codec_init(c);
    if (lynx_failed(status)) {
        lynx_codec_destroy(c);
        return status;
    }
    *codec = c;
    return LYNX_OK;
}

void lynx_codec_destroy(lynx_codec *codec)
{
    if (!codec)
        return;
    const lynx_allocator *memory = codec->memory;
    const size_t values = codec->options.channels_max * codec->row_floats;
    lx_free(memory, codec->block, values, sizeof(float));
    lx_free(memory, codec->codes, values, 1);
    lx_free(memory, codec->rows, codec->row_floats, 1);
    for (uint32_t i = 0; i < ROPE_TABLES; i++) {
        lx_free(memory, codec->ropes[i].cosines, codec->rope_floats, sizeof(float));
        lx_free(memory, codec->ropes[i].sines, codec->rope_floats, sizeof(float));
    }
    lx_free(memory, codec, 1, sizeof(*codec));
}

const char *lynx_codec_kernels(const lynx_codec *codec)
{
    return codec->kernels->name;
}

const char *lynx_codec_kernels_at(size_t index)
{
    const lx_kernels *kernels = lx_kernels_at(index);
    return kernels ? kernels->name : NULL;
}
