/* SPDX-License-Identifier: MIT */
/*
 * codec.c - a page between a tile and its planes; the bytes are those of docs/format.md.
 *
 *   plane 0:  | mode, 3 zero bytes | raw tokens | metadata | bit rows of the top bits |
 *   plane i:  | bit rows of the next bits |
 *
 * A page is head raw tokens, a coded run, tail raw tokens. The coded run is worked on part by
 * part in a block of channel-major floats that stays in the second-level cache.
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
    size_t row_floats; /* page_tokens rounded up to what kernels touch, and ROW_GAP */
    float *block;      /* [channels_max][row_floats] */
    uint8_t *codes;    /* the same, one byte each */
    uint8_t *stage;    /* a strip of a token-major tile, see stage_of */
    lx_grid *grids;    /* [channels_max][row_floats / LX_CHUNK_TOKENS] */
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
    const size_t row_bytes = channels * bytes;
    if (is_row && from->token_stride_bytes == row_bytes &&
        to->token_stride_bytes == row_bytes) {
        memcpy(to->data, from->data, tokens * row_bytes);
        return;
    }
    for (uint32_t t = 0; t < tokens; t++) {
        const uint8_t *source = (const uint8_t *)from->data + t * from->token_stride_bytes;
        uint8_t *target = (uint8_t *)to->data + t * to->token_stride_bytes;
        if (is_row) {
            memcpy(target, source, row_bytes);
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

/* Part of a page that is worked on at a time, so that its floats stay in a near cache and the
 * tile is read or written in the order of memory. */
typedef struct part {
    uint32_t first, tokens; /* of the coded run; 'first' is a multiple of LX_KERNEL_TOKENS */
    uint32_t channel, channels;
} part;

static uint32_t strips_of(uint32_t tokens)
{
    return (tokens + LX_KERNEL_TOKENS - 1) / LX_KERNEL_TOKENS;
}

/* The part behind 'p' (the first one behind an empty part); false when there is none. */
static bool next_part(const page_view *v, const lynx_tile *tile, bool by_head, part *p)
{
    const bool by_channel = tile->token_stride_bytes == lynx_element_bytes(tile->element);
    if (by_channel) {
        const uint32_t step = by_head ? v->shape->head_channels : 1;
        *p = (part){0, v->split.coded, p->channel + p->channels, step};
        return p->channel < v->shape->channels;
    }
    const uint32_t first = p->first + p->tokens;
    const uint32_t left = v->split.coded - first;
    *p =
        (part){first, left < LX_KERNEL_TOKENS ? left : LX_KERNEL_TOKENS, 0, v->shape->channels};
    return left > 0;
}

/* Turn the pairs of a part's heads back (before coding) or forth (after decoding); the part
 * stands in 'block', rows 'pitch' apart. */
static void turn_part(lynx_codec *codec, const page_view *v, bool is_back, const part *p,
                      float *block, size_t pitch)
{
    const rope_table *t = turn_of(codec, v);
    if (!t)
        return;
    uint32_t a;
    uint32_t b;
    uint32_t next;
    uint32_t unused;
    lx_rope_channels(&t->rope, 0, &a, &b);
    lx_rope_channels(&t->rope, 1, &next, &unused);
    for (uint32_t c = 0; c < p->channels; c += v->shape->head_channels) {
        float *x = block + (c + a) * pitch;
        float *y = block + (c + b) * pitch;
        /* Turning back swaps the roles: (y, x) by the same angle. */
        codec->kernels->rotate(is_back ? y : x, is_back ? x : y, (next - a) * pitch,
                               t->cosines + p->first, t->sines + p->first, codec->row_floats,
                               t->rope.dims / 2, strips_of(p->tokens) * LX_KERNEL_TOKENS);
    }
}

/* The bits of a part in the planes that are here. '*bits' is how many. */
static lx_area area_of(const lynx_codec *codec, const page_view *v, const part *p,
                       uint8_t *const planes[], uint32_t plane_count, uint32_t *bits)
{
    lx_area area = {.channels = p->channels,
                    .strips = (uint32_t)(v->row_bytes / LX_STRIP_BYTES)};
    *bits = 0;
    for (uint32_t plane = 0; plane < plane_count; plane++) {
        const uint32_t count = codec->spec.plane_bits[v->side][plane];
        uint8_t *row = planes[plane] + (plane == 0 ? v->rows_offset : 0) +
                       (size_t)p->channel * count * v->row_bytes + p->first / 8;
        for (uint32_t i = 0; i < count; i++, row += v->row_bytes) {
            area.row[*bits] = row;
            area.channel_bytes[(*bits)++] = count * v->row_bytes;
        }
    }
    area.strips -= p->first / LX_KERNEL_TOKENS;
    if (area.strips > strips_of(p->tokens))
        area.strips = strips_of(p->tokens);
    area.grid_pitch = codec->row_floats / LX_CHUNK_TOKENS;
    return area;
}

/* The last bytes of a row may be less than a strip: it is worked on in a copy, one channel at a
 * time. */
typedef struct strip_copy {
    uint8_t bytes[8][LX_STRIP_BYTES];
    lx_area area;
    size_t size; /* bytes of a row that exist */
} strip_copy;

static bool strip_copy_init(strip_copy *copy, const page_view *v, const part *p,
                            const lx_area *area)
{
    if (area->strips == strips_of(p->tokens))
        return false;
    *copy = (strip_copy){.size = v->row_bytes % LX_STRIP_BYTES};
    copy->area = (lx_area){.channels = 1, .strips = 1, .grid_pitch = area->grid_pitch};
    for (uint32_t row = 0; row < 8; row++)
        copy->area.row[row] = copy->bytes[row];
    return true;
}

static uint8_t *behind_strips(const lx_area *area, uint32_t row, uint32_t channel)
{
    return area->row[row] + channel * area->channel_bytes[row] +
           (size_t)area->strips * LX_STRIP_BYTES;
}

/* Turning a strip between the two orders walks over memory in steps that no hardware prefetcher
 * follows; it is done on a copy that was read, or will be written, from end to end
 * (encoding 2.1 to 2.8 GB/s). Returns false when the tile is channel-major and needs no copy.
 */
static bool stage_of(const lynx_codec *codec, const page_view *v, const lynx_tile *tile,
                     lynx_tile *stage)
{
    const size_t element = lynx_element_bytes(tile->element);
    *stage = (lynx_tile){.data = codec->stage,
                         .element = tile->element,
                         .token_stride_bytes = v->shape->channels * element,
                         .channel_stride_bytes = element};
    return tile->channel_stride_bytes == element && v->shape->channels > 1;
}

/* All channels, keys turned back, to rows that are 'row_floats' apart. */
static void load_page(lynx_codec *codec, const page_view *v, const lx_quantiser *q,
                      const lynx_tile *source)
{
    part p = {0};
    while (next_part(v, source, true, &p)) {
        const lynx_tile tile = tile_at(source, v->split.head + p.first, p.channel);
        float *block = codec->block + p.channel * codec->row_floats + p.first;
        lynx_tile stage;
        const bool is_staged = stage_of(codec, v, source, &stage);
        if (is_staged)
            copy_values(&tile, &stage, p.tokens, p.channels);
        codec->kernels->load(block, codec->row_floats, is_staged ? &stage : &tile, p.tokens,
                             p.channels);
        turn_part(codec, v, true, &p, block, codec->row_floats);
    }
    /* Repeat the last token of each channel up to the padding. */
    for (uint32_t c = 0; c < v->shape->channels; c++) {
        float *row = codec->block + c * codec->row_floats;
        for (uint32_t t = q->tokens; t < q->padded; t++)
            row[t] = row[q->tokens - 1];
    }
}

/* Bits behind the last token are zero. */
static void clear_padding(const page_view *v, const lx_area *area, uint32_t bits)
{
    const uint32_t left = v->split.coded % 8;
    for (uint32_t row = 0; left && row < bits; row++)
        area->row[row][v->row_bytes - 1] &= (uint8_t)((1u << left) - 1);
}

/* One channel of the block (RANGE) or of the codes (others) to its bits, of which 'all' has
 * those of the whole page. */
static void put_bits(const lynx_codec *codec, const page_view *v, const lx_area *all,
                     uint32_t bits, uint32_t c)
{
    const bool is_range = codec->spec.profile == LYNX_PROFILE_RANGE;
    const float *values = codec->block + c * codec->row_floats;
    const uint8_t *codes = codec->codes + c * codec->row_floats;
    const part p = {0, v->split.coded, c, 1};
    lx_area area = *all;
    area.channels = 1;
    for (uint32_t row = 0; row < bits; row++)
        area.row[row] += c * area.channel_bytes[row];
    if (is_range)
        codec->kernels->quantize(values, codec->grids, codec->code_bits, &area);
    else
        codec->kernels->pack(codes, codec->code_bits, &area);
    strip_copy copy;
    if (strip_copy_init(&copy, v, &p, &area)) {
        const size_t first = (size_t)area.strips * LX_KERNEL_TOKENS;
        if (is_range)
            codec->kernels->quantize(values + first, codec->grids + first / LX_CHUNK_TOKENS,
                                     codec->code_bits, &copy.area);
        else
            codec->kernels->pack(codes + first, codec->code_bits, &copy.area);
        for (uint32_t row = 0; row < bits; row++)
            memcpy(behind_strips(&area, row, 0), copy.bytes[row], copy.size);
    }
    clear_padding(v, &area, bits);
}

static bool encode_page(lynx_codec *codec, const page_view *v, const lx_quantiser *q,
                        uint8_t *const planes[])
{
    const uint32_t channels = v->shape->channels;
    const uint32_t step = v->shape->head_channels;
    const lynx_profile profile = codec->spec.profile;
    uint8_t *meta = planes[0] + v->meta_offset;
    for (uint32_t c = 0; profile == LYNX_PROFILE_TOKEN && c < channels; c += step)
        if (!lx_token_encode_head(q, codec->block + c * codec->row_floats, codec->row_floats,
                                  step, meta + c / step * v->head_meta,
                                  codec->codes + c * codec->row_floats))
            return false;
    const part p = {0, v->split.coded, 0, channels};
    uint32_t bits;
    const lx_area area = area_of(codec, v, &p, planes, codec->plane_count, &bits);
    for (uint32_t c = 0; c < channels; c++) {
        const float *values = codec->block + c * codec->row_floats;
        uint8_t *own = meta + c * v->channel_meta;
        if (profile == LYNX_PROFILE_RANGE) {
            if (!lx_range_meta(q, values, own))
                return false;
            lx_range_grids(q, own, true, codec->grids);
        } else if (profile == LYNX_PROFILE_PAPER &&
                   !lx_paper_encode(q, values, own, codec->codes + c * codec->row_floats)) {
            return false;
        }
        put_bits(codec, v, &area, bits, c);
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
        load_page(codec, &v, &q, source);
        is_coded = encode_page(codec, &v, &q, planes);
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

/* Values of a part (RANGE) or its codes (others) from the bits that are here; rows 'pitch'
 * apart. Low bits that are not here are zero in the codes; the quantiser adds their centre. */
static void get_bits(lynx_codec *codec, const page_view *v, const part *p, size_t pitch,
                     uint8_t *const planes[], uint32_t plane_count)
{
    const bool is_range = codec->spec.profile == LYNX_PROFILE_RANGE;
    uint32_t bits;
    lx_area area = area_of(codec, v, p, planes, plane_count, &bits);
    area.pitch = pitch;
    const lx_grid *grids =
        codec->grids + p->channel * area.grid_pitch + p->first / LX_CHUNK_TOKENS;
    if (is_range)
        codec->kernels->dequantize(&area, bits, codec->code_bits, grids, codec->block);
    else
        codec->kernels->unpack(&area, bits, codec->code_bits, codec->codes);
    strip_copy copy;
    if (!strip_copy_init(&copy, v, p, &area))
        return;
    const size_t first = (size_t)area.strips * LX_KERNEL_TOKENS;
    for (uint32_t c = 0; c < p->channels; c++) {
        for (uint32_t row = 0; row < bits; row++)
            memcpy(copy.bytes[row], behind_strips(&area, row, c), copy.size);
        if (is_range)
            codec->kernels->dequantize(&copy.area, bits, codec->code_bits,
                                       grids + c * area.grid_pitch + first / LX_CHUNK_TOKENS,
                                       codec->block + c * pitch + first);
        else
            codec->kernels->unpack(&copy.area, bits, codec->code_bits,
                                   codec->codes + c * pitch + first);
    }
}

static void decode_page(lynx_codec *codec, const page_view *v, const lx_quantiser *q,
                        uint8_t *const planes[], uint32_t plane_count, const lynx_tile *target)
{
    const uint32_t step = v->shape->head_channels;
    const lynx_profile profile = codec->spec.profile;
    const bool by_head = profile == LYNX_PROFILE_TOKEN || turn_of(codec, v);
    const uint8_t *meta = planes[0] + v->meta_offset;
    for (uint32_t c = 0; profile == LYNX_PROFILE_RANGE && c < v->shape->channels; c++)
        lx_range_grids(q, meta + c * v->channel_meta, false,
                       codec->grids + c * (codec->row_floats / LX_CHUNK_TOKENS));
    part p = {0};
    while (next_part(v, target, by_head, &p)) {
        const size_t pitch = strips_of(p.tokens) * LX_KERNEL_TOKENS + ROW_GAP;
        get_bits(codec, v, &p, pitch, planes, plane_count);
        for (uint32_t c = 0; profile == LYNX_PROFILE_TOKEN && c < p.channels; c += step)
            lx_token_decode_head(q, meta + (p.channel + c) / step * v->head_meta, p.first,
                                 p.tokens, codec->codes + c * pitch, pitch, step,
                                 codec->block + c * pitch);
        for (uint32_t c = 0; profile == LYNX_PROFILE_PAPER && c < p.channels; c++)
            lx_paper_decode(q, meta + (p.channel + c) * v->channel_meta, p.first, p.tokens,
                            codec->codes + c * pitch, codec->block + c * pitch);
        turn_part(codec, v, false, &p, codec->block, pitch);
        const lynx_tile tile = tile_at(target, v->split.head + p.first, p.channel);
        lynx_tile stage;
        const bool is_staged = stage_of(codec, v, target, &stage);
        codec->kernels->store(codec->block, pitch, is_staged ? &stage : &tile, p.tokens,
                              p.channels);
        if (is_staged)
            copy_values(&stage, &tile, p.tokens, p.channels);
    }
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
    uint8_t *here[LYNX_PLANES_MAX]; /* only read */
    for (uint32_t plane = 0; plane < plane_count; plane++)
        here[plane] = (uint8_t *)(uintptr_t)planes[plane].data;
    decode_page(codec, &v, &q, here, plane_count, target);
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
                            LX_KERNEL_TOKENS +
                        ROW_GAP;
    codec->block = lx_alloc_zeroed(memory, channels * codec->row_floats, sizeof(float));
    codec->codes = lx_alloc_zeroed(memory, channels * codec->row_floats, 1);
    codec->grids = lx_alloc_zeroed(memory, channels * (codec->row_floats / LX_CHUNK_TOKENS),
                                   sizeof(*codec->grids));
    codec->stage = lx_alloc_zeroed(memory, channels * LX_KERNEL_TOKENS, sizeof(float));
    LX_REQUIRE(codec->block && codec->codes && codec->stage && codec->grids, LYNX_ERR_MEMORY);
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
    lx_free(memory, codec->stage, codec->options.channels_max * LX_KERNEL_TOKENS,
            sizeof(float));
    lx_free(memory, codec->grids,
            codec->options.channels_max * (codec->row_floats / LX_CHUNK_TOKENS),
            sizeof(*codec->grids));
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
