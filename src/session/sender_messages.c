/* SPDX-License-Identifier: MIT */
/* sender_messages.c - what decode nodes say, and what follows from it; see sender.h. */
#include "session/sender.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

/* A plane that arrives broken so often is not worth more of the link. */
enum { AGAIN_MAX = 3 };

static lx_sender_request *find_id(lx_session *session, uint64_t id)
{
    for (uint32_t i = 0; i < LX_SLOTS; i++) {
        lx_sender_request *request = &session->requests[i];
        if (request->phase != LX_FREE && request->phase != LX_ENDED && request->id == id)
            return request;
    }
    return NULL;
}

/* Everything that the peer may not have heard. */
static lynx_status tell_all(lynx_sender *sender, lx_sender_request *request)
{
    if (request->phase == LX_ASKED)
        return LYNX_OK;
    LX_TRY(lx_sender_tell_accept(sender, request));
    if (request->progress)
        LX_TRY(lx_sender_tell_progress(sender, request));
    if (request->is_finishing && (request->request.flags & LYNX_REQUEST_HOLD))
        LX_TRY(lx_sender_tell(sender, request, LX_MESSAGE_READY, NULL, 0));
    LX_TRY(lx_sender_tell_tokens(sender, request));
    const bool has_yielded =
        request->is_finishing && (request->request.flags & LYNX_REQUEST_CARRY_ON);
    return has_yielded ? lx_sender_tell_yield(sender, request) : LYNX_OK;
}

/* Planes and tokens may leave from now on. */
static lynx_status start(lynx_sender *sender, lx_sender_request *request)
{
    request->is_started = true;
    for (size_t i = 0; request->entries && i < request->entry_count; i++)
        if (request->entries[i] && request->entries[i]->phase == LX_HELD)
            lx_plane_enqueue(sender, request->entries[i], false);
    lx_session_wake(sender, request->session);
    return lx_sender_tell_tokens(sender, request);
}

/* ---- OPTIONS, HELD, REQUEST ---------------------------------------------------------- */

void lx_sender_drop_preface(lynx_sender *sender, lx_sender_lane *lane)
{
    lx_free(sender->identity.memory, lane->options, lane->options_bytes, 1);
    lane->options = NULL;
    lane->options_bytes = 0;
    lane->held = (lx_held_message){0};
    lane->next_id = 0;
}

/* OPTIONS and HELD say more of the REQUEST that comes next, the same one. */
static bool may_come_next(const lx_sender_lane *lane, uint64_t id)
{
    return id >= 1 && (lane->next_id == 0 || lane->next_id == id);
}

static lynx_status on_options(lynx_sender *sender, lx_sender_lane *lane, uint64_t id,
                              lynx_bytes payload)
{
    lx_options_message options;
    LX_REQUIRE(!lane->options && may_come_next(lane, id), LYNX_ERR_PROTOCOL);
    LX_TRY(lx_options_decode(payload, &options));
    lane->options = lx_alloc(sender->identity.memory, payload.size, 1);
    LX_REQUIRE(lane->options, LYNX_ERR_MEMORY);
    memcpy(lane->options, payload.data, payload.size);
    lane->options_bytes = payload.size;
    lane->next_id = id;
    return LYNX_OK;
}

static lynx_status on_held(lynx_sender *sender, lx_sender_lane *lane, uint64_t id,
                           lynx_bytes payload)
{
    lx_held_message held;
    LX_REQUIRE(!lane->held.token_count && may_come_next(lane, id), LYNX_ERR_PROTOCOL);
    LX_TRY(lx_held_decode(payload, &held));
    LX_REQUIRE(held.token_count > 0 &&
                   held.token_count % sender->identity.shape.page_tokens == 0 &&
                   lynx_codec_spec_check(&held.spec) == LYNX_OK &&
                   lynx_codec_spec_is_storable(&held.spec),
               LYNX_ERR_PROTOCOL);
    lane->held = held;
    lane->next_id = id;
    return LYNX_OK;
}

/* What is held is less than all, of a request whose pages travel as they are computed. */
static bool may_be_held(const lx_held_message *held, const lx_request_message *message)
{
    return held->token_count == 0 ||
           (held->token_count < message->token_count &&
            !(message->flags & (LYNX_REQUEST_NO_PAGES | LYNX_REQUEST_CARRY_ON)));
}

static lynx_status take_options(lynx_sender *sender, lx_sender_request *slot,
                                const lx_options_message *options)
{
    const lynx_allocator *memory = sender->identity.memory;
    lynx_sampling *sampling = &slot->request.sampling;
    slot->request.wants_logprobs = options->has_logprobs;
    slot->request.top_logprobs = options->top_logprobs;
    if (options->bias_count) {
        slot->biases = lx_alloc(memory, options->bias_count, sizeof(*slot->biases));
        LX_REQUIRE(slot->biases, LYNX_ERR_MEMORY);
        lx_options_read_biases(options, slot->biases);
        sampling->biases = slot->biases;
        sampling->bias_count = options->bias_count;
    }
    if (options->allowed.size) {
        slot->allowed = lx_alloc(memory, options->allowed.size, 1);
        LX_REQUIRE(slot->allowed, LYNX_ERR_MEMORY);
        memcpy(slot->allowed, options->allowed.data, options->allowed.size);
        sampling->allowed = slot->allowed;
        sampling->allowed_bytes = (uint32_t)options->allowed.size;
    }
    return LYNX_OK;
}

static lynx_status request_init(lynx_sender *sender, lx_sender_request *slot,
                                const lx_request_message *message,
                                const lx_options_message *options, const lx_held_message *held)
{
    const lynx_allocator *memory = sender->identity.memory;
    slot->request = (lynx_request){
        .spec = message->spec,
        .sampling = message->sampling,
        .flags = message->flags,
        .answer_tokens = message->answer_tokens,
        .token_count = message->token_count,
        .held_tokens = held->token_count,
        .held_spec = held->spec,
    };
    memcpy(slot->request.ticket, message->ticket, LYNX_ID_BYTES);
    memcpy(slot->request.held_name, held->name, LYNX_NAME_BYTES);
    LX_TRY(take_options(sender, slot, options));
    slot->is_started = (message->flags & LYNX_REQUEST_HOLD) == 0;
    slot->tokens = lx_alloc(memory, message->token_count, sizeof(*slot->tokens));
    LX_REQUIRE(slot->tokens, LYNX_ERR_MEMORY);
    lx_reader reader = lx_reader_of(message->tokens.data, message->tokens.size);
    for (uint32_t i = 0; i < message->token_count; i++)
        slot->tokens[i] = (lynx_token)lx_read_u32(&reader);
    slot->request.tokens = slot->tokens;
    slot->plane_count = lynx_codec_spec_plane_count(&message->spec);
    LX_TRY(lynx_page_map_create(&slot->added, &sender->identity.shape, message->token_count,
                                slot->plane_count, memory));
    slot->entry_count = lx_page_map_slots(slot->added) * slot->plane_count;
    slot->entries = lx_alloc_zeroed(memory, slot->entry_count, sizeof(*slot->entries));
    LX_REQUIRE(slot->entries, LYNX_ERR_MEMORY);
    const lynx_event event = {.type = LYNX_EVENT_REQUEST,
                              .request_id = slot->key,
                              .request = &slot->request,
                              .time = sender->now};
    sender->identity.news++;
    return lx_event_queue_push(&sender->events, &event, NULL);
}

lynx_status lx_sender_on_long_request(void *owner, lx_lane *lane, uint64_t request_id,
                                      uint32_t token_count)
{
    lynx_sender *sender = owner;
    lx_session *session = lx_sender_lane_of(lane)->session;
    char text[160];
    lx_sender_lane *own = lx_sender_lane_of(lane);
    LX_REQUIRE(own->is_resumed && request_id >= 1, LYNX_ERR_PROTOCOL);
    LX_REQUIRE(may_come_next(own, request_id), LYNX_ERR_PROTOCOL);
    lx_sender_drop_preface(sender, own);
    session->last_id = request_id > session->last_id ? request_id : session->last_id;
    snprintf(
        text, sizeof(text),
        "a prompt of %u tokens does not fit the prefill node's context of %u; start it with "
        "a larger --ctx-size",
        token_count, sender->identity.context_tokens);
    return lx_lane_refuse(lane, request_id, LYNX_ERR_LIMIT, text);
}

static bool ticket_is(const lx_sender_request *request, const uint8_t ticket[LYNX_ID_BYTES])
{
    return memcmp(request->request.ticket, ticket, LYNX_ID_BYTES) == 0;
}

static lynx_status foreign_ticket(lynx_sender *sender, lx_lane *lane, uint64_t id)
{
    sender->identity.counters.denied++;
    return lx_lane_explain(lane, LYNX_ERR_DENIED, "request %llu was made with another ticket",
                           (unsigned long long)id);
}

/* A request, with what was said of it before. */
static lynx_status judge_request(lynx_sender *sender, lx_lane *lane, uint64_t id,
                                 lynx_bytes payload, const lx_options_message *options)
{
    lx_session *session = lx_sender_lane_of(lane)->session;
    const lx_held_message *held = &lx_sender_lane_of(lane)->held;
    lx_request_message message;
    const uint32_t context = sender->identity.context_tokens;
    const lynx_status decoded = lx_request_decode(payload, &message);
    if (decoded == LYNX_ERR_PROTOCOL ||
        (decoded == LYNX_OK && lynx_codec_spec_check(&message.spec) != LYNX_OK))
        return lx_lane_explain(lane, LYNX_ERR_PROTOCOL,
                               "a request is not legal, or asks for a codec that this prefill "
                               "node does not have; use the same version of Lynx on both ends");
    LX_TRY(decoded);
    LX_REQUIRE((options->allowed.size == 0 || message.answer_tokens == 1) &&
                   may_be_held(held, &message),
               LYNX_ERR_PROTOCOL);
    LX_REQUIRE(id >= 1 && lynx_sampling_check(&message.sampling) == LYNX_OK, LYNX_ERR_PROTOCOL);
    lx_sender_request *known = find_id(session, id);
    if (known) { /* asked once more, since ACCEPT was lost with a lane; RESUME told the rest */
        LX_REQUIRE(lx_sender_lane_of(lane)->may_repeat, LYNX_ERR_PROTOCOL);
        return ticket_is(known, message.ticket) ? LYNX_OK : foreign_ticket(sender, lane, id);
    }
    session->last_id = id > session->last_id ? id : session->last_id;
    if (sender->is_draining)
        return lx_lane_refuse(lane, id, LYNX_ERR_CLOSED, lx_stopping_text);
    lx_sender_request *slot = lx_sender_free_slot(sender, session);
    if (!slot)
        return lx_lane_refuse(lane, id, LYNX_ERR_LIMIT,
                              "this session has as many requests open as it may");
    if (context && message.answer_tokens > context && !(message.flags & LYNX_REQUEST_CARRY_ON))
        return lx_lane_refuse(
            lane, id, LYNX_ERR_LIMIT,
            "the answer does not fit the prefill node's context; start it with "
            "a larger --ctx-size");
    slot->phase = LX_ASKED;
    slot->session = session;
    slot->id = id;
    const lynx_status status = request_init(sender, slot, &message, options, held);
    if (status == LYNX_OK)
        return LYNX_OK;
    /* One prompt that is too large for our memory need not end the others. */
    lx_sender_free_request(sender, slot);
    return lx_lane_refuse(lane, id, status, "the prefill node has no memory for this request");
}

static lynx_status on_request(lynx_sender *sender, lx_lane *lane, uint64_t id,
                              lynx_bytes payload)
{
    lx_sender_lane *own = lx_sender_lane_of(lane);
    lx_options_message options = {0};
    LX_REQUIRE(may_come_next(own, id), LYNX_ERR_PROTOCOL);
    if (own->options)
        LX_TRY(lx_options_decode((lynx_bytes){own->options, own->options_bytes}, &options));
    const lynx_status status = judge_request(sender, lane, id, payload, &options);
    lx_sender_drop_preface(sender, own);
    return status;
}

/* ---- RESUME -------------------------------------------------------------------------- */

/* The receiver holds these planes: they need not be sent (again). */
static lynx_status settle_held(lynx_sender *sender, lx_sender_request *request, lynx_bytes held)
{
    LX_REQUIRE(held.size <= (request->entry_count + 7) / 8 || request->phase == LX_DONE,
               LYNX_ERR_PROTOCOL);
    for (size_t i = 0; i < request->entry_count && i / 8 < held.size; i++) {
        lx_plane_entry *entry = request->entries[i];
        if (entry && (held.data[i / 8] >> i % 8 & 1)) {
            LX_REQUIRE(entry->phase != LX_HELD, LYNX_ERR_PROTOCOL);
            lx_plane_settle(sender, request, entry);
        }
    }
    lx_sender_check_delivered(sender, request);
    return LYNX_OK;
}

static lynx_status resume_request(lynx_sender *sender, lx_lane *lane,
                                  const lx_resume_entry *entry)
{
    lx_session *session = lx_sender_lane_of(lane)->session;
    lx_sender_request *request = find_id(session, entry->request_id);
    if (entry->request_id > session->last_id)
        session->last_id = entry->request_id;
    if (!request) {
        if (entry->flags & LX_RESUME_ASKED)
            return LYNX_OK; /* REQUEST follows */
        return lx_lane_refuse(lane, entry->request_id, LYNX_ERR_CLOSED,
                              "the prefill node does not know this request any more: it "
                              "was started anew or gave the session up");
    }
    if (!ticket_is(request, entry->ticket))
        return foreign_ticket(sender, lane, entry->request_id);
    LX_REQUIRE(entry->next_token <= request->answer_count, LYNX_ERR_PROTOCOL);
    request->is_listed = true;
    request->answer_sent = entry->next_token;
    LX_TRY(settle_held(sender, request, entry->held));
    LX_TRY(tell_all(sender, request));
    if ((entry->flags & LX_RESUME_STARTED) && !request->is_started)
        return start(sender, request);
    return LYNX_OK;
}

/* The first message of lane 0: what the receiver still wants, and what it holds of that. */
static lynx_status on_resume(lynx_sender *sender, lx_lane *lane, lynx_bytes payload)
{
    lx_sender_lane *own = lx_sender_lane_of(lane);
    lx_session *session = own->session;
    lx_reader reader = lx_reader_of(payload.data, payload.size);
    uint32_t count = 0, serial = 0;
    LX_REQUIRE(!own->is_resumed, LYNX_ERR_PROTOCOL);
    LX_TRY(lx_resume_decode_count(&reader, &count, &serial));
    LX_REQUIRE(serial != 0, LYNX_ERR_PROTOCOL);
    if (serial <=
        session->last_resume) /* what it does not list may have been asked for since */
        return lx_lane_explain(lane, LYNX_ERR_CLOSED,
                               "a newer connection of this session came before this one");
    own->is_resumed = true;
    for (uint32_t i = 0; i < LX_SLOTS; i++)
        session->requests[i].is_listed = false;
    for (uint32_t i = 0; i < count; i++) {
        lx_resume_entry entry;
        LX_TRY(lx_resume_decode_entry(&reader, &entry));
        LX_TRY(resume_request(sender, lane, &entry));
    }
    LX_REQUIRE(lx_reader_left(&reader) == 0, LYNX_ERR_PROTOCOL);
    session->last_resume = serial; /* of one whose tickets are right */
    for (uint32_t i = 0; i < LX_SLOTS; i++) {
        lx_sender_request *request = &session->requests[i];
        if (!request->is_listed) /* ended while nobody could tell us */
            lx_sender_end_request(sender, request);
    }
    lx_session_wake(sender, session);
    return LYNX_OK;
}

/* ---- ACK, AGAIN, START, END ---------------------------------------------------------- */

/* It arrived broken: it goes once more, soon. */
static lynx_status send_again(lynx_sender *sender, lx_lane *lane, lx_plane_entry *entry)
{
    if (++entry->again_count > AGAIN_MAX)
        return lx_lane_explain(lane, LYNX_ERR_CORRUPT,
                               "plane %u of page %u, layer %u, arrived broken %u times",
                               entry->header.plane, entry->header.page.page,
                               entry->header.page.layer, entry->again_count);
    /* A SENT plane is in no frame that leaves. */
    (void)!lx_plane_detach(sender, entry);
    lx_plane_lost(sender, entry);
    return LYNX_OK;
}

static lynx_status on_planes(lynx_sender *sender, lx_lane *lane, uint8_t type, uint64_t id,
                             lynx_bytes payload)
{
    lx_sender_lane *own = lx_sender_lane_of(lane);
    LX_REQUIRE(payload.size % LX_ACK_ENTRY_BYTES == 0, LYNX_ERR_PROTOCOL);
    lx_reader reader = lx_reader_of(payload.data, payload.size);
    own->heard_of_at = sender->now;
    while (lx_reader_left(&reader) > 0) {
        lx_ack_entry ack;
        LX_TRY(lx_ack_decode_entry(&reader, &ack));
        lx_sender_request *request = find_id(own->session, id);
        if (!request || !request->entries)
            continue; /* it ended while the message travelled */
        const size_t slot = lx_page_map_slot(request->added, ack.page);
        LX_REQUIRE(slot != SIZE_MAX && ack.plane < request->plane_count, LYNX_ERR_PROTOCOL);
        lx_plane_entry *entry = request->entries[slot * request->plane_count + ack.plane];
        if (!entry)
            continue; /* acknowledged twice */
        LX_REQUIRE(entry->phase == LX_SENT && entry->lane == lane->index, LYNX_ERR_PROTOCOL);
        if (type == LX_MESSAGE_AGAIN) {
            LX_TRY(send_again(sender, lane, entry));
            continue;
        }
        lx_plane_settle(sender, request, entry);
        lx_sender_check_delivered(sender, request);
    }
    return LYNX_OK;
}

static lynx_status on_start(lynx_sender *sender, lx_sender_request *request)
{
    LX_REQUIRE(!request->is_started, LYNX_ERR_PROTOCOL);
    return start(sender, request);
}

static lynx_status on_flow(lynx_sender *sender, lx_sender_lane *own, lynx_bytes payload)
{
    lx_flow_message flow;
    LX_TRY(lx_flow_decode(payload, &flow));
    /* A ping that came is no news of planes. */
    if (flow.received > own->flow.reported && own->flow.reported < own->pages_end)
        own->heard_of_at = sender->now;
    LX_REQUIRE(lx_flow_report(&own->flow, sender->now, flow.received), LYNX_ERR_PROTOCOL);
    for (uint32_t i = 0; i < 2; i++) {
        LX_REQUIRE(flow.limits[i] >= own->limits[i], LYNX_ERR_PROTOCOL);
        own->limits[i] = flow.limits[i];
    }
    return LYNX_OK;
}

lynx_status lx_sender_on_message(void *owner, lx_lane *lane, lynx_time_ns now,
                                 const lx_frame *frame, lynx_bytes payload)
{
    lynx_sender *sender = owner;
    lx_sender_lane *own = lx_sender_lane_of(lane);
    const uint64_t id = frame->request_id;
    sender->now = now;
    if (frame->type == LX_MESSAGE_FLOW)
        return on_flow(sender, own, payload);
    if (frame->type == LX_MESSAGE_RESUME)
        return on_resume(sender, lane, payload);
    LX_REQUIRE(own->is_resumed || !lane->is_control, LYNX_ERR_PROTOCOL);
    if (frame->type == LX_MESSAGE_REQUEST)
        return on_request(sender, lane, id, payload);
    if (frame->type == LX_MESSAGE_OPTIONS)
        return on_options(sender, own, id, payload);
    if (frame->type == LX_MESSAGE_HELD)
        return on_held(sender, own, id, payload);
    LX_REQUIRE(id >= 1 && id <= own->session->last_id, LYNX_ERR_PROTOCOL);
    if (frame->type == LX_MESSAGE_ACK || frame->type == LX_MESSAGE_AGAIN)
        return on_planes(sender, lane, frame->type, id, payload);
    lx_sender_request *request = find_id(own->session, id);
    if (!request)
        return LYNX_OK; /* it ended while the message travelled */
    if (frame->type == LX_MESSAGE_START)
        return on_start(sender, request);
    LX_REQUIRE(frame->type == LX_MESSAGE_END, LYNX_ERR_PROTOCOL);
    lx_sender_end_request(sender, request);
    return LYNX_OK;
}
