/* SPDX-License-Identifier: MIT */
#include "plan/cluster.h"

#include <math.h>

#include "base/check.h"

/* ---- random numbers (SplitMix64) ------------------------------------------------------- */

double lx_cluster_draw(lx_cluster *c)
{
    uint64_t x = c->random += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return (double)(((x ^ (x >> 31)) >> 11) + 1) / 9007199254740992.0;
}

/* Drafts that stand of so many. */
static uint32_t draw_accepted(lx_cluster *c, uint32_t drafted)
{
    uint32_t stand = 0;
    while (stand < drafted && lx_cluster_draw(c) <= c->options->request.stands)
        stand++;
    return stand;
}

/* ---- requests and what they need ------------------------------------------------------- */

static double part_of(const lx_cluster *c, const lx_job *job)
{
    return (double)job->tokens / c->options->request.prompt_tokens;
}

static double encode_s(const lx_cluster *c, const lx_job *job)
{
    const lynx_plan_request *r = &c->options->request;
    if (!lx_is_coded(c->method) || r->prefill.encode_bytes_per_s == 0)
        return 0;
    return r->cache.raw_bytes * part_of(c, job) / r->prefill.encode_bytes_per_s;
}

static double prefill_s(const lx_cluster *c, const lx_job *job)
{
    const lynx_plan_request *r = &c->options->request;
    return job->tokens / r->prefill.prefill_tokens_per_s + encode_s(c, job);
}

/* The node that is through first with what it was given; of several, the one whose link has the
 * least to send. */
static uint32_t choose_source(const lx_cluster *c, uint32_t from)
{
    const uint32_t count = c->options->prefill_nodes;
    uint32_t best = from % count;
    for (uint32_t i = 1; i < count; i++) {
        const uint32_t node = (from + i) % count;
        const double free_at = fmax(c->free_at[node], c->now);
        const double best_free = fmax(c->free_at[best], c->now);
        if (free_at < best_free || (free_at == best_free && c->links[node].waiting_bytes <
                                                                c->links[best].waiting_bytes))
            best = node;
    }
    return best;
}

static uint32_t choose_target(const lx_cluster *c, uint32_t from)
{
    const uint32_t count = c->options->decode_nodes;
    uint32_t best = from % count;
    for (uint32_t i = 1; i < count; i++) {
        const uint32_t node = (from + i) % count;
        if (c->targets[node].given < c->targets[best].given)
            best = node;
    }
    return best;
}

/* ---- slots ----------------------------------------------------------------------------- */

/* All times of tokens are known once the cache is complete and there is a slot. */
static lynx_status finish(lx_cluster *c, uint32_t index)
{
    const lynx_plan_request *r = &c->options->request;
    lx_job *job = &c->jobs[index];
    lx_course course = {.is_possible = true,
                        .first = job->first,
                        .step = r->decode.step_s,
                        .anchor = fmax(job->anchor, job->slot)};
    course.complete = fmax(job->complete, course.anchor);
    if (c->method == LYNX_PLAN_LYNX)
        lx_course_draft(&course, r);
    const uint32_t accepted = draw_accepted(c, course.drafted);
    const bool is_all = c->options->token == 0 || c->options->token > r->answer_tokens;
    const uint32_t counted = is_all ? r->answer_tokens : c->options->token;
    job->counted =
        counted > 1 ? lx_course_token_if(&course, accepted, counted - 1) : job->first;
    job->end = r->answer_tokens > 1
                   ? lx_course_token_if(&course, accepted, r->answer_tokens - 1)
                   : job->first;
    return lx_event_add(&c->heap, fmax(job->end, c->now), LX_END, index, 0);
}

/* The decode node prefills the prompt itself, one after the other. */
static lynx_status recompute(lx_cluster *c, uint32_t index)
{
    const lynx_plan_request *r = &c->options->request;
    lx_job *job = &c->jobs[index];
    lx_target *target = &c->targets[job->target];
    job->began = fmax(c->now, target->engine_free);
    target->engine_free = job->began + job->tokens / r->decode.prefill_tokens_per_s;
    job->first = job->anchor = job->complete = target->engine_free;
    return finish(c, index);
}

static lynx_status take_slot(lx_cluster *c, uint32_t index)
{
    lx_job *job = &c->jobs[index];
    c->targets[job->target].busy++;
    job->slot = c->now;
    if (c->method == LYNX_PLAN_RECOMPUTE)
        return recompute(c, index);
    return isnan(job->complete) ? LYNX_OK : finish(c, index);
}

/* There is something to decode. */
static lynx_status want_slot(lx_cluster *c, uint32_t index)
{
    lx_target *target = &c->targets[c->jobs[index].target];
    c->jobs[index].wanted = c->now;
    if (target->busy < c->options->slots)
        return take_slot(c, index);
    if (target->head == LX_NOBODY)
        target->head = index;
    else
        c->jobs[target->tail].next = index;
    target->tail = index;
    return LYNX_OK;
}

static lynx_status give_slot(lx_cluster *c, uint32_t index)
{
    lx_target *target = &c->targets[c->jobs[index].target];
    c->in_system--;
    c->slot_busy_s += c->now - c->jobs[index].slot;
    target->busy--;
    target->given--;
    const uint32_t next = target->head;
    if (next == LX_NOBODY)
        return LYNX_OK;
    target->head = c->jobs[next].next;
    return take_slot(c, next);
}

/* ---- what happens ---------------------------------------------------------------------- */

/* 'part' of the cache leaves the prefill node. */
static lynx_status send_part(lx_cluster *c, uint32_t index, double part, bool is_last)
{
    const lx_parts bytes = lx_parts_of(&c->options->request.cache, c->method);
    LX_TRY(lx_link_add(c, index, 0, bytes.first * part, is_last));
    if (bytes.rest > 0)
        return lx_link_add(c, index, 1, bytes.rest * part, is_last);
    return LYNX_OK;
}

/* When the piece that ends at token 'done' is ready. */
static double piece_time(const lx_cluster *c, const lx_job *job, uint32_t done)
{
    return job->began + prefill_s(c, job) * done / job->tokens;
}

static uint32_t next_piece(const lx_cluster *c, const lx_job *job, uint32_t done)
{
    const uint32_t piece = c->options->request.piece_tokens;
    const bool is_whole = c->method == LYNX_PLAN_F16 || piece >= job->tokens - done;
    return is_whole ? job->tokens : done + piece;
}

static lynx_status on_arrival(lx_cluster *c, uint32_t index)
{
    const lynx_plan_request *r = &c->options->request;
    lx_job *job = &c->jobs[index];
    c->in_system++;
    job->target = choose_target(c, index);
    c->targets[job->target].given++;
    if (c->method == LYNX_PLAN_RECOMPUTE)
        return want_slot(c, index);
    job->source = choose_source(c, index);
    const double order = c->now + r->link.round_trip_s / 2 + r->prefill.wait_s;
    if (r->is_stored) {
        const lx_parts bytes = lx_parts_of(&r->cache, c->method);
        job->began = order;
        c->free_at[job->source] =
            fmax(order, c->free_at[job->source]) +
            (bytes.first + bytes.rest) * part_of(c, job) / lx_link_rate(c);
        return lx_event_add(&c->heap, order, LX_PIECE, index, job->tokens);
    }
    job->began = fmax(order, c->free_at[job->source]);
    c->free_at[job->source] = job->began + prefill_s(c, job);
    c->source_busy_s += prefill_s(c, job);
    const uint32_t done = next_piece(c, job, 0);
    return lx_event_add(&c->heap, piece_time(c, job, done), LX_PIECE, index, done);
}

static lynx_status on_piece(lx_cluster *c, uint32_t index, uint32_t done)
{
    const lynx_plan_request *r = &c->options->request;
    lx_job *job = &c->jobs[index];
    const bool is_last = done == job->tokens;
    uint32_t size = done;
    if (!r->is_stored && c->method != LYNX_PLAN_F16) {
        const uint32_t rest = done % r->piece_tokens;
        size = is_last && rest ? rest : r->piece_tokens;
    }
    if (is_last)
        job->first = c->now + r->link.round_trip_s / 2;
    LX_TRY(send_part(c, index, part_of(c, job) * size / job->tokens, is_last));
    if (is_last)
        return LYNX_OK;
    const uint32_t next = next_piece(c, job, done);
    return lx_event_add(&c->heap, piece_time(c, job, next), LX_PIECE, index, next);
}

/* Pages are put into the engine as they come; see times.c. */
static lynx_status on_anchor(lx_cluster *c, uint32_t index)
{
    lx_job *job = &c->jobs[index];
    const bool is_all = lx_parts_of(&c->options->request.cache, c->method).rest == 0;
    job->anchor = c->now;
    if (is_all)
        job->complete = job->anchor;
    return is_all || c->method == LYNX_PLAN_LYNX ? want_slot(c, index) : LYNX_OK;
}

static lynx_status on_complete(lx_cluster *c, uint32_t index)
{
    lx_job *job = &c->jobs[index];
    job->complete = c->now;
    if (c->method != LYNX_PLAN_LYNX)
        return want_slot(c, index);
    return isnan(job->slot) ? LYNX_OK : finish(c, index);
}

lynx_status lx_cluster_happen(lx_cluster *c, const lx_event *event)
{
    c->in_system_s += c->in_system * (event->time - c->now);
    c->now = event->time;
    switch ((lx_happening)event->type) {
    case LX_ARRIVAL:
        return on_arrival(c, event->index);
    case LX_PIECE:
        return on_piece(c, event->index, event->round);
    case LX_SENT:
        return lx_link_sent(c, event->index, event->round);
    case LX_ANCHOR:
        return on_anchor(c, event->index);
    case LX_COMPLETE:
        return on_complete(c, event->index);
    case LX_END:
        return give_slot(c, event->index);
    }
    return LYNX_ERR_STATE;
}
