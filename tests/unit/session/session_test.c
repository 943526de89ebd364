/* SPDX-License-Identifier: MIT */
/* Greeting, time, requests and every status that the calls and the peer's messages lead to. */
#include "support/cmocka_all.h"

#include "session/event_queue.h"
#include "session/outbox.h"
#include "support/open_pair.h"

enum { STEPS = TEST_TURNS };
static const lynx_page_id first_page = {0, 0, 0};

/* A pair as in open_pair.h; the sender's name of its request. */
static uint64_t open_pair(test_pair *pair, uint32_t flags, bool accepts)
{
    test_pair_init(pair, 5);
    test_open_pair(pair, flags, accepts);
    return pair->requests[0].key;
}

/* ---- greeting ------------------------------------------------------------------------ */

static void expect_model_error(test_pair *pair, const lynx_model *other, const char *what)
{
    pair->peers[0].options.model = other;
    assert_int_equal(test_pair_create(pair), LYNX_OK);
    test_pair_run(pair, STEPS);
    assert_true(pair->sender_closes == 1 && pair->receiver_closes == 1);
    assert_int_equal(pair->sender_status, LYNX_ERR_MODEL);
    assert_int_equal(pair->receiver_status, LYNX_ERR_MODEL);
    assert_non_null(strstr(pair->sender_text, what));
    assert_non_null(strstr(pair->sender_text, "test model"));
    assert_non_null(strstr(pair->sender_text, "other model"));
    assert_string_equal(pair->sender_text, pair->receiver_text);
    test_close_pair(pair);
}

/* F-14, F-15 */
static void test_other_model(void **state)
{
    (void)state;
    static const char *const words[] = {"architecture",          "tokenizer",
                                        "--allow-other-weights", "--cache-type",
                                        "tokens of a page",      "shape"};
    for (uint32_t i = 0; i < 6; i++) {
        test_pair pair;
        test_pair_init(&pair, i);
        lynx_model other = pair.model;
        lynx_layer_shape layers[TEST_LAYERS] = {pair.layers[0], pair.layers[1]};
        other.name = "other model";
        other.shape.layers = layers;
        if (i == 0)
            other.fingerprint.structure[15] = 1;
        else if (i == 1)
            other.fingerprint.tokenizer[0] = 1;
        else if (i == 2)
            other.fingerprint.weights[0] = 1;
        else if (i == 3)
            other.shape.element = LYNX_ELEMENT_BF16;
        else if (i == 4)
            other.shape.page_tokens = 64;
        else
            layers[1].sides[0].rope = (lynx_rope){LYNX_ROPE_HALVES, 8, 10000, 1};
        expect_model_error(&pair, &other, words[i]);
    }
}

static void test_other_weights_allowed(void **state)
{
    (void)state;
    for (uint32_t both = 0; both < 2; both++) {
        test_pair pair;
        test_pair_init(&pair, 1);
        lynx_model other = pair.model;
        other.fingerprint.weights[3] = 9;
        pair.peers[0].options.model = &other;
        pair.peers[0].options.allow_other_weights = true;
        pair.sender_options.allow_other_weights = both;
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        test_pair_run(&pair, STEPS);
        assert_int_equal(pair.sender_closes, !both);
        assert_int_equal(pair.receiver_closes, !both);
        test_close_pair(&pair);
    }
}

/* F-7 */
static void test_other_version(void **state)
{
    (void)state;
    test_pair pair;
    test_pair_init(&pair, 1);
    assert_int_equal(test_pair_create(&pair), LYNX_OK);
    assert_int_equal(test_feed(&pair, true, (lx_frame){.version = 3, .type = 1}, NULL),
                     LYNX_ERR_VERSION);
    test_pair_events(&pair);
    assert_int_equal(pair.sender_status, LYNX_ERR_VERSION);
    assert_non_null(strstr(pair.sender_text, "prefill node speaks version 2"));
    assert_non_null(strstr(pair.sender_text, "decode node version 3"));
    test_pair_run(&pair, STEPS);
    assert_int_equal(pair.receiver_status, LYNX_ERR_VERSION);
    assert_string_equal(pair.sender_text, pair.receiver_text);
    test_close_pair(&pair);
}

/* ---- time ---------------------------------------------------------------------------- */

/* F-55, F-56 */
static void test_time_out(void **state)
{
    (void)state;
    test_pair pair;
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count;
    const uint64_t second = 1000000000u;
    open_pair(&pair, 0, true);
    lynx_sender *s = pair.sender;
    const uint32_t lane = test_pair_connection(&pair, 0, 0)->sender_lane;
    assert_true(lynx_sender_deadline(s, lane) <= pair.now + second);
    pair.now += second;
    assert_int_equal(lynx_sender_write(s, lane, pair.now, parts, &count), LYNX_OK);
    assert_true(count == 1 && parts[0].size == LX_FRAME_BYTES);
    assert_int_equal(parts[0].data[5], LX_MESSAGE_PING);
    /* While the ping waits to leave, only the time-out is a deadline. */
    assert_true(lynx_sender_deadline(s, lane) > pair.now + 8 * second);
    pair.now = lynx_sender_deadline(s, lane);
    assert_int_equal(lynx_sender_write(s, lane, pair.now, parts, &count), LYNX_OK);
    test_pair_events(&pair);
    assert_int_equal(pair.sender_status, LYNX_ERR_TIMEOUT);
    assert_true(lynx_sender_deadline(s, lane) == LYNX_TIME_NEVER);
    test_pair_run(&pair, STEPS);
    assert_int_equal(pair.receiver_status, LYNX_ERR_TIMEOUT);
    assert_non_null(strstr(pair.receiver_text, "10000 ms"));
    test_close_pair(&pair);
}

/* Time-outs that never come do not wrap round. */
static void test_endless_time_out(void **state)
{
    (void)state;
    test_pair pair;
    test_pair_init(&pair, 5);
    pair.sender_options.timeout_ns = LYNX_TIME_NEVER;
    pair.sender_options.resume_ns = LYNX_TIME_NEVER;
    pair.sender_options.stall_ns = LYNX_TIME_NEVER;
    test_open_pair(&pair, 0, true);
    uint8_t data[8];
    uint32_t releases = 0;
    assert_int_equal(test_add(&pair, 0, first_page, 0, data, 8, &releases), LYNX_OK);
    test_connection *c = test_pair_connection(&pair, 0, 0);
    while (c->pages == 0 || c->frame_at || c->down.part_count)
        test_pair_turn(&pair);
    assert_true(lynx_sender_deadline(pair.sender, c->sender_lane) > pair.now);
    test_pair_run(&pair, STEPS);
    test_pair_cut(&pair, 0, 0);
    test_pair_run(&pair, STEPS);
    assert_true(pair.tick_at == LYNX_TIME_NEVER && pair.cancels == 0);
    test_close_pair(&pair);
}

/* Pings alone keep an idle session open. */
static void test_pings_keep_open(void **state)
{
    (void)state;
    test_pair pair;
    open_pair(&pair, 0, true);
    test_pair_pass(&pair, 100000000000u);
    assert_int_equal(pair.sender_closes + pair.receiver_closes, 0);
    test_close_pair(&pair);
}

/* F-57: a peer that is alive and acknowledges nothing. */
static void test_peer_without_acknowledgements(void **state)
{
    (void)state;
    test_pair pair;
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint8_t data[8];
    uint32_t releases = 0, count;
    open_pair(&pair, 0, true);
    assert_int_equal(test_add(&pair, 0, first_page, 0, data, 8, &releases), LYNX_OK);
    const uint32_t lane = test_pair_connection(&pair, 0, 0)->sender_lane;
    assert_int_equal(lynx_sender_write(pair.sender, lane, pair.now, parts, &count), LYNX_OK);
    assert_int_equal(count, 2); /* the plane is lost on its way, without a cut */
    lynx_sender_wrote(pair.sender, lane, pair.now, parts[0].size + parts[1].size);
    for (uint32_t i = 0; pair.sender_closes == 0 || i < 10; i++) {
        assert_true(i < 20);
        pair.now += 999000000;
        assert_int_equal(test_feed(&pair, true, (lx_frame){.type = LX_MESSAGE_PING}, NULL),
                         LYNX_OK);
        test_pair_turn(&pair);
        test_pair_turn(&pair);
    }
    assert_int_equal(pair.sender_status, LYNX_ERR_TIMEOUT);
    assert_non_null(strstr(pair.sender_text, "acknowledged nothing"));
    test_pair_destroy(&pair);
    assert_int_equal(releases, 1);
}

/* ---- calls in the wrong state -------------------------------------------------------- */

static lynx_status add(test_pair *pair, lynx_page_id page, uint32_t plane, uint8_t *data)
{
    static uint32_t releases;
    return test_add(pair, 0, page, plane, data, 8, &releases);
}

static void test_sender_states(void **state)
{
    (void)state;
    test_pair pair;
    uint8_t data[8];
    const uint64_t id = open_pair(&pair, LYNX_REQUEST_HOLD, false);
    lynx_sender *s = pair.sender;
    assert_int_equal(lynx_sender_accept(s, id + 1, 0), LYNX_ERR_STATE);
    assert_int_equal(lynx_sender_accept(s, UINT64_MAX, 0), LYNX_ERR_STATE);
    assert_int_equal(lynx_sender_token(s, id, 1, NULL), LYNX_ERR_STATE);
    assert_int_equal(lynx_sender_refuse(s, id, LYNX_OK, ""), LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_sender_accept(s, id, 0), LYNX_OK);
    assert_int_equal(lynx_sender_accept(s, id, 0), LYNX_ERR_STATE);
    assert_int_equal(lynx_sender_token(s, id, 1, NULL), LYNX_OK);
    assert_int_equal(lynx_sender_finish(s, id), LYNX_ERR_STATE); /* a token is missing */
    assert_int_equal(lynx_sender_token(s, id, 1, NULL), LYNX_OK);
    assert_int_equal(lynx_sender_token(s, id, 1, NULL), LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_sender_finish(s, id), LYNX_ERR_STATE); /* all planes are */
    assert_int_equal(add(&pair, (lynx_page_id){9, 0, 0}, 0, data), LYNX_ERR_ARGUMENT);
    assert_int_equal(add(&pair, first_page, 2, data), LYNX_ERR_ARGUMENT);
    assert_int_equal(add(&pair, first_page, 0, data), LYNX_OK);
    assert_int_equal(add(&pair, first_page, 0, data), LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_sender_counters(s).queued_bytes, 8);
    assert_int_equal(lynx_sender_refuse(s, id, LYNX_ERR_ENGINE, "broke\x1b[2J"), LYNX_OK);
    assert_int_equal(add(&pair, first_page, 1, data), LYNX_ERR_STATE);
    assert_int_equal(lynx_sender_refuse(s, id, LYNX_ERR_ENGINE, ""), LYNX_ERR_STATE);
    test_pair_run(&pair, STEPS);
    assert_int_equal(pair.refuses, 1);
    assert_int_equal(pair.receiver_status, LYNX_ERR_ENGINE);
    assert_string_equal(pair.receiver_text, "broke?[2J"); /* F-36 */
    assert_int_equal(lynx_sender_counters(s).queued_bytes, 0);
    assert_int_equal(lynx_sender_progress(s, id, 1), LYNX_ERR_STATE);
    test_close_pair(&pair);
}

/* Lanes that do not exist. */
static void test_lane_states(void **state)
{
    (void)state;
    test_pair pair;
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count = 9;
    const uint8_t byte = 0;
    open_pair(&pair, 0, true);
    lynx_receiver *r = pair.peers[0].receiver;
    assert_int_equal(lynx_sender_read(pair.sender, 99, 1, &byte, 1), LYNX_ERR_STATE);
    assert_int_equal(lynx_sender_read(pair.sender, 1, 1, &byte, 1), LYNX_ERR_STATE);
    assert_int_equal(lynx_sender_write(pair.sender, 1, 1, parts, &count), LYNX_ERR_STATE);
    assert_int_equal(count, 0);
    lynx_sender_wrote(pair.sender, 1, 1, 1);
    lynx_sender_disconnect(pair.sender, 1, 1, LYNX_ERR_CLOSED, "");
    assert_true(lynx_sender_deadline(pair.sender, 1) == LYNX_TIME_NEVER);
    assert_true(lynx_sender_deadline(pair.sender, 99) == LYNX_TIME_NEVER);
    assert_int_equal(lynx_receiver_connect(r, 1, 0), LYNX_ERR_STATE);
    assert_int_equal(lynx_receiver_connect(r, 1, 1), LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_receiver_read(r, 1, 1, &byte, 1), LYNX_ERR_STATE);
    assert_int_equal(lynx_receiver_write(r, 1, 1, parts, &count), LYNX_ERR_STATE);
    lynx_receiver_wrote(r, 1, 1, 1);
    lynx_receiver_disconnect(r, 1, 1, LYNX_ERR_CLOSED, "");
    assert_true(lynx_receiver_deadline(r, 1) == LYNX_TIME_NEVER);
    test_pair_run(&pair, STEPS);
    assert_int_equal(pair.sender_closes + pair.receiver_closes, 0);
    test_close_pair(&pair);
}

static void test_receiver_states(void **state)
{
    (void)state;
    test_pair pair;
    lynx_bytes planes[LYNX_PLANES_MAX];
    uint32_t count;
    uint64_t other;
    open_pair(&pair, LYNX_REQUEST_HOLD, true);
    lynx_receiver *r = pair.peers[0].receiver;
    const uint64_t id = pair.requests[0].id;
    lynx_request request = test_pair_request(40);
    static const uint32_t bad_flags[] = {32, LYNX_REQUEST_CARRY_ON | LYNX_REQUEST_HOLD,
                                         LYNX_REQUEST_CARRY_ON | LYNX_REQUEST_NO_PAGES};
    for (uint32_t i = 0; i < 3; i++) { /* F-58 */
        request.flags = bad_flags[i];
        assert_int_equal(lynx_receiver_request(r, &request, &other), LYNX_ERR_ARGUMENT);
    }
    request = test_pair_request(0);
    assert_int_equal(lynx_receiver_request(r, &request, &other), LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_receiver_planes(r, id, first_page, planes, &count), LYNX_ERR_STATE);
    assert_int_equal(lynx_receiver_planes(r, 99, first_page, planes, &count), LYNX_ERR_STATE);
    lynx_receiver_release_page(r, 99, first_page);
    lynx_receiver_release_page(r, id, (lynx_page_id){9, 0, 0});
    assert_int_equal(lynx_receiver_start(r, 99), LYNX_ERR_STATE);
    assert_int_equal(lynx_receiver_start(r, id), LYNX_OK);
    assert_int_equal(lynx_receiver_start(r, id), LYNX_ERR_STATE);
    assert_int_equal(lynx_receiver_end(r, 99), LYNX_ERR_STATE);
    assert_int_equal(lynx_receiver_end(r, id), LYNX_OK);
    assert_int_equal(lynx_receiver_end(r, id), LYNX_ERR_STATE);
    assert_null(lynx_receiver_map(r, id));
    pair.requests[0].is_ended = true;
    test_pair_run(&pair, STEPS);
    assert_int_equal(pair.cancels, 1);
    request = test_pair_request(40);
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++)
        assert_int_equal(lynx_receiver_request(r, &request, &other), LYNX_OK);
    assert_int_equal(lynx_receiver_start(r, other), LYNX_ERR_STATE);
    assert_int_equal(lynx_receiver_request(r, &request, &other), LYNX_ERR_LIMIT);
    lynx_receiver_close(r, LYNX_OK, "");
    assert_int_equal(lynx_receiver_request(r, &request, &other), LYNX_ERR_CLOSED);
    assert_int_equal(lynx_receiver_end(r, other), LYNX_OK);
    test_close_pair(&pair);
}

/* The prefill node is given up: what lives is refused, what comes as well. */
static void test_fail(void **state)
{
    (void)state;
    test_pair pair;
    open_pair(&pair, 0, true);
    lynx_receiver *r = pair.peers[0].receiver;
    uint64_t id;
    const lynx_request request = test_pair_request(40);
    lynx_receiver_fail(r, pair.now, LYNX_ERR_TIMEOUT, "nobody answers");
    lynx_receiver_fail(r, pair.now, LYNX_ERR_TIMEOUT, "said twice");
    test_pair_run(&pair, STEPS);
    assert_int_equal(pair.refuses, 1);
    assert_int_equal(pair.receiver_status, LYNX_ERR_TIMEOUT);
    assert_string_equal(pair.receiver_text, "nobody answers");
    assert_int_equal(lynx_receiver_request(r, &request, &id), LYNX_ERR_CLOSED);
    assert_int_equal(pair.sender_closes + pair.cancels, 0);
    assert_int_equal(lynx_receiver_end(r, pair.requests[0].id), LYNX_OK);
    pair.requests[0].is_ended = true;
    test_pair_run(&pair, STEPS);
    assert_int_equal(pair.cancels, 1);
    test_close_pair(&pair);
}

/* F-31: refused by the session, the owner never hears of it. */
static void test_prompt_above_context(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        test_pair pair;
        uint32_t index;
        test_pair_init(&pair, 1);
        lynx_model small = pair.model;
        small.context_tokens = 39;
        pair.sender_options.model = &small;
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        lynx_request request = test_pair_request(i ? 39 : 40);
        request.answer_tokens = i ? 40 : 1;
        assert_int_equal(test_pair_ask(&pair, 0, &request, &index), LYNX_OK);
        test_pair_run(&pair, STEPS);
        assert_int_equal(pair.refuses, 1);
        assert_int_equal(pair.receiver_status, LYNX_ERR_LIMIT);
        assert_int_equal(pair.last_request.request_id, 0);
        test_close_pair(&pair);
    }
}

/* F-31: who carries on gets as far as it gets. */
static void test_carry_above_context(void **state)
{
    (void)state;
    test_pair pair;
    uint32_t index;
    test_pair_init(&pair, 1);
    lynx_model small = pair.model;
    small.context_tokens = 42;
    pair.sender_options.model = &small;
    pair.is_manual = true;
    assert_int_equal(test_pair_create(&pair), LYNX_OK);
    lynx_request request = test_pair_request(40);
    request.answer_tokens = UINT32_MAX;
    request.flags = LYNX_REQUEST_CARRY_ON;
    assert_int_equal(test_pair_ask(&pair, 0, &request, &index), LYNX_OK);
    test_pair_run(&pair, STEPS);
    const uint64_t key = pair.requests[0].key;
    assert_int_equal(lynx_sender_accept(pair.sender, key, 0), LYNX_OK);
    assert_true(pair.memory.live_bytes < 1 << 20);
    for (uint32_t i = 0; i < 42; i++)
        assert_int_equal(lynx_sender_token(pair.sender, key, 1, NULL), LYNX_OK);
    assert_int_equal(lynx_sender_token(pair.sender, key, 1, NULL), LYNX_ERR_ARGUMENT);
    test_close_pair(&pair);
}

static void read_up(test_pair *pair)
{
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count;
    test_connection *c = test_pair_connection(pair, 0, 0);
    while (lynx_receiver_write(pair->peers[0].receiver, 0, pair->now, parts, &count) ==
               LYNX_OK &&
           count) {
        assert_int_equal(lynx_sender_read(pair->sender, c->sender_lane, pair->now,
                                          parts[0].data, parts[0].size),
                         LYNX_OK);
        lynx_receiver_wrote(pair->peers[0].receiver, 0, pair->now, parts[0].size);
    }
}

/* REQUEST and END in one read: the request that the first event shows is still there. */
static void test_end_before_the_request_is_taken(void **state)
{
    (void)state;
    test_pair pair;
    lynx_event event;
    uint32_t index;
    test_pair_init(&pair, 1);
    assert_int_equal(test_pair_create(&pair), LYNX_OK);
    const lynx_request request = test_pair_request(40);
    assert_int_equal(test_pair_ask(&pair, 0, &request, &index), LYNX_OK);
    assert_int_equal(lynx_receiver_end(pair.peers[0].receiver, pair.requests[0].id), LYNX_OK);
    read_up(&pair);
    assert_true(lynx_sender_next_event(pair.sender, &event));
    assert_int_equal(event.type, LYNX_EVENT_REQUEST);
    assert_int_equal(event.request->tokens[6], 7);
    assert_int_equal(lynx_sender_accept(pair.sender, event.request_id, 0), LYNX_ERR_STATE);
    const lynx_request *shown = event.request;
    assert_true(lynx_sender_next_event(pair.sender, &event));
    assert_int_equal(event.type, LYNX_EVENT_CANCEL);
    assert_int_equal(shown->tokens[0], 1);
    assert_true(lynx_sender_next_event(pair.sender, &event));
    assert_int_equal(event.type, LYNX_EVENT_OPENED);
    assert_false(lynx_sender_next_event(pair.sender, &event));
    test_close_pair(&pair);
}

/* As many requests as may be open, all exchanged for others in one read. F-31 */
static void test_all_requests_at_once(void **state)
{
    (void)state;
    test_pair pair;
    uint32_t index;
    test_pair_init(&pair, 1);
    pair.is_manual = true;
    assert_int_equal(test_pair_create(&pair), LYNX_OK);
    const lynx_request request = test_pair_request(40);
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++)
        assert_int_equal(test_pair_ask(&pair, 0, &request, &index), LYNX_OK);
    test_pair_run(&pair, STEPS);
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++) {
        uint64_t id;
        assert_int_equal(lynx_receiver_end(pair.peers[0].receiver, pair.requests[i].id),
                         LYNX_OK);
        pair.requests[i].is_ended = true;
        assert_int_equal(lynx_receiver_request(pair.peers[0].receiver, &request, &id), LYNX_OK);
    }
    read_up(&pair);
    lynx_event event;
    uint32_t requests = 0, cancels = 0;
    while (lynx_sender_next_event(pair.sender, &event)) {
        requests += event.type == LYNX_EVENT_REQUEST;
        cancels += event.type == LYNX_EVENT_CANCEL;
    }
    assert_true(requests == LYNX_REQUESTS_MAX && cancels == LYNX_REQUESTS_MAX);
    test_close_pair(&pair);
}

/* END right behind what completes the request: its tokens are there until DELIVERED is taken.
 */
static void test_end_before_delivered_is_taken(void **state)
{
    (void)state;
    test_pair pair;
    lynx_event event;
    const uint64_t key = open_pair(&pair, LYNX_REQUEST_NO_PAGES, true);
    const lynx_request *shown = pair.last_request.request;
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(lynx_sender_token(pair.sender, key, 3, NULL), LYNX_OK);
    assert_int_equal(lynx_sender_finish(pair.sender, key), LYNX_OK);
    assert_int_equal(lynx_receiver_end(pair.peers[0].receiver, pair.requests[0].id), LYNX_OK);
    read_up(&pair);
    assert_int_equal(lynx_sender_refuse(pair.sender, key, LYNX_ERR_ENGINE, ""), LYNX_ERR_STATE);
    assert_true(lynx_sender_next_event(pair.sender, &event));
    assert_int_equal(event.type, LYNX_EVENT_DELIVERED);
    assert_int_equal(shown->tokens[6], 7);
    assert_false(lynx_sender_next_event(pair.sender, &event));
    test_close_pair(&pair);
}

/* ---- a peer that breaks the rules ---------------------------------------------------- */

typedef struct bad_page {
    lx_page_message page;
    uint64_t request_id;
    uint32_t chunk;
} bad_page;

static void test_bad_pages(void **state)
{
    (void)state;
    const bad_page pages[] = {
        {{{0, 0, 0}, 0, 4, 0, 0}, 0, 4}, /* F-11: request ids */
        {{{0, 0, 0}, 0, 4, 0, 0}, 2, 4},
        {{{9, 0, 0}, 0, 4, 0, 0}, 1, 4}, /* F-41: page, layer, plane */
        {{{0, 9, 0}, 0, 4, 0, 0}, 1, 4},
        {{{0, 0, 0}, 2, 4, 0, 0}, 1, 4},
        {{{0, 0, 0}, 0, 4, 1, 0}, 1, 3},          /* does not begin at 0 */
        {{{0, 0, 0}, 0, 4, 0, 0}, 1, 5},          /* longer than the plane */
        {{{0, 0, 0}, 0, 4, 0, 0}, 1, 0},          /* no byte of it */
        {{{0, 0, 0}, 0, UINT32_MAX, 0, 0}, 1, 4}, /* F-42 */
        {{{1, 0, 0}, 1, 4 * 512 + 1, 0, 0}, 1, 4},
    };
    for (size_t i = 0; i < sizeof(pages) / sizeof(*pages); i++) {
        test_pair pair;
        uint8_t payload[64] = {0};
        open_pair(&pair, 0, true);
        const uint64_t top = pair.peers[0].memory.live_bytes;
        lx_writer writer = lx_writer_of(payload, sizeof(payload));
        lx_page_encode_header(&writer, &pages[i].page);
        assert_int_equal(test_feed(&pair, false,
                                   (lx_frame){.type = LX_MESSAGE_PAGE,
                                              .request_id = pages[i].request_id,
                                              .payload_bytes =
                                                  LX_PAGE_FIXED_BYTES + pages[i].chunk},
                                   payload),
                         LYNX_ERR_PROTOCOL);
        assert_true(pair.peers[0].memory.live_bytes <= top + 4096);
        test_close_pair(&pair);
    }
}

/* F-43, F-48: a plane that arrives broken is asked for again, but not for ever. */
static void test_broken_plane(void **state)
{
    (void)state;
    for (uint32_t flips = 1; flips <= 4; flips++) {
        test_pair pair;
        uint8_t data[8];
        uint32_t releases = 0, broken = 0;
        open_pair(&pair, 0, true);
        const uint64_t id = pair.requests[0].id;
        lynx_receiver *r = pair.peers[0].receiver;
        const lynx_page_id page = {1, 1, 1};
        assert_int_equal(test_add(&pair, 0, page, 1, data, 8, &releases), LYNX_OK);
        test_connection *c = test_pair_connection(&pair, 0, 0);
        for (uint32_t i = 0; i < 1000; i++) {
            const uint32_t pages = c->pages;
            test_pair_turn(&pair);
            pair.now += 1000000;
            if (c->pages > pages && broken < flips) { /* its last byte, before it leaves */
                c->down.flip_byte = c->down.total + TEST_HEAD_BYTES + 7;
                c->down.flip_mask = 1;
                broken++;
            }
        }
        assert_int_equal(lynx_receiver_counters(r).corrupt_planes, flips);
        assert_int_equal(lynx_page_map_has(lynx_receiver_map(r, id), page, 1), flips < 4);
        assert_int_equal(pair.refuses, flips == 4);
        assert_int_equal(releases, flips < 4);
        if (flips < 4)
            test_pair_pass(&pair, 15000000000u); /* nobody waits for it any more */
        assert_int_equal(pair.sender_closes + pair.receiver_closes, 0);
        assert_int_equal(lynx_sender_counters(pair.sender).resent_bytes,
                         8 * (flips < 4 ? flips : 3));
        if (flips == 4) {
            assert_int_equal(pair.requests[0].status, LYNX_ERR_CORRUPT);
            assert_non_null(strstr(pair.receiver_text, "plane 1 of page 1, layer 1, values"));
        }
        pair.content_errors = 0; /* no record knows of the plane */
        test_close_pair(&pair);
    }
}

static void expect(bool to_sender, uint32_t flags, lx_frame frame, lynx_status status)
{
    test_pair pair;
    static const uint8_t zeros[1024];
    open_pair(&pair, flags, true);
    assert_int_equal(test_feed(&pair, to_sender, frame, zeros), status);
    test_pair_events(&pair);
    assert_int_equal(to_sender ? pair.sender_closes : pair.receiver_closes, status != LYNX_OK);
    test_close_pair(&pair);
}

/* F-2, F-8, F-11, F-24, F-35, F-37, F-38, F-39 */
static void test_bad_messages(void **state)
{
    (void)state;
    const lynx_status bad = LYNX_ERR_PROTOCOL;
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_HELLO, .payload_bytes = 96}, bad);
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_ACCEPT, .request_id = 1}, bad);
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_PAGE, .request_id = 1, .payload_bytes = 32},
           bad);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_ACCEPT, .request_id = 1}, LYNX_OK);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_ACCEPT, .request_id = 2}, bad);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_START, .request_id = 1}, bad);
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_START, .request_id = 1}, bad);
    expect(true, 1, (lx_frame){.type = LX_MESSAGE_START, .request_id = 1}, LYNX_OK);
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_END, .request_id = 2}, bad);
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_END, .request_id = 1}, LYNX_OK);
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_END, .request_id = 1, .payload_bytes = 1},
           bad);
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_ACK, .request_id = 1, .payload_bytes = 9},
           bad);
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_RESUME, .payload_bytes = 8}, bad);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_RESUME, .payload_bytes = 8}, bad);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_FLOW, .payload_bytes = 24}, bad);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_READY, .request_id = 1}, bad);
    expect(false, 1, (lx_frame){.type = LX_MESSAGE_READY, .request_id = 1}, LYNX_OK);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_TOKEN, .request_id = 1, .payload_bytes = 8},
           LYNX_OK);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_TOKEN, .request_id = 1, .payload_bytes = 9},
           bad);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_REFUSE, .request_id = 1, .payload_bytes = 8},
           bad);
    expect(false, 0, (lx_frame){.type = 99, .payload_bytes = 7}, bad);
    expect(false, 0, (lx_frame){.type = 99, .flags = 1, .payload_bytes = 700}, LYNX_OK);
    expect(false, 0, (lx_frame){.type = 0, .flags = 1}, LYNX_OK);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_PING}, LYNX_OK);
}

static lynx_status feed_yield(test_pair *pair, uint8_t count)
{
    const uint8_t payload[LX_YIELD_BYTES] = {count};
    return test_feed(pair, false,
                     (lx_frame){.type = LX_MESSAGE_YIELD,
                                .request_id = 1,
                                .payload_bytes = sizeof(payload)},
                     payload);
}

/* F-61 */
static void test_bad_yields(void **state)
{
    (void)state;
    enum { NO_FLAG, NO_ACCEPT, ZERO, TOO_FEW, TOO_MANY, TOKEN_BEHIND, CASES };
    for (uint32_t i = 0; i < CASES; i++) {
        test_pair pair;
        static const uint8_t first[LX_TOKEN_BYTES], second[LX_TOKEN_BYTES] = {1};
        lx_frame token = {.type = LX_MESSAGE_TOKEN,
                          .request_id = 1,
                          .payload_bytes = LX_TOKEN_BYTES};
        open_pair(&pair, i == NO_FLAG ? 0 : LYNX_REQUEST_CARRY_ON, i != NO_ACCEPT);
        if (i != NO_ACCEPT && i != ZERO)
            assert_int_equal(test_feed(&pair, false, token, first), LYNX_OK);
        lynx_status status = LYNX_OK;
        if (i == TOKEN_BEHIND) {
            assert_int_equal(feed_yield(&pair, 1), LYNX_OK);
            assert_int_equal(feed_yield(&pair, 1), LYNX_OK); /* said once more */
            status = test_feed(&pair, false, token, second);
            test_pair_events(&pair);
            assert_int_equal(pair.yields, 1);
        } else {
            status = feed_yield(&pair, i == ZERO || i == TOO_FEW ? 0 : i == TOO_MANY ? 2 : 1);
            test_pair_events(&pair);
            assert_int_equal(pair.yields, 0);
        }
        assert_int_equal(status, LYNX_ERR_PROTOCOL);
        test_close_pair(&pair);
    }
}

/* ---- options, queue, outbox ---------------------------------------------------------- */

static void test_options(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 12; i++) {
        test_pair pair;
        test_pair_init(&pair, 1);
        lynx_session_options *o = &pair.sender_options;
        o->struct_size -= i == 0;
        o->lanes = i == 1 ? 0 : i == 2 ? LYNX_LANES_MAX + 1 : 2;
        o->timeout_ns = i != 3;
        o->ping_ns = i != 4;
        o->stall_ns = i != 5;
        o->model = i == 6 ? NULL : o->model;
        pair.model.shape.layer_count -= i == 7 ? TEST_LAYERS : 0;
        o->connections_max = i == 8 ? 4097 : 1;
        o->sessions_max = i == 9 ? 0 : 1024;
        o->pool_bytes[0] = i != 10 ? 2 : 1;
        o->pool_bytes[1] = i != 11 ? 2 : 1;
        assert_int_equal(lynx_sender_create(&pair.sender, o, 0), LYNX_ERR_ARGUMENT);
        assert_int_equal(lynx_receiver_create(&pair.peers[0].receiver, o, 0),
                         LYNX_ERR_ARGUMENT);
        assert_true(!pair.sender && !pair.peers[0].receiver);
        test_close_pair(&pair);
    }
}

static void test_event_queue(void **state)
{
    (void)state;
    test_allocator memory;
    lx_event_queue queue;
    lynx_event event = {.type = LYNX_EVENT_PLANE};
    test_allocator_init(&memory);
    lx_event_queue_init(&queue, &memory.allocator);
    uint32_t taken = 0, i = 0;
    for (; i < 1000; i++) {
        event.count = i;
        assert_int_equal(lx_event_queue_push(&queue, &event, i % 3 ? "text" : NULL), LYNX_OK);
        if (i % 5 == 0) {
            assert_true(lx_event_queue_take(&queue, &event));
            assert_int_equal(event.count, taken++);
        }
    }
    while (lx_event_queue_take(&queue, &event)) {
        assert_int_equal(event.count, taken);
        assert_string_equal(event.text, taken++ % 3 ? "text" : "");
    }
    assert_int_equal(taken, 1000);
    lynx_status status = LYNX_OK;
    for (i = 0; status == LYNX_OK; i++)
        status = lx_event_queue_push(&queue, &event, NULL);
    assert_int_equal(status, LYNX_ERR_LIMIT);
    assert_int_equal(i, LX_EVENTS_MAX + 1);
    lx_event_queue_fini(&queue);
    assert_int_equal(memory.live_bytes, 0);
}

static void test_outbox_cuts_texts_and_pieces(void **state)
{
    (void)state;
    test_allocator memory;
    lx_outbox outbox;
    char text[2 * LX_TEXT_BYTES_MAX];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    test_allocator_init(&memory);
    lx_outbox_init(&outbox, &memory.allocator);
    assert_int_equal(lx_outbox_next(&outbox, 100).size, 0);
    assert_int_equal(lx_outbox_push_refuse(&outbox, 1, LYNX_ERR_LIMIT, text), LYNX_OK);
    lx_outbox_push_close(&outbox, LYNX_ERR_LIMIT, text);
    size_t total = 0;
    for (lynx_bytes next = lx_outbox_next(&outbox, 7); next.size;
         next = lx_outbox_next(&outbox, 7)) {
        assert_in_range(next.size, 1, 7);
        lx_outbox_left(&outbox, next.size);
        total += next.size;
    }
    assert_int_equal(total, 2 * (LX_FRAME_BYTES + LX_REASON_BYTES_MAX));
    memory.fail_at = memory.calls + 1;
    assert_int_equal(lx_outbox_push_refuse(&outbox, 1, LYNX_ERR_LIMIT, NULL), LYNX_ERR_MEMORY);
    lx_outbox_fini(&outbox);
    assert_int_equal(memory.live_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_model),
        cmocka_unit_test(test_other_weights_allowed),
        cmocka_unit_test(test_other_version),
        cmocka_unit_test(test_time_out),
        cmocka_unit_test(test_endless_time_out),
        cmocka_unit_test(test_pings_keep_open),
        cmocka_unit_test(test_peer_without_acknowledgements),
        cmocka_unit_test(test_sender_states),
        cmocka_unit_test(test_lane_states),
        cmocka_unit_test(test_receiver_states),
        cmocka_unit_test(test_fail),
        cmocka_unit_test(test_prompt_above_context),
        cmocka_unit_test(test_carry_above_context),
        cmocka_unit_test(test_end_before_the_request_is_taken),
        cmocka_unit_test(test_all_requests_at_once),
        cmocka_unit_test(test_end_before_delivered_is_taken),
        cmocka_unit_test(test_bad_pages),
        cmocka_unit_test(test_broken_plane),
        cmocka_unit_test(test_bad_messages),
        cmocka_unit_test(test_bad_yields),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_event_queue),
        cmocka_unit_test(test_outbox_cuts_texts_and_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
