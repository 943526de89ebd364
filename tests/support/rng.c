/* SPDX-License-Identifier: MIT */
#include "support/rng.h"

test_rng test_rng_of(uint64_t seed)
{
    return (test_rng){seed};
}

uint64_t test_rng_next(test_rng *rng)
{
    uint64_t z = rng->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t test_rng_below(test_rng *rng, uint64_t bound)
{
    return test_rng_next(rng) % bound;
}

void test_rng_fill(test_rng *rng, void *target, size_t size)
{
    uint8_t *bytes = target;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)test_rng_next(rng);
}
