/* SPDX-License-Identifier: MIT */
/*
 * seal.h - what needs OpenSSL: names of prefixes, and sealing (AES-256-GCM).
 *
 * Every function returns LYNX_ERR_MEMORY when OpenSSL fails, which it does for want of memory.
 */
#ifndef LX_STORE_SEAL_H
#define LX_STORE_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/status.h"

enum {
    LX_KEY_BYTES = 32,
    LX_SALT_BYTES = 32,
    LX_TAG_BYTES = 16,
    LX_NAME_BYTES = 32,
    LX_SEAL_HEADER = 255 /* the run of a header; planes have their own number */
};

/* A hash over what stands before a token; NULL while there is none. */
typedef struct lx_hash lx_hash;

lynx_status lx_hash_create(lx_hash **hash);
lynx_status lx_hash_copy(lx_hash **hash, const lx_hash *source);
void lx_hash_destroy(lx_hash *hash);
lynx_status lx_hash_add(lx_hash *hash, const void *data, size_t size);
/* SHA-256 of all bytes so far; more may follow. */
lynx_status lx_hash_get(const lx_hash *hash, uint8_t digest[LX_NAME_BYTES]);

/* The name that a digest has under a key. */
lynx_status lx_seal_name(const uint8_t key[LX_KEY_BYTES], const uint8_t digest[LX_NAME_BYTES],
                         uint8_t name[LX_NAME_BYTES]);

lynx_status lx_seal_random(void *target, size_t size);

/* The key of one segment. */
typedef struct lx_seal {
    bool is_sealed; /* false: everything passes as it is */
    uint8_t key[LX_KEY_BYTES];
} lx_seal;

lynx_status lx_seal_init(lx_seal *seal, const uint8_t key[LX_KEY_BYTES],
                         const uint8_t salt[LX_SALT_BYTES]);

/* Which bytes of the segment: a plane's number and the index of the page, or LX_SEAL_HEADER
 * and 0. */
typedef struct lx_seal_at {
    uint32_t run;
    uint64_t index;
} lx_seal_at;

/* Bytes that 'size' bytes become. */
size_t lx_sealed_bytes(const lx_seal *seal, size_t size);

/* 'target' has room for lx_sealed_bytes(). Each 'at' once for a seal. 'bound' bytes (may be
 * none) have to be the same for open. */
lynx_status lx_seal_close(const lx_seal *seal, lx_seal_at at, const void *bound,
                          size_t bound_size, const uint8_t *source, size_t size,
                          uint8_t *target);

/* Open in place; '*size' becomes that of the content. LYNX_ERR_DENIED: another key, or other
 * bytes. */
lynx_status lx_seal_open(const lx_seal *seal, lx_seal_at at, const void *bound,
                         size_t bound_size, uint8_t *data, size_t *size);

#endif
