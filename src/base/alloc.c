/* SPDX-License-Identifier: MIT */
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN_BYTES = 64 };

static void *libc_allocate(void *user, size_t size_bytes, size_t align_bytes)
{
    (void)user;
    const size_t rounded = (size_bytes + align_bytes - 1) / align_bytes * align_bytes;
    return rounded < size_bytes ? NULL : aligned_alloc(align_bytes, rounded);
}

static void libc_release(void *user, void *memory, size_t size_bytes)
{
    (void)user;
    (void)size_bytes;
    free(memory);
}

const lynx_allocator *lynx_allocator_default(void)
{
    static const lynx_allocator libc = {NULL, libc_allocate, libc_release};
    return &libc;
}

const lynx_allocator *lx_allocator_or_default(const lynx_allocator *memory)
{
    return memory ? memory : lynx_allocator_default();
}

void *lx_alloc(const lynx_allocator *memory, size_t count, size_t item_bytes)
{
    if (count == 0 || item_bytes == 0 || count > SIZE_MAX / item_bytes)
        return NULL;
    return memory->allocate(memory->user, count * item_bytes, ALIGN_BYTES);
}

void *lx_alloc_zeroed(const lynx_allocator *memory, size_t count, size_t item_bytes)
{
    void *pointer = lx_alloc(memory, count, item_bytes);
    if (pointer)
        memset(pointer, 0, count * item_bytes);
    return pointer;
}

void lx_free(const lynx_allocator *memory, void *pointer, size_t count, size_t item_bytes)
{
    if (pointer)
        memory->release(memory->user, pointer, count * item_bytes);
}
