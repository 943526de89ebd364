/* SPDX-License-Identifier: MIT */
/* run_pages.c - what arrives for a prompt; see run.h. */
#include <stdio.h>

#include "base/check.h"
#include "runtime/run.h"

static const uint64_t poll_ns = 200000000;

/* ---- events -------------------------------------------------------------------------- */

void lx_run_over(lx_run *r, lynx_status status, const char *text)
{
    if (r->is_over)
        return;
    r->is_over = true;
    r->over_status = status;
    snprintf(r->text, LYNX_TEXT_MAX, "%s", text ? text : lynx_status_text(status));
}

/* Every page has planes 0 .. 'plane', and the events that say so were taken. */
bool lx_run_has_plane(const lx_run *r, uint32_t plane)
{
    bool is_complete = r->pages_needed > 0;
    for (uint32_t i = 0; i <= plane; i++)
        is_complete = is_complete && r->planes_seen[i] == r->pages_needed;
    return is_complete;
}

uint32_t lx_run_best_plane(const lx_run *r)
{
    uint32_t plane = 0;
    while (plane + 1 < r->pass.plane_count && lx_run_has_plane(r, plane + 1))
        plane++;
    return plane;
}

/* Bytes here of the planes behind the anchor. */
static uint64_t residual_bytes(const lx_run *r)
{
    uint64_t bytes = 0;
    for (uint32_t i = 1; i < r->pass.plane_count; i++)
        bytes += r->plane_bytes[i];
    return bytes;
}

uint32_t lx_run_plane_weight(const lx_run *r, uint32_t plane)
{
    const uint32_t channels = 4; /* so that quarters of a bit count */
    return lynx_codec_spec_plane_rows(r->spec, LYNX_SIDE_KEYS, plane, channels) +
           lynx_codec_spec_plane_rows(r->spec, LYNX_SIDE_VALUES, plane, channels);
}

uint64_t lx_run_time_left(const lx_run *r, uint32_t plane)
{
    const uint64_t came = residual_bytes(r) - r->bytes_at_anchor;
    uint64_t missing = 0;
    for (uint32_t i = plane + 1; i < r->pass.plane_count; i++) {
        /* As the planes of a page have bytes by their bits. */
        const uint64_t whole =
            r->plane_bytes[plane] * lx_run_plane_weight(r, i) / lx_run_plane_weight(r, plane);
        missing += whole > r->plane_bytes[i] ? whole - r->plane_bytes[i] : 0;
    }
    const double elapsed = (double)(lynx_clock_now() - r->anchor_time);
    return came ? (uint64_t)(elapsed * (double)missing / (double)came) : 0;
}

static lynx_time_ns later(lynx_time_ns a, lynx_time_ns b)
{
    return a > b ? a : b;
}

void lx_run_note_plane(lx_run *r, const lx_arrival *arrival, uint32_t first, uint32_t end)
{
    if (r->pending_count < r->pending_room)
        r->pending[r->pending_count++] = arrival->page;
    /* What is held may have been read before it was of use. */
    r->arrived_at = later(later(arrival->time, r->arrived_at), r->zero);
    lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_PLANE,
                                 .time = r->arrived_at,
                                 .page = arrival->page,
                                 .plane = arrival->plane,
                                 .bytes = arrival->bytes});

    for (uint32_t plane = first; plane < end; plane++) {
        r->planes_seen[plane]++;
        lx_run_note_layer(r, arrival->page, plane);
    }
    if (first == 0 && end > 0 && lx_run_has_plane(r, 0)) {
        r->anchor_time = r->arrived_at;
        r->bytes_at_anchor = residual_bytes(r);
        r->result->anchor_ns = r->arrived_at - r->zero;
        lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_ANCHOR, .time = r->arrived_at});
    }
    if (r->result->complete_ns == 0 && lx_run_has_plane(r, r->pass.plane_count - 1)) {
        r->result->complete_ns = r->arrived_at - r->zero;
        lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_COMPLETE, .time = r->arrived_at});
    }
}

static void on_plane(lx_run *r, const lx_arrival *arrival)
{
    r->plane_bytes[arrival->plane] += arrival->bytes;
    lx_run_note_plane(r, arrival, arrival->plane, arrival->plane + 1);
}

static void on_plane_event(lx_run *r, const lynx_event *event)
{
    lynx_bytes planes[LYNX_PLANES_MAX];
    uint32_t count = 0;
    lx_arrival arrival = {.page = event->page, .plane = event->plane, .time = event->time};
    if (lynx_receiver_planes(r->receiver, r->request_id, event->page, planes, &count) ==
            LYNX_OK &&
        event->plane < count)
        arrival.bytes = planes[event->plane].size;
    on_plane(r, &arrival);
}

static bool is_allowed(const lx_run *r, lynx_token token)
{
    return r->allowed[(uint32_t)token / 8] >> (uint32_t)token % 8 & 1;
}

static void on_token(lx_run *r, const lynx_event *event)
{
    if (event->count != r->result->token_count || lx_run_is_answered(r))
        return; /* only the first token is wanted, or all of them in order */
    if (event->count > 0 && r->options->method != LYNX_METHOD_TOKENS &&
        r->options->method != LYNX_METHOD_CARRY)
        return;
    if (event->token < 0 || (uint32_t)event->token >= r->model->vocabulary) {
        lx_run_over(r, LYNX_ERR_PROTOCOL,
                    "the prefill node sent a token outside the vocabulary");
        return;
    }
    if (r->allowed && event->count == 0 && !is_allowed(r, event->token)) {
        lx_run_over(r, LYNX_ERR_PROTOCOL,
                    "the prefill node sent a first token that the grammar does not allow");
        return;
    }
    r->has_first = true;
    r->result->carried += event->count > 0 && r->options->method == LYNX_METHOD_CARRY;
    lx_run_add_token(r, event->token, event->time, event->logprobs);
}

static void on_event(lx_run *r, const lynx_event *event)
{
    switch (event->type) {
    case LYNX_EVENT_PROGRESS:
        if (event->count == r->options->prompt_tokens && r->result->prefill_ns == 0)
            r->result->prefill_ns = event->time > r->zero ? event->time - r->zero : 0;
        lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_PREFILL,
                                     .time = event->time,
                                     .count = event->count,
                                     .total = r->options->prompt_tokens});
        break;
    case LYNX_EVENT_ACCEPT:
        lx_run_on_accept(r, event->count);
        break;
    case LYNX_EVENT_READY:
        r->is_ready = true;
        break;
    case LYNX_EVENT_TOKEN:
        on_token(r, event);
        break;
    case LYNX_EVENT_YIELD:
        r->has_yielded = true;
        lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_YIELD,
                                     .time = event->time,
                                     .count = event->count});
        break;
    case LYNX_EVENT_PLANE:
        on_plane_event(r, event);
        break;
    case LYNX_EVENT_FINISH:
        r->is_finished = true;
        break;
    case LYNX_EVENT_REFUSE:
        /* What is here already stays usable: only a missing part makes it an error. */
        lx_run_over(r, event->status, event->text);
        break;
    case LYNX_EVENT_NONE:
    case LYNX_EVENT_OPENED:
    case LYNX_EVENT_CLOSED:
    case LYNX_EVENT_REQUEST:
    case LYNX_EVENT_CANCEL:
    case LYNX_EVENT_DELIVERED:
        break;
    }
}

/* Take all events. Called with the lock held. */
void lx_run_take_events(lx_run *r)
{
    lynx_event event;
    while (lynx_receiver_next_event(r->receiver, r->request_id, &event)) {
        lx_meter_event(&r->meter, &event);
        on_event(r, &event);
    }
}

/* Take what a source has given since. */
static void take_stock(lx_run *r)
{
    char text[LYNX_TEXT_MAX];
    lx_arrival arrival;
    /* The end is looked at first: nothing comes behind it. */
    const lynx_status end = lx_stock_end(r->stock, text);
    while (lx_stock_next(r->stock, &arrival)) {
        r->result->bytes_total += arrival.bytes;
        on_plane(r, &arrival);
    }
    if (end != LYNX_OK && end != LYNX_BLOCKED)
        lx_run_over(r, end, text);
}

/* A deadline that has passed counts as a loss of the remote. */
static void watch_deadline(lx_run *r, uint64_t deadline_ns, bool is_met, const char *what)
{
    char text[96];
    if (deadline_ns == 0 || is_met || lynx_clock_now() - r->zero < deadline_ns)
        return;
    snprintf(text, sizeof(text), "%s was not complete after %.1f s", what,
             (double)deadline_ns / 1e9);
    lx_run_over(r, LYNX_ERR_TIMEOUT, text);
}

static void watch_deadlines(lx_run *r)
{
    if (r->options->method == LYNX_METHOD_TOKENS)
        return;
    watch_deadline(r, r->options->anchor_deadline_ns, lx_run_has_plane(r, 0), "the anchor");
    watch_deadline(r, r->options->complete_deadline_ns,
                   lx_run_has_plane(r, r->pass.plane_count - 1), "the cache");
}

static void wait_for_remote(lx_run *r, lynx_time_ns deadline)
{
    lynx_pump_lock(r->pump);
    lx_run_take_events(r);
    if (!r->is_over && !(r->leaves_out && lx_stock_has_news(r->stock)))
        lynx_pump_wait(r->pump, deadline);
    lx_run_take_events(r);
    lynx_pump_unlock(r->pump);
    lx_run_take_held(r);
}

/* Take events; when there are none, wait for some. */
lynx_status lx_run_wait(lx_run *r)
{
    const lynx_time_ns deadline = lynx_clock_now() + poll_ns;
    if (r->receiver) {
        wait_for_remote(r, deadline);
    } else {
        lx_stock_wait(r->stock, deadline);
        take_stock(r);
    }
    watch_deadlines(r);
    LX_REQUIRE(!lx_run_is_stopped(r), LYNX_ERR_CANCELLED);
    return LYNX_OK;
}

void lx_run_poll(lx_run *r)
{
    if (!r->receiver) {
        take_stock(r);
        return;
    }
    lynx_pump_lock(r->pump);
    lx_run_take_events(r);
    lynx_pump_unlock(r->pump);
    lx_run_take_held(r);
}

/* ---- pages --------------------------------------------------------------------------- */

/* MUTATION CHECK ONLY: damage one bit behind the anchor, after its checksum was right. */
static void flip_residual_bit(lx_run *r, const lynx_bytes *planes, uint32_t count)
{
    if (r->is_flipped || count < 2 || planes[1].size == 0)
        return;
    ((uint8_t *)(uintptr_t)planes[1].data)[0] ^= 1;
    r->is_flipped = true;
}

/* The source gives the page. */
static bool is_stored(const lx_run *r, lynx_page_id id)
{
    return !r->receiver || lx_run_is_held(r, id);
}

/* The planes of a page that are here, and what they hold; false: none, it was applied in full
 * already. */
static bool planes_of(lx_run *r, lynx_page_id id, lynx_bytes *planes, uint32_t *count,
                      lynx_page_span *span)
{
    if (is_stored(r, id))
        return lx_stock_planes(r->stock, id, planes, count, span);
    *span = lynx_page_span_of(&r->model->shape, id, r->cached_tokens);
    lynx_pump_lock(r->pump);
    const lynx_status status =
        lynx_receiver_planes(r->receiver, r->request_id, id, planes, count);
    lynx_pump_unlock(r->pump);
    return status == LYNX_OK;
}

static void release_page(lx_run *r, lynx_page_id id)
{
    if (is_stored(r, id)) {
        lx_stock_release(r->stock, id);
        return;
    }
    lynx_pump_lock(r->pump);
    lynx_receiver_release_page(r->receiver, r->request_id, id);
    lynx_pump_unlock(r->pump);
}

static lynx_status bad_page(lx_run *r, lynx_page_id id, lynx_status status)
{
    const bool is_peers = status == LYNX_ERR_CORRUPT || status == LYNX_ERR_PROTOCOL;
    char text[LYNX_TEXT_MAX];
    snprintf(text, sizeof(text), "page %u of layer %u cannot be decoded: %s", id.page, id.layer,
             is_peers ? "it came whole, but is not a legal page" : lynx_status_text(status));
    r->has_bad_page = is_peers;
    r->has_lost_held = is_peers && lx_run_is_held(r, id);
    if (is_peers)
        lx_run_over(r, status, text);
    else
        snprintf(r->text, sizeof(text), "%s", text);
    return status;
}

static lx_page_pass *pass_of(lx_run *r, lynx_page_id id)
{
    return lx_run_is_held(r, id) ? &r->held_pass : &r->pass;
}

/* A page is pending once for each plane that came. */
static bool is_among(const lx_page_job *jobs, size_t count, lynx_page_id id)
{
    while (count-- > 0)
        if (jobs[count].id.page == id.page && jobs[count].id.layer == id.layer &&
            jobs[count].id.side == id.side)
            return true;
    return false;
}

/* Jobs for the next pages of 'pass' that are pending, as far as enough of them is here; the
 * next plane of the others brings them here again. */
static size_t next_jobs(lx_run *r, const lx_page_pass *pass, size_t *at, lx_page_job *jobs)
{
    size_t count = 0;
    for (; *at < r->pending_count && count < LX_PAGE_JOBS_MAX; (*at)++) {
        lx_page_job *job = &jobs[count];
        job->id = r->pending[*at];
        if (pass_of(r, job->id) != pass)
            break;
        if (is_among(jobs, count, job->id) ||
            !planes_of(r, job->id, job->planes, &job->plane_count, &job->span) ||
            (job->plane_count <= r->least_plane && job->plane_count < pass->plane_count))
            continue;
        if (r->options->flip_residual_bit)
            flip_residual_bit(r, job->planes, job->plane_count);
        count++;
    }
    return count;
}

/* The planes hold what a transfer of this prompt would, nothing in front of its window. */
static bool is_of_prompt(const lx_run *r, const lx_page_job *job)
{
    return lynx_page_span_of(&r->model->shape, job->id, r->cached_tokens).first_token ==
           job->span.first_token;
}

/* Decode them into the cache; the planes of a page that is whole then are freed. */
static lynx_status apply_jobs(lx_run *r, lx_page_pass *pass, const lx_page_job *jobs,
                              size_t count)
{
    (void)!lx_page_decode_jobs(pass, r->cached_tokens, count); /* each job has its status */
    for (size_t i = 0; i < count; i++) {
        const lx_page_job *job = &jobs[i];
        if (job->status != LYNX_OK)
            return bad_page(r, job->id, job->status);
        if (job->plane_count < pass->plane_count)
            continue;
        if (r->options->on_page && is_of_prompt(r, job))
            r->options->on_page(r->options->user, job->id, r->cached_tokens, job->planes,
                                job->plane_count);
        release_page(r, job->id);
    }
    return LYNX_OK;
}

void lx_run_pend_all(lx_run *r)
{
    lynx_page_walk walk = lynx_page_walk_of(&r->model->shape, r->cached_tokens);
    lynx_bytes planes[LYNX_PLANES_MAX];
    lynx_page_span span;
    lynx_page_id id;
    uint32_t count = 0;
    r->pending_count = 0;
    while (lynx_page_walk_next(&walk, &id))
        if (planes_of(r, id, planes, &count, &span))
            r->pending[r->pending_count++] = id;
}

lynx_status lx_run_digest(lx_run *r)
{
    if (!r->options->digest_cache)
        return LYNX_OK;
    return lx_page_pass_digest(&r->pass, r->cached_tokens, &r->result->cache_digest);
}

lynx_status lx_run_apply_pages(lx_run *r)
{
    if (r->pending_count == 0)
        return LYNX_OK;
    const lynx_time_ns start = lynx_clock_now();
    for (size_t at = 0; at < r->pending_count;) {
        lx_page_pass *pass = pass_of(r, r->pending[at]);
        lx_page_job *jobs;
        LX_TRY(lx_page_jobs(pass, &jobs));
        const size_t count = next_jobs(r, pass, &at, jobs);
        LX_TRY(apply_jobs(r, pass, jobs, count));
    }
    r->pending_count = 0;
    LX_TRY(r->engine->ops->commit_pages(r->engine));
    r->result->decode_cache_ns += lynx_clock_now() - start;
    return LYNX_OK;
}
