/* SPDX-License-Identifier: MIT */
#include "codec/spread.h"

#include <string.h>

/*
 * The bits of a half are about 1024 times its logarithm to the base 2, those of a float without
 * the lowest 13, too. A weight has BIT for each doubling of the step and 4 / 5 BIT for each of
 * the size, which is the root of 'square'. Bit number n (from 2 on) of a channel of weight w
 * stands at the height w - BIT (n - 1); bits are given from the top down to a level that all
 * channels share.
 */
enum { BIT = 64 };

uint16_t lx_spread_weight(uint16_t step, float square)
{
    uint32_t bits;
    memcpy(&bits, &square, sizeof(bits));
    const uint32_t width = step & 0x7FFFu;
    return (uint16_t)(width ? (5 * width + 2 * (bits >> 13)) / 80 : 0);
}

static inline uint32_t bits_above(uint16_t weight, int32_t level, uint32_t code_bits)
{
    const int32_t over = weight - level;
    const uint32_t bits = 1 + (uint32_t)(over < 0 ? 0 : over) / BIT;
    return bits < code_bits ? bits : code_bits;
}

static uint32_t sum_above(const uint16_t *weights, uint32_t channels, int32_t level,
                          uint32_t code_bits)
{
    uint32_t sum = 0;
    for (uint32_t c = 0; c < channels; c++)
        sum += bits_above(weights[c], level, code_bits);
    return sum;
}

void lx_spread_bits(const uint16_t *weights, uint32_t channels, uint32_t total,
                    uint32_t code_bits, uint8_t *bits)
{
    /* The lowest level whose bits are not too many lies from 'low' to 'high'. */
    int32_t low = -(int32_t)(code_bits * BIT), high = low;
    for (uint32_t c = 0; c < channels; c++)
        high = weights[c] > high ? weights[c] : high;
    while (low < high) {
        const int32_t level = low + (high - low) / 2;
        if (sum_above(weights, channels, level, code_bits) <= total)
            high = level;
        else
            low = level + 1;
    }
    uint32_t left = total;
    for (uint32_t c = 0; c < channels; c++) {
        bits[c] = (uint8_t)bits_above(weights[c], low, code_bits);
        left -= bits[c];
    }
    /* Those that stand on the next level, in order. */
    for (uint32_t c = 0; c < channels && left > 0; c++)
        if (bits_above(weights[c], low - 1, code_bits) > bits[c]) {
            bits[c]++;
            left--;
        }
}
