/* SPDX-License-Identifier: MIT */
/* Two sessions at one sender: whose planes go first, and who waits for whom how long. F-4 */
#include "support/cmocka_all.h"

#include "support/open_pair.h"

enum { SIZE = 8 };
static const uint64_t millisecond = 1000000;

typedef struct fixture {
    test_pair pair;
    uint8_t data[16][SIZE];
    uint32_t added, releases;
} fixture;

/* Both peers have one request, number 0 and 1. */
static void begin(fixture *f, uint64_t age_max_ns, uint64_t pool_bytes)
{
    uint32_t index;
    memset(f, 0, sizeof(*f));
    test_pair_init(&f->pair, 3);
    f->pair.peer_count = 2;
    f->pair.sender_options.residual_age_max_ns = age_max_ns;
    f->pair.peers[1].options.pool_bytes[0] = pool_bytes;
    test_open_pair(&f->pair, 0, true);
    const lynx_request request = test_pair_request(200);
    assert_int_equal(test_pair_ask(&f->pair, 1, &request, &index), LYNX_OK);
    test_pair_run(&f->pair, TEST_TURNS);
    assert_int_equal(lynx_sender_accept(f->pair.sender, f->pair.requests[1].key, 0), LYNX_OK);
    test_pair_run(&f->pair, TEST_TURNS);
    assert_int_equal(f->pair.accepts, 2);
}

static void end(fixture *f)
{
    f->pair.content_errors = 0; /* no record knows of the planes */
    test_close_pair(&f->pair);
    assert_int_equal(f->releases, f->added);
}

/* Page 'page' of request 0 or 1: its anchor or residual. */
static void add(fixture *f, uint32_t request, uint32_t page, uint32_t plane)
{
    assert_int_equal(test_add(&f->pair, request, (lynx_page_id){page, 0, 0}, plane,
                              f->data[f->added], SIZE, &f->releases),
                     LYNX_OK);
    f->added++;
}

static test_connection *connection(fixture *f, uint32_t peer)
{
    return test_pair_connection(&f->pair, peer, 0);
}

/* Any anchor goes before any residual, and the residual goes when the anchors are gone: woken,
 * not at a deadline. */
static void test_anchors_of_the_other_go_first(void **state)
{
    (void)state;
    static fixture f;
    begin(&f, 0, 1 << 30);
    connection(&f, 1)->is_stalled = true;
    add(&f, 1, 0, 0);
    while (connection(&f, 1)->pages == 0)
        test_pair_turn(&f.pair);
    add(&f, 0, 0, 1);
    test_pair_run(&f.pair, TEST_TURNS);
    assert_int_equal(connection(&f, 0)->pages, 0);
    const lynx_time_ns before = f.pair.now;
    connection(&f, 1)->is_stalled = false;
    while (connection(&f, 0)->pages == 0)
        test_pair_turn(&f.pair);
    assert_true(f.pair.now - before < millisecond);
    /* An anchor of the other session does not wait for an anchor. */
    connection(&f, 1)->is_stalled = true;
    add(&f, 1, 1, 0);
    add(&f, 0, 1, 0);
    test_pair_run(&f.pair, TEST_TURNS);
    assert_int_equal(connection(&f, 0)->pages, 2);
    connection(&f, 1)->is_stalled = false;
    test_pair_run(&f.pair, TEST_TURNS);
    end(&f);
}

/* A peer that takes nothing holds the others up for 'stall_ns' and not longer, though a third
 * lane makes calls all the time. */
static void test_stalled_peer(void **state)
{
    (void)state;
    static fixture f;
    begin(&f, 0, 1 << 30);
    connection(&f, 1)->is_stalled = true;
    add(&f, 1, 0, 0);
    while (connection(&f, 1)->pages == 0)
        test_pair_turn(&f.pair);
    add(&f, 0, 0, 1);
    uint32_t other;
    assert_int_equal(lynx_sender_connect(f.pair.sender, f.pair.now, NULL, &other), LYNX_OK);
    const lynx_time_ns before = f.pair.now;
    while (connection(&f, 0)->pages == 0) {
        const lx_frame ping = {.type = LX_MESSAGE_PING};
        assert_int_equal(test_feed_lane(&f.pair, other, ping, NULL), LYNX_OK);
        test_pair_turn(&f.pair);
        f.pair.now += 5 * millisecond;
        assert_true(f.pair.now < before + 400 * millisecond);
    }
    assert_true(f.pair.now >= before + 240 * millisecond);
    lynx_sender_disconnect(f.pair.sender, f.pair.now, other, LYNX_OK, "");
    connection(&f, 1)->is_stalled = false;
    test_pair_run(&f.pair, TEST_TURNS);
    end(&f);
}

/* A slow peer that takes a byte now and then is not stalled. */
static void test_slow_peer(void **state)
{
    (void)state;
    static fixture f;
    begin(&f, 0, 1 << 30);
    f.pair.piece_top = 1;
    test_connection *slow = connection(&f, 1);
    slow->is_stalled = true;
    add(&f, 1, 0, 0);
    while (slow->pages == 0)
        test_pair_turn(&f.pair);
    add(&f, 0, 0, 1);
    for (uint32_t i = 0; i < 8; i++) {
        test_pair_pass(&f.pair, 100 * millisecond);
        const uint64_t total = slow->down.total;
        slow->is_stalled = false;
        while (slow->down.total == total)
            test_pair_turn(&f.pair);
        slow->is_stalled = true;
        assert_int_equal(connection(&f, 0)->pages, 0);
    }
    slow->is_stalled = false;
    test_pair_run(&f.pair, TEST_TURNS);
    assert_int_equal(connection(&f, 0)->pages, 1);
    end(&f);
}

/* Anchors that lack credit, or lose their lane, hold nobody up: who waits is woken at once. */
static void test_anchors_that_may_not_leave(void **state)
{
    (void)state;
    for (uint32_t is_cut = 0; is_cut < 2; is_cut++) {
        static fixture f;
        begin(&f, 0, is_cut ? 1 << 30 : 2 * SIZE);
        connection(&f, 1)->is_stalled = true;
        for (uint32_t page = 0; page < 3; page++) /* of which two have credit */
            add(&f, 1, page, 0);
        while (connection(&f, 1)->pages == 0)
            test_pair_turn(&f.pair);
        add(&f, 0, 0, 1);
        test_pair_run(&f.pair, TEST_TURNS);
        assert_int_equal(connection(&f, 0)->pages, 0);
        const lynx_time_ns before = f.pair.now;
        if (is_cut)
            test_pair_cut(&f.pair, 1, 0);
        else
            connection(&f, 1)->is_stalled = false;
        while (connection(&f, 0)->pages == 0)
            test_pair_turn(&f.pair);
        assert_true(f.pair.now - before < millisecond);
        assert_true(is_cut || connection(&f, 1)->pages == 2);
        end(&f);
    }
}

/* A residual that has waited for 'residual_age_max_ns' goes before anchors, one in that time.
 */
static void test_old_residuals(void **state)
{
    (void)state;
    static fixture f;
    begin(&f, 20 * millisecond, 1 << 30);
    connection(&f, 1)->is_stalled = true;
    add(&f, 1, 0, 0);
    while (connection(&f, 1)->pages == 0)
        test_pair_turn(&f.pair);
    add(&f, 0, 0, 1);
    add(&f, 0, 1, 1);
    assert_int_equal(lynx_sender_residual_age(f.pair.sender, f.pair.now), 0);
    const lynx_time_ns before = f.pair.now;
    lynx_time_ns times[3] = {0};
    for (uint32_t i = 0; i < 200; i++) {
        test_pair_turn(&f.pair);
        f.pair.now += millisecond;
        const uint32_t pages = connection(&f, 0)->pages;
        times[pages] = times[pages] ? times[pages] : f.pair.now;
        if (pages == 0)
            assert_true(lynx_sender_residual_age(f.pair.sender, f.pair.now) ==
                        f.pair.now - before);
    }
    assert_in_range(times[1] - before, 20 * millisecond, 24 * millisecond);
    assert_in_range(times[2] - times[1], 20 * millisecond, 24 * millisecond);
    assert_int_equal(lynx_sender_residual_age(f.pair.sender, f.pair.now), 0);
    connection(&f, 1)->is_stalled = false;
    test_pair_run(&f.pair, TEST_TURNS);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_anchors_of_the_other_go_first),
        cmocka_unit_test(test_stalled_peer),
        cmocka_unit_test(test_slow_peer),
        cmocka_unit_test(test_anchors_that_may_not_leave),
        cmocka_unit_test(test_old_residuals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
