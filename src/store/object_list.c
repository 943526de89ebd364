/* SPDX-License-Identifier: MIT */
#include "store/object_list.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

static bool make_room(lx_object_list *l)
{
    if (l->count < l->room)
        return true;
    const size_t room = l->room ? 2 * l->room : 16;
    char(*names)[LX_OBJECT_NAME_MAX] = lx_alloc(l->memory, room, sizeof(*names));
    l->has_failed = !names;
    if (!names)
        return false;
    if (l->count > 0)
        memcpy(names, l->names, l->count * sizeof(*names));
    lx_free(l->memory, l->names, l->room, sizeof(*names));
    l->names = names;
    l->room = room;
    return true;
}

static bool keep_entry(void *user, const lynx_place_entry *entry)
{
    lx_object_list *l = user;
    if (!make_room(l))
        return false;
    snprintf(l->names[l->count++], LX_OBJECT_NAME_MAX, "%s", entry->name);
    l->bytes += entry->size;
    return true;
}

lynx_status lx_object_list_read(lx_object_list *listing, lynx_store *store, const char *prefix,
                                lx_text text)
{
    lynx_place *place = store->place;
    *listing = (lx_object_list){.memory = store->memory};
    if (!place->ops->list)
        return lx_tell(text, LYNX_ERR_UNSUPPORTED, "'%s' cannot list what it holds",
                       place->ops->description(place));
    lynx_status status =
        place->ops->list(place, prefix, keep_entry, listing, text.data, text.size);
    if (status == LYNX_OK && listing->has_failed)
        status = LYNX_ERR_MEMORY;
    if (status != LYNX_OK)
        lx_object_list_fini(listing);
    return lx_tell_plainly(text, status);
}

void lx_object_list_fini(lx_object_list *listing)
{
    lx_free(listing->memory, listing->names, listing->room, sizeof(*listing->names));
    *listing = (lx_object_list){.memory = listing->memory};
}
