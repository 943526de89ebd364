/* SPDX-License-Identifier: MIT */
#include "slots/slot_queue.h"

#include <string.h>
#include <time.h>

#include "base/check.h"

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Conditions that wait by the monotonic clock: 'news' and one for each slot. */
static uint32_t make_conditions(lx_slot_queue *queue, const pthread_condattr_t *attributes)
{
    uint32_t made = 0;
    while (made < queue->slot_count && pthread_cond_init(&queue->done[made], attributes) == 0)
        made++;
    return made;
}

static void drop_conditions(lx_slot_queue *queue, uint32_t count)
{
    while (count > 0)
        pthread_cond_destroy(&queue->done[--count]);
}

static bool make_news(lx_slot_queue *queue)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0)
        return false;
    const bool is_made = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                         pthread_cond_init(&queue->news, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    return is_made;
}

lynx_status lx_slot_queue_init(lx_slot_queue *queue, uint32_t slot_count, uint32_t most_columns,
                               uint64_t patience_ns)
{
    memset(queue, 0, sizeof(*queue));
    LX_REQUIRE(slot_count >= 1 && slot_count <= LX_SLOTS_MAX, LYNX_ERR_ARGUMENT);
    queue->slot_count = slot_count;
    queue->most_columns = most_columns;
    queue->patience_ns = patience_ns;
    queue->last_kind = LX_JOB_PIECE;
    LX_REQUIRE(make_news(queue), LYNX_ERR_SYSTEM);
    const uint32_t made = make_conditions(queue, NULL);
    if (made == slot_count && pthread_mutex_init(&queue->lock, NULL) == 0)
        return LYNX_OK;
    drop_conditions(queue, made);
    pthread_cond_destroy(&queue->news);
    return LYNX_ERR_SYSTEM;
}

void lx_slot_queue_fini(lx_slot_queue *queue)
{
    drop_conditions(queue, queue->slot_count);
    pthread_cond_destroy(&queue->news);
    pthread_mutex_destroy(&queue->lock);
}

/* ---- slots --------------------------------------------------------------------------- */

void lx_slot_queue_put(lx_slot_queue *queue, lx_job *job)
{
    pthread_mutex_lock(&queue->lock);
    job->turn = queue->turns++;
    job->is_done = false;
    queue->waiting[job->slot] = job;
    queue->is_expected[job->slot] = false;
    pthread_cond_signal(&queue->news);
    pthread_mutex_unlock(&queue->lock);
}

void lx_slot_queue_wait(lx_slot_queue *queue, const lx_job *job)
{
    pthread_mutex_lock(&queue->lock);
    while (!job->is_done)
        pthread_cond_wait(&queue->done[job->slot], &queue->lock);
    pthread_mutex_unlock(&queue->lock);
}

void lx_slot_queue_leave(lx_slot_queue *queue, uint32_t slot)
{
    pthread_mutex_lock(&queue->lock);
    queue->is_expected[slot] = false;
    pthread_cond_signal(&queue->news);
    pthread_mutex_unlock(&queue->lock);
}

static void end(lx_slot_queue *queue, lx_job *job)
{
    job->is_done = true;
    pthread_cond_signal(&queue->done[job->slot]);
}

void lx_slot_queue_cancel(lx_slot_queue *queue, uint32_t slot)
{
    pthread_mutex_lock(&queue->lock);
    lx_job *job = queue->waiting[slot];
    if (job && job->kind != LX_JOB_CALL) {
        queue->waiting[slot] = NULL;
        job->status = LYNX_ERR_CANCELLED;
        end(queue, job);
    }
    pthread_mutex_unlock(&queue->lock);
}

/* ---- groups -------------------------------------------------------------------------- */

/* The longest-waiting job of 'kind' with at most 'columns', or NULL. */
static lx_job *first_of(const lx_slot_queue *queue, lx_job_kind kind, uint32_t columns)
{
    lx_job *first = NULL;
    for (uint32_t i = 0; i < queue->slot_count; i++) {
        lx_job *job = queue->waiting[i];
        if (job && job->kind == kind && job->columns <= columns &&
            (!first || job->turn < first->turn))
            first = job;
    }
    return first;
}

/* The kind whose turn it is among those that wait; LX_JOB_KINDS: nothing waits. */
static lx_job_kind next_kind(const lx_slot_queue *queue)
{
    for (uint32_t i = 1; i <= LX_JOB_KINDS; i++) {
        const lx_job_kind kind = (lx_job_kind)((queue->last_kind + i) % LX_JOB_KINDS);
        if (first_of(queue, kind, UINT32_MAX))
            return kind;
    }
    return LX_JOB_KINDS;
}

static bool is_anyone_expected(const lx_slot_queue *queue)
{
    for (uint32_t i = 0; i < queue->slot_count; i++)
        if (queue->is_expected[i])
            return true;
    return false;
}

/* Steps that a batch holds, or every call, or one piece; taken out of 'waiting'. */
static uint32_t take_kind(lx_slot_queue *queue, lx_job_kind kind, lx_job *group[LX_SLOTS_MAX])
{
    bool is_taken[LX_SLOTS_MAX] = {false};
    uint32_t room = queue->most_columns;
    uint32_t count = 0;
    lx_job *job;
    while ((job = first_of(queue, kind, room)) != NULL) {
        room -= job->columns;
        is_taken[job->slot] = true;
        group[job->slot] = job;
        queue->waiting[job->slot] = NULL;
        if (kind == LX_JOB_PIECE)
            break;
    }
    for (uint32_t i = 0; i < queue->slot_count; i++)
        if (is_taken[i])
            group[count++] = group[i];
    return count;
}

static void wait_until(lx_slot_queue *queue, uint64_t time_ns)
{
    const struct timespec until = {(time_t)(time_ns / 1000000000u),
                                   (long)(time_ns % 1000000000u)};
    pthread_cond_timedwait(&queue->news, &queue->lock, &until);
}

uint32_t lx_slot_queue_take(lx_slot_queue *queue, lx_job *group[LX_SLOTS_MAX])
{
    uint32_t count = 0;
    pthread_mutex_lock(&queue->lock);
    for (;;) {
        const lx_job_kind kind = next_kind(queue);
        if (kind == LX_JOB_KINDS && queue->is_closed)
            break;
        if (kind == LX_JOB_KINDS) {
            pthread_cond_wait(&queue->news, &queue->lock);
        } else if (kind == LX_JOB_STEP && is_anyone_expected(queue) &&
                   now_ns() < queue->expected_until_ns) {
            wait_until(queue, queue->expected_until_ns);
        } else {
            count = take_kind(queue, kind, group);
            queue->last_kind = kind;
            break;
        }
    }
    pthread_mutex_unlock(&queue->lock);
    return count;
}

void lx_slot_queue_finish(lx_slot_queue *queue, lx_job *const group[], uint32_t count)
{
    pthread_mutex_lock(&queue->lock);
    if (count > 0 && group[0]->kind == LX_JOB_STEP) {
        memset(queue->is_expected, 0, sizeof(queue->is_expected));
        for (uint32_t i = 0; i < count; i++)
            queue->is_expected[group[i]->slot] = true;
        queue->expected_until_ns = now_ns() + queue->patience_ns;
    }
    for (uint32_t i = 0; i < count; i++)
        end(queue, group[i]);
    pthread_mutex_unlock(&queue->lock);
}

void lx_slot_queue_close(lx_slot_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->is_closed = true;
    pthread_cond_signal(&queue->news);
    pthread_mutex_unlock(&queue->lock);
}
