/* SPDX-License-Identifier: MIT */
/*
 * schema.h - from a JSON schema to a grammar whose texts are JSON that the schema allows.
 *
 * Not all that a schema allows: an object has its listed properties alone, in their order.
 */
#ifndef LX_SERVE_SCHEMA_H
#define LX_SERVE_SCHEMA_H

#include <jansson.h>

#include "serve/buffer.h"

enum { LX_SCHEMA_REASON_BYTES = 256 };

/* Any JSON object. */
void lx_schema_any_object(lx_buffer *grammar);

/* False: 'reason' says what the schema has that cannot be; without memory the buffer says so.
 */
bool lx_schema_grammar(const json_t *schema, lx_buffer *grammar,
                       char reason[LX_SCHEMA_REASON_BYTES]);

#endif
