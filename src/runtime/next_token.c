/* SPDX-License-Identifier: MIT */
#include "runtime/next_token.h"

#include "base/check.h"

enum { WITH_GUESS = 2 }; /* tokens of a step that has one */

lynx_status lx_next_init(lx_next *n, lynx_engine *engine, const lynx_sampling *sampling,
                         uint32_t prompt_tokens, uint32_t room, bool wants_guesses,
                         const lynx_allocator *memory)
{
    const lynx_model *model = engine->ops->model(engine);
    *n = (lx_next){.engine = engine,
                   .sampling = sampling,
                   .prompt_tokens = prompt_tokens,
                   .is_guessing = wants_guesses && model->exactness == LYNX_EXACT &&
                                  model->step_tokens >= WITH_GUESS};
    return n->is_guessing ? lx_guesses_init(&n->guesses, room, memory) : LYNX_OK;
}

void lx_next_fini(lx_next *n)
{
    lx_guesses_fini(&n->guesses);
}

lynx_status lx_next_choose(lx_next *n, const lynx_token *history, uint32_t count, uint32_t most,
                           lynx_token *token)
{
    const lynx_engine_ops *ops = n->engine->ops;
    const bool is_ahead = n->ahead == count;
    lynx_token input[WITH_GUESS] = {history[count - 1]};
    bool has_guess = false;
    n->ahead = 0;
    n->row = is_ahead;
    if (!is_ahead) {
        has_guess =
            n->is_guessing && most > 1 && lx_guess(&n->guesses, history, count, &input[1]);
        n->steps++;
        n->guessed += has_guess;
        LX_TRY(has_guess ? ops->batch(n->engine, input, WITH_GUESS)
                         : ops->step(n->engine, input[0]));
    }
    LX_TRY(
        ops->sample(n->engine, n->row, n->sampling, history, n->prompt_tokens, count, token));
    if (!has_guess)
        return LYNX_OK;
    if (*token != input[1])
        return ops->rewind(n->engine, count);
    n->guessed_right++;
    n->ahead = count + 1;
    return LYNX_OK;
}

void lx_next_forget(lx_next *n, uint32_t length)
{
    n->ahead = 0;
    lx_guesses_forget(&n->guesses, length);
}

lynx_status lx_next_rewind(lx_next *n, uint32_t length)
{
    const lynx_engine_ops *ops = n->engine->ops;
    lx_next_forget(n, length);
    return ops->length(n->engine) > length ? ops->rewind(n->engine, length) : LYNX_OK;
}
