/* SPDX-License-Identifier: MIT */
/*
 * slot_queue.h - jobs of several slots for the one thread that computes.
 *
 * Each slot has at most one job at a time and waits for it. The computing thread takes groups:
 * all calls that wait; or the steps of as many slots as a batch holds; or one piece of a
 * prefill. The three kinds take turns, so that none waits for more than one group of each
 * other kind. After a batch of steps the next one waits a little for the slots that were in
 * it: they are choosing a token, and without the wait slots fall into groups that alternate
 * instead of sharing.
 */
#ifndef LX_SLOTS_SLOT_QUEUE_H
#define LX_SLOTS_SLOT_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "lynx/status.h"

enum { LX_SLOTS_MAX = 16 };

/* In the order of their turns. */
typedef enum lx_job_kind {
    LX_JOB_CALL = 0, /* touches the context without tokens */
    LX_JOB_STEP,     /* tokens that share a batch with those of other slots */
    LX_JOB_PIECE,    /* of a prefill or of a question, alone in its batch */
    LX_JOB_KINDS
} lx_job_kind;

/* First member of what the owner makes of it. From put to the end of wait only who computes it
 * changes it. */
typedef struct lx_job {
    lx_job_kind kind;
    uint32_t slot;
    uint32_t columns;   /* of the batch; [1, most columns] unless it is a call */
    lynx_status status; /* the result, set before finish */
    uint64_t turn;      /* when it came; the queue's own */
    bool is_done;       /* the queue's own */
} lx_job;

typedef struct lx_slot_queue {
    pthread_mutex_t lock;
    pthread_cond_t news;               /* for the thread that computes */
    pthread_cond_t done[LX_SLOTS_MAX]; /* for each slot */
    lx_job *waiting[LX_SLOTS_MAX];
    bool is_expected[LX_SLOTS_MAX]; /* was in the last batch of steps and is not back */
    uint64_t expected_until_ns;     /* monotonic */
    uint64_t patience_ns, turns;
    uint32_t slot_count, most_columns;
    lx_job_kind last_kind;
    bool is_closed;
} lx_slot_queue;

/* 'patience_ns' is how long a batch of steps waits for those of the batch before it. Returns
 * LYNX_OK or LYNX_ERR_SYSTEM. */
LYNX_MUST_CHECK lynx_status lx_slot_queue_init(lx_slot_queue *queue, uint32_t slot_count,
                                               uint32_t most_columns, uint64_t patience_ns);
void lx_slot_queue_fini(lx_slot_queue *queue);

/* ---- the thread of a slot ------------------------------------------------------------ */

void lx_slot_queue_put(lx_slot_queue *queue, lx_job *job);
void lx_slot_queue_wait(lx_slot_queue *queue, const lx_job *job);

/* The slot has ended: nobody waits for it any more. */
void lx_slot_queue_leave(lx_slot_queue *queue, uint32_t slot);

/* From any thread: end the job of 'slot' with LYNX_ERR_CANCELLED if it waits and is no call. */
void lx_slot_queue_cancel(lx_slot_queue *queue, uint32_t slot);

/* ---- the thread that computes -------------------------------------------------------- */

/* Wait for a group of one kind, in the order of slots. Returns how many jobs it has, or 0 when
 * the queue is closed and nothing waits. */
uint32_t lx_slot_queue_take(lx_slot_queue *queue, lx_job *group[LX_SLOTS_MAX]);

/* Wake the slots of 'group'; its jobs are gone then. */
void lx_slot_queue_finish(lx_slot_queue *queue, lx_job *const group[], uint32_t count);

/* Any thread: take returns 0 once nothing waits. */
void lx_slot_queue_close(lx_slot_queue *queue);

#endif
