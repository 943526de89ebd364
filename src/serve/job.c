/* SPDX-License-Identifier: MIT */
#include "serve/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "serve/api_answer.h"

static const uint64_t beat_ns = 1000000000;

static bool make_id(lx_job *job)
{
    uint64_t number[2];
    if (getrandom(number, sizeof(number), 0) != (ssize_t)sizeof(number))
        return false;
    if (!job->request.has_seed)
        job->request.sampling.seed = (uint32_t)number[1];
    snprintf(job->id, sizeof(job->id), "%s-%016llx%08x",
             job->request.kind == LX_API_COMPLETION ? "cmpl" : "chatcmpl",
             (unsigned long long)number[0], (unsigned)(number[1] >> 32));
    return true;
}

lx_job *lx_job_create(lx_api_request *request, uint64_t timeout_ns)
{
    lx_job *job = calloc(1, sizeof(*job));
    if (!job) {
        lx_api_request_fini(request);
        return NULL;
    }
    job->request = *request;
    *request = (lx_api_request){0};
    job->holders = 1;
    job->arrival = job->said_at = lynx_clock_now();
    job->deadline = timeout_ns ? job->arrival + timeout_ns : LYNX_TIME_NEVER;
    job->created = (int64_t)time(NULL);
    pthread_mutex_init(&job->lock, NULL);
    if (!make_id(job)) {
        lx_job_release(job);
        return NULL;
    }
    return job;
}

void lx_job_hold(lx_job *job)
{
    pthread_mutex_lock(&job->lock);
    job->holders++;
    pthread_mutex_unlock(&job->lock);
}

void lx_job_release(lx_job *job)
{
    if (!job)
        return;
    pthread_mutex_lock(&job->lock);
    const bool is_last = --job->holders == 0;
    pthread_mutex_unlock(&job->lock);
    if (!is_last)
        return;
    pthread_mutex_destroy(&job->lock);
    lx_api_request_fini(&job->request);
    lx_buffer_fini(&job->out);
    free(job);
}

void lx_job_cancel(lx_job *job, lx_outcome why)
{
    pthread_mutex_lock(&job->lock);
    if (!job->is_done && job->outcome == LX_OUTCOME_OK)
        job->outcome = why;
    __atomic_store_n(&job->stop, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&job->lock);
}

lx_outcome lx_job_outcome(lx_job *job)
{
    pthread_mutex_lock(&job->lock);
    const lx_outcome outcome = job->outcome;
    pthread_mutex_unlock(&job->lock);
    return outcome;
}

/* Called with the lock held. */
static void wake(lx_job *job)
{
    job->said_at = lynx_clock_now();
    if (job->wake)
        job->wake(job->user);
}

void lx_job_begin(lx_job *job)
{
    pthread_mutex_lock(&job->lock);
    if (!job->http)
        job->http = 200;
    wake(job);
    pthread_mutex_unlock(&job->lock);
}

void lx_job_say(lx_job *job, const char *data, size_t size)
{
    pthread_mutex_lock(&job->lock);
    lx_buffer_put(&job->out, data, size);
    wake(job);
    pthread_mutex_unlock(&job->lock);
}

static void put_event(lx_job *job, const char *json)
{
    lx_buffer_puts(&job->out, "data: ");
    lx_buffer_puts(&job->out, json);
    lx_buffer_puts(&job->out, "\n\n");
}

void lx_job_say_event(lx_job *job, char *json)
{
    pthread_mutex_lock(&job->lock);
    if (json)
        put_event(job, json);
    if (!json || job->out.has_failed)
        __atomic_store_n(&job->stop, 1, __ATOMIC_RELAXED);
    job->out.has_failed |= !json;
    wake(job);
    pthread_mutex_unlock(&job->lock);
    free(json);
}

static lx_outcome outcome_of(unsigned http)
{
    return http < 500 ? LX_OUTCOME_REFUSED : LX_OUTCOME_FAILED;
}

void lx_job_finish(lx_job *job, char *json, const lx_api_fault *fault)
{
    char *error = fault ? lx_api_error(fault) : NULL;
    pthread_mutex_lock(&job->lock);
    if (fault && job->outcome == LX_OUTCOME_OK)
        job->outcome = outcome_of(fault->http);
    if (!job->http)
        job->http = fault ? fault->http : 200;
    const char *text = fault ? error : json;
    if (text && job->request.is_stream && job->http == 200)
        put_event(job, text);
    else if (text)
        lx_buffer_puts(&job->out, text);
    if (!fault && job->request.is_stream)
        lx_buffer_puts(&job->out, "data: [DONE]\n\n");
    job->is_done = true;
    wake(job);
    pthread_mutex_unlock(&job->lock);
    free(error);
    free(json);
}

void lx_job_beat(lx_job *job, lynx_time_ns now)
{
    pthread_mutex_lock(&job->lock);
    if (job->http == 200 && job->request.is_stream && !job->is_done &&
        now > job->said_at + beat_ns) {
        lx_buffer_puts(&job->out, ": wait\n\n");
        wake(job);
    }
    pthread_mutex_unlock(&job->lock);
}
