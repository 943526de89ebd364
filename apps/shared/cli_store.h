/* SPDX-License-Identifier: MIT */
/* cli_store.h - the store that a user named, and the folder in front of it. */
#ifndef CLI_STORE_H
#define CLI_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "lynx/store.h"

/* "20G", "512M", "0"; units of 1024. */
bool cli_parse_size(const char *text, uint64_t *bytes);

/* A place that is no folder. */
bool cli_store_is_url(const char *typed);

/* What was read from a URL is kept in a folder, and read from there the next time. */
typedef struct cli_store_front {
    const char *folder;   /* --store-cache; NULL: the default one, "none": none */
    uint64_t limit_bytes; /* --store-cache-size, for each URL; 0: CLI_STORE_FRONT_BYTES */
} cli_store_front;

#define CLI_STORE_FRONT_BYTES ((uint64_t)10 << 30)

#define CLI_STORE_FRONT_HELP                                                                   \
    "      --store-cache DIR    keep here what was read from a store with a URL, so that it "  \
    "is read\n"                                                                                \
    "                           once; 'none': do not "                                         \
    "(${XDG_CACHE_HOME:-~/.cache}/lynx/store-cache)\n"                                         \
    "      --store-cache-size SIZE\n"                                                          \
    "                           most bytes of it for each URL, the least recently used go "    \
    "(10G)\n"

/* Open the store at a folder or URL ('typed'), behind a folder when it is a URL and 'front'
 * (NULL: none) says so, with a key (NULL: none) and a limit (0: none). 'text' has
 * LYNX_PLACE_TEXT_MAX bytes; it may stay empty. */
lynx_status cli_store_open(const char *typed, const cli_store_front *front, const uint8_t *key,
                           uint64_t limit_bytes, lynx_store **store, char *text);

#endif
