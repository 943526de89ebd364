/* SPDX-License-Identifier: MIT */
/*
 * llama_watch.c - attention outputs for who measures them: the nodes that llama.cpp names
 * kqv_out-<layer>, [channels of all heads][tokens] floats.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "llama/llama_internal.h"

/* False: the node is no attention output. */
static bool layer_of(const lx_llama *e, const struct ggml_tensor *node, uint32_t *layer)
{
    int end = 0;
    const char *name = ggml_get_name(node);
    return sscanf(name, "kqv_out-%u%n", layer, &end) == 1 && name[end] == '\0' &&
           *layer < e->layer_count;
}

bool lx_watch_wants(const lx_llama *e, const struct ggml_tensor *node)
{
    uint32_t layer;
    return e->watch && node->type == GGML_TYPE_F32 && layer_of(e, node, &layer) &&
           (size_t)ggml_nelements(node) <= e->watched_count;
}

void lx_watch_take(lx_llama *e, struct ggml_tensor *node)
{
    uint32_t layer = 0;
    (void)layer_of(e, node, &layer);
    ggml_backend_tensor_get(node, e->watched, 0, ggml_nbytes(node));
    e->watch(e->watch_user, layer, e->watched, (uint32_t)node->ne[0],
             (uint32_t)(ggml_nelements(node) / node->ne[0]));
}

static lynx_status make_room(lx_llama *e)
{
    /* Heads may be wider than the embedding. */
    const size_t channels =
        (size_t)llama_model_n_head(e->model) * e->layers[0].sides[0].head_channels;
    if (e->watched)
        return LYNX_OK;
    e->watched = lx_alloc(e->memory, channels * e->piece_tokens, sizeof(float));
    LX_REQUIRE(e->watched, LYNX_ERR_MEMORY);
    e->watched_count = channels * e->piece_tokens;
    return LYNX_OK;
}

lynx_status lynx_llama_watch_attention(lynx_engine *engine, lynx_attention_output *watch,
                                       void *user)
{
    lx_llama *e = lx_slot_of(engine)->shared;
    LX_REQUIRE(e->slot_count == 1, LYNX_ERR_ARGUMENT);
    if (watch)
        LX_TRY(make_room(e));
    e->watch = watch;
    e->watch_user = user;
    return LYNX_OK;
}
