/* SPDX-License-Identifier: MIT */
/*
 * keys.h - make the keys that lynx/tls.h works with: an authority, node certificates, secrets.
 *
 * A private authority (CA) certifies each node under its name; nodes accept each other because
 * they hold the authority's certificate. Everything is ECDSA on P-256, signed with SHA-256, and
 * passes as PEM text: this header opens no file. 'lynx keys' writes the files.
 *
 * A pair holds a private key: wipe it with lynx_keys_wipe() after use.
 *
 * Threads: all functions may be called from several at once. Memory is that of OpenSSL.
 */
#ifndef LYNX_KEYS_H
#define LYNX_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/export.h"
#include "lynx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LYNX_KEYS_PEM_MAX = 4096,    /* bytes of one certificate or key with its terminator */
    LYNX_KEYS_NAME_MAX = 64,     /* bytes of a name with its terminator */
    LYNX_KEYS_SECRET_LEAST = 32, /* bytes of a secret (PSK) */
    LYNX_KEYS_SECRET_MOST = 64
};

typedef struct lynx_keys_options {
    size_t struct_size;
    /* Of a node: what lynx_keys_name_is_valid() says. Of an authority the same; an appendix
     * that differs each time tells two authorities of one name apart. */
    const char *name;
    /* Seconds since 1970. Default: from five minutes ago, as clocks differ, and as long as
     * lynx_keys_options_init() was asked. */
    int64_t starts_unix_s;
    int64_t ends_unix_s;
} lynx_keys_options;

/* A certificate and its private key, as terminated PEM. */
typedef struct lynx_keys_pair {
    char certificate[LYNX_KEYS_PEM_MAX];
    char key[LYNX_KEYS_PEM_MAX];
} lynx_keys_pair;

/* What a certificate says. */
typedef struct lynx_keys_certificate {
    char name[LYNX_KEYS_NAME_MAX];        /* DNS name, or the subject's common name */
    char issuer[LYNX_KEYS_NAME_MAX + 16]; /* common name of who signed it */
    char fingerprint[96];                 /* SHA-256, "AB:CD:..." */
    int64_t starts_unix_s;
    int64_t ends_unix_s;
    bool is_authority;
} lynx_keys_certificate;

/* Set defaults: valid for 'days' (>= 1) from now. */
LYNX_API void lynx_keys_options_init(lynx_keys_options *options, const char *name,
                                     uint32_t days);

/* Letters, digits, '.', '-', '_', a letter or digit first, 1 to 63 bytes: a DNS name that is
 * also the name of a folder. */
LYNX_API bool lynx_keys_name_is_valid(const char *name);

/* Make an authority. LYNX_ERR_ARGUMENT (name or times) or LYNX_ERR_SYSTEM (OpenSSL); 'text'
 * gets one sentence. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_keys_make_authority(const lynx_keys_options *options,
                                                              lynx_keys_pair *authority,
                                                              char *text, size_t text_size);

/* Make a node's key and certify it by 'authority'. LYNX_ERR_ARGUMENT (name, times, or
 * 'authority' is not a pair of that kind) or LYNX_ERR_SYSTEM (OpenSSL). */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_keys_make_node(const lynx_keys_options *options,
                                                         const lynx_keys_pair *authority,
                                                         lynx_keys_pair *node, char *text,
                                                         size_t text_size);

/* Read the first certificate of 'pem'. LYNX_ERR_ARGUMENT: there is none. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_keys_read(const char *pem,
                                                    lynx_keys_certificate *certificate);

/* True when the first certificate of 'pem' bears a signature of the first of 'authority'. */
LYNX_API bool lynx_keys_is_signed_by(const char *pem, const char *authority);

/* Random bytes from OpenSSL's generator for secrets. LYNX_ERR_SYSTEM: it has none. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_keys_make_secret(uint8_t *secret, size_t size);

/* Overwrite 'size' bytes in a way that the compiler keeps. */
LYNX_API void lynx_keys_wipe(void *secret, size_t size);

#ifdef __cplusplus
}
#endif

#endif
