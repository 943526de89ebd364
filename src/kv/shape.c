/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "base/check.h"
#include "lynx/kv.h"

size_t lynx_element_bytes(lynx_element element)
{
    return element == LYNX_ELEMENT_F32 ? 4 : 2;
}

static lynx_status check_side(const lynx_side_shape *side)
{
    if (side->channels == 0)
        return LYNX_OK;
    LX_REQUIRE(side->channels <= LYNX_CHANNELS_MAX, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(side->head_channels >= 1 && side->channels % side->head_channels == 0,
               LYNX_ERR_ARGUMENT);
    const lynx_rope *rope = &side->rope;
    if (rope->pairing == LYNX_ROPE_NONE)
        return LYNX_OK;
    LX_REQUIRE(rope->pairing == LYNX_ROPE_NEIGHBOURS || rope->pairing == LYNX_ROPE_HALVES,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(rope->dims >= 2 && rope->dims % 2 == 0 && rope->dims <= side->head_channels,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(isfinite(rope->base) && rope->base > 1.0f, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(isfinite(rope->scale) && rope->scale > 0.0f, LYNX_ERR_ARGUMENT);
    return LYNX_OK;
}

lynx_status lynx_shape_check(const lynx_shape *shape)
{
    LX_REQUIRE(shape->layer_count >= 1 && shape->layer_count <= LYNX_LAYERS_MAX,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(shape->page_tokens >= 32 && shape->page_tokens <= LYNX_PAGE_TOKENS_MAX &&
                   shape->page_tokens % 32 == 0,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(shape->element == LYNX_ELEMENT_F32 || shape->element == LYNX_ELEMENT_F16 ||
                   shape->element == LYNX_ELEMENT_BF16,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(shape->layers, LYNX_ERR_ARGUMENT);
    for (uint32_t layer = 0; layer < shape->layer_count; layer++) {
        LX_TRY(check_side(&shape->layers[layer].sides[LYNX_SIDE_KEYS]));
        LX_TRY(check_side(&shape->layers[layer].sides[LYNX_SIDE_VALUES]));
    }
    return LYNX_OK;
}

bool lynx_shape_has_window(const lynx_shape *shape)
{
    for (uint32_t layer = 0; layer < shape->layer_count; layer++)
        if (shape->layers[layer].window_tokens > 0)
            return true;
    return false;
}

uint32_t lynx_shape_page_count(const lynx_shape *shape, uint32_t prompt_tokens)
{
    return prompt_tokens / shape->page_tokens + (prompt_tokens % shape->page_tokens != 0);
}

lynx_page_span lynx_page_span_whole(const lynx_shape *shape, lynx_page_id id,
                                    uint32_t prompt_tokens)
{
    const uint64_t first = (uint64_t)id.page * shape->page_tokens;
    if (first >= prompt_tokens)
        return (lynx_page_span){0, 0, prompt_tokens};
    const uint32_t left = prompt_tokens - (uint32_t)first;
    return (lynx_page_span){
        .first_token = (uint32_t)first,
        .token_count = left < shape->page_tokens ? left : shape->page_tokens,
        .prompt_tokens = prompt_tokens,
    };
}

lynx_page_span lynx_page_span_of(const lynx_shape *shape, lynx_page_id id,
                                 uint32_t prompt_tokens)
{
    lynx_page_span span = lynx_page_span_whole(shape, id, prompt_tokens);
    const uint32_t window =
        id.layer < shape->layer_count ? shape->layers[id.layer].window_tokens : 0;
    if (window == 0 || window > prompt_tokens)
        return span;
    /* The token at position prompt_tokens sees positions > prompt_tokens - window. */
    const uint32_t begin = prompt_tokens + 1 - window,
                   end = span.first_token + span.token_count;
    if (begin > span.first_token && begin < end) {
        span.first_token = begin - begin % LYNX_WINDOW_GRAIN;
        span.token_count = end - span.first_token;
    }
    return span;
}

bool lynx_page_is_needed(const lynx_shape *shape, lynx_page_id id, uint32_t prompt_tokens)
{
    if (id.layer >= shape->layer_count || id.side > LYNX_SIDE_VALUES)
        return false;
    const lynx_layer_shape *layer = &shape->layers[id.layer];
    if (layer->sides[id.side].channels == 0)
        return false;
    const lynx_page_span span = lynx_page_span_of(shape, id, prompt_tokens);
    if (span.token_count == 0)
        return false;
    /* The token at position prompt_tokens sees positions > prompt_tokens - window. */
    const uint64_t end = (uint64_t)span.first_token + span.token_count;
    return layer->window_tokens == 0 ||
           end + layer->window_tokens > (uint64_t)prompt_tokens + 1;
}

lynx_page_walk lynx_page_walk_of(const lynx_shape *shape, uint32_t prompt_tokens)
{
    return (lynx_page_walk){.shape = shape,
                            .prompt_tokens = prompt_tokens,
                            .page_end = lynx_shape_page_count(shape, prompt_tokens)};
}

static void go_on(lynx_page_walk *walk)
{
    lynx_page_id *next = &walk->next;
    if (next->side++ < LYNX_SIDE_VALUES)
        return;
    next->side = LYNX_SIDE_KEYS;
    if (++next->layer < walk->shape->layer_count)
        return;
    next->layer = 0;
    next->page++;
}

bool lynx_page_walk_next(lynx_page_walk *walk, lynx_page_id *page)
{
    while (walk->next.page < walk->page_end) {
        *page = walk->next;
        go_on(walk);
        if (lynx_page_is_needed(walk->shape, *page, walk->prompt_tokens))
            return true;
    }
    return false;
}

uint64_t lynx_shape_cache_bytes(const lynx_shape *shape, uint32_t prompt_tokens)
{
    const size_t element_bytes = lynx_element_bytes(shape->element);
    uint64_t bytes = 0;
    lynx_page_id id;
    for (lynx_page_walk walk = lynx_page_walk_of(shape, prompt_tokens);
         lynx_page_walk_next(&walk, &id);)
        bytes += (uint64_t)lynx_page_span_of(shape, id, prompt_tokens).token_count *
                 shape->layers[id.layer].sides[id.side].channels * element_bytes;
    return bytes;
}
