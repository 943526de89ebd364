/* SPDX-License-Identifier: MIT */
/* store_verify.c - everything of a store, read and compared. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "store/cache_file.h"
#include "store/store_documents.h"
#include "store/store_impl.h"

typedef struct check {
    lynx_store *store;
    lynx_store_fault *fault;
    void *user;
    lx_text text;
    bool goes_on;
    bool has_fault; /* the object that is looked at has one */
    char (*names)[LX_OBJECT_NAME_MAX];
    size_t count, room;
    bool has_failed;
} check;

static bool tell(void *user, const char *object, const char *what)
{
    check *c = user;
    c->has_fault = true;
    c->goes_on = c->fault(c->user, object, what);
    return c->goes_on;
}

static bool keep_entry(void *user, const lynx_place_entry *entry)
{
    check *c = user;
    if (c->count == c->room) {
        const size_t room = c->room ? 2 * c->room : 64;
        char(*names)[LX_OBJECT_NAME_MAX] = lx_alloc(c->store->memory, room, sizeof(*names));
        c->has_failed = !names;
        if (!names)
            return false;
        if (c->count > 0)
            memcpy(names, c->names, c->count * sizeof(*names));
        lx_free(c->store->memory, c->names, c->room, sizeof(*names));
        c->names = names;
        c->room = room;
    }
    snprintf(c->names[c->count++], LX_OBJECT_NAME_MAX, "%s", entry->name);
    return true;
}

/* ---- segments ------------------------------------------------------------------------ */

static void check_name(check *c, const lx_part *part)
{
    const lx_header *h = &part->front.header;
    lx_segment_name name;
    if (lx_segment_name_take(part->name, &name) && name.first_token == h->first_token &&
        name.end_token == h->end_token && memcmp(name.parent, h->parent, LX_NAME_BYTES) == 0 &&
        memcmp(name.name, h->name, LX_NAME_BYTES) == 0)
        return;
    (void)tell(c, part->name, "its name is not that of its content");
}

static lynx_status check_part(check *c, const lx_part *part)
{
    char what[96];
    const uint64_t total = part->front.preamble.total_bytes;
    check_name(c, part);
    if (c->goes_on && part->object->size > total) {
        snprintf(what, sizeof(what), "%" PRIu64 " bytes too many are behind the segment",
                 part->object->size - total);
        (void)tell(c, part->name, what);
    }
    return c->goes_on ? lx_part_verify(part, c->store->place, c->store->memory, tell, c,
                                       &c->goes_on, c->text)
                      : LYNX_OK;
}

static lynx_status check_segment(check *c, const char *name)
{
    lynx_place *place = c->store->place;
    lynx_object *object = NULL;
    lx_part part;
    LX_TRY(place->ops->open(place, name, &object, c->text.data, c->text.size));
    if (!object)
        return LYNX_OK; /* gone meanwhile */
    lynx_status status =
        lx_part_read(&part, place, object, name, 0, c->store->key, c->store->memory, c->text);
    if (status == LYNX_OK) {
        status = check_part(c, &part);
        lx_part_fini(&part);
    } else if (status != LYNX_ERR_MEMORY && lx_front_why(status)) {
        (void)tell(c, name, lx_front_why(status));
        status = LYNX_OK;
    }
    place->ops->close(place, object);
    return status;
}

/* ---- documents ----------------------------------------------------------------------- */

static bool check_document(void *user, const char *object, const lynx_document *document,
                           const char *why)
{
    check *c = user;
    char right[LX_OBJECT_NAME_MAX];
    c->has_fault = false;
    if (!document)
        return tell(c, object, why);
    if (lx_document_name_put(document->name, c->store->key, right) == LYNX_OK &&
        strcmp(right, object) != 0)
        return tell(c, object, "its name is not that of its content");
    return true;
}

/* ---- the whole ----------------------------------------------------------------------- */

static lynx_status repair(const check *c, const char *name)
{
    lynx_place *place = c->store->place;
    if (!place->ops->remove)
        return lx_tell(c->text, LYNX_ERR_DENIED, "nothing can be removed from '%s'",
                       place->ops->description(place));
    return place->ops->remove(place, name, c->text.data, c->text.size);
}

static lynx_status check_segments(check *c, bool must_repair)
{
    for (size_t i = 0; i < c->count && c->goes_on; i++) {
        c->has_fault = false;
        LX_TRY(check_segment(c, c->names[i]));
        if (c->has_fault && must_repair)
            LX_TRY(repair(c, c->names[i]));
    }
    return LYNX_OK;
}

typedef struct repair_call {
    check *check;
    lynx_status status;
} repair_call;

static bool repair_document(void *user, const char *object, const lynx_document *document,
                            const char *why)
{
    repair_call *call = user;
    const bool goes_on = check_document(call->check, object, document, why);
    if (call->check->has_fault)
        call->status = repair(call->check, object);
    return goes_on && call->status == LYNX_OK;
}

lynx_status lynx_store_verify(lynx_store *store, bool must_repair, lynx_store_fault *fault,
                              void *user, char *text, size_t text_size)
{
    lynx_place *place = store->place;
    check c = {.store = store,
               .fault = fault,
               .user = user,
               .text = {text, text_size},
               .goes_on = true};
    repair_call call = {&c, LYNX_OK};
    if (!place->ops->list)
        return lx_tell(c.text, LYNX_ERR_UNSUPPORTED, "'%s' cannot list what it holds",
                       place->ops->description(place));
    lynx_status status = place->ops->list(place, LX_SEGMENTS, keep_entry, &c, text, text_size);
    if (status == LYNX_OK && c.has_failed)
        status = LYNX_ERR_MEMORY;
    if (status == LYNX_OK)
        status = check_segments(&c, must_repair);
    if (status == LYNX_OK && c.goes_on)
        status = must_repair ? lx_store_documents(store, repair_document, &call, c.text)
                             : lx_store_documents(store, check_document, &c, c.text);
    lx_free(store->memory, c.names, c.room, sizeof(*c.names));
    return lx_tell_plainly(c.text, status == LYNX_OK ? call.status : status);
}
