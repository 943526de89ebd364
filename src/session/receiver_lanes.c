/* SPDX-License-Identifier: MIT */
/* receiver_lanes.c - the decode node's connections and their messages; see receiver.h. */
#include "session/receiver.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

/* Reports leave at once, but after one of them not before so much time or the end of a chunk,
 * whose length the sender chooses by the speed of the link; at 10 Gbit/s chunks end so often
 * that the calls for their reports would cost a tenth of the link. */
enum { REPORT_PAUSE_NS = 1000000, REPORT_LEAST_NS = 400000 };

lx_receiver_lane *lx_receiver_lane_of(lx_lane *lane)
{
    return (lx_receiver_lane *)(void *)lane;
}

static lynx_status on_refuse(lynx_receiver *receiver, lx_receiver_request *request,
                             lynx_bytes payload)
{
    lx_reason reason;
    char text[LX_TEXT_BYTES_MAX + 1];
    LX_TRY(lx_reason_decode(payload, &reason));
    LX_REQUIRE(reason.status < 0 &&
                   lynx_status_scope((lynx_status)reason.status) != LYNX_SCOPE_PROCESS,
               LYNX_ERR_PROTOCOL);
    lx_copy_text(text, reason.text);
    lx_receiver_end_request(receiver, request, LYNX_EVENT_REFUSE, (lynx_status)reason.status,
                            text);
    return LYNX_OK;
}

/* They come exactly if they were asked for, with no more tokens than that. */
static lynx_status take_logprobs(lx_receiver_request *request, const lx_token_message *token,
                                 lynx_event *event)
{
    LX_REQUIRE(token->has_logprobs == request->request.wants_logprobs &&
                   token->logprobs.top_count <= request->request.top_logprobs,
               LYNX_ERR_PROTOCOL);
    if (!token->has_logprobs)
        return LYNX_OK;
    request->logprobs[token->index] = token->logprobs;
    event->logprobs = &request->logprobs[token->index];
    return LYNX_OK;
}

static lynx_status on_active_message(lynx_receiver *receiver, lx_receiver_request *request,
                                     uint8_t type, lynx_event *event, lynx_bytes payload)
{
    lx_token_message token;
    LX_REQUIRE(request->phase == LX_WANT_ACTIVE &&
                   (request->has_accept || !request->request.held_tokens),
               LYNX_ERR_PROTOCOL);
    switch (type) {
    case LX_MESSAGE_PROGRESS:
        LX_TRY(lx_progress_decode(payload, &event->count));
        LX_REQUIRE(event->count <= request->request.token_count, LYNX_ERR_PROTOCOL);
        event->type = LYNX_EVENT_PROGRESS;
        break;
    case LX_MESSAGE_TOKEN:
        LX_TRY(lx_token_decode(payload, &token));
        LX_REQUIRE(token.index == request->next_token &&
                       token.index < request->request.answer_tokens && !request->has_yielded,
                   LYNX_ERR_PROTOCOL);
        event->type = LYNX_EVENT_TOKEN;
        event->count = token.index;
        event->token = token.token;
        LX_TRY(take_logprobs(request, &token, event));
        break;
    case LX_MESSAGE_READY:
        LX_REQUIRE(request->request.flags & LYNX_REQUEST_HOLD, LYNX_ERR_PROTOCOL);
        if (request->is_ready)
            return LYNX_OK; /* said again to a new lane */
        event->type = LYNX_EVENT_READY;
        break;
    case LX_MESSAGE_YIELD:
        LX_TRY(lx_yield_decode(payload, &event->count));
        LX_REQUIRE((request->request.flags & LYNX_REQUEST_CARRY_ON) && event->count >= 1 &&
                       event->count == request->next_token,
                   LYNX_ERR_PROTOCOL);
        if (request->has_yielded)
            return LYNX_OK; /* said again to a new lane */
        event->type = LYNX_EVENT_YIELD;
        break;
    default:
        return LYNX_ERR_PROTOCOL;
    }
    LX_TRY(lx_receiver_push_event(receiver, request, event));
    request->has_yielded |= type == LX_MESSAGE_YIELD;
    request->is_ready |= type == LX_MESSAGE_READY;
    request->next_token += type == LX_MESSAGE_TOKEN;
    lx_receiver_check_complete(receiver, request);
    return LYNX_OK;
}

static lynx_status on_message(void *owner, lx_lane *lane, lynx_time_ns now,
                              const lx_frame *frame, lynx_bytes payload)
{
    lynx_receiver *receiver = owner;
    lynx_event event = {.request_id = frame->request_id, .time = now};
    (void)lane;
    receiver->now = now;
    LX_REQUIRE(frame->request_id >= 1 && frame->request_id <= receiver->last_id,
               LYNX_ERR_PROTOCOL);
    lx_receiver_request *request = lx_receiver_find(receiver, frame->request_id);
    if (!request || request->phase == LX_WANT_OVER)
        return LYNX_OK; /* ended meanwhile */
    if (frame->type == LX_MESSAGE_REFUSE)
        return on_refuse(receiver, request, payload);
    if (frame->type == LX_MESSAGE_ACCEPT)
        return lx_receiver_on_accept(receiver, request, payload);
    return on_active_message(receiver, request, frame->type, &event, payload);
}

static lynx_status on_hello(void *owner, lx_lane *lane, lynx_time_ns now, const lx_hello *hello)
{
    (void)owner;
    (void)lane;
    (void)now;
    (void)hello;
    return LYNX_OK;
}

/* A lane takes no REQUEST for a receiver: this is there to close the table. */
static lynx_status on_long_request(void *owner, lx_lane *lane, uint64_t request_id,
                                   uint32_t token_count)
{
    (void)owner;
    (void)lane;
    (void)request_id;
    (void)token_count;
    return LYNX_ERR_PROTOCOL;
}

static const lx_lane_ops lane_ops = {on_hello, on_message, on_long_request, lx_receiver_on_page,
                                     lx_receiver_on_page_end};

/* ---- what a new lane begins with ----------------------------------------------------- */

static lynx_status send_held(lx_lane *lane, const lx_receiver_request *request)
{
    uint8_t payload[LX_HELD_BYTES];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    const lynx_request *r = &request->request;
    lx_held_message held = {.token_count = r->held_tokens, .spec = r->held_spec};
    if (!r->held_tokens)
        return LYNX_OK;
    memcpy(held.name, r->held_name, LYNX_NAME_BYTES);
    lx_held_encode(&writer, &held);
    return lx_lane_send(lane, LX_MESSAGE_HELD, request->id, payload, writer.offset);
}

lynx_status lx_receiver_send_request(lynx_receiver *receiver, lx_receiver_request *request)
{
    const lynx_allocator *memory = receiver->identity.memory;
    const lynx_request *r = &request->request;
    /* START was said already: RESUME repeats it to a sender that knows the request. */
    const uint32_t held = request->is_started ? LYNX_REQUEST_HOLD : 0u;
    const size_t room = LX_REQUEST_FIXED_BYTES + (size_t)r->token_count * 4;
    lx_lane *lane = &receiver->lanes[0].lane;
    if (!lane->is_used || lane->phase == LX_PHASE_CLOSED)
        return LYNX_OK; /* the next one asks */
    uint8_t *payload = lx_alloc(memory, room, 1);
    LX_REQUIRE(payload, LYNX_ERR_MEMORY);
    lx_writer writer = lx_writer_of(payload, room);
    lx_request_message message = {
        .spec = r->spec,
        .sampling = r->sampling,
        .flags = r->flags & ~held,
        .answer_tokens = r->answer_tokens,
        .token_count = r->token_count,
    };
    memcpy(message.ticket, r->ticket, LYNX_ID_BYTES);
    lx_request_encode(&writer, &message);
    for (uint32_t i = 0; i < r->token_count; i++)
        lx_write_u32(&writer, (uint32_t)request->tokens[i]);
    lynx_status status = send_held(lane, request);
    if (status == LYNX_OK && request->options)
        status = lx_lane_send(lane, LX_MESSAGE_OPTIONS, request->id, request->options,
                              request->options_bytes);
    if (status == LYNX_OK)
        status = lx_lane_send(lane, LX_MESSAGE_REQUEST, request->id, payload, writer.offset);
    lx_free(memory, payload, room, 1);
    receiver->lanes[0].must_wake = true;
    request->is_known = status == LYNX_OK;
    return status;
}

static size_t held_bytes(const lx_receiver_request *request)
{
    return request->phase == LX_WANT_ACTIVE ? (request->plane_slots + 7) / 8 : 0;
}

static void write_resume(const lynx_receiver *receiver, lx_writer *writer, uint8_t *bitmap)
{
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++) {
        const lx_receiver_request *request = &receiver->requests[i];
        if (!lx_receiver_is_live(request))
            continue;
        lx_resume_entry entry = {
            .request_id = request->id,
            .next_token = request->next_token,
            .flags = (request->is_started ? (uint32_t)LX_RESUME_STARTED : 0u) |
                     (request->phase == LX_WANT_ASKED ? (uint32_t)LX_RESUME_ASKED : 0u),
            .held = {bitmap, held_bytes(request)},
        };
        memcpy(entry.ticket, request->request.ticket, LYNX_ID_BYTES);
        memset(bitmap, 0, entry.held.size);
        for (size_t slot = 0; entry.held.size && slot < request->plane_slots; slot++) {
            const lx_plane_slot *plane = &request->planes[slot];
            if (plane->is_marked)
                bitmap[slot / 8] |= (uint8_t)(1u << slot % 8);
        }
        lx_resume_encode_entry(writer, &entry);
    }
}

/* What is still wanted, and what is here of it. */
static lynx_status send_resume(lynx_receiver *receiver)
{
    const lynx_allocator *memory = receiver->identity.memory;
    uint32_t count = 0;
    size_t room = LX_RESUME_FIXED_BYTES;
    size_t largest = 1;
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++) {
        const lx_receiver_request *request = &receiver->requests[i];
        if (!lx_receiver_is_live(request))
            continue;
        const size_t held = held_bytes(request);
        largest = held > largest ? held : largest;
        room += LX_RESUME_ENTRY_BYTES + held;
        count++;
    }
    uint8_t *payload = lx_alloc(memory, room + largest, 1);
    LX_REQUIRE(payload, LYNX_ERR_MEMORY);
    lx_writer writer = lx_writer_of(payload, room);
    lx_resume_encode_count(&writer, count, ++receiver->last_resume);
    write_resume(receiver, &writer, payload + room);
    const lynx_status status =
        lx_lane_send(&receiver->lanes[0].lane, LX_MESSAGE_RESUME, 0, payload, writer.offset);
    lx_free(memory, payload, room + largest, 1);
    return status;
}

static lynx_status begin_lane(lynx_receiver *receiver, lx_receiver_lane *lane, uint32_t index,
                              lynx_time_ns now)
{
    lx_hello hello;
    lx_greeting_fill(&receiver->identity, &hello);
    hello.lane = (uint8_t)index;
    memcpy(hello.session, receiver->options.session_id, LYNX_ID_BYTES);
    LX_TRY(lx_lane_init(&lane->lane, &receiver->identity, index, &lane_ops, receiver, &hello,
                        now));
    if (index == 0)
        LX_TRY(send_resume(receiver));
    LX_TRY(lx_receiver_report(receiver, lane));
    for (uint32_t i = 0; index == 0 && i < LYNX_REQUESTS_MAX; i++) {
        lx_receiver_request *request = &receiver->requests[i];
        request->is_known = request->phase == LX_WANT_ACTIVE;
        if (request->phase == LX_WANT_ASKED)
            LX_TRY(lx_receiver_send_request(receiver, request));
    }
    return LYNX_OK;
}

lynx_status lynx_receiver_connect(lynx_receiver *receiver, lynx_time_ns now, uint32_t lane)
{
    LX_REQUIRE(lane < receiver->options.lanes, LYNX_ERR_ARGUMENT);
    lx_receiver_lane *own = &receiver->lanes[lane];
    LX_REQUIRE(!own->lane.is_used, LYNX_ERR_STATE);
    receiver->now = now;
    for (uint32_t i = 0; i < 2; i++)
        own->begun[i] = own->granted[i] = 0;
    own->reported = 0;
    own->owed_since = own->paid_at = 0;
    own->has_chunk = false;
    own->ack_count = 0;
    const lynx_status status = begin_lane(receiver, own, lane, now);
    if (status != LYNX_OK)
        lx_lane_fini(&own->lane);
    return status;
}

/* Planes that were coming on the lane are nothing again. */
static void forget_partial_planes(lynx_receiver *receiver, uint32_t lane)
{
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++) {
        lx_receiver_request *request = &receiver->requests[i];
        for (size_t slot = 0; request->planes && slot < request->plane_slots; slot++) {
            lx_plane_slot *plane = &request->planes[slot];
            if (plane->has_begun && !plane->is_marked && plane->lane == lane)
                lx_plane_forget(receiver, plane, (uint32_t)(slot % request->plane_count));
        }
    }
}

void lynx_receiver_disconnect(lynx_receiver *receiver, lynx_time_ns now, uint32_t lane,
                              lynx_status status, const char *text)
{
    if (lane >= LYNX_LANES_MAX || !receiver->lanes[lane].lane.is_used)
        return;
    lx_receiver_lane *own = &receiver->lanes[lane];
    receiver->now = now;
    lx_lane_lost(&own->lane, now, status, text);
    lx_page_take_back(receiver, own);
    lx_page_drop(own);
    forget_partial_planes(receiver, lane);
    lx_lane_fini(&own->lane);
}

static lx_receiver_lane *used_lane(lynx_receiver *receiver, uint32_t lane)
{
    return lane < LYNX_LANES_MAX && receiver->lanes[lane].lane.is_used ? &receiver->lanes[lane]
                                                                       : NULL;
}

lynx_status lynx_receiver_read(lynx_receiver *receiver, uint32_t lane, lynx_time_ns now,
                               const uint8_t *data, size_t size)
{
    lx_receiver_lane *own = used_lane(receiver, lane);
    LX_REQUIRE(own, LYNX_ERR_STATE);
    receiver->now = now;
    lx_page_take_back(receiver, own);
    LX_TRY(lx_lane_read(&own->lane, now, data, size));
    if (own->owed_since == 0)
        own->owed_since = now;
    return LYNX_OK;
}

void lynx_receiver_room(lynx_receiver *receiver, uint32_t lane, uint8_t **target, size_t *room)
{
    lx_receiver_lane *own = used_lane(receiver, lane);
    *target = NULL;
    *room = 0;
    if (!own)
        return;
    lx_page_take_back(receiver, own);
    if (own->lane.phase == LX_PHASE_CLOSED || own->lane.input != LX_INPUT_PAGE ||
        !own->lane.page_target)
        return;
    own->lent = own->page_slot->data;
    *target = own->lane.page_target;
    *room = own->lane.left;
}

/* When what is owed leaves even if it is little; never when nothing is. */
static lynx_time_ns pay_deadline(const lx_receiver_lane *lane)
{
    /* What waits already goes first: on a slow link reports would pile up. */
    if (lane->owed_since == 0 || lane->lane.phase != LX_PHASE_OPEN ||
        lane->lane.outbox.bytes > 0)
        return LYNX_TIME_NEVER;
    const lynx_time_ns earliest = lane->paid_at + REPORT_PAUSE_NS;
    return earliest > lane->owed_since ? earliest : lane->owed_since;
}

static bool must_pay(const lx_receiver_lane *lane, lynx_time_ns now)
{
    const lynx_time_ns deadline = pay_deadline(lane);
    return now >= deadline || (deadline != LYNX_TIME_NEVER && lane->has_chunk &&
                               now >= lane->paid_at + REPORT_LEAST_NS);
}

lynx_status lynx_receiver_write(lynx_receiver *receiver, uint32_t lane, lynx_time_ns now,
                                lynx_bytes parts[LYNX_SESSION_PARTS_MAX], uint32_t *count)
{
    lx_receiver_lane *own = used_lane(receiver, lane);
    *count = 0;
    LX_REQUIRE(own, LYNX_ERR_STATE);
    receiver->now = now;
    lx_lane_tick(&own->lane, now, false);
    const lynx_status status = must_pay(own, now) ? lx_receiver_pay(receiver, own) : LYNX_OK;
    if (status != LYNX_OK)
        lx_lane_close(&own->lane, status, lynx_status_text(status));
    parts[0] = lx_outbox_next(&own->lane.outbox, LX_CONTROL_BYTES_MAX);
    *count = parts[0].size > 0;
    return status;
}

void lynx_receiver_wrote(lynx_receiver *receiver, uint32_t lane, lynx_time_ns now, size_t size)
{
    lx_receiver_lane *own = used_lane(receiver, lane);
    if (!own)
        return;
    lx_lane_sent(&own->lane, now, size);
    lx_outbox_left(&own->lane.outbox, size);
}

lynx_time_ns lynx_receiver_deadline(const lynx_receiver *receiver, uint32_t lane)
{
    if (lane >= LYNX_LANES_MAX || !receiver->lanes[lane].lane.is_used)
        return LYNX_TIME_NEVER;
    const lx_receiver_lane *own = &receiver->lanes[lane];
    const lynx_time_ns deadline = lx_lane_deadline(&own->lane, false);
    const lynx_time_ns payment = pay_deadline(own);
    return payment < deadline ? payment : deadline;
}

lynx_lane_state lynx_receiver_lane_state(const lynx_receiver *receiver, uint32_t lane)
{
    return lane < LYNX_LANES_MAX ? lx_lane_state(&receiver->lanes[lane].lane) : LYNX_LANE_GONE;
}

bool lynx_receiver_next_wake(lynx_receiver *receiver, uint32_t *lane)
{
    for (uint32_t i = 0; i < LYNX_LANES_MAX; i++)
        if (receiver->lanes[i].must_wake && receiver->lanes[i].lane.is_used) {
            receiver->lanes[i].must_wake = false;
            *lane = i;
            return true;
        }
    return false;
}
