/* SPDX-License-Identifier: MIT */
#include "speculate/guess_worth.h"

/* Of what was known before, after each new observation of a length: half of the weight is on
 * the last 14. */
static const double KEPT = 0.95;

/* Of a time that was known; and most that one can have grown by, because a thread that had to
 * wait for its turn tells nothing. */
static const double KEPT_TIME = 0.8;
static const double GROWN_MOST = 1.5;

/* Before anything is seen, as if so many had been. */
static const double PRIOR = 4;
static const double prior_rates[LX_GUESS_RUN_MAX] = {0.3, 0.5, 0.8};

void lx_guess_worth_init(lx_guess_worth *w, uint64_t one_ns, uint64_t both_ns)
{
    *w = (lx_guess_worth){.one_ns = (double)one_ns, .both_ns = (double)both_ns};
    for (uint32_t i = 0; i < LX_GUESS_RUN_MAX; i++) {
        w->right[i] = PRIOR * prior_rates[i];
        w->all[i] = PRIOR;
    }
}

bool lx_guess_is_worth(const lx_guess_worth *w, uint32_t run)
{
    const double rate = w->right[run - 1] / w->all[run - 1];
    return w->one_ns <= 0 || w->both_ns <= 0 || (1 + rate) * w->one_ns > w->both_ns;
}

void lx_guess_worth_time(lx_guess_worth *w, bool is_both, uint64_t took_ns)
{
    double *known = is_both ? &w->both_ns : &w->one_ns;
    const double took = (double)took_ns;
    if (*known <= 0)
        *known = took;
    const double seen = took < GROWN_MOST * *known ? took : GROWN_MOST * *known;
    *known = KEPT_TIME * *known + (1 - KEPT_TIME) * seen;
}

void lx_guess_worth_note(lx_guess_worth *w, uint32_t run, bool is_right)
{
    w->right[run - 1] = KEPT * w->right[run - 1] + is_right;
    w->all[run - 1] = KEPT * w->all[run - 1] + 1;
}
