/* SPDX-License-Identifier: MIT */
#include "support/failing_allocator.h"

static void *allocate(void *user, size_t size_bytes, size_t align_bytes)
{
    test_allocator *t = user;
    pthread_mutex_lock(&t->lock);
    t->calls++;
    const bool fails =
        t->fail_at && (t->calls == t->fail_at || (t->keeps_failing && t->calls > t->fail_at));
    pthread_mutex_unlock(&t->lock);
    if (fails)
        return NULL;
    void *memory = lynx_allocator_default()->allocate(lynx_allocator_default()->user,
                                                      size_bytes, align_bytes);
    if (memory) {
        pthread_mutex_lock(&t->lock);
        t->live_blocks++;
        t->live_bytes += size_bytes;
        t->top_bytes = t->live_bytes > t->top_bytes ? t->live_bytes : t->top_bytes;
        pthread_mutex_unlock(&t->lock);
    }
    return memory;
}

/* A wrong size at release shows as bytes that never become zero. */
static void release(void *user, void *memory, size_t size_bytes)
{
    test_allocator *t = user;
    pthread_mutex_lock(&t->lock);
    t->live_blocks--;
    t->live_bytes -= size_bytes;
    pthread_mutex_unlock(&t->lock);
    lynx_allocator_default()->release(lynx_allocator_default()->user, memory, size_bytes);
}

void test_allocator_init(test_allocator *allocator)
{
    *allocator = (test_allocator){
        .allocator = {.user = allocator, .allocate = allocate, .release = release}};
    pthread_mutex_init(&allocator->lock, NULL);
}
