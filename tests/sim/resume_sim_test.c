/* SPDX-License-Identifier: MIT */
/*
 * Sessions that outlive their connections, in virtual time: lanes break at any moment and come
 * again, one end learns it before the other, the prefill node begins anew, memory runs out.
 * Whatever happens, planes arrive once and intact, and every request ends.
 */
#include "support/seeds.h"

enum { SMALL_TOKENS = 40 };
static const uint64_t hour = 3600000000000u;
static const uint64_t second = 1000000000u;

/* The decode node holds the pages of the first 'held' tokens. */
static test_request *ask_held(test_pair *pair, uint32_t peer, uint32_t tokens, uint32_t held,
                              uint32_t flags)
{
    uint32_t index = 0;
    lynx_request request = test_pair_held_request(tokens, held);
    request.flags = flags;
    request.answer_tokens = 1 + (uint32_t)test_rng_below(&pair->rng, 4);
    assert_int_equal(test_pair_ask(pair, peer, &request, &index), LYNX_OK);
    return &pair->requests[index];
}

static test_request *ask(test_pair *pair, uint32_t peer, uint32_t tokens, uint32_t flags)
{
    return ask_held(pair, peer, tokens, 0, flags);
}

/* A multiple of the pages' 32 tokens, below 'tokens'. */
static uint32_t some_held(test_pair *pair, uint32_t tokens)
{
    return 32 * (uint32_t)test_rng_below(&pair->rng, (tokens + 31) / 32);
}

static void begin(test_pair *pair, uint64_t seed, uint32_t lanes)
{
    test_pair_init(pair, seed);
    for (uint32_t i = 0; i < TEST_PEERS; i++)
        pair->peers[i].options.lanes = lanes;
    pair->reconnects = pair->ends = pair->starts = true;
    pair->is_plain = false;
    pair->piece_top = 50 + (uint32_t)test_rng_below(&pair->rng, 6000);
    pair->turn_ns = test_rng_below(&pair->rng, 2) ? 1000 : 50000;
    for (uint32_t i = 0; i < TEST_CONNECTIONS; i++)
        pair->connections[i].slowness = (uint32_t)test_rng_below(&pair->rng, 5);
}

static void cut_one(test_pair *pair)
{
    const uint32_t peer = (uint32_t)test_rng_below(&pair->rng, pair->peer_count);
    const uint32_t lane = (uint32_t)test_rng_below(&pair->rng, pair->peers[peer].options.lanes);
    const uint64_t kind = test_rng_below(&pair->rng, 4);
    if (kind == 0)
        test_pair_cut_sender(pair, peer, lane);
    else if (kind == 1)
        test_pair_cut_receiver(pair, peer, lane, test_rng_below(&pair->rng, 1000000));
    else
        test_pair_cut(pair, peer, lane);
}

/* Turns, of which one in 'gap' begins with a cut, until 'cuts' of them were made. */
static void storm(test_pair *pair, uint32_t cuts, uint32_t gap)
{
    while (cuts > 0) {
        if (test_rng_below(&pair->rng, gap) == 0) {
            cut_one(pair);
            cuts--;
        }
        if (!test_pair_turn(pair))
            pair->now += 1000000;
    }
}

static void check_over(const test_pair *pair, uint64_t seed)
{
    CHECK(pair->finishes == pair->request_count && pair->refuses == 0);
    CHECK(lynx_sender_counters(pair->sender).queued_bytes == 0);
    CHECK(pair->delivered + pair->cancels == pair->request_count);
}

/* F-21, F-24, F-25, F-26, F-27, F-28, F-29, F-38, F-39, F-60, F-67, F-69, F-70 */
static void test_random_cuts(void **state)
{
    (void)state;
    uint64_t resumes = 0;
    for (uint64_t seed = 1; seed <= test_seeds(400); seed++) {
        static test_pair pair;
        begin(&pair, seed, 1 + (uint32_t)(seed % TEST_LANES));
        pair.flip_chance = seed % 3 ? 0 : 8;
        pair.refuses_held = seed % 5 == 0;
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        ask(&pair, 0, 1 + (uint32_t)test_rng_below(&pair.rng, 140), 0);
        ask(&pair, 0, 40, LYNX_REQUEST_HOLD);
        ask(&pair, 0, 40, LYNX_REQUEST_NO_PAGES);
        ask(&pair, 0, 40, LYNX_REQUEST_CARRY_ON);
        const uint32_t tokens = 33 + (uint32_t)test_rng_below(&pair.rng, 100);
        ask_held(&pair, 0, tokens, some_held(&pair, tokens), 0);
        ask_held(&pair, 0, 70, 64, LYNX_REQUEST_HOLD);
        storm(&pair, 1 + (uint32_t)(seed % 20), 1 + (uint32_t)test_rng_below(&pair.rng, 100));
        CHECK(test_pair_complete(&pair, hour));
        check_over(&pair, seed);
        resumes += lynx_sender_counters(pair.sender).resumes;
        test_end_pair(&pair, seed);
    }
    assert_true(resumes > 2000);
}

/* A small exchange; the sender's end of its connection is 'down', the other 'up'. */
static test_connection *begin_small(test_pair *pair, uint32_t held)
{
    test_pair_init(pair, 3);
    pair->reconnects = pair->ends = pair->starts = true;
    pair->has_small_planes = true;
    pair->is_plain = false;
    pair->piece_top = 1;
    test_connection *c = &pair->connections[0];
    c->down.keeps = c->up.keeps = true;
    assert_int_equal(test_pair_create(pair), LYNX_OK);
    ask_held(pair, 0, SMALL_TOKENS, held, held ? 0 : LYNX_REQUEST_HOLD);
    return c;
}

/* The same exchange, cut when byte 'at' of one direction has entered the connection. */
static bool run_with_cut(uint64_t seed, bool is_down, uint64_t at, uint32_t held)
{
    static test_pair pair;
    test_connection *c = begin_small(&pair, held);
    const test_pipe *pipe = is_down ? &c->down : &c->up;
    while (pipe->total < at && !(pair.requests[0].is_ended && !pair.requests[0].key))
        test_pair_turn(&pair);
    const bool was_reached = pipe->total >= at;
    pair.piece_top = 4000;
    if (at % 3 == 0)
        test_pair_cut_receiver(&pair, 0, 0, 30000);
    else
        test_pair_cut(&pair, 0, 0);
    CHECK(test_pair_complete(&pair, hour));
    check_over(&pair, seed);
    test_end_pair(&pair, seed);
    return was_reached;
}

static void test_cut_at_every_byte(void **state)
{
    (void)state;
    uint64_t at = 1;
    while (run_with_cut(at, true, at, 0))
        at += 5;
    assert_true(at > 1000);
    for (at = 1; run_with_cut(at, false, at, 0);)
        at += 3;
    assert_true(at > 500);
}

/* Cut behind each message of either direction, of an exchange in which pages are left out: what
 * was said before, HELD and ACCEPT above all, may be all that the other end ever heard. */
static void test_cut_behind_every_message(void **state)
{
    static test_pair whole;
    static uint8_t bytes[2][65536];
    uint32_t held_messages = 0, messages = 0;
    (void)state;
    const test_connection *c = begin_small(&whole, 32);
    while (!(whole.requests[0].is_ended && !whole.requests[0].key))
        test_pair_turn(&whole);
    const size_t sizes[2] = {c->up.total, c->down.total};
    assert_true(sizes[0] <= sizeof(bytes[0]) && sizes[1] <= sizeof(bytes[1]));
    memcpy(bytes[0], c->up.data, sizes[0]);
    memcpy(bytes[1], c->down.data, sizes[1]);
    test_end_pair(&whole, 0);
    for (uint32_t way = 0; way < 2; way++)
        for (size_t at = 0; at + 40 <= sizes[way]; messages++) {
            const uint8_t *frame = bytes[way] + at;
            held_messages += frame[5] == 19;
            at += 40 + (frame[16] | (size_t)frame[17] << 8);
            if (at <= sizes[way])
                assert_true(run_with_cut(at, way == 1, at, 32));
        }
    assert_int_equal(held_messages, 1);
    assert_true(messages > 20);
}

/* Credit is told anew to each connection, and pools hold whatever the lanes do. F-50, F-53 */
static void test_cuts_with_small_pools(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= test_seeds(200); seed++) {
        static test_pair pair;
        begin(&pair, seed, 1 + (uint32_t)(seed % TEST_LANES));
        test_peer *peer = &pair.peers[0];
        pair.is_in_order = pair.releases_pages = true;
        pair.slow_reader = 1 + (uint32_t)test_rng_below(&pair.rng, 20);
        peer->options.pool_bytes[0] = 100000 + test_rng_below(&pair.rng, 60000);
        peer->options.pool_bytes[1] = 20000 + test_rng_below(&pair.rng, 20000);
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        ask(&pair, 0, 300, 0);
        test_pair_turn(&pair);
        const uint64_t before = peer->memory.live_bytes;
        peer->memory.top_bytes = before;
        storm(&pair, 1 + (uint32_t)(seed % 20), 1 + (uint32_t)test_rng_below(&pair.rng, 100));
        CHECK(test_pair_complete(&pair, hour));
        check_over(&pair, seed);
        CHECK(peer->memory.top_bytes <= before + peer->options.pool_bytes[0] +
                                            peer->options.pool_bytes[1] +
                                            peer->options.lanes * (32768u + 6144u) + 50000);
        test_end_pair(&pair, seed);
    }
}

/* Requests are ended, started and asked for while no lane, or a broken one, is there. */
static void test_calls_across_cuts(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= test_seeds(400); seed++) {
        static test_pair pair;
        begin(&pair, seed, 1 + (uint32_t)(seed % TEST_LANES));
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        lynx_receiver *receiver = pair.peers[0].receiver;
        for (uint32_t i = 0; i < 6; i++) {
            storm(&pair, 1, 1 + (uint32_t)test_rng_below(&pair.rng, 60));
            test_request *request = ask(&pair, 0, 40, i % 3 ? LYNX_REQUEST_HOLD : 0);
            if (i % 3 == 1)
                request->is_started = lynx_receiver_start(receiver, request->id) == LYNX_OK;
            storm(&pair, 1, 1 + (uint32_t)test_rng_below(&pair.rng, 60));
            request = &pair.requests[test_rng_below(&pair.rng, pair.request_count)];
            if (i % 2 && !request->is_ended)
                request->is_ended = lynx_receiver_end(receiver, request->id) == LYNX_OK;
        }
        CHECK(test_pair_complete(&pair, hour));
        CHECK(pair.refuses == 0);
        CHECK(lynx_sender_counters(pair.sender).queued_bytes == 0);
        test_end_pair(&pair, seed);
    }
}

/* The prefill node begins anew: what it had accepted is refused, what was only asked for goes
 * on. F-28 */
static void test_sender_begins_anew(void **state)
{
    (void)state;
    uint32_t refuses = 0, finishes = 0;
    for (uint64_t seed = 1; seed <= test_seeds(300); seed++) {
        static test_pair pair;
        begin(&pair, seed, 1 + (uint32_t)(seed % TEST_LANES));
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        for (uint32_t i = 0; i < 4; i++) {
            ask_held(&pair, 0, 40, i < 2 ? 32 : 0, i % 2 ? LYNX_REQUEST_HOLD : 0);
            if (i < 3)
                storm(&pair, 1, 1 + (uint32_t)test_rng_below(&pair.rng, 300));
        }
        assert_int_equal(test_pair_restart_sender(&pair), LYNX_OK);
        CHECK(test_pair_complete(&pair, hour));
        CHECK(pair.finishes + pair.refuses == 4);
        for (uint32_t i = 0; i < 4; i++)
            CHECK(!pair.requests[i].is_refused || pair.requests[i].status == LYNX_ERR_CLOSED);
        CHECK(lynx_sender_counters(pair.sender).queued_bytes == 0);
        refuses += pair.refuses;
        finishes += pair.finishes;
        test_end_pair(&pair, seed);
    }
    assert_true(refuses > 100 && finishes > 100);
}

/* Nobody resumes: the session ends in time, its planes are released. Who comes later is told.
 * F-23
 */
static void test_receiver_is_gone(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= test_seeds(200); seed++) {
        static test_pair pair;
        begin(&pair, seed, 1 + (uint32_t)(seed % TEST_LANES));
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        ask(&pair, 0, 70, seed % 2 ? LYNX_REQUEST_HOLD : 0);
        storm(&pair, 1, 1 + (uint32_t)test_rng_below(&pair.rng, 200));
        pair.reconnects = false;
        for (uint32_t lane = 0; lane < TEST_LANES; lane++)
            test_pair_cut(&pair, 0, lane);
        test_pair_pass(&pair, 59 * second);
        const uint32_t cancels = pair.cancels;
        test_pair_pass(&pair, 3 * second);
        CHECK(lynx_sender_counters(pair.sender).queued_bytes == 0);
        CHECK(pair.tick_at == LYNX_TIME_NEVER && pair.requests[0].key == 0);
        CHECK(pair.cancels > cancels || pair.delivered || pair.finishes ||
              pair.last_request.request_id == 0);
        for (uint32_t i = 0; i < pair.plane_count; i++)
            CHECK(pair.planes[i].releases == pair.planes[i].adds);
        pair.reconnects = true;
        CHECK(test_pair_complete(&pair, hour));
        CHECK(pair.finishes + pair.refuses == 1);
        test_end_pair(&pair, seed);
    }
}

/* Two peers, cuts, and an old residual that may go before anchors. */
static void test_two_peers(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= test_seeds(300); seed++) {
        static test_pair pair;
        begin(&pair, seed, 1 + (uint32_t)(seed % TEST_LANES));
        pair.peer_count = 2;
        pair.sender_options.residual_age_max_ns = seed % 4 ? 0 : 1000000;
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        for (uint32_t i = 0; i < 4; i++)
            ask_held(&pair, i % 2, 33 + (uint32_t)test_rng_below(&pair.rng, 100),
                     i == 2 ? 32 : 0, i == 3 ? LYNX_REQUEST_HOLD : 0);
        if (seed % 2)
            storm(&pair, 1 + (uint32_t)(seed % 20),
                  1 + (uint32_t)test_rng_below(&pair.rng, 100));
        CHECK(test_pair_complete(&pair, hour));
        check_over(&pair, seed);
        CHECK(seed % 2 || pair.sender_closes + pair.receiver_closes == 0);
        test_end_pair(&pair, seed);
    }
}

/* The n-th allocation of either end fails, for every n, with cuts: nothing leaks, hangs or is
 * marked wrongly; a lane that has no memory is closed and made anew. */
static void run_without_memory(uint64_t n, bool at_sender)
{
    const uint64_t seed = n;
    static test_pair pair;
    begin(&pair, 11 + n % 5, 1 + (uint32_t)(n % TEST_LANES));
    pair.has_small_planes = true;
    test_allocator *memory = at_sender ? &pair.memory : &pair.peers[0].memory;
    memory->fail_at = n;
    const lynx_status status = test_pair_create(&pair);
    if (status != LYNX_OK && !(pair.sender && pair.peers[0].receiver)) {
        CHECK(status == LYNX_ERR_MEMORY);
        test_end_pair(&pair, seed);
        return;
    }
    for (uint32_t i = 0; i < 2; i++) {
        lynx_request request = test_pair_held_request(SMALL_TOKENS, 32 * i);
        request.flags = (n + i) % 2 ? LYNX_REQUEST_HOLD : 0;
        uint32_t index;
        if (test_pair_ask(&pair, 0, &request, &index) != LYNX_OK)
            assert_int_equal(test_pair_ask(&pair, 0, &request, &index), LYNX_OK);
    }
    if (n % 4 == 0)
        storm(&pair, 2, 50);
    CHECK(test_pair_complete(&pair, hour));
    CHECK(pair.finishes + pair.refuses == 2);
    for (uint32_t i = 0; i < 2; i++) /* CLOSED: refused without a lane */
        CHECK(!pair.requests[i].is_refused || pair.requests[i].status == LYNX_ERR_MEMORY ||
              pair.requests[i].status == LYNX_ERR_CLOSED);
    CHECK(lynx_sender_counters(pair.sender).queued_bytes == 0);
    test_end_pair(&pair, seed);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= test_seeds(200); n++) { /* a run makes about 80 allocations */
        run_without_memory(n, true);
        run_without_memory(n, false);
    }
}

/* Memory ends for good at any moment, and comes back a second later. */
static void test_memory_comes_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= test_seeds(300); seed++) {
        static test_pair pair;
        begin(&pair, seed, 1 + (uint32_t)(seed % TEST_LANES));
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        ask(&pair, 0, 70, seed % 5 ? 0 : LYNX_REQUEST_HOLD);
        test_allocator *memory = seed % 2 ? &pair.memory : &pair.peers[0].memory;
        memory->fail_at = memory->calls + test_rng_below(&pair.rng, 200);
        memory->keeps_failing = true;
        for (uint32_t i = 0; i < 3000; i++)
            pair.now += test_pair_turn(&pair) ? 0 : 1000000;
        memory->fail_at = 0;
        CHECK(test_pair_complete(&pair, hour));
        CHECK(pair.finishes + pair.refuses == 1);
        test_end_pair(&pair, seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_cuts),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_cut_behind_every_message),
        cmocka_unit_test(test_cuts_with_small_pools),
        cmocka_unit_test(test_calls_across_cuts),
        cmocka_unit_test(test_sender_begins_anew),
        cmocka_unit_test(test_receiver_is_gone),
        cmocka_unit_test(test_two_peers),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_memory_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
