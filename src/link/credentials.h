/* SPDX-License-Identifier: MIT */
/*
 * credentials.h - the keys that one link works with.
 *
 * A key set never changes after it was loaded; credentials point to the newest one. So a link
 * holds on to its set, whatever is reloaded or destroyed meanwhile.
 */
#ifndef LX_LINK_CREDENTIALS_H
#define LX_LINK_CREDENTIALS_H

#include <stdatomic.h>

#include <openssl/ssl.h>

#include "lynx/keys.h"
#include "lynx/tls.h"

typedef struct lx_secret {
    char id[LYNX_TLS_NAME_MAX];
    uint8_t bytes[LYNX_KEYS_SECRET_MOST];
    size_t size;
} lx_secret;

typedef struct lx_key_set {
    const lynx_allocator *memory;
    atomic_uint references;
    lynx_credentials_state state;
    SSL_CTX *context; /* certificates or none; the callbacks of links are theirs */
    lx_secret *secrets;
    uint32_t secret_count; /* 0: certificates */
    char (*allowed)[LYNX_TLS_NAME_MAX];
    uint32_t allowed_count; /* 0: all */
} lx_key_set;

/* Sessions, which PSKs are to OpenSSL, belong to contexts of this name. */
extern const char lx_tls_context[];

/* The set in use now; release it. */
lx_key_set *lx_key_set_acquire(lynx_credentials *credentials);
void lx_key_set_release(lx_key_set *set);

bool lx_key_set_allows(const lx_key_set *set, const char *name);

/* The secret of an id that need not be terminated, or NULL. */
const lx_secret *lx_key_set_secret(const lx_key_set *set, const void *id, size_t size);

#endif
