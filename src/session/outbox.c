/* SPDX-License-Identifier: MIT */
#include "session/outbox.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"

struct lx_control {
    lx_control *next;
    size_t size; /* of 'bytes' */
    uint8_t bytes[];
};

void lx_outbox_init(lx_outbox *outbox, const lynx_allocator *memory)
{
    memset(outbox, 0, sizeof(*outbox));
    outbox->memory = memory;
}

static void encode_frame(uint8_t *bytes, lx_message_type type, uint64_t request_id,
                         lynx_bytes payload)
{
    const lx_frame frame = {
        .version = LX_WIRE_VERSION,
        .type = (uint8_t)type,
        .flags = type == LX_MESSAGE_HELD ? LX_FRAME_SKIPPABLE : 0,
        .request_id = request_id,
        .payload_bytes = (uint32_t)payload.size,
        .payload_digest = lx_digest64(payload.data, payload.size),
    };
    lx_frame_encode(&frame, bytes);
}

lynx_status lx_outbox_push(lx_outbox *outbox, lx_message_type type, uint64_t request_id,
                           lynx_bytes payload)
{
    const size_t size = LX_FRAME_BYTES + payload.size;
    lx_control *control = lx_alloc(outbox->memory, 1, sizeof(*control) + size);
    LX_REQUIRE(control, LYNX_ERR_MEMORY);
    control->next = NULL;
    control->size = size;
    encode_frame(control->bytes, type, request_id, payload);
    if (payload.size)
        memcpy(control->bytes + LX_FRAME_BYTES, payload.data, payload.size);
    if (outbox->last)
        outbox->last->next = control;
    else
        outbox->first = control;
    outbox->last = control;
    outbox->bytes += size;
    return LYNX_OK;
}

/* Encode a reason, its text cut to what fits; returns its size. */
static size_t encode_reason(uint8_t bytes[LX_REASON_BYTES_MAX], lynx_status status,
                            const char *text)
{
    lx_writer writer = lx_writer_of(bytes, LX_REASON_BYTES_MAX);
    size_t length = text ? strlen(text) : 0;
    if (length > LX_TEXT_BYTES_MAX)
        length = LX_TEXT_BYTES_MAX;
    const lx_reason reason = {(int32_t)status, {(const uint8_t *)text, length}};
    lx_reason_encode(&writer, &reason);
    return writer.offset;
}

lynx_status lx_outbox_push_refuse(lx_outbox *outbox, uint64_t request_id, lynx_status status,
                                  const char *text)
{
    uint8_t payload[LX_REASON_BYTES_MAX];
    const size_t size = encode_reason(payload, status, text);
    return lx_outbox_push(outbox, LX_MESSAGE_REFUSE, request_id, (lynx_bytes){payload, size});
}

void lx_outbox_push_close(lx_outbox *outbox, lynx_status status, const char *text)
{
    uint8_t *payload = outbox->close + LX_FRAME_BYTES;
    const size_t size = encode_reason(payload, status, text);
    encode_frame(outbox->close, LX_MESSAGE_CLOSE, 0, (lynx_bytes){payload, size});
    outbox->close_bytes = LX_FRAME_BYTES + size;
}

lynx_bytes lx_outbox_next(const lx_outbox *outbox, size_t limit)
{
    const uint8_t *bytes = outbox->first ? outbox->first->bytes : outbox->close;
    const size_t size = outbox->first ? outbox->first->size : outbox->close_bytes;
    const size_t left = size - outbox->offset;
    return (lynx_bytes){bytes + outbox->offset, left < limit ? left : limit};
}

void lx_outbox_left(lx_outbox *outbox, size_t size)
{
    lx_control *control = outbox->first;
    outbox->offset += size;
    if (!control) {
        if (outbox->offset < outbox->close_bytes)
            return;
        outbox->close_bytes = 0;
        outbox->offset = 0;
        return;
    }
    if (outbox->offset < control->size)
        return;
    outbox->offset = 0;
    outbox->bytes -= control->size;
    outbox->first = control->next;
    if (!outbox->first)
        outbox->last = NULL;
    lx_free(outbox->memory, control, 1, sizeof(*control) + control->size);
}

void lx_outbox_fini(lx_outbox *outbox)
{
    while (outbox->first)
        lx_outbox_left(outbox, outbox->first->size - outbox->offset);
}
