/* SPDX-License-Identifier: MIT */
#include "serve/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "serve/prompt.h"

/* ---- failures ------------------------------------------------------------------------ */

static void explain(lx_answer *a, lynx_status status, const char *text, lx_api_fault *fault)
{
    const char *words = text && text[0] ? text : lynx_status_text(status);
    switch (lx_job_outcome(a->job)) {
    case LX_OUTCOME_LATE:
        lx_api_fault_set(fault, 504, "timeout",
                         "the request took longer than the %.1f s that this server allows",
                         (double)a->options->request_ns / 1e9);
        return;
    case LX_OUTCOME_STOPPING:
        lx_api_fault_set(fault, 503, "stopping",
                         "the server is stopping; try another or later");
        return;
    case LX_OUTCOME_OK:
    case LX_OUTCOME_REFUSED:
    case LX_OUTCOME_DENIED:
    case LX_OUTCOME_FULL:
    case LX_OUTCOME_GONE:
    case LX_OUTCOME_FAILED:
    case LX_OUTCOME_COUNT:
        break;
    }
    const lynx_scope scope = lynx_status_scope(status);
    const bool is_peers =
        scope == LYNX_SCOPE_STREAM || status == LYNX_ERR_MODEL || status == LYNX_ERR_CORRUPT;
    lx_api_fault_set(fault, is_peers ? 502 : 500, is_peers ? "prefill_node" : NULL, "%s",
                     words);
}

/* ---- prompt -------------------------------------------------------------------------- */

/* What the engine's model and the grammar's reader have to say. */
static lynx_status check_options(lx_answer *a, lx_api_fault *fault)
{
    const lx_api_request *r = &a->job->request;
    const lynx_sampling *s = &r->sampling;
    const uint32_t vocabulary = a->engine->ops->model(a->engine)->vocabulary;
    char text[LYNX_GRAMMAR_TEXT_MAX];
    if (s->bias_count && (uint32_t)s->biases[s->bias_count - 1].token >= vocabulary) {
        lx_api_fault_set(fault, 400, NULL,
                         "'logit_bias' has a token id that this model does not have; they are "
                         "below %u",
                         vocabulary);
        snprintf(fault->param, sizeof(fault->param), "logit_bias");
        return LYNX_ERR_ARGUMENT;
    }
    if (!s->grammar)
        return LYNX_OK;
    const lynx_status status = lynx_grammar_check(s->grammar, s->grammar_bytes, text);
    if (status == LYNX_ERR_ARGUMENT) {
        lx_api_fault_set(fault, 400, NULL, "'%s' cannot be followed: %s", r->grammar_param,
                         text);
        snprintf(fault->param, sizeof(fault->param), "%s", r->grammar_param);
    }
    return status;
}

static lynx_status prepare(lx_answer *a, lynx_token **tokens, lx_api_fault *fault)
{
    const lx_api_request *r = &a->job->request;
    LX_REQUIRE(!__atomic_load_n(&a->job->stop, __ATOMIC_RELAXED), LYNX_ERR_CANCELLED);
    LX_TRY(lx_answer_check_method(a, fault));
    LX_TRY(check_options(a, fault));
    LX_TRY(lx_answer_open_document(a, fault));
    LX_TRY(lx_prompt_make(a->engine, r, a->options->chat_template, a->store.document, tokens,
                          &a->run.prompt_tokens, fault));
    a->run.prompt = *tokens;
    a->run.answer_tokens_max = lx_prompt_answer_tokens(a->engine->ops->model(a->engine), r,
                                                       a->run.prompt_tokens, fault);
    LX_REQUIRE(a->run.answer_tokens_max, LYNX_ERR_ARGUMENT);
    lx_answer_ask_store(a);
    LX_TRY(lx_answer_choose(a));
    lx_answer_use_store(a);
    a->result.capacity = a->run.answer_tokens_max;
    a->result.tokens = calloc(a->result.capacity, sizeof(*a->result.tokens));
    a->result.times = calloc(a->result.capacity, sizeof(*a->result.times));
    LX_REQUIRE(a->result.tokens && a->result.times, LYNX_ERR_MEMORY);
    if (r->is_optimistic)
        a->drafts = calloc((size_t)a->result.capacity + 1, sizeof(*a->drafts));
    LX_REQUIRE(a->drafts || !r->is_optimistic, LYNX_ERR_MEMORY);
    return LYNX_OK;
}

static void init_run(lx_answer *a, lynx_pace *pace)
{
    lynx_run_options_init(&a->run);
    a->run.pace = pace;
    a->run.engine = a->engine;
    a->run.draft_count_max = a->options->draft_count_max;
    a->run.guesses = a->options->guesses;
    a->run.branch_count_max = a->options->branch_count_max;
    a->run.spec = a->options->spec;
    a->run.sampling = a->job->request.sampling;
    a->run.wants_logprobs = a->job->request.wants_logprobs;
    a->run.top_logprobs = a->job->request.top_logprobs;
    a->run.on_moment = lx_answer_moment;
    a->run.on_page = lx_answer_page;
    a->run.user = a;
    a->run.stop = &a->job->stop;
}

/* ---- end ----------------------------------------------------------------------------- */

static lx_api_meta meta_of(const lx_answer *a, lynx_time_ns now)
{
    const lynx_run_result *r = &a->result;
    return (lx_api_meta){.method = lx_way_name(lx_answer_way(a)),
                         .reason = lx_answer_reason(a),
                         .prefill_node = lx_answer_node(a),
                         .is_recomputed = r->is_recomputed,
                         .seed = a->run.sampling.seed,
                         .prompt_tokens = a->run.prompt_tokens,
                         .drafted = r->drafted,
                         .accepted = r->accepted,
                         .branch_drafted = r->branch_drafted,
                         .branch_accepted = r->branch_accepted,
                         .steps = r->steps,
                         .guessed = r->guessed,
                         .guessed_right = r->guessed_right,
                         .carried = r->carried,
                         .reused_tokens = a->store.reused_tokens,
                         .computed_tokens = r->computed_tokens,
                         .kept_tokens = a->store.kept_tokens,
                         .kept_bytes = a->store.kept_bytes,
                         .bytes = r->bytes_total,
                         .bytes_before_first_draft = r->bytes_before_first_draft,
                         .prefill_ms = lx_answer_ms(a, a->prefill_at),
                         .anchor_ms = lx_answer_ms(a, a->anchor_at),
                         .complete_ms = lx_answer_ms(a, a->complete_at),
                         .verify_ms = (double)r->verify_ns / 1e6,
                         .ttft_ms = lx_answer_ms(a, a->first_at),
                         .total_ms = lx_answer_ms(a, now)};
}

/* The end of an answer that went well. */
static void say_end(lx_answer *a)
{
    const bool is_stopped = a->result.has_ended || a->filter.is_hit;
    const char *finish = is_stopped ? "stop" : "length";
    const lx_api_meta meta = meta_of(a, lynx_clock_now());
    const size_t end = a->filter.is_hit ? a->released : SIZE_MAX;
    lx_stop_filter_end(&a->filter, &a->text);
    char *last = NULL;
    if (!a->job->request.is_stream) {
        last =
            lx_api_whole(&a->head, a->text.data ? a->text.data : "",
                         lx_logprob_log_take(&a->logprobs, end), finish, a->token_count, &meta);
    } else {
        lx_answer_flush(a);
        last = lx_api_chunk(&a->head, false, NULL, lx_logprob_log_take(&a->logprobs, end),
                            finish, &meta);
        if (a->head.includes_usage) {
            lx_job_say_event(a->job, last);
            last = lx_api_usage(&a->head, a->run.prompt_tokens, a->token_count);
        }
    }
    lx_job_finish(a->job, last, NULL);
}

static void count(lx_answer *a)
{
    lx_metrics *m = a->metrics;
    const lynx_time_ns now = lynx_clock_now(), from = a->job->arrival;
    atomic_fetch_add(&m->tokens_in, a->run.prompt_tokens);
    atomic_fetch_add(&m->tokens_out, a->result.token_count);
    atomic_fetch_add(&m->drafted, a->result.drafted + a->result.branch_drafted);
    atomic_fetch_add(&m->accepted, a->result.accepted + a->result.branch_accepted);
    atomic_fetch_add(&m->steps, a->result.steps);
    atomic_fetch_add(&m->guessed, a->result.guessed);
    atomic_fetch_add(&m->guessed_right, a->result.guessed_right);
    atomic_fetch_add(&m->carried, a->result.carried);
    atomic_fetch_add(&m->recomputed, a->result.is_recomputed && !a->store.is_broken);
    atomic_fetch_add(&m->computed, a->result.computed_tokens);
    if (a->anchor_at > from)
        lx_histogram_add(&m->anchor, a->anchor_at - from);
    if (a->first_at)
        lx_histogram_add(&m->ttft, a->first_at - from);
    if (a->second_at)
        lx_histogram_add(&m->stall, a->second_at - a->first_at);
    if (a->result.verify_ns)
        lx_histogram_add(&m->verify, a->result.verify_ns);
    lx_histogram_add(&m->total, now - from);
    lx_answer_note_end(a);
}

static void log_end(const lx_answer *a, lynx_status status, const char *text)
{
    char line[2 * LYNX_TEXT_MAX + 512], stored[96] = "";
    const char *node = lx_answer_node(a);
    if (!a->options->log)
        return;
    if (a->store.filler)
        snprintf(stored, sizeof(stored), " (%u of the store, %u kept)", a->store.reused_tokens,
                 a->store.kept_tokens);
    snprintf(line, sizeof(line),
             "%s: %u prompt tokens%s, %u of the answer, %s%s%s%s, %.3f s: %s (%s)", a->job->id,
             a->run.prompt_tokens, stored, a->token_count, lx_way_name(lx_answer_way(a)),
             node ? " over " : "", node ? node : "",
             a->result.is_recomputed ? ", recomputed here" : "",
             (double)(lynx_clock_now() - a->job->arrival) / 1e9, text, lx_answer_reason(a));
    a->options->log(a->options->user, status, line);
}

/* ---- the whole ----------------------------------------------------------------------- */

static lynx_status run(lx_answer *a, lx_api_fault *fault)
{
    char text[LYNX_TEXT_MAX] = "";
    if (a->job->request.is_stream) {
        lx_job_begin(a->job);
        lx_job_say_event(a->job, lx_api_chunk(&a->head, true, NULL, NULL, NULL, NULL));
    }
    lynx_status status = lynx_run(a->remotes, a->choice.count, &a->run, &a->result, text);
    if (status == LYNX_ERR_CANCELLED && a->filter.is_hit)
        status = LYNX_OK;
    if (status == LYNX_OK && (a->text.has_failed || a->logprobs.has_failed))
        status = LYNX_ERR_MEMORY;
    lx_answer_note_store(a);
    count(a);
    if (status != LYNX_OK)
        explain(a, status, text, fault);
    log_end(a, status, status == LYNX_OK ? "done" : fault->message);
    return status;
}

static lynx_status answer(lx_answer *a, lynx_token **tokens, lx_api_fault *fault)
{
    const lynx_status status = prepare(a, tokens, fault);
    if (status != LYNX_OK) {
        if (!fault->http)
            explain(a, status, a->engine->ops->error_text(a->engine), fault);
        return status;
    }
    return run(a, fault);
}

static void answer_tokenize(lx_answer *a, lynx_token **tokens)
{
    lx_api_fault fault = {0};
    uint32_t token_count = 0;
    const lynx_status status =
        lx_prompt_make(a->engine, &a->job->request, NULL, NULL, tokens, &token_count, &fault);
    if (status == LYNX_OK) {
        lx_job_finish(a->job, lx_api_tokens(*tokens, token_count), NULL);
        return;
    }
    if (!fault.http)
        explain(a, status, a->engine->ops->error_text(a->engine), &fault);
    lx_job_finish(a->job, NULL, &fault);
}

void lx_answer_job(lx_service *service, lynx_engine *engine, lynx_pace *pace, lx_job *job)
{
    lx_api_fault fault = {0};
    lynx_token *tokens = NULL;
    lx_answer a = {
        .options = &service->options,
        .metrics = &service->metrics,
        .policy = &service->policy,
        .engine = engine,
        .job = job,
        .head = {.kind = job->request.kind,
                 .id = job->id,
                 .model = service->options.model_id,
                 .created = job->created,
                 .includes_usage = job->request.includes_usage},
        .logprobs = {.kind = job->request.kind},
        .filter = {.stops = job->request.stops, .count = job->request.stop_count},
        .store = {.filler = job->request.without_store ? NULL : service->filler,
                  .spec = service->options.spec},
    };
    if (a.store.filler)
        a.store.spec = lynx_codec_spec_storable(a.store.spec);
    init_run(&a, pace);
    if (job->request.kind == LX_API_TOKENIZE)
        answer_tokenize(&a, &tokens);
    else if (answer(&a, &tokens, &fault) == LYNX_OK)
        say_end(&a);
    else
        lx_job_finish(job, NULL, &fault);
    lx_answer_end_store(&a);
    free(tokens);
    free(a.result.tokens);
    free(a.result.times);
    free(a.drafts);
    json_decref(a.planes);
    lx_logprob_log_fini(&a.logprobs);
    lx_stop_filter_fini(&a.filter);
    lx_buffer_fini(&a.text);
}
