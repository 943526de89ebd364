/* SPDX-License-Identifier: MIT */
/*
 * quantiser_paper.c - Algorithm 1 of the paper with the errata of docs/algorithm.md.
 *
 * The code byte is the anchor in the high nibble (two's complement, -8 .. 7) and the residual
 * in the low one. With I = 0 .. 120 the magnitude on the logarithmic scale: V = (I + 7) >> 4,
 * R = 16 V - I, A = V for values at or above the mean and -V - 1 below it, so that -0 keeps its
 * sign. (The paper writes V * S + min(S, 0).)
 */
#include <math.h>

#include "base/half.h"
#include "codec/quantiser.h"
#include "codec/rope.h"

enum { BIAS = 7 };

void lx_paper_tables_init(lx_paper_tables *tables, float alpha)
{
    const double scale = lx_log(1.0 + (double)alpha) / LX_PAPER_CODE_MAX;
    tables->thresholds[0] = 0.0f;
    for (int k = 1; k <= LX_PAPER_CODE_MAX; k++)
        tables->thresholds[k] =
            (float)((lx_exp(((double)k - 0.5) * scale) - 1.0) / (double)alpha);
    tables->thresholds[LX_PAPER_CODE_MAX + 1] = INFINITY;
    for (int k = 0; k <= LX_PAPER_CODE_MAX + 8; k++)
        tables->magnitudes[k] = (float)((lx_exp((double)k * scale) - 1.0) / (double)alpha);
    /* The anchor's zero bin holds I in 0 .. 8: its middle keeps the sign that was sent. */
    tables->zero_magnitude = tables->magnitudes[4];
}

/* Largest k with thresholds[k] <= magnitude. */
static int code_of(const lx_paper_tables *tables, float magnitude)
{
    int low = 0;
    int high = LX_PAPER_CODE_MAX + 1;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (magnitude >= tables->thresholds[middle])
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Mean and largest distance from it, as 8-bit parts of the page's range. */
static void chunk_meta(const float *values, uint32_t count, float page_low, float page_scale,
                       uint8_t bytes[2])
{
    const float inverse = page_scale > 0.0f ? 1.0f / page_scale : 0.0f;
    float sum = 0.0f;
    for (uint32_t i = 0; i < count; i++)
        sum += (values[i] - page_low) * inverse;
    int mean = (int)lrintf(sum / (float)count * 255.0f);
    mean = mean < 0 ? 0 : mean > 255 ? 255 : mean;
    const float centre = page_low + (float)mean / 255.0f * page_scale;
    float widest = 0.0f;
    for (uint32_t i = 0; i < count; i++) {
        const float distance = fabsf(values[i] - centre);
        widest = distance > widest ? distance : widest;
    }
    int sigma = (int)ceilf(widest * inverse * 255.0f);
    sigma = sigma > 255 ? 255 : sigma;
    bytes[0] = (uint8_t)mean;
    bytes[1] = (uint8_t)sigma;
}

typedef struct chunk_view {
    float centre, sigma;
} chunk_view;

static chunk_view view_of(const uint8_t *meta, uint32_t chunk)
{
    const float low = lx_float_of_half((uint16_t)(meta[0] | meta[1] << 8));
    const float scale = lx_float_of_half((uint16_t)(meta[2] | meta[3] << 8));
    const uint8_t *own = meta + 4 + 2 * (size_t)chunk;
    const float centre = (float)own[0] / 255.0f * scale;
    return (chunk_view){low + centre, (float)own[1] / 255.0f * scale};
}

static uint8_t encode_value(const lx_paper_tables *tables, float value, chunk_view view)
{
    const float centred = value - view.centre;
    const float magnitude = view.sigma > 0.0f ? fabsf(centred) / view.sigma : 0.0f;
    const int code = code_of(tables, magnitude);
    const int coarse = (code + BIAS) >> 4;
    const int residual = 16 * coarse - code;
    const int anchor = centred < 0.0f ? -coarse - 1 : coarse; /* -0 becomes -1 */
    return (uint8_t)((anchor & 15) << 4 | (residual & 15));
}

bool lx_paper_encode(const lx_quantiser *q, lx_extent extent, const float *values,
                     uint8_t *meta, uint8_t *codes)
{
    uint16_t low;
    uint16_t scale;
    if (!lx_cover(extent.least, extent.most, 1, true, &low, &scale))
        return false;
    meta[0] = (uint8_t)low;
    meta[1] = (uint8_t)(low >> 8);
    meta[2] = (uint8_t)scale;
    meta[3] = (uint8_t)(scale >> 8);
    for (uint32_t first = 0; first < q->tokens; first += LX_CHUNK_TOKENS) {
        const uint32_t left = q->tokens - first;
        const uint32_t count = left < LX_CHUNK_TOKENS ? left : LX_CHUNK_TOKENS;
        const uint32_t chunk = first / LX_CHUNK_TOKENS;
        chunk_meta(values + first, count, lx_float_of_half(low), lx_float_of_half(scale),
                   meta + 4 + 2 * (size_t)chunk);
        const chunk_view view = view_of(meta, chunk);
        for (uint32_t i = 0; i < count; i++)
            codes[first + i] = encode_value(q->paper, values[first + i], view);
    }
    return true;
}

void lx_paper_decode(const lx_quantiser *q, const uint8_t *meta, const uint8_t *codes,
                     float *values)
{
    const bool is_full = q->missing_bits == 0;
    for (uint32_t t = 0; t < q->tokens; t++) {
        const chunk_view view = view_of(meta, t / LX_CHUNK_TOKENS);
        const int anchor = (codes[t] >> 4) >= 8 ? (codes[t] >> 4) - 16 : codes[t] >> 4;
        const int residual = (codes[t] & 15) >= 8 ? (codes[t] & 15) - 16 : codes[t] & 15;
        const int coarse = anchor < 0 ? -anchor - 1 : anchor;
        int code = is_full ? 16 * coarse - residual : 16 * coarse;
        code = code < 0 ? 0 : code > LX_PAPER_CODE_MAX + 8 ? LX_PAPER_CODE_MAX + 8 : code;
        const float magnitude =
            !is_full && coarse == 0 ? q->paper->zero_magnitude : q->paper->magnitudes[code];
        const float distance = magnitude * view.sigma;
        values[t] = anchor < 0 ? view.centre - distance : view.centre + distance;
    }
}
