/* SPDX-License-Identifier: MIT */
#include "base/half.h"

#include <stdbool.h>
#include <string.h>

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

uint16_t lx_half_of_float(float value)
{
    const uint32_t bits = bits_of(value);
    const uint32_t sign = (bits >> 16) & 0x8000;
    const uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u)
        return (uint16_t)(sign | 0x7E00 | ((magnitude >> 13) & 0x1FF));
    if (magnitude >= 0x477FF000u) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7C00);
    if (magnitude < 0x38800000u) {
        /* Denormal: let the addition of 0.5 round at the right bit. */
        const float shifted = float_of(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of(shifted) - 0x3F000000u));
    }
    const uint32_t odd = (magnitude >> 13) & 1;
    return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xFFF + odd) >> 13));
}

/* Cut, then one step away from zero where that is the direction and something was cut: what
 * rounds is not known ahead, so nothing branches on it. */
static uint16_t half_towards(float value, bool is_up)
{
    const uint32_t bits = bits_of(value);
    const uint32_t magnitude = bits & 0x7FFFFFFFu;
    const bool is_away = is_up != (bits >> 31 != 0);
    uint32_t half = (magnitude - 0x38000000u) >> 13;
    bool is_cut = (magnitude & 0x1FFF) != 0;
    if (magnitude > 0x477FE000u) { /* above 65504; NaN */
        half = magnitude < 0x7F800000u && !is_away ? 0x7BFF : 0x7C00;
        is_cut = false;
    } else if (magnitude < 0x38800000u) { /* denormal */
        const float scaled = float_of(magnitude) * 0x1p24f;
        half = (uint32_t)scaled;
        is_cut = (float)half != scaled;
    }
    return (uint16_t)((bits >> 16 & 0x8000) | (half + (is_cut && is_away)));
}

uint16_t lx_half_below(float value)
{
    return half_towards(value, false);
}

uint16_t lx_half_above(float value)
{
    return half_towards(value, true);
}

float lx_float_of_bfloat(uint16_t bfloat)
{
    return float_of((uint32_t)bfloat << 16);
}

uint16_t lx_bfloat_of_float(float value)
{
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)((bits >> 16) | 0x40);
    return (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
