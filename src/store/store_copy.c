/* SPDX-License-Identifier: MIT */
/*
 * store_copy.c - documents and their segments from one store to another, byte for byte.
 *
 *     open in the source --> in the target already? --> read whole --> compare every digest
 *                                   |                                        |
 *                              note its use                     write, look at it there
 *
 * Segments go first, from the beginning of the prompt on, and the document last.
 */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "store/store_documents.h"
#include "store/object_list.h"

enum {
    PIECE_BYTES = 1 << 20,
    TRIES = 2, /* bytes that do not match their digest may have been changed on the way */
    WHAT_ROOM = 192
};

typedef struct copy {
    lynx_store *source, *target;
    lynx_copy_progress *progress;
    void *user;
    uint64_t done_bytes, total_bytes;
    lynx_store_copied *copied;
    lx_text text;
} copy;

/* An object of the source. */
typedef struct item {
    const char *name;
    lx_object_kind kind;
    lynx_object *object;
    uint8_t *data;
    size_t size;
} item;

static lynx_status tell_progress(copy *c)
{
    const bool goes_on = !c->progress || c->progress(c->user, c->done_bytes, c->total_bytes);
    return goes_on ? LYNX_OK : LYNX_ERR_CANCELLED;
}

/* ---- bytes in memory ----------------------------------------------------------------- */

typedef struct memory_object {
    lynx_object base;
    const uint8_t *data;
} memory_object;

static lynx_status memory_read(lynx_place *place, lynx_object *object, uint64_t offset,
                               void *data, size_t size, char *text, size_t text_size)
{
    (void)place;
    (void)text;
    (void)text_size;
    memcpy(data, ((const memory_object *)(const void *)object)->data + offset, size);
    return LYNX_OK;
}

static const lynx_place_ops memory_operations = {.read = memory_read};

/* ---- comparing ----------------------------------------------------------------------- */

typedef struct first_fault {
    char what[WHAT_ROOM];
} first_fault;

static bool note_fault(void *user, const char *object, const char *what)
{
    (void)object;
    first_fault *f = user;
    strncpy(f->what, what, sizeof(f->what) - 1);
    return false;
}

/* The header of 'object', its name and its size. Without a key the header of a sealed object is
 * compared with its digest alone. */
static lynx_status check_front(const copy *c, lynx_place *place, lynx_object *object,
                               const item *i)
{
    lx_front front;
    lynx_status status = lx_front_read(&front, place, object, 0, i->kind, c->source->key,
                                       c->source->memory, c->text);
    const bool is_unread = status == LYNX_ERR_DENIED && !c->source->key;
    const uint64_t total = front.preamble.total_bytes;
    if (status == LYNX_OK) {
        if (i->kind == LX_OBJECT_SEGMENT && !lx_segment_is_named(&front.header, i->name))
            status = LYNX_ERR_PROTOCOL;
        lx_front_fini(&front);
    }
    if (is_unread)
        status = LYNX_OK;
    return status == LYNX_OK && object->size != total ? LYNX_ERR_CORRUPT : status;
}

/* Names and planes of a segment whose header is right. */
static lynx_status check_planes(const copy *c, const item *i, first_fault *fault)
{
    lynx_place place = {&memory_operations};
    memory_object object = {{i->size}, i->data};
    lx_part part;
    bool goes_on = true;
    const lynx_status read = lx_part_read(&part, &place, &object.base, i->name, 0,
                                          c->source->key, c->source->memory, c->text);
    if (read == LYNX_ERR_DENIED && !c->source->key)
        return LYNX_OK;
    LX_TRY(read);
    const lynx_status status = lx_store_verify_part(&part, &place, c->source->memory,
                                                    note_fault, fault, &goes_on, c->text);
    lx_part_fini(&part);
    return status == LYNX_OK && fault->what[0] ? LYNX_ERR_CORRUPT : status;
}

static lynx_status check_bytes(const copy *c, const item *i)
{
    lynx_place place = {&memory_operations};
    memory_object object = {{i->size}, i->data};
    first_fault fault = {""};
    lynx_status status = check_front(c, &place, &object.base, i);
    if (status == LYNX_OK && i->kind == LX_OBJECT_SEGMENT)
        status = check_planes(c, i, &fault);
    const char *why = fault.what[0] ? fault.what : lx_front_why(status);
    if (status == LYNX_OK || status == LYNX_ERR_MEMORY || !why)
        return status;
    return lx_tell(c->text, status, "'%s' of '%s' is not copied: %s", i->name,
                   c->source->place->ops->description(c->source->place), why);
}

/* ---- the target ---------------------------------------------------------------------- */

static lynx_status has_same_bytes(const copy *c, lynx_object *object, const item *i,
                                  bool *is_same)
{
    lynx_place *place = c->target->place;
    if (object->size != i->size || !i->data)
        return LYNX_OK;
    uint8_t *data = lx_alloc(c->target->memory, i->size, 1);
    LX_REQUIRE(data, LYNX_ERR_MEMORY);
    const lynx_status status =
        place->ops->read(place, object, 0, data, i->size, c->text.data, c->text.size);
    *is_same = status == LYNX_OK && memcmp(data, i->data, i->size) == 0;
    lx_free(c->target->memory, data, i->size, 1);
    return status;
}

/* A segment is there when its header is right: what its name says never changes. A document is
 * when all its bytes are the same. */
static lynx_status look_at_target(const copy *c, const item *i, bool *is_there)
{
    lynx_place *place = c->target->place;
    lynx_object *object = NULL;
    *is_there = false;
    LX_TRY(place->ops->open(place, i->name, &object, c->text.data, c->text.size));
    if (!object)
        return LYNX_OK;
    lynx_status status = LYNX_OK;
    if (i->kind == LX_OBJECT_DOCUMENT) {
        status = has_same_bytes(c, object, i, is_there);
    } else {
        status = check_front(c, place, object, i);
        *is_there = status == LYNX_OK;
        status = lx_front_why(status) && status != LYNX_ERR_MEMORY ? LYNX_OK : status;
    }
    place->ops->close(place, object);
    return status;
}

static lynx_status write_item(copy *c, const item *i)
{
    lynx_place *place = c->target->place;
    const lynx_bytes all = {i->data, i->size};
    bool is_there = false;
    LX_TRY(place->ops->write(place, i->name, &all, 1, c->text.data, c->text.size));
    LX_TRY(look_at_target(c, i, &is_there));
    if (!is_there)
        return lx_tell(c->text, LYNX_ERR_CORRUPT,
                       "'%s' did not arrive whole in '%s', though it was written; try again",
                       i->name, place->ops->description(place));
    c->copied->objects_written++;
    c->copied->bytes_written += i->size;
    return LYNX_OK;
}

/* ---- one object ---------------------------------------------------------------------- */

static lynx_status read_item(copy *c, const item *i)
{
    lynx_place *place = c->source->place;
    const lynx_range all = {i->object, 0, i->size};
    if (place->ops->expect)
        place->ops->expect(place, &all, 1);
    for (size_t done = 0; done < i->size;) {
        const size_t left = i->size - done;
        const size_t size = left < PIECE_BYTES ? left : PIECE_BYTES;
        LX_TRY(place->ops->read(place, i->object, done, i->data + done, size, c->text.data,
                                c->text.size));
        done += size;
        c->done_bytes += size;
        LX_TRY(tell_progress(c));
    }
    return LYNX_OK;
}

/* Read until it matches its digests. */
static lynx_status fetch_item(copy *c, const item *i)
{
    const uint64_t before = c->done_bytes;
    lynx_status status = LYNX_ERR_CORRUPT;
    for (uint32_t n = 0; n < TRIES && status == LYNX_ERR_CORRUPT; n++) {
        c->done_bytes = before;
        status = read_item(c, i);
        if (status == LYNX_OK)
            status = check_bytes(c, i);
    }
    return status;
}

static void note_present(copy *c, const item *i)
{
    lynx_place *place = c->target->place;
    if (place->ops->use)
        place->ops->use(place, i->name);
    c->copied->objects_present++;
    c->copied->bytes_present += i->size;
}

/* Documents are small and read in any case, segments only when the target lacks them. */
static lynx_status copy_bytes(copy *c, const item *i)
{
    bool is_there = false;
    if (i->kind == LX_OBJECT_SEGMENT)
        LX_TRY(look_at_target(c, i, &is_there));
    if (is_there) {
        note_present(c, i);
        c->done_bytes += i->size;
        return tell_progress(c);
    }
    LX_TRY(fetch_item(c, i));
    if (i->kind == LX_OBJECT_DOCUMENT)
        LX_TRY(look_at_target(c, i, &is_there));
    if (!is_there)
        return write_item(c, i);
    note_present(c, i);
    return LYNX_OK;
}

/* An object of the source that is open. */
static lynx_status copy_object(copy *c, const char *name, lx_object_kind kind,
                               lynx_object *object)
{
    item i = {.name = name, .kind = kind, .object = object, .size = (size_t)object->size};
    /* Before memory is taken for it: its size is what its header says. */
    const lynx_status checked = check_front(c, c->source->place, object, &i);
    if (checked != LYNX_OK) {
        const char *why = lx_front_why(checked);
        return why && checked != LYNX_ERR_MEMORY
                   ? lx_tell(c->text, checked, "'%s' of '%s' is not copied: %s", name,
                             c->source->place->ops->description(c->source->place), why)
                   : checked;
    }
    if (c->total_bytes < c->done_bytes + i.size)
        c->total_bytes = c->done_bytes + i.size;
    i.data = lx_alloc(c->source->memory, i.size, 1);
    LX_REQUIRE(i.data, LYNX_ERR_MEMORY);
    const lynx_status status = copy_bytes(c, &i);
    lx_free(c->source->memory, i.data, i.size, 1);
    return status;
}

static lynx_status copy_named(copy *c, const char *name, lx_object_kind kind)
{
    lynx_place *place = c->source->place;
    lynx_object *object = NULL;
    LX_TRY(place->ops->open(place, name, &object, c->text.data, c->text.size));
    if (!object)
        return LYNX_OK; /* gone meanwhile */
    const lynx_status status = copy_object(c, name, kind, object);
    place->ops->close(place, object);
    return status;
}

/* ---- a document ---------------------------------------------------------------------- */

static lynx_status copy_chain(copy *c, const lx_chain *chain)
{
    c->total_bytes = chain->bytes;
    LX_TRY(tell_progress(c));
    for (size_t i = 0; i < chain->count; i++)
        LX_TRY(copy_object(c, chain->parts[i].name, LX_OBJECT_SEGMENT, chain->parts[i].object));
    return LYNX_OK;
}

static lynx_status copy_prefix(copy *c, const lynx_document *document)
{
    lx_chain chain;
    LX_TRY(lx_document_check_old(c->target, document, c->text));
    LX_TRY(lx_store_chain(c->source, &document->model, document->tokens, document->token_count,
                          &chain, c->text));
    c->copied->token_count = document->token_count;
    c->copied->tokens_here = chain.tokens;
    const lynx_status status = copy_chain(c, &chain);
    lx_chain_close(c->source, &chain);
    return status;
}

static lynx_status copy_document(copy *c, const char *name)
{
    char object[LX_OBJECT_NAME_MAX];
    lynx_document *document = NULL;
    LX_TRY(lynx_store_get_document(c->source, name, &document, c->text.data, c->text.size));
    if (!document)
        return LYNX_OK;
    lynx_status status = lx_document_name_put(name, c->source->key, object);
    if (status == LYNX_OK)
        status = copy_prefix(c, document);
    if (status == LYNX_OK)
        status = copy_named(c, object, LX_OBJECT_DOCUMENT);
    lynx_document_destroy(document);
    return status;
}

/* ---- everything ---------------------------------------------------------------------- */

static lynx_status check_document(copy *c, const char *name)
{
    lynx_document *document = NULL;
    const lynx_status status = lx_document_read(c->source, name, &document, c->text);
    if (status == LYNX_ERR_DENIED && !c->source->key)
        return LYNX_OK;
    LX_TRY(status);
    const lynx_status checked =
        document ? lx_document_check_old(c->target, document, c->text) : LYNX_OK;
    lynx_document_destroy(document);
    return checked;
}

static lynx_status copy_list(copy *c, const lx_object_list *listing, lx_object_kind kind)
{
    lynx_status status = LYNX_OK;
    for (size_t i = 0; i < listing->count && status == LYNX_OK; i++) {
        if (kind == LX_OBJECT_DOCUMENT)
            status = check_document(c, listing->names[i]);
        if (status == LYNX_OK)
            status = copy_named(c, listing->names[i], kind);
    }
    return status;
}

static lynx_status copy_everything(copy *c)
{
    lx_object_list segments, documents;
    LX_TRY(lx_object_list_read(&segments, c->source, LX_SEGMENTS, c->text));
    lynx_status status = lx_object_list_read(&documents, c->source, LX_DOCUMENTS, c->text);
    if (status == LYNX_OK) {
        c->total_bytes = segments.bytes + documents.bytes;
        status = tell_progress(c);
        if (status == LYNX_OK)
            status = copy_list(c, &segments, LX_OBJECT_SEGMENT);
        if (status == LYNX_OK)
            status = copy_list(c, &documents, LX_OBJECT_DOCUMENT);
        lx_object_list_fini(&documents);
    }
    lx_object_list_fini(&segments);
    return status;
}

/* ---- both ---------------------------------------------------------------------------- */

static bool have_same_key(const lynx_store *a, const lynx_store *b)
{
    return a->key && b->key ? memcmp(a->key, b->key, LX_KEY_BYTES) == 0 : a->key == b->key;
}

lynx_status lynx_store_copy(lynx_store *source, lynx_store *target, const char *name,
                            lynx_copy_progress *progress, void *user, lynx_store_copied *copied,
                            char *text, size_t text_size)
{
    copy c = {.source = source,
              .target = target,
              .progress = progress,
              .user = user,
              .copied = copied,
              .text = {text, text_size}};
    lynx_store_removed removed = {0};
    *copied = (lynx_store_copied){0};
    if (!have_same_key(source, target))
        return lx_tell(c.text, LYNX_ERR_ARGUMENT,
                       "both stores must have the same key: objects are copied as they are");
    if (!target->place->ops->write)
        return lx_tell(c.text, LYNX_ERR_UNSUPPORTED, "'%s' cannot be written",
                       target->place->ops->description(target->place));
    lynx_status status = name ? copy_document(&c, name) : copy_everything(&c);
    if (status == LYNX_OK && target->limit_bytes > 0)
        status = lx_store_evict(target, target->limit_bytes, &removed, c.text);
    return lx_tell_plainly(c.text, status);
}
