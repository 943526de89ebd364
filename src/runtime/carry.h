/* SPDX-License-Identifier: MIT */
/* carry.h - a prefill node chooses further tokens behind its prompt. */
#ifndef LX_RUNTIME_CARRY_H
#define LX_RUNTIME_CARRY_H

#include "lynx/engine.h"
#include "lynx/memory.h"

/* Called with each token, while the engine has the logits that it was chosen from in row 'row';
 * an error ends carrying on with that status. */
typedef lynx_status lx_carry_send(void *user, lynx_token token, uint32_t row);

typedef struct lx_carry {
    lynx_engine *engine; /* has the prompt in its cache, as tokens are to be decoded on it */
    const lynx_sampling *sampling;
    bool guesses; /* beside the steps */
    const lynx_allocator *memory;
    lx_carry_send *send;
    void *user;
} lx_carry;

/* Choose the tokens of the answer behind 'first_token', up to 'answer_tokens' in all. */
lynx_status lx_carry_on(const lx_carry *carry, const lynx_token *prompt, uint32_t prompt_tokens,
                        lynx_token first_token, uint32_t answer_tokens);

#endif
