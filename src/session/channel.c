/* SPDX-License-Identifier: MIT */
#include "session/channel.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"

struct lx_control {
    lx_control *next;
    size_t size;
    uint8_t bytes[];
};

struct lx_event_node {
    lx_event_node *next;
    lynx_event event;
    char text[LYNX_SESSION_TEXT_MAX];
};

/* ---- events -------------------------------------------------------------------------- */

lynx_status lx_channel_event(lx_channel *channel, const lynx_event *event, const char *text)
{
    lx_event_node *node = lx_alloc(channel->memory, 1, sizeof(*node));
    LX_REQUIRE(node, LYNX_ERR_MEMORY);
    node->next = NULL;
    node->event = *event;
    snprintf(node->text, sizeof(node->text), "%.511s", text ? text : "");
    node->event.text = node->text;
    if (channel->last_event)
        channel->last_event->next = node;
    else
        channel->first_event = node;
    channel->last_event = node;
    return LYNX_OK;
}

static void free_taken_event(lx_channel *channel)
{
    lx_free(channel->memory, channel->taken_event, 1, sizeof(lx_event_node));
    channel->taken_event = NULL;
}

bool lx_channel_next_event(lx_channel *channel, lynx_event *event)
{
    lx_event_node *node = channel->first_event;
    free_taken_event(channel);
    if (!node)
        return false;
    channel->first_event = node->next;
    if (!channel->first_event)
        channel->last_event = NULL;
    channel->taken_event = node;
    *event = node->event;
    return true;
}

lynx_status lx_channel_explain(lx_channel *channel, lynx_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(channel->reason, sizeof(channel->reason), format, arguments);
    va_end(arguments);
    return status;
}

void lx_channel_close(lx_channel *channel, lynx_status status, const char *text)
{
    if (channel->phase == LX_PHASE_CLOSED)
        return;
    channel->phase = LX_PHASE_CLOSED;
    const lynx_event event = {
        .type = LYNX_EVENT_CLOSED, .status = status, .time = channel->last_heard};
    /* Without memory for either the peer sees the link end and we the loop. */
    (void)!lx_channel_event(channel, &event, text);
    (void)!lx_channel_send_reason(channel, LX_MESSAGE_CLOSE, 0, status, text);
}

/* ---- output -------------------------------------------------------------------------- */

lynx_status lx_channel_send(lx_channel *channel, lx_message_type type, uint64_t request_id,
                            const void *payload, size_t size)
{
    lx_control *control = lx_alloc(channel->memory, 1, sizeof(*control) + LX_FRAME_BYTES + size);
    LX_REQUIRE(control, LYNX_ERR_MEMORY);
    const lx_frame frame = {
        .version = LX_WIRE_VERSION,
        .type = (uint8_t)type,
        .request_id = request_id,
        .payload_bytes = (uint32_t)size,
        .payload_digest = lx_digest64(payload, size),
    };
    control->next = NULL;
    control->size = LX_FRAME_BYTES + size;
    lx_frame_encode(&frame, control->bytes);
    if (size)
        memcpy(control->bytes + LX_FRAME_BYTES, payload, size);
    if (channel->last_control)
        channel->last_control->next = control;
    else
        channel->first_control = control;
    channel->last_control = control;
    return LYNX_OK;
}

lynx_status lx_channel_send_reason(lx_channel *channel, lx_message_type type,
                                   uint64_t request_id, lynx_status status, const char *text)
{
    uint8_t payload[8 + LX_TEXT_BYTES_MAX];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    size_t length = text ? strlen(text) : 0;
    if (length > LX_TEXT_BYTES_MAX)
        length = LX_TEXT_BYTES_MAX;
    const lx_reason reason = {(int32_t)status, {(const uint8_t *)text, length}};
    lx_reason_encode(&writer, &reason);
    return lx_channel_send(channel, type, request_id, payload, writer.offset);
}

bool lx_channel_has_control(const lx_channel *channel)
{
    return channel->first_control != NULL;
}

lynx_bytes lx_channel_control(const lx_channel *channel)
{
    const lx_control *control = channel->first_control;
    return (lynx_bytes){control->bytes + channel->control_offset,
                        control->size - channel->control_offset};
}

void lx_channel_control_left(lx_channel *channel, size_t size)
{
    lx_control *control = channel->first_control;
    channel->control_offset += size;
    if (channel->control_offset < control->size)
        return;
    channel->control_offset = 0;
    channel->first_control = control->next;
    if (!channel->first_control)
        channel->last_control = NULL;
    lx_free(channel->memory, control, 1, sizeof(*control) + control->size);
}

void lx_channel_tick(lx_channel *channel, lynx_time_ns now)
{
    if (channel->phase == LX_PHASE_CLOSED)
        return;
    if (now >= channel->last_heard + channel->timeout_ns) {
        char text[96];
        snprintf(text, sizeof(text), "nothing came from the peer for %.1f s",
                 (double)channel->timeout_ns / 1e9);
        lx_channel_close(channel, LYNX_ERR_TIMEOUT, text);
    } else if (now >= channel->last_sent + channel->ping_ns) {
        /* A ping that cannot be queued is tried again at the next tick. */
        if (lx_channel_send(channel, LX_MESSAGE_PING, 0, NULL, 0) == LYNX_OK)
            channel->last_sent = now;
    }
}

lynx_time_ns lx_channel_deadline(const lx_channel *channel)
{
    if (channel->phase == LX_PHASE_CLOSED)
        return LYNX_TIME_NEVER;
    const lynx_time_ns timeout = channel->last_heard + channel->timeout_ns;
    const lynx_time_ns ping = channel->last_sent + channel->ping_ns;
    return timeout < ping ? timeout : ping;
}

/* ---- hello --------------------------------------------------------------------------- */

static void digest_shape(const lynx_shape *shape, uint8_t digest[16])
{
    /* A chain of digests needs no room for all layers. */
    uint8_t bytes[16 + 64] = {0};
    for (uint32_t layer = 0; layer < shape->layer_count; layer++) {
        const size_t size = lx_shape_encode(shape, layer, bytes + 16);
        lx_digest128(bytes, 16 + size, bytes);
    }
    memcpy(digest, bytes, 16);
}

static lynx_status send_hello(lx_channel *channel)
{
    uint8_t payload[LX_HELLO_BYTES_MAX];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_hello hello = {
        .role = channel->role,
        .element = (uint8_t)channel->shape.element,
        .page_tokens = channel->shape.page_tokens,
        .layer_count = channel->shape.layer_count,
        .fingerprint = channel->fingerprint,
        .model_name = {(const uint8_t *)channel->model_name, strlen(channel->model_name)},
    };
    digest_shape(&channel->shape, hello.shape_digest);
    lx_hello_encode(&writer, &hello);
    return lx_channel_send(channel, LX_MESSAGE_HELLO, 0, payload, writer.offset);
}

static lynx_status check_model(lx_channel *channel, const lx_hello *hello, const char *name)
{
    uint8_t digest[16];
    digest_shape(&channel->shape, digest);
    const lynx_fingerprint *ours = &channel->fingerprint;
    const lynx_fingerprint *theirs = &hello->fingerprint;
    const char *difference = NULL;
    if (memcmp(ours->structure, theirs->structure, 16) != 0)
        difference = "architecture or hyperparameters";
    else if (memcmp(ours->tokenizer, theirs->tokenizer, 16) != 0)
        difference = "tokenizer";
    else if (hello->element != (uint8_t)channel->shape.element)
        difference = "type of the cache (--cache-type)";
    else if (hello->page_tokens != channel->shape.page_tokens ||
             hello->layer_count != channel->shape.layer_count ||
             memcmp(digest, hello->shape_digest, 16) != 0)
        difference = "shape of the cache";
    if (difference)
        return lx_channel_explain(channel, LYNX_ERR_MODEL,
                                  "this end has '%.80s', the peer '%.80s': they differ in %s; "
                                  "give both ends the same model file and cache options",
                                  channel->model_name, name, difference);
    if (memcmp(ours->weights, theirs->weights, 16) != 0 && !channel->allow_other_weights)
        return lx_channel_explain(channel, LYNX_ERR_MODEL,
                                  "'%.80s' and the peer's '%.80s' are the same model in other "
                                  "weights; give both ends the same file, or pass "
                                  "--allow-other-weights to both (answers may then differ)",
                                  channel->model_name, name);
    return LYNX_OK;
}

static lynx_status on_hello(lx_channel *channel, lynx_time_ns now, lynx_bytes payload)
{
    lx_hello hello;
    LX_REQUIRE(channel->phase == LX_PHASE_GREETING, LYNX_ERR_PROTOCOL);
    LX_TRY(lx_hello_decode(payload, &hello));
    LX_REQUIRE(hello.role != channel->role, LYNX_ERR_PROTOCOL);
    char name[LYNX_SESSION_TEXT_MAX + 1];
    memcpy(name, hello.model_name.data, hello.model_name.size);
    name[hello.model_name.size] = '\0';
    LX_TRY(check_model(channel, &hello, name));
    channel->phase = LX_PHASE_OPEN;
    const lynx_event event = {.type = LYNX_EVENT_HELLO, .time = now};
    return lx_channel_event(channel, &event, name);
}

static lynx_status on_close(lx_channel *channel, lynx_time_ns now, lynx_bytes payload)
{
    lx_reason reason;
    LX_TRY(lx_reason_decode(payload, &reason));
    char text[LYNX_SESSION_TEXT_MAX + 1];
    memcpy(text, reason.text.data, reason.text.size);
    text[reason.text.size] = '\0';
    const lynx_status status = (lynx_status)reason.status;
    LX_REQUIRE(status <= 0 && lynx_status_scope(status) != LYNX_SCOPE_PROCESS,
               LYNX_ERR_PROTOCOL);
    channel->phase = LX_PHASE_CLOSED;
    const lynx_event event = {.type = LYNX_EVENT_CLOSED, .status = status, .time = now};
    return lx_channel_event(channel, &event, text);
}

/* ---- input --------------------------------------------------------------------------- */

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
        return on_close(channel, now, payload);
    case LX_MESSAGE_PING:
        return payload.size == 0 ? LYNX_OK : LYNX_ERR_PROTOCOL;
    default:
        break;
    }
    if (frame->type > LX_MESSAGE_PING || frame->type == 0)
        return frame->flags & LX_FRAME_SKIPPABLE ? LYNX_OK : LYNX_ERR_PROTOCOL;
    LX_REQUIRE(channel->phase == LX_PHASE_OPEN, LYNX_ERR_PROTOCOL);
    return channel->ops->on_message(channel->owner, now, frame, payload);
}

/* The most that a payload of this type may have; larger ones are not buffered. */
static size_t payload_limit(const lx_channel *channel, uint8_t type)
{
    const bool is_sender = channel->role == 0;
    switch (type) {
    case LX_MESSAGE_HELLO:
        return LX_HELLO_BYTES_MAX;
    case LX_MESSAGE_REQUEST:
        return is_sender ? LX_REQUEST_FIXED_BYTES + 4 * (size_t)LYNX_PROMPT_TOKENS_MAX : 0;
    case LX_MESSAGE_ACK:
        return (size_t)LX_ACK_ENTRIES_MAX * LX_ACK_ENTRY_BYTES;
    default:
        return 8 + LX_TEXT_BYTES_MAX;
    }
}

static lynx_status begin_payload(lx_channel *channel)
{
    const lx_frame *frame = &channel->frame;
    size_t want = frame->payload_bytes;
    if (frame->type == LX_MESSAGE_PAGE) {
        LX_REQUIRE(channel->phase == LX_PHASE_OPEN && want >= LX_PAGE_FIXED_BYTES &&
                       want <= LX_PAGE_FIXED_BYTES + (1u << 20),
                   LYNX_ERR_PROTOCOL);
        want = LX_PAGE_FIXED_BYTES;
    } else {
        LX_REQUIRE(want <= payload_limit(channel, frame->type), LYNX_ERR_PROTOCOL);
    }
    if (want > channel->payload_room) {
        uint8_t *room = lx_alloc(channel->memory, want, 1);
        LX_REQUIRE(room, LYNX_ERR_MEMORY);
        lx_free(channel->memory, channel->payload, channel->payload_room, 1);
        channel->payload = room;
        channel->payload_room = want;
    }
    channel->payload_fill = 0;
    channel->payload_want = want;
    return LYNX_OK;
}

static lynx_status end_header(lx_channel *channel)
{
    const lynx_status status = lx_frame_decode(channel->header, &channel->frame);
    if (status == LYNX_ERR_CORRUPT)
        return lx_channel_explain(channel, status, "a frame header does not match its checksum");
    if (status != LYNX_OK)
        return lx_channel_explain(channel, status, "the peer does not speak the Lynx protocol");
    if (channel->frame.version != LX_WIRE_VERSION)
        return lx_channel_explain(channel, LYNX_ERR_VERSION,
                                  "the peer speaks version %u of the wire format, this end "
                                  "version %u; update the older one",
                                  channel->frame.version, (unsigned)LX_WIRE_VERSION);
    return begin_payload(channel);
}

/* The fixed part of a page is here: ask the owner where its data goes. */
static lynx_status begin_page(lx_channel *channel, lynx_time_ns now)
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
    LX_TRY(channel->ops->on_page(channel->owner, now, channel->frame.request_id, &page, chunk,
                                 &channel->page_target));
    channel->counters.plane_bytes_received[page.plane] +=
        LX_FRAME_BYTES + channel->frame.payload_bytes;
    channel->page_left = chunk;
    channel->is_page_data = true;
    return LYNX_OK;
}

/* Take bytes of the state that the input is in; returns how many through '*taken'. */
static lynx_status advance(lx_channel *channel, lynx_time_ns now, const uint8_t *data,
                           size_t size, size_t *taken)
{
    size_t count;
    if (channel->is_page_data) {
        count = size < channel->page_left ? size : channel->page_left;
        if (channel->page_target && count) {
            memcpy(channel->page_target, data, count);
            channel->page_target += count;
        }
        channel->page_left -= (uint32_t)count;
    } else if (channel->header_fill < LX_FRAME_BYTES) {
        count = LX_FRAME_BYTES - channel->header_fill;
        count = size < count ? size : count;
        memcpy(channel->header + channel->header_fill, data, count);
        channel->header_fill += (uint32_t)count;
        if (channel->header_fill == LX_FRAME_BYTES)
            LX_TRY(end_header(channel));
    } else {
        count = channel->payload_want - channel->payload_fill;
        count = size < count ? size : count;
        memcpy(channel->payload + channel->payload_fill, data, count);
        channel->payload_fill += count;
    }
    *taken = count;

    if (channel->is_page_data) {
        if (channel->page_left > 0)
            return LYNX_OK;
        channel->is_page_data = false;
        channel->header_fill = 0;
        return channel->ops->on_page_end(channel->owner, now);
    }
    if (channel->header_fill < LX_FRAME_BYTES || channel->payload_fill < channel->payload_want)
        return LYNX_OK;
    if (channel->frame.type == LX_MESSAGE_PAGE) {
        LX_TRY(begin_page(channel, now));
        if (channel->page_left > 0)
            return LYNX_OK;
        channel->is_page_data = false;
        channel->header_fill = 0;
        return channel->ops->on_page_end(channel->owner, now);
    }
    channel->header_fill = 0;
    return dispatch(channel, now);
}

lynx_status lx_channel_read(lx_channel *channel, lynx_time_ns now, const uint8_t *data,
                            size_t size)
{
    channel->counters.bytes_received += size;
    channel->last_heard = now;
    while (size > 0 && channel->phase != LX_PHASE_CLOSED) {
        size_t taken = 0;
        channel->reason[0] = '\0';
        const lynx_status status = advance(channel, now, data, size, &taken);
        if (status != LYNX_OK) {
            lx_channel_close(channel, status,
                             channel->reason[0] ? channel->reason : lynx_status_text(status));
            return status;
        }
        data += taken;
        size -= taken;
    }
    return LYNX_OK;
}

/* ---- life ---------------------------------------------------------------------------- */

lynx_status lx_channel_init(lx_channel *channel, const lynx_session_options *options,
                            uint8_t role, const lx_channel_ops *ops, void *owner,
                            lynx_time_ns now)
{
    const lynx_model *model = options->model;
    channel->memory = lx_allocator_or_default(options->memory);
    channel->ops = ops;
    channel->owner = owner;
    channel->role = role;
    LX_REQUIRE(options->chunk_bytes >= 4096 && options->chunk_bytes <= 1u << 20,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(options->timeout_ns > 0 && options->ping_ns > 0, LYNX_ERR_ARGUMENT);
    LX_TRY(lynx_shape_check(&model->shape));
    channel->layers =
        lx_alloc(channel->memory, model->shape.layer_count, sizeof(*channel->layers));
    LX_REQUIRE(channel->layers, LYNX_ERR_MEMORY);
    memcpy(channel->layers, model->shape.layers,
           model->shape.layer_count * sizeof(*channel->layers));
    channel->shape = model->shape;
    channel->shape.layers = channel->layers;
    channel->fingerprint = model->fingerprint;
    snprintf(channel->model_name, sizeof(channel->model_name), "%s", model->name);
    channel->allow_other_weights = options->allow_other_weights;
    channel->timeout_ns = options->timeout_ns;
    channel->ping_ns = options->ping_ns;
    channel->chunk_bytes = options->chunk_bytes;
    channel->last_heard = now;
    channel->last_sent = now;
    return send_hello(channel);
}

void lx_channel_fini(lx_channel *channel)
{
    lynx_event event;
    while (lx_channel_next_event(channel, &event))
        continue;
    while (channel->first_control)
        lx_channel_control_left(channel,
                                channel->first_control->size - channel->control_offset);
    if (channel->layers)
        lx_free(channel->memory, channel->layers, channel->shape.layer_count,
                sizeof(*channel->layers));
    lx_free(channel->memory, channel->payload, channel->payload_room, 1);
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
