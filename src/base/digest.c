/* SPDX-License-Identifier: MIT */
#include "base/digest.h"

#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif
#include <string.h>

uint64_t lx_digest64(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

void lx_digest128(const void *data, size_t size, uint8_t digest[16])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, size));
    memcpy(digest, canonical.digest, sizeof(canonical.digest));
}
