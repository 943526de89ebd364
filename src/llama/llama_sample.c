/* SPDX-License-Identifier: MIT */
/*
 * llama_sample.c - a token from logits: a pure function of logits, history, seed and position.
 *
 * The filters are llama.cpp's, in its default order. The random state is made anew for each
 * token from seed and position, so drafts, verification and the prefill node agree without
 * shipping it.
 */
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

static struct llama_sampler *make_chain(const lynx_sampling *s, const lynx_token *history,
                                        uint32_t count, int32_t vocabulary)
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
    add(chain, llama_sampler_init_dist(seed_of(s->seed, count)));
    return chain;
}

static lynx_token largest(const float *logits, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        if (logits[i] > logits[best])
            best = i;
    return (lynx_token)best;
}

lynx_status lx_slot_sample(lynx_engine *engine, uint32_t row, const lynx_sampling *sampling,
                           const lynx_token *history, uint32_t history_count, lynx_token *token)
{
    lx_slot *s = lx_slot_of(engine);
    const float *logits = engine->ops->logits(engine, row);
    const uint32_t vocabulary = s->shared->description.vocabulary;
    LX_REQUIRE(logits, LYNX_ERR_STATE);
    if (sampling->temperature <= 0.0f && !has_penalties(sampling)) {
        *token = largest(logits, vocabulary);
        return LYNX_OK;
    }
    struct llama_sampler *chain =
        make_chain(sampling, history, history_count, (int32_t)vocabulary);
    LX_REQUIRE(chain, LYNX_ERR_MEMORY);
    for (uint32_t i = 0; i < vocabulary; i++)
        s->candidates[i] = (llama_token_data){(llama_token)i, logits[i], 0.0f};
    llama_token_data_array array = {s->candidates, vocabulary, -1, false};
    llama_sampler_apply(chain, &array);
    const bool is_chosen = array.selected >= 0 && (size_t)array.selected < array.size;
    if (is_chosen)
        *token = array.data[array.selected].id;
    llama_sampler_free(chain);
    return is_chosen ? LYNX_OK
                     : lx_llama_fail(s->error, LYNX_ERR_ENGINE, "the sampler chose no token");
}
