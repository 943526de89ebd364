/* SPDX-License-Identifier: MIT */
#include "runtime/carry.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "runtime/next_token.h"

/* All tokens from 'count' up to 'room' of them. */
static lynx_status choose(const lx_carry *c, lx_next *next, lynx_token *history, uint32_t count,
                          uint32_t room)
{
    for (; count < room; count++) {
        LX_TRY(lx_next_choose(next, history, count, room - count, &history[count]));
        LX_TRY(c->send(c->user, history[count], next->row));
    }
    return LYNX_OK;
}

lynx_status lx_carry_on(const lx_carry *c, const lynx_token *prompt, uint32_t prompt_tokens,
                        lynx_token first_token, uint32_t answer_tokens)
{
    const uint32_t room = prompt_tokens + answer_tokens;
    lx_next next;
    lynx_token *history = lx_alloc(c->memory, room, sizeof(*history));
    LX_REQUIRE(history, LYNX_ERR_MEMORY);
    memcpy(history, prompt, prompt_tokens * sizeof(*history));
    history[prompt_tokens] = first_token;
    lynx_status status =
        lx_next_init(&next, c->engine, c->sampling, prompt_tokens, room, c->guesses, c->memory);
    if (status == LYNX_OK)
        status = choose(c, &next, history, prompt_tokens + 1, room);
    lx_next_fini(&next);
    lx_free(c->memory, history, room, sizeof(*history));
    return status;
}
