/* SPDX-License-Identifier: MIT */
/* Pages that the decode node holds: how it says so, and what is left out. */
#include "support/cmocka_all.h"

#include "support/open_pair.h"

enum { TOKENS = 100, HELD = 64 }; /* pages have 32 tokens */

static const lynx_page_id held_page = {1, 0, 0}, first_sent = {2, 0, 0};

/* A pair that has greeted, with two lanes. */
static void greet(test_pair *pair)
{
    test_pair_init(pair, 1);
    pair->is_manual = true;
    pair->peers[0].options.lanes = 2;
    assert_int_equal(test_pair_create(pair), LYNX_OK);
    test_pair_run(pair, TEST_TURNS);
}

/* The prefill node has heard of a request with held pages. */
static void ask(test_pair *pair)
{
    uint32_t index;
    const lynx_request request = test_pair_held_request(TOKENS, HELD);
    greet(pair);
    assert_int_equal(test_pair_ask(pair, 0, &request, &index), LYNX_OK);
    test_pair_run(pair, TEST_TURNS);
}

static void check_request(const test_pair *pair)
{
    const lynx_request *r = pair->last_request.request;
    const lynx_request want = test_pair_held_request(TOKENS, HELD);
    assert_int_equal(r->held_tokens, HELD);
    assert_memory_equal(r->held_name, want.held_name, LYNX_NAME_BYTES);
    assert_int_equal(r->held_spec.profile, want.held_spec.profile);
    assert_memory_equal(r->held_spec.plane_bits, want.held_spec.plane_bits,
                        sizeof(want.held_spec.plane_bits));
}

/* F-67: at once; said again after a cut; and said for the first time then. The request behind
 * it has nothing of it. */
static void it_travels(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 3; round++) {
        test_pair pair;
        uint32_t index;
        lynx_request held = test_pair_held_request(TOKENS, HELD);
        const lynx_request plain = test_pair_request(TOKENS);
        held.wants_logprobs = round == 1; /* OPTIONS as well */
        greet(&pair);
        if (round == 2)
            test_pair_cut(&pair, 0, 0);
        assert_int_equal(test_pair_ask(&pair, 0, &held, &index), LYNX_OK);
        if (round != 2)
            test_pair_run(&pair, TEST_TURNS);
        if (round == 1)
            test_pair_cut(&pair, 0, 0);
        if (round > 0)
            test_pair_connect(&pair, 0, 0);
        test_pair_run(&pair, TEST_TURNS);
        check_request(&pair);
        assert_int_equal(pair.last_request.request->wants_logprobs, round == 1);
        assert_int_equal(test_pair_ask(&pair, 0, &plain, &index), LYNX_OK);
        test_pair_run(&pair, TEST_TURNS);
        assert_int_equal(pair.last_request.request->held_tokens, 0);
        assert_true(round > 0 || pair.sender_closes + pair.receiver_closes == 0);
        test_close_pair(&pair);
    }
}

/* F-67: as a prefill node of 2.1 sees it: a frame of a type that it does not know, and skips.
 * Its ACCEPT says nothing, so everything comes. */
static void older_peers_send_everything(void **state)
{
    (void)state;
    test_pair pair;
    uint32_t index;
    uint8_t *frame = NULL;
    const lynx_request held = test_pair_held_request(40, 32);
    test_pair_init(&pair, 1);
    pair.is_manual = true;
    pair.connections[0].up.keeps = true;
    assert_int_equal(test_pair_create(&pair), LYNX_OK);
    test_pair_run(&pair, TEST_TURNS);
    const size_t begin = pair.connections[0].up.end;
    assert_int_equal(test_pair_ask(&pair, 0, &held, &index), LYNX_OK);
    test_pair_run(&pair, TEST_TURNS);
    assert_int_equal(pair.last_request.request->held_tokens, 32);
    test_pipe *up = &pair.connections[0].up;
    for (size_t at = begin; at < up->end;
         at += 40 + (size_t)(up->data[at + 16] + 256 * up->data[at + 17]))
        if (up->data[at + 5] == LX_MESSAGE_HELD)
            frame = up->data + at;
        else if (up->data[at + 5] == LX_MESSAGE_REQUEST)
            assert_non_null(frame); /* it came before */
    assert_non_null(frame);
    assert_int_equal(frame[6], LX_FRAME_SKIPPABLE);
    assert_int_equal(test_feed(&pair, true,
                               (lx_frame){.type = LX_MESSAGE_LAST + 1,
                                          .flags = frame[6],
                                          .request_id = 9,
                                          .payload_bytes = LX_HELD_BYTES},
                               frame + LX_FRAME_BYTES),
                     LYNX_OK);

    assert_int_equal(test_feed(&pair, false,
                               (lx_frame){.type = LX_MESSAGE_ACCEPT,
                                          .request_id = pair.requests[0].id},
                               NULL),
                     LYNX_OK);
    test_pair_events(&pair);
    assert_int_equal(pair.accepts, 1);
    const lynx_page_map *map = lynx_receiver_map(pair.peers[0].receiver, pair.requests[0].id);
    assert_int_equal(lynx_page_map_present(map, 0), 0);
    test_pair_destroy(&pair);
}

/* F-68, on this side. */
static void what_cannot_be_held_is_refused(void **state)
{
    (void)state;
    test_pair pair;
    uint64_t id;
    greet(&pair);
    for (uint32_t i = 0; i < 7; i++) {
        lynx_request request = test_pair_held_request(TOKENS, HELD);
        if (i == 0)
            request.held_tokens = HELD + 1;
        else if (i == 1)
            request.held_tokens = 128; /* behind the prompt */
        else if (i == 2)
            request.token_count = HELD; /* all of it */
        else if (i == 3)
            request.held_spec.tail_raw_tokens = 32;
        else if (i == 4)
            request.held_spec.chunk_tokens = 7;
        else
            request.flags = i == 5 ? LYNX_REQUEST_NO_PAGES : LYNX_REQUEST_CARRY_ON;
        assert_int_equal(lynx_receiver_request(pair.peers[0].receiver, &request, &id),
                         LYNX_ERR_ARGUMENT);
    }
    test_close_pair(&pair);
}

/* F-69, F-70: the rest is sent, and is all. */
static void the_rest_is_enough(void **state)
{
    (void)state;
    for (uint32_t has_held = 0; has_held < 2; has_held++) {
        test_pair pair;
        uint8_t data[17][8];
        uint32_t releases = 0, added = 0;
        lynx_bytes planes[LYNX_PLANES_MAX];
        uint32_t count;
        ask(&pair);
        const uint64_t key = pair.requests[0].key, id = pair.requests[0].id;
        assert_int_equal(lynx_sender_accept(pair.sender, key, 32), LYNX_ERR_ARGUMENT);
        assert_int_equal(lynx_sender_accept(pair.sender, key, 96), LYNX_ERR_ARGUMENT);
        assert_int_equal(lynx_sender_accept(pair.sender, key, has_held ? HELD : 0), LYNX_OK);
        assert_int_equal(test_add(&pair, 0, held_page, 0, data[0], 8, &releases),
                         has_held ? LYNX_ERR_ARGUMENT : LYNX_OK);
        if (!has_held) {
            test_pair_destroy(&pair);
            continue;
        }
        assert_int_equal(lynx_sender_token(pair.sender, key, 4, NULL), LYNX_OK);
        assert_int_equal(lynx_sender_finish(pair.sender, key), LYNX_ERR_STATE);
        for (uint32_t page = 2; page < 4; page++)
            for (uint32_t i = 0; i < 8; i++) {
                const lynx_page_id sent = {page, (uint16_t)(i / 4), (uint8_t)(i / 2 % 2)};
                assert_int_equal(test_add(&pair, 0, sent, i % 2, data[++added], 8, &releases),
                                 LYNX_OK);
            }
        assert_int_equal(lynx_sender_finish(pair.sender, key), LYNX_OK);
        const lynx_receiver *receiver = pair.peers[0].receiver;
        test_pair_run(&pair, 40); /* ACCEPT at least is here */
        while (!pair.requests[0].is_accepted)
            test_pair_turn(&pair);
        assert_true(lynx_page_map_has(lynx_receiver_map(receiver, id), held_page, 1));
        assert_int_equal(lynx_receiver_planes(receiver, id, held_page, planes, &count),
                         LYNX_ERR_STATE);
        test_pair_run(&pair, TEST_TURNS);
        assert_true(lynx_page_map_is_complete(lynx_receiver_map(receiver, id), 1));
        assert_int_equal(pair.finishes, 1);
        assert_int_equal(pair.plane_events, added);
        assert_int_equal(pair.delivered, 1);
        assert_int_equal(releases, added);
        test_pair_destroy(&pair);
    }
}

/* Each allocation of either end fails once: the request is not made, or refused, or made. */
static void without_memory_nothing_is_lost(void **state)
{
    (void)state;
    for (uint32_t side = 0; side < 2; side++) {
        bool has_done_all = false;
        for (uint64_t n = 1; !has_done_all; n++) {
            test_pair pair;
            uint32_t index = 0;
            const lynx_request held = test_pair_held_request(TOKENS, HELD);
            greet(&pair);
            test_allocator *memory = side ? &pair.peers[0].memory : &pair.memory;
            memory->fail_at = memory->calls + n;
            if (test_pair_ask(&pair, 0, &held, &index) == LYNX_OK) {
                test_pair_run(&pair, TEST_TURNS);
                const uint64_t key = pair.requests[0].key;
                if (key && lynx_sender_accept(pair.sender, key, HELD) == LYNX_OK)
                    (void)!lynx_sender_token(pair.sender, key, 4, NULL);
                test_pair_run(&pair, TEST_TURNS);
            }
            has_done_all = memory->calls < memory->fail_at;
            test_close_pair(&pair);
            assert_true(n < 1000);
        }
    }
}

/* ---- a peer that breaks the rules ---------------------------------------------------- */

static lynx_status feed_held(test_pair *pair, uint64_t id, const lx_held_message *held)
{
    uint8_t payload[LX_HELD_BYTES];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_held_encode(&writer, held);
    return test_feed(pair, true,
                     (lx_frame){.type = LX_MESSAGE_HELD,
                                .flags = LX_FRAME_SKIPPABLE,
                                .request_id = id,
                                .payload_bytes = LX_HELD_BYTES},
                     payload);
}

static lynx_status feed_options(test_pair *pair, uint64_t id)
{
    uint8_t payload[64];
    lynx_sampling sampling;
    lynx_sampling_init(&sampling);
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_options_encode(&writer, &(lx_options_message){.has_logprobs = true}, &sampling);
    return test_feed(pair, true,
                     (lx_frame){.type = LX_MESSAGE_OPTIONS,
                                .request_id = id,
                                .payload_bytes = (uint32_t)writer.offset},
                     payload);
}

static lynx_status feed_request(test_pair *pair, uint64_t id, uint32_t tokens, uint32_t flags)
{
    uint8_t payload[1024];
    const lynx_request request = test_pair_request(tokens);
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_request_encode(&writer, &(lx_request_message){.spec = request.spec,
                                                     .sampling = request.sampling,
                                                     .flags = flags,
                                                     .answer_tokens = 1,
                                                     .token_count = tokens});
    for (uint32_t i = 0; i < tokens; i++)
        lx_write_u32(&writer, 1);
    return test_feed(pair, true,
                     (lx_frame){.type = LX_MESSAGE_REQUEST,
                                .request_id = id,
                                .payload_bytes = (uint32_t)writer.offset},
                     payload);
}

/* F-68 */
static void a_sender_refuses_what_cannot_be_held(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        test_pair pair;
        lx_held_message held = {.token_count = HELD};
        assert_int_equal(lynx_codec_spec_named(&held.spec, "range:recent=0"), LYNX_OK);
        if (i == 0)
            held.token_count = 0;
        else if (i == 1)
            held.token_count = HELD - 1;
        else if (i == 2)
            held.spec.tail_raw_tokens = 64;
        else if (i == 3)
            held.spec.chunk_tokens = 64;
        else if (i == 4)
            held.spec.recent_tokens = 8;
        greet(&pair);
        assert_int_equal(feed_held(&pair, i == 5 ? 0 : 1, &held),
                         i < 6 ? LYNX_ERR_PROTOCOL : LYNX_OK);
        if (i == 6)
            assert_int_equal(feed_request(&pair, 1, HELD, 0), LYNX_ERR_PROTOCOL);
        else if (i == 7)
            assert_int_equal(feed_request(&pair, 1, HELD + 1, 0), LYNX_OK);
        test_pair_destroy(&pair);
    }
    for (uint32_t i = 0; i < 3; i++) {
        static const uint32_t flags[] = {LYNX_REQUEST_NO_PAGES, LYNX_REQUEST_CARRY_ON,
                                         LYNX_REQUEST_HOLD};
        test_pair pair;
        lx_held_message held = {.token_count = HELD};
        assert_int_equal(lynx_codec_spec_named(&held.spec, "range:recent=0"), LYNX_OK);
        greet(&pair);
        assert_int_equal(feed_held(&pair, 1, &held), LYNX_OK);
        assert_int_equal(feed_request(&pair, 1, TOKENS, flags[i]),
                         i < 2 ? LYNX_ERR_PROTOCOL : LYNX_OK);
        test_pair_destroy(&pair);
    }
}

static void check_next_request(test_pair *pair, uint32_t held_tokens)
{
    lynx_event event;
    do
        assert_true(lynx_sender_next_event(pair->sender, &event));
    while (event.type != LYNX_EVENT_REQUEST);
    assert_int_equal(event.request->held_tokens, held_tokens);
}

/* F-67 */
static void a_sender_refuses_what_does_not_belong_together(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        test_pair pair;
        lx_held_message held = {.token_count = HELD};
        assert_int_equal(lynx_codec_spec_named(&held.spec, "range:recent=0"), LYNX_OK);
        greet(&pair);
        if (i == 5) {
            assert_int_equal(feed_options(&pair, 2), LYNX_OK);
            assert_int_equal(feed_held(&pair, 3, &held), LYNX_ERR_PROTOCOL);
            test_pair_destroy(&pair);
            continue;
        }
        assert_int_equal(feed_held(&pair, 2, &held), LYNX_OK);
        if (i == 0)
            assert_int_equal(feed_held(&pair, 2, &held), LYNX_ERR_PROTOCOL);
        else if (i == 1)
            assert_int_equal(feed_request(&pair, 3, TOKENS, 0), LYNX_ERR_PROTOCOL);
        else if (i == 2)
            assert_int_equal(feed_options(&pair, 3), LYNX_ERR_PROTOCOL);
        else if (i == 3)
            assert_int_equal(feed_options(&pair, 2), LYNX_OK);
        if (i >= 3) { /* and it is of one request alone */
            assert_int_equal(feed_request(&pair, 2, TOKENS, 0), LYNX_OK);
            check_next_request(&pair, HELD);
            assert_int_equal(feed_request(&pair, 3, HELD, 0), LYNX_OK);
            check_next_request(&pair, 0);
        }
        test_pair_destroy(&pair);
    }
}

static lynx_status feed_accept(test_pair *pair, uint32_t left_out, uint32_t size)
{
    uint8_t payload[LX_ACCEPT_BYTES];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_accept_encode(&writer, left_out);
    return test_feed(pair, false,
                     (lx_frame){.type = LX_MESSAGE_ACCEPT,
                                .request_id = pair->requests[0].id,
                                .payload_bytes = size},
                     payload);
}

/* A chunk of a plane of 8 bytes that has 16. */
static lynx_status feed_page(test_pair *pair, uint32_t lane, lynx_page_id page)
{
    uint8_t payload[LX_PAGE_FIXED_BYTES + 8] = {0}, bytes[TEST_FRAME_BYTES];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_page_encode_header(&writer, &(lx_page_message){.page = page, .plane_bytes = 16});
    const size_t size = test_frame(bytes,
                                   (lx_frame){.type = LX_MESSAGE_PAGE,
                                              .request_id = pair->requests[0].id,
                                              .payload_bytes = sizeof(payload)},
                                   payload);
    return lynx_receiver_read(pair->peers[0].receiver, lane, pair->now, bytes, size);
}

static lynx_status feed_progress(test_pair *pair)
{
    uint8_t payload[LX_PROGRESS_BYTES] = {1};
    return test_feed(pair, false,
                     (lx_frame){.type = LX_MESSAGE_PROGRESS,
                                .request_id = pair->requests[0].id,
                                .payload_bytes = LX_PROGRESS_BYTES},
                     payload);
}

/* F-69, F-70 */
static void a_receiver_takes_what_it_held_or_nothing(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 12; i++) {
        test_pair pair;
        ask(&pair);
        if (i == 0) {
            assert_int_equal(feed_accept(&pair, 32, 4), LYNX_ERR_PROTOCOL);
        } else if (i == 1) {
            assert_int_equal(feed_accept(&pair, 96, 4), LYNX_ERR_PROTOCOL);
        } else if (i == 2) {
            assert_int_equal(feed_accept(&pair, HELD, 3), LYNX_ERR_PROTOCOL);
        } else if (i < 6) { /* said again: the same, or not */
            static const uint32_t again[] = {HELD, 0, 0};
            assert_int_equal(feed_accept(&pair, HELD, 4), LYNX_OK);
            assert_int_equal(feed_accept(&pair, again[i - 3], i == 5 ? 0 : 4),
                             i == 3 ? LYNX_OK : LYNX_ERR_PROTOCOL);
        } else if (i == 6) {
            assert_int_equal(feed_accept(&pair, 0, 4), LYNX_OK);
            assert_int_equal(feed_accept(&pair, HELD, 4), LYNX_ERR_PROTOCOL);
        } else if (i < 9) { /* a page that is left out, and one that is not */
            assert_int_equal(feed_accept(&pair, HELD, 4), LYNX_OK);
            assert_int_equal(feed_page(&pair, i - 7, held_page), LYNX_ERR_PROTOCOL);
        } else if (i == 9) {
            assert_int_equal(feed_accept(&pair, HELD, 4), LYNX_OK);
            assert_int_equal(feed_page(&pair, 0, first_sent), LYNX_OK);
        } else { /* on lane 1, before ACCEPT, which is heard all the same */
            assert_int_equal(feed_page(&pair, 1, i == 10 ? held_page : first_sent), LYNX_OK);
            test_pair_events(&pair);
            assert_int_equal(pair.accepts, 0);
            if (i == 11) {
                assert_int_equal(feed_accept(&pair, HELD, 4), LYNX_OK);
                test_pair_events(&pair);
                assert_int_equal(pair.accepts, 1);
                assert_int_equal(feed_progress(&pair), LYNX_OK);
            } else {
                assert_int_equal(feed_accept(&pair, HELD, 4), LYNX_ERR_PROTOCOL);
            }
        }
        test_pair_destroy(&pair);
    }
}

/* F-69: nobody said that anything is held; F-70: ACCEPT itself has to come first. */
static void a_receiver_hears_of_it_first(void **state)
{
    (void)state;
    test_pair pair;
    uint32_t index;
    const lynx_request plain = test_pair_request(TOKENS);
    greet(&pair);
    assert_int_equal(test_pair_ask(&pair, 0, &plain, &index), LYNX_OK);
    test_pair_run(&pair, TEST_TURNS);
    assert_int_equal(feed_accept(&pair, 0, 4), LYNX_ERR_PROTOCOL);
    test_pair_destroy(&pair);

    ask(&pair);
    assert_int_equal(feed_page(&pair, 1, first_sent), LYNX_OK);
    assert_int_equal(feed_progress(&pair), LYNX_ERR_PROTOCOL);
    test_pair_destroy(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_travels),
        cmocka_unit_test(older_peers_send_everything),
        cmocka_unit_test(what_cannot_be_held_is_refused),
        cmocka_unit_test(the_rest_is_enough),
        cmocka_unit_test(without_memory_nothing_is_lost),
        cmocka_unit_test(a_sender_refuses_what_cannot_be_held),
        cmocka_unit_test(a_sender_refuses_what_does_not_belong_together),
        cmocka_unit_test(a_receiver_takes_what_it_held_or_nothing),
        cmocka_unit_test(a_receiver_hears_of_it_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
