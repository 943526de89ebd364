/* SPDX-License-Identifier: MIT */
/*
 * receiver.c - the decode node's end of a session.
 *
 * A request:
 *
 *     FREE --request--> ASKED --ACCEPT--> ACTIVE --FINISH--> OVER --cancel--> FREE
 *                         |                  |                ^
 *                         +---- REFUSE ------+----------------+
 *                         +---- cancel ------+-----------------------------> FREE
 *
 * What has arrived stays readable until the owner cancels (which also frees a request that is
 * over) or destroys the receiver. Pages that still come for a cancelled request are read and
 * dropped.
 *
 * A plane: nothing -> coming (a buffer, chunks in order) -> checked and marked -> released.
 */
#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"
#include "kv/page_map.h"
#include "session/channel.h"

enum { ACK_DELAY_NS = 2000000, ACK_BATCH = 16 };

typedef enum phase { FREE, ASKED, ACTIVE, OVER } phase;

typedef struct plane_slot {
    uint8_t *data;
    uint32_t size; /* of the whole plane */
    uint32_t fill; /* bytes that came */
    uint64_t digest;
    bool has_begun;
    bool is_released;
} plane_slot;

typedef struct receiver_request {
    phase phase;
    uint64_t id;
    uint32_t token_count;
    uint32_t flags, answer_tokens;
    uint32_t next_token; /* index of the answer's token that comes next */
    bool is_ready;       /* READY came */
    bool is_started;     /* START was sent */
    lynx_codec_spec spec;
    uint32_t plane_count;
    lynx_page_map *map;
    plane_slot *planes; /* [slot][plane] */
    size_t plane_slots;
} receiver_request;

struct lynx_receiver {
    lx_channel channel;
    receiver_request requests[LYNX_REQUESTS_MAX];
    uint64_t last_id;

    /* The page that is coming; NULL when its data is dropped. */
    receiver_request *page_request;
    plane_slot *page_slot;
    lx_page_message page;
    uint32_t page_chunk;

    /* Acknowledgements of one request that wait to leave. */
    uint64_t ack_request;
    lx_ack_entry acks[ACK_BATCH];
    uint32_t ack_count;
    lynx_time_ns ack_since;
};

/* Slot of a request; LYNX_REQUESTS_MAX when there is none. */
static uint32_t index_of(const lynx_receiver *receiver, uint64_t id)
{
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++)
        if (receiver->requests[i].phase != FREE && receiver->requests[i].id == id)
            return i;
    return LYNX_REQUESTS_MAX;
}

static receiver_request *find(lynx_receiver *receiver, uint64_t id)
{
    const uint32_t index = index_of(receiver, id);
    return index < LYNX_REQUESTS_MAX ? &receiver->requests[index] : NULL;
}

static const receiver_request *look_up(const lynx_receiver *receiver, uint64_t id)
{
    const uint32_t index = index_of(receiver, id);
    return index < LYNX_REQUESTS_MAX ? &receiver->requests[index] : NULL;
}

static void free_plane(lynx_receiver *receiver, plane_slot *plane)
{
    lx_free(receiver->channel.memory, plane->data, plane->size, 1);
    plane->data = NULL;
}

static void drop_request(lynx_receiver *receiver, receiver_request *request)
{
    const lynx_allocator *memory = receiver->channel.memory;
    if (receiver->page_request == request) {
        receiver->page_request = NULL;
        receiver->page_slot = NULL;
        receiver->channel.page_target = NULL;
    }
    for (size_t i = 0; request->planes && i < request->plane_slots; i++)
        free_plane(receiver, &request->planes[i]);
    lx_free(memory, request->planes, request->plane_slots, sizeof(*request->planes));
    lynx_page_map_destroy(request->map);
    *request = (receiver_request){.phase = FREE};
}

/* ---- acknowledgements ---------------------------------------------------------------- */

static lynx_status flush_acks(lynx_receiver *receiver)
{
    uint8_t payload[ACK_BATCH * LX_ACK_ENTRY_BYTES];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    for (uint32_t i = 0; i < receiver->ack_count; i++)
        lx_ack_encode_entry(&writer, &receiver->acks[i]);
    if (receiver->ack_count == 0)
        return LYNX_OK;
    LX_TRY(lx_channel_send(&receiver->channel, LX_MESSAGE_ACK, receiver->ack_request, payload,
                           writer.offset));
    receiver->ack_count = 0;
    return LYNX_OK;
}

static lynx_status acknowledge(lynx_receiver *receiver, lynx_time_ns now, uint64_t id,
                               const lx_page_message *page)
{
    if (receiver->ack_count && receiver->ack_request != id)
        LX_TRY(flush_acks(receiver));
    if (receiver->ack_count == 0)
        receiver->ack_since = now;
    receiver->ack_request = id;
    receiver->acks[receiver->ack_count++] = (lx_ack_entry){page->page, page->plane};
    return receiver->ack_count == ACK_BATCH ? flush_acks(receiver) : LYNX_OK;
}

/* ---- pages --------------------------------------------------------------------------- */

/*
 * Most bytes that a plane may have. Plane 0 is never larger than the page as it lies in the
 * cache and a head, but for the metadata of tiny pages: 8 bytes for each channel and chunk of
 * 32 tokens are above what any profile writes. The others are bits of codes, whole bytes for
 * each channel.
 */
static uint64_t plane_limit(const lynx_receiver *receiver, const receiver_request *request,
                            const lx_page_message *page)
{
    const lynx_shape *shape = &receiver->channel.shape;
    const uint64_t tokens =
        lynx_page_span_of(shape, page->page, request->token_count).token_count;
    const uint64_t channels = shape->layers[page->page.layer].sides[page->page.side].channels;
    if (page->plane == 0)
        return tokens * channels * lynx_element_bytes(shape->element) + 64 +
               8 * channels * ((tokens + 31) / 32);
    const uint64_t bits = request->spec.plane_bits[page->page.side][page->plane];
    return bits * channels * ((tokens + 7) / 8);
}

static lynx_status begin_plane(lynx_receiver *receiver, receiver_request *request,
                               plane_slot *plane, const lx_page_message *page)
{
    const uint64_t limit = plane_limit(receiver, request, page);
    LX_REQUIRE(page->offset == 0, LYNX_ERR_PROTOCOL);
    if (page->plane_bytes > limit)
        return lx_channel_explain(&receiver->channel, LYNX_ERR_PROTOCOL,
                                  "a plane of %u bytes came where %llu are the most",
                                  page->plane_bytes, (unsigned long long)limit);
    if (page->plane_bytes) {
        plane->data = lx_alloc(receiver->channel.memory, page->plane_bytes, 1);
        LX_REQUIRE(plane->data, LYNX_ERR_MEMORY);
    }
    plane->size = page->plane_bytes;
    plane->digest = page->plane_digest;
    plane->has_begun = true;
    return LYNX_OK;
}

static lynx_status on_page(void *owner, uint64_t request_id, const lx_page_message *page,
                           uint32_t chunk_bytes, uint8_t **target)
{
    lynx_receiver *receiver = owner;
    receiver->page_slot = NULL;
    receiver->page_request = NULL;
    LX_REQUIRE(request_id >= 1 && request_id <= receiver->last_id, LYNX_ERR_PROTOCOL);
    receiver_request *request = find(receiver, request_id);
    if (!request)
        return LYNX_OK; /* cancelled meanwhile */
    LX_REQUIRE(request->phase == ACTIVE && !(request->flags & LYNX_REQUEST_NO_PAGES),
               LYNX_ERR_PROTOCOL);
    const size_t slot = lx_page_map_slot(request->map, page->page);
    LX_REQUIRE(slot != SIZE_MAX && page->plane < request->plane_count, LYNX_ERR_PROTOCOL);
    plane_slot *plane = &request->planes[slot * request->plane_count + page->plane];
    if (!plane->has_begun)
        LX_TRY(begin_plane(receiver, request, plane, page));
    LX_REQUIRE(plane->size == page->plane_bytes && plane->digest == page->plane_digest,
               LYNX_ERR_PROTOCOL);
    if (lynx_page_map_has(request->map, page->page, page->plane))
        return LYNX_OK; /* the same plane once more: it is here already */
    LX_REQUIRE(plane->fill == page->offset, LYNX_ERR_PROTOCOL);
    receiver->page_request = request;
    receiver->page_slot = plane;
    receiver->page = *page;
    receiver->page_chunk = chunk_bytes;
    *target = plane->data ? plane->data + plane->fill : NULL;
    return LYNX_OK;
}

static lynx_status on_page_end(void *owner, lynx_time_ns now)
{
    lynx_receiver *receiver = owner;
    receiver_request *request = receiver->page_request;
    plane_slot *plane = receiver->page_slot;
    if (!plane)
        return LYNX_OK;
    receiver->page_request = NULL;
    receiver->page_slot = NULL;
    plane->fill += receiver->page_chunk;
    if (plane->fill < plane->size)
        return LYNX_OK;
    const lx_page_message *page = &receiver->page;
    if (lx_digest64(plane->data, plane->size) != plane->digest)
        return lx_channel_explain(&receiver->channel, LYNX_ERR_CORRUPT,
                                  "plane %u of page %u, layer %u, %s, does not match its "
                                  "checksum",
                                  page->plane, page->page.page, page->page.layer,
                                  page->page.side == LYNX_SIDE_KEYS ? "keys" : "values");
    lynx_page_map_mark(request->map, page->page, page->plane);
    LX_TRY(acknowledge(receiver, now, request->id, page));
    const lynx_event event = {.type = LYNX_EVENT_PLANE,
                              .request_id = request->id,
                              .page = page->page,
                              .plane = page->plane,
                              .time = now};
    return lx_channel_event(&receiver->channel, &event, NULL);
}

/* ---- messages that come -------------------------------------------------------------- */

static lynx_status on_refuse(lynx_receiver *receiver, receiver_request *request,
                             lynx_event *event, lynx_bytes payload)
{
    lx_reason reason;
    char text[LX_TEXT_BYTES_MAX + 1];
    LX_TRY(lx_reason_decode(payload, &reason));
    LX_REQUIRE(reason.status < 0 &&
                   lynx_status_scope((lynx_status)reason.status) != LYNX_SCOPE_PROCESS,
               LYNX_ERR_PROTOCOL);
    lx_channel_copy_text(text, reason.text);
    request->phase = OVER;
    event->type = LYNX_EVENT_REFUSE;
    event->status = (lynx_status)reason.status;
    return lx_channel_event(&receiver->channel, event, text);
}

static lynx_status on_active_message(lynx_receiver *receiver, receiver_request *request,
                                     uint8_t type, lynx_event *event, lynx_bytes payload)
{
    lx_token_message token;
    LX_REQUIRE(request->phase == ACTIVE, LYNX_ERR_PROTOCOL);
    switch (type) {
    case LX_MESSAGE_PROGRESS:
        LX_TRY(lx_progress_decode(payload, &event->count));
        LX_REQUIRE(event->count <= request->token_count, LYNX_ERR_PROTOCOL);
        event->type = LYNX_EVENT_PROGRESS;
        break;
    case LX_MESSAGE_TOKEN:
        LX_TRY(lx_token_decode(payload, &token));
        LX_REQUIRE(token.index == request->next_token && token.index < request->answer_tokens,
                   LYNX_ERR_PROTOCOL);
        request->next_token++;
        event->type = LYNX_EVENT_TOKEN;
        event->count = token.index;
        event->token = token.token;
        break;
    case LX_MESSAGE_READY:
        LX_REQUIRE((request->flags & LYNX_REQUEST_HOLD) && !request->is_ready,
                   LYNX_ERR_PROTOCOL);
        request->is_ready = true;
        event->type = LYNX_EVENT_READY;
        break;
    case LX_MESSAGE_FINISH:
        LX_REQUIRE((request->flags & LYNX_REQUEST_NO_PAGES) ||
                       lynx_page_map_is_complete(request->map, request->plane_count - 1),
                   LYNX_ERR_PROTOCOL);
        request->phase = OVER;
        event->type = LYNX_EVENT_FINISH;
        break;
    default:
        return LYNX_ERR_PROTOCOL;
    }
    return lx_channel_event(&receiver->channel, event, NULL);
}

static lynx_status on_message(void *owner, lynx_time_ns now, const lx_frame *frame,
                              lynx_bytes payload)
{
    lynx_receiver *receiver = owner;
    lynx_event event = {.request_id = frame->request_id, .time = now};
    LX_REQUIRE(frame->request_id >= 1 && frame->request_id <= receiver->last_id,
               LYNX_ERR_PROTOCOL);
    receiver_request *request = find(receiver, frame->request_id);
    if (!request)
        return LYNX_OK; /* cancelled meanwhile */
    if (frame->type == LX_MESSAGE_ACCEPT) {
        LX_REQUIRE(request->phase == ASKED, LYNX_ERR_PROTOCOL);
        request->phase = ACTIVE;
        event.type = LYNX_EVENT_ACCEPT;
        return lx_channel_event(&receiver->channel, &event, NULL);
    }
    if (frame->type == LX_MESSAGE_REFUSE) {
        LX_REQUIRE(request->phase != OVER, LYNX_ERR_PROTOCOL);
        return on_refuse(receiver, request, &event, payload);
    }
    return on_active_message(receiver, request, frame->type, &event, payload);
}

static const lx_channel_ops channel_ops = {on_message, on_page, on_page_end};

/* ---- life ---------------------------------------------------------------------------- */

lynx_status lynx_receiver_create(lynx_receiver **receiver, const lynx_session_options *options,
                                 lynx_time_ns now)
{
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    lynx_receiver *r = lx_alloc_zeroed(memory, 1, sizeof(*r));
    LX_REQUIRE(r, LYNX_ERR_MEMORY);
    r->channel.memory = memory;
    const lynx_status status =
        lx_channel_init(&r->channel, options, LX_ROLE_RECEIVER, &channel_ops, r, now);
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
    const lynx_allocator *memory = receiver->channel.memory;
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++)
        if (receiver->requests[i].phase != FREE)
            drop_request(receiver, &receiver->requests[i]);
    lx_channel_fini(&receiver->channel);
    lx_free(memory, receiver, 1, sizeof(*receiver));
}

lynx_status lynx_receiver_read(lynx_receiver *receiver, lynx_time_ns now, const uint8_t *data,
                               size_t size)
{
    return lx_channel_read(&receiver->channel, now, data, size);
}

/* When the acknowledgements leave even if they are few; never when there are none. */
static lynx_time_ns ack_deadline(const lynx_receiver *receiver)
{
    if (receiver->ack_count == 0 || receiver->channel.phase == LX_PHASE_CLOSED)
        return LYNX_TIME_NEVER;
    return receiver->ack_since + ACK_DELAY_NS;
}

lynx_status lynx_receiver_write(lynx_receiver *receiver, lynx_time_ns now,
                                lynx_bytes parts[LYNX_SESSION_PARTS_MAX], uint32_t *count)
{
    lx_channel *channel = &receiver->channel;
    lx_channel_tick(channel, now, false);
    lynx_status status = LYNX_OK;
    if (now >= ack_deadline(receiver))
        status = flush_acks(receiver);
    if (status != LYNX_OK)
        lx_channel_close(channel, status, lynx_status_text(status));
    parts[0] = lx_outbox_next(&channel->outbox, channel->chunk_bytes);
    *count = parts[0].size > 0;
    return status;
}

void lynx_receiver_wrote(lynx_receiver *receiver, lynx_time_ns now, size_t size)
{
    receiver->channel.counters.bytes_sent += size;
    receiver->channel.last_sent = now;
    lx_outbox_left(&receiver->channel.outbox, size);
}

lynx_time_ns lynx_receiver_deadline(const lynx_receiver *receiver)
{
    const lynx_time_ns deadline = lx_channel_deadline(&receiver->channel, false);
    const lynx_time_ns ack = ack_deadline(receiver);
    return ack < deadline ? ack : deadline;
}

bool lynx_receiver_next_event(lynx_receiver *receiver, lynx_event *event)
{
    return lx_event_queue_take(&receiver->channel.events, event);
}

void lynx_receiver_close(lynx_receiver *receiver, lynx_status status, const char *text)
{
    /* Without memory the planes stay unacknowledged, which the peer's close ends as well. */
    (void)!flush_acks(receiver);
    lx_channel_close(&receiver->channel, status, text);
}

lynx_session_counters lynx_receiver_counters(const lynx_receiver *receiver)
{
    return receiver->channel.counters;
}

/* ---- what the owner asks ------------------------------------------------------------- */

static lynx_status send_request(lynx_receiver *receiver, const lynx_request *request,
                                uint64_t id)
{
    const lynx_allocator *memory = receiver->channel.memory;
    const size_t token_bytes = (size_t)request->token_count * 4;
    const size_t room = LX_REQUEST_FIXED_BYTES + token_bytes;
    uint8_t *payload = lx_alloc(memory, room, 1);
    LX_REQUIRE(payload, LYNX_ERR_MEMORY);
    lx_writer writer = lx_writer_of(payload, room);
    const lx_request_message message = {
        .spec = request->spec,
        .sampling = request->sampling,
        .flags = request->flags,
        .answer_tokens = request->answer_tokens,
        .token_count = request->token_count,
    };
    lx_request_encode(&writer, &message);
    for (uint32_t i = 0; i < request->token_count; i++)
        lx_write_u32(&writer, (uint32_t)request->tokens[i]);
    const lynx_status status =
        lx_channel_send(&receiver->channel, LX_MESSAGE_REQUEST, id, payload, writer.offset);
    lx_free(memory, payload, room, 1);
    return status;
}

static lynx_status request_init(lynx_receiver *receiver, receiver_request *slot,
                                const lynx_request *request, uint64_t id)
{
    slot->phase = ASKED;
    slot->id = id;
    slot->token_count = request->token_count;
    slot->flags = request->flags;
    slot->answer_tokens = request->answer_tokens;
    slot->spec = request->spec;
    slot->plane_count = lynx_codec_spec_plane_count(&request->spec);
    LX_TRY(lynx_page_map_create(&slot->map, &receiver->channel.shape, request->token_count,
                                slot->plane_count, receiver->channel.memory));
    slot->plane_slots = lx_page_map_slots(slot->map) * slot->plane_count;
    slot->planes =
        lx_alloc_zeroed(receiver->channel.memory, slot->plane_slots, sizeof(*slot->planes));
    LX_REQUIRE(slot->planes, LYNX_ERR_MEMORY);
    return send_request(receiver, request, id);
}

lynx_status lynx_receiver_request(lynx_receiver *receiver, const lynx_request *request,
                                  uint64_t *request_id)
{
    LX_REQUIRE(receiver->channel.phase != LX_PHASE_CLOSED, LYNX_ERR_CLOSED);
    LX_REQUIRE(request->token_count >= 1 && request->token_count <= LYNX_PROMPT_TOKENS_MAX &&
                   request->tokens && request->answer_tokens >= 1 &&
                   (request->flags & ~(uint32_t)LX_REQUEST_FLAGS_KNOWN) == 0,
               LYNX_ERR_ARGUMENT);
    LX_TRY(lynx_codec_spec_check(&request->spec));
    LX_TRY(lynx_sampling_check(&request->sampling));
    receiver_request *slot = NULL;
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX && !slot; i++)
        if (receiver->requests[i].phase == FREE)
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

lynx_status lynx_receiver_start(lynx_receiver *receiver, uint64_t request_id)
{
    receiver_request *request = find(receiver, request_id);
    LX_REQUIRE(request && !request->is_started && request->phase != OVER &&
                   (request->flags & LYNX_REQUEST_HOLD),
               LYNX_ERR_STATE);
    LX_TRY(lx_channel_send(&receiver->channel, LX_MESSAGE_START, request_id, NULL, 0));
    request->is_started = true;
    return LYNX_OK;
}

lynx_status lynx_receiver_cancel(lynx_receiver *receiver, uint64_t request_id)
{
    receiver_request *request = find(receiver, request_id);
    LX_REQUIRE(request, LYNX_ERR_STATE);
    if (receiver->channel.phase != LX_PHASE_CLOSED) {
        /* The planes of a request that is over still wait for these at the sender. */
        LX_TRY(flush_acks(receiver));
        if (request->phase != OVER)
            LX_TRY(lx_channel_send(&receiver->channel, LX_MESSAGE_CANCEL, request_id, NULL, 0));
    }
    drop_request(receiver, request);
    return LYNX_OK;
}

const lynx_page_map *lynx_receiver_map(const lynx_receiver *receiver, uint64_t request_id)
{
    const receiver_request *request = look_up(receiver, request_id);
    return request ? request->map : NULL;
}

lynx_status lynx_receiver_planes(const lynx_receiver *receiver, uint64_t request_id,
                                 lynx_page_id page, lynx_bytes planes[LYNX_PLANES_MAX],
                                 uint32_t *count)
{
    const receiver_request *request = look_up(receiver, request_id);
    LX_REQUIRE(request, LYNX_ERR_STATE);
    const size_t slot = lx_page_map_slot(request->map, page);
    LX_REQUIRE(slot != SIZE_MAX, LYNX_ERR_STATE);
    uint32_t here = 0;
    while (here < request->plane_count && lynx_page_map_has(request->map, page, here)) {
        const plane_slot *plane = &request->planes[slot * request->plane_count + here];
        LX_REQUIRE(!plane->is_released, LYNX_ERR_STATE);
        planes[here++] = (lynx_bytes){plane->data, plane->size};
    }
    LX_REQUIRE(here > 0, LYNX_ERR_STATE);
    *count = here;
    return LYNX_OK;
}

void lynx_receiver_release_page(lynx_receiver *receiver, uint64_t request_id, lynx_page_id page)
{
    receiver_request *request = find(receiver, request_id);
    const size_t slot = request ? lx_page_map_slot(request->map, page) : SIZE_MAX;
    if (slot == SIZE_MAX)
        return;
    for (uint32_t i = 0; i < request->plane_count; i++) {
        plane_slot *plane = &request->planes[slot * request->plane_count + i];
        if (!lynx_page_map_has(request->map, page, i))
            continue;
        free_plane(receiver, plane);
        plane->is_released = true;
    }
}
