/* SPDX-License-Identifier: MIT */
/* metrics.h - what an operator can count, in Prometheus' text format 0.0.4. All from any
 * thread; docs/http.md lists the names. */
#ifndef LX_SERVE_METRICS_H
#define LX_SERVE_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "lynx/runtime.h"
#include "lynx/store.h"
#include "serve/buffer.h"
#include "serve/policy.h"

typedef enum lx_route {
    LX_ROUTE_CHAT,
    LX_ROUTE_COMPLETIONS,
    LX_ROUTE_MODELS,
    LX_ROUTE_TOKENIZE,
    LX_ROUTE_HEALTH,
    LX_ROUTE_METRICS,
    LX_ROUTE_PAGE,
    LX_ROUTE_NONE, /* no such path */
    LX_ROUTE_COUNT
} lx_route;

typedef enum lx_outcome {
    LX_OUTCOME_OK,
    LX_OUTCOME_REFUSED,  /* the client's mistake */
    LX_OUTCOME_DENIED,   /* no or a wrong key */
    LX_OUTCOME_FULL,     /* the queue was full */
    LX_OUTCOME_STOPPING, /* the server ends */
    LX_OUTCOME_LATE,     /* the deadline passed */
    LX_OUTCOME_GONE,     /* the client left */
    LX_OUTCOME_FAILED,   /* our mistake, or the prefill node's */
    LX_OUTCOME_COUNT
} lx_outcome;

/* How an answer was computed. */
typedef enum lx_way {
    LX_WAY_SPECULATE,
    LX_WAY_CARRY,
    LX_WAY_WAIT,
    LX_WAY_LOCAL,
    LX_WAY_COUNT
} lx_way;

/* "speculate", as in requests and answers. */
const char *lx_way_name(lx_way way);

enum { LX_BUCKETS = 14, LX_STATUSES = 40 };

/* What failed of the store. */
typedef enum lx_store_failure {
    LX_STORE_FIND,
    LX_STORE_LOAD,
    LX_STORE_WRITE,
    LX_STORE_FAILURE_COUNT
} lx_store_failure;

typedef struct lx_histogram {
    atomic_ullong buckets[LX_BUCKETS + 1]; /* each alone; the last: above all bounds */
    atomic_ullong sum_ns;
} lx_histogram;

typedef struct lx_metrics {
    atomic_ullong requests[LX_ROUTE_COUNT][LX_OUTCOME_COUNT];
    atomic_ullong losses[LX_STATUSES];   /* a prefill node given up in a request, by -status */
    atomic_ullong methods[LX_WAY_COUNT]; /* answers */
    atomic_ullong fallbacks[LX_FALLBACK_COUNT];
    atomic_ullong tokens_in, tokens_out, drafted, accepted, carried, recomputed;
    atomic_ullong computed; /* tokens of prompts, here */
    atomic_ullong store_hits, store_misses, store_reused, store_read, store_written,
        store_segments, store_dropped, store_waiting;
    atomic_ullong store_failures[LX_STORE_FAILURE_COUNT];
    atomic_ullong steps, guessed, guessed_right;
    atomic_uint queued, busy, slots, connections;
    lx_histogram wait, anchor, ttft, verify, stall, total;
} lx_metrics;

void lx_histogram_add(lx_histogram *histogram, uint64_t ns);
/* Mean in seconds; 0 without values. */
double lx_histogram_mean(const lx_histogram *histogram);

/* Note that a prefill node was given up in a request. */
void lx_metrics_lost(lx_metrics *metrics, lynx_status status);

/* Append what is known of the store, which may be NULL. */
void lx_metrics_write_store(lx_metrics *metrics, const lynx_store *store, lx_buffer *out);

/* Append everything of this node but for that. */
void lx_metrics_write(lx_metrics *metrics, lx_policy *policy, lx_buffer *out);

/* Append what is known of prefill nodes. 'names[i]' is the address of 'remotes[i]'. */
void lx_metrics_write_peers(lynx_remote *const *remotes, const char *const *names,
                            uint32_t count, lx_buffer *out);

/* ---- shared by the files ------------------------------------------------------------- */

void lx_metrics_value(lx_buffer *out, const char *name, const char *type, const char *help,
                      unsigned long long value);
void lx_metrics_head(lx_buffer *out, const char *name, const char *type, const char *help);

#endif
