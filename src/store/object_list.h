/* SPDX-License-Identifier: MIT */
/* object_list.h - the names of a store's objects at one moment. */
#ifndef LX_STORE_OBJECT_LIST_H
#define LX_STORE_OBJECT_LIST_H

#include "store/store_impl.h"

typedef struct lx_object_list {
    const lynx_allocator *memory;
    char (*names)[LX_OBJECT_NAME_MAX];
    size_t count, room;
    uint64_t bytes; /* of all these objects */
    bool has_failed;
} lx_object_list;

/* All names that begin with 'prefix'. On failure, with a sentence, it needs no fini. */
lynx_status lx_object_list_read(lx_object_list *listing, lynx_store *store, const char *prefix,
                                lx_text text);
void lx_object_list_fini(lx_object_list *listing);

#endif
