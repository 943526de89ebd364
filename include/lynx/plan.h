/* SPDX-License-Identifier: MIT */
/*
 * plan.h - what each way to get an answer would take, from figures instead of a run.
 *
 * A request is described by its prompt, the two nodes, the link between them and the bytes of
 * the cache in each form. The model gives the time of every valid token for each method, tells
 * which method to use and at which link rate that changes. Formulas and what they leave out:
 * docs/plan.md.
 *
 * Units: seconds, bytes, tokens; rates per second. Time zero is the request at the decode node;
 * a method's times are expectations over the drafts that stand.
 *
 * Threads: pure functions; nothing here reads a clock, a file or the system.
 */
#ifndef LYNX_PLAN_H
#define LYNX_PLAN_H

#include <stdbool.h>
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

enum { LYNX_PLAN_DRAFTS_MAX = 4096 };

/* Ways to get an answer. */
typedef enum lynx_plan_method {
    LYNX_PLAN_LYNX,         /* draft on the anchor, verify on all planes */
    LYNX_PLAN_WAIT,         /* the same planes, streamed; decode when all are here */
    LYNX_PLAN_F16,          /* the cache as it is, once the prefill has ended */
    LYNX_PLAN_F16_STREAMED, /* the cache as it is, page by page during the prefill */
    LYNX_PLAN_INT8,         /* one plane of 8 bits, streamed */
    LYNX_PLAN_INT4,         /* one plane of 4 bits, streamed; the answer may be another one */
    LYNX_PLAN_RECOMPUTE,    /* the decode node prefills the prompt itself */
    LYNX_PLAN_TOKENS,       /* the prefill node decodes and sends tokens */
    LYNX_PLAN_CARRY,        /* it decodes on while the planes travel, then hands over */
    LYNX_PLAN_METHOD_COUNT
} lynx_plan_method;

/* "lynx", "wait", "f16", "f16_streamed", "int8", "int4", "recompute", "tokens", "carry"; NULL
 * for other values. */
LYNX_API const char *lynx_plan_method_name(lynx_plan_method method);

/* One machine, at about the length of this prompt. */
typedef struct lynx_plan_node {
    double wait_s;               /* until it can begin with this request; default 0 */
    double prefill_tokens_per_s; /* 0: it does not prefill */
    double step_s;               /* one token after the other; 0: it does not decode */
    double exact_step_s;         /* a step that agrees bit for bit with a pass, as Lynx needs it
                                    (padded where the engine asks for that). 0: as step_s */
    double draft_step_s;         /* a step of a draft, which needs not agree. 0: as
                                    exact_step_s */
    double pass_s, row_s;        /* a pass over n tokens takes pass_s + n * row_s */
    uint32_t pass_tokens;        /* most tokens of one pass; more take several. 0: no bound */
    double encode_bytes_per_s, decode_bytes_per_s; /* codec, in bytes of the cache's own type;
                                                      0: takes no time */
} lynx_plan_node;

/* What lies between the two nodes. */
typedef struct lynx_plan_link {
    double bytes_per_s;        /* payload, > 0 */
    double share;              /* part of it that this request gets, in (0, 1]; default 1 */
    double round_trip_s;       /* default 0 */
    double anchor_bytes_ahead; /* queued for the link and first in line: planes 0 of others */
    double bytes_ahead;        /* all that is queued, those included: what planes behind the
                                  first wait for. >= anchor_bytes_ahead */
} lynx_plan_link;

/* Bytes of this prompt's cache in each form. */
typedef struct lynx_plan_cache {
    double raw_bytes;                    /* in the engine's own type, > 0 */
    double plane_bytes[LYNX_PLANES_MAX]; /* of the progressive codec; plane 0 is the anchor */
    uint32_t plane_count; /* >= 1; 1: nothing to draft on before it is all here */
    double int8_bytes, int4_bytes;
} lynx_plan_cache;

typedef struct lynx_plan_request {
    size_t struct_size;
    uint32_t prompt_tokens, answer_tokens; /* >= 1 each; answer: default 64 */
    uint32_t piece_tokens; /* the prefill runs, and pages leave, in pieces of so many. Default
                              256 */
    bool is_stored;        /* the cache exists and is only fetched. Default false */
    lynx_plan_node prefill, decode;
    lynx_plan_link link;
    lynx_plan_cache cache;
    double stands;            /* chance that a draft is right if those before it are, [0, 1] */
    uint32_t draft_count_max; /* at most LYNX_PLAN_DRAFTS_MAX. Default 62 */
    bool is_paced;            /* draft only what lynx_pace finds worth its row. Default true */
} lynx_plan_request;

/* Set every field to its default, others to zero. */
LYNX_API void lynx_plan_request_init(lynx_plan_request *request);

/* LYNX_OK or LYNX_ERR_ARGUMENT; '*why' (may be NULL) gets a sentence that lives for ever. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_plan_check(const lynx_plan_request *request,
                                                     const char **why);

/* Fill 'cache' for a prompt of 'prompt_tokens' tokens of a model of this shape: 'spec' is the
 * progressive codec; INT8 and INT4 are the codecs of these names. Pages that the codec would
 * send raw are not foreseen. 'memory' may be NULL.
 *
 * Returns LYNX_OK, LYNX_ERR_ARGUMENT or LYNX_ERR_MEMORY. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_plan_cache_of(lynx_plan_cache *cache,
                                                        const lynx_shape *shape,
                                                        uint32_t prompt_tokens,
                                                        const lynx_codec_spec *spec,
                                                        const lynx_allocator *memory);

/* What one method takes. Times are from zero; those of tokens behind the answer's end are NAN.
 */
typedef struct lynx_plan_times {
    bool is_possible; /* false: a node does not do what the method needs; the rest is NAN or 0
                       */
    double ttft_s;    /* first valid token */
    double tt2t_s, tt16t_s, tt32t_s, tt64t_s;
    double total_s;    /* last token of the answer */
    double own_s;      /* first token that the decode node produced, drafts too; NAN if none */
    double stall_s;    /* from the end of the prefill (zero if stored) to own_s; NAN if none */
    double anchor_s;   /* plane 0 is in the engine; NAN for methods without pages */
    double complete_s; /* all planes are; NAN for methods without pages */
    double drafted, accepted, verify_s;   /* Lynx; 0 otherwise */
    double bytes;                         /* that travel */
    double prefill_node_s, decode_node_s; /* how long each is busy with the request */
} lynx_plan_times;

/*
 * Predict one method. 'request' must have passed lynx_plan_check.
 */
LYNX_API void lynx_plan_predict(const lynx_plan_request *request, lynx_plan_method method,
                                lynx_plan_times *times);

/* Expected time of valid token 'index' (1 = first) of the answer; INFINITY if the method is not
 * possible, NAN behind the answer's end. */
LYNX_API double lynx_plan_token_s(const lynx_plan_request *request, lynx_plan_method method,
                                  uint32_t index);

/* ---- which one to use ------------------------------------------------------------------ */

#define LYNX_PLAN_BIT(method) (1u << (method))

typedef struct lynx_plan_options {
    size_t struct_size;
    uint32_t methods; /* a set of LYNX_PLAN_BIT. Default: lynx, wait, f16_streamed, int8 and
                         recompute, which are exact and leave the prefill node alone */
    uint32_t token;   /* what counts is the time of this valid token, or of the last one if the
                         answer is shorter; 0: the whole answer. Default 32 */
    lynx_plan_method kept; /* is in use, and left only for a method that is better by more than
                              'margin'. LYNX_PLAN_METHOD_COUNT (the default): none is; Lynx and
                              the best other method that are no further apart then go by the
                              second token: Lynx if it is earlier by more than 'margin' */
    double margin;         /* part of the time of the better one. Default 0.05 */
} lynx_plan_options;

LYNX_API void lynx_plan_options_init(lynx_plan_options *options);

typedef struct lynx_plan_choice {
    lynx_plan_method method; /* to use */
    lynx_plan_method other;  /* the best of the rest; equal to 'method' if there is none */
    double expected_s, other_s, lynx_s; /* of the token that counts; INFINITY: not possible */
} lynx_plan_choice;

/* LYNX_OK, or LYNX_ERR_UNSUPPORTED when no method of the set is possible. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_plan_choose(const lynx_plan_request *request,
                                                      const lynx_plan_options *options,
                                                      lynx_plan_choice *choice);

enum { LYNX_PLAN_TEXT_MAX = 512 };

/* A sentence or two for people: what to use and why, with the figures; "do not use Lynx here,
 * because ..." where that is so. 'text' has LYNX_PLAN_TEXT_MAX bytes. */
LYNX_API void lynx_plan_explain(const lynx_plan_request *request,
                                const lynx_plan_options *options,
                                const lynx_plan_choice *choice, char *text);

/* The choice changes from 'below' to 'above' at this rate of the link. */
typedef struct lynx_plan_crossover {
    double bytes_per_s;
    lynx_plan_method below, above;
} lynx_plan_crossover;

/* Link rates in [least, most] at which the choice changes, in rising order, to one part in a
 * thousand. '*count' is how many were found; at most 'capacity' are stored. Found by trying 64
 * rates in each factor of ten: a method that is best in less than that may be missed.
 *
 * Returns LYNX_OK, LYNX_ERR_ARGUMENT or LYNX_ERR_UNSUPPORTED (as lynx_plan_choose). */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_plan_crossovers(const lynx_plan_request *request,
                                                          const lynx_plan_options *options,
                                                          double least, double most,
                                                          lynx_plan_crossover *crossovers,
                                                          uint32_t capacity, uint32_t *count);

/* ---- many requests --------------------------------------------------------------------- */

/*
 * Requests that come at random (Poisson) to a cluster. Prefill nodes work on one after the
 * other, and each has a link of its own for what it sends, anchors of all requests before
 * residuals. A decode node has slots; a request without one waits. A request goes to the nodes
 * with the least to do.
 */
typedef struct lynx_plan_cluster {
    size_t struct_size;
    lynx_plan_request request; /* each of them, alone; what waits is left out: wait_s of the
                                  decode node and bytes ahead must be 0 */
    uint32_t prefill_nodes, decode_nodes, slots; /* >= 1 each; slots of each decode node.
                                                    Default 1 */
    double requests_per_s;                       /* > 0 */
    uint32_t request_count;                      /* >= 1. Default 20000 */
    uint32_t warm_count; /* the first ones, which do not count. Default 2000 */
    double spread;       /* prompts have (1 - spread) to (1 + spread) times the tokens, [0, 1).
                            Default 0 */
    uint32_t token;      /* as in lynx_plan_options. Default 32 */
    uint64_t seed;       /* the same gives the same. Default 1 */
} lynx_plan_cluster;

LYNX_API void lynx_plan_cluster_init(lynx_plan_cluster *cluster);

typedef struct lynx_plan_spread {
    double mean, p50, p95;
} lynx_plan_spread;

typedef struct lynx_plan_load {
    uint32_t requests;                         /* that counted; all of them were answered */
    lynx_plan_spread ttft_s, token_s, total_s; /* first, counted and last token */
    lynx_plan_spread wait_s;                   /* for a prefill node */
    lynx_plan_spread slot_wait_s;           /* for a slot, once there is something to decode */
    double prefill_use, link_use, slot_use; /* busy part of all of them until the last answer;
                                              near 1: more comes than they can do */
    double bytes;                           /* that travelled, of all requests */
    double in_system;                       /* requests at a time, on average, until then */
} lynx_plan_load;

/*
 * Run the requests by one method. Tokens and carry are not simulated: what they take depends on
 * how an engine shares prefills and steps. 'memory' may be NULL; it holds some hundred bytes
 * for each request.
 *
 * Returns LYNX_OK, LYNX_ERR_ARGUMENT ('*why' as in lynx_plan_check), LYNX_ERR_UNSUPPORTED (the
 * method, or a node that does not do what it needs) or LYNX_ERR_MEMORY.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_plan_simulate(const lynx_plan_cluster *cluster,
                                                        lynx_plan_method method,
                                                        const lynx_allocator *memory,
                                                        lynx_plan_load *load, const char **why);

#ifdef __cplusplus
}
#endif

#endif
