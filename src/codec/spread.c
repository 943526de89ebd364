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

/* In 16 bits, eight of which compilers take at once: weights are below 2^14. */
static inline int16_t bits_above(uint16_t weight, int16_t level, int16_t code_bits)
{
    const int16_t over = (int16_t)(weight - level);
    const int16_t more = (int16_t)((over > 0 ? over : 0) / BIT);
    return more < code_bits ? (int16_t)(more + 1) : code_bits;
}

static uint32_t sum_above(const uint16_t *weights, uint32_t channels, int16_t level,
                          int16_t code_bits)
{
    enum { PART = 1024 }; /* of which the sum has 16 bits, too */
    uint32_t sum = 0;
    for (uint32_t first = 0; first < channels; first += PART) {
        const uint32_t end = channels - first < PART ? channels : first + PART;
        uint16_t part = 0;
        for (uint32_t c = first; c < end; c++)
            part = (uint16_t)(part + bits_above(weights[c], level, code_bits));
        sum += part;
    }
    return sum;
}

void lx_spread_bits(const uint16_t *weights, uint32_t channels, uint32_t total,
                    uint32_t code_bits, uint8_t *bits)
{
    const int16_t most = (int16_t)code_bits;
    /* The lowest level whose bits are not too many lies from 'low' to 'high'. */
    int16_t low = (int16_t)(-most * BIT);
    uint16_t heaviest = 0;
    for (uint32_t c = 0; c < channels; c++)
        heaviest = weights[c] > heaviest ? weights[c] : heaviest;
    for (int16_t high = (int16_t)heaviest; low < high;) {
        const int16_t level = (int16_t)(low + (high - low) / 2);
        if (sum_above(weights, channels, level, most) <= total)
            high = level;
        else
            low = (int16_t)(level + 1);
    }
    uint32_t left = total;
    for (uint32_t c = 0; c < channels; c++) {
        const int16_t own = bits_above(weights[c], low, most);
        bits[c] = (uint8_t)own;
        left -= bits[c];
    }
    /* Those that stand on the next level, in order. */
    for (uint32_t c = 0; c < channels && left > 0; c++)
        if (bits_above(weights[c], (int16_t)(low - 1), most) > bits[c]) {
            bits[c]++;
            left--;
        }
}
