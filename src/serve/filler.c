/* SPDX-License-Identifier: MIT */
#include "serve/filler.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

static const uint64_t pause_least_ns = 1000000000;
static const uint64_t pause_most_ns = 60000000000;

typedef struct waiting {
    struct waiting *next;
    lynx_gather *gather;
    uint64_t bytes;
} waiting;

/* Leaves alone what fails. */
typedef struct backoff {
    lynx_time_ns until;
    uint64_t length_ns; /* of the last; 0: the last attempt went well */
} backoff;

struct lx_filler {
    lx_service *service;
    lynx_store *store;
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    waiting *first, *last;
    uint64_t bytes; /* reserved, and not written yet */
    bool is_writing, must_end;
    backoff reading, writing;
};

/* ---- backing off: with the lock held ------------------------------------------------------
 */

static bool is_over(const backoff *p)
{
    return p->length_ns == 0 || lynx_clock_now() >= p->until;
}

static void note_end(backoff *p, lynx_status status)
{
    const uint64_t twice = 2 * p->length_ns;
    p->length_ns = status == LYNX_OK       ? 0
                   : twice == 0            ? pause_least_ns
                   : twice > pause_most_ns ? pause_most_ns
                                           : twice;
    p->until = lynx_clock_now() + p->length_ns;
}

static void say_failure(const lx_filler *f, lx_store_failure what, lynx_status status,
                        const char *text)
{
    static const char *const words[] = {[LX_STORE_FIND] = "cannot be asked",
                                        [LX_STORE_LOAD] = "could not be loaded",
                                        [LX_STORE_WRITE] = "cannot be written"};
    const lynx_serve_options *o = &f->service->options;
    char line[2 * LYNX_TEXT_MAX];
    atomic_fetch_add(&f->service->metrics.store_failures[what], 1);
    if (!o->log)
        return;
    snprintf(line, sizeof(line), "the store %s: %s", words[what],
             text && text[0] ? text : lynx_status_text(status));
    o->log(o->user, status, line);
}

/* ---- the thread ---------------------------------------------------------------------- */

static void write_one(lx_filler *f, waiting *w)
{
    lx_metrics *m = &f->service->metrics;
    char text[LYNX_PLACE_TEXT_MAX] = "";
    lynx_gathered written;
    const lynx_status status =
        lynx_gather_put(w->gather, f->store, &written, text, sizeof(text));
    atomic_fetch_add(&m->store_written, written.bytes);
    atomic_fetch_add(&m->store_segments, written.segments);
    if (status != LYNX_OK)
        say_failure(f, LX_STORE_WRITE, status, text);
    lynx_gather_destroy(w->gather);
    pthread_mutex_lock(&f->lock);
    note_end(&f->writing, status);
    pthread_mutex_unlock(&f->lock);
}

/* The next one; NULL: the thread must end. */
static waiting *take(lx_filler *f)
{
    pthread_mutex_lock(&f->lock);
    while (!f->first && !f->must_end)
        pthread_cond_wait(&f->changed, &f->lock);
    waiting *w = f->must_end ? NULL : f->first;
    if (w) {
        f->first = w->next;
        f->last = f->first ? f->last : NULL;
        f->is_writing = true;
    }
    pthread_mutex_unlock(&f->lock);
    return w;
}

static void *fill(void *user)
{
    lx_filler *f = user;
    for (waiting *w = take(f); w; w = take(f)) {
        write_one(f, w);
        lx_filler_give_back(f, w->bytes);
        pthread_mutex_lock(&f->lock);
        f->is_writing = false;
        pthread_mutex_unlock(&f->lock);
        free(w);
    }
    return NULL;
}

lynx_status lx_filler_create(lx_filler **filler, lx_service *service)
{
    lx_filler *f = calloc(1, sizeof(*f));
    LX_REQUIRE(f, LYNX_ERR_MEMORY);
    f->service = service;
    f->store = service->options.store;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    f->has_thread = pthread_create(&f->thread, NULL, fill, f) == 0;
    if (!f->has_thread) {
        lx_filler_destroy(f);
        return LYNX_ERR_SYSTEM;
    }
    *filler = f;
    return LYNX_OK;
}

void lx_filler_destroy(lx_filler *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->must_end = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    if (f->has_thread)
        pthread_join(f->thread, NULL);
    while (f->first) {
        waiting *next = f->first->next;
        lynx_gather_destroy(f->first->gather);
        free(f->first);
        f->first = next;
    }
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* ---- slots --------------------------------------------------------------------------- */

bool lx_filler_may_read(lx_filler *f)
{
    pthread_mutex_lock(&f->lock);
    const bool may = is_over(&f->reading);
    pthread_mutex_unlock(&f->lock);
    return may;
}

void lx_filler_note_read(lx_filler *f, lx_store_failure what, lynx_status status,
                         const char *text)
{
    /* One broken object says nothing about the others. */
    const bool is_places = status != LYNX_ERR_CORRUPT && status != LYNX_ERR_PROTOCOL;
    pthread_mutex_lock(&f->lock);
    if (is_places)
        note_end(&f->reading, status);
    pthread_mutex_unlock(&f->lock);
    if (status != LYNX_OK)
        say_failure(f, what, status, text);
}

bool lx_filler_reserve(lx_filler *f, uint64_t bytes)
{
    pthread_mutex_lock(&f->lock);
    const bool is_room =
        is_over(&f->writing) && f->bytes + bytes <= f->service->options.store_waiting_bytes;
    if (is_room)
        f->bytes += bytes;
    atomic_store(&f->service->metrics.store_waiting, f->bytes);
    pthread_mutex_unlock(&f->lock);
    if (!is_room)
        atomic_fetch_add(&f->service->metrics.store_dropped, 1);
    return is_room;
}

void lx_filler_give_back(lx_filler *f, uint64_t bytes)
{
    pthread_mutex_lock(&f->lock);
    f->bytes -= bytes;
    atomic_store(&f->service->metrics.store_waiting, f->bytes);
    pthread_mutex_unlock(&f->lock);
}

void lx_filler_push(lx_filler *f, lynx_gather *gather, uint64_t bytes)
{
    waiting *w = calloc(1, sizeof(*w));
    if (!w) {
        lynx_gather_destroy(gather);
        lx_filler_give_back(f, bytes);
        atomic_fetch_add(&f->service->metrics.store_dropped, 1);
        return;
    }
    *w = (waiting){.gather = gather, .bytes = bytes};
    pthread_mutex_lock(&f->lock);
    *(f->first ? &f->last->next : &f->first) = w;
    f->last = w;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

bool lx_filler_is_idle(lx_filler *f)
{
    pthread_mutex_lock(&f->lock);
    const bool is_idle = !f->first && !f->is_writing;
    pthread_mutex_unlock(&f->lock);
    return is_idle;
}
