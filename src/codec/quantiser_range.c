/* SPDX-License-Identifier: MIT */
/*
 * quantiser_range.c - nested minimum/maximum: docs/algorithm.md, RANGE and TOKEN.
 *
 * A code is a position on an even grid from 'low' in steps of 'step'; its top bits are a code
 * on a coarser grid, so an anchor is the same code with low bits missing.
 */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "codec/quantiser.h"

/* Beyond this a reconstructed half could overflow after the turn of a key pair. */
static const float MAGNITUDE_MAX = 30000.0f;

static void put_half(uint8_t *at, uint16_t half)
{
    at[0] = (uint8_t)half;
    at[1] = (uint8_t)(half >> 8);
}

static uint16_t get_half(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static bool half_is_finite(uint16_t half)
{
    return (half & 0x7C00) != 0x7C00;
}

float lx_centre(uint32_t missing_bits)
{
    return (float)((1u << missing_bits) - 1) * 0.5f;
}

bool lx_cover(float least, float most, uint32_t code_max, uint16_t *low, uint16_t *step)
{
    if (!(least >= -MAGNITUDE_MAX && most <= MAGNITUDE_MAX))
        return false;
    *low = lx_half_below(least);
    const float base = lx_float_of_half(*low);
    uint16_t s = lx_half_above((most - base) / (float)code_max);
    while (base + (float)code_max * lx_float_of_half(s) < most)
        s++;
    *step = s;
    return half_is_finite(*low) && half_is_finite(s);
}

static float inverse_of(float step)
{
    return step > 0.0f ? 1.0f / step : 0.0f;
}

static uint32_t chunk_count(uint32_t tokens)
{
    return (tokens + LX_CHUNK_TOKENS - 1) / LX_CHUNK_TOKENS;
}

size_t lx_channel_meta_bytes(const lynx_codec_spec *spec, uint32_t tokens)
{
    if (spec->profile == LYNX_PROFILE_PAPER)
        return 4 + 2 * (size_t)chunk_count(tokens);
    if (spec->profile != LYNX_PROFILE_RANGE)
        return 0;
    if (spec->chunk_tokens == 0)
        return 4;
    return spec->chunk_meta_wide ? 4 * (size_t)chunk_count(tokens)
                                 : 4 + 2 * (size_t)chunk_count(tokens);
}

size_t lx_head_meta_bytes(const lynx_codec_spec *spec, uint32_t tokens)
{
    return spec->profile == LYNX_PROFILE_TOKEN ? 4 * (size_t)tokens : 0;
}

/* The two bytes of a narrow chunk, relative to the channel's low end and step over the page. */
static lx_grid narrow_grid(const uint8_t *bytes, float page_low, float page_step,
                           uint32_t code_max)
{
    const float low = page_low + (float)bytes[0] * page_step;
    const float width = (float)bytes[1] * page_step;
    return (lx_grid){low, width / (float)code_max};
}

static void encode_narrow(uint8_t *bytes, float least, float most, float page_low,
                          float page_step)
{
    const float inverse = inverse_of(page_step);
    int first = (int)floorf((least - page_low) * inverse);
    first = first < 0 ? 0 : first > 255 ? 255 : first;
    while (first > 0 && page_low + (float)first * page_step > least)
        first--;
    const float low = page_low + (float)first * page_step;
    int width = (int)ceilf((most - low) * inverse);
    width = width < 0 ? 0 : width > 255 ? 255 : width;
    while (width < 255 && low + (float)width * page_step < most)
        width++;
    bytes[0] = (uint8_t)first;
    bytes[1] = (uint8_t)width;
}

/* Grid of chunk 'chunk' from the channel's metadata. */
static lx_grid grid_of(const lx_quantiser *q, const uint8_t *meta, uint32_t chunk)
{
    const uint32_t code_max = (1u << q->code_bits) - 1;
    if (q->spec->chunk_meta_wide)
        meta += 4 * (size_t)chunk;
    const float low = lx_float_of_half(get_half(meta));
    const float step = lx_float_of_half(get_half(meta + 2));
    if (q->spec->chunk_tokens == 0 || q->spec->chunk_meta_wide)
        return (lx_grid){low, step};
    return narrow_grid(meta + 4 + 2 * (size_t)chunk, low, step, code_max);
}

static bool put_cover(uint8_t *meta, float least, float most, uint32_t code_max)
{
    uint16_t low;
    uint16_t step;
    if (!lx_cover(least, most, code_max, &low, &step))
        return false;
    put_half(meta, low);
    put_half(meta + 2, step);
    return true;
}

/* Fill the metadata of a channel whose range over the page is known. */
static bool encode_meta(const lx_quantiser *q, const float *values, float least, float most,
                        uint8_t *meta)
{
    const uint32_t code_max = (1u << q->code_bits) - 1;
    const bool is_narrow = q->spec->chunk_tokens && !q->spec->chunk_meta_wide;
    if (q->spec->chunk_tokens == 0)
        return put_cover(meta, least, most, code_max);
    if (is_narrow && !put_cover(meta, least, most, 255))
        return false;
    const float page_low = lx_float_of_half(get_half(meta));
    const float page_step = lx_float_of_half(get_half(meta + 2));
    for (uint32_t chunk = 0; chunk < chunk_count(q->tokens); chunk++) {
        float low;
        float high;
        if (!q->kernels->range(values + chunk * LX_CHUNK_TOKENS, LX_CHUNK_TOKENS, &low, &high))
            return false;
        if (is_narrow)
            encode_narrow(meta + 4 + 2 * (size_t)chunk, low, high, page_low, page_step);
        else if (!put_cover(meta + 4 * (size_t)chunk, low, high, code_max))
            return false;
    }
    return true;
}

bool lx_range_meta(const lx_quantiser *q, const float *values, uint8_t *meta)
{
    float least;
    float most;
    return q->kernels->range(values, q->padded, &least, &most) &&
           encode_meta(q, values, least, most, meta);
}

void lx_range_grids(const lx_quantiser *q, const uint8_t *meta, bool is_encoding,
                    lx_grid *grids)
{
    const float centre = lx_centre(q->missing_bits);
    const uint32_t count = q->spec->chunk_tokens ? chunk_count(q->tokens) : 1;
    for (uint32_t chunk = 0; chunk < count; chunk++) {
        const lx_grid g = grid_of(q, meta, chunk);
        const float shift = centre * g.scale;
        grids[chunk] = is_encoding ? (lx_grid){g.low, inverse_of(g.scale)}
                                   : (lx_grid){g.low + shift, g.scale};
    }
    const uint32_t padded = q->spec->chunk_tokens ? q->padded / LX_CHUNK_TOKENS : 1;
    for (uint32_t chunk = count; chunk < padded; chunk++)
        grids[chunk] = grids[count - 1];
}

bool lx_range_check(const lx_quantiser *q, const uint8_t *meta)
{
    const uint32_t pairs = q->spec->chunk_meta_wide ? chunk_count(q->tokens) : 1;
    for (uint32_t i = 0; i < pairs; i++)
        if (!half_is_finite(get_half(meta + 4 * (size_t)i)) ||
            !half_is_finite(get_half(meta + 4 * (size_t)i + 2)))
            return false;
    return true;
}

/* ---- TOKEN: one grid for each token of a head ---------------------------------------- */

bool lx_token_encode_head(const lx_quantiser *q, const float *block, size_t row,
                          uint32_t channels, uint8_t *meta, uint8_t *codes)
{
    const uint32_t code_max = (1u << q->code_bits) - 1;
    for (uint32_t t = 0; t < q->tokens; t++) {
        float least = block[t];
        float most = block[t];
        for (uint32_t c = 0; c < channels; c++) {
            const float value = block[c * row + t];
            if (!isfinite(value))
                return false;
            least = value < least ? value : least;
            most = value > most ? value : most;
        }
        uint8_t *own = meta + 4 * (size_t)t;
        if (!put_cover(own, least, most, code_max))
            return false;
        const float low = lx_float_of_half(get_half(own));
        const float inverse = inverse_of(lx_float_of_half(get_half(own + 2)));
        for (uint32_t c = 0; c < channels; c++) {
            const long code = lrintf((block[c * row + t] - low) * inverse);
            const long top = (long)code_max;
            codes[c * row + t] = (uint8_t)(code < 0 ? 0 : code > top ? top : code);
        }
    }
    return true;
}

void lx_token_decode_head(const lx_quantiser *q, const uint8_t *meta, const uint8_t *codes,
                          size_t row, uint32_t channels, float *block)
{
    const float centre = lx_centre(q->missing_bits);
    for (uint32_t t = 0; t < q->tokens; t++) {
        const uint8_t *own = meta + 4 * (size_t)t;
        const float step = lx_float_of_half(get_half(own + 2));
        const float shift = centre * step;
        const float low = lx_float_of_half(get_half(own)) + shift;
        for (uint32_t c = 0; c < channels; c++) {
            const float scaled = (float)codes[c * row + t] * step;
            block[c * row + t] = low + scaled;
        }
    }
}

bool lx_token_check_head(const lx_quantiser *q, const uint8_t *meta)
{
    for (uint32_t t = 0; t < q->tokens; t++)
        if (!half_is_finite(get_half(meta + 4 * (size_t)t)) ||
            !half_is_finite(get_half(meta + 4 * (size_t)t + 2)))
            return false;
    return true;
}
