/* SPDX-License-Identifier: MIT */
/* measure_test.c - what runs show of a remote, by events that are made up. */
#include "runtime/run_meter.h"
#include "support/cmocka_all.h"

static const uint64_t ms = 1000000;

enum { TOKENS = 1000, PAGES = 8, CACHE_BYTES = 8 << 20, PLANES = 2 };

typedef struct scene {
    lx_measure measure;
    lx_run_meter meter;
} scene;

static lynx_remote_status tell(const scene *s)
{
    lynx_remote_status status = {0};
    lx_measure_tell(&s->measure, &status);
    return status;
}

static void begin(scene *s, lynx_time_ns at)
{
    lx_meter_begin(&s->meter, &s->measure, at, TOKENS, CACHE_BYTES, PAGES, PLANES, false);
}

static void event(scene *s, lynx_event_type type, lynx_time_ns at, uint32_t count,
                  uint64_t bytes)
{
    const lynx_event e = {.type = type, .time = at, .count = count, .bytes = bytes};
    lx_meter_event(&s->meter, &e);
}

static void planes(scene *s, uint32_t plane, uint32_t count, lynx_time_ns at, uint64_t bytes)
{
    for (uint32_t i = 0; i < count; i++) {
        const lynx_event e = {.type = LYNX_EVENT_PLANE,
                              .time = at,
                              .plane = plane,
                              .bytes = bytes};
        lx_meter_event(&s->meter, &e);
    }
}

/* One request: taken after 'accept' ms, prefilled in 'prefill' ms, 4 MB in 'transfer' ms. */
static void request(scene *s, uint64_t accept, uint64_t prefill, uint64_t transfer)
{
    const lynx_time_ns zero = 5 * ms;
    begin(s, zero);
    event(s, LYNX_EVENT_ACCEPT, zero + accept * ms, 0, 100);
    const lynx_time_ns taken = zero + accept * ms, done = taken + prefill * ms;
    event(s, LYNX_EVENT_PROGRESS, taken + prefill * ms / 2, TOKENS / 2, 200);
    event(s, LYNX_EVENT_PROGRESS, done, TOKENS, 1000000);
    planes(s, 0, PAGES, done + transfer * ms / 2, 3000000);
    planes(s, 1, PAGES, done + transfer * ms, 5000000);
    lx_meter_end(&s->meter, 9000000, done + 2 * transfer * ms, LYNX_OK, "");
}

static void rates_are_what_was_seen(void **state)
{
    (void)state;
    static scene s;
    assert_true(tell(&s).link_bytes_per_s == 0 && tell(&s).measured_at == 0);
    request(&s, 10, 500, 2000);
    assert_float_equal(tell(&s).link_bytes_per_s, 2e6, 1);
    assert_float_equal(tell(&s).prefill_tokens_per_s, 2000, 0.001);
    assert_float_equal(tell(&s).round_trip_s, 0.010, 1e-9);
    assert_true(tell(&s).measured_at > 0);
    /* A link that became ten times as fast is known after some requests. */
    for (int i = 0; i < 10; i++)
        request(&s, 10, 500, 200);
    assert_true(tell(&s).link_bytes_per_s > 18e6);
    for (int i = 0; i < 3; i++)
        request(&s, 10, 500, 2000);
    assert_true(tell(&s).link_bytes_per_s < 2.5e6);
}

static void waiting_for_others_is_not_the_way(void **state)
{
    (void)state;
    static scene s;
    request(&s, 10, 500, 100);
    for (int i = 0; i < 4; i++)
        request(&s, 300, 500, 100);
    assert_true(tell(&s).round_trip_s < 0.1);
    assert_true(tell(&s).wait_s > 0.15);
    request(&s, 10, 500, 100);
    assert_float_equal(tell(&s).round_trip_s, 0.010, 1e-9);
    assert_true(tell(&s).wait_s < 0.15);
}

static void what_is_due_goes_down_to_nothing(void **state)
{
    (void)state;
    static scene s, other;
    begin(&s, 0);
    lx_meter_begin(&other.meter, &s.measure, 0, 10, 1 << 20, 4, 1, false);
    assert_int_equal(tell(&s).requests, 2);
    assert_int_equal(tell(&s).tokens_due, TOKENS + 10);
    assert_int_equal(tell(&s).cache_bytes_due[0], CACHE_BYTES + (1 << 20));
    assert_int_equal(tell(&s).cache_bytes_due[1], CACHE_BYTES);
    event(&s, LYNX_EVENT_ACCEPT, ms, 0, 0);
    event(&s, LYNX_EVENT_PROGRESS, 2 * ms, 300, 0);
    event(&s, LYNX_EVENT_PROGRESS, 2 * ms, 200, 0); /* after a cut, say */
    planes(&s, 0, 3, 3 * ms, 5000);
    assert_int_equal(tell(&s).tokens_due, 710);
    assert_int_equal(tell(&s).cache_bytes_due[0], CACHE_BYTES / 8 * 5 + (1 << 20));
    planes(&s, 0, PAGES, 4 * ms, 5000); /* more than there are */
    event(&s, LYNX_EVENT_PROGRESS, 5 * ms, 5 * TOKENS, 0);
    lx_meter_end(&s.meter, 6000, 6 * ms, LYNX_ERR_CANCELLED, "");
    lx_meter_end(&s.meter, 6000, 6 * ms, LYNX_OK, ""); /* once is enough */
    lx_meter_end(&other.meter, 0, 6 * ms, LYNX_ERR_CLOSED, "gone");
    assert_int_equal(tell(&s).requests, 0);
    assert_int_equal(tell(&s).tokens_due, 0);
    assert_int_equal(tell(&s).cache_bytes_due[0], 0);
    assert_int_equal(tell(&s).cache_bytes_due[1], 0);
}

/* Half of it in ten seconds: given up, and known. */
static void a_transfer_that_was_given_up_is_measured(void **state)
{
    (void)state;
    static scene s;
    begin(&s, 0);
    event(&s, LYNX_EVENT_ACCEPT, ms, 0, 0);
    event(&s, LYNX_EVENT_PROGRESS, 100 * ms, TOKENS, 1000);
    planes(&s, 0, PAGES, 5000 * ms, 100000);
    lx_meter_end(&s.meter, 101000, 10100 * ms, LYNX_ERR_TIMEOUT, "late");
    assert_float_equal(tell(&s).link_bytes_per_s, 10000, 1);
    assert_int_equal(tell(&s).failures, 0);
    /* Nothing at all came. */
    begin(&s, 0);
    event(&s, LYNX_EVENT_ACCEPT, ms, 0, 200000);
    event(&s, LYNX_EVENT_PROGRESS, 100 * ms, TOKENS, 200000);
    lx_meter_end(&s.meter, 200000, 10100 * ms, LYNX_ERR_TIMEOUT, "late");
    assert_true(tell(&s).link_bytes_per_s < 3400);
}

static void failures_are_told_until_it_goes_well(void **state)
{
    (void)state;
    static scene s;
    for (uint32_t i = 1; i <= 3; i++) {
        begin(&s, 0);
        lx_meter_end(&s.meter, 0, i * ms, LYNX_ERR_LIMIT, "it is full");
        assert_int_equal(tell(&s).failures, i);
        assert_int_equal(tell(&s).failure, LYNX_ERR_LIMIT);
        assert_int_equal(tell(&s).failed_at, i * ms);
        assert_string_equal(tell(&s).text, "it is full");
    }
    request(&s, 1, 1, 1);
    assert_int_equal(tell(&s).failures, 0);
}

/* A cache that is held leaves when it is asked for, not when it is there. */
static void what_does_not_wait_for_the_link_tells_nothing_of_it(void **state)
{
    (void)state;
    static scene s;
    begin(&s, 0);
    event(&s, LYNX_EVENT_ACCEPT, ms, 0, 0);
    event(&s, LYNX_EVENT_PROGRESS, 100 * ms, TOKENS, 1000);
    event(&s, LYNX_EVENT_READY, 110 * ms, 0, 1000);
    planes(&s, 0, PAGES, 5000 * ms, 100000);
    planes(&s, 1, PAGES, 5000 * ms, 200000);
    lx_meter_end(&s.meter, 200000, 6000 * ms, LYNX_OK, "");
    assert_true(tell(&s).link_bytes_per_s == 0);
    /* Neither do a few bytes at once, nor tokens alone. */
    assert_false(lx_measure_link(&s.measure, 1000, ms, 5));
    lx_meter_begin(&s.meter, &s.measure, 0, TOKENS, CACHE_BYTES, 0, PLANES, false);
    assert_int_equal(tell(&s).cache_bytes_due[0], 0);
    event(&s, LYNX_EVENT_ACCEPT, ms, 0, 0);
    event(&s, LYNX_EVENT_PROGRESS, 100 * ms, TOKENS, 1000);
    lx_meter_end(&s.meter, 2000000, 6000 * ms, LYNX_OK, "");
    assert_true(tell(&s).link_bytes_per_s == 0);
}

/* All was here when the prefill ended: the link is as quick as that at least. */
static void a_link_that_keeps_up_with_the_prefill_has_a_bound(void **state)
{
    (void)state;
    static scene s;
    for (uint64_t rate = 1; rate <= 4; rate += 3) {
        begin(&s, 0);
        event(&s, LYNX_EVENT_ACCEPT, ms, 0, 0);
        planes(&s, 0, PAGES, 500 * ms, rate * 1000000);
        planes(&s, 1, PAGES - 1, 500 * ms, rate * 1000000);
        event(&s, LYNX_EVENT_PROGRESS, 999 * ms, TOKENS, rate * 1000000 - 1000);
        planes(&s, 1, 1, 1000 * ms, rate * 1000000);
        lx_meter_end(&s.meter, 9000000, 1100 * ms, LYNX_OK, "");
        assert_float_equal(tell(&s).link_bytes_per_s, (float)rate * 1e6f, 1);
    }
    assert_true(tell(&s).measured_at == 1100 * ms);
    /* It is no news of a link that is known to be quicker. */
    begin(&s, 0);
    event(&s, LYNX_EVENT_ACCEPT, ms, 0, 0);
    event(&s, LYNX_EVENT_PROGRESS, 2001 * ms, TOKENS, 1000000);
    planes(&s, 0, PAGES, 2001 * ms, 1000000);
    planes(&s, 1, PAGES, 2001 * ms, 1000000);
    lx_meter_end(&s.meter, 1000000, 2100 * ms, LYNX_OK, "");
    assert_float_equal(tell(&s).link_bytes_per_s, 4e6f, 1);
    assert_true(tell(&s).measured_at == 2100 * ms);
}

static void tokens_that_are_carried_tell_its_steps(void **state)
{
    (void)state;
    static scene s;
    for (uint32_t carries = 0; carries < 2; carries++) {
        lx_meter_begin(&s.meter, &s.measure, 0, TOKENS, CACHE_BYTES, PAGES, PLANES,
                       carries > 0);
        for (uint32_t i = 0; i < 6; i++) {
            const lynx_event e = {.type = LYNX_EVENT_TOKEN,
                                  .count = i,
                                  .time = (i ? 500 + 20 * i : 100) * ms};
            lx_meter_event(&s.meter, &e);
        }
        lx_meter_end(&s.meter, 0, 1000 * ms, LYNX_OK, "");
        const float step_s = carries ? 0.020f : 0;
        assert_float_equal(tell(&s).step_s, step_s, 1e-9);
        assert_int_equal(tell(&s).carries, carries);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_what_was_seen),
        cmocka_unit_test(waiting_for_others_is_not_the_way),
        cmocka_unit_test(what_is_due_goes_down_to_nothing),
        cmocka_unit_test(a_transfer_that_was_given_up_is_measured),
        cmocka_unit_test(failures_are_told_until_it_goes_well),
        cmocka_unit_test(what_does_not_wait_for_the_link_tells_nothing_of_it),
        cmocka_unit_test(tokens_that_are_carried_tell_its_steps),
        cmocka_unit_test(a_link_that_keeps_up_with_the_prefill_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
