/* SPDX-License-Identifier: MIT */
/* store_verify.c - everything of a store, read and compared. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "store/cache_file.h"
#include "store/store_documents.h"
#include "store/store_impl.h"
#include "store/object_list.h"

typedef struct check {
    lynx_store *store;
    lynx_store_fault *fault;
    void *user;
    lx_text text;
    bool goes_on;
    bool is_broken; /* the object that is looked at is */
} check;

static bool tell(void *user, const char *object, const char *what)
{
    check *c = user;
    c->is_broken = true;
    c->goes_on = c->fault(c->user, object, what);
    return c->goes_on;
}

/* What cannot be read for want of a key or of a newer Lynx is told, but it is not broken. */
static bool tell_why(check *c, const char *object, lynx_status status)
{
    (void)tell(c, object, lx_front_why(status));
    c->is_broken = status == LYNX_ERR_PROTOCOL || status == LYNX_ERR_CORRUPT;
    return c->goes_on;
}

/* ---- segments ------------------------------------------------------------------------ */

lynx_status lx_store_verify_part(const lx_part *part, lynx_place *place,
                                 const lynx_allocator *memory, lynx_store_fault *fault,
                                 void *user, bool *goes_on, lx_text text)
{
    char what[96];
    const uint64_t total = part->front.preamble.total_bytes;
    *goes_on = lx_segment_is_named(&part->front.header, part->name) ||
               fault(user, part->name, "its name is not that of its content");
    if (*goes_on && part->object->size > total) {
        snprintf(what, sizeof(what), "%" PRIu64 " bytes too many are behind the segment",
                 part->object->size - total);
        *goes_on = fault(user, part->name, what);
    }
    return *goes_on ? lx_part_verify(part, place, memory, fault, user, goes_on, text) : LYNX_OK;
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
        bool goes_on = true;
        status =
            lx_store_verify_part(&part, place, c->store->memory, tell, c, &goes_on, c->text);
        lx_part_fini(&part);
    } else if (status != LYNX_ERR_MEMORY && lx_front_why(status)) {
        (void)tell_why(c, name, status);
        status = LYNX_OK;
    }
    place->ops->close(place, object);
    return status;
}

/* ---- documents ----------------------------------------------------------------------- */

static bool check_document(void *user, const char *object, const lynx_document *document,
                           lynx_status status)
{
    check *c = user;
    char right[LX_OBJECT_NAME_MAX];
    c->is_broken = false;
    if (!document)
        return tell_why(c, object, status);
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
    lx_object_list listing;
    LX_TRY(lx_object_list_read(&listing, c->store, LX_SEGMENTS, c->text));
    lynx_status status = LYNX_OK;
    for (size_t i = 0; i < listing.count && c->goes_on && status == LYNX_OK; i++) {
        c->is_broken = false;
        status = check_segment(c, listing.names[i]);
        if (status == LYNX_OK && c->is_broken && must_repair)
            status = repair(c, listing.names[i]);
    }
    lx_object_list_fini(&listing);
    return status;
}

typedef struct repair_call {
    check *check;
    lynx_status status;
} repair_call;

static bool repair_document(void *user, const char *object, const lynx_document *document,
                            lynx_status status)
{
    repair_call *call = user;
    const bool goes_on = check_document(call->check, object, document, status);
    if (call->check->is_broken)
        call->status = repair(call->check, object);
    return goes_on && call->status == LYNX_OK;
}

lynx_status lynx_store_verify(lynx_store *store, bool must_repair, lynx_store_fault *fault,
                              void *user, char *text, size_t text_size)
{
    check c = {.store = store,
               .fault = fault,
               .user = user,
               .text = {text, text_size},
               .goes_on = true};
    repair_call call = {&c, LYNX_OK};
    lynx_status status = check_segments(&c, must_repair);
    if (status == LYNX_OK && c.goes_on)
        status = must_repair ? lx_store_documents(store, repair_document, &call, c.text)
                             : lx_store_documents(store, check_document, &c, c.text);
    return lx_tell_plainly(c.text, status == LYNX_OK ? call.status : status);
}
