/* SPDX-License-Identifier: MIT */
/* run_branches.c - drafts that go on from second choices; see run.h and speculate/branches.h.
 */
#include "base/check.h"
#include "runtime/run.h"

/* Second choices are of the largest logits. With a temperature others may come next to the
 * number that was drawn; biases, penalties and grammars make others the second. */
static bool wants_branches(const lynx_run_options *o)
{
    const lynx_sampling *s = &o->sampling;
    const bool drafts = o->method == LYNX_METHOD_SPECULATE || o->method == LYNX_METHOD_CARRY;
    const bool has_penalties = s->repeat_penalty != 1.0F || s->frequency_penalty != 0.0F ||
                               s->presence_penalty != 0.0F;
    return drafts && o->branch_count_max > 0 && !o->skip_verify && s->temperature <= 0 &&
           !has_penalties && s->bias_count == 0 && !s->grammar && !s->allowed;
}

lynx_status lx_run_init_branches(lx_run *r)
{
    const lynx_run_options *o = r->options;
    return lx_branches_init(&r->branches, o->draft_count_max,
                            wants_branches(o) ? 1 + o->branch_count_max : 1, r->memory);
}

void lx_run_find_other(const lx_run *r, uint32_t row, lx_draft *draft)
{
    const float *logits = r->branches.most > 1 ? r->engine->ops->logits(r->engine, row) : NULL;
    draft->other = -1;
    draft->margin = LX_MARGIN_SURE;
    if (!logits)
        return;
    float largest = logits[draft->token] - LX_MARGIN_SURE;
    for (uint32_t i = 0; i < r->model->vocabulary; i++)
        if (logits[i] > largest && i != (uint32_t)draft->token) {
            largest = logits[i];
            draft->other = (lynx_token)i;
        }
    draft->margin = logits[draft->token] - largest;
    if (draft->other >= 0 && lx_run_is_end(r, draft->other))
        draft->other = -1; /* there is nothing to draft behind it */
}

/* The active branch's drafts behind the first 'common', which were active before, too. */
static void put_in_history(lx_run *r, uint32_t common)
{
    const lx_branch *branch = lx_branches_active(&r->branches);
    lynx_token *at = r->history + r->options->prompt_tokens + r->result->token_count;
    for (uint32_t i = common; i < branch->count; i++)
        at[i] = branch->drafts[i].token;
    r->result->drafted = branch->count;
}

/* The cache has all drafts of the active branch but the last. */
static lynx_status put_in_cache(lx_run *r, uint32_t common)
{
    const uint32_t valid = r->options->prompt_tokens + r->result->token_count;
    const uint32_t last = r->result->drafted - 1;
    LX_TRY(lx_next_rewind(&r->next, valid + (common < last ? common : last)));
    for (;;) {
        const uint32_t first = r->engine->ops->length(r->engine);
        const uint32_t left = valid + last > first ? valid + last - first : 0;
        if (left == 0)
            return LYNX_OK;
        LX_TRY(lx_run_draft_batch(r, first, lx_run_batch_of(r, left)));
    }
}

lynx_status lx_run_choose_branch(lx_run *r, uint32_t limit, bool *goes_on)
{
    lx_branches *b = &r->branches;
    const lx_branch *trunk = &b->all[0];
    const uint32_t rows = lx_run_behind_pages(r) + trunk->count;
    const uint32_t active = b->active;
    const uint32_t count = b->count;
    uint32_t common;
    if (b->most == 1 || !lx_run_has_time(r, rows)) {
        *goes_on = active == 0 && trunk->count < limit && !trunk->is_ended;
        return LYNX_OK;
    }
    *goes_on = lx_branches_choose(b, limit, lx_run_chance_least(r), &common);
    if (!*goes_on || b->active == active)
        return LYNX_OK;
    r->result->branches += b->count - count;
    put_in_history(r, common);
    return put_in_cache(r, common);
}

void lx_run_take_trunk(lx_run *r)
{
    put_in_history(r, lx_branches_take_trunk(&r->branches));
}

lx_draft *lx_run_take_rest(lx_run *r, uint32_t begin, uint32_t *count)
{
    const uint32_t valid = r->result->token_count - begin;
    const lx_branch *branch = lx_branches_find(&r->branches, r->result->tokens + begin, valid);
    if (!branch)
        return NULL;
    lynx_token *at = r->history + r->options->prompt_tokens + r->result->token_count;
    *count = branch->count - valid;
    for (uint32_t i = 0; i < *count; i++)
        at[i] = branch->drafts[valid + i].token;
    return branch->drafts + valid;
}
