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
    return held->is_valid && held->count == request->token_count &&
           sampling_is_equal(&held->sampling, &request->sampling) &&
           memcmp(held->tokens, request->tokens, held->count * sizeof(*held->tokens)) == 0;
}
