/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sched/plane_queue.h"
#include "support/rng.h"

enum { ENTRIES = 64 };

/* The queue agrees with a list of (class, order of arrival) that is searched. */
static void test_order_against_a_search(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        test_rng rng = test_rng_of(seed);
        lx_plane_queue queue = {{NULL}, {NULL}};
        lx_queued entries[ENTRIES];
        uint32_t arrival[ENTRIES] = {0}; /* 0: not queued */
        memset(entries, 0xA5, sizeof(entries));
        assert_null(lx_plane_queue_first(&queue));
        for (uint32_t step = 1; step <= 400; step++) {
            const uint32_t i = (uint32_t)test_rng_below(&rng, ENTRIES);
            if (arrival[i]) {
                lx_plane_queue_remove(&queue, &entries[i]);
                arrival[i] = 0;
            } else {
                entries[i].class_index = (uint32_t)test_rng_below(&rng, LX_CLASSES);
                lx_plane_queue_push(&queue, &entries[i]);
                arrival[i] = step;
            }
            const lx_queued *best = NULL;
            for (uint32_t k = 0; k < ENTRIES; k++)
                if (arrival[k] && (!best || entries[k].class_index < best->class_index ||
                                   (entries[k].class_index == best->class_index &&
                                    arrival[k] < arrival[best - entries])))
                    best = &entries[k];
            assert_ptr_equal(lx_plane_queue_first(&queue), best);
        }
        while (lx_plane_queue_first(&queue))
            lx_plane_queue_remove(&queue, lx_plane_queue_first(&queue));
        for (uint32_t i = 0; i < LX_CLASSES; i++)
            assert_true(!queue.heads[i] && !queue.tails[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order_against_a_search)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
