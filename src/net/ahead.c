/* SPDX-License-Identifier: MIT */
#include "net/ahead.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

struct lx_ahead {
    lx_network *network;
    lx_ahead_span *spans;
    size_t count;
    uint8_t *ring;
    size_t room;
    uint64_t total;
    atomic_bool is_over; /* the thread is to end */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t head, tail; /* of the run: fetched, and taken or left out */
    lynx_status status;  /* of the thread */
    char text[LYNX_PLACE_TEXT_MAX];
};

/* ---- the thread ---------------------------------------------------------------------- */

static lynx_status put(void *user, const uint8_t *data, size_t size)
{
    lx_ahead *a = user;
    pthread_mutex_lock(&a->lock);
    while (size > 0) {
        while (a->head - a->tail == a->room && !atomic_load(&a->is_over))
            pthread_cond_wait(&a->changed, &a->lock);
        if (atomic_load(&a->is_over))
            break;
        const size_t at = (size_t)(a->head % a->room);
        const size_t free_room = (size_t)(a->room - (a->head - a->tail));
        size_t now = size < free_room ? size : free_room;
        now = now < a->room - at ? now : a->room - at;
        memcpy(a->ring + at, data, now);
        data += now;
        size -= now;
        a->head += now;
        pthread_cond_broadcast(&a->changed);
    }
    pthread_mutex_unlock(&a->lock);
    return size == 0 ? LYNX_OK : LYNX_ERR_CANCELLED;
}

static void *fetch_all(void *user)
{
    lx_ahead *a = user;
    char text[LYNX_PLACE_TEXT_MAX] = "";
    lynx_status status = LYNX_OK;
    lx_reply reply;
    for (size_t i = 0; i < a->count && status == LYNX_OK; i++) {
        const lx_ahead_span *s = &a->spans[i];
        const lx_get get = {.url = s->url,
                            .shown = s->shown,
                            .first = s->offset,
                            .size = s->size,
                            .version = s->version,
                            .is_stopped = &a->is_over,
                            .take = put,
                            .user = a,
                            .said = {text, sizeof(text)}};
        status = lx_network_get(a->network, &get, &reply);
    }
    pthread_mutex_lock(&a->lock);
    a->status = status;
    memcpy(a->text, text, sizeof(text));
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* ---- readers ------------------------------------------------------------------------- */

bool lx_ahead_has(const lx_ahead *ahead, const void *object)
{
    for (size_t i = 0; i < ahead->count; i++)
        if (ahead->spans[i].object == object)
            return true;
    return false;
}

static const lx_ahead_span *span_at(const lx_ahead *a, const void *object, uint64_t offset)
{
    for (size_t i = 0; i < a->count; i++) {
        const lx_ahead_span *s = &a->spans[i];
        if (s->object == object && offset >= s->offset && offset - s->offset < s->size)
            return s;
    }
    return NULL;
}

/* Take what is there of [at, at + size); the lock is held. */
static size_t take(lx_ahead *a, uint64_t at, uint8_t *data, size_t size)
{
    size_t done = 0;
    const uint64_t reached = a->head < at ? a->head : at;
    a->tail = a->tail < reached ? reached : a->tail;
    while (done < size && a->tail == at + done && a->head > a->tail) {
        const size_t from = (size_t)(a->tail % a->room);
        const uint64_t here = a->head - a->tail;
        size_t now = size - done < here ? size - done : (size_t)here;
        now = now < a->room - from ? now : a->room - from;
        memcpy(data + done, a->ring + from, now);
        a->tail += now;
        done += now;
    }
    pthread_cond_broadcast(&a->changed);
    return done;
}

/* As lx_ahead_read, from 'at' of the run; the lock is held. */
static lynx_status take_all(lx_ahead *a, uint64_t at, uint8_t *data, size_t size,
                            const atomic_bool *is_stopped, size_t *done, lx_text said)
{
    for (;;) {
        *done += take(a, at + *done, data + *done, size - *done);
        if (*done == size || atomic_load(&a->is_over))
            return LYNX_OK;
        if (atomic_load(is_stopped) || atomic_load(&a->network->is_cancelled))
            return LYNX_ERR_CANCELLED;
        if (a->status != LYNX_OK)
            return lx_tell(said, a->status, "%s", a->text);
        pthread_cond_wait(&a->changed, &a->lock);
    }
}

lynx_status lx_ahead_read(lx_ahead *ahead, const void *object, uint64_t offset, uint8_t *data,
                          size_t size, const atomic_bool *is_stopped, size_t *done,
                          lx_text said)
{
    const lx_ahead_span *span = span_at(ahead, object, offset);
    lynx_status status = LYNX_OK;
    *done = 0;
    if (!span)
        return LYNX_OK;
    const uint64_t at = span->at + (offset - span->offset);
    const uint64_t left = span->size - (offset - span->offset);
    const size_t wanted = size < left ? size : (size_t)left;
    pthread_mutex_lock(&ahead->lock);
    if (at >= ahead->tail && at <= ahead->head + ahead->room)
        status = take_all(ahead, at, data, wanted, is_stopped, done, said);
    pthread_mutex_unlock(&ahead->lock);
    return status;
}

void lx_ahead_wake(lx_ahead *ahead)
{
    pthread_mutex_lock(&ahead->lock);
    pthread_cond_broadcast(&ahead->changed);
    pthread_mutex_unlock(&ahead->lock);
}

/* ---- life ---------------------------------------------------------------------------- */

static void release(lx_ahead *a)
{
    const lynx_allocator *memory = a->network->memory;
    lx_free(memory, a->spans, a->count, sizeof(*a->spans));
    lx_free(memory, a->ring, a->room, 1);
    lx_free(memory, a, 1, sizeof(*a));
}

static bool start(lx_ahead *a)
{
    if (pthread_mutex_init(&a->lock, NULL) != 0)
        return false;
    if (pthread_cond_init(&a->changed, NULL) == 0) {
        if (pthread_create(&a->thread, NULL, fetch_all, a) == 0)
            return true;
        pthread_cond_destroy(&a->changed);
    }
    pthread_mutex_destroy(&a->lock);
    return false;
}

lx_ahead *lx_ahead_create(lx_network *network, const lx_ahead_span *spans, size_t count)
{
    lx_ahead *a = lx_alloc_zeroed(network->memory, 1, sizeof(*a));
    if (!a)
        return NULL;
    a->network = network;
    a->count = count;
    atomic_init(&a->is_over, false);
    a->spans = lx_alloc(network->memory, count, sizeof(*spans));
    for (size_t i = 0; i < count && a->spans; i++) {
        a->spans[i] = spans[i];
        a->spans[i].at = a->total;
        a->total += spans[i].size;
    }
    const size_t most = network->settings.ahead_bytes;
    a->room = a->total < most ? (size_t)a->total : most;
    a->ring = lx_alloc(network->memory, a->room, 1);
    if (a->spans && a->ring && start(a))
        return a;
    release(a);
    return NULL;
}

void lx_ahead_stop(lx_ahead *ahead)
{
    atomic_store(&ahead->is_over, true);
    lx_ahead_wake(ahead);
    lx_network_wake(ahead->network);
}

void lx_ahead_destroy(lx_ahead *ahead)
{
    lx_ahead_stop(ahead);
    pthread_join(ahead->thread, NULL);
    pthread_cond_destroy(&ahead->changed);
    pthread_mutex_destroy(&ahead->lock);
    release(ahead);
}
