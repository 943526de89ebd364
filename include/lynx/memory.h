/* SPDX-License-Identifier: MIT */
/*
 * memory.h - where memory comes from, and views of bytes.
 *
 * Every object takes an optional allocator; NULL means that of the C library. Release is
 * told the size, so that pools and pinned memory need no header of their own. Whether an
 * allocator may be called from several threads is its owner's affair: Lynx calls it only
 * from threads that use the object which was given the allocator.
 */
#ifndef LYNX_MEMORY_H
#define LYNX_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "lynx/export.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lynx_allocator {
    /* Passed back in each call. */
    void *user;
    /* 'size_bytes' (>= 1) aligned to 'align_bytes' (a power of two); NULL when there is none.
     * The content is undefined. */
    void *(*allocate)(void *user, size_t size_bytes, size_t align_bytes);
    /* 'memory' came from allocate with the same 'size_bytes'; never NULL. */
    void (*release)(void *user, void *memory, size_t size_bytes);
} lynx_allocator;

/* The allocator of the C library; safe from all threads. */
LYNX_API const lynx_allocator *lynx_allocator_default(void);

/* A view of bytes that somebody else owns. */
typedef struct lynx_bytes {
    const uint8_t *data;
    size_t size;
} lynx_bytes;

/* Nanoseconds of a clock that never goes back; its zero is arbitrary. */
typedef uint64_t lynx_time_ns;

/* A time that never comes. */
#define LYNX_TIME_NEVER UINT64_MAX

#ifdef __cplusplus
}
#endif

#endif
