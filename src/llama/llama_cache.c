/* SPDX-License-Identifier: MIT */
/*
 * llama_cache.c - pages in llama.cpp's cache.
 *
 * By tensors: the cache tensors are found through the evaluation callback (names cache_k_l<N>
 * and cache_v_l<N>) and are read and written in place; device memory through a staging copy.
 * Cell i holds position i, because the one sequence always begins in an empty cache; the probe
 * checks it. By blob: pages are views of a state blob that commit hands to llama.cpp.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "llama/llama_internal.h"

static void capture_tensor(lx_llama *e, struct ggml_tensor *tensor)
{
    while (tensor && tensor->view_src)
        tensor = tensor->view_src;
    if (!tensor)
        return;
    const char *name = ggml_get_name(tensor);
    unsigned layer;
    char side;
    if (sscanf(name, "cache_%c_l%u", &side, &layer) == 2 && layer < e->layer_count &&
        (side == 'k' || side == 'v'))
        e->tensors[2 * layer + (side == 'v')] = tensor;
}

bool lx_cache_capture(struct ggml_tensor *node, bool ask, void *user)
{
    lx_llama *e = user;
    if (ask && !e->is_captured) {
        capture_tensor(e, node);
        for (int i = 0; i < GGML_MAX_SRC && node->src[i]; i++)
            capture_tensor(e, node->src[i]);
    }
    return !ask; /* no node is wanted; nothing is to be cancelled */
}

/* ---- tiles --------------------------------------------------------------------------- */

static bool is_transposed(const lx_llama *e, uint32_t side)
{
    return side == LYNX_SIDE_VALUES && !e->is_flash;
}

/* Strides of a side in the engine's memory with 'cells' cells. */
static lynx_tile strides_of(const lx_llama *e, uint32_t layer, uint32_t side, size_t cells)
{
    const size_t bytes = lynx_element_bytes(e->description.shape.element);
    const size_t channels = e->layers[layer].sides[side].channels;
    lynx_tile tile = {.element = e->description.shape.element};
    tile.token_stride_bytes = is_transposed(e, side) ? bytes : channels * bytes;
    tile.channel_stride_bytes = is_transposed(e, side) ? cells * bytes : bytes;
    return tile;
}

static lynx_status blob_tile(lx_llama *e, uint32_t layer, uint32_t side, uint32_t first,
                             uint32_t count, lynx_tile *tile)
{
    if (!e->is_blob_current) {
        free(e->blob);
        e->blob = NULL;
        lx_state_fini(e, &e->blob_state);
        LX_TRY(lx_state_get(e, &e->blob, &e->blob_size));
        LX_TRY(lx_state_parse(e, e->blob, e->blob_size, &e->blob_state));
        e->is_blob_current = true;
    }
    const lx_state_part *part = &e->blob_state.parts[e->part_of[layer]];
    const lx_state_side *s = &part->sides[2 * e->place_of[layer] + side];
    const uint32_t base = (uint32_t)part->first_position;
    LX_REQUIRE(first + count <= base + part->cell_count, LYNX_ERR_ARGUMENT);
    /* A window's part may begin inside the page: what lies before it is not there. */
    LX_REQUIRE(first >= base, LYNX_ERR_UNSUPPORTED);
    *tile = strides_of(e, layer, side, part->cell_count);
    tile->data = e->blob + s->offset + (first - base) * tile->token_stride_bytes;
    return LYNX_OK;
}

/* Copy a tile between device memory and the staging buffer. */
static void move_staged(lx_llama *e, bool is_write)
{
    const struct ggml_tensor *tensor = e->mapped;
    const size_t bytes = lynx_element_bytes(e->description.shape.element);
    const size_t channels = e->mapped_channels;
    const size_t cells = (size_t)tensor->ne[1];
    const size_t run = e->mapped_count * bytes;
    const bool by_channel = e->mapped_tile.token_stride_bytes == bytes && channels > 1;
    uint8_t *at = e->mapped_tile.data;
    for (size_t c = 0; c < (by_channel ? channels : 1); c++) {
        const size_t offset = by_channel ? (c * cells + e->mapped_first) * bytes
                                         : e->mapped_first * channels * bytes;
        const size_t size = by_channel ? run : run * channels;
        if (is_write)
            ggml_backend_tensor_set(e->mapped, at + c * run, offset, size);
        else
            ggml_backend_tensor_get(tensor, at + c * run, offset, size);
    }
}

static lynx_status staged_tile(lx_llama *e, struct ggml_tensor *tensor, uint32_t layer,
                               uint32_t side, uint32_t first, uint32_t count, bool is_write,
                               lynx_tile *tile)
{
    const size_t bytes = lynx_element_bytes(e->description.shape.element);
    const size_t size = count * bytes * e->layers[layer].sides[side].channels;
    if (size > e->staging_size) {
        lx_free(e->memory, e->staging, e->staging_size, 1);
        e->staging_size = 0;
        e->staging = lx_alloc(e->memory, size, 1);
        LX_REQUIRE(e->staging, LYNX_ERR_MEMORY);
        e->staging_size = size;
    }
    *tile = strides_of(e, layer, side, count);
    tile->data = e->staging;
    e->mapped = tensor;
    e->mapped_tile = *tile;
    e->mapped_first = first;
    e->mapped_channels = e->layers[layer].sides[side].channels;
    e->mapped_count = count;
    e->is_mapped_write = is_write;
    if (!is_write)
        move_staged(e, false);
    return LYNX_OK;
}

lynx_status lx_cache_tile(lx_llama *e, uint32_t layer, uint32_t side, uint32_t first,
                          uint32_t count, bool is_write, lynx_tile *tile)
{
    if (e->is_blob)
        return blob_tile(e, layer, side, first, count, tile);
    struct ggml_tensor *tensor = e->tensors[2 * layer + side];
    LX_REQUIRE(tensor && (int64_t)first + count <= tensor->ne[1], LYNX_ERR_ARGUMENT);
    if (!ggml_backend_buffer_is_host(tensor->buffer))
        return staged_tile(e, tensor, layer, side, first, count, is_write, tile);
    *tile = strides_of(e, layer, side, (size_t)tensor->ne[1]);
    tile->data = (uint8_t *)tensor->data + first * tile->token_stride_bytes;
    return LYNX_OK;
}

/* ---- operations ---------------------------------------------------------------------- */

lynx_status lx_cache_map(lynx_engine *engine, lynx_page_id id, uint32_t prompt_tokens,
                         bool is_write, lynx_tile *tile)
{
    lx_llama *e = lx_llama_of(engine);
    LX_REQUIRE(lynx_page_is_needed(&e->description.shape, id, prompt_tokens),
               LYNX_ERR_ARGUMENT);
    const lynx_page_span span = lynx_page_span_of(&e->description.shape, id, prompt_tokens);
    LX_REQUIRE(span.first_token + span.token_count <= e->length, LYNX_ERR_ARGUMENT);
    return lx_cache_tile(e, id.layer, id.side, span.first_token, span.token_count, is_write,
                         tile);
}

lynx_status lx_cache_unmap(lynx_engine *engine)
{
    lx_llama *e = lx_llama_of(engine);
    if (e->mapped && e->is_mapped_write)
        move_staged(e, true);
    e->mapped = NULL;
    return LYNX_OK;
}

lynx_status lx_cache_commit(lynx_engine *engine)
{
    lx_llama *e = lx_llama_of(engine);
    if (!e->is_blob)
        return LYNX_OK;
    LX_REQUIRE(e->blob && e->is_blob_current, LYNX_ERR_STATE);
    LX_TRY(lx_state_set(e, e->blob, e->blob_size));
    e->length = e->blob_state.parts[0].cell_count;
    return LYNX_OK;
}

lynx_status lx_cache_reserve(lynx_engine *engine, uint32_t count)
{
    lx_llama *e = lx_llama_of(engine);
    LX_REQUIRE(count >= 1 && count <= e->description.context_tokens, LYNX_ERR_ARGUMENT);
    LX_TRY(lx_llama_clear(e));
    uint8_t *blob = NULL;
    size_t size = 0;
    LX_TRY(lx_state_build(&e->blob_state, count, &blob, &size));
    const lynx_status status = lx_state_set(e, blob, size);
    if (e->is_blob && status == LYNX_OK) {
        free(e->blob);
        e->blob = blob;
        e->blob_size = size;
        lx_state_fini(e, &e->blob_state);
        LX_TRY(lx_state_parse(e, blob, size, &e->blob_state));
        e->is_blob_current = true;
    } else {
        free(blob);
    }
    LX_TRY(status);
    e->length = count;
    return LYNX_OK;
}
