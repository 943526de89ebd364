/* SPDX-License-Identifier: MIT */
/* transfer.h - when the prompt's cache is there and when it has travelled; private to the
 * module.
 */
#ifndef LX_PLAN_TRANSFER_H
#define LX_PLAN_TRANSFER_H

#include "lynx/plan.h"

/* The prefill at the prefill node, seen there. */
typedef struct lx_source {
    double begin, end; /* of the prefill; both the moment of the order if the cache is stored */
    double first_piece; /* the first piece is ready to leave */
    double last_part;   /* of the cache, made by the last piece, which may be a short one */
    double late_piece; /* the last piece that is not shorter is ready; with what comes behind */
    double late_part;  /* it, it makes this part */
} lx_source;

lx_source lx_source_of(const lynx_plan_request *request, double encode_s);

/* When 'bytes', made as 'source' tells, have reached the decode node. 'ahead' bytes leave
 * before them. */
double lx_arrival(const lynx_plan_request *request, const lx_source *source, double bytes,
                  double ahead);

/* The first of them arrives. */
double lx_first_arrival(const lynx_plan_request *request, const lx_source *source,
                        double ahead);

#endif
