/* SPDX-License-Identifier: MIT */
/* tile.c - values of tiles, one by one and in rows. */
#include <string.h>

#include "base/half.h"
#include "codec/page.h"

lynx_tile lx_tile_at(const lynx_tile *tile, uint32_t token, uint32_t channel)
{
    lynx_tile part = *tile;
    part.data = (uint8_t *)tile->data + token * tile->token_stride_bytes +
                channel * tile->channel_stride_bytes;
    return part;
}

lynx_tile lx_wire_tile(const lynx_codec *codec, const lx_page_view *v, void *data)
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
    return value_at(tile, lx_tile_at(tile, token, channel).data);
}

void lynx_tile_set(const lynx_tile *tile, uint32_t token, uint32_t channel, float value)
{
    put_value(tile, lx_tile_at(tile, token, channel).data, value);
}

void lx_copy_values(const lynx_tile *from, const lynx_tile *to, uint32_t tokens,
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

void lx_copy_raw_tokens(const lynx_codec *codec, const lx_page_view *v, const lynx_tile *page,
                        uint8_t *plane, bool is_encoding)
{
    const uint32_t channels = v->shape->channels;
    const lynx_tile wire = lx_wire_tile(codec, v, plane + LX_MODE_BYTES);
    const lynx_tile wire_tail = lx_tile_at(&wire, v->split.head, 0);
    const lynx_tile page_tail = lx_tile_at(page, v->split.head + v->split.coded, 0);
    lx_copy_values(is_encoding ? page : &wire, is_encoding ? &wire : page, v->split.head,
                   channels);
    lx_copy_values(is_encoding ? &page_tail : &wire_tail, is_encoding ? &wire_tail : &page_tail,
                   v->split.tail, channels);
}

lynx_tile lx_rows_of(const lynx_codec *codec, const lynx_tile *tile)
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

void lx_move_rows(const lx_page_bits *p, const lynx_tile *from, const lynx_tile *to,
                  uint32_t tokens)
{
    const uint32_t channels = p->view->shape->channels;
    if (from->data == to->data)
        return;
    if (from->element == to->element)
        p->codec->kernels->transpose(from, to, tokens, channels);
    else
        lx_copy_values(from, to, tokens, channels);
}
