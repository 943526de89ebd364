/* SPDX-License-Identifier: MIT */
#include "runtime/held_prompt.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

lynx_status lx_held_prompt_set(lx_held_prompt *held, const lynx_token *tokens, uint32_t count,
                               const lynx_allocator *memory)
{
    held->is_valid = false;
    if (count > held->capacity) {
        lynx_token *grown = lx_alloc(memory, count, sizeof(*grown));
        LX_REQUIRE(grown, LYNX_ERR_MEMORY);
        lx_held_prompt_fini(held, memory);
        held->tokens = grown;
        held->capacity = count;
    }
    memcpy(held->tokens, tokens, count * sizeof(*tokens));
    held->count = count;
    return LYNX_OK;
}

void lx_held_prompt_fini(lx_held_prompt *held, const lynx_allocator *memory)
{
    lx_free(memory, held->tokens, held->capacity, sizeof(*held->tokens));
    *held = (lx_held_prompt){.is_valid = false};
}

bool lx_request_is_plain(const lynx_request *request)
{
    return !request->sampling.bias_count && !request->sampling.allowed &&
           !request->wants_logprobs;
}

const char *lx_request_foreign(const lynx_request *request, uint32_t vocabulary)
{
    const lynx_sampling *s = &request->sampling;
    for (uint32_t i = 0; i < request->token_count; i++)
        if (request->tokens[i] < 0 || (uint32_t)request->tokens[i] >= vocabulary)
            return "the prompt";
    /* Those of biases rise. */
    const bool is_foreign =
        s->bias_count && (uint32_t)s->biases[s->bias_count - 1].token >= vocabulary;
    return is_foreign ? "a bias" : NULL;
}

/* Of two that are plain. */
static bool sampling_is_equal(const lynx_sampling *a, const lynx_sampling *b)
{
    return a->temperature == b->temperature && a->top_k == b->top_k && a->top_p == b->top_p &&
           a->min_p == b->min_p && a->repeat_penalty == b->repeat_penalty &&
           a->frequency_penalty == b->frequency_penalty &&
           a->presence_penalty == b->presence_penalty &&
           a->penalty_tokens == b->penalty_tokens && a->seed == b->seed;
}

bool lx_held_prompt_serves(const lx_held_prompt *held, const lynx_request *request)
{
    return held->is_valid && lx_request_is_plain(request) &&
           held->count == request->token_count &&
           sampling_is_equal(&held->sampling, &request->sampling) &&
           memcmp(held->tokens, request->tokens, held->count * sizeof(*held->tokens)) == 0;
}
