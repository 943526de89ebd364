/* SPDX-License-Identifier: MIT */
/* store_side.h - the store of a decode node: its options, its life. */
#ifndef LYNXD_STORE_SIDE_H
#define LYNXD_STORE_SIDE_H

#include <stdbool.h>

#include "cli_store.h"
#include "lynx/serve.h"

enum {
    LYNXD_OPT_STORE = 700, /* beyond those of the other sides */
    LYNXD_OPT_STORE_SIZE,
    LYNXD_OPT_STORE_MIN,
    LYNXD_OPT_STORE_MEMORY,
    LYNXD_OPT_STORE_KEY,
    LYNXD_OPT_STORE_CACHE,
    LYNXD_OPT_STORE_CACHE_SIZE
};

#define LYNXD_STORE_OPTIONS                                                                    \
    {"store", required_argument, NULL, LYNXD_OPT_STORE},                                       \
        {"store-size", required_argument, NULL, LYNXD_OPT_STORE_SIZE},                         \
        {"store-min", required_argument, NULL, LYNXD_OPT_STORE_MIN},                           \
        {"store-memory", required_argument, NULL, LYNXD_OPT_STORE_MEMORY},                     \
        {"store-key", required_argument, NULL, LYNXD_OPT_STORE_KEY},                           \
        {"store-cache", required_argument, NULL, LYNXD_OPT_STORE_CACHE},                       \
    {                                                                                          \
        "store-cache-size", required_argument, NULL, LYNXD_OPT_STORE_CACHE_SIZE                \
    }

typedef struct store_side {
    const char *command;         /* for messages */
    lynx_serve_options *options; /* of the server: store and its limits are filled in */
    const char *place, *key_file;
    cli_store_front front; /* of a place with a URL, if it has a folder */
    uint64_t limit_bytes;
    bool has_limit;
    lynx_store *store;
} store_side;

void store_side_init(store_side *side, const char *command, lynx_serve_options *options);

/* As cli_take_option: CLI_OK, CLI_USAGE (said so), or -1: not one of them. */
int store_side_take_option(store_side *side, int option, const char *value);
/* What cannot go together. CLI_OK or CLI_USAGE after a message. */
int store_side_check_options(const store_side *side);

/* Open it, if one was named. CLI_OK or an exit code after a message. */
int store_side_open(store_side *side);
/* When nobody uses it any more. */
void store_side_close(store_side *side);

#endif
