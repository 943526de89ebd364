/* SPDX-License-Identifier: MIT */
/* network.h - connections of a place, and requests that are tried again. */
#ifndef LX_NET_NETWORK_H
#define LX_NET_NETWORK_H

#include <pthread.h>

#include "net/client.h"

typedef struct lx_network {
    lx_settings settings;
    const lynx_allocator *memory;
    atomic_bool is_cancelled;
    pthread_mutex_t lock; /* of the lists */
    lx_client *idle, *busy;
    size_t idle_count;
} lx_network;

lynx_status lx_network_init(lx_network *network, const lynx_allocator *memory);
void lx_network_fini(lx_network *network);

/* Make all requests under way look at their flags. */
void lx_network_wake(lx_network *network);

/* What an object was when it was opened. */
typedef struct lx_version {
    uint64_t total;
    char etag[LX_ETAG_MAX]; /* "": none */
    char modified[LX_DATE_MAX];
} lx_version;

/* Bytes of an object. */
typedef struct lx_get {
    const char *url; /* with its query */
    const char *shown;
    uint64_t first, size;      /* size > 0 */
    const lx_version *version; /* NULL: it is being opened; then 'size' is the most to get */
    const atomic_bool *is_stopped;
    lynx_status (*begin)(void *user, const lx_reply *reply); /* may be NULL */
    lynx_status (*take)(void *user, const uint8_t *data, size_t size);
    void *user;
    lx_text said;
} lx_get;

/* Get them, going on where it broke. '*reply' is the last answer: when an object is opened, 404
 * and 416 are left to the caller. */
lynx_status lx_network_get(lx_network *network, const lx_get *get, lx_reply *reply);

/* Any other request, as often as it takes; an answer that is no success is left to the caller.
 * 'rewind' (may be NULL) makes what was taken undone. */
lynx_status lx_network_do(lx_network *network, const lx_request *request, const char *shown,
                          void (*rewind)(void *user), lx_reply *reply);

/* A sentence for an answer that is no success. 'verb': "read", "written" ... */
lynx_status lx_network_refuse(const lx_network *network, const lx_reply *reply,
                              const char *shown, const char *verb, lx_text said);

#endif
