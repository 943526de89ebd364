/* SPDX-License-Identifier: MIT */
/*
 * ahead.h - ranges that are fetched before they are read: one thread, one ring of bytes.
 *
 * The ranges make one run of bytes. The thread gets it in its order and waits where the ring is
 * full; readers take from it, in its order, and may leave bytes out.
 */
#ifndef LX_NET_AHEAD_H
#define LX_NET_AHEAD_H

#include "net/network.h"

typedef struct lx_ahead lx_ahead;

typedef struct lx_ahead_span {
    const void *object; /* only compared */
    const char *url, *shown;
    const lx_version *version;
    uint64_t offset, size;
    uint64_t at; /* filled in: where it begins in the run */
} lx_ahead_span;

/* 'spans' are copied; what they point to lives longer. NULL: no memory or no thread. */
lx_ahead *lx_ahead_create(lx_network *network, const lx_ahead_span *spans, size_t count);

/* Readers return with what they have, and the thread ends soon. */
void lx_ahead_stop(lx_ahead *ahead);

/* Stop and end it; nobody reads. */
void lx_ahead_destroy(lx_ahead *ahead);

bool lx_ahead_has(const lx_ahead *ahead, const void *object);

/*
 * Read at most 'size' bytes at 'offset' of 'object'; '*done' of them. LYNX_OK and none: they
 * are not in the run, or no longer. Blocks until they came, 'is_stopped' (after lx_ahead_wake),
 * it was stopped, or the thread failed.
 */
lynx_status lx_ahead_read(lx_ahead *ahead, const void *object, uint64_t offset, uint8_t *data,
                          size_t size, const atomic_bool *is_stopped, size_t *done,
                          lx_text said);

/* Readers look at their flags. */
void lx_ahead_wake(lx_ahead *ahead);

#endif
