/* SPDX-License-Identifier: MIT */
/*
 * llama_probe.c - checks at start-up of every fact that the adapter builds on; docs/llama.md.
 *
 * The probe decodes a few tokens in the real context and leaves it empty.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/half.h"
#include "codec/rope.h"
#include "llama/llama_internal.h"

enum {
    SAME_TOKENS = 40,    /* identical tokens for the rotation test */
    CONTEXT_TOKENS = 48, /* of the exactness test */
    STEP_TOKENS = 5,
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
static lynx_status check_layout(lx_llama *e, const lx_state *state)
{
    const size_t bytes = lynx_element_bytes(e->description.shape.element);
    static const int32_t types[] = {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16};
    uint32_t layers = 0;
    for (uint32_t p = 0; p < state->part_count; p++)
        layers += state->parts[p].layer_count;
    bool is_right = layers == e->layer_count;
    for (uint32_t l = 0; is_right && l < e->layer_count; l++) {
        const lx_state_part *part = &state->parts[e->part_of[l]];
        for (uint32_t side = 0; side < (part->has_values ? 2u : 1u); side++) {
            const lx_state_side *s = &part->sides[2 * e->place_of[l] + side];
            const uint64_t channels = s->is_transposed ? s->channels : s->row_bytes / bytes;
            /* llama.cpp gives all transposed values the room of its widest layer. */
            if (s->is_transposed && channels < e->layers[l].sides[side].channels)
                lx_llama_set_channels(e, l, side, (uint32_t)channels);
            is_right = is_right && s->type == types[e->description.shape.element] &&
                       channels == e->layers[l].sides[side].channels &&
                       s->is_transposed == (side == 1 && !e->is_flash);
        }
    }
    return is_right
               ? LYNX_OK
               : lx_llama_fail(e, LYNX_ERR_UNSUPPORTED,
                               "the cache of '%s' has %u layers in %u parts whose types or "
                               "sizes are not those of its tensors",
                               e->architecture, layers, state->part_count);
}

/* Find for each layer the part and place whose keys are its tensor's keys. */
static lynx_status find_places(lx_llama *e, const uint8_t *blob, const lx_state *state)
{
    uint32_t next[LX_PARTS_MAX] = {0};
    for (uint32_t l = 0; l < e->layer_count; l++) {
        bool is_found = false;
        for (uint32_t p = 0; p < state->part_count && !is_found; p++) {
            const lx_state_part *part = &state->parts[p];
            if (next[p] >= part->layer_count)
                continue;
            const lx_state_side *s = &part->sides[2 * next[p]];
            lynx_tile own;
            const lynx_tile there = blob_side_tile(e, blob, part, s);
            LX_TRY(lx_cache_tile(e, l, 0, (uint32_t)part->first_position, part->cell_count,
                                 false, &own));
            is_found =
                tile_is_equal(&own, &there, part->cell_count, e->layers[l].sides[0].channels);
            LX_TRY(lx_cache_unmap(&e->base));
            if (is_found) {
                e->part_of[l] = p;
                e->place_of[l] = next[p]++;
            }
        }
        if (!is_found)
            return lx_llama_fail(e, LYNX_ERR_UNSUPPORTED,
                                 "the cache tensor of layer %u is not where the state has it",
                                 l);
    }
    return LYNX_OK;
}

static lynx_status check_values(lx_llama *e, const uint8_t *blob, const lx_state *state)
{
    for (uint32_t l = 0; l < e->layer_count; l++) {
        const lx_state_part *part = &state->parts[e->part_of[l]];
        const uint32_t channels = e->layers[l].sides[1].channels;
        if (!part->has_values || channels == 0)
            continue;
        lynx_tile own;
        const lynx_tile there =
            blob_side_tile(e, blob, part, &part->sides[2 * e->place_of[l] + 1]);
        LX_TRY(lx_cache_tile(e, l, 1, (uint32_t)part->first_position, part->cell_count, false,
                             &own));
        const bool is_equal = tile_is_equal(&own, &there, part->cell_count, channels);
        LX_TRY(lx_cache_unmap(&e->base));
        if (!is_equal)
            return lx_llama_fail(e, LYNX_ERR_UNSUPPORTED,
                                 "the values of layer %u are not where the state has them", l);
    }
    return LYNX_OK;
}

/* Put a blob of 'tokens' cells together from nothing but its layout, and compare it. */
static lynx_status check_rebuilt(lx_llama *e, const uint8_t *blob, size_t size,
                                 const lx_state *state, uint32_t tokens)
{
    uint8_t *built = NULL;
    size_t built_size = 0;
    lx_state again = {0};
    LX_TRY(lx_state_build(state, tokens, &built, &built_size));
    lynx_status status = lx_state_parse(e, built, built_size, &again);
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
        status = lx_state_set(e, built, built_size);
    lx_state_fini(e, &again);
    free(built);
    LX_TRY(status);
    return is_equal
               ? LYNX_OK
               : lx_llama_fail(e, LYNX_ERR_UNSUPPORTED,
                               "a cache state put together by Lynx differs from llama.cpp's");
}

static lynx_status probe_state(lx_llama *e, uint32_t tokens)
{
    uint8_t *blob = NULL;
    uint8_t *back = NULL;
    size_t size = 0;
    size_t back_size = 0;
    LX_TRY(lx_state_get(e, &blob, &size));
    lynx_status status = lx_state_parse(e, blob, size, &e->blob_state);
    if (status == LYNX_OK)
        status = find_places(e, blob, &e->blob_state);
    if (status == LYNX_OK)
        status = check_layout(e, &e->blob_state);
    if (status == LYNX_OK)
        status = check_values(e, blob, &e->blob_state);
    if (status == LYNX_OK)
        status = check_rebuilt(e, blob, size, &e->blob_state, tokens);
    /* What was loaded must come back, and lie in the tensors at the same cells. */
    if (status == LYNX_OK)
        status = lx_state_get(e, &back, &back_size);
    if (status == LYNX_OK && (back_size != size || memcmp(back, blob, size) != 0))
        status = lx_llama_fail(e, LYNX_ERR_UNSUPPORTED,
                               "a cache state that was loaded does not come back");
    if (status == LYNX_OK)
        status = find_places(e, blob, &e->blob_state);
    free(blob);
    free(back);
    LX_TRY(status);
    lx_llama_note(e, "state: %u part(s), parsed, rebuilt byte-identical and loaded back",
                  e->blob_state.part_count);
    return LYNX_OK;
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
            float c;
            float s;
            lx_rope_channels(rope, pair, &a, &b);
            lx_rope_row(rope, pair, positions[i], 1, &c, &s);
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
static lynx_status probe_rope(lx_llama *e, uint32_t layer)
{
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
    LX_TRY(lx_cache_tile(e, layer, 0, 0, SAME_TOKENS, false, &keys));
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
    return lx_cache_unmap(&e->base);
}

static lynx_status probe_ropes(lx_llama *e)
{
    uint32_t found = 0;
    for (uint32_t l = 0; l < e->layer_count; l++) {
        LX_TRY(probe_rope(e, l));
        found += e->layers[l].sides[0].rope.pairing != LYNX_ROPE_NONE;
    }
    const lynx_rope *first = &e->layers[0].sides[0].rope;
    lx_llama_note(e, "rotation of keys: known in %u of %u layers (first: %u channels, base %g)",
                  found, e->layer_count, first->dims, (double)first->base);
    return LYNX_OK;
}

/* ---- exactness ----------------------------------------------------------------------- */

static float largest_difference(const float *a, const float *b, uint32_t count)
{
    float most = 0;
    for (uint32_t i = 0; i < count; i++) {
        const float difference = fabsf(a[i] - b[i]);
        /* A NaN must not pass as equal. */
        if (!(difference <= most))
            most = difference;
    }
    return most;
}

/* Logits of the first STEP_TOKENS rows of a batch against those that were saved. */
static lynx_status compare_batch(lx_llama *e, const lynx_token *tokens, uint32_t count,
                                 float *error)
{
    const uint32_t vocabulary = e->description.vocabulary;
    LX_TRY(lx_llama_rewind(&e->base, CONTEXT_TOKENS));
    LX_TRY(lx_llama_batch(&e->base, tokens, count));
    for (uint32_t row = 0; row < STEP_TOKENS && row < count; row++) {
        const float difference =
            largest_difference(e->base.ops->logits(&e->base, row),
                               e->saved_logits + (size_t)row * vocabulary, vocabulary);
        if (!(difference <= *error))
            *error = difference;
    }
    return LYNX_OK;
}

static lynx_status probe_exactness(lx_llama *e)
{
    const uint32_t vocabulary = e->description.vocabulary;
    static const uint32_t sizes[] = {3, 8, 20, LX_BATCH_TOKENS};
    lynx_token tokens[CONTEXT_TOKENS + LX_BATCH_TOKENS];
    for (uint32_t i = 0; i < CONTEXT_TOKENS + LX_BATCH_TOKENS; i++)
        tokens[i] = (lynx_token)((i * 7919u + 13u) % vocabulary);
    LX_TRY(lx_llama_clear(e));
    LX_TRY(lx_llama_decode(e, tokens, CONTEXT_TOKENS, false));
    for (uint32_t i = 0; i < STEP_TOKENS; i++) {
        LX_TRY(lx_llama_step(&e->base, tokens[CONTEXT_TOKENS + i]));
        memcpy(e->saved_logits + (size_t)i * vocabulary, e->base.ops->logits(&e->base, 0),
               vocabulary * sizeof(float));
    }
    float error = 0;
    for (uint32_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        LX_TRY(compare_batch(e, tokens + CONTEXT_TOKENS, sizes[i], &error));
    e->description.exactness = error == 0 ? LYNX_EXACT : LYNX_EXACT_TO_ROUNDING;
    e->description.exactness_error = error;
    lx_llama_note(e,
                  "exactness (%s): step against batches of 3, 8, 20, %u: %s, |difference| %g",
                  e->options.exact == LYNX_EXACT_STRICT ? "strict" : "rounding",
                  (unsigned)LX_BATCH_TOKENS, error == 0 ? "exact" : "up to rounding",
                  (double)error);
    return LYNX_OK;
}

/* ---- the whole ----------------------------------------------------------------------- */

lynx_status lx_llama_probe(lx_llama *e)
{
    const size_t saved = (size_t)STEP_TOKENS * e->description.vocabulary;
    lynx_token same[SAME_TOKENS];
    for (uint32_t i = 0; i < SAME_TOKENS; i++)
        same[i] = (lynx_token)(e->description.vocabulary / 2);
    const uint32_t need = CONTEXT_TOKENS + LX_BATCH_TOKENS + 2;
    if (e->description.context_tokens < need)
        return lx_llama_fail(e, LYNX_ERR_ARGUMENT,
                             "a context of %u tokens is too small; use --ctx-size %u or more",
                             e->description.context_tokens, need);
    e->saved_logits = lx_alloc(e->memory, saved, sizeof(float));
    LX_REQUIRE(e->saved_logits, LYNX_ERR_MEMORY);
    LX_TRY(lx_llama_clear(e));
    LX_TRY(lx_llama_decode(e, same, SAME_TOKENS, false));
    LX_TRY(probe_ropes(e));
    LX_TRY(probe_state(e, SAME_TOKENS));
    LX_TRY(probe_exactness(e));
    return lx_llama_clear(e);
}
