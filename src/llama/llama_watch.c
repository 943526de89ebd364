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

static bool has_room(lx_llama *e, size_t count)
{
    if (count <= e->watched_count)
        return true;
    lx_free(e->memory, e->watched, e->watched_count, sizeof(float));
    e->watched = lx_alloc(e->memory, count, sizeof(float));
    e->watched_count = e->watched ? count : 0;
    return e->watched != NULL;
}

bool lx_watch_wants(lx_llama *e, const struct ggml_tensor *node)
{
    uint32_t layer;
    return e->watch && node->type == GGML_TYPE_F32 && ggml_is_contiguous(node) &&
           layer_of(e, node, &layer) && has_room(e, (size_t)ggml_nelements(node));
}

void lx_watch_take(lx_llama *e, struct ggml_tensor *node)
{
    uint32_t layer = 0;
    (void)layer_of(e, node, &layer);
    ggml_backend_tensor_get(node, e->watched, 0, ggml_nbytes(node));
    e->watch(e->watch_user, layer, e->watched, (uint32_t)node->ne[0],
             (uint32_t)(ggml_nelements(node) / node->ne[0]));
}

lynx_status lynx_llama_watch_attention(lynx_engine *engine, lynx_attention_output *watch,
                                       void *user)
{
    lx_llama *e = lx_slot_of(engine)->shared;
    LX_REQUIRE(e->slot_count == 1, LYNX_ERR_ARGUMENT);
    e->watch = watch;
    e->watch_user = user;
    return LYNX_OK;
}
