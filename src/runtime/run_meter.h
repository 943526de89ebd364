/* SPDX-License-Identifier: MIT */
/* run_meter.h - what one request of a run shows of its remote. All with the pump's lock held.
 */
#ifndef LX_RUNTIME_RUN_METER_H
#define LX_RUNTIME_RUN_METER_H

#include "runtime/measure.h"

typedef struct lx_run_meter {
    lx_measure *measure; /* of the remote; NULL: no request is under way */
    lynx_time_ns asked_at, accepted_at;
    lynx_time_ns prefilled_at, arrived_at; /* the whole prompt; the newest plane. 0: not yet */
    uint64_t accepted_bytes, prefilled_bytes, arrived_bytes; /* that the session had received */
    uint32_t tokens, prefilled;
    uint64_t page_bytes, pages; /* of the engine's type, each; how many */
    uint32_t plane_count;
    uint64_t planes_seen[LYNX_PLANES_MAX];
    bool was_alone;
    bool is_carried;
    uint32_t carried; /* index of the newest token; those behind the first are carried */
    lynx_time_ns carry_from, carry_to;
} lx_run_meter;

/* A request was made at 'now' for a prompt of 'tokens', whose cache has so many bytes in the
 * engine's type on so many pages; 0 pages: none travel. 'is_carried': the remote may carry on.
 */
void lx_meter_begin(lx_run_meter *meter, lx_measure *measure, lynx_time_ns now, uint32_t tokens,
                    uint64_t cache_bytes, uint64_t pages, uint32_t plane_count,
                    bool is_carried);
/* So many of the pages do not travel after all. */
void lx_meter_left_out(lx_run_meter *meter, uint64_t pages);
void lx_meter_event(lx_run_meter *meter, const lynx_event *event);

/* Nothing more is wanted. 'bytes' of the session are here at 'now'. 'status' is what the remote
 * failed with, LYNX_OK if it did not; LYNX_ERR_TIMEOUT and LYNX_ERR_CANCELLED are the run's own
 * decisions. No effect without a request. */
void lx_meter_end(lx_run_meter *meter, uint64_t bytes, lynx_time_ns now, lynx_status status,
                  const char *text);

#endif
