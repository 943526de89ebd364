/* SPDX-License-Identifier: MIT */
/* rng.h - numbers from a seed (SplitMix64), the same on every machine. */
#ifndef TEST_SUPPORT_RNG_H
#define TEST_SUPPORT_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct test_rng {
    uint64_t state;
} test_rng;

test_rng test_rng_of(uint64_t seed);
uint64_t test_rng_next(test_rng *rng);
/* In [0, bound); 'bound' >= 1. */
uint64_t test_rng_below(test_rng *rng, uint64_t bound);
void test_rng_fill(test_rng *rng, void *target, size_t size);

#endif
