/* SPDX-License-Identifier: MIT */
/* bits.c - where the bits of codes lie, as the kernels see them. */
#include <string.h>

#include "codec/page.h"
#include "codec/spread.h"

lx_page_bits lx_bits_of(lynx_codec *codec, const lx_page_view *v, uint8_t *const planes[],
                        uint32_t plane_count, lx_part part, bool is_reading)
{
    const uint32_t earlier = lx_part_tokens(v, LX_PART_EARLIER);
    const bool is_recent = part == LX_PART_RECENT;
    lx_page_bits p = {
        .codec = codec,
        .view = v,
        .meta = planes[0] + v->meta_offset,
        .plane_count = is_recent ? codec->plane_count : plane_count,
        .blank = is_reading ? codec->zeros : codec->sink,
        .first = is_recent ? earlier : 0,
        .tokens = lx_part_tokens(v, part),
    };
    p.row_bytes = lx_row_bytes(p.tokens);
    uint32_t bits = 0;
    uint8_t *at = planes[0] + v->rows_offset;
    if (is_recent)
        at += lx_plane_rows(codec, v, 0) * lx_row_bytes(earlier);
    for (uint32_t plane = 0; plane < p.plane_count; plane++) {
        p.rows[plane] = is_recent || plane == 0 ? at : planes[plane];
        if (is_recent)
            at += lx_plane_rows(codec, v, plane) * p.row_bytes;
        bits += codec->spec.plane_bits[v->side][plane];
    }
    p.q = lx_page_quantiser(codec, v, p.tokens, codec->code_bits - bits);
    return p;
}

/* Of the keys that turn together both have the sum. */
static void add_pairs(const lx_page_bits *p, float *squares)
{
    lx_pair_walk walk = lx_walk_pairs(p->codec, p->view, 0);
    lx_pair pair;
    while (lx_next_pair(&walk, &pair) && pair.cosines) {
        const float sum = squares[pair.a] + squares[pair.b];
        squares[pair.a] = sum;
        squares[pair.b] = sum;
    }
}

static void find_weights(const lx_page_bits *p)
{
    const lynx_codec *codec = p->codec;
    const uint32_t channels = p->view->shape->channels;
    float *squares = codec->squares;
    uint16_t *weights = codec->weights;
    memset(squares, 0, channels * sizeof(*squares));
    if (p->view->side == LYNX_SIDE_KEYS) {
        lx_range_squares(&p->q, channels, squares);
        add_pairs(p, squares);
    }
    const uint16_t *steps = codec->shared.step_halves;
    for (uint32_t c = 0; c < channels; c++)
        weights[c] = lx_spread_weight(steps[c], squares[c]);
}

/* A page of 96 KiB from memory: 2 us less. */
static void prefetch_rows(const uint8_t *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(at + i, 0, 2);
}

/* So many at once, from any row on. */
static inline void put_blanks(uint8_t **rows, uint8_t *blank)
{
    for (uint32_t i = 0; i < LX_ROWS_BLANK; i++)
        rows[i] = blank;
}

void lx_find_rows(const lx_page_bits *p)
{
    lynx_codec *codec = p->codec;
    const uint32_t channels = p->view->shape->channels;
    uint32_t total = 0;
    /* Pairs that turn lie apart: what is read next is not what lies behind. */
    const bool is_scattered = lx_walk_pairs(p->codec, p->view, 0).table != NULL;
    put_blanks(codec->pair_rows[0], p->blank);
    put_blanks(codec->pair_rows[1], p->blank);
    if (codec->spec.spread)
        find_weights(p);
    for (uint32_t plane = 0; plane < p->plane_count; plane++) {
        uint8_t *bits = lx_bits_with(codec, plane);
        uint32_t *rows_before = codec->rows_before + plane * codec->options.channels_max;
        const uint32_t all = lx_plane_rows(codec, p->view, plane);
        if (is_scattered)
            prefetch_rows(p->rows[plane], all * p->row_bytes);
        total += all;
        if (!codec->spec.spread)
            memset(bits, (int)(total / channels), channels);
        else
            codec->kernels->spread(codec->weights, channels, total, codec->code_bits, bits);
        uint32_t rows = 0;
        for (uint32_t c = 0; c < channels; c++) {
            rows_before[c] = rows;
            rows += bits[c];
            if (plane > 0)
                rows -= lx_bits_with(codec, plane - 1)[c];
        }
    }
}

/* Always eight rows at once and into what is behind them: a loop of as many as there are is
 * foreseen wrongly for most channels (a page of 192 channels: 2 us). */
static inline void find_channel(const lx_page_bits *p, uint32_t channel, uint8_t **room,
                                lx_channel *found)
{
    enum { STEP = LX_ROWS_BLANK };
    const lynx_codec *codec = p->codec;
    const size_t size = p->row_bytes;
    uint8_t **rows = room + LX_ROWS_BLANK;
    uint32_t bits = 0;
    for (uint32_t plane = 0; plane < p->plane_count; plane++) {
        const size_t index = plane * (size_t)codec->options.channels_max + channel;
        const uint32_t now = codec->bits[index];
        uint8_t *at = p->rows[plane] + codec->rows_before[index] * size;
        for (uint32_t first = bits; first < now; first += STEP)
            for (uint32_t i = first; i < first + STEP; i++, at += size)
                rows[i] = at;
        bits = now;
    }
    put_blanks(rows + bits, p->blank);
    found->row = rows;
    found->bits = bits;
    found->grids = lx_grids_of(p, channel);
}

void lx_find_area(const lx_page_bits *p, const lx_pair *pair, lx_area *area)
{
    lynx_codec *codec = p->codec;
    find_channel(p, pair->a, codec->pair_rows[0], &area->a);
    if (pair->cosines)
        find_channel(p, pair->b, codec->pair_rows[1], &area->b);
    area->strips = p->tokens / LX_KERNEL_TOKENS;
    area->code_bits = codec->code_bits;
    area->grid_step = codec->spec.chunk_tokens ? 1 : 0;
    area->is_bent = p->q.is_bent;
    area->is_final = false;
}

/* ---- the rest -------------------------------------------------------------------------- */

static void find_rest_rows(const lx_page_bits *p, lx_rest *rest, uint32_t side,
                           lx_channel *channel)
{
    uint8_t **rows = rest->rows[side] + LX_ROWS_BLANK;
    put_blanks(rest->rows[side], p->blank);
    for (uint32_t row = 0; row < channel->bits; row++)
        rows[row] = rest->bytes[side][row];
    put_blanks(rows + channel->bits, p->blank);
    channel->row = rows;
}

lx_rest *lx_rest_of(const lx_page_bits *p, const lx_area *area, const lx_pair *pair,
                    const lynx_tile *rows)
{
    lx_rest *rest = &p->codec->rest;
    const uint32_t first = area->strips * LX_KERNEL_TOKENS;
    const size_t chunk = (size_t)first / LX_CHUNK_TOKENS * area->grid_step;
    rest->first = first;
    rest->tokens = p->tokens - first;
    rest->bytes_each = p->row_bytes - first / 8;
    rest->area = *area;
    rest->area.strips = 1;
    rest->area.is_final = false;
    find_rest_rows(p, rest, 0, &rest->area.a);
    if (pair->cosines)
        find_rest_rows(p, rest, 1, &rest->area.b);
    rest->area.a.grids += chunk;
    if (pair->cosines)
        rest->area.b.grids += chunk;
    rest->pair = (lx_pair){.a = 0, .b = 1};
    if (pair->cosines) {
        rest->pair.cosines = pair->cosines + first;
        rest->pair.sines = pair->sines + first;
    }
    if (rows) {
        rest->tile = *rows;
        rest->tile.data = rest->values;
        rest->tile.channel_stride_bytes = sizeof(rest->values[0]);
    }
    return rest;
}

/* Bits behind the last token are zero. */
static void put_rest(const lx_rest *rest, uint32_t side, const lx_channel *channel)
{
    const uint32_t left = rest->tokens % 8;
    for (uint32_t row = 0; row < channel->bits; row++) {
        uint8_t *at = channel->row[row] + rest->first / 8;
        memcpy(at, rest->bytes[side][row], rest->bytes_each);
        if (left)
            at[rest->bytes_each - 1] &= (uint8_t)((1u << left) - 1);
    }
}

static void get_rest(lx_rest *rest, uint32_t side, const lx_channel *channel)
{
    for (uint32_t row = 0; row < channel->bits; row++)
        memcpy(rest->bytes[side][row], channel->row[row] + rest->first / 8, rest->bytes_each);
}

void lx_rest_bits(lx_rest *rest, const lx_area *area, bool is_reading)
{
    for (uint32_t side = 0; side < (rest->pair.cosines ? 2 : 1); side++) {
        const lx_channel *channel = side ? &area->b : &area->a;
        if (is_reading)
            get_rest(rest, side, channel);
        else
            put_rest(rest, side, channel);
    }
}

void lx_rest_values(lx_rest *rest, const lx_pair *pair, const lynx_tile *rows, bool is_reading)
{
    const size_t bytes = rest->tokens * rows->token_stride_bytes;
    for (uint32_t side = 0; side < (pair->cosines ? 2 : 1); side++) {
        void *at = lx_tile_at(rows, rest->first, side ? pair->b : pair->a).data;
        memcpy(is_reading ? (void *)rest->values[side] : at,
               is_reading ? at : (void *)rest->values[side], bytes);
    }
}
