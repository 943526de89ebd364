/* SPDX-License-Identifier: MIT */
/* answer_choice.c - how an answer is computed, and what it showed; see answer.h. */
#include <stdio.h>

#include "base/check.h"
#include "serve/answer.h"

/* ---- method -------------------------------------------------------------------------- */

lynx_status lx_answer_check_method(const lx_answer *a, lx_api_fault *fault)
{
    const lx_api_method asked = a->job->request.method;
    if (a->options->remote_count > 0 || asked == LX_API_METHOD_AUTO ||
        asked == LX_API_METHOD_LOCAL)
        return LYNX_OK;
    lx_api_fault_set(fault, 400, NULL,
                     "'lynx.method' needs a prefill node, and this server has none");
    snprintf(fault->param, sizeof(fault->param), "lynx.method");
    return LYNX_ERR_ARGUMENT;
}

/* With prefill nodes, a prompt that is prefilled here still passes the codec: its answer is
 * that of the other methods. Without any the cache stays as it is. */
static lynx_method method_of(const lx_answer *a)
{
    switch (a->job->request.method) {
    case LX_API_METHOD_CARRY:
        return LYNX_METHOD_CARRY;
    case LX_API_METHOD_WAIT:
        return LYNX_METHOD_WAIT;
    case LX_API_METHOD_LOCAL:
        return a->options->remote_count ? LYNX_METHOD_LOCAL_FULL : LYNX_METHOD_LOCAL;
    case LX_API_METHOD_SPECULATE:
    case LX_API_METHOD_AUTO:
        break;
    }
    return LYNX_METHOD_SPECULATE;
}

lynx_status lx_answer_choose(lx_answer *a)
{
    const lynx_serve_options *o = a->options;
    const lx_question question = {
        .shape = &a->engine->ops->model(a->engine)->shape,
        .spec = a->store.document ? &a->store.spec : &o->spec,
        .prompt_tokens = a->run.prompt_tokens,
        .answer_tokens_max = a->run.answer_tokens_max,
        .draft_count_max = a->run.draft_count_max,
        .held_tokens = lx_answer_held_tokens(a),
        .busy = atomic_load(&a->metrics->busy),
        .is_forced = a->job->request.method != LX_API_METHOD_AUTO,
        .method = method_of(a),
    };
    LX_TRY(lx_policy_choose(a->policy, &question, o->remotes, o->remote_names, o->remote_count,
                            &a->choice));
    a->run.method = a->choice.method;
    /* What a prefill node sends may have recent tokens: what is kept of it ends before them. */
    a->run.spec = lx_answer_is_local(a) || a->store.document ? a->store.spec : o->spec;
    a->run.complete_deadline_ns = a->choice.deadline_ns;
    for (uint32_t i = 0; i < o->remote_count; i++)
        a->remotes[i] = o->remotes[a->choice.order[i]];
    return LYNX_OK;
}

bool lx_answer_is_local(const lx_answer *a)
{
    return a->run.method == LYNX_METHOD_LOCAL || a->run.method == LYNX_METHOD_LOCAL_FULL;
}

const char *lx_answer_reason(const lx_answer *a)
{
    return a->lost_text[0] ? a->lost_text : a->choice.reason;
}

lx_way lx_answer_way(const lx_answer *a)
{
    return lx_answer_is_local(a)                ? LX_WAY_LOCAL
           : a->run.method == LYNX_METHOD_WAIT  ? LX_WAY_WAIT
           : a->run.method == LYNX_METHOD_CARRY ? LX_WAY_CARRY
                                                : LX_WAY_SPECULATE;
}

const char *lx_answer_node(const lx_answer *a)
{
    const bool has_one = a->lost_count < a->choice.count;
    return has_one ? a->options->remote_names[a->choice.order[a->lost_count]] : NULL;
}

/* ---- what it showed ------------------------------------------------------------------ */

/* A prefill here, from its begin to its last piece. */
void lx_answer_note_moment(lx_answer *a, const lynx_moment *m)
{
    const bool is_last_lost = m->type == LYNX_MOMENT_LOST && a->lost_count == a->choice.count;
    const uint32_t busy = atomic_load(&a->metrics->busy);
    if (is_last_lost || (m->type == LYNX_MOMENT_REQUEST && lx_answer_is_local(a))) {
        a->local_from = m->time;
        a->seen.busy = busy;
    } else if (m->type == LYNX_MOMENT_PREFILL && m->count == m->total && a->local_from &&
               !a->seen.prefill_ns) {
        a->seen.prefill_ns = m->time - a->local_from;
        a->seen.prefill_tokens = m->total;
        a->seen.busy = (a->seen.busy + busy + 1) / 2;
    }
}

/* The mean of plain steps behind the first token and the verification; if there were too few,
 * what this slot has seen before. */
static uint64_t step_ns(const lx_answer *a)
{
    enum { LEAST = 4 };
    const lynx_run_result *r = &a->result;
    const uint32_t from = r->carried + (r->drafted ? r->accepted : 0) + 1;
    if (r->token_count > from + LEAST)
        return (r->times[r->token_count - 1] - r->times[from]) / (r->token_count - 1 - from);
    return r->drafted && a->run.pace ? (uint64_t)a->run.pace->step_ns : 0;
}

void lx_answer_note_end(lx_answer *a)
{
    const lynx_run_result *r = &a->result;
    lx_seen *seen = &a->seen;
    seen->step_ns = step_ns(a);
    seen->drafted = r->drafted;
    seen->accepted = r->accepted;
    if (r->drafted && a->run.pace) {
        seen->row_ns = (uint64_t)a->run.pace->row_ns;
        seen->draft_ns = (uint64_t)a->run.pace->draft_ns;
    }
    if (a->complete_at) {
        seen->cache_bytes = r->cache_bytes;
        seen->decode_cache_ns = r->decode_cache_ns;
    }
    seen->answer_tokens = r->token_count;
    lx_policy_note(a->policy, seen);
    const lx_fallback fallback =
        r->is_recomputed && !a->store.is_broken ? LX_FALLBACK_LOST : a->choice.fallback;
    atomic_fetch_add(&a->metrics->fallbacks[fallback], 1);
    atomic_fetch_add(&a->metrics->methods[lx_answer_way(a)], 1);
}

/* ---- before anything is answered ----------------------------------------------------- */

/* A prefill of 'count' tokens; its time. */
static lynx_status time_prefill(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                                lx_seen *seen)
{
    const lynx_time_ns start = lynx_clock_now();
    LX_TRY(engine->ops->prefill(engine, tokens, count, NULL, NULL));
    seen->prefill_tokens = count;
    seen->prefill_ns = lynx_clock_now() - start;
    seen->busy = 1;
    return LYNX_OK;
}

static lynx_status measure(lynx_engine *engine, lx_seen *seen)
{
    enum { FEW = 16, MANY = 256, STEPS = 4 };
    static const uint64_t few_most_ns = 100000000; /* many take at most some seconds then */
    const lynx_model *model = engine->ops->model(engine);
    lynx_token tokens[MANY];
    for (uint32_t i = 0; i < MANY; i++)
        tokens[i] = (lynx_token)((i * 7919u + 1) % model->vocabulary);
    if (model->context_tokens < FEW + 2 * STEPS)
        return LYNX_OK;
    LX_TRY(time_prefill(engine, tokens, FEW, seen));
    if (seen->prefill_ns < few_most_ns && model->context_tokens >= MANY + 2 * STEPS)
        LX_TRY(time_prefill(engine, tokens, MANY, seen));
    const lynx_time_ns start = lynx_clock_now();
    for (uint32_t i = 0; i < STEPS; i++)
        LX_TRY(engine->ops->step(engine, tokens[i]));
    const lynx_time_ns middle = lynx_clock_now();
    for (uint32_t i = 0; i < STEPS; i++)
        LX_TRY(engine->ops->draft_step(engine, &tokens[i], 1, NULL, 0));
    seen->step_ns = (middle - start) / STEPS;
    seen->draft_ns = (lynx_clock_now() - middle) / STEPS;
    return LYNX_OK;
}

lynx_status lx_answer_measure(lx_service *service, lynx_engine *engine, char *text)
{
    lx_seen seen = {0};
    const lynx_status status = measure(engine, &seen);
    if (status == LYNX_OK)
        lx_policy_note(&service->policy, &seen);
    else
        snprintf(text, LYNX_TEXT_MAX, "%s",
                 status == LYNX_ERR_ENGINE ? engine->ops->error_text(engine)
                                           : lynx_status_text(status));
    return status;
}
