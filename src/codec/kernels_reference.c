/* SPDX-License-Identifier: MIT */
/* kernels_reference.c - plain loops: the definition that all tables are held to. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "codec/kernels.h"

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

static bool range(const float *values, uint32_t count, float *least, float *most)
{
    float low = values[0];
    float high = values[0];
    bool is_finite = true;
    for (uint32_t i = 0; i < count; i++) {
        is_finite = is_finite && isfinite(values[i]);
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
    }
    /* A zero has no sign here, so that tables may compare in any order. */
    *least = low + 0.0f;
    *most = high + 0.0f;
    return is_finite;
}

static void pack_strip(const uint8_t *codes, uint32_t code_bits, const lx_area *area,
                       uint32_t channel, uint32_t strip)
{
    for (uint32_t row = 0; row < code_bits; row++) {
        uint8_t *bytes = area->row[row] + channel * area->channel_bytes[row] +
                         (size_t)strip * LX_STRIP_BYTES;
        for (uint32_t i = 0; i < LX_KERNEL_TOKENS; i += 8) {
            uint32_t byte = 0;
            for (uint32_t k = 0; k < 8; k++)
                byte |= ((uint32_t)(codes[i + k] >> (code_bits - 1 - row)) & 1u) << k;
            bytes[i / 8] = (uint8_t)byte;
        }
    }
}

static void unpack_strip(const lx_area *area, uint32_t channel, uint32_t strip, uint32_t bits,
                         uint32_t code_bits, uint8_t *codes)
{
    memset(codes, 0, LX_KERNEL_TOKENS);
    for (uint32_t row = 0; row < bits; row++) {
        const uint8_t *bytes = area->row[row] + channel * area->channel_bytes[row] +
                               (size_t)strip * LX_STRIP_BYTES;
        for (uint32_t i = 0; i < LX_KERNEL_TOKENS; i++) {
            const uint32_t bit = (uint32_t)(bytes[i / 8] >> (i % 8)) & 1u;
            codes[i] = (uint8_t)(codes[i] | bit << (code_bits - 1 - row));
        }
    }
}

static void pack(const uint8_t *codes, uint32_t code_bits, const lx_area *area,
                 uint32_t channel)
{
    for (uint32_t s = 0; s < area->strips; s++)
        pack_strip(codes + (size_t)s * LX_KERNEL_TOKENS, code_bits, area, channel, s);
}

static void unpack(const lx_area *area, uint32_t channel, uint32_t bits, uint32_t code_bits,
                   uint8_t *codes)
{
    for (uint32_t s = 0; s < area->strips; s++)
        unpack_strip(area, channel, s, bits, code_bits, codes + (size_t)s * LX_KERNEL_TOKENS);
}

static lx_grid grid_at(const lx_area *area, const lx_grid *grids, uint32_t channel,
                       uint32_t token)
{
    return grids[channel * area->grid_pitch + token / LX_CHUNK_TOKENS * area->grid_step];
}

static void quantize(const float *values, const lx_grid *grids, uint32_t code_bits,
                     const lx_area *area, uint32_t channel)
{
    const long most = (1l << code_bits) - 1;
    for (uint32_t s = 0; s < area->strips; s++) {
        uint8_t codes[LX_KERNEL_TOKENS];
        for (uint32_t i = 0; i < LX_KERNEL_TOKENS; i++) {
            const uint32_t t = s * LX_KERNEL_TOKENS + i;
            const lx_grid grid = grid_at(area, grids, channel, t);
            const float scaled = (values[t] - grid.low) * grid.scale;
            const long rounded = lrintf(scaled);
            codes[i] = (uint8_t)(rounded < 0 ? 0 : rounded > most ? most : rounded);
        }
        pack_strip(codes, code_bits, area, channel, s);
    }
}

static void get_strip(const lx_area *area, uint32_t channel, uint32_t strip, uint32_t bits,
                      uint32_t code_bits, const lx_grid *grids, float *values)
{
    uint8_t codes[LX_KERNEL_TOKENS];
    unpack_strip(area, channel, strip, bits, code_bits, codes);
    for (uint32_t i = 0; i < LX_KERNEL_TOKENS; i++) {
        const lx_grid grid = grid_at(area, grids, channel, strip * LX_KERNEL_TOKENS + i);
        const float scaled = (float)codes[i] * grid.scale;
        values[i] = grid.low + scaled;
    }
}

static void dequantize(const lx_area *area, const lx_pair *pair, uint32_t bits,
                       uint32_t code_bits, const lx_grid *grids, const lynx_tile *rows)
{
    for (uint32_t s = 0; s < area->strips; s++) {
        const uint32_t first = s * LX_KERNEL_TOKENS;
        float a[LX_KERNEL_TOKENS];
        float b[LX_KERNEL_TOKENS];
        lx_pair part = *pair;
        lynx_tile to = *rows;
        to.data = value_at(rows, first, 0);
        get_strip(area, pair->a, s, bits, code_bits, grids, a);
        if (pair->cosines) {
            get_strip(area, pair->b, s, bits, code_bits, grids, b);
            part.cosines += first;
            part.sines += first;
        }
        store(a, b, &part, LX_KERNEL_TOKENS, &to);
    }
}

const lx_kernels lx_kernels_reference = {
    .name = "reference",
    .transpose = transpose,
    .load = load,
    .store = store,
    .range = range,
    .quantize = quantize,
    .dequantize = dequantize,
    .pack = pack,
    .unpack = unpack,
};
