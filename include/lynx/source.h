/* SPDX-License-Identifier: MIT */
/*
 * source.h - where the planes of a stored prefix come from: a contract.
 *
 * The cache of the first 'token_count' tokens of a prompt exists somewhere (a file, a folder, a
 * web server). A source gives its planes in the order of need: plane 0 of all pages first, then
 * plane 1 of all, and so on. The run (lynx/runtime.h) does not know what stands behind it.
 *
 * Threads: next() is called by one thread at a time and may block; cancel() and release() may
 * come from any other at the same time.
 */
#ifndef LYNX_SOURCE_H
#define LYNX_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "lynx/codec.h"
#include "lynx/export.h"
#include "lynx/kv.h"
#include "lynx/memory.h"
#include "lynx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lynx_source lynx_source;

/* What a source has. */
typedef struct lynx_source_prefix {
    uint32_t token_count;    /* the first tokens of the prompt that it was opened for: >= 1, and
                                less than all, since the last one's logits are not stored */
    lynx_codec_spec spec;    /* of every page; without raw tokens at the end, so that a page
                                does not depend on what follows */
    uint64_t bytes;          /* of all planes that next() will give */
    const char *description; /* for people: "report.txt in ~/.cache/lynx/store"; borrowed */
} lynx_source_prefix;

/* One plane of one page. The bytes are the source's, unchanged until release(). */
typedef struct lynx_source_plane {
    lynx_page_id page;
    uint32_t plane;
    /* Tokens that it holds: those of lynx_page_span_of() in a prompt of token_count tokens, and
     * in front of them what the window of a shorter one reached. */
    lynx_page_span span;
    lynx_bytes bytes; /* their digest was right */
    void *owner;      /* for the source */
} lynx_source_plane;

typedef struct lynx_source_ops {
    void (*destroy)(lynx_source *source);
    const lynx_source_prefix *(*prefix)(const lynx_source *source);
    /* Each plane of each page that lynx_page_is_needed() names for a prompt of token_count
     * tokens, once. LYNX_ERR_CLOSED: that were all. LYNX_ERR_CORRUPT, LYNX_ERR_SYSTEM,
     * LYNX_ERR_TIMEOUT, LYNX_ERR_DENIED ...: the rest cannot be had; error_text says why. */
    lynx_status (*next)(lynx_source *source, lynx_source_plane *plane);
    void (*release)(lynx_source *source, const lynx_source_plane *plane);
    /* next() returns LYNX_ERR_CANCELLED soon, now and later. */
    void (*cancel)(lynx_source *source);
    /* One sentence about the last error, never NULL. */
    const char *(*error_text)(const lynx_source *source);
} lynx_source_ops;

/* First member of every source. */
struct lynx_source {
    const lynx_source_ops *ops;
};

/* End 'source', whose planes were all released. NULL is allowed. */
LYNX_API void lynx_source_destroy(lynx_source *source);

#ifdef __cplusplus
}
#endif

#endif
