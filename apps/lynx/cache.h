/* SPDX-License-Identifier: MIT */
/*
 * cache.h - 'lynx cache': what its commands share.
 *
 *     cache.c        the group; options and sentences
 *     cache_add.c    add
 *     cache_list.c   ls, show
 *     cache_clean.c  verify, rm, gc
 *     cache_copy.c   pull, push
 */
#ifndef LYNX_CACHE_H
#define LYNX_CACHE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli.h"
#include "cli_store.h"
#include "lynx/store.h"

enum {
    CACHE_OPT_STORE = CLI_OPT_OWN,
    CACHE_OPT_KEY,
    CACHE_OPT_JSON,
    CACHE_OPT_FRONT,
    CACHE_OPT_FRONT_SIZE,
    CACHE_OPT_OWN /* first number of a command's own options */
};

#define CACHE_OPTIONS                                                                          \
    {"store", required_argument, NULL, CACHE_OPT_STORE},                                       \
        {"key", required_argument, NULL, CACHE_OPT_KEY},                                       \
        {"json", no_argument, NULL, CACHE_OPT_JSON},                                           \
    {                                                                                          \
        "help", no_argument, NULL, 'h'                                                         \
    }

/* Of commands that compute with a store: what they read from a URL is kept on this machine. */
#define CACHE_FRONT_OPTIONS                                                                    \
    {"store-cache", required_argument, NULL, CACHE_OPT_FRONT},                                 \
    {                                                                                          \
        "store-cache-size", required_argument, NULL, CACHE_OPT_FRONT_SIZE                      \
    }

#define CACHE_OPTIONS_HELP                                                                     \
    "      --store PLACE  of the store: a folder, http(s)://HOST/PATH or s3://BUCKET/PREFIX\n" \
    "                     (${XDG_CACHE_HOME:-~/.cache}/lynx/store)\n"                          \
    "      --key FILE     key file of an encrypted store: 32 bytes in hexadecimal or base64\n" \
    "      --json         one JSON object on stdout\n"

typedef struct cache_options {
    const char *command; /* for messages */
    char folder[2048];
    const char *key_file;
    bool is_json;
    bool has_front; /* the command has CACHE_FRONT_OPTIONS */
    cli_store_front front;
    uint8_t key[LYNX_STORE_KEY_BYTES];
} cache_options;

void cache_options_init(cache_options *options, const char *command);

/* 1: taken, 0: wrong value (said so), -1: not one of those above. */
int cache_take_option(cache_options *options, int option, const char *value);

/* Read the key, if one was named. CLI_OK or an exit code after the message. */
int cache_read_key(cache_options *options);
const uint8_t *cache_key(const cache_options *options);

/* The store; CLI_OK or an exit code after the message. */
int cache_open(cache_options *options, uint64_t limit_bytes, lynx_store **store);
/* The same for the store at 'typed', when the key was read. */
int cache_open_at(const cache_options *options, const char *typed, uint64_t limit_bytes,
                  lynx_store **store);

/* The cache file at a path or URL. LYNX_OK with '*file' NULL: there is none. 'text' has
 * LYNX_PLACE_TEXT_MAX bytes. The caller closes the file, then destroys '*place', also after an
 * error. */
lynx_status cache_open_file(const cache_options *options, const char *typed, lynx_place **place,
                            lynx_cache_file **file, char *text);

/* What may be shown of a path or URL that 'place' was made of: no password, no query. */
const char *cache_shown(const lynx_place *place, const char *typed);

/* As cli_fail; a disk that is full or broken is no matter of usage or connections. */
int cache_fail(const cache_options *options, lynx_status status, const char *text);

/* What --max-size takes; CLI_OK, or CLI_USAGE after the message. */
int cache_take_max_size(const cache_options *options, const char *value, uint64_t *bytes);
/* "12.3 MB" */
void cache_put_size(uint64_t bytes, char text[16]);

/* True when 'name' is the path or URL of a cache file: it has a '/' or ends in ".lynx". */
bool cache_is_path(const char *name);

/* A JSON object on stdout; takes it. */
void cache_print(json_t *object);

int lx_cache_add(int argc, char **argv);
int lx_cache_ls(int argc, char **argv);
int lx_cache_show(int argc, char **argv);
int lx_cache_verify(int argc, char **argv);
int lx_cache_rm(int argc, char **argv);
int lx_cache_gc(int argc, char **argv);
int lx_cache_pull(int argc, char **argv);
int lx_cache_push(int argc, char **argv);

#endif
