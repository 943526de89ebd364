/* SPDX-License-Identifier: MIT */
/* bits.c - where the bits of codes lie, as the kernels see them. */
#include <string.h>

#include "codec/page.h"
#include "codec/spread.h"

/* With 'spread' the rows of a channel are gathered in 'codes', all of them beside each other.
 */
static void gathered_area(const lynx_codec *codec, const lx_page_view *v, lx_area *area)
{
    for (uint32_t row = 0; row < codec->code_bits; row++) {
        area->row[row] = lx_codes_row(codec, 0) + row * v->row_bytes;
        area->channel_bytes[row] = codec->row_values;
    }
}

lx_page_bits lx_bits_of(lynx_codec *codec, const lx_page_view *v, uint8_t *const planes[],
                        uint32_t plane_count)
{
    lx_page_bits p = {.codec = codec, .view = v, .meta = planes[0] + v->meta_offset};
    p.area.strips = v->split.coded / LX_KERNEL_TOKENS;
    p.area.grid_pitch = codec->row_values / LX_CHUNK_TOKENS;
    p.area.grid_step = codec->spec.chunk_tokens ? 1 : 0;
    if (codec->spec.spread) {
        gathered_area(codec, v, &p.area);
        p.count = codec->code_bits;
        p.q = lx_page_quantiser(codec, v, 0);
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
    p.q = lx_page_quantiser(codec, v, codec->code_bits - p.count);
    return p;
}

bool lx_rest_init(lx_rest *rest, const lx_page_bits *p, const lx_pair *pair)
{
    const uint32_t first = p->area.strips * LX_KERNEL_TOKENS;
    if (first == p->view->split.coded)
        return false;
    *rest = (lx_rest){.first = first, .tokens = p->view->split.coded - first};
    rest->bytes_each = p->view->row_bytes - first / 8;
    rest->grids = lx_grids_of(p, pair->a) + first / LX_CHUNK_TOKENS * p->area.grid_step;
    rest->area = (lx_area){.strips = 1, .grid_step = p->area.grid_step};
    rest->area.grid_pitch = (pair->b - pair->a) * p->area.grid_pitch;
    for (uint32_t row = 0; row < 8; row++) {
        rest->area.row[row] = rest->bytes[0][row];
        rest->area.channel_bytes[row] = sizeof(rest->bytes[0]);
    }
    return true;
}

uint8_t *lx_rest_at(const lx_page_bits *p, uint32_t row, uint32_t channel)
{
    return p->area.row[row] + channel * p->area.channel_bytes[row] +
           (size_t)p->area.strips * LX_STRIP_BYTES;
}

void lx_get_rest(const lx_page_bits *p, lx_rest *rest, uint32_t channel, uint32_t to)
{
    for (uint32_t row = 0; row < p->count; row++)
        memcpy(rest->bytes[to][row], lx_rest_at(p, row, channel), rest->bytes_each);
}

/* ---- spread -------------------------------------------------------------------------- */

static void find_weights(const lx_page_bits *p)
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

void lx_find_rows(const lx_page_bits *p, uint8_t *const planes[], uint32_t plane_count)
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

void lx_scatter_rows(const lx_page_bits *p)
{
    const lynx_codec *codec = p->codec;
    const uint32_t channels = p->view->shape->channels, count = codec->code_bits;
    const size_t size = p->view->row_bytes;
    for (uint32_t c = 0; c < channels; c++)
        copy_rows(lx_codes_row(codec, c), codec->row_of[c], count, size, false);
}

/* The first 'count' rows of a channel; those that are not here are zero. */
static void gather_rows(const lx_page_bits *p, uint32_t channel, uint32_t count)
{
    const lynx_codec *codec = p->codec;
    const uint32_t here = codec->here[channel];
    const size_t size = p->view->row_bytes;
    uint8_t *gathered = lx_codes_row(codec, channel);
    copy_rows(gathered, codec->row_of[channel], here, size, true);
    memset(gathered + here * size, 0, (count - here) * size);
}

void lx_aim_at_pair(const lx_page_bits *p, const lx_pair *pair, lx_page_bits *own)
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
