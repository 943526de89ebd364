/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "net/place_net.h"

typedef enum kind { KIND_PATH, KIND_HTTP, KIND_S3, KIND_UNKNOWN } kind;

static kind kind_of(const char *typed)
{
    const char *colon = strstr(typed, "://");
    if (!colon)
        return KIND_PATH;
    for (const char *at = typed; at < colon; at++)
        if (!isalnum((unsigned char)*at) && !strchr("+-.", *at))
            return KIND_PATH;
    if (strncasecmp(typed, "http://", 7) == 0 || strncasecmp(typed, "https://", 8) == 0)
        return KIND_HTTP;
    return strncasecmp(typed, "s3://", 5) == 0 ? KIND_S3 : KIND_UNKNOWN;
}

static lynx_status make(lynx_place **place, const char *typed, bool is_single,
                        const lynx_net_options *options, lx_text said)
{
    const lynx_allocator *memory = options ? options->memory : NULL;
    lynx_status status = LYNX_OK;
    switch (kind_of(typed)) {
    case KIND_HTTP:
        return lx_place_http(place, typed, is_single, options, said);
    case KIND_S3:
        return lx_place_s3(place, typed, is_single, options, said);
    case KIND_UNKNOWN:
        return lx_tell(said, LYNX_ERR_ARGUMENT,
                       "only http://, https:// and s3:// are known; or give a path");
    case KIND_PATH:
    default:
        status = is_single ? lynx_place_files(place, memory)
                           : lynx_place_folder(place, typed, memory);
        return status == LYNX_ERR_ARGUMENT
                   ? lx_tell(said, status, "the path of the folder is empty or too long")
                   : status;
    }
}

lynx_status lynx_place_from_text(lynx_place **place, const char *typed,
                                 const lynx_net_options *options, char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    return make(place, typed, false, options, said);
}

lynx_status lynx_place_of_object(lynx_place **place, const char **name, const char *typed,
                                 const lynx_net_options *options, char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    LX_TRY(make(place, typed, true, options, said));
    *name = kind_of(typed) == KIND_PATH ? typed : (*place)->ops->description(*place);
    return LYNX_OK;
}
