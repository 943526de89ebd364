/* SPDX-License-Identifier: MIT */
#include "store/cache_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "store/part_source.h"
#include "store/prefix.h"

/* ---- open ---------------------------------------------------------------------------- */

uint32_t lx_cache_file_first(const lynx_cache_file *file)
{
    return file->parts[0].front.header.first_token;
}

bool lx_cache_file_goes_on(const lynx_cache_file *f, const lx_header *next)
{
    const lx_header *first = &f->parts[0].front.header;
    const lx_header *last = &f->parts[f->part_count - 1].front.header;
    const uint32_t page_tokens = first->model.shape.page_tokens;
    if (!lx_models_agree(&first->model, &next->model) ||
        next->first_token != last->end_token / page_tokens * page_tokens ||
        next->end_token <= last->end_token)
        return false;
    return memcmp(f->tokens + (next->first_token - first->first_token), next->tokens,
                  (last->end_token - next->first_token) * sizeof(*next->tokens)) == 0;
}

static lynx_status add_tokens(lynx_cache_file *f, const lx_header *h)
{
    const uint32_t count = h->end_token - lx_cache_file_first(f);
    lynx_token *tokens = lx_alloc(f->memory, count, sizeof(*tokens));
    LX_REQUIRE(tokens, LYNX_ERR_MEMORY);
    if (f->token_count > 0)
        memcpy(tokens, f->tokens, f->token_count * sizeof(*tokens));
    memcpy(tokens + (h->first_token - lx_cache_file_first(f)), h->tokens,
           (h->end_token - h->first_token) * sizeof(*tokens));
    lx_free(f->memory, f->tokens, f->token_room, sizeof(*tokens));
    f->tokens = tokens;
    f->token_count = f->token_room = count;
    return LYNX_OK;
}

static lynx_status make_room(lynx_cache_file *f)
{
    if (f->part_count < f->part_room)
        return LYNX_OK;
    const size_t room = f->part_room ? 2 * f->part_room : 1;
    lx_part *parts = lx_alloc(f->memory, room, sizeof(*parts));
    LX_REQUIRE(parts, LYNX_ERR_MEMORY);
    if (f->part_count > 0)
        memcpy(parts, f->parts, f->part_count * sizeof(*parts));
    lx_free(f->memory, f->parts, f->part_room, sizeof(*parts));
    f->parts = parts;
    f->part_room = room;
    return LYNX_OK;
}

static lynx_status take_part(lynx_cache_file *f, lx_part *part)
{
    const lynx_status status = make_room(f);
    if (status != LYNX_OK) {
        lx_part_fini(part);
        return status;
    }
    f->parts[f->part_count++] = *part;
    f->end = part->offset + part->front.preamble.total_bytes;
    return add_tokens(f, &part->front.header);
}

/* The first segment; a cut one will do. */
static lynx_status read_first(lynx_cache_file *f, const char *name, lx_text text)
{
    lx_part part;
    const lynx_status status =
        lx_part_read(&part, f->place, f->object, name, 0, f->key, f->memory, text);
    if (status != LYNX_OK) {
        const char *why = lx_front_why(status);
        return why ? lx_tell(text, status, "cannot use '%s': %s", name, why) : status;
    }
    return take_part(f, &part);
}

/* A further segment at the end. '*is_last': what stands there is none. */
static lynx_status read_further(lynx_cache_file *f, const char *name, bool *is_last,
                                lx_text text)
{
    lx_part part;
    const lynx_status status =
        lx_part_read(&part, f->place, f->object, name, f->end, f->key, f->memory, text);
    *is_last = status == LYNX_ERR_PROTOCOL || status == LYNX_ERR_CORRUPT;
    if (*is_last)
        return LYNX_OK;
    if (status != LYNX_OK) {
        const char *why = lx_front_why(status);
        return why ? lx_tell(text, status, "cannot use '%s' from byte %" PRIu64 " on: %s", name,
                             f->end, why)
                   : status;
    }
    if (lx_part_missing(&part) > 0) {
        *is_last = true;
        lx_part_fini(&part);
        return LYNX_OK;
    }
    if (!lx_cache_file_goes_on(f, &part.front.header)) {
        lx_part_fini(&part);
        return lx_tell(text, LYNX_ERR_PROTOCOL,
                       "cannot use '%s': the segment at byte %" PRIu64
                       " does not go on from the one before it",
                       name, f->end);
    }
    return take_part(f, &part);
}

/* The names in the headers are those of the tokens. */
static lynx_status check_names(const lynx_cache_file *f, const char *name, lx_text text)
{
    lx_prefix prefix;
    uint8_t right[LX_NAME_BYTES];
    if (lx_cache_file_first(f) != 0)
        return LYNX_OK; /* what stands before is not here */
    for (size_t i = 0; i < f->part_count; i++) {
        const lx_header *h = &f->parts[i].front.header;
        LX_TRY(lx_prefix_init(&prefix, &h->model, f->key));
        lynx_status status = lx_prefix_add(&prefix, f->tokens, h->end_token);
        if (status == LYNX_OK)
            status = lx_prefix_name(&prefix, right);
        lx_prefix_fini(&prefix);
        LX_TRY(status);
        if (memcmp(right, h->name, sizeof(right)) != 0)
            return lx_tell(text, LYNX_ERR_PROTOCOL,
                           "cannot use '%s': a segment is named for other tokens", name);
    }
    return LYNX_OK;
}

static lynx_status read_all(lynx_cache_file *f, const char *name, lx_text text)
{
    bool is_last = false;
    LX_TRY(read_first(f, name, text));
    while (!is_last && f->end < f->object->size)
        LX_TRY(read_further(f, name, &is_last, text));
    return check_names(f, name, text);
}

lynx_status lynx_cache_file_open(lynx_cache_file **file, lynx_place *place, const char *name,
                                 const uint8_t key[LYNX_STORE_KEY_BYTES],
                                 const lynx_allocator *memory, char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    lynx_object *object = NULL;
    *file = NULL;
    LX_TRY(place->ops->open(place, name, &object, text, text_size));
    if (!object)
        return LYNX_OK;
    memory = lx_allocator_or_default(memory);
    lynx_cache_file *f = lx_alloc_zeroed(memory, 1, sizeof(*f));
    if (!f) {
        place->ops->close(place, object);
        return lx_tell(said, LYNX_ERR_MEMORY, "%s", lynx_status_text(LYNX_ERR_MEMORY));
    }
    f->memory = memory;
    f->place = place;
    f->object = object;
    if (key) {
        memcpy(f->key_bytes, key, sizeof(f->key_bytes));
        f->key = f->key_bytes;
    }
    const lynx_status status = read_all(f, name, said);
    if (status != LYNX_OK)
        lynx_cache_file_close(f);
    else
        *file = f;
    return status;
}

void lynx_cache_file_close(lynx_cache_file *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->part_count; i++)
        lx_part_fini(&f->parts[i]);
    lx_free(f->memory, f->parts, f->part_room, sizeof(*f->parts));
    lx_free(f->memory, f->tokens, f->token_room, sizeof(*f->tokens));
    f->place->ops->close(f->place, f->object);
    memset(f->key_bytes, 0, sizeof(f->key_bytes));
    lx_free(f->memory, f, 1, sizeof(*f));
}

/* ---- what is in it ------------------------------------------------------------------- */

const lynx_stored_model *lynx_cache_file_model(const lynx_cache_file *file)
{
    return &file->parts[0].front.header.model;
}

const lynx_token *lynx_cache_file_tokens(const lynx_cache_file *file, uint32_t *count)
{
    *count = file->token_count;
    return file->tokens;
}

size_t lynx_cache_file_segment_count(const lynx_cache_file *file)
{
    return file->part_count;
}

lynx_segment_info lynx_cache_file_segment(const lynx_cache_file *file, size_t index)
{
    return lx_part_info(&file->parts[index]);
}

uint64_t lynx_cache_file_tail(const lynx_cache_file *file)
{
    return file->object->size > file->end ? file->object->size - file->end : 0;
}

/* ---- source -------------------------------------------------------------------------- */

static bool is_of_model(const lynx_stored_model *stored, const lynx_model *model)
{
    const lynx_stored_model here = {model->name, model->fingerprint, model->shape,
                                    stored->spec};
    return lx_models_agree(stored, &here);
}

lynx_status lynx_cache_file_source(lynx_cache_file *f, const lynx_model *model,
                                   const lynx_token *tokens, uint32_t count,
                                   lynx_source **source, char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    uint32_t same = 0;
    *source = NULL;
    if (!is_of_model(lynx_cache_file_model(f), model))
        return lx_tell(said, LYNX_ERR_MODEL,
                       "'%s' is the cache of another model: of %s, not of %s", f->parts[0].name,
                       lynx_cache_file_model(f)->name, model->name);
    if (lx_cache_file_first(f) != 0)
        return LYNX_OK;
    while (same < count && same < f->token_count && tokens[same] == f->tokens[same])
        same++;
    same = same == count && same > 0 ? same - 1 : same; /* the last one's logits are needed */
    const uint32_t prefix = lx_part_source_prefix(f->parts, f->part_count, same);
    if (prefix == 0)
        return LYNX_OK;
    const lx_part_source_options options = {
        .place = f->place,
        .parts = f->parts,
        .part_count = f->part_count,
        .description = f->parts[0].name,
        .memory = f->memory,
    };
    const lynx_status status = lx_part_source_create(source, prefix, &options);
    return status == LYNX_OK ? status : lx_tell(said, status, "%s", lynx_status_text(status));
}

/* ---- verify -------------------------------------------------------------------------- */

/* Read one plane and compare it. */
static lynx_status verify_plane(const lx_part *part, lynx_place *place, size_t entry,
                                uint8_t *buffer, lynx_store_fault *fault, void *user,
                                bool *goes_on, lx_text text)
{
    const lx_header *h = &part->front.header;
    const lx_plane_entry *e = &h->entries[entry];
    const lynx_page_id id = h->pages[entry % h->page_count];
    const uint64_t at = part->planes_at + e->offset;
    size_t size = 0;
    char what[160];
    if (at + e->bytes > part->object->size)
        return LYNX_OK; /* told as missing */
    if (e->bytes > 0)
        LX_TRY(
            place->ops->read(place, part->object, at, buffer, e->bytes, text.data, text.size));
    const lynx_status status = lx_part_open_plane(part, entry, buffer, &size);
    if (status != LYNX_ERR_CORRUPT && status != LYNX_ERR_DENIED)
        return status;
    snprintf(what, sizeof(what),
             "plane %zu of page %u of layer %u (%s) at byte %" PRIu64
             " does not match its digest",
             entry / h->page_count, id.page, id.layer,
             id.side == LYNX_SIDE_KEYS ? "keys" : "values", at);
    *goes_on = fault(user, part->name, what);
    return LYNX_OK;
}

lynx_status lx_part_verify(const lx_part *part, lynx_place *place, const lynx_allocator *memory,
                           lynx_store_fault *fault, void *user, bool *goes_on, lx_text text)
{
    const lx_header *h = &part->front.header;
    const size_t count = (size_t)h->plane_count * h->page_count;
    const uint64_t missing = lx_part_missing(part);
    lynx_status status = LYNX_OK;
    uint32_t most = 1;
    char what[128];
    *goes_on = true;
    for (size_t i = 0; i < count; i++)
        most = h->entries[i].bytes > most ? h->entries[i].bytes : most;
    uint8_t *buffer = lx_alloc(memory, most, 1);
    if (!buffer)
        return lx_tell(text, LYNX_ERR_MEMORY, "%s", lynx_status_text(LYNX_ERR_MEMORY));
    if (missing > 0) {
        snprintf(what, sizeof(what),
                 "it is cut off at byte %" PRIu64 ": %" PRIu64 " of %zu planes are missing",
                 part->object->size, missing, count);
        *goes_on = fault(user, part->name, what);
    }
    for (size_t i = 0; i < count && *goes_on && status == LYNX_OK; i++)
        status = verify_plane(part, place, i, buffer, fault, user, goes_on, text);
    lx_free(memory, buffer, most, 1);
    return status;
}

lynx_status lynx_cache_file_verify(lynx_cache_file *f, lynx_store_fault *fault, void *user,
                                   char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    bool goes_on = true;
    char what[128];
    for (size_t i = 0; i < f->part_count && goes_on; i++)
        LX_TRY(lx_part_verify(&f->parts[i], f->place, f->memory, fault, user, &goes_on, said));
    if (goes_on && lynx_cache_file_tail(f) > 0) {
        snprintf(what, sizeof(what),
                 "%" PRIu64 " bytes from byte %" PRIu64
                 " on are no whole segment: an append was cut off, or they were changed",
                 lynx_cache_file_tail(f), f->end);
        (void)fault(user, f->parts[0].name, what);
    }
    return LYNX_OK;
}
