/* SPDX-License-Identifier: MIT */
/*
 * llama_sample.c - a token from logits: a pure function of logits, history, seed and position.
 *
 * The filters are llama.cpp's, in its default order, behind the biases. The random state is
 * made anew for each token from seed and position, so drafts, verification and the prefill
 * node's token agree without shipping it.
 *
 * A constraint is asked about the token that was chosen without it. Only when it does not fit
 * is one chosen among those that do, with another random number. So the whole vocabulary is
 * looked at for few tokens.
 */
#include <math.h>

#include "base/check.h"
#include "llama/llama_internal.h"

/* 32 bits that depend on every bit of both (finaliser of a 64-bit multiply-shift). */
static uint32_t seed_of(uint32_t seed, uint32_t position)
{
    uint64_t x = ((uint64_t)seed << 32) | position;
    x = (x ^ (x >> 31)) * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 29)) * 0xBF58476D1CE4E5B9u;
    return (uint32_t)((x ^ (x >> 32)) >> 16);
}

static bool has_penalties(const lynx_sampling *s)
{
    return s->penalty_tokens > 0 &&
           (s->repeat_penalty != 1.0f || s->frequency_penalty != 0.0f ||
            s->presence_penalty != 0.0f);
}

static void add(struct llama_sampler *chain, struct llama_sampler *filter)
{
    if (filter)
        llama_sampler_chain_add(chain, filter); /* the chain owns it */
}

static void add_penalties(struct llama_sampler *chain, const lynx_sampling *s,
                          const lynx_token *history, uint32_t count, int32_t vocabulary)
{
    struct llama_sampler *penalties =
        llama_sampler_init_penalties(vocabulary, s->penalty_tokens, s->repeat_penalty,
                                     s->frequency_penalty, s->presence_penalty);
    const uint32_t window = (uint32_t)s->penalty_tokens;
    for (uint32_t i = count > window ? count - window : 0; penalties && i < count; i++)
        llama_sampler_accept(penalties, history[i]);
    add(chain, penalties);
}

static struct llama_sampler *make_chain(const lynx_sampling *s, uint32_t seed,
                                        const lynx_token *history, uint32_t count,
                                        int32_t vocabulary)
{
    struct llama_sampler *chain =
        llama_sampler_chain_init(llama_sampler_chain_default_params());
    if (!chain)
        return NULL;
    if (has_penalties(s))
        add_penalties(chain, s, history, count, vocabulary);
    if (s->temperature <= 0.0f) {
        add(chain, llama_sampler_init_greedy());
        return chain;
    }
    if (s->top_k > 0)
        add(chain, llama_sampler_init_top_k(s->top_k));
    if (s->top_p < 1.0f)
        add(chain, llama_sampler_init_top_p(s->top_p, 1));
    if (s->min_p > 0.0f)
        add(chain, llama_sampler_init_min_p(s->min_p, 1));
    add(chain, llama_sampler_init_temp(s->temperature));
    add(chain, llama_sampler_init_dist(seed_of(seed, count)));
    return chain;
}

/* ---- candidates ---------------------------------------------------------------------- */

static void fill_candidates(lx_slot *s, const float *logits, const lynx_sampling *sampling)
{
    const uint32_t vocabulary = s->shared->description.vocabulary;
    for (uint32_t i = 0; i < vocabulary; i++)
        s->candidates[i] = (llama_token_data){(llama_token)i, logits[i], 0.0f};
    for (uint32_t i = 0; i < sampling->bias_count; i++) {
        const lynx_bias bias = sampling->biases[i];
        if ((uint32_t)bias.token < vocabulary)
            s->candidates[bias.token].logit =
                bias.bias <= -100.0f ? -INFINITY : logits[bias.token] + bias.bias;
    }
}

/* Keep those that may be chosen. */
static lynx_status keep_allowed(lx_slot *s, size_t *count)
{
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        bool is_allowed;
        LX_TRY(
            lx_constraint_allows(&s->constraint, &s->base, s->candidates[i].id, &is_allowed));
        if (is_allowed)
            s->candidates[kept++] = s->candidates[i];
    }
    *count = kept;
    return LYNX_OK;
}

static lynx_status none_left(lx_slot *s)
{
    return lx_llama_fail(s->error, LYNX_ERR_ENGINE,
                         "no token is left to choose: biases and grammar rule out all of them");
}

/* Let 'chain' choose among the first 'count' candidates. */
static lynx_status choose(lx_slot *s, struct llama_sampler *chain, size_t count,
                          lynx_token *token)
{
    bool has_any = false;
    for (size_t i = 0; i < count && !has_any; i++)
        has_any = s->candidates[i].logit > -INFINITY;
    if (!has_any)
        return none_left(s);
    llama_token_data_array array = {s->candidates, count, -1, false};
    llama_sampler_apply(chain, &array);
    const bool is_chosen = array.selected >= 0 && (size_t)array.selected < array.size;
    LX_REQUIRE(is_chosen,
               lx_llama_fail(s->error, LYNX_ERR_ENGINE, "the sampler chose no token"));
    *token = array.data[array.selected].id;
    return LYNX_OK;
}

/* ---- the choice ---------------------------------------------------------------------- */

/* The largest that is allowed; few are ever asked about. */
static lynx_status take_largest(lx_slot *s, const float *logits, const lynx_sampling *sampling,
                                lynx_token *token)
{
    const uint32_t vocabulary = s->shared->description.vocabulary;
    const bool is_bound = lx_constraint_is_active(&s->constraint);
    float best = -INFINITY;
    *token = -1;
    if (sampling->bias_count)
        fill_candidates(s, logits, sampling);
    for (uint32_t i = 0; i < vocabulary; i++) {
        const float logit = sampling->bias_count ? s->candidates[i].logit : logits[i];
        bool is_allowed = true;
        if (!(logit > best))
            continue;
        if (is_bound)
            LX_TRY(lx_constraint_allows(&s->constraint, &s->base, (lynx_token)i, &is_allowed));
        if (is_allowed) {
            best = logit;
            *token = (lynx_token)i;
        }
    }
    return *token >= 0 ? LYNX_OK : none_left(s);
}

/* One of all, or ('is_second') of those that are allowed. */
static lynx_status take_by_chain(lx_slot *s, const float *logits, const lynx_sampling *sampling,
                                 const lynx_token *history, uint32_t count, bool is_second,
                                 lynx_token *token)
{
    const uint32_t vocabulary = s->shared->description.vocabulary;
    size_t left = vocabulary;
    fill_candidates(s, logits, sampling);
    if (is_second)
        LX_TRY(keep_allowed(s, &left));
    struct llama_sampler *chain =
        make_chain(sampling, is_second ? ~sampling->seed : sampling->seed, history, count,
                   (int32_t)vocabulary);
    LX_REQUIRE(chain, LYNX_ERR_MEMORY);
    const lynx_status status = choose(s, chain, left, token);
    llama_sampler_free(chain);
    return status;
}

static lynx_status sample(lx_slot *s, const float *logits, const lynx_sampling *sampling,
                          const lynx_token *history, uint32_t count, lynx_token *token)
{
    bool is_allowed = true;
    if (sampling->temperature <= 0.0f && !has_penalties(sampling))
        return take_largest(s, logits, sampling, token);
    LX_TRY(take_by_chain(s, logits, sampling, history, count, false, token));
    if (lx_constraint_is_active(&s->constraint))
        LX_TRY(lx_constraint_allows(&s->constraint, &s->base, *token, &is_allowed));
    return is_allowed ? LYNX_OK
                      : take_by_chain(s, logits, sampling, history, count, true, token);
}

/* What the constraint says of a failure is the engine's last error. */
static lynx_status explain(lx_slot *s, lynx_status status)
{
    if (status != LYNX_OK && s->constraint.error[0])
        (void)lx_llama_fail(s->error, status, "%s", s->constraint.error);
    return status;
}

lynx_status lx_slot_sample(lynx_engine *engine, uint32_t row, const lynx_sampling *sampling,
                           const lynx_token *history, uint32_t prompt_count,
                           uint32_t history_count, lynx_token *token)
{
    lx_slot *s = lx_slot_of(engine);
    const float *logits = engine->ops->logits(engine, row);
    LX_REQUIRE(logits, LYNX_ERR_STATE);
    lynx_status status =
        lx_constraint_begin(&s->constraint, engine, sampling, history + prompt_count,
                            history_count - prompt_count);
    if (status == LYNX_OK)
        status = sample(s, logits, sampling, history, history_count, token);
    return explain(s, status);
}

lynx_status lx_slot_first_tokens(lynx_engine *engine, const lynx_sampling *sampling,
                                 uint8_t *allowed)
{
    lx_slot *s = lx_slot_of(engine);
    return explain(s, lx_constraint_first_tokens(&s->constraint, engine, sampling, allowed));
}
