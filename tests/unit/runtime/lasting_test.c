/* SPDX-License-Identifier: MIT */
/* lasting_test.c - a decode node that stays: prefill nodes end and come back. */
#include "support/cmocka_all.h"
#include "support/toy_nodes.h"

static const uint64_t ms = 1000000;
static const uint64_t second = 1000000000;

static void make_options(lynx_run_options *options, lynx_token *prompt, uint32_t count)
{
    lynx_run_options_init(options);
    toy_prompt(prompt, count, 5);
    options->prompt = prompt;
    options->prompt_tokens = count;
    options->ignore_end = true;
}

typedef struct pair {
    toy_prefill prefill;
    toy_decode decode;
    lynx_token prompt[TOY_PROMPT_MAX];
    lynx_run_options options;
    toy_answer want;
} pair;

static void open_pair(pair *p, bool is_lasting)
{
    toy_prefill_init(&p->prefill);
    toy_prefill_start(&p->prefill);
    toy_decode_init(&p->decode, p->prefill.address);
    p->decode.remote.is_lasting = is_lasting;
    p->decode.remote.retry_most_ns = 100 * ms;
    toy_decode_open(&p->decode);
    make_options(&p->options, p->prompt, 200);
    toy_want(&p->want, p->decode.engine, &p->options);
}

static void close_pair(pair *p)
{
    toy_decode_finish(&p->decode);
    toy_prefill_finish(&p->prefill);
}

/* The right answer; was the prompt computed here? */
static bool is_recomputed(pair *p)
{
    toy_answer got;
    toy_run(&got, p->decode.engine, &p->decode.handle, 1, &p->options);
    assert_int_equal(got.status, LYNX_OK);
    assert_true(toy_answers_are_equal(&got, &p->want));
    return got.result.is_recomputed;
}

/* It said good-bye and began anew: requests are computed here until it is there again, and over
 * the link from then on. */
static void a_lasting_remote_finds_its_node_again(void **state)
{
    (void)state;
    static pair p;
    open_pair(&p, true);
    assert_false(is_recomputed(&p));
    for (int round = 0; round < 3; round++) {
        toy_prefill_restart(&p.prefill, round != 1);
        const lynx_time_ns limit = lynx_clock_now() + 20 * second;
        while (is_recomputed(&p))
            assert_true(lynx_clock_now() < limit);
    }
    close_pair(&p);
}

static void another_stays_given_up(void **state)
{
    (void)state;
    static pair p;
    open_pair(&p, false);
    assert_false(is_recomputed(&p));
    toy_prefill_restart(&p.prefill, true);
    const lynx_time_ns limit = lynx_clock_now() + 20 * second;
    while (!is_recomputed(&p)) /* the good-bye may still be under way */
        assert_true(lynx_clock_now() < limit);
    const lynx_time_ns until = lynx_clock_now() + second / 2;
    while (lynx_clock_now() < until)
        assert_true(is_recomputed(&p));
    close_pair(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lasting_remote_finds_its_node_again),
        cmocka_unit_test(another_stays_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
