/* SPDX-License-Identifier: MIT */
#include "serve/slots.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "serve/answer.h"

typedef struct worker {
    struct lx_slots *slots;
    lynx_engine *engine;
    lynx_pace pace; /* of the thread */
    pthread_t thread;
    lx_job *job; /* under the lock of the slots */
} worker;

struct lx_slots {
    lx_service *service;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    lx_job *first, *last;
    uint32_t queued, busy;
    bool is_closed, must_end;
    uint32_t worker_count;
    worker workers[];
};

/* Called with the lock held. */
static void update(lx_slots *s)
{
    atomic_store(&s->service->metrics.queued, s->queued);
    atomic_store(&s->service->metrics.busy, s->busy);
}

/* The next job, or NULL when the thread must end. */
static lx_job *take_job(worker *w)
{
    lx_slots *s = w->slots;
    pthread_mutex_lock(&s->lock);
    while (!s->first && !s->must_end)
        pthread_cond_wait(&s->changed, &s->lock);
    lx_job *job = s->first;
    if (job) {
        s->first = job->next;
        if (!s->first)
            s->last = NULL;
        s->queued--;
        s->busy++;
        w->job = job;
        update(s);
    }
    pthread_mutex_unlock(&s->lock);
    return job;
}

static void end_job(worker *w)
{
    lx_slots *s = w->slots;
    pthread_mutex_lock(&s->lock);
    lx_job *job = w->job;
    w->job = NULL;
    s->busy--;
    update(s);
    pthread_mutex_unlock(&s->lock);
    lx_job_release(job);
}

static void *work(void *user)
{
    worker *w = user;
    for (lx_job *job = take_job(w); job; job = take_job(w)) {
        lx_histogram_add(&w->slots->service->metrics.wait, lynx_clock_now() - job->arrival);
        lx_answer_job(w->slots->service, w->engine, &w->pace, job);
        end_job(w);
    }
    return NULL;
}

lynx_status lx_slots_create(lx_slots **slots, lx_service *service)
{
    const lynx_serve_options *options = &service->options;
    lx_slots *s = calloc(1, sizeof(*s) + options->slot_count * sizeof(s->workers[0]));
    *slots = s;
    LX_REQUIRE(s, LYNX_ERR_MEMORY);
    s->service = service;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    atomic_store(&service->metrics.slots, options->slot_count);
    for (uint32_t i = 0; i < options->slot_count; i++) {
        s->workers[i] = (worker){.slots = s, .engine = options->engines[i]};
        if (pthread_create(&s->workers[i].thread, NULL, work, &s->workers[i]) != 0) {
            lx_slots_destroy(s);
            *slots = NULL;
            return LYNX_ERR_SYSTEM;
        }
        s->worker_count++;
    }
    return LYNX_OK;
}

void lx_slots_join(lx_slots *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_closed = s->must_end = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    for (uint32_t i = 0; i < s->worker_count; i++)
        pthread_join(s->workers[i].thread, NULL);
    s->worker_count = 0;
}

void lx_slots_destroy(lx_slots *s)
{
    if (!s)
        return;
    lx_slots_join(s);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

lynx_status lx_slots_submit(lx_slots *s, lx_job *job)
{
    lynx_status status = LYNX_OK;
    lx_job_hold(job);
    pthread_mutex_lock(&s->lock);
    if (s->is_closed) {
        status = LYNX_ERR_STATE;
    } else if (s->queued + s->busy >= s->worker_count + s->service->options.queue_max) {
        status = LYNX_BLOCKED;
    } else {
        *(s->first ? &s->last->next : &s->first) = job;
        s->last = job;
        s->queued++;
        update(s);
        pthread_cond_signal(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    if (status != LYNX_OK)
        lx_job_release(job);
    return status;
}

/* Called with the lock held. */
static bool unlink_job(lx_slots *s, const lx_job *job)
{
    lx_job *before = NULL;
    for (lx_job *at = s->first; at; before = at, at = at->next) {
        if (at != job)
            continue;
        *(before ? &before->next : &s->first) = at->next;
        if (s->last == at)
            s->last = before;
        s->queued--;
        update(s);
        return true;
    }
    return false;
}

bool lx_slots_remove(lx_slots *s, lx_job *job)
{
    pthread_mutex_lock(&s->lock);
    const bool is_removed = unlink_job(s, job);
    pthread_mutex_unlock(&s->lock);
    if (is_removed)
        lx_job_release(job);
    return is_removed;
}

void lx_slots_close(lx_slots *s)
{
    pthread_mutex_lock(&s->lock);
    s->is_closed = true;
    pthread_mutex_unlock(&s->lock);
}

bool lx_slots_is_closed(lx_slots *s)
{
    pthread_mutex_lock(&s->lock);
    const bool is_closed = s->is_closed;
    pthread_mutex_unlock(&s->lock);
    return is_closed;
}

void lx_slots_cancel(lx_slots *s, lx_outcome why)
{
    pthread_mutex_lock(&s->lock);
    for (lx_job *job = s->first; job; job = job->next)
        lx_job_cancel(job, why);
    for (uint32_t i = 0; i < s->worker_count; i++)
        if (s->workers[i].job)
            lx_job_cancel(s->workers[i].job, why);
    pthread_mutex_unlock(&s->lock);
}

uint32_t lx_slots_count(lx_slots *s)
{
    pthread_mutex_lock(&s->lock);
    const uint32_t count = s->queued + s->busy;
    pthread_mutex_unlock(&s->lock);
    return count;
}

unsigned lx_slots_retry_after(lx_slots *s)
{
    const double seconds =
        lx_histogram_mean(&s->service->metrics.total) / (double)s->service->options.slot_count;
    return seconds < 1 ? 1 : seconds > 60 ? 60 : (unsigned)seconds;
}
