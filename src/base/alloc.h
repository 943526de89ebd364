/* SPDX-License-Identifier: MIT */
/* alloc.h - allocation through a lynx_allocator, zeroed, with overflow checks. */
#ifndef LX_BASE_ALLOC_H
#define LX_BASE_ALLOC_H

#include <stddef.h>

#include "lynx/memory.h"

/* 'memory' or, for NULL, the allocator of the C library. */
const lynx_allocator *lx_allocator_or_default(const lynx_allocator *memory);

/* 'count' times 'item_bytes' zeroed bytes, aligned to 64; NULL when there are none, the product
 * overflows or is zero. */
void *lx_alloc_zeroed(const lynx_allocator *memory, size_t count, size_t item_bytes);

/* The same without clearing, for buffers that are written before they are read. */
void *lx_alloc(const lynx_allocator *memory, size_t count, size_t item_bytes);

/* Free what lx_alloc or lx_alloc_zeroed gave for the same count and item size. NULL allowed. */
void lx_free(const lynx_allocator *memory, void *pointer, size_t count, size_t item_bytes);

#endif
