/* SPDX-License-Identifier: MIT */
/*
 * policy.h - which prefill nodes a request goes to and by which method, from what earlier
 * requests showed.
 *
 *     figures of a prefill node    measured by the runs over it (lynx_remote_status)
 *     figures of this node         noted here at the end of each answer
 *     what they mean               lynx/plan.h
 *
 * Before a node was measured, requests to it use Lynx. A figure that nobody renews is believed
 * less and less: for each minute the link and the prefill node count as twice as fast. So one
 * that was measured in a bad moment is tried again, under a deadline where it was so slow that
 * something else would do.
 *
 * Threads: any. lx_policy_choose_among is pure.
 */
#ifndef LX_SERVE_POLICY_H
#define LX_SERVE_POLICY_H

#include <pthread.h>

#include "lynx/plan.h"
#include "lynx/serve.h"

/* Why a request that could have gone to a prefill node did not, or not to the end. */
typedef enum lx_fallback {
    LX_FALLBACK_NONE,
    LX_FALLBACK_UNREACHABLE, /* no node is connected */
    LX_FALLBACK_FAILING,     /* runs over them failed a moment ago */
    LX_FALLBACK_SLOWER,      /* this node is expected to be quicker */
    LX_FALLBACK_LOST,        /* given up while the request was under way */
    LX_FALLBACK_COUNT
} lx_fallback;

const char *lx_fallback_name(lx_fallback fallback);

/* What this node has shown; 0: not yet. */
typedef struct lx_own_figures {
    double prefill_tokens, prefill_s; /* as if no other slot had been busy */
    double step_s;                    /* of one token */
    double draft_s;                   /* of one draft; 0: as a step */
    double row_s;                     /* one more token in a pass; the first takes a step */
    double hits, misses;           /* drafts that stood, verifications that found a wrong one */
    double decode_bytes, decode_s; /* codec, in bytes of the engine's own type */
    double answer_tokens;          /* of an answer */
    double store_bytes, store_s;   /* that came from the store */
} lx_own_figures;

typedef struct lx_policy {
    pthread_mutex_t lock;
    lx_own_figures own;
    lynx_time_ns tried_at[LYNX_SERVE_REMOTES_MAX]; /* what nobody renewed was tried anew */
} lx_policy;

void lx_policy_init(lx_policy *policy);
void lx_policy_fini(lx_policy *policy);

/* One answer as it was seen; 0: not seen. */
typedef struct lx_seen {
    uint32_t prefill_tokens; /* here, while 'busy' slots worked, this one among them */
    uint64_t prefill_ns;
    uint32_t busy;
    uint64_t step_ns, draft_ns, row_ns;
    uint32_t drafted, accepted;
    uint64_t cache_bytes, decode_cache_ns;
    uint32_t answer_tokens;
    uint64_t store_bytes, store_ns;
} lx_seen;

void lx_policy_note(lx_policy *policy, const lx_seen *seen);
lx_own_figures lx_policy_own(lx_policy *policy);
/* Tokens a second of a prefill here on an idle node, and the chance that a draft stands when
 * those before it do; 0: not known. */
double lx_own_prefill_rate(const lx_own_figures *own);
double lx_own_stands(const lx_own_figures *own);

/* What is asked. */
typedef struct lx_question {
    const lynx_shape *shape;
    const lynx_codec_spec *spec;
    uint32_t prompt_tokens, answer_tokens_max, draft_count_max;
    uint32_t held_tokens; /* whose pages the store has: a node may leave them out */
    uint32_t busy;        /* slots that work, this one among them */
    bool is_forced;       /* by 'method'; the order of nodes is chosen all the same */
    lynx_method method;
} lx_question;

typedef struct lx_choice {
    lynx_method method;
    uint32_t order[LYNX_SERVE_REMOTES_MAX]; /* indices of the nodes, the best first */
    uint32_t count;                         /* 0 for local methods */
    uint64_t deadline_ns;                   /* for the complete cache; 0: none */
    double expected_s; /* over order[0], by its best method; 0: not known, or local */
    uint32_t helpers;  /* nodes of 'order' that may be asked for what is not held; 0: none */
    double helped_s;   /* as expected_s, with them and 'helped_by'; 0: not known */
    lynx_method helped_by;
    lx_fallback fallback;
    bool is_trial;              /* of order[0] */
    char reason[LYNX_TEXT_MAX]; /* one sentence without its full stop */
} lx_choice;

/* A prompt of which the store has a beginning. */
typedef struct lx_stored {
    uint32_t prompt_tokens, stored_tokens;
    uint64_t bytes;     /* of what is stored */
    uint32_t busy;      /* slots that work, this one among them */
    double otherwise_s; /* expected without the store: lx_choice.expected_s */
    bool has_helpers;   /* lx_choice.helpers, helped_s */
    double helped_s;
} lx_stored;

typedef enum lx_stored_way {
    LX_STORED_NOT,    /* it does not pay */
    LX_STORED_ALONE,  /* the rest is computed here */
    LX_STORED_HELPED, /* a prefill node is asked for the rest */
} lx_stored_way;

/* Should the beginning be loaded? As long as nothing is known it is. Whether there is time to
 * draft is seen when it comes. Pure. */
lx_stored_way lx_policy_stored(const lx_own_figures *own, const lx_stored *stored);

/* The same with this node as it is. Each time that it does not pay the rate of the store is
 * believed less, so that it is tried again. */
lx_stored_way lx_policy_choose_stored(lx_policy *policy, const lx_stored *stored);

/* Choose with 'statuses' of 'count' nodes (at most LYNX_SERVE_REMOTES_MAX) at 'now'. */
void lx_policy_choose_among(const lx_own_figures *own, const lx_question *question,
                            const lynx_remote_status *statuses, const char *const *names,
                            uint32_t count, lynx_time_ns now, lx_choice *choice);

/* The same with the nodes as they are. LYNX_ERR_MEMORY. */
lynx_status lx_policy_choose(lx_policy *policy, const lx_question *question,
                             lynx_remote *const *remotes, const char *const *names,
                             uint32_t count, lx_choice *choice);

#endif
