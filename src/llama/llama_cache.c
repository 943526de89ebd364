/* SPDX-License-Identifier: MIT */
/*
 * llama_cache.c - pages in llama.cpp's cache.
 *
 * By tensors: the cache tensors are found through the evaluation callback (names cache_k_l<N>
 * and cache_v_l<N>) and are read and written in place; device memory through a staging copy.
 * Cell i of a slot's stream holds position 'first_cell' + i, because its sequence always begins
 * in an empty stream; the probe checks it. Host memory is touched while other slots compute:
 * they read their own streams only. By blob: pages are views of a state blob that commit hands
 * to llama.cpp.
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
        (side == 'k' || side == 'v')) {
        e->tensors[2 * layer + (side == 'v')] = tensor;
        lx_layers_see_cache(e, layer);
    }
}

bool lx_cache_capture(struct ggml_tensor *node, bool ask, void *user)
{
    lx_llama *e = user;
    if (ask && !e->is_captured) {
        capture_tensor(e, node);
        for (int i = 0; i < GGML_MAX_SRC && node->src[i]; i++)
            capture_tensor(e, node->src[i]);
        lx_layers_see(e, node);
        lx_head_see(e, node);
    }
    const bool is_watched = lx_watch_wants(e, node);
    const bool is_awaited = lx_layers_wants(e, node);
    const bool is_last = lx_head_wants(e, node);
    if (ask)
        return is_watched || is_awaited || is_last;
    if (is_watched)
        lx_watch_take(e, node);
    if (is_last)
        lx_head_take(e, node);
    return !is_last && (!is_awaited || lx_layers_await(e));
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

static lynx_status blob_tile(lx_slot *s, uint32_t layer, uint32_t side, uint32_t first,
                             uint32_t count, lynx_tile *tile)
{
    const lx_llama *e = s->shared;
    if (!s->is_blob_current) {
        free(s->blob);
        s->blob = NULL;
        lx_state_fini(s->shared, &s->blob_state);
        LX_TRY(lx_state_get(s, &s->blob, &s->blob_size));
        LX_TRY(lx_state_parse(s, s->blob, s->blob_size, &s->blob_state));
        s->is_blob_current = true;
    }
    const lx_state_part *part = &s->blob_state.parts[e->part_of[layer]];
    const lx_state_side *rows = &part->sides[2 * e->place_of[layer] + side];
    const uint32_t base = (uint32_t)part->first_position;
    LX_REQUIRE(first + count <= base + part->cell_count, LYNX_ERR_ARGUMENT);
    /* A window's part may begin inside the page: what lies before it is not there. */
    LX_REQUIRE(first >= base, LYNX_ERR_UNSUPPORTED);
    *tile = strides_of(e, layer, side, part->cell_count);
    tile->data = s->blob + rows->offset + (first - base) * tile->token_stride_bytes;
    return LYNX_OK;
}

/* Where the slot's stream begins in a cache tensor, in bytes. */
static size_t stream_offset(const lx_slot *s, const struct ggml_tensor *tensor)
{
    return s->index * tensor->nb[2];
}

/* Copy a tile between device memory and the staging buffer. */
static lynx_status move_staged(lx_slot *s, void *user)
{
    const bool is_write = *(const bool *)user;
    const struct ggml_tensor *tensor = s->mapped;
    const size_t bytes = lynx_element_bytes(s->shared->description.shape.element);
    const size_t channels = s->mapped_channels;
    const size_t cells = (size_t)tensor->ne[1];
    const size_t run = s->mapped_count * bytes;
    const bool by_channel = s->mapped_tile.token_stride_bytes == bytes && channels > 1;
    uint8_t *at = s->mapped_tile.data;
    for (size_t c = 0; c < (by_channel ? channels : 1); c++) {
        const size_t offset =
            stream_offset(s, tensor) + (by_channel ? (c * cells + s->mapped_first) * bytes
                                                   : s->mapped_first * channels * bytes);
        const size_t size = by_channel ? run : run * channels;
        if (is_write)
            ggml_backend_tensor_set(s->mapped, at + c * run, offset, size);
        else
            ggml_backend_tensor_get(tensor, at + c * run, offset, size);
    }
    return LYNX_OK;
}

static lynx_status staged_tile(lx_slot *s, struct ggml_tensor *tensor, uint32_t layer,
                               uint32_t side, uint32_t first, uint32_t count, bool is_write,
                               lynx_tile *tile)
{
    const lx_llama *e = s->shared;
    const size_t bytes = lynx_element_bytes(e->description.shape.element);
    const size_t size = count * bytes * e->layers[layer].sides[side].channels;
    if (size > s->staging_size) {
        lx_free(e->memory, s->staging, s->staging_size, 1);
        s->staging_size = 0;
        s->staging = lx_alloc(e->memory, size, 1);
        LX_REQUIRE(s->staging, LYNX_ERR_MEMORY);
        s->staging_size = size;
    }
    *tile = strides_of(e, layer, side, count);
    tile->data = s->staging;
    s->mapped = tensor;
    s->mapped_tile = *tile;
    s->mapped_first = first;
    s->mapped_channels = e->layers[layer].sides[side].channels;
    s->mapped_count = count;
    s->is_mapped_write = is_write;
    return is_write ? LYNX_OK : lx_slot_run(s, move_staged, &s->is_mapped_write);
}

lynx_status lx_cache_tile(lx_slot *s, uint32_t layer, uint32_t side, uint32_t first,
                          uint32_t count, bool is_write, lynx_tile *tile)
{
    const lx_llama *e = s->shared;
    if (e->is_blob)
        return blob_tile(s, layer, side, first, count, tile);
    struct ggml_tensor *tensor = e->tensors[2 * layer + side];
    const uint32_t first_cell = s->first_cell[e->part_of[layer]];
    LX_REQUIRE(first >= first_cell, LYNX_ERR_ARGUMENT);
    first -= first_cell;
    LX_REQUIRE(tensor && (int64_t)first + count <= tensor->ne[1], LYNX_ERR_ARGUMENT);
    if (!ggml_backend_buffer_is_host(tensor->buffer))
        return staged_tile(s, tensor, layer, side, first, count, is_write, tile);
    *tile = strides_of(e, layer, side, (size_t)tensor->ne[1]);
    tile->data =
        (uint8_t *)tensor->data + stream_offset(s, tensor) + first * tile->token_stride_bytes;
    return LYNX_OK;
}

/* ---- operations ---------------------------------------------------------------------- */

lynx_status lx_cache_map(lynx_engine *engine, lynx_page_id id, uint32_t prompt_tokens,
                         bool is_write, lynx_tile *tile)
{
    lx_slot *s = lx_slot_of(engine);
    const lynx_shape *shape = &s->shared->description.shape;
    LX_REQUIRE(lynx_page_is_needed(shape, id, prompt_tokens), LYNX_ERR_ARGUMENT);
    const lynx_page_span span = lynx_page_span_of(shape, id, prompt_tokens);
    LX_REQUIRE(span.first_token + span.token_count <= s->length + s->arriving,
               LYNX_ERR_ARGUMENT);
    return lx_cache_tile(s, id.layer, id.side, span.first_token, span.token_count, is_write,
                         tile);
}

lynx_status lx_cache_unmap(lynx_engine *engine)
{
    lx_slot *s = lx_slot_of(engine);
    lynx_status status = LYNX_OK;
    if (s->mapped && s->is_mapped_write)
        status = lx_slot_run(s, move_staged, &s->is_mapped_write);
    s->mapped = NULL;
    return status;
}

lynx_status lx_cache_commit(lynx_engine *engine)
{
    lx_slot *s = lx_slot_of(engine);
    if (!s->shared->is_blob)
        return LYNX_OK;
    LX_REQUIRE(s->blob && s->is_blob_current, LYNX_ERR_STATE);
    LX_TRY(lx_state_set(s, s->blob, s->blob_size));
    s->length = s->blob_state.parts[0].cell_count;
    return LYNX_OK;
}

/* The cells for a prompt of 'count' tokens are there, whatever is in them. */
static bool has_cells(const lx_slot *s, uint32_t count)
{
    bool has_all = !s->shared->is_blob && s->length >= count;
    for (uint32_t i = 0; i < LX_PARTS_MAX; i++)
        has_all = has_all && s->first_cell[i] <= lx_state_first_cell(s->shared, i, count);
    return has_all;
}

/* The blob stays here, for the pages that come. */
static lynx_status set_blob(lx_slot *s, uint32_t count)
{
    uint8_t *blob = NULL;
    size_t size = 0;
    LX_TRY(lx_state_build(s, count, &blob, &size));
    const lynx_status status = lx_state_set(s, blob, size);
    if (status != LYNX_OK) {
        free(blob);
        return status;
    }
    free(s->blob);
    s->blob = blob;
    s->blob_size = size;
    lx_state_fini(s->shared, &s->blob_state);
    LX_TRY(lx_state_parse(s, blob, size, &s->blob_state));
    s->is_blob_current = true;
    return LYNX_OK;
}

lynx_status lx_cache_reserve(lynx_engine *engine, uint32_t count)
{
    lx_slot *s = lx_slot_of(engine);
    LX_REQUIRE(count >= 1 && count <= s->shared->description.context_tokens, LYNX_ERR_ARGUMENT);
    if (has_cells(s, count))
        return lx_slot_rewind(engine, count);
    LX_TRY(lx_slot_clear(s));
    LX_TRY(s->shared->is_blob ? set_blob(s, count) : lx_state_set_undefined(s, count));
    for (uint32_t i = 0; i < s->shared->layout.part_count; i++)
        s->first_cell[i] = lx_state_first_cell(s->shared, i, count);
    s->length = count;
    return LYNX_OK;
}
