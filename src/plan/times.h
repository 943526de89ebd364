/* SPDX-License-Identifier: MIT */
/* times.h - when things happen to one request by one method; private to the module. */
#ifndef LX_PLAN_TIMES_H
#define LX_PLAN_TIMES_H

#include "lynx/plan.h"

/* Moments that the times of all tokens follow from. */
typedef struct lx_course {
    bool is_possible;
    double prefilled;        /* end of the prefill, as seen from the decode node */
    double first;            /* the first token is here */
    double anchor, complete; /* planes are in the engine, and it is free */
    double step;             /* from token to token on the decode node */
    double draft_step;       /* from draft to draft */
    uint32_t drafted;
    double verify_begin, verify_end;
    double bytes;
    double source_s, codec_s; /* the prefill node makes the cache, the decode node reads it */
    double carry_begin, carry_step; /* the prefill node's tokens behind the first */
    uint32_t carried; /* tokens of the prefill node before the decode node goes on */
    double resumed;   /* ... which has its first one then */
} lx_course;

void lx_course_init(lx_course *course, const lynx_plan_request *request,
                    lynx_plan_method method);

/* Expected time of valid token 'index', 1 = first. */
double lx_course_token(const lx_course *course, const lynx_plan_request *request,
                       lynx_plan_method method, uint32_t index);

/* Fill what follows from 'anchor' and 'complete': the steps, the drafts and their pass. */
void lx_course_draft(lx_course *course, const lynx_plan_request *request);

/* Token 'behind' (>= 1) behind the first one when 'accepted' drafts stand. */
double lx_course_token_if(const lx_course *course, uint32_t accepted, uint32_t behind);

/* Bytes of what a method sends first, and of the rest. */
typedef struct lx_parts {
    double first, rest;
} lx_parts;

lx_parts lx_parts_of(const lynx_plan_cache *cache, lynx_plan_method method);

/* The method codes pages; otherwise they travel as they are. */
bool lx_is_coded(lynx_plan_method method);
bool lx_is_possible(const lynx_plan_request *request, lynx_plan_method method);

/* Drafts that stand, on average. */
double lx_course_accepted(const lx_course *course, const lynx_plan_request *request);

#endif
