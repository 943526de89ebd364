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
#include "runtime/crew.h"

/* A codec fitted to a model, and room for the planes of its largest page. */
typedef struct lx_page_coder {
    lynx_codec *codec;
    uint8_t *planes[LYNX_PLANES_MAX];
    size_t plane_bytes[LYNX_PLANES_MAX]; /* of the page that was encoded last */
    uint8_t *room; /* for a page, raw, of which the cache has not all; NULL: no windows */
} lx_page_coder;

enum { LX_PAGE_JOBS_MAX = 256 };

/* One page of several that are worked on at once. */
typedef struct lx_page_job {
    lynx_page_id id;
    uint32_t plane_count;
    lynx_bytes planes[LYNX_PLANES_MAX]; /* to be decoded, and */
    lynx_page_span span;                /* the tokens that they hold */
    lynx_tile tile;
    bool is_raw;
    lynx_status status;
} lx_page_job;

typedef struct lx_page_pass {
    lynx_engine *engine;
    const lynx_model *model;
    const lynx_allocator *memory;
    lynx_codec_options codec_options;
    uint32_t plane_count;
    size_t plane_room[LYNX_PLANES_MAX];
    size_t room_bytes;
    lx_page_coder coder;   /* of the caller's thread */
    uint32_t raw_pages;    /* pages that fell back to raw */
    lynx_on_page *on_page; /* of lx_page_pass_all and lx_page_pass_rest; NULL: nobody asks */
    void *user;

    /* For several pages at once; there from the first time on. */
    lx_crew *crew;
    lx_page_coder *coders; /* of its members from 1 on */
    uint32_t coder_count;
    lx_page_job *jobs; /* LX_PAGE_JOBS_MAX */
} lx_page_pass;

/* Memory for one page at a time is taken here; fini accepts a half-built pass. */
lynx_status lx_page_pass_init(lx_page_pass *pass, lynx_engine *engine,
                              const lynx_codec_spec *spec, const char *kernels,
                              const lynx_allocator *memory);
void lx_page_pass_fini(lx_page_pass *pass);

/* Read page 'id' from the engine's cache and encode it into the planes of the coder. */
lynx_status lx_page_encode(lx_page_pass *pass, lynx_page_id id, uint32_t prompt_tokens);

/* Decode 'planes' into page 'id' of the engine's cache. */
lynx_status lx_page_decode(lx_page_pass *pass, lynx_page_id id, uint32_t prompt_tokens,
                           const lynx_bytes *planes, uint32_t plane_count);

/* The same on a page that is mapped, with a coder that nobody else uses meanwhile. */
lynx_status lx_page_encode_tile(const lx_page_pass *pass, lx_page_coder *coder, lynx_page_id id,
                                uint32_t prompt_tokens, const lynx_tile *tile, bool *is_raw);

/* Planes may hold tokens in front of those that the cache of 'prompt_tokens' has of the page:
 * they were made where a window began earlier. LYNX_ERR_CORRUPT: they do not hold all of it. */
lynx_status lx_page_decode_tile(const lx_page_pass *pass, const lx_page_coder *coder,
                                const lx_page_job *job, uint32_t prompt_tokens,
                                const lynx_tile *tile);

/* One more coder of the pass; fini accepts a half-built one. */
lynx_status lx_page_coder_init(const lx_page_pass *pass, lx_page_coder *coder);
void lx_page_coder_fini(const lx_page_pass *pass, lx_page_coder *coder);

/* ---- several pages at once (page_jobs.c) ------------------------------------------------ */

/* The jobs of the pass, to be filled in. LYNX_ERR_MEMORY, LYNX_ERR_SYSTEM. */
lynx_status lx_page_jobs(lx_page_pass *pass, lx_page_job **jobs);

/* Decode the pages of the first 'count' jobs, which are different ones, on as many threads as
 * the engine lends pages to, and bring the jobs in the order in which that is quickest. Each
 * gets its status; the first that is not LYNX_OK is returned. */
lynx_status lx_page_decode_jobs(lx_page_pass *pass, uint32_t prompt_tokens, size_t count);

/* Called with the planes of a page on any of the threads, for different pages at once. */
typedef lynx_status lx_page_take(void *user, lynx_page_id id, const lynx_bytes *planes,
                                 uint32_t plane_count);

/* Encode the pages that the first 'count' jobs name and hand them to 'take', in any order. */
lynx_status lx_page_encode_jobs(lx_page_pass *pass, uint32_t prompt_tokens, size_t count,
                                lx_page_take *take, void *user);

void lx_page_jobs_fini(lx_page_pass *pass);

/* ---- all pages of a prompt --------------------------------------------------------------- */

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
