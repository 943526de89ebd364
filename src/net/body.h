/* SPDX-License-Identifier: MIT */
/* body.h - the bytes of an answer that is kept whole. */
#ifndef LX_NET_BODY_H
#define LX_NET_BODY_H

#include <stddef.h>
#include <stdint.h>

#include "lynx/memory.h"
#include "lynx/status.h"

/* All zeros but 'memory' is an empty one. */
typedef struct lx_body {
    const lynx_allocator *memory;
    uint8_t *data;
    size_t size, room;
} lx_body;

/* How large it may become is the caller's to check. */
lynx_status lx_body_append(lx_body *body, const uint8_t *data, size_t size);
void lx_body_fini(lx_body *body);

#endif
