/* SPDX-License-Identifier: MIT */
/* choose.h - what counts in a choice; private to the module. */
#ifndef LX_PLAN_CHOOSE_H
#define LX_PLAN_CHOOSE_H

#include "lynx/plan.h"

/* Index of the token whose time counts. */
uint32_t lx_counted_token(const lynx_plan_request *request, const lynx_plan_options *options);

#endif
