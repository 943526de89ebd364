/* SPDX-License-Identifier: MIT */
/*
 * llama_create.c - loading a model, its context and its slots, and their end.
 */
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "llama/llama_internal.h"

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

/* While a model loads its first slot explains. */
static char *error_of(lx_llama *e)
{
    return e->slots[0]->error;
}

/* ---- the end ------------------------------------------------------------------------- */

static void destroy_shared(lx_llama *e)
{
    const lynx_allocator *memory = e->memory;
    lx_batch_stop_thread(e);
    if (e->has_batch)
        llama_batch_free(e->batch);
    if (e->context)
        llama_free(e->context);
    if (e->model)
        llama_model_free(e->model);
    lx_head_fini(e);
    lx_state_fini(e, &e->layout);
    lx_free(memory, e->watched, e->watched_count, sizeof(float));
    lx_free(memory, e->saved_logits, (size_t)5 * e->description.vocabulary, sizeof(float));
    lx_free(memory, e->tensors, e->layer_count, 2 * sizeof(*e->tensors));
    lx_free(memory, e->layers, e->layer_count, sizeof(*e->layers));
    lx_free(memory, e->part_of, e->layer_count, sizeof(*e->part_of));
    lx_free(memory, e->place_of, e->layer_count, sizeof(*e->place_of));
    lx_free(memory, e, 1, sizeof(*e));
}

void lx_slot_destroy(lynx_engine *engine)
{
    lx_slot *s = lx_slot_of(engine);
    lx_llama *e = s->shared;
    const uint32_t vocabulary = e->description.vocabulary;
    if (e->has_queue)
        lx_slot_queue_leave(&e->queue, s->index);
    free(s->blob);
    lx_state_fini(e, &s->blob_state);
    lx_state_drop_skeleton(s);
    lx_free(e->memory, s->staging, s->staging_size, 1);
    lx_constraint_fini(&s->constraint);
    lx_free(e->memory, s->candidates, vocabulary, sizeof(*s->candidates));
    lx_free(e->memory, s->rows, s->row_room, vocabulary * sizeof(float));
    lx_free(e->memory, s, 1, sizeof(*s));
    if (atomic_fetch_sub(&e->live_slots, 1) == 1)
        destroy_shared(e);
}

/* ---- loading ------------------------------------------------------------------------- */

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
        return lx_llama_fail(error_of(e), LYNX_ERR_ENGINE,
                             "cannot open the model '%s'; check the path", path);
    char magic[4] = {0};
    const bool is_gguf = fread(magic, 1, 4, file) == 4 && memcmp(magic, "GGUF", 4) == 0;
    fclose(file);
    return is_gguf
               ? LYNX_OK
               : lx_llama_fail(error_of(e), LYNX_ERR_ENGINE,
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
                      error_of(e), LYNX_ERR_UNSUPPORTED,
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
            error_of(e), LYNX_ERR_ENGINE,
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

/* As many as asked for, or as cores that this thread may run on. */
static int32_t thread_count(int32_t asked)
{
    cpu_set_t cores;
    if (asked > 0)
        return asked;
    if (sched_getaffinity(0, sizeof(cores), &cores) == 0)
        return CPU_COUNT(&cores);
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int32_t)online : 1;
}

static lynx_status make_context(lx_llama *e)
{
    const uint32_t trained = (uint32_t)llama_model_n_ctx_train(e->model);
    uint32_t context = e->options.context_tokens ? e->options.context_tokens : trained;
    struct llama_context_params params = llama_context_default_params();
    e->is_flash = e->options.flash_attention == LYNX_FLASH_ON ||
                  (e->options.flash_attention == LYNX_FLASH_AUTO && e->options.gpu_layers > 0);
    /* Each has room for a dummy. */
    params.n_ctx = (context + 1) * e->slot_count;
    params.n_batch = e->piece_tokens;
    params.n_ubatch = e->piece_tokens;
    params.n_seq_max = e->slot_count;
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
    params.abort_callback = lx_batch_should_abort;
    params.abort_callback_data = e;
    params.no_perf = true;
    e->context = llama_init_from_model(e->model, params);
    if (!e->context || llama_n_ctx_seq(e->context) < context + 1)
        return lx_llama_fail(error_of(e), LYNX_ERR_ENGINE,
                             "llama.cpp cannot make a context of %u sequences of %u tokens; "
                             "try a smaller --ctx-size",
                             e->slot_count, context);
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

/* Where the host reaches all of the cache, its pages can be worked on by several threads. */
static uint32_t page_threads(const lx_llama *e)
{
    for (uint32_t i = 0; i < 2 * e->layer_count && !e->is_blob; i++)
        if (e->tensors[i] && !ggml_backend_buffer_is_host(e->tensors[i]->buffer))
            return 1;
    return (uint32_t)thread_count(e->options.threads);
}

/* Shapes from the captured tensors. */
static lynx_status describe_layers(lx_llama *e)
{
    for (uint32_t l = 0; l < e->layer_count; l++)
        for (uint32_t side = 0; side < 2; side++) {
            const struct ggml_tensor *tensor = e->tensors[2 * l + side];
            if (!tensor && side == LYNX_SIDE_KEYS)
                return lx_llama_fail(error_of(e), LYNX_ERR_UNSUPPORTED,
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
    e->description.batch_tokens = e->slot_count == 1 ? LX_BATCH_TOKENS : LX_BATCH_TOKENS_EVEN;
    e->description.step_tokens = e->options.exact == LYNX_EXACT_STRICT ? 2 : 1;
    e->tensors = lx_alloc_zeroed(e->memory, e->layer_count, 2 * sizeof(*e->tensors));
    e->layers = lx_alloc_zeroed(e->memory, e->layer_count, sizeof(*e->layers));
    e->part_of = lx_alloc_zeroed(e->memory, e->layer_count, sizeof(*e->part_of));
    e->place_of = lx_alloc_zeroed(e->memory, e->layer_count, sizeof(*e->place_of));
    LX_REQUIRE(e->tensors && e->layers && e->part_of && e->place_of, LYNX_ERR_MEMORY);
    for (uint32_t i = 0; i < e->slot_count; i++) {
        lx_slot *s = e->slots[i];
        lx_constraint_init(&s->constraint, e->memory);
        s->candidates = lx_alloc(e->memory, e->description.vocabulary, sizeof(*s->candidates));
        LX_REQUIRE(s->candidates, LYNX_ERR_MEMORY);
    }
    e->batch = llama_batch_init((int32_t)e->piece_tokens, 0, 1);
    e->has_batch = true;
    return LYNX_OK;
}

static lynx_status load(lx_llama *e)
{
    const uint32_t own = e->options.gpu_layers > 0 ? 512 : 256;
    const uint32_t piece =
        e->options.prefill_piece_tokens ? e->options.prefill_piece_tokens : own;
    LX_REQUIRE(piece >= 256 && piece <= LX_PIECE_TOKENS_MAX && piece % 256 == 0,
               LYNX_ERR_ARGUMENT);
    e->piece_tokens = piece;
    LX_TRY(check_file(e));
    LX_TRY(load_model(e));
    LX_TRY(make_room(e));
    LX_TRY(make_context(e));
    const lynx_token warm_up[2] = {0, 0};
    LX_TRY(lx_slot_decode_piece(e->slots[0], warm_up, 2));
    e->is_captured = true;
    LX_TRY(lx_head_init(e));
    LX_TRY(describe_layers(e));
    LX_TRY(lx_llama_probe(e));
    describe_windows(e);
    e->is_blob = e->options.cache_access == LYNX_CACHE_BLOB;
    e->description.can_refine = !e->is_blob;
    e->description.slots = e->slot_count;
    e->description.page_threads = page_threads(e);
    e->description.can_await_layers =
        e->slot_count == 1 && !e->is_blob && lx_layers_are_in_order(e);
    lx_llama_note(e, "cache access: %s, flash attention %s, llama.cpp %s",
                  e->is_blob ? "blob" : "tensors", e->is_flash ? "on" : "off", llama_version());
    LX_TRY(lx_llama_fingerprint(e));
    return e->slot_count > 1 ? lx_batch_start_thread(e) : LYNX_OK;
}

void lynx_llama_options_init(lynx_llama_options *options)
{
    *options = (lynx_llama_options){
        .struct_size = sizeof(*options),
        .context_tokens = 4608,
        .element = LYNX_ELEMENT_F16,
        .draft_vocabulary = 32768,
    };
}

static lynx_status make_slots(lx_llama *e, uint32_t count)
{
    e->slot_count = count;
    for (uint32_t i = 0; i < count; i++) {
        lx_slot *s = lx_alloc_zeroed(e->memory, 1, sizeof(*s));
        LX_REQUIRE(s, LYNX_ERR_MEMORY);
        s->base.ops = &lx_slot_ops;
        s->shared = e;
        s->index = i;
        atomic_init(&s->is_cancelled, false);
        e->slots[i] = s;
        atomic_fetch_add(&e->live_slots, 1);
    }
    return load(e);
}

/* The sentence of the slot that has one. */
static void explain(const lx_llama *e, lynx_status status, char *text, size_t text_size)
{
    const char *why = lynx_status_text(status);
    for (uint32_t i = 0; i < e->slot_count && e->slots[i]; i++)
        if (e->slots[i]->error[0])
            why = e->slots[i]->error;
    snprintf(text, text_size, "%s", why);
}

lynx_status lynx_llama_create_slots(lynx_engine *engines[], uint32_t count,
                                    const lynx_llama_options *options, char *text,
                                    size_t text_size)
{
    _Static_assert((int)LYNX_LLAMA_SLOTS_MAX == (int)LX_SLOTS_MAX, "one limit");
    if (count < 1 || count > LX_SLOTS_MAX) {
        snprintf(text, text_size, "a model has 1 to %d slots, not %u", LX_SLOTS_MAX, count);
        return LYNX_ERR_ARGUMENT;
    }
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    lx_llama *e = lx_alloc_zeroed(memory, 1, sizeof(*e));
    if (!e) {
        snprintf(text, text_size, "%s", lynx_status_text(LYNX_ERR_MEMORY));
        return LYNX_ERR_MEMORY;
    }
    e->memory = memory;
    e->options = *options;
    /* Held until the slots are the caller's, so that the last of them may fail. */
    atomic_init(&e->live_slots, 1);
    lx_slot *slots[LX_SLOTS_MAX];
    const lynx_status status = make_slots(e, count);
    memcpy(slots, e->slots, sizeof(slots));
    if (status != LYNX_OK)
        explain(e, status, text, text_size);
    for (uint32_t i = 0; i < count && slots[i]; i++)
        if (status == LYNX_OK)
            engines[i] = &slots[i]->base;
        else
            lx_slot_destroy(&slots[i]->base);
    if (atomic_fetch_sub(&e->live_slots, 1) == 1)
        destroy_shared(e);
    return status;
}

lynx_status lynx_llama_create(lynx_engine **engine, const lynx_llama_options *options,
                              char *text, size_t text_size)
{
    return lynx_llama_create_slots(engine, 1, options, text, text_size);
}
