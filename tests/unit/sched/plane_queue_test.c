/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sched/plane_queue.h"
#include "support/rng.h"

enum { ENTRIES = 64 };

/* First of a class in a list of (class, place) that is searched. */
static const lx_queued *search(const lx_queued entries[ENTRIES], const int32_t places[ENTRIES],
                               uint32_t class_index)
{
    const lx_queued *best = NULL;
    for (uint32_t k = 0; k < ENTRIES; k++)
        if (places[k] && entries[k].class_index == class_index &&
            (!best || places[k] < places[best - entries]))
            best = &entries[k];
    return best;
}

/* The queue agrees with the search, after each push at either end and each removal. */
static void test_order_against_a_search(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        test_rng rng = test_rng_of(seed);
        lx_plane_queue queue = {{NULL}, {NULL}};
        lx_queued entries[ENTRIES];
        int32_t places[ENTRIES] = {0}; /* 0: not queued; below 0: pushed at the head */
        memset(entries, 0xA5, sizeof(entries));
        for (int32_t step = 1; step <= 400; step++) {
            const uint32_t i = (uint32_t)test_rng_below(&rng, ENTRIES);
            const bool is_first = test_rng_below(&rng, 3) == 0;
            if (places[i]) {
                lx_plane_queue_remove(&queue, &entries[i]);
                places[i] = 0;
            } else {
                entries[i].class_index = (uint32_t)test_rng_below(&rng, LX_CLASSES);
                (is_first ? lx_plane_queue_push_first : lx_plane_queue_push)(&queue,
                                                                             &entries[i]);
                places[i] = is_first ? -step : step;
            }
            for (uint32_t c = 0; c < LX_CLASSES; c++)
                assert_ptr_equal(queue.heads[c], search(entries, places, c));
        }
        for (uint32_t c = 0; c < LX_CLASSES; c++) {
            while (queue.heads[c])
                lx_plane_queue_remove(&queue, queue.heads[c]);
            assert_null(queue.tails[c]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order_against_a_search)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
