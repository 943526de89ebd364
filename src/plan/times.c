/* SPDX-License-Identifier: MIT */
#include "plan/times.h"

#include <math.h>

#include "lynx/speculate.h"
#include "plan/transfer.h"

/* ---- nodes ----------------------------------------------------------------------------- */

static double pass_s(const lynx_plan_node *node, uint32_t rows)
{
    if (rows == 0)
        return 0;
    const uint32_t most = node->pass_tokens ? node->pass_tokens : rows;
    const uint32_t passes = (rows + most - 1) / most;
    return passes * node->pass_s + rows * node->row_s;
}

static double codec_s(double bytes, double bytes_per_s)
{
    return bytes_per_s > 0 ? bytes / bytes_per_s : 0;
}

static double exact_step(const lynx_plan_node *node)
{
    return node->exact_step_s > 0 ? node->exact_step_s : node->step_s;
}

static double draft_step(const lynx_plan_node *node)
{
    return node->draft_step_s > 0 ? node->draft_step_s : exact_step(node);
}

/* ---- pages ----------------------------------------------------------------------------- */

static double rest_bytes(const lynx_plan_cache *cache)
{
    double sum = 0;
    for (uint32_t plane = 1; plane < cache->plane_count; plane++)
        sum += cache->plane_bytes[plane];
    return sum;
}

lx_parts lx_parts_of(const lynx_plan_cache *cache, lynx_plan_method method)
{
    switch (method) {
    case LYNX_PLAN_LYNX:
    case LYNX_PLAN_WAIT:
    case LYNX_PLAN_CARRY:
        return (lx_parts){cache->plane_bytes[0], rest_bytes(cache)};
    case LYNX_PLAN_F16:
    case LYNX_PLAN_F16_STREAMED:
        return (lx_parts){cache->raw_bytes, 0};
    case LYNX_PLAN_INT8:
        return (lx_parts){cache->int8_bytes, 0};
    case LYNX_PLAN_INT4:
        return (lx_parts){cache->int4_bytes, 0};
    case LYNX_PLAN_RECOMPUTE:
    case LYNX_PLAN_TOKENS:
    case LYNX_PLAN_METHOD_COUNT:
        break;
    }
    return (lx_parts){0, 0};
}

bool lx_is_coded(lynx_plan_method method)
{
    return method != LYNX_PLAN_F16 && method != LYNX_PLAN_F16_STREAMED;
}

/* Pages are put into the engine as they come; what that takes is seen only where it is slower
 * than the link. */
static void receive(lx_course *c, const lynx_plan_request *r, lynx_plan_method method)
{
    const lx_parts bytes = lx_parts_of(&r->cache, method);
    const double raw = r->cache.raw_bytes;
    const double encode = lx_is_coded(method) ? codec_s(raw, r->prefill.encode_bytes_per_s) : 0;
    const double decode = lx_is_coded(method) ? codec_s(raw, r->decode.decode_bytes_per_s) : 0;
    lx_source source = lx_source_of(r, encode);
    if (method == LYNX_PLAN_F16) {
        source.first_piece = source.late_piece = source.end;
        source.last_part = source.late_part = 1;
    }
    const double ahead = r->link.anchor_bytes_ahead;
    const double begin = lx_first_arrival(r, &source, ahead);
    c->codec_s = method == LYNX_PLAN_LYNX && bytes.rest > 0 ? 2 * decode : decode;
    c->bytes = bytes.first + bytes.rest;
    c->anchor = fmax(lx_arrival(r, &source, bytes.first, ahead), begin + decode);
    c->complete = c->anchor;
    if (bytes.rest > 0) {
        const double last = lx_arrival(r, &source, c->bytes, r->link.bytes_ahead);
        const double decoded = method == LYNX_PLAN_LYNX ? c->anchor + decode : begin + decode;
        c->complete = fmax(last, decoded);
    }
    /* A stored cache is encoded while it leaves. */
    if (r->is_stored) {
        c->anchor = fmax(c->anchor, source.begin + encode);
        c->complete = fmax(c->complete, c->anchor);
    }
    c->anchor = fmax(c->anchor, fmax(c->first, r->decode.wait_s));
    c->complete = fmax(c->complete, fmax(c->first, r->decode.wait_s));
}

/* ---- Lynx ------------------------------------------------------------------------------ */

static uint32_t draft_limit(const lynx_plan_request *r, double step)
{
    const uint32_t left = r->answer_tokens - 1;
    const uint32_t limit = lynx_draft_limit(r->draft_count_max, left, left);
    if (!r->is_paced || r->decode.row_s <= 0)
        return limit;
    /* As a node that has seen many drafts. */
    const double seen = 1e9;
    const lynx_pace pace = {.step_ns = step * 1e9,
                            .row_ns = r->decode.row_s * 1e9,
                            .hits = r->stands * seen,
                            .misses = (1 - r->stands) * seen};
    return lynx_pace_limit(&pace, limit);
}

/* A step that has begun is ended when the last plane comes. */
void lx_course_draft(lx_course *c, const lynx_plan_request *r)
{
    c->step = exact_step(&r->decode);
    c->draft_step = draft_step(&r->decode);
    const uint32_t limit = draft_limit(r, c->step);
    const double room = (c->complete - c->anchor) / c->draft_step;
    c->drafted = room <= 0 ? 0 : room >= limit ? limit : (uint32_t)ceil(room);
    c->verify_begin = fmax(c->complete, c->anchor + c->drafted * c->draft_step);
    const bool has_bonus = r->answer_tokens - 1 > c->drafted;
    const uint32_t rows = c->drafted ? c->drafted + has_bonus : 0;
    c->verify_end = c->verify_begin + pass_s(&r->decode, rows);
}

double lx_course_accepted(const lx_course *course, const lynx_plan_request *request)
{
    double sum = 0;
    double chance = 1;
    for (uint32_t i = 0; i < course->drafted; i++) {
        chance *= request->stands;
        sum += chance;
    }
    return sum;
}

/* After 'a' accepted drafts the pass itself gives token a + 1. */
double lx_course_token_if(const lx_course *c, uint32_t accepted, uint32_t behind)
{
    if (c->drafted == 0)
        return c->complete + behind * c->step;
    return behind <= accepted ? c->anchor + behind * c->draft_step
                              : c->verify_end + (behind - accepted - 1) * c->step;
}

static double drafted_token(const lx_course *c, double stands, uint32_t behind)
{
    double expected = 0;
    double chance = 1; /* that the first 'a' drafts stand */
    for (uint32_t a = 0; a <= c->drafted; a++) {
        const double exactly = a < c->drafted ? chance * (1 - stands) : chance;
        expected += exactly * lx_course_token_if(c, a, behind);
        chance *= stands;
    }
    return expected;
}

/* ---- handing over ---------------------------------------------------------------------- */

static double carried_token(const lx_course *c, uint32_t behind)
{
    return behind ? c->carry_begin + behind * c->carry_step : c->first;
}

static uint32_t tokens_at(const lx_course *c, const lynx_plan_request *r, double time)
{
    if (time < c->first)
        return 0;
    const double behind = floor((time - c->carry_begin) / c->carry_step);
    if (behind < 1)
        return 1;
    return behind < r->answer_tokens - 1 ? (uint32_t)behind + 1 : r->answer_tokens;
}

/* The prefill node carries on once its own cache is at the stage that travels: it encodes its
 * pages once more and decodes them. */
static void carry_on(lx_course *c, const lynx_plan_request *r)
{
    const double raw = r->cache.raw_bytes;
    c->carry_begin = c->first + codec_s(raw, r->prefill.encode_bytes_per_s) +
                     codec_s(raw, r->prefill.decode_bytes_per_s);
    c->carry_step = exact_step(&r->prefill);
    c->step = exact_step(&r->decode);
}

/* The decode node runs the tokens that it was sent through the model, then those that came
 * meanwhile, until it is level; it never is if the prefill node decodes faster than that. */
static void hand_over(lx_course *c, const lynx_plan_request *r)
{
    c->resumed = c->complete;
    c->carried = 0;
    for (;;) {
        const uint32_t known = tokens_at(c, r, c->resumed);
        if (known <= c->carried || c->carried == r->answer_tokens)
            return;
        c->resumed += pass_s(&r->decode, known - c->carried);
        c->carried = known;
    }
}

/* ---- all of it ------------------------------------------------------------------------- */

bool lx_is_possible(const lynx_plan_request *r, lynx_plan_method method)
{
    const bool is_made = r->is_stored || r->prefill.prefill_tokens_per_s > 0;
    switch (method) {
    case LYNX_PLAN_RECOMPUTE:
        return r->decode.prefill_tokens_per_s > 0 && r->decode.step_s > 0;
    case LYNX_PLAN_TOKENS:
        return is_made && r->prefill.step_s > 0;
    case LYNX_PLAN_CARRY:
        return is_made && r->prefill.step_s > 0 && r->decode.step_s > 0;
    case LYNX_PLAN_LYNX:
    case LYNX_PLAN_WAIT:
    case LYNX_PLAN_F16:
    case LYNX_PLAN_F16_STREAMED:
    case LYNX_PLAN_INT8:
    case LYNX_PLAN_INT4:
        return is_made && r->decode.step_s > 0;
    case LYNX_PLAN_METHOD_COUNT:
        break;
    }
    return false;
}

void lx_course_init(lx_course *c, const lynx_plan_request *r, lynx_plan_method method)
{
    *c = (lx_course){.is_possible = lx_is_possible(r, method), .step = r->decode.step_s};
    if (!c->is_possible)
        return;
    if (method == LYNX_PLAN_RECOMPUTE) {
        c->prefilled = r->decode.wait_s + r->prompt_tokens / r->decode.prefill_tokens_per_s;
        c->first = c->complete = c->prefilled;
        return;
    }
    const bool has_pages = method != LYNX_PLAN_TOKENS;
    const double raw = r->cache.raw_bytes;
    const bool encodes = has_pages && lx_is_coded(method);
    const lx_source source =
        lx_source_of(r, encodes ? codec_s(raw, r->prefill.encode_bytes_per_s) : 0);
    c->prefilled = c->first = source.end + r->link.round_trip_s / 2;
    c->source_s = source.end - source.begin;
    if (!has_pages)
        return;
    receive(c, r, method);
    if (method == LYNX_PLAN_LYNX) {
        lx_course_draft(c, r);
    } else if (method == LYNX_PLAN_CARRY) {
        carry_on(c, r);
        hand_over(c, r);
    }
}

double lx_course_token(const lx_course *c, const lynx_plan_request *r, lynx_plan_method method,
                       uint32_t index)
{
    if (!c->is_possible)
        return INFINITY;
    if (index < 1 || index > r->answer_tokens)
        return NAN;
    const uint32_t behind = index - 1;
    if (behind == 0)
        return c->first;
    switch (method) {
    case LYNX_PLAN_LYNX:
        return drafted_token(c, r->stands, behind);
    case LYNX_PLAN_TOKENS:
        return c->first + behind * r->prefill.step_s;
    case LYNX_PLAN_CARRY:
        if (index <= c->carried)
            return carried_token(c, behind);
        return c->resumed + (index - c->carried - 1) * c->step;
    case LYNX_PLAN_WAIT:
    case LYNX_PLAN_F16:
    case LYNX_PLAN_F16_STREAMED:
    case LYNX_PLAN_INT8:
    case LYNX_PLAN_INT4:
    case LYNX_PLAN_RECOMPUTE:
    case LYNX_PLAN_METHOD_COUNT:
        break;
    }
    return c->complete + behind * c->step;
}
