/* SPDX-License-Identifier: MIT */
#include "session/lane.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"

/* Room for a payload to begin with. */
enum { PAYLOAD_ROOM_FIRST = 1024 };

/* Control messages that may wait before another one is refused. */
enum { OUTBOX_BYTES_MAX = 4 << 20 };

/* wire/ may not look up to session.h; here both are seen. */
_Static_assert(LX_REQUEST_FLAGS_KNOWN ==
                   (LYNX_REQUEST_HOLD | LYNX_REQUEST_REUSE | LYNX_REQUEST_NO_PAGES |
                    LYNX_REQUEST_AFTER_PREFILL | LYNX_REQUEST_CARRY_ON),
               "flags of a request");
_Static_assert((int)LX_REQUEST_CARRY_ON == (int)LYNX_REQUEST_CARRY_ON &&
                   LX_REQUEST_NOT_CARRIED == (LYNX_REQUEST_HOLD | LYNX_REQUEST_NO_PAGES),
               "flags that do not go together");
_Static_assert((int)LX_TEXT_BYTES_MAX == (int)LYNX_SESSION_TEXT_MAX, "text limit");

/* ---- events and texts ---------------------------------------------------------------- */

lynx_status lx_lane_explain(lx_lane *lane, lynx_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(lane->reason, sizeof(lane->reason), format, arguments);
    va_end(arguments);
    return status;
}

uint32_t lx_credit_of(uint32_t plane)
{
    return plane > 0;
}

/* Bytes of a character at 'at' that could drive a terminal: C0 and C1 controls, and marks that
 * turn the direction of writing. 0: none. */
static size_t control_bytes(const uint8_t *at, size_t left)
{
    if (at[0] < 0x20 || at[0] == 0x7F)
        return 1;
    if (left >= 2 && at[0] == 0xC2 && at[1] >= 0x80 && at[1] <= 0x9F)
        return 2; /* U+0080 to U+009F */
    if (left < 3 || at[0] != 0xE2)
        return 0;
    const bool turns = (at[1] == 0x80 &&
                        (at[2] == 0x8E || at[2] == 0x8F || (at[2] >= 0xAA && at[2] <= 0xAE))) ||
                       (at[1] == 0x81 && at[2] >= 0xA6 && at[2] <= 0xA9);
    return turns ? 3 : 0; /* U+200E, 200F, 202A to 202E, 2066 to 2069 */
}

void lx_copy_text(char target[LX_TEXT_BYTES_MAX + 1], lynx_bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        target[i] = (char)text.data[i];
    for (size_t i = 0; i < text.size; i++)
        for (size_t bytes = control_bytes(text.data + i, text.size - i); bytes > 0; bytes--)
            target[i + bytes - 1] = '?';
    target[text.size] = '\0';
}

static void enter_closed(lx_lane *lane, lynx_time_ns now, lynx_status status, const char *text)
{
    lane->phase = LX_PHASE_CLOSED;
    lane->tells_closed = true;
    lane->identity->news++;
    lane->close_status = status;
    lane->closed_at = now;
    if (text != lane->reason)
        snprintf(lane->reason, sizeof(lane->reason), "%s", text ? text : "");
}

void lx_lane_close(lx_lane *lane, lynx_status status, const char *text)
{
    if (!lane->is_used || lane->phase == LX_PHASE_CLOSED)
        return;
    enter_closed(lane, lane->last_heard, status, text);
    lx_outbox_push_close(&lane->outbox, status, lane->reason);
}

void lx_lane_lost(lx_lane *lane, lynx_time_ns now, lynx_status status, const char *text)
{
    if (lane->phase != LX_PHASE_CLOSED)
        enter_closed(lane, now, status, text);
}

lynx_lane_state lx_lane_state(const lx_lane *lane)
{
    if (!lane->is_used || lane->is_closed_by_peer)
        return LYNX_LANE_GONE;
    return lane->phase == LX_PHASE_CLOSED ? LYNX_LANE_CLOSED : LYNX_LANE_ALIVE;
}

bool lx_lane_next_event(lx_lane *lane, lynx_event *event)
{
    if (lane->tells_opened) {
        lane->tells_opened = false;
        *event = (lynx_event){.type = LYNX_EVENT_OPENED,
                              .lane = lane->index,
                              .text = lane->peer_model,
                              .time = lane->opened_at};
        return true;
    }
    if (!lane->tells_closed)
        return false;
    lane->tells_closed = false;
    *event = (lynx_event){.type = LYNX_EVENT_CLOSED,
                          .lane = lane->index,
                          .status = lane->close_status,
                          .text = lane->reason,
                          .time = lane->closed_at};
    return true;
}

/* ---- output -------------------------------------------------------------------------- */

lynx_status lx_lane_send(lx_lane *lane, lx_message_type type, uint64_t request_id,
                         const void *payload, size_t size)
{
    LX_REQUIRE(lane->is_used && lane->phase != LX_PHASE_CLOSED, LYNX_ERR_CLOSED);
    /* A peer that makes us answer and does not read must not fill our memory. */
    LX_REQUIRE(lane->outbox.bytes < OUTBOX_BYTES_MAX, LYNX_ERR_LIMIT);
    return lx_outbox_push(&lane->outbox, type, request_id, (lynx_bytes){payload, size});
}

lynx_status lx_lane_refuse(lx_lane *lane, uint64_t request_id, lynx_status status,
                           const char *text)
{
    LX_REQUIRE(lane->is_used && lane->phase != LX_PHASE_CLOSED, LYNX_ERR_CLOSED);
    LX_REQUIRE(lane->outbox.bytes < OUTBOX_BYTES_MAX, LYNX_ERR_LIMIT);
    return lx_outbox_push_refuse(&lane->outbox, request_id, status, text);
}

void lx_lane_sent(lx_lane *lane, lynx_time_ns now, size_t size)
{
    lane->identity->counters.bytes_sent += size;
    lane->bytes_sent += size;
    lane->last_sent = now;
}

lynx_time_ns lx_time_after(lynx_time_ns time, uint64_t span)
{
    return span < LYNX_TIME_NEVER - time ? time + span : LYNX_TIME_NEVER;
}

/* While something waits to leave, a ping would only stand in a queue behind it. */
static bool must_ping(const lx_lane *lane, bool is_busy)
{
    return !is_busy && lx_outbox_next(&lane->outbox, 1).size == 0;
}

void lx_lane_tick(lx_lane *lane, lynx_time_ns now, bool is_busy)
{
    if (lane->phase == LX_PHASE_CLOSED)
        return;
    if (now >= lx_time_after(lane->last_heard, lane->identity->timeout_ns)) {
        char text[96];
        snprintf(text, sizeof(text), "nothing came from the peer for %llu ms",
                 (unsigned long long)(lane->identity->timeout_ns / 1000000));
        lx_lane_close(lane, LYNX_ERR_TIMEOUT, text);
    } else if (must_ping(lane, is_busy) &&
               now >= lx_time_after(lane->last_sent, lane->identity->ping_ns)) {
        const lynx_status status = lx_lane_send(lane, LX_MESSAGE_PING, 0, NULL, 0);
        if (status != LYNX_OK)
            lx_lane_close(lane, status, lynx_status_text(status));
    }
}

lynx_time_ns lx_lane_deadline(const lx_lane *lane, bool is_busy)
{
    if (lane->phase == LX_PHASE_CLOSED)
        return LYNX_TIME_NEVER;
    const lynx_time_ns timeout = lx_time_after(lane->last_heard, lane->identity->timeout_ns);
    const lynx_time_ns ping = must_ping(lane, is_busy)
                                  ? lx_time_after(lane->last_sent, lane->identity->ping_ns)
                                  : LYNX_TIME_NEVER;
    return timeout < ping ? timeout : ping;
}

/* ---- whole messages ------------------------------------------------------------------ */

static lynx_status on_hello(lx_lane *lane, lynx_time_ns now, lynx_bytes payload)
{
    lx_hello hello;
    LX_TRY(lx_hello_decode(payload, &hello));
    lx_copy_text(lane->peer_model, hello.model_name);
    LX_TRY(lx_greeting_check(lane, &hello));
    LX_TRY(lane->ops->on_hello(lane->owner, lane, now, &hello));
    lane->phase = LX_PHASE_OPEN;
    lane->last_heard = now;
    lane->tells_opened = true;
    lane->identity->news++;
    lane->opened_at = now;
    return LYNX_OK;
}

static lynx_status on_close(lx_lane *lane, lynx_time_ns now, lynx_bytes payload)
{
    lx_reason reason;
    LX_TRY(lx_reason_decode(payload, &reason));
    LX_REQUIRE(reason.status <= 0, LYNX_ERR_PROTOCOL);
    lx_copy_text(lane->reason, reason.text);
    /* A status that a younger peer knows and we do not still ends the lane with its text. */
    lynx_status status = (lynx_status)reason.status;
    if (lynx_status_scope(status) == LYNX_SCOPE_PROCESS)
        status = LYNX_ERR_CLOSED;
    enter_closed(lane, now, status, lane->reason);
    lane->is_closed_by_peer = true;
    return LYNX_OK;
}

static lynx_status dispatch(lx_lane *lane, lynx_time_ns now)
{
    const lx_frame *frame = &lane->frame;
    const lynx_bytes payload = {lane->payload, lane->payload_fill};
    if (lx_digest64(payload.data, payload.size) != frame->payload_digest)
        return lx_lane_explain(lane, LYNX_ERR_CORRUPT,
                               "a message of type %u does not match its checksum", frame->type);
    switch (frame->type) {
    case LX_MESSAGE_HELLO:
        return on_hello(lane, now, payload);
    case LX_MESSAGE_CLOSE:
        return on_close(lane, now, payload);
    case LX_MESSAGE_PING:
        return LYNX_OK;
    default:
        return lane->ops->on_message(lane->owner, lane, now, frame, payload);
    }
}

/* The fixed part of a page is here: ask the owner where its data goes. */
static lynx_status begin_page(lx_lane *lane)
{
    lx_page_message page;
    if (lx_digest64(lane->payload, LX_PAGE_FIXED_BYTES) != lane->frame.payload_digest)
        return lx_lane_explain(lane, LYNX_ERR_CORRUPT,
                               "the header of a page does not match its checksum");
    LX_TRY(lx_page_decode_header(lane->payload, &page));
    const uint32_t chunk = lane->frame.payload_bytes - LX_PAGE_FIXED_BYTES;
    LX_REQUIRE(chunk <= page.plane_bytes - page.offset, LYNX_ERR_PROTOCOL);
    LX_REQUIRE(chunk > 0 || page.plane_bytes == 0, LYNX_ERR_PROTOCOL);
    lane->page_target = NULL;
    LX_TRY(lane->ops->on_page(lane->owner, lane, lane->frame.request_id, &page, chunk,
                              &lane->page_target));
    lane->identity->counters.plane_bytes_received[page.plane] +=
        LX_FRAME_BYTES + lane->frame.payload_bytes;
    lane->left = chunk;
    lane->input = LX_INPUT_PAGE;
    return LYNX_OK;
}

/* ---- headers ------------------------------------------------------------------------- */

/* Legal lengths of the payload of a type, who may send it, and whether before HELLO. */
typedef struct message_rule {
    uint32_t least, most;
    bool from_sender, from_receiver;
} message_rule;

static const message_rule rules[LX_MESSAGE_LAST + 1] = {
    [LX_MESSAGE_HELLO] = {LX_HELLO_FIXED_BYTES, LX_HELLO_BYTES_MAX, true, true},
    [LX_MESSAGE_CLOSE] = {LX_REASON_FIXED_BYTES, LX_REASON_BYTES_MAX, true, true},
    [LX_MESSAGE_PING] = {0, 0, true, true},
    [LX_MESSAGE_REQUEST] = {LX_REQUEST_FIXED_BYTES + 4,
                            LX_REQUEST_FIXED_BYTES + 4 * (uint32_t)LYNX_PROMPT_TOKENS_MAX,
                            false, true},
    [LX_MESSAGE_RESUME] = {LX_RESUME_FIXED_BYTES, LX_PAYLOAD_BYTES_MAX, false, true},
    [LX_MESSAGE_START] = {0, 0, false, true},
    [LX_MESSAGE_ACK] = {LX_ACK_ENTRY_BYTES, LX_ACK_ENTRIES_MAX *LX_ACK_ENTRY_BYTES, false,
                        true},
    [LX_MESSAGE_AGAIN] = {LX_ACK_ENTRY_BYTES, LX_ACK_ENTRIES_MAX *LX_ACK_ENTRY_BYTES, false,
                          true},
    [LX_MESSAGE_FLOW] = {LX_FLOW_BYTES, LX_FLOW_BYTES, false, true},
    [LX_MESSAGE_END] = {0, 0, false, true},
    [LX_MESSAGE_ACCEPT] = {0, LX_ACCEPT_BYTES, true, false},
    [LX_MESSAGE_REFUSE] = {LX_REASON_FIXED_BYTES, LX_REASON_BYTES_MAX, true, false},
    [LX_MESSAGE_PROGRESS] = {LX_PROGRESS_BYTES, LX_PROGRESS_BYTES, true, false},
    [LX_MESSAGE_READY] = {0, 0, true, false},
    [LX_MESSAGE_TOKEN] = {LX_TOKEN_BYTES, LX_TOKEN_BYTES_MAX, true, false},
    [LX_MESSAGE_YIELD] = {LX_YIELD_BYTES, LX_YIELD_BYTES, true, false},
    [LX_MESSAGE_PAGE] = {LX_PAGE_FIXED_BYTES, LX_PAGE_FIXED_BYTES + LX_PAGE_CHUNK_BYTES_MAX,
                         true, false},
    [LX_MESSAGE_OPTIONS] = {LX_OPTIONS_FIXED_BYTES, LX_OPTIONS_BYTES_MAX, false, true},
    [LX_MESSAGE_HELD] = {LX_HELD_BYTES, LX_HELD_BYTES, false, true},
};

/* Lanes above 0 carry pages and what answers them alone. */
static bool is_of_any_lane(uint8_t type)
{
    return type == LX_MESSAGE_HELLO || type == LX_MESSAGE_CLOSE || type == LX_MESSAGE_PING ||
           type == LX_MESSAGE_PAGE || type == LX_MESSAGE_ACK || type == LX_MESSAGE_AGAIN ||
           type == LX_MESSAGE_FLOW;
}

/* May a message of this type come now? */
static bool may_come(const lx_lane *lane, uint8_t type)
{
    const bool is_first = type == LX_MESSAGE_HELLO;
    const bool is_free = type == LX_MESSAGE_CLOSE || type == LX_MESSAGE_PING;
    if (lane->identity->role == LX_ROLE_SENDER ? !rules[type].from_receiver
                                               : !rules[type].from_sender)
        return false;
    if (lane->phase == LX_PHASE_GREETING)
        return is_first || is_free;
    return !is_first && (lane->is_control || is_of_any_lane(type));
}

static lynx_status begin_payload(lx_lane *lane)
{
    const lx_frame *frame = &lane->frame;
    const bool is_known = frame->type >= LX_MESSAGE_HELLO && frame->type <= LX_MESSAGE_LAST;
    if (!is_known && (frame->flags & LX_FRAME_SKIPPABLE)) {
        lane->input = LX_INPUT_SKIP;
        lane->left = frame->payload_bytes;
        return LYNX_OK;
    }
    if (!is_known || !may_come(lane, frame->type))
        return lx_lane_explain(lane, LYNX_ERR_PROTOCOL,
                               "a message of type %u came where none may come", frame->type);
    const message_rule *rule = &rules[frame->type];
    if (frame->payload_bytes < rule->least || frame->payload_bytes > rule->most)
        return lx_lane_explain(lane, LYNX_ERR_PROTOCOL,
                               "a message of type %u announces %u bytes; %u to %u are legal",
                               frame->type, frame->payload_bytes, rule->least, rule->most);
    const uint32_t context = lane->identity->context_tokens;
    const uint32_t tokens = (frame->payload_bytes - rule->least) / 4 + 1;
    if (frame->type == LX_MESSAGE_REQUEST && context && tokens > context) {
        /* Refused before anything is allocated in proportion to it. */
        lane->input = LX_INPUT_SKIP;
        lane->left = frame->payload_bytes;
        return lane->ops->on_long_request(lane->owner, lane, frame->request_id, tokens);
    }
    lane->input = LX_INPUT_PAYLOAD;
    lane->payload_fill = 0;
    lane->payload_want =
        frame->type == LX_MESSAGE_PAGE ? LX_PAGE_FIXED_BYTES : frame->payload_bytes;
    return LYNX_OK;
}

static lynx_status end_header(lx_lane *lane)
{
    const lynx_status status = lx_frame_decode(lane->header, &lane->frame);
    const bool is_sender = lane->identity->role == LX_ROLE_SENDER;
    switch ((int)status) {
    case LYNX_OK:
        return begin_payload(lane);
    case LYNX_ERR_CORRUPT:
        return lx_lane_explain(lane, status, "a frame header does not match its checksum");
    case LYNX_ERR_VERSION:
        return lx_lane_explain(lane, status,
                               "the prefill node speaks version %u of the wire format, the "
                               "decode node version %u; "
                               "update the older one",
                               is_sender ? (unsigned)LX_WIRE_VERSION : lane->frame.version,
                               is_sender ? lane->frame.version : (unsigned)LX_WIRE_VERSION);
    default:
        return lx_lane_explain(lane, status,
                               "the peer does not speak the Lynx protocol, or sent a frame "
                               "header that is not legal");
    }
}

/* ---- input --------------------------------------------------------------------------- */

/* Room for 'size' bytes, at least doubled, at most what the payload wants. */
static lynx_status grow_payload(lx_lane *lane, size_t size)
{
    size_t room = lane->payload_room ? 2 * lane->payload_room : PAYLOAD_ROOM_FIRST;
    if (room > lane->payload_want && lane->payload_want > PAYLOAD_ROOM_FIRST)
        room = lane->payload_want;
    if (room < size)
        room = size;
    uint8_t *payload = lx_alloc(lane->identity->memory, room, 1);
    LX_REQUIRE(payload, LYNX_ERR_MEMORY);
    if (lane->payload_fill)
        memcpy(payload, lane->payload, lane->payload_fill);
    lx_free(lane->identity->memory, lane->payload, lane->payload_room, 1);
    lane->payload = payload;
    lane->payload_room = room;
    return LYNX_OK;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Take bytes of what the input waits for; '*taken' says how many. */
static lynx_status take(lx_lane *lane, const uint8_t *data, size_t size, size_t *taken)
{
    switch (lane->input) {
    case LX_INPUT_HEADER:
        *taken = smaller(size, LX_FRAME_BYTES - lane->header_fill);
        memcpy(lane->header + lane->header_fill, data, *taken);
        lane->header_fill += (uint32_t)*taken;
        return LYNX_OK;
    case LX_INPUT_PAYLOAD:
        *taken = smaller(size, lane->payload_want - lane->payload_fill);
        if (lane->payload_fill + *taken > lane->payload_room)
            LX_TRY(grow_payload(lane, lane->payload_fill + *taken));
        if (*taken)
            memcpy(lane->payload + lane->payload_fill, data, *taken);
        lane->payload_fill += *taken;
        return LYNX_OK;
    case LX_INPUT_PAGE:
        *taken = smaller(size, lane->left);
        if (lane->page_target && *taken) {
            if (lane->page_target != data) /* else it was received there */
                memcpy(lane->page_target, data, *taken);
            lane->page_target += *taken;
        }
        lane->left -= (uint32_t)*taken;
        return LYNX_OK;
    case LX_INPUT_SKIP:
        *taken = smaller(size, lane->left);
        lane->left -= (uint32_t)*taken;
        return LYNX_OK;
    }
    return LYNX_ERR_STATE;
}

/* Go on from what is whole now; '*is_waiting' when more bytes are needed for that. */
static lynx_status step(lx_lane *lane, lynx_time_ns now, bool *is_waiting)
{
    switch (lane->input) {
    case LX_INPUT_HEADER:
        *is_waiting = lane->header_fill < LX_FRAME_BYTES;
        if (*is_waiting)
            return LYNX_OK;
        lane->header_fill = 0;
        return end_header(lane);
    case LX_INPUT_PAYLOAD:
        *is_waiting = lane->payload_fill < lane->payload_want;
        if (*is_waiting)
            return LYNX_OK;
        if (lane->frame.type == LX_MESSAGE_PAGE)
            return begin_page(lane);
        lane->input = LX_INPUT_HEADER;
        return dispatch(lane, now);
    case LX_INPUT_PAGE:
        *is_waiting = lane->left > 0;
        if (*is_waiting)
            return LYNX_OK;
        lane->input = LX_INPUT_HEADER;
        return lane->ops->on_page_end(lane->owner, lane, now);
    case LX_INPUT_SKIP:
        *is_waiting = lane->left > 0;
        if (!*is_waiting)
            lane->input = LX_INPUT_HEADER;
        return LYNX_OK;
    }
    return LYNX_ERR_STATE;
}

/* Give 'data' to the input until it is used up, the session ends or something fails. */
static lynx_status advance(lx_lane *lane, lynx_time_ns now, const uint8_t *data, size_t size)
{
    while (size > 0 && lane->phase != LX_PHASE_CLOSED) {
        size_t taken = 0;
        LX_TRY(take(lane, data, size, &taken));
        data += taken;
        size -= taken;
        bool is_waiting = false;
        while (!is_waiting && lane->phase != LX_PHASE_CLOSED)
            LX_TRY(step(lane, now, &is_waiting));
    }
    return LYNX_OK;
}

lynx_status lx_lane_read(lx_lane *lane, lynx_time_ns now, const uint8_t *data, size_t size)
{
    lane->identity->counters.bytes_received += size;
    lane->bytes_received += size;
    if (lane->phase == LX_PHASE_CLOSED)
        return LYNX_OK;
    if (lane->phase ==
        LX_PHASE_OPEN) /* a greeting has one time-out, whatever comes before it */
        lane->last_heard = now;
    lane->reason[0] = '\0';
    const lynx_status status = advance(lane, now, data, size);
    if (status == LYNX_OK)
        return LYNX_OK;
    if (!lane->reason[0])
        (void)lx_lane_explain(lane, status, "%s (message of type %u)", lynx_status_text(status),
                              lane->frame.type);
    lx_lane_close(lane, status, lane->reason);
    return status;
}

/* ---- life ---------------------------------------------------------------------------- */

static lynx_status check_options(const lynx_session_options *o)
{
    LX_REQUIRE(o->struct_size >= sizeof(*o) && o->model, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(o->timeout_ns > 0 && o->ping_ns > 0 && o->stall_ns > 0, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(o->connections_max >= 1 && o->connections_max <= 4096 && o->sessions_max >= 1 &&
                   o->sessions_max <= 1024,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(o->requests_max >= 1 && o->requests_max <= LYNX_REQUESTS_MAX, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(o->lanes >= 1 && o->lanes <= LYNX_LANES_MAX, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(o->pool_bytes[0] >= o->lanes && o->pool_bytes[1] >= o->lanes, LYNX_ERR_ARGUMENT);
    return lynx_shape_check(&o->model->shape);
}

lynx_status lx_identity_init(lx_identity *identity, const lynx_session_options *options,
                             uint8_t role)
{
    const lynx_model *model = options->model;
    identity->memory = lx_allocator_or_default(options->memory);
    identity->role = role;
    LX_TRY(check_options(options));
    const uint32_t layer_count = model->shape.layer_count;
    identity->layers = lx_alloc(identity->memory, layer_count, sizeof(*identity->layers));
    LX_REQUIRE(identity->layers, LYNX_ERR_MEMORY);
    memcpy(identity->layers, model->shape.layers, layer_count * sizeof(*identity->layers));
    identity->shape = model->shape;
    identity->shape.layers = identity->layers;
    identity->fingerprint = model->fingerprint;
    snprintf(identity->model_name, sizeof(identity->model_name), "%s",
             model->name ? model->name : "");
    identity->context_tokens = model->context_tokens;
    identity->allow_other_weights = options->allow_other_weights;
    identity->timeout_ns = options->timeout_ns;
    identity->ping_ns = options->ping_ns;
    return LYNX_OK;
}

void lx_identity_fini(lx_identity *identity)
{
    if (identity->layers)
        lx_free(identity->memory, identity->layers, identity->shape.layer_count,
                sizeof(*identity->layers));
}

lynx_status lx_lane_init(lx_lane *lane, lx_identity *identity, uint32_t index,
                         const lx_lane_ops *ops, void *owner, const lx_hello *hello,
                         lynx_time_ns now)
{
    uint8_t payload[LX_HELLO_BYTES_MAX];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    *lane = (lx_lane){.ops = ops,
                      .owner = owner,
                      .identity = identity,
                      .index = index,
                      .is_used = true,
                      .is_control = identity->role == LX_ROLE_RECEIVER && index == 0,
                      .last_heard = now,
                      .last_sent = now};
    lx_outbox_init(&lane->outbox, identity->memory);
    identity->counters.connections++;
    lx_hello_encode(&writer, hello);
    return lx_lane_send(lane, LX_MESSAGE_HELLO, 0, payload, writer.offset);
}

void lx_lane_fini(lx_lane *lane)
{
    if (!lane->is_used)
        return;
    lx_free(lane->identity->memory, lane->payload, lane->payload_room, 1);
    lane->payload = NULL;
    lane->payload_room = 0;
    lx_outbox_fini(&lane->outbox);
    lane->identity->counters.connections--;
    lane->is_used = false;
}

void lynx_session_options_init(lynx_session_options *options)
{
    *options = (lynx_session_options){
        .struct_size = sizeof(*options),
        .timeout_ns = 10000000000ull,
        .ping_ns = 1000000000ull,
        .connections_max = 64,
        .sessions_max = 32,
        .requests_max = LYNX_REQUESTS_MAX,
        .resume_ns = 60000000000ull,
        .stall_ns = 250000000ull,
        .lanes = 1,
        .pool_bytes = {1ull << 30, 1ull << 30},
    };
}
