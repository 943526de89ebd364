/* SPDX-License-Identifier: MIT */
/*
 * keep.h - put the cache of a prompt into a store or a file.
 *
 * Threads: the calling thread, which is the engine's. A stored prefix is read on another one,
 * with 'memory', too.
 */
#ifndef LYNX_KEEP_H
#define LYNX_KEEP_H

#include "lynx/engine.h"
#include "lynx/runtime.h"
#include "lynx/store.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lynx_keep_options {
    size_t struct_size;
    lynx_engine *engine;
    lynx_codec_spec spec; /* storable (lynx/codec.h). Default "range", made so */
    const char *kernels;  /* of the codec; NULL = the fastest */
    const lynx_token *tokens;
    uint32_t token_count;
    /* The engine's cache holds these tokens, and perhaps more behind them: nothing is computed.
     * Default false */
    bool is_computed;
    /* Compute and write all of it, whatever the store has: one prefill, so that what is kept
     * does not depend on what was kept before. Otherwise pages behind a stored beginning are
     * computed on its pages, which went through the codec. Default false */
    bool is_fresh;
    /* Exactly one of them: a store, or the path of a cache file, which is made or replaced when
     * the cache is whole. */
    lynx_store *store;
    const char *path;
    const uint8_t *key; /* for 'path', LYNX_STORE_KEY_BYTES or NULL; a store has its own */
    lynx_prefill_progress *progress; /* may be NULL */
    void *user;
    const lynx_allocator *memory;
} lynx_keep_options;

LYNX_API void lynx_keep_options_init(lynx_keep_options *options);

typedef struct lynx_keep_result {
    uint32_t stored_tokens;   /* were in the store already */
    uint32_t computed_tokens; /* went through the model */
    uint32_t segments_written;
    uint64_t bytes_written;
    uint64_t compute_ns, load_ns, write_ns; /* write_ns: encoding, too */
} lynx_keep_result;

/*
 * Compute what is missing of the prompt, encode its pages and store them, segment by segment
 * while the engine computes. What the store has of the prompt is loaded in full precision and
 * not computed (but with 'is_fresh'); when it cannot be read, the whole prompt is computed.
 * Memory: one segment, which in a file is the whole prompt.
 *
 * LYNX_ERR_ARGUMENT, LYNX_ERR_CANCELLED (progress said so), LYNX_ERR_ENGINE, LYNX_ERR_LIMIT (no
 * room, or longer than the engine's context), LYNX_ERR_SYSTEM, LYNX_ERR_DENIED or
 * LYNX_ERR_MEMORY; 'text' (LYNX_TEXT_MAX bytes) gets one sentence. Segments that are whole stay
 * in the store. The engine's cache is undefined then.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_keep(const lynx_keep_options *options,
                                               lynx_keep_result *result, char *text);

#ifdef __cplusplus
}
#endif

#endif
