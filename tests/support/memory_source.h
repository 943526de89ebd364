/* SPDX-License-Identifier: MIT */
/* memory_source.h - a stored prefix in memory, made from an engine, with faults. */
#ifndef TEST_SUPPORT_MEMORY_SOURCE_H
#define TEST_SUPPORT_MEMORY_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "lynx/engine.h"
#include "lynx/source.h"

typedef struct memory_source {
    lynx_source base;
    lynx_source_prefix about;
    lynx_source_plane *planes; /* in the order of need */
    size_t count, given;
    atomic_size_t held; /* given and not released */
    size_t held_top;
    atomic_bool is_cancelled;

    /* Set before a run. */
    uint64_t pause_ns;    /* before each plane */
    uint64_t residual_ns; /* before the first page's plane 1, 2, ... */
    /* The pause before plane 1 ends when this has grown by 'drafts_min' in it, one behind it at
     * a quarter of them; NULL: neither does. */
    const atomic_uint *drafts;
    uint32_t drafts_min;
    /* Plane p of layer l comes when this is l or more, or 256 more for each plane before p, but
     * within ten seconds; NULL: at once. */
    const atomic_uint *awaited;
    uint32_t late;       /* planes that did not wait to see it */
    size_t fail_at;      /* at this plane; SIZE_MAX: never */
    lynx_status failure; /* with this; LYNX_ERR_CLOSED: it ends too early */
    size_t damage_at;    /* this plane has other bytes than it should; SIZE_MAX: none */
    size_t twice_at;     /* this plane comes a second time; SIZE_MAX: none */
} memory_source;

/* Prefill the first 'token_count' tokens on 'engine' and keep what 'spec' makes of their cache.
 */
void memory_source_make(memory_source *s, lynx_engine *engine, const lynx_token *tokens,
                        uint32_t token_count, const lynx_codec_spec *spec);
/* As before the first next(), without faults. */
void memory_source_rewind(memory_source *s);
void memory_source_free(memory_source *s);

#endif
