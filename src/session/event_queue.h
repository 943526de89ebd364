/* SPDX-License-Identifier: MIT */
/*
 * event_queue.h - events that wait for the owner of a session.
 *
 * A ring that doubles when it is full, up to LX_EVENTS_MAX: an owner that takes events after
 * each read never comes near, and a peer cannot fill the memory of one that does not. Events
 * that must come even without memory (an end) have places of their own elsewhere.
 */
#ifndef LX_SESSION_EVENT_QUEUE_H
#define LX_SESSION_EVENT_QUEUE_H

#include "lynx/session.h"

enum { LX_EVENTS_MAX = 1 << 20 };

typedef struct lx_event_slot lx_event_slot;

typedef struct lx_event_queue {
    const lynx_allocator *memory;
    lx_event_slot *slots; /* 'capacity' of them, a power of two, or none */
    size_t capacity, first, count;
    char *taken_text; /* of the event that was taken last */
    size_t taken_bytes;
} lx_event_queue;

void lx_event_queue_init(lx_event_queue *queue, const lynx_allocator *memory);
void lx_event_queue_fini(lx_event_queue *queue);

/* Append; 'text' is copied, NULL counts as "". LYNX_ERR_MEMORY or LYNX_ERR_LIMIT: nothing was.
 */
lynx_status lx_event_queue_push(lx_event_queue *queue, const lynx_event *event,
                                const char *text);

/* Take the oldest; its text is valid until the next call. False when there is none. */
bool lx_event_queue_take(lx_event_queue *queue, lynx_event *event);

#endif
