/* SPDX-License-Identifier: MIT */
/*
 * guess.h - what the next token may be, by what stood behind the same tokens before.
 *
 * The last three tokens, or two, or one, are looked up among all that came before them; the
 * newest match of the longest run counts, and what followed it is the guess (prompt look-up).
 * An index of all runs makes the time of a token constant. It goes back, when drafts are
 * withdrawn, by taking out what was put in last.
 *
 * Source: prompt lookup decoding (A. Saxena, 2023).
 */
#ifndef LX_SPECULATE_GUESS_H
#define LX_SPECULATE_GUESS_H

#include "lynx/engine.h"
#include "lynx/memory.h"

enum { LX_GUESS_RUN_MAX = 3 }; /* tokens of the longest run that is looked up */

/* Of all runs of one length. */
typedef struct lx_guess_runs {
    uint32_t *newest; /* by hash: 1 + the place of the last token of the newest run; 0: none */
    uint32_t *slot;   /* [place] which of them that run has */
    uint32_t *older;  /* [place] what stood there before */
} lx_guess_runs;

typedef struct lx_guesses {
    const lynx_allocator *memory;
    uint32_t *all; /* the memory of all runs */
    size_t all_count;
    uint32_t room;      /* most tokens */
    uint32_t slot_mask; /* slots of 'newest', less one */
    uint32_t count;     /* tokens of which the runs are in */
    lx_guess_runs runs[LX_GUESS_RUN_MAX];
} lx_guesses;

/* For up to 'room' tokens, [1, 2^29]: 48 to 72 bytes for each. LYNX_ERR_MEMORY; then, and when
 * it is zeroed, fini does nothing. */
lynx_status lx_guesses_init(lx_guesses *guesses, uint32_t room, const lynx_allocator *memory);
void lx_guesses_fini(lx_guesses *guesses);

/* The token behind the first 'count', [0, room], of 'history'; returns the length of the run
 * that was found, 0: nothing like their end stood there before. Tokens that were there in the
 * last call are the same still, or were forgotten. */
uint32_t lx_guess(lx_guesses *guesses, const lynx_token *history, uint32_t count,
                  lynx_token *guess);

/* Tokens from 'count' on may be others from now on. */
void lx_guesses_forget(lx_guesses *guesses, uint32_t count);

#endif
