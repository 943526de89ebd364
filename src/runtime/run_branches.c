/* SPDX-License-Identifier: MIT */
/* run_branches.c - drafts that go on from second choices; see run.h and speculate/branches.h. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "runtime/run.h"

/* A draft with more than this to its second choice is right. */
static const float MARGIN_MOST = 1.0F;

/* Second choices are of the largest logits: with a temperature others may come next to the
 * number that was drawn. */
static bool wants_branches(const lynx_run_options *o)
{
    const bool drafts = o->method == LYNX_METHOD_SPECULATE || o->method == LYNX_METHOD_CARRY;
    return drafts && o->branch_count_max > 0 && o->sampling.temperature <= 0 && !o->skip_verify;
}

lynx_status lx_run_init_branches(lx_run *r)
{
    const lynx_run_options *o = r->options;
    const bool wants = wants_branches(o);
    LX_TRY(lx_branches_init(&r->branches, o->draft_count_max,
                            wants ? 1 + o->branch_count_max : 1, r->memory));
    if (!wants)
        return LYNX_OK;
    r->without = lx_alloc(r->memory, (size_t)o->sampling.bias_count + 1, sizeof(*r->without));
    LX_REQUIRE(r->without, LYNX_ERR_MEMORY);
    if (o->sampling.bias_count)
        memcpy(r->without + 1, o->sampling.biases, o->sampling.bias_count * sizeof(*r->without));
    return LYNX_OK;
}

void lx_run_free_branches(lx_run *r)
{
    lx_free(r->memory, r->without, (size_t)r->options->sampling.bias_count + 1,
            sizeof(*r->without));
    lx_branches_fini(&r->branches);
}

/* Of all logits but that of 'token'. */
static float largest_other(const float *logits, uint32_t vocabulary, lynx_token token)
{
    float largest = -INFINITY;
    for (uint32_t i = 0; i < vocabulary; i++)
        if (logits[i] > largest && i != (uint32_t)token)
            largest = logits[i];
    return largest;
}

lynx_status lx_run_find_other(lx_run *r, uint32_t row, uint32_t count, lx_draft *draft)
{
    const lynx_engine_ops *ops = r->engine->ops;
    const float *logits = ops->logits(r->engine, row);
    draft->other = -1;
    draft->margin = MARGIN_MOST;
    if (!r->without || !logits)
        return LYNX_OK;
    const float chosen = logits[draft->token];
    if (chosen - largest_other(logits, r->model->vocabulary, draft->token) >= MARGIN_MOST)
        return LYNX_OK;
    lynx_sampling sampling = r->options->sampling;
    r->without[0] = (lynx_bias){draft->token, -100};
    sampling.biases = r->without;
    sampling.bias_count++;
    lynx_token other;
    const lynx_status status = ops->sample(r->engine, row, &sampling, r->history,
                                           r->options->prompt_tokens, count, &other);
    if (status == LYNX_ERR_ENGINE) /* the grammar leaves no other */
        return LYNX_OK;
    LX_TRY(status);
    const float margin = chosen - logits[other];
    draft->other = other;
    draft->margin = margin > 0 ? margin : 0; /* penalties and biases may have turned them */
    return LYNX_OK;
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
        LX_TRY(lx_run_draft_batch(
            r, first, left < r->model->batch_tokens ? left : r->model->batch_tokens));
    }
}

lynx_status lx_run_choose_branch(lx_run *r, uint32_t limit, bool *goes_on)
{
    lx_branches *b = &r->branches;
    const lx_branch *trunk = &b->all[0];
    const uint32_t rows = lx_run_behind_pages(r) + trunk->count;
    const uint32_t active = b->active;
    uint32_t common;
    if (!r->without || !lx_run_has_time(r, rows)) {
        *goes_on = active == 0 && trunk->count < limit && !trunk->is_ended;
        return LYNX_OK;
    }
    *goes_on = lx_branches_choose(b, limit, lx_run_chance_least(r), lynx_clock_now(), &common);
    if (!*goes_on || b->active == active)
        return LYNX_OK;
    r->result->branches = b->count - 1;
    put_in_history(r, common);
    return put_in_cache(r, common);
}

void lx_run_take_trunk(lx_run *r)
{
    put_in_history(r, lx_branches_take_trunk(&r->branches));
}

const lx_branch *lx_run_take_rest(lx_run *r, uint32_t begin)
{
    const uint32_t valid = r->result->token_count - begin;
    const lx_branch *branch =
        lx_branches_find(&r->branches, r->result->tokens + begin, valid);
    if (!branch)
        return NULL;
    lynx_token *at = r->history + r->options->prompt_tokens + r->result->token_count;
    r->result->drafted = branch->count - valid;
    for (uint32_t i = 0; i < r->result->drafted; i++)
        at[i] = branch->drafts[valid + i].token;
    return branch;
}
