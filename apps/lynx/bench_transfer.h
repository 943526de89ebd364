/* SPDX-License-Identifier: MIT */
/*
 * bench_transfer.h - one measured transfer between two processes that this one starts.
 *
 * The sending process always has residuals to send and, at random times, an anchor that begins
 * with the time at which it was ready; the receiving process reads that when the anchor is
 * whole. Both run on one machine and so on one clock.
 */
#ifndef BENCH_TRANSFER_H
#define BENCH_TRANSFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lynx/tls.h"
#include "net_space.h"

enum { TRANSFER_SAMPLES_MAX = 512, TRANSFER_CHUNK_BYTES = 256 << 10 };

typedef enum transfer_kind {
    TRANSFER_LYNX,            /* sender, receiver and pump of the public API */
    TRANSFER_TWO_CONNECTIONS, /* anchors on one, residuals on the other, nobody in charge */
    TRANSFER_BARE             /* a loop of send and recv, or of SSL_write and SSL_read */
} transfer_kind;

typedef struct transfer_case {
    transfer_kind kind;
    net_space *space; /* NULL: loopback */
    bool is_paced;    /* on loopback, by the built-in pacer */
    double link_mbps, rtt_ms;
    uint32_t page_bytes;
    uint32_t samples; /* anchors; 0: only residuals, for 'seconds' */
    bool is_idle;     /* not even residuals */
    double seconds;
    const char *congestion;        /* NULL: the system's */
    lynx_credentials *credentials; /* NULL: no TLS */
} transfer_case;

/* What the two processes share with the one that started them. */
typedef struct transfer_state {
    transfer_case task;
    atomic_uint port;
    atomic_bool has_begun, has_ended; /* of the measured time, said by the sending process */
    atomic_bool is_over;              /* the receiving process has all that it wants */
    atomic_uint sample_count;
    double latencies_ms[TRANSFER_SAMPLES_MAX];
    atomic_ullong bytes; /* payload of planes that arrived */
    uint64_t measured_bytes;
    double measured_s;
    double cpu_s[2]; /* of the sending and the receiving process within that time */
    char text[2][256];
} transfer_state;

/* Run it to its end; false when it failed ('text' of the state says why) or cli_stop was set.
 */
bool transfer_run(transfer_state *state);

/* The state lives in memory that children share; NULL: none. */
transfer_state *transfer_state_new(void);
void transfer_state_free(transfer_state *state);

/* ---- for the files that implement the kinds ------------------------------------------ */

bool transfer_fail(transfer_state *state, int side, const char *what, const char *why);

/* The address to listen on or to connect to, in a buffer of 64 bytes. */
void transfer_address(const transfer_state *state, char *address);

/* Clock of the sending process. */
typedef struct transfer_plan {
    lynx_time_ns begin_at, next_anchor, end_at;
    uint32_t anchors;
    uint32_t random;
    double cpu_s;
} transfer_plan;

void transfer_plan_start(transfer_plan *plan, const transfer_state *state);

/* Begin and end the measured time; true once it is over. */
bool transfer_plan_look(transfer_plan *plan, transfer_state *state, lynx_time_ns now);

/* True when an anchor is due, which is counted. */
bool transfer_plan_takes_anchor(transfer_plan *plan, const transfer_state *state,
                                lynx_time_ns now);

/* The receiving process: begin and end the measured time, true once it is over. */
typedef struct transfer_meter {
    bool has_begun;
    lynx_time_ns begun_at;
    uint64_t bytes;
    double cpu_s;
} transfer_meter;

bool transfer_meter_look(transfer_meter *meter, transfer_state *state);

/* An anchor is whole; 'data' is its beginning. */
void transfer_note_anchor(transfer_state *state, const uint8_t *data);

bool transfer_lynx_send(transfer_state *state);
bool transfer_lynx_receive(transfer_state *state);
bool transfer_plain_send(transfer_state *state);
bool transfer_plain_receive(transfer_state *state);

#endif
