/* SPDX-License-Identifier: MIT */
/*
 * runtime.h - the two nodes: engine, codec, session and links put together.
 *
 * Each connection has a thread that pumps its bytes (libuv); each engine has the thread of its
 * caller. They meet in the session object, under one lock that is never held while the engine
 * computes or bytes are moved. So page i+1 is quantised while page i is on the wire, and pages
 * are checked and put away while the engine drafts.
 *
 *     prefill node    many peers, one engine: requests are worked on one after the other, and
 *                     their planes leave together, anchors first
 *     remote          a prefill node as a decode node sees it: it connects, and connects again
 *                     after a cut, while requests go on
 *     run             one prompt on a decode node; several may run side by side, each with an
 *                     engine of its own, over the same remote
 *
 * A stop flag may be set by a signal handler, or by another thread with an atomic store.
 *
 * Shutdown order: runs end, then the remote is closed (it sends what is queued - the reason,
 * above all - for a bounded time and joins its threads), then the engine. A prefill node: drain
 * it or stop its run, then destroy it.
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
#include "lynx/source.h"
#include "lynx/speculate.h"
#include "lynx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LYNX_TEXT_MAX = 768 }; /* bytes of a sentence that explains an error */

/* Nanoseconds of the monotonic clock that all times here are taken from. */
LYNX_API lynx_time_ns lynx_clock_now(void);

/* A sentence for the operator: a connection came, broke or was refused. 'status' is LYNX_OK for
 * what is in order. Called on any thread, without a lock. */
typedef void lynx_on_log(void *user, lynx_status status, const char *text);

/* ---- pump: the threads of a session's end -------------------------------------------- */

/* Moves bytes between the lanes of a sender or receiver and their links, a thread each. */
typedef struct lynx_pump lynx_pump;

typedef struct lynx_pump_options {
    size_t struct_size;
    uint64_t greet_ns;  /* a peer that says nothing for so long is dropped. Default 5 s */
    uint32_t links_max; /* links at once, each with a thread. Default 4096 */
    lynx_on_log *log;   /* links that ended before a session heard of them; may be NULL */
    void *user;
    const lynx_allocator *memory; /* kept; used from all threads */
} lynx_pump_options;

LYNX_API void lynx_pump_options_init(lynx_pump_options *options);

/* Keeps the sender (or receiver), which is used only with the lock held from now on. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_pump_create_sender(lynx_pump **pump,
                                                             lynx_sender *sender,
                                                             const lynx_pump_options *options);
LYNX_API LYNX_MUST_CHECK lynx_status lynx_pump_create_receiver(
    lynx_pump **pump, lynx_receiver *receiver, const lynx_pump_options *options);

/* End every link, sending what is queued for up to 'linger_ns', join all threads, free. */
LYNX_API void lynx_pump_destroy(lynx_pump *pump, uint64_t linger_ns);

/* Give a link to a thread of its own. On success the pump takes it; on failure it stays with
 * the caller; LYNX_BLOCKED: links_max are attached. 'lane' is that of a receiver, and ignored
 * for a sender, which hears of the link with its first bytes, when the peer is known. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_pump_attach(lynx_pump *pump, lynx_link *link,
                                                      uint32_t lane);

/* The end may be used between these. Unlock wakes the threads that have something to send. */
LYNX_API void lynx_pump_lock(lynx_pump *pump);
LYNX_API void lynx_pump_unlock(lynx_pump *pump);

/* With the lock held: wait until there is a new event, a plane was given back, a link came or
 * went, or 'deadline'. May return earlier. */
LYNX_API void lynx_pump_wait(lynx_pump *pump, lynx_time_ns deadline);

/* ---- prefill node -------------------------------------------------------------------- */

typedef struct lynx_prefill_node lynx_prefill_node;

typedef struct lynx_prefill_options {
    size_t struct_size;
    lynx_engine *engine;          /* kept */
    lynx_session_options session; /* limits and time-outs; model and memory are filled in */
    uint32_t connects_per_s;      /* more connections wait at the door. Default 50 */
    uint64_t queue_bytes_max;  /* planes that wait for peers; a request that would exceed it is
                                  refused. Default 4 GiB */
    uint32_t carry_tokens_max; /* of an answer, when a request lets it carry on. 0: never.
                                  Default 1024 */
    bool guesses;              /* beside the steps of tokens that it chooses; as in
                                  lynx_run_options. Default true */
    uint64_t greet_ns;         /* handshake and hello. Default 5 s */
    const char *kernels;       /* as in lynx_codec_options. Default NULL */
    volatile sig_atomic_t *stop; /* non-zero: run ends soon. May be NULL */
    bool is_once;                /* run ends when the first peer has gone. Default false */
    lynx_on_log *log;            /* may be NULL */
    void *user;
    const lynx_allocator *memory; /* kept; used from all threads */
} lynx_prefill_options;

LYNX_API void lynx_prefill_options_init(lynx_prefill_options *options);

typedef struct lynx_prefill_report {
    uint64_t requests;        /* accepted */
    uint64_t prefilled;       /* tokens run through the model */
    uint64_t carried;         /* tokens chosen ahead of decode nodes (LYNX_REQUEST_CARRY_ON) */
    uint64_t prefill_ns;      /* of the last request; 0 when its cache was still held */
    uint64_t encode_ns;       /* in the codec, of the last request */
    uint64_t cache_bytes;     /* of the last request, in the engine's own type */
    uint64_t residual_age_ns; /* of the oldest residual that waits to leave; 0: none does */
    lynx_session_counters counters;
    uint32_t raw_pages; /* of the last request: travelled raw although the codec codes them */
} lynx_prefill_report;

/* Threads: connect and report from any, run from the one that owns the engine. */
LYNX_API LYNX_MUST_CHECK lynx_status
lynx_prefill_node_create(lynx_prefill_node **node, const lynx_prefill_options *options);
LYNX_API void lynx_prefill_node_destroy(lynx_prefill_node *node);

/* A peer came. On success the node takes 'link'; on failure it stays with the caller.
 * LYNX_BLOCKED: too many came within this second, try again a little later. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_prefill_node_connect(lynx_prefill_node *node,
                                                               lynx_link *link);

/* Work on requests until stopped. LYNX_OK, or, with is_once, why the peer went; 'text'
 * (LYNX_TEXT_MAX bytes) gets one sentence then. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_prefill_node_run(lynx_prefill_node *node, char *text);

/* Stop gently, from any thread: requests that wait for the engine and those to come, and new
 * sessions, are refused with LYNX_ERR_CLOSED, so that decode nodes turn to another node; what
 * is in work or on its way goes on, resumed after a cut, too. run ends as soon as all of it is
 * delivered, or after 'grace_ns'. A later call changes nothing; the stop flag still ends at
 * once.
 */
LYNX_API void lynx_prefill_node_drain(lynx_prefill_node *node, uint64_t grace_ns);

LYNX_API lynx_prefill_report lynx_prefill_node_report(lynx_prefill_node *node);

/* ---- remote: a prefill node as a decode node sees it --------------------------------- */

typedef struct lynx_remote lynx_remote;

/* Make a connection, waiting at most some seconds. 'text' (LYNX_TEXT_MAX bytes) gets one
 * sentence on failure. Called on a thread of the remote. ERR_ARGUMENT, ERR_DENIED and
 * ERR_UNSUPPORTED are final; after others it is tried again. */
typedef lynx_status lynx_dial(void *user, uint32_t lane, lynx_link **link, char *text);

typedef struct lynx_remote_options {
    size_t struct_size;
    lynx_session_options session; /* with its model; session_id and memory are filled in */
    lynx_dial *dial;
    void *dial_user;
    uint64_t first_patience_ns; /* no connection at all for so long: given up. Default 3 s */
    uint64_t patience_ns;       /* no connection after a cut. Default 10 s */
    uint64_t retry_least_ns;    /* between two attempts, doubling to ... Default 50 ms */
    uint64_t retry_most_ns;     /* ... this. Default 2 s */
    bool is_lasting;  /* a remote that was given up is dialled on, whatever the reason; requests
                         are refused at once until it is there again. Default false */
    lynx_on_log *log; /* may be NULL */
    void *log_user;
    const lynx_allocator *memory; /* kept; used from all threads */
} lynx_remote_options;

LYNX_API void lynx_remote_options_init(lynx_remote_options *options);

/* Begin to connect; returns at once. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_remote_open(lynx_remote **remote,
                                                      const lynx_remote_options *options);
/* Say good-bye and join all threads. Every run over it must have returned. NULL is allowed. */
LYNX_API void lynx_remote_close(lynx_remote *remote);
LYNX_API lynx_session_counters lynx_remote_counters(lynx_remote *remote);

/* What is known of a remote, from its connections and from the runs over it. A rate or time is
 * 0 until it was seen; newer ones count more. */
typedef struct lynx_remote_status {
    bool is_connected; /* its first connection is up */
    bool is_given_up;  /* requests are refused at once */
    /* The last failure: it was given up, or a run went elsewhere; LYNX_OK: none so far. */
    lynx_status failure;
    lynx_time_ns failed_at;
    uint32_t failures; /* runs that failed since the last that went well */
    char text[LYNX_TEXT_MAX];

    double link_bytes_per_s; /* while planes of finished prefills came, of all runs together */
    double round_trip_s;
    double prefill_tokens_per_s; /* from the begin of its work, the codec's included */
    double wait_s;               /* that it let a request wait, for the work of others */
    double step_s;               /* of a token that it chose while it carried on */
    uint32_t carries;            /* requests that let it carry on */
    lynx_time_ns measured_at;    /* the link rate; 0: never */

    uint32_t requests;                         /* runs that use it now */
    uint32_t tokens_due;                       /* of their prompts, not prefilled yet */
    uint64_t cache_bytes_due[LYNX_PLANES_MAX]; /* of their caches, in the engine's own type: of
                                                  which this plane is not here yet */
} lynx_remote_status;

LYNX_API void lynx_remote_status_of(lynx_remote *remote, lynx_remote_status *status);

/* ---- decode node --------------------------------------------------------------------- */

/* What the decode node does with the cache. */
typedef enum lynx_method {
    LYNX_METHOD_SPECULATE, /* draft on the anchor, verify on the full cache: Lynx */
    LYNX_METHOD_CARRY,  /* the same, but a prefill node that is idle decodes ahead on the full
                           cache and sends its tokens; drafts begin where it stops */
    LYNX_METHOD_WAIT,   /* wait for every plane, then decode: the plain transfers */
    LYNX_METHOD_ANCHOR, /* wait for the anchor, decode on it, never verify */
    LYNX_METHOD_TOKENS, /* no pages: the prefill node decodes on */
    LYNX_METHOD_LOCAL,  /* no link: prefill here, decode on the cache as it is */
    LYNX_METHOD_LOCAL_FULL /* no link: prefill here, pass the cache through the codec, decode on
                              the result: the target that SPECULATE must equal */
} lynx_method;

/* What to do when no prefill node can finish a request. */
typedef enum lynx_on_loss {
    LYNX_ON_LOSS_RECOMPUTE, /* prefill here; the tokens are those that were promised */
    LYNX_ON_LOSS_FAIL,      /* end with the error */
    LYNX_ON_LOSS_KEEP /* go on with the anchor if it is complete, unverified and marked so;
                         else recompute */
} lynx_on_loss;

/* Something that happened; for streaming output, progress bars and timelines. */
typedef enum lynx_moment_type {
    LYNX_MOMENT_READY,    /* is_stored: the peer holds the cache and waits to be asked for it.
                             The clock stands still until the call returns */
    LYNX_MOMENT_REQUEST,  /* clock zero of the run */
    LYNX_MOMENT_PREFILL,  /* 'count' of 'total' prompt tokens are prefilled */
    LYNX_MOMENT_PLANE,    /* a plane arrived: 'page', 'plane', 'bytes' of it */
    LYNX_MOMENT_ANCHOR,   /* the anchor is complete */
    LYNX_MOMENT_COMPLETE, /* every plane is here */
    LYNX_MOMENT_DRAFT,    /* 'token' was drafted at answer index 'count'. Drafts behind a second
                             choice are told, and count, when that is valid, before they are
                             verified */
    LYNX_MOMENT_YIELD,    /* CARRY: the prefill node stopped after 'count' tokens */
    LYNX_MOMENT_HANDOVER, /* CARRY: this node takes over after 'count' tokens */
    LYNX_MOMENT_REVIEW,   /* a pass over 'total' drafts on a better cache begins, while the rest
                             of it is on its way */
    LYNX_MOMENT_REVIEWED, /* 'count' of 'total' drafts are kept, those behind are withdrawn */
    LYNX_MOMENT_VERIFY,   /* the pass over 'total' drafts begins; behind it there may be others,
                             over what was drafted behind a second choice that is valid */
    LYNX_MOMENT_VERIFIED, /* 'count' of 'total' drafts stand */
    LYNX_MOMENT_LOST,     /* the prefill node or the source is given up: 'text'; the next one,
                             the same one without the source, or this node goes on */
    LYNX_MOMENT_TOKEN     /* 'token' is valid at answer index 'count' */
} lynx_moment_type;

typedef struct lynx_moment {
    lynx_moment_type type;
    lynx_time_ns time;
    uint32_t count, total;
    lynx_page_id page;
    uint32_t plane;
    size_t bytes;
    lynx_token token;
    const lynx_logprobs *logprobs; /* TOKEN: if they were asked for and the token is verified;
                                      else NULL. Borrowed */
    lynx_status status;            /* LOST: the kind of failure */
    const char *text;              /* LOST: why; borrowed */
    bool is_source;                /* LOST: it is the source, not the prefill node */
} lynx_moment;

/* Called on the calling thread of lynx_run, in the order of time. */
typedef void lynx_on_moment(void *user, const lynx_moment *moment);

/* A page of the prompt's cache that is in the engine's, in full precision: all its planes, of
 * a cache of 'token_count' tokens. 'planes' are borrowed. On the calling thread of lynx_run,
 * each page once; after LYNX_MOMENT_LOST all of them anew. */
typedef void lynx_on_page(void *user, lynx_page_id page, uint32_t token_count,
                          const lynx_bytes *planes, uint32_t plane_count);

typedef struct lynx_run_options {
    size_t struct_size;
    lynx_engine *engine;        /* borrowed */
    lynx_method method;         /* Default SPECULATE */
    const lynx_token *prompt;   /* borrowed */
    uint32_t prompt_tokens;     /* >= 1 */
    uint32_t answer_tokens_max; /* tokens of the answer, the end token counted. Default 64 */
    bool ignore_end;            /* go on behind an end token (benchmarks). Default false */
    uint32_t draft_count_max;   /* bound of the drafts. Default 62 */
    /* [0, 7]: of so many drafts, which lay closest to another token, that one is drafted on as
     * well, as long as the rest of the cache is on its way: where it is the right one, what
     * stands behind it needs no step. Tokens are the same without. At temperature 0, without
     * biases, penalties and a grammar. Default 3 */
    uint32_t branch_count_max;
    bool guesses;    /* the second token of a padded step is one that followed the same tokens
                        before: when it is what the step chooses, the next token needs no step.
                        Tokens are the same without. Where steps are not padded, or not exact, none
                        are made. Default true */
    lynx_pace *pace; /* what drafting brought in earlier runs on this engine; read and renewed
                        by one run at a time. NULL (default): draft up to the bound */
    /* The cache of the prompt's first tokens is stored, and is loaded from here. Borrowed, and
     * read to its end or cancelled. NULL (default): none.
     * Without remotes what is behind it is computed on this node, and no exact first token
     * comes ahead of the cache: it is drafted, too. SPECULATE, WAIT or ANCHOR.
     * With remotes the first of them computes the prompt, and sends the pages behind the whole
     * pages that are stored; everything, if it knows no held pages, or other ones (its weights
     * differ). The cache is then made of stored pages and of pages that were sent, in 'spec'.
     * When the source fails, and for the next remote, all pages are sent. CARRY is SPECULATE;
     * TOKENS, as LOCAL and LOCAL_FULL, takes nothing from it. */
    lynx_source *source;
    uint32_t
        cached_tokens;    /* LOCAL_FULL: only the cache of so many first tokens, less than all,
                             goes through the codec, as if it had been stored, and what is
                             behind it is computed on that. 0 (default): the whole prompt's */
    lynx_codec_spec spec; /* Default "range"; stored pages have their own */
    /* To be kept: the cache of so many first tokens, less than all. With a source that has
     * fewer, what is behind its pages goes through the codec up to here, too, so that the
     * answer stands on what is kept. Without one, cached_tokens or the prompt say what does. 0
     * (default): nothing more than the source's */
    uint32_t kept_tokens;
    lynx_on_page *on_page;  /* of all pages, those of the source too. Default NULL */
    lynx_sampling sampling; /* Default greedy. A grammar does not go with TOKENS, and with one
                               CARRY is SPECULATE */
    bool wants_logprobs;    /* of the tokens of the answer. Default false */
    uint32_t top_logprobs;  /* [0, LYNX_TOP_LOGPROBS_MAX]. Default 0 */
    bool is_stored;         /* the peer finishes (or still holds) the cache first; the clock
                               starts when it is asked to send. Not with CARRY. Default
                               false */
    bool after_prefill;     /* no page leaves before the prefill ended. Default false */
    lynx_on_loss on_loss;   /* Default RECOMPUTE */
    uint64_t anchor_deadline_ns;   /* from the request (or START) to the complete anchor */
    uint64_t complete_deadline_ns; /* ... to the complete cache. 0 (default): no deadline; else
                                      the remote counts as lost for this prompt */
    bool digest_cache;      /* fill 'cache_digest'; costs a read of the cache. Default false
                             */
    bool skip_verify;       /* MUTATION CHECK AND BENCH ONLY: take drafts as valid, and make
                               all tokens as drafts are made. Default false */
    bool flip_residual_bit; /* MUTATION CHECK ONLY: change one bit of the first residual plane
                               behind its checksum. Default false */
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
    uint64_t verify_ns;    /* duration of the verification passes */
    uint64_t decode_cache_ns;   /* spent in the codec and in writing pages */
    uint32_t computed_tokens;   /* of the prompt, on this node: 0 when all of it came */
    uint32_t held_tokens;       /* of the prompt, whose pages the remote left out */
    uint32_t drafted, accepted; /* drafts that were verified, and those that stood */
    uint32_t branches;          /* second choices that were drafted on */
    uint32_t branch_drafted;    /* drafts behind those that were right; those that stood */
    uint32_t branch_accepted;
    uint32_t reviews;                /* passes over drafts before the cache was complete */
    uint32_t withdrawn;              /* drafts that they took back */
    uint32_t steps;                  /* of one token each, for drafts and for plain decoding */
    uint32_t guessed, guessed_right; /* guesses beside them; those that saved a step */
    uint32_t carried;       /* CARRY: tokens behind the first that the prefill node chose */
    uint32_t carried_other; /* those of them that this node would have chosen otherwise: 0, but
                               for engines that do not compute the same bits */
    bool is_recomputed;     /* no prefill node could finish: the prompt was prefilled here */
    bool is_unverified;     /* LYNX_ON_LOSS_KEEP: the tokens behind the first are drafts */
    uint64_t bytes_before_first_draft; /* on the wire, framing included */
    uint64_t bytes_total;
    uint64_t cache_bytes;  /* of the prompt in the engine's own type */
    uint64_t cache_digest; /* of the prompt's cache on all planes, as tokens are decoded on it;
                              0 unless asked for. The same as that of LOCAL_FULL on the same
                              machine: the cache arrived bit for bit */
} lynx_run_result;

/*
 * Run one prompt to the end of its answer, over the first of 'remotes' that can ('count' may be
 * 0 for the local methods). 'result' holds the caller's arrays, of 'capacity' >=
 * answer_tokens_max. 'text' (LYNX_TEXT_MAX bytes) gets one sentence on failure; 'result' then
 * holds the valid tokens so far. Another model, version or identity of a remote ends the run
 * whatever 'on_loss' says.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_run(lynx_remote *const remotes[], uint32_t count,
                                              const lynx_run_options *options,
                                              lynx_run_result *result, char *text);

#ifdef __cplusplus
}
#endif

#endif
