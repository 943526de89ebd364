/* SPDX-License-Identifier: MIT */
#include "session/spare.h"

#include "base/alloc.h"

uint8_t *lx_spares_take(lx_spares *spares, size_t size)
{
    for (uint32_t i = spares->count; i-- > 0;) { /* the last is warm in the cache */
        uint8_t *data = spares->data[i];
        if (spares->sizes[i] != size)
            continue;
        spares->count--;
        spares->bytes -= size;
        for (uint32_t k = i; k < spares->count; k++) {
            spares->data[k] = spares->data[k + 1];
            spares->sizes[k] = spares->sizes[k + 1];
        }
        return data;
    }
    return lx_alloc(spares->memory, size, 1);
}

void lx_spares_give(lx_spares *spares, uint8_t *data, size_t size)
{
    if (spares->count == LX_SPARES_MAX || size > spares->bytes_max - spares->bytes) {
        lx_free(spares->memory, data, size, 1);
        return;
    }
    spares->data[spares->count] = data;
    spares->sizes[spares->count++] = size;
    spares->bytes += size;
}

void lx_spares_fini(lx_spares *spares)
{
    while (spares->count > 0) {
        spares->count--;
        lx_free(spares->memory, spares->data[spares->count], spares->sizes[spares->count], 1);
    }
    spares->bytes = 0;
}
