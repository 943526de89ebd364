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

void lynx_pace_draft(lynx_pace *pace, uint32_t drafts, uint64_t took_ns)
{
    if (drafts > 0)
        renew(&pace->draft_ns, (double)took_ns / drafts);
}

/* Of an exact one; while none was seen, drafts tell. */
static double step_ns(const lynx_pace *pace)
{
    return pace->step_ns > 0 ? pace->step_ns : pace->draft_ns;
}

/* And the other way round. */
static double draft_ns(const lynx_pace *pace)
{
    return pace->draft_ns > 0 ? pace->draft_ns : pace->step_ns;
}

void lynx_pace_pass(lynx_pace *pace, uint32_t rows, uint64_t pass_ns)
{
    if (rows < 2 || step_ns(pace) <= 0)
        return;
    /* The first row costs what a step costs. */
    const double beside = (double)pass_ns - step_ns(pace);
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
    if (step_ns(pace) <= 0 || pace->row_ns <= 0)
        return limit;
    const double stands = chance(pace);
    double gain = step_ns(pace);
    uint32_t count = 0;
    while (count < limit && (count < LYNX_PACE_LEAST || gain * stands >= pace->row_ns)) {
        gain *= stands;
        count++;
    }
    return count;
}

static double pass_ns(const lynx_pace *pace, uint32_t rows)
{
    const double row = pace->row_ns > 0 ? pace->row_ns : ROW_UNTIMED * step_ns(pace);
    return step_ns(pace) + row * (rows - 1);
}

bool lynx_pace_draft_pays(const lynx_pace *pace, uint32_t rows, uint64_t left_ns)
{
    return draft_ns(pace) <= 0 || rows == 0 ||
           (double)left_ns >= pass_ns(pace, rows) + draft_ns(pace);
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

bool lynx_pace_review_pays(const lynx_pace *pace, uint32_t rows, uint32_t drafted,
                           uint32_t limit, uint64_t left_ns)
{
    if (drafted == 0 || rows == 0 || draft_ns(pace) <= 0)
        return false;
    const double pass = pass_ns(pace, rows);
    const double steps = ((double)left_ns - pass) / draft_ns(pace); /* of drafts */
    if (steps < LYNX_PACE_LEAST)
        return false;
    double stand = 1;
    double standing = 0; /* drafts, as expected */
    for (uint32_t i = 0; i < drafted; i++) {
        stand *= chance(pace);
        standing += stand;
    }
    const double gain = (1 - stand) * least(steps, limit - standing);
    const double loss = stand * least(pass / draft_ns(pace), limit - drafted);
    return gain > loss;
}
