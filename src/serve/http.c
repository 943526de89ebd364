/* SPDX-License-Identifier: MIT */
#include "serve/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/api_answer.h"

enum { BLOCK_BYTES = 8192 };

/* ---- connections --------------------------------------------------------------------- */

void lx_http_connected(void *user, struct MHD_Connection *connection, void **context,
                       enum MHD_ConnectionNotificationCode code)
{
    lynx_serve *s = user;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        lx_visitor *v = info ? calloc(1, sizeof(*v)) : NULL;
        *context = v;
        if (!v)
            return;
        v->descriptor = info->connect_fd;
        v->deadline = lynx_clock_now() + s->service.options.idle_ns;
        pthread_mutex_lock(&s->lock);
        v->next = s->visitors;
        if (v->next)
            v->next->previous = v;
        s->visitors = v;
        pthread_mutex_unlock(&s->lock);
        atomic_fetch_add(&s->service.metrics.connections, 1);
        return;
    }
    lx_visitor *v = *context;
    if (!v)
        return;
    pthread_mutex_lock(&s->lock);
    *(v->previous ? &v->previous->next : &s->visitors) = v->next;
    if (v->next)
        v->next->previous = v->previous;
    pthread_mutex_unlock(&s->lock);
    atomic_fetch_sub(&s->service.metrics.connections, 1);
    free(v);
    *context = NULL;
}

static void set_deadline(lx_exchange *e, lynx_time_ns deadline)
{
    pthread_mutex_lock(&e->serve->lock);
    e->visitor->deadline = deadline;
    pthread_mutex_unlock(&e->serve->lock);
}

/* ---- responses ----------------------------------------------------------------------- */

/* Takes 'response'. */
static enum MHD_Result send_response(lx_exchange *e, unsigned http, const char *type,
                                     struct MHD_Response *response)
{
    char number[16];
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (e->route == LX_ROUTE_PAGE)
        MHD_add_response_header(response, "Content-Security-Policy",
                                "default-src 'none'; script-src 'unsafe-inline'; style-src "
                                "'unsafe-inline'; img-src data:; connect-src 'self'; "
                                "form-action 'none'; base-uri 'none'; frame-ancestors 'none'");
    if (e->serve->service.options.cors_origin) {
        MHD_add_response_header(response, "Access-Control-Allow-Origin",
                                e->serve->service.options.cors_origin);
        MHD_add_response_header(response, "Vary", "Origin");
    }
    if (http == 401)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (http == 405)
        MHD_add_response_header(response, "Allow",
                                e->allowed == LX_POST ? "POST" : "GET, HEAD");
    if (http == 429 || http == 503) {
        snprintf(number, sizeof(number), "%u", lx_slots_retry_after(e->serve->slots));
        MHD_add_response_header(response, "Retry-After", number);
    }
    const enum MHD_Result result = MHD_queue_response(e->connection, http, response);
    MHD_destroy_response(response);
    return result;
}

enum MHD_Result lx_http_send(lx_exchange *e, unsigned http, const char *type, const char *data,
                             size_t size)
{
    return send_response(e, http, type,
                         MHD_create_response_from_buffer(size, (void *)(uintptr_t)data,
                                                         MHD_RESPMEM_MUST_COPY));
}

enum MHD_Result lx_http_send_json(lx_exchange *e, unsigned http, char *json)
{
    const enum MHD_Result result =
        json ? lx_http_send(e, http, "application/json", json, strlen(json)) : MHD_NO;
    free(json);
    return result;
}

enum MHD_Result lx_http_send_fault(lx_exchange *e)
{
    if (e->outcome == LX_OUTCOME_OK)
        e->outcome = e->fault.http < 500 ? LX_OUTCOME_REFUSED : LX_OUTCOME_FAILED;
    return lx_http_send_json(e, e->fault.http, lx_api_error(&e->fault));
}

/* ---- jobs ---------------------------------------------------------------------------- */

/* The job has more to say. Called with its lock held, on any thread. */
static void wake(void *user)
{
    lx_exchange *e = user;
    if (e->is_suspended) {
        e->is_suspended = false;
        MHD_resume_connection(e->connection);
    }
}

/* Called with the job's lock held. */
static void suspend(lx_exchange *e)
{
    e->is_suspended = true;
    MHD_suspend_connection(e->connection);
}

/* MHD_ContentReaderCallback: what the job has said. */
static ssize_t read_job(void *user, uint64_t position, char *data, size_t room)
{
    lx_exchange *e = user;
    lx_job *job = e->job;
    (void)position;
    pthread_mutex_lock(&job->lock);
    const size_t left = job->out.size - e->taken;
    ssize_t size = (ssize_t)(left < room ? left : room);
    if (size > 0) {
        memcpy(data, job->out.data + e->taken, (size_t)size);
        e->taken += (size_t)size;
    } else if (job->outcome == LX_OUTCOME_GONE || job->out.has_failed) {
        size = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (job->is_done) {
        size = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        suspend(e);
    }
    if (e->taken == job->out.size) {
        lx_buffer_drop(&job->out, job->out.size);
        e->taken = 0;
    }
    pthread_mutex_unlock(&job->lock);
    return size;
}

/* Called with the job's lock held. */
static bool is_known(const lx_job *job)
{
    const bool is_begun = job->http == 200 && job->request.is_stream;
    return job->is_done || is_begun || job->outcome == LX_OUTCOME_GONE;
}

/* The status of the job is known, or it is waited for. */
static enum MHD_Result send_job(lx_exchange *e)
{
    lx_job *job = e->job;
    pthread_mutex_lock(&job->lock);
    if (!is_known(job)) {
        suspend(e);
        pthread_mutex_unlock(&job->lock);
        return MHD_YES;
    }
    const bool is_gone = job->outcome == LX_OUTCOME_GONE || job->out.has_failed;
    const bool is_stream = job->request.is_stream && job->http == 200;
    const unsigned http = job->http;
    pthread_mutex_unlock(&job->lock);
    if (is_gone)
        return MHD_NO;
    if (is_stream)
        return send_response(e, http, "text/event-stream",
                             MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES,
                                                               read_job, e, NULL));
    /* It is done: nobody writes to it any more. */
    return lx_http_send(e, http, "application/json", job->out.data ? job->out.data : "",
                        job->out.size);
}

static void refuse_submit(lx_exchange *e, lynx_status status)
{
    if (status == LYNX_BLOCKED) {
        e->outcome = LX_OUTCOME_FULL;
        lx_api_fault_set(&e->fault, 429, "queue_full",
                         "too many requests are waiting; try again later");
    } else if (status == LYNX_ERR_STATE) {
        e->outcome = LX_OUTCOME_STOPPING;
        lx_api_fault_set(&e->fault, 503, "stopping",
                         "the server is stopping; try another or later");
    } else {
        lx_api_fault_set(&e->fault, 500, NULL, "%s", lynx_status_text(status));
    }
}

enum MHD_Result lx_http_submit(lx_exchange *e, lx_api_request *request)
{
    lynx_serve *s = e->serve;
    lx_job *job = lx_job_create(request, s->service.options.request_ns);
    lynx_status status = LYNX_ERR_MEMORY;
    if (job) {
        job->wake = wake;
        job->user = e;
        e->job = job;
        status = lx_slots_submit(s->slots, job);
    }
    if (status != LYNX_OK) {
        e->job = NULL;
        lx_job_release(job);
        refuse_submit(e, status);
        return lx_http_send_fault(e);
    }
    pthread_mutex_lock(&s->lock);
    e->visitor->exchange = e;
    pthread_mutex_unlock(&s->lock);
    return send_job(e);
}

/* ---- requests ------------------------------------------------------------------------ */

static const char *header(const lx_exchange *e, const char *name)
{
    return MHD_lookup_connection_value(e->connection, MHD_HEADER_KIND, name);
}

static void refuse_body(lx_exchange *e)
{
    if (e->fault.http)
        return;
    lx_api_fault_set(&e->fault, 413, "body_too_large",
                     "the body has more than the %zu bytes that this server takes",
                     e->serve->service.options.body_bytes_max);
    lx_buffer_fini(&e->body);
}

/* The header is here. A refusal waits for the end of the body, because an answer before it can
 * be lost when the connection is reset; a client that asks first is told at once. */
static enum MHD_Result begin(lynx_serve *s, struct MHD_Connection *connection, const char *path,
                             const char *method, void **context)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    lx_visitor *visitor = info ? info->socket_context : NULL;
    lx_exchange *e = visitor ? calloc(1, sizeof(*e)) : NULL;
    if (!e)
        return MHD_NO;
    *context = e;
    e->serve = s;
    e->visitor = visitor;
    e->connection = connection;
    atomic_fetch_add(&s->exchange_count, 1);
    set_deadline(e, lynx_clock_now() + s->service.options.body_ns);
    lx_http_check(e, path, method);
    const char *length = header(e, "Content-Length");
    if (length && strtoull(length, NULL, 10) > s->service.options.body_bytes_max)
        refuse_body(e);
    return e->fault.http && header(e, "Expect") ? lx_http_send_fault(e) : MHD_YES;
}

static void take_body(lx_exchange *e, const char *data, size_t size)
{
    e->body_size += size;
    if (e->body_size > e->serve->service.options.body_bytes_max)
        refuse_body(e);
    if (!e->fault.http)
        lx_buffer_put(&e->body, data, size);
}

enum MHD_Result lx_http_handle(void *user, struct MHD_Connection *connection, const char *path,
                               const char *method, const char *version, const char *data,
                               size_t *size, void **context)
{
    (void)version;
    lx_exchange *e = *context;
    if (!e)
        return begin(user, connection, path, method, context);
    if (*size) {
        take_body(e, data, *size);
        *size = 0;
        return MHD_YES;
    }
    if (e->job)
        return send_job(e);
    set_deadline(e, LYNX_TIME_NEVER);
    if (e->body.has_failed)
        return MHD_NO;
    return e->fault.http ? lx_http_send_fault(e) : lx_http_answer(e, path, method);
}

/* The client has all, or is gone. */
static void end_job(lx_exchange *e)
{
    lx_job *job = e->job;
    pthread_mutex_lock(&job->lock);
    job->wake = NULL;
    pthread_mutex_unlock(&job->lock);
    lx_job_cancel(job, LX_OUTCOME_GONE);
    (void)lx_slots_remove(e->serve->slots, job);
    e->outcome = lx_job_outcome(job);
    lx_job_release(job);
}

void lx_http_completed(void *user, struct MHD_Connection *connection, void **context,
                       enum MHD_RequestTerminationCode code)
{
    lynx_serve *s = user;
    lx_exchange *e = *context;
    (void)connection;
    if (!e)
        return;
    pthread_mutex_lock(&s->lock);
    e->visitor->exchange = NULL;
    e->visitor->deadline = lynx_clock_now() + s->service.options.idle_ns;
    pthread_mutex_unlock(&s->lock);
    if (e->job)
        end_job(e);
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK && e->outcome == LX_OUTCOME_OK)
        e->outcome = LX_OUTCOME_GONE;
    atomic_fetch_add(&s->service.metrics.requests[e->route][e->outcome], 1);
    atomic_fetch_sub(&s->exchange_count, 1);
    lx_buffer_fini(&e->body);
    free(e);
    *context = NULL;
}
