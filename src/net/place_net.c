/* SPDX-License-Identifier: MIT */
#include "net/place_net.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "net/body.h"
#include "net/reply.h"
#include "store/seal.h"

enum {
    HEAD_BYTES = 64 << 10, /* of an object, got when it is opened */
    AHEAD_DEFAULT = 32 << 20,
    AHEAD_LEAST = 64 << 10,
    RETRIES_MOST = 20
};

typedef struct object {
    lynx_object base;
    atomic_bool is_cancelled;
    lx_version version;
    char url[LX_OBJECT_URL_ROOM];
    char shown[LX_ADDRESS_ROOM];
    lx_body head; /* its first bytes */
    lx_text said; /* while it is opened */
} object;

static lx_net_place *of(lynx_place *place)
{
    return (lx_net_place *)(void *)place;
}

static object *object_of(lynx_object *o)
{
    return (object *)(void *)o;
}

static void url_of(const lx_net_place *p, const char *name, char url[LX_OBJECT_URL_ROOM],
                   char shown[LX_ADDRESS_ROOM])
{
    const lx_url *u = &p->network.settings.url;
    snprintf(url, LX_OBJECT_URL_ROOM, "%s%s%s%s%s", u->address, p->is_single ? "" : "/",
             p->is_single ? "" : name, u->query[0] ? "?" : "", u->query);
    snprintf(shown, LX_ADDRESS_ROOM, "%s%s%s", p->shown, p->is_single ? "" : "/",
             p->is_single ? "" : name);
}

/* ---- opening ------------------------------------------------------------------------- */

static lynx_status has_no_ranges(const object *o)
{
    return lx_tell(o->said, LYNX_ERR_UNSUPPORTED,
                   "the server does not answer range requests, and it has more than %d "
                   "bytes; fetch it and open the file",
                   LYNX_NET_WHOLE_MAX);
}

static lynx_status begin_head(void *user, const lx_reply *reply)
{
    object *o = user;
    o->head.size = 0; /* an earlier attempt may have failed */
    o->version.total = reply->total;
    memcpy(o->version.etag, reply->etag, sizeof(o->version.etag));
    memcpy(o->version.modified, reply->modified, sizeof(o->version.modified));
    if (!reply->has_range && reply->has_length && reply->length > LYNX_NET_WHOLE_MAX)
        return has_no_ranges(o);
    return LYNX_OK;
}

static lynx_status take_head(void *user, const uint8_t *data, size_t size)
{
    object *o = user;
    if (o->head.size + size > LYNX_NET_WHOLE_MAX)
        return has_no_ranges(o);
    return lx_body_append(&o->head, data, size);
}

static void free_object(object *o)
{
    const lynx_allocator *memory = o->head.memory;
    lx_body_fini(&o->head);
    explicit_bzero(o->url, sizeof(o->url));
    lx_free(memory, o, 1, sizeof(*o));
}

/* '*is_there': the answer says so. */
static lynx_status get_head(lx_net_place *p, object *o, bool *is_there, lx_text said)
{
    lx_reply reply = {0};
    char code[64];
    const lx_get get = {.url = o->url,
                        .shown = o->shown,
                        .size = HEAD_BYTES,
                        .is_stopped = &o->is_cancelled,
                        .begin = begin_head,
                        .take = take_head,
                        .user = o,
                        .said = said};
    o->said = said;
    LX_TRY(lx_network_get(&p->network, &get, &reply));
    lx_reply_code(&reply, code, sizeof(code));
    if ((reply.status == 404 && strcmp(code, "NoSuchBucket") != 0) || reply.status == 410)
        return LYNX_OK;
    *is_there = true;
    if (reply.status == 416 && reply.total == 0) { /* a range of nothing */
        o->head.size = 0;
        return LYNX_OK;
    }
    if (reply.status < 200 || reply.status >= 300)
        return lx_network_refuse(&p->network, &reply, o->shown, "read", said);
    if (!reply.has_range)
        o->version.total = o->head.size;
    o->base.size = o->version.total;
    return LYNX_OK;
}

static lynx_status net_open(lynx_place *place, const char *name, lynx_object **opened,
                            char *text, size_t text_size)
{
    lx_net_place *p = of(place);
    const lx_text said = {text, text_size};
    bool is_there = false;
    *opened = NULL;
    LX_REQUIRE(p->is_single || lynx_place_name_is_legal(name), LYNX_ERR_ARGUMENT);
    object *o = lx_alloc_zeroed(p->network.memory, 1, sizeof(*o));
    LX_REQUIRE(o, LYNX_ERR_MEMORY);
    o->head.memory = p->network.memory;
    atomic_init(&o->is_cancelled, false);
    url_of(p, name, o->url, o->shown);
    const lynx_status status = get_head(p, o, &is_there, said);
    if (status == LYNX_OK && is_there)
        *opened = &o->base;
    else
        free_object(o);
    return status;
}

static void net_close(lynx_place *place, lynx_object *o)
{
    lx_streams_drop(&of(place)->streams, o);
    free_object(object_of(o));
}

/* ---- reading ------------------------------------------------------------------------- */

static lynx_status take_direct(void *user, const uint8_t *data, size_t size)
{
    uint8_t **at = user; /* no more comes than was asked for */
    memcpy(*at, data, size);
    *at += size;
    return LYNX_OK;
}

static lynx_status read_direct(lx_net_place *p, object *o, uint64_t offset, uint8_t *data,
                               size_t size, lx_text said)
{
    lx_reply reply = {0};
    const lx_get get = {.url = o->url,
                        .shown = o->shown,
                        .first = offset,
                        .size = size,
                        .version = &o->version,
                        .is_stopped = &o->is_cancelled,
                        .take = take_direct,
                        .user = &data,
                        .said = said};
    return lx_network_get(&p->network, &get, &reply);
}

static lynx_status net_read(lynx_place *place, lynx_object *base, uint64_t offset, void *data,
                            size_t size, char *text, size_t text_size)
{
    lx_net_place *p = of(place);
    object *o = object_of(base);
    const lx_text said = {text, text_size};
    uint8_t *target = data;
    LX_REQUIRE(offset <= base->size && size <= base->size - offset, LYNX_ERR_ARGUMENT);
    if (offset < o->head.size) {
        const size_t here = o->head.size - (size_t)offset;
        const size_t now = size < here ? size : here;
        memcpy(target, o->head.data + offset, now);
        target += now;
        offset += now;
        size -= now;
    }
    for (size_t done = 1; size > 0 && done > 0;) {
        LX_REQUIRE(!atomic_load(&o->is_cancelled) && !atomic_load(&p->network.is_cancelled),
                   LYNX_ERR_CANCELLED);
        LX_TRY(lx_streams_read(&p->streams, o, offset, target, size, &o->is_cancelled, &done,
                               said));
        target += done;
        offset += done;
        size -= done;
    }
    return size > 0 ? read_direct(p, o, offset, target, size, said) : LYNX_OK;
}

static void net_expect(lynx_place *place, const lynx_range *ranges, size_t count)
{
    lx_net_place *p = of(place);
    const lynx_allocator *memory = p->network.memory;
    size_t used = 0;
    lx_ahead_span *spans = lx_alloc_zeroed(memory, count, sizeof(*spans));
    for (size_t i = 0; i < count && spans; i++) {
        const object *o = object_of(ranges[i].object);
        uint64_t first = ranges[i].offset, end = first + ranges[i].size;
        first = first < o->head.size ? o->head.size : first;
        end = end < o->base.size ? end : o->base.size;
        if (first < end)
            spans[used++] = (lx_ahead_span){.object = o,
                                            .url = o->url,
                                            .shown = o->shown,
                                            .version = &o->version,
                                            .offset = first,
                                            .size = end - first};
    }
    if (used > 0)
        lx_streams_expect(&p->streams, spans, used);
    lx_free(memory, spans, count, sizeof(*spans));
}

/* ---- writing ------------------------------------------------------------------------- */

static lynx_status hash_of(const lynx_bytes *parts, size_t count, char hex[65])
{
    uint8_t digest[LX_NAME_BYTES];
    lx_hash *hash = NULL;
    LX_TRY(lx_hash_create(&hash));
    lynx_status status = LYNX_OK;
    for (size_t i = 0; i < count && status == LYNX_OK; i++)
        status = lx_hash_add(hash, parts[i].data, parts[i].size);
    if (status == LYNX_OK)
        status = lx_hash_get(hash, digest);
    lx_hash_destroy(hash);
    for (size_t i = 0; i < sizeof(digest) && status == LYNX_OK; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return status;
}

static lynx_status net_write(lynx_place *place, const char *name, const lynx_bytes *parts,
                             size_t count, char *text, size_t text_size)
{
    lx_net_place *p = of(place);
    const lx_text said = {text, text_size};
    char url[LX_OBJECT_URL_ROOM], shown[LX_ADDRESS_ROOM], hex[65] = "";
    lx_reply reply = {0};
    LX_REQUIRE(p->is_single || lynx_place_name_is_legal(name), LYNX_ERR_ARGUMENT);
    if (p->network.settings.signer[0])
        LX_TRY(hash_of(parts, count, hex));
    url_of(p, name, url, shown);
    const lx_request request = {.method = "PUT",
                                .url = url,
                                .parts = parts,
                                .part_count = count,
                                .payload_hash = hex[0] ? hex : NULL,
                                .said = said};
    LX_TRY(lx_network_do(&p->network, &request, shown, NULL, &reply));
    return reply.status >= 200 && reply.status < 300
               ? LYNX_OK
               : lx_network_refuse(&p->network, &reply, shown, "written", said);
}

static lynx_status net_remove(lynx_place *place, const char *name, char *text, size_t text_size)
{
    lx_net_place *p = of(place);
    const lx_text said = {text, text_size};
    char url[LX_OBJECT_URL_ROOM], shown[LX_ADDRESS_ROOM];
    lx_reply reply = {0};
    LX_REQUIRE(p->is_single || lynx_place_name_is_legal(name), LYNX_ERR_ARGUMENT);
    url_of(p, name, url, shown);
    const lx_request request = {.method = "DELETE", .url = url, .said = said};
    LX_TRY(lx_network_do(&p->network, &request, shown, NULL, &reply));
    const bool is_gone = (reply.status >= 200 && reply.status < 300) || reply.status == 404 ||
                         reply.status == 410;
    return is_gone ? LYNX_OK : lx_network_refuse(&p->network, &reply, shown, "removed", said);
}

/* ---- the place ----------------------------------------------------------------------- */

static const char *net_description(const lynx_place *place)
{
    return ((const lx_net_place *)(const void *)place)->shown;
}

static void net_cancel(lynx_place *place, lynx_object *o)
{
    lx_net_place *p = of(place);
    atomic_store(o ? &object_of(o)->is_cancelled : &p->network.is_cancelled, true);
    lx_streams_wake(&p->streams);
    lx_network_wake(&p->network);
}

static const lynx_place_ops operations = {
    .destroy = lx_net_place_destroy,
    .description = net_description,
    .open = net_open,
    .close = net_close,
    .read = net_read,
    .expect = net_expect,
    .write = net_write,
    .remove = net_remove,
    .cancel = net_cancel,
};

void lynx_net_options_init(lynx_net_options *options)
{
    *options = (lynx_net_options){.struct_size = sizeof(*options),
                                  .connect_timeout_ms = 10000,
                                  .silence_timeout_ms = 30000,
                                  .retries = 4,
                                  .ahead_bytes = AHEAD_DEFAULT};
}

static bool copy_path(char target[LX_PATH_MAX], const char *path)
{
    return !path || (size_t)snprintf(target, LX_PATH_MAX, "%s", path) < LX_PATH_MAX;
}

static bool take_options(lx_settings *s, const lynx_net_options *o)
{
    s->connect_timeout_ms = o->connect_timeout_ms;
    s->silence_timeout_ms = o->silence_timeout_ms;
    s->retries = o->retries;
    s->ahead_bytes = o->ahead_bytes;
    return o->struct_size == sizeof(*o) && o->connect_timeout_ms > 0 &&
           o->connect_timeout_ms <= INT32_MAX && o->silence_timeout_ms > 0 &&
           o->retries <= RETRIES_MOST && o->ahead_bytes >= AHEAD_LEAST &&
           copy_path(s->ca_file, o->ca_file) &&
           copy_path(s->netrc_file, o->netrc_file ? o->netrc_file : getenv("NETRC"));
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool is_ready;

static void set_up(void)
{
    is_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

lynx_status lx_net_place_create(lx_net_place **place, const lynx_net_options *options,
                                lx_text said)
{
    lynx_net_options defaults;
    lynx_net_options_init(&defaults);
    options = options ? options : &defaults;
    if (pthread_once(&once, set_up) != 0 || !is_ready)
        return lx_tell(said, LYNX_ERR_SYSTEM, "libcurl cannot be used");
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    lx_net_place *p = lx_alloc_zeroed(memory, 1, sizeof(*p));
    LX_REQUIRE(p, LYNX_ERR_MEMORY);
    p->ops = operations;
    p->base.ops = &p->ops;
    lynx_status status = LYNX_OK;
    if (!take_options(&p->network.settings, options))
        status = lx_tell(said, LYNX_ERR_ARGUMENT, "an option of the network is out of range");
    if (status == LYNX_OK)
        status = lx_network_init(&p->network, memory);
    if (status != LYNX_OK) {
        lx_free(memory, p, 1, sizeof(*p));
        return status;
    }
    status = lx_streams_init(&p->streams, &p->network);
    if (status != LYNX_OK) {
        lx_network_fini(&p->network);
        lx_free(memory, p, 1, sizeof(*p));
        return status;
    }
    *place = p;
    return LYNX_OK;
}

void lx_net_place_destroy(lynx_place *place)
{
    lx_net_place *p = of(place);
    lx_streams_fini(&p->streams);
    lx_network_fini(&p->network);
    lx_free(p->network.memory, p, 1, sizeof(*p));
}
