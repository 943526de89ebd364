/* SPDX-License-Identifier: MIT */
/* kernels_reference.c - plain loops: the definition that all tables are held to. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "codec/kernels.h"
#include "codec/rope_block.h"
#include "codec/spread.h"

static float load_value(const uint8_t *at, lynx_element element)
{
    uint16_t half;
    float value;
    if (element == LYNX_ELEMENT_F32) {
        memcpy(&value, at, sizeof(value));
        return value;
    }
    memcpy(&half, at, sizeof(half));
    return element == LYNX_ELEMENT_F16 ? lx_float_of_half(half) : lx_float_of_bfloat(half);
}

static void store_value(uint8_t *at, lynx_element element, float value)
{
    if (element == LYNX_ELEMENT_F32) {
        memcpy(at, &value, sizeof(value));
        return;
    }
    const uint16_t half =
        element == LYNX_ELEMENT_F16 ? lx_half_of_float(value) : lx_bfloat_of_float(value);
    memcpy(at, &half, sizeof(half));
}

static uint8_t *value_at(const lynx_tile *tile, uint32_t token, uint32_t channel)
{
    return (uint8_t *)tile->data + token * tile->token_stride_bytes +
           channel * tile->channel_stride_bytes;
}

static void transpose(const lynx_tile *from, const lynx_tile *to, uint32_t tokens,
                      uint32_t channels)
{
    const size_t bytes = from->element == LYNX_ELEMENT_F32 ? 4 : 2;
    for (uint32_t c = 0; c < channels; c++)
        for (uint32_t t = 0; t < tokens; t++)
            memcpy(value_at(to, t, c), value_at(from, t, c), bytes);
}

/* Turn (x, y) forth; with the sine's sign changed, back. */
static void turn(float *x, float *y, float cosine, float sine)
{
    const float xc = *x * cosine;
    const float ys = *y * sine;
    const float xs = *x * sine;
    const float yc = *y * cosine;
    *x = xc - ys;
    *y = xs + yc;
}

static void load(const lynx_tile *rows, const lx_pair *pair, uint32_t count, float *a, float *b)
{
    for (uint32_t t = 0; t < count; t++) {
        a[t] = load_value(value_at(rows, t, pair->a), rows->element);
        if (!pair->cosines)
            continue;
        b[t] = load_value(value_at(rows, t, pair->b), rows->element);
        turn(&a[t], &b[t], pair->cosines[t], -pair->sines[t]);
    }
}

static void store(const float *a, const float *b, const lx_pair *pair, uint32_t count,
                  const lynx_tile *rows)
{
    for (uint32_t t = 0; t < count; t++) {
        float x = a[t];
        if (pair->cosines) {
            float y = b[t];
            turn(&x, &y, pair->cosines[t], pair->sines[t]);
            store_value(value_at(rows, t, pair->b), rows->element, y);
        }
        store_value(value_at(rows, t, pair->a), rows->element, x);
    }
}

static bool extend(lx_extent *extent, float value)
{
    extent->least = value < extent->least ? value : extent->least;
    extent->most = value > extent->most ? value : extent->most;
    return isfinite(value);
}

static bool extents(const lynx_tile *rows, const lx_pair *pair, uint32_t count, lx_extent *a,
                    lx_extent *b)
{
    bool is_finite = true;
    for (uint32_t t = 0; t < count; t++) {
        float x = load_value(value_at(rows, t, pair->a), rows->element);
        if (pair->cosines) {
            float y = load_value(value_at(rows, t, pair->b), rows->element);
            turn(&x, &y, pair->cosines[t], -pair->sines[t]);
            if (t == 0)
                *b = (lx_extent){y, y};
            is_finite = extend(b, y) && is_finite;
        }
        if (t == 0)
            *a = (lx_extent){x, x};
        is_finite = extend(a, x) && is_finite;
    }
    /* A zero has no sign here, so that tables may compare in any order. */
    *a = (lx_extent){a->least + 0.0f, a->most + 0.0f};
    if (pair->cosines)
        *b = (lx_extent){b->least + 0.0f, b->most + 0.0f};
    return is_finite;
}

static void pack_strip(const uint16_t *codes, uint32_t code_bits, const lx_channel *channel,
                       uint32_t strip)
{
    for (uint32_t row = 0; row < channel->bits; row++) {
        uint8_t *bytes = channel->row[row] + (size_t)strip * LX_STRIP_BYTES;
        for (uint32_t i = 0; i < LX_KERNEL_TOKENS; i += 8) {
            uint32_t byte = 0;
            for (uint32_t k = 0; k < 8; k++)
                byte |= ((uint32_t)(codes[i + k] >> (code_bits - 1 - row)) & 1u) << k;
            bytes[i / 8] = (uint8_t)byte;
        }
    }
}

static void unpack_strip(const lx_channel *channel, uint32_t strip, uint32_t code_bits,
                         uint16_t *codes)
{
    memset(codes, 0, LX_KERNEL_TOKENS * sizeof(*codes));
    for (uint32_t row = 0; row < channel->bits; row++) {
        const uint8_t *bytes = channel->row[row] + (size_t)strip * LX_STRIP_BYTES;
        for (uint32_t i = 0; i < LX_KERNEL_TOKENS; i++) {
            const uint32_t bit = (uint32_t)(bytes[i / 8] >> (i % 8)) & 1u;
            codes[i] = (uint16_t)(codes[i] | bit << (code_bits - 1 - row));
        }
    }
}

static void pack(const uint8_t *codes, const lx_area *area)
{
    for (uint32_t s = 0; s < area->strips; s++) {
        uint16_t words[LX_KERNEL_TOKENS];
        for (uint32_t i = 0; i < LX_KERNEL_TOKENS; i++)
            words[i] = codes[s * LX_KERNEL_TOKENS + i];
        pack_strip(words, area->code_bits, &area->a, s);
    }
}

static void unpack(const lx_area *area, uint8_t *codes)
{
    for (uint32_t s = 0; s < area->strips; s++) {
        uint16_t words[LX_KERNEL_TOKENS];
        unpack_strip(&area->a, s, area->code_bits, words);
        for (uint32_t i = 0; i < LX_KERNEL_TOKENS; i++)
            codes[s * LX_KERNEL_TOKENS + i] = (uint8_t)words[i];
    }
}

static lx_grid grid_at(const lx_area *area, const lx_channel *channel, uint32_t token)
{
    return channel->grids[token / LX_CHUNK_TOKENS * area->grid_step];
}

static float bent_steps(float value, lx_grid grid)
{
    const float u = (value - grid.low) * grid.scale;
    const float under = LX_BEND_SQUARE + LX_BEND_WIDTH * fabsf(u);
    const float e = sqrtf(under) - LX_BEND_ROOT;
    return LX_BEND_MIDDLE + copysignf(e, u);
}

static float bent_value(float steps, lx_grid grid)
{
    const float d = steps + grid.shift;
    const float slope = grid.scale + fabsf(d) * grid.bend;
    const float above = d * slope;
    return grid.low + above;
}

/* Codes in a step. */
static float parts_of(const lx_area *area)
{
    return area->code_bits == LX_FINE_BITS ? (float)LX_FINE_PARTS : 1.0f;
}

static void put_strip(const float *values, const lx_area *area, const lx_channel *channel,
                      uint32_t strip)
{
    const long most = (1l << area->code_bits) - 1;
    uint16_t codes[LX_KERNEL_TOKENS];
    for (uint32_t i = 0; i < LX_KERNEL_TOKENS; i++) {
        const lx_grid grid = grid_at(area, channel, strip * LX_KERNEL_TOKENS + i);
        const float steps =
            area->is_bent ? bent_steps(values[i], grid) : (values[i] - grid.low) * grid.scale;
        const long rounded = lrintf(steps * parts_of(area));
        codes[i] = (uint16_t)(rounded < 0 ? 0 : rounded > most ? most : rounded);
    }
    pack_strip(codes, area->code_bits, channel, strip);
}

static void get_strip(const lx_area *area, const lx_channel *channel, uint32_t strip,
                      float *values)
{
    uint16_t codes[LX_KERNEL_TOKENS];
    unpack_strip(channel, strip, area->code_bits, codes);
    for (uint32_t i = 0; i < LX_KERNEL_TOKENS; i++) {
        const lx_grid grid = grid_at(area, channel, strip * LX_KERNEL_TOKENS + i);
        const float steps = (float)codes[i] / parts_of(area);
        const float scaled = steps * grid.scale;
        values[i] = area->is_bent ? bent_value(steps, grid) : grid.low + scaled;
    }
}

/* The tokens of one strip. */
static lynx_tile strip_of_rows(const lynx_tile *rows, uint32_t strip)
{
    lynx_tile part = *rows;
    part.data = value_at(rows, strip * LX_KERNEL_TOKENS, 0);
    return part;
}

static lx_pair strip_of_pair(const lx_pair *pair, uint32_t strip)
{
    lx_pair part = *pair;
    if (pair->cosines) {
        part.cosines += (size_t)strip * LX_KERNEL_TOKENS;
        part.sines += (size_t)strip * LX_KERNEL_TOKENS;
    }
    return part;
}

static void quantize(const lynx_tile *rows, const lx_pair *pair, const lx_area *area)
{
    for (uint32_t s = 0; s < area->strips; s++) {
        float a[LX_KERNEL_TOKENS];
        float b[LX_KERNEL_TOKENS];
        const lynx_tile from = strip_of_rows(rows, s);
        const lx_pair part = strip_of_pair(pair, s);
        load(&from, &part, LX_KERNEL_TOKENS, a, b);
        put_strip(a, area, &area->a, s);
        if (pair->cosines)
            put_strip(b, area, &area->b, s);
    }
}

static void dequantize(const lx_area *area, const lx_pair *pair, const lynx_tile *rows)
{
    for (uint32_t s = 0; s < area->strips; s++) {
        float a[LX_KERNEL_TOKENS];
        float b[LX_KERNEL_TOKENS];
        const lynx_tile to = strip_of_rows(rows, s);
        const lx_pair part = strip_of_pair(pair, s);
        get_strip(area, &area->a, s, a);
        if (pair->cosines)
            get_strip(area, &area->b, s, b);
        store(a, b, &part, LX_KERNEL_TOKENS, &to);
    }
}

const lx_kernels lx_kernels_reference = {
    .name = "reference",
    .floats = lx_floats_of_halves,
    .spread = lx_spread_bits,
    .transpose = transpose,
    .turn = lx_rope_block,
    .load = load,
    .store = store,
    .extents = extents,
    .quantize = quantize,
    .dequantize = dequantize,
    .pack = pack,
    .unpack = unpack,
};
