/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "base/digest.h"
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

/* A folder of its own for each address: who may write one place has no say about another. */
static lynx_status folder_of(const lx_net_place *p, const char *below, lynx_place **front,
                             const lynx_allocator *memory)
{
    char name[2 * LX_ADDRESS_ROOM], path[LX_PATH_MAX];
    const int size = snprintf(name, sizeof(name), "%s %s/%s", p->network.settings.url.address,
                              p->bucket_url, p->prefix);
    const uint64_t digest = lx_digest64(name, size > 0 ? (size_t)size : 0);
    const int length = snprintf(path, sizeof(path), "%s/%016" PRIx64, below, digest);
    LX_REQUIRE(length > 0 && (size_t)length < sizeof(path), LYNX_ERR_ARGUMENT);
    return lynx_place_folder(front, path, memory);
}

/* '*place' is behind a folder then; it stays as it is on failure. */
static lynx_status put_behind(lynx_place **place, const lynx_net_options *o, lx_text said)
{
    lynx_place *front = NULL;
    lynx_status status = folder_of((const lx_net_place *)(const void *)*place, o->front_folder,
                                   &front, o->memory);
    if (status == LYNX_ERR_ARGUMENT)
        return lx_tell(said, status, "the path of the folder in front is too long");
    LX_TRY(status);
    status = lynx_place_cached(place, front, *place, o->front_limit_bytes, o->memory);
    if (status != LYNX_OK)
        lynx_place_destroy(front);
    return status;
}

lynx_status lynx_place_from_text(lynx_place **place, const char *typed,
                                 const lynx_net_options *options, char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    lynx_place *made = NULL;
    LX_TRY(make(&made, typed, false, options, said));
    if (options && options->front_folder && kind_of(typed) != KIND_PATH) {
        const lynx_status status = put_behind(&made, options, said);
        if (status != LYNX_OK) {
            lynx_place_destroy(made);
            return status;
        }
    }
    *place = made;
    return LYNX_OK;
}

lynx_status lynx_place_of_object(lynx_place **place, const char **name, const char *typed,
                                 const lynx_net_options *options, char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    LX_TRY(make(place, typed, true, options, said));
    *name = kind_of(typed) == KIND_PATH ? typed : (*place)->ops->description(*place);
    return LYNX_OK;
}
