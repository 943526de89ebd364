/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "base/check.h"
#include "lynx/plan.h"
#include "plan/times.h"

static const char *const names[LYNX_PLAN_METHOD_COUNT] = {
    [LYNX_PLAN_LYNX] = "lynx",
    [LYNX_PLAN_WAIT] = "wait",
    [LYNX_PLAN_F16] = "f16",
    [LYNX_PLAN_F16_STREAMED] = "f16_streamed",
    [LYNX_PLAN_INT8] = "int8",
    [LYNX_PLAN_INT4] = "int4",
    [LYNX_PLAN_RECOMPUTE] = "recompute",
    [LYNX_PLAN_TOKENS] = "tokens",
    [LYNX_PLAN_CARRY] = "carry",
};

const char *lynx_plan_method_name(lynx_plan_method method)
{
    return (unsigned)method < LYNX_PLAN_METHOD_COUNT ? names[method] : NULL;
}

void lynx_plan_request_init(lynx_plan_request *request)
{
    *request = (lynx_plan_request){
        .struct_size = sizeof(*request),
        .answer_tokens = 64,
        .piece_tokens = 256,
        .link = {.share = 1},
        .draft_count_max = 62,
        .is_paced = true,
    };
}

/* ---- what may stand in a request ------------------------------------------------------- */

static bool is_amount(double value)
{
    return isfinite(value) && value >= 0;
}

static bool are_amounts(const double *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!is_amount(values[i]))
            return false;
    return true;
}

static bool is_node(const lynx_plan_node *n)
{
    const double values[] = {
        n->wait_s,       n->prefill_tokens_per_s, n->step_s,
        n->exact_step_s, n->draft_step_s,         n->pass_s,
        n->row_s,        n->encode_bytes_per_s,   n->decode_bytes_per_s,
    };
    return are_amounts(values, sizeof(values) / sizeof(*values));
}

static bool is_link(const lynx_plan_link *l)
{
    const double values[] = {l->bytes_per_s, l->share, l->round_trip_s, l->anchor_bytes_ahead,
                             l->bytes_ahead};
    return are_amounts(values, sizeof(values) / sizeof(*values)) && l->bytes_per_s > 0 &&
           l->share > 0 && l->share <= 1 && l->bytes_ahead >= l->anchor_bytes_ahead;
}

static bool is_cache(const lynx_plan_cache *c)
{
    const double values[] = {c->raw_bytes, c->int8_bytes, c->int4_bytes};
    return are_amounts(values, sizeof(values) / sizeof(*values)) && c->raw_bytes > 0 &&
           c->plane_count >= 1 && c->plane_count <= LYNX_PLANES_MAX &&
           are_amounts(c->plane_bytes, c->plane_count);
}

static const char *fault_of(const lynx_plan_request *r)
{
    if (r->prompt_tokens < 1 || r->prompt_tokens > LYNX_PROMPT_TOKENS_MAX)
        return "the prompt needs 1 to 16777216 tokens";
    if (r->answer_tokens < 1 || r->answer_tokens > LYNX_PROMPT_TOKENS_MAX)
        return "the answer needs 1 to 16777216 tokens";
    if (r->piece_tokens < 1)
        return "a piece of the prefill needs at least one token";
    if (r->draft_count_max > LYNX_PLAN_DRAFTS_MAX)
        return "there are too many drafts";
    if (!is_node(&r->prefill))
        return "a figure of the prefill node is negative or not a number";
    if (!is_node(&r->decode))
        return "a figure of the decode node is negative or not a number";
    if (!is_link(&r->link))
        return "the link needs a rate above 0, a share above 0 and at most 1, and as many "
               "bytes "
               "ahead as anchors ahead";
    if (!is_cache(&r->cache))
        return "the cache needs bytes above 0 and 1 to 8 planes";
    if (!(r->stands >= 0 && r->stands <= 1))
        return "the chance that a draft stands must be 0 to 1";
    return NULL;
}

lynx_status lynx_plan_check(const lynx_plan_request *request, const char **why)
{
    const char *fault = fault_of(request);
    if (why)
        *why = fault ? fault : "";
    return fault ? LYNX_ERR_ARGUMENT : LYNX_OK;
}

/* ---- one method ------------------------------------------------------------------------ */

double lynx_plan_token_s(const lynx_plan_request *request, lynx_plan_method method,
                         uint32_t index)
{
    lx_course course;
    lx_course_init(&course, request, method);
    return lx_course_token(&course, request, method, index);
}

/* First token that the decode node produced, a draft too. */
static double own(const lx_course *c, const lynx_plan_request *r, lynx_plan_method method)
{
    switch (method) {
    case LYNX_PLAN_LYNX:
        if (c->drafted)
            return c->anchor + c->draft_step;
        return lx_course_token(c, r, method, 2);
    case LYNX_PLAN_RECOMPUTE:
        return c->first;
    case LYNX_PLAN_TOKENS:
        return NAN;
    case LYNX_PLAN_CARRY:
        return c->carried < r->answer_tokens ? c->resumed : (double)NAN;
    case LYNX_PLAN_WAIT:
    case LYNX_PLAN_F16:
    case LYNX_PLAN_F16_STREAMED:
    case LYNX_PLAN_INT8:
    case LYNX_PLAN_INT4:
    case LYNX_PLAN_METHOD_COUNT:
        break;
    }
    return lx_course_token(c, r, method, 2);
}

static double prefill_node_s(const lx_course *c, const lynx_plan_request *r,
                             lynx_plan_method method)
{
    if (method == LYNX_PLAN_RECOMPUTE)
        return 0;
    if (method == LYNX_PLAN_TOKENS)
        return c->source_s + (r->answer_tokens - 1.0) * r->prefill.step_s;
    if (method == LYNX_PLAN_CARRY && c->carried > 1)
        return c->source_s + c->carry_begin - c->first + (c->carried - 1.0) * c->carry_step;
    return c->source_s;
}

static double decode_node_s(const lx_course *c, const lynx_plan_request *r,
                            lynx_plan_method method)
{
    const double rest = r->answer_tokens - 1.0;
    const double accepted = lx_course_accepted(c, r);
    switch (method) {
    case LYNX_PLAN_LYNX:
        /* A pass gives a token, too. */
        return c->codec_s + c->verify_end - c->verify_begin + c->drafted * c->draft_step +
               fmax(rest - accepted - (c->drafted ? 1 : 0), 0) * c->step;
    case LYNX_PLAN_TOKENS:
        return 0;
    case LYNX_PLAN_CARRY:
        return c->codec_s + c->resumed - c->complete +
               (rest + 1 - fmax(c->carried, 1)) * c->step;
    case LYNX_PLAN_RECOMPUTE:
        return c->prefilled - r->decode.wait_s + rest * c->step;
    case LYNX_PLAN_WAIT:
    case LYNX_PLAN_F16:
    case LYNX_PLAN_F16_STREAMED:
    case LYNX_PLAN_INT8:
    case LYNX_PLAN_INT4:
    case LYNX_PLAN_METHOD_COUNT:
        break;
    }
    return c->codec_s + rest * c->step;
}

void lynx_plan_predict(const lynx_plan_request *request, lynx_plan_method method,
                       lynx_plan_times *t)
{
    lx_course c;
    lx_course_init(&c, request, method);
    *t = (lynx_plan_times){.is_possible = c.is_possible,
                           .ttft_s = NAN,
                           .tt2t_s = NAN,
                           .tt16t_s = NAN,
                           .tt32t_s = NAN,
                           .tt64t_s = NAN,
                           .total_s = NAN,
                           .own_s = NAN,
                           .stall_s = NAN,
                           .anchor_s = NAN,
                           .complete_s = NAN};
    if (!c.is_possible)
        return;
    t->ttft_s = lx_course_token(&c, request, method, 1);
    t->tt2t_s = lx_course_token(&c, request, method, 2);
    t->tt16t_s = lx_course_token(&c, request, method, 16);
    t->tt32t_s = lx_course_token(&c, request, method, 32);
    t->tt64t_s = lx_course_token(&c, request, method, 64);
    t->total_s = lx_course_token(&c, request, method, request->answer_tokens);
    t->own_s = own(&c, request, method);
    t->stall_s = fmax(t->own_s, c.prefilled) - (request->is_stored ? 0 : c.prefilled);
    if (isnan(t->own_s))
        t->stall_s = NAN;
    if (method != LYNX_PLAN_TOKENS && method != LYNX_PLAN_RECOMPUTE) {
        t->anchor_s = c.anchor;
        t->complete_s = c.complete;
    }
    t->drafted = c.drafted;
    t->accepted = lx_course_accepted(&c, request);
    t->verify_s = c.verify_end - c.verify_begin;
    t->bytes = c.bytes;
    t->prefill_node_s = prefill_node_s(&c, request, method);
    t->decode_node_s = decode_node_s(&c, request, method);
}
