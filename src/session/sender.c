/* SPDX-License-Identifier: MIT */
/*
 * sender.c - the prefill node's end of a session.
 *
 * A request:
 *
 *     FREE --REQUEST--> ASKED --accept--> ACTIVE --finish, last plane left--> SENT
 *      ^                  |                  |                                  |
 *      +---- refuse ------+------------------+----------------------------------+
 *      |                  |                  |                                  |
 *      |                CANCEL            CANCEL                   CANCEL, all acknowledged
 *      |                  v                  v                                  v
 *      +-- next call -- ENDED (planes are gone; the tokens stay until the event is taken)
 *
 * A plane: queued by class -> begun (chunks leave, others may go between) -> sent ->
 * acknowledged. The frame of a chunk that has begun is finished whatever happens; a plane that
 * is dropped in that moment is released when its frame has left.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"
#include "kv/page_map.h"
#include "sched/plane_queue.h"
#include "session/channel.h"

typedef enum phase { FREE, ASKED, ACTIVE, SENT, ENDED } phase;

typedef struct sender_request sender_request;

typedef struct plane_entry {
    lx_queued queued;        /* first: an entry of the queue is a plane */
    sender_request *request; /* NULL: dropped while its frame leaves */
    size_t index;            /* in the request's table */
    lx_page_message header;
    uint8_t *data;
    size_t size;
    uint32_t sent; /* bytes of it in frames that left */
    bool is_sent;
    lynx_plane_release *release;
    void *user;
} plane_entry;

struct sender_request {
    phase phase;
    bool is_started;   /* START came */
    bool is_finishing; /* finish() was called */
    uint64_t id;
    lynx_request request;
    lynx_token *tokens;
    uint32_t plane_count;
    lynx_page_map *added;  /* planes that were queued */
    plane_entry **entries; /* [slot][plane]; NULL: not added, or acknowledged */
    size_t entry_count;
    size_t unsent, unacknowledged; /* planes */
};

struct lynx_sender {
    lx_channel channel;
    sender_request requests[LYNX_REQUESTS_MAX];
    uint64_t last_id;
    lx_plane_queue queue;

    uint64_t taken_id; /* of the request whose last event was taken; 0: none */

    /* The chunk whose frame is leaving; while NULL, control messages leave. */
    plane_entry *leaving;
    uint32_t chunk_bytes;
    uint8_t frame[LX_FRAME_BYTES + LX_PAGE_FIXED_BYTES];
    uint32_t frame_left; /* bytes of 'frame', which leave first */
    uint32_t chunk_left;
};

static sender_request *find(lynx_sender *sender, uint64_t id)
{
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++)
        if (sender->requests[i].phase != FREE && sender->requests[i].phase != ENDED &&
            sender->requests[i].id == id)
            return &sender->requests[i];
    return NULL;
}

static void release_entry(lynx_sender *sender, plane_entry *entry)
{
    sender->channel.counters.queued_bytes -= entry->size;
    entry->release(entry->user, entry->data, entry->size);
    lx_free(sender->channel.memory, entry, 1, sizeof(*entry));
}

/* Release every plane of a request, that in the leaving frame excepted. */
static void drop_planes(lynx_sender *sender, sender_request *request)
{
    for (size_t i = 0; i < request->entry_count; i++) {
        plane_entry *entry = request->entries ? request->entries[i] : NULL;
        if (!entry)
            continue;
        if (!entry->is_sent)
            lx_plane_queue_remove(&sender->queue, &entry->queued);
        entry->request = NULL;
        if (entry != sender->leaving)
            release_entry(sender, entry);
    }
    lx_free(sender->channel.memory, request->entries, request->entry_count,
            sizeof(*request->entries));
    lynx_page_map_destroy(request->added);
    request->entries = NULL;
    request->added = NULL;
    request->entry_count = 0;
}

static void free_request(lynx_sender *sender, sender_request *request)
{
    drop_planes(sender, request);
    lx_free(sender->channel.memory, request->tokens, request->request.token_count,
            sizeof(*request->tokens));
    *request = (sender_request){.phase = FREE};
}

/* End a request by an event. The owner may be looking at its tokens in this moment, or has
 * still to take its REQUEST: they live until the event has been taken. */
static lynx_status end_request(lynx_sender *sender, sender_request *request,
                               lynx_event_type type, lynx_time_ns now)
{
    const lynx_event event = {.type = type, .request_id = request->id, .time = now};
    LX_TRY(lx_channel_event(&sender->channel, &event, NULL));
    drop_planes(sender, request);
    request->phase = ENDED;
    return LYNX_OK;
}

/* ---- messages that come -------------------------------------------------------------- */

static lynx_status request_init(lynx_sender *sender, sender_request *slot, uint64_t id,
                                const lx_request_message *message)
{
    const lynx_allocator *memory = sender->channel.memory;
    slot->phase = ASKED;
    slot->id = id;
    slot->request = (lynx_request){
        .spec = message->spec,
        .sampling = message->sampling,
        .flags = message->flags,
        .answer_tokens = message->answer_tokens,
        .token_count = message->token_count,
    };
    slot->tokens = lx_alloc(memory, message->token_count, sizeof(*slot->tokens));
    LX_REQUIRE(slot->tokens, LYNX_ERR_MEMORY);
    lx_reader reader = lx_reader_of(message->tokens.data, message->tokens.size);
    for (uint32_t i = 0; i < message->token_count; i++)
        slot->tokens[i] = (lynx_token)lx_read_u32(&reader);
    slot->request.tokens = slot->tokens;
    slot->plane_count = lynx_codec_spec_plane_count(&message->spec);
    LX_TRY(lynx_page_map_create(&slot->added, &sender->channel.shape, message->token_count,
                                slot->plane_count, memory));
    slot->entry_count = lx_page_map_slots(slot->added) * slot->plane_count;
    slot->entries = lx_alloc_zeroed(memory, slot->entry_count, sizeof(*slot->entries));
    LX_REQUIRE(slot->entries, LYNX_ERR_MEMORY);
    return LYNX_OK;
}

/* Why a request is not even shown to the owner; LYNX_OK when nothing speaks against it. */
static lynx_status judge_request(const lynx_sender *sender, const lx_request_message *message,
                                 const sender_request *slot, char *text, size_t text_bytes)
{
    const uint32_t context = sender->channel.context_tokens;
    if (!slot) {
        snprintf(text, text_bytes, "%d requests of this session are open already",
                 (int)LYNX_REQUESTS_MAX);
        return LYNX_ERR_LIMIT;
    }
    /* Before anything is allocated in proportion to the prompt. */
    if (context && message->token_count > context) {
        snprintf(text, text_bytes,
                 "a prompt of %u tokens does not fit the prefill node's context of %u; start "
                 "it with a larger --ctx-size",
                 message->token_count, context);
        return LYNX_ERR_LIMIT;
    }
    return LYNX_OK;
}

static lynx_status on_request(lynx_sender *sender, lynx_time_ns now, uint64_t id,
                              lynx_bytes payload)
{
    lx_request_message message;
    char text[128];
    LX_TRY(lx_request_decode(payload, &message));
    LX_REQUIRE(id > sender->last_id, LYNX_ERR_PROTOCOL);
    LX_REQUIRE(lynx_codec_spec_check(&message.spec) == LYNX_OK &&
                   lynx_sampling_check(&message.sampling) == LYNX_OK,
               LYNX_ERR_PROTOCOL);
    sender->last_id = id;
    sender_request *slot = NULL;
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX && !slot; i++)
        if (sender->requests[i].phase == FREE)
            slot = &sender->requests[i];
    lynx_status status = judge_request(sender, &message, slot, text, sizeof(text));
    if (status != LYNX_OK)
        return lx_outbox_push_refuse(&sender->channel.outbox, id, status, text);
    status = request_init(sender, slot, id, &message);
    if (status == LYNX_OK) {
        const lynx_event event = {.type = LYNX_EVENT_REQUEST,
                                  .request_id = id,
                                  .request = &slot->request,
                                  .time = now};
        status = lx_channel_event(&sender->channel, &event, NULL);
    }
    if (status == LYNX_OK)
        return LYNX_OK;
    /* One prompt that is too large for our memory need not end the others. */
    free_request(sender, slot);
    return lx_outbox_push_refuse(&sender->channel.outbox, id, status,
                                 "the prefill node has no memory for this request");
}

/* All that FINISH and DELIVERED wait for is done: say so. */
static lynx_status check_progress(lynx_sender *sender, sender_request *request,
                                  lynx_time_ns now)
{
    if (request->phase == ACTIVE && request->is_finishing && request->unsent == 0) {
        LX_TRY(lx_channel_send(&sender->channel, LX_MESSAGE_FINISH, request->id, NULL, 0));
        request->phase = SENT;
    }
    if (request->phase == SENT && request->unacknowledged == 0)
        LX_TRY(end_request(sender, request, LYNX_EVENT_DELIVERED, now));
    return LYNX_OK;
}

static lynx_status on_ack(lynx_sender *sender, lynx_time_ns now, uint64_t id,
                          lynx_bytes payload)
{
    LX_REQUIRE(payload.size % LX_ACK_ENTRY_BYTES == 0, LYNX_ERR_PROTOCOL);
    lx_reader reader = lx_reader_of(payload.data, payload.size);
    while (lx_reader_left(&reader) > 0) {
        lx_ack_entry ack;
        LX_TRY(lx_ack_decode_entry(&reader, &ack));
        sender_request *request = find(sender, id);
        if (!request)
            continue; /* cancelled meanwhile */
        const size_t slot = lx_page_map_slot(request->added, ack.page);
        LX_REQUIRE(slot != SIZE_MAX && ack.plane < request->plane_count, LYNX_ERR_PROTOCOL);
        plane_entry **entry = &request->entries[slot * request->plane_count + ack.plane];
        if (!*entry)
            continue; /* acknowledged twice */
        LX_REQUIRE((*entry)->is_sent, LYNX_ERR_PROTOCOL);
        release_entry(sender, *entry);
        *entry = NULL;
        request->unacknowledged--;
        LX_TRY(check_progress(sender, request, now));
    }
    return LYNX_OK;
}

static lynx_status on_start(lynx_sender *sender, lynx_time_ns now, sender_request *request)
{
    const lynx_event event = {.type = LYNX_EVENT_START, .request_id = request->id, .time = now};
    LX_REQUIRE((request->request.flags & LYNX_REQUEST_HOLD) && !request->is_started,
               LYNX_ERR_PROTOCOL);
    request->is_started = true;
    return lx_channel_event(&sender->channel, &event, NULL);
}

static lynx_status on_message(void *owner, lynx_time_ns now, const lx_frame *frame,
                              lynx_bytes payload)
{
    lynx_sender *sender = owner;
    const uint64_t id = frame->request_id;
    if (frame->type == LX_MESSAGE_REQUEST)
        return on_request(sender, now, id, payload);
    LX_REQUIRE(id >= 1 && id <= sender->last_id, LYNX_ERR_PROTOCOL);
    if (frame->type == LX_MESSAGE_ACK)
        return on_ack(sender, now, id, payload);
    sender_request *request = find(sender, id);
    if (!request)
        return LYNX_OK; /* it ended while the message travelled */
    if (frame->type == LX_MESSAGE_START)
        return on_start(sender, now, request);
    LX_REQUIRE(frame->type == LX_MESSAGE_CANCEL, LYNX_ERR_PROTOCOL);
    return end_request(sender, request, LYNX_EVENT_CANCEL, now);
}

/* The channel takes no PAGE for a sender: these two are there to close the table. */
static lynx_status on_page(void *owner, uint64_t request_id, const lx_page_message *page,
                           uint32_t chunk_bytes, uint8_t **target)
{
    (void)owner;
    (void)request_id;
    (void)page;
    (void)chunk_bytes;
    (void)target;
    return LYNX_ERR_PROTOCOL;
}

static lynx_status on_page_end(void *owner, lynx_time_ns now)
{
    (void)owner;
    (void)now;
    return LYNX_ERR_PROTOCOL;
}

static const lx_channel_ops channel_ops = {on_message, on_page, on_page_end};

/* ---- life ---------------------------------------------------------------------------- */

lynx_status lynx_sender_create(lynx_sender **sender, const lynx_session_options *options,
                               lynx_time_ns now)
{
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    lynx_sender *s = lx_alloc_zeroed(memory, 1, sizeof(*s));
    LX_REQUIRE(s, LYNX_ERR_MEMORY);
    s->channel.memory = memory;
    const lynx_status status =
        lx_channel_init(&s->channel, options, LX_ROLE_SENDER, &channel_ops, s, now);
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
    const lynx_allocator *memory = sender->channel.memory;
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++)
        if (sender->requests[i].phase != FREE)
            free_request(sender, &sender->requests[i]);
    if (sender->leaving)
        release_entry(sender, sender->leaving);
    lx_channel_fini(&sender->channel);
    lx_free(memory, sender, 1, sizeof(*sender));
}

lynx_status lynx_sender_read(lynx_sender *sender, lynx_time_ns now, const uint8_t *data,
                             size_t size)
{
    return lx_channel_read(&sender->channel, now, data, size);
}

/* ---- bytes that leave ---------------------------------------------------------------- */

/* Make the frame of the next chunk of 'entry'. */
static void begin_chunk(lynx_sender *sender, plane_entry *entry)
{
    const size_t left = entry->size - entry->sent;
    const uint32_t chunk =
        left < sender->channel.chunk_bytes ? (uint32_t)left : sender->channel.chunk_bytes;
    uint8_t *fixed = sender->frame + LX_FRAME_BYTES;
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
    lx_frame_encode(&frame, sender->frame);
    sender->leaving = entry;
    sender->frame_left = sizeof(sender->frame);
    sender->chunk_bytes = chunk;
    sender->chunk_left = chunk;
}

/* Pages leave, or could: no ping is needed. */
static bool is_busy(const lynx_sender *sender)
{
    return sender->leaving ||
           (sender->channel.phase == LX_PHASE_OPEN && lx_plane_queue_first(&sender->queue));
}

lynx_status lynx_sender_write(lynx_sender *sender, lynx_time_ns now,
                              lynx_bytes parts[LYNX_SESSION_PARTS_MAX], uint32_t *count)
{
    lx_channel *channel = &sender->channel;
    lx_channel_tick(channel, now, is_busy(sender));
    *count = 0;
    if (!sender->leaving) {
        const lynx_bytes control = lx_outbox_next(&channel->outbox, channel->chunk_bytes);
        if (control.size) {
            parts[(*count)++] = control;
            return LYNX_OK;
        }
        if (!is_busy(sender))
            return LYNX_OK;
        begin_chunk(sender, (plane_entry *)(void *)lx_plane_queue_first(&sender->queue));
    }
    const plane_entry *entry = sender->leaving;
    if (sender->frame_left)
        parts[(*count)++] =
            (lynx_bytes){sender->frame + sizeof(sender->frame) - sender->frame_left,
                         sender->frame_left};
    if (sender->chunk_left)
        parts[(*count)++] =
            (lynx_bytes){entry->data + entry->sent + (sender->chunk_bytes - sender->chunk_left),
                         sender->chunk_left};
    return LYNX_OK;
}

/* The frame of a chunk has left. */
static void end_chunk(lynx_sender *sender, lynx_time_ns now)
{
    plane_entry *entry = sender->leaving;
    sender->leaving = NULL;
    sender->channel.counters.plane_bytes_sent[entry->header.plane] +=
        sizeof(sender->frame) + sender->chunk_bytes;
    if (!entry->request) {
        release_entry(sender, entry);
        return;
    }
    entry->sent += sender->chunk_bytes;
    if (entry->sent < entry->size)
        return;
    lx_plane_queue_remove(&sender->queue, &entry->queued);
    entry->is_sent = true;
    entry->request->unsent--;
    const lynx_status status = check_progress(sender, entry->request, now);
    if (status != LYNX_OK)
        lx_channel_close(&sender->channel, status, lynx_status_text(status));
}

void lynx_sender_wrote(lynx_sender *sender, lynx_time_ns now, size_t size)
{
    lx_channel *channel = &sender->channel;
    channel->counters.bytes_sent += size;
    channel->last_sent = now;
    if (!sender->leaving) {
        lx_outbox_left(&channel->outbox, size);
        return;
    }
    const uint32_t of_frame = size < sender->frame_left ? (uint32_t)size : sender->frame_left;
    sender->frame_left -= of_frame;
    sender->chunk_left -= (uint32_t)(size - of_frame);
    if (sender->frame_left == 0 && sender->chunk_left == 0)
        end_chunk(sender, now);
}

lynx_time_ns lynx_sender_deadline(const lynx_sender *sender)
{
    return lx_channel_deadline(&sender->channel, is_busy(sender));
}

bool lynx_sender_next_event(lynx_sender *sender, lynx_event *event)
{
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++)
        if (sender->requests[i].phase == ENDED && sender->requests[i].id == sender->taken_id)
            free_request(sender, &sender->requests[i]);
    sender->taken_id = 0;
    if (!lx_event_queue_take(&sender->channel.events, event))
        return false;
    if (event->type == LYNX_EVENT_CANCEL || event->type == LYNX_EVENT_DELIVERED)
        sender->taken_id = event->request_id;
    return true;
}

/* ---- what the owner says ------------------------------------------------------------- */

static lynx_status active(lynx_sender *sender, uint64_t id, sender_request **request)
{
    *request = find(sender, id);
    LX_REQUIRE(sender->channel.phase != LX_PHASE_CLOSED, LYNX_ERR_CLOSED);
    LX_REQUIRE(*request && (*request)->phase == ACTIVE && !(*request)->is_finishing,
               LYNX_ERR_STATE);
    return LYNX_OK;
}

lynx_status lynx_sender_accept(lynx_sender *sender, uint64_t request_id)
{
    sender_request *request = find(sender, request_id);
    LX_REQUIRE(request && request->phase == ASKED, LYNX_ERR_STATE);
    LX_TRY(lx_channel_send(&sender->channel, LX_MESSAGE_ACCEPT, request_id, NULL, 0));
    request->phase = ACTIVE;
    return LYNX_OK;
}

lynx_status lynx_sender_refuse(lynx_sender *sender, uint64_t request_id, lynx_status status,
                               const char *text)
{
    sender_request *request = find(sender, request_id);
    LX_REQUIRE(request, LYNX_ERR_STATE);
    LX_REQUIRE(lynx_failed(status), LYNX_ERR_ARGUMENT);
    if (sender->channel.phase != LX_PHASE_CLOSED)
        LX_TRY(lx_outbox_push_refuse(&sender->channel.outbox, request_id, status, text));
    free_request(sender, request);
    return LYNX_OK;
}

lynx_status lynx_sender_progress(lynx_sender *sender, uint64_t request_id, uint32_t done)
{
    sender_request *request;
    uint8_t payload[LX_PROGRESS_BYTES];
    LX_TRY(active(sender, request_id, &request));
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_progress_encode(&writer, done);
    return lx_channel_send(&sender->channel, LX_MESSAGE_PROGRESS, request_id, payload,
                           writer.offset);
}

lynx_status lynx_sender_ready(lynx_sender *sender, uint64_t request_id)
{
    sender_request *request;
    LX_TRY(active(sender, request_id, &request));
    return lx_channel_send(&sender->channel, LX_MESSAGE_READY, request_id, NULL, 0);
}

lynx_status lynx_sender_token(lynx_sender *sender, uint64_t request_id, uint32_t index,
                              lynx_token token)
{
    sender_request *request;
    uint8_t payload[LX_TOKEN_BYTES];
    LX_TRY(active(sender, request_id, &request));
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_token_encode(&writer, &(lx_token_message){index, token});
    return lx_channel_send(&sender->channel, LX_MESSAGE_TOKEN, request_id, payload,
                           writer.offset);
}

lynx_status lynx_sender_plane(lynx_sender *sender, uint64_t request_id, lynx_page_id page,
                              uint32_t plane, uint8_t *data, size_t size,
                              lynx_plane_release *release, void *user)
{
    sender_request *request;
    LX_TRY(active(sender, request_id, &request));
    LX_REQUIRE(!(request->request.flags & LYNX_REQUEST_NO_PAGES), LYNX_ERR_ARGUMENT);
    const size_t slot = lx_page_map_slot(request->added, page);
    LX_REQUIRE(slot != SIZE_MAX && plane < request->plane_count && size <= UINT32_MAX &&
                   !lynx_page_map_has(request->added, page, plane),
               LYNX_ERR_ARGUMENT);
    plane_entry *entry = lx_alloc_zeroed(sender->channel.memory, 1, sizeof(*entry));
    LX_REQUIRE(entry, LYNX_ERR_MEMORY);
    *entry = (plane_entry){
        .queued = {.class_index = plane},
        .request = request,
        .index = slot * request->plane_count + plane,
        .header = {.page = page,
                   .plane = (uint8_t)plane,
                   .plane_bytes = (uint32_t)size,
                   .plane_digest = lx_digest64(data, size)},
        .data = data,
        .size = size,
        .release = release,
        .user = user,
    };
    lynx_page_map_mark(request->added, page, plane);
    request->entries[entry->index] = entry;
    request->unsent++;
    request->unacknowledged++;
    lx_plane_queue_push(&sender->queue, &entry->queued);

    lynx_session_counters *counters = &sender->channel.counters;
    counters->queued_bytes += size;
    if (counters->queued_bytes > counters->queued_bytes_top)
        counters->queued_bytes_top = counters->queued_bytes;
    return LYNX_OK;
}

lynx_status lynx_sender_finish(lynx_sender *sender, uint64_t request_id)
{
    sender_request *request;
    LX_TRY(active(sender, request_id, &request));
    LX_REQUIRE((request->request.flags & LYNX_REQUEST_NO_PAGES) ||
                   lynx_page_map_is_complete(request->added, request->plane_count - 1),
               LYNX_ERR_STATE);
    request->is_finishing = true;
    const lynx_status status = check_progress(sender, request, sender->channel.last_heard);
    if (status != LYNX_OK && request->phase == ACTIVE)
        request->is_finishing = false; /* FINISH did not leave: it may be tried again */
    return status;
}

void lynx_sender_close(lynx_sender *sender, lynx_status status, const char *text)
{
    lx_channel_close(&sender->channel, status, text);
}

lynx_session_counters lynx_sender_counters(const lynx_sender *sender)
{
    return sender->channel.counters;
}
