/* SPDX-License-Identifier: MIT */
/* receiver.c - the decode node's end of a session: requests and what is asked of them; see
 * receiver.h. */
#include "session/receiver.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

enum { SPARE_BYTES_MAX = 32 << 20 };

/* Slot of a request; LYNX_REQUESTS_MAX when there is none. */
static uint32_t index_of(const lynx_receiver *receiver, uint64_t id)
{
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++)
        if (receiver->requests[i].phase != LX_WANT_FREE && receiver->requests[i].id == id)
            return i;
    return LYNX_REQUESTS_MAX;
}

lx_receiver_request *lx_receiver_find(lynx_receiver *receiver, uint64_t id)
{
    const uint32_t index = index_of(receiver, id);
    return index < LYNX_REQUESTS_MAX ? &receiver->requests[index] : NULL;
}

static const lx_receiver_request *look_up(const lynx_receiver *receiver, uint64_t id)
{
    const uint32_t index = index_of(receiver, id);
    return index < LYNX_REQUESTS_MAX ? &receiver->requests[index] : NULL;
}

lynx_status lx_receiver_push_event(lynx_receiver *receiver, lx_receiver_request *request,
                                   const lynx_event *event)
{
    lynx_event counted = *event;
    counted.bytes = receiver->identity.counters.bytes_received;
    receiver->identity.news++;
    return lx_event_queue_push(&request->events, &counted, NULL);
}

uint64_t lx_receiver_news(const lynx_receiver *receiver)
{
    return receiver->identity.news;
}

static void free_tokens(lynx_receiver *receiver, lx_receiver_request *request)
{
    lx_free(receiver->identity.memory, request->tokens, request->request.token_count,
            sizeof(*request->tokens));
    lx_free(receiver->identity.memory, request->options, request->options_bytes, 1);
    request->tokens = NULL;
    request->options = NULL;
    request->options_bytes = 0;
}

static void drop_request(lynx_receiver *receiver, lx_receiver_request *request)
{
    const lynx_allocator *memory = receiver->identity.memory;
    for (uint32_t i = 0; i < LYNX_LANES_MAX; i++)
        if (receiver->lanes[i].page_request == request)
            lx_page_drop(&receiver->lanes[i]);
    for (size_t i = 0; request->planes && i < request->plane_slots; i++)
        lx_plane_free(receiver, &request->planes[i], (uint32_t)(i % request->plane_count));
    lx_free(memory, request->planes, request->plane_slots, sizeof(*request->planes));
    lynx_page_map_destroy(request->map);
    free_tokens(receiver, request);
    lx_free(memory, request->logprobs, request->request.answer_tokens,
            sizeof(*request->logprobs));
    lx_event_queue_fini(&request->events);
    *request = (lx_receiver_request){.phase = LX_WANT_FREE};
}

/* The last event of a request. */
void lx_receiver_end_request(lynx_receiver *receiver, lx_receiver_request *request,
                             lynx_event_type type, lynx_status status, const char *text)
{
    if (request->phase == LX_WANT_OVER)
        return;
    request->phase = LX_WANT_OVER;
    request->tells_end = true;
    receiver->identity.news++;
    snprintf(request->end_text, sizeof(request->end_text), "%s", text ? text : "");
    request->end = (lynx_event){.type = type,
                                .request_id = request->id,
                                .status = status,
                                .time = receiver->now};
}

bool lx_receiver_wants_pages(const lx_receiver_request *request)
{
    return !(request->request.flags & LYNX_REQUEST_NO_PAGES);
}

bool lx_receiver_is_live(const lx_receiver_request *request)
{
    return request->phase == LX_WANT_ASKED || request->phase == LX_WANT_ACTIVE;
}

void lx_receiver_check_complete(lynx_receiver *receiver, lx_receiver_request *request)
{
    const bool has_pages =
        !lx_receiver_wants_pages(request) ||
        request->marked == lynx_page_map_needed(request->map) * (uint64_t)request->plane_count;
    if (request->phase == LX_WANT_ACTIVE && has_pages &&
        (request->has_yielded || request->next_token == request->request.answer_tokens))
        lx_receiver_end_request(receiver, request, LYNX_EVENT_FINISH, LYNX_OK, NULL);
}

static lynx_status push_accept(lynx_receiver *receiver, lx_receiver_request *request,
                               uint32_t left_out)
{
    const lynx_event event = {.type = LYNX_EVENT_ACCEPT,
                              .request_id = request->id,
                              .count = left_out,
                              .time = receiver->now};
    return lx_receiver_push_event(receiver, request, &event);
}

static void become_active(lynx_receiver *receiver, lx_receiver_request *request)
{
    request->phase = LX_WANT_ACTIVE;
    free_tokens(receiver, request);
}

/* The sender has the request; its tokens are not needed any more. */
lynx_status lx_receiver_accepted(lynx_receiver *receiver, lx_receiver_request *request)
{
    if (request->phase != LX_WANT_ASKED)
        return LYNX_OK;
    if (!request->request.held_tokens)
        LX_TRY(push_accept(receiver, request, 0));
    become_active(receiver, request);
    return LYNX_OK;
}

static size_t planes_before(const lx_receiver_request *request, uint32_t tokens)
{
    return lx_page_map_slots_before(request->map, tokens) * request->plane_count;
}

/* No plane of the pages of the first tokens has begun to come, on a lane that was faster. */
static bool has_none_of(const lx_receiver_request *request, uint32_t tokens)
{
    for (size_t i = 0; i < planes_before(request, tokens); i++)
        if (request->planes[i].has_begun || request->planes[i].was_forgotten)
            return false;
    return true;
}

/* These pages count as here. */
static void leave_out(lx_receiver_request *request, uint32_t left_out)
{
    for (size_t i = 0; i < planes_before(request, left_out); i++) {
        const uint32_t plane = (uint32_t)(i % request->plane_count);
        if (!lynx_page_map_mark(request->map,
                                lx_page_map_page(request->map, i / request->plane_count),
                                plane))
            continue; /* not needed */
        request->planes[i].is_marked = request->planes[i].is_released = true;
        request->marked++;
    }
    request->left_out = left_out;
}

lynx_status lx_receiver_on_accept(lynx_receiver *receiver, lx_receiver_request *request,
                                  lynx_bytes payload)
{
    const uint32_t held = request->request.held_tokens;
    uint32_t left_out;
    LX_TRY(lx_accept_decode(payload, &left_out));
    LX_REQUIRE((payload.size == 0 || held) && (left_out == 0 || left_out == held),
               LYNX_ERR_PROTOCOL);
    if (request->has_accept) { /* said again to a new lane */
        LX_REQUIRE(left_out == request->left_out, LYNX_ERR_PROTOCOL);
        return LYNX_OK;
    }
    LX_REQUIRE(has_none_of(request, left_out), LYNX_ERR_PROTOCOL);
    if (held || request->phase == LX_WANT_ASKED)
        LX_TRY(push_accept(receiver, request, left_out));
    request->has_accept = true;
    become_active(receiver, request);
    leave_out(request, left_out);
    return LYNX_OK;
}

/* Memory that may be kept beyond the pools: an eighth of them, and no more than is of use. */
static size_t spare_bytes(const lynx_session_options *options)
{
    const uint64_t share = options->pool_bytes[0] / 8 + options->pool_bytes[1] / 8;
    return share < SPARE_BYTES_MAX ? (size_t)share : SPARE_BYTES_MAX;
}

lynx_status lynx_receiver_create(lynx_receiver **receiver, const lynx_session_options *options,
                                 lynx_time_ns now)
{
    static const uint8_t no_id[LYNX_ID_BYTES];
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    LX_REQUIRE(memcmp(options->session_id, no_id, LYNX_ID_BYTES) != 0, LYNX_ERR_ARGUMENT);
    lynx_receiver *r = lx_alloc_zeroed(memory, 1, sizeof(*r));
    LX_REQUIRE(r, LYNX_ERR_MEMORY);
    r->identity.memory = r->spares.memory = memory;
    r->options = *options;
    r->spares.bytes_max = spare_bytes(options);
    r->now = now;
    const lynx_status status = lx_identity_init(&r->identity, options, LX_ROLE_RECEIVER);
    if (lynx_failed(status)) {
        lynx_receiver_destroy(r);
        return status;
    }
    *receiver = r;
    return LYNX_OK;
}

void lynx_receiver_destroy(lynx_receiver *receiver)
{
    if (!receiver)
        return;
    const lynx_allocator *memory = receiver->identity.memory;
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++)
        if (receiver->requests[i].phase != LX_WANT_FREE)
            drop_request(receiver, &receiver->requests[i]);
    for (uint32_t i = 0; i < LYNX_LANES_MAX; i++) {
        lx_page_take_back(receiver, &receiver->lanes[i]);
        lx_lane_fini(&receiver->lanes[i].lane);
    }
    lx_spares_fini(&receiver->spares);
    lx_identity_fini(&receiver->identity);
    lx_free(memory, receiver, 1, sizeof(*receiver));
}

bool lynx_receiver_next_event(lynx_receiver *receiver, uint64_t request_id, lynx_event *event)
{
    for (uint32_t i = 0; request_id == 0 && i < LYNX_LANES_MAX; i++)
        if (lx_lane_next_event(&receiver->lanes[i].lane, event))
            return true;
    lx_receiver_request *request = request_id ? lx_receiver_find(receiver, request_id) : NULL;
    if (!request)
        return false;
    if (lx_event_queue_take(&request->events, event))
        return true;
    if (!request->tells_end)
        return false;
    request->tells_end = false;
    *event = request->end;
    event->text = request->end_text;
    return true;
}

void lynx_receiver_close(lynx_receiver *receiver, lynx_status status, const char *text)
{
    for (uint32_t i = 0; i < LYNX_LANES_MAX; i++) {
        lx_receiver_lane *lane = &receiver->lanes[i];
        if (!lane->lane.is_used)
            continue;
        /* Without memory the planes stay unacknowledged; the good-bye ends them as well. */
        (void)!lx_acks_flush(lane);
        lx_lane_close(&lane->lane, status, text);
        lane->must_wake = true;
    }
    lynx_receiver_fail(receiver, receiver->now, LYNX_ERR_CLOSED, "the session was closed here");
    receiver->is_closed = true;
}

void lynx_receiver_fail(lynx_receiver *receiver, lynx_time_ns now, lynx_status status,
                        const char *text)
{
    receiver->now = now;
    if (receiver->failure != LYNX_OK)
        return;
    receiver->failure = status;
    snprintf(receiver->failure_text, sizeof(receiver->failure_text), "%s", text ? text : "");
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++)
        if (lx_receiver_is_live(&receiver->requests[i]))
            lx_receiver_end_request(receiver, &receiver->requests[i], LYNX_EVENT_REFUSE, status,
                                    receiver->failure_text);
}

void lynx_receiver_recover(lynx_receiver *receiver)
{
    if (!receiver->is_closed)
        receiver->failure = LYNX_OK;
}

const char *lynx_receiver_failure(const lynx_receiver *receiver, lynx_status *status)
{
    *status = receiver->failure;
    return receiver->failure == LYNX_OK ? NULL : receiver->failure_text;
}

lynx_session_counters lynx_receiver_counters(const lynx_receiver *receiver)
{
    return receiver->identity.counters;
}

/* What REQUEST does not say; biases and the set of tokens are needed for nothing else. */
static lynx_status make_options(lynx_receiver *receiver, lx_receiver_request *slot,
                                const lynx_request *request)
{
    const lynx_allocator *memory = receiver->identity.memory;
    const lynx_sampling *sampling = &request->sampling;
    const lx_options_message options = {.has_logprobs = request->wants_logprobs,
                                        .top_logprobs = request->top_logprobs};
    slot->request.sampling.biases = NULL;
    slot->request.sampling.allowed = NULL;
    if (request->wants_logprobs) {
        slot->logprobs = lx_alloc(memory, request->answer_tokens, sizeof(*slot->logprobs));
        LX_REQUIRE(slot->logprobs, LYNX_ERR_MEMORY);
    }
    if (!request->wants_logprobs && !sampling->bias_count && !sampling->allowed)
        return LYNX_OK;
    slot->options_bytes = LX_OPTIONS_FIXED_BYTES +
                          (size_t)sampling->bias_count * LX_OPTIONS_BIAS_BYTES +
                          (sampling->allowed ? sampling->allowed_bytes : 0);
    slot->options = lx_alloc(memory, slot->options_bytes, 1);
    LX_REQUIRE(slot->options, LYNX_ERR_MEMORY);
    lx_writer writer = lx_writer_of(slot->options, slot->options_bytes);
    lx_options_encode(&writer, &options, sampling);
    return LYNX_OK;
}

/* Fewer than all, of pages that travel as they are computed. */
static bool held_is_valid(const lynx_receiver *receiver, const lynx_request *request)
{
    const uint32_t held = request->held_tokens;
    return held == 0 ||
           (held % receiver->identity.shape.page_tokens == 0 && held < request->token_count &&
            !(request->flags & (LYNX_REQUEST_NO_PAGES | LYNX_REQUEST_CARRY_ON)) &&
            lynx_codec_spec_check(&request->held_spec) == LYNX_OK &&
            lynx_codec_spec_is_storable(&request->held_spec));
}

static lynx_status request_init(lynx_receiver *receiver, lx_receiver_request *slot,
                                const lynx_request *request, uint64_t id)
{
    const lynx_allocator *memory = receiver->identity.memory;
    lx_event_queue_init(&slot->events, memory);
    slot->phase = LX_WANT_ASKED;
    slot->id = id;
    slot->request = *request;
    slot->request.tokens = NULL;
    slot->is_started = !(request->flags & LYNX_REQUEST_HOLD);
    slot->plane_count = lynx_codec_spec_plane_count(&request->spec);
    slot->tokens = lx_alloc(memory, request->token_count, sizeof(*slot->tokens));
    LX_REQUIRE(slot->tokens, LYNX_ERR_MEMORY);
    memcpy(slot->tokens, request->tokens, request->token_count * sizeof(*slot->tokens));
    LX_TRY(make_options(receiver, slot, request));
    LX_TRY(lynx_page_map_create(&slot->map, &receiver->identity.shape, request->token_count,
                                slot->plane_count, memory));
    slot->plane_slots = lx_page_map_slots(slot->map) * slot->plane_count;
    slot->planes = lx_alloc_zeroed(memory, slot->plane_slots, sizeof(*slot->planes));
    LX_REQUIRE(slot->planes, LYNX_ERR_MEMORY);
    return lx_receiver_send_request(receiver, slot);
}

/* A grammar does not travel: what it lets come first does. */
static bool options_are_valid(const lynx_request *request)
{
    const lynx_sampling *s = &request->sampling;
    return request->top_logprobs <=
               (request->wants_logprobs ? (uint32_t)LYNX_TOP_LOGPROBS_MAX : 0u) &&
           !s->grammar &&
           (!s->allowed ||
            (s->allowed_bytes >= 1 && s->allowed_bytes <= LX_OPTIONS_ALLOWED_BYTES_MAX &&
             request->answer_tokens == 1));
}

lynx_status lynx_receiver_request(lynx_receiver *receiver, const lynx_request *request,
                                  uint64_t *request_id)
{
    LX_REQUIRE(receiver->failure == LYNX_OK, LYNX_ERR_CLOSED);
    LX_REQUIRE(request->token_count >= 1 && request->token_count <= LYNX_PROMPT_TOKENS_MAX &&
                   request->tokens && request->answer_tokens >= 1 &&
                   lx_request_flags_agree(request->flags),
               LYNX_ERR_ARGUMENT);
    LX_TRY(lynx_codec_spec_check(&request->spec));
    LX_TRY(lynx_sampling_check(&request->sampling));
    LX_REQUIRE(options_are_valid(request) && held_is_valid(receiver, request),
               LYNX_ERR_ARGUMENT);
    lx_receiver_request *slot = NULL;
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX && !slot; i++)
        if (receiver->requests[i].phase == LX_WANT_FREE)
            slot = &receiver->requests[i];
    LX_REQUIRE(slot, LYNX_ERR_LIMIT);
    const lynx_status status = request_init(receiver, slot, request, receiver->last_id + 1);
    if (status != LYNX_OK) {
        drop_request(receiver, slot);
        return status;
    }
    *request_id = ++receiver->last_id;
    return LYNX_OK;
}

/* A message that the next RESUME would make needless. */
static lynx_status tell(lynx_receiver *receiver, lx_message_type type, uint64_t id)
{
    lx_lane *lane = &receiver->lanes[0].lane;
    if (!lane->is_used || lane->phase == LX_PHASE_CLOSED)
        return LYNX_OK;
    receiver->lanes[0].must_wake = true;
    return lx_lane_send(lane, type, id, NULL, 0);
}

lynx_status lynx_receiver_start(lynx_receiver *receiver, uint64_t request_id)
{
    lx_receiver_request *request = lx_receiver_find(receiver, request_id);
    LX_REQUIRE(request && !request->is_started && request->phase != LX_WANT_OVER,
               LYNX_ERR_STATE);
    LX_TRY(tell(receiver, LX_MESSAGE_START, request_id));
    request->is_started = true;
    return LYNX_OK;
}

/* What came of a request is acknowledged before its END leaves: it was not in vain. */
static lynx_status flush_request(lynx_receiver *receiver, uint64_t id)
{
    for (uint32_t i = 0; i < receiver->options.lanes; i++) {
        lx_receiver_lane *lane = &receiver->lanes[i];
        if (lane->ack_count == 0 || lane->ack_request != id || !lane->lane.is_used ||
            lane->lane.phase != LX_PHASE_OPEN)
            continue;
        LX_TRY(lx_acks_flush(lane));
        lane->must_wake = true;
    }
    return LYNX_OK;
}

lynx_status lynx_receiver_end(lynx_receiver *receiver, uint64_t request_id)
{
    lx_receiver_request *request = lx_receiver_find(receiver, request_id);
    LX_REQUIRE(request, LYNX_ERR_STATE);
    LX_TRY(flush_request(receiver, request_id));
    if (request->is_known) /* else RESUME did not list it */
        LX_TRY(tell(receiver, LX_MESSAGE_END, request_id));
    drop_request(receiver, request);
    return LYNX_OK;
}

const lynx_page_map *lynx_receiver_map(const lynx_receiver *receiver, uint64_t request_id)
{
    const lx_receiver_request *request = look_up(receiver, request_id);
    return request ? request->map : NULL;
}

lynx_status lynx_receiver_planes(const lynx_receiver *receiver, uint64_t request_id,
                                 lynx_page_id page, lynx_bytes planes[LYNX_PLANES_MAX],
                                 uint32_t *count)
{
    const lx_receiver_request *request = look_up(receiver, request_id);
    LX_REQUIRE(request, LYNX_ERR_STATE);
    const size_t slot = lx_page_map_slot(request->map, page);
    LX_REQUIRE(slot != SIZE_MAX, LYNX_ERR_STATE);
    uint32_t here = 0;
    while (here < request->plane_count && lynx_page_map_has(request->map, page, here)) {
        const lx_plane_slot *plane = &request->planes[slot * request->plane_count + here];
        LX_REQUIRE(!plane->is_released, LYNX_ERR_STATE);
        planes[here++] = (lynx_bytes){plane->data, plane->size};
    }
    LX_REQUIRE(here > 0, LYNX_ERR_STATE);
    *count = here;
    return LYNX_OK;
}

void lynx_receiver_release_page(lynx_receiver *receiver, uint64_t request_id, lynx_page_id page)
{
    lx_receiver_request *request = lx_receiver_find(receiver, request_id);
    const size_t slot = request ? lx_page_map_slot(request->map, page) : SIZE_MAX;
    if (slot == SIZE_MAX)
        return;
    for (uint32_t i = 0; i < request->plane_count; i++) {
        lx_plane_slot *plane = &request->planes[slot * request->plane_count + i];
        if (!lynx_page_map_has(request->map, page, i))
            continue;
        lx_plane_free(receiver, plane, i);
        plane->is_released = true;
    }
}
