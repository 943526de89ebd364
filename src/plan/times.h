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
    uint32_t drafted;
    double verify_begin, verify_end;
    double bytes;
    double source_s, codec_s; /* the prefill node makes the cache, the decode node reads it */
    uint32_t carried;         /* tokens of the prefill node before the decode node goes on */
    double resumed;           /* ... which has its first one then */
} lx_course;

void lx_course_init(lx_course *course, const lynx_plan_request *request,
                    lynx_plan_method method);

/* Expected time of valid token 'index', 1 = first. */
double lx_course_token(const lx_course *course, const lynx_plan_request *request,
                       lynx_plan_method method, uint32_t index);

/* Drafts that stand, on average. */
double lx_course_accepted(const lx_course *course, const lynx_plan_request *request);

#endif
