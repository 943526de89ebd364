/* SPDX-License-Identifier: MIT */
/* The simulation against queueing theory, against the model of one request, and against laws
 * that hold whatever happens. */
#include <math.h>
#include <string.h>

#include "lynx/plan.h"
#include "support/cmocka_all.h"
#include "support/failing_allocator.h"
#include "support/rng.h"

/* A prefill of 1 s, a cache of 1 MB in two planes, 1 GB/s, no time to decode. */
static lynx_plan_cluster simple(void)
{
    lynx_plan_cluster c;
    lynx_plan_cluster_init(&c);
    lynx_plan_request *r = &c.request;
    r->prompt_tokens = r->piece_tokens = 1000;
    r->answer_tokens = 40;
    r->prefill.prefill_tokens_per_s = 1000;
    r->decode = (lynx_plan_node){.prefill_tokens_per_s = 1000, .step_s = 1e-6};
    r->link.bytes_per_s = 1e9;
    r->cache = (lynx_plan_cache){.raw_bytes = 2e6,
                                 .plane_bytes = {5e5, 5e5},
                                 .plane_count = 2,
                                 .int8_bytes = 1e6,
                                 .int4_bytes = 5e5};
    r->stands = 0.9;
    c.requests_per_s = 0.5;
    c.slots = 64;
    c.decode_nodes = 4;
    return c;
}

static lynx_plan_load simulate(const lynx_plan_cluster *c, lynx_plan_method method)
{
    const char *why;
    lynx_plan_load load;
    if (lynx_plan_simulate(c, method, NULL, &load, &why) != LYNX_OK)
        fail_msg("not simulated: %s", why);
    return load;
}

static void assert_about(double value, double expected, double part)
{
    if (!(fabs(value - expected) <= part * expected))
        fail_msg("%g is not about %g", value, expected);
}

/* ---- queueing theory ------------------------------------------------------------------- */

/* M/D/1: the mean wait is use * service / (2 * (1 - use)). */
static double wait_of(double use, double service)
{
    return use * service / (2 * (1 - use));
}

static void a_prefill_node_is_a_queue_with_one_server(void **state)
{
    (void)state;
    lynx_plan_cluster c = simple();
    c.request_count = 200000;
    static const double rates[] = {0.3, 0.6, 0.8};
    for (size_t i = 0; i < 3; i++) {
        c.requests_per_s = rates[i];
        const lynx_plan_load load = simulate(&c, LYNX_PLAN_WAIT);
        assert_about(load.wait_s.mean, wait_of(rates[i], 1), 0.03);
        assert_about(load.prefill_use, rates[i], 0.01);
        assert_about(load.ttft_s.mean, 1 + load.wait_s.mean, 1e-6);
    }
}

/* Stored caches: the link is the one server, and takes a second for all planes. */
static void a_link_is_a_queue_with_one_server(void **state)
{
    (void)state;
    lynx_plan_cluster c = simple();
    c.request_count = 200000;
    c.request.is_stored = true;
    c.request.link.bytes_per_s = 1e6;
    c.requests_per_s = 0.7;
    lynx_plan_load load = simulate(&c, LYNX_PLAN_INT8);
    assert_about(load.token_s.mean, 1 + wait_of(0.7, 1), 0.03);
    assert_about(load.link_use, 0.7, 0.01);
    /* Anchors do not know of residuals: they are a queue of their own, of half a second each.
     */
    c.request.stands = 1;
    c.request.is_paced = false;
    c.token = 2;
    load = simulate(&c, LYNX_PLAN_LYNX);
    assert_about(load.token_s.mean, 0.5 + wait_of(0.35, 0.5), 0.03);
    assert_about(load.link_use, 0.7, 0.01);
}

/* One slot and answers of the same length. */
static void a_slot_is_a_queue_with_one_server(void **state)
{
    (void)state;
    lynx_plan_cluster c = simple();
    c.request_count = 200000;
    c.request.is_stored = true;
    c.request.link.bytes_per_s = 1e15;
    c.request.decode.step_s = 0.025;
    c.request.answer_tokens = 41; /* a second of steps behind the first token */
    c.slots = c.decode_nodes = 1;
    c.requests_per_s = 0.6;
    const lynx_plan_load load = simulate(&c, LYNX_PLAN_INT8);
    assert_about(load.slot_wait_s.mean, wait_of(0.6, 1), 0.03);
    assert_about(load.slot_use, 0.6, 0.01);
}

/* ---- one request is what lynx_plan_predict says ---------------------------------------- */

static void a_request_alone_takes_what_the_model_says(void **state)
{
    (void)state;
    test_rng random = test_rng_of(4);
    for (int round = 0; round < 200; round++) {
        lynx_plan_cluster c = simple();
        lynx_plan_request *r = &c.request;
        c.request_count = 1;
        c.warm_count = 0;
        r->is_stored = test_rng_below(&random, 2);
        r->prompt_tokens = 1 + (uint32_t)test_rng_below(&random, 3000);
        r->piece_tokens = 1 + (uint32_t)test_rng_below(&random, 1000);
        r->link.bytes_per_s = pow(10, 5 + (double)test_rng_below(&random, 2000) / 1000);
        r->link.round_trip_s = (double)test_rng_below(&random, 100) / 1000;
        r->prefill.encode_bytes_per_s = 1e7;
        r->prefill.wait_s = 0.1;
        r->decode.step_s = 0.01;
        r->decode.exact_step_s = 0.015;
        r->decode.row_s = 0.002;
        r->stands = (double)test_rng_below(&random, 2); /* no dice */
        for (uint32_t m = 0; m < LYNX_PLAN_METHOD_COUNT; m++) {
            if (m == LYNX_PLAN_TOKENS || m == LYNX_PLAN_CARRY)
                continue;
            const lynx_plan_load load = simulate(&c, (lynx_plan_method)m);
            lynx_plan_times t;
            lynx_plan_predict(r, (lynx_plan_method)m, &t);
            /* Encoding of a stored cache is not in the queue of the link. */
            assert_about(load.ttft_s.mean + 1, t.ttft_s + 1, 1e-9);
            if (!r->is_stored || m == LYNX_PLAN_RECOMPUTE) {
                assert_about(load.token_s.mean, t.tt32t_s, 1e-9);
                assert_about(load.total_s.mean, t.total_s, 1e-9);
            }
            assert_about(load.bytes + 1, t.bytes + 1, 1e-9);
        }
    }
}

/* Far between, many requests give the expectation over the drafts. */
static void requests_far_between_give_the_expectation(void **state)
{
    (void)state;
    lynx_plan_cluster c = simple();
    lynx_plan_times t;
    c.requests_per_s = 1e-3;
    c.request_count = 40000;
    c.request.link.bytes_per_s = 1e6;
    c.request.decode.step_s = 0.02;
    c.request.decode.row_s = 0.001;
    lynx_plan_predict(&c.request, LYNX_PLAN_LYNX, &t);
    assert_true(t.drafted > 10 && t.accepted < 9);
    const lynx_plan_load load = simulate(&c, LYNX_PLAN_LYNX);
    assert_about(load.token_s.mean, t.tt32t_s, 0.002);
    assert_about(load.total_s.mean, t.total_s, 0.002);
}

/* ---- laws ------------------------------------------------------------------------------ */

static lynx_plan_cluster random_cluster(test_rng *random)
{
    lynx_plan_cluster c = simple();
    lynx_plan_request *r = &c.request;
    c.seed = test_rng_next(random);
    c.prefill_nodes = 1 + (uint32_t)test_rng_below(random, 5);
    c.decode_nodes = 1 + (uint32_t)test_rng_below(random, 5);
    c.slots = 1 + (uint32_t)test_rng_below(random, 8);
    c.requests_per_s = c.prefill_nodes * (1 + (double)test_rng_below(random, 12)) / 10;
    c.request_count = 500;
    c.warm_count = 0;
    c.spread = (double)test_rng_below(random, 90) / 100;
    r->piece_tokens = 50 + (uint32_t)test_rng_below(random, 1000);
    r->is_stored = test_rng_below(random, 2);
    r->link.bytes_per_s = pow(10, 5 + (double)test_rng_below(random, 3000) / 1000);
    r->decode.step_s = (double)(1 + test_rng_below(random, 30)) / 1000;
    r->decode.row_s = r->decode.step_s / 5;
    return c;
}

/* Nothing is lost, in overload either: every request ends, every byte is sent once, and the
 * requests that are there follow from their times (Little). */
static void nothing_is_lost(void **state)
{
    (void)state;
    test_rng random = test_rng_of(9);
    for (int round = 0; round < 60; round++) {
        const lynx_plan_cluster c = random_cluster(&random);
        const lynx_plan_method methods[] = {LYNX_PLAN_LYNX, LYNX_PLAN_WAIT, LYNX_PLAN_F16,
                                            LYNX_PLAN_RECOMPUTE};
        for (size_t i = 0; i < 4; i++) {
            const lynx_plan_load load = simulate(&c, methods[i]);
            assert_int_equal(load.requests, 500);
            const lynx_plan_spread all[] = {load.ttft_s, load.token_s, load.total_s};
            for (size_t s = 0; s < 3; s++) {
                assert_true(isfinite(all[s].mean) && all[s].p50 >= 0);
                assert_true(all[s].p50 <= all[s].p95);
            }
            assert_true(load.ttft_s.mean <= load.token_s.mean);
            assert_true(load.token_s.mean <= load.total_s.mean);
            assert_true(load.wait_s.p50 >= -1e-9 && load.slot_wait_s.p50 >= 0);
            assert_in_range((int)(load.link_use * 1000), 0, 1000);
            assert_in_range((int)(load.slot_use * 1000), 0, 1000);
            assert_in_range((int)(load.prefill_use * 1000), 0, 1000);
        }
    }
}

/* All planes of the requests' tokens travel, and the link is busy for just these bytes. */
static void bytes_and_busy_links_agree(void **state)
{
    (void)state;
    lynx_plan_cluster c = simple();
    c.warm_count = 0;
    c.request.link.bytes_per_s = 2e6;
    c.prefill_nodes = 3;
    c.requests_per_s = 2;
    const lynx_plan_load lynx = simulate(&c, LYNX_PLAN_LYNX);
    const lynx_plan_load int8 = simulate(&c, LYNX_PLAN_INT8);
    assert_about(lynx.bytes, c.request_count * 1e6, 1e-9);
    assert_about(int8.bytes, lynx.bytes, 1e-9);
    /* Busy time is bytes by rate; the whole takes requests by their rate. */
    assert_about(lynx.link_use, 2 * 1e6 / 2e6 / 3, 0.03);
    /* The same arrivals: what the prefill nodes do does not depend on the planes. */
    assert_about(lynx.ttft_s.mean, int8.ttft_s.mean, 1e-9);
    assert_about(lynx.in_system, 2 * lynx.total_s.mean, 0.03); /* Little's law */
}

static void a_seed_gives_the_same_and_another_does_not(void **state)
{
    (void)state;
    lynx_plan_cluster c = simple();
    c.request_count = 3000;
    const lynx_plan_load first = simulate(&c, LYNX_PLAN_LYNX);
    const lynx_plan_load again = simulate(&c, LYNX_PLAN_LYNX);
    assert_memory_equal(&first, &again, sizeof(first));
    c.seed = 2;
    const lynx_plan_load other = simulate(&c, LYNX_PLAN_LYNX);
    assert_true(other.wait_s.mean != first.wait_s.mean);
}

/* Residuals of others do not hold an anchor up; whole caches of others do. */
static void anchors_do_not_wait_for_residuals(void **state)
{
    (void)state;
    lynx_plan_cluster c = simple();
    c.request.is_stored = true;
    c.request.link.bytes_per_s = 1e6;
    c.request.decode.step_s = 0.01;
    c.request.stands = 1;
    c.request.is_paced = false;
    c.token = 2;
    c.requests_per_s = 0.9;
    const double lynx = simulate(&c, LYNX_PLAN_LYNX).token_s.p95;
    const double int8 = simulate(&c, LYNX_PLAN_INT8).token_s.p95;
    assert_true(lynx < int8 / 3);
}

/* Requests that are on their way count as well when a node is chosen. */
static void nodes_share_the_work(void **state)
{
    (void)state;
    lynx_plan_cluster c = simple();
    c.request.decode.step_s = 0.01;
    c.slots = 1;
    c.decode_nodes = c.prefill_nodes = 200;
    c.requests_per_s = 100; /* half a second of prefill and 0.4 s of steps for each node */
    lynx_plan_load load = simulate(&c, LYNX_PLAN_INT8);
    assert_true(load.slot_wait_s.p95 == 0);
    assert_true(load.wait_s.p95 < 1e-9);
    c.request.is_stored = true;
    c.request.link.bytes_per_s = 1e6; /* a second for each */
    load = simulate(&c, LYNX_PLAN_INT8);
    assert_true(load.slot_wait_s.p95 == 0);
    assert_true(load.token_s.p95 < 1.5);
}

/* ---- what is refused ------------------------------------------------------------------- */

static void clusters_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    const char *why;
    lynx_plan_load load;
#define REFUSED(field, value)                                                                  \
    do {                                                                                       \
        lynx_plan_cluster c = simple();                                                        \
        c.field = value;                                                                       \
        assert_int_equal(lynx_plan_simulate(&c, LYNX_PLAN_LYNX, NULL, &load, &why),            \
                         LYNX_ERR_ARGUMENT);                                                   \
        assert_true(strlen(why) > 10);                                                         \
        assert_int_equal(lynx_plan_simulate(&c, LYNX_PLAN_LYNX, NULL, &load, NULL),            \
                         LYNX_ERR_ARGUMENT);                                                   \
    } while (0)
    REFUSED(prefill_nodes, 0);
    REFUSED(decode_nodes, 0);
    REFUSED(slots, 0);
    REFUSED(requests_per_s, 0);
    REFUSED(requests_per_s, NAN);
    REFUSED(request_count, 0);
    REFUSED(warm_count, 20000);
    REFUSED(spread, 1);
    REFUSED(spread, -0.1);
    REFUSED(request.prompt_tokens, 0);
    REFUSED(request.decode.wait_s, 1);
    REFUSED(request.link.bytes_ahead, 1);
#undef REFUSED
    lynx_plan_cluster c = simple();
    assert_int_equal(lynx_plan_simulate(&c, LYNX_PLAN_TOKENS, NULL, &load, &why),
                     LYNX_ERR_UNSUPPORTED);
    assert_int_equal(lynx_plan_simulate(&c, LYNX_PLAN_CARRY, NULL, &load, &why),
                     LYNX_ERR_UNSUPPORTED);
    c.request.decode.prefill_tokens_per_s = 0;
    assert_int_equal(lynx_plan_simulate(&c, LYNX_PLAN_RECOMPUTE, NULL, &load, &why),
                     LYNX_ERR_UNSUPPORTED);
}

/* The n-th allocation fails, for every n. */
static void memory_that_is_short_is_told_and_given_back(void **state)
{
    (void)state;
    const char *why;
    lynx_plan_load load;
    lynx_plan_cluster c = simple();
    c.request_count = 600;
    c.warm_count = 0;
    c.requests_per_s = 5; /* more than it can do, so that queues grow */
    uint64_t fail_at = 0;
    lynx_status status = LYNX_ERR_MEMORY;
    while (status == LYNX_ERR_MEMORY) {
        test_allocator memory;
        test_allocator_init(&memory);
        memory.fail_at = ++fail_at;
        status = lynx_plan_simulate(&c, LYNX_PLAN_LYNX, &memory.allocator, &load, &why);
        assert_int_equal(memory.live_blocks, 0);
    }
    assert_int_equal(status, LYNX_OK);
    assert_true(fail_at > 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefill_node_is_a_queue_with_one_server),
        cmocka_unit_test(a_link_is_a_queue_with_one_server),
        cmocka_unit_test(a_slot_is_a_queue_with_one_server),
        cmocka_unit_test(a_request_alone_takes_what_the_model_says),
        cmocka_unit_test(requests_far_between_give_the_expectation),
        cmocka_unit_test(nothing_is_lost),
        cmocka_unit_test(bytes_and_busy_links_agree),
        cmocka_unit_test(a_seed_gives_the_same_and_another_does_not),
        cmocka_unit_test(anchors_do_not_wait_for_residuals),
        cmocka_unit_test(nodes_share_the_work),
        cmocka_unit_test(clusters_that_make_no_sense_are_refused),
        cmocka_unit_test(memory_that_is_short_is_told_and_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
