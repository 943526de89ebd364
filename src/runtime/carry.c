/* SPDX-License-Identifier: MIT */
#include "runtime/carry.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

static lynx_status choose(const lx_carry *c, lynx_token *history, uint32_t prompt_tokens,
                          uint32_t count)
{
    LX_TRY(c->engine->ops->step(c->engine, history[count - 1]));
    LX_TRY(c->engine->ops->sample(c->engine, 0, c->sampling, history, prompt_tokens, count,
                                  &history[count]));
    return c->send(c->user, history[count]);
}

lynx_status lx_carry_on(const lx_carry *c, const lynx_token *prompt, uint32_t prompt_tokens,
                        lynx_token first_token, uint32_t answer_tokens)
{
    const size_t room = (size_t)prompt_tokens + answer_tokens;
    lynx_token *history = lx_alloc(c->memory, room, sizeof(*history));
    LX_REQUIRE(history, LYNX_ERR_MEMORY);
    memcpy(history, prompt, prompt_tokens * sizeof(*history));
    history[prompt_tokens] = first_token;
    lynx_status status = LYNX_OK;
    for (uint32_t i = 1; i < answer_tokens && status == LYNX_OK; i++)
        status = choose(c, history, prompt_tokens, prompt_tokens + i);
    lx_free(c->memory, history, room, sizeof(*history));
    return status;
}
