/* SPDX-License-Identifier: MIT */
/*
 * guess_worth.h - when a guess is worth a longer step.
 *
 * A draft may be made by a step of one token, or by one of two with a guess (guess.h) as the
 * second, which takes longer and gives two drafts when the guess is right. With r the part of
 * guesses that are right, 1 + r drafts come of it, so it is worth its time where
 *
 *     (1 + r) / time of both > 1 / time of one.
 *
 * How often guesses are right depends on the text and on how long the run was that they were
 * found by, so each length has its own count. Each guess is counted, also where it was not
 * computed: what was chosen tells. Times grow with the cache, so they are renewed, too.
 */
#ifndef LX_SPECULATE_GUESS_WORTH_H
#define LX_SPECULATE_GUESS_WORTH_H

#include "speculate/guess.h"

typedef struct lx_guess_worth {
    double one_ns, both_ns; /* times of the steps; 0: not known */
    double right[LX_GUESS_RUN_MAX],
        all[LX_GUESS_RUN_MAX]; /* by length; older ones count less */
} lx_guess_worth;

/* The times of the steps, as far as they are known; 0: not known. Until both are, they are
 * taken to be the same. */
void lx_guess_worth_init(lx_guess_worth *worth, uint64_t one_ns, uint64_t both_ns);

/* Is a guess that was found by a run of 'run' tokens, [1, LX_GUESS_RUN_MAX], worth it? */
bool lx_guess_is_worth(const lx_guess_worth *worth, uint32_t run);

/* A step of one token, or of both, took so long. */
void lx_guess_worth_time(lx_guess_worth *worth, bool is_both, uint64_t took_ns);

/* Such a guess was right, or not. */
void lx_guess_worth_note(lx_guess_worth *worth, uint32_t run, bool is_right);

#endif
