/* SPDX-License-Identifier: MIT */
/*
 * spread.h - how many bits each channel of a page has in its first planes.
 *
 * A bit more halves a channel's error, so bits go where errors are largest and, in keys, where
 * queries are likely to be large: in pairs of channels whose keys are. Both ends find the same
 * from the metadata.
 *
 * In plain C that compilers make vectors of; each table of kernels has lx_spread_bits() built
 * for its own instruction set.
 */
#ifndef LX_CODEC_SPREAD_H
#define LX_CODEC_SPREAD_H

#include <stdint.h>
#include <string.h>

/*
 * The bits of a half are about 1024 times its logarithm to the base 2, those of a float without
 * the lowest 13, too. A weight has BIT for each doubling of the step and 4 / 5 BIT for each of
 * the size, which is the root of 'square'. Bit number n (from 2 on) of a channel of weight w
 * stands at the height w - BIT (n - 1); bits are given from the top down to a level that all
 * channels share.
 */
enum { LX_SPREAD_BIT = 64, LX_SPREAD_PART = 64 };

/* What a channel weighs. 'step' is the bits of a half; 'square' is at least 0 and finite: that
 * of the keys of a channel, summed over a pair that turns together, 0 for values. */
static inline uint16_t lx_spread_weight(uint16_t step, float square)
{
    uint32_t bits;
    memcpy(&bits, &square, sizeof(bits));
    const uint32_t width = step & 0x7FFFu;
    return (uint16_t)(width ? (5 * width + 2 * (bits >> 13)) / 80 : 0);
}

/* In 16 bits: weights are below 2^14. */
static inline uint16_t lx_spread_above(uint16_t weight, int16_t level, uint16_t code_bits)
{
    const int16_t over = (int16_t)(weight - level);
    const uint16_t more = (uint16_t)(over > 0 ? over : 0) / LX_SPREAD_BIT;
    return more < code_bits ? (uint16_t)(more + 1) : code_bits;
}

/* Of up to LX_SPREAD_PART channels. */
static inline uint16_t lx_spread_sum(const uint16_t *weights, uint32_t channels, int16_t level,
                                     uint16_t code_bits)
{
    uint16_t sum = 0;
    for (uint32_t c = 0; c < channels; c++)
        sum = (uint16_t)(sum + lx_spread_above(weights[c], level, code_bits));
    return sum;
}

static inline uint32_t lx_spread_sum_all(const uint16_t *weights, uint32_t channels,
                                         int16_t level, uint16_t code_bits)
{
    uint32_t sum = 0, first = 0;
    for (; first + LX_SPREAD_PART <= channels; first += LX_SPREAD_PART) /* unrolled */
        sum += lx_spread_sum(weights + first, LX_SPREAD_PART, level, code_bits);
    return sum + lx_spread_sum(weights + first, channels - first, level, code_bits);
}

/* 'bits' gets 1 to 'code_bits' for each channel, 'total' in all ('channels' to 'channels' times
 * 'code_bits'). A larger 'total' gives no channel fewer. */
static inline void lx_spread_bits(const uint16_t *weights, uint32_t channels, uint32_t total,
                                  uint32_t code_bits, uint8_t *restrict bits)
{
    const uint16_t most = (uint16_t)code_bits;
    /* The lowest level whose bits are not too many lies from 'low' to 'high'. */
    int16_t low = (int16_t)(-most * LX_SPREAD_BIT);
    uint16_t heaviest = 0;
    for (uint32_t c = 0; c < channels; c++)
        heaviest = weights[c] > heaviest ? weights[c] : heaviest;
    for (int16_t high = (int16_t)heaviest; low < high;) {
        const int16_t level = (int16_t)(low + (high - low) / 2);
        if (lx_spread_sum_all(weights, channels, level, most) <= total)
            high = level;
        else
            low = (int16_t)(level + 1);
    }
    uint32_t left = total - lx_spread_sum_all(weights, channels, low, most);
    for (uint32_t c = 0; c < channels; c++)
        bits[c] = (uint8_t)lx_spread_above(weights[c], low, most);
    /* Those that stand on the next level, in order. */
    const int16_t next = (int16_t)(low - 1);
    for (uint32_t first = 0; first < channels && left > 0; first += LX_SPREAD_PART) {
        const uint32_t others = channels - first;
        const uint32_t end = first + (others < LX_SPREAD_PART ? others : LX_SPREAD_PART);
        uint8_t more[LX_SPREAD_PART];
        uint32_t count = 0;
        for (uint32_t c = first; c < end; c++) {
            more[c - first] = (uint8_t)(lx_spread_above(weights[c], next, most) - bits[c]);
            count += more[c - first];
        }
        for (uint32_t i = end - first; count > left;) /* the last ones not */
            if (more[--i]) {
                more[i] = 0;
                count--;
            }
        for (uint32_t c = first; c < end; c++)
            bits[c] = (uint8_t)(bits[c] + more[c - first]);
        left -= count;
    }
}

#endif
