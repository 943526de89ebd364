/* SPDX-License-Identifier: MIT */
#include "lynx/plan.h"

#include <math.h>
#include <string.h>

#include "support/cmocka_all.h"
#include "support/rng.h"

/* 1000 tokens in one piece of 2 s; the anchor is 1 MB, the rest 1 MB, over 1 MB/s. */
static lynx_plan_request simple(void)
{
    lynx_plan_request r;
    lynx_plan_request_init(&r);
    r.prompt_tokens = 1000;
    r.piece_tokens = 1000;
    r.prefill = (lynx_plan_node){.prefill_tokens_per_s = 500, .step_s = 0.02};
    r.decode = (lynx_plan_node){.prefill_tokens_per_s = 100, .step_s = 0.05, .row_s = 0.01};
    r.link.bytes_per_s = 1e6;
    r.cache = (lynx_plan_cache){.raw_bytes = 4e6,
                                .plane_bytes = {1e6, 1e6},
                                .plane_count = 2,
                                .int8_bytes = 2.1e6,
                                .int4_bytes = 1.1e6};
    r.stands = 0.9;
    r.is_paced = false;
    return r;
}

static uint32_t below(test_rng *random, uint32_t bound)
{
    return (uint32_t)test_rng_below(random, bound);
}

static void assert_near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * fmax(fmax(fabs(a), fabs(b)), 1)))
        fail_msg("%.12g is not %.12g", a, b);
}

static double token(const lynx_plan_request *r, lynx_plan_method method, uint32_t index)
{
    return lynx_plan_token_s(r, method, index);
}

/* ---- one method at a time -------------------------------------------------------------- */

static void plain_transfers_follow_the_bytes(void **state)
{
    (void)state;
    lynx_plan_request r = simple();
    r.link.round_trip_s = 0.1;
    assert_near(token(&r, LYNX_PLAN_F16, 1), 2.1);
    assert_near(token(&r, LYNX_PLAN_F16, 2), 2.1 + 4 + 0.05);
    assert_near(token(&r, LYNX_PLAN_F16, 12), 2.1 + 4 + 11 * 0.05);
    assert_near(token(&r, LYNX_PLAN_INT8, 2), 2.1 + 2.1 + 0.05);
    assert_near(token(&r, LYNX_PLAN_INT4, 2), 2.1 + 1.1 + 0.05);
    assert_near(token(&r, LYNX_PLAN_WAIT, 2), 2.1 + 2 + 0.05);
    r.is_stored = true;
    assert_near(token(&r, LYNX_PLAN_INT8, 1), 0.1);
    assert_near(token(&r, LYNX_PLAN_INT8, 2), 0.1 + 2.1 + 0.05);
}

static void pages_leave_during_the_prefill(void **state)
{
    (void)state;
    lynx_plan_request r = simple();
    r.piece_tokens = 250;
    /* Slow link: busy from the first piece (0.5 s) on. */
    assert_near(token(&r, LYNX_PLAN_F16_STREAMED, 2), 0.5 + 4 + 0.05);
    assert_near(token(&r, LYNX_PLAN_F16, 2), 2 + 4 + 0.05);
    /* Fast link: only the last piece is left when the prefill ends. */
    r.link.bytes_per_s = 1e7;
    assert_near(token(&r, LYNX_PLAN_F16_STREAMED, 2), 2 + 0.1 + 0.05);
    /* 1000 tokens in pieces of 300: the last one has 100. */
    r.piece_tokens = 300;
    assert_near(token(&r, LYNX_PLAN_F16_STREAMED, 2), 2 + 0.04 + 0.05);
}

static void the_formula_of_streaming_is_that_of_pieces_one_by_one(void **state)
{
    (void)state;
    test_rng random = test_rng_of(7);
    for (int round = 0; round < 300; round++) {
        lynx_plan_request r = simple();
        r.prompt_tokens = 1 + below(&random, 3000);
        r.piece_tokens = 1 + below(&random, 1000);
        r.link.bytes_per_s = pow(10, 5 + 2.0 * below(&random, 1000) / 1000);
        r.link.anchor_bytes_ahead = 1000.0 * below(&random, 3000);
        r.link.bytes_ahead = r.link.anchor_bytes_ahead;
        double free_at = r.link.anchor_bytes_ahead / r.link.bytes_per_s;
        for (uint32_t done = 0; done < r.prompt_tokens;) {
            const uint32_t left = r.prompt_tokens - done;
            const uint32_t piece = left < r.piece_tokens ? left : r.piece_tokens;
            done += piece;
            free_at = fmax(free_at, done / 500.0) +
                      4e6 * piece / r.prompt_tokens / r.link.bytes_per_s;
        }
        const double expected = fmax(free_at, r.prompt_tokens / 500.0) + 0.05;
        assert_near(token(&r, LYNX_PLAN_F16_STREAMED, 2), expected);
    }
}

static void drafts_count_when_they_were_made(void **state)
{
    (void)state;
    lynx_plan_times t;
    lynx_plan_request r = simple();
    r.stands = 1;
    lynx_plan_predict(&r, LYNX_PLAN_LYNX, &t);
    /* Anchor at 3 s, the rest at 4 s: 20 drafts of 0.05 s; then a pass of 21 rows. */
    assert_near(t.ttft_s, 2);
    assert_near(t.anchor_s, 3);
    assert_near(t.complete_s, 4);
    assert_near(t.drafted, 20);
    assert_near(t.accepted, 20);
    assert_near(t.verify_s, 0.21);
    assert_near(t.tt2t_s, 3.05);
    assert_near(t.own_s, 3.05);
    assert_near(t.stall_s, 1.05);
    assert_near(t.tt16t_s, 3 + 15 * 0.05);
    assert_near(token(&r, LYNX_PLAN_LYNX, 21), 4);
    assert_near(token(&r, LYNX_PLAN_LYNX, 22), 4.21); /* the bonus */
    assert_near(token(&r, LYNX_PLAN_LYNX, 23), 4.26);
    assert_near(t.tt32t_s, 4.21 + 10 * 0.05);
    assert_near(t.bytes, 2e6);

    r.stands = 0; /* every token comes with or behind the pass */
    lynx_plan_predict(&r, LYNX_PLAN_LYNX, &t);
    assert_near(t.accepted, 0);
    assert_near(t.tt2t_s, 4.21);
    assert_near(t.tt32t_s, 4.21 + 30 * 0.05);
}

static void drafts_that_may_fall_give_an_expectation(void **state)
{
    (void)state;
    lynx_plan_request r = simple();
    r.stands = 0.5;
    r.draft_count_max = 2; /* a pass of 3 rows ends at 4.03 */
    assert_near(token(&r, LYNX_PLAN_LYNX, 2), 0.5 * 4.03 + 0.5 * 3.05);
    assert_near(token(&r, LYNX_PLAN_LYNX, 3), 0.5 * 4.08 + 0.25 * 4.03 + 0.25 * 3.10);
    assert_near(token(&r, LYNX_PLAN_LYNX, 4), 0.5 * 4.13 + 0.25 * 4.08 + 0.25 * 4.03);
}

/* The closed form against drafts that are thrown with dice. */
static void the_expectation_is_that_of_many_answers(void **state)
{
    (void)state;
    test_rng random = test_rng_of(11);
    lynx_plan_request r = simple();
    double sum = 0;
    enum { ANSWERS = 40000, TOKEN = 12 };
    for (int i = 0; i < ANSWERS; i++) {
        uint32_t stand = 0;
        while (stand < 20 && below(&random, 1000) < 900)
            stand++;
        sum += TOKEN - 1 <= stand ? 3 + 0.05 * (TOKEN - 1)
                                  : 4.21 + 0.05 * (TOKEN - 1 - (int)stand - 1);
    }
    const double expected = token(&r, LYNX_PLAN_LYNX, TOKEN);
    assert_true(fabs(sum / ANSWERS - expected) < 0.01);
}

static void no_time_to_draft_means_no_pass(void **state)
{
    (void)state;
    lynx_plan_times lynx;
    lynx_plan_times wait;
    lynx_plan_request r = simple();
    r.cache.plane_count = 1;
    r.cache.plane_bytes[0] = 2e6;
    lynx_plan_predict(&r, LYNX_PLAN_LYNX, &lynx);
    lynx_plan_predict(&r, LYNX_PLAN_WAIT, &wait);
    assert_near(lynx.drafted, 0);
    assert_near(lynx.verify_s, 0);
    assert_near(lynx.tt32t_s, wait.tt32t_s);
}

static void drafts_that_do_not_pay_are_not_made(void **state)
{
    (void)state;
    lynx_plan_times t;
    lynx_plan_request r = simple();
    r.is_paced = true;
    r.decode.row_s = 0.04;
    r.stands = 0.95; /* 0.95^n * 0.05 >= 0.04: four */
    lynx_plan_predict(&r, LYNX_PLAN_LYNX, &t);
    assert_near(t.drafted, 4);
    r.decode.row_s = 0.001;
    lynx_plan_predict(&r, LYNX_PLAN_LYNX, &t);
    assert_near(t.drafted, 20);
}

static void exact_steps_are_of_lynx_alone(void **state)
{
    (void)state;
    lynx_plan_request r = simple();
    r.decode.exact_step_s = 0.08;
    r.stands = 1;
    assert_near(token(&r, LYNX_PLAN_LYNX, 2), 3.08);
    assert_near(token(&r, LYNX_PLAN_WAIT, 2), 4.05);
}

/* Drafts are made by steps of their own; what is decoded behind the pass is not. */
static void drafts_may_take_shorter_steps(void **state)
{
    (void)state;
    lynx_plan_times exact, t;
    lynx_plan_request r = simple();
    r.decode.exact_step_s = 0.08;
    r.stands = 1;
    lynx_plan_predict(&r, LYNX_PLAN_LYNX, &exact);
    r.decode.draft_step_s = 0.04;
    lynx_plan_predict(&r, LYNX_PLAN_LYNX, &t);
    assert_near(token(&r, LYNX_PLAN_LYNX, 2), 3.04);
    assert_near(t.own_s, 3.04);
    assert_near(t.drafted, 25); /* in a second, instead of 13 */
    assert_near(exact.drafted, 13);
    assert_near(token(&r, LYNX_PLAN_LYNX, 64) - token(&r, LYNX_PLAN_LYNX, 63), 0.08);
    assert_near(t.decode_node_s,
                exact.decode_node_s - (0.08 * 13 - 0.04 * 25) - 12 * (0.08 - 0.01));
}

static void several_passes_where_one_is_too_small(void **state)
{
    (void)state;
    lynx_plan_times t;
    lynx_plan_request r = simple();
    r.decode.pass_s = 0.1;
    r.decode.pass_tokens = 8;
    lynx_plan_predict(&r, LYNX_PLAN_LYNX, &t);
    assert_near(t.verify_s, 3 * 0.1 + 21 * 0.01);
}

static void the_local_prefill_knows_no_link(void **state)
{
    (void)state;
    lynx_plan_times t;
    lynx_plan_request r = simple();
    r.link.round_trip_s = 1;
    r.decode.wait_s = 0.5;
    lynx_plan_predict(&r, LYNX_PLAN_RECOMPUTE, &t);
    assert_near(t.ttft_s, 10.5);
    assert_near(t.tt2t_s, 10.55);
    assert_near(t.bytes, 0);
    assert_near(t.prefill_node_s, 0);
    assert_near(t.decode_node_s, 10 + 63 * 0.05);
    assert_true(isnan(t.anchor_s));
}

static void the_prefill_node_sends_tokens(void **state)
{
    (void)state;
    lynx_plan_times t;
    lynx_plan_request r = simple();
    r.link.round_trip_s = 0.1;
    lynx_plan_predict(&r, LYNX_PLAN_TOKENS, &t);
    assert_near(t.ttft_s, 2.1);
    assert_near(t.tt32t_s, 2.1 + 31 * 0.02);
    assert_near(t.prefill_node_s, 2 + 63 * 0.02);
    assert_near(t.decode_node_s, 0);
    assert_true(isnan(t.own_s) && isnan(t.stall_s));
}

static void the_prefill_node_hands_over(void **state)
{
    (void)state;
    lynx_plan_times t;
    lynx_plan_request r = simple();
    r.prefill.step_s = 0.1; /* at 4 s it has sent 21 tokens */
    lynx_plan_predict(&r, LYNX_PLAN_CARRY, &t);
    assert_near(token(&r, LYNX_PLAN_CARRY, 21), 4);
    /* 21 rows take until 4.21, in which two more come; these take until 4.23. */
    assert_near(token(&r, LYNX_PLAN_CARRY, 23), 4.2);
    assert_near(token(&r, LYNX_PLAN_CARRY, 24), 4.23);
    assert_near(t.tt32t_s, 4.23 + 8 * 0.05);
    assert_near(t.prefill_node_s, 2 + 22 * 0.1);
    /* Its own cache is brought to the codec's stage first: 0.4 s and 0.2 s, and with the first
     * 0.4 s the prefill takes longer. Behind the pass steps are exact. */
    r.prefill.encode_bytes_per_s = 1e7;
    r.prefill.decode_bytes_per_s = 2e7;
    r.decode.exact_step_s = 0.08;
    lynx_plan_predict(&r, LYNX_PLAN_CARRY, &t);
    assert_near(t.ttft_s, 2.4);
    assert_near(t.complete_s, 4.4);
    assert_near(t.tt2t_s, 2.4 + 0.6 + 0.1);
    /* 15 tokens at 4.4 s, one more in their pass, none in its row. */
    assert_near(t.tt16t_s, 2.4 + 0.6 + 1.5);
    assert_near(token(&r, LYNX_PLAN_CARRY, 17), 4.4 + 0.15 + 0.01);
    assert_near(token(&r, LYNX_PLAN_CARRY, 18), 4.4 + 0.15 + 0.01 + 0.08);
    assert_near(t.prefill_node_s, 2.4 + 0.6 + 1.5);
    r = simple();
    r.link.round_trip_s = 0;
    r.prefill.step_s = 0.005; /* faster than rows: never handed over */
    assert_near(token(&r, LYNX_PLAN_CARRY, 64), token(&r, LYNX_PLAN_TOKENS, 64));
}

static void the_codec_is_seen_where_it_is_slower_than_the_link(void **state)
{
    (void)state;
    lynx_plan_request r = simple();
    r.decode.decode_bytes_per_s = 1e7; /* 0.4 s for the cache, while it arrives */
    assert_near(token(&r, LYNX_PLAN_WAIT, 2), 4.05);
    r.decode.decode_bytes_per_s = 1e6; /* 4 s from the first byte on */
    assert_near(token(&r, LYNX_PLAN_WAIT, 2), 6.05);
    assert_near(token(&r, LYNX_PLAN_F16, 2), 6.05); /* no codec: the 4 MB take as long */
    r.decode.decode_bytes_per_s = 0;
    r.prefill.encode_bytes_per_s = 4e6; /* a second more before the end of the prefill */
    assert_near(token(&r, LYNX_PLAN_WAIT, 1), 3);
    assert_near(token(&r, LYNX_PLAN_F16, 1), 2);
}

static void anchors_pass_by_the_residuals_of_others(void **state)
{
    (void)state;
    lynx_plan_times t;
    lynx_plan_request r = simple();
    r.is_stored = true;
    r.link.anchor_bytes_ahead = 5e5;
    r.link.bytes_ahead = 3e6;
    lynx_plan_predict(&r, LYNX_PLAN_LYNX, &t);
    assert_near(t.anchor_s, 1.5);
    assert_near(t.complete_s, 5);
    r.link.share = 0.5;
    lynx_plan_predict(&r, LYNX_PLAN_LYNX, &t);
    assert_near(t.anchor_s, 3);
    assert_near(t.complete_s, 10);
}

static void nodes_do_what_they_can(void **state)
{
    (void)state;
    lynx_plan_times t;
    lynx_plan_request r = simple();
    r.prefill.step_s = 0;
    r.decode.prefill_tokens_per_s = 0;
    for (uint32_t m = 0; m < LYNX_PLAN_METHOD_COUNT; m++) {
        lynx_plan_predict(&r, (lynx_plan_method)m, &t);
        const bool can_not =
            m == LYNX_PLAN_TOKENS || m == LYNX_PLAN_CARRY || m == LYNX_PLAN_RECOMPUTE;
        assert_int_equal(t.is_possible, !can_not);
        assert_int_equal(isinf(token(&r, (lynx_plan_method)m, 1)), can_not);
    }
    r.prefill.prefill_tokens_per_s = 0;
    assert_true(isinf(token(&r, LYNX_PLAN_LYNX, 1)));
    r.is_stored = true;
    assert_true(isfinite(token(&r, LYNX_PLAN_LYNX, 1)));
}

static void tokens_behind_the_end_have_no_time(void **state)
{
    (void)state;
    lynx_plan_times t;
    lynx_plan_request r = simple();
    r.answer_tokens = 16;
    lynx_plan_predict(&r, LYNX_PLAN_WAIT, &t);
    assert_near(t.total_s, t.tt16t_s);
    assert_true(isnan(t.tt32t_s) && isnan(t.tt64t_s));
    assert_true(isnan(token(&r, LYNX_PLAN_WAIT, 0)));
    r.answer_tokens = 1;
    for (uint32_t m = 0; m < LYNX_PLAN_METHOD_COUNT; m++) {
        lynx_plan_predict(&r, (lynx_plan_method)m, &t);
        assert_near(t.total_s, t.ttft_s);
        assert_near(t.drafted, 0);
    }
}

static lynx_plan_request random_request(test_rng *random)
{
    lynx_plan_request r = simple();
    r.prompt_tokens = 1 + below(random, 5000);
    r.piece_tokens = 1 + below(random, 1000);
    r.is_stored = below(random, 2);
    r.is_paced = below(random, 2);
    r.draft_count_max = below(random, 80);
    r.stands = below(random, 1001) / 1000.0;
    r.link.bytes_per_s = pow(10, 4 + below(random, 4000) / 1000.0);
    r.link.round_trip_s = below(random, 100) / 1000.0;
    r.prefill.wait_s = below(random, 2000) / 1000.0;
    r.prefill.step_s = (1 + below(random, 100)) / 1000.0;
    r.decode.pass_s = below(random, 50) / 1000.0;
    r.decode.row_s = (1 + below(random, 60)) / 1000.0;
    r.decode.pass_tokens = below(random, 64);
    r.decode.exact_step_s = r.decode.step_s * (1 + below(random, 100) / 100.0);
    return r;
}

static void time_goes_forward_and_drafting_costs_no_more_than_its_pass(void **state)
{
    (void)state;
    test_rng random = test_rng_of(3);
    for (int round = 0; round < 500; round++) {
        lynx_plan_request r = random_request(&random);
        for (uint32_t m = 0; m < LYNX_PLAN_METHOD_COUNT; m++)
            for (uint32_t i = 2; i <= r.answer_tokens; i++)
                assert_true(token(&r, (lynx_plan_method)m, i) >
                            token(&r, (lynx_plan_method)m, i - 1) - 1e-9);
        lynx_plan_times t;
        lynx_plan_predict(&r, LYNX_PLAN_LYNX, &t);
        r.decode.step_s = r.decode.exact_step_s;
        assert_true(t.total_s <=
                    token(&r, LYNX_PLAN_WAIT, 64) + t.verify_s + r.decode.exact_step_s + 1e-9);
        assert_true(t.accepted <= t.drafted);
        assert_true(t.anchor_s <= t.complete_s);
    }
}

/* ---- requests that make no sense ------------------------------------------------------- */

static void wrong_figures_are_refused(void **state)
{
    (void)state;
    const char *why;
    lynx_plan_request good = simple();
    assert_int_equal(lynx_plan_check(&good, &why), LYNX_OK);
#define REFUSED(field, value)                                                                  \
    do {                                                                                       \
        lynx_plan_request r = simple();                                                        \
        r.field = value;                                                                       \
        assert_int_equal(lynx_plan_check(&r, &why), LYNX_ERR_ARGUMENT);                        \
        assert_true(strlen(why) > 10);                                                         \
        assert_int_equal(lynx_plan_check(&r, NULL), LYNX_ERR_ARGUMENT);                        \
    } while (0)
    REFUSED(prompt_tokens, 0);
    REFUSED(prompt_tokens, LYNX_PROMPT_TOKENS_MAX + 1);
    REFUSED(answer_tokens, 0);
    REFUSED(piece_tokens, 0);
    REFUSED(draft_count_max, LYNX_PLAN_DRAFTS_MAX + 1);
    REFUSED(prefill.step_s, -1);
    REFUSED(decode.row_s, NAN);
    REFUSED(link.bytes_per_s, 0);
    REFUSED(link.bytes_per_s, INFINITY);
    REFUSED(link.share, 0);
    REFUSED(link.share, 1.01);
    REFUSED(link.anchor_bytes_ahead, 1);
    REFUSED(cache.raw_bytes, 0);
    REFUSED(cache.plane_count, 0);
    REFUSED(cache.plane_count, LYNX_PLANES_MAX + 1);
    REFUSED(cache.plane_bytes[1], -1);
    REFUSED(stands, 1.1);
    REFUSED(stands, NAN);
#undef REFUSED
}

static void methods_have_names(void **state)
{
    (void)state;
    for (uint32_t m = 0; m < LYNX_PLAN_METHOD_COUNT; m++)
        assert_non_null(lynx_plan_method_name((lynx_plan_method)m));
    assert_string_equal(lynx_plan_method_name(LYNX_PLAN_F16_STREAMED), "f16_streamed");
    assert_null(lynx_plan_method_name(LYNX_PLAN_METHOD_COUNT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_transfers_follow_the_bytes),
        cmocka_unit_test(pages_leave_during_the_prefill),
        cmocka_unit_test(the_formula_of_streaming_is_that_of_pieces_one_by_one),
        cmocka_unit_test(drafts_count_when_they_were_made),
        cmocka_unit_test(drafts_that_may_fall_give_an_expectation),
        cmocka_unit_test(the_expectation_is_that_of_many_answers),
        cmocka_unit_test(no_time_to_draft_means_no_pass),
        cmocka_unit_test(drafts_that_do_not_pay_are_not_made),
        cmocka_unit_test(exact_steps_are_of_lynx_alone),
        cmocka_unit_test(drafts_may_take_shorter_steps),
        cmocka_unit_test(several_passes_where_one_is_too_small),
        cmocka_unit_test(the_local_prefill_knows_no_link),
        cmocka_unit_test(the_prefill_node_sends_tokens),
        cmocka_unit_test(the_prefill_node_hands_over),
        cmocka_unit_test(the_codec_is_seen_where_it_is_slower_than_the_link),
        cmocka_unit_test(anchors_pass_by_the_residuals_of_others),
        cmocka_unit_test(nodes_do_what_they_can),
        cmocka_unit_test(tokens_behind_the_end_have_no_time),
        cmocka_unit_test(time_goes_forward_and_drafting_costs_no_more_than_its_pass),
        cmocka_unit_test(wrong_figures_are_refused),
        cmocka_unit_test(methods_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
