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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_common_prefix_is_accepted),
        cmocka_unit_test(the_smallest_bound_limits_drafts),
        cmocka_unit_test(the_clock_counts_from_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
