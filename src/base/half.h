/* SPDX-License-Identifier: MIT */
/*
 * half.h - IEEE half precision and bfloat16, to and from float, round to nearest even.
 *
 * The results are those of the hardware's conversions (F16C), signalling NaNs made quiet.
 */
#ifndef LX_BASE_HALF_H
#define LX_BASE_HALF_H

#include <stdint.h>
#include <string.h>

/* Without branches: steps of narrow channels are subnormal, their neighbours' are not. */
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

uint16_t lx_half_of_float(float value);
/* The largest half <= value, the smallest half >= value; infinite where none is finite. */
uint16_t lx_half_below(float value);
uint16_t lx_half_above(float value);

float lx_float_of_bfloat(uint16_t bfloat);
uint16_t lx_bfloat_of_float(float value);

#endif
