/* SPDX-License-Identifier: MIT */
/* http_watch.c - clients that left, deadlines, signs of life; see http.h. libmicrohttpd does
 * not look at a connection that waits for its job. */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/http.h"

enum { ROUND_MS = 50 };

/* The other end has closed, or half closed: it will take no answer. */
static bool has_left(int descriptor)
{
    struct pollfd poll_for = {.fd = descriptor, .events = POLLRDHUP};
    return poll(&poll_for, 1, 0) > 0 &&
           (poll_for.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static void wake(lx_job *job)
{
    pthread_mutex_lock(&job->lock);
    if (job->wake)
        job->wake(job->user);
    pthread_mutex_unlock(&job->lock);
}

/* A job that no slot has begun is finished here. */
static void give_up(lynx_serve *s, lx_job *job, lx_outcome why)
{
    lx_job_cancel(job, why);
    if (!lx_slots_remove(s->slots, job))
        return;
    lx_api_fault fault;
    lx_api_fault_set(&fault, 504, "timeout",
                     "the request waited longer than the %.1f s that this server allows",
                     (double)s->service.options.request_ns / 1e9);
    lx_job_finish(job, NULL, &fault);
}

static void watch_job(lynx_serve *s, const lx_visitor *v, lynx_time_ns now)
{
    lx_job *job = v->exchange->job;
    if (has_left(v->descriptor)) {
        give_up(s, job, LX_OUTCOME_GONE);
        wake(job); /* so that its connection is closed */
    } else if (now > job->deadline) {
        give_up(s, job, LX_OUTCOME_LATE);
    } else {
        lx_job_beat(job, now);
    }
}

static void watch_all(lynx_serve *s)
{
    const lynx_time_ns now = lynx_clock_now();
    pthread_mutex_lock(&s->lock);
    for (lx_visitor *v = s->visitors; v; v = v->next) {
        if (v->exchange)
            watch_job(s, v, now);
        else if (now > v->deadline)
            shutdown(v->descriptor, SHUT_RDWR);
    }
    pthread_mutex_unlock(&s->lock);
}

/* Take one out of the list; false: there is none. */
static bool take_retired(lynx_serve *s, bool takes_any, lx_retired *taken)
{
    bool is_found = false;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->retired_count && !is_found; i++) {
        const union MHD_DaemonInfo *info =
            MHD_get_daemon_info(s->retired[i].daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
        is_found = takes_any || (info && info->num_connections == 0);
        if (is_found) {
            *taken = s->retired[i];
            s->retired[i] = s->retired[--s->retired_count];
        }
    }
    pthread_mutex_unlock(&s->lock);
    return is_found;
}

void lx_http_end_retired(lynx_serve *s, bool ends_all)
{
    lx_retired taken;
    while (take_retired(s, ends_all, &taken)) {
        MHD_stop_daemon(taken.daemon);
        close(taken.descriptor);
    }
}

void *lx_http_watch(void *user)
{
    lynx_serve *s = user;
    while (!s->must_end) {
        watch_all(s);
        lx_http_end_retired(s, false);
        poll(NULL, 0, ROUND_MS);
    }
    return NULL;
}
