/* SPDX-License-Identifier: MIT */
/* failing_allocator.h - counts what is allocated, and fails the n-th allocation; of any
 * thread. */
#ifndef TEST_SUPPORT_FAILING_ALLOCATOR_H
#define TEST_SUPPORT_FAILING_ALLOCATOR_H

#include <pthread.h>
#include <stdbool.h>

#include "lynx/memory.h"

typedef struct test_allocator {
    lynx_allocator allocator; /* give its address away */
    uint64_t calls;           /* of allocate */
    uint64_t fail_at;         /* the call that fails, from 1; 0: none */
    bool keeps_failing;       /* every later call fails as well */
    uint64_t live_blocks, live_bytes, top_bytes;
    pthread_mutex_t lock;
} test_allocator;

void test_allocator_init(test_allocator *allocator);

#endif
