/* SPDX-License-Identifier: MIT */
/* held_prefix.h - how a decode node names the pages that it holds, and a prefill node checks
 * it. */
#ifndef LX_RUNTIME_HELD_PREFIX_H
#define LX_RUNTIME_HELD_PREFIX_H

#include "lynx/engine.h"
#include "lynx/session.h"

/* The name of the first 'count' tokens in a codec: docs/format-store.md, Names, without a key.
 * LYNX_ERR_MEMORY or LYNX_ERR_SYSTEM. */
lynx_status lx_held_name(const lynx_model *model, const lynx_codec_spec *spec,
                         const lynx_token *tokens, uint32_t count,
                         uint8_t name[LYNX_NAME_BYTES]);

/* Does a request name what 'model' has for its held tokens? */
bool lx_held_name_fits(const lynx_model *model, const lynx_request *request);

#endif
