/* SPDX-License-Identifier: MIT */
#include "lynx/speculate.h"
#include "support/cmocka_all.h"

static void the_longest_common_prefix_is_accepted(void **state)
{
    (void)state;
    const lynx_token drafts[] = {5, 6, 7, 8};
    const lynx_token late[] = {5, 6, 9, 8}; /* agreement behind a difference does not count */
    const lynx_token none[] = {4, 6, 7, 8};
    assert_int_equal(lynx_accept_count(drafts, drafts, 4), 4);
    assert_int_equal(lynx_accept_count(drafts, late, 4), 2);
    assert_int_equal(lynx_accept_count(drafts, none, 4), 0);
    assert_int_equal(lynx_accept_count(drafts, late, 1), 1);
    assert_int_equal(lynx_accept_count(drafts, drafts, 0), 0);
}

static void the_smallest_bound_limits_drafts(void **state)
{
    (void)state;
    assert_int_equal(lynx_draft_limit(3, 5, 7), 3);
    assert_int_equal(lynx_draft_limit(5, 3, 7), 3);
    assert_int_equal(lynx_draft_limit(7, 5, 3), 3);
    assert_int_equal(lynx_draft_limit(7, 3, 5), 3);
    assert_int_equal(lynx_draft_limit(0, 3, 5), 0);
}

static void the_clock_counts_from_the_start(void **state)
{
    (void)state;
    lynx_time_ns times[2] = {0};
    lynx_token_clock clock = {.times = times, .capacity = 2};
    assert_int_equal(lynx_token_clock_at(&clock, 0, 0), LYNX_TIME_NEVER);
    lynx_token_clock_add(&clock, 150);
    lynx_token_clock_add(&clock, 90);
    lynx_token_clock_add(&clock, 999); /* full */
    assert_int_equal(clock.count, 2);
    assert_int_equal(lynx_token_clock_at(&clock, 0, 100), 50);
    assert_int_equal(lynx_token_clock_at(&clock, 1, 100), 0); /* before the start */
    assert_int_equal(lynx_token_clock_at(&clock, 2, 100), LYNX_TIME_NEVER);
}

static void learn(lynx_pace *pace, uint32_t rows, uint64_t pass_ns, uint32_t drafted,
                  uint32_t accepted)
{
    lynx_pace_pass(pace, rows, pass_ns);
    lynx_pace_verdict(pace, drafted, accepted);
}

static void the_pace_follows_what_drafts_bring(void **state)
{
    (void)state;
    lynx_pace pace = {0};
    assert_int_equal(lynx_pace_limit(&pace, 62), 62); /* nothing is known */
    lynx_pace_step(&pace, 20000000);
    assert_int_equal(lynx_pace_limit(&pace, 62), 62);
    learn(&pace, 63, 63 * 4000000ull, 62, 62); /* a row is a fifth of a step */
    assert_int_equal(lynx_pace_limit(&pace, 62), 62);
    for (int i = 0; i < 20; i++)
        learn(&pace, 63, 63 * 4000000ull, 62, 10);
    /* About one of twelve is wrong: the largest n with (11/12)^n above a fifth. */
    const uint32_t some = lynx_pace_limit(&pace, 62);
    assert_in_range(some, 14, 22);
    assert_int_equal(lynx_pace_limit(&pace, 5), 5);
    for (int i = 0; i < 20; i++)
        learn(&pace, 9, 9 * 4000000ull, 8, 0);
    assert_int_equal(lynx_pace_limit(&pace, 62), LYNX_PACE_LEAST);
    for (int i = 0; i < 20; i++)
        learn(&pace, 63, 63 * 4000000ull, 62, 62);
    assert_int_equal(lynx_pace_limit(&pace, 62), 62);
}

/* Rows that cost as much as steps: drafting brings nothing, however right it is. */
static void dear_rows_are_not_paid(void **state)
{
    (void)state;
    lynx_pace pace = {0};
    lynx_pace_step(&pace, 1000000);
    learn(&pace, 10, 10 * 1100000ull, 9, 9);
    assert_int_equal(lynx_pace_limit(&pace, 62), LYNX_PACE_LEAST);
    assert_int_equal(lynx_pace_limit(&pace, 2), 2);
}

/* A pass teaches what a row adds to its first; what stood is told apart. */
static void passes_tell_what_a_row_adds(void **state)
{
    (void)state;
    lynx_pace pace = {0};
    lynx_pace_pass(&pace, 10, 1000);
    assert_true(pace.row_ns <= 0); /* a step is not known */
    lynx_pace_step(&pace, 1000);
    lynx_pace_pass(&pace, 1, 5000);
    assert_true(pace.row_ns <= 0);
    lynx_pace_pass(&pace, 11, 3000);
    assert_true(pace.row_ns > 199.9 && pace.row_ns < 200.1);
    assert_true(pace.hits <= 0 && pace.misses <= 0);
    lynx_pace cheap = {.step_ns = 1000};
    lynx_pace_pass(&cheap, 64, 900); /* rows that cost nothing are known, too */
    assert_true(cheap.row_ns > 0);
}

static void reviews_pay_while_time_is_left(void **state)
{
    (void)state;
    const lynx_pace pace = {.step_ns = 1000, .row_ns = 100, .hits = 90, .misses = 10};
    /* A pass of 31 rows is four steps; four more have to be left. */
    assert_false(lynx_pace_review_pays(&pace, 31, 30, 62, 0));
    assert_false(lynx_pace_review_pays(&pace, 31, 30, 62, 7900));
    assert_true(lynx_pace_review_pays(&pace, 31, 30, 62, 10000));
    /* Rows that are known already cost as much. */
    assert_false(lynx_pace_review_pays(&pace, 231, 30, 62, 10000));
    /* Nothing to review, and nothing known. */
    const lynx_pace new = {0};
    assert_false(lynx_pace_review_pays(&pace, 1, 0, 62, 100000));
    assert_false(lynx_pace_review_pays(&new, 31, 30, 62, 100000));
    /* Two drafts that nearly always stand: the time is better spent on more of them. At the
     * limit there are no more. */
    const lynx_pace sure = {.step_ns = 1000, .row_ns = 100, .hits = 1e6, .misses = 1};
    assert_false(lynx_pace_review_pays(&sure, 3, 2, 62, 100000));
    assert_true(lynx_pace_review_pays(&pace, 63, 62, 62, 100000));
}

static void drafts_are_begun_while_time_is_left(void **state)
{
    (void)state;
    const lynx_pace pace = {.step_ns = 1000, .row_ns = 100};
    /* A pass of 21 rows is three steps; one more has to be left. */
    assert_false(lynx_pace_draft_pays(&pace, 21, 0));
    assert_false(lynx_pace_draft_pays(&pace, 21, 3900));
    assert_true(lynx_pace_draft_pays(&pace, 21, 4000));
    assert_false(lynx_pace_draft_pays(&pace, 31, 4000));
    assert_true(lynx_pace_draft_pays(&pace, 1, 2000));
    /* Rows that were never timed count as dear, a step that was not is no reason to wait. */
    const lynx_pace untimed = {.step_ns = 1000};
    assert_false(lynx_pace_draft_pays(&untimed, 21, 6900));
    assert_true(lynx_pace_draft_pays(&untimed, 21, 7000));
    const lynx_pace new = {0};
    assert_true(lynx_pace_draft_pays(&new, 21, 0));
    /* A draft is made by a shorter step than the first row of a pass takes. */
    const lynx_pace light = {.step_ns = 1000, .draft_ns = 400, .row_ns = 100};
    assert_false(lynx_pace_draft_pays(&light, 21, 3399));
    assert_true(lynx_pace_draft_pays(&light, 21, 3400));
}

/* What a draft saves is an exact step, however quickly it was made itself. */
static void drafts_and_steps_have_times_of_their_own(void **state)
{
    (void)state;
    lynx_pace pace = {0};
    lynx_pace_draft(&pace, 0, 500);
    assert_true(pace.draft_ns <= 0);
    lynx_pace_draft(&pace, 2, 800);
    assert_true(pace.draft_ns > 399.9 && pace.draft_ns < 400.1);
    assert_true(pace.step_ns <= 0);
    /* Drafts stand for steps while none was seen. */
    lynx_pace_pass(&pace, 11, 2400);
    assert_true(pace.row_ns > 199.9 && pace.row_ns < 200.1);
    pace.hits = 90;
    pace.misses = 10;
    const uint32_t few = lynx_pace_limit(&pace, 62);
    lynx_pace_step(&pace, 1000);
    assert_true(pace.draft_ns > 399.9 && pace.draft_ns < 400.1);
    assert_true(few < lynx_pace_limit(&pace, 62));
    const lynx_pace alike = {.step_ns = 1000, .row_ns = pace.row_ns, .hits = 90, .misses = 10};
    assert_int_equal(lynx_pace_limit(&pace, 62), lynx_pace_limit(&alike, 62));
    /* More of them find room in the time that is left behind a review. */
    assert_false(lynx_pace_review_pays(&alike, 31, 8, 10, 10500));
    assert_true(lynx_pace_review_pays(&pace, 31, 8, 10, 10500));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_common_prefix_is_accepted),
        cmocka_unit_test(the_smallest_bound_limits_drafts),
        cmocka_unit_test(the_clock_counts_from_the_start),
        cmocka_unit_test(the_pace_follows_what_drafts_bring),
        cmocka_unit_test(dear_rows_are_not_paid),
        cmocka_unit_test(passes_tell_what_a_row_adds),
        cmocka_unit_test(reviews_pay_while_time_is_left),
        cmocka_unit_test(drafts_are_begun_while_time_is_left),
        cmocka_unit_test(drafts_and_steps_have_times_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
