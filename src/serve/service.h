/* SPDX-License-Identifier: MIT */
/* service.h - what all slots of a server share. */
#ifndef LX_SERVE_SERVICE_H
#define LX_SERVE_SERVICE_H

#include "lynx/serve.h"
#include "serve/metrics.h"
#include "serve/policy.h"

typedef struct lx_service {
    lynx_serve_options options;
    lx_metrics metrics;
    lx_policy policy;
    struct lx_filler *filler; /* NULL: there is no store */
} lx_service;

#endif
