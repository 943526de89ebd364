/* SPDX-License-Identifier: MIT */
/* cache_file.h - the segments of one object, for reading and for appending. */
#ifndef LX_STORE_CACHE_FILE_H
#define LX_STORE_CACHE_FILE_H

#include "store/part.h"

struct lynx_cache_file {
    const lynx_allocator *memory;
    lynx_place *place;
    lynx_object *object;
    const uint8_t *key; /* 'key_bytes', or NULL */
    uint8_t key_bytes[LX_KEY_BYTES];
    lx_part *parts;
    size_t part_count, part_room;
    lynx_token
        *tokens; /* of all segments, overlaps once; from the first segment's first token */
    uint32_t token_count, token_room;
    uint64_t end; /* behind the last segment; what follows is a torn tail */
};

/* The first token that 'tokens' are counted from. */
uint32_t lx_cache_file_first(const lynx_cache_file *file);

/* True when a segment with this header may follow the last one. */
bool lx_cache_file_goes_on(const lynx_cache_file *file, const lx_header *next);

/* Tell every fault of a segment's planes. False: 'fault' wants no more. */
lynx_status lx_part_verify(const lx_part *part, lynx_place *place, const lynx_allocator *memory,
                           lynx_store_fault *fault, void *user, bool *goes_on, lx_text text);

#endif
