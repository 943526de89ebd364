/* SPDX-License-Identifier: MIT */
/* flow.c on simulated links: what it measures, and how little stands before a late anchor. */
#include "support/cmocka_all.h"

#include "sched/flow.h"

enum { LEAST = 4 << 10, MOST = 256 << 10, FIRST = 64 << 10, FIRST_CHUNK = 16 << 10 };
static const uint64_t millisecond = 1000000, second = 1000000000;

/*
 * A link of a rate and a delay in virtual time, in steps of 'step_ns': the sender fills its
 * window with chunks, the receiver reports after REPORT_BYTES or REPORT_NS.
 */
typedef struct link {
    lx_flow flow;
    uint64_t bytes_per_s, delay_ns;
    lynx_time_ns now, busy_until, reported_at;
    struct {
        lynx_time_ns at;
        uint64_t total;
    } arrivals[4096]; /* at the receiver, a ring */
    uint32_t first, end;
    uint64_t under_way_top;
} link;

enum { REPORT_NS = 2000000, REPORT_BYTES = 16 << 10, RING = 4096 };

static void send_chunk(link *l)
{
    const uint64_t size = lx_flow_chunk(&l->flow);
    const lynx_time_ns begin = l->busy_until > l->now ? l->busy_until : l->now;
    lx_flow_sent(&l->flow, l->now, size);
    l->busy_until = begin + size * second / l->bytes_per_s;
    l->arrivals[l->end % RING].at = l->busy_until + l->delay_ns;
    l->arrivals[l->end++ % RING].total = l->flow.sent;
    assert_true(l->end - l->first < RING);
}

static void step(link *l, bool has_data, uint64_t step_ns)
{
    l->now += step_ns;
    uint64_t total = l->flow.reported;
    /* What arrived half a round trip ago is known now. */
    while (l->first < l->end && l->arrivals[l->first % RING].at + l->delay_ns <= l->now)
        total = l->arrivals[l->first++ % RING].total;
    if (total >= l->flow.reported + REPORT_BYTES || l->now >= l->reported_at + REPORT_NS) {
        l->reported_at = l->now;
        assert_true(lx_flow_report(&l->flow, l->now, total));
    }
    while (has_data && lx_flow_has_room(&l->flow))
        send_chunk(l);
    const uint64_t under_way = l->flow.sent - l->flow.reported;
    l->under_way_top = under_way > l->under_way_top ? under_way : l->under_way_top;
}

static void check_bounds(const lx_flow *flow)
{
    const uint32_t chunk = lx_flow_chunk(flow);
    assert_in_range(chunk, LEAST, MOST);
    assert_true(lx_flow_window(flow) >= 2 * (uint64_t)chunk);
}

/* 10 Mbit/s to 10 Gbit/s: the link is kept busy, and the queue in it stays short. F-54 */
static void test_regimes(void **state)
{
    (void)state;
    static const uint64_t rates[] = {1250000, 12500000, 125000000, 1250000000};
    static const uint64_t delays[] = {100000, 1000000, 10000000}; /* one way, ns */
    for (uint32_t r = 0; r < 4; r++)
        for (uint32_t d = 0; d < 3; d++) {
            link l = {.bytes_per_s = rates[r], .delay_ns = delays[d], .now = second};
            const lynx_time_ns begin = l.now;
            while (l.now < begin + second) {
                step(&l, true, 50000);
                check_bounds(&l.flow);
            }
            const uint64_t measured = lx_flow_rate(&l.flow);
            assert_in_range(measured, rates[r] * 8 / 10, rates[r] * 16 / 10);
            /* Two round trips, of which the receiver's delay of a report is a part. */
            const uint64_t trip = 2 * delays[d] + 3 * REPORT_NS;
            const uint64_t most = 3 * rates[r] * trip / second + 3 * MOST;
            l.under_way_top = 0;
            const uint64_t sent = l.flow.sent;
            for (const lynx_time_ns end = l.now + second; l.now < end;)
                step(&l, true, 50000);
            assert_true(l.under_way_top <= most);
            assert_true(l.flow.sent - sent >= rates[r] * 9 / 10);
        }
}

static void test_before_anything_is_measured(void **state)
{
    (void)state;
    lx_flow flow = {0};
    assert_int_equal(lx_flow_rate(&flow), 0);
    assert_int_equal(lx_flow_window(&flow), FIRST);
    assert_int_equal(lx_flow_chunk(&flow), FIRST_CHUNK);
    lx_flow_sent(&flow, 5, FIRST - 1);
    assert_true(lx_flow_has_room(&flow));
    lx_flow_sent(&flow, 5, 1);
    assert_false(lx_flow_has_room(&flow));
}

/* What the peer cannot have is refused, and changes nothing. */
static void test_impossible_reports(void **state)
{
    (void)state;
    lx_flow flow = {0};
    lx_flow_sent(&flow, 1, 1000);
    assert_false(lx_flow_report(&flow, 2, 1001));
    assert_true(lx_flow_report(&flow, 2, 600));
    assert_false(lx_flow_report(&flow, 3, 599));
    assert_int_equal(flow.reported, 600);
    assert_true(lx_flow_report(&flow, 3, 600));
    assert_true(lx_flow_report(&flow, 3, 1000));
}

/* A sender with little to say does not make the link look slow. */
static void test_little_to_send_is_no_measure(void **state)
{
    (void)state;
    link l = {.bytes_per_s = 125000000, .delay_ns = millisecond, .now = second};
    for (uint32_t i = 0; i < 20000; i++)
        step(&l, true, 50000);
    const uint64_t before = lx_flow_rate(&l.flow);
    for (uint32_t i = 0; i < 1000; i++) {
        lx_flow_sent(&l.flow, l.now, 100);
        lx_flow_starve(&l.flow);
        l.now += 5 * millisecond;
        assert_true(lx_flow_report(&l.flow, l.now, l.flow.sent));
    }
    assert_true(lx_flow_rate(&l.flow) >= before * 9 / 10);
}

/* A link that becomes slow is believed after a few samples; reports without news are none. */
static void test_slower_link(void **state)
{
    (void)state;
    link l = {.bytes_per_s = 125000000, .delay_ns = millisecond, .now = second};
    for (uint32_t i = 0; i < 20000; i++)
        step(&l, true, 50000);
    l.bytes_per_s = 1250000; /* what is under way takes 0.4 s now, a sample at least as long */
    for (uint32_t i = 0; i < 100000; i++)
        step(&l, true, 50000);
    assert_in_range(lx_flow_rate(&l.flow), 1000000, 1700000);
    for (uint32_t i = 0; i < 100; i++) {
        l.now += 10 * millisecond;
        assert_true(lx_flow_report(&l.flow, l.now, l.flow.reported));
    }
    assert_in_range(lx_flow_rate(&l.flow), 1000000, 1700000);
    assert_true(lx_flow_window(&l.flow) < FIRST);
}

/* The smallest round trip counts, for ten seconds. */
static void test_round_trip(void **state)
{
    (void)state;
    static const uint64_t measured[] = {8, 5, 9};
    static const uint64_t expected[] = {8, 5, 5};
    lx_flow flow = {0};
    lynx_time_ns now = second;
    for (uint32_t i = 0; i < 3; i++) {
        lx_flow_sent(&flow, now, 1000);
        now += measured[i] * millisecond;
        assert_true(lx_flow_report(&flow, now, flow.sent));
        assert_int_equal(flow.round_trip_ns, expected[i] * millisecond);
    }
    /* It is old: four are taken with less under way, and the smallest of them counts. */
    static const uint64_t renewed[] = {9, 7, 6, 8, 7};
    now += 11 * second;
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(flow.round_trip_ns, 5 * millisecond);
        lx_flow_sent(&flow, now, 1000);
        now += renewed[i] * millisecond;
        assert_true(lx_flow_report(&flow, now, flow.sent));
    }
    assert_int_equal(flow.round_trip_ns, 6 * millisecond);
}

/* The bytes that a lost packet held up come all at once: that is not the rate of the link. */
static void test_burst_after_a_stall(void **state)
{
    (void)state;
    link l = {.bytes_per_s = 12500000, .delay_ns = 10 * millisecond, .now = second};
    for (uint32_t i = 0; i < 20000; i++)
        step(&l, true, 50000);
    for (uint32_t stall = 0; stall < 20; stall++) {
        step(&l, true, 60 * millisecond);
        assert_true(lx_flow_rate(&l.flow) <= 12500000 * 13 / 10);
        for (uint32_t i = 0; i < 2000; i++)
            step(&l, true, 50000);
        assert_true(lx_flow_rate(&l.flow) <= 12500000 * 13 / 10);
    }
}

/* A peer that answers later than its smallest round trip tells does not starve the link. */
static void test_late_answers(void **state)
{
    (void)state;
    link l = {.bytes_per_s = 125000000, .delay_ns = millisecond / 2, .now = second};
    for (uint32_t i = 0; i < 4000; i++)
        step(&l, true, 50000);
    l.delay_ns = 3 * millisecond;
    for (uint32_t i = 0; i < 40000; i++)
        step(&l, true, 50000);
    const uint64_t sent = l.flow.sent;
    for (uint32_t i = 0; i < 20000; i++)
        step(&l, true, 50000);
    /* Nearly all of it: after each success the window shrinks until the next. */
    assert_true(l.flow.sent - sent >= 125000000 / 100 * 80);
}

/* Processes that compute beside a slow link wake up late: it is busy from the first moment. */
static void test_computing_beside_a_slow_link(void **state)
{
    (void)state;
    link l = {.bytes_per_s = 6250000, .delay_ns = millisecond / 10, .now = second};
    for (uint32_t i = 0; i < 4000; i++)
        step(&l, true, 50000);
    const uint64_t sent = l.flow.sent;
    for (uint32_t i = 0; i < 50; i++)
        step(&l, true, 4 * millisecond);
    assert_true(l.flow.sent - sent >= 6250000 / 5 * 95 / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regimes),
        cmocka_unit_test(test_before_anything_is_measured),
        cmocka_unit_test(test_impossible_reports),
        cmocka_unit_test(test_little_to_send_is_no_measure),
        cmocka_unit_test(test_slower_link),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_burst_after_a_stall),
        cmocka_unit_test(test_late_answers),
        cmocka_unit_test(test_computing_beside_a_slow_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
