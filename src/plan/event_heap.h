/* SPDX-License-Identifier: MIT */
/* event_heap.h - what happens next in a simulation; private to the module. */
#ifndef LX_PLAN_EVENT_HEAP_H
#define LX_PLAN_EVENT_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/memory.h"
#include "lynx/status.h"

typedef struct lx_event {
    double time;
    uint64_t order; /* of events at the same time: as they were added */
    uint32_t type, index, round;
} lx_event;

typedef struct lx_event_heap {
    lx_event *events;
    size_t count, room;
    uint64_t added;
    const lynx_allocator *memory;
} lx_event_heap;

/* LYNX_OK or LYNX_ERR_MEMORY. */
lynx_status lx_event_add(lx_event_heap *heap, double time, uint32_t type, uint32_t index,
                         uint32_t round);

/* The earliest; false if there is none. */
bool lx_event_next(lx_event_heap *heap, lx_event *event);

void lx_event_heap_fini(lx_event_heap *heap);

#endif
