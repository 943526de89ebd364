/* SPDX-License-Identifier: MIT */
/*
 * part_source.c - planes of several segments in the order of need.
 *
 * What is to be given is a list of entries, plane 0 of all parts first. Entries that lie one
 * behind the other are read together, in a chunk that lives until its last plane is released.
 */
#include "store/part_source.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

enum { CHUNK_BYTES = 1 << 18 };

typedef struct item {
    uint32_t part;
    uint32_t entry; /* of the part's header */
} item;

typedef struct chunk {
    atomic_size_t holders; /* planes that are out, and the source while it is current */
    size_t size;
    uint8_t *data;
} chunk;

typedef struct part_source {
    lynx_source base;
    lx_part_source_options options;
    lynx_source_prefix prefix;
    char *description;
    size_t description_room;
    item *items;
    size_t item_count, item_room, next;
    uint64_t missing; /* planes behind the end of their object */
    size_t missing_part;
    const lx_part *broken; /* where a plane did not match its digest; NULL: nowhere */
    chunk *current;
    size_t chunk_end;   /* item behind those of the current chunk */
    size_t chunk_taken; /* bytes of it that were given */
    atomic_bool is_cancelled;
    char text[LYNX_PLACE_TEXT_MAX];
} part_source;

static part_source *of(lynx_source *source)
{
    return (part_source *)(void *)source;
}

static const part_source *of_const(const lynx_source *source)
{
    return (const part_source *)(const void *)source;
}

/* ---- which part has a page ----------------------------------------------------------- */

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* The part with the tokens that column 'column' has in a prompt of 'prefix' tokens, the last
 * of several; SIZE_MAX: none. */
static size_t part_of_column(const lx_part *parts, size_t count, uint32_t column,
                             uint32_t prefix)
{
    const uint32_t page_tokens = parts[0].front.header.model.shape.page_tokens;
    const uint32_t first = column * page_tokens;
    const uint32_t end = least(first + page_tokens, prefix);
    for (size_t i = count; i-- > 0;) {
        const lx_header *h = &parts[i].front.header;
        if (h->first_token <= first && h->end_token >= end &&
            least(first + page_tokens, h->end_token) == end)
            return i;
    }
    return SIZE_MAX;
}

/* All that a prompt of 'prefix' tokens needs of a page is here: the window of a longer one may
 * begin behind it. */
static bool has_page(const lx_header *h, lynx_page_id id, uint32_t prefix)
{
    return lynx_page_is_needed(&h->model.shape, id, h->end_token) &&
           lx_header_span(h, id).first_token <=
               lynx_page_span_of(&h->model.shape, id, prefix).first_token;
}

/* Every page that a prompt of 'prefix' tokens needs in this column is in its part. */
static bool has_column(const lx_part *parts, size_t count, uint32_t column, uint32_t prefix)
{
    const lynx_shape *shape = &parts[0].front.header.model.shape;
    const size_t part = part_of_column(parts, count, column, prefix);
    if (part == SIZE_MAX)
        return false;
    lynx_page_walk walk = lynx_page_walk_of(shape, prefix);
    lynx_page_id id;
    walk.next.page = column;
    walk.page_end = column + 1;
    while (lynx_page_walk_next(&walk, &id))
        if (!has_page(&parts[part].front.header, id, prefix))
            return false;
    return true;
}

/* From the end on: what a window reaches, and may not be here, lies there. */
static bool has_prefix(const lx_part *parts, size_t count, uint32_t prefix)
{
    const lynx_shape *shape = &parts[0].front.header.model.shape;
    for (uint32_t column = lynx_shape_page_count(shape, prefix); column-- > 0;)
        if (!has_column(parts, count, column, prefix))
            return false;
    return true;
}

uint32_t lx_part_source_prefix(const lx_part *parts, size_t part_count, uint32_t tokens)
{
    if (part_count == 0)
        return 0;
    const uint32_t page_tokens = parts[0].front.header.model.shape.page_tokens;
    while (tokens > 0) {
        uint32_t candidate = tokens / page_tokens * page_tokens;
        for (size_t i = 0; i < part_count; i++) {
            const uint32_t end = parts[i].front.header.end_token;
            candidate = end <= tokens && end > candidate ? end : candidate;
        }
        if (candidate > 0 && has_prefix(parts, part_count, candidate))
            return candidate;
        tokens = candidate > 0 ? candidate - 1 : 0;
    }
    return 0;
}

/* ---- the list ------------------------------------------------------------------------ */

static bool is_wanted(const part_source *s, size_t part, lynx_page_id id)
{
    const uint32_t prefix = s->prefix.token_count;
    return lynx_page_is_needed(&s->options.parts[0].front.header.model.shape, id, prefix) &&
           part_of_column(s->options.parts, s->options.part_count, id.page, prefix) == part;
}

static bool is_here(const lx_part *part, const lx_plane_entry *entry)
{
    return part->planes_at + entry->offset + entry->bytes <= part->object->size;
}

static void list_plane(part_source *s, size_t index, uint32_t plane)
{
    const lx_part *part = &s->options.parts[index];
    const lx_header *h = &part->front.header;
    for (uint32_t page = 0; page < h->page_count; page++) {
        const uint32_t at = plane * h->page_count + page;
        if (!is_wanted(s, index, h->pages[page]))
            continue;
        if (!is_here(part, &h->entries[at])) {
            s->missing_part = s->missing++ == 0 ? index : s->missing_part;
            continue;
        }
        s->items[s->item_count++] = (item){(uint32_t)index, at};
        s->prefix.bytes +=
            h->entries[at].bytes - (part->front.seal.is_sealed ? LX_TAG_BYTES : 0);
    }
}

static lynx_status list_items(part_source *s)
{
    const uint32_t planes = s->options.parts[0].front.header.plane_count;
    size_t room = 0;
    for (size_t i = 0; i < s->options.part_count; i++)
        room += (size_t)s->options.parts[i].front.header.page_count * planes;
    s->items = lx_alloc(s->options.memory, room, sizeof(*s->items));
    LX_REQUIRE(s->items, LYNX_ERR_MEMORY);
    s->item_room = room;
    for (uint32_t plane = 0; plane < planes; plane++)
        for (size_t i = 0; i < s->options.part_count; i++)
            list_plane(s, i, plane);
    return LYNX_OK;
}

/* ---- chunks -------------------------------------------------------------------------- */

static const lx_plane_entry *entry_of(const part_source *s, size_t at)
{
    const item *i = &s->items[at];
    return &s->options.parts[i->part].front.header.entries[i->entry];
}

static uint64_t offset_of(const part_source *s, size_t at)
{
    return s->options.parts[s->items[at].part].planes_at + entry_of(s, at)->offset;
}

/* The item behind those that lie together from 'at' on, 'most' bytes or a single one. */
static size_t end_of_run(const part_source *s, size_t at, uint64_t most, uint64_t *bytes)
{
    uint64_t end = offset_of(s, at) + entry_of(s, at)->bytes;
    size_t next = at + 1;
    *bytes = entry_of(s, at)->bytes;
    while (next < s->item_count && s->items[next].part == s->items[at].part &&
           offset_of(s, next) == end && *bytes + entry_of(s, next)->bytes <= most) {
        *bytes += entry_of(s, next)->bytes;
        end += entry_of(s, next)->bytes;
        next++;
    }
    return next;
}

static uint32_t plane_of(const part_source *s, size_t at)
{
    const item *i = &s->items[at];
    return i->entry / s->options.parts[i->part].front.header.page_count;
}

/* The same for one read. Its first plane waits for its last byte, so it ends with the planes of
 * one number: on a slow line the anchor must not wait for what lies behind it. */
static size_t end_of_chunk(const part_source *s, size_t at, uint64_t *bytes)
{
    size_t end = end_of_run(s, at, CHUNK_BYTES, bytes);
    while (plane_of(s, end - 1) != plane_of(s, at))
        *bytes -= entry_of(s, --end)->bytes;
    return end;
}

static lynx_status expect_all(const part_source *s)
{
    lynx_place *place = s->options.place;
    size_t count = 0;
    uint64_t bytes = 0;
    if (!place->ops->expect || s->item_count == 0)
        return LYNX_OK;
    lynx_range *ranges = lx_alloc(s->options.memory, s->item_count, sizeof(*ranges));
    LX_REQUIRE(ranges, LYNX_ERR_MEMORY);
    for (size_t at = 0; at < s->item_count;) {
        const size_t end = end_of_run(s, at, UINT64_MAX, &bytes);
        ranges[count++] =
            (lynx_range){s->options.parts[s->items[at].part].object, offset_of(s, at), bytes};
        at = end;
    }
    place->ops->expect(place, ranges, count);
    lx_free(s->options.memory, ranges, s->item_count, sizeof(*ranges));
    return LYNX_OK;
}

static void let_go(const part_source *s, chunk *c)
{
    if (!c || atomic_fetch_sub(&c->holders, 1) != 1)
        return;
    lx_free(s->options.memory, c->data, c->size, 1);
    lx_free(s->options.memory, c, 1, sizeof(*c));
}

static lynx_status make_chunk(const part_source *s, uint64_t bytes, chunk **made)
{
    chunk *c = lx_alloc_zeroed(s->options.memory, 1, sizeof(*c));
    LX_REQUIRE(c, LYNX_ERR_MEMORY);
    atomic_init(&c->holders, 1);
    c->size = bytes > 0 ? (size_t)bytes : 1;
    c->data = lx_alloc(s->options.memory, c->size, 1);
    if (!c->data) {
        lx_free(s->options.memory, c, 1, sizeof(*c));
        return LYNX_ERR_MEMORY;
    }
    *made = c;
    return LYNX_OK;
}

static lynx_status read_chunk(part_source *s)
{
    lynx_place *place = s->options.place;
    uint64_t bytes = 0;
    const size_t end = end_of_chunk(s, s->next, &bytes);
    let_go(s, s->current);
    s->current = NULL;
    LX_TRY(make_chunk(s, bytes, &s->current));
    if (bytes > 0)
        LX_TRY(place->ops->read(place, s->options.parts[s->items[s->next].part].object,
                                offset_of(s, s->next), s->current->data, (size_t)bytes, s->text,
                                sizeof(s->text)));
    s->chunk_end = end;
    s->chunk_taken = 0;
    return LYNX_OK;
}

/* ---- operations ---------------------------------------------------------------------- */

static void source_destroy(lynx_source *source)
{
    part_source *s = of(source);
    const lx_part_source_options o = s->options;
    let_go(s, s->current);
    if (o.owns_parts)
        lx_parts_close(o.place, o.parts, o.part_count, o.part_room, o.memory);
    lx_free(o.memory, s->items, s->item_room, sizeof(*s->items));
    lx_free(o.memory, s->description, s->description_room, 1);
    lx_free(o.memory, s, 1, sizeof(*s));
}

static const lynx_source_prefix *source_prefix(const lynx_source *source)
{
    return &of_const(source)->prefix;
}

/* All that is here was given. */
static lynx_status at_end(part_source *s)
{
    const lx_part *part = &s->options.parts[s->missing_part];
    if (s->missing == 0)
        return LYNX_ERR_CLOSED;
    const lx_text text = {s->text, sizeof(s->text)};
    return lx_tell(text, LYNX_ERR_CORRUPT,
                   "'%s' is cut off at byte %" PRIu64 ": %" PRIu64
                   " planes are missing; get the file again",
                   part->name, part->object->size, s->missing);
}

static lynx_status give_plane(part_source *s, lynx_source_plane *plane)
{
    const item *i = &s->items[s->next];
    const lx_part *part = &s->options.parts[i->part];
    const lx_header *h = &part->front.header;
    const lx_text text = {s->text, sizeof(s->text)};
    uint8_t *data = s->current->data + s->chunk_taken;
    size_t size = 0;
    const lynx_status status = lx_part_open_plane(part, i->entry, data, &size);
    const lynx_page_id id = h->pages[i->entry % h->page_count];
    if (status == LYNX_ERR_CORRUPT || status == LYNX_ERR_DENIED) {
        s->broken = part;
        return lx_tell(text, LYNX_ERR_CORRUPT,
                       "'%s' is broken: plane %u of page %u of layer %u does not match its "
                       "digest; remove it, or get it again",
                       part->name, i->entry / h->page_count, id.page, id.layer);
    }
    LX_TRY(status);
    atomic_fetch_add(&s->current->holders, 1);
    *plane = (lynx_source_plane){.page = id,
                                 .plane = i->entry / h->page_count,
                                 .span = lx_header_span(h, id),
                                 .bytes = {data, size},
                                 .owner = s->current};
    s->chunk_taken += h->entries[i->entry].bytes;
    s->next++;
    return LYNX_OK;
}

/* The place may have another copy of what is broken. */
static bool may_read_again(const part_source *s)
{
    lynx_place *place = s->options.place;
    return place->ops->doubt &&
           place->ops->doubt(place, s->options.parts[s->items[s->next].part].object);
}

static lynx_status source_next(lynx_source *source, lynx_source_plane *plane)
{
    part_source *s = of(source);
    LX_REQUIRE(!atomic_load(&s->is_cancelled), LYNX_ERR_CANCELLED);
    if (s->next == s->item_count)
        return at_end(s);
    if (!s->current || s->next == s->chunk_end) {
        const lynx_status status = read_chunk(s);
        if (status == LYNX_ERR_MEMORY)
            snprintf(s->text, sizeof(s->text), "%s", lynx_status_text(status));
        LX_TRY(status);
    }
    lynx_status status = give_plane(s, plane);
    if (status == LYNX_ERR_CORRUPT && may_read_again(s)) {
        s->broken = NULL; /* it was a copy, which is gone */
        LX_TRY(read_chunk(s));
        status = give_plane(s, plane);
    }
    return status;
}

static void source_release(lynx_source *source, const lynx_source_plane *plane)
{
    let_go(of(source), plane->owner);
}

static void source_cancel(lynx_source *source)
{
    part_source *s = of(source);
    lynx_place *place = s->options.place;
    atomic_store(&s->is_cancelled, true);
    for (size_t i = 0; i < s->options.part_count && place->ops->cancel; i++)
        place->ops->cancel(place, s->options.parts[i].object);
}

static const char *source_error_text(const lynx_source *source)
{
    return of_const(source)->text;
}

static const lynx_source_ops operations = {
    source_destroy, source_prefix, source_next,
    source_release, source_cancel, source_error_text,
};

void lx_parts_close(lynx_place *place, lx_part *parts, size_t count, size_t room,
                    const lynx_allocator *memory)
{
    for (size_t i = 0; i < count; i++) {
        if (parts[i].object)
            place->ops->close(place, parts[i].object);
        lx_part_fini(&parts[i]);
    }
    lx_free(memory, parts, room, sizeof(*parts));
}

static lynx_status fill(part_source *s)
{
    const size_t size = strlen(s->options.description) + 1;
    s->description = lx_alloc(s->options.memory, size, 1);
    LX_REQUIRE(s->description, LYNX_ERR_MEMORY);
    s->description_room = size;
    memcpy(s->description, s->options.description, size);
    s->prefix.description = s->description;
    LX_TRY(list_items(s));
    return expect_all(s);
}

lynx_status lx_part_source_create(lynx_source **source, uint32_t prefix_tokens,
                                  const lx_part_source_options *options)
{
    part_source *s = lx_alloc_zeroed(options->memory, 1, sizeof(*s));
    const lynx_status status = s ? LYNX_OK : LYNX_ERR_MEMORY;
    if (status != LYNX_OK) {
        if (options->owns_parts)
            lx_parts_close(options->place, options->parts, options->part_count,
                           options->part_room, options->memory);
        return status;
    }
    s->base.ops = &operations;
    s->options = *options;
    s->prefix.token_count = prefix_tokens;
    s->prefix.spec = options->parts[0].front.header.model.spec;
    atomic_init(&s->is_cancelled, false);
    const lynx_status filled = fill(s);
    if (filled != LYNX_OK)
        source_destroy(&s->base);
    else
        *source = &s->base;
    return filled;
}

const char *lx_part_source_broken(const lynx_source *source)
{
    const lx_part *part = of_const(source)->broken;
    return part ? part->name : NULL;
}
