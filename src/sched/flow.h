/* SPDX-License-Identifier: MIT */
/*
 * flow.h - how many bytes may be under way on a connection before a residual joins them.
 *
 *     sent ------------------------------->        what the link took
 *     reported --------->                          what the peer says it has
 *               |<------ under way ------>|        at most the window, for residuals
 *
 * Whatever is under way when an anchor comes stands in front of it, in our kernel, in the
 * network's queues or in the peer's. The window is what the link carries in a round trip, and
 * a little more: enough to keep it busy, little enough to be overtaken.
 *
 * The rate is the largest of the last samples, since a sample is small for many reasons. While
 * it still grows, the window is twice as large. The round trip is the smallest, since every
 * queue lengthens it; as the window itself keeps a small queue, the measurement is renewed with
 * half a window, for a few round trips in ten seconds.
 *
 * A busy machine answers later than its smallest round trip tells, and a window that is too
 * small for it would measure the rate that it causes. So two samples of eight are taken with a
 * quarter more: if that brings clearly more bytes, the window is stretched, else it shrinks
 * back step by step.
 *
 * Source: delays of late anchors on emulated links of 10 Mbit/s to 10 Gbit/s, bench/README.md.
 */
#ifndef LX_SCHED_FLOW_H
#define LX_SCHED_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "lynx/memory.h"

enum { LX_FLOW_SAMPLES = 8 };

typedef struct lx_flow {
    uint64_t sent, reported; /* bytes of the connection */

    /* A byte whose report is waited for. */
    bool has_probe;
    uint64_t probe_offset;
    lynx_time_ns probe_time;
    uint64_t round_trip_ns; /* smallest; 0: none measured yet */
    lynx_time_ns round_trip_time;

    /* Measuring the round trip anew, without our own queue. */
    uint32_t renewals;   /* probes that are still to come; 0: not now */
    uint64_t renewed_ns; /* smallest of those that came; 0: none */

    /* A sample of the rate lasts from the sending of a byte to its report at least: so a stall
     * of the network counts as well as the burst that ends it. */
    bool has_sample;
    uint64_t sample_reported; /* when it began */
    uint64_t sample_offset;   /* the byte */
    lynx_time_ns sample_time; /* begin, later by the time in which nothing was under way */
    lynx_time_ns empty_time;  /* since when that is so */
    bool is_starved;          /* the sender had nothing to send within it: a lower bound */
    uint64_t samples[LX_FLOW_SAMPLES]; /* bytes a second */
    uint32_t next_sample;

    /* The start. */
    uint64_t grown_rate;   /* largest rate that was a clear growth */
    uint32_t flat_samples; /* since then */

    /* Trying whether a larger window brings more. */
    uint32_t phase;       /* which sample of the eight comes next */
    uint64_t plains[2];   /* the two largest samples without more window */
    uint64_t last_plain;  /* the second of them in the last try */
    uint32_t stretch_pct; /* of the window; 0: as 100 */
} lx_flow;

/* The link took 'size' bytes. */
void lx_flow_sent(lx_flow *flow, lynx_time_ns now, uint64_t size);

/* There is nothing to send, though there is room. */
void lx_flow_starve(lx_flow *flow);

/* The peer has 'total' bytes of the connection; false when it cannot. */
bool lx_flow_report(lx_flow *flow, lynx_time_ns now, uint64_t total);

/* Largest of the last samples, bytes a second; 0 before the first. */
uint64_t lx_flow_rate(const lx_flow *flow);

/* Bytes of the next chunk. */
uint32_t lx_flow_chunk(const lx_flow *flow);

/* Bytes that may be under way when a residual chunk begins. */
uint64_t lx_flow_window(const lx_flow *flow);

/* True when a residual chunk may begin. */
bool lx_flow_has_room(const lx_flow *flow);

#endif
