/* SPDX-License-Identifier: MIT */
/*
 * runtime.h - the two nodes: engine, codec, session and link put together.
 *
 * Each end of a connection has two threads: a link thread that pumps bytes (libuv), and the
 * calling thread, which owns the engine. They meet in the session object, under one lock that
 * is never held while the engine computes or a socket is used. So page i+1 is quantised while
 * page i is on the wire, and pages are checked and put away while the engine drafts.
 *
 * Shutdown order: the engine thread stops first, the link thread sends what is queued (the
 * reason, above all) for a bounded time, then the link is closed and the session destroyed.
 *
 * Threads: each function runs on the calling thread until its work is done. An engine is used
 * by one call at a time.
 */
#ifndef LYNX_RUNTIME_H
#define LYNX_RUNTIME_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/codec.h"
#include "lynx/engine.h"
#include "lynx/export.h"
#include "lynx/link.h"
#include "lynx/memory.h"
#include "lynx/session.h"
#include "lynx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LYNX_TEXT_MAX = 768 }; /* bytes of a sentence that explains an error */

/* Nanoseconds of the monotonic clock that all times here are taken from. */
LYNX_API lynx_time_ns lynx_clock_now(void);

/* ---- prefill node -------------------------------------------------------------------- */

typedef struct lynx_serve_report {
    uint64_t requests;    /* accepted */
    uint64_t prefilled;   /* tokens run through the model */
    uint64_t prefill_ns;  /* of the last request; 0 when its cache was still held */
    uint64_t encode_ns;   /* in the codec, of the last request */
    uint64_t cache_bytes; /* of the last request, in the engine's own type */
    lynx_session_counters counters;
    uint32_t raw_pages; /* of the last request: travelled raw although the codec codes them */
} lynx_serve_report;

/* What a prefill node remembers between connections: which prompt its engine still holds. */
typedef struct lynx_held_prompt lynx_held_prompt;

LYNX_API LYNX_MUST_CHECK lynx_status lynx_held_prompt_create(lynx_held_prompt **held,
                                                             const lynx_allocator *memory);
LYNX_API void lynx_held_prompt_destroy(lynx_held_prompt *held);

typedef struct lynx_serve_options {
    size_t struct_size;
    lynx_engine *engine;          /* borrowed */
    lynx_held_prompt *held;       /* borrowed; NULL: nothing is remembered */
    bool allow_other_weights;     /* Default false */
    uint64_t timeout_ns;          /* peer silent. Default 10 s */
    const char *kernels;          /* as in lynx_codec_options. Default NULL */
    volatile sig_atomic_t *stop;  /* non-zero: end soon. May be NULL */
    const lynx_allocator *memory; /* used from both threads */
} lynx_serve_options;

LYNX_API void lynx_serve_options_init(lynx_serve_options *options);

/*
 * Serve one connection until the peer closes it. Takes 'link'. 'text' (LYNX_TEXT_MAX bytes)
 * gets one sentence unless the result is LYNX_OK (the peer said good-bye). 'report' may be
 * NULL.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_serve(lynx_link *link,
                                                const lynx_serve_options *options,
                                                lynx_serve_report *report, char *text);

/* ---- decode node --------------------------------------------------------------------- */

/* What the decode node does with the cache. */
typedef enum lynx_method {
    LYNX_METHOD_SPECULATE, /* draft on the anchor, verify on the full cache: Lynx */
    LYNX_METHOD_WAIT,      /* wait for every plane, then decode: the plain transfers */
    LYNX_METHOD_ANCHOR,    /* wait for the anchor, decode on it, never verify */
    LYNX_METHOD_TOKENS,    /* no pages: the prefill node decodes on */
    LYNX_METHOD_LOCAL,     /* no link: prefill here, decode on the cache as it is */
    LYNX_METHOD_LOCAL_FULL /* no link: prefill here, pass the cache through the codec, decode on
                              the result: the target that SPECULATE must equal */
} lynx_method;

/* Something that happened; for streaming output, progress bars and timelines. */
typedef enum lynx_moment_type {
    LYNX_MOMENT_REQUEST,  /* clock zero of the run */
    LYNX_MOMENT_PREFILL,  /* 'count' of 'total' prompt tokens are prefilled */
    LYNX_MOMENT_PLANE,    /* a plane arrived: 'plane', 'bytes' of it */
    LYNX_MOMENT_ANCHOR,   /* the anchor is complete */
    LYNX_MOMENT_COMPLETE, /* every plane is here */
    LYNX_MOMENT_DRAFT,    /* 'token' was drafted at answer index 'count' */
    LYNX_MOMENT_VERIFY,   /* the pass over 'total' drafts begins */
    LYNX_MOMENT_VERIFIED, /* 'count' of 'total' drafts stand */
    LYNX_MOMENT_TOKEN     /* 'token' is valid at answer index 'count' */
} lynx_moment_type;

typedef struct lynx_moment {
    lynx_moment_type type;
    lynx_time_ns time;
    uint32_t count, total;
    uint32_t plane;
    size_t bytes;
    lynx_token token;
} lynx_moment;

/* Called on the calling thread of lynx_run, in the order of time. */
typedef void lynx_on_moment(void *user, const lynx_moment *moment);

typedef struct lynx_run_options {
    size_t struct_size;
    lynx_engine *engine;        /* borrowed */
    lynx_method method;         /* Default SPECULATE */
    const lynx_token *prompt;   /* borrowed */
    uint32_t prompt_tokens;     /* >= 1 */
    uint32_t answer_tokens_max; /* tokens of the answer, the end token counted. Default 64 */
    bool ignore_end;            /* go on behind an end token (benchmarks). Default false */
    uint32_t draft_count_max;   /* bound of the drafts. Default 62 */
    lynx_codec_spec spec;       /* Default "range" */
    lynx_sampling sampling;     /* Default greedy */
    bool is_stored;             /* the peer finishes (or still holds) the cache first; the clock
                                   starts when it is asked to send. Default false */
    bool after_prefill;         /* no page leaves before the prefill ended. Default false */
    bool allow_other_weights;   /* Default false */
    bool digest_cache;          /* fill 'cache_digest'; costs a read of the cache. Default false
                                 */
    bool skip_verify;           /* MUTATION CHECK ONLY: take drafts as valid. Default false */
    bool flip_residual_bit; /* MUTATION CHECK ONLY: change one bit of the first residual plane
                               behind its checksum. Default false */
    uint64_t timeout_ns;    /* peer silent. Default 10 s */
    const char *kernels;
    lynx_on_moment *on_moment; /* may be NULL */
    void *user;
    volatile sig_atomic_t
        *stop; /* non-zero: cancel and return LYNX_ERR_CANCELLED. May be NULL */
    const lynx_allocator *memory; /* used from both threads */
} lynx_run_options;

LYNX_API void lynx_run_options_init(lynx_run_options *options);

typedef struct lynx_run_result {
    lynx_token *tokens;  /* the answer, all of it valid; 'capacity' of the caller */
    lynx_time_ns *times; /* when each was produced, from the clock's zero */
    uint32_t capacity;
    uint32_t token_count;
    bool has_ended; /* the last token ends the text */

    uint64_t prefill_ns;   /* zero of the clock to the end of the prefill as seen here */
    uint64_t anchor_ns;    /* ... to the complete anchor; 0 if there was none */
    uint64_t complete_ns;  /* ... to the complete cache; 0 if there was none */
    uint64_t first_own_ns; /* ... to the first token that this node produced (draft or valid) */
    uint64_t verify_ns;    /* duration of the verification pass */
    uint64_t decode_cache_ns; /* spent in the codec and in writing pages */
    uint32_t drafted, accepted;
    uint64_t bytes_before_first_draft; /* on the wire, framing included */
    uint64_t bytes_total;
    uint64_t cache_bytes;  /* of the prompt in the engine's own type */
    uint64_t cache_digest; /* of the prompt's cache on all planes, as tokens are decoded on it;
                              0 unless asked for. The same as that of LOCAL_FULL on the same
                              machine: the cache arrived bit for bit */
} lynx_run_result;

/*
 * Run one prompt to the end of its answer. Takes 'link' (NULL for the local methods). 'result'
 * holds the caller's arrays, of 'capacity' >= answer_tokens_max. 'text' (LYNX_TEXT_MAX bytes)
 * gets one sentence on failure; 'result' then holds the valid tokens so far.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_run(lynx_link *link, const lynx_run_options *options,
                                              lynx_run_result *result, char *text);

#ifdef __cplusplus
}
#endif

#endif
