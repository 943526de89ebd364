/* SPDX-License-Identifier: MIT */
/*
 * Real sessions over connections that carry their bytes in random pieces, in virtual time,
 * without cuts (those are in resume_sim_test.c). LYNX_TEST_SEEDS in the environment multiplies
 * the seeds.
 */
#include "support/seeds.h"

enum { TURNS = 4000000 }; /* more than any exchange has bytes */
static const uint64_t hour = 3600000000000u;

static uint32_t ask(test_pair *pair, uint32_t tokens, uint32_t flags)
{
    uint32_t index = 0;
    lynx_request request = test_pair_request(tokens);
    request.flags = flags;
    request.answer_tokens = 1 + (uint32_t)test_rng_below(&pair->rng, 4);
    assert_int_equal(test_pair_ask(pair, 0, &request, &index), LYNX_OK);
    return index;
}

/* With 1 to 3 lanes, of different speed: pages overtake ACCEPT, and one another. */
static void test_all_planes_arrive(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= test_seeds(600); seed++) {
        static test_pair pair;
        test_pair_init(&pair, seed);
        pair.piece_top = seed % 16 == 0 ? 1 : seed % 4 == 1 ? 97 : 8000;
        pair.has_small_planes = pair.piece_top == 1;
        pair.turn_ns = seed % 3 ? 1000 : 100000;
        pair.peers[0].options.lanes = 1 + (uint32_t)(seed % TEST_LANES);
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        for (uint32_t i = 0; i < 3; i++)
            pair.connections[i].slowness = (uint32_t)test_rng_below(&pair.rng, 6);
        const uint32_t requests = 1 + (uint32_t)(seed % 3);
        for (uint32_t i = 0; i < requests; i++)
            ask(&pair, 1 + (uint32_t)test_rng_below(&pair.rng, 140), 0);
        CHECK(test_pair_complete(&pair, hour));
        CHECK(pair.opened == 2 * pair.peers[0].options.lanes && pair.accepts == requests);
        CHECK(pair.finishes == requests && pair.delivered == requests);
        CHECK(pair.sender_closes + pair.receiver_closes == 0);
        CHECK(pair.plane_events == pair.plane_count);
        for (uint32_t i = 0; i < requests; i++) {
            const lynx_page_map *map =
                lynx_receiver_map(pair.peers[0].receiver, pair.requests[i].id);
            CHECK(lynx_page_map_is_complete(map, 1));
            CHECK(lynx_page_map_present(map, 1) == lynx_page_map_needed(map));
        }
        const lynx_session_counters counters = lynx_sender_counters(pair.sender);
        CHECK(counters.queued_bytes == 0 && counters.unacknowledged_bytes == 0);
        CHECK(counters.sessions == 1 && counters.resumes == 0);
        CHECK(counters.bytes_sent ==
              lynx_receiver_counters(pair.peers[0].receiver).bytes_received);
        lynx_receiver_close(pair.peers[0].receiver, LYNX_OK, "done");
        test_pair_run(&pair, TURNS);
        CHECK(pair.sender_closes == pair.peers[0].options.lanes);
        CHECK(pair.sender_status == LYNX_OK && strcmp(pair.sender_text, "done") == 0);
        test_end_pair(&pair, seed);
    }
}

/* READY and START in any order, tokens only, blob: all of it at once. */
static void test_flags(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= test_seeds(300); seed++) {
        static test_pair pair;
        test_pair_init(&pair, seed);
        pair.peers[0].options.lanes = 1 + (uint32_t)(seed % TEST_LANES);
        pair.is_plain = false; /* planes wait for START */
        pair.starts = pair.ends = true;
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        ask(&pair, 50, LYNX_REQUEST_HOLD);
        ask(&pair, 50, LYNX_REQUEST_NO_PAGES);
        ask(&pair, 50, LYNX_REQUEST_NO_PAGES | LYNX_REQUEST_HOLD);
        ask(&pair, 50, LYNX_REQUEST_AFTER_PREFILL);
        CHECK(test_pair_complete(&pair, hour));
        CHECK(pair.finishes == 4 && pair.refuses == 0);
        CHECK(pair.sender_closes + pair.receiver_closes == 0);
        CHECK(lynx_sender_counters(pair.sender).queued_bytes == 0);
        test_end_pair(&pair, seed);
    }
}

/* A prefill node carries on, to the end or to any token before; the decode node hears how far.
 * F-60, F-61 */
static void test_carry_on(void **state)
{
    (void)state;
    uint32_t yields = 0;
    uint32_t requests = 0;
    for (uint64_t seed = 1; seed <= test_seeds(300); seed++) {
        static test_pair pair;
        test_pair_init(&pair, seed);
        pair.peers[0].options.lanes = 1 + (uint32_t)(seed % TEST_LANES);
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        for (uint32_t i = 0; i < 3; i++)
            ask(&pair, 1 + (uint32_t)test_rng_below(&pair.rng, 90), LYNX_REQUEST_CARRY_ON);
        CHECK(test_pair_complete(&pair, hour));
        CHECK(pair.finishes == 3 && pair.delivered == 3 && pair.refuses == 0);
        CHECK(pair.sender_closes + pair.receiver_closes == 0);
        for (uint32_t i = 0; i < 3; i++)
            CHECK(pair.requests[i].has_yielded ==
                  (pair.requests[i].tokens_most < pair.requests[i].request.answer_tokens));
        yields += pair.yields;
        requests += 3;
        test_end_pair(&pair, seed);
    }
    assert_true(yields > 0 && yields < requests);
}

static void test_end_at_any_moment(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= test_seeds(800); seed++) {
        static test_pair pair;
        test_pair_init(&pair, seed);
        pair.piece_top = seed % 2 ? 60 : 3000;
        pair.peers[0].options.lanes = 1 + (uint32_t)(seed % TEST_LANES);
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        pair.is_plain = seed % 3 != 0; /* else planes wait for START */
        test_request *ended = &pair.requests[ask(&pair, 70, seed % 3 ? 0 : LYNX_REQUEST_HOLD)];
        const test_request *kept = &pair.requests[ask(&pair, 70, 0)];
        lynx_receiver *receiver = pair.peers[0].receiver;
        test_pair_run(&pair, (uint32_t)test_rng_below(&pair.rng, seed % 2 ? 800 : 60));
        if (seed % 5 == 0) /* the other end gives up at the same time */
            test_pair_refuse(&pair, ended, LYNX_ERR_ENGINE, "engine");
        assert_int_equal(lynx_receiver_end(receiver, ended->id), LYNX_OK);
        ended->is_ended = true;
        assert_null(lynx_receiver_map(receiver, ended->id));
        test_pair_run(&pair, TURNS);
        CHECK(pair.sender_closes + pair.receiver_closes == 0);
        CHECK(lynx_page_map_is_complete(lynx_receiver_map(receiver, kept->id), 1));
        CHECK(lynx_sender_counters(pair.sender).queued_bytes == 0);
        CHECK(seed % 5 == 0 || pair.cancels + pair.delivered == 2);
        test_end_pair(&pair, seed);
    }
}

/* Ends are destroyed in the middle of whatever they do. */
static void test_destroy_at_any_moment(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= test_seeds(500); seed++) {
        static test_pair pair;
        test_pair_init(&pair, seed);
        pair.piece_top = 100;
        pair.peers[0].options.lanes = 1 + (uint32_t)(seed % TEST_LANES);
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        ask(&pair, 70, 0);
        test_pair_run(&pair, (uint32_t)test_rng_below(&pair.rng, 500));
        test_end_pair(&pair, seed);
    }
}

/*
 * Pools that hold a few planes, and a decode node that releases pages late: credit holds the
 * sender back and always comes again. F-50, F-53
 */
static void test_small_pools(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= test_seeds(300); seed++) {
        static test_pair pair;
        test_pair_init(&pair, seed);
        test_peer *peer = &pair.peers[0];
        pair.is_in_order = true;
        pair.releases_pages = pair.ends = true;
        pair.is_plain = false; /* a residual may go where an anchor lacks credit */
        pair.slow_reader = 1 + (uint32_t)test_rng_below(&pair.rng, 60);
        peer->options.lanes = 1 + (uint32_t)(seed % TEST_LANES);
        peer->options.pool_bytes[0] = 40000 + test_rng_below(&pair.rng, 60000);
        peer->options.pool_bytes[1] = 3000 + test_rng_below(&pair.rng, 20000);
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        ask(&pair, 500, 0);
        test_pair_turn(&pair);
        peer->memory.top_bytes = peer->memory.live_bytes;
        const uint64_t before = peer->memory.live_bytes;
        CHECK(test_pair_complete(&pair, hour));
        CHECK(pair.finishes == 1 && pair.sender_closes + pair.receiver_closes == 0);
        /* A plane of each class for each lane beyond the pools, an eighth of them that is kept
         * for the planes to come, and the books. */
        const uint64_t pools = peer->options.pool_bytes[0] + peer->options.pool_bytes[1];
        CHECK(peer->memory.top_bytes <=
              before + pools + pools / 8 + peer->options.lanes * (32768u + 6144u) + 50000);
        test_end_pair(&pair, seed);
    }
}

/* Planes that arrive broken are asked for again, and arrive. F-43, F-48 */
static void test_broken_planes(void **state)
{
    (void)state;
    uint64_t broken = 0;
    for (uint64_t seed = 1; seed <= test_seeds(300); seed++) {
        static test_pair pair;
        test_pair_init(&pair, seed);
        pair.is_plain = false;
        pair.ends = true;
        pair.flip_chance = 1 + (uint32_t)(seed % 10);
        pair.peers[0].options.lanes = 1 + (uint32_t)(seed % TEST_LANES);
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        ask(&pair, 100, 0);
        CHECK(test_pair_complete(&pair, hour));
        CHECK(pair.finishes == 1 && pair.sender_closes + pair.receiver_closes == 0);
        broken += lynx_receiver_counters(pair.peers[0].receiver).corrupt_planes;
        test_end_pair(&pair, seed);
    }
    assert_true(broken > 1000);
}

static void begin_flips(test_pair *pair)
{
    test_pair_init(pair, 7);
    pair->is_plain = false;
    pair->has_small_planes = true;
    pair->piece_top = 700;
}

static void run_with_flip(bool is_down, uint64_t byte, uint8_t mask, uint64_t seed)
{
    static test_pair pair;
    begin_flips(&pair);
    test_pipe *pipe = is_down ? &pair.connections[0].down : &pair.connections[0].up;
    pipe->flip_byte = byte;
    pipe->flip_mask = mask;
    assert_int_equal(test_pair_create(&pair), LYNX_OK);
    ask(&pair, 40, 0);
    test_pair_run(&pair, TURNS);
    if (pair.sender_closes == 0) {
        CHECK(is_down && pair.finishes == 1);
        CHECK(lynx_receiver_counters(pair.peers[0].receiver).corrupt_planes == 1);
    } else {
        CHECK(pair.sender_closes == 1 && pair.receiver_closes == 1);
        CHECK(pair.sender_status == LYNX_ERR_CORRUPT ||
              pair.sender_status == LYNX_ERR_PROTOCOL);
        /* Both ends know, in the same words. */
        CHECK(pair.sender_status == pair.receiver_status);
        CHECK(strcmp(pair.sender_text, pair.receiver_text) == 0);
    }
    test_end_pair(&pair, seed);
}

/* Any changed bit of any byte is found, before a plane is marked. F-6, F-9, F-40, F-43 */
static void test_flipped_bits(void **state)
{
    (void)state;
    static test_pair pair;
    begin_flips(&pair);
    assert_int_equal(test_pair_create(&pair), LYNX_OK);
    ask(&pair, 40, 0);
    test_pair_run(&pair, TURNS);
    assert_int_equal(pair.finishes, 1);
    const uint64_t down = pair.connections[0].down.total, up = pair.connections[0].up.total;
    test_end_pair(&pair, 0);
    for (uint64_t byte = 0; byte < down; byte++)
        run_with_flip(true, byte, (uint8_t)(1u << (byte * 5 % 8)), byte);
    for (uint64_t byte = 0; byte < up; byte++)
        run_with_flip(false, byte, (uint8_t)(1u << (byte * 3 % 8)), byte);
}

/* Random bytes instead of a peer. */
static void test_noise(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= test_seeds(1000); seed++) {
        static test_pair pair;
        test_pair_init(&pair, seed);
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        uint8_t noise[200];
        test_rng_fill(&pair.rng, noise, sizeof(noise));
        if (seed % 2)
            memcpy(noise, "LYNX\x02", 5);
        CHECK(lynx_failed(lynx_sender_read(pair.sender, pair.connections[0].sender_lane, 1,
                                           noise, sizeof(noise))));
        CHECK(lynx_failed(
            lynx_receiver_read(pair.peers[0].receiver, 0, 1, noise, sizeof(noise))));
        test_pair_events(&pair);
        CHECK(pair.sender_closes == 1 && pair.receiver_closes == 1);
        test_end_pair(&pair, seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_planes_arrive),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_carry_on),
        cmocka_unit_test(test_end_at_any_moment),
        cmocka_unit_test(test_destroy_at_any_moment),
        cmocka_unit_test(test_small_pools),
        cmocka_unit_test(test_broken_planes),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
