/* SPDX-License-Identifier: MIT */
/* prefill_side.h - the prefill node of a daemon: its options, and the doors that peers come in
 * by. */
#ifndef LYNXD_PREFILL_SIDE_H
#define LYNXD_PREFILL_SIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "cli.h"
#include "lynx/runtime.h"

/* ---- options ------------------------------------------------------------------------- */

enum {
    LYNXD_OPT_LISTEN = CLI_OPT_OWN,
    LYNXD_OPT_PORT_FILE,
    LYNXD_OPT_PEER_CONNECTIONS,
    LYNXD_OPT_SESSIONS,
    LYNXD_OPT_REQUESTS,
    LYNXD_OPT_CONNECTS,
    LYNXD_OPT_PLANE_QUEUE,
    LYNXD_OPT_CARRY,
    LYNXD_OPT_RESUME,
    LYNXD_OPT_RESIDUAL_AGE,
    LYNXD_OPT_STATUS,
    LYNXD_OPT_HTTP_SIDE /* first number of http_side.h */
};

#define LYNXD_PREFILL_OPTIONS                                                                  \
    {"listen", required_argument, NULL, LYNXD_OPT_LISTEN},                                     \
        {"port-file", required_argument, NULL, LYNXD_OPT_PORT_FILE},                           \
        {"max-sessions", required_argument, NULL, LYNXD_OPT_SESSIONS},                         \
        {"max-requests", required_argument, NULL, LYNXD_OPT_REQUESTS},                         \
        {"max-connects", required_argument, NULL, LYNXD_OPT_CONNECTS},                         \
        {"max-queue", required_argument, NULL, LYNXD_OPT_PLANE_QUEUE},                         \
        {"carry-tokens", required_argument, NULL, LYNXD_OPT_CARRY},                            \
        {"resume", required_argument, NULL, LYNXD_OPT_RESUME},                                 \
        {"residual-age", required_argument, NULL, LYNXD_OPT_RESIDUAL_AGE},                     \
    {                                                                                          \
        "status", required_argument, NULL, LYNXD_OPT_STATUS                                    \
    }

extern const char lynxd_prefill_help[]; /* of the limits */

typedef struct prefill_side {
    const char *command; /* for messages */
    const cli_options *shared;
    lynx_session_options session;
    uint32_t connects_per_s, queue_mb, carry_tokens;
    uint64_t status_ns;
    const char *address; /* NULL: no peers from elsewhere */
    const char *port_file;
    bool is_once;
    lynx_time_ns status_at; /* the last line about the queue */
} prefill_side;

void prefill_side_init(prefill_side *side, const char *command, const cli_options *shared);

/* As cli_take_option: CLI_OK, CLI_USAGE (said so), or -1: not one of them. */
int prefill_side_take_option(prefill_side *side, int option, const char *value);

/* ---- node ---------------------------------------------------------------------------- */

/* CLI_OK, or an exit code after a message. */
int prefill_side_create(const prefill_side *side, lynx_engine *engine,
                        lynx_prefill_node **node);

/* The line about the queue, if it is time for it. To be called now and then. */
void prefill_side_turn(prefill_side *side, lynx_prefill_node *node);
void prefill_side_log_totals(lynx_prefill_node *node);

/* Nothing new begins at the node any more. Says so. */
void prefill_side_drain(lynx_prefill_node *node, uint64_t grace_ns);

/* ---- door ---------------------------------------------------------------------------- */

/* A thread that lets peers in by one listening socket. */
typedef struct lynxd_door {
    const cli_options *shared; /* how they prove themselves */
    lynx_prefill_node *node;
    int descriptor;
    void (*turn)(void *user); /* called some five times a second; may be NULL */
    void *user;
    atomic_bool must_close;
    pthread_t thread;
} lynxd_door;

bool lynxd_door_open(lynxd_door *door);
void lynxd_door_close(lynxd_door *door); /* the descriptor stays the caller's */

#endif
