/* SPDX-License-Identifier: MIT */
/* slots.h - a bounded queue of jobs, and a thread for each engine that works on them. */
#ifndef LX_SERVE_SLOTS_H
#define LX_SERVE_SLOTS_H

#include "serve/job.h"
#include "serve/service.h"

typedef struct lx_slots lx_slots;

/* Keeps 'service'. */
lynx_status lx_slots_create(lx_slots **slots, lx_service *service);
/* End the threads when the queue is empty; submit is refused from now on. */
void lx_slots_join(lx_slots *slots);
void lx_slots_destroy(lx_slots *slots);

/* Queue a job and hold it. LYNX_BLOCKED: full; LYNX_ERR_STATE: closed. */
lynx_status lx_slots_submit(lx_slots *slots, lx_job *job);
/* Take a job back that no slot has begun; false: a slot has it. */
bool lx_slots_remove(lx_slots *slots, lx_job *job);

/* Take no more jobs. */
void lx_slots_close(lx_slots *slots);
bool lx_slots_is_closed(lx_slots *slots);
/* Cancel everything, queued or begun. */
void lx_slots_cancel(lx_slots *slots, lx_outcome why);
/* Jobs that are queued or begun. */
uint32_t lx_slots_count(lx_slots *slots);

/* A guess at how many seconds pass until there is room. */
unsigned lx_slots_retry_after(lx_slots *slots);

#endif
