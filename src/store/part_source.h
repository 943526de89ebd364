/* SPDX-License-Identifier: MIT */
/* part_source.h - a source over the segments of one prompt. */
#ifndef LX_STORE_PART_SOURCE_H
#define LX_STORE_PART_SOURCE_H

#include "lynx/source.h"
#include "store/part.h"

typedef struct lx_part_source_options {
    lynx_place *place;
    lx_part *parts; /* by rising end; the later of two that have a page column counts */
    size_t part_count;
    size_t part_room;        /* of the list, where it owns the parts */
    bool owns_parts;         /* with their objects and the list; also when create fails */
    const char *description; /* copied */
    const lynx_allocator *memory;
} lx_part_source_options;

/* The longest prefix of at most 'tokens' tokens, which ends on a page boundary or with a part,
 * whose pages are all in the parts; 0: none. */
uint32_t lx_part_source_prefix(const lx_part *parts, size_t part_count, uint32_t tokens);

lynx_status lx_part_source_create(lynx_source **source, uint32_t prefix_tokens,
                                  const lx_part_source_options *options);

/* The name of the object in which next() found a broken plane; NULL: none was. */
const char *lx_part_source_broken(const lynx_source *source);

/* End parts in a list of the allocator, and close their objects. */
void lx_parts_close(lynx_place *place, lx_part *parts, size_t count, size_t room,
                    const lynx_allocator *memory);

#endif
