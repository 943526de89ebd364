/* SPDX-License-Identifier: MIT */
/*
 * prefill_node.c - one engine for many decode nodes.
 *
 *     wait --REQUEST--> prefill --> first token, pages --> (further tokens) --> finish --+
 *       ^                  | pages are queued meanwhile, unless they come afterwards      |
 *       +------------------+---- CANCEL, refusal ----------------------------------------+
 *
 * Further tokens come for who wants no pages, to the end; and for who lets this node carry on,
 * until they are wanted no more or another request waits.
 *
 * The engine thread is here: it takes requests one after the other, oldest first. What it has
 * queued leaves by the connections' threads while it works on the next. Planes of a request
 * that holds wait in the session until START.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "lynx/runtime.h"
#include "runtime/carry.h"
#include "runtime/held_prefix.h"
#include "runtime/held_prompt.h"
#include "runtime/page_pass.h"
#include "runtime/pump.h"

static const uint64_t poll_ns = 200000000;
static const uint64_t linger_ns = 1000000000;
static const uint64_t second_ns = 1000000000;
static const char stopping_text[] = "the prefill node is stopping";

/* Links beyond the connections of sessions, for peers that have said nothing yet. */
enum { GREETING_MAX = 16 };

/* A request that waits for the engine. */
typedef struct waiting {
    uint64_t id;
    const lynx_request *request;
} waiting;

struct lynx_prefill_node {
    lynx_prefill_options options;
    lynx_engine *engine;
    const lynx_model *model;
    const lynx_allocator *memory;
    lynx_sender *sender;
    lynx_pump *pump;
    lynx_prefill_report report; /* under the lock */

    /* Connections of this second; under the lock. */
    lynx_time_ns second_began;
    uint32_t connects;
    bool is_draining; /* under the lock */
    _Atomic lynx_time_ns ends_at;

    /* Of the engine thread. */
    lx_held_prompt held;
    waiting *queue; /* a ring of 'queue_room' */
    size_t queue_room, queue_first, queue_count;
    uint64_t request_id; /* in work; 0: none */
    lynx_request request;
    lx_page_pass pass;
    uint32_t next_page, next_layer;
    uint32_t left_out; /* tokens in front, whose pages the peer holds */
    uint64_t encode_ns;
    uint32_t carried; /* tokens that were chosen ahead for the request */
    bool is_cancelled;
    bool has_closed; /* a lane did */
    lynx_status close_status;
    char close_text[LYNX_TEXT_MAX];
};

typedef lynx_prefill_node node;

static void say(const node *n, lynx_status status, const char *text)
{
    if (n->options.log)
        n->options.log(n->options.user, status, text);
}

/* ---- events -------------------------------------------------------------------------- */

static bool is_stopped(const node *n)
{
    return lx_is_set(n->options.stop) || lynx_clock_now() >= atomic_load(&n->ends_at);
}

static bool must_stop(const node *n)
{
    return n->is_cancelled || is_stopped(n);
}

/* The oldest request. Called with the lock held. */
static bool next_request(node *n, waiting *w)
{
    if (n->queue_count == 0)
        return false;
    *w = n->queue[n->queue_first];
    n->queue_first = (n->queue_first + 1) % n->queue_room;
    n->queue_count--;
    return true;
}

static void enqueue(node *n, const lynx_event *event)
{
    const size_t at = (n->queue_first + n->queue_count) % n->queue_room;
    n->queue[at] = (waiting){event->request_id, event->request};
    n->queue_count++; /* the room is for every request that the sessions can have */
}

/* The peer wants it no more: it is in work, or waits, or is done. */
static void on_cancel(node *n, uint64_t id)
{
    size_t kept = 0;
    n->is_cancelled |= id == n->request_id;
    for (size_t i = 0; i < n->queue_count; i++) {
        const waiting w = n->queue[(n->queue_first + i) % n->queue_room];
        if (w.id != id)
            n->queue[(n->queue_first + kept++) % n->queue_room] = w;
    }
    n->queue_count = kept;
}

/* The node drains: who waits for the engine asks another one. Called with the lock held. */
static void refuse_waiting(node *n)
{
    waiting w;
    while (next_request(n, &w)) /* a failure here: it is over, which its own event tells */
        (void)!lynx_sender_refuse(n->sender, w.id, LYNX_ERR_CLOSED, stopping_text);
}

static void on_closed(node *n, const lynx_event *event)
{
    n->has_closed = true;
    n->close_status = event->status;
    snprintf(n->close_text, sizeof(n->close_text), "%s", event->text);
}

/* Take all events. Called with the lock held; a log line must not be written under it. */
static void take_events(node *n)
{
    lynx_event event;
    lynx_time_ns next;
    lynx_sender_tick(n->sender, lynx_clock_now(), &next);
    while (lynx_sender_next_event(n->sender, &event)) {
        char text[LYNX_TEXT_MAX];
        lynx_status status = LYNX_OK;
        text[0] = '\0';
        if (event.type == LYNX_EVENT_REQUEST) {
            enqueue(n, &event);
        } else if (event.type == LYNX_EVENT_CANCEL) {
            on_cancel(n, event.request_id);
        } else if (event.type == LYNX_EVENT_OPENED) {
            snprintf(text, sizeof(text), "connection %u: a decode node with '%.200s'",
                     event.lane, event.text);
        } else if (event.type == LYNX_EVENT_CLOSED) {
            on_closed(n, &event);
            status = event.status;
            snprintf(text, sizeof(text), "connection %u ended: %s", event.lane,
                     event.status == LYNX_OK ? "in order" : event.text);
        }
        if (text[0]) {
            lynx_pump_unlock(n->pump);
            say(n, status, text);
            lynx_pump_lock(n->pump);
        }
    }
    if (n->is_draining)
        refuse_waiting(n);
}

/* ---- pages --------------------------------------------------------------------------- */

static void release_plane(void *user, uint8_t *data, size_t size)
{
    lx_free(user, data, size, 1);
}

/* Copy the planes of the page just encoded to memory of their exact size and queue them. */
static lynx_status queue_page(node *n, lynx_page_id id)
{
    for (uint32_t plane = 0; plane < n->pass.plane_count; plane++) {
        const size_t size = n->pass.coder.plane_bytes[plane];
        uint8_t *data = NULL;
        if (size) {
            data = lx_alloc(n->memory, size, 1);
            LX_REQUIRE(data, LYNX_ERR_MEMORY);
            memcpy(data, n->pass.coder.planes[plane], size);
        }
        lynx_pump_lock(n->pump);
        const lynx_status status =
            lynx_sender_plane(n->sender, lynx_clock_now(), n->request_id, id, plane, data, size,
                              release_plane, (void *)(uintptr_t)n->memory);
        lynx_pump_unlock(n->pump);
        if (status != LYNX_OK) {
            lx_free(n->memory, data, size, 1);
            return status;
        }
    }
    return LYNX_OK;
}

/* Columns of pages that the first 'done' tokens fill. */
static uint32_t full_columns(const node *n, uint32_t done)
{
    return done == n->request.token_count ? lynx_shape_page_count(&n->model->shape, done)
                                          : done / n->model->shape.page_tokens;
}

/* Encode and queue those that are new, of layers before 'layers', by layer: the decode node
 * computes its first layers while the last ones come. */
static lynx_status send_pages(node *n, uint32_t done, uint32_t layers)
{
    const lynx_shape *shape = &n->model->shape;
    const uint32_t total = n->request.token_count;
    const uint32_t end = full_columns(n, done);
    const lynx_time_ns start = lynx_clock_now();
    if (end <= n->next_page) /* the peer may hold more */
        return LYNX_OK;
    for (uint32_t layer = n->next_layer; layer < layers; layer++)
        for (uint32_t page = n->next_page; page < end; page++)
            for (uint32_t side = 0; side < 2; side++) {
                const lynx_page_id id = {page, (uint16_t)layer, (uint8_t)side};
                if (!lynx_page_is_needed(shape, id, total))
                    continue;
                LX_TRY(lx_page_encode(&n->pass, id, total));
                LX_TRY(queue_page(n, id));
            }
    const bool has_all = layers == shape->layer_count;
    n->next_page = has_all ? end : n->next_page;
    n->next_layer = has_all ? 0 : layers;
    n->encode_ns += lynx_clock_now() - start;
    return LYNX_OK;
}

/* ---- one request --------------------------------------------------------------------- */

static bool pages_flow_during_prefill(const lynx_request *request)
{
    return (request->flags & (LYNX_REQUEST_NO_PAGES | LYNX_REQUEST_AFTER_PREFILL)) == 0;
}

static bool on_layers(void *user, uint32_t done, uint32_t layers)
{
    node *n = user;
    lynx_pump_lock(n->pump);
    take_events(n);
    /* A failure here shows as an event of the request; the pages below would fail, too. */
    if (layers == n->model->shape.layer_count)
        (void)!lynx_sender_progress(n->sender, n->request_id, done);
    lynx_pump_unlock(n->pump);
    if (must_stop(n))
        return false;
    return !pages_flow_during_prefill(&n->request) || send_pages(n, done, layers) == LYNX_OK;
}

static bool on_prefill(void *user, uint32_t done, uint32_t total)
{
    const node *n = user;
    (void)total;
    return on_layers(user, done, n->model->shape.layer_count);
}

/* A page of a layer leaves as soon as it is there. */
static lynx_status prefill(node *n)
{
    const lynx_engine_ops *ops = n->engine->ops;
    const lx_held_prompt *held = &n->held;
    return n->model->can_await_layers
               ? ops->prefill_by_layer(n->engine, held->tokens, held->count, on_prefill,
                                       on_layers, n)
               : ops->prefill(n->engine, held->tokens, held->count, on_prefill, n);
}

/* Have the cache of the prompt in the engine, and its first token known. */
static lynx_status prepare_cache(node *n, uint64_t *prefill_ns)
{
    lx_held_prompt *held = &n->held;
    const lynx_request *request = &n->request;
    if ((request->flags & LYNX_REQUEST_REUSE) && lx_held_prompt_serves(held, request)) {
        LX_TRY(n->engine->ops->rewind(n->engine, request->token_count));
        lynx_pump_lock(n->pump);
        const lynx_status status =
            lynx_sender_progress(n->sender, n->request_id, request->token_count);
        lynx_pump_unlock(n->pump);
        return status;
    }
    LX_TRY(lx_held_prompt_set(held, request->tokens, request->token_count, n->memory));
    const lynx_time_ns start = lynx_clock_now();
    LX_TRY(prefill(n));
    LX_TRY(n->engine->ops->sample(n->engine, 0, &request->sampling, held->tokens, held->count,
                                  held->count, &held->first_token));
    held->sampling = request->sampling;
    held->is_valid = lx_request_is_plain(request);
    *prefill_ns = lynx_clock_now() - start;
    return LYNX_OK;
}

/* 'token' was chosen from a row of the logits that the engine has. */
static lynx_status send_token(void *user, lynx_token token, uint32_t row)
{
    node *n = user;
    const bool is_told = n->request.wants_logprobs;
    lynx_logprobs logprobs;
    if (is_told)
        lynx_logprobs_of(n->engine->ops->logits(n->engine, row), n->model->vocabulary, token,
                         n->request.top_logprobs, &logprobs);
    lynx_pump_lock(n->pump);
    take_events(n);
    const lynx_status status =
        lynx_sender_token(n->sender, n->request_id, token, is_told ? &logprobs : NULL);
    lynx_pump_unlock(n->pump);
    LX_REQUIRE(!must_stop(n), LYNX_ERR_CANCELLED);
    return status;
}

/* Further tokens, up to 'answer_tokens' in all, by what the engine's cache is now. */
static lynx_status send_tokens(node *n, lx_carry_send *send, uint32_t answer_tokens)
{
    const lx_carry carry = {.engine = n->engine,
                            .sampling = &n->request.sampling,
                            .guesses = n->options.guesses,
                            .memory = n->memory,
                            .send = send,
                            .user = n};
    return lx_carry_on(&carry, n->held.tokens, n->held.count, n->held.first_token,
                       answer_tokens);
}

/* Carrying on is what is done when there is nothing better to do. */
static bool is_idle(void *user)
{
    node *n = user;
    lynx_pump_lock(n->pump);
    take_events(n);
    const bool has_waiting = n->queue_count > 0;
    lynx_pump_unlock(n->pump);
    return !has_waiting && !must_stop(n);
}

static lynx_status send_while_idle(void *user, lynx_token token, uint32_t row)
{
    node *n = user;
    LX_TRY(send_token(n, token, row));
    n->carried++;
    return n->queue_count > 0 ? LYNX_ERR_CANCELLED : LYNX_OK;
}

/* Bring the cache to the stage that the decode node will have, and choose tokens on it until
 * they are wanted no more. Whatever ends it: the pages are right without them. */
static void carry_on(node *n)
{
    const uint32_t prompt = n->request.token_count;
    const uint32_t room = n->model->context_tokens - prompt;
    const uint32_t raw_pages = n->pass.raw_pages;
    uint32_t most = n->options.carry_tokens_max;
    most = most < n->request.answer_tokens ? most : n->request.answer_tokens;
    most = most < room ? most : room;
    if (most <= 1 || !is_idle(n))
        return;
    n->held.is_valid = false; /* the cache is not the original any more */
    lynx_status status = lx_page_pass_all(&n->pass, prompt, is_idle, n);
    n->pass.raw_pages = raw_pages;
    if (status == LYNX_OK)
        status = send_tokens(n, send_while_idle, most);
    if (status == LYNX_ERR_ENGINE)
        say(n, status, n->engine->ops->error_text(n->engine));
}

static lynx_status finish_request(node *n)
{
    lynx_pump_lock(n->pump);
    take_events(n);
    /* Who lets us carry on says END when the cache is complete: it was delivered. */
    const bool is_over = n->is_cancelled && (n->request.flags & LYNX_REQUEST_CARRY_ON);
    const lynx_status status = is_over ? LYNX_OK : lynx_sender_finish(n->sender, n->request_id);
    lynx_pump_unlock(n->pump);
    return status;
}

static lynx_status work_on_request(node *n, uint64_t *prefill_ns)
{
    const bool has_pages = (n->request.flags & LYNX_REQUEST_NO_PAGES) == 0;
    if (has_pages)
        LX_TRY(lx_page_pass_init(&n->pass, n->engine, &n->request.spec, n->options.kernels,
                                 n->memory));
    LX_TRY(prepare_cache(n, prefill_ns));
    LX_TRY(send_token(n, n->held.first_token, 0));
    if (has_pages)
        LX_TRY(send_pages(n, n->request.token_count, n->model->shape.layer_count));
    if (n->request.flags & LYNX_REQUEST_CARRY_ON)
        carry_on(n);
    else if (n->request.answer_tokens > 1)
        LX_TRY(send_tokens(n, send_token, n->request.answer_tokens));
    return finish_request(n);
}

/* LYNX_OK, or why the request cannot be served, with a sentence. Called with the lock held. */
static lynx_status judge(const node *n, const lynx_request *request, char *text,
                         size_t text_size)
{
    const uint32_t context = n->model->context_tokens;
    const bool carries_on = request->flags & LYNX_REQUEST_CARRY_ON; /* as far as it gets */
    const uint32_t answer_tokens = carries_on ? 1 : request->answer_tokens;
    if (request->token_count > context || answer_tokens > context ||
        request->token_count + answer_tokens > context) {
        snprintf(text, text_size,
                 "the prompt of %u tokens and an answer of %u do not fit the prefill node's "
                 "context of %u; start it with a larger --ctx-size",
                 request->token_count, answer_tokens, context);
        return LYNX_ERR_LIMIT;
    }
    const char *foreign = lx_request_foreign(request, n->model->vocabulary);
    if (foreign) {
        snprintf(text, text_size, "a token of %s is outside the vocabulary", foreign);
        return LYNX_ERR_ARGUMENT;
    }
    const uint64_t queued = lynx_sender_counters(n->sender).queued_bytes;
    const uint64_t cache = lynx_shape_cache_bytes(&n->model->shape, request->token_count);
    if (queued > n->options.queue_bytes_max || cache > n->options.queue_bytes_max - queued) {
        snprintf(
            text, text_size,
            "the prefill node holds %llu MB of caches that wait for their decode nodes; try "
            "again later or raise its limit",
            (unsigned long long)(queued >> 20));
        return LYNX_ERR_LIMIT;
    }
    return LYNX_OK;
}

/* What the peer says that it holds is left out if it is what this node would send. */
static uint32_t judge_held(const node *n)
{
    const lynx_request *request = &n->request;
    if (!request->held_tokens || lx_held_name_fits(n->model, request))
        return request->held_tokens;
    say(n, LYNX_ERR_MODEL,
        "a decode node holds pages of another model, or names them wrongly: everything is "
        "sent");
    return 0;
}

static void write_report(node *n, uint64_t prefill_ns)
{
    lynx_prefill_report *report = &n->report;
    char carried[64] = "", held[64] = "";
    char text[LYNX_TEXT_MAX];
    if (n->request.flags & LYNX_REQUEST_CARRY_ON)
        snprintf(carried, sizeof(carried), ", carried on for %u tokens", n->carried);
    if (n->left_out)
        snprintf(held, sizeof(held), ", left out %u tokens that the peer holds", n->left_out);
    lynx_pump_lock(n->pump);
    report->prefill_ns = prefill_ns;
    report->prefilled += prefill_ns ? n->request.token_count : 0;
    report->encode_ns = n->encode_ns;
    report->carried += n->carried;
    report->raw_pages = n->pass.raw_pages;
    report->cache_bytes = lynx_shape_cache_bytes(&n->model->shape, n->request.token_count);
    snprintf(text, sizeof(text),
             "prompt of %u tokens: prefill %.2f s, encode %.3f s, cache %llu "
             "bytes%s%s",
             n->request.token_count, (double)prefill_ns / 1e9, (double)n->encode_ns / 1e9,
             (unsigned long long)report->cache_bytes, carried, held);
    lynx_pump_unlock(n->pump);
    say(n, LYNX_OK, text);
}

/* 'w' was taken out of the queue. Called without the lock. */
static void answer_request(node *n, const waiting *w)
{
    char text[LYNX_SESSION_TEXT_MAX] = "";
    uint64_t prefill_ns = 0;
    n->request_id = w->id;
    n->request = *w->request;
    n->left_out = judge_held(n);
    n->next_page = n->left_out / n->model->shape.page_tokens;
    n->next_layer = 0;
    n->is_cancelled = false;
    n->encode_ns = 0;
    n->carried = 0;
    lynx_pump_lock(n->pump);
    lynx_status status = judge(n, &n->request, text, sizeof(text));
    if (status == LYNX_OK)
        status = lynx_sender_accept(n->sender, n->request_id, n->left_out);
    n->report.requests += status == LYNX_OK;
    lynx_pump_unlock(n->pump);
    if (status == LYNX_OK) {
        status = work_on_request(n, &prefill_ns);
        if (status == LYNX_OK)
            write_report(n, prefill_ns);
        lx_page_pass_fini(&n->pass);
        n->pass = (lx_page_pass){0};
    }
    if (status == LYNX_ERR_ENGINE)
        snprintf(text, sizeof(text), "%s", n->engine->ops->error_text(n->engine));
    lynx_pump_lock(n->pump);
    /* Fails only when the request is over, which its own event tells. */
    if (status != LYNX_OK && !n->is_cancelled)
        (void)!lynx_sender_refuse(n->sender, n->request_id, status,
                                  text[0] ? text : lynx_status_text(status));
    n->request_id = 0;
    lynx_pump_unlock(n->pump);
}

/* ---- the node ------------------------------------------------------------------------ */

static bool is_finished(const node *n)
{
    return is_stopped(n) || (n->is_draining && lynx_sender_is_idle(n->sender)) ||
           (n->options.is_once && n->has_closed &&
            lynx_sender_counters(n->sender).connections == 0);
}

lynx_status lynx_prefill_node_run(lynx_prefill_node *n, char *text)
{
    waiting w;
    text[0] = '\0';
    lynx_pump_lock(n->pump);
    take_events(n);
    while (!is_finished(n)) {
        if (next_request(n, &w)) {
            lynx_pump_unlock(n->pump);
            answer_request(n, &w);
            lynx_pump_lock(n->pump);
        } else {
            lynx_pump_wait(n->pump, lynx_clock_now() + poll_ns);
        }
        take_events(n);
    }
    lynx_sender_close(n->sender, LYNX_ERR_CANCELLED, stopping_text);
    lynx_pump_unlock(n->pump);
    if (!n->has_closed || !n->options.is_once)
        return LYNX_OK;
    snprintf(text, LYNX_TEXT_MAX, "%s", n->close_text);
    return n->close_status;
}

lynx_status lynx_prefill_node_connect(lynx_prefill_node *n, lynx_link *link)
{
    const lynx_time_ns now = lynx_clock_now();
    lynx_pump_lock(n->pump);
    if (now - n->second_began >= second_ns) {
        n->second_began = now;
        n->connects = 0;
    }
    const bool is_open = n->connects < n->options.connects_per_s;
    n->connects += is_open;
    lynx_pump_unlock(n->pump);
    LX_REQUIRE(is_open, LYNX_BLOCKED);
    return lynx_pump_attach(n->pump, link, 0);
}

void lynx_prefill_node_drain(lynx_prefill_node *n, uint64_t grace_ns)
{
    const lynx_time_ns now = lynx_clock_now();
    lynx_pump_lock(n->pump);
    if (!n->is_draining) {
        n->is_draining = true;
        atomic_store(&n->ends_at,
                     grace_ns < LYNX_TIME_NEVER - now ? now + grace_ns : LYNX_TIME_NEVER);
        lynx_sender_drain(n->sender);
        lx_pump_changed(n->pump);
    }
    lynx_pump_unlock(n->pump);
}

lynx_prefill_report lynx_prefill_node_report(lynx_prefill_node *n)
{
    lynx_pump_lock(n->pump);
    lynx_prefill_report report = n->report;
    report.counters = lynx_sender_counters(n->sender);
    report.residual_age_ns = lynx_sender_residual_age(n->sender, lynx_clock_now());
    lynx_pump_unlock(n->pump);
    return report;
}

/* ---- life ---------------------------------------------------------------------------- */

void lynx_prefill_options_init(lynx_prefill_options *options)
{
    *options = (lynx_prefill_options){
        .struct_size = sizeof(*options),
        .connects_per_s = 50,
        .queue_bytes_max = 4ull << 30,
        .carry_tokens_max = 1024,
        .guesses = true,
        .greet_ns = 5000000000ull,
    };
    lynx_session_options_init(&options->session);
}

static lynx_status node_init(node *n)
{
    lynx_session_options session = n->options.session;
    session.model = n->model;
    session.memory = n->options.memory;
    n->queue_room = (size_t)session.sessions_max * LYNX_REQUESTS_MAX * 2;
    n->queue = lx_alloc(n->memory, n->queue_room, sizeof(*n->queue));
    LX_REQUIRE(n->queue, LYNX_ERR_MEMORY);
    LX_TRY(lynx_sender_create(&n->sender, &session, lynx_clock_now()));
    lynx_pump_options pump;
    lynx_pump_options_init(&pump);
    pump.greet_ns = n->options.greet_ns;
    pump.links_max = session.connections_max + GREETING_MAX;
    pump.log = n->options.log;
    pump.user = n->options.user;
    pump.memory = n->options.memory;
    return lynx_pump_create_sender(&n->pump, n->sender, &pump);
}

lynx_status lynx_prefill_node_create(lynx_prefill_node **created,
                                     const lynx_prefill_options *options)
{
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    LX_REQUIRE(options->struct_size >= sizeof(*options) && options->engine &&
                   options->connects_per_s >= 1,
               LYNX_ERR_ARGUMENT);
    node *n = lx_alloc_zeroed(memory, 1, sizeof(*n));
    LX_REQUIRE(n, LYNX_ERR_MEMORY);
    n->options = *options;
    atomic_init(&n->ends_at, LYNX_TIME_NEVER);
    n->engine = options->engine;
    n->model = options->engine->ops->model(options->engine);
    n->memory = memory;
    const lynx_status status = node_init(n);
    if (status != LYNX_OK) {
        lynx_prefill_node_destroy(n);
        return status;
    }
    *created = n;
    return LYNX_OK;
}

void lynx_prefill_node_destroy(lynx_prefill_node *n)
{
    if (!n)
        return;
    lynx_pump_destroy(n->pump, linger_ns);
    lynx_sender_destroy(n->sender);
    lx_free(n->memory, n->queue, n->queue_room, sizeof(*n->queue));
    lx_held_prompt_fini(&n->held, n->memory);
    lx_free(n->memory, n, 1, sizeof(*n));
}
