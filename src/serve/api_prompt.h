/* SPDX-License-Identifier: MIT */
/* api_prompt.h - the members that carry the prompt; see api_request.h. False: refused, or, when
 * the fault is not filled in, out of memory. */
#ifndef LX_SERVE_API_PROMPT_H
#define LX_SERVE_API_PROMPT_H

#include "serve/api_members.h"
#include "serve/api_request.h"

/* "messages" of a chat. */
bool lx_api_take_messages(const lx_members *body, lx_api_request *request);
/* "prompt" of a completion. */
bool lx_api_take_prompt(const lx_members *body, lx_api_request *request);
/* "content" to be tokenized. */
bool lx_api_take_content(const lx_members *body, lx_api_request *request);

#endif
