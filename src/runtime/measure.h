/* SPDX-License-Identifier: MIT */
/*
 * measure.h - what runs have seen of a remote: rates, times, work that is due. Pure.
 *
 * Rates are amounts by the time that they took, where each observation halves the weight of
 * those before it: a large one counts more than a small one, whose time is mostly waiting.
 */
#ifndef LX_RUNTIME_MEASURE_H
#define LX_RUNTIME_MEASURE_H

#include "lynx/runtime.h"

typedef struct lx_rate {
    double amount, ns;
} lx_rate;

typedef struct lx_measure {
    lx_rate link;    /* bytes */
    lx_rate prefill; /* tokens */
    lx_rate steps;   /* tokens while it carried on */
    uint32_t carries;
    double round_trip_ns, wait_ns;
    lynx_time_ns measured_at; /* the link rate; 0: never */
    lynx_status failure;
    lynx_time_ns failed_at;
    uint32_t failures; /* since the last run that went well */
    char text[LYNX_TEXT_MAX];

    uint32_t requests;
    uint32_t tokens_due;
    uint64_t cache_bytes_due[LYNX_PLANES_MAX];
} lx_measure;

/* 'bytes' came in 'ns' while planes waited at the other end. Too few tell nothing: false. */
bool lx_measure_link(lx_measure *measure, uint64_t bytes, uint64_t ns, lynx_time_ns now);
/* So many came in 'ns', and it could have been more. */
void lx_measure_link_least(lx_measure *measure, uint64_t bytes, uint64_t ns, lynx_time_ns now);
void lx_measure_prefill(lx_measure *measure, uint32_t tokens, uint64_t ns);
/* It chose 'tokens' one after the other in 'ns'. */
void lx_measure_steps(lx_measure *measure, uint32_t tokens, uint64_t ns);
/* A request was taken after 'ns'. 'was_alone': none of ours was before it. */
void lx_measure_accept(lx_measure *measure, uint64_t ns, bool was_alone);
void lx_measure_failure(lx_measure *measure, lynx_status status, const char *text,
                        lynx_time_ns now);
void lx_measure_success(lx_measure *measure);

/* The part of 'status' that is measured. */
void lx_measure_tell(const lx_measure *measure, lynx_remote_status *status);

#endif
