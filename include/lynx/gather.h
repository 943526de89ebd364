/* SPDX-License-Identifier: MIT */
/*
 * gather.h - from the pages that a run hands out (lynx_on_page) to segments in a store.
 *
 *     run --pages, any order--> gather --whole--> put: segments into the store
 *
 * The planes are those that the run's answer stands on, so nothing is encoded twice, and who
 * loads them later answers as this run did.
 *
 * Segments end at the cuts of lynx_store_cut as long as four page columns or more lie behind
 * them; those columns are a segment each, since two prompts that begin in the same way part
 * near their ends. A model with sliding windows has one segment, because the pages that it
 * would need at an earlier end are not part of the cache any more.
 *
 * Threads: one at a time.
 */
#ifndef LYNX_GATHER_H
#define LYNX_GATHER_H

#include "lynx/store.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lynx_gather lynx_gather;

typedef struct lynx_gather_options {
    size_t struct_size;
    const lynx_model *model;  /* borrowed until destroy */
    lynx_codec_spec spec;     /* of the pages; storable (lynx/codec.h). Pages without recent
                               * tokens are the same with and without them */
    const lynx_token *tokens; /* of the prompt, 'end_token' of them; copied */
    uint32_t first_token;     /* what lies before it is stored. On a page boundary. Default 0 */
    uint32_t end_token;       /* above 'first_token' */
    const uint8_t *key; /* LYNX_STORE_KEY_BYTES, copied, of the store; NULL (default): none */
    const lynx_allocator *memory;
} lynx_gather_options;

LYNX_API void lynx_gather_options_init(lynx_gather_options *options);

/* LYNX_ERR_ARGUMENT or LYNX_ERR_MEMORY. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_gather_create(lynx_gather **gather,
                                                        const lynx_gather_options *options);
LYNX_API void lynx_gather_destroy(lynx_gather *gather);

/* Take a page of a cache of 'token_count' tokens, as lynx_on_page has it; copied. Pages that
 * are not wanted, or have other tokens than they would have at 'end_token', are left. Without
 * memory the gather is never whole. */
LYNX_API void lynx_gather_add(lynx_gather *gather, lynx_page_id page, uint32_t token_count,
                              const lynx_bytes *planes, uint32_t plane_count);

/* What came is of no use (LYNX_MOMENT_LOST): gather from token 0 on, since what is stored may
 * be broken. LYNX_ERR_MEMORY: it is never whole then. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_gather_restart(lynx_gather *gather);

/* Every page is here. */
LYNX_API bool lynx_gather_is_whole(const lynx_gather *gather);

/* Bytes of planes that it holds. */
LYNX_API uint64_t lynx_gather_bytes(const lynx_gather *gather);

/* What was written. */
typedef struct lynx_gathered {
    uint32_t segments;
    uint64_t bytes;
} lynx_gathered;

/* Put all segments into 'store', the last one first, so that what all the others need is the
 * most recently used; the first failure ends it, and what was written stays. LYNX_ERR_STATE: it
 * is not whole; else as lynx_store_put. 'written' counts in any case. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_gather_put(lynx_gather *gather, lynx_store *store,
                                                     lynx_gathered *written, char *text,
                                                     size_t text_size);

#ifdef __cplusplus
}
#endif

#endif
