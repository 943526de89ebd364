/* SPDX-License-Identifier: MIT */
#include "lynx/speculate.h"

/* Of what was known before, after each new observation. */
static const double KEPT = 0.8;
/* Before anything is known: drafts are mostly right. */
static const double PRIOR_HITS = 9;
static const double PRIOR_MISSES = 1;

static void renew(double *known, double seen)
{
    *known = *known > 0 ? KEPT * *known + (1 - KEPT) * seen : seen;
}

void lynx_pace_step(lynx_pace *pace, uint64_t step_ns)
{
    renew(&pace->step_ns, (double)step_ns);
}

void lynx_pace_verify(lynx_pace *pace, uint32_t rows, uint64_t verify_ns, uint32_t drafted,
                      uint32_t accepted)
{
    if (rows > 0)
        renew(&pace->row_ns, (double)verify_ns / rows);
    pace->hits = KEPT * pace->hits + accepted;
    pace->misses = KEPT * pace->misses + (accepted < drafted ? 1 : 0);
}

uint32_t lynx_pace_limit(const lynx_pace *pace, uint32_t limit)
{
    if (pace->step_ns <= 0 || pace->row_ns <= 0)
        return limit;
    const double hits = pace->hits + PRIOR_HITS;
    const double stands = hits / (hits + pace->misses + PRIOR_MISSES);
    double gain = pace->step_ns;
    uint32_t count = 0;
    while (count < limit && (count < LYNX_PACE_LEAST || gain * stands >= pace->row_ns)) {
        gain *= stands;
        count++;
    }
    return count;
}
