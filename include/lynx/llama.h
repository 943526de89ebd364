/* SPDX-License-Identifier: MIT */
/*
 * llama.h - the engine contract (engine.h) on llama.cpp, by its public C API. Library
 * lynx-llama.
 *
 * Source of the facts that it builds on: docs/llama.md. A start-up probe checks each of them on
 * the installed version and refuses, with a reason, what does not hold.
 */
#ifndef LYNX_LLAMA_H
#define LYNX_LLAMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/engine.h"
#include "lynx/export.h"
#include "lynx/memory.h"
#include "lynx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lynx_exact_mode {
    LYNX_EXACT_STRICT = 0, /* padded steps, bounded batches: step and batch agree bit for bit */
    LYNX_EXACT_ROUNDING = 1 /* fastest steps; step and batch may differ in rounding */
} lynx_exact_mode;

typedef enum lynx_flash_attention {
    LYNX_FLASH_AUTO = 0, /* off without GPU layers, on with them */
    LYNX_FLASH_ON = 1,
    LYNX_FLASH_OFF = 2
} lynx_flash_attention;

typedef enum lynx_cache_access {
    LYNX_CACHE_AUTO = 0,    /* tensors where the probe allows it, else blob */
    LYNX_CACHE_TENSORS = 1, /* read and written in place */
    LYNX_CACHE_BLOB = 2     /* by llama_state_seq_get_data / set_data */
} lynx_cache_access;

/* Severity of a line for 'log': 0 debug, 1 information, 2 warning, 3 error. */
typedef void lynx_log(void *user, int severity, const char *text);

typedef struct lynx_llama_options {
    size_t struct_size;
    const char *model_path;  /* GGUF file. No default */
    uint32_t context_tokens; /* --ctx-size, of each slot; 0 = the model's own. Default 4608 */
    int32_t threads;         /* --threads; 0 = cores that the caller may run on. Default 0 */
    int32_t threads_batch;   /* --threads-batch; 0 = as 'threads'. Default 0 */
    int32_t gpu_layers;      /* --gpu-layers. Default 0 */
    lynx_element element;    /* --cache-type: F16, BF16 or F32. Default F16 */
    lynx_flash_attention flash_attention; /* --flash-attn. Default AUTO */
    lynx_exact_mode exact;                /* --exact. Default STRICT */
    lynx_cache_access cache_access;       /* Default AUTO */
    /* Tokens of one prefill piece, behind which pages may leave: a multiple of 256, at most
     * 2048; 0: 256, and 512 with layers on a GPU. Default 0 */
    uint32_t prefill_piece_tokens;
    /* Drafts are chosen among the first so many tokens of the vocabulary and those that prompts
     * and answers have, where they are less than half of it; 0: among all. Default 32768
     * (docs/decisions/0016-heads-of-drafts.md) */
    uint32_t draft_vocabulary;
    const char *cache_folder; /* where weight digests are remembered; NULL = nowhere */
    lynx_log *log; /* lines of llama.cpp and of the probe, from any thread; may be NULL */
    void *log_user;
    const lynx_allocator *memory;
} lynx_llama_options;

LYNX_API void lynx_llama_options_init(lynx_llama_options *options);

/*
 * Load a model and probe it. 'text' (>= 512 bytes) gets one sentence on failure that says what
 * to do. Returns LYNX_OK, LYNX_ERR_ARGUMENT, LYNX_ERR_UNSUPPORTED (recurrent or hybrid model,
 * unknown cache layout), LYNX_ERR_ENGINE (file missing or not a GGUF) or LYNX_ERR_MEMORY.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_llama_create(lynx_engine **engine,
                                                       const lynx_llama_options *options,
                                                       char *text, size_t text_size);

enum { LYNX_LLAMA_SLOTS_MAX = 16 };

/*
 * The same with 'count' slots, [1, LYNX_LLAMA_SLOTS_MAX]: 'engines' gets as many engines of one
 * model, each with a sequence of 'context_tokens' of its own in one context. Several slots have
 * one more thread, which computes for all of them: what waits goes into one batch, so slots
 * that decode at the same time share their passes over the weights. Each slot is used as an
 * engine of its own, from one thread at a time, different slots from different threads; their
 * tokens do not depend on each other. End each with lynx_engine_destroy, in any order, from any
 * thread; the last frees the model. Returns as lynx_llama_create, and LYNX_ERR_UNSUPPORTED when
 * what one slot computes depends on the others; 'engines' is untouched then.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_llama_create_slots(lynx_engine *engines[],
                                                             uint32_t count,
                                                             const lynx_llama_options *options,
                                                             char *text, size_t text_size);

/* What the probe found, in words: one line for each check, "\n" between; borrowed from the
 * engine. 'engine' must come from lynx_llama_create or lynx_llama_create_slots. */
LYNX_API const char *lynx_llama_probe_report(const lynx_engine *engine);

/* The attention output of one layer (the heads' sums of values, before their projection) for
 * 'tokens' tokens that go through the model together, among them those that a step is padded
 * with: value c of token t is values[t * channels + c]. Valid during the call, which comes on
 * the thread that computes. */
typedef void lynx_attention_output(void *user, uint32_t layer, const float *values,
                                   uint32_t channels, uint32_t tokens);

/* Hand each attention output of prefill, step and batch to 'watch' from now on; NULL ends it.
 * Tokens and logits stay the same, computing is slower. 'engine' is the only slot of its model,
 * from lynx_llama_create. Returns LYNX_OK, LYNX_ERR_ARGUMENT (several slots) or
 * LYNX_ERR_MEMORY. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_llama_watch_attention(lynx_engine *engine,
                                                                lynx_attention_output *watch,
                                                                void *user);

/* Version of the llama.cpp library in use. */
LYNX_API const char *lynx_llama_version(void);

/* Write 'target_path' from 'source_path' with all weights in 'type' ("f16", "q8_0"), through
 * llama_model_quantize; the log of llama.cpp is set back to its own. 'text' as above. Returns
 * LYNX_OK, LYNX_ERR_ARGUMENT (type) or LYNX_ERR_ENGINE (a file). */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_llama_requantize(const char *source_path,
                                                           const char *target_path,
                                                           const char *type, char *text,
                                                           size_t text_size);

#ifdef __cplusplus
}
#endif

#endif
