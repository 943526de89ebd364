/* SPDX-License-Identifier: MIT */
/*
 * speculate.h - what to accept of a draft, and when each token became valid.
 *
 * Tokens are drafted on the anchor cache and verified in one pass on the full one; the longest
 * prefix on which both agree is kept, and the pass itself gives the token behind it (a
 * correction, or a bonus when all were right). Because a token is a pure function of logits,
 * history and position (engine.h), the result is that of decoding on the full cache, greedy or
 * sampled. Source: the paper, section on verification; docs/algorithm.md.
 *
 * Threads: pure functions, and plain structs of the caller.
 */
#ifndef LYNX_SPECULATE_H
#define LYNX_SPECULATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/engine.h"
#include "lynx/export.h"
#include "lynx/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Length of the longest common prefix of 'drafts' and 'verified', 'count' tokens each. */
LYNX_API uint32_t lynx_accept_count(const lynx_token *drafts, const lynx_token *verified,
                                    uint32_t count);

/* How many tokens may be drafted: the smallest of the bound 'draft_count_max', what the answer
 * may still have ('answer_left' tokens), and what fits the context. */
LYNX_API uint32_t lynx_draft_limit(uint32_t draft_count_max, uint32_t answer_left,
                                   uint32_t context_left);

/*
 * What drafting has brought so far on one engine, so that the next answer drafts no more than
 * pays. A draft that stands saves a step; each costs a row of the pass, whether it stands or
 * not. With p the chance that a draft stands if those before it do, draft n is worth
 * p^n * step - row. Zero it to begin; older observations count less and less.
 */
typedef struct lynx_pace {
    double step_ns;      /* of an exact step; 0: not known */
    double draft_ns;     /* of one draft, which may be made by a shorter one; 0: not known */
    double row_ns;       /* what one more row adds to a pass; 0: not known */
    double hits, misses; /* drafts that stood; passes that found a wrong one */
} lynx_pace;

/* Drafts that are made whatever was seen, so that better times are noticed. */
enum { LYNX_PACE_LEAST = 4 };

/* A step took so long; one that gave 'drafts' drafts, exact or not, did; a pass over 'rows'
 * tokens took so long; a verification let 'accepted' of 'drafted' drafts stand. */
LYNX_API void lynx_pace_step(lynx_pace *pace, uint64_t step_ns);
LYNX_API void lynx_pace_draft(lynx_pace *pace, uint32_t drafts, uint64_t took_ns);
LYNX_API void lynx_pace_pass(lynx_pace *pace, uint32_t rows, uint64_t pass_ns);
LYNX_API void lynx_pace_verdict(lynx_pace *pace, uint32_t drafted, uint32_t accepted);

/* How many drafts pay, at most 'limit'; 'limit' while nothing is known. */
LYNX_API uint32_t lynx_pace_limit(const lynx_pace *pace, uint32_t limit);

/*
 * Does it pay to review 'drafted' of at most 'limit' drafts on a better cache, when the full
 * one is 'left_ns' away? A review is a pass as the verification is, over 'rows' tokens. It
 * withdraws what is wrong already, so that the time left is spent on drafts that can stand;
 * where all is right, it costs the drafts that could have been made meanwhile.
 */
LYNX_API bool lynx_pace_review_pays(const lynx_pace *pace, uint32_t rows, uint32_t drafted,
                                    uint32_t limit, uint64_t left_ns);

/*
 * Does it pay to draft at all, when 'rows' tokens have to go through the model first, which go
 * through it once more on the full cache, and that one is 'left_ns' away? Only with time for
 * the pass and a draft: what is not over when the rest is here delays what would be right.
 * True while the time of a step is not known.
 */
LYNX_API bool lynx_pace_draft_pays(const lynx_pace *pace, uint32_t rows, uint64_t left_ns);

/* Clock of valid tokens: when the k-th token of the answer was produced, if it turned out
 * valid. A draft counts at the time when it was drafted, a correction when its pass ended. */
typedef struct lynx_token_clock {
    lynx_time_ns *times; /* 'capacity' of them, the caller's */
    uint32_t capacity;
    uint32_t count; /* valid tokens so far */
} lynx_token_clock;

/* The next valid token was produced at 'time'. Ignored when the clock is full. */
LYNX_API void lynx_token_clock_add(lynx_token_clock *clock, lynx_time_ns time);

/* Nanoseconds from 'start' to token 'index' (0 = first); LYNX_TIME_NEVER if there is none. */
LYNX_API lynx_time_ns lynx_token_clock_at(const lynx_token_clock *clock, uint32_t index,
                                          lynx_time_ns start);

#ifdef __cplusplus
}
#endif

#endif
