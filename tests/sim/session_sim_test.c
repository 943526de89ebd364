/* SPDX-License-Identifier: MIT */
/*
 * Two real sessions over pipes with random cuts, in virtual time. Each property holds for every
 * seed; a failure prints its seed. LYNX_TEST_SEEDS in the environment multiplies their number.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/session_pair.h"

enum { STEPS = 4000000 }; /* more than any exchange has bytes */

static uint64_t seeds(uint64_t count)
{
    const char *times = getenv("LYNX_TEST_SEEDS");
    return times ? count * strtoull(times, NULL, 10) : count;
}

static void check(bool condition, uint64_t seed, const char *what)
{
    if (!condition)
        fail_msg("seed %llu: %s", (unsigned long long)seed, what);
}

#define CHECK(condition) check(condition, seed, #condition)

/* Every plane that was added was released once, after both ends are destroyed. */
static void end_pair(test_pair *pair, uint64_t seed)
{
    test_pair_destroy(pair);
    for (uint32_t i = 0; i < pair->plane_count; i++)
        CHECK(pair->planes[i].releases == pair->planes[i].is_added);
    CHECK(pair->memory.live_blocks == 0 && pair->memory.live_bytes == 0);
}

static void test_all_planes_arrive(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(1500); seed++) {
        test_pair pair;
        test_pair_init(&pair, seed);
        pair.piece_top = seed % 16 == 0 ? 1 : seed % 4 == 1 ? 97 : 8000;
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        const uint32_t requests = 1 + (uint32_t)(seed % 3);
        uint64_t ids[3];
        uint32_t tokens[3];
        for (uint32_t i = 0; i < requests; i++) {
            tokens[i] = 1 + (uint32_t)test_rng_below(&pair.rng, 140);
            const lynx_request request = test_pair_request(tokens[i]);
            assert_int_equal(lynx_receiver_request(pair.receiver, &request, &ids[i]), LYNX_OK);
        }
        test_pair_run(&pair, STEPS);
        CHECK(pair.hellos == 2 && pair.accepts == requests && pair.finishes == requests);
        CHECK(pair.delivered == requests && pair.order_errors == 0);
        CHECK(!pair.sender_closed && !pair.receiver_closed);
        CHECK(pair.plane_events == pair.plane_count);
        CHECK(test_pair_wrong_planes(&pair) == 0);
        for (uint32_t i = 0; i < requests; i++) {
            const lynx_page_map *map = lynx_receiver_map(pair.receiver, ids[i]);
            CHECK(lynx_page_map_is_complete(map, 1));
            CHECK(lynx_page_map_present(map, 1) == lynx_page_map_needed(map));
        }
        CHECK(lynx_sender_counters(pair.sender).queued_bytes == 0);
        CHECK(lynx_sender_counters(pair.sender).bytes_sent == pair.down.total);
        CHECK(lynx_receiver_counters(pair.receiver).bytes_received == pair.down.total);
        lynx_receiver_close(pair.receiver, LYNX_OK, "done");
        test_pair_run(&pair, STEPS);
        CHECK(pair.sender_closed && pair.sender_status == LYNX_OK &&
              strcmp(pair.sender_text, "done") == 0);
        end_pair(&pair, seed);
    }
}

static void test_cancel_at_any_moment(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(1500); seed++) {
        test_pair pair;
        test_pair_init(&pair, seed);
        pair.piece_top = seed % 2 ? 60 : 3000;
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        const lynx_request request = test_pair_request(70);
        uint64_t cancelled, kept;
        assert_int_equal(lynx_receiver_request(pair.receiver, &request, &cancelled), LYNX_OK);
        assert_int_equal(lynx_receiver_request(pair.receiver, &request, &kept), LYNX_OK);
        test_pair_run(&pair, (uint32_t)test_rng_below(&pair.rng, seed % 2 ? 800 : 60));
        if (seed % 5 == 0) /* the other end gives up at the same time */
            (void)!lynx_sender_refuse(pair.sender, cancelled, LYNX_ERR_ENGINE, "engine");
        assert_int_equal(lynx_receiver_cancel(pair.receiver, cancelled), LYNX_OK);
        assert_null(lynx_receiver_map(pair.receiver, cancelled));
        test_pair_run(&pair, STEPS);
        CHECK(!pair.sender_closed && !pair.receiver_closed);
        CHECK(lynx_page_map_is_complete(lynx_receiver_map(pair.receiver, kept), 1));
        CHECK(pair.order_errors == 0 && test_pair_wrong_planes(&pair) == 0);
        CHECK(lynx_sender_counters(pair.sender).queued_bytes == 0);
        end_pair(&pair, seed);
    }
}

/* Ends are destroyed in the middle of whatever they do. */
static void test_destroy_at_any_moment(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(500); seed++) {
        test_pair pair;
        test_pair_init(&pair, seed);
        pair.piece_top = 100;
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        const lynx_request request = test_pair_request(70);
        uint64_t id;
        assert_int_equal(lynx_receiver_request(pair.receiver, &request, &id), LYNX_OK);
        test_pair_run(&pair, (uint32_t)test_rng_below(&pair.rng, 500));
        end_pair(&pair, seed);
    }
}

static void run_with_flip(bool is_down, uint64_t byte, uint8_t mask, uint64_t seed)
{
    test_pair pair;
    test_pair_init(&pair, 7);
    pair.has_small_planes = true;
    pair.piece_top = 700;
    test_pipe *pipe = is_down ? &pair.down : &pair.up;
    pipe->flip_byte = byte;
    pipe->flip_mask = mask;
    assert_int_equal(test_pair_create(&pair), LYNX_OK);
    const lynx_request request = test_pair_request(40);
    uint64_t id;
    assert_int_equal(lynx_receiver_request(pair.receiver, &request, &id), LYNX_OK);
    test_pair_run(&pair, STEPS);
    CHECK(test_pair_wrong_planes(&pair) == 0 && pair.order_errors == 0);
    CHECK(pair.sender_closed && pair.receiver_closed);
    const lynx_status status = is_down ? pair.receiver_status : pair.sender_status;
    CHECK(status == LYNX_ERR_CORRUPT || status == LYNX_ERR_PROTOCOL);
    /* Both ends know, in the same words. */
    CHECK(pair.sender_status == pair.receiver_status);
    CHECK(strcmp(pair.sender_text, pair.receiver_text) == 0);
    end_pair(&pair, seed);
}

/* Any changed bit of any byte is found, before a plane is marked. */
static void test_flipped_bits(void **state)
{
    (void)state;
    test_pair pair;
    test_pair_init(&pair, 7);
    pair.has_small_planes = true;
    pair.piece_top = 700;
    assert_int_equal(test_pair_create(&pair), LYNX_OK);
    const lynx_request request = test_pair_request(40);
    uint64_t id;
    assert_int_equal(lynx_receiver_request(pair.receiver, &request, &id), LYNX_OK);
    test_pair_run(&pair, STEPS);
    assert_int_equal(pair.finishes, 1);
    const uint64_t down = pair.down.total, up = pair.up.total;
    end_pair(&pair, 0);
    for (uint64_t byte = 0; byte < down; byte++)
        run_with_flip(true, byte, (uint8_t)(1u << (byte * 5 % 8)), byte);
    for (uint64_t byte = 0; byte < up; byte++)
        run_with_flip(false, byte, (uint8_t)(1u << (byte * 3 % 8)), byte);
}

/* The n-th allocation fails, for every n: nothing leaks, hangs or is marked wrongly. */
static void test_failing_allocations(void **state)
{
    (void)state;
    bool was_reached = true;
    for (uint64_t n = 1; was_reached; n++) {
        const uint64_t seed = n;
        test_pair pair;
        test_pair_init(&pair, 11);
        pair.memory.fail_at = n;
        pair.memory.keeps_failing = n % 3 == 0;
        const lynx_request request = test_pair_request(70);
        uint64_t id = 0;
        if (test_pair_create(&pair) == LYNX_OK) {
            const lynx_status status = lynx_receiver_request(pair.receiver, &request, &id);
            CHECK(status == LYNX_OK || status == LYNX_ERR_MEMORY);
            test_pair_run(&pair, STEPS);
            CHECK(test_pair_wrong_planes(&pair) == 0);
            if (pair.receiver_closed)
                CHECK(pair.receiver_status == LYNX_ERR_MEMORY && pair.sender_closed);
        }
        was_reached = pair.memory.calls >= n;
        end_pair(&pair, seed);
    }
}

/* Random bytes instead of a peer. */
static void test_noise(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(2000); seed++) {
        test_pair pair;
        test_pair_init(&pair, seed);
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        uint8_t noise[200];
        test_rng_fill(&pair.rng, noise, sizeof(noise));
        if (seed % 2)
            memcpy(noise, "LYNX\x01", 5);
        CHECK(lynx_failed(lynx_sender_read(pair.sender, 1, noise, sizeof(noise))));
        CHECK(lynx_failed(lynx_receiver_read(pair.receiver, 1, noise, sizeof(noise))));
        test_pair_events(&pair);
        CHECK(pair.sender_closed && pair.receiver_closed);
        end_pair(&pair, seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_planes_arrive),
        cmocka_unit_test(test_cancel_at_any_moment),
        cmocka_unit_test(test_destroy_at_any_moment),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
