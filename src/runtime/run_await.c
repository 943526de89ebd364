/* SPDX-License-Identifier: MIT */
/* run_await.c - whether there is time to draft while the rest of a stored cache comes; see
 * run.h. */
#include "base/check.h"
#include "runtime/run.h"

/* Where nothing else is computed meanwhile; and of a step, what one more token in a batch of
 * few takes on CPUs (bench/results/engine.csv: four slots give 1.4 to 2.3 of one). */
static const double CHANCE_LEAST = 0.02;
static const double SHARED_LEAST = 0.25;

uint32_t lx_run_draft_limit(const lx_run *r)
{
    const lynx_run_options *o = r->options;
    const uint32_t context_left =
        r->model->context_tokens - o->prompt_tokens - r->result->token_count;
    const uint32_t limit =
        lynx_draft_limit(o->draft_count_max, lx_run_answer_left(r), context_left);
    return o->pace ? lynx_pace_limit(r->pace, limit) : limit;
}

/* What the engine's probe saw stands in for what no run has shown yet. */
static lynx_pace known_pace(const lx_run *r)
{
    lynx_pace pace = *r->pace;
    if (pace.step_ns <= 0)
        pace.step_ns = (double)r->model->step_ns;
    if (pace.draft_ns <= 0)
        pace.draft_ns = (double)r->model->draft_step_ns;
    if (pace.row_ns <= 0)
        pace.row_ns = (double)r->model->row_ns;
    return pace;
}

/* Of the stored bytes, those that are not here when drafts could begin: now, or when the anchor
 * is complete. */
static double bytes_behind(const lx_run *r)
{
    const double total = (double)r->options->source->ops->prefix(r->options->source)->bytes;
    if (lx_run_has_plane(r, 0))
        return total - (double)r->result->bytes_total;
    uint32_t all = 0;
    for (uint32_t i = 0; i < r->pass.plane_count; i++)
        all += lx_run_plane_weight(r, i);
    return total * (all - lx_run_plane_weight(r, 0)) / all;
}

/* Tokens that go through the model before the first draft, in time that drafts could have: not
 * the question that is computed while the anchor comes. */
static uint32_t rows_before(const lx_run *r)
{
    return lx_run_can_await(r, 0) ? 1 : lx_run_behind(r) + 1;
}

/* The rate counts from the request on: bytes come in pieces, so that it would be too high from
 * the first of them on. */
static bool is_soon(const lx_run *r)
{
    const double came = (double)r->result->bytes_total;
    if (came <= 0 || lx_run_draft_limit(r) == 0)
        return false;
    const double elapsed = (double)(lynx_clock_now() - r->zero);
    const lynx_pace pace = known_pace(r);
    return !lynx_pace_draft_pays(&pace, rows_before(r),
                                 (uint64_t)(bytes_behind(r) * elapsed / came));
}

bool lx_run_has_time(const lx_run *r, uint32_t rows)
{
    const lynx_pace pace = known_pace(r);
    const uint64_t left = lx_run_time_left(r, lx_run_best_plane(r));
    /* Sizes of planes are told by their bits: nearly a tenth too much. */
    return !lx_run_can_await(r, r->pass.plane_count - 1) || left == 0 ||
           lynx_pace_draft_pays(&pace, rows, left - left / 10);
}

double lx_run_chance_least(const lx_run *r)
{
    return r->model->slots > 1 ? SHARED_LEAST : CHANCE_LEAST;
}

void lx_run_weigh(lx_run *r)
{
    const bool has_awaited = r->awaits_rest;
    const uint32_t last = r->pass.plane_count - 1;
    if (r->receiver || r->options->skip_verify)
        return;
    r->awaits_rest = !lx_run_has_plane(r, last) && is_soon(r);
    /* Nothing is computed on an anchor then; it may be kept all the same. */
    r->least_plane = r->awaits_rest && r->options->on_loss != LYNX_ON_LOSS_KEEP ? last : 0;
    if (has_awaited && !r->awaits_rest)
        lx_run_pend_all(r);
}
