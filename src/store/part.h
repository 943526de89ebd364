/* SPDX-License-Identifier: MIT */
/* part.h - a segment in an open object: its header, and its planes read and checked. */
#ifndef LX_STORE_PART_H
#define LX_STORE_PART_H

#include "lynx/store.h"
#include "store/header.h"

/* A sentence that explains an error. */
typedef struct lx_text {
    char *data; /* LYNX_PLACE_TEXT_MAX bytes */
    size_t size;
} lx_text;

/* Set the sentence; returns 'status'. */
lynx_status lx_tell(lx_text text, lynx_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The header of any object. */
typedef struct lx_front {
    lx_preamble preamble;
    lx_seal seal;
    lx_header header;
} lx_front;

/* Read what stands at 'offset' of 'object'. What the place says is in 'text'; for the rest
 * lx_front_why() has words. */
lynx_status lx_front_read(lx_front *front, lynx_place *place, lynx_object *object,
                          uint64_t offset, lx_object_kind kind, const uint8_t *key,
                          const lynx_allocator *memory, lx_text text);
void lx_front_fini(lx_front *front);

/* "it is no cache file", and so on: what 'status' of lx_front_read means; NULL: the place has
 * said it. */
const char *lx_front_why(lynx_status status);

typedef struct lx_part {
    lynx_object *object; /* NULL: no part */
    uint64_t offset;     /* of the segment in it */
    uint64_t planes_at;  /* of its planes */
    lx_front front;
    char *name; /* of the object, for messages; 'name_room' bytes */
    size_t name_room;
} lx_part;

/* Read the segment at 'offset' of 'object', which stays the caller's. */
lynx_status lx_part_read(lx_part *part, lynx_place *place, lynx_object *object,
                         const char *name, uint64_t offset, const uint8_t *key,
                         const lynx_allocator *memory, lx_text text);
void lx_part_fini(lx_part *part);

/* Planes that lie behind the end of the object. */
uint64_t lx_part_missing(const lx_part *part);

/* Compare the bytes of an entry, as they lie in the object, with their digest and open them in
 * place; '*size' becomes that of the plane. LYNX_ERR_CORRUPT or LYNX_ERR_DENIED. */
lynx_status lx_part_open_plane(const lx_part *part, size_t entry, uint8_t *data, size_t *size);

lynx_segment_info lx_part_info(const lx_part *part);

#endif
