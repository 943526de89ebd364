/* SPDX-License-Identifier: MIT */
#include "lynx/speculate.h"

/* Of what was known before, after each new observation. */
static const double KEPT = 0.8;
/* Before anything is known: drafts are mostly right. */
static const double PRIOR_HITS = 9;
static const double PRIOR_MISSES = 1;
/* Of a step, for a row that was never timed: on CPUs a tenth, on GPUs less. */
static const double ROW_UNTIMED = 0.25;

static void renew(double *known, double seen)
{
    *known = *known > 0 ? KEPT * *known + (1 - KEPT) * seen : seen;
}

void lynx_pace_step(lynx_pace *pace, uint64_t step_ns)
{
    renew(&pace->step_ns, (double)step_ns);
}

void lynx_pace_pass(lynx_pace *pace, uint32_t rows, uint64_t pass_ns)
{
    if (rows < 2 || pace->step_ns <= 0)
        return;
    /* The first row costs what a step costs. */
    const double beside = (double)pass_ns - pace->step_ns;
    renew(&pace->row_ns, beside > 1 ? beside / (rows - 1) : 1);
}

void lynx_pace_verdict(lynx_pace *pace, uint32_t drafted, uint32_t accepted)
{
    pace->hits = KEPT * pace->hits + accepted;
    pace->misses = KEPT * pace->misses + (accepted < drafted ? 1 : 0);
}

/* The chance that a draft stands when those before it do. */
static double chance(const lynx_pace *pace)
{
    const double hits = pace->hits + PRIOR_HITS;
    return hits / (hits + pace->misses + PRIOR_MISSES);
}

uint32_t lynx_pace_limit(const lynx_pace *pace, uint32_t limit)
{
    if (pace->step_ns <= 0 || pace->row_ns <= 0)
        return limit;
    const double stands = chance(pace);
    double gain = pace->step_ns;
    uint32_t count = 0;
    while (count < limit && (count < LYNX_PACE_LEAST || gain * stands >= pace->row_ns)) {
        gain *= stands;
        count++;
    }
    return count;
}

static double pass_ns(const lynx_pace *pace, uint32_t rows)
{
    const double row = pace->row_ns > 0 ? pace->row_ns : ROW_UNTIMED * pace->step_ns;
    return pace->step_ns + row * (rows - 1);
}

bool lynx_pace_draft_pays(const lynx_pace *pace, uint32_t rows, uint64_t left_ns)
{
    return pace->step_ns <= 0 || rows == 0 ||
           (double)left_ns >= pass_ns(pace, rows) + pace->step_ns;
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

bool lynx_pace_review_pays(const lynx_pace *pace, uint32_t rows, uint32_t drafted,
                           uint32_t limit, uint64_t left_ns)
{
    if (drafted == 0 || rows == 0 || pace->step_ns <= 0)
        return false;
    const double pass = pass_ns(pace, rows);
    const double steps = ((double)left_ns - pass) / pace->step_ns;
    if (steps < LYNX_PACE_LEAST)
        return false;
    double stand = 1;
    double standing = 0; /* drafts, as expected */
    for (uint32_t i = 0; i < drafted; i++) {
        stand *= chance(pace);
        standing += stand;
    }
    const double gain = (1 - stand) * least(steps, limit - standing);
    const double loss = stand * least(pass / pace->step_ns, limit - drafted);
    return gain > loss;
}
