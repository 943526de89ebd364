/* SPDX-License-Identifier: MIT */
#include "session/event_queue.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

enum { CAPACITY_FIRST = 64 };

struct lx_event_slot {
    lynx_event event;
    char *text; /* NULL: "" */
    size_t text_bytes;
};

void lx_event_queue_init(lx_event_queue *queue, const lynx_allocator *memory)
{
    memset(queue, 0, sizeof(*queue));
    queue->memory = memory;
}

void lx_event_queue_fini(lx_event_queue *queue)
{
    lynx_event event;
    while (lx_event_queue_take(queue, &event))
        continue;
    lx_free(queue->memory, queue->slots, queue->capacity, sizeof(*queue->slots));
    queue->slots = NULL;
    queue->capacity = 0;
}

static lynx_status grow(lx_event_queue *queue)
{
    const size_t capacity = queue->capacity ? 2 * queue->capacity : CAPACITY_FIRST;
    LX_REQUIRE(capacity <= LX_EVENTS_MAX, LYNX_ERR_LIMIT);
    lx_event_slot *slots = lx_alloc(queue->memory, capacity, sizeof(*slots));
    LX_REQUIRE(slots, LYNX_ERR_MEMORY);
    for (size_t i = 0; i < queue->count; i++)
        slots[i] = queue->slots[(queue->first + i) & (queue->capacity - 1)];
    lx_free(queue->memory, queue->slots, queue->capacity, sizeof(*slots));
    queue->slots = slots;
    queue->capacity = capacity;
    queue->first = 0;
    return LYNX_OK;
}

lynx_status lx_event_queue_push(lx_event_queue *queue, const lynx_event *event,
                                const char *text)
{
    lx_event_slot slot = {.event = *event};
    if (queue->count == queue->capacity)
        LX_TRY(grow(queue));
    if (text && *text) {
        slot.text_bytes = strlen(text) + 1;
        slot.text = lx_alloc(queue->memory, slot.text_bytes, 1);
        LX_REQUIRE(slot.text, LYNX_ERR_MEMORY);
        memcpy(slot.text, text, slot.text_bytes);
    }
    queue->slots[(queue->first + queue->count) & (queue->capacity - 1)] = slot;
    queue->count++;
    return LYNX_OK;
}

bool lx_event_queue_take(lx_event_queue *queue, lynx_event *event)
{
    lx_free(queue->memory, queue->taken_text, queue->taken_bytes, 1);
    queue->taken_text = NULL;
    if (queue->count == 0)
        return false;
    const lx_event_slot *slot = &queue->slots[queue->first];
    queue->first = (queue->first + 1) & (queue->capacity - 1);
    queue->count--;
    queue->taken_text = slot->text;
    queue->taken_bytes = slot->text_bytes;
    *event = slot->event;
    event->text = slot->text ? slot->text : "";
    return true;
}
