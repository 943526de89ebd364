/* SPDX-License-Identifier: MIT */
/*
 * codec.c - a page between a tile and its planes; the bytes are those of docs/format.md.
 *
 *   plane 0:  | mode, 3 zero bytes | raw tokens | metadata | bit rows of the top bits |
 *   plane i:  | bit rows of the next bits |
 *
 * A page is head raw tokens, a coded run, tail raw tokens. The coded run is worked on as rows,
 * a channel-major tile, channel by channel or pair by pair of turned channels. A channel-major
 * tile is its own rows; others are transposed, in halves that stay in the second-level cache.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/half.h"
#include "codec/quantiser.h"
#include "codec/rope.h"
#include "codec/spread.h"

enum { MODE_CODED = 0, MODE_RAW = 1, MODE_BYTES = 4, ROPE_TABLES = 4 };

/* Values between rows: without them the rows of a head share a few sets of the first-level
 * cache. */
enum { ROW_GAP = 32 };

/* Cosines and sines of one rotation at the positions of one page. */
typedef struct rope_table {
    lynx_rope rope;
    uint32_t first, count;
    float *cosines, *sines; /* [pair][row_values] */
} rope_table;

struct lynx_codec {
    const lynx_allocator *memory;
    lynx_codec_options options;
    lynx_codec_spec spec;
    const lx_kernels *kernels;
    uint32_t plane_count, code_bits;
    size_t row_values; /* page_tokens rounded up to what kernels touch, and ROW_GAP */
    size_t block_rows; /* TOKEN needs all channels at once, others two */
    float *block;      /* [block_rows][row_values] */
    uint8_t *codes;    /* [channels_max][row_values] */
    uint8_t *rows;     /* the same, of a tile's element: see rows_of */
    lx_grid *grids;    /* [channels_max][row_values / LX_CHUNK_TOKENS] */
    /* With 'spread', by channel: weights, bits that are here, bits with the next plane, and
     * where each row lies. */
    uint16_t *weights;
    uint8_t *here, *next;
    uint8_t *(*row_of)[8];
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

size_t lynx_codec_plane_bytes(const lynx_codec *codec, const lynx_side_shape *shape,
                              lynx_side side, uint32_t plane, const lynx_page_span *span)
{
    const page_view v = view_of(codec, shape, side, span);
    if (is_worth_coding(codec, &v))
        return coded_bytes(codec, &v, plane);
    return plane == 0 ? raw_bytes(&v) : 0;
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
        lx_rope_row(rope, pair, first, count, t->cosines + pair * codec->row_values,
                    t->sines + pair * codec->row_values);
    t->rope = *rope;
    t->first = first;
    t->count = count;
    return t;
}

/* The table of this page, or NULL when nothing is turned. */
static const rope_table *turn_of(lynx_codec *codec, const page_view *v)
{
    if (!codec->spec.undo_rope || v->side != LYNX_SIDE_KEYS ||
        v->shape->rope.pairing == LYNX_ROPE_NONE)
        return NULL;
    return rope_for(codec, &v->shape->rope, v->span->first_token + v->split.head,
                    v->split.coded);
}

/* Goes through the channels of a page: first the pairs that turn, pair i of all heads before
 * pair i + 1 because they share a row of the table, then what does not turn. */
typedef struct pair_walk {
    const rope_table *table;
    size_t table_pitch;
    uint32_t heads, head_channels, turned; /* 'turned' channels of a head */
    uint32_t head, channel;                /* next */
} pair_walk;

static pair_walk walk_of(lynx_codec *codec, const page_view *v)
{
    const rope_table *table = turn_of(codec, v);
    return (pair_walk){.table = table,
                       .table_pitch = codec->row_values,
                       .heads = v->shape->channels / v->shape->head_channels,
                       .head_channels = v->shape->head_channels,
                       .turned = table ? table->rope.dims : 0};
}

static bool next_pair(pair_walk *walk, lx_pair *pair)
{
    if (walk->channel == walk->head_channels)
        return false;
    const bool is_turned = walk->channel < walk->turned;
    *pair = (lx_pair){.a = walk->channel};
    if (is_turned) {
        const uint32_t i = walk->channel / 2;
        lx_rope_channels(&walk->table->rope, i, &pair->a, &pair->b);
        pair->cosines = walk->table->cosines + i * walk->table_pitch;
        pair->sines = walk->table->sines + i * walk->table_pitch;
    }
    pair->a += walk->head * walk->head_channels;
    pair->b += walk->head * walk->head_channels;
    if (++walk->head == walk->heads) {
        walk->head = 0;
        walk->channel += is_turned ? 2 : 1;
    }
    return true;
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

float lynx_tile_get(const lynx_tile *tile, uint32_t token, uint32_t channel)
{
    return value_at(tile, tile_at(tile, token, channel).data);
}

void lynx_tile_set(const lynx_tile *tile, uint32_t token, uint32_t channel, float value)
{
    put_value(tile, tile_at(tile, token, channel).data, value);
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

/* Rows of the coded run of 'tile': its own memory, or room that it is moved to or from. */
static lynx_tile rows_of(const lynx_codec *codec, const lynx_tile *tile)
{
    lynx_tile rows = *tile;
    const bool is_bfloat = tile->element == LYNX_ELEMENT_BF16; /* not in kernels */
    if (!is_bfloat && tile->token_stride_bytes == lynx_element_bytes(tile->element))
        return rows;
    rows.element = is_bfloat ? LYNX_ELEMENT_F32 : tile->element;
    rows.data = codec->rows;
    rows.token_stride_bytes = lynx_element_bytes(rows.element);
    rows.channel_stride_bytes = codec->row_values * rows.token_stride_bytes;
    return rows;
}

/* Between a tile and its rows. */
static void move_rows(const lynx_codec *codec, const page_view *v, const lynx_tile *from,
                      const lynx_tile *to)
{
    if (from->data == to->data)
        return;
    if (from->element == to->element)
        codec->kernels->transpose(from, to, v->split.coded, v->shape->channels);
    else
        copy_values(from, to, v->split.coded, v->shape->channels);
}

static float *block_row(const lynx_codec *codec, uint32_t row)
{
    return codec->block + row * codec->row_values;
}

static uint8_t *codes_row(const lynx_codec *codec, uint32_t row)
{
    return codec->codes + row * codec->row_values;
}

/* The planes of a page that are here, in both directions. */
typedef struct page_bits {
    lynx_codec *codec;
    const page_view *view;
    lx_quantiser q;
    uint8_t *meta; /* decoding only reads; the same for the bits */
    lx_area area;
    uint32_t count; /* bits of a code that are here */
} page_bits;

/* With 'spread' the rows of a channel are gathered in 'codes', all of them beside each other.
 */
static void gathered_area(const lynx_codec *codec, const page_view *v, lx_area *area)
{
    for (uint32_t row = 0; row < codec->code_bits; row++) {
        area->row[row] = codes_row(codec, 0) + row * v->row_bytes;
        area->channel_bytes[row] = codec->row_values;
    }
}

static page_bits bits_of(lynx_codec *codec, const page_view *v, uint8_t *const planes[],
                         uint32_t plane_count)
{
    page_bits p = {.codec = codec, .view = v, .meta = planes[0] + v->meta_offset};
    p.area.strips = v->split.coded / LX_KERNEL_TOKENS;
    p.area.grid_pitch = codec->row_values / LX_CHUNK_TOKENS;
    p.area.grid_step = codec->spec.chunk_tokens ? 1 : 0;
    if (codec->spec.spread) {
        gathered_area(codec, v, &p.area);
        p.count = codec->code_bits;
        p.q = quantiser_of(codec, v, 0);
        return p;
    }
    for (uint32_t plane = 0; plane < plane_count; plane++) {
        const uint32_t count = codec->spec.plane_bits[v->side][plane];
        uint8_t *row = planes[plane] + (plane == 0 ? v->rows_offset : 0);
        for (uint32_t i = 0; i < count; i++, row += v->row_bytes) {
            p.area.row[p.count] = row;
            p.area.channel_bytes[p.count++] = count * v->row_bytes;
        }
    }
    p.q = quantiser_of(codec, v, codec->code_bits - p.count);
    return p;
}

static lx_grid *grids_of(const page_bits *p, uint32_t channel)
{
    return p->codec->grids + channel * p->area.grid_pitch;
}

/* Tokens behind the last whole strip are worked on in a copy of the bits of a pair. */
typedef struct rest_copy {
    uint8_t bytes[2][8][LX_STRIP_BYTES];
    lx_area area;
    uint32_t first, tokens;
    size_t bytes_each; /* of a row that exist */
    const lx_grid *grids;
} rest_copy;

static bool rest_init(rest_copy *rest, const page_bits *p, const lx_pair *pair)
{
    const uint32_t first = p->area.strips * LX_KERNEL_TOKENS;
    if (first == p->view->split.coded)
        return false;
    *rest = (rest_copy){.first = first, .tokens = p->view->split.coded - first};
    rest->bytes_each = p->view->row_bytes - first / 8;
    rest->grids = grids_of(p, pair->a) + first / LX_CHUNK_TOKENS * p->area.grid_step;
    rest->area = (lx_area){.strips = 1, .grid_step = p->area.grid_step};
    rest->area.grid_pitch = (pair->b - pair->a) * p->area.grid_pitch;
    for (uint32_t row = 0; row < 8; row++) {
        rest->area.row[row] = rest->bytes[0][row];
        rest->area.channel_bytes[row] = sizeof(rest->bytes[0]);
    }
    return true;
}

static uint8_t *rest_at(const page_bits *p, uint32_t row, uint32_t channel)
{
    return p->area.row[row] + channel * p->area.channel_bytes[row] +
           (size_t)p->area.strips * LX_STRIP_BYTES;
}

static void get_rest(const page_bits *p, rest_copy *rest, uint32_t channel, uint32_t to)
{
    for (uint32_t row = 0; row < p->count; row++)
        memcpy(rest->bytes[to][row], rest_at(p, row, channel), rest->bytes_each);
}

/* ---- spread -------------------------------------------------------------------------- */

static void find_weights(const page_bits *p)
{
    lynx_codec *codec = p->codec;
    const uint32_t channels = p->view->shape->channels;
    for (uint32_t c = 0; c < channels; c++)
        codec->weights[c] = lx_range_step(&p->q, p->meta + c * p->view->channel_meta);
    lx_spread_weights(codec->weights, channels);
}

/* The rows of one plane from 'at' on, by the bits without and with it. */
static void place_rows(const uint8_t *before, const uint8_t *now, uint32_t channels,
                       uint8_t *at, size_t size, uint8_t *(*row_of)[8])
{
    for (uint32_t c = 0; c < channels; c++) {
        const uint32_t end = now[c];
        for (uint32_t row = before[c]; row < end; row++, at += size)
            row_of[c][row] = at;
    }
}

/* Where each row of each channel lies in the first planes. */
static void find_rows(const page_bits *p, uint8_t *const planes[], uint32_t plane_count)
{
    lynx_codec *codec = p->codec;
    const uint32_t channels = p->view->shape->channels;
    const size_t size = p->view->row_bytes;
    uint32_t mean = 0;
    find_weights(p);
    memset(codec->here, 0, channels);
    for (uint32_t plane = 0; plane < plane_count; plane++) {
        uint8_t *at = planes[plane] + (plane == 0 ? p->view->rows_offset : 0);
        mean += codec->spec.plane_bits[p->view->side][plane];
        if (mean == codec->code_bits)
            memset(codec->next, (int)mean, channels);
        else
            lx_spread_bits(codec->weights, channels, mean, codec->code_bits, codec->next);
        place_rows(codec->here, codec->next, channels, at, size, codec->row_of);
        memcpy(codec->here, codec->next, channels);
    }
}

/* Rows between 'gathered', where they follow each other, and their places. */
static void copy_rows(uint8_t *gathered, uint8_t *const *places, uint32_t count, size_t size,
                      bool is_gathering)
{
    for (uint32_t row = 0; row < count; row++, gathered += size) {
        uint8_t *to = is_gathering ? gathered : places[row];
        const uint8_t *from = is_gathering ? places[row] : gathered;
        if (size == 32) /* whole pages: a move without a call */
            memcpy(to, from, 32);
        else
            memcpy(to, from, size);
    }
}

/* From where they were gathered to the planes. */
static void scatter_rows(const page_bits *p)
{
    const lynx_codec *codec = p->codec;
    const uint32_t channels = p->view->shape->channels, count = codec->code_bits;
    const size_t size = p->view->row_bytes;
    for (uint32_t c = 0; c < channels; c++)
        copy_rows(codes_row(codec, c), codec->row_of[c], count, size, false);
}

/* The first 'count' rows of a channel; those that are not here are zero. */
static void gather_rows(const page_bits *p, uint32_t channel, uint32_t count)
{
    const lynx_codec *codec = p->codec;
    const uint32_t here = codec->here[channel];
    const size_t size = p->view->row_bytes;
    uint8_t *gathered = codes_row(codec, channel);
    copy_rows(gathered, codec->row_of[channel], here, size, true);
    memset(gathered + here * size, 0, (count - here) * size);
}

/* Bits of a pair for the kernels: those of one channel in their planes, those of two gathered.
 * 'own' is a copy of 'p' that serves every pair. */
static void aim_at_pair(const page_bits *p, const lx_pair *pair, page_bits *own)
{
    const uint8_t *here = p->codec->here;
    own->count = here[pair->a];
    if (!pair->cosines) {
        memcpy(own->area.row, p->codec->row_of[pair->a], sizeof(own->area.row));
        memset(own->area.channel_bytes, 0, sizeof(own->area.channel_bytes));
        return;
    }
    own->count = here[pair->b] > own->count ? here[pair->b] : own->count;
    own->area = p->area;
    gather_rows(p, pair->a, own->count);
    gather_rows(p, pair->b, own->count);
}

/* ---- encode -------------------------------------------------------------------------- */

/* One channel to its bits, from values (RANGE) or, without them, from codes. */
static void put_bits(const page_bits *p, uint32_t c, const float *values, const uint8_t *codes)
{
    const lx_kernels *kernels = p->codec->kernels;
    const uint32_t code_bits = p->codec->code_bits;
    const lx_pair alone = {.a = c};
    if (values)
        kernels->quantize(values, p->codec->grids, code_bits, &p->area, c);
    else
        kernels->pack(codes, code_bits, &p->area, c);
    rest_copy rest;
    if (!rest_init(&rest, p, &alone))
        return;
    if (values)
        kernels->quantize(values + rest.first, rest.grids, code_bits, &rest.area, 0);
    else
        kernels->pack(codes + rest.first, code_bits, &rest.area, 0);
    const uint32_t left = rest.tokens % 8; /* bits behind the last token are zero */
    for (uint32_t row = 0; row < p->count; row++) {
        uint8_t *at = rest_at(p, row, c);
        memcpy(at, rest.bytes[0][row], rest.bytes_each);
        if (left)
            at[rest.bytes_each - 1] &= (uint8_t)((1u << left) - 1);
    }
}

static bool encode_channel(const page_bits *p, uint32_t c, const float *values)
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
    lx_range_grids(&p->q, meta, true, grids_of(p, c));
    put_bits(p, c, values, NULL);
    return true;
}

static bool encode_heads(const page_bits *p)
{
    const uint32_t step = p->view->shape->head_channels;
    for (uint32_t c = 0; c < p->view->shape->channels; c += step)
        if (!lx_token_encode_head(&p->q, block_row(p->codec, c), p->codec->row_values, step,
                                  p->meta + c / step * p->view->head_meta,
                                  codes_row(p->codec, c)))
            return false;
    for (uint32_t c = 0; c < p->view->shape->channels; c++)
        put_bits(p, c, NULL, codes_row(p->codec, c));
    return true;
}

/* Repeat the last token up to the padding. */
static void pad_row(const lx_quantiser *q, float *row)
{
    for (uint32_t t = q->tokens; t < q->padded; t++)
        row[t] = row[q->tokens - 1];
}

static bool encode_run(const page_bits *p, const lynx_tile *run)
{
    const lynx_codec *codec = p->codec;
    const bool is_token = codec->spec.profile == LYNX_PROFILE_TOKEN;
    const lynx_tile rows = rows_of(codec, run);
    move_rows(codec, p->view, run, &rows);
    pair_walk walk = walk_of(p->codec, p->view);
    lx_pair pair;
    while (next_pair(&walk, &pair)) {
        float *a = block_row(codec, is_token ? pair.a : 0);
        float *b = block_row(codec, is_token ? pair.b : 1);
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
        const page_bits bits = bits_of(codec, &v, planes, codec->plane_count);
        const lynx_tile run = tile_at(source, v.split.head, 0);
        memset(planes[0], 0, MODE_BYTES);
        copy_raw_tokens(codec, &v, source, planes[0], true);
        is_coded = encode_run(&bits, &run);
        if (is_coded && codec->spec.spread) {
            find_rows(&bits, planes, codec->plane_count);
            scatter_rows(&bits);
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

static void get_codes(const page_bits *p, uint32_t c, uint8_t *codes)
{
    const lx_kernels *kernels = p->codec->kernels;
    const lx_pair alone = {.a = c};
    kernels->unpack(&p->area, c, p->count, p->codec->code_bits, codes);
    rest_copy rest;
    if (!rest_init(&rest, p, &alone))
        return;
    get_rest(p, &rest, c, 0);
    kernels->unpack(&rest.area, 0, p->count, p->codec->code_bits, codes + rest.first);
}

/* RANGE: bits of a pair to rows. Low bits that are not here are zero in the codes; the grids
 * have their centre. */
static void get_values(const page_bits *p, const lx_pair *pair, const lynx_tile *rows)
{
    const lynx_codec *codec = p->codec;
    codec->kernels->dequantize(&p->area, pair, p->count, codec->code_bits, codec->grids, rows);
    rest_copy rest;
    if (!rest_init(&rest, p, pair))
        return;
    float room[2][LX_KERNEL_TOKENS];
    lynx_tile copy = *rows;
    copy.data = room;
    copy.channel_stride_bytes = sizeof(room[0]);
    lx_pair both = {.a = 0, .b = 1};
    get_rest(p, &rest, pair->a, 0);
    if (pair->cosines) {
        get_rest(p, &rest, pair->b, 1);
        both.cosines = pair->cosines + rest.first;
        both.sines = pair->sines + rest.first;
    }
    codec->kernels->dequantize(&rest.area, &both, p->count, codec->code_bits, rest.grids,
                               &copy);
    const size_t bytes = rest.tokens * rows->token_stride_bytes;
    memcpy(tile_at(rows, rest.first, pair->a).data, room[0], bytes);
    if (pair->cosines)
        memcpy(tile_at(rows, rest.first, pair->b).data, room[1], bytes);
}

/* PAPER: codes of a channel to floats. */
static void decode_channel(const page_bits *p, uint32_t c, float *values)
{
    get_codes(p, c, p->codec->codes);
    lx_paper_decode(&p->q, p->meta + c * p->view->channel_meta, p->codec->codes, values);
}

static void decode_heads(const page_bits *p)
{
    const uint32_t step = p->view->shape->head_channels;
    for (uint32_t c = 0; c < p->view->shape->channels; c++)
        get_codes(p, c, codes_row(p->codec, c));
    for (uint32_t c = 0; c < p->view->shape->channels; c += step)
        lx_token_decode_head(&p->q, p->meta + c / step * p->view->head_meta,
                             codes_row(p->codec, c), p->codec->row_values, step,
                             block_row(p->codec, c));
}

static void decode_run(const page_bits *p, const lynx_tile *run)
{
    const lynx_codec *codec = p->codec;
    const lynx_profile profile = codec->spec.profile;
    const bool is_token = profile == LYNX_PROFILE_TOKEN;
    const lynx_tile rows = rows_of(codec, run);
    if (is_token)
        decode_heads(p);
    page_bits own = *p;
    lx_quantiser q = p->q;
    for (uint32_t c = 0; profile == LYNX_PROFILE_RANGE && c < p->view->shape->channels; c++) {
        if (codec->spec.spread)
            q.missing_bits = codec->code_bits - codec->here[c];
        lx_range_grids(&q, p->meta + c * p->view->channel_meta, false, grids_of(p, c));
    }
    pair_walk walk = walk_of(p->codec, p->view);
    lx_pair pair;
    while (next_pair(&walk, &pair)) {
        if (profile == LYNX_PROFILE_RANGE && codec->spec.spread) {
            aim_at_pair(p, &pair, &own);
            get_values(&own, &pair, &rows);
            continue;
        }
        if (profile == LYNX_PROFILE_RANGE) {
            get_values(p, &pair, &rows);
            continue;
        }
        float *a = block_row(codec, is_token ? pair.a : 0);
        float *b = block_row(codec, is_token ? pair.b : 1);
        if (!is_token)
            decode_channel(p, pair.a, a);
        if (!is_token && pair.cosines)
            decode_channel(p, pair.b, b);
        codec->kernels->store(a, b, &pair, p->q.tokens, &rows);
    }
    move_rows(codec, p->view, &rows, run);
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
    copy_raw_tokens(codec, &v, target, plane0, false);
    uint8_t *here[LYNX_PLANES_MAX]; /* only read */
    for (uint32_t plane = 0; plane < plane_count; plane++)
        here[plane] = (uint8_t *)(uintptr_t)planes[plane].data;
    const page_bits bits = bits_of(codec, &v, here, plane_count);
    const lynx_tile run = tile_at(target, v.split.head, 0);
    if (codec->spec.spread)
        find_rows(&bits, here, plane_count);
    decode_run(&bits, &run);
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
    codec->row_values = (codec->options.page_tokens + LX_KERNEL_TOKENS - 1) / LX_KERNEL_TOKENS *
                            LX_KERNEL_TOKENS +
                        ROW_GAP;
    codec->block_rows = codec->spec.profile == LYNX_PROFILE_TOKEN ? channels : 2;
    codec->block =
        lx_alloc_zeroed(memory, codec->block_rows * codec->row_values, sizeof(float));
    codec->codes = lx_alloc_zeroed(memory, channels * codec->row_values, 1);
    codec->grids = lx_alloc_zeroed(memory, channels * (codec->row_values / LX_CHUNK_TOKENS),
                                   sizeof(*codec->grids));
    codec->rows = lx_alloc_zeroed(memory, channels * codec->row_values, sizeof(float));
    LX_REQUIRE(codec->block && codec->codes && codec->rows && codec->grids, LYNX_ERR_MEMORY);
    if (codec->spec.spread) {
        codec->weights = lx_alloc_zeroed(memory, channels, sizeof(*codec->weights));
        codec->here = lx_alloc_zeroed(memory, channels, 1);
        codec->next = lx_alloc_zeroed(memory, channels, 1);
        codec->row_of = lx_alloc_zeroed(memory, channels, sizeof(*codec->row_of));
        LX_REQUIRE(codec->weights && codec->here && codec->next && codec->row_of,
                   LYNX_ERR_MEMORY);
    }
    if (codec->spec.undo_rope) {
        codec->rope_floats = (channels / 2 + 1) * codec->row_values;
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
    const size_t values = codec->options.channels_max * codec->row_values;
    lx_free(memory, codec->block, codec->block_rows * codec->row_values, sizeof(float));
    lx_free(memory, codec->codes, values, 1);
    lx_free(memory, codec->rows, values, sizeof(float));
    lx_free(memory, codec->grids,
            codec->options.channels_max * (codec->row_values / LX_CHUNK_TOKENS),
            sizeof(*codec->grids));
    lx_free(memory, codec->weights, codec->options.channels_max, sizeof(*codec->weights));
    lx_free(memory, codec->here, codec->options.channels_max, 1);
    lx_free(memory, codec->next, codec->options.channels_max, 1);
    lx_free(memory, codec->row_of, codec->options.channels_max, sizeof(*codec->row_of));
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
