/* SPDX-License-Identifier: MIT */
/*
 * rope_block.h - cosines and sines of a block of a row, in plain C that compilers make vectors
 * of: each table of kernels has it built for its own instruction set.
 *
 * Without divisions and branches it takes a tenth of what lx_cos_sin() takes, and differs from
 * it by a few units in the last place of a double. That is seen in a float only when the double
 * lies that close to the middle between two floats: then the block says so, and lx_cos_sin()
 * decides.
 */
#ifndef LX_CODEC_ROPE_BLOCK_H
#define LX_CODEC_ROPE_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "codec/kernels.h"

/* pi / 2 in three parts of 33 bits. */
#define LX_PIO2_1      1.57079632673412561417e+00
#define LX_PIO2_2      6.07710050630396597660e-11
#define LX_PIO2_3      2.02226624879595063154e-21
#define LX_TWO_OVER_PI 6.36619772367581382433e-01

/* To r^15 and r^16: what is left out is below a unit in the last place. */
static inline double lx_sine_series(double square)
{
    return square *
           (-1.0 / 6 +
            square *
                (1.0 / 120 +
                 square * (-1.0 / 5040 +
                           square * (1.0 / 362880 +
                                     square * (-1.0 / 39916800 +
                                               square * (1.0 / 6227020800 +
                                                         square * (-1.0 / 1307674368000)))))));
}

static inline double lx_cosine_series(double square)
{
    return square *
           (-1.0 / 2 +
            square *
                (1.0 / 24 +
                 square *
                     (-1.0 / 720 +
                      square *
                          (1.0 / 40320 +
                           square * (-1.0 / 3628800 +
                                     square * (1.0 / 479001600 +
                                               square * (-1.0 / 87178291200 +
                                                         square * (1.0 / 20922789888000))))))));
}

static inline uint64_t lx_bits_of_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline double lx_double_of_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* True when a few units of a double decide which float is nearer. Where that is subnormal, both
 * ways give the angle itself. */
static inline bool lx_is_undecided(const double values[LX_KERNEL_TOKENS])
{
    /* The bits that a float drops, their middle, and a power of two of units. */
    const uint64_t dropped = (1u << 29) - 1, middle = 1u << 28, doubt = 64;
    uint64_t undecided = 0;
    for (uint32_t t = 0; t < LX_KERNEL_TOKENS; t++) {
        const uint64_t over = (lx_bits_of_double(values[t]) - (middle - doubt)) & dropped;
        undecided |= (over & ~(2 * doubt - 1)) == 0 ? 1u : 0u;
    }
    return undecided != 0;
}

/* Added to a double below 2^31, it leaves its nearest whole number in the lowest bits. */
#define LX_WHOLE 0x1.8p52

/* What 'turn' of lx_kernels is. All in lanes of one width, as wide as doubles. */
static inline bool lx_rope_block(double first, double turn, float *cosines, float *sines)
{
    const uint64_t sign = (uint64_t)1 << 63;
    double c[LX_KERNEL_TOKENS], s[LX_KERNEL_TOKENS];
    for (int32_t t = 0; t < LX_KERNEL_TOKENS; t++) {
        const double x = (first + t) * turn;
        const double whole = x * LX_TWO_OVER_PI + LX_WHOLE;
        const double k = whole - LX_WHOLE;
        const uint64_t quarter = lx_bits_of_double(whole);
        const double r = ((x - k * LX_PIO2_1) - k * LX_PIO2_2) - k * LX_PIO2_3;
        const double sine = r + r * lx_sine_series(r * r);
        const double cosine = 1.0 + lx_cosine_series(r * r);
        const double even = quarter & 1 ? sine : cosine;
        const double odd = quarter & 1 ? cosine : sine;
        c[t] = lx_double_of_bits(lx_bits_of_double(even) ^ ((quarter + 1) << 62 & sign));
        s[t] = lx_double_of_bits(lx_bits_of_double(odd) ^ (quarter << 62 & sign));
    }
    for (uint32_t t = 0; t < LX_KERNEL_TOKENS; t++) {
        cosines[t] = (float)c[t];
        sines[t] = (float)s[t];
    }
    return !lx_is_undecided(c) && !lx_is_undecided(s);
}

#endif
