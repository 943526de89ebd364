/* SPDX-License-Identifier: MIT */
/* prefix.h - names of prefixes: a hash of model, codec and all tokens. */
#ifndef LX_STORE_PREFIX_H
#define LX_STORE_PREFIX_H

#include "lynx/store.h"
#include "store/seal.h"

/* Walks along the tokens of a prompt. */
typedef struct lx_prefix {
    lx_hash *hash;
    const uint8_t *key; /* NULL: plain names; borrowed */
} lx_prefix;

lynx_status lx_prefix_init(lx_prefix *prefix, const lynx_stored_model *model,
                           const uint8_t *key);
void lx_prefix_fini(lx_prefix *prefix);
lynx_status lx_prefix_add(lx_prefix *prefix, const lynx_token *tokens, uint32_t count);
/* Of the tokens so far. */
lynx_status lx_prefix_name(const lx_prefix *prefix, uint8_t name[LX_NAME_BYTES]);

/* Of 'count' further tokens behind those so far, which stay as they are. */
lynx_status lx_prefix_name_after(const lx_prefix *prefix, const lynx_token *tokens,
                                 uint32_t count, uint8_t name[LX_NAME_BYTES]);

/* 64 hexadecimal digits and a terminator; and back, false when they are not. */
void lx_name_put(const uint8_t name[LX_NAME_BYTES], char text[LYNX_PREFIX_NAME_MAX]);
bool lx_name_take(const char *text, uint8_t name[LX_NAME_BYTES]);

#endif
