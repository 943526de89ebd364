/* SPDX-License-Identifier: MIT */
/*
 * toy_nodes.h - nodes on the toy engine over real TCP on loopback, for tests of what happens to
 * them. A mistake of the test itself aborts with a line: it may be on any thread.
 */
#ifndef TEST_SUPPORT_TOY_NODES_H
#define TEST_SUPPORT_TOY_NODES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/toy_engine.h"
#include "lynx/runtime.h"
#include "support/fault_link.h"
#include "support/rng.h"

enum { TOY_ANSWER = 16, TOY_PROMPT_MAX = 400 };

void toy_check(bool is_right, const char *file, int line, const char *what);
#define TOY_CHECK(condition) toy_check(condition, __FILE__, __LINE__, #condition)

/* Descriptors and threads of this process. */
unsigned toy_count_descriptors(void);
unsigned toy_count_threads(void);
/* Processor time of this process, in nanoseconds. */
uint64_t toy_cpu_ns(void);
/* Set a stop flag that another thread reads. */
void toy_set(volatile sig_atomic_t *flag);

/* ---- a prefill node that can be started anew on its port ----------------------------- */

typedef struct toy_prefill {
    /* Set before start. */
    lx_toy_options toy;
    lynx_prefill_options options; /* engine, stop, log are filled in */
    uint64_t rate;                /* bits a second of each connection; 0: no bound */
    const char *host;             /* to listen on. Default 127.0.0.1 */
    char log[4096];               /* lines, as many as fit */

    char address[32];
    uint64_t resent, unacknowledged, queued_top; /* of all its lives that ended */
    uint64_t requests, resumes, sessions;
    uint32_t lives;
    lynx_status status; /* of the last life */
    char text[LYNX_TEXT_MAX];

    pthread_mutex_t lock;     /* node */
    pthread_mutex_t log_lock; /* a connect may wait for a thread that logs */
    pthread_t accepts, works;
    int descriptor;
    lynx_engine *engine;
    lynx_prefill_node *node;
    fault_tally *faults; /* of this life's connections */
    volatile sig_atomic_t stop;
    atomic_bool must_close;
} toy_prefill;

void toy_prefill_init(toy_prefill *p);
void toy_prefill_start(toy_prefill *p);
/* End its life, with its connections broken first (as by kill -9) or told (as by SIGTERM), and
 * begin another. Not from several threads. */
void toy_prefill_restart(toy_prefill *p, bool is_told);
/* Wait until its run has ended by itself (is_once). */
void toy_prefill_await(toy_prefill *p);
void toy_prefill_finish(toy_prefill *p);
bool toy_prefill_has_logged(toy_prefill *p, const char *words);

/* ---- a decode node ------------------------------------------------------------------- */

typedef struct toy_decode {
    lx_toy_options toy;
    lynx_remote_options remote; /* session.model, dial are filled in */
    const char *address;
    int network; /* descriptor of the network namespace that it dials in; -1: ours */
    lynx_engine *engine;
    lynx_remote *handle;

    /* Faults of its connections: one in each, but for 'whole' of a hundred. */
    bool has_faults;
    uint32_t whole;
    uint64_t fault_bytes; /* they come before so many */
    uint64_t stall_ns;    /* at most */
    test_rng rng;         /* of the thread that dials */
    fault_tally faults;
    atomic_uint dials;
} toy_decode;

void toy_decode_init(toy_decode *d, const char *address);
void toy_decode_open(toy_decode *d);
void toy_decode_close(toy_decode *d); /* the remote alone */
void toy_decode_finish(toy_decode *d);

typedef struct toy_answer {
    lynx_token tokens[TOY_ANSWER];
    lynx_time_ns times[TOY_ANSWER];
    lynx_run_result result;
    lynx_status status;
    char text[LYNX_TEXT_MAX];
} toy_answer;

void toy_prompt(lynx_token *prompt, uint32_t count, uint32_t seed);
/* 'options' without engine and answer_tokens_max. */
void toy_run(toy_answer *answer, lynx_engine *engine, lynx_remote *const remotes[],
             uint32_t count, lynx_run_options *options);
/* The answer that 'options' must give: prefilled and decoded here. */
void toy_want(toy_answer *answer, lynx_engine *engine, const lynx_run_options *options);
bool toy_answers_are_equal(const toy_answer *a, const toy_answer *b);

#endif
