/* SPDX-License-Identifier: MIT */
/*
 * keep.h - put the cache of a prompt into a store or a file while an engine computes it.
 *
 * Threads: the calling thread, which is the engine's.
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
    lynx_codec_spec spec; /* no raw tokens at the end. Default "range" */
    const char *kernels;  /* of the codec; NULL = the fastest */
    const lynx_token *tokens;
    uint32_t token_count;            /* at most the engine's context */
    lynx_store *store;               /* exactly one of 'store' and 'path' */
    const char *path;                /* of a cache file, which is made or replaced */
    const uint8_t *key;              /* for 'path'; a store has its own */
    lynx_prefill_progress *progress; /* may be NULL */
    void *user;
    const lynx_allocator *memory;
} lynx_keep_options;

LYNX_API void lynx_keep_options_init(lynx_keep_options *options);

typedef struct lynx_keep_result {
    uint32_t loaded_tokens;    /* came from the store */
    uint32_t prefilled_tokens; /* were computed */
    uint32_t segments_written;
    uint64_t bytes_written;
    uint64_t prefill_ns, encode_ns, write_ns;
} lynx_keep_result;

/*
 * Compute what is missing of the prompt, encode its pages and store them. What the store has of
 * the prompt is put into the engine's cache in full precision and not computed; where that
 * cannot be read the whole prompt is computed. The engine holds the whole prompt afterwards.
 *
 * LYNX_ERR_ARGUMENT, LYNX_ERR_CANCELLED (progress said so), LYNX_ERR_ENGINE, LYNX_ERR_LIMIT,
 * LYNX_ERR_SYSTEM, LYNX_ERR_MEMORY; 'text' (LYNX_TEXT_MAX bytes) gets one sentence.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_keep(const lynx_keep_options *options,
                                               lynx_keep_result *result, char *text);

#ifdef __cplusplus
}
#endif

#endif
