/* SPDX-License-Identifier: MIT */
/* status_test.c - what a decode node knows of its prefill nodes. */
#include "support/cmocka_all.h"
#include "support/toy_nodes.h"

static const uint64_t ms = 1000000;
static const uint64_t second = 1000000000;

static lynx_remote_status status_of(const toy_decode *d)
{
    lynx_remote_status status;
    lynx_remote_status_of(d->handle, &status);
    return status;
}

static void make_options(lynx_run_options *options, lynx_token *prompt)
{
    lynx_run_options_init(options);
    toy_prompt(prompt, TOY_PROMPT_MAX, 3);
    options->prompt = prompt;
    options->prompt_tokens = TOY_PROMPT_MAX;
    options->ignore_end = true;
}

static void assert_idle(const lynx_remote_status *status)
{
    assert_int_equal(status->requests, 0);
    assert_int_equal(status->tokens_due, 0);
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        assert_int_equal(status->cache_bytes_due[i], 0);
}

/* The pacer lets little more than 'rate' through: what is measured must be near it. */
static void the_link_is_measured(void **state)
{
    (void)state;
    static toy_prefill p;
    static toy_decode d;
    lynx_token prompt[TOY_PROMPT_MAX];
    lynx_run_options options;
    const uint64_t rate = 4000000;
    toy_prefill_init(&p);
    p.rate = rate;
    p.toy.layer_count = 8;
    toy_prefill_start(&p);
    toy_decode_init(&d, p.address);
    d.toy.layer_count = 8;
    toy_decode_open(&d);
    make_options(&options, prompt);
    assert_true(status_of(&d).link_bytes_per_s == 0);
    static const lynx_method methods[] = {LYNX_METHOD_SPECULATE, LYNX_METHOD_WAIT};
    for (int i = 0; i < 2; i++) {
        toy_answer got;
        options.method = methods[i];
        toy_run(&got, d.engine, &d.handle, 1, &options);
        assert_int_equal(got.status, LYNX_OK);
        const lynx_remote_status status = status_of(&d);
        assert_true(status.is_connected && !status.is_given_up);
        assert_true(got.result.bytes_total > 100000);
        assert_in_range((uint64_t)status.link_bytes_per_s, rate / 8 / 10, rate / 8 * 3 / 2);
        assert_true(status.prefill_tokens_per_s > 0);
        assert_true(status.round_trip_s > 0);
        assert_true(lynx_clock_now() - status.measured_at < 60 * second);
        assert_int_equal(status.failures, 0);
        assert_idle(&status);
    }
    toy_decode_finish(&d);
    toy_prefill_finish(&p);
}

typedef struct busy {
    toy_decode *d;
    lynx_run_options options;
    toy_answer got;
} busy;

static void *run(void *user)
{
    busy *b = user;
    toy_run(&b->got, b->d->engine, &b->d->handle, 1, &b->options);
    return NULL;
}

/* While a transfer is under way it is known, and a deadline that it misses is no failure. */
static void what_is_due_is_known(void **state)
{
    (void)state;
    static toy_prefill p;
    static toy_decode d;
    static busy b;
    lynx_token prompt[TOY_PROMPT_MAX];
    pthread_t thread;
    toy_prefill_init(&p);
    p.rate = 50000;
    p.toy.layer_count = 8;
    toy_prefill_start(&p);
    toy_decode_init(&d, p.address);
    d.toy.layer_count = 8;
    toy_decode_open(&d);
    b.d = &d;
    make_options(&b.options, prompt);
    b.options.complete_deadline_ns = 1500 * ms;
    assert_int_equal(pthread_create(&thread, NULL, run, &b), 0);
    const lynx_time_ns limit = lynx_clock_now() + 20 * second;
    lynx_remote_status status = status_of(&d);
    while (status.requests == 0 || status.tokens_due > 0) {
        assert_true(lynx_clock_now() < limit);
        status = status_of(&d);
    }
    assert_true(status.cache_bytes_due[1] > 0);
    pthread_join(thread, NULL);
    assert_int_equal(b.got.status, LYNX_OK);
    assert_true(b.got.result.is_recomputed);
    status = status_of(&d);
    assert_idle(&status);
    assert_int_equal(status.failures, 0);
    assert_true(status.link_bytes_per_s > 0);
    assert_true(status.link_bytes_per_s < 50000);
    toy_decode_finish(&d);
    toy_prefill_finish(&p);
}

static void a_node_that_is_gone_is_known(void **state)
{
    (void)state;
    static toy_prefill p;
    static toy_decode d;
    toy_prefill_init(&p);
    toy_prefill_start(&p);
    toy_decode_init(&d, p.address);
    d.remote.is_lasting = true;
    d.remote.patience_ns = 300 * ms;
    d.remote.first_patience_ns = 300 * ms;
    toy_decode_open(&d);
    lynx_time_ns limit = lynx_clock_now() + 20 * second;
    while (!status_of(&d).is_connected)
        assert_true(lynx_clock_now() < limit);
    toy_prefill_finish(&p);
    limit = lynx_clock_now() + 20 * second;
    while (!status_of(&d).is_given_up)
        assert_true(lynx_clock_now() < limit);
    const lynx_remote_status status = status_of(&d);
    assert_false(status.is_connected);
    assert_int_not_equal(status.failure, LYNX_OK);
    assert_true(status.text[0] != '\0');
    assert_true(status.failed_at > 0);
    toy_decode_finish(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_link_is_measured),
        cmocka_unit_test(what_is_due_is_known),
        cmocka_unit_test(a_node_that_is_gone_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
