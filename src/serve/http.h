/* SPDX-License-Identifier: MIT */
/*
 * http.h - what the files of the HTTP side share.
 *
 *     http.c           connections and requests as libmicrohttpd calls for them
 *     http_routes.c    what is at which path, and who may ask for it
 *     http_watch.c     clients that left, deadlines, signs of life
 *     serve.c          lynx/serve.h
 *
 * Locks: 'lock' of the server, then that of a job. libmicrohttpd's thread runs everything in
 * http.c and http_routes.c but wake().
 */
#ifndef LX_SERVE_HTTP_H
#define LX_SERVE_HTTP_H

#include <microhttpd.h>

#include "lynx/serve.h"
#include "serve/slots.h"

struct lx_exchange;

/* A connection. Under the lock of the server. */
typedef struct lx_visitor {
    struct lx_visitor *next, *previous;
    int descriptor;
    lynx_time_ns deadline;        /* LYNX_TIME_NEVER: none */
    struct lx_exchange *exchange; /* that waits for a job; NULL: none */
} lx_visitor;

enum { LX_RETIRED_MAX = 8 };

/* A server with an older certificate, which has its connections alone. */
typedef struct lx_retired {
    struct MHD_Daemon *daemon;
    int descriptor; /* of its listening socket; closed when it has ended */
} lx_retired;

struct lynx_serve {
    lx_service service;
    lx_slots *slots;
    struct MHD_Daemon *daemon;
    lx_retired retired[LX_RETIRED_MAX]; /* under the lock */
    uint32_t retired_count;
    bool has_descriptor; /* that of the options is ours to close */
    int64_t started;     /* seconds of the epoch */
    pthread_mutex_t lock;
    lx_visitor *visitors;
    atomic_uint exchange_count;
    pthread_t watcher;
    bool has_watcher;
    atomic_bool must_end;   /* the watcher */
    atomic_bool is_hurried; /* the end does not wait for what is written */
};

/* A request and its answer. */
typedef struct lx_exchange {
    lynx_serve *serve;
    lx_visitor *visitor;
    struct MHD_Connection *connection;
    lx_route route;
    unsigned allowed;   /* methods at this path, of LX_GET ... */
    lx_api_fault fault; /* http != 0: refused, whatever the body is */
    lx_buffer body;
    size_t body_size; /* that came, also of what was not kept */
    lx_outcome outcome;
    lx_job *job;
    size_t taken;      /* bytes of the job's output that were sent; under the job's lock */
    bool is_suspended; /* under the job's lock */
} lx_exchange;

enum { LX_GET = 1, LX_POST = 2 };

/* ---- http_routes.c ------------------------------------------------------------------- */

/* What can be said before the body: path, method, origin, key. Fills in the fault. */
void lx_http_check(lx_exchange *exchange, const char *path, const char *method);

/* The body is here: answer, or make the job. */
enum MHD_Result lx_http_answer(lx_exchange *exchange, const char *path, const char *method);

/* ---- http.c -------------------------------------------------------------------------- */

enum MHD_Result lx_http_handle(void *user, struct MHD_Connection *connection, const char *path,
                               const char *method, const char *version, const char *data,
                               size_t *size, void **context);
void lx_http_completed(void *user, struct MHD_Connection *connection, void **context,
                       enum MHD_RequestTerminationCode code);
void lx_http_connected(void *user, struct MHD_Connection *connection, void **context,
                       enum MHD_ConnectionNotificationCode code);

/* Send a whole body, which is copied. 'type' is its media type. */
enum MHD_Result lx_http_send(lx_exchange *exchange, unsigned http, const char *type,
                             const char *data, size_t size);
/* Takes 'json'; NULL: no memory. */
enum MHD_Result lx_http_send_json(lx_exchange *exchange, unsigned http, char *json);
enum MHD_Result lx_http_send_fault(lx_exchange *exchange);

/* Queue the job, and wait for what it says; or answer why not. Takes 'request'. */
enum MHD_Result lx_http_submit(lx_exchange *exchange, lx_api_request *request);

/* ---- http_watch.c -------------------------------------------------------------------- */

void *lx_http_watch(void *user);

/* End servers with an older certificate: those without a connection, or all. */
void lx_http_end_retired(lynx_serve *serve, bool ends_all);

#endif
