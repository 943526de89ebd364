/* SPDX-License-Identifier: MIT */
/*
 * tls.h - encryption and authentication: a link over another link.
 *
 * TLS 1.3 and nothing older. Either both ends hold a certificate of the same private authority
 * (lynx/keys.h makes them), or both hold the same secret (PSK), which goes along with an
 * (EC)DHE exchange, so that a secret that leaks later opens nothing of today. An end that has
 * the one never accepts the other. There are no tickets and no early data.
 *
 * Keys live in credentials, which serve any number of links and can be reloaded meanwhile: a
 * link that was made before goes on with the keys that it has.
 *
 * Threads: credentials may be used from several at once; a link from one at a time. Files are
 * read in create and reload. OpenSSL takes its own memory, beside the allocator, which must
 * serve all threads that use the credentials.
 */
#ifndef LYNX_TLS_H
#define LYNX_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/export.h"
#include "lynx/link.h"
#include "lynx/memory.h"
#include "lynx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LYNX_TLS_NAME_MAX = 64,      /* bytes of a node's name or a PSK id with its terminator */
    LYNX_TLS_ALLOWED_MAX = 1024, /* names in a list */
    LYNX_TLS_PSK_MAX = 16        /* lines of a PSK file */
};

typedef struct lynx_credentials lynx_credentials;

typedef struct lynx_credentials_options {
    size_t struct_size;
    /* Folder with ca.pem (one certificate or several: each is accepted), node.pem and node.key.
     * Exactly one of 'folder' and 'psk_file' is given; default NULL. */
    const char *folder;
    /* Lines "id:hex" of 32 to 64 random bytes. The first connects, all are accepted. Blank
     * lines and lines that begin with '#' are passed over. Default NULL. */
    const char *psk_file;
    /* Names (with a PSK: ids) of peers that are let in; none (default): all that are
     * authenticated. Copied. */
    const char *const *allowed_names;
    uint32_t allowed_count;
} lynx_credentials_options;

LYNX_API void lynx_credentials_options_init(lynx_credentials_options *options);

/*
 * Read keys. 'options' are copied. 'text' (>= 512 bytes) gets one sentence that says what to
 * do on failure: LYNX_ERR_ARGUMENT (neither or both sources, a file is not what it should be,
 * the key is of another certificate), LYNX_ERR_SYSTEM (a file cannot be read), LYNX_ERR_DENIED
 * (the certificate is not valid today or not of this authority, or a secret may be read by
 * others: modes beyond 0600), LYNX_ERR_MEMORY.
 */
LYNX_API LYNX_MUST_CHECK lynx_status
lynx_credentials_create(lynx_credentials **credentials, const lynx_credentials_options *options,
                        char *text, size_t text_size, const lynx_allocator *memory);

/* Read the keys and names of 'options' (as create; the same ones, or others) for links that are
 * made from now on, on any thread. On failure the old keys stay. */
LYNX_API LYNX_MUST_CHECK lynx_status
lynx_credentials_reload(lynx_credentials *credentials, const lynx_credentials_options *options,
                        char *text, size_t text_size);

/* End 'credentials'; links made with them go on. NULL is allowed. */
LYNX_API void lynx_credentials_destroy(lynx_credentials *credentials);

typedef struct lynx_credentials_state {
    char name[LYNX_TLS_NAME_MAX]; /* this node's name, or the id that connects */
    int64_t ends_unix_s;          /* of the node's certificate; INT64_MAX for a PSK */
    bool is_psk;
} lynx_credentials_state;

/* What the keys in use now say. */
LYNX_API lynx_credentials_state lynx_credentials_state_of(lynx_credentials *credentials);

typedef enum lynx_tls_role {
    LYNX_TLS_CLIENT, /* the end that connected */
    LYNX_TLS_SERVER  /* the end that accepted */
} lynx_tls_role;

typedef struct lynx_tls_options {
    size_t struct_size;
    lynx_tls_role role; /* default client */
    /* The peer must have this name (with a PSK: this end uses that id). Copied. NULL (default):
     * any that the credentials let in. */
    const char *peer_name;
    /* The peer must be authenticated within, counted from the first call. Default 5 s. */
    uint64_t handshake_timeout_ns;
    /* This end changes its sending key after so many records of at most 16 KiB, in [1, 2^23]:
     * AES-GCM must not encrypt without end. Default 2^22, about 64 GiB. */
    uint32_t rekey_records;
} lynx_tls_options;

LYNX_API void lynx_tls_options_init(lynx_tls_options *options);

/*
 * Encrypt over 'inner'. On success the new link takes it; on failure it stays with the caller.
 * 'credentials' are used during the call. Nothing is sent yet: the handshake goes on inside
 * send, receive and flush, which give LYNX_BLOCKED until it is done.
 *
 * The link's errors are LYNX_ERR_DENIED (one end does not accept the other; error_text says
 * why and what to do), LYNX_ERR_TIMEOUT (no handshake in time), LYNX_ERR_PROTOCOL (the peer
 * broke TLS, or somebody between changed a byte), and those of 'inner'. peer_name is that of
 * the peer's certificate (its first DNS name) or the PSK's id.
 *
 * Returns LYNX_OK, LYNX_ERR_ARGUMENT (an option is out of its range; with a PSK, there is no
 * such id) or LYNX_ERR_MEMORY.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_link_tls(lynx_link **link, lynx_link *inner,
                                                   lynx_credentials *credentials,
                                                   const lynx_tls_options *options,
                                                   const lynx_allocator *memory);

#ifdef __cplusplus
}
#endif

#endif
