/* SPDX-License-Identifier: MIT */
/* bits.c - where the bits of codes lie, as the kernels see them. */
#include <string.h>

#include "codec/page.h"
#include "codec/spread.h"

lx_page_bits lx_bits_of(lynx_codec *codec, const lx_page_view *v, uint8_t *const planes[],
                        uint32_t plane_count, lx_part part)
{
    const uint32_t earlier = lx_part_tokens(v, LX_PART_EARLIER);
    const bool is_recent = part == LX_PART_RECENT;
    lx_page_bits p = {
        .codec = codec,
        .view = v,
        .meta = planes[0] + v->meta_offset,
        .plane_count = is_recent ? codec->plane_count : plane_count,
        .first = is_recent ? earlier : 0,
        .tokens = lx_part_tokens(v, part),
        .grid_pitch = codec->row_values / LX_CHUNK_TOKENS,
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

static void find_weights(const lx_page_bits *p)
{
    lynx_codec *codec = p->codec;
    const uint32_t channels = p->view->shape->channels;
    float *squares = codec->squares;
    lx_range_steps(&p->q, channels, p->meta, codec->weights);
    memset(squares, 0, channels * sizeof(*squares));
    if (p->view->side == LYNX_SIDE_KEYS) {
        lx_range_squares(&p->q, channels, p->meta, squares);
        lx_pair_walk walk = lx_walk_pairs(codec, p->view, 0);
        lx_pair pair;
        while (lx_next_pair(&walk, &pair) && pair.cosines) {
            squares[pair.a] += squares[pair.b];
            squares[pair.b] = squares[pair.a];
        }
    }
    for (uint32_t c = 0; c < channels; c++)
        codec->weights[c] = lx_spread_weight(codec->weights[c], squares[c]);
}

/* The rows of one plane from 'at' on, by the bits without and with it. Always eight at once and
 * into what is behind them: a loop of as many as there are is foreseen wrongly for most
 * channels (a page of 192 channels: 2 us). */
static void place_rows(const uint8_t *before, const uint8_t *now, uint32_t channels,
                       uint8_t *at, size_t size, uint8_t *(*row_of)[LX_ROWS_ROOM])
{
    for (uint32_t c = 0; c < channels; c++) {
        const uint32_t count = now[c] - before[c];
        uint8_t **rows = row_of[c] + before[c];
        for (uint32_t done = 0; done < count; done += LX_ROWS_STEP)
            for (uint32_t i = done; i < done + LX_ROWS_STEP; i++)
                rows[i] = at + i * size;
        at += count * size;
    }
}

/* A page of 96 KiB from memory: 2 us less. */
static void prefetch_rows(const uint8_t *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(at + i, 0, 2);
}

void lx_find_rows(const lx_page_bits *p)
{
    lynx_codec *codec = p->codec;
    const uint32_t channels = p->view->shape->channels;
    const size_t size = p->row_bytes;
    uint32_t total = 0;
    if (codec->spec.spread)
        find_weights(p);
    memset(codec->here, 0, channels);
    for (uint32_t plane = 0; plane < p->plane_count; plane++) {
        const uint32_t rows = lx_plane_rows(codec, p->view, plane);
        prefetch_rows(p->rows[plane], rows * size);
        total += rows;
        if (!codec->spec.spread)
            memset(codec->next, (int)(total / channels), channels);
        else
            lx_spread_bits(codec->weights, channels, total, codec->code_bits, codec->next);
        place_rows(codec->here, codec->next, channels, p->rows[plane], size, codec->row_of);
        memcpy(codec->here, codec->next, channels);
    }
}

/* ---- the rest -------------------------------------------------------------------------- */

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
    rest->area.a.row = rest->rows[0];
    rest->area.b.row = rest->rows[1];
    rest->area.a.grids += chunk;
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
