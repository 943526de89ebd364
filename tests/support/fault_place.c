/* SPDX-License-Identifier: MIT */
#include "support/fault_place.h"

#include <stdio.h>

enum { HEAD_BYTES = 65536, PARTS_MAX = 64 };

static fault_place *of(lynx_place *place)
{
    return (fault_place *)(void *)place;
}

static lynx_status fault_open(lynx_place *place, const char *name, lynx_object **object,
                              char *text, size_t text_size)
{
    of(place)->opens++;
    lynx_place *inner = of(place)->inner;
    return inner->ops->open(inner, name, object, text, text_size);
}

static void fault_close(lynx_place *place, lynx_object *object)
{
    lynx_place *inner = of(place)->inner;
    inner->ops->close(inner, object);
}

static lynx_status fault_read(lynx_place *place, lynx_object *object, uint64_t offset,
                              void *data, size_t size, char *text, size_t text_size)
{
    fault_place *p = of(place);
    p->reads++;
    const lynx_status status =
        p->inner->ops->read(p->inner, object, offset, data, size, text, text_size);
    if (status == LYNX_OK && size > HEAD_BYTES && p->flips > 0) {
        ((uint8_t *)data)[size - 1] ^= 1;
        p->flips--;
    }
    return status;
}

static lynx_status fault_write(lynx_place *place, const char *name, const lynx_bytes *parts,
                               size_t count, char *text, size_t text_size)
{
    fault_place *p = of(place);
    lynx_bytes some[PARTS_MAX];
    if (++p->writes == p->fail_write || count > PARTS_MAX) {
        snprintf(text, text_size, "no room for '%s'", name);
        return LYNX_ERR_LIMIT;
    }
    for (size_t i = 0; i < count && i < PARTS_MAX; i++)
        some[i] = parts[i];
    if (p->is_torn)
        some[count - 1].size--;
    return p->inner->ops->write(p->inner, name, some, count, text, text_size);
}

static lynx_status fault_list(lynx_place *place, const char *prefix, lynx_place_visit *visit,
                              void *user, char *text, size_t text_size)
{
    lynx_place *inner = of(place)->inner;
    return inner->ops->list(inner, prefix, visit, user, text, text_size);
}

static lynx_status fault_remove(lynx_place *place, const char *name, char *text,
                                size_t text_size)
{
    lynx_place *inner = of(place)->inner;
    return inner->ops->remove(inner, name, text, text_size);
}

static const char *fault_description(const lynx_place *place)
{
    const lynx_place *inner = ((const fault_place *)(const void *)place)->inner;
    return inner->ops->description(inner);
}

static void fault_destroy(lynx_place *place)
{
    lynx_place_destroy(of(place)->inner);
}

void fault_place_init(fault_place *place, lynx_place *inner)
{
    *place = (fault_place){.inner = inner,
                           .ops = {.destroy = fault_destroy,
                                   .description = fault_description,
                                   .open = fault_open,
                                   .close = fault_close,
                                   .read = fault_read,
                                   .write = fault_write,
                                   .list = fault_list,
                                   .remove = fault_remove}};
    place->base.ops = &place->ops;
}
