/* SPDX-License-Identifier: MIT */
#include "runtime/held_prefix.h"

#include <string.h>

#include "base/check.h"
#include "store/prefix.h"

_Static_assert((int)LYNX_NAME_BYTES == (int)LX_NAME_BYTES, "names of prefixes");

lynx_status lx_held_name(const lynx_model *model, const lynx_codec_spec *spec,
                         const lynx_token *tokens, uint32_t count,
                         uint8_t name[LYNX_NAME_BYTES])
{
    const lynx_stored_model stored = {.fingerprint = model->fingerprint,
                                      .shape = model->shape,
                                      .spec = *spec};
    lx_prefix prefix;
    LX_TRY(lx_prefix_init(&prefix, &stored, NULL));
    const lynx_status status = lx_prefix_name_after(&prefix, tokens, count, name);
    lx_prefix_fini(&prefix);
    return status;
}

bool lx_held_name_fits(const lynx_model *model, const lynx_request *request)
{
    uint8_t name[LYNX_NAME_BYTES];
    return lx_held_name(model, &request->held_spec, request->tokens, request->held_tokens,
                        name) == LYNX_OK &&
           memcmp(name, request->held_name, sizeof(name)) == 0;
}
