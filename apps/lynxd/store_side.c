/* SPDX-License-Identifier: MIT */
#include "store_side.h"

#include <string.h>

#include "cli.h"

/* Of a folder: a disk that a daemon has filled is of no use to anybody. */
static const uint64_t folder_limit_bytes = 20ull << 30;

void store_side_init(store_side *side, const char *command, lynx_serve_options *options)
{
    *side = (store_side){.command = command, .options = options};
}

/* 1: taken, 0: wrong value, -1: not one of ours. */
static int take(store_side *s, int option, const char *value)
{
    switch (option) {
    case LYNXD_OPT_STORE:
        s->place = value;
        return value[0] != '\0';
    case LYNXD_OPT_STORE_KEY:
        s->key_file = value;
        return value[0] != '\0';
    case LYNXD_OPT_STORE_CACHE:
        s->front.folder = value;
        return value[0] != '\0';
    case LYNXD_OPT_STORE_CACHE_SIZE:
        return cli_parse_size(value, &s->front.limit_bytes) && s->front.limit_bytes > 0;
    case LYNXD_OPT_STORE_SIZE:
        s->has_limit = true;
        return cli_parse_size(value, &s->limit_bytes);
    case LYNXD_OPT_STORE_MIN:
        return cli_parse_u32(value, 1, 1u << 24, &s->options->store_least_tokens);
    case LYNXD_OPT_STORE_MEMORY:
        return cli_parse_size(value, &s->options->store_waiting_bytes);
    default:
        return -1;
    }
}

int store_side_take_option(store_side *s, int option, const char *value)
{
    const int taken = take(s, option, value);
    if (taken == 0)
        return cli_usage(s->command,
                         "'%s' is nothing that this option takes; a size is such "
                         "as 500M or 20G",
                         value);
    return taken > 0 ? CLI_OK : -1;
}

int store_side_check_options(const store_side *s)
{
    if (!s->place && (s->key_file || s->has_limit || s->front.folder))
        return cli_usage(s->command,
                         "--store-key, --store-size and --store-cache need --store");
    if (!s->front.folder && s->front.limit_bytes)
        return cli_usage(s->command, "--store-cache-size needs --store-cache");
    if (s->front.folder && !cli_store_is_url(s->place))
        return cli_usage(s->command,
                         "--store-cache is for a store with a URL; '%s' is a folder", s->place);
    if (s->place && s->options->spec.tail_raw_tokens > 0)
        return cli_usage(s->command, "a stored cache has no raw tokens at its end: say tail=0 "
                                     "in --codec");
    return CLI_OK;
}

int store_side_open(store_side *s)
{
    uint8_t key[LYNX_STORE_KEY_BYTES];
    char text[LYNX_PLACE_TEXT_MAX] = "";
    if (!s->place)
        return CLI_OK;
    if (s->key_file) {
        const lynx_status status = lynx_store_read_key(s->key_file, key, text, sizeof(text));
        if (status != LYNX_OK)
            return cli_fail(s->command, status, text);
    }
    if (!s->has_limit && !cli_store_is_url(s->place))
        s->limit_bytes = folder_limit_bytes;
    const lynx_status status =
        cli_store_open(s->place, s->front.folder ? &s->front : NULL, s->key_file ? key : NULL,
                       s->limit_bytes, &s->store, text);
    memset(key, 0, sizeof(key));
    s->options->store = s->store;
    return status == LYNX_OK ? CLI_OK : cli_fail(s->command, status, text[0] ? text : NULL);
}

void store_side_close(store_side *s)
{
    lynx_store_destroy(s->store);
    s->store = NULL;
    s->options->store = NULL;
}
