/* SPDX-License-Identifier: MIT */
/* run_cache.h - the stored cache that 'lynx run' answers from: a document's (--cache), or what
 * a store has of the prompt (--store, with a prefill node for the rest). */
#ifndef RUN_CACHE_H
#define RUN_CACHE_H

#include "cache.h"
#include "cli_document.h"
#include "lynx/runtime.h"

typedef struct run_cache {
    cache_options options;
    const char *name; /* of a document, or the path of a cache file; NULL: none is asked for */
    bool has_store;   /* --store was said */
    bool is_raw;      /* the question stands as it is; else as the document was stored */
    const char *template_name;

    lynx_store *store;
    lynx_place *place;
    lynx_cache_file *file;
    lynx_document *document;
    const lynx_token *tokens; /* of the document */
    uint32_t token_count;
    lynx_codec_spec spec;
    lynx_source *source;
} run_cache;

void run_cache_init(run_cache *cache, const char *command);

/* Find the document, or open the store alone. CLI_OK or an exit code after the message. */
int run_cache_open(run_cache *cache, lynx_engine *engine);

/* The document's tokens and those of 'question' behind them; the caller frees '*tokens'. */
int run_cache_prompt(run_cache *cache, lynx_engine *engine, const char *question,
                     lynx_token **tokens, uint32_t *count);

/* Have 'run', whose prompt is set, load what is stored of it. Without a prefill node what is
 * not there at all is computed as it would have been. */
int run_cache_use(run_cache *cache, lynx_run_options *run, bool has_remote);

void run_cache_close(run_cache *cache);

#endif
