/* SPDX-License-Identifier: MIT */
/* sender.c - the prefill node's end: sessions and their requests. See sender.h. */
#include "session/sender.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"

/* Keys name a place and a serial number: look-up takes no search. */
enum { SLOT_BITS = 5, SESSION_BITS = 11, PLACE_BITS = SLOT_BITS + SESSION_BITS };
_Static_assert(LX_SLOTS == 1 << SLOT_BITS, "slots fit a key");

/* Where the request of a key lies or lay; NULL when the key names no place. */
static lx_sender_request *place_of(lynx_sender *sender, uint64_t key)
{
    const size_t session = (size_t)(key >> SLOT_BITS) & ((1u << SESSION_BITS) - 1);
    return session < sender->options.sessions_max
               ? &sender->sessions[session].requests[key & (LX_SLOTS - 1)]
               : NULL;
}

lx_sender_request *lx_sender_free_slot(lynx_sender *sender, lx_session *session)
{
    uint32_t open = 0;
    for (uint32_t i = 0; i < LX_SLOTS; i++)
        open += session->requests[i].phase != LX_FREE && session->requests[i].phase != LX_ENDED;
    if (open >= sender->options.requests_max)
        return NULL;
    for (uint32_t i = 0; i < LX_SLOTS; i++) {
        lx_sender_request *slot = &session->requests[i];
        if (slot->phase != LX_FREE)
            continue;
        const uint64_t place =
            (uint64_t)(session - sender->sessions) << SLOT_BITS | (uint64_t)i;
        slot->key = ++sender->last_serial << PLACE_BITS | place;
        return slot;
    }
    return NULL;
}

static lx_sender_request *find(lynx_sender *sender, uint64_t key)
{
    lx_sender_request *request = place_of(sender, key);
    return request && request->phase != LX_FREE && request->phase != LX_ENDED &&
                   request->key == key
               ? request
               : NULL;
}

/* ---- the end of planes and requests -------------------------------------------------- */

uint64_t lx_sender_news(const lynx_sender *sender)
{
    return sender->identity.news;
}

void lx_plane_release(lynx_sender *sender, lx_plane_entry *entry)
{
    sender->identity.news++;
    sender->identity.counters.queued_bytes -= entry->size;
    entry->release(entry->user, entry->data, entry->size);
    lx_free(sender->identity.memory, entry, 1, sizeof(*entry));
}

/* The plane is wanted no more. */
void lx_plane_settle(lynx_sender *sender, lx_sender_request *request, lx_plane_entry *entry)
{
    request->entries[entry->index] = NULL;
    request->unacknowledged--;
    if (!lx_plane_detach(sender, entry))
        lx_plane_release(sender, entry);
}

static void drop_planes(lynx_sender *sender, lx_sender_request *request)
{
    for (size_t i = 0; request->entries && i < request->entry_count; i++)
        if (request->entries[i])
            lx_plane_settle(sender, request, request->entries[i]);
    lx_free(sender->identity.memory, request->entries, request->entry_count,
            sizeof(*request->entries));
    lynx_page_map_destroy(request->added);
    request->entries = NULL;
    request->added = NULL;
    request->entry_count = 0;
}

void lx_sender_free_request(lynx_sender *sender, lx_sender_request *request)
{
    const lynx_allocator *memory = sender->identity.memory;
    drop_planes(sender, request);
    lx_free(memory, request->tokens, request->request.token_count, sizeof(*request->tokens));
    lx_free(memory, request->biases, request->request.sampling.bias_count,
            sizeof(*request->biases));
    lx_free(memory, request->allowed, request->request.sampling.allowed_bytes, 1);
    lx_free(memory, request->answer, request->answer_room, sizeof(*request->answer));
    lx_free(memory, request->answer_logprobs, request->answer_room,
            sizeof(*request->answer_logprobs));
    sender->last_events -= request->tells_last;
    *request = (lx_sender_request){.phase = LX_FREE};
}

static void tell_last(lynx_sender *sender, lx_sender_request *request, lynx_event_type type)
{
    request->last =
        (lynx_event){.type = type, .request_id = request->key, .text = "", .time = sender->now};
    request->tells_last = true;
    sender->identity.news++;
    sender->last_events++;
}

/* The peer wants no more of it. The owner may be looking at its tokens in this moment, or has
 * still to take its REQUEST: they live until its last event has been taken. */
void lx_sender_end_request(lynx_sender *sender, lx_sender_request *request)
{
    if (request->phase == LX_FREE || request->phase == LX_ENDED)
        return;
    if (request->has_told_last) {
        lx_sender_free_request(sender, request);
        return;
    }
    if (request->phase != LX_DONE) /* else DELIVERED is its last event */
        tell_last(sender, request, LYNX_EVENT_CANCEL);
    drop_planes(sender, request);
    request->phase = LX_ENDED;
}

bool lx_session_has_requests(const lx_session *session)
{
    for (uint32_t i = 0; i < LX_SLOTS; i++)
        if (session->requests[i].phase != LX_FREE)
            return true;
    return false;
}

void lx_session_end(lynx_sender *sender, lx_session *session)
{
    for (uint32_t i = 0; i < LX_SLOTS; i++)
        lx_sender_end_request(sender, &session->requests[i]);
    session->is_used = false;
}

/* DELIVERED when nothing is left to acknowledge. */
void lx_sender_check_delivered(lynx_sender *sender, lx_sender_request *request)
{
    if (request->phase != LX_ACTIVE || !request->is_finishing || request->unacknowledged > 0)
        return;
    tell_last(sender, request, LYNX_EVENT_DELIVERED);
    drop_planes(sender, request);
    request->phase = LX_DONE;
}

/* ---- what a request has to say ------------------------------------------------------- */

/* Queue a message where there is a lane for it; a session without one says it when it resumes.
 */
lynx_status lx_sender_tell(lynx_sender *sender, lx_sender_request *request,
                           lx_message_type type, const void *payload, size_t size)
{
    lx_lane *lane = lx_session_control(sender, request->session);
    if (!lane)
        return LYNX_OK;
    LX_TRY(lx_lane_send(lane, type, request->id, payload, size));
    lx_session_wake(sender, request->session);
    return LYNX_OK;
}

/* With what is left out, to who said that it holds something. */
lynx_status lx_sender_tell_accept(lynx_sender *sender, lx_sender_request *request)
{
    uint8_t payload[LX_ACCEPT_BYTES];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    if (request->request.held_tokens)
        lx_accept_encode(&writer, request->left_out);
    return lx_sender_tell(sender, request, LX_MESSAGE_ACCEPT, payload, writer.offset);
}

lynx_status lx_sender_tell_progress(lynx_sender *sender, lx_sender_request *request)
{
    uint8_t payload[LX_PROGRESS_BYTES];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_progress_encode(&writer, request->progress);
    return lx_sender_tell(sender, request, LX_MESSAGE_PROGRESS, payload, writer.offset);
}

lynx_status lx_sender_tell_tokens(lynx_sender *sender, lx_sender_request *request)
{
    if (!lx_session_control(sender, request->session) || !request->is_started)
        return LYNX_OK;
    for (; request->answer_sent < request->answer_count; request->answer_sent++) {
        uint8_t payload[LX_TOKEN_BYTES_MAX];
        lx_writer writer = lx_writer_of(payload, sizeof(payload));
        const uint32_t index = request->answer_sent;
        lx_token_message message = {.index = index, .token = request->answer[index]};
        message.has_logprobs = request->answer_logprobs != NULL;
        if (message.has_logprobs)
            message.logprobs = request->answer_logprobs[index];
        lx_token_encode(&writer, &message);
        LX_TRY(lx_sender_tell(sender, request, LX_MESSAGE_TOKEN, payload, writer.offset));
    }
    return LYNX_OK;
}

lynx_status lx_sender_tell_yield(lynx_sender *sender, lx_sender_request *request)
{
    uint8_t payload[LX_YIELD_BYTES];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    if (request->answer_count == request->request.answer_tokens)
        return LYNX_OK; /* all of them came: there is nothing to yield */
    lx_yield_encode(&writer, request->answer_count);
    return lx_sender_tell(sender, request, LX_MESSAGE_YIELD, payload, writer.offset);
}

/* ---- sessions ------------------------------------------------------------------------ */

static lx_session *find_session(lynx_sender *sender, const uint8_t id[LYNX_ID_BYTES])
{
    for (uint32_t i = 0; i < sender->options.sessions_max; i++)
        if (sender->sessions[i].is_used &&
            memcmp(sender->sessions[i].id, id, LYNX_ID_BYTES) == 0)
            return &sender->sessions[i];
    return NULL;
}

static lx_session *make_session(lynx_sender *sender, const lx_sender_lane *lane,
                                const uint8_t id[LYNX_ID_BYTES])
{
    lx_session *place = NULL;
    for (uint32_t i = 0; i < sender->options.sessions_max && !place; i++)
        place = !sender->sessions[i].is_used && !lx_session_has_requests(&sender->sessions[i])
                    ? &sender->sessions[i]
                    : NULL;
    if (!place)
        return NULL;
    *place = (lx_session){.is_used = true};
    memcpy(place->id, id, LYNX_ID_BYTES);
    memcpy(place->peer, lane->peer, sizeof(place->peer));
    for (uint32_t i = 0; i < LYNX_LANES_MAX; i++)
        place->lanes[i] = LX_NO_LANE;
    sender->identity.counters.sessions++;
    return place;
}

lynx_status lx_sender_join(lynx_sender *sender, lx_sender_lane *lane, const lx_hello *hello)
{
    static const uint8_t no_id[LYNX_ID_BYTES];
    if (memcmp(hello->session, no_id, LYNX_ID_BYTES) == 0)
        return lx_lane_explain(&lane->lane, LYNX_ERR_PROTOCOL, "the session has no name");
    lx_session *session = find_session(sender, hello->session);
    if (session && strcmp(session->peer, lane->peer) != 0) {
        sender->identity.counters.denied++;
        return lx_lane_explain(&lane->lane, LYNX_ERR_DENIED,
                               "this session was begun by another peer");
    }
    if (!session && sender->is_draining)
        return lx_lane_explain(&lane->lane, LYNX_ERR_CLOSED, "%s", lx_stopping_text);
    if (!session)
        session = make_session(sender, lane, hello->session);
    if (!session)
        return lx_lane_explain(&lane->lane, LYNX_ERR_LIMIT,
                               "the prefill node has %u sessions already; raise its limit or "
                               "try again later",
                               sender->options.sessions_max);
    const uint32_t bit = 1u << hello->lane;
    sender->identity.counters.resumes += (session->lanes_seen & bit) != 0;
    session->lanes_seen |= bit;
    session->has_good_bye = false;
    lane->session = session;
    lane->number = hello->lane;
    lane->lane.is_control = hello->lane == 0;
    lane->may_repeat = session->last_id > 0;
    return LYNX_OK;
}

const char lx_stopping_text[] = "the prefill node is stopping; ask another one";

void lynx_sender_drain(lynx_sender *sender)
{
    sender->is_draining = true;
}

bool lynx_sender_is_idle(const lynx_sender *sender)
{
    for (uint32_t i = 0; i < sender->options.sessions_max; i++)
        for (uint32_t slot = 0; slot < LX_SLOTS; slot++) {
            const lx_request_phase phase = sender->sessions[i].requests[slot].phase;
            if (phase == LX_ASKED || phase == LX_ACTIVE)
                return false;
        }
    return true;
}

void lynx_sender_tick(lynx_sender *sender, lynx_time_ns now, lynx_time_ns *next)
{
    sender->now = now;
    *next = LYNX_TIME_NEVER;
    for (uint32_t i = 0; i < sender->options.sessions_max; i++) {
        lx_session *session = &sender->sessions[i];
        if (!session->is_used || session->lane_count)
            continue;
        const lynx_time_ns end = lx_time_after(session->idle_since, sender->options.resume_ns);
        if (now >= end)
            lx_session_end(sender, session);
        else if (end < *next)
            *next = end;
    }
}

/* ---- life ---------------------------------------------------------------------------- */

static lynx_status sender_init(lynx_sender *sender, const lynx_session_options *options)
{
    const lynx_allocator *memory = sender->identity.memory;
    lx_event_queue_init(&sender->events, memory);
    LX_TRY(lx_identity_init(&sender->identity, options, LX_ROLE_SENDER));
    sender->options = *options;
    sender->lanes = lx_alloc_zeroed(memory, options->connections_max, sizeof(*sender->lanes));
    sender->sessions =
        lx_alloc_zeroed(memory, options->sessions_max, sizeof(*sender->sessions));
    LX_REQUIRE(sender->lanes && sender->sessions, LYNX_ERR_MEMORY);
    return LYNX_OK;
}

lynx_status lynx_sender_create(lynx_sender **sender, const lynx_session_options *options,
                               lynx_time_ns now)
{
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    lynx_sender *s = lx_alloc_zeroed(memory, 1, sizeof(*s));
    LX_REQUIRE(s, LYNX_ERR_MEMORY);
    s->identity.memory = memory;
    s->now = now;
    const lynx_status status = sender_init(s, options);
    if (lynx_failed(status)) {
        lynx_sender_destroy(s);
        return status;
    }
    *sender = s;
    return LYNX_OK;
}

void lynx_sender_destroy(lynx_sender *sender)
{
    if (!sender)
        return;
    const lynx_allocator *memory = sender->identity.memory;
    for (uint32_t i = 0; sender->sessions && i < sender->options.sessions_max; i++)
        for (uint32_t slot = 0; slot < LX_SLOTS; slot++)
            if (sender->sessions[i].requests[slot].phase != LX_FREE)
                lx_sender_free_request(sender, &sender->sessions[i].requests[slot]);
    for (uint32_t i = 0; sender->lanes && i < sender->options.connections_max; i++) {
        lx_sender_lane *lane = &sender->lanes[i];
        if (lane->leaving) /* an orphan: its request is gone */
            lx_plane_release(sender, lane->leaving);
        lx_sender_drop_preface(sender, lane);
        lx_lane_fini(&lane->lane);
    }
    lx_free(memory, sender->lanes, sender->options.connections_max, sizeof(*sender->lanes));
    lx_free(memory, sender->sessions, sender->options.sessions_max, sizeof(*sender->sessions));
    lx_event_queue_fini(&sender->events);
    lx_identity_fini(&sender->identity);
    lx_free(memory, sender, 1, sizeof(*sender));
}

/* The owner looks no more at the request whose last event it took before. */
static void free_taken(lynx_sender *sender)
{
    lx_sender_request *request = sender->taken_key ? place_of(sender, sender->taken_key) : NULL;
    const bool is_it = request && request->key == sender->taken_key;
    sender->taken_key = 0;
    if (is_it && request->phase == LX_ENDED)
        lx_sender_free_request(sender, request);
    else if (is_it)
        request->has_told_last = true;
}

static bool next_last_event(lynx_sender *sender, lynx_event *event)
{
    for (uint32_t i = 0; sender->last_events && i < sender->options.sessions_max; i++)
        for (uint32_t slot = 0; slot < LX_SLOTS; slot++) {
            lx_sender_request *request = &sender->sessions[i].requests[slot];
            if (!request->tells_last)
                continue;
            request->tells_last = false;
            sender->last_events--;
            sender->taken_key = request->key;
            *event = request->last;
            return true;
        }
    return false;
}

static bool next_lane_event(lynx_sender *sender, lynx_event *event)
{
    for (uint32_t i = 0; i < sender->options.connections_max; i++) {
        lx_sender_lane *lane = &sender->lanes[i];
        if (lx_lane_next_event(&lane->lane, event))
            return true;
    }
    return false;
}

bool lynx_sender_next_event(lynx_sender *sender, lynx_event *event)
{
    free_taken(sender);
    return lx_event_queue_take(&sender->events, event) || next_last_event(sender, event) ||
           next_lane_event(sender, event);
}

/* ---- what the owner says ------------------------------------------------------------- */

static lynx_status active(lynx_sender *sender, uint64_t key, lx_sender_request **request)
{
    *request = find(sender, key);
    LX_REQUIRE(*request && (*request)->phase == LX_ACTIVE && !(*request)->is_finishing,
               LYNX_ERR_STATE);
    return LYNX_OK;
}

/* Who carries on gets no further than the context, whatever was asked for. */
static uint32_t answer_room(const lynx_sender *sender, const lynx_request *request)
{
    const uint32_t context = sender->identity.context_tokens;
    const bool is_less =
        (request->flags & LYNX_REQUEST_CARRY_ON) && context && context < request->answer_tokens;
    return is_less ? context : request->answer_tokens;
}

/* The receiver has all planes of these pages: as if they had been added and acknowledged. */
static void leave_out(lx_sender_request *request)
{
    const size_t slots = lx_page_map_slots_before(request->added, request->left_out);
    for (size_t slot = 0; slot < slots; slot++)
        for (uint32_t plane = 0; plane < request->plane_count; plane++)
            (void)lynx_page_map_mark(request->added, lx_page_map_page(request->added, slot),
                                     plane);
}

lynx_status lynx_sender_accept(lynx_sender *sender, uint64_t request_id, uint32_t left_out)
{
    lx_sender_request *request = find(sender, request_id);
    LX_REQUIRE(request && request->phase == LX_ASKED, LYNX_ERR_STATE);
    LX_REQUIRE(left_out == 0 || left_out == request->request.held_tokens, LYNX_ERR_ARGUMENT);
    const uint32_t room = answer_room(sender, &request->request);
    if (!request->answer)
        request->answer = lx_alloc(sender->identity.memory, room, sizeof(*request->answer));
    LX_REQUIRE(request->answer, LYNX_ERR_MEMORY);
    request->answer_room = room;
    if (request->request.wants_logprobs && !request->answer_logprobs)
        request->answer_logprobs =
            lx_alloc(sender->identity.memory, room, sizeof(*request->answer_logprobs));
    LX_REQUIRE(!request->request.wants_logprobs || request->answer_logprobs, LYNX_ERR_MEMORY);
    request->left_out = left_out;
    LX_TRY(lx_sender_tell_accept(sender, request));
    leave_out(request);
    request->phase = LX_ACTIVE;
    return LYNX_OK;
}

lynx_status lynx_sender_refuse(lynx_sender *sender, uint64_t request_id, lynx_status status,
                               const char *text)
{
    lx_sender_request *request = find(sender, request_id);
    LX_REQUIRE(request, LYNX_ERR_STATE);
    LX_REQUIRE(lynx_failed(status), LYNX_ERR_ARGUMENT);
    /* Without a lane nobody hears it; who resumes the request is told that it is not known. */
    lx_lane *lane = lx_session_control(sender, request->session);
    if (lane)
        LX_TRY(lx_lane_refuse(lane, request->id, status, text));
    lx_session_wake(sender, request->session);
    lx_sender_free_request(sender, request);
    return LYNX_OK;
}

lynx_status lynx_sender_progress(lynx_sender *sender, uint64_t request_id, uint32_t done)
{
    lx_sender_request *request;
    LX_TRY(active(sender, request_id, &request));
    request->progress = done;
    return lx_sender_tell_progress(sender, request);
}

lynx_status lynx_sender_token(lynx_sender *sender, uint64_t request_id, lynx_token token,
                              const lynx_logprobs *logprobs)
{
    lx_sender_request *request;
    LX_TRY(active(sender, request_id, &request));
    LX_REQUIRE(request->answer_count < request->answer_room &&
                   (logprobs != NULL) == request->request.wants_logprobs,
               LYNX_ERR_ARGUMENT);
    if (logprobs)
        request->answer_logprobs[request->answer_count] = *logprobs;
    request->answer[request->answer_count++] = token;
    const lynx_status status = lx_sender_tell_tokens(sender, request);
    if (status != LYNX_OK)
        request->answer_count--; /* the last of them was not told: it may be tried again */
    return status;
}

lynx_status lynx_sender_plane(lynx_sender *sender, lynx_time_ns now, uint64_t request_id,
                              lynx_page_id page, uint32_t plane, uint8_t *data, size_t size,
                              lynx_plane_release *release, void *user)
{
    lx_sender_request *request;
    LX_TRY(active(sender, request_id, &request));
    LX_REQUIRE(!(request->request.flags & LYNX_REQUEST_NO_PAGES), LYNX_ERR_ARGUMENT);
    const size_t slot = lx_page_map_slot(request->added, page);
    LX_REQUIRE(slot != SIZE_MAX && plane < request->plane_count && size <= UINT32_MAX &&
                   !lynx_page_map_has(request->added, page, plane),
               LYNX_ERR_ARGUMENT);
    lx_plane_entry *entry = lx_alloc_zeroed(sender->identity.memory, 1, sizeof(*entry));
    LX_REQUIRE(entry, LYNX_ERR_MEMORY);
    *entry = (lx_plane_entry){
        .queued = {.class_index = plane},
        .request = request,
        .phase = LX_HELD,
        .index = slot * request->plane_count + plane,
        .header = {.page = page,
                   .plane = (uint8_t)plane,
                   .plane_bytes = (uint32_t)size,
                   .plane_digest = lx_digest64(data, size)},
        .data = data,
        .size = size,
        .queued_at = now,
        .release = release,
        .user = user,
    };
    sender->now = now;
    lynx_page_map_mark(request->added, page, plane);
    request->entries[entry->index] = entry;
    request->unacknowledged++;
    lynx_session_counters *counters = &sender->identity.counters;
    counters->queued_bytes += size;
    if (counters->queued_bytes > counters->queued_bytes_top)
        counters->queued_bytes_top = counters->queued_bytes;
    if (request->is_started) {
        lx_plane_enqueue(sender, entry, false);
        lx_session_wake(sender, request->session);
    }
    return LYNX_OK;
}

lynx_status lynx_sender_finish(lynx_sender *sender, uint64_t request_id)
{
    lx_sender_request *request;
    LX_TRY(active(sender, request_id, &request));
    const bool carries_on = request->request.flags & LYNX_REQUEST_CARRY_ON;
    const uint32_t least = carries_on ? 1 : request->request.answer_tokens;
    LX_REQUIRE(request->answer_count >= least, LYNX_ERR_STATE);
    LX_REQUIRE((request->request.flags & LYNX_REQUEST_NO_PAGES) ||
                   lynx_page_map_is_complete(request->added, request->plane_count - 1),
               LYNX_ERR_STATE);
    if (request->request.flags & LYNX_REQUEST_HOLD)
        LX_TRY(lx_sender_tell(sender, request, LX_MESSAGE_READY, NULL, 0));
    if (carries_on)
        LX_TRY(lx_sender_tell_yield(sender, request));
    request->is_finishing = true;
    lx_sender_check_delivered(sender, request);
    return LYNX_OK;
}

lynx_session_counters lynx_sender_counters(const lynx_sender *sender)
{
    return sender->identity.counters;
}
