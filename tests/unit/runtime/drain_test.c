/* SPDX-License-Identifier: MIT */
/* drain_test.c - a prefill node that stops gently. */
#include <time.h>

#include "support/cmocka_all.h"
#include "lynx/kv.h"
#include "runtime/remote.h"
#include "support/toy_nodes.h"

static const uint64_t second = 1000000000ull;
static const uint64_t ms = 1000000ull;

static void pause_for(uint64_t ns)
{
    const struct timespec time = {(time_t)(ns / second), (long)(ns % second)};
    nanosleep(&time, NULL);
}

typedef struct pair {
    toy_prefill prefill;
    toy_decode decode;
} pair;

static int begin_with(void **state, uint32_t piece_ns)
{
    static pair p;
    toy_prefill_init(&p.prefill);
    p.prefill.toy.piece_ns = piece_ns;
    toy_prefill_start(&p.prefill);
    toy_decode_init(&p.decode, p.prefill.address);
    toy_decode_open(&p.decode);
    *state = &p;
    return 0;
}

static int begin(void **state)
{
    return begin_with(state, 0);
}

static int begin_slow(void **state)
{
    return begin_with(state, 100000000);
}

static int end(void **state)
{
    pair *p = *state;
    toy_decode_finish(&p->decode);
    toy_prefill_finish(&p->prefill);
    return 0;
}

/* Ask for a cache; with 'hold' it waits for START. */
static uint64_t ask(toy_decode *node, uint32_t flags)
{
    lynx_token prompt[TOY_PROMPT_MAX];
    uint64_t id = 0;
    lynx_request request = {.flags = flags,
                            .answer_tokens = 1,
                            .token_count = TOY_PROMPT_MAX,
                            .tokens = prompt};
    lynx_sampling_init(&request.sampling);
    TOY_CHECK(lynx_codec_spec_named(&request.spec, "range") == LYNX_OK);
    toy_prompt(prompt, TOY_PROMPT_MAX, 5);
    lynx_pump_lock(lx_remote_pump(node->handle));
    TOY_CHECK(lynx_receiver_request(lx_remote_receiver(node->handle), &request, &id) ==
              LYNX_OK);
    lynx_pump_unlock(lx_remote_pump(node->handle));
    return id;
}

/* The next event of the request that is of one of two types; 'text' gets its reason. */
static lynx_event await(toy_decode *node, uint64_t id, lynx_event_type one,
                        lynx_event_type other, char text[LYNX_TEXT_MAX])
{
    lynx_pump *pump = lx_remote_pump(node->handle);
    const lynx_time_ns limit = lynx_clock_now() + 30 * second;
    lynx_event event = {.type = LYNX_EVENT_NONE};
    text[0] = '\0';
    lynx_pump_lock(pump);
    while (event.type != one && event.type != other) {
        if (!lynx_receiver_next_event(lx_remote_receiver(node->handle), id, &event))
            lynx_pump_wait(pump, lynx_clock_now() + 10 * ms);
        TOY_CHECK(lynx_clock_now() < limit);
    }
    if (event.type == LYNX_EVENT_REFUSE)
        snprintf(text, LYNX_TEXT_MAX, "%s", event.text);
    lynx_pump_unlock(pump);
    return event;
}

static void start(toy_decode *node, uint64_t id)
{
    lynx_pump_lock(lx_remote_pump(node->handle));
    TOY_CHECK(lynx_receiver_start(lx_remote_receiver(node->handle), id) == LYNX_OK);
    lynx_pump_unlock(lx_remote_pump(node->handle));
}

static void what_was_begun_ends_and_nothing_new_begins(void **state)
{
    pair *p = *state;
    toy_decode late;
    char text[LYNX_TEXT_MAX];
    const uint64_t held = ask(&p->decode, LYNX_REQUEST_HOLD);
    await(&p->decode, held, LYNX_EVENT_READY, LYNX_EVENT_REFUSE, text);
    lynx_prefill_node_drain(p->prefill.node, 3600 * second);
    lynx_prefill_node_drain(p->prefill.node, 0); /* does not shorten it */

    const uint64_t refused = ask(&p->decode, 0);
    lynx_event event = await(&p->decode, refused, LYNX_EVENT_ACCEPT, LYNX_EVENT_REFUSE, text);
    assert_int_equal(event.type, LYNX_EVENT_REFUSE);
    assert_int_equal(event.status, LYNX_ERR_CLOSED);
    assert_non_null(strstr(text, "is stopping"));

    toy_decode_init(&late, p->prefill.address);
    late.remote.first_patience_ns = 300 * ms;
    toy_decode_open(&late);
    event = await(&late, ask(&late, 0), LYNX_EVENT_ACCEPT, LYNX_EVENT_REFUSE, text);
    assert_int_equal(event.type, LYNX_EVENT_REFUSE);
    assert_non_null(strstr(text, "is stopping"));
    toy_decode_finish(&late);

    /* It still waits for the cache that is held, and ends by itself once that is delivered. */
    start(&p->decode, held);
    event = await(&p->decode, held, LYNX_EVENT_FINISH, LYNX_EVENT_REFUSE, text);
    assert_int_equal(event.type, LYNX_EVENT_FINISH);
    toy_prefill_await(&p->prefill);
    assert_int_equal(p->prefill.status, LYNX_OK);
    assert_int_equal(p->prefill.requests, 1);
    assert_int_equal(p->prefill.sessions, 1);
}

static void await_connections(toy_decode *node, uint64_t count)
{
    const lynx_time_ns limit = lynx_clock_now() + 30 * second;
    while (lynx_remote_counters(node->handle).connections != count) {
        pause_for(ms);
        TOY_CHECK(lynx_clock_now() < limit);
    }
}

static void what_was_begun_resumes_after_a_cut(void **state)
{
    pair *p = *state;
    char text[LYNX_TEXT_MAX];
    const uint64_t held = ask(&p->decode, LYNX_REQUEST_HOLD);
    await(&p->decode, held, LYNX_EVENT_READY, LYNX_EVENT_REFUSE, text);
    lynx_prefill_node_drain(p->prefill.node, 3600 * second);
    p->prefill.faults->is_down = true;
    await_connections(&p->decode, 0);
    p->prefill.faults->is_down = false;
    await_connections(&p->decode, 1);
    start(&p->decode, held);
    const lynx_event event =
        await(&p->decode, held, LYNX_EVENT_FINISH, LYNX_EVENT_REFUSE, text);
    assert_int_equal(event.type, LYNX_EVENT_FINISH);
    toy_prefill_await(&p->prefill);
    assert_int_equal(p->prefill.resumes, 1);
    assert_int_equal(p->prefill.sessions, 1);
}

static void grace_is_bounded(void **state)
{
    pair *p = *state;
    char text[LYNX_TEXT_MAX];
    const uint64_t held = ask(&p->decode, LYNX_REQUEST_HOLD);
    await(&p->decode, held, LYNX_EVENT_READY, LYNX_EVENT_REFUSE, text);
    const lynx_time_ns from = lynx_clock_now();
    lynx_prefill_node_drain(p->prefill.node, 300 * ms);
    toy_prefill_await(&p->prefill);
    assert_true(lynx_clock_now() - from >= 300 * ms);
    assert_int_equal(p->prefill.status, LYNX_OK);
    const lynx_event event =
        await(&p->decode, held, LYNX_EVENT_FINISH, LYNX_EVENT_REFUSE, text);
    assert_int_equal(event.type, LYNX_EVENT_REFUSE);
    assert_non_null(strstr(text, "is stopping"));
}

static uint64_t bytes_received(pair *p)
{
    return lynx_prefill_node_report(p->prefill.node).counters.bytes_received;
}

static void who_waits_for_the_engine_is_refused_at_once(void **state)
{
    pair *p = *state;
    char text[LYNX_TEXT_MAX];
    const uint64_t first = ask(&p->decode, 0);
    await(&p->decode, first, LYNX_EVENT_ACCEPT, LYNX_EVENT_REFUSE, text);
    const uint64_t had = bytes_received(p);
    const uint64_t second_one = ask(&p->decode, 0);
    while (bytes_received(p) < had + TOY_PROMPT_MAX * sizeof(lynx_token))
        pause_for(ms);
    lynx_prefill_node_drain(p->prefill.node, 3600 * second);
    const lynx_event event =
        await(&p->decode, second_one, LYNX_EVENT_ACCEPT, LYNX_EVENT_REFUSE, text);
    assert_int_equal(event.type, LYNX_EVENT_REFUSE);
    assert_int_equal(await(&p->decode, first, LYNX_EVENT_FINISH, LYNX_EVENT_REFUSE, text).type,
                     LYNX_EVENT_FINISH);
    toy_prefill_await(&p->prefill);
    assert_int_equal(p->prefill.requests, 1);
}

static void an_idle_node_ends_at_once(void **state)
{
    pair *p = *state;
    lynx_prefill_node_drain(p->prefill.node, 3600 * second);
    toy_prefill_await(&p->prefill);
    assert_int_equal(p->prefill.status, LYNX_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_begun_ends_and_nothing_new_begins, begin, end),
        cmocka_unit_test_setup_teardown(what_was_begun_resumes_after_a_cut, begin, end),
        cmocka_unit_test_setup_teardown(grace_is_bounded, begin, end),
        cmocka_unit_test_setup_teardown(who_waits_for_the_engine_is_refused_at_once, begin_slow,
                                        end),
        cmocka_unit_test_setup_teardown(an_idle_node_ends_at_once, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
