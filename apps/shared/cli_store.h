/* SPDX-License-Identifier: MIT */
/* cli_store.h - the store that a user named. */
#ifndef CLI_STORE_H
#define CLI_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "lynx/store.h"

/* "20G", "512M", "0"; units of 1024. */
bool cli_parse_size(const char *text, uint64_t *bytes);

/* Open the store at a folder or URL ('typed'), with a key (NULL: none) and a limit (0: none).
 * 'text' has LYNX_PLACE_TEXT_MAX bytes; it may stay empty. */
lynx_status cli_store_open(const char *typed, const uint8_t *key, uint64_t limit_bytes,
                           lynx_store **store, char *text);

#endif
