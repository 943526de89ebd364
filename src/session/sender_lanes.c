/* SPDX-License-Identifier: MIT */
/*
 * sender_lanes.c - the prefill node's connections, and what leaves next on each.
 *
 * A lane that can take bytes asks here. Its control messages go first, then the planes of its
 * session by class. A residual leaves only when no anchor of any session could leave instead
 * (the lane is gated) and when little enough is under way on the lane that an anchor which
 * comes now would not wait behind it.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"
#include "session/sender.h"

lx_sender_lane *lx_sender_lane_of(lx_lane *lane)
{
    return (lx_sender_lane *)(void *)lane;
}

lx_lane *lx_session_control(lynx_sender *sender, lx_session *session)
{
    const uint32_t index = session->lanes[0];
    if (index == LX_NO_LANE)
        return NULL;
    lx_sender_lane *lane = &sender->lanes[index];
    return lane->lane.phase == LX_PHASE_OPEN && lane->is_resumed ? &lane->lane : NULL;
}

void lx_session_wake(lynx_sender *sender, const lx_session *session)
{
    for (uint32_t i = 0; i < LYNX_LANES_MAX; i++)
        if (session->lanes[i] != LX_NO_LANE)
            sender->lanes[session->lanes[i]].must_wake = true;
}

bool lynx_sender_next_wake(lynx_sender *sender, uint32_t *lane)
{
    for (uint32_t i = 0; i < sender->options.connections_max; i++)
        if (sender->lanes[i].must_wake && sender->lanes[i].lane.is_used) {
            sender->lanes[i].must_wake = false;
            *lane = i;
            return true;
        }
    return false;
}

static lynx_time_ns earlier(lynx_time_ns a, lynx_time_ns b)
{
    return a < b ? a : b;
}

/* ---- planes in and out of queues ----------------------------------------------------- */

static void anchor_comes(lynx_sender *sender, lx_session *session)
{
    session->live_anchors++;
    sender->live_anchors++;
}

/* A session has no anchor that could leave, or one lane fewer for them: residuals of the others
 * may go. */
static void wake_gated(lynx_sender *sender)
{
    for (uint32_t i = 0; i < sender->options.connections_max; i++)
        sender->lanes[i].must_wake |= sender->lanes[i].is_gated;
}

static void anchor_goes(lynx_sender *sender, lx_session *session)
{
    sender->live_anchors--;
    if (--session->live_anchors == 0)
        wake_gated(sender);
}

void lx_plane_enqueue(lynx_sender *sender, lx_plane_entry *entry, bool is_first)
{
    lx_session *session = entry->request->session;
    entry->phase = LX_QUEUED;
    entry->sent = 0;
    if (is_first)
        lx_plane_queue_push_first(&session->queue, &entry->queued);
    else
        lx_plane_queue_push(&session->queue, &entry->queued);
    if (entry->queued.class_index == 0)
        anchor_comes(sender, session);
}

bool lx_plane_detach(lynx_sender *sender, lx_plane_entry *entry)
{
    lx_session *session = entry->request->session;
    const uint32_t class_index = entry->queued.class_index;
    if (entry->phase == LX_QUEUED)
        lx_plane_queue_remove(&session->queue, &entry->queued);
    if (class_index == 0 && (entry->phase == LX_QUEUED || entry->phase == LX_BEGUN))
        anchor_goes(sender, session);
    if (entry->phase == LX_SENT)
        sender->lanes[entry->lane].sent_planes--;
    if (entry->phase != LX_BEGUN)
        return false;
    lx_sender_lane *lane = &sender->lanes[entry->lane];
    lane->current[class_index] = NULL;
    if (lane->urgent == entry)
        lane->urgent = NULL;
    if (lane->leaving != entry)
        return false;
    entry->request = NULL;
    return true;
}

void lx_plane_lost(lynx_sender *sender, lx_plane_entry *entry)
{
    entry->lost_bytes = entry->sent;
    sender->identity.counters.unacknowledged_bytes += entry->sent;
    lx_plane_enqueue(sender, entry, true);
    lx_session_wake(sender, entry->request->session);
}

/* What a lost lane carried goes back to the head of the queue, in its order; the plane whose
 * frame may still be read by the link only when that is over ('is_gone'). */
static void requeue(lynx_sender *sender, uint32_t index, bool is_gone)
{
    lx_session *session = sender->lanes[index].session;
    for (uint32_t slot = LX_SLOTS; slot-- > 0;) {
        lx_sender_request *request = &session->requests[slot];
        for (size_t i = request->entries ? request->entry_count : 0; i-- > 0;) {
            lx_plane_entry *entry = request->entries[i];
            if (!entry || entry->lane != index ||
                (entry->phase != LX_BEGUN && entry->phase != LX_SENT))
                continue;
            if (sender->lanes[index].leaving == entry && !is_gone)
                continue;
            if (sender->lanes[index].leaving == entry)
                sender->lanes[index].leaving = NULL;
            (void)!lx_plane_detach(sender, entry);
            lx_plane_lost(sender, entry);
        }
    }
}

/* ---- connections --------------------------------------------------------------------- */

/* HELLO was right: the lane is one of its session. */
static lynx_status on_hello(void *owner, lx_lane *lane, lynx_time_ns now, const lx_hello *hello)
{
    lynx_sender *sender = owner;
    lx_sender_lane *own = lx_sender_lane_of(lane);
    sender->now = now;
    LX_TRY(lx_sender_join(sender, own, hello));
    lx_session *session = own->session;
    const uint32_t old = session->lanes[own->number];
    if (old != LX_NO_LANE) { /* the peer knows that it broke before we do */
        lx_lane_close(&sender->lanes[old].lane, LYNX_ERR_CLOSED,
                      "the decode node made this connection anew");
        requeue(sender, old, false);
        sender->lanes[old].must_wake = true;
    } else {
        session->lane_count++;
    }
    session->lanes[own->number] = lane->index;
    return LYNX_OK;
}

static lynx_status on_message(void *owner, lx_lane *lane, lynx_time_ns now,
                              const lx_frame *frame, lynx_bytes payload)
{
    LX_REQUIRE(lx_sender_lane_of(lane)->session, LYNX_ERR_STATE);
    return lx_sender_on_message(owner, lane, now, frame, payload);
}

static lynx_status on_long_request(void *owner, lx_lane *lane, uint64_t request_id,
                                   uint32_t token_count)
{
    LX_REQUIRE(lx_sender_lane_of(lane)->session, LYNX_ERR_STATE);
    return lx_sender_on_long_request(owner, lane, request_id, token_count);
}

/* A lane takes no PAGE for a sender: these two are there to close the table. */
static lynx_status on_page(void *owner, lx_lane *lane, uint64_t request_id,
                           const lx_page_message *page, uint32_t chunk_bytes, uint8_t **target)
{
    (void)owner;
    (void)lane;
    (void)request_id;
    (void)page;
    (void)chunk_bytes;
    (void)target;
    return LYNX_ERR_PROTOCOL;
}

static lynx_status on_page_end(void *owner, lx_lane *lane, lynx_time_ns now)
{
    (void)owner;
    (void)lane;
    (void)now;
    return LYNX_ERR_PROTOCOL;
}

static const lx_lane_ops lane_ops = {on_hello, on_message, on_long_request, on_page,
                                     on_page_end};

lynx_status lynx_sender_connect(lynx_sender *sender, lynx_time_ns now, const char *peer,
                                uint32_t *lane)
{
    uint32_t index = 0;
    while (index < sender->options.connections_max &&
           (sender->lanes[index].lane.is_used || sender->lanes[index].lane.tells_closed))
        index++;
    LX_REQUIRE(index < sender->options.connections_max, LYNX_ERR_LIMIT);
    lx_sender_lane *own = &sender->lanes[index];
    lx_hello hello;
    lx_greeting_fill(&sender->identity, &hello);
    *own = (lx_sender_lane){.heard_of_at = now};
    snprintf(own->peer, sizeof(own->peer), "%s", peer ? peer : "");
    sender->now = now;
    const lynx_status status =
        lx_lane_init(&own->lane, &sender->identity, index, &lane_ops, sender, &hello, now);
    if (status != LYNX_OK) {
        lx_sender_drop_preface(sender, own);
        lx_lane_fini(&own->lane);
        return status;
    }
    *lane = index;
    return LYNX_OK;
}

static lx_sender_lane *used_lane(lynx_sender *sender, uint32_t lane)
{
    return lane < sender->options.connections_max && sender->lanes[lane].lane.is_used
               ? &sender->lanes[lane]
               : NULL;
}

void lynx_sender_disconnect(lynx_sender *sender, lynx_time_ns now, uint32_t lane,
                            lynx_status status, const char *text)
{
    lx_sender_lane *own = used_lane(sender, lane);
    if (!own)
        return;
    lx_session *session = own->session;
    sender->now = now;
    lx_lane_lost(&own->lane, now, status, text);
    if (session)
        requeue(sender, lane, true);
    if (session && session->lanes[own->number] == lane) {
        session->lanes[own->number] = LX_NO_LANE;
        session->idle_since = now;
        session->has_good_bye |= own->lane.close_status == LYNX_OK;
        /* A good-bye ends the session, even if the last lane broke before it came there; and
         * nothing is kept for who wants nothing. */
        if (--session->lane_count == 0 &&
            (session->has_good_bye || !lx_session_has_requests(session)))
            lx_session_end(sender, session);
    }
    if (own->leaving) /* an orphan */
        lx_plane_release(sender, own->leaving);
    wake_gated(sender);
    own->leaving = NULL;
    own->session = NULL;
    own->is_gated = false;
    lx_sender_drop_preface(sender, own);
    lx_lane_fini(&own->lane);
}

lynx_status lynx_sender_read(lynx_sender *sender, uint32_t lane, lynx_time_ns now,
                             const uint8_t *data, size_t size)
{
    lx_sender_lane *own = used_lane(sender, lane);
    LX_REQUIRE(own, LYNX_ERR_STATE);
    sender->now = now;
    return lx_lane_read(&own->lane, now, data, size);
}

void lynx_sender_close(lynx_sender *sender, lynx_status status, const char *text)
{
    for (uint32_t i = 0; i < sender->options.connections_max; i++) {
        lx_lane_close(&sender->lanes[i].lane, status, text);
        sender->lanes[i].must_wake = true;
    }
}

/* ---- the choice ---------------------------------------------------------------------- */

static bool is_stalled(const lynx_sender *sender, const lx_sender_lane *lane, lynx_time_ns now)
{
    return lane->offered_at && now - lane->offered_at >= sender->options.stall_ns;
}

static bool has_credit(const lx_sender_lane *lane, uint32_t class_index)
{
    const uint32_t credit = lx_credit_of(class_index);
    return lane->begun[credit] < lane->limits[credit];
}

/* Could a lane of the session send an anchor now? */
static bool has_eligible_anchor(const lynx_sender *sender, const lx_session *session,
                                lynx_time_ns now)
{
    for (uint32_t i = 0; i < LYNX_LANES_MAX && session->live_anchors; i++) {
        if (session->lanes[i] == LX_NO_LANE)
            continue;
        const lx_sender_lane *lane = &sender->lanes[session->lanes[i]];
        const bool has_one =
            lane->current[0] || (session->queue.heads[0] && has_credit(lane, 0));
        if (has_one && lane->lane.phase == LX_PHASE_OPEN && !is_stalled(sender, lane, now))
            return true;
    }
    return false;
}

static bool is_gated(const lynx_sender *sender, const lx_session *session, lynx_time_ns now)
{
    if (sender->live_anchors == session->live_anchors)
        return false;
    for (uint32_t i = 0; i < sender->options.sessions_max; i++) {
        const lx_session *other = &sender->sessions[i];
        if (other != session && other->is_used && has_eligible_anchor(sender, other, now))
            return true;
    }
    return false;
}

/* The plane of a class that goes next on the lane, begun or not; NULL when none may. */
static lx_plane_entry *first_of(const lx_sender_lane *lane, uint32_t class_index)
{
    if (lane->current[class_index])
        return lane->current[class_index];
    return has_credit(lane, class_index)
               ? (lx_plane_entry *)(void *)lane->session->queue.heads[class_index]
               : NULL;
}

/* A residual that has waited for too long goes before anchors, but one only in that time. */
static lx_plane_entry *old_residual(const lynx_sender *sender, lx_sender_lane *lane,
                                    lynx_time_ns now)
{
    const uint64_t most = sender->options.residual_age_max_ns;
    lx_session *session = lane->session;
    if (most == 0 || lane->urgent)
        return lane->urgent;
    lx_plane_entry *entry = first_of(lane, 1);
    if (!entry || now - entry->queued_at < most || now - session->let_through_at < most)
        return NULL;
    session->let_through_at = now;
    lane->urgent = entry;
    return entry;
}

/* The one that a gated lane waits for may stall, and its residual become old. */
static lynx_time_ns look_again_at(const lynx_sender *sender, const lx_sender_lane *lane,
                                  lynx_time_ns now)
{
    const uint64_t most = sender->options.residual_age_max_ns;
    const lynx_time_ns stall = lx_time_after(now, 1 + sender->options.stall_ns / 4);
    const lx_plane_entry *entry = most ? first_of(lane, 1) : NULL;
    if (!entry)
        return stall;
    const lynx_time_ns let_through = lane->session->let_through_at;
    const lynx_time_ns since = entry->queued_at > let_through ? entry->queued_at : let_through;
    return earlier(stall, lx_time_after(since, most));
}

static lx_plane_entry *choose(const lynx_sender *sender, lx_sender_lane *lane, lynx_time_ns now)
{
    lane->is_gated = false;
    if (lane->lane.phase != LX_PHASE_OPEN || !lane->session)
        return NULL;
    const bool has_room = lx_flow_has_room(&lane->flow);
    lx_plane_entry *entry = old_residual(sender, lane, now);
    for (uint32_t i = 0; i < LX_CLASSES && !entry; i++) {
        entry = first_of(lane, i);
        if (!entry || i == 0)
            continue;
        lane->is_gated = is_gated(sender, lane->session, now);
        lane->look_at = look_again_at(sender, lane, now);
        if (lane->is_gated || !has_room)
            entry = NULL;
        break;
    }
    if (!entry && has_room)
        lx_flow_starve(&lane->flow);
    return entry;
}

/* ---- bytes that leave ---------------------------------------------------------------- */

/* The lane carries a plane that stood in the queue. */
static void begin_plane(lynx_sender *sender, lx_sender_lane *lane, lx_plane_entry *entry)
{
    const uint32_t class_index = entry->queued.class_index;
    lx_plane_queue_remove(&lane->session->queue, &entry->queued);
    entry->phase = LX_BEGUN;
    entry->lane = lane->lane.index;
    lane->current[class_index] = entry;
    lane->begun[lx_credit_of(class_index)] += entry->size;
    sender->identity.counters.resent_bytes += entry->lost_bytes;
    entry->lost_bytes = 0;
}

/* Make the frame of the next chunk of 'entry'. */
static void begin_chunk(lynx_sender *sender, lx_sender_lane *lane, lx_plane_entry *entry)
{
    if (entry->phase == LX_QUEUED)
        begin_plane(sender, lane, entry);
    const size_t left = entry->size - entry->sent;
    const uint32_t most = lx_flow_chunk(&lane->flow);
    const uint32_t chunk = left < most ? (uint32_t)left : most;
    uint8_t *fixed = lane->frame + LX_FRAME_BYTES;
    lx_writer writer = lx_writer_of(fixed, LX_PAGE_FIXED_BYTES);
    entry->header.offset = entry->sent;
    lx_page_encode_header(&writer, &entry->header);
    const lx_frame frame = {
        .version = LX_WIRE_VERSION,
        .type = LX_MESSAGE_PAGE,
        .request_id = entry->request->id,
        .payload_bytes = LX_PAGE_FIXED_BYTES + chunk,
        .payload_digest = lx_digest64(fixed, LX_PAGE_FIXED_BYTES),
    };
    lx_frame_encode(&frame, lane->frame);
    lane->leaving = entry;
    lane->frame_left = sizeof(lane->frame);
    lane->chunk_bytes = chunk;
    lane->chunk_left = chunk;
}

/* The frame of a chunk has left. */
static void end_chunk(lynx_sender *sender, lx_sender_lane *lane)
{
    lx_plane_entry *entry = lane->leaving;
    const uint32_t class_index = entry->queued.class_index;
    sender->identity.counters.plane_bytes_sent[entry->header.plane] +=
        sizeof(lane->frame) + lane->chunk_bytes;
    lane->leaving = NULL;
    lane->pages_end = lane->flow.sent;
    if (!entry->request) {
        lx_plane_release(sender, entry);
        return;
    }
    entry->sent += lane->chunk_bytes;
    if (entry->sent < entry->size)
        return;
    entry->phase = LX_SENT;
    lane->current[class_index] = NULL;
    if (lane->urgent == entry)
        lane->urgent = NULL;
    if (lane->sent_planes++ == 0)
        lane->heard_of_at = sender->now;
    if (class_index > 0)
        return;
    anchor_goes(sender, entry->request->session);
    if (!has_credit(lane, 0))
        wake_gated(sender);
}

/* Pages leave, or could: no ping is needed. */
static bool is_busy(const lx_sender_lane *lane)
{
    return lane->leaving != NULL;
}

/* Planes were sent and nothing tells that they, or parts of them, came. */
static void watch_peer(lynx_sender *sender, lx_sender_lane *lane, lynx_time_ns now)
{
    const uint64_t timeout = sender->identity.timeout_ns;
    char text[96];
    if (lane->sent_planes == 0 || now < lx_time_after(lane->heard_of_at, timeout))
        return;
    snprintf(text, sizeof(text), "the peer acknowledged nothing for %llu ms",
             (unsigned long long)(timeout / 1000000));
    lx_lane_close(&lane->lane, LYNX_ERR_TIMEOUT, text);
}

lynx_status lynx_sender_write(lynx_sender *sender, uint32_t lane, lynx_time_ns now,
                              lynx_bytes parts[LYNX_SESSION_PARTS_MAX], uint32_t *count)
{
    lx_sender_lane *own = used_lane(sender, lane);
    *count = 0;
    LX_REQUIRE(own, LYNX_ERR_STATE);
    sender->now = now;
    lx_lane_tick(&own->lane, now, is_busy(own));
    watch_peer(sender, own, now);
    if (!own->leaving) {
        const lynx_bytes control = lx_outbox_next(&own->lane.outbox, LX_CONTROL_BYTES_MAX);
        lx_plane_entry *entry = control.size ? NULL : choose(sender, own, now);
        if (control.size)
            parts[(*count)++] = control;
        if (entry)
            begin_chunk(sender, own, entry);
    }
    if (own->leaving && own->frame_left)
        parts[(*count)++] =
            (lynx_bytes){own->frame + sizeof(own->frame) - own->frame_left, own->frame_left};
    if (own->leaving && own->chunk_left)
        parts[(*count)++] = (lynx_bytes){own->leaving->data + own->leaving->sent +
                                             (own->chunk_bytes - own->chunk_left),
                                         own->chunk_left};
    if (*count && own->offered_at == 0)
        own->offered_at = now;
    return LYNX_OK;
}

void lynx_sender_wrote(lynx_sender *sender, uint32_t lane, lynx_time_ns now, size_t size)
{
    lx_sender_lane *own = used_lane(sender, lane);
    if (!own)
        return;
    sender->now = now;
    own->offered_at = 0;
    lx_lane_sent(&own->lane, now, size);
    lx_flow_sent(&own->flow, now, size);
    if (!own->leaving) {
        lx_outbox_left(&own->lane.outbox, size);
        return;
    }
    const uint32_t of_frame = size < own->frame_left ? (uint32_t)size : own->frame_left;
    own->frame_left -= of_frame;
    own->chunk_left -= (uint32_t)(size - of_frame);
    if (own->frame_left == 0 && own->chunk_left == 0)
        end_chunk(sender, own);
}

lynx_lane_state lynx_sender_lane_state(const lynx_sender *sender, uint32_t lane)
{
    return lane < sender->options.connections_max ? lx_lane_state(&sender->lanes[lane].lane)
                                                  : LYNX_LANE_GONE;
}

lynx_time_ns lynx_sender_deadline(const lynx_sender *sender, uint32_t lane)
{
    if (lane >= sender->options.connections_max || !sender->lanes[lane].lane.is_used)
        return LYNX_TIME_NEVER;
    const lx_sender_lane *own = &sender->lanes[lane];
    lynx_time_ns next = lx_lane_deadline(&own->lane, is_busy(own));
    if (own->lane.phase == LX_PHASE_CLOSED)
        return next;
    if (own->sent_planes)
        next = earlier(next, lx_time_after(own->heard_of_at, sender->identity.timeout_ns));
    if (own->is_gated)
        next = earlier(next, own->look_at);
    return next;
}

uint64_t lynx_sender_residual_age(const lynx_sender *sender, lynx_time_ns now)
{
    uint64_t age = 0;
    for (uint32_t i = 0; i < sender->options.sessions_max; i++)
        for (uint32_t c = 1; c < LX_CLASSES && sender->sessions[i].is_used; c++) {
            const lx_plane_entry *entry =
                (const lx_plane_entry *)(const void *)sender->sessions[i].queue.heads[c];
            if (entry && now > entry->queued_at && now - entry->queued_at > age)
                age = now - entry->queued_at;
        }
    return age;
}
