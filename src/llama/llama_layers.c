/* SPDX-License-Identifier: MIT */
/*
 * llama_layers.c - a batch whose layers wait for their part of the cache, and a prefill that
 * tells which layers have theirs.
 *
 * llama.cpp names what a layer gives l_out-<layer>. Where, as the graph of the start-up shows,
 * all that touches the cache of a layer stands between the l_out of the layer before it and its
 * own, the evaluation callback stops there until that cache is written, or read.
 */
#include <stdio.h>

#include "base/check.h"
#include "llama/llama_internal.h"

/* False: the node ends no layer. */
static bool layer_of(const struct ggml_tensor *node, uint32_t *layer)
{
    int end = 0;
    const char *name = ggml_get_name(node);
    return sscanf(name, "l_out-%u%n", layer, &end) == 1 && name[end] == '\0';
}

void lx_layers_see(lx_llama *e, const struct ggml_tensor *node)
{
    uint32_t layer;
    if (!layer_of(node, &layer))
        return;
    e->has_other_order = e->has_other_order || layer != e->layer_ends;
    e->layer_ends++;
}

void lx_layers_see_cache(lx_llama *e, uint32_t layer)
{
    e->has_other_order = e->has_other_order || layer != e->layer_ends;
}

bool lx_layers_are_in_order(const lx_llama *e)
{
    return !e->has_other_order && e->layer_ends == e->layer_count;
}

bool lx_layers_wants(const lx_llama *e, const struct ggml_tensor *node)
{
    uint32_t layer;
    return e->wait && e->awaited < e->layer_count && layer_of(node, &layer) &&
           layer + 1 == e->awaited;
}

bool lx_layers_await(lx_llama *e)
{
    e->wait_status = e->wait(e->wait_user, e->awaited++);
    return e->wait_status == LYNX_OK;
}

static void begin(lx_llama *e, lynx_layer_wait *wait, void *user)
{
    e->wait = wait;
    e->wait_user = user;
    e->awaited = 1;
}

static void end(lx_llama *e)
{
    e->wait = NULL;
    e->wait_status = LYNX_OK;
}

lynx_status lx_slot_batch_by_layer(lynx_engine *engine, const lynx_token *tokens,
                                   uint32_t count, uint32_t first_row, lynx_layer_wait *wait,
                                   void *user)
{
    lx_llama *e = lx_slot_of(engine)->shared;
    LX_REQUIRE(e->description.can_await_layers, LYNX_ERR_UNSUPPORTED);
    LX_TRY(wait(user, 0));
    begin(e, wait, user);
    const lynx_status status = lx_slot_batch(engine, tokens, count, first_row);
    end(e);
    return status;
}

lynx_status lx_slot_draft_batch_by_layer(lynx_engine *engine, const lynx_token *tokens,
                                         uint32_t count, const lynx_token *history,
                                         uint32_t history_count, lynx_layer_wait *wait,
                                         void *user)
{
    lx_llama *e = lx_slot_of(engine)->shared;
    if (!wait)
        return lx_slot_draft_batch(engine, tokens, count, history, history_count);
    LX_REQUIRE(e->description.can_await_layers, LYNX_ERR_UNSUPPORTED);
    LX_TRY(wait(user, 0));
    begin(e, wait, user);
    const lynx_status status =
        lx_slot_draft_batch(engine, tokens, count, history, history_count);
    end(e);
    return status;
}

typedef struct piece {
    lynx_prefill_layers *layers;
    void *user;
    uint32_t done; /* tokens, with those of the piece */
} piece;

static lynx_status tell_layers(void *user, uint32_t layers)
{
    const piece *p = user;
    return p->layers(p->user, p->done, layers) ? LYNX_OK : LYNX_ERR_CANCELLED;
}

lynx_status lx_slot_decode_piece_by_layer(lx_slot *s, const lynx_token *tokens, uint32_t count,
                                          lynx_prefill_layers *layers, void *user)
{
    piece p = {layers, user, s->length + count};
    if (!layers)
        return lx_slot_decode_piece(s, tokens, count);
    begin(s->shared, tell_layers, &p);
    s->arriving = count;
    const lynx_status status = lx_slot_decode_piece(s, tokens, count);
    s->arriving = 0;
    end(s->shared);
    return status;
}
