/* SPDX-License-Identifier: MIT */
/*
 * llama_probe.c - checks at start-up of every fact that the adapter builds on; docs/llama.md.
 *
 * The probe decodes a few tokens in the real context and leaves it empty. Here: what lies
 * where in the cache. Exactness: llama_exact.c.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/half.h"
#include "codec/rope.h"
#include "llama/llama_internal.h"

enum {
    SAME_TOKENS = 40, /* identical tokens for the rotation test */
    HEAD_CHANNELS_MAX = 1024
};

/* ---- values of the cache ------------------------------------------------------------- */

static float value_at(const lynx_tile *tile, uint32_t token, uint32_t channel)
{
    const uint8_t *at = (const uint8_t *)tile->data + token * tile->token_stride_bytes +
                        channel * tile->channel_stride_bytes;
    uint16_t half;
    float value;
    if (tile->element == LYNX_ELEMENT_F32) {
        memcpy(&value, at, sizeof(value));
        return value;
    }
    memcpy(&half, at, sizeof(half));
    return tile->element == LYNX_ELEMENT_F16 ? lx_float_of_half(half)
                                             : lx_float_of_bfloat(half);
}

/* ---- the state blob ------------------------------------------------------------------ */

/* A tile over rows of the blob, as the blob lays them out. */
static lynx_tile blob_side_tile(const lx_llama *e, const uint8_t *blob,
                                const lx_state_part *part, const lx_state_side *s)
{
    const size_t bytes = lynx_element_bytes(e->description.shape.element);
    lynx_tile tile = {.data = (uint8_t *)(uintptr_t)(blob + s->offset),
                      .element = e->description.shape.element};
    tile.token_stride_bytes = s->is_transposed ? bytes : (size_t)s->row_bytes;
    tile.channel_stride_bytes = s->is_transposed ? part->cell_count * bytes : bytes;
    return tile;
}

static bool tile_is_equal(const lynx_tile *a, const lynx_tile *b, uint32_t tokens,
                          uint32_t channels)
{
    const size_t bytes = lynx_element_bytes(a->element);
    for (uint32_t t = 0; t < tokens; t++)
        for (uint32_t c = 0; c < channels; c++)
            if (memcmp((const uint8_t *)a->data + t * a->token_stride_bytes +
                           c * a->channel_stride_bytes,
                       (const uint8_t *)b->data + t * b->token_stride_bytes +
                           c * b->channel_stride_bytes,
                       bytes) != 0)
                return false;
    return true;
}

/* Types, sizes and counts of the blob against the shape. */
static lynx_status check_layout(lx_slot *s, const lx_state *state)
{
    lx_llama *e = s->shared;
    const size_t bytes = lynx_element_bytes(e->description.shape.element);
    static const int32_t types[] = {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16};
    uint32_t layers = 0;
    for (uint32_t p = 0; p < state->part_count; p++)
        layers += state->parts[p].layer_count;
    bool is_right = layers == e->layer_count;
    for (uint32_t l = 0; is_right && l < e->layer_count; l++) {
        const lx_state_part *part = &state->parts[e->part_of[l]];
        for (uint32_t side = 0; side < (part->has_values ? 2u : 1u); side++) {
            const lx_state_side *rows = &part->sides[2 * e->place_of[l] + side];
            const uint64_t channels =
                rows->is_transposed ? rows->channels : rows->row_bytes / bytes;
            /* llama.cpp gives all transposed values the room of its widest layer. */
            if (rows->is_transposed && channels < e->layers[l].sides[side].channels)
                lx_llama_set_channels(e, l, side, (uint32_t)channels);
            is_right = is_right && rows->type == types[e->description.shape.element] &&
                       channels == e->layers[l].sides[side].channels &&
                       rows->is_transposed == (side == 1 && !e->is_flash);
        }
    }
    return is_right
               ? LYNX_OK
               : lx_llama_fail(s->error, LYNX_ERR_UNSUPPORTED,
                               "the cache of '%s' has %u layers in %u parts whose types or "
                               "sizes are not those of its tensors",
                               e->architecture, layers, state->part_count);
}

/* Find for each layer the part and place whose keys are its tensor's keys. */
static lynx_status find_places(lx_slot *s, const uint8_t *blob, const lx_state *state)
{
    lx_llama *e = s->shared;
    uint32_t next[LX_PARTS_MAX] = {0};
    for (uint32_t l = 0; l < e->layer_count; l++) {
        bool is_found = false;
        for (uint32_t p = 0; p < state->part_count && !is_found; p++) {
            const lx_state_part *part = &state->parts[p];
            if (next[p] >= part->layer_count)
                continue;
            lynx_tile own;
            const lynx_tile there = blob_side_tile(e, blob, part, &part->sides[2 * next[p]]);
            LX_TRY(lx_cache_tile(s, l, 0, (uint32_t)part->first_position, part->cell_count,
                                 false, &own));
            is_found =
                tile_is_equal(&own, &there, part->cell_count, e->layers[l].sides[0].channels);
            LX_TRY(lx_cache_unmap(&s->base));
            if (is_found) {
                e->part_of[l] = p;
                e->place_of[l] = next[p]++;
            }
        }
        if (!is_found)
            return lx_llama_fail(s->error, LYNX_ERR_UNSUPPORTED,
                                 "the cache tensor of layer %u is not where the state has it",
                                 l);
    }
    return LYNX_OK;
}

static lynx_status check_values(lx_slot *s, const uint8_t *blob, const lx_state *state)
{
    lx_llama *e = s->shared;
    for (uint32_t l = 0; l < e->layer_count; l++) {
        const lx_state_part *part = &state->parts[e->part_of[l]];
        const uint32_t channels = e->layers[l].sides[1].channels;
        if (!part->has_values || channels == 0)
            continue;
        lynx_tile own;
        const lynx_tile there =
            blob_side_tile(e, blob, part, &part->sides[2 * e->place_of[l] + 1]);
        LX_TRY(lx_cache_tile(s, l, 1, (uint32_t)part->first_position, part->cell_count, false,
                             &own));
        const bool is_equal = tile_is_equal(&own, &there, part->cell_count, channels);
        LX_TRY(lx_cache_unmap(&s->base));
        if (!is_equal)
            return lx_llama_fail(s->error, LYNX_ERR_UNSUPPORTED,
                                 "the values of layer %u are not where the state has them", l);
    }
    return LYNX_OK;
}

/* Put a blob of 'tokens' cells together from nothing but its layout, compare and load it. */
static lynx_status check_rebuilt(lx_slot *s, const uint8_t *blob, size_t size, uint32_t tokens)
{
    const lx_state *state = &s->shared->layout;
    uint8_t *built = NULL;
    size_t built_size = 0;
    lx_state again = {0};
    LX_TRY(lx_state_build(s, tokens, &built, &built_size));
    lynx_status status = lx_state_parse(s, built, built_size, &again);
    bool is_equal = status == LYNX_OK && built_size == size;
    for (uint32_t p = 0; is_equal && p < state->part_count; p++)
        for (uint32_t i = 0; i < 2 * state->parts[p].layer_count; i++) {
            const lx_state_side *from = &state->parts[p].sides[i];
            if (from->offset == 0)
                continue;
            const size_t bytes =
                (size_t)from->row_bytes * (from->is_transposed ? from->channels : 1) * tokens;
            memcpy(built + again.parts[p].sides[i].offset, blob + from->offset, bytes);
        }
    is_equal = is_equal && memcmp(built, blob, size) == 0;
    if (is_equal)
        status = lx_state_set(s, built, built_size);
    lx_state_fini(s->shared, &again);
    free(built);
    LX_TRY(status);
    return is_equal
               ? LYNX_OK
               : lx_llama_fail(s->error, LYNX_ERR_UNSUPPORTED,
                               "a cache state put together by Lynx differs from llama.cpp's");
}

/* The slot's blob and where its rows are, in the shared layout. */
static lynx_status check_blob(lx_slot *s, const uint8_t *blob, size_t size, uint32_t tokens)
{
    lx_state *layout = &s->shared->layout;
    uint8_t *back = NULL;
    size_t back_size = 0;
    lx_state_fini(s->shared, layout);
    LX_TRY(lx_state_parse(s, blob, size, layout));
    LX_TRY(find_places(s, blob, layout));
    LX_TRY(check_layout(s, layout));
    LX_TRY(check_values(s, blob, layout));
    LX_TRY(check_rebuilt(s, blob, size, tokens));
    /* What was loaded must come back, and lie in the tensors at the same cells. */
    LX_TRY(lx_state_get(s, &back, &back_size));
    const bool is_same = back_size == size && memcmp(back, blob, size) == 0;
    free(back);
    if (!is_same)
        return lx_llama_fail(s->error, LYNX_ERR_UNSUPPORTED,
                             "a cache state that was loaded does not come back");
    return find_places(s, blob, layout);
}

static lynx_status probe_state(lx_slot *s, uint32_t tokens)
{
    uint8_t *blob = NULL;
    size_t size = 0;
    LX_TRY(lx_state_get(s, &blob, &size));
    const lynx_status status = check_blob(s, blob, size, tokens);
    free(blob);
    return status;
}

/* ---- rotation ------------------------------------------------------------------------ */

/* Relative error of the claim that key t is key 0 turned by the angle of position t. */
static double turn_error(const lynx_tile *keys, uint32_t head_channels, const lynx_rope *rope)
{
    static const uint32_t positions[] = {1, 3, 7, 17, SAME_TOKENS - 1};
    double error = 0;
    double size = 0;
    for (uint32_t i = 0; i < sizeof(positions) / sizeof(*positions); i++)
        for (uint32_t pair = 0; pair < rope->dims / 2; pair++) {
            uint32_t a;
            uint32_t b;
            float cosines[LX_KERNEL_TOKENS];
            float sines[LX_KERNEL_TOKENS];
            lx_rope_channels(rope, pair, &a, &b);
            lx_rope_row(&lx_kernels_reference, rope, pair, positions[i], 1, cosines, sines);
            const float c = cosines[0];
            const float s = sines[0];
            const double x = (double)value_at(keys, 0, a);
            const double y = (double)value_at(keys, 0, b);
            const double dx = (double)value_at(keys, positions[i], a) - (x * c - y * s);
            const double dy = (double)value_at(keys, positions[i], b) - (x * s + y * c);
            error += dx * dx + dy * dy;
            size += x * x + y * y;
        }
    (void)head_channels;
    return size > 0 ? sqrt(error / size) : INFINITY;
}

static double number_of(lx_llama *e, const char *name)
{
    char key[128];
    char value[64];
    snprintf(key, sizeof(key), "%s.%s", e->architecture, name);
    if (llama_model_meta_val_str(e->model, key, value, sizeof(value)) < 0)
        return 0;
    return strtod(value, NULL);
}

/* The rotation of one layer's keys by trial, NONE when no candidate explains them. */
static lynx_status probe_rope(lx_slot *s, uint32_t layer)
{
    lx_llama *e = s->shared;
    lynx_side_shape *shape = &e->layers[layer].sides[LYNX_SIDE_KEYS];
    const double bases[] = {number_of(e, "rope.freq_base"),
                            number_of(e, "rope.freq_base_swa"),
                            10000,
                            1e6,
                            5e5,
                            1e5};
    const float scales[] = {1.0f, llama_model_rope_freq_scale_train(e->model)};
    const uint32_t dims = (uint32_t)number_of(e, "rope.dimension_count");
    const enum llama_rope_type type = llama_model_rope_type(e->model);
    lynx_rope best = {.pairing = LYNX_ROPE_NONE};
    double best_error = 0.02;
    lynx_tile keys;
    if (type != LLAMA_ROPE_TYPE_NORM && type != LLAMA_ROPE_TYPE_NEOX)
        return LYNX_OK;
    LX_TRY(lx_cache_tile(s, layer, 0, 0, SAME_TOKENS, false, &keys));
    for (size_t i = 0; i < sizeof(bases) / sizeof(*bases); i++)
        for (size_t k = 0; k < 2; k++) {
            lynx_rope rope = {
                .pairing =
                    type == LLAMA_ROPE_TYPE_NORM ? LYNX_ROPE_NEIGHBOURS : LYNX_ROPE_HALVES,
                .dims = dims && dims <= shape->head_channels ? dims : shape->head_channels,
                .base = (float)bases[i],
                .scale = scales[k],
            };
            if (!(rope.base > 1.0f) || !(rope.scale > 0.0f) || rope.dims % 2)
                continue;
            const double error = turn_error(&keys, shape->head_channels, &rope);
            if (error < best_error * 0.99) {
                best = rope;
                best_error = error;
            }
        }
    shape->rope = best;
    return lx_cache_unmap(&s->base);
}

static lynx_status probe_ropes(lx_slot *s)
{
    lx_llama *e = s->shared;
    uint32_t found = 0;
    for (uint32_t l = 0; l < e->layer_count; l++) {
        LX_TRY(probe_rope(s, l));
        found += e->layers[l].sides[0].rope.pairing != LYNX_ROPE_NONE;
    }
    const lynx_rope *first = &e->layers[0].sides[0].rope;
    lx_llama_note(e, "rotation of keys: known in %u of %u layers (first: %u channels, base %g)",
                  found, e->layer_count, first->dims, (double)first->base);
    return LYNX_OK;
}

/* ---- the whole ----------------------------------------------------------------------- */

/* Identical tokens in the slot, and everything that can be seen of them. */
static lynx_status probe_cells(lx_slot *s, lynx_token token)
{
    lynx_token same[SAME_TOKENS];
    for (uint32_t i = 0; i < SAME_TOKENS; i++)
        same[i] = token;
    LX_TRY(lx_slot_clear(s));
    LX_TRY(lx_slot_decode_piece(s, same, SAME_TOKENS));
    if (s->index == 0)
        LX_TRY(probe_ropes(s));
    return probe_state(s, SAME_TOKENS);
}

lynx_status lx_llama_probe(lx_llama *e)
{
    const uint32_t vocabulary = e->description.vocabulary;
    lx_slot *first = e->slots[0];
    lx_slot *last = e->slots[e->slot_count - 1];
    const uint32_t need = LX_PROBE_TOKENS + LX_BATCH_TOKENS + 2;
    if (e->description.context_tokens < need)
        return lx_llama_fail(first->error, LYNX_ERR_ARGUMENT,
                             "a context of %u tokens is too small; use --ctx-size %u or more",
                             e->description.context_tokens, need);
    LX_TRY(probe_cells(first, (lynx_token)(vocabulary / 2)));
    /* Beside a stream with other content, which still holds once this one was loaded. */
    if (last != first) {
        LX_TRY(probe_cells(last, (lynx_token)(vocabulary / 3)));
        LX_TRY(probe_state(first, SAME_TOKENS));
    }
    lx_llama_note(e,
                  "state: %u part(s) of %u stream(s), parsed, rebuilt byte-identical and "
                  "loaded back",
                  e->layout.part_count, e->slot_count);
    return lx_llama_probe_exactness(e);
}
