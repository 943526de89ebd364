/* SPDX-License-Identifier: MIT */
/* held_prompt.h - the prompt whose cache the engine of a prefill node still has. */
#ifndef LX_RUNTIME_HELD_PROMPT_H
#define LX_RUNTIME_HELD_PROMPT_H

#include "lynx/memory.h"
#include "lynx/session.h"

/* Zeroed: none. The owner sets 'is_valid' when the cache is there as the prefill left it. */
typedef struct lx_held_prompt {
    lynx_token *tokens;
    uint32_t capacity, count;
    bool is_valid;
    lynx_token first_token;
    lynx_sampling sampling; /* that chose 'first_token' */
} lx_held_prompt;

/* Another prompt takes the place; it is not valid yet. */
lynx_status lx_held_prompt_set(lx_held_prompt *held, const lynx_token *tokens, uint32_t count,
                               const lynx_allocator *memory);
void lx_held_prompt_fini(lx_held_prompt *held, const lynx_allocator *memory);

/* Only the first token of such a request is held: what chose it has nothing that ends with the
 * request, and nobody asks how likely it was. */
bool lx_request_is_plain(const lynx_request *request);

/* Where a request has a token that is not below 'vocabulary'; NULL: nowhere. */
const char *lx_request_foreign(const lynx_request *request, uint32_t vocabulary);

/* Cache and first token are those that 'request' asks for. */
bool lx_held_prompt_serves(const lx_held_prompt *held, const lynx_request *request);

#endif
