/* SPDX-License-Identifier: MIT */
/*
 * net.h - places (lynx/place.h) on the network: web servers, S3-compatible object stores, and a
 * local folder in front of them. A library of its own, lynx-net, which knows libcurl.
 *
 * Objects are read by range requests over HTTP/1.1, the first 64 KiB when they are opened. What
 * expect() announces is fetched in its order by a thread, at most 'ahead_bytes' before it is
 * read; calls about different objects go side by side. A server that ignores ranges serves
 * objects up to LYNX_NET_WHOLE_MAX. An object that changes while it is open (its ETag, its
 * date, its size) is LYNX_ERR_CORRUPT. Answers 408, 429, 500, 502, 503 and 504 and lost
 * connections are tried again, reading from where it broke.
 *
 * Certificates are verified. Redirects go to the same scheme or to https, and take no
 * credentials to another host; not for S3. Credentials come from the URL (user:password@), else
 * LYNX_HTTP_TOKEN in the environment (a bearer token; with https or to this machine alone),
 * else a netrc file. No text names them, nor the query of a URL.
 *
 * Writing is PUT, remove() is DELETE; whether a server takes them shows when they are called
 * (LYNX_ERR_UNSUPPORTED, LYNX_ERR_DENIED). Web servers have no lists. There are no locks.
 *
 * Threads: as lynx/place.h says. The allocator must serve all threads. The environment is read
 * when a place is made.
 */
#ifndef LYNX_NET_H
#define LYNX_NET_H

#include <stddef.h>
#include <stdint.h>

#include "lynx/export.h"
#include "lynx/memory.h"
#include "lynx/place.h"
#include "lynx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LYNX_NET_URL_MAX = 4096,      /* bytes of a URL with its terminator */
    LYNX_NET_WHOLE_MAX = 16 << 20 /* bytes of an object of a server without ranges */
};

typedef struct lynx_net_options {
    size_t struct_size;
    /* PEM file of the authorities to trust; NULL (default): those of the system. */
    const char *ca_file;
    /* NULL (default): $NETRC, else ~/.netrc where there is one. */
    const char *netrc_file;
    uint32_t connect_timeout_ms; /* default 10000 */
    uint32_t silence_timeout_ms; /* longest without a byte; default 30000 */
    uint32_t retries;            /* of a request that gets nowhere; default 4, at most 20 */
    size_t ahead_bytes;          /* for each expect(); default 32 MiB, at least 64 KiB */
    const lynx_allocator *memory;
    /* lynx_place_from_text() puts a folder in front of a place with a URL, as
     * lynx_place_cached() says: one for each address below this one. NULL (default): none. */
    const char *front_folder;
    uint64_t front_limit_bytes; /* of each; 0 (default): no limit */
} lynx_net_options;

LYNX_API void lynx_net_options_init(lynx_net_options *options);

/*
 * A web server: the object "a/b" of the place "https://host/path" is "https://host/path/a/b"; a
 * query of the URL is sent along. Nothing is sent yet. 'options' (NULL: defaults) are copied.
 *
 * This and the next: 'text' as in lynx/place.h. LYNX_ERR_ARGUMENT (no such URL, an option out
 * of range), LYNX_ERR_DENIED (a token would go unencrypted), LYNX_ERR_MEMORY, LYNX_ERR_SYSTEM.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_place_http(lynx_place **place, const char *url,
                                                     const lynx_net_options *options,
                                                     char *text, size_t text_size);

/*
 * "s3://bucket/prefix": objects "prefix/NAME" of a bucket, addressed in the path. From the
 * environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (neither: a public bucket),
 * AWS_SESSION_TOKEN, AWS_REGION or AWS_DEFAULT_REGION (else us-east-1), AWS_ENDPOINT_URL_S3 or
 * AWS_ENDPOINT_URL (else that of Amazon for the region).
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_place_s3(lynx_place **place, const char *url,
                                                   const lynx_net_options *options, char *text,
                                                   size_t text_size);

/*
 * 'front' (a folder) before 'back'; both are taken on success. Segments never change, so those
 * that were read whole, or written, are kept in front, and read from there; all else is done by
 * 'back'. Above 'limit_bytes' (0: no limit) in front the least recently used go. Errors of
 * 'front' never fail anything. What is being read is held in memory until it is closed, at most
 * 1 GiB for all objects together; beyond it nothing is kept.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_place_cached(lynx_place **place, lynx_place *front,
                                                       lynx_place *back, uint64_t limit_bytes,
                                                       const lynx_allocator *memory);

/* What a user types: "http://...", "https://...", "s3://..." (with options->front_folder, a
 * folder in front of it), or a folder. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_place_from_text(lynx_place **place, const char *typed,
                                                          const lynx_net_options *options,
                                                          char *text, size_t text_size);

/* The same for one object: a file or its URL (also one that is signed in its query). '*name' is
 * what to open in '*place'; it lives as long as 'typed' and '*place'. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_place_of_object(lynx_place **place, const char **name,
                                                          const char *typed,
                                                          const lynx_net_options *options,
                                                          char *text, size_t text_size);

#ifdef __cplusplus
}
#endif

#endif
