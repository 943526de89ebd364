/* SPDX-License-Identifier: MIT */
#include "speculate/guess_worth.h"

#include "support/cmocka_all.h"
#include "support/rng.h"

/* Guesses of which a part is right, in an order without a pattern. */
static void see(lx_guess_worth *w, uint32_t run, uint32_t count, uint32_t right_percent)
{
    test_rng rng = test_rng_of(run);
    for (uint32_t i = 0; i < count; i++)
        lx_guess_worth_note(w, run, test_rng_below(&rng, 100) < right_percent);
}

static void a_step_that_costs_the_same_takes_any_guess(void **state)
{
    (void)state;
    static const uint64_t times[][2] = {{0, 0}, {0, 100}, {100, 0}, {100, 100}, {100, 90}};
    for (uint32_t i = 0; i < sizeof(times) / sizeof(*times); i++) {
        lx_guess_worth w;
        lx_guess_worth_init(&w, times[i][0], times[i][1]);
        for (uint32_t run = 1; run <= LX_GUESS_RUN_MAX; run++) {
            assert_true(lx_guess_is_worth(&w, run));
            see(&w, run, 200, 1);
            assert_true(lx_guess_is_worth(&w, run));
        }
    }
}

static void a_step_twice_as_long_takes_none(void **state)
{
    (void)state;
    lx_guess_worth w;
    lx_guess_worth_init(&w, 100, 201);
    for (uint32_t run = 1; run <= LX_GUESS_RUN_MAX; run++) {
        assert_false(lx_guess_is_worth(&w, run));
        see(&w, run, 1000, 100);
        assert_false(lx_guess_is_worth(&w, run));
    }
}

/* (1 + r) / 160 > 1 / 100 from r = 0.6 on. */
static void the_part_that_is_right_has_to_pay_the_time(void **state)
{
    (void)state;
    lx_guess_worth w;
    lx_guess_worth_init(&w, 100, 160);
    see(&w, 1, 400, 45);
    assert_false(lx_guess_is_worth(&w, 1));
    see(&w, 1, 400, 80);
    assert_true(lx_guess_is_worth(&w, 1));
    see(&w, 1, 400, 20);
    assert_false(lx_guess_is_worth(&w, 1));
}

/* Before anything is seen, long runs are trusted; then each length by what it showed. */
static void runs_of_each_length_count_for_themselves(void **state)
{
    (void)state;
    lx_guess_worth w;
    lx_guess_worth_init(&w, 100, 160);
    assert_false(lx_guess_is_worth(&w, 1));
    assert_false(lx_guess_is_worth(&w, 2));
    assert_true(lx_guess_is_worth(&w, 3));
    see(&w, 1, 30, 100);
    see(&w, 3, 30, 0);
    assert_true(lx_guess_is_worth(&w, 1));
    assert_false(lx_guess_is_worth(&w, 2));
    assert_false(lx_guess_is_worth(&w, 3));
}

/* A handful of either kind turns it, however much was seen before. */
static void what_was_seen_lately_counts(void **state)
{
    (void)state;
    lx_guess_worth w;
    lx_guess_worth_init(&w, 100, 160);
    see(&w, 2, 10000, 100);
    uint32_t wrong = 0;
    for (; lx_guess_is_worth(&w, 2); wrong++)
        lx_guess_worth_note(&w, 2, false);
    assert_in_range(wrong, 8, 12); /* 0.95^n < 0.6 */
}

/* Both kinds of steps are timed as they come. */
static void times_are_renewed(void **state)
{
    (void)state;
    lx_guess_worth w;
    lx_guess_worth_init(&w, 0, 0);
    lx_guess_worth_time(&w, false, 100);
    assert_true(lx_guess_is_worth(&w, 1)); /* what both take is not known */
    lx_guess_worth_time(&w, true, 190);
    assert_false(lx_guess_is_worth(&w, 3));
    for (uint32_t i = 0; i < 20; i++)
        lx_guess_worth_time(&w, true, 120);
    assert_true(lx_guess_is_worth(&w, 1));
    for (uint32_t i = 0; i < 20; i++)
        lx_guess_worth_time(&w, false, 60);
    assert_false(lx_guess_is_worth(&w, 3));
    /* A thread that had to wait once changes little. */
    lx_guess_worth_time(&w, false, 1000000);
    assert_false(lx_guess_is_worth(&w, 2));
    lx_guess_worth_init(&w, 100, 115);
    lx_guess_worth_time(&w, true, 1000000);
    assert_true(lx_guess_is_worth(&w, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_that_costs_the_same_takes_any_guess),
        cmocka_unit_test(a_step_twice_as_long_takes_none),
        cmocka_unit_test(the_part_that_is_right_has_to_pay_the_time),
        cmocka_unit_test(runs_of_each_length_count_for_themselves),
        cmocka_unit_test(what_was_seen_lately_counts),
        cmocka_unit_test(times_are_renewed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
