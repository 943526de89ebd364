/* SPDX-License-Identifier: MIT */
/*
 * plane_queue.h - which plane goes next: strict priority by class, first come first served
 * inside.
 *
 *     class 0   head -> a <-> b <-> c <- tail      goes first, from the head
 *     class 1   head -> d <- tail                  only while class 0 is empty
 *     ...
 *
 * The queue owns nothing: its entries are members of the caller's structs, each in one queue at
 * most. Every call takes constant time, so that dropping a request costs its planes and no
 * more.
 */
#ifndef LX_SCHED_PLANE_QUEUE_H
#define LX_SCHED_PLANE_QUEUE_H

#include <stdint.h>

enum { LX_CLASSES = 8 };

typedef struct lx_queued {
    struct lx_queued *next;
    struct lx_queued *previous;
    uint32_t class_index; /* 0 goes first; unchanged while queued */
} lx_queued;

/* All zeros is an empty queue; heads[c] goes next of its class. */
typedef struct lx_plane_queue {
    lx_queued *heads[LX_CLASSES];
    lx_queued *tails[LX_CLASSES];
} lx_plane_queue;

/* Append 'entry'; its class is in [0, LX_CLASSES). */
void lx_plane_queue_push(lx_plane_queue *queue, lx_queued *entry);

/* Put 'entry' at the head of its class: it goes once more. */
void lx_plane_queue_push_first(lx_plane_queue *queue, lx_queued *entry);

/* Take 'entry', which is queued here, out, wherever it stands. */
void lx_plane_queue_remove(lx_plane_queue *queue, lx_queued *entry);

#endif
