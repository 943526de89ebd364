/* SPDX-License-Identifier: MIT */
/*
 * cluster.h - many requests on many nodes, simulated; private to the module.
 *
 *     arrival -> prefill node (one request after the other, pieces leave as they are made)
 *             -> its link (anchors before residuals; an anchor interrupts a residual)
 *             -> decode node (slots, first come first served) -> end
 *
 *     cluster.c       requests, nodes and what they do when something happens
 *     cluster_link.c  links
 *     simulate.c      the whole run, and what it comes to
 */
#ifndef LX_PLAN_CLUSTER_H
#define LX_PLAN_CLUSTER_H

#include "lynx/plan.h"
#include "plan/event_heap.h"
#include "plan/times.h"

enum { LX_CLASSES = 2 }; /* anchors, residuals */
static const uint32_t LX_NOBODY = UINT32_MAX;

typedef enum lx_happening {
    LX_ARRIVAL, /* a request */
    LX_PIECE,   /* of a request's prompt is prefilled; 'round': tokens so far */
    LX_SENT,    /* the link has sent what it was sending; 'round' tells whether it still does */
    LX_ANCHOR,  /* plane 0 of a request is at its decode node */
    LX_COMPLETE, /* all planes are */
    LX_END       /* the answer is complete */
} lx_happening;

/* Bytes of one request that wait for a link. */
typedef struct lx_load {
    uint32_t job, next;
    double bytes;
    bool is_last; /* of its class of the request */
} lx_load;

typedef struct lx_link {
    uint32_t head[LX_CLASSES], tail[LX_CLASSES];
    bool is_busy;
    uint32_t sending; /* class of the load that is being sent */
    double since;     /* it has been sent, with what is left of it */
    uint32_t round;   /* sendings so far: a later one makes an LX_SENT void */
    double waiting_bytes, busy_s;
} lx_link;

typedef struct lx_job {
    double at;
    uint32_t tokens, source, target; /* nodes */
    double began, first;
    double anchor, complete; /* NAN until then */
    double wanted, slot;     /* asked for one and got it; NAN until then */
    double counted, end;     /* times of tokens */
    uint32_t next;           /* behind it in the queue for slots */
} lx_job;

typedef struct lx_target {
    uint32_t given; /* requests that it has or will have */
    uint32_t busy;  /* slots */
    uint32_t head, tail;
    double engine_free; /* for prefills of its own */
} lx_target;

typedef struct lx_cluster {
    const lynx_plan_cluster *options;
    lynx_plan_method method;
    const lynx_allocator *memory;
    lx_event_heap heap;
    lx_job *jobs;
    lx_link *links;     /* one of each prefill node */
    double *free_at;    /* ... and when it is through with what it was given: prefills, or bytes
                           of stored caches */
    lx_target *targets; /* decode nodes */
    lx_load *loads;
    size_t load_count, load_room;
    uint32_t free_load;
    uint64_t random;
    double now, source_busy_s, slot_busy_s, bytes;
    double in_system, in_system_s; /* requests now, and summed over time */
} lx_cluster;

/* A number in (0, 1]. */
double lx_cluster_draw(lx_cluster *cluster);

lynx_status lx_cluster_happen(lx_cluster *cluster, const lx_event *event);

/* ---- cluster_link.c -------------------------------------------------------------------- */

void lx_link_init(lx_link *link);
double lx_link_rate(const lx_cluster *cluster); /* bytes a second */

/* 'bytes' of 'job' wait for the link of its prefill node from now on. */
lynx_status lx_link_add(lx_cluster *cluster, uint32_t job, uint32_t class, double bytes,
                        bool is_last);

/* The load is sent: go on with the next. */
lynx_status lx_link_sent(lx_cluster *cluster, uint32_t link, uint32_t round);

#endif
