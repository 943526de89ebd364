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

/* A low end and a step, or a channel's range over the page that chunks are relative to. */
typedef struct half_pair {
    uint16_t low, step;
} half_pair;

static bool pair_is_finite(half_pair pair)
{
    return half_is_finite(pair.low) && half_is_finite(pair.step);
}

/* Steps from the first code to the last. */
static float width_of(uint32_t code_bits)
{
    return (float)((1u << code_bits) - 1) / lx_parts_of(code_bits);
}

/* The tightest pair but for what its sum was rounded by. Halves have 'low_zeros' and
 * 'step_zeros' as their lowest bits. */
static inline half_pair cover(float least, float most, float steps, uint16_t low_zeros,
                              uint16_t step_zeros)
{
    uint16_t low = lx_half_below(least);
    /* Down is away from zero. */
    low = (uint16_t)((low + (low >> 15) * low_zeros) & ~low_zeros);
    const uint16_t step = lx_half_above((most - lx_float_of_half(low)) / steps);
    return (half_pair){low, (uint16_t)((step + step_zeros) & ~step_zeros)};
}

static inline bool is_short(half_pair pair, float most, float steps)
{
    return lx_float_of_half(pair.low) + steps * lx_float_of_half(pair.step) < most;
}

static uint16_t low_zeros_of(bool is_wide)
{
    return is_wide ? 0 : 15;
}

static uint16_t step_zeros_of(bool is_wide)
{
    return is_wide ? 0 : 7;
}

bool lx_cover(float least, float most, float steps, bool is_wide, uint16_t *low, uint16_t *step)
{
    const uint16_t step_zeros = step_zeros_of(is_wide);
    if (!(least >= -MAGNITUDE_MAX && most <= MAGNITUDE_MAX))
        return false;
    half_pair pair = cover(least, most, steps, low_zeros_of(is_wide), step_zeros);
    while (is_short(pair, most, steps))
        pair.step = (uint16_t)(pair.step + step_zeros + 1);
    *low = pair.low;
    *step = pair.step;
    return pair_is_finite(pair);
}

static float inverse_of(float step)
{
    return step > 0.0f ? 1.0f / step : 0.0f;
}

uint32_t lx_chunk_count(uint32_t tokens)
{
    return (tokens + LX_CHUNK_TOKENS - 1) / LX_CHUNK_TOKENS;
}

size_t lx_channel_meta_bytes(const lynx_codec_spec *spec, uint32_t tokens)
{
    if (spec->profile == LYNX_PROFILE_PAPER)
        return 4 + 2 * (size_t)lx_chunk_count(tokens);
    if (spec->profile != LYNX_PROFILE_RANGE)
        return 0;
    if (spec->chunk_tokens == 0)
        return spec->meta_wide ? 4 : 3;
    return spec->meta_wide ? 4 * (size_t)lx_chunk_count(tokens)
                           : 4 + 2 * (size_t)lx_chunk_count(tokens);
}

size_t lx_head_meta_bytes(const lynx_codec_spec *spec, uint32_t tokens)
{
    return spec->profile == LYNX_PROFILE_TOKEN ? 4 * (size_t)tokens : 0;
}

static half_pair get_wide(const uint8_t *at)
{
    return (half_pair){get_half(at), get_half(at + 2)};
}

/* 12 bits each: those of 'low' above its lowest four, those of 'step' between its sign and its
 * lowest three. */
static half_pair narrow_of(uint32_t bits)
{
    return (half_pair){(uint16_t)((bits & 0xFFF) << 4), (uint16_t)(bits >> 12 << 3 & 0x7FFF)};
}

static uint32_t get_three(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16;
}

static void set_wide(uint8_t *at, uint16_t low, uint16_t step)
{
    put_half(at, low);
    put_half(at + 2, step);
}

static void set_narrow(uint8_t *at, uint16_t low, uint16_t step)
{
    const uint32_t bits = (uint32_t)low >> 4 | (uint32_t)step >> 3 << 12;
    at[0] = (uint8_t)bits;
    at[1] = (uint8_t)(bits >> 8);
    at[2] = (uint8_t)(bits >> 16);
}

static bool put_wide(uint8_t *at, float least, float most, float steps)
{
    half_pair pair;
    if (!lx_cover(least, most, steps, true, &pair.low, &pair.step))
        return false;
    set_wide(at, pair.low, pair.step);
    return true;
}

/* The two bytes of a chunk, relative to the channel's low end and step over the page. */
static lx_grid chunk_grid(const uint8_t *bytes, float page_low, float page_step,
                          uint32_t code_max)
{
    const float low = page_low + (float)bytes[0] * page_step;
    const float width = (float)bytes[1] * page_step;
    return (lx_grid){.low = low, .scale = width / (float)code_max};
}

static void encode_chunk(uint8_t *bytes, float least, float most, float page_low,
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

static lx_grid grid_of_pair(half_pair pair)
{
    return (lx_grid){.low = lx_float_of_half(pair.low), .scale = lx_float_of_half(pair.step)};
}

/* From the channel's metadata. */
static lx_grid grid_of_chunk(const lx_quantiser *q, const uint8_t *meta, uint32_t chunk)
{
    if (q->spec->meta_wide)
        return grid_of_pair(get_wide(meta + 4 * (size_t)chunk));
    const lx_grid page = grid_of_pair(get_wide(meta));
    return chunk_grid(meta + 4 + 2 * (size_t)chunk, page.low, page.scale,
                      (1u << q->code_bits) - 1);
}

static bool put_chunks(const lx_quantiser *q, const lx_extent *extents, uint8_t *meta)
{
    const float steps = width_of(q->code_bits);
    const bool is_wide = q->spec->meta_wide;
    const uint32_t chunks = lx_chunk_count(q->tokens);
    lx_extent all = extents[0];
    for (uint32_t chunk = 1; chunk < chunks; chunk++) {
        all.least = extents[chunk].least < all.least ? extents[chunk].least : all.least;
        all.most = extents[chunk].most > all.most ? extents[chunk].most : all.most;
    }
    if (!is_wide && !put_wide(meta, all.least, all.most, 255))
        return false;
    const lx_grid page = grid_of_pair(get_wide(meta));
    for (uint32_t chunk = 0; chunk < chunks; chunk++) {
        const lx_extent own = extents[chunk];
        if (!is_wide)
            encode_chunk(meta + 4 + 2 * (size_t)chunk, own.least, own.most, page.low,
                         page.scale);
        else if (!put_wide(meta + 4 * (size_t)chunk, own.least, own.most, steps))
            return false;
    }
    return true;
}

/* Where the tokens of a channel share a grid, all channels are done together: compilers make
 * vectors of these loops. */

static void find_floats(const lx_quantiser *q, uint32_t channels)
{
    q->kernels->floats(q->shared->low_halves, channels, q->shared->lows);
    q->kernels->floats(q->shared->step_halves, channels, q->shared->steps);
}

static bool all_are_finite(const lx_shared *shared, uint32_t channels)
{
    uint32_t others = 0;
    for (uint32_t c = 0; c < channels; c++)
        others |= (half_is_finite(shared->low_halves[c]) ? 0u : 1u) |
                  (half_is_finite(shared->step_halves[c]) ? 0u : 1u);
    return others == 0;
}

static bool cover_all(const lx_quantiser *q, uint32_t channels, const lx_extent *extents)
{
    const float steps = width_of(q->code_bits);
    const bool is_wide = q->spec->meta_wide;
    const uint16_t low_zeros = low_zeros_of(is_wide), step_zeros = step_zeros_of(is_wide);
    uint16_t *restrict lows = q->shared->low_halves;
    uint16_t *restrict lengths = q->shared->step_halves;
    uint32_t far = 0, open = 0; /* extents are finite */
    for (uint32_t c = 0; c < channels; c++) {
        const float least = extents[c].least, most = extents[c].most;
        const half_pair pair = cover(least, most, steps, low_zeros, step_zeros);
        far |= (least < -MAGNITUDE_MAX) | (most > MAGNITUDE_MAX);
        open |= is_short(pair, most, steps);
        lows[c] = pair.low;
        lengths[c] = pair.step;
    }
    for (uint32_t c = 0; c < channels && open && !far; c++)
        if (!lx_cover(extents[c].least, extents[c].most, steps, is_wide, &lows[c], &lengths[c]))
            return false;
    return !far && all_are_finite(q->shared, channels);
}

static bool put_shared(const lx_quantiser *q, uint32_t channels, const lx_extent *extents,
                       uint8_t *meta)
{
    const lx_shared *shared = q->shared;
    if (!cover_all(q, channels, extents))
        return false;
    for (uint32_t c = 0; c < channels; c++)
        if (q->spec->meta_wide)
            set_wide(meta + 4 * (size_t)c, shared->low_halves[c], shared->step_halves[c]);
        else
            set_narrow(meta + 3 * (size_t)c, shared->low_halves[c], shared->step_halves[c]);
    find_floats(q, channels);
    return true;
}

static bool get_shared(const lx_quantiser *q, uint32_t channels, const uint8_t *meta)
{
    uint16_t *restrict lows = q->shared->low_halves;
    uint16_t *restrict lengths = q->shared->step_halves;
    const uint32_t last = channels - 1;
    for (uint32_t c = 0; c < channels; c++) {
        const uint8_t *at = meta + (q->spec->meta_wide ? 4 : 3) * (size_t)c;
        const uint32_t three = get_three(at);
        const half_pair pair = q->spec->meta_wide ? get_wide(at)
                               : c < last         ? narrow_of(three | (uint32_t)at[3] << 24)
                                                  : narrow_of(three);
        lows[c] = pair.low;
        lengths[c] = pair.step;
    }
    find_floats(q, channels);
    return all_are_finite(q->shared, channels);
}

bool lx_range_put(const lx_quantiser *q, uint32_t channels, const lx_extent *extents,
                  size_t pitch, uint8_t *meta)
{
    if (q->spec->chunk_tokens == 0)
        return put_shared(q, channels, extents, meta);
    const size_t size = lx_channel_meta_bytes(q->spec, q->tokens);
    for (uint32_t c = 0; c < channels; c++)
        if (!put_chunks(q, extents + c * pitch, meta + c * size))
            return false;
    return true;
}

/* For the kernels; 'centre' is that of the bits that are missing. */
static lx_grid grid_to_use(const lx_quantiser *q, lx_grid g, float centre, bool is_encoding)
{
    const float shift = centre * g.scale;
    if (q->is_bent) {
        const float half = LX_BEND_MIDDLE * g.scale;
        const float low = g.low + half;
        return is_encoding ? (lx_grid){.low = low, .scale = inverse_of(g.scale)}
                           : (lx_grid){low, 0.5f * g.scale, centre - LX_BEND_MIDDLE,
                                       g.scale / LX_BEND_WIDTH};
    }
    return is_encoding ? (lx_grid){.low = g.low, .scale = inverse_of(g.scale)}
                       : (lx_grid){.low = g.low + shift, .scale = g.scale};
}

/* The loop is made for each kind of grid. */
static inline void grids_as(const lx_quantiser *q, uint32_t channels, const uint8_t *here,
                            bool is_bent, lx_grid *restrict grids)
{
    lx_quantiser own = *q;
    own.is_bent = is_bent;
    const lx_shared shared = *q->shared;
    for (uint32_t c = 0; c < channels; c++) {
        const lx_grid grid = {.low = shared.lows[c], .scale = shared.steps[c]};
        grids[c] =
            grid_to_use(&own, grid,
                        here ? lx_centre(q->code_bits, q->code_bits - here[c]) : 0.0f, !here);
    }
}

static void grids_of_chunks(const lx_quantiser *q, uint32_t channels, const uint8_t *meta,
                            const uint8_t *here, lx_grid *grids, size_t pitch)
{
    const size_t size = lx_channel_meta_bytes(q->spec, q->tokens);
    const uint32_t count = lx_chunk_count(q->tokens);
    const uint32_t padded = q->padded / LX_CHUNK_TOKENS;
    for (uint32_t c = 0; c < channels; c++, meta += size) {
        lx_grid *own = grids + c * pitch;
        const float centre = here ? lx_centre(q->code_bits, q->code_bits - here[c]) : 0.0f;
        for (uint32_t chunk = 0; chunk < count; chunk++)
            own[chunk] = grid_to_use(q, grid_of_chunk(q, meta, chunk), centre, !here);
        for (uint32_t chunk = count; chunk < padded; chunk++)
            own[chunk] = own[count - 1];
    }
}

void lx_range_grids(const lx_quantiser *q, uint32_t channels, const uint8_t *meta,
                    const uint8_t *here, lx_grid *grids, size_t pitch)
{
    if (q->spec->chunk_tokens)
        grids_of_chunks(q, channels, meta, here, grids, pitch);
    else if (q->is_bent)
        grids_as(q, channels, here, true, grids);
    else
        grids_as(q, channels, here, false, grids);
}

static bool chunks_are_finite(const lx_quantiser *q, const uint8_t *meta)
{
    if (!q->spec->meta_wide)
        return pair_is_finite(get_wide(meta));
    for (uint32_t i = 0; i < lx_chunk_count(q->tokens); i++)
        if (!pair_is_finite(get_wide(meta + 4 * (size_t)i)))
            return false;
    return true;
}

bool lx_range_get(const lx_quantiser *q, uint32_t channels, const uint8_t *meta)
{
    if (q->spec->chunk_tokens == 0)
        return get_shared(q, channels, meta);
    const size_t size = lx_channel_meta_bytes(q->spec, q->tokens);
    bool is_finite = true;
    for (uint32_t c = 0; c < channels; c++)
        is_finite = chunks_are_finite(q, meta + c * size) && is_finite;
    return is_finite;
}

void lx_range_squares(const lx_quantiser *q, uint32_t channels, float *restrict squares)
{
    const float steps = width_of(q->code_bits);
    const lx_shared shared = *q->shared;
    for (uint32_t c = 0; c < channels; c++) {
        const float low = shared.lows[c];
        const float width = steps * shared.steps[c];
        const float high = low + width;
        const float most = -low > high ? -low : high;
        squares[c] = most * most;
    }
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
        if (!put_wide(own, least, most, (float)code_max))
            return false;
        const lx_grid grid = grid_of_pair(get_wide(own));
        const float inverse = inverse_of(grid.scale);
        for (uint32_t c = 0; c < channels; c++) {
            const long code = lrintf((block[c * row + t] - grid.low) * inverse);
            const long top = (long)code_max;
            codes[c * row + t] = (uint8_t)(code < 0 ? 0 : code > top ? top : code);
        }
    }
    return true;
}

void lx_token_decode_head(const lx_quantiser *q, const uint8_t *meta, const uint8_t *codes,
                          size_t row, uint32_t channels, float *block)
{
    const float centre = lx_centre(q->code_bits, q->missing_bits);
    for (uint32_t t = 0; t < q->tokens; t++) {
        const lx_grid grid = grid_of_pair(get_wide(meta + 4 * (size_t)t));
        const float shift = centre * grid.scale;
        const float low = grid.low + shift;
        for (uint32_t c = 0; c < channels; c++) {
            const float scaled = (float)codes[c * row + t] * grid.scale;
            block[c * row + t] = low + scaled;
        }
    }
}

bool lx_token_check_head(const lx_quantiser *q, const uint8_t *meta)
{
    for (uint32_t t = 0; t < q->tokens; t++)
        if (!pair_is_finite(get_wide(meta + 4 * (size_t)t)))
            return false;
    return true;
}
