/* SPDX-License-Identifier: MIT */
/*
 * header.h - the bytes in front of a segment's planes, and of a document; docs/format-store.md.
 *
 * Decoders check every field and return LYNX_ERR_PROTOCOL, LYNX_ERR_CORRUPT (a digest) or
 * LYNX_ERR_VERSION. Memory is taken in proportion to bytes that are here.
 */
#ifndef LX_STORE_HEADER_H
#define LX_STORE_HEADER_H

#include "base/cursor.h"
#include "lynx/store.h"
#include "store/seal.h"

enum {
    LX_STORE_VERSION = 1,
    LX_PREAMBLE_BYTES = 88,
    LX_PREAMBLE_BOUND_BYTES = 56, /* of them, what a sealed header is bound to */
    LX_BLOCK_BYTES_MAX = 1 << 30,
    LX_PLANE_ENTRY_BYTES = 12
};

typedef enum lx_object_kind { LX_OBJECT_SEGMENT = 0, LX_OBJECT_DOCUMENT = 1 } lx_object_kind;

/* What stands in front of a header. */
typedef struct lx_preamble {
    lx_object_kind kind;
    bool is_sealed;
    uint32_t block_bytes; /* of the header behind it, as it lies there */
    uint64_t total_bytes; /* preamble, header and planes */
    uint8_t salt[LX_SALT_BYTES];
    uint8_t block_digest[16];
} lx_preamble;

void lx_preamble_encode(const lx_preamble *preamble, uint8_t bytes[LX_PREAMBLE_BYTES]);
lynx_status lx_preamble_decode(const uint8_t bytes[LX_PREAMBLE_BYTES], lx_preamble *preamble);

/* A plane in the segment. */
typedef struct lx_plane_entry {
    uint64_t offset; /* from the beginning of the planes */
    uint64_t digest; /* XXH3-64 of the bytes as they lie there */
    uint32_t bytes;
} lx_plane_entry;

typedef struct lx_header {
    const lynx_allocator *memory;
    lynx_stored_model model; /* name and layers are the header's own */
    size_t name_room;
    uint32_t first_token, end_token;
    uint8_t parent[LX_NAME_BYTES], name[LX_NAME_BYTES]; /* prefixes: before first, up to end */
    lynx_token *tokens;                                 /* end - first */

    /* Of a segment: pages in the order of the file, and entry [plane * page_count + page]. */
    bool is_cut;      /* pages begin where windows begin; false: whole */
    bool is_by_layer; /* else by page, as in the version of 2026-11-25 */
    uint32_t plane_count;
    uint32_t page_count;
    lynx_page_id *pages;
    lx_plane_entry *entries;
    uint64_t plane_bytes; /* of all planes */

    /* Of a document. */
    char document[LYNX_DOCUMENT_NAME_MAX];
    uint8_t text_digest[16];
    uint64_t text_bytes;
    int64_t made_at;
} lx_header;

/* Model, tokens and, for a segment, its pages; entries are zero. Names are not set. */
lynx_status lx_header_init(lx_header *header, lx_object_kind kind,
                           const lynx_stored_model *model, const lynx_token *tokens,
                           uint32_t first_token, uint32_t end_token,
                           const lynx_allocator *memory);
void lx_header_fini(lx_header *header);

/* The tokens of a page that its planes hold. */
lynx_page_span lx_header_span(const lx_header *header, lynx_page_id id);

/* Bytes of the header block, and the block. */
size_t lx_header_bytes(const lx_header *header, lx_object_kind kind);
void lx_header_encode(const lx_header *header, lx_object_kind kind, lx_writer *writer);

/* Decode a whole block; on failure 'header' needs no fini. */
lynx_status lx_header_decode(lx_header *header, lx_object_kind kind, lynx_bytes block,
                             const lynx_allocator *memory);

/* Preamble and block of 'header' into 'front', which has room for both; the block's digest is
 * filled in 'preamble'. */
lynx_status lx_front_encode(const lx_header *header, lx_object_kind kind, const lx_seal *seal,
                            lx_preamble *preamble, uint8_t *front);

/* Same model, shape and codec. */
bool lx_models_agree(const lynx_stored_model *a, const lynx_stored_model *b);

#endif
