/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "serve/answer.h"
#include "serve/filler.h"
#include "serve/http.h"

enum { CONNECTION_BYTES = 32768 };

static const uint64_t flush_ns = 2000000000;

void lynx_serve_options_init(lynx_serve_options *options)
{
    *options = (lynx_serve_options){.struct_size = sizeof(*options),
                                    .model_id = "default",
                                    .draft_count_max = 62,
                                    .store_least_tokens = 256,
                                    .store_waiting_bytes = 1u << 30,
                                    .guesses = true,
                                    .branch_count_max = 3,
                                    .descriptor = -1,
                                    .queue_max = 16,
                                    .connections_max = 2048,
                                    .body_bytes_max = 8 << 20,
                                    .request_ns = 600000000000ull,
                                    .idle_ns = 60000000000ull,
                                    .body_ns = 60000000000ull};
    /* The name is one of the built-in list; a failure would be our own mistake. */
    (void)!lynx_codec_spec_named(&options->spec, "range");
}

static void on_daemon_log(void *user, const char *format, va_list arguments)
{
    char line[LYNX_TEXT_MAX];
    const lynx_serve *s = user;
    vsnprintf(line, sizeof(line), format, arguments);
    line[strcspn(line, "\n")] = '\0';
    if (s->service.options.log && s->service.options.logs_http)
        s->service.options.log(s->service.options.user, LYNX_OK, line);
}

/* On a socket of its own for the same port: libmicrohttpd closes it, on failure, too. NULL
 * after a sentence in 'text'. */
static struct MHD_Daemon *start_daemon(lynx_serve *s, const lynx_serve_secrets *secrets,
                                       char *text)
{
    const lynx_serve_options *o = &s->service.options;
    const bool has_tls = secrets->tls_certificate != NULL;
    const struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0,
                                          (void *)(uintptr_t)secrets->tls_certificate},
                                         {MHD_OPTION_HTTPS_MEM_KEY, 0,
                                          (void *)(uintptr_t)secrets->tls_key},
                                         {MHD_OPTION_END, 0, NULL}};
    const struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    const unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                           MHD_USE_ERROR_LOG | (has_tls ? MHD_USE_TLS : 0u);
    const int descriptor = fcntl(o->descriptor, F_DUPFD_CLOEXEC, 0);
    if (descriptor < 0) {
        snprintf(text, LYNX_TEXT_MAX, "no descriptor for the HTTP server: %s", strerror(errno));
        return NULL;
    }
    struct MHD_Daemon *daemon =
        MHD_start_daemon(flags, 0, NULL, NULL, lx_http_handle, s, MHD_OPTION_EXTERNAL_LOGGER,
                         on_daemon_log, s, MHD_OPTION_LISTEN_SOCKET, descriptor,
                         MHD_OPTION_NOTIFY_COMPLETED, lx_http_completed, s,
                         MHD_OPTION_NOTIFY_CONNECTION, lx_http_connected, s,
                         MHD_OPTION_CONNECTION_LIMIT, o->connections_max,
                         MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(o->idle_ns / 1000000000),
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
                         MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY,
                         has_tls ? tls : none, MHD_OPTION_END);
    if (!daemon)
        snprintf(text, LYNX_TEXT_MAX, "%s",
                 has_tls ? "the HTTP server cannot start; are certificate and key in PEM "
                           "format, and do they belong together?"
                         : "the HTTP server cannot start");
    return daemon;
}

static lynx_status start(lynx_serve *s, char *text)
{
    LX_REQUIRE(s->service.options.remote_count <= LYNX_SERVE_REMOTES_MAX, LYNX_ERR_ARGUMENT);
    if (s->service.options.remote_count)
        LX_TRY(lx_answer_measure(&s->service, s->service.options.engines[0], text));
    if (s->service.options.store)
        LX_TRY(lx_filler_create(&s->service.filler, &s->service));
    LX_TRY(lx_slots_create(&s->slots, &s->service));
    LX_REQUIRE(pthread_create(&s->watcher, NULL, lx_http_watch, s) == 0, LYNX_ERR_SYSTEM);
    s->has_watcher = true;
    const int flags = fcntl(s->service.options.descriptor, F_GETFL);
    LX_REQUIRE(fcntl(s->service.options.descriptor, F_SETFL, flags | O_NONBLOCK) == 0,
               LYNX_ERR_SYSTEM);
    s->daemon = start_daemon(s, &s->service.options.secrets, text);
    return s->daemon ? LYNX_OK : LYNX_ERR_SYSTEM;
}

lynx_status lynx_serve_create(lynx_serve **serve, const lynx_serve_options *options, char *text)
{
    lynx_serve *s = calloc(1, sizeof(*s));
    *serve = NULL;
    text[0] = '\0';
    LX_REQUIRE(s, LYNX_ERR_MEMORY);
    s->service.options = *options;
    s->started = (int64_t)time(NULL);
    pthread_mutex_init(&s->lock, NULL);
    lx_policy_init(&s->service.policy);
    const lynx_status status = start(s, text);
    if (status != LYNX_OK) {
        if (!text[0])
            snprintf(text, LYNX_TEXT_MAX, "%s", lynx_status_text(status));
        lynx_serve_destroy(s);
        return status;
    }
    s->has_descriptor = true;
    *serve = s;
    return LYNX_OK;
}

/* ---- other secrets ------------------------------------------------------------------- */

static bool is_same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool has_same_certificate(const lynx_serve_secrets *a, const lynx_serve_secrets *b)
{
    return is_same(a->tls_certificate, b->tls_certificate) && is_same(a->tls_key, b->tls_key);
}

/* A second server on the same socket takes what comes from now on; the first goes on with its
 * connections, and is ended when it has none. */
static lynx_status change_certificate(lynx_serve *s, const lynx_serve_secrets *secrets,
                                      char *text)
{
    if (!secrets->tls_certificate != !s->service.options.secrets.tls_certificate) {
        snprintf(text, LYNX_TEXT_MAX, "TLS begins or ends at a start, not at a reload");
        return LYNX_ERR_ARGUMENT;
    }
    lx_http_end_retired(s, false);
    if (s->retired_count == LX_RETIRED_MAX) {
        snprintf(text, LYNX_TEXT_MAX,
                 "connections under %d older certificates are still open; try again later",
                 LX_RETIRED_MAX);
        return LYNX_BLOCKED;
    }
    struct MHD_Daemon *next = start_daemon(s, secrets, text);
    LX_REQUIRE(next, LYNX_ERR_SYSTEM);
    const int descriptor = MHD_quiesce_daemon(s->daemon);
    pthread_mutex_lock(&s->lock);
    s->retired[s->retired_count++] = (lx_retired){s->daemon, descriptor};
    s->daemon = next;
    pthread_mutex_unlock(&s->lock);
    return LYNX_OK;
}

lynx_status lynx_serve_renew(lynx_serve *s, const lynx_serve_secrets *secrets, char *text)
{
    text[0] = '\0';
    if (!has_same_certificate(&s->service.options.secrets, secrets))
        LX_TRY(change_certificate(s, secrets, text));
    pthread_mutex_lock(&s->lock);
    s->service.options.secrets = *secrets;
    pthread_mutex_unlock(&s->lock);
    return LYNX_OK;
}

/* ---- end ----------------------------------------------------------------------------- */

static void wait_for(bool (*is_over)(lynx_serve *s), lynx_serve *s, uint64_t most_ns)
{
    const lynx_time_ns end = lynx_clock_now() + most_ns;
    while (!is_over(s) && lynx_clock_now() < end)
        poll(NULL, 0, 10);
}

static bool has_no_jobs(lynx_serve *s)
{
    return lx_slots_count(s->slots) == 0;
}

static bool has_written(lynx_serve *s)
{
    return !s->service.filler || s->is_hurried || lx_filler_is_idle(s->service.filler);
}

static bool has_no_exchanges(lynx_serve *s)
{
    return s->exchange_count == 0;
}

void lynx_serve_drain(lynx_serve *s, uint64_t grace_ns)
{
    const lynx_time_ns end = lynx_clock_now() + grace_ns;
    s->is_hurried |= grace_ns == 0;
    lx_slots_close(s->slots);
    wait_for(has_no_jobs, s, grace_ns);
    lx_slots_cancel(s->slots, LX_OUTCOME_STOPPING);
    const lynx_time_ns now = lynx_clock_now();
    wait_for(has_written, s, now < end ? end - now : 0);
}

void lynx_serve_destroy(lynx_serve *s)
{
    if (!s)
        return;
    if (s->slots) {
        lx_slots_close(s->slots);
        lx_slots_cancel(s->slots, LX_OUTCOME_STOPPING);
        lx_slots_join(s->slots);
    }
    /* Every job is done, so that no connection is suspended for long, nor again. */
    if (s->daemon)
        wait_for(has_no_exchanges, s, flush_ns);
    s->must_end = true;
    if (s->has_watcher)
        pthread_join(s->watcher, NULL);
    lx_http_end_retired(s, true);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    if (s->has_descriptor)
        close(s->service.options.descriptor);
    lx_slots_destroy(s->slots);
    lx_filler_destroy(s->service.filler);
    lx_policy_fini(&s->service.policy);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
