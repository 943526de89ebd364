/* SPDX-License-Identifier: MIT */
/*
 * prefill_node.c - one connection of a prefill node.
 *
 *     wait --REQUEST--> prefill --> first token --> (READY, wait for START) --> pages -->
 * FINISH ^                  | pages leave meanwhile, unless they are held                  |
 *       +------------------+---- CANCEL, refusal -----------------------------------------+
 *
 * The engine thread is here; the link thread is endpoint_loop.c.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "lynx/runtime.h"
#include "runtime/endpoint_loop.h"
#include "runtime/page_pass.h"

enum { LINGER_MS = 1000, POLL_MS = 200 };

struct lynx_held_prompt {
    const lynx_allocator *memory;
    lynx_token *tokens;
    uint32_t capacity;
    uint32_t count;
    bool is_valid; /* the engine holds the cache of 'tokens' */
    lynx_token first_token;
    lynx_sampling sampling; /* that chose 'first_token' */
};

typedef struct node {
    const lynx_serve_options *options;
    lynx_engine *engine;
    const lynx_model *model;
    const lynx_allocator *memory;
    lynx_held_prompt *held;
    lynx_held_prompt *own_held; /* when the caller keeps none */
    lynx_sender *sender;
    lx_loop *loop;
    lynx_serve_report report;
    char *text;

    /* The request in work. */
    uint64_t request_id;
    lynx_request request;
    lx_page_pass pass;
    uint32_t next_page;
    bool is_started;
    bool is_cancelled;

    bool is_closed;
    lynx_status close_status;
} node;

lynx_time_ns lynx_clock_now(void)
{
    return lx_loop_now();
}

lynx_status lynx_held_prompt_create(lynx_held_prompt **held, const lynx_allocator *memory)
{
    memory = lx_allocator_or_default(memory);
    lynx_held_prompt *h = lx_alloc_zeroed(memory, 1, sizeof(*h));
    LX_REQUIRE(h, LYNX_ERR_MEMORY);
    h->memory = memory;
    *held = h;
    return LYNX_OK;
}

void lynx_held_prompt_destroy(lynx_held_prompt *held)
{
    if (!held)
        return;
    const lynx_allocator *memory = held->memory;
    lx_free(memory, held->tokens, held->capacity, sizeof(*held->tokens));
    lx_free(memory, held, 1, sizeof(*held));
}

static lynx_status held_prompt_set(lynx_held_prompt *held, const lynx_token *tokens,
                                   uint32_t count)
{
    held->is_valid = false;
    if (count > held->capacity) {
        lynx_token *grown = lx_alloc(held->memory, count, sizeof(*grown));
        LX_REQUIRE(grown, LYNX_ERR_MEMORY);
        lx_free(held->memory, held->tokens, held->capacity, sizeof(*held->tokens));
        held->tokens = grown;
        held->capacity = count;
    }
    memcpy(held->tokens, tokens, count * sizeof(*tokens));
    held->count = count;
    return LYNX_OK;
}

static bool sampling_is_equal(const lynx_sampling *a, const lynx_sampling *b)
{
    return a->temperature == b->temperature && a->top_k == b->top_k && a->top_p == b->top_p &&
           a->min_p == b->min_p && a->repeat_penalty == b->repeat_penalty &&
           a->frequency_penalty == b->frequency_penalty &&
           a->presence_penalty == b->presence_penalty &&
           a->penalty_tokens == b->penalty_tokens && a->seed == b->seed;
}

static bool held_prompt_serves(const lynx_held_prompt *held, const lynx_request *request)
{
    return held->is_valid && held->count == request->token_count &&
           sampling_is_equal(&held->sampling, &request->sampling) &&
           memcmp(held->tokens, request->tokens, held->count * sizeof(*held->tokens)) == 0;
}

static bool must_stop(const node *n)
{
    return n->is_cancelled || n->is_closed || (n->options->stop && *n->options->stop);
}

/* Take the events of the request in work. Called with the lock held. */
static void take_events(node *n)
{
    lynx_event event;
    while (!n->is_closed && lynx_sender_next_event(n->sender, &event)) {
        const bool is_current = event.request_id == n->request_id;
        if (event.type == LYNX_EVENT_CANCEL && is_current) {
            n->is_cancelled = true;
        } else if (event.type == LYNX_EVENT_START && is_current) {
            n->is_started = true;
        } else if (event.type == LYNX_EVENT_CLOSED) {
            n->is_closed = true;
            n->close_status = event.status;
            snprintf(n->text, LYNX_TEXT_MAX, "%s", event.text);
        } else if (event.type == LYNX_EVENT_REQUEST) {
            /* An answer that cannot be queued means a dying session: its event follows. */
            (void)!lynx_sender_refuse(n->sender, event.request_id, LYNX_ERR_LIMIT,
                                      "this prefill node works on another request; try again "
                                      "when that one has ended");
        }
    }
}

static void release_plane(void *user, uint8_t *data, size_t size)
{
    lx_free(user, data, size, 1);
}

/* Copy the planes of the page just encoded to memory of their exact size and queue them. */
static lynx_status queue_page(node *n, lynx_page_id id)
{
    for (uint32_t plane = 0; plane < n->pass.plane_count; plane++) {
        const size_t size = n->pass.plane_bytes[plane];
        uint8_t *data = NULL;
        if (size) {
            data = lx_alloc(n->memory, size, 1);
            LX_REQUIRE(data, LYNX_ERR_MEMORY);
            memcpy(data, n->pass.planes[plane], size);
        }
        lx_loop_lock(n->loop);
        const lynx_status status =
            lynx_sender_plane(n->sender, n->request_id, id, plane, data, size, release_plane,
                              (void *)(uintptr_t)n->memory);
        lx_loop_unlock(n->loop);
        if (status != LYNX_OK) {
            lx_free(n->memory, data, size, 1);
            return status;
        }
    }
    lx_loop_wake(n->loop);
    return LYNX_OK;
}

/* Encode and queue the pages that the first 'done' tokens fill. */
static lynx_status send_pages(node *n, uint32_t done)
{
    const lynx_shape *shape = &n->model->shape;
    const uint32_t total = n->request.token_count;
    const lynx_time_ns start = lx_loop_now();
    for (; n->next_page < lynx_shape_page_count(shape, total); n->next_page++) {
        const lynx_page_span span =
            lynx_page_span_of(shape, (lynx_page_id){n->next_page, 0, 0}, total);
        if (span.first_token + span.token_count > done)
            break;
        for (uint32_t layer = 0; layer < shape->layer_count; layer++)
            for (uint32_t side = 0; side < 2; side++) {
                const lynx_page_id id = {n->next_page, (uint16_t)layer, (uint8_t)side};
                if (!lynx_page_is_needed(shape, id, total))
                    continue;
                LX_TRY(lx_page_encode(&n->pass, id, total));
                LX_TRY(queue_page(n, id));
            }
    }
    n->report.encode_ns += lx_loop_now() - start;
    n->report.raw_pages = n->pass.raw_pages;
    return LYNX_OK;
}

static bool pages_flow_during_prefill(const lynx_request *request)
{
    return (request->flags &
            (LYNX_REQUEST_HOLD | LYNX_REQUEST_NO_PAGES | LYNX_REQUEST_AFTER_PREFILL)) == 0;
}

static bool on_prefill(void *user, uint32_t done, uint32_t total)
{
    node *n = user;
    (void)total;
    lx_loop_lock(n->loop);
    take_events(n);
    /* A failure here shows as an event of the session; the pages below would fail, too. */
    (void)!lynx_sender_progress(n->sender, n->request_id, done);
    lx_loop_unlock(n->loop);
    lx_loop_wake(n->loop);
    if (must_stop(n))
        return false;
    if (pages_flow_during_prefill(&n->request) && send_pages(n, done) != LYNX_OK)
        return false;
    return true;
}

/* Have the cache of the prompt in the engine, and its first token known. */
static lynx_status prepare_cache(node *n)
{
    lynx_held_prompt *held = n->held;
    const lynx_request *request = &n->request;
    if ((request->flags & LYNX_REQUEST_REUSE) && held_prompt_serves(held, request)) {
        LX_TRY(n->engine->ops->rewind(n->engine, request->token_count));
        n->report.prefill_ns = 0;
        lx_loop_lock(n->loop);
        const lynx_status status =
            lynx_sender_progress(n->sender, n->request_id, request->token_count);
        lx_loop_unlock(n->loop);
        return status;
    }
    LX_TRY(held_prompt_set(held, request->tokens, request->token_count));
    const lynx_time_ns start = lx_loop_now();
    LX_TRY(n->engine->ops->prefill(n->engine, held->tokens, held->count, on_prefill, n));
    LX_TRY(n->engine->ops->sample(n->engine, 0, &request->sampling, held->tokens, held->count,
                                  &held->first_token));
    held->sampling = request->sampling;
    held->is_valid = true;
    n->report.prefill_ns = lx_loop_now() - start;
    n->report.prefilled += held->count;
    return LYNX_OK;
}

static lynx_status wait_for_start(node *n)
{
    lx_loop_lock(n->loop);
    lynx_status status = lynx_sender_ready(n->sender, n->request_id);
    lx_loop_wake(n->loop);
    while (status == LYNX_OK && !n->is_started) {
        take_events(n);
        if (must_stop(n))
            status = LYNX_ERR_CANCELLED;
        else if (!n->is_started)
            lx_loop_wait(n->loop, lx_loop_now() + POLL_MS * 1000000ull);
    }
    lx_loop_unlock(n->loop);
    return status;
}

static lynx_status send_token(node *n, uint32_t index, lynx_token token)
{
    lx_loop_lock(n->loop);
    take_events(n);
    const lynx_status status = lynx_sender_token(n->sender, n->request_id, index, token);
    lx_loop_unlock(n->loop);
    lx_loop_wake(n->loop);
    LX_REQUIRE(!must_stop(n), LYNX_ERR_CANCELLED);
    return status;
}

/* Choose further tokens here and send them as they come. */
static lynx_status carry_on(node *n)
{
    const uint32_t prompt = n->request.token_count;
    const uint32_t answer = n->request.answer_tokens;
    lynx_token *history = lx_alloc(n->memory, (size_t)prompt + answer, sizeof(*history));
    LX_REQUIRE(history, LYNX_ERR_MEMORY);
    memcpy(history, n->held->tokens, prompt * sizeof(*history));
    history[prompt] = n->held->first_token;
    lynx_status status = LYNX_OK;
    for (uint32_t i = 1; i < answer && status == LYNX_OK; i++) {
        const uint32_t count = prompt + i;
        status = n->engine->ops->step(n->engine, history[count - 1]);
        if (status == LYNX_OK)
            status = n->engine->ops->sample(n->engine, 0, &n->request.sampling, history, count,
                                            &history[count]);
        if (status == LYNX_OK)
            status = send_token(n, i, history[count]);
    }
    lx_free(n->memory, history, (size_t)prompt + answer, sizeof(*history));
    return status;
}

static lynx_status work_on_request(node *n)
{
    const bool has_pages = (n->request.flags & LYNX_REQUEST_NO_PAGES) == 0;
    if (has_pages)
        LX_TRY(lx_page_pass_init(&n->pass, n->engine, &n->request.spec, n->options->kernels,
                                 n->options->memory));
    LX_TRY(prepare_cache(n));
    if (n->request.flags & LYNX_REQUEST_HOLD)
        LX_TRY(wait_for_start(n));
    LX_TRY(send_token(n, 0, n->held->first_token));
    if (has_pages)
        LX_TRY(send_pages(n, n->request.token_count));
    if (n->request.answer_tokens > 1)
        LX_TRY(carry_on(n));
    lx_loop_lock(n->loop);
    const lynx_status status = lynx_sender_finish(n->sender, n->request_id);
    lx_loop_unlock(n->loop);
    lx_loop_wake(n->loop);
    return status;
}

/* A sentence for a refusal, or NULL when the request can be served. */
static const char *refusal(const node *n, const lynx_request *request, char *text,
                           size_t text_size)
{
    const uint32_t context = n->model->context_tokens;
    if (request->token_count > context || request->answer_tokens > context ||
        request->token_count + request->answer_tokens > context) {
        snprintf(
            text, text_size,
            "the prompt of %u tokens and an answer of %u do not fit the prefill node's context "
            "of %u; start it with a larger --ctx-size",
            request->token_count, request->answer_tokens, context);
        return text;
    }
    for (uint32_t i = 0; i < request->token_count; i++)
        if (request->tokens[i] < 0 || (uint32_t)request->tokens[i] >= n->model->vocabulary) {
            snprintf(text, text_size, "token %u of the prompt is outside the vocabulary", i);
            return text;
        }
    return NULL;
}

static void answer_request(node *n, const lynx_event *event)
{
    char text[LYNX_SESSION_TEXT_MAX];
    n->request_id = event->request_id;
    n->request = *event->request;
    n->next_page = 0;
    n->is_started = false;
    n->is_cancelled = false;
    n->report.encode_ns = 0;
    n->report.raw_pages = 0;
    n->report.cache_bytes = lynx_shape_cache_bytes(&n->model->shape, n->request.token_count);

    lynx_status status = LYNX_ERR_ARGUMENT;
    const char *reason = refusal(n, &n->request, text, sizeof(text));
    if (!reason) {
        lx_loop_lock(n->loop);
        status = lynx_sender_accept(n->sender, n->request_id);
        lx_loop_unlock(n->loop);
        lx_loop_wake(n->loop);
        if (status == LYNX_OK) {
            n->report.requests++;
            status = work_on_request(n);
        }
        lx_page_pass_fini(&n->pass);
        if (status == LYNX_ERR_ENGINE)
            reason = n->engine->ops->error_text(n->engine);
    }
    if (status == LYNX_OK || n->is_cancelled || n->is_closed)
        return;
    lx_loop_lock(n->loop);
    /* Fails only when the session is over, which its own event reports. */
    (void)!lynx_sender_refuse(n->sender, n->request_id, status,
                              reason ? reason : lynx_status_text(status));
    lx_loop_unlock(n->loop);
    lx_loop_wake(n->loop);
}

/* Wait for a request; false when the session is over. */
static bool wait_for_request(node *n, lynx_event *event)
{
    bool has_request = false;
    lx_loop_lock(n->loop);
    while (!has_request && !n->is_closed) {
        if (!lynx_sender_next_event(n->sender, event)) {
            if (n->options->stop && *n->options->stop) {
                lynx_sender_close(n->sender, LYNX_ERR_CANCELLED,
                                  "the prefill node is stopping");
                n->is_closed = true;
                n->close_status = LYNX_ERR_CANCELLED;
                snprintf(n->text, LYNX_TEXT_MAX, "stopped");
            } else {
                lx_loop_wait(n->loop, lx_loop_now() + POLL_MS * 1000000ull);
            }
        } else if (event->type == LYNX_EVENT_REQUEST) {
            has_request = true;
        } else if (event->type == LYNX_EVENT_CLOSED) {
            n->is_closed = true;
            n->close_status = event->status;
            snprintf(n->text, LYNX_TEXT_MAX, "%s", event->text);
        }
    }
    lx_loop_unlock(n->loop);
    return has_request;
}

static lynx_status node_start(node *n, lynx_link *link)
{
    lynx_session_options session;
    lynx_session_options_init(&session);
    session.model = n->model;
    session.allow_other_weights = n->options->allow_other_weights;
    session.timeout_ns = n->options->timeout_ns;
    session.memory = n->options->memory;
    if (!n->held) {
        LX_TRY(lynx_held_prompt_create(&n->own_held, n->options->memory));
        n->held = n->own_held;
    }
    LX_TRY(lynx_sender_create(&n->sender, &session, lx_loop_now()));
    return lx_loop_start(&n->loop, &lx_endpoint_of_sender, n->sender, link, n->memory);
}

void lynx_serve_options_init(lynx_serve_options *options)
{
    *options = (lynx_serve_options){
        .struct_size = sizeof(*options),
        .timeout_ns = 10000000000ull,
    };
}

lynx_status lynx_serve(lynx_link *link, const lynx_serve_options *options,
                       lynx_serve_report *report, char *text)
{
    text[0] = '\0';
    node n = {
        .options = options,
        .engine = options->engine,
        .model = options->engine->ops->model(options->engine),
        .memory = lx_allocator_or_default(options->memory),
        .held = options->held,
        .text = text,
    };
    lynx_status status = node_start(&n, link);
    if (status == LYNX_OK) {
        lynx_event event;
        while (wait_for_request(&n, &event))
            answer_request(&n, &event);
        n.report.counters = lynx_sender_counters(n.sender);
        status = n.close_status;
        lx_loop_stop(n.loop, LINGER_MS * 1000000ull);
    } else {
        lynx_link_destroy(link);
        snprintf(text, LYNX_TEXT_MAX, "cannot start the connection: %s",
                 lynx_status_text(status));
    }
    lynx_sender_destroy(n.sender);
    lynx_held_prompt_destroy(n.own_held);
    if (report)
        *report = n.report;
    return status;
}
