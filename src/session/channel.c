/* SPDX-License-Identifier: MIT */
#include "session/channel.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"

/* Room for a payload to begin with. */
enum { PAYLOAD_ROOM_FIRST = 1024 };

/* wire/ may not look up to session.h; here both are seen. */
_Static_assert(LX_REQUEST_FLAGS_KNOWN == (LYNX_REQUEST_HOLD | LYNX_REQUEST_REUSE |
                                          LYNX_REQUEST_NO_PAGES | LYNX_REQUEST_AFTER_PREFILL),
               "flags of a request");
_Static_assert((int)LX_TEXT_BYTES_MAX == (int)LYNX_SESSION_TEXT_MAX, "text limit");

/* ---- events and texts ---------------------------------------------------------------- */

lynx_status lx_channel_event(lx_channel *channel, const lynx_event *event, const char *text)
{
    return lx_event_queue_push(&channel->events, event, text);
}

lynx_status lx_channel_explain(lx_channel *channel, lynx_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(channel->reason, sizeof(channel->reason), format, arguments);
    va_end(arguments);
    return status;
}

void lx_channel_copy_text(char target[LX_TEXT_BYTES_MAX + 1], lynx_bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        target[i] = text.data[i] < 0x20 || text.data[i] == 0x7F ? '?' : (char)text.data[i];
    target[text.size] = '\0';
}

static void enter_closed(lx_channel *channel, lynx_status status, const char *text)
{
    const lynx_event event = {.type = LYNX_EVENT_CLOSED,
                              .status = status,
                              .time = channel->last_heard};
    channel->phase = LX_PHASE_CLOSED;
    lx_event_queue_push_closed(&channel->events, &event, text);
}

void lx_channel_close(lx_channel *channel, lynx_status status, const char *text)
{
    if (channel->phase == LX_PHASE_CLOSED)
        return;
    enter_closed(channel, status, text);
    lx_outbox_push_close(&channel->outbox, status, text);
}

/* ---- output -------------------------------------------------------------------------- */

lynx_status lx_channel_send(lx_channel *channel, lx_message_type type, uint64_t request_id,
                            const void *payload, size_t size)
{
    LX_REQUIRE(channel->phase != LX_PHASE_CLOSED, LYNX_ERR_CLOSED);
    return lx_outbox_push(&channel->outbox, type, request_id, (lynx_bytes){payload, size});
}

/* 'time' + 'span', or never. */
static lynx_time_ns after(lynx_time_ns time, uint64_t span)
{
    return span < LYNX_TIME_NEVER - time ? time + span : LYNX_TIME_NEVER;
}

/* While something waits to leave, a ping would only stand in a queue behind it. */
static bool must_ping(const lx_channel *channel, bool is_busy)
{
    return !is_busy && lx_outbox_next(&channel->outbox, 1).size == 0;
}

void lx_channel_tick(lx_channel *channel, lynx_time_ns now, bool is_busy)
{
    if (channel->phase == LX_PHASE_CLOSED)
        return;
    if (now >= after(channel->last_heard, channel->timeout_ns)) {
        char text[96];
        snprintf(text, sizeof(text), "nothing came from the peer for %llu ms",
                 (unsigned long long)(channel->timeout_ns / 1000000));
        lx_channel_close(channel, LYNX_ERR_TIMEOUT, text);
    } else if (must_ping(channel, is_busy) &&
               now >= after(channel->last_sent, channel->ping_ns)) {
        const lynx_status status = lx_channel_send(channel, LX_MESSAGE_PING, 0, NULL, 0);
        if (status != LYNX_OK)
            lx_channel_close(channel, status, lynx_status_text(status));
    }
}

lynx_time_ns lx_channel_deadline(const lx_channel *channel, bool is_busy)
{
    if (channel->phase == LX_PHASE_CLOSED)
        return LYNX_TIME_NEVER;
    const lynx_time_ns timeout = after(channel->last_heard, channel->timeout_ns);
    const lynx_time_ns ping = must_ping(channel, is_busy)
                                  ? after(channel->last_sent, channel->ping_ns)
                                  : LYNX_TIME_NEVER;
    return timeout < ping ? timeout : ping;
}

/* ---- whole messages ------------------------------------------------------------------ */

static lynx_status on_hello(lx_channel *channel, lynx_time_ns now, lynx_bytes payload)
{
    char name[LX_TEXT_BYTES_MAX + 1];
    const lynx_event event = {.type = LYNX_EVENT_HELLO, .time = now};
    LX_TRY(lx_greeting_check(channel, payload, name));
    channel->phase = LX_PHASE_OPEN;
    return lx_channel_event(channel, &event, name);
}

static lynx_status on_close(lx_channel *channel, lynx_bytes payload)
{
    lx_reason reason;
    char text[LX_TEXT_BYTES_MAX + 1];
    LX_TRY(lx_reason_decode(payload, &reason));
    LX_REQUIRE(reason.status <= 0, LYNX_ERR_PROTOCOL);
    lx_channel_copy_text(text, reason.text);
    /* A status that a younger peer knows and we do not still ends the stream with its text. */
    lynx_status status = (lynx_status)reason.status;
    if (lynx_status_scope(status) == LYNX_SCOPE_PROCESS)
        status = LYNX_ERR_CLOSED;
    enter_closed(channel, status, text);
    return LYNX_OK;
}

static lynx_status dispatch(lx_channel *channel, lynx_time_ns now)
{
    const lx_frame *frame = &channel->frame;
    const lynx_bytes payload = {channel->payload, channel->payload_fill};
    if (lx_digest64(payload.data, payload.size) != frame->payload_digest)
        return lx_channel_explain(channel, LYNX_ERR_CORRUPT,
                                  "a message of type %u does not match its checksum",
                                  frame->type);
    switch (frame->type) {
    case LX_MESSAGE_HELLO:
        return on_hello(channel, now, payload);
    case LX_MESSAGE_CLOSE:
        return on_close(channel, payload);
    case LX_MESSAGE_PING:
        return LYNX_OK;
    default:
        return channel->ops->on_message(channel->owner, now, frame, payload);
    }
}

/* The fixed part of a page is here: ask the owner where its data goes. */
static lynx_status begin_page(lx_channel *channel)
{
    lx_page_message page;
    if (lx_digest64(channel->payload, LX_PAGE_FIXED_BYTES) != channel->frame.payload_digest)
        return lx_channel_explain(channel, LYNX_ERR_CORRUPT,
                                  "the header of a page does not match its checksum");
    LX_TRY(lx_page_decode_header(channel->payload, &page));
    const uint32_t chunk = channel->frame.payload_bytes - LX_PAGE_FIXED_BYTES;
    LX_REQUIRE(chunk <= page.plane_bytes - page.offset, LYNX_ERR_PROTOCOL);
    LX_REQUIRE(chunk > 0 || page.plane_bytes == 0, LYNX_ERR_PROTOCOL);
    channel->page_target = NULL;
    LX_TRY(channel->ops->on_page(channel->owner, channel->frame.request_id, &page, chunk,
                                 &channel->page_target));
    channel->counters.plane_bytes_received[page.plane] +=
        LX_FRAME_BYTES + channel->frame.payload_bytes;
    channel->left = chunk;
    channel->input = LX_INPUT_PAGE;
    return LYNX_OK;
}

/* ---- headers ------------------------------------------------------------------------- */

/* Legal lengths of the payload of a type; false when this end does not take it in its phase. */
static bool payload_range(const lx_channel *channel, uint8_t type, uint32_t *least,
                          uint32_t *most)
{
    const bool is_greeting = channel->phase == LX_PHASE_GREETING;
    const bool is_sender = channel->role == LX_ROLE_SENDER;
    *least = 0;
    *most = 0;
    switch ((lx_message_type)type) {
    case LX_MESSAGE_HELLO:
        *least = LX_HELLO_FIXED_BYTES;
        *most = LX_HELLO_BYTES_MAX;
        return is_greeting;
    case LX_MESSAGE_CLOSE:
        *least = LX_REASON_FIXED_BYTES;
        *most = LX_REASON_BYTES_MAX;
        return true;
    case LX_MESSAGE_PING:
        return true;
    case LX_MESSAGE_REQUEST:
        *least = LX_REQUEST_FIXED_BYTES + 4;
        *most = LX_REQUEST_FIXED_BYTES + 4 * (uint32_t)LYNX_PROMPT_TOKENS_MAX;
        return is_sender && !is_greeting;
    case LX_MESSAGE_ACK:
        *least = LX_ACK_ENTRY_BYTES;
        *most = LX_ACK_ENTRIES_MAX * LX_ACK_ENTRY_BYTES;
        return is_sender && !is_greeting;
    case LX_MESSAGE_START:
    case LX_MESSAGE_CANCEL:
        return is_sender && !is_greeting;
    case LX_MESSAGE_REFUSE:
        *least = LX_REASON_FIXED_BYTES;
        *most = LX_REASON_BYTES_MAX;
        return !is_sender && !is_greeting;
    case LX_MESSAGE_PROGRESS:
        *least = *most = LX_PROGRESS_BYTES;
        return !is_sender && !is_greeting;
    case LX_MESSAGE_TOKEN:
        *least = *most = LX_TOKEN_BYTES;
        return !is_sender && !is_greeting;
    case LX_MESSAGE_PAGE:
        *least = LX_PAGE_FIXED_BYTES;
        *most = LX_PAGE_FIXED_BYTES + LX_PAGE_CHUNK_BYTES_MAX;
        return !is_sender && !is_greeting;
    case LX_MESSAGE_ACCEPT:
    case LX_MESSAGE_READY:
    case LX_MESSAGE_FINISH:
        return !is_sender && !is_greeting;
    }
    return false;
}

static lynx_status begin_payload(lx_channel *channel)
{
    const lx_frame *frame = &channel->frame;
    uint32_t least, most;
    const bool is_known = frame->type >= LX_MESSAGE_HELLO && frame->type <= LX_MESSAGE_PING;
    if (!is_known && (frame->flags & LX_FRAME_SKIPPABLE)) {
        channel->input = LX_INPUT_SKIP;
        channel->left = frame->payload_bytes;
        return LYNX_OK;
    }
    if (!payload_range(channel, frame->type, &least, &most))
        return lx_channel_explain(channel, LYNX_ERR_PROTOCOL,
                                  "a message of type %u came where none may come", frame->type);
    if (frame->payload_bytes < least || frame->payload_bytes > most)
        return lx_channel_explain(channel, LYNX_ERR_PROTOCOL,
                                  "a message of type %u announces %u bytes; %u to %u are legal",
                                  frame->type, frame->payload_bytes, least, most);
    channel->input = LX_INPUT_PAYLOAD;
    channel->payload_fill = 0;
    channel->payload_want =
        frame->type == LX_MESSAGE_PAGE ? LX_PAGE_FIXED_BYTES : frame->payload_bytes;
    return LYNX_OK;
}

static lynx_status end_header(lx_channel *channel)
{
    const lynx_status status = lx_frame_decode(channel->header, &channel->frame);
    const bool is_sender = channel->role == LX_ROLE_SENDER;
    switch ((int)status) {
    case LYNX_OK:
        return begin_payload(channel);
    case LYNX_ERR_CORRUPT:
        return lx_channel_explain(channel, status,
                                  "a frame header does not match its checksum");
    case LYNX_ERR_VERSION:
        return lx_channel_explain(channel, status,
                                  "the prefill node speaks version %u of the wire format, the "
                                  "decode node version %u; "
                                  "update the older one",
                                  is_sender ? (unsigned)LX_WIRE_VERSION
                                            : channel->frame.version,
                                  is_sender ? channel->frame.version
                                            : (unsigned)LX_WIRE_VERSION);
    default:
        return lx_channel_explain(channel, status, "the peer does not speak the Lynx protocol");
    }
}

/* ---- input --------------------------------------------------------------------------- */

/* Room for 'size' bytes, at least doubled, at most what the payload wants. */
static lynx_status grow_payload(lx_channel *channel, size_t size)
{
    size_t room = channel->payload_room ? 2 * channel->payload_room : PAYLOAD_ROOM_FIRST;
    if (room > channel->payload_want && channel->payload_want > PAYLOAD_ROOM_FIRST)
        room = channel->payload_want;
    if (room < size)
        room = size;
    uint8_t *payload = lx_alloc(channel->memory, room, 1);
    LX_REQUIRE(payload, LYNX_ERR_MEMORY);
    if (channel->payload_fill)
        memcpy(payload, channel->payload, channel->payload_fill);
    lx_free(channel->memory, channel->payload, channel->payload_room, 1);
    channel->payload = payload;
    channel->payload_room = room;
    return LYNX_OK;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Take bytes of what the input waits for; '*taken' says how many. */
static lynx_status take(lx_channel *channel, const uint8_t *data, size_t size, size_t *taken)
{
    switch (channel->input) {
    case LX_INPUT_HEADER:
        *taken = smaller(size, LX_FRAME_BYTES - channel->header_fill);
        memcpy(channel->header + channel->header_fill, data, *taken);
        channel->header_fill += (uint32_t)*taken;
        return LYNX_OK;
    case LX_INPUT_PAYLOAD:
        *taken = smaller(size, channel->payload_want - channel->payload_fill);
        if (channel->payload_fill + *taken > channel->payload_room)
            LX_TRY(grow_payload(channel, channel->payload_fill + *taken));
        if (*taken)
            memcpy(channel->payload + channel->payload_fill, data, *taken);
        channel->payload_fill += *taken;
        return LYNX_OK;
    case LX_INPUT_PAGE:
        *taken = smaller(size, channel->left);
        if (channel->page_target && *taken) {
            memcpy(channel->page_target, data, *taken);
            channel->page_target += *taken;
        }
        channel->left -= (uint32_t)*taken;
        return LYNX_OK;
    case LX_INPUT_SKIP:
        *taken = smaller(size, channel->left);
        channel->left -= (uint32_t)*taken;
        return LYNX_OK;
    }
    return LYNX_ERR_STATE;
}

/* Go on from what is whole now; '*is_waiting' when more bytes are needed for that. */
static lynx_status step(lx_channel *channel, lynx_time_ns now, bool *is_waiting)
{
    switch (channel->input) {
    case LX_INPUT_HEADER:
        *is_waiting = channel->header_fill < LX_FRAME_BYTES;
        if (*is_waiting)
            return LYNX_OK;
        channel->header_fill = 0;
        return end_header(channel);
    case LX_INPUT_PAYLOAD:
        *is_waiting = channel->payload_fill < channel->payload_want;
        if (*is_waiting)
            return LYNX_OK;
        if (channel->frame.type == LX_MESSAGE_PAGE)
            return begin_page(channel);
        channel->input = LX_INPUT_HEADER;
        return dispatch(channel, now);
    case LX_INPUT_PAGE:
        *is_waiting = channel->left > 0;
        if (*is_waiting)
            return LYNX_OK;
        channel->input = LX_INPUT_HEADER;
        return channel->ops->on_page_end(channel->owner, now);
    case LX_INPUT_SKIP:
        *is_waiting = channel->left > 0;
        if (!*is_waiting)
            channel->input = LX_INPUT_HEADER;
        return LYNX_OK;
    }
    return LYNX_ERR_STATE;
}

/* Give 'data' to the input until it is used up, the session ends or something fails. */
static lynx_status advance(lx_channel *channel, lynx_time_ns now, const uint8_t *data,
                           size_t size)
{
    while (size > 0 && channel->phase != LX_PHASE_CLOSED) {
        size_t taken = 0;
        LX_TRY(take(channel, data, size, &taken));
        data += taken;
        size -= taken;
        bool is_waiting = false;
        while (!is_waiting && channel->phase != LX_PHASE_CLOSED)
            LX_TRY(step(channel, now, &is_waiting));
    }
    return LYNX_OK;
}

lynx_status lx_channel_read(lx_channel *channel, lynx_time_ns now, const uint8_t *data,
                            size_t size)
{
    channel->counters.bytes_received += size;
    if (channel->phase == LX_PHASE_CLOSED)
        return LYNX_OK;
    channel->last_heard = now;
    channel->reason[0] = '\0';
    const lynx_status status = advance(channel, now, data, size);
    if (status == LYNX_OK)
        return LYNX_OK;
    if (!channel->reason[0])
        (void)lx_channel_explain(channel, status, "%s (message of type %u)",
                                 lynx_status_text(status), channel->frame.type);
    lx_channel_close(channel, status, channel->reason);
    return status;
}

/* ---- life ---------------------------------------------------------------------------- */

static lynx_status check_options(const lynx_session_options *options)
{
    LX_REQUIRE(options->struct_size >= sizeof(*options), LYNX_ERR_ARGUMENT);
    LX_REQUIRE(options->model, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(options->chunk_bytes >= 4096 && options->chunk_bytes <= LX_PAGE_CHUNK_BYTES_MAX,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(options->timeout_ns > 0 && options->ping_ns > 0, LYNX_ERR_ARGUMENT);
    return lynx_shape_check(&options->model->shape);
}

lynx_status lx_channel_init(lx_channel *channel, const lynx_session_options *options,
                            uint8_t role, const lx_channel_ops *ops, void *owner,
                            lynx_time_ns now)
{
    const lynx_model *model = options->model;
    channel->memory = lx_allocator_or_default(options->memory);
    channel->ops = ops;
    channel->owner = owner;
    channel->role = role;
    lx_outbox_init(&channel->outbox, channel->memory);
    lx_event_queue_init(&channel->events, channel->memory);
    LX_TRY(check_options(options));
    const uint32_t layer_count = model->shape.layer_count;
    channel->layers = lx_alloc(channel->memory, layer_count, sizeof(*channel->layers));
    LX_REQUIRE(channel->layers, LYNX_ERR_MEMORY);
    memcpy(channel->layers, model->shape.layers, layer_count * sizeof(*channel->layers));
    channel->shape = model->shape;
    channel->shape.layers = channel->layers;
    channel->fingerprint = model->fingerprint;
    snprintf(channel->model_name, sizeof(channel->model_name), "%s",
             model->name ? model->name : "");
    channel->context_tokens = model->context_tokens;
    channel->allow_other_weights = options->allow_other_weights;
    channel->timeout_ns = options->timeout_ns;
    channel->ping_ns = options->ping_ns;
    channel->chunk_bytes = options->chunk_bytes;
    channel->last_heard = now;
    channel->last_sent = now;
    return lx_greeting_send(channel);
}

void lx_channel_fini(lx_channel *channel)
{
    if (channel->layers)
        lx_free(channel->memory, channel->layers, channel->shape.layer_count,
                sizeof(*channel->layers));
    lx_free(channel->memory, channel->payload, channel->payload_room, 1);
    lx_event_queue_fini(&channel->events);
    lx_outbox_fini(&channel->outbox);
}

void lynx_session_options_init(lynx_session_options *options)
{
    *options = (lynx_session_options){
        .struct_size = sizeof(*options),
        .chunk_bytes = 65536,
        .timeout_ns = 10000000000ull,
        .ping_ns = 1000000000ull,
    };
}
