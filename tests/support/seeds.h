/* SPDX-License-Identifier: MIT */
/* seeds.h - properties of pairs that hold for every seed; a failure prints its seed. */
#ifndef TEST_SUPPORT_SEEDS_H
#define TEST_SUPPORT_SEEDS_H

#include "support/cmocka_all.h"
#include "support/session_pair.h"

/* 'count', or as often as LYNX_TEST_SEEDS in the environment says. */
uint64_t test_seeds(uint64_t count);

void test_check(bool condition, uint64_t seed, const char *what);
#define CHECK(condition) test_check(condition, seed, #condition)

/* No frame was out of order, no event or plane wrong, no deadline vain, no byte sent twice that
 * need not be. */
void test_check_pair(const test_pair *pair, uint64_t seed);
/* The same, and after its end nothing leaked and every plane was released as often as added. */
void test_end_pair(test_pair *pair, uint64_t seed);

#endif
