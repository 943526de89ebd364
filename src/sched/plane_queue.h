/* SPDX-License-Identifier: MIT */
/*
 * plane_queue.h - which plane goes next: strict priority by class, first come first served inside.
 *
 * The queue owns nothing: its entries are members of the caller's structs.
 */
#ifndef LX_SCHED_PLANE_QUEUE_H
#define LX_SCHED_PLANE_QUEUE_H

#include <stdint.h>

enum { LX_CLASSES = 8 };

typedef struct lx_queued {
    struct lx_queued *next;
    uint32_t class_index; /* 0 goes first */
} lx_queued;

typedef struct lx_plane_queue {
    lx_queued *heads[LX_CLASSES];
    lx_queued *tails[LX_CLASSES];
} lx_plane_queue;

/* Append 'entry'; its class is in [0, LX_CLASSES). */
void lx_plane_queue_push(lx_plane_queue *queue, lx_queued *entry);

/* The entry that goes next, still queued; NULL when there is none. */
lx_queued *lx_plane_queue_first(const lx_plane_queue *queue);

/* Take 'entry' out, wherever it stands. Cost: its distance from the head of its class. */
void lx_plane_queue_remove(lx_plane_queue *queue, lx_queued *entry);

#endif
