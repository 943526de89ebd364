/* SPDX-License-Identifier: MIT */
/*
 * decode_node.c - one prompt on a decode node, from request to the last token.
 *
 *     RECEIVE --first token, anchor--> DRAFT --all planes--> verify --> plain decoding
 *        |                                                                 ^
 *        +--first token, all planes (or the anchor, by the method)---------+
 *
 * The engine thread is here: it takes events from the receiver under the loop's lock, and
 * decodes pages and computes without it. The memory of a page's planes belongs to the receiver
 * until this thread releases the page.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "lynx/runtime.h"
#include "lynx/speculate.h"
#include "runtime/endpoint_loop.h"
#include "runtime/page_pass.h"

enum { LINGER_MS = 1000, POLL_MS = 200 };

typedef struct run {
    const lynx_run_options *options;
    lynx_run_result *result;
    lynx_engine *engine;
    const lynx_model *model;
    const lynx_allocator *memory;
    lynx_receiver *receiver;
    lx_loop *loop;
    lx_page_pass pass;
    char *text;

    lynx_time_ns zero;
    uint64_t request_id;
    bool is_ready, has_first, is_finished, is_over, is_flipped;
    lynx_status over_status;

    /* Prompt, answer and drafts in one row; the answer's first token is at 'prompt_tokens'. */
    lynx_token *history;
    size_t history_room;
    lynx_time_ns *draft_times;
    lynx_token_clock clock;

    /* Counted from events, because the map runs ahead of the events that are taken. */
    uint64_t pages_needed, planes_seen[LYNX_PLANES_MAX];
    lynx_page_id *pending; /* a plane of these pages arrived and is not in the cache yet */
    size_t pending_count, pending_room;
} run;

static void emit(run *r, lynx_moment moment)
{
    if (moment.time == 0)
        moment.time = lx_loop_now();
    if (r->options->on_moment)
        r->options->on_moment(r->options->user, &moment);
}

static bool is_end(const run *r, lynx_token token)
{
    return !r->options->ignore_end && r->engine->ops->token_is_end(r->engine, token);
}

static uint32_t answer_left(const run *r)
{
    return r->options->answer_tokens_max - r->result->token_count;
}

static bool is_answered(const run *r)
{
    return r->result->has_ended || answer_left(r) == 0;
}

/* A valid token, produced at 'time'. It stands in the history already or is put there. */
static void add_token(run *r, lynx_token token, lynx_time_ns time)
{
    lynx_run_result *result = r->result;
    const uint32_t index = result->token_count;
    r->history[r->options->prompt_tokens + index] = token;
    result->tokens[index] = token;
    lynx_token_clock_add(&r->clock, time > r->zero ? time - r->zero : 0);
    result->token_count++;
    result->has_ended = is_end(r, token);
    emit(r, (lynx_moment){.type = LYNX_MOMENT_TOKEN,
                          .time = time,
                          .count = index,
                          .total = r->options->answer_tokens_max,
                          .token = token});
}

static void note_own_token(run *r)
{
    if (r->result->first_own_ns == 0)
        r->result->first_own_ns = lx_loop_now() - r->zero;
}

/* ---- events -------------------------------------------------------------------------- */

static void over(run *r, lynx_status status, const char *text)
{
    if (r->is_over)
        return;
    r->is_over = true;
    r->over_status = status;
    snprintf(r->text, LYNX_TEXT_MAX, "%s", text ? text : lynx_status_text(status));
}

/* Every page has planes 0 .. 'plane', and the events that say so were taken. */
static bool has_plane(const run *r, uint32_t plane)
{
    bool is_complete = r->pages_needed > 0;
    for (uint32_t i = 0; i <= plane; i++)
        is_complete = is_complete && r->planes_seen[i] == r->pages_needed;
    return is_complete;
}

static void on_plane(run *r, const lynx_event *event)
{
    lynx_bytes planes[LYNX_PLANES_MAX];
    uint32_t count = 0;
    size_t bytes = 0;
    if (lynx_receiver_planes(r->receiver, r->request_id, event->page, planes, &count) ==
            LYNX_OK &&
        event->plane < count)
        bytes = planes[event->plane].size;
    if (r->pending_count < r->pending_room)
        r->pending[r->pending_count++] = event->page;
    emit(r, (lynx_moment){.type = LYNX_MOMENT_PLANE,
                          .time = event->time,
                          .plane = event->plane,
                          .bytes = bytes});

    r->planes_seen[event->plane]++;
    if (event->plane == 0 && has_plane(r, 0)) {
        r->result->anchor_ns = event->time - r->zero;
        emit(r, (lynx_moment){.type = LYNX_MOMENT_ANCHOR, .time = event->time});
    }
    if (r->result->complete_ns == 0 && has_plane(r, r->pass.plane_count - 1)) {
        r->result->complete_ns = event->time - r->zero;
        emit(r, (lynx_moment){.type = LYNX_MOMENT_COMPLETE, .time = event->time});
    }
}

static void on_token(run *r, const lynx_event *event)
{
    if (event->count != r->result->token_count || is_answered(r))
        return; /* only the first token is wanted, or all of them in order */
    if (event->count > 0 && r->options->method != LYNX_METHOD_TOKENS)
        return;
    if (event->token < 0 || (uint32_t)event->token >= r->model->vocabulary) {
        over(r, LYNX_ERR_PROTOCOL, "the prefill node sent a token outside the vocabulary");
        return;
    }
    r->has_first = true;
    add_token(r, event->token, event->time);
}

static void on_event(run *r, const lynx_event *event)
{
    switch (event->type) {
    case LYNX_EVENT_PROGRESS:
        if (event->count == r->options->prompt_tokens && r->result->prefill_ns == 0)
            r->result->prefill_ns = event->time > r->zero ? event->time - r->zero : 0;
        emit(r, (lynx_moment){.type = LYNX_MOMENT_PREFILL,
                              .time = event->time,
                              .count = event->count,
                              .total = r->options->prompt_tokens});
        break;
    case LYNX_EVENT_READY:
        r->is_ready = true;
        break;
    case LYNX_EVENT_TOKEN:
        on_token(r, event);
        break;
    case LYNX_EVENT_PLANE:
        on_plane(r, event);
        break;
    case LYNX_EVENT_FINISH:
        r->is_finished = true;
        break;
    case LYNX_EVENT_REFUSE:
    case LYNX_EVENT_CLOSED:
        /* What is here already stays usable: only a missing part makes it an error. */
        over(r, event->status == LYNX_OK ? LYNX_ERR_CLOSED : event->status, event->text);
        break;
    case LYNX_EVENT_NONE:
    case LYNX_EVENT_HELLO:
    case LYNX_EVENT_REQUEST:
    case LYNX_EVENT_START:
    case LYNX_EVENT_CANCEL:
    case LYNX_EVENT_DELIVERED:
    case LYNX_EVENT_ACCEPT:
        break;
    }
}

/* Take all events. Called with the lock held. */
static void take_events(run *r)
{
    lynx_event event;
    while (lynx_receiver_next_event(r->receiver, &event))
        on_event(r, &event);
}

static bool is_stopped(const run *r)
{
    return r->options->stop && *r->options->stop;
}

/* Take events; when there are none, wait for some. */
static lynx_status wait_for_events(run *r)
{
    lx_loop_lock(r->loop);
    take_events(r);
    if (!r->is_over)
        lx_loop_wait(r->loop, lx_loop_now() + POLL_MS * 1000000ull);
    take_events(r);
    lx_loop_unlock(r->loop);
    LX_REQUIRE(!is_stopped(r), LYNX_ERR_CANCELLED);
    return LYNX_OK;
}

static void poll_events(run *r)
{
    lx_loop_lock(r->loop);
    take_events(r);
    lx_loop_unlock(r->loop);
}

/* ---- pages --------------------------------------------------------------------------- */

/* MUTATION CHECK ONLY: damage one bit behind the anchor, after its checksum was right. */
static void flip_residual_bit(run *r, const lynx_bytes *planes, uint32_t count)
{
    if (r->is_flipped || count < 2 || planes[1].size == 0)
        return;
    ((uint8_t *)(uintptr_t)planes[1].data)[0] ^= 1;
    r->is_flipped = true;
}

/* Decode what is here of one page into the cache; free its planes when that is all of it. */
static lynx_status apply_page(run *r, lynx_page_id id)
{
    lynx_bytes planes[LYNX_PLANES_MAX];
    uint32_t count = 0;
    lx_loop_lock(r->loop);
    const lynx_status known =
        lynx_receiver_planes(r->receiver, r->request_id, id, planes, &count);
    lx_loop_unlock(r->loop);
    if (known != LYNX_OK)
        return LYNX_OK; /* applied in full already */

    if (r->options->flip_residual_bit)
        flip_residual_bit(r, planes, count);
    const lynx_status status =
        lx_page_decode(&r->pass, id, r->options->prompt_tokens, planes, count);
    if (status != LYNX_OK) {
        snprintf(r->text, LYNX_TEXT_MAX, "page %u of layer %u cannot be decoded: %s", id.page,
                 id.layer, lynx_status_text(status));
        return status;
    }
    if (count == r->pass.plane_count) {
        lx_loop_lock(r->loop);
        lynx_receiver_release_page(r->receiver, r->request_id, id);
        lx_loop_unlock(r->loop);
    }
    return LYNX_OK;
}

static lynx_status digest_cache(run *r)
{
    if (!r->options->digest_cache)
        return LYNX_OK;
    return lx_page_pass_digest(&r->pass, r->options->prompt_tokens, &r->result->cache_digest);
}

static lynx_status apply_pages(run *r)
{
    if (r->pending_count == 0)
        return LYNX_OK;
    const lynx_time_ns start = lx_loop_now();
    for (size_t i = 0; i < r->pending_count; i++)
        LX_TRY(apply_page(r, r->pending[i]));
    r->pending_count = 0;
    LX_TRY(r->engine->ops->commit_pages(r->engine));
    r->result->decode_cache_ns += lx_loop_now() - start;
    return LYNX_OK;
}

/* ---- tokens -------------------------------------------------------------------------- */

/* Plain decoding to the end of the answer; the engine holds all tokens but the last. */
static lynx_status decode_plainly(run *r)
{
    lynx_run_result *result = r->result;
    while (!is_answered(r)) {
        LX_REQUIRE(!is_stopped(r), LYNX_ERR_CANCELLED);
        const uint32_t count = r->options->prompt_tokens + result->token_count;
        lynx_token token;
        LX_TRY(r->engine->ops->step(r->engine, r->history[count - 1]));
        LX_TRY(r->engine->ops->sample(r->engine, 0, &r->options->sampling, r->history, count,
                                      &token));
        note_own_token(r);
        add_token(r, token, lx_loop_now());
    }
    return LYNX_OK;
}

static lynx_status draft_one(run *r)
{
    lynx_run_result *result = r->result;
    const uint32_t count = r->options->prompt_tokens + 1 + result->drafted;
    LX_TRY(r->engine->ops->step(r->engine, r->history[count - 1]));
    LX_TRY(r->engine->ops->sample(r->engine, 0, &r->options->sampling, r->history, count,
                                  &r->history[count]));
    note_own_token(r);
    r->draft_times[result->drafted] = lx_loop_now();
    result->drafted++;
    emit(r, (lynx_moment){.type = LYNX_MOMENT_DRAFT,
                          .count = result->drafted,
                          .token = r->history[count]});
    return LYNX_OK;
}

/* Run [first token, drafts] through the model in batches; '*accepted' drafts agree, and
 * '*follower' is the token behind them if 'has_follower' rows reach that far. */
static lynx_status check_drafts(run *r, uint32_t rows, uint32_t *accepted, lynx_token *follower)
{
    const uint32_t first = r->options->prompt_tokens; /* history index of the first token */
    const uint32_t drafted = r->result->drafted;
    *accepted = 0;
    for (uint32_t done = 0; done < rows;) {
        const uint32_t left = rows - done;
        const uint32_t count = left < r->model->batch_tokens ? left : r->model->batch_tokens;
        LX_TRY(r->engine->ops->batch(r->engine, r->history + first + done, count));
        for (uint32_t row = 0; row < count; row++) {
            const uint32_t index = done + row;
            LX_TRY(r->engine->ops->sample(r->engine, row, &r->options->sampling, r->history,
                                          first + 1 + index, follower));
            if (index >= drafted)
                return LYNX_OK; /* all drafts stand, this one is the bonus */
            if (lynx_accept_count(&r->history[first + 1 + index], follower, 1) == 0)
                return LYNX_OK; /* the correction */
            (*accepted)++;
        }
        done += count;
    }
    return LYNX_OK;
}

static lynx_status verify(run *r)
{
    lynx_run_result *result = r->result;
    const uint32_t prompt = r->options->prompt_tokens;
    const uint32_t drafted = result->drafted;
    const bool ends = is_end(r, r->history[prompt + drafted]);
    const bool has_bonus = !ends && answer_left(r) > drafted;
    const uint32_t rows = drafted + (has_bonus ? 1 : 0);

    const lynx_time_ns start = lx_loop_now();
    emit(r, (lynx_moment){.type = LYNX_MOMENT_VERIFY, .time = start, .total = drafted});
    LX_TRY(r->engine->ops->rewind(r->engine, prompt));
    LX_TRY(apply_pages(r));
    LX_TRY(digest_cache(r));
    uint32_t accepted = drafted;
    lynx_token follower = 0;
    LX_TRY(check_drafts(r, rows, &accepted, &follower));
    const lynx_time_ns end = lx_loop_now();
    result->verify_ns = end - start;
    result->accepted = accepted;
    emit(r, (lynx_moment){.type = LYNX_MOMENT_VERIFIED,
                          .time = end,
                          .count = accepted,
                          .total = drafted});

    for (uint32_t i = 0; i < accepted && !is_answered(r); i++)
        add_token(r, r->history[prompt + 1 + i], r->draft_times[i]);
    if (!is_answered(r) && (accepted < drafted || has_bonus))
        add_token(r, follower, end);
    /* The cache keeps what is valid and has been input: everything but the last token. */
    const uint32_t valid = prompt + result->token_count - 1;
    if (r->engine->ops->length(r->engine) > valid)
        LX_TRY(r->engine->ops->rewind(r->engine, valid));
    return LYNX_OK;
}

/* MUTATION CHECK ONLY: take the drafts for valid tokens. */
static void accept_unverified(run *r)
{
    r->result->accepted = r->result->drafted;
    for (uint32_t i = 0; i < r->result->drafted && !is_answered(r); i++)
        add_token(r, r->history[r->options->prompt_tokens + 1 + i], r->draft_times[i]);
}

/* ---- methods over a link ------------------------------------------------------------- */

/* Wait until the first token and planes 0..'plane' of all pages are in the engine. */
static lynx_status receive_planes(run *r, uint32_t plane)
{
    for (;;) {
        poll_events(r);
        LX_TRY(apply_pages(r));
        if (r->has_first && is_answered(r))
            return LYNX_OK;
        if (r->has_first && has_plane(r, plane) && r->pending_count == 0)
            return LYNX_OK;
        LX_REQUIRE(!r->is_over, r->over_status);
        LX_TRY(wait_for_events(r));
    }
}

static uint64_t bytes_received(run *r)
{
    lx_loop_lock(r->loop);
    const lynx_session_counters counters = lynx_receiver_counters(r->receiver);
    lx_loop_unlock(r->loop);
    return counters.bytes_received;
}

static lynx_status speculate(run *r)
{
    lynx_run_result *result = r->result;
    const uint32_t last = r->pass.plane_count - 1;
    LX_TRY(receive_planes(r, 0));
    if (is_answered(r))
        return LYNX_OK;
    result->bytes_before_first_draft = bytes_received(r);

    const uint32_t context_left = r->model->context_tokens - r->options->prompt_tokens - 1;
    const uint32_t limit =
        lynx_draft_limit(r->options->draft_count_max, answer_left(r), context_left);
    while (!has_plane(r, last)) {
        LX_REQUIRE(!is_stopped(r), LYNX_ERR_CANCELLED);
        const lynx_token newest = r->history[r->options->prompt_tokens + result->drafted];
        if (result->drafted < limit && !(result->drafted && is_end(r, newest))) {
            LX_TRY(draft_one(r));
            poll_events(r);
        } else {
            LX_REQUIRE(!r->is_over, r->over_status);
            LX_TRY(wait_for_events(r));
        }
        if (r->model->can_refine)
            LX_TRY(apply_pages(r));
    }
    if (r->options->skip_verify) {
        accept_unverified(r);
        return is_answered(r) ? LYNX_OK : decode_plainly(r);
    }
    if (result->drafted) {
        LX_TRY(verify(r));
    } else {
        LX_TRY(apply_pages(r));
        LX_TRY(digest_cache(r));
    }
    return decode_plainly(r);
}

static lynx_status wait_then_decode(run *r, uint32_t plane)
{
    LX_TRY(receive_planes(r, plane));
    r->result->bytes_before_first_draft = bytes_received(r);
    if (is_answered(r))
        return LYNX_OK;
    LX_TRY(digest_cache(r));
    return decode_plainly(r);
}

static lynx_status receive_tokens(run *r)
{
    while (!is_answered(r)) {
        poll_events(r);
        if (is_answered(r))
            break;
        if (r->is_finished && !r->is_over)
            return LYNX_OK;
        LX_REQUIRE(!r->is_over, r->over_status);
        LX_TRY(wait_for_events(r));
    }
    return LYNX_OK;
}

static lynx_status ask(run *r)
{
    const lynx_run_options *o = r->options;
    const bool is_tokens = o->method == LYNX_METHOD_TOKENS;
    const lynx_request request = {
        .spec = o->spec,
        .sampling = o->sampling,
        .flags = (is_tokens ? LYNX_REQUEST_NO_PAGES : 0u) |
                 (o->is_stored ? (uint32_t)(LYNX_REQUEST_HOLD | LYNX_REQUEST_REUSE) : 0u) |
                 (o->after_prefill ? (uint32_t)LYNX_REQUEST_AFTER_PREFILL : 0u),
        .answer_tokens = is_tokens ? o->answer_tokens_max : 1,
        .token_count = o->prompt_tokens,
        .tokens = o->prompt,
    };
    lx_loop_lock(r->loop);
    r->zero = lx_loop_now();
    lynx_status status = lynx_receiver_request(r->receiver, &request, &r->request_id);
    if (status == LYNX_OK)
        r->pages_needed = lynx_page_map_needed(lynx_receiver_map(r->receiver, r->request_id));
    else
        take_events(r); /* the link may have ended before: they tell why */
    lx_loop_unlock(r->loop);
    lx_loop_wake(r->loop);
    LX_REQUIRE(status == LYNX_OK || !r->is_over, r->over_status);
    LX_TRY(status);
    if (!o->is_stored) {
        emit(r, (lynx_moment){.type = LYNX_MOMENT_REQUEST, .time = r->zero});
        return LYNX_OK;
    }
    while (!r->is_ready) {
        LX_REQUIRE(!r->is_over, r->over_status);
        LX_TRY(wait_for_events(r));
    }
    lx_loop_lock(r->loop);
    r->zero = lx_loop_now();
    r->result->prefill_ns = 0;
    emit(r, (lynx_moment){.type = LYNX_MOMENT_REQUEST, .time = r->zero});
    status = lynx_receiver_start(r->receiver, r->request_id);
    lx_loop_unlock(r->loop);
    lx_loop_wake(r->loop);
    return status;
}

static lynx_status run_over_link(run *r)
{
    LX_TRY(ask(r));
    switch (r->options->method) {
    case LYNX_METHOD_SPECULATE:
        return speculate(r);
    case LYNX_METHOD_WAIT:
        return wait_then_decode(r, r->pass.plane_count - 1);
    case LYNX_METHOD_ANCHOR:
        return wait_then_decode(r, 0);
    case LYNX_METHOD_TOKENS:
        return receive_tokens(r);
    case LYNX_METHOD_LOCAL:
    case LYNX_METHOD_LOCAL_FULL:
        break;
    }
    return LYNX_ERR_ARGUMENT;
}

/* Page events that can be outstanding at most: each plane of each page once. */
static lynx_status make_pending(run *r)
{
    const lynx_shape *shape = &r->model->shape;
    r->pending_room = (size_t)lynx_shape_page_count(shape, r->options->prompt_tokens) *
                      shape->layer_count * 2 * r->pass.plane_count;
    r->pending = lx_alloc(r->memory, r->pending_room, sizeof(*r->pending));
    LX_REQUIRE(r->pending, LYNX_ERR_MEMORY);
    return LYNX_OK;
}

static lynx_status start_link(run *r, lynx_link **link)
{
    const lynx_run_options *o = r->options;
    if (o->method != LYNX_METHOD_TOKENS) {
        LX_TRY(r->engine->ops->reserve(r->engine, o->prompt_tokens));
        LX_TRY(make_pending(r));
    }
    lynx_session_options session;
    lynx_session_options_init(&session);
    session.model = r->model;
    session.allow_other_weights = o->allow_other_weights;
    session.timeout_ns = o->timeout_ns;
    session.memory = o->memory;
    LX_TRY(lynx_receiver_create(&r->receiver, &session, lx_loop_now()));
    LX_TRY(lx_loop_start(&r->loop, &lx_endpoint_of_receiver, r->receiver, *link, r->memory));
    *link = NULL;
    return LYNX_OK;
}

static void stop_link(run *r, lynx_status status)
{
    if (!r->loop)
        return;
    lx_loop_lock(r->loop);
    take_events(r);
    r->result->bytes_total = lynx_receiver_counters(r->receiver).bytes_received;
    if (!r->is_over) {
        if (!r->is_finished && r->request_id)
            (void)!lynx_receiver_cancel(r->receiver, r->request_id);
        lynx_receiver_close(r->receiver, status == LYNX_ERR_CANCELLED ? LYNX_OK : status,
                            status == LYNX_OK ? "" : r->text);
    }
    lx_loop_unlock(r->loop);
    lx_loop_wake(r->loop);
    lx_loop_stop(r->loop, LINGER_MS * 1000000ull);
    r->loop = NULL;
}

/* ---- local methods ------------------------------------------------------------------- */

static bool on_local_prefill(void *user, uint32_t done, uint32_t total)
{
    run *r = user;
    emit(r, (lynx_moment){.type = LYNX_MOMENT_PREFILL, .count = done, .total = total});
    return !is_stopped(r);
}

static lynx_status run_locally(run *r)
{
    const lynx_run_options *o = r->options;
    lynx_token token;
    r->zero = lx_loop_now();
    emit(r, (lynx_moment){.type = LYNX_MOMENT_REQUEST, .time = r->zero});
    LX_TRY(
        r->engine->ops->prefill(r->engine, o->prompt, o->prompt_tokens, on_local_prefill, r));
    LX_TRY(r->engine->ops->sample(r->engine, 0, &o->sampling, r->history, o->prompt_tokens,
                                  &token));
    r->result->prefill_ns = lx_loop_now() - r->zero;
    note_own_token(r);
    add_token(r, token, lx_loop_now());
    if (is_answered(r))
        return LYNX_OK;
    if (o->method == LYNX_METHOD_LOCAL_FULL) {
        LX_TRY(lx_page_pass_all(&r->pass, o->prompt_tokens));
        LX_TRY(digest_cache(r));
    }
    return decode_plainly(r);
}

/* ---- the whole ----------------------------------------------------------------------- */

static lynx_status check_options(const run *r)
{
    const lynx_run_options *o = r->options;
    const uint32_t context = r->model->context_tokens;
    LX_TRY(lynx_sampling_check(&o->sampling));
    LX_TRY(lynx_codec_spec_check(&o->spec));
    if (o->prompt_tokens < 1 || o->answer_tokens_max < 1) {
        snprintf(r->text, LYNX_TEXT_MAX, "prompt and answer need at least one token");
        return LYNX_ERR_ARGUMENT;
    }
    if (o->prompt_tokens > context || o->answer_tokens_max > context - o->prompt_tokens) {
        snprintf(r->text, LYNX_TEXT_MAX,
                 "the prompt of %u tokens and an answer of %u do not fit the context of %u; "
                 "use a larger --ctx-size or a shorter prompt",
                 o->prompt_tokens, o->answer_tokens_max, context);
        return LYNX_ERR_LIMIT;
    }
    return LYNX_OK;
}

static lynx_status run_init(run *r)
{
    const lynx_run_options *o = r->options;
    LX_TRY(check_options(r));
    LX_REQUIRE(r->result->capacity >= o->answer_tokens_max, LYNX_ERR_ARGUMENT);
    r->history_room = (size_t)o->prompt_tokens + o->answer_tokens_max + o->draft_count_max + 2;
    r->history = lx_alloc(r->memory, r->history_room, sizeof(*r->history));
    r->draft_times =
        lx_alloc_zeroed(r->memory, (size_t)o->draft_count_max + 1, sizeof(*r->draft_times));
    LX_REQUIRE(r->history && r->draft_times, LYNX_ERR_MEMORY);
    memcpy(r->history, o->prompt, o->prompt_tokens * sizeof(*r->history));
    r->clock = (lynx_token_clock){.times = r->result->times, .capacity = r->result->capacity};
    r->result->cache_bytes = lynx_shape_cache_bytes(&r->model->shape, o->prompt_tokens);
    if (o->method != LYNX_METHOD_TOKENS && o->method != LYNX_METHOD_LOCAL)
        LX_TRY(lx_page_pass_init(&r->pass, r->engine, &o->spec, o->kernels, o->memory));
    return LYNX_OK;
}

static void run_fini(run *r)
{
    lynx_receiver_destroy(r->receiver);
    lx_page_pass_fini(&r->pass);
    lx_free(r->memory, r->pending, r->pending_room, sizeof(*r->pending));
    lx_free(r->memory, r->history, r->history_room, sizeof(*r->history));
    lx_free(r->memory, r->draft_times, (size_t)r->options->draft_count_max + 1,
            sizeof(*r->draft_times));
}

void lynx_run_options_init(lynx_run_options *options)
{
    *options = (lynx_run_options){
        .struct_size = sizeof(*options),
        .method = LYNX_METHOD_SPECULATE,
        .answer_tokens_max = 64,
        .draft_count_max = 62,
        .timeout_ns = 10000000000ull,
    };
    lynx_sampling_init(&options->sampling);
    /* The name is one of the built-in list; a failure would be our own mistake. */
    (void)!lynx_codec_spec_named(&options->spec, "range");
}

static void explain(run *r, lynx_status status)
{
    if (status == LYNX_OK || r->text[0])
        return;
    const bool is_engine = status == LYNX_ERR_ENGINE;
    snprintf(r->text, LYNX_TEXT_MAX, "%s",
             is_engine ? r->engine->ops->error_text(r->engine) : lynx_status_text(status));
}

lynx_status lynx_run(lynx_link *link, const lynx_run_options *options, lynx_run_result *result,
                     char *text)
{
    const bool is_local =
        options->method == LYNX_METHOD_LOCAL || options->method == LYNX_METHOD_LOCAL_FULL;
    text[0] = '\0';
    *result = (lynx_run_result){.tokens = result->tokens,
                                .times = result->times,
                                .capacity = result->capacity};
    run r = {
        .options = options,
        .result = result,
        .engine = options->engine,
        .model = options->engine->ops->model(options->engine),
        .memory = lx_allocator_or_default(options->memory),
        .text = text,
    };
    r.pass.memory = r.memory;
    lynx_status status = run_init(&r);
    if (status == LYNX_OK && is_local)
        status = run_locally(&r);
    if (status == LYNX_OK && !is_local) {
        status = start_link(&r, &link);
        if (status == LYNX_OK)
            status = run_over_link(&r);
        explain(&r, status);
        stop_link(&r, status);
    }
    explain(&r, status);
    if (status == LYNX_OK)
        text[0] = '\0';
    lynx_link_destroy(link);
    run_fini(&r);
    return status;
}
