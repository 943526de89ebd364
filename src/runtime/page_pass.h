/* SPDX-License-Identifier: MIT */
/* page_pass.h - pages between an engine's cache and a codec, for both nodes. */
#ifndef LX_RUNTIME_PAGE_PASS_H
#define LX_RUNTIME_PAGE_PASS_H

#include <stdbool.h>
#include <stdint.h>

#include "lynx/codec.h"
#include "lynx/engine.h"
#include "lynx/memory.h"
#include "lynx/runtime.h"
#include "lynx/source.h"

/* A codec fitted to a model, and room for the planes of its largest page. */
typedef struct lx_page_pass {
    lynx_engine *engine;
    const lynx_model *model;
    const lynx_allocator *memory;
    lynx_codec *codec;
    uint32_t plane_count;
    uint8_t *planes[LYNX_PLANES_MAX];
    size_t plane_room[LYNX_PLANES_MAX];
    size_t plane_bytes[LYNX_PLANES_MAX]; /* set by lx_page_encode */
    uint32_t raw_pages;                  /* pages that fell back to raw */
    lynx_on_page *on_page; /* of lx_page_pass_all and lx_page_pass_rest; NULL: nobody asks */
    void *user;
} lx_page_pass;

/* All memory is taken here; fini accepts a half-built pass. */
lynx_status lx_page_pass_init(lx_page_pass *pass, lynx_engine *engine,
                              const lynx_codec_spec *spec, const char *kernels,
                              const lynx_allocator *memory);
void lx_page_pass_fini(lx_page_pass *pass);

/* Read page 'id' from the engine's cache and encode it into 'planes'. */
lynx_status lx_page_encode(lx_page_pass *pass, lynx_page_id id, uint32_t prompt_tokens);

/* Decode 'planes' into page 'id' of the engine's cache. */
lynx_status lx_page_decode(lx_page_pass *pass, lynx_page_id id, uint32_t prompt_tokens,
                           const lynx_bytes *planes, uint32_t plane_count);

/* Decode every page that 'source' gives, in full precision, into the engine's cache, which has
 * room for its prefix (reserve). commit_pages is the caller's. The source is read by a thread
 * of its own, ahead of the codec. */
lynx_status lx_page_load(lx_page_pass *pass, lynx_source *source);

/* Called before a page; false ends the pass with LYNX_ERR_CANCELLED. */
typedef bool lx_page_pass_goes_on(void *user);

/* Replace every page of the prompt by what its planes give: the full-precision stage of the
 * codec without any transfer. 'goes_on' may be NULL. */
lynx_status lx_page_pass_all(lx_page_pass *pass, uint32_t prompt_tokens,
                             lx_page_pass_goes_on *goes_on, void *user);

/* The same for the pages that have tokens from 'first_token' on; those before them stay. */
lynx_status lx_page_pass_rest(lx_page_pass *pass, uint32_t first_token, uint32_t prompt_tokens);

/* Digest of every page of the prompt as it stands in the engine's cache. Equal on two nodes of
 * the same build and layout when their caches are equal bit for bit. */
lynx_status lx_page_pass_digest(lx_page_pass *pass, uint32_t prompt_tokens, uint64_t *digest);

#endif
