/* SPDX-License-Identifier: MIT */
#include "plan/event_heap.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

static bool is_before(const lx_event *a, const lx_event *b)
{
    return a->time < b->time || (a->time == b->time && a->order < b->order);
}

static lynx_status grow(lx_event_heap *heap)
{
    const size_t room = heap->room ? 2 * heap->room : 256;
    lx_event *events = lx_alloc(heap->memory, room, sizeof(*events));
    LX_REQUIRE(events, LYNX_ERR_MEMORY);
    if (heap->count)
        memcpy(events, heap->events, heap->count * sizeof(*events));
    lx_free(heap->memory, heap->events, heap->room, sizeof(*events));
    heap->events = events;
    heap->room = room;
    return LYNX_OK;
}

lynx_status lx_event_add(lx_event_heap *heap, double time, uint32_t type, uint32_t index,
                         uint32_t round)
{
    if (heap->count == heap->room)
        LX_TRY(grow(heap));
    const lx_event event = {time, heap->added++, type, index, round};
    size_t at = heap->count++;
    while (at > 0 && is_before(&event, &heap->events[(at - 1) / 2])) {
        heap->events[at] = heap->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->events[at] = event;
    return LYNX_OK;
}

bool lx_event_next(lx_event_heap *heap, lx_event *event)
{
    if (heap->count == 0)
        return false;
    *event = heap->events[0];
    const lx_event last = heap->events[--heap->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count &&
            is_before(&heap->events[child + 1], &heap->events[child]))
            child++;
        if (is_before(&last, &heap->events[child]))
            break;
        heap->events[at] = heap->events[child];
        at = child;
    }
    heap->events[at] = last;
    return true;
}

void lx_event_heap_fini(lx_event_heap *heap)
{
    lx_free(heap->memory, heap->events, heap->room, sizeof(*heap->events));
    *heap = (lx_event_heap){.memory = heap->memory};
}
