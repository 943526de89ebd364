/* SPDX-License-Identifier: MIT */
/*
 * spare.h - memory of planes that were released, for those that come next.
 *
 * Planes come and go at the speed of the link and have few different sizes. The C library gives
 * memory of that size back to the system and takes it again page by page, which cost the
 * receiver twice the time of the network ('lynx bench link --only throughput').
 */
#ifndef LX_SESSION_SPARE_H
#define LX_SESSION_SPARE_H

#include <stddef.h>
#include <stdint.h>

#include "lynx/memory.h"

enum { LX_SPARES_MAX = 16 };

typedef struct lx_spares {
    const lynx_allocator *memory;
    size_t bytes_max;
    uint8_t *data[LX_SPARES_MAX];
    size_t sizes[LX_SPARES_MAX];
    uint32_t count;
    size_t bytes;
} lx_spares;

/* Memory of 'size' bytes, a spare one or new; NULL: none. */
uint8_t *lx_spares_take(lx_spares *spares, size_t size);

/* Keep it, or give it back when enough are kept. */
void lx_spares_give(lx_spares *spares, uint8_t *data, size_t size);

void lx_spares_fini(lx_spares *spares);

#endif
