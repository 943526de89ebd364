/* SPDX-License-Identifier: MIT */
/* store_names.h - names of the objects of a store. */
#ifndef LX_STORE_STORE_NAMES_H
#define LX_STORE_STORE_NAMES_H

#include "lynx/store.h"
#include "store/header.h"

enum { LX_OBJECT_NAME_MAX = LYNX_PLACE_NAME_MAX + 1 };

#define LX_SEGMENTS  "segments/"
#define LX_DOCUMENTS "documents/"

/* What the name of a segment says. */
typedef struct lx_segment_name {
    uint32_t first_token, end_token;
    uint8_t parent[LX_NAME_BYTES], name[LX_NAME_BYTES];
} lx_segment_name;

void lx_segment_name_put(const lx_segment_name *segment, char object[LX_OBJECT_NAME_MAX]);
/* False: no segment has this name. */
bool lx_segment_name_take(const char *object, lx_segment_name *segment);

/* True when 'object' is the name of the segment with this header. */
bool lx_segment_is_named(const lx_header *header, const char *object);

/* "segments/PARENT/" */
void lx_segment_folder_put(const uint8_t parent[LX_NAME_BYTES],
                           char prefix[LX_OBJECT_NAME_MAX]);

/* With a key, a hash of it stands for the document's name. */
lynx_status lx_document_name_put(const char *name, const uint8_t *key,
                                 char object[LX_OBJECT_NAME_MAX]);

/* Called for each segment that a prompt has in a store when it is cut as lynx_store_cut says,
 * in order. False ends it. */
typedef bool lx_segment_name_visit(void *user, const lx_segment_name *segment);
lynx_status lx_segment_names(const lynx_stored_model *model, const uint8_t *key,
                             const lynx_token *tokens, uint32_t count,
                             lx_segment_name_visit *visit, void *user);

/* The same for a prompt that is cut at every page boundary: its names are those of every
 * segment that it can use, wherever they begin. */
lynx_status lx_column_names(const lynx_stored_model *model, const uint8_t *key,
                            const lynx_token *tokens, uint32_t count,
                            lx_segment_name_visit *visit, void *user);

#endif
