/* SPDX-License-Identifier: MIT */
/* api_options.h - the members that bound what is chosen and tell how likely it was; see
 * api_request.h. False: refused, or, when the fault is not filled in, out of memory. */
#ifndef LX_SERVE_API_OPTIONS_H
#define LX_SERVE_API_OPTIONS_H

#include "serve/api_members.h"
#include "serve/api_request.h"

/* "logit_bias". */
bool lx_api_take_bias(const lx_members *body, lx_api_request *request);
/* "logprobs" and "top_logprobs". */
bool lx_api_take_logprobs(const lx_members *body, lx_api_request *request);
/* "response_format" and "grammar". The grammar that comes of it is not read here. */
bool lx_api_take_format(const lx_members *body, lx_api_request *request);

#endif
