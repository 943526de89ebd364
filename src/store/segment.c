/* SPDX-License-Identifier: MIT */
/* segment.c - gather the planes of a segment, as they will lie in the object. */
#include "store/segment.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"
#include "store/prefix.h"

struct lynx_segment {
    const lynx_allocator *memory;
    lx_header header;
    const lynx_token *tokens; /* all of the prompt; borrowed */
    lx_seal seal;
    uint8_t key[LX_KEY_BYTES];
    uint8_t salt[LX_SALT_BYTES];
    uint32_t *places; /* of a page in the file, from 1; by slot, 0: not wanted */
    size_t place_room;
    uint8_t **planes;      /* by entry */
    atomic_uint page_left; /* pages are added by several threads at once */
    uint8_t *front;        /* preamble and header, once finished */
    size_t front_bytes;
    lynx_bytes *parts;
    size_t entry_count;
};

void lynx_segment_options_init(lynx_segment_options *options)
{
    *options = (lynx_segment_options){.struct_size = sizeof(*options)};
}

const lx_header *lx_segment_header(const lynx_segment *segment)
{
    return &segment->header;
}

const lynx_token *lx_segment_tokens(const lynx_segment *segment)
{
    return segment->tokens;
}

const uint8_t *lx_segment_key(const lynx_segment *segment)
{
    return segment->seal.is_sealed ? segment->key : NULL;
}

/* ---- create -------------------------------------------------------------------------- */

static lynx_status check_options(const lynx_segment_options *o)
{
    LX_REQUIRE(o->struct_size == sizeof(*o) && o->model && o->tokens, LYNX_ERR_ARGUMENT);
    LX_TRY(lynx_shape_check(&o->model->shape));
    LX_TRY(lynx_codec_spec_check(&o->spec));
    LX_REQUIRE(lynx_codec_spec_is_storable(&o->spec), LYNX_ERR_ARGUMENT);
    LX_REQUIRE(o->first_token < o->end_token && o->end_token <= LYNX_PROMPT_TOKENS_MAX &&
                   o->first_token % o->model->shape.page_tokens == 0,
               LYNX_ERR_ARGUMENT);
    for (uint32_t i = 0; i < o->end_token; i++)
        LX_REQUIRE(o->tokens[i] >= 0, LYNX_ERR_ARGUMENT);
    return LYNX_OK;
}

static lynx_status name_prefixes(lx_header *h, const lynx_segment_options *o)
{
    lx_prefix prefix;
    LX_TRY(lx_prefix_init(&prefix, &h->model, o->key));
    lynx_status status = lx_prefix_add(&prefix, o->tokens, o->first_token);
    if (status == LYNX_OK)
        status = lx_prefix_name(&prefix, h->parent);
    if (status == LYNX_OK)
        status = lx_prefix_add(&prefix, h->tokens, h->end_token - h->first_token);
    if (status == LYNX_OK)
        status = lx_prefix_name(&prefix, h->name);
    lx_prefix_fini(&prefix);
    return status;
}

static size_t slot_of(const lynx_segment *s, lynx_page_id id)
{
    const lynx_shape *shape = &s->header.model.shape;
    const uint32_t first = s->header.first_token / shape->page_tokens;
    if (id.page < first || id.layer >= shape->layer_count || id.side > LYNX_SIDE_VALUES)
        return SIZE_MAX;
    const size_t slot =
        ((size_t)(id.page - first) * shape->layer_count + id.layer) * 2 + id.side;
    return slot < s->place_room ? slot : SIZE_MAX;
}

static lynx_status make_tables(lynx_segment *s)
{
    const lx_header *h = &s->header;
    const lynx_shape *shape = &h->model.shape;
    const size_t columns =
        lynx_shape_page_count(shape, h->end_token) - h->first_token / shape->page_tokens;
    s->place_room = columns * shape->layer_count * 2;
    s->entry_count = (size_t)h->plane_count * h->page_count;
    s->places = lx_alloc_zeroed(s->memory, s->place_room, sizeof(*s->places));
    s->planes = lx_alloc_zeroed(s->memory, s->entry_count, sizeof(*s->planes));
    s->parts = lx_alloc_zeroed(s->memory, s->entry_count + 1, sizeof(*s->parts));
    LX_REQUIRE(s->places && s->planes && s->parts, LYNX_ERR_MEMORY);
    for (uint32_t i = 0; i < h->page_count; i++)
        s->places[slot_of(s, h->pages[i])] = i + 1;
    atomic_store(&s->page_left, h->page_count);
    return LYNX_OK;
}

static lynx_status build(lynx_segment *s, const lynx_segment_options *o)
{
    const lynx_stored_model model = {o->model->name, o->model->fingerprint, o->model->shape,
                                     o->spec};
    LX_TRY(lx_header_init(&s->header, LX_OBJECT_SEGMENT, &model, o->tokens, o->first_token,
                          o->end_token, s->memory));
    LX_REQUIRE(s->header.page_count > 0, LYNX_ERR_ARGUMENT);
    LX_TRY(name_prefixes(&s->header, o));
    if (o->key) {
        memcpy(s->key, o->key, sizeof(s->key));
        LX_TRY(lx_seal_random(s->salt, sizeof(s->salt)));
        LX_TRY(lx_seal_init(&s->seal, o->key, s->salt));
    }
    return make_tables(s);
}

lynx_status lynx_segment_create(lynx_segment **segment, const lynx_segment_options *options)
{
    LX_TRY(check_options(options));
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    lynx_segment *s = lx_alloc_zeroed(memory, 1, sizeof(*s));
    LX_REQUIRE(s, LYNX_ERR_MEMORY);
    s->memory = memory;
    s->tokens = options->tokens;
    s->header.memory = memory;
    const lynx_status status = build(s, options);
    if (status != LYNX_OK)
        lynx_segment_destroy(s);
    else
        *segment = s;
    return status;
}

void lynx_segment_destroy(lynx_segment *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->planes && i < s->entry_count; i++)
        lx_free(s->memory, s->planes[i], s->header.entries[i].bytes, 1);
    lx_free(s->memory, s->planes, s->entry_count, sizeof(*s->planes));
    lx_free(s->memory, s->places, s->place_room, sizeof(*s->places));
    lx_free(s->memory, s->parts, s->entry_count + 1, sizeof(*s->parts));
    lx_free(s->memory, s->front, s->front_bytes, 1);
    lx_header_fini(&s->header);
    lx_free(s->memory, s, 1, sizeof(*s));
}

/* ---- planes -------------------------------------------------------------------------- */

bool lynx_segment_wants(const lynx_segment *segment, lynx_page_id id)
{
    const size_t slot = slot_of(segment, id);
    return slot != SIZE_MAX && segment->places[slot] != 0;
}

static lynx_status add_plane(lynx_segment *s, size_t entry, lx_seal_at at, lynx_bytes plane)
{
    const size_t size = lx_sealed_bytes(&s->seal, plane.size);
    LX_REQUIRE(size <= UINT32_MAX, LYNX_ERR_ARGUMENT);
    if (size > 0) {
        uint8_t *copy = lx_alloc(s->memory, size, 1);
        LX_REQUIRE(copy, LYNX_ERR_MEMORY);
        s->planes[entry] = copy;
        s->header.entries[entry].bytes = (uint32_t)size;
        LX_TRY(lx_seal_close(&s->seal, at, NULL, 0, plane.data, plane.size, copy));
    }
    s->header.entries[entry].digest = lx_digest64(s->planes[entry], size);
    return LYNX_OK;
}

/* Forget what a page has that could not be taken whole. */
static void drop_page(lynx_segment *s, uint32_t page)
{
    for (uint32_t plane = 0; plane < s->header.plane_count; plane++) {
        const size_t entry = (size_t)plane * s->header.page_count + page;
        lx_free(s->memory, s->planes[entry], s->header.entries[entry].bytes, 1);
        s->planes[entry] = NULL;
        s->header.entries[entry] = (lx_plane_entry){0};
    }
}

lynx_status lynx_segment_add(lynx_segment *s, lynx_page_id id, const lynx_bytes *planes,
                             uint32_t plane_count)
{
    LX_REQUIRE(lynx_segment_wants(s, id) && plane_count == s->header.plane_count &&
                   planes[0].size > 0,
               LYNX_ERR_ARGUMENT);
    const uint32_t page = s->places[slot_of(s, id)] - 1;
    LX_REQUIRE(!s->planes[page] && !s->front, LYNX_ERR_STATE);
    for (uint32_t plane = 0; plane < plane_count; plane++) {
        const size_t entry = (size_t)plane * s->header.page_count + page;
        const lynx_status status =
            add_plane(s, entry, (lx_seal_at){plane, page}, planes[plane]);
        if (status != LYNX_OK) {
            drop_page(s, page);
            return status;
        }
    }
    atomic_fetch_sub(&s->page_left, 1);
    return LYNX_OK;
}

/* ---- the whole ----------------------------------------------------------------------- */

/* The preamble, but for its digest of the block. */
static lx_preamble preamble_of(lynx_segment *s, size_t block)
{
    lx_preamble p = {
        .kind = LX_OBJECT_SEGMENT,
        .is_sealed = s->seal.is_sealed,
        .block_bytes = (uint32_t)block,
        .total_bytes = LX_PREAMBLE_BYTES + block,
    };
    for (size_t i = 0; i < s->entry_count; i++)
        p.total_bytes += s->header.entries[i].bytes;
    memcpy(p.salt, s->salt, sizeof(p.salt));
    return p;
}

static lynx_status make_front(lynx_segment *s)
{
    const size_t block =
        lx_sealed_bytes(&s->seal, lx_header_bytes(&s->header, LX_OBJECT_SEGMENT));
    LX_REQUIRE(block <= LX_BLOCK_BYTES_MAX, LYNX_ERR_LIMIT);
    uint8_t *front = lx_alloc(s->memory, LX_PREAMBLE_BYTES + block, 1);
    LX_REQUIRE(front, LYNX_ERR_MEMORY);
    lx_preamble p = preamble_of(s, block);
    const lynx_status status =
        lx_front_encode(&s->header, LX_OBJECT_SEGMENT, &s->seal, &p, front);
    if (status != LYNX_OK) {
        lx_free(s->memory, front, LX_PREAMBLE_BYTES + block, 1);
        return status;
    }
    s->front = front;
    s->front_bytes = LX_PREAMBLE_BYTES + block;
    return LYNX_OK;
}

lynx_status lynx_segment_finish(lynx_segment *s, const lynx_bytes **parts, size_t *count)
{
    LX_REQUIRE(atomic_load(&s->page_left) == 0, LYNX_ERR_STATE);
    if (!s->front)
        LX_TRY(make_front(s));
    s->parts[0] = (lynx_bytes){s->front, s->front_bytes};
    for (size_t i = 0; i < s->entry_count; i++)
        s->parts[i + 1] = (lynx_bytes){s->planes[i], s->header.entries[i].bytes};
    *parts = s->parts;
    *count = s->entry_count + 1;
    return LYNX_OK;
}
