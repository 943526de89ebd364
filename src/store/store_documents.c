/* SPDX-License-Identifier: MIT */
#include "store/store_documents.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "store/prefix.h"
#include "store/object_list.h"

/* ---- one document -------------------------------------------------------------------- */

/* A document that was read, and what its pointers point to. */
typedef struct box {
    lynx_document document;
    lx_front front;
} box;

void lynx_document_destroy(lynx_document *document)
{
    box *b = (box *)(void *)document;
    if (!b)
        return;
    const lynx_allocator *memory = b->front.header.memory;
    lx_front_fini(&b->front);
    lx_free(memory, b, 1, sizeof(*b));
}

static void fill_document(box *b)
{
    const lx_header *h = &b->front.header;
    lynx_document *d = &b->document;
    memcpy(d->name, h->document, sizeof(d->name));
    memcpy(d->text_digest, h->text_digest, sizeof(d->text_digest));
    d->model = h->model;
    d->text_bytes = h->text_bytes;
    d->made_at = h->made_at;
    d->tokens = h->tokens;
    d->token_count = h->end_token;
}

lynx_status lx_document_read(lynx_store *s, const char *name, lynx_document **document,
                             lx_text text)
{
    lynx_place *place = s->place;
    lynx_object *object = NULL;
    *document = NULL;
    LX_TRY(place->ops->open(place, name, &object, text.data, text.size));
    if (!object)
        return LYNX_OK;
    box *b = lx_alloc_zeroed(s->memory, 1, sizeof(*b));
    lynx_status status = LYNX_ERR_MEMORY;
    if (b) {
        status = lx_front_read(&b->front, place, object, 0, LX_OBJECT_DOCUMENT, s->key,
                               s->memory, text);
        if (status == LYNX_OK && object->size != b->front.preamble.total_bytes) {
            lx_front_fini(&b->front);
            status = LYNX_ERR_PROTOCOL;
        }
    }
    place->ops->close(place, object);
    if (status != LYNX_OK) {
        const char *why = lx_front_why(status);
        lx_free(s->memory, b, 1, sizeof(*b));
        return why ? lx_tell(text, status, "cannot use '%s': %s", name, why) : status;
    }
    fill_document(b);
    *document = &b->document;
    return LYNX_OK;
}

lynx_status lynx_store_get_document(lynx_store *store, const char *name,
                                    lynx_document **document, char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    char object[LX_OBJECT_NAME_MAX];
    *document = NULL;
    if (!lynx_document_name_is_legal(name))
        return lx_tell(said, LYNX_ERR_ARGUMENT,
                       "'%s' is no name of a document: letters, digits, '.', '_' and '-'",
                       name);
    const lynx_status status = lx_document_name_put(name, store->key, object);
    if (status != LYNX_OK)
        return lx_tell_plainly(said, status);
    return lx_tell_plainly(said, lx_document_read(store, object, document, said));
}

/* ---- writing ------------------------------------------------------------------------- */

static lynx_status name_prefix(lx_header *h, const uint8_t *key)
{
    lx_prefix prefix;
    LX_TRY(lx_prefix_init(&prefix, &h->model, key));
    lynx_status status = lx_prefix_name(&prefix, h->parent);
    if (status == LYNX_OK)
        status = lx_prefix_name_after(&prefix, h->tokens, h->end_token, h->name);
    lx_prefix_fini(&prefix);
    return status;
}

static lynx_status write_header(lynx_store *s, const lx_header *h, lx_text text)
{
    lx_preamble p = {.kind = LX_OBJECT_DOCUMENT, .is_sealed = s->key != NULL};
    lx_seal seal = {0};
    char object[LX_OBJECT_NAME_MAX];
    if (s->key) {
        LX_TRY(lx_seal_random(p.salt, sizeof(p.salt)));
        LX_TRY(lx_seal_init(&seal, s->key, p.salt));
    }
    const size_t block = lx_sealed_bytes(&seal, lx_header_bytes(h, LX_OBJECT_DOCUMENT));
    const size_t size = LX_PREAMBLE_BYTES + block;
    p.block_bytes = (uint32_t)block;
    p.total_bytes = size;
    LX_TRY(lx_document_name_put(h->document, s->key, object));
    uint8_t *front = lx_alloc(s->memory, size, 1);
    LX_REQUIRE(front, LYNX_ERR_MEMORY);
    lynx_status status = lx_front_encode(h, LX_OBJECT_DOCUMENT, &seal, &p, front);
    const lynx_bytes whole = {front, size};
    if (status == LYNX_OK)
        status = s->place->ops->write(s->place, object, &whole, 1, text.data, text.size);
    lx_free(s->memory, front, size, 1);
    return status;
}

lynx_status lx_document_check_old(lynx_store *s, const lynx_document *document, lx_text text)
{
    lynx_document *old = NULL;
    const lynx_status status =
        lynx_store_get_document(s, document->name, &old, text.data, text.size);
    if (status != LYNX_OK)
        return status == LYNX_ERR_PROTOCOL || status == LYNX_ERR_CORRUPT ? LYNX_OK : status;
    const bool is_same = !old || memcmp(&old->model.fingerprint, &document->model.fingerprint,
                                        sizeof(lynx_fingerprint)) == 0;
    const lynx_status checked =
        is_same ? LYNX_OK
                : lx_tell(text, LYNX_ERR_STATE,
                          "the document '%s' is there already, for another model (%s): "
                          "choose another name by --name, or remove it by 'lynx cache rm'",
                          document->name, old->model.name);
    lynx_document_destroy(old);
    return checked;
}

lynx_status lynx_store_put_document(lynx_store *store, const lynx_document *document,
                                    char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    lx_header header;
    if (!store->place->ops->write)
        return lx_tell(said, LYNX_ERR_DENIED, "'%s' cannot be written",
                       store->place->ops->description(store->place));
    if (document->token_count == 0 || document->token_count > LYNX_PROMPT_TOKENS_MAX)
        return lx_tell_plainly(said, LYNX_ERR_ARGUMENT);
    LX_TRY(lx_document_check_old(store, document, said));
    lynx_status status =
        lx_header_init(&header, LX_OBJECT_DOCUMENT, &document->model, document->tokens, 0,
                       document->token_count, store->memory);
    if (status != LYNX_OK)
        return lx_tell_plainly(said, status);
    memcpy(header.document, document->name, sizeof(header.document));
    memcpy(header.text_digest, document->text_digest, sizeof(header.text_digest));
    header.text_bytes = document->text_bytes;
    header.made_at = document->made_at;
    status = name_prefix(&header, store->key);
    if (status == LYNX_OK)
        status = write_header(store, &header, said);
    lx_header_fini(&header);
    return lx_tell_plainly(said, status);
}

/* ---- every document ------------------------------------------------------------------ */

/* One object; '*goes_on' is what 'visit' said. */
static lynx_status visit_object(lynx_store *s, const char *name, lx_document_visit *visit,
                                void *user, bool *goes_on, lx_text text)
{
    lynx_document *document = NULL;
    const lynx_status status = lx_document_read(s, name, &document, text);
    if (status != LYNX_OK && !lx_front_why(status))
        return status;
    if (status == LYNX_ERR_MEMORY)
        return status;
    if (status != LYNX_OK)
        *goes_on = visit(user, name, NULL, status);
    else if (document)
        *goes_on = visit(user, name, document, LYNX_OK);
    lynx_document_destroy(document);
    return LYNX_OK;
}

lynx_status lx_store_documents(lynx_store *store, lx_document_visit *visit, void *user,
                               lx_text text)
{
    lx_object_list listing;
    bool goes_on = true;
    LX_TRY(lx_object_list_read(&listing, store, LX_DOCUMENTS, text));
    lynx_status status = LYNX_OK;
    for (size_t i = 0; i < listing.count && goes_on && status == LYNX_OK; i++)
        status = visit_object(store, listing.names[i], visit, user, &goes_on, text);
    lx_object_list_fini(&listing);
    return status;
}

/* ---- what is here of them ------------------------------------------------------------ */

typedef struct list_call {
    lynx_store *store;
    lynx_store_visit *visit;
    void *user;
    lx_text text;
    lynx_status status;
} list_call;

typedef struct use_call {
    const lx_chain *chain;
    int64_t used_ns; /* of the first segment */
} use_call;

static bool note_use(void *user, const lynx_place_entry *entry)
{
    use_call *call = user;
    if (strcmp(entry->name, call->chain->parts[0].name) != 0)
        return true;
    call->used_ns = entry->used_ns;
    return false;
}

static lynx_status fill_entry(lynx_store *s, const lynx_document *document,
                              lynx_store_entry *entry, lx_text text)
{
    lx_chain chain;
    char folder[LX_OBJECT_NAME_MAX];
    LX_TRY(lx_store_chain(s, &document->model, document->tokens, document->token_count, &chain,
                          text));
    use_call use = {.chain = &chain};
    lynx_status status = LYNX_OK;
    if (chain.count > 0 && s->place->ops->list) {
        lx_segment_folder_put(chain.parts[0].front.header.parent, folder);
        status = s->place->ops->list(s->place, folder, note_use, &use, text.data, text.size);
    }
    entry->tokens_here = chain.tokens;
    entry->bytes = chain.bytes;
    entry->segment_count = (uint32_t)chain.count;
    entry->used_ns = use.used_ns;
    lx_chain_close(s, &chain);
    return status;
}

static bool list_document(void *user, const char *object, const lynx_document *document,
                          lynx_status status)
{
    list_call *call = user;
    lynx_store_entry entry = {.document = document,
                              .object = object,
                              .why = lx_front_why(status)};
    if (document)
        call->status = fill_entry(call->store, document, &entry, call->text);
    return call->status == LYNX_OK && call->visit(call->user, &entry);
}

lynx_status lynx_store_list(lynx_store *store, lynx_store_visit *visit, void *user, char *text,
                            size_t text_size)
{
    list_call call = {store, visit, user, {text, text_size}, LYNX_OK};
    const lynx_status status = lx_store_documents(store, list_document, &call, call.text);
    return lx_tell_plainly(call.text, status == LYNX_OK ? call.status : status);
}

lynx_status lynx_store_show(lynx_store *store, const char *name, lynx_store_visit *visit,
                            void *user, char *text, size_t text_size)
{
    list_call call = {store, visit, user, {text, text_size}, LYNX_OK};
    char object[LX_OBJECT_NAME_MAX];
    lynx_document *document = NULL;
    LX_TRY(lynx_store_get_document(store, name, &document, text, text_size));
    if (!document)
        return LYNX_OK;
    lynx_status status = lx_document_name_put(name, store->key, object);
    if (status == LYNX_OK) {
        (void)list_document(&call, object, document, LYNX_OK);
        status = call.status;
    }
    lynx_document_destroy(document);
    return lx_tell_plainly(call.text, status);
}

lynx_status lynx_store_segments(lynx_store *store, const lynx_document *document,
                                lynx_store_segment_visit *visit, void *user, char *text,
                                size_t text_size)
{
    const lx_text said = {text, text_size};
    lx_chain chain;
    LX_TRY(lx_store_chain(store, &document->model, document->tokens, document->token_count,
                          &chain, said));
    bool goes_on = true;
    for (size_t i = 0; i < chain.count && goes_on; i++) {
        const lynx_segment_info info = lx_part_info(&chain.parts[i]);
        goes_on = visit(user, chain.parts[i].name, &info);
    }
    lx_chain_close(store, &chain);
    return LYNX_OK;
}
