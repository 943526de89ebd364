/* SPDX-License-Identifier: MIT */
/*
 * job.h - a request between the connection that it came on and the slot that works on it.
 *
 * Both hold it. The slot says bytes, the connection takes them at its own pace; either may end
 * it. Everything behind 'lock' is used with the lock held.
 */
#ifndef LX_SERVE_JOB_H
#define LX_SERVE_JOB_H

#include <pthread.h>
#include <signal.h>

#include "lynx/runtime.h"
#include "serve/api_request.h"
#include "serve/buffer.h"
#include "serve/metrics.h"

typedef struct lx_job {
    struct lx_job *next; /* in the queue */
    lx_api_request request;
    lynx_time_ns arrival;
    lynx_time_ns deadline; /* LYNX_TIME_NEVER: none */
    char id[48];
    int64_t created; /* seconds of the epoch */
    volatile sig_atomic_t stop;

    pthread_mutex_t lock;
    uint32_t holders;
    unsigned http; /* status code; 0: not known yet */
    lx_buffer out; /* the body, from its beginning */
    lynx_time_ns said_at;
    bool is_done;             /* nothing more will be said */
    lx_outcome outcome;       /* OK until something else is known */
    void (*wake)(void *user); /* there is more; may be NULL. Called with the lock held */
    void *user;
} lx_job;

/* Takes 'request', also on failure. The caller holds the job. NULL: no memory. */
lx_job *lx_job_create(lx_api_request *request, uint64_t timeout_ns);
void lx_job_hold(lx_job *job);
void lx_job_release(lx_job *job);

/* End it early, from any thread; the first reason counts. */
void lx_job_cancel(lx_job *job, lx_outcome why);
lx_outcome lx_job_outcome(lx_job *job);

/* The slot's side. The status is known from the first of these on. */
void lx_job_begin(lx_job *job);
void lx_job_say(lx_job *job, const char *data, size_t size);
/* An event of the stream, of a JSON text that is freed; NULL: no memory, which ends the job. */
void lx_job_say_event(lx_job *job, char *json);
/* Everything is said. With 'fault' (may be NULL): an error, as status or as event. */
void lx_job_finish(lx_job *job, char *json, const lx_api_fault *fault);

/* A sign of life on a stream that has been silent for a second. */
void lx_job_beat(lx_job *job, lynx_time_ns now);

#endif
