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

static void load(float *block, size_t row_floats, const lynx_tile *tile, uint32_t tokens,
                 uint32_t channels)
{
    for (uint32_t c = 0; c < channels; c++)
        for (uint32_t t = 0; t < tokens; t++)
            block[c * row_floats + t] =
                load_value((const uint8_t *)tile->data + t * tile->token_stride_bytes +
                               c * tile->channel_stride_bytes,
                           tile->element);
}

static void store(const float *block, size_t row_floats, const lynx_tile *tile, uint32_t tokens,
                  uint32_t channels)
{
    for (uint32_t c = 0; c < channels; c++)
        for (uint32_t t = 0; t < tokens; t++)
            store_value((uint8_t *)tile->data + t * tile->token_stride_bytes +
                            c * tile->channel_stride_bytes,
                        tile->element, block[c * row_floats + t]);
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

static void pack(const uint8_t *codes, uint32_t code_bits, const lx_area *area)
{
    for (uint32_t c = 0; c < area->channels; c++)
        for (uint32_t s = 0; s < area->strips; s++)
            pack_strip(codes + c * area->pitch + (size_t)s * LX_KERNEL_TOKENS, code_bits, area,
                       c, s);
}

static void unpack(const lx_area *area, uint32_t bits, uint32_t code_bits, uint8_t *codes)
{
    for (uint32_t c = 0; c < area->channels; c++)
        for (uint32_t s = 0; s < area->strips; s++)
            unpack_strip(area, c, s, bits, code_bits,
                         codes + c * area->pitch + (size_t)s * LX_KERNEL_TOKENS);
}

static lx_grid grid_at(const lx_area *area, const lx_grid *grids, uint32_t channel,
                       uint32_t token)
{
    return grids[channel * area->grid_pitch + token / LX_CHUNK_TOKENS];
}

static void quantize(const float *values, const lx_grid *grids, uint32_t code_bits,
                     const lx_area *area)
{
    const long most = (1l << code_bits) - 1;
    for (uint32_t c = 0; c < area->channels; c++)
        for (uint32_t s = 0; s < area->strips; s++) {
            uint8_t codes[LX_KERNEL_TOKENS];
            for (uint32_t i = 0; i < LX_KERNEL_TOKENS; i++) {
                const uint32_t t = s * LX_KERNEL_TOKENS + i;
                const lx_grid grid = grid_at(area, grids, c, t);
                const float scaled = (values[c * area->pitch + t] - grid.low) * grid.scale;
                const long rounded = lrintf(scaled);
                codes[i] = (uint8_t)(rounded < 0 ? 0 : rounded > most ? most : rounded);
            }
            pack_strip(codes, code_bits, area, c, s);
        }
}

static void dequantize(const lx_area *area, uint32_t bits, uint32_t code_bits,
                       const lx_grid *grids, float *values)
{
    for (uint32_t c = 0; c < area->channels; c++)
        for (uint32_t s = 0; s < area->strips; s++) {
            uint8_t codes[LX_KERNEL_TOKENS];
            unpack_strip(area, c, s, bits, code_bits, codes);
            for (uint32_t i = 0; i < LX_KERNEL_TOKENS; i++) {
                const uint32_t t = s * LX_KERNEL_TOKENS + i;
                const lx_grid grid = grid_at(area, grids, c, t);
                const float scaled = (float)codes[i] * grid.scale;
                values[c * area->pitch + t] = grid.low + scaled;
            }
        }
}

static void rotate(float *a, float *b, size_t pitch, const float *cosines, const float *sines,
                   size_t table_pitch, uint32_t pairs, uint32_t count)
{
    for (uint32_t pair = 0; pair < pairs; pair++)
        for (uint32_t i = 0; i < count; i++) {
            float *x = &a[pair * pitch + i];
            float *y = &b[pair * pitch + i];
            const float cosine = cosines[pair * table_pitch + i];
            const float sine = sines[pair * table_pitch + i];
            const float xc = *x * cosine;
            const float ys = *y * sine;
            const float xs = *x * sine;
            const float yc = *y * cosine;
            *x = xc - ys;
            *y = xs + yc;
        }
}

const lx_kernels lx_kernels_reference = {
    .name = "reference",
    .load = load,
    .store = store,
    .range = range,
    .quantize = quantize,
    .dequantize = dequantize,
    .pack = pack,
    .unpack = unpack,
    .rotate = rotate,
};
