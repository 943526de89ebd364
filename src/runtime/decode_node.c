/* SPDX-License-Identifier: MIT */
/*
 * decode_node.c - one prompt on a decode node, from request to the last token; see run.h.
 *
 *     RECEIVE --first token, anchor--> DRAFT --all planes--> verify --> plain decoding
 *        |                               |                     ^           ^
 *        +-first token, all planes (or the anchor, by method)--)-----------+
 *        |    (carried tokens come meanwhile, or end: then DRAFT behind them)
 *        |                               |                     |
 *        +-------- remotes lost ---------+--> prefill here ----+
 *
 * The engine thread is here: it takes events from the receiver under the pump's lock, and
 * decodes pages and computes without it. The memory of a page's planes belongs to the receiver
 * until this thread releases the page.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "runtime/remote.h"
#include "runtime/run.h"

void lx_run_emit(const lx_run *r, lynx_moment moment)
{
    if (moment.time == 0)
        moment.time = lynx_clock_now();
    if (r->options->on_moment)
        r->options->on_moment(r->options->user, &moment);
}

bool lx_run_is_stopped(const lx_run *r)
{
    return lx_is_set(r->options->stop);
}

/* ---- methods over a link ------------------------------------------------------------- */

/* Exact tokens of the prefill node may still come, and are wanted. */
static bool is_carried(const lx_run *r)
{
    return r->options->method == LYNX_METHOD_CARRY && !r->has_yielded &&
           !lx_run_has_plane(r, r->pass.plane_count - 1);
}

/* Wait until the first token and planes 0..'plane' of all pages are in the engine, no token is
 * carried any more, and drafts pay if they are to be made. */
static lynx_status receive_planes(lx_run *r, uint32_t plane)
{
    for (;;) {
        lx_run_poll(r);
        if (plane == 0 && r->options->method == LYNX_METHOD_SPECULATE)
            lx_run_weigh(r);
        LX_TRY(lx_run_apply_pages(r));
        if (r->has_first && lx_run_is_answered(r))
            return LYNX_OK;
        if (lx_run_has_start(r) && lx_run_has_plane(r, plane) && r->pending_count == 0 &&
            !is_carried(r) && !r->awaits_rest)
            return LYNX_OK;
        LX_REQUIRE(!r->is_over, r->over_status);
        LX_TRY(lx_run_wait(r));
    }
}

/* The question behind a stored prefix, or the first token, is computed while the anchor comes,
 * from when its first layer is here on; unless the whole cache comes before drafts would pay.
 */
static lynx_status ask_early(lx_run *r)
{
    for (;;) {
        lx_run_poll(r);
        lx_run_weigh(r);
        if (r->awaits_rest)
            return LYNX_OK;
        LX_TRY(lx_run_apply_pages(r));
        if (r->has_first && lx_run_is_answered(r))
            return LYNX_OK;
        if (lx_run_has_start(r) && lx_run_has_layer(r, 0, 0))
            return lx_run_feed(r, true);
        LX_REQUIRE(!r->is_over, r->over_status);
        LX_TRY(lx_run_wait(r));
    }
}

/* Since the request was made; other requests of the session count, too. */
static uint64_t bytes_received(lx_run *r)
{
    if (!r->receiver)
        return r->result->bytes_total;
    lynx_pump_lock(r->pump);
    const lynx_session_counters counters = lynx_receiver_counters(r->receiver);
    lynx_pump_unlock(r->pump);
    return counters.bytes_received - r->bytes_before;
}

/* Say END: nothing more is wanted of the remote. */
static void end_request(lx_run *r)
{
    lynx_pump_lock(r->pump);
    if (r->request_id) {
        lx_run_take_events(r);
        const uint64_t bytes = lynx_receiver_counters(r->receiver).bytes_received;
        r->result->bytes_total += bytes - r->bytes_before;
        const lynx_status failure = r->has_lost_held ? LYNX_ERR_CANCELLED : r->over_status;
        lx_meter_end(&r->meter, bytes, lynx_clock_now(), r->is_over ? failure : LYNX_OK,
                     r->text);
        /* Without memory the request stays until the remote is closed. */
        (void)!lynx_receiver_end(r->receiver, r->request_id);
        r->request_id = 0;
    }
    lynx_pump_unlock(r->pump);
}

/* The cache is here and the prefill node still carries on. Run what it chose through the model
 * while more comes, until little is left to catch up with; then end it and go on alone. */
static lynx_status take_over(lx_run *r)
{
    uint32_t behind = UINT32_MAX;
    LX_TRY(lx_run_digest(r));
    for (uint32_t now = lx_run_behind(r); now > 1 && now < behind; now = lx_run_behind(r)) {
        LX_REQUIRE(!lx_run_is_stopped(r), LYNX_ERR_CANCELLED);
        behind = now;
        LX_TRY(lx_run_catch_up(r));
        lx_run_poll(r);
    }
    end_request(r);
    if (lx_run_is_answered(r))
        return LYNX_OK;
    lx_run_emit(r,
                (lynx_moment){.type = LYNX_MOMENT_HANDOVER, .count = r->result->token_count});
    LX_TRY(lx_run_catch_up(r));
    return lx_run_decode(r);
}

/* Each time that one more plane is complete. */
static lynx_status review_if_it_pays(lx_run *r, uint32_t limit)
{
    const uint32_t plane = lx_run_best_plane(r);
    const uint32_t drafted = r->branches.all[0].count;
    if (plane == r->reviewed_plane)
        return LYNX_OK;
    r->reviewed_plane = plane;
    if (drafted == 0)
        return lx_run_apply_pages(r);
    const uint32_t rows = lx_run_behind_pages(r) + drafted;
    const uint64_t left = lx_run_time_left(r, plane);
    return lynx_pace_review_pays(r->pace, rows, drafted, limit, left) ? lx_run_review(r, limit)
                                                                      : LYNX_OK;
}

/* There is nothing else to do until the last plane is here, and nothing needs all of it first.
 */
static bool may_verify_early(const lx_run *r)
{
    const lynx_run_options *o = r->options;
    const uint32_t last = r->pass.plane_count - 1;
    return lx_run_has_pass(r) && lx_run_can_await(r, last) &&
           lx_run_best_plane(r) + 1 == last && !o->skip_verify && !o->digest_cache &&
           o->kept_tokens <= r->cached_tokens;
}

static lynx_status speculate(lx_run *r)
{
    lynx_run_result *result = r->result;
    const uint32_t last = r->pass.plane_count - 1;
    if (lx_run_can_await(r, 0))
        LX_TRY(ask_early(r));
    LX_TRY(receive_planes(r, 0));
    if (lx_run_is_answered(r))
        return LYNX_OK;
    result->bytes_before_first_draft = bytes_received(r);
    if (r->options->method == LYNX_METHOD_CARRY && !r->has_yielded)
        return take_over(r);

    const uint32_t limit = lx_run_draft_limit(r);
    bool goes_on;
    r->reviewed_plane = lx_run_best_plane(r);
    if (!lx_run_has_plane(r, last) || r->options->skip_verify)
        LX_TRY(lx_run_feed(r, true));
    while (!lx_run_has_plane(r, last)) {
        LX_REQUIRE(!lx_run_is_stopped(r), LYNX_ERR_CANCELLED);
        LX_TRY(review_if_it_pays(r, limit));
        LX_TRY(lx_run_choose_branch(r, limit, &goes_on));
        if (goes_on) {
            LX_TRY(lx_run_draft(r, limit));
            lx_run_poll(r);
        } else if (may_verify_early(r)) {
            break;
        } else {
            LX_REQUIRE(!r->is_over, r->over_status);
            LX_TRY(lx_run_wait(r));
        }
        if (r->model->can_refine)
            LX_TRY(lx_run_apply_pages(r));
    }
    if (r->options->skip_verify) {
        lx_run_accept_unverified(r);
        return lx_run_is_answered(r) ? LYNX_OK : lx_run_decode(r);
    }
    if (lx_run_has_pass(r)) {
        LX_TRY(lx_run_verify(r));
    } else { /* what was computed on the anchor goes */
        LX_TRY(lx_next_rewind(&r->next, r->cached_tokens));
        LX_TRY(lx_run_apply_pages(r));
        LX_TRY(lx_run_digest(r));
    }
    return lx_run_decode(r);
}

static lynx_status wait_then_decode(lx_run *r, uint32_t plane)
{
    /* Nothing is computed before: each page is decoded once, unless its anchor may be kept. */
    r->least_plane = r->options->on_loss == LYNX_ON_LOSS_KEEP ? 0 : plane;
    LX_TRY(receive_planes(r, plane));
    r->result->bytes_before_first_draft = bytes_received(r);
    if (lx_run_is_answered(r))
        return LYNX_OK;
    if (plane + 1 == r->pass.plane_count)
        LX_TRY(lx_run_keep_more(r));
    LX_TRY(lx_run_digest(r));
    LX_TRY(lx_run_feed(r, false));
    return lx_run_decode(r);
}

static lynx_status receive_tokens(lx_run *r)
{
    while (!lx_run_is_answered(r)) {
        lx_run_poll(r);
        if (lx_run_is_answered(r))
            break;
        if (r->is_finished && !r->is_over)
            return LYNX_OK;
        LX_REQUIRE(!r->is_over, r->over_status);
        LX_TRY(lx_run_wait(r));
    }
    return LYNX_OK;
}

/* What the grammar lets come first, for a prefill node that does not know grammars. */
static lynx_status make_allowed(lx_run *r)
{
    if (!r->options->sampling.grammar)
        return LYNX_OK;
    if (r->options->method == LYNX_METHOD_TOKENS) {
        snprintf(r->text, LYNX_TEXT_MAX, "a prefill node that decodes on knows no grammar");
        return LYNX_ERR_UNSUPPORTED;
    }
    r->allowed_bytes = (r->model->vocabulary + 7) / 8;
    r->allowed = lx_alloc(r->memory, r->allowed_bytes, 1);
    LX_REQUIRE(r->allowed, LYNX_ERR_MEMORY);
    return r->engine->ops->first_tokens(r->engine, &r->options->sampling, r->allowed);
}

/* Queue the request; a remote that is given up says why. */
static lynx_status make_request(lx_run *r)
{
    const lynx_run_options *o = r->options;
    const bool is_tokens = o->method == LYNX_METHOD_TOKENS;
    const bool is_carry =
        o->method == LYNX_METHOD_CARRY && !o->sampling.grammar && !r->held_tokens;
    lynx_request request = {
        .spec = o->spec,
        .sampling = o->sampling,
        .flags = (is_tokens ? LYNX_REQUEST_NO_PAGES : 0u) |
                 (is_carry ? LYNX_REQUEST_CARRY_ON : 0u) |
                 (o->is_stored ? (uint32_t)(LYNX_REQUEST_HOLD | LYNX_REQUEST_REUSE) : 0u) |
                 (o->after_prefill ? (uint32_t)LYNX_REQUEST_AFTER_PREFILL : 0u),
        .answer_tokens = is_tokens || is_carry ? o->answer_tokens_max : 1,
        .token_count = o->prompt_tokens,
        .tokens = o->prompt,
        .wants_logprobs = o->wants_logprobs,
        .top_logprobs = o->top_logprobs,
    };
    if (o->sampling.grammar) { /* it does not travel; the only token that is asked for does */
        request.sampling.grammar = NULL;
        request.sampling.allowed = r->allowed;
        request.sampling.allowed_bytes = (uint32_t)r->allowed_bytes;
    }
    r->has_yielded = !is_carry; /* nobody carries on: not behind tokens or on pages unknown */
    LX_TRY(lx_run_name_held(r, &request));
    LX_TRY(lx_random(request.ticket, sizeof(request.ticket)));
    lynx_pump_lock(r->pump);
    r->zero = lynx_clock_now();
    r->bytes_before = lynx_receiver_counters(r->receiver).bytes_received;
    lynx_status failure;
    const char *why = lynx_receiver_failure(r->receiver, &failure);
    lynx_status status = failure;
    if (why)
        lx_run_over(r, failure, why);
    else
        status = lynx_receiver_request(r->receiver, &request, &r->request_id);
    if (status == LYNX_OK) {
        r->pages_needed = lynx_page_map_needed(lynx_receiver_map(r->receiver, r->request_id));
        lx_meter_begin(&r->meter, r->measure, r->zero, o->prompt_tokens, r->result->cache_bytes,
                       is_tokens ? 0 : r->pages_needed, r->pass.plane_count, is_carry);
    }
    lynx_pump_unlock(r->pump);
    return status;
}

static lynx_status ask(lx_run *r)
{
    LX_TRY(make_request(r));
    if (!r->options->is_stored) {
        lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_REQUEST, .time = r->zero});
        return LYNX_OK;
    }
    while (!r->is_ready) {
        LX_REQUIRE(!r->is_over, r->over_status);
        LX_TRY(lx_run_wait(r));
    }
    lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_READY});
    r->zero = lynx_clock_now();
    r->result->prefill_ns = 0;
    lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_REQUEST, .time = r->zero});
    lynx_pump_lock(r->pump);
    const lynx_status status = lynx_receiver_start(r->receiver, r->request_id);
    lynx_pump_unlock(r->pump);
    /* It may have ended in this moment: its last event tells. */
    return status == LYNX_ERR_STATE ? LYNX_OK : status;
}

static lynx_status run_over_link(lx_run *r)
{
    LX_TRY(ask(r));
    switch (r->options->method) {
    case LYNX_METHOD_SPECULATE:
    case LYNX_METHOD_CARRY:
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
static lynx_status make_pending(lx_run *r)
{
    const lynx_shape *shape = &r->model->shape;
    r->pending_room = (size_t)lynx_shape_page_count(shape, r->cached_tokens) *
                      shape->layer_count * 2 * r->pass.plane_count;
    r->pending = lx_alloc(r->memory, r->pending_room, sizeof(*r->pending));
    LX_REQUIRE(r->pending, LYNX_ERR_MEMORY);
    return LYNX_OK;
}

/* Everything about the remote that was tried before is forgotten; valid tokens stay. */
static lynx_status begin_remote(lx_run *r, lynx_remote *remote)
{
    r->receiver = lx_remote_receiver(remote);
    r->pump = lx_remote_pump(remote);
    r->measure = lx_remote_measure(remote);
    r->request_id = 0;
    r->is_ready = r->is_finished = r->is_over = r->has_bad_page = false;
    r->pages_needed = 0;
    memset(r->planes_seen, 0, sizeof(r->planes_seen));
    memset(r->plane_bytes, 0, sizeof(r->plane_bytes));
    r->pending_count = 0;
    lx_branches_cut(&r->branches, 0);
    r->result->drafted = 0;
    r->result->anchor_ns = r->result->complete_ns = 0;
    r->arrived_at = 0;
    r->text[0] = '\0';
    lx_next_forget(&r->next, r->cached_tokens);
    if (r->options->method == LYNX_METHOD_TOKENS)
        return LYNX_OK;
    LX_TRY(lx_run_expect_layers(r));
    LX_TRY(r->engine->ops->reserve(r->engine, r->options->prompt_tokens));
    return r->held_tokens ? lx_run_open_held(r) : LYNX_OK;
}

/* Does the failure lie with the remote, so that another one could do better? */
static bool is_lost(const lx_run *r, lynx_status status)
{
    /* A bad page may come behind another reason. */
    return status != LYNX_OK && r->is_over && (status == r->over_status || r->has_bad_page);
}

static void emit_lost(lx_run *r, lynx_status status, bool is_source)
{
    lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_LOST,
                                 .status = status,
                                 .text = r->text,
                                 .is_source = is_source});
}

/* ---- over remotes -------------------------------------------------------------------- */

static lynx_status run_over_remotes(lx_run *r, lynx_remote *const remotes[], uint32_t count)
{
    lynx_status status = LYNX_ERR_ARGUMENT;
    if (count == 0)
        snprintf(r->text, LYNX_TEXT_MAX, "this method needs a prefill node");
    else
        LX_TRY(make_allowed(r));
    for (uint32_t i = 0; i < count;) {
        status = begin_remote(r, remotes[i]);
        if (status == LYNX_OK)
            status = run_over_link(r);
        end_request(r);
        /* To compute here instead would hide what the user has to change. */
        i += !r->has_lost_held; /* else the same one, for everything */
        const bool may_end = i == count && (lx_is_users_to_mend(status) ||
                                            r->options->on_loss == LYNX_ON_LOSS_FAIL);
        if (!is_lost(r, status) || may_end)
            return status;
        emit_lost(r, status, r->has_lost_held);
        if (i < count) /* what is held was read: it is not there a second time */
            lx_run_drop_held(r);
    }
    return count == 0 ? status : lx_run_go_on_alone(r);
}

/* ---- a stored prefix ----------------------------------------------------------------- */

static lynx_status load(lx_run *r)
{
    lx_run_begin(r);
    r->result->computed_tokens = r->options->prompt_tokens - r->cached_tokens;
    /* Planes are read while the engine makes room. */
    LX_TRY(lx_stock_open(&r->stock, r->options->source, r->model, NULL, NULL, r->memory));
    r->pages_needed = lx_stock_pages(r->stock);
    LX_TRY(lx_run_expect_layers(r));
    LX_TRY(r->engine->ops->reserve(r->engine, r->cached_tokens));
    switch (r->options->method) {
    case LYNX_METHOD_SPECULATE:
        return speculate(r);
    case LYNX_METHOD_WAIT:
        return wait_then_decode(r, r->pass.plane_count - 1);
    case LYNX_METHOD_ANCHOR:
        return wait_then_decode(r, 0);
    case LYNX_METHOD_CARRY:
    case LYNX_METHOD_TOKENS:
    case LYNX_METHOD_LOCAL:
    case LYNX_METHOD_LOCAL_FULL:
        break;
    }
    return LYNX_ERR_ARGUMENT;
}

static lynx_status run_over_source(lx_run *r)
{
    lynx_status status = load(r);
    if (is_lost(r, status) && r->options->on_loss != LYNX_ON_LOSS_FAIL) {
        emit_lost(r, status, true);
        status = lx_run_go_on_alone(r);
    }
    return status;
}

/* ---- the whole ----------------------------------------------------------------------- */

static lynx_status check_options(const lx_run *r)
{
    const lynx_run_options *o = r->options;
    const uint32_t context = r->model->context_tokens;
    LX_TRY(lynx_sampling_check(&o->sampling));
    LX_TRY(lynx_codec_spec_check(&o->spec));
    LX_REQUIRE(o->top_logprobs <= (o->wants_logprobs ? (uint32_t)LYNX_TOP_LOGPROBS_MAX : 0u),
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(o->branch_count_max < LX_BRANCHES_MAX, LYNX_ERR_ARGUMENT);
    if (o->prompt_tokens < 1 || o->answer_tokens_max < 1) {
        snprintf(r->text, LYNX_TEXT_MAX, "prompt and answer need at least one token");
        return LYNX_ERR_ARGUMENT;
    }
    if (o->method == LYNX_METHOD_CARRY && o->is_stored) {
        snprintf(r->text, LYNX_TEXT_MAX,
                 "a prefill node does not carry on while it holds a cache: use another method "
                 "for stored caches");
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

/* What the pages are: of a stored prefix, or of the whole prompt; then whole pages in front may
 * be those of the prefix. */
static lynx_status choose_pages(lx_run *r, bool is_over_remotes)
{
    const lynx_run_options *o = r->options;
    uint32_t stored = o->method == LYNX_METHOD_LOCAL_FULL ? o->cached_tokens : 0;
    r->spec = &o->spec;
    if (o->source && o->method != LYNX_METHOD_LOCAL && o->method != LYNX_METHOD_LOCAL_FULL) {
        const lynx_source_prefix *prefix = o->source->ops->prefix(o->source);
        r->spec = is_over_remotes ? &o->spec : &prefix->spec;
        stored = prefix->token_count;
    }
    if (stored >= o->prompt_tokens) {
        snprintf(r->text, LYNX_TEXT_MAX,
                 "a stored cache of %u tokens leaves nothing to compute of a prompt of %u; use "
                 "a shorter part of it",
                 stored, o->prompt_tokens);
        return LYNX_ERR_ARGUMENT;
    }
    LX_REQUIRE(o->kept_tokens < o->prompt_tokens, LYNX_ERR_ARGUMENT);
    r->cached_tokens = stored && !is_over_remotes ? stored : o->prompt_tokens;
    if (is_over_remotes && o->method != LYNX_METHOD_TOKENS)
        r->held_tokens = stored - stored % r->model->shape.page_tokens;
    return LYNX_OK;
}

static lynx_status run_init(lx_run *r, bool is_over_remotes)
{
    const lynx_run_options *o = r->options;
    LX_TRY(check_options(r));
    LX_TRY(choose_pages(r, is_over_remotes));
    LX_REQUIRE(r->result->capacity >= o->answer_tokens_max, LYNX_ERR_ARGUMENT);
    r->history_room = (size_t)o->prompt_tokens + o->answer_tokens_max + o->draft_count_max + 2;
    r->history = lx_alloc(r->memory, r->history_room, sizeof(*r->history));
    LX_REQUIRE(r->history, LYNX_ERR_MEMORY);
    LX_TRY(lx_run_init_branches(r));
    if (o->wants_logprobs) {
        r->row_logprobs =
            lx_alloc(r->memory, (size_t)o->draft_count_max + 1, sizeof(*r->row_logprobs));
        LX_REQUIRE(r->row_logprobs, LYNX_ERR_MEMORY);
    }
    memcpy(r->history, o->prompt, o->prompt_tokens * sizeof(*r->history));
    r->clock = (lynx_token_clock){.times = r->result->times, .capacity = r->result->capacity};
    r->result->cache_bytes = lynx_shape_cache_bytes(&r->model->shape, r->cached_tokens);
    LX_TRY(lx_next_init(&r->next, r->engine, &o->sampling, o->prompt_tokens,
                        (uint32_t)r->history_room, o->guesses, r->memory));
    if (o->method == LYNX_METHOD_TOKENS || o->method == LYNX_METHOD_LOCAL)
        return LYNX_OK;
    LX_TRY(lx_page_pass_init(&r->pass, r->engine, r->spec, o->kernels, o->memory));
    r->pass.on_page = o->on_page;
    r->pass.user = o->user;
    return make_pending(r);
}

static void run_fini(lx_run *r)
{
    lx_stock_close(r->stock);
    lx_page_pass_fini(&r->held_pass);
    lx_page_pass_fini(&r->pass);
    lx_free(r->memory, r->pending, r->pending_room, sizeof(*r->pending));
    lx_run_forget_layers(r);
    lx_free(r->memory, r->history, r->history_room, sizeof(*r->history));
    lx_next_fini(&r->next);
    lx_branches_fini(&r->branches);
    lx_free(r->memory, r->row_logprobs, (size_t)r->options->draft_count_max + 1,
            sizeof(*r->row_logprobs));
    lx_free(r->memory, r->allowed, r->allowed_bytes, 1);
}

void lynx_run_options_init(lynx_run_options *options)
{
    *options = (lynx_run_options){
        .struct_size = sizeof(*options),
        .method = LYNX_METHOD_SPECULATE,
        .answer_tokens_max = 64,
        .draft_count_max = 62,
        .branch_count_max = 3,
        .guesses = true,
    };
    lynx_sampling_init(&options->sampling);
    /* The name is one of the built-in list; a failure would be our own mistake. */
    (void)!lynx_codec_spec_named(&options->spec, "range");
}

static void explain(lx_run *r, lynx_status status)
{
    if (status == LYNX_OK || r->text[0])
        return;
    const bool is_engine = status == LYNX_ERR_ENGINE ||
                           (status == LYNX_ERR_ARGUMENT && r->options->sampling.grammar);
    snprintf(r->text, LYNX_TEXT_MAX, "%s",
             is_engine ? r->engine->ops->error_text(r->engine) : lynx_status_text(status));
}

lynx_status lynx_run(lynx_remote *const remotes[], uint32_t count,
                     const lynx_run_options *options, lynx_run_result *result, char *text)
{
    const bool is_local =
        options->method == LYNX_METHOD_LOCAL || options->method == LYNX_METHOD_LOCAL_FULL;
    const bool is_over_source = !is_local && options->source && count == 0;
    text[0] = '\0';
    *result = (lynx_run_result){.tokens = result->tokens,
                                .times = result->times,
                                .capacity = result->capacity};
    lx_run r = {
        .options = options,
        .result = result,
        .engine = options->engine,
        .model = options->engine->ops->model(options->engine),
        .memory = lx_allocator_or_default(options->memory),
        .text = text,
    };
    r.pass.memory = r.held_pass.memory = r.memory;
    r.pace = options->pace ? options->pace : &r.own_pace;
    lynx_status status = run_init(&r, !is_local && !is_over_source);
    if (status == LYNX_OK)
        status = is_local         ? lx_run_locally(&r)
                 : is_over_source ? run_over_source(&r)
                                  : run_over_remotes(&r, remotes, count);
    result->steps = r.next.steps;
    result->guessed = r.next.guessed;
    result->guessed_right = r.next.guessed_right;
    explain(&r, status);
    if (status == LYNX_OK)
        text[0] = '\0';
    run_fini(&r);
    return status;
}
