/* SPDX-License-Identifier: MIT */
/*
 * half.h - IEEE half precision and bfloat16, to and from float, round to nearest even.
 *
 * The results are those of the hardware's conversions (F16C), signalling NaNs made quiet.
 */
#ifndef LX_BASE_HALF_H
#define LX_BASE_HALF_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Without branches, as the next one: steps of narrow channels are subnormal, their neighbours'
 * are not, and compilers make vectors of it. */
static inline float lx_float_of_half(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t magnitude = (uint32_t)(half & 0x7FFF) << 13;
    const float subnormal = (float)(half & 0x3FF) * 0x1p-24f; /* exact */
    float value;
    uint32_t bits;
    memcpy(&bits, &subnormal, sizeof(bits));
    bits = magnitude < 1u << 23 ? bits : magnitude + (112u << 23);
    /* Infinity, NaN (made quiet). */
    const uint32_t special = magnitude | 0x7F800000u | ((half & 0x3FF) ? 0x400000u : 0);
    bits = (magnitude >= 31u << 23 ? special : bits) | sign;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline void lx_floats_of_halves(const uint16_t *restrict halves, uint32_t count,
                                       float *restrict floats)
{
    for (uint32_t i = 0; i < count; i++)
        floats[i] = lx_float_of_half(halves[i]);
}

/* Cut, then one step away from zero where that is the direction and something was cut. */
static inline uint16_t lx_half_towards(float value, bool is_up)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    const uint32_t magnitude = bits & 0x7FFFFFFFu;
    const uint32_t is_away = bits >> 31 ^ (is_up ? 1 : 0);
    const uint32_t small = magnitude < 0x38800000u ? magnitude : 0;
    float scaled;
    memcpy(&scaled, &small, sizeof(scaled));
    scaled *= 0x1p24f;
    const int32_t whole = (int32_t)scaled;
    const uint32_t is_cut = (magnitude & 0x1FFF) != 0;
    const uint32_t normal = ((magnitude - 0x38000000u) >> 13) + (is_cut & is_away);
    const uint32_t is_small_cut = (float)whole != scaled;
    const uint32_t subnormal = (uint32_t)whole + (is_small_cut & is_away);
    /* Above 65504; NaN. */
    const uint32_t is_infinite = (magnitude >= 0x7F800000u) | is_away;
    uint32_t half = magnitude < 0x38800000u ? subnormal : normal;
    half = magnitude > 0x477FE000u ? 0x7BFF + is_infinite : half;
    return (uint16_t)((bits >> 16 & 0x8000) | half);
}

/* The largest half <= value, the smallest half >= value; infinite where none is finite. */
static inline uint16_t lx_half_below(float value)
{
    return lx_half_towards(value, false);
}

static inline uint16_t lx_half_above(float value)
{
    return lx_half_towards(value, true);
}

uint16_t lx_half_of_float(float value);

float lx_float_of_bfloat(uint16_t bfloat);
uint16_t lx_bfloat_of_float(float value);

#endif
