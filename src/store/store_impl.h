/* SPDX-License-Identifier: MIT */
/*
 * store_impl.h - a store, and what its files share.
 *
 *     store.c            the longest stored prefix; putting segments away
 *     store_documents.c  texts under names, lists
 *     object_list.c      names of all objects
 *     store_collect.c    eviction, removal
 *     store_verify.c     the check of everything
 *     store_copy.c       to another store
 */
#ifndef LX_STORE_STORE_IMPL_H
#define LX_STORE_STORE_IMPL_H

#include <stdatomic.h>

#include "store/part.h"
#include "store/store_names.h"

struct lynx_store {
    const lynx_allocator *memory;
    lynx_place *place;
    uint64_t limit_bytes;
    const uint8_t *key; /* 'key_bytes', or NULL */
    uint8_t key_bytes[LX_KEY_BYTES];
    atomic_ullong evicted_segments, evicted_bytes, bytes; /* lynx_store_counters */
};

/* Segments of one prompt, from its beginning, open. */
typedef struct lx_chain {
    lx_part *parts;
    size_t count, room;
    uint32_t tokens; /* that they cover */
    uint64_t bytes;
} lx_chain;

/* The longest chain of segments that are here and right. On failure nothing is to be closed. */
lynx_status lx_store_chain(lynx_store *store, const lynx_stored_model *model,
                           const lynx_token *tokens, uint32_t count, lx_chain *chain,
                           lx_text text);
void lx_chain_close(const lynx_store *store, lx_chain *chain);

/* Remove the least recently used segments until 'limit_bytes' hold. */
lynx_status lx_store_evict(lynx_store *store, uint64_t limit_bytes, lynx_store_removed *removed,
                           lx_text text);

/* Compare name, size and all planes of a segment that lies in 'place' with its header.
 * 'goes_on' is what 'fault' said last. */
lynx_status lx_store_verify_part(const lx_part *part, lynx_place *place,
                                 const lynx_allocator *memory, lynx_store_fault *fault,
                                 void *user, bool *goes_on, lx_text text);

/* lx_tell with the text of a status that nobody has explained yet. */
lynx_status lx_tell_plainly(lx_text text, lynx_status status);

#endif
