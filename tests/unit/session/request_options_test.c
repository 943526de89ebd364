/* SPDX-License-Identifier: MIT */
/* Biases, a set of tokens and logprobs: what a request may ask for, and how it travels. */
#include "support/cmocka_all.h"

#include "support/open_pair.h"

static const lynx_bias biases[2] = {{3, -100.0f}, {9, 2.5f}};
static const uint8_t allowed[2] = {0x0F, 0x80};
static const lynx_logprobs told = {.logprob = -0.25f,
                                   .top_count = 2,
                                   .top = {{4, -0.25f}, {2, -1.5f}}};

static lynx_request full_request(void)
{
    lynx_request request = test_pair_request(40);
    request.flags = LYNX_REQUEST_NO_PAGES;
    request.answer_tokens = 1;
    request.wants_logprobs = true;
    request.top_logprobs = 2;
    request.sampling.biases = biases;
    request.sampling.bias_count = 2;
    request.sampling.allowed = allowed;
    request.sampling.allowed_bytes = 2;
    return request;
}

/* A pair that has greeted. */
static void greet(test_pair *pair)
{
    test_pair_init(pair, 1);
    pair->is_manual = true;
    assert_int_equal(test_pair_create(pair), LYNX_OK);
    test_pair_run(pair, TEST_TURNS);
}

static void check_request(const test_pair *pair)
{
    const lynx_request *r = pair->last_request.request;
    assert_int_equal(r->sampling.bias_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(r->sampling.biases[i].token, biases[i].token);
        assert_true(r->sampling.biases[i].bias == biases[i].bias);
    }
    assert_int_equal(r->sampling.allowed_bytes, 2);
    assert_memory_equal(r->sampling.allowed, allowed, 2);
    assert_true(r->wants_logprobs && r->top_logprobs == 2);
}

/* F-63, F-66: at once; said again after a cut; and said for the first time then. The request
 * behind it has nothing of it. */
static void what_is_asked_for_travels(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 3; round++) {
        test_pair pair;
        uint32_t index;
        const lynx_request full = full_request(), plain = test_pair_request(40);
        greet(&pair);
        if (round == 2)
            test_pair_cut(&pair, 0, 0);
        assert_int_equal(test_pair_ask(&pair, 0, &full, &index), LYNX_OK);
        if (round != 2)
            test_pair_run(&pair, TEST_TURNS);
        if (round == 1)
            test_pair_cut(&pair, 0, 0);
        if (round > 0)
            test_pair_connect(&pair, 0, 0);
        test_pair_run(&pair, TEST_TURNS);
        check_request(&pair);
        const uint64_t key = pair.requests[0].key;
        assert_int_equal(lynx_sender_accept(pair.sender, key, 0), LYNX_OK);
        assert_int_equal(lynx_sender_token(pair.sender, key, 4, NULL), LYNX_ERR_ARGUMENT);
        assert_int_equal(lynx_sender_token(pair.sender, key, 4, &told), LYNX_OK);
        if (round == 1) { /* the token is told again, with what belongs to it */
            test_pair_cut(&pair, 0, 0);
            test_pair_connect(&pair, 0, 0);
        }
        test_pair_run(&pair, TEST_TURNS);
        assert_true(pair.has_logprobs);
        assert_true(pair.logprobs.logprob == told.logprob && pair.logprobs.top_count == 2);
        assert_memory_equal(pair.logprobs.top, told.top, 2 * sizeof(told.top[0]));
        assert_int_equal(test_pair_ask(&pair, 0, &plain, &index), LYNX_OK);
        test_pair_run(&pair, TEST_TURNS);
        const lynx_request *last = pair.last_request.request;
        assert_true(!last->sampling.bias_count && !last->sampling.allowed &&
                    !last->wants_logprobs);
        test_close_pair(&pair);
    }
}

/* A grammar does not travel; a set is for the first token alone. */
static void what_cannot_travel_is_refused(void **state)
{
    (void)state;
    test_pair pair;
    uint64_t id;
    greet(&pair);
    for (uint32_t i = 0; i < 6; i++) {
        lynx_request request = full_request();
        if (i == 0) {
            request.sampling.allowed = NULL;
            request.sampling.grammar = "root ::= \"a\"";
            request.sampling.grammar_bytes = 12;
        } else if (i == 1) {
            request.answer_tokens = 2;
        } else if (i == 2) {
            request.wants_logprobs = false;
        } else if (i == 3) {
            request.top_logprobs = 21;
        } else if (i == 4) {
            request.sampling.allowed_bytes = (1 << 17) + 1;
        } else {
            request.sampling.allowed_bytes = 0;
        }
        assert_int_equal(lynx_receiver_request(pair.peers[0].receiver, &request, &id),
                         LYNX_ERR_ARGUMENT);
    }
    test_close_pair(&pair);
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
            const lynx_request full = full_request();
            greet(&pair);
            test_allocator *memory = side ? &pair.peers[0].memory : &pair.memory;
            const uint64_t before = memory->calls;
            memory->fail_at = before + n;
            if (test_pair_ask(&pair, 0, &full, &index) == LYNX_OK) {
                test_pair_run(&pair, TEST_TURNS);
                const uint64_t key = pair.requests[0].key;
                if (key && lynx_sender_accept(pair.sender, key, 0) == LYNX_OK)
                    (void)!lynx_sender_token(pair.sender, key, 4, &told);
                test_pair_run(&pair, TEST_TURNS);
            }
            has_done_all = memory->calls < memory->fail_at;
            test_close_pair(&pair);
            assert_true(n < 1000);
        }
    }
}

/* ---- a peer that breaks the rules ---------------------------------------------------- */

static lynx_status feed_options(test_pair *pair, uint64_t id, bool has_set)
{
    uint8_t payload[64];
    lynx_sampling sampling;
    lynx_sampling_init(&sampling);
    sampling.allowed = has_set ? allowed : NULL;
    sampling.allowed_bytes = has_set ? 2 : 0;
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_options_encode(&writer, &(lx_options_message){.has_logprobs = true}, &sampling);
    return test_feed(pair, true,
                     (lx_frame){.type = LX_MESSAGE_OPTIONS,
                                .request_id = id,
                                .payload_bytes = (uint32_t)writer.offset},
                     payload);
}

static lynx_status feed_request(test_pair *pair, uint64_t id, uint32_t answer_tokens)
{
    uint8_t payload[256];
    const lynx_request request = test_pair_request(1);
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_request_encode(&writer, &(lx_request_message){.spec = request.spec,
                                                     .sampling = request.sampling,
                                                     .answer_tokens = answer_tokens,
                                                     .token_count = 1});
    lx_write_u32(&writer, 1);
    return test_feed(pair, true,
                     (lx_frame){.type = LX_MESSAGE_REQUEST,
                                .request_id = id,
                                .payload_bytes = (uint32_t)writer.offset},
                     payload);
}

/* F-63, F-64 */
static void a_sender_refuses_what_does_not_belong_together(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        test_pair pair;
        greet(&pair);
        assert_int_equal(feed_options(&pair, i == 0 ? 0 : 1, i >= 4),
                         i == 0 ? LYNX_ERR_PROTOCOL : LYNX_OK);
        if (i == 1)
            assert_int_equal(feed_options(&pair, 1, false), LYNX_ERR_PROTOCOL);
        else if (i == 2)
            assert_int_equal(feed_request(&pair, 2, 1), LYNX_ERR_PROTOCOL);
        else if (i == 3)
            assert_int_equal(feed_request(&pair, 1, 2), LYNX_OK);
        else if (i == 4)
            assert_int_equal(feed_request(&pair, 1, 2), LYNX_ERR_PROTOCOL);
        else if (i == 5)
            assert_int_equal(feed_request(&pair, 1, 1), LYNX_OK);
        test_pair_destroy(&pair);
    }
}

/* F-66 */
static void a_receiver_gets_the_logprobs_that_it_asked_for(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 5; i++) {
        test_pair pair;
        uint32_t index;
        uint8_t payload[LX_TOKEN_BYTES_MAX];
        lynx_request request = full_request();
        request.wants_logprobs = i != 3;
        request.top_logprobs = i == 3 ? 0 : 2;
        greet(&pair);
        assert_int_equal(test_pair_ask(&pair, 0, &request, &index), LYNX_OK);
        test_pair_run(&pair, TEST_TURNS);
        assert_int_equal(lynx_sender_accept(pair.sender, pair.requests[0].key, 0), LYNX_OK);
        test_pair_run(&pair, TEST_TURNS);
        lx_token_message message = {.has_logprobs = i > 0, .logprobs = told};
        message.logprobs.top_count = i == 1 ? 3 : i == 4 ? 0 : 2;
        lx_writer writer = lx_writer_of(payload, sizeof(payload));
        lx_token_encode(&writer, &message);
        assert_int_equal(test_feed(&pair, false,
                                   (lx_frame){.type = LX_MESSAGE_TOKEN,
                                              .request_id = pair.requests[0].id,
                                              .payload_bytes = (uint32_t)writer.offset},
                                   payload),
                         i == 2 || i == 4 ? LYNX_OK : LYNX_ERR_PROTOCOL);
        test_pair_destroy(&pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_asked_for_travels),
        cmocka_unit_test(what_cannot_travel_is_refused),
        cmocka_unit_test(without_memory_nothing_is_lost),
        cmocka_unit_test(a_sender_refuses_what_does_not_belong_together),
        cmocka_unit_test(a_receiver_gets_the_logprobs_that_it_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
