/* SPDX-License-Identifier: MIT */
/* digest.h - XXH3 of libxxhash, by its dispatching entry points (five times the plain ones).
 * Against accidents, not against attackers. */
#ifndef LX_BASE_DIGEST_H
#define LX_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

/* XXH3-64 with seed 0. */
uint64_t lx_digest64(const void *data, size_t size);

/* XXH3-128 with seed 0 in canonical (big-endian) byte order. */
void lx_digest128(const void *data, size_t size, uint8_t digest[16]);

#endif
