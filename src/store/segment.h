/* SPDX-License-Identifier: MIT */
/* segment.h - what is written of a segment, for the store and for files. */
#ifndef LX_STORE_SEGMENT_H
#define LX_STORE_SEGMENT_H

#include "lynx/store.h"
#include "store/header.h"

/* Header of a segment that is being written; its names are set from create on. */
const lx_header *lx_segment_header(const lynx_segment *segment);

/* All tokens of the prompt, up to the end of the segment. */
const lynx_token *lx_segment_tokens(const lynx_segment *segment);

/* The key that it is sealed with; NULL: none. */
const uint8_t *lx_segment_key(const lynx_segment *segment);

#endif
