/* SPDX-License-Identifier: MIT */
#include "engine/toy_engine.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/check.h"
#include "engine/constraint.h"

enum { LAYERS_MAX = 8, VOCABULARY = 64, BATCH_TOKENS = 64 };

typedef struct toy {
    lynx_engine base;
    const lynx_allocator *memory;
    lx_toy_options options;
    lynx_model model;
    lynx_layer_shape layers[LAYERS_MAX];
    uint8_t *cache; /* [layer][side][token][channel] */
    size_t cache_bytes;
    float *logits;               /* [BATCH_TOKENS][VOCABULARY] */
    uint32_t first_row, end_row; /* of them that was asked for, and behind the last */
    uint32_t length;
    lx_constraint constraint;
    atomic_bool is_cancelled;
} toy;

static toy *toy_of(lynx_engine *engine)
{
    return (toy *)(void *)engine;
}

static const toy *toy_of_const(const lynx_engine *engine)
{
    return (const toy *)(const void *)engine;
}

/* A hash that spreads small integers (the finaliser of a 64-bit multiply-shift). */
static uint32_t mix(uint64_t value)
{
    value = (value ^ (value >> 31)) * 0x9E3779B97F4A7C15u;
    value = (value ^ (value >> 29)) * 0xBF58476D1CE4E5B9u;
    return (uint32_t)(value >> 32);
}

static uint8_t *cell(const toy *t, uint32_t layer, uint32_t side, uint32_t token)
{
    const size_t row_bytes = t->options.channels * lynx_element_bytes(t->options.element);
    const size_t row = ((size_t)layer * 2 + side) * t->options.context_tokens + token;
    return t->cache + row * row_bytes;
}

/* Values are multiples of 1/512 in [-1, 1): exact in F32 and F16, rounded in BF16. */
static void store_value(const toy *t, uint8_t *row, uint32_t channel, int32_t value)
{
    const float number = (float)value / 512.0f;
    uint32_t bits;
    memcpy(&bits, &number, sizeof(bits));
    if (t->options.element == LYNX_ELEMENT_F32) {
        memcpy(row + 4 * (size_t)channel, &bits, 4);
        return;
    }
    uint16_t half = (uint16_t)(bits >> 16);
    if (t->options.element == LYNX_ELEMENT_F16) {
        const uint32_t exponent = (bits >> 23) & 0xFF;
        const uint32_t sign = (bits >> 16) & 0x8000;
        half = exponent == 0
                   ? 0
                   : (uint16_t)(sign | ((exponent - 112) << 10) | ((bits >> 13) & 0x3FF));
    }
    memcpy(row + 2 * (size_t)channel, &half, 2);
}

static float load_value(const toy *t, const uint8_t *row, uint32_t channel)
{
    uint32_t bits;
    if (t->options.element == LYNX_ELEMENT_F32) {
        memcpy(&bits, row + 4 * (size_t)channel, 4);
    } else {
        uint16_t half;
        memcpy(&half, row + 2 * (size_t)channel, 2);
        bits = (uint32_t)half << 16;
        if (t->options.element == LYNX_ELEMENT_F16) {
            const float magnitude =
                (half & 0x7C00) == 0
                    ? ldexpf((float)(half & 0x3FF), -24)
                    : ldexpf((float)(0x400 | (half & 0x3FF)), ((half >> 10) & 31) - 25);
            return (half & 0x8000) ? -magnitude : magnitude;
        }
    }
    float number;
    memcpy(&number, &bits, sizeof(number));
    return number;
}

/* 'bias' is added to each value's numerator: what another rounding would do. */
static void append_token(toy *t, lynx_token token, int32_t bias)
{
    for (uint32_t layer = 0; layer < t->options.layer_count; layer++)
        for (uint32_t side = 0; side < 2; side++) {
            uint8_t *row = cell(t, layer, side, t->length);
            for (uint32_t channel = 0; channel < t->options.channels; channel++) {
                const uint64_t seed = ((uint64_t)(uint32_t)token << 40) ^
                                      ((uint64_t)t->length << 20) ^ (channel << 6) ^
                                      (layer << 1) ^ side;
                store_value(t, row, channel, (int32_t)(mix(seed) % 1024) - 512 + bias);
            }
        }
    t->length++;
}

static void compute_logits(const toy *t, lynx_token last, float *logits)
{
    const uint32_t channels = t->options.channels;
    for (uint32_t word = 0; word < VOCABULARY; word++) {
        float sum = (float)(mix(((uint64_t)(uint32_t)last << 8) | word) % 1024) / 64.0f;
        for (uint32_t layer = 0; layer < t->options.layer_count; layer++) {
            const uint32_t window = t->layers[layer].window_tokens;
            const uint32_t first = window && t->length > window ? t->length - window : 0;
            for (uint32_t token = first; token < t->length; token++)
                sum +=
                    load_value(t, cell(t, layer, 0, token), (word * 7 + token) % channels) *
                    load_value(t, cell(t, layer, 1, token), (word * 13 + token * 3) % channels);
        }
        logits[word] = word == 0 ? sum - 6.0f : sum; /* the end is rare */
    }
}

static void spend(uint64_t ns)
{
    if (ns == 0)
        return;
    const struct timespec wait = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    nanosleep(&wait, NULL);
}

static void toy_destroy(lynx_engine *engine)
{
    toy *t = toy_of(engine);
    const lynx_allocator *memory = t->memory;
    lx_constraint_fini(&t->constraint);
    lx_free(memory, t->cache, t->cache_bytes, 1);
    lx_free(memory, t->logits, (size_t)BATCH_TOKENS * VOCABULARY, sizeof(float));
    lx_free(memory, t, 1, sizeof(*t));
}

static const lynx_model *toy_model(const lynx_engine *engine)
{
    return &toy_of_const(engine)->model;
}

static const char *toy_error_text(const lynx_engine *engine)
{
    const lx_constraint *constraint = &toy_of_const(engine)->constraint;
    return constraint->error[0] ? constraint->error
                                : "the toy engine was used outside its limits";
}

static lynx_status toy_tokenize(lynx_engine *engine, const char *text, size_t size,
                                bool add_start, bool parse_special, lynx_token *tokens,
                                size_t capacity, size_t *count)
{
    (void)engine;
    (void)add_start;
    (void)parse_special;
    *count = size;
    LX_REQUIRE(size <= capacity, LYNX_ERR_LIMIT);
    for (size_t i = 0; i < size; i++)
        tokens[i] = (lynx_token)((uint8_t)text[i] % (VOCABULARY - 1)) + 1;
    return LYNX_OK;
}

static lynx_status toy_token_text(lynx_engine *engine, lynx_token token, char *text,
                                  size_t capacity, size_t *size)
{
    (void)engine;
    LX_REQUIRE(token >= 0 && token < VOCABULARY, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(capacity >= 1, LYNX_ERR_LIMIT);
    text[0] = (char)('0' + token);
    *size = 1;
    return LYNX_OK;
}

static bool toy_token_is_end(const lynx_engine *engine, lynx_token token)
{
    (void)engine;
    return token == 0;
}

static lynx_status toy_chat_prompt(lynx_engine *engine, const char *template_name,
                                   const lynx_chat_turn *turns, size_t count, char *text,
                                   size_t capacity, size_t *size)
{
    (void)engine;
    (void)template_name;
    *size = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(turns[i].text);
        if (*size + length <= capacity)
            memcpy(text + *size, turns[i].text, length);
        *size += length;
    }
    return *size <= capacity ? LYNX_OK : LYNX_ERR_LIMIT;
}

static lynx_status check_tokens(const lynx_token *tokens, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        LX_REQUIRE(tokens[i] >= 0 && tokens[i] < VOCABULARY, LYNX_ERR_ARGUMENT);
    return LYNX_OK;
}

static lynx_status toy_prefill_by_layer(lynx_engine *engine, const lynx_token *tokens,
                                        uint32_t count, lynx_prefill_progress *progress,
                                        lynx_prefill_layers *layers, void *user)
{
    toy *t = toy_of(engine);
    LX_REQUIRE(!layers || t->options.can_await_layers, LYNX_ERR_UNSUPPORTED);
    LX_REQUIRE(count >= 1 && count <= t->options.context_tokens, LYNX_ERR_ARGUMENT);
    LX_TRY(check_tokens(tokens, count));
    atomic_store(&t->is_cancelled, false);
    t->length = 0;
    while (t->length < count) {
        for (uint32_t i = 0; i < t->options.piece_tokens && t->length < count; i++)
            append_token(t, tokens[t->length], 0);
        spend(t->options.piece_ns);
        LX_REQUIRE(!atomic_load(&t->is_cancelled), LYNX_ERR_CANCELLED);
        for (uint32_t layer = 1; layers && layer < t->options.layer_count; layer++)
            LX_REQUIRE(layers(user, t->length, layer), LYNX_ERR_CANCELLED);
        LX_REQUIRE(!progress || progress(user, t->length, count), LYNX_ERR_CANCELLED);
    }
    compute_logits(t, tokens[count - 1], t->logits);
    t->first_row = 0;
    t->end_row = 1;
    return LYNX_OK;
}

static lynx_status toy_prefill(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                               lynx_prefill_progress *progress, void *user)
{
    return toy_prefill_by_layer(engine, tokens, count, progress, NULL, user);
}

static lynx_status toy_reserve(lynx_engine *engine, uint32_t count)
{
    toy *t = toy_of(engine);
    LX_REQUIRE(count <= t->options.context_tokens, LYNX_ERR_ARGUMENT);
    /* Undefined content: all bits set is a NaN in every type, so that an unwritten page shows.
     */
    memset(t->cache, 0xFF, t->cache_bytes);
    t->length = count;
    return LYNX_OK;
}

static lynx_status toy_rewind(lynx_engine *engine, uint32_t length)
{
    toy *t = toy_of(engine);
    LX_REQUIRE(length <= t->length, LYNX_ERR_ARGUMENT);
    t->length = length;
    return LYNX_OK;
}

static uint32_t toy_length(const lynx_engine *engine)
{
    return toy_of_const(engine)->length;
}

static lynx_status toy_map_page(lynx_engine *engine, lynx_page_id id, uint32_t prompt_tokens,
                                bool is_write, lynx_tile *tile)
{
    toy *t = toy_of(engine);
    (void)is_write;
    LX_REQUIRE(id.layer < t->options.layer_count && id.side < 2, LYNX_ERR_ARGUMENT);
    const lynx_page_span span = lynx_page_span_of(&t->model.shape, id, prompt_tokens);
    LX_REQUIRE(span.token_count >= 1 && span.first_token + span.token_count <= t->length,
               LYNX_ERR_ARGUMENT);
    const size_t element_bytes = lynx_element_bytes(t->options.element);
    *tile = (lynx_tile){
        .data = cell(t, id.layer, id.side, span.first_token),
        .element = t->options.element,
        .token_stride_bytes = t->options.channels * element_bytes,
        .channel_stride_bytes = element_bytes,
    };
    return LYNX_OK;
}

static lynx_status toy_unmap_page(lynx_engine *engine)
{
    (void)engine;
    return LYNX_OK;
}

static lynx_status toy_commit_pages(lynx_engine *engine)
{
    (void)engine;
    return LYNX_OK;
}

static lynx_status toy_batch(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                             uint32_t first_row)
{
    toy *t = toy_of(engine);
    LX_REQUIRE(count >= 1 && count <= BATCH_TOKENS, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(count <= t->options.context_tokens - t->length, LYNX_ERR_ARGUMENT);
    LX_TRY(check_tokens(tokens, count));
    atomic_store(&t->is_cancelled, false);
    for (uint32_t i = 0; i < count; i++) {
        append_token(t, tokens[i], 0);
        compute_logits(t, tokens[i], t->logits + (size_t)i * VOCABULARY);
    }
    t->first_row = first_row;
    t->end_row = count;
    spend(t->options.step_ns + (count - 1) * t->options.row_ns);
    return atomic_load(&t->is_cancelled) ? LYNX_ERR_CANCELLED : LYNX_OK;
}

static lynx_status toy_batch_by_layer(lynx_engine *engine, const lynx_token *tokens,
                                      uint32_t count, uint32_t first_row, lynx_layer_wait *wait,
                                      void *user)
{
    for (uint32_t layer = 0; layer < toy_of(engine)->options.layer_count; layer++)
        LX_TRY(wait(user, layer));
    return toy_batch(engine, tokens, count, first_row);
}

static lynx_status toy_step(lynx_engine *engine, lynx_token token)
{
    return toy_batch(engine, &token, 1, 0);
}

/* What it puts in the cache is off by the smallest step of a value, and so are the logits. */
static lynx_status toy_draft_step(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                                  const lynx_token *history, uint32_t history_count)
{
    (void)history;
    (void)history_count;
    toy *t = toy_of(engine);
    LX_REQUIRE(count >= 1 && count <= t->options.step_tokens, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(count <= t->options.context_tokens - t->length, LYNX_ERR_ARGUMENT);
    LX_TRY(check_tokens(tokens, count));
    atomic_store(&t->is_cancelled, false);
    const uint32_t rows = t->options.pads_drafts ? count : 1;
    for (uint32_t i = 0; i < rows; i++) {
        append_token(t, tokens[i], 1);
        compute_logits(t, tokens[i], t->logits + (size_t)i * VOCABULARY);
    }
    t->first_row = 0;
    t->end_row = rows;
    spend(t->model.draft_step_ns);
    return atomic_load(&t->is_cancelled) ? LYNX_ERR_CANCELLED : LYNX_OK;
}

static lynx_status toy_draft_batch(lynx_engine *engine, const lynx_token *tokens,
                                   uint32_t count, const lynx_token *history,
                                   uint32_t history_count, lynx_layer_wait *wait, void *user)
{
    toy *t = toy_of(engine);
    (void)history;
    (void)history_count;
    LX_REQUIRE(count >= 1 && count <= BATCH_TOKENS, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(count <= t->options.context_tokens - t->length, LYNX_ERR_ARGUMENT);
    LX_TRY(check_tokens(tokens, count));
    for (uint32_t layer = 0; wait && layer < t->options.layer_count; layer++)
        LX_TRY(wait(user, layer));
    atomic_store(&t->is_cancelled, false);
    for (uint32_t i = 0; i < count; i++)
        append_token(t, tokens[i], 1);
    compute_logits(t, tokens[count - 1], t->logits);
    t->first_row = 0;
    t->end_row = 1;
    spend(t->model.draft_step_ns + (count - 1) * t->options.row_ns);
    return atomic_load(&t->is_cancelled) ? LYNX_ERR_CANCELLED : LYNX_OK;
}

static const float *toy_logits(lynx_engine *engine, uint32_t row)
{
    const toy *t = toy_of(engine);
    return row < t->first_row || row >= t->end_row ? NULL
                                                   : t->logits + (size_t)row * VOCABULARY;
}

static float toy_bias(const lynx_sampling *sampling, lynx_token word)
{
    for (uint32_t i = 0; i < sampling->bias_count; i++)
        if (sampling->biases[i].token == word)
            return sampling->biases[i].bias <= -100.0f ? -INFINITY : sampling->biases[i].bias;
    return 0.0f;
}

static lynx_status toy_sample(lynx_engine *engine, uint32_t row, const lynx_sampling *sampling,
                              const lynx_token *history, uint32_t prompt_count,
                              uint32_t history_count, lynx_token *token)
{
    toy *t = toy_of(engine);
    const float *logits = toy_logits(engine, row);
    LX_REQUIRE(logits, LYNX_ERR_ARGUMENT);
    float best = -INFINITY;
    lynx_token chosen = -1;
    LX_TRY(lx_constraint_begin(&t->constraint, engine, sampling, history + prompt_count,
                               history_count - prompt_count));
    for (uint32_t word = 0; word < VOCABULARY; word++) {
        /* Gumbel-like noise that depends on seed, position and word only. */
        const uint64_t seed =
            ((uint64_t)sampling->seed << 32) ^ ((uint64_t)history_count << 8) ^ word;
        const float noise = (float)(mix(seed) % 4096) / 1024.0f;
        const float score =
            logits[word] + toy_bias(sampling, (lynx_token)word) + sampling->temperature * noise;
        bool is_allowed = false;
        if (score > best)
            LX_TRY(lx_constraint_allows(&t->constraint, engine, (lynx_token)word, &is_allowed));
        if (is_allowed) {
            best = score;
            chosen = (lynx_token)word;
        }
    }
    LX_REQUIRE(chosen >= 0, LYNX_ERR_ENGINE);
    *token = chosen;
    return LYNX_OK;
}

static lynx_status toy_first_tokens(lynx_engine *engine, const lynx_sampling *sampling,
                                    uint8_t *allowed)
{
    return lx_constraint_first_tokens(&toy_of(engine)->constraint, engine, sampling, allowed);
}

static void toy_cancel(lynx_engine *engine)
{
    atomic_store(&toy_of(engine)->is_cancelled, true);
}

static const lynx_engine_ops toy_ops = {
    .destroy = toy_destroy,
    .model = toy_model,
    .error_text = toy_error_text,
    .tokenize = toy_tokenize,
    .token_text = toy_token_text,
    .token_is_end = toy_token_is_end,
    .chat_prompt = toy_chat_prompt,
    .prefill = toy_prefill,
    .reserve = toy_reserve,
    .rewind = toy_rewind,
    .length = toy_length,
    .map_page = toy_map_page,
    .unmap_page = toy_unmap_page,
    .commit_pages = toy_commit_pages,
    .step = toy_step,
    .batch = toy_batch,
    .prefill_by_layer = toy_prefill_by_layer,
    .batch_by_layer = toy_batch_by_layer,
    .draft_step = toy_draft_step,
    .draft_batch = toy_draft_batch,
    .logits = toy_logits,
    .sample = toy_sample,
    .first_tokens = toy_first_tokens,
    .cancel = toy_cancel,
};

void lx_toy_options_init(lx_toy_options *options)
{
    *options = (lx_toy_options){
        .layer_count = 3,
        .channels = 32,
        .page_tokens = 32,
        .context_tokens = 512,
        .piece_tokens = 64,
        .step_tokens = 2,
        .page_threads = 3,
        .can_refine = true,
        .can_await_layers = true,
        .element = LYNX_ELEMENT_F16,
    };
}

static void describe(toy *t)
{
    const lx_toy_options *o = &t->options;
    for (uint32_t layer = 0; layer < o->layer_count; layer++) {
        t->layers[layer].window_tokens = layer % 2 ? o->window_tokens : 0;
        for (uint32_t side = 0; side < 2; side++)
            t->layers[layer].sides[side] =
                (lynx_side_shape){.channels = o->channels, .head_channels = 16};
    }
    t->model = (lynx_model){
        .name = "toy",
        .architecture = "toy",
        .shape = {o->layer_count, o->page_tokens, o->element, t->layers},
        .vocabulary = VOCABULARY,
        .context_tokens = o->context_tokens,
        .batch_tokens = BATCH_TOKENS,
        .step_tokens = o->step_tokens,
        .exactness = LYNX_EXACT,
        .can_refine = o->can_refine,
        .can_await_layers = o->can_await_layers,
        .step_ns = o->step_ns,
        .row_ns = o->row_ns,
        .draft_step_ns = o->draft_step_ns ? o->draft_step_ns : o->step_ns,
        .slots = 1,
        .page_threads = o->page_threads,
    };
    t->model.fingerprint.weights[0] = o->weights;
}

lynx_status lx_toy_create(lynx_engine **engine, const lx_toy_options *options,
                          const lynx_allocator *memory)
{
    LX_REQUIRE(options->layer_count >= 1 && options->layer_count <= LAYERS_MAX,
               LYNX_ERR_ARGUMENT);
    memory = lx_allocator_or_default(memory);
    toy *t = lx_alloc_zeroed(memory, 1, sizeof(*t));
    LX_REQUIRE(t, LYNX_ERR_MEMORY);
    t->base.ops = &toy_ops;
    t->memory = memory;
    t->options = *options;
    lx_constraint_init(&t->constraint, memory);
    describe(t);
    t->cache_bytes = (size_t)options->layer_count * 2 * options->context_tokens *
                     options->channels * lynx_element_bytes(options->element);
    t->cache = lx_alloc_zeroed(memory, t->cache_bytes, 1);
    t->logits = lx_alloc_zeroed(memory, (size_t)BATCH_TOKENS * VOCABULARY, sizeof(float));
    if (!t->cache || !t->logits) {
        toy_destroy(&t->base);
        return LYNX_ERR_MEMORY;
    }
    *engine = &t->base;
    return LYNX_OK;
}
