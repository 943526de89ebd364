/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "store/store_documents.h"
#include "store/store_impl.h"

/* ---- lists of segments --------------------------------------------------------------- */

/* A segment that is here. */
typedef struct stored {
    lx_segment_name name;
    uint64_t bytes;
    int64_t used_ns;
    bool is_needed;
} stored;

typedef struct stored_list {
    const lynx_allocator *memory;
    stored *items;
    size_t count, room;
    uint64_t bytes; /* of all objects of the store */
    bool has_failed;
} stored_list;

static bool list_make_room(stored_list *list)
{
    if (list->count < list->room)
        return true;
    const size_t room = list->room ? 2 * list->room : 64;
    stored *items = lx_alloc(list->memory, room, sizeof(*items));
    list->has_failed = !items;
    if (!items)
        return false;
    if (list->count > 0)
        memcpy(items, list->items, list->count * sizeof(*items));
    lx_free(list->memory, list->items, list->room, sizeof(*items));
    list->items = items;
    list->room = room;
    return true;
}

static bool list_segment(void *user, const lynx_place_entry *entry)
{
    stored_list *list = user;
    stored item = {.bytes = entry->size, .used_ns = entry->used_ns};
    list->bytes += entry->size;
    if (!lx_segment_name_take(entry->name, &item.name))
        return true;
    if (!list_make_room(list))
        return false;
    list->items[list->count++] = item;
    return true;
}

static lynx_status list_all(lynx_store *s, stored_list *list, lx_text text)
{
    lynx_place *place = s->place;
    *list = (stored_list){.memory = s->memory};
    if (!place->ops->list)
        return lx_tell(text, LYNX_ERR_UNSUPPORTED, "'%s' cannot list what it holds",
                       place->ops->description(place));
    LX_TRY(place->ops->list(place, "", list_segment, list, text.data, text.size));
    return list->has_failed ? LYNX_ERR_MEMORY : LYNX_OK;
}

static void list_fini(stored_list *list)
{
    lx_free(list->memory, list->items, list->room, sizeof(*list->items));
}

static lynx_status remove_stored(lynx_store *s, const stored *item, lynx_store_removed *removed,
                                 lx_text text)
{
    char object[LX_OBJECT_NAME_MAX];
    lx_segment_name_put(&item->name, object);
    if (!s->place->ops->remove)
        return lx_tell(text, LYNX_ERR_DENIED, "nothing can be removed from '%s'",
                       s->place->ops->description(s->place));
    LX_TRY(s->place->ops->remove(s->place, object, text.data, text.size));
    removed->objects++;
    removed->bytes += item->bytes;
    return LYNX_OK;
}

static lynx_status lock(lynx_store *s, lx_text text)
{
    return s->place->ops->lock ? s->place->ops->lock(s->place, text.data, text.size) : LYNX_OK;
}

static void unlock(lynx_store *s)
{
    if (s->place->ops->unlock)
        s->place->ops->unlock(s->place);
}

/* ---- eviction ------------------------------------------------------------------------ */

/* The one to go first in front: used longest ago, of equals further from the beginning. */
static int compare_use(const void *a, const void *b)
{
    const stored *x = a, *y = b;
    if (x->used_ns != y->used_ns)
        return x->used_ns < y->used_ns ? -1 : 1;
    if (x->name.first_token != y->name.first_token)
        return x->name.first_token > y->name.first_token ? -1 : 1;
    return memcmp(x->name.name, y->name.name, LX_NAME_BYTES);
}

static lynx_status evict_from(lynx_store *s, stored_list *list, uint64_t limit_bytes,
                              lynx_store_removed *removed, lx_text text)
{
    if (list->bytes <= limit_bytes || list->count == 0)
        return LYNX_OK;
    qsort(list->items, list->count, sizeof(*list->items), compare_use);
    for (size_t i = 0; i < list->count && list->bytes > limit_bytes; i++) {
        LX_TRY(remove_stored(s, &list->items[i], removed, text));
        list->bytes -= list->items[i].bytes;
    }
    return LYNX_OK;
}

lynx_status lx_store_evict(lynx_store *s, uint64_t limit_bytes, lynx_store_removed *removed,
                           lx_text text)
{
    stored_list list;
    LX_TRY(lock(s, text));
    lynx_status status = list_all(s, &list, text);
    if (status == LYNX_OK)
        status = evict_from(s, &list, limit_bytes, removed, text);
    atomic_store(&s->bytes, list.bytes);
    atomic_fetch_add(&s->evicted_segments, removed->objects);
    atomic_fetch_add(&s->evicted_bytes, removed->bytes);
    list_fini(&list);
    unlock(s);
    return status;
}

/* ---- what documents need ------------------------------------------------------------- */

static int compare_name(const void *a, const void *b)
{
    const stored *x = a, *y = b;
    const int names = memcmp(x->name.name, y->name.name, LX_NAME_BYTES);
    if (names != 0)
        return names;
    if (x->name.first_token != y->name.first_token)
        return x->name.first_token < y->name.first_token ? -1 : 1;
    return 0;
}

/* The first in a sorted list whose name is not before 'name'. */
static size_t lower_bound(const stored_list *list, const uint8_t *name)
{
    size_t low = 0, high = list->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (memcmp(list->items[middle].name.name, name, LX_NAME_BYTES) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* All segments that end there, wherever they begin. */
static bool mark_needed(void *user, const lx_segment_name *name)
{
    stored_list *list = user;
    for (size_t i = lower_bound(list, name->name);
         i < list->count && memcmp(list->items[i].name.name, name->name, LX_NAME_BYTES) == 0;
         i++)
        list->items[i].is_needed = true;
    return true;
}

typedef struct mark_call {
    lynx_store *store;
    stored_list *list;
    const char *except; /* a document that does not count; NULL: every one must be known */
    lx_text text;
    lynx_status status;
} mark_call;

/* Without the key, or of a newer Lynx. */
static bool may_need_segments(lynx_status status)
{
    return status == LYNX_ERR_DENIED || status == LYNX_ERR_VERSION ||
           status == LYNX_ERR_UNSUPPORTED;
}

static bool mark_document(void *user, const char *object, const lynx_document *document,
                          lynx_status status)
{
    mark_call *call = user;
    if (!document && !call->except && may_need_segments(status))
        call->status =
            lx_tell(call->text, status, "it is not known which segments '%s' needs: %s", object,
                    lx_front_why(status));
    if (document && (!call->except || strcmp(document->name, call->except) != 0))
        call->status = lx_column_names(&document->model, call->store->key, document->tokens,
                                       document->token_count, mark_needed, call->list);
    return call->status == LYNX_OK;
}

/* Mark in 'list' what documents need, but for 'except'. The list is sorted by name then. */
static lynx_status mark_all(lynx_store *s, stored_list *list, const char *except, lx_text text)
{
    mark_call call = {s, list, except, text, LYNX_OK};
    if (list->count > 0)
        qsort(list->items, list->count, sizeof(*list->items), compare_name);
    LX_TRY(lx_store_documents(s, mark_document, &call, text));
    return call.status;
}

/* ---- removal of a document ----------------------------------------------------------- */

static lynx_status remove_document_object(lynx_store *s, const char *name, lx_text text)
{
    char object[LX_OBJECT_NAME_MAX];
    LX_TRY(lx_document_name_put(name, s->key, object));
    if (!s->place->ops->remove)
        return lx_tell(text, LYNX_ERR_DENIED, "nothing can be removed from '%s'",
                       s->place->ops->description(s->place));
    return s->place->ops->remove(s->place, object, text.data, text.size);
}

/* Of the segments that only this document needs: those in 'own' that are not in 'list'. */
static lynx_status remove_own(lynx_store *s, const lynx_document *document, stored_list *list,
                              lynx_store_removed *removed, lx_text text)
{
    lynx_status status = mark_all(s, list, document->name, text);
    /* What others need stays; of the rest what this one needs is marked now. */
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++)
        if (!list->items[i].is_needed)
            list->items[kept++] = list->items[i];
    list->count = kept;
    if (status == LYNX_OK)
        status = lx_column_names(&document->model, s->key, document->tokens,
                                 document->token_count, mark_needed, list);
    for (size_t i = 0; i < list->count && status == LYNX_OK; i++)
        if (list->items[i].is_needed)
            status = remove_stored(s, &list->items[i], removed, text);
    return status;
}

static lynx_status remove_locked(lynx_store *s, const char *name, lynx_store_removed *removed,
                                 lx_text text)
{
    lynx_document *document = NULL;
    stored_list list = {.memory = s->memory};
    const lynx_status read = lynx_store_get_document(s, name, &document, text.data, text.size);
    const bool is_broken = read == LYNX_ERR_PROTOCOL || read == LYNX_ERR_CORRUPT;
    if (read != LYNX_OK && !is_broken)
        return read;
    if (read == LYNX_OK && !document)
        return LYNX_OK;
    lynx_status status = document && s->place->ops->list ? list_all(s, &list, text) : LYNX_OK;
    if (status == LYNX_OK && document)
        status = remove_own(s, document, &list, removed, text);
    if (status == LYNX_OK)
        status = remove_document_object(s, name, text);
    if (status == LYNX_OK)
        removed->objects++;
    list_fini(&list);
    lynx_document_destroy(document);
    return status;
}

lynx_status lynx_store_remove(lynx_store *store, const char *name, lynx_store_removed *removed,
                              char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    *removed = (lynx_store_removed){0};
    if (!lynx_document_name_is_legal(name))
        return lx_tell(said, LYNX_ERR_ARGUMENT, "'%s' is no name of a document", name);
    LX_TRY(lock(store, said));
    const lynx_status status = remove_locked(store, name, removed, said);
    unlock(store);
    return lx_tell_plainly(said, status);
}

/* ---- collecting ---------------------------------------------------------------------- */

static lynx_status remove_unneeded(lynx_store *s, stored_list *list,
                                   lynx_store_removed *removed, lx_text text)
{
    size_t kept = 0;
    LX_TRY(mark_all(s, list, NULL, text));
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].is_needed) {
            list->items[kept++] = list->items[i];
            continue;
        }
        LX_TRY(remove_stored(s, &list->items[i], removed, text));
        list->bytes -= list->items[i].bytes;
    }
    list->count = kept;
    return LYNX_OK;
}

static lynx_status collect_locked(lynx_store *s, uint64_t limit_bytes, bool only_documents,
                                  lynx_store_removed *removed, lx_text text)
{
    stored_list list;
    if (s->place->ops->sweep)
        LX_TRY(s->place->ops->sweep(s->place, text.data, text.size));
    lynx_status status = list_all(s, &list, text);
    if (status == LYNX_OK && only_documents)
        status = remove_unneeded(s, &list, removed, text);
    if (status == LYNX_OK && limit_bytes > 0)
        status = evict_from(s, &list, limit_bytes, removed, text);
    list_fini(&list);
    return status;
}

lynx_status lynx_store_collect(lynx_store *store, uint64_t limit_bytes, bool only_documents,
                               lynx_store_removed *removed, char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    *removed = (lynx_store_removed){0};
    LX_TRY(lock(store, said));
    const lynx_status status =
        collect_locked(store, limit_bytes ? limit_bytes : store->limit_bytes, only_documents,
                       removed, said);
    unlock(store);
    return lx_tell_plainly(said, status);
}
