/* SPDX-License-Identifier: MIT */
/*
 * llama_engine.c - the engine contract on llama.cpp: loading, decoding, text.
 *
 * llama.cpp aborts on broken preconditions, so each is checked before a call. One context with
 * one sequence; 'length' mirrors what is in its cache.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "llama/llama_internal.h"

lx_llama *lx_llama_of(lynx_engine *engine)
{
    return (lx_llama *)(void *)engine;
}

static const lx_llama *of_const(const lynx_engine *engine)
{
    return (const lx_llama *)(const void *)engine;
}

lynx_status lx_llama_fail(lx_llama *e, lynx_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(e->error, sizeof(e->error), format, arguments);
    va_end(arguments);
    return status;
}

void lx_llama_note(lx_llama *e, const char *format, ...)
{
    const size_t fill = strlen(e->report);
    va_list arguments;
    va_start(arguments, format);
    if (fill)
        snprintf(e->report + fill, sizeof(e->report) - fill, "\n");
    const size_t at = strlen(e->report);
    vsnprintf(e->report + at, sizeof(e->report) - at, format, arguments);
    va_end(arguments);
}

/* ---- decoding ------------------------------------------------------------------------ */

static bool should_abort(void *user)
{
    lx_llama *e = user;
    return atomic_load(&e->is_cancelled);
}

lynx_status lx_llama_clear(lx_llama *e)
{
    llama_memory_clear(llama_get_memory(e->context), false);
    e->length = 0;
    e->is_blob_current = false;
    return LYNX_OK;
}

lynx_status lx_llama_rewind(lynx_engine *engine, uint32_t length)
{
    lx_llama *e = lx_llama_of(engine);
    LX_REQUIRE(length <= e->length, LYNX_ERR_ARGUMENT);
    if (length < e->length &&
        !llama_memory_seq_rm(llama_get_memory(e->context), 0, (llama_pos)length, -1))
        return lx_llama_fail(e, LYNX_ERR_ENGINE, "llama.cpp cannot drop the last tokens");
    e->length = length;
    return LYNX_OK;
}

lynx_status lx_llama_decode(lx_llama *e, const lynx_token *tokens, uint32_t count,
                            bool all_logits)
{
    /* One cell is kept for the dummy of a padded step. */
    LX_REQUIRE(count >= 1 && count <= e->piece_tokens, LYNX_ERR_ARGUMENT);
    if (count > e->description.context_tokens + 1 - e->length)
        return lx_llama_fail(e, LYNX_ERR_LIMIT, "the context of %u tokens is full",
                             e->description.context_tokens);
    for (uint32_t i = 0; i < count; i++) {
        LX_REQUIRE(tokens[i] >= 0 && (uint32_t)tokens[i] < e->description.vocabulary,
                   LYNX_ERR_ARGUMENT);
        e->batch.token[i] = tokens[i];
        e->batch.pos[i] = (llama_pos)(e->length + i);
        e->batch.n_seq_id[i] = 1;
        e->batch.seq_id[i][0] = 0;
        e->batch.logits[i] = all_logits || i + 1 == count;
    }
    e->batch.n_tokens = (int32_t)count;
    const int32_t result = llama_decode(e->context, e->batch);
    if (result == 2)
        return LYNX_ERR_CANCELLED;
    if (result != 0)
        return lx_llama_fail(e, LYNX_ERR_ENGINE, "llama.cpp could not decode (%d)", result);
    e->length += count;
    return LYNX_OK;
}

static lynx_status prefill(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                           lynx_prefill_progress *progress, void *user)
{
    lx_llama *e = lx_llama_of(engine);
    LX_REQUIRE(count >= 1 && count <= e->description.context_tokens, LYNX_ERR_ARGUMENT);
    atomic_store(&e->is_cancelled, false);
    LX_TRY(lx_llama_clear(e));
    while (e->length < count) {
        const uint32_t left = count - e->length;
        const uint32_t piece = left < e->piece_tokens ? left : e->piece_tokens;
        LX_TRY(lx_llama_decode(e, tokens + e->length, piece, false));
        e->is_blob_current = false;
        LX_REQUIRE(!progress || progress(user, e->length, count), LYNX_ERR_CANCELLED);
    }
    return LYNX_OK;
}

/* Strict: never one column alone, because other kernels would compute it. */
lynx_status lx_llama_step(lynx_engine *engine, lynx_token token)
{
    lx_llama *e = lx_llama_of(engine);
    atomic_store(&e->is_cancelled, false);
    if (e->length >= e->description.context_tokens)
        return lx_llama_fail(e, LYNX_ERR_LIMIT, "the context of %u tokens is full",
                             e->description.context_tokens);
    if (e->options.exact == LYNX_EXACT_ROUNDING)
        return lx_llama_decode(e, &token, 1, true);
    const lynx_token padded[2] = {token, token};
    LX_TRY(lx_llama_decode(e, padded, 2, true));
    return lx_llama_rewind(engine, e->length - 1);
}

lynx_status lx_llama_batch(lynx_engine *engine, const lynx_token *tokens, uint32_t count)
{
    lx_llama *e = lx_llama_of(engine);
    LX_REQUIRE(count >= 1 && count <= LX_BATCH_TOKENS, LYNX_ERR_ARGUMENT);
    if (count == 1)
        return lx_llama_step(engine, tokens[0]);
    atomic_store(&e->is_cancelled, false);
    if (count > e->description.context_tokens - e->length)
        return lx_llama_fail(e, LYNX_ERR_LIMIT, "the context of %u tokens is full",
                             e->description.context_tokens);
    return lx_llama_decode(e, tokens, count, true);
}

static const float *logits(lynx_engine *engine, uint32_t row)
{
    lx_llama *e = lx_llama_of(engine);
    const int32_t count = e->batch.n_tokens;
    /* After a prefill row 0 is its only row: that of the last token. */
    if (count > 0 && !e->batch.logits[0])
        return row == 0 ? llama_get_logits_ith(e->context, -1) : NULL;
    return (int32_t)row < count ? llama_get_logits_ith(e->context, (int32_t)row) : NULL;
}

static void cancel(lynx_engine *engine)
{
    atomic_store(&lx_llama_of(engine)->is_cancelled, true);
}

/* ---- text ---------------------------------------------------------------------------- */

static lynx_status tokenize(lynx_engine *engine, const char *text, size_t size, bool add_start,
                            bool parse_special, lynx_token *tokens, size_t capacity,
                            size_t *count)
{
    lx_llama *e = lx_llama_of(engine);
    LX_REQUIRE(size <= INT32_MAX, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(llama_vocab_type(e->vocab) != LLAMA_VOCAB_TYPE_NONE, LYNX_ERR_UNSUPPORTED);
    const int32_t room = capacity > INT32_MAX ? INT32_MAX : (int32_t)capacity;
    const int32_t result =
        llama_tokenize(e->vocab, text, (int32_t)size, tokens, room, add_start, parse_special);
    if (result == INT32_MIN)
        return lx_llama_fail(e, LYNX_ERR_LIMIT, "the text has too many tokens");
    *count = (size_t)(result < 0 ? -result : result);
    return result < 0 ? LYNX_ERR_LIMIT : LYNX_OK;
}

static lynx_status token_text(lynx_engine *engine, lynx_token token, char *text,
                              size_t capacity, size_t *size)
{
    lx_llama *e = lx_llama_of(engine);
    LX_REQUIRE(token >= 0 && (uint32_t)token < e->description.vocabulary, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(llama_vocab_type(e->vocab) != LLAMA_VOCAB_TYPE_NONE, LYNX_ERR_UNSUPPORTED);
    const int32_t room = capacity > INT32_MAX ? INT32_MAX : (int32_t)capacity;
    const int32_t result = llama_token_to_piece(e->vocab, token, text, room, 0, false);
    LX_REQUIRE(result >= 0, LYNX_ERR_LIMIT);
    *size = (size_t)result;
    return LYNX_OK;
}

static bool token_is_end(const lynx_engine *engine, lynx_token token)
{
    const lx_llama *e = of_const(engine);
    return llama_vocab_type(e->vocab) != LLAMA_VOCAB_TYPE_NONE &&
           llama_vocab_is_eog(e->vocab, token);
}

/* Files without a template of their own, of families that have only one. */
static const char *family_template(const lx_llama *e)
{
    return strncmp(e->description.architecture, "gemma", 5) == 0 ? "gemma" : NULL;
}

static lynx_status chat_prompt(lynx_engine *engine, const char *template_name,
                               const lynx_chat_turn *turns, size_t count, char *text,
                               size_t capacity, size_t *size)
{
    lx_llama *e = lx_llama_of(engine);
    const char *known = template_name;
    if (!known)
        known = llama_model_chat_template(e->model, NULL);
    if (!known)
        known = family_template(e);
    LX_REQUIRE(known, LYNX_ERR_UNSUPPORTED);
    const int32_t room = capacity > INT32_MAX ? INT32_MAX : (int32_t)capacity;
    struct llama_chat_message *messages = lx_alloc(e->memory, count, sizeof(*messages));
    LX_REQUIRE(messages, LYNX_ERR_MEMORY);
    for (size_t i = 0; i < count; i++)
        messages[i] = (struct llama_chat_message){turns[i].role, turns[i].text};
    const int32_t result = llama_chat_apply_template(known, messages, count, true, text, room);
    lx_free(e->memory, messages, count, sizeof(*messages));
    LX_REQUIRE(result >= 0, LYNX_ERR_UNSUPPORTED);
    *size = (size_t)result;
    return (size_t)result > capacity ? LYNX_ERR_LIMIT : LYNX_OK;
}

/* ---- life ---------------------------------------------------------------------------- */

static const lynx_model *model(const lynx_engine *engine)
{
    return &of_const(engine)->description;
}

static const char *error_text(const lynx_engine *engine)
{
    const lx_llama *e = of_const(engine);
    return e->error[0] ? e->error : "the engine failed without a reason";
}

static uint32_t length(const lynx_engine *engine)
{
    return of_const(engine)->length;
}

static void destroy(lynx_engine *engine)
{
    lx_llama *e = lx_llama_of(engine);
    const lynx_allocator *memory = e->memory;
    if (e->has_batch)
        llama_batch_free(e->batch);
    if (e->context)
        llama_free(e->context);
    if (e->model)
        llama_model_free(e->model);
    free(e->blob);
    lx_state_fini(e, &e->blob_state);
    lx_free(memory, e->staging, e->staging_size, 1);
    lx_free(memory, e->candidates, e->description.vocabulary, sizeof(*e->candidates));
    lx_free(memory, e->saved_logits, (size_t)5 * e->description.vocabulary, sizeof(float));
    lx_free(memory, e->tensors, e->layer_count, 2 * sizeof(*e->tensors));
    lx_free(memory, e->layers, e->layer_count, sizeof(*e->layers));
    lx_free(memory, e->part_of, e->layer_count, sizeof(*e->part_of));
    lx_free(memory, e->place_of, e->layer_count, sizeof(*e->place_of));
    lx_free(memory, e, 1, sizeof(*e));
}

static const lynx_engine_ops ops = {
    .destroy = destroy,
    .model = model,
    .error_text = error_text,
    .tokenize = tokenize,
    .token_text = token_text,
    .token_is_end = token_is_end,
    .chat_prompt = chat_prompt,
    .prefill = prefill,
    .reserve = lx_cache_reserve,
    .rewind = lx_llama_rewind,
    .length = length,
    .map_page = lx_cache_map,
    .unmap_page = lx_cache_unmap,
    .commit_pages = lx_cache_commit,
    .step = lx_llama_step,
    .batch = lx_llama_batch,
    .logits = logits,
    .sample = lx_llama_sample,
    .cancel = cancel,
};

/* llama.cpp's log is one for the process; the engine that was made last gets it. */
static void on_log(enum ggml_log_level level, const char *text, void *user)
{
    const lx_llama *e = user;
    const int severity = level == GGML_LOG_LEVEL_ERROR  ? 3
                         : level == GGML_LOG_LEVEL_WARN ? 2
                         : level == GGML_LOG_LEVEL_INFO ? 1
                                                        : 0;
    if (e->options.log)
        e->options.log(e->options.log_user, severity, text);
}

static void log_nothing(enum ggml_log_level level, const char *text, void *user)
{
    (void)level;
    (void)text;
    (void)user;
}

/* What the file says before the weights are read; a clear sentence instead of a log. */
static lynx_status check_file(lx_llama *e)
{
    const char *path = e->options.model_path;
    LX_REQUIRE(path, LYNX_ERR_ARGUMENT);
    FILE *file = fopen(path, "rb");
    if (!file)
        return lx_llama_fail(e, LYNX_ERR_ENGINE, "cannot open the model '%s'; check the path",
                             path);
    char magic[4] = {0};
    const bool is_gguf = fread(magic, 1, 4, file) == 4 && memcmp(magic, "GGUF", 4) == 0;
    fclose(file);
    return is_gguf
               ? LYNX_OK
               : lx_llama_fail(e, LYNX_ERR_ENGINE,
                               "'%s' is not a GGUF file; pass a model in that format", path);
}

static lynx_status check_kind(lx_llama *e)
{
    const char *kind = llama_model_is_recurrent(e->model)   ? "recurrent"
                       : llama_model_is_hybrid(e->model)    ? "hybrid (attention and recurrent)"
                       : llama_model_is_diffusion(e->model) ? "a diffusion model"
                       : llama_model_has_encoder(e->model)  ? "an encoder model"
                                                            : NULL;
    return kind ? lx_llama_fail(
                      e, LYNX_ERR_UNSUPPORTED,
                      "'%s' is %s; Lynx moves attention caches only, so run it without "
                      "Lynx",
                      e->architecture, kind)
                : LYNX_OK;
}

static lynx_status load_model(lx_llama *e)
{
    llama_backend_init();
    if (e->options.log)
        llama_log_set(on_log, e);
    else
        llama_log_set(log_nothing, NULL);
    struct llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = e->options.gpu_layers;
    params.use_extra_bufts = false; /* repacked weights take other kernels by batch size */
    e->model = llama_model_load_from_file(e->options.model_path, params);
    if (!e->model)
        return lx_llama_fail(
            e, LYNX_ERR_ENGINE,
            "llama.cpp %s cannot load '%s': the file is damaged or of an architecture that it "
            "does not know; fetch it again, or see its messages with --verbose",
            llama_version(), e->options.model_path);
    e->vocab = llama_model_get_vocab(e->model);
    if (llama_model_meta_val_str(e->model, "general.architecture", e->architecture,
                                 sizeof(e->architecture)) < 0)
        snprintf(e->architecture, sizeof(e->architecture), "unknown");
    if (llama_model_meta_val_str(e->model, "general.name", e->name, sizeof(e->name)) < 0)
        (void)llama_model_desc(e->model, e->name, sizeof(e->name));
    return check_kind(e);
}

static enum ggml_type type_of(lynx_element element)
{
    return element == LYNX_ELEMENT_F32    ? GGML_TYPE_F32
           : element == LYNX_ELEMENT_BF16 ? GGML_TYPE_BF16
                                          : GGML_TYPE_F16;
}

static int32_t thread_count(int32_t asked)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return asked > 0 ? asked : cores > 0 ? (int32_t)cores : 1;
}

static lynx_status make_context(lx_llama *e)
{
    const uint32_t trained = (uint32_t)llama_model_n_ctx_train(e->model);
    uint32_t context = e->options.context_tokens ? e->options.context_tokens : trained;
    struct llama_context_params params = llama_context_default_params();
    e->is_flash = e->options.flash_attention == LYNX_FLASH_ON ||
                  (e->options.flash_attention == LYNX_FLASH_AUTO && e->options.gpu_layers > 0);
    params.n_ctx = context + 1; /* room for the dummy of a padded step */
    params.n_batch = e->piece_tokens;
    params.n_ubatch = e->piece_tokens;
    params.n_seq_max = 1;
    params.kv_unified = false;
    params.swa_full = true;
    params.type_k = type_of(e->options.element);
    params.type_v = type_of(e->options.element);
    params.flash_attn_type =
        e->is_flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.n_threads = thread_count(e->options.threads);
    params.n_threads_batch =
        e->options.threads_batch > 0 ? e->options.threads_batch : params.n_threads;
    params.cb_eval = lx_cache_capture;
    params.cb_eval_user_data = e;
    params.abort_callback = should_abort;
    params.abort_callback_data = e;
    params.no_perf = true;
    e->context = llama_init_from_model(e->model, params);
    if (!e->context)
        return lx_llama_fail(e, LYNX_ERR_ENGINE,
                             "llama.cpp cannot make a context of %u tokens; try a smaller "
                             "--ctx-size",
                             context);
    e->description.context_tokens = context;
    return LYNX_OK;
}

static uint32_t head_channels(lx_llama *e, const char *name, uint32_t channels)
{
    char key[128];
    char value[64];
    snprintf(key, sizeof(key), "%s.attention.%s", e->architecture, name);
    uint32_t head = 0;
    if (llama_model_meta_val_str(e->model, key, value, sizeof(value)) >= 0)
        head = (uint32_t)strtoul(value, NULL, 10);
    if (!head && llama_model_n_head(e->model) > 0)
        head = (uint32_t)(llama_model_n_embd(e->model) / llama_model_n_head(e->model));
    return head && channels % head == 0 ? head : channels;
}

void lx_llama_set_channels(lx_llama *e, uint32_t layer, uint32_t side, uint32_t channels)
{
    static const char *const names[2] = {"key_length", "value_length"};
    lynx_side_shape *shape = &e->layers[layer].sides[side];
    shape->channels = channels;
    shape->head_channels = channels ? head_channels(e, names[side], channels) : 0;
}

/* Shapes from the captured tensors. */
static lynx_status describe_layers(lx_llama *e)
{
    for (uint32_t l = 0; l < e->layer_count; l++)
        for (uint32_t side = 0; side < 2; side++) {
            const struct ggml_tensor *tensor = e->tensors[2 * l + side];
            if (!tensor && side == LYNX_SIDE_KEYS)
                return lx_llama_fail(e, LYNX_ERR_UNSUPPORTED,
                                     "layer %u of '%s' has no cache tensor that llama.cpp %s "
                                     "shows",
                                     l, e->architecture, llama_version());
            lx_llama_set_channels(e, l, side, tensor ? (uint32_t)tensor->ne[0] : 0);
        }
    e->description.shape = (lynx_shape){.layer_count = e->layer_count,
                                        .page_tokens = 256,
                                        .element = e->options.element,
                                        .layers = e->layers};
    return LYNX_OK;
}

/* Layers of the second part see a window. */
static void describe_windows(lx_llama *e)
{
    const int32_t window = llama_model_n_swa(e->model);
    uint32_t count = 0;
    for (uint32_t l = 0; l < e->layer_count; l++)
        if (e->part_of[l] == 1 && window > 0) {
            e->layers[l].window_tokens = (uint32_t)window;
            count++;
        }
    lx_llama_note(e, "sliding window: %d tokens in %u of %u layers", window, count,
                  e->layer_count);
}

static lynx_status make_room(lx_llama *e)
{
    e->layer_count = (uint32_t)llama_model_n_layer(e->model);
    LX_REQUIRE(e->layer_count >= 1 && e->layer_count <= LYNX_LAYERS_MAX, LYNX_ERR_UNSUPPORTED);
    e->description.vocabulary = (uint32_t)llama_vocab_n_tokens(e->vocab);
    e->description.name = e->name;
    e->description.architecture = e->architecture;
    e->description.batch_tokens = LX_BATCH_TOKENS;
    e->tensors = lx_alloc_zeroed(e->memory, e->layer_count, 2 * sizeof(*e->tensors));
    e->layers = lx_alloc_zeroed(e->memory, e->layer_count, sizeof(*e->layers));
    e->part_of = lx_alloc_zeroed(e->memory, e->layer_count, sizeof(*e->part_of));
    e->place_of = lx_alloc_zeroed(e->memory, e->layer_count, sizeof(*e->place_of));
    e->candidates = lx_alloc(e->memory, e->description.vocabulary, sizeof(*e->candidates));
    LX_REQUIRE(e->tensors && e->layers && e->part_of && e->place_of && e->candidates,
               LYNX_ERR_MEMORY);
    e->batch = llama_batch_init((int32_t)e->piece_tokens, 0, 1);
    e->has_batch = true;
    return LYNX_OK;
}

static lynx_status engine_init(lx_llama *e)
{
    const uint32_t piece = e->options.prefill_piece_tokens;
    LX_REQUIRE(piece >= 256 && piece <= LX_PIECE_TOKENS_MAX && piece % 256 == 0,
               LYNX_ERR_ARGUMENT);
    e->piece_tokens = piece;
    LX_TRY(check_file(e));
    LX_TRY(load_model(e));
    LX_TRY(make_room(e));
    LX_TRY(make_context(e));
    const lynx_token warm_up[2] = {0, 0};
    LX_TRY(lx_llama_decode(e, warm_up, 2, false));
    e->is_captured = true;
    LX_TRY(describe_layers(e));
    LX_TRY(lx_llama_probe(e));
    describe_windows(e);
    e->is_blob = e->options.cache_access == LYNX_CACHE_BLOB;
    e->description.can_refine = !e->is_blob;
    lx_llama_note(e, "cache access: %s, flash attention %s, llama.cpp %s",
                  e->is_blob ? "blob" : "tensors", e->is_flash ? "on" : "off", llama_version());
    return lx_llama_fingerprint(e);
}

void lynx_llama_options_init(lynx_llama_options *options)
{
    *options = (lynx_llama_options){
        .struct_size = sizeof(*options),
        .context_tokens = 4608,
        .element = LYNX_ELEMENT_F16,
        .prefill_piece_tokens = 512,
    };
}

lynx_status lynx_llama_create(lynx_engine **engine, const lynx_llama_options *options,
                              char *text, size_t text_size)
{
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    lx_llama *e = lx_alloc_zeroed(memory, 1, sizeof(*e));
    LX_REQUIRE(e, LYNX_ERR_MEMORY);
    e->base.ops = &ops;
    e->memory = memory;
    e->options = *options;
    atomic_init(&e->is_cancelled, false);
    const lynx_status status = engine_init(e);
    if (status != LYNX_OK) {
        snprintf(text, text_size, "%s", e->error[0] ? e->error : lynx_status_text(status));
        destroy(&e->base);
        return status;
    }
    *engine = &e->base;
    return LYNX_OK;
}

const char *lynx_llama_probe_report(const lynx_engine *engine)
{
    return of_const(engine)->report;
}

const char *lynx_llama_version(void)
{
    return llama_version();
}
