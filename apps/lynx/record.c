/* SPDX-License-Identifier: MIT */
#include "record.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct recorder {
    lynx_link base;
    lynx_link *inner;
    FILE *file;
    bool *has_failed; /* the owner's */
} recorder;

static recorder *recorder_of(lynx_link *link)
{
    return (recorder *)(void *)link;
}

static const recorder *of_const(const lynx_link *link)
{
    return (const recorder *)(const void *)link;
}

static lynx_status send_parts(lynx_link *link, lynx_time_ns now, const lynx_bytes *parts,
                              uint32_t part_count, size_t *size)
{
    lynx_link *inner = recorder_of(link)->inner;
    return inner->ops->send(inner, now, parts, part_count, size);
}

static lynx_status receive(lynx_link *link, lynx_time_ns now, uint8_t *data, size_t capacity,
                           size_t *size)
{
    recorder *r = recorder_of(link);
    const lynx_status status = r->inner->ops->receive(r->inner, now, data, capacity, size);
    if (status == LYNX_OK && fwrite(data, 1, *size, r->file) != *size) {
        *r->has_failed = true;
        return LYNX_ERR_SYSTEM;
    }
    return status;
}

static lynx_status flush(lynx_link *link, lynx_time_ns now, lynx_time_ns *next)
{
    lynx_link *inner = recorder_of(link)->inner;
    return inner->ops->flush(inner, now, next);
}

static bool is_draining(const lynx_link *link)
{
    const lynx_link *inner = of_const(link)->inner;
    return inner->ops->is_draining(inner);
}

static int descriptor(const lynx_link *link)
{
    const lynx_link *inner = of_const(link)->inner;
    return inner->ops->descriptor(inner);
}

static bool wants_writable(const lynx_link *link)
{
    const lynx_link *inner = of_const(link)->inner;
    return inner->ops->wants_writable(inner);
}

static const char *error_text(const lynx_link *link)
{
    const lynx_link *inner = of_const(link)->inner;
    return inner->ops->error_text(inner);
}

static const char *peer_name(const lynx_link *link)
{
    const lynx_link *inner = of_const(link)->inner;
    return inner->ops->peer_name(inner);
}

static void destroy(lynx_link *link)
{
    recorder *r = recorder_of(link);
    lynx_link_destroy(r->inner);
    if (fclose(r->file) != 0)
        *r->has_failed = true;
    free(r);
}

static const lynx_link_ops recorder_ops = {
    .send = send_parts,
    .receive = receive,
    .flush = flush,
    .is_draining = is_draining,
    .descriptor = descriptor,
    .wants_writable = wants_writable,
    .error_text = error_text,
    .peer_name = peer_name,
    .destroy = destroy,
};

lynx_status record_link(lynx_link **link, const char *path, bool *has_failed)
{
    recorder *r = malloc(sizeof(*r));
    if (!r)
        return LYNX_ERR_MEMORY;
    *r = (recorder){.base.ops = &recorder_ops,
                    .inner = *link,
                    .file = fopen(path, "wb"),
                    .has_failed = has_failed};
    if (!r->file) {
        free(r);
        return LYNX_ERR_SYSTEM;
    }
    *link = &r->base;
    return LYNX_OK;
}
