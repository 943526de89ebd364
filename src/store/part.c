/* SPDX-License-Identifier: MIT */
#include "store/part.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"
#include "store/prefix.h"

/* The first read of an object: enough for most headers. */
enum { FIRST_READ_BYTES = 65536 };

lynx_status lx_tell(lx_text text, lynx_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (text.size > 0)
        vsnprintf(text.data, text.size, format, arguments);
    va_end(arguments);
    return status;
}

/* ---- the front of an object ---------------------------------------------------------- */

/* Bytes in front of the planes, in one or two reads. */
typedef struct front_bytes {
    const lynx_allocator *memory;
    uint8_t *data;
    size_t room, size;
} front_bytes;

static lynx_status read_to(front_bytes *bytes, lynx_place *place, lynx_object *object,
                           uint64_t offset, size_t size, lx_text text)
{
    if (size <= bytes->size)
        return LYNX_OK;
    uint8_t *data = lx_alloc(bytes->memory, size, 1);
    LX_REQUIRE(data, LYNX_ERR_MEMORY);
    if (bytes->size > 0)
        memcpy(data, bytes->data, bytes->size);
    lx_free(bytes->memory, bytes->data, bytes->room, 1);
    bytes->data = data;
    bytes->room = size;
    LX_TRY(place->ops->read(place, object, offset + bytes->size, data + bytes->size,
                            size - bytes->size, text.data, text.size));
    bytes->size = size;
    return LYNX_OK;
}

/* The block in 'bytes' is opened in place. */
static lynx_status take_front(lx_front *front, front_bytes *bytes, lx_object_kind kind,
                              const uint8_t *key, const lynx_allocator *memory)
{
    const lx_preamble *p = &front->preamble;
    uint8_t *block = bytes->data + LX_PREAMBLE_BYTES;
    size_t size = p->block_bytes;
    uint8_t digest[16];
    lx_digest128(block, size, digest);
    LX_REQUIRE(memcmp(digest, p->block_digest, sizeof(digest)) == 0, LYNX_ERR_CORRUPT);
    if (p->is_sealed) {
        LX_REQUIRE(key, LYNX_ERR_DENIED);
        LX_TRY(lx_seal_init(&front->seal, key, p->salt));
        LX_TRY(lx_seal_open(&front->seal, (lx_seal_at){LX_SEAL_HEADER, 0}, bytes->data,
                            LX_PREAMBLE_BOUND_BYTES, block, &size));
    }
    LX_TRY(lx_header_decode(&front->header, kind, (lynx_bytes){block, size}, memory));
    if (p->total_bytes ==
        (uint64_t)LX_PREAMBLE_BYTES + p->block_bytes + front->header.plane_bytes)
        return LYNX_OK;
    lx_header_fini(&front->header);
    return LYNX_ERR_PROTOCOL;
}

static lynx_status read_front(lx_front *front, front_bytes *bytes, lynx_place *place,
                              lynx_object *object, uint64_t offset, lx_object_kind kind,
                              const uint8_t *key, lx_text text)
{
    const uint64_t left = object->size - offset;
    const size_t first = left < FIRST_READ_BYTES ? (size_t)left : FIRST_READ_BYTES;
    LX_REQUIRE(left >= LX_PREAMBLE_BYTES, LYNX_ERR_PROTOCOL);
    LX_TRY(read_to(bytes, place, object, offset, first, text));
    LX_TRY(lx_preamble_decode(bytes->data, &front->preamble));
    const size_t size = (size_t)LX_PREAMBLE_BYTES + front->preamble.block_bytes;
    LX_REQUIRE(front->preamble.kind == kind && size <= left, LYNX_ERR_PROTOCOL);
    LX_TRY(read_to(bytes, place, object, offset, size, text));
    return take_front(front, bytes, kind, key, bytes->memory);
}

lynx_status lx_front_read(lx_front *front, lynx_place *place, lynx_object *object,
                          uint64_t offset, lx_object_kind kind, const uint8_t *key,
                          const lynx_allocator *memory, lx_text text)
{
    front_bytes bytes = {.memory = memory};
    *front = (lx_front){.header = {.memory = memory}};
    const lynx_status status =
        read_front(front, &bytes, place, object, offset, kind, key, text);
    lx_free(memory, bytes.data, bytes.room, 1);
    return status;
}

void lx_front_fini(lx_front *front)
{
    lx_header_fini(&front->header);
    *front = (lx_front){.header = {.memory = front->header.memory}};
}

const char *lx_front_why(lynx_status status)
{
    switch ((int)status) {
    case LYNX_ERR_PROTOCOL:
        return "it is not a cache file, or one whose codec this version of Lynx does not have; "
               "'lynx cache add' stores it anew";
    case LYNX_ERR_CORRUPT:
        return "its header does not match its digest: bytes were changed";
    case LYNX_ERR_VERSION:
        return "it is of another version of the format; use the version of Lynx that wrote it, "
               "or store it anew by 'lynx cache add'";
    case LYNX_ERR_UNSUPPORTED:
        return "it has a part that this version of Lynx must know and does not";
    case LYNX_ERR_DENIED:
        return "it is encrypted under another key; pass its key file";
    case LYNX_ERR_MEMORY:
        return "there is no memory for its header";
    default:
        return NULL;
    }
}

/* ---- segments ------------------------------------------------------------------------ */

static lynx_status keep_name(lx_part *part, const char *name)
{
    const size_t size = strlen(name) + 1;
    part->name = lx_alloc(part->front.header.memory, size, 1);
    LX_REQUIRE(part->name, LYNX_ERR_MEMORY);
    part->name_room = size;
    memcpy(part->name, name, size);
    return LYNX_OK;
}

lynx_status lx_part_read(lx_part *part, lynx_place *place, lynx_object *object,
                         const char *name, uint64_t offset, const uint8_t *key,
                         const lynx_allocator *memory, lx_text text)
{
    *part = (lx_part){.front = {.header = {.memory = memory}}};
    LX_TRY(lx_front_read(&part->front, place, object, offset, LX_OBJECT_SEGMENT, key, memory,
                         text));
    part->object = object;
    part->offset = offset;
    part->planes_at = offset + LX_PREAMBLE_BYTES + part->front.preamble.block_bytes;
    const lynx_status status = keep_name(part, name);
    if (status != LYNX_OK)
        lx_part_fini(part);
    return status;
}

void lx_part_fini(lx_part *part)
{
    const lynx_allocator *memory = part->front.header.memory;
    lx_free(memory, part->name, part->name_room, 1);
    lx_front_fini(&part->front);
    *part = (lx_part){.front = {.header = {.memory = memory}}};
}

uint64_t lx_part_missing(const lx_part *part)
{
    const lx_header *h = &part->front.header;
    const uint64_t here = part->object->size - part->planes_at;
    uint64_t missing = 0;
    if (here >= h->plane_bytes)
        return 0;
    for (size_t i = 0; i < (size_t)h->plane_count * h->page_count; i++)
        missing += h->entries[i].offset + h->entries[i].bytes > here;
    return missing;
}

lynx_status lx_part_open_plane(const lx_part *part, size_t entry, uint8_t *data, size_t *size)
{
    const lx_header *h = &part->front.header;
    const lx_seal_at at = {(uint32_t)(entry / h->page_count), entry % h->page_count};
    *size = h->entries[entry].bytes;
    LX_REQUIRE(lx_digest64(data, *size) == h->entries[entry].digest, LYNX_ERR_CORRUPT);
    return lx_seal_open(&part->front.seal, at, NULL, 0, data, size);
}

lynx_segment_info lx_part_info(const lx_part *part)
{
    const lx_header *h = &part->front.header;
    lynx_segment_info info = {
        .first_token = h->first_token,
        .end_token = h->end_token,
        .offset = part->offset,
        .bytes = part->front.preamble.total_bytes,
        .page_count = h->page_count,
        .planes_missing = lx_part_missing(part),
    };
    for (size_t i = 0; i < (size_t)h->plane_count * h->page_count; i++)
        info.plane_bytes[i / h->page_count] += h->entries[i].bytes;
    lx_name_put(h->name, info.name);
    return info;
}
