/* SPDX-License-Identifier: MIT */
/* receiver_pages.c - planes that come, what is said of them, and credit for more; see
 * receiver.h. */
#include "session/receiver.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"

/* A plane that arrives broken more often fails its request. */
enum { BROKEN_MAX = 3 };

/* Its memory is free again, and so is the lane's credit for it. */
void lx_plane_free(lynx_receiver *receiver, lx_plane_slot *plane, uint32_t class_index)
{
    if (!plane->data)
        return;
    lx_receiver_lane *lane = &receiver->lanes[plane->lane];
    if (lane->lent == plane->data) {
        lane->stray = plane->data;
        lane->stray_bytes = plane->size;
        lane->lent = NULL;
    } else {
        lx_spares_give(&receiver->spares, plane->data, plane->size);
    }
    plane->data = NULL;
    lane->in_memory[lx_credit_of(class_index)] -= plane->size;
    if (lane->owed_since == 0)
        lane->owed_since = receiver->now;
    lane->must_wake = true;
}

void lx_page_take_back(lynx_receiver *receiver, lx_receiver_lane *lane)
{
    if (lane->stray)
        lx_spares_give(&receiver->spares, lane->stray, lane->stray_bytes);
    lane->stray = NULL;
    lane->lent = NULL;
}

/* What came of it is worth nothing. */
void lx_plane_forget(lynx_receiver *receiver, lx_plane_slot *plane, uint32_t class_index)
{
    lx_plane_free(receiver, plane, class_index);
    *plane = (lx_plane_slot){.broken_count = plane->broken_count, .was_forgotten = true};
}

void lx_page_drop(lx_receiver_lane *lane)
{
    lane->page_request = NULL;
    lane->page_slot = NULL;
    lane->lane.page_target = NULL;
}

static bool carries(const lx_receiver_lane *lane, const lx_plane_slot *plane)
{
    return plane->has_begun && plane->lane == lane->lane.index;
}

/* A plane begins anew on another lane. What its old lane still brings has no place any more. */
static void take_over(lynx_receiver *receiver, lx_plane_slot *plane, uint32_t class_index)
{
    lx_receiver_lane *old = &receiver->lanes[plane->lane];
    if (old->page_slot == plane)
        old->lane.page_target = NULL;
    lx_plane_forget(receiver, plane, class_index);
}

lynx_status lx_acks_flush(lx_receiver_lane *lane)
{
    uint8_t payload[LX_ACK_BATCH * LX_ACK_ENTRY_BYTES];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    for (uint32_t i = 0; i < lane->ack_count; i++)
        lx_ack_encode_entry(&writer, &lane->acks[i]);
    if (lane->ack_count == 0)
        return LYNX_OK;
    LX_TRY(
        lx_lane_send(&lane->lane, LX_MESSAGE_ACK, lane->ack_request, payload, writer.offset));
    lane->ack_count = 0;
    return LYNX_OK;
}

static lynx_status acknowledge(lx_receiver_lane *lane, lynx_time_ns now, uint64_t id,
                               const lx_page_message *page)
{
    if (lane->ack_count && lane->ack_request != id)
        LX_TRY(lx_acks_flush(lane));
    if (lane->owed_since == 0)
        lane->owed_since = now;
    lane->ack_request = id;
    lane->acks[lane->ack_count++] = (lx_ack_entry){page->page, page->plane};
    return lane->ack_count == LX_ACK_BATCH ? lx_acks_flush(lane) : LYNX_OK;
}

/* Plane bytes that may be begun on a lane in all. */
static uint64_t limit_of(const lynx_receiver *receiver, const lx_receiver_lane *lane,
                         uint32_t credit)
{
    const uint64_t share = receiver->options.pool_bytes[credit] / receiver->options.lanes;
    const uint64_t used = lane->in_memory[credit];
    const uint64_t limit = lane->begun[credit] + (used < share ? share - used : 0);
    return limit > lane->granted[credit] ? limit : lane->granted[credit];
}

/* Say what came and what may come. */
lynx_status lx_receiver_report(lynx_receiver *receiver, lx_receiver_lane *lane)
{
    uint8_t payload[LX_FLOW_BYTES];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    const lx_flow_message flow = {
        lane->lane.bytes_received,
        {limit_of(receiver, lane, 0), limit_of(receiver, lane, 1)},
    };
    lx_flow_encode(&writer, &flow);
    LX_TRY(lx_lane_send(&lane->lane, LX_MESSAGE_FLOW, 0, payload, writer.offset));
    lane->reported = flow.received;
    lane->granted[0] = flow.limits[0];
    lane->granted[1] = flow.limits[1];
    return LYNX_OK;
}

/* All that is owed leaves. */
lynx_status lx_receiver_pay(lynx_receiver *receiver, lx_receiver_lane *lane)
{
    LX_TRY(lx_acks_flush(lane));
    LX_TRY(lx_receiver_report(receiver, lane));
    lane->owed_since = 0;
    lane->has_chunk = false;
    lane->paid_at = receiver->now;
    return LYNX_OK;
}

/*
 * Most bytes that a plane may have. Plane 0 is never larger than the page as it lies in the
 * cache and a head, but for the metadata of tiny pages: 8 bytes for each channel and chunk of
 * 32 tokens are above what any profile writes. The others are bits of codes, whole bytes for
 * each channel.
 */
static uint64_t plane_limit(const lynx_receiver *receiver, const lx_receiver_request *request,
                            const lx_page_message *page)
{
    const lynx_shape *shape = &receiver->identity.shape;
    const uint64_t tokens =
        lynx_page_span_of(shape, page->page, request->request.token_count).token_count;
    const uint64_t channels = shape->layers[page->page.layer].sides[page->page.side].channels;
    if (page->plane == 0)
        return tokens * channels * lynx_element_bytes(shape->element) + 64 +
               8 * channels * ((tokens + 31) / 32);
    return (uint64_t)lynx_codec_spec_plane_rows(&request->request.spec, page->page.side,
                                                page->plane, (uint32_t)channels) *
           ((tokens + 7) / 8);
}

static lynx_status begin_plane(lynx_receiver *receiver, lx_receiver_lane *lane,
                               lx_receiver_request *request, lx_plane_slot *plane,
                               const lx_page_message *page)
{
    const uint64_t limit = plane_limit(receiver, request, page);
    const uint32_t credit = lx_credit_of(page->plane);
    LX_REQUIRE(page->offset == 0, LYNX_ERR_PROTOCOL);
    if (page->plane_bytes > limit)
        return lx_lane_explain(&lane->lane, LYNX_ERR_PROTOCOL,
                               "a plane of %u bytes came where %llu are the most",
                               page->plane_bytes, (unsigned long long)limit);
    if (page->plane_bytes) {
        plane->data = lx_spares_take(&receiver->spares, page->plane_bytes);
        LX_REQUIRE(plane->data, LYNX_ERR_MEMORY);
    }
    plane->size = page->plane_bytes;
    plane->digest = page->plane_digest;
    plane->lane = (uint8_t)lane->lane.index;
    plane->has_begun = true;
    lane->in_memory[credit] += page->plane_bytes;
    return LYNX_OK;
}

/* Where the bytes of the chunk that comes on a lane go; nowhere when its plane is here, or when
 * the lane was lost, of which we have not heard yet, and the plane goes once more elsewhere. */
static lynx_status place_chunk(lynx_receiver *receiver, lx_receiver_lane *lane,
                               uint8_t **target)
{
    lx_plane_slot *plane = lane->page_slot;
    const lx_page_message *page = &lane->page;
    if (page->offset == 0 && !plane->is_marked && plane->has_begun && !carries(lane, plane))
        take_over(receiver, plane, page->plane);
    if (!plane->has_begun && plane->was_forgotten && page->offset > 0)
        return LYNX_OK;
    if (!plane->has_begun)
        LX_TRY(begin_plane(receiver, lane, lane->page_request, plane, page));
    LX_REQUIRE(plane->size == page->plane_bytes && plane->digest == page->plane_digest,
               LYNX_ERR_PROTOCOL);
    if (plane->is_marked || !carries(lane, plane))
        return LYNX_OK;
    LX_REQUIRE(plane->fill == page->offset, LYNX_ERR_PROTOCOL);
    *target = plane->data ? plane->data + plane->fill : NULL;
    return LYNX_OK;
}

/* Each plane that begins on a lane costs its credit, wanted or not. */
static lynx_status take_credit(lx_receiver_lane *lane, const lx_page_message *page)
{
    const uint32_t credit = lx_credit_of(page->plane);
    if (page->offset > 0)
        return LYNX_OK;
    if (lane->begun[credit] >= lane->granted[credit])
        return lx_lane_explain(&lane->lane, LYNX_ERR_PROTOCOL,
                               "a plane came beyond the credit of %llu bytes",
                               (unsigned long long)lane->granted[credit]);
    lane->begun[credit] += page->plane_bytes;
    return LYNX_OK;
}

lynx_status lx_receiver_on_page(void *owner, lx_lane *base, uint64_t request_id,
                                const lx_page_message *page, uint32_t chunk_bytes,
                                uint8_t **target)
{
    lynx_receiver *receiver = owner;
    lx_receiver_lane *lane = lx_receiver_lane_of(base);
    lx_page_drop(lane);
    LX_REQUIRE(request_id >= 1 && request_id <= receiver->last_id, LYNX_ERR_PROTOCOL);
    LX_TRY(take_credit(lane, page));
    lx_receiver_request *request = lx_receiver_find(receiver, request_id);
    if (!request)
        return LYNX_OK; /* ended meanwhile */
    LX_REQUIRE(lx_receiver_wants_pages(request), LYNX_ERR_PROTOCOL);
    /* On lane 0 ACCEPT comes first; pages of the other lanes may overtake it. */
    LX_REQUIRE(request->phase != LX_WANT_ASKED || !base->is_control, LYNX_ERR_PROTOCOL);
    LX_TRY(lx_receiver_accepted(receiver, request));
    const size_t slot = lx_page_map_slot(request->map, page->page);
    LX_REQUIRE(slot != SIZE_MAX && page->plane < request->plane_count &&
                   slot >= lx_page_map_slots_before(request->map, request->left_out),
               LYNX_ERR_PROTOCOL);
    lx_plane_slot *plane = &request->planes[slot * request->plane_count + page->plane];
    if (request->phase == LX_WANT_OVER && !plane->is_marked)
        return LYNX_OK; /* refused meanwhile */
    lane->page_request = request;
    lane->page_slot = plane;
    lane->page = *page;
    lane->page_chunk = chunk_bytes;
    return place_chunk(receiver, lane, target);
}

static lynx_status ask_again(lx_receiver_lane *lane, uint64_t id)
{
    uint8_t payload[LX_ACK_ENTRY_BYTES];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_ack_encode_entry(&writer, &(lx_ack_entry){lane->page.page, lane->page.plane});
    return lx_lane_send(&lane->lane, LX_MESSAGE_AGAIN, id, payload, writer.offset);
}

/* The bytes are not those that were sent: ask for them once more, but not for ever. */
static lynx_status on_broken_plane(lynx_receiver *receiver, lx_receiver_lane *lane,
                                   lx_receiver_request *request, lx_plane_slot *plane)
{
    const lx_page_message *page = &lane->page;
    receiver->identity.counters.corrupt_planes++;
    plane->broken_count++;
    if (plane->broken_count > BROKEN_MAX) {
        char text[160];
        snprintf(text, sizeof(text),
                 "plane %u of page %u, layer %u, %s, does not match its checksum, %u times",
                 page->plane, page->page.page, page->page.layer,
                 page->page.side == LYNX_SIDE_KEYS ? "keys" : "values", plane->broken_count);
        lx_receiver_end_request(receiver, request, LYNX_EVENT_REFUSE, LYNX_ERR_CORRUPT, text);
    }
    lx_plane_forget(receiver, plane, page->plane);
    return request->phase == LX_WANT_OVER ? LYNX_OK : ask_again(lane, request->id);
}

lynx_status lx_receiver_on_page_end(void *owner, lx_lane *base, lynx_time_ns now)
{
    lynx_receiver *receiver = owner;
    lx_receiver_lane *lane = lx_receiver_lane_of(base);
    lx_receiver_request *request = lane->page_request;
    lx_plane_slot *plane = lane->page_slot;
    const lx_page_message *page = &lane->page;
    receiver->now = now;
    lane->has_chunk = true;
    if (!plane)
        return LYNX_OK;
    const bool is_last = page->offset + lane->page_chunk == page->plane_bytes;
    lane->page_request = NULL;
    lane->page_slot = NULL;
    if (plane->is_marked) /* once more */
        return is_last ? acknowledge(lane, now, request->id, page) : LYNX_OK;
    if (!carries(lane, plane)) /* what another lane brought late took its place */
        return is_last ? ask_again(lane, request->id) : LYNX_OK;
    plane->fill += lane->page_chunk;
    if (!is_last)
        return LYNX_OK;
    if (lx_digest64(plane->data, plane->size) != plane->digest)
        return on_broken_plane(receiver, lane, request, plane);
    const lynx_event event = {.type = LYNX_EVENT_PLANE,
                              .request_id = request->id,
                              .page = page->page,
                              .plane = page->plane,
                              .time = now};
    LX_TRY(lx_receiver_push_event(receiver, request, &event));
    lynx_page_map_mark(request->map, page->page, page->plane);
    plane->is_marked = true;
    request->marked++;
    lx_receiver_check_complete(receiver, request);
    return acknowledge(lane, now, request->id, page);
}
