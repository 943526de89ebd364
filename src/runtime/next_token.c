/* SPDX-License-Identifier: MIT */
#include "runtime/next_token.h"

#include "base/check.h"
#include "lynx/runtime.h"

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
    lx_guess_worth_init(&n->worth, model->draft_step_ns, model->step_ns);
    return n->is_guessing ? lx_guesses_init(&n->guesses, room, memory) : LYNX_OK;
}

void lx_next_fini(lx_next *n)
{
    lx_guesses_fini(&n->guesses);
}

/* input[0], and the guess behind it, if there is one, where it is worth its time. */
static lynx_status compute(lx_next *n, const lynx_token input[WITH_GUESS], uint32_t run,
                           bool is_draft, const lynx_token *history, uint32_t count)
{
    const lynx_engine_ops *ops = n->engine->ops;
    const lynx_time_ns start = lynx_clock_now();
    n->is_strict = !is_draft || (run > 0 && lx_guess_is_worth(&n->worth, run));
    if (!n->is_strict)
        LX_TRY(ops->draft_step(n->engine, input, run > 0 ? WITH_GUESS : 1, history, count));
    else if (run > 0)
        LX_TRY(ops->batch(n->engine, input, WITH_GUESS, 0));
    else
        LX_TRY(ops->step(n->engine, input[0]));
    lx_guess_worth_time(&n->worth, n->is_strict, lynx_clock_now() - start);
    return LYNX_OK;
}

void lx_next_note(lx_next *n, uint32_t count, uint32_t row)
{
    n->ahead = count;
    n->ahead_row = row;
}

/* The guess behind 'count' tokens was made by a run of 'run', and may have been computed. */
static lynx_status judge_guess(lx_next *n, uint32_t count, uint32_t run, bool is_right)
{
    const lynx_engine_ops *ops = n->engine->ops;
    lx_guess_worth_note(&n->worth, run, is_right);
    if (ops->length(n->engine) == count)
        return LYNX_OK;
    n->guessed++;
    if (!is_right)
        return ops->rewind(n->engine, count);
    n->guessed_right++;
    lx_next_note(n, count + 1, 1);
    return LYNX_OK;
}

static lynx_status choose(lx_next *n, const lynx_token *history, uint32_t count, uint32_t most,
                          bool is_draft, lynx_token *token)
{
    const bool is_ahead = n->ahead == count;
    lynx_token input[WITH_GUESS] = {history[count - 1]};
    uint32_t run = 0; /* by which there is a guess */
    n->row = is_ahead ? n->ahead_row : 0;
    n->ahead = 0;
    if (!is_ahead) {
        if (n->is_guessing && most > 1)
            run = lx_guess(&n->guesses, history, count, &input[1]);
        n->steps++;
        LX_TRY(compute(n, input, run, is_draft, history, count));
    }
    LX_TRY(n->engine->ops->sample(n->engine, n->row, n->sampling, history, n->prompt_tokens,
                                  count, token));
    return run > 0 ? judge_guess(n, count, run, *token == input[1]) : LYNX_OK;
}

lynx_status lx_next_choose(lx_next *n, const lynx_token *history, uint32_t count, uint32_t most,
                           lynx_token *token)
{
    return choose(n, history, count, most, false, token);
}

lynx_status lx_next_draft(lx_next *n, const lynx_token *history, uint32_t count, uint32_t most,
                          lynx_token *token)
{
    return choose(n, history, count, most, true, token);
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
