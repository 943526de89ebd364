/* SPDX-License-Identifier: MIT */
#include "support/seeds.h"

uint64_t test_seeds(uint64_t count)
{
    const char *times = getenv("LYNX_TEST_SEEDS");
    return times ? count * strtoull(times, NULL, 10) : count;
}

void test_check(bool condition, uint64_t seed, const char *what)
{
    if (!condition)
        fail_msg("seed %llu: %s", (unsigned long long)seed, what);
}

void test_check_pair(const test_pair *pair, uint64_t seed)
{
    CHECK(pair->order_errors == 0);
    CHECK(pair->content_errors == 0);
    CHECK(pair->spins == 0);
    CHECK(test_pair_wrong_planes(pair) == 0);
    if (!pair->sender)
        return;
    const lynx_session_counters counters = lynx_sender_counters(pair->sender);
    CHECK(counters.resent_bytes <= counters.unacknowledged_bytes);
}

void test_end_pair(test_pair *pair, uint64_t seed)
{
    test_check_pair(pair, seed);
    test_pair_destroy(pair);
    for (uint32_t i = 0; i < pair->plane_count; i++)
        CHECK(pair->planes[i].releases == pair->planes[i].adds);
    CHECK(pair->memory.live_blocks == 0 && pair->memory.live_bytes == 0);
    for (uint32_t i = 0; i < TEST_PEERS; i++)
        CHECK(pair->peers[i].memory.live_blocks == 0 && pair->peers[i].memory.live_bytes == 0);
}
