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

static void quantize(const float *values, uint32_t count, float low, float inverse,
                     uint32_t code_max, uint8_t *codes)
{
    for (uint32_t i = 0; i < count; i++) {
        const float scaled = (values[i] - low) * inverse;
        const long rounded = lrintf(scaled);
        const long most = (long)code_max;
        codes[i] = (uint8_t)(rounded < 0 ? 0 : rounded > most ? most : rounded);
    }
}

static void dequantize(const uint8_t *codes, uint32_t count, float low, float step,
                       float *values)
{
    for (uint32_t i = 0; i < count; i++) {
        const float scaled = (float)codes[i] * step;
        values[i] = low + scaled;
    }
}

static void pack(const uint8_t *codes, uint32_t count, uint32_t shift, uint32_t bits,
                 uint8_t *rows, size_t row_bytes)
{
    for (uint32_t row = 0; row < bits; row++) {
        const uint32_t bit = shift + bits - 1 - row;
        for (uint32_t i = 0; i < count; i += 8) {
            uint32_t byte = 0;
            for (uint32_t k = 0; k < 8; k++)
                byte |= ((uint32_t)(codes[i + k] >> bit) & 1u) << k;
            rows[row * row_bytes + i / 8] = (uint8_t)byte;
        }
    }
}

static void unpack(const uint8_t *rows, size_t row_bytes, uint32_t count, uint32_t shift,
                   uint32_t bits, uint8_t *codes)
{
    for (uint32_t row = 0; row < bits; row++) {
        const uint32_t bit = shift + bits - 1 - row;
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t value = (uint32_t)(rows[row * row_bytes + i / 8] >> (i % 8)) & 1u;
            codes[i] = (uint8_t)(codes[i] | value << bit);
        }
    }
}

static void rotate(float *a, float *b, const float *cosines, const float *sines, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const float ac = a[i] * cosines[i];
        const float bs = b[i] * sines[i];
        const float as = a[i] * sines[i];
        const float bc = b[i] * cosines[i];
        a[i] = ac - bs;
        b[i] = as + bc;
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
