/* SPDX-License-Identifier: MIT */
/* client.h - one connection at a time to a web server: a request and its answer. */
#ifndef LX_NET_CLIENT_H
#define LX_NET_CLIENT_H

#include <stdatomic.h>

#include "net/url.h"

enum { LX_ETAG_MAX = 256, LX_DATE_MAX = 64, LX_EXCUSE_MAX = 2048, LX_PATH_MAX = 1024 };

/* What all requests of a place share. */
typedef struct lx_settings {
    lx_url url;
    char ca_file[LX_PATH_MAX]; /* "": those of the system */
    char netrc_file[LX_PATH_MAX];
    char bearer[LX_PASSWORD_MAX]; /* "Authorization: Bearer ..."; "": none */
    uint32_t connect_timeout_ms, silence_timeout_ms, retries;
    size_t ahead_bytes;
    /* Signatures of S3: the user of 'url' is the key. */
    bool is_s3;
    char signer[96];               /* as libcurl wants it; "": unsigned */
    char session[LX_PASSWORD_MAX]; /* a whole header line; "": none */
} lx_settings;

/* What the server said before the body. */
typedef struct lx_reply {
    long status;
    bool has_length, has_range, is_encoded;
    uint64_t length;
    uint64_t first, last, total; /* of Content-Range */
    char etag[LX_ETAG_MAX];
    char modified[LX_DATE_MAX];
    uint32_t retry_after_s;
    size_t header_bytes;
    char excuse[LX_EXCUSE_MAX]; /* beginning of the body of an error */
    size_t excuse_size;
} lx_reply;

typedef struct lx_request {
    const char *method;      /* "GET", "PUT", "DELETE" */
    const char *url;         /* with its query */
    uint64_t first, size;    /* of the range; 0: no range */
    const char *if_match;    /* NULL: whatever it is */
    const lynx_bytes *parts; /* of PUT */
    size_t part_count;
    const char *payload_hash;      /* hexadecimal SHA-256 of parts for S3; NULL: of nothing */
    const atomic_bool *is_stopped; /* besides that of the client */
    /* For answers 2xx: when the head is here, then for each piece of the body. Another status
     * than LYNX_OK ends the exchange with it. */
    lynx_status (*begin)(void *user, const lx_reply *reply);
    lynx_status (*take)(void *user, const uint8_t *data, size_t size);
    void *user;
    lx_text said;
} lx_request;

typedef struct lx_client lx_client;

/* Both are borrowed. */
lx_client *lx_client_create(const lx_settings *settings, const atomic_bool *is_stopped,
                            const lynx_allocator *memory);
void lx_client_destroy(lx_client *client);

/* The members of a list belong to whoever holds it. */
lx_client **lx_client_next(lx_client *client);

/* One request; redirects are followed. LYNX_OK: the server answered, see 'reply'. '*again':
 * the failure may be of the moment. */
lynx_status lx_client_exchange(lx_client *client, const lx_request *request, lx_reply *reply,
                               bool *again);

/* Wait; lx_client_wake ends it. */
void lx_client_rest(lx_client *client, uint32_t milliseconds);

/* From any thread: look at the flags now. */
void lx_client_wake(lx_client *client);

#endif
