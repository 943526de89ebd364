/* SPDX-License-Identifier: MIT */
#include "base/check.h"
#include "wire/messages.h"

void lx_reason_encode(lx_writer *writer, const lx_reason *reason)
{
    lx_write_u32(writer, (uint32_t)reason->status);
    lx_write_u32(writer, (uint32_t)reason->text.size);
    lx_write_bytes(writer, reason->text.data, reason->text.size);
}

lynx_status lx_reason_decode(lynx_bytes payload, lx_reason *reason)
{
    lx_reader reader = lx_reader_of(payload.data, payload.size);
    lx_reason r = {0};
    r.status = (int32_t)lx_read_u32(&reader);
    r.text.size = lx_read_u32(&reader);
    LX_REQUIRE(r.text.size <= LX_TEXT_BYTES_MAX, LYNX_ERR_PROTOCOL);
    r.text.data = lx_read_view(&reader, r.text.size);
    LX_REQUIRE(!reader.ran_out && lx_reader_left(&reader) == 0, LYNX_ERR_PROTOCOL);
    *reason = r;
    return LYNX_OK;
}

/* PROGRESS and YIELD are a number. */
static lynx_status decode_number(lynx_bytes payload, uint32_t *number)
{
    lx_reader reader = lx_reader_of(payload.data, payload.size);
    const uint32_t value = lx_read_u32(&reader);
    LX_REQUIRE(!reader.ran_out && lx_reader_left(&reader) == 0, LYNX_ERR_PROTOCOL);
    *number = value;
    return LYNX_OK;
}

void lx_progress_encode(lx_writer *writer, uint32_t done)
{
    lx_write_u32(writer, done);
}

lynx_status lx_progress_decode(lynx_bytes payload, uint32_t *done)
{
    return decode_number(payload, done);
}

void lx_yield_encode(lx_writer *writer, uint32_t token_count)
{
    lx_write_u32(writer, token_count);
}

lynx_status lx_yield_decode(lynx_bytes payload, uint32_t *token_count)
{
    return decode_number(payload, token_count);
}

void lx_token_encode(lx_writer *writer, const lx_token_message *token)
{
    lx_write_u32(writer, token->index);
    lx_write_u32(writer, (uint32_t)token->token);
    if (!token->has_logprobs)
        return;
    lx_write_f32(writer, token->logprobs.logprob);
    for (uint32_t i = 0; i < token->logprobs.top_count; i++) {
        lx_write_u32(writer, (uint32_t)token->logprobs.top[i].token);
        lx_write_f32(writer, token->logprobs.top[i].logprob);
    }
}

static void read_logprobs(lx_reader *reader, lynx_logprobs *logprobs)
{
    logprobs->logprob = lx_read_f32(reader);
    while (lx_reader_left(reader) >= LX_TOKEN_TOP_BYTES &&
           logprobs->top_count < LYNX_TOP_LOGPROBS_MAX) {
        lynx_token_logprob *top = &logprobs->top[logprobs->top_count++];
        top->token = (lynx_token)lx_read_u32(reader);
        top->logprob = lx_read_f32(reader);
    }
}

lynx_status lx_token_decode(lynx_bytes payload, lx_token_message *token)
{
    lx_reader reader = lx_reader_of(payload.data, payload.size);
    lx_token_message t = {0};
    t.index = lx_read_u32(&reader);
    t.token = (int32_t)lx_read_u32(&reader);
    t.has_logprobs = lx_reader_left(&reader) > 0;
    if (t.has_logprobs)
        read_logprobs(&reader, &t.logprobs);
    LX_REQUIRE(!reader.ran_out && lx_reader_left(&reader) == 0, LYNX_ERR_PROTOCOL);
    *token = t;
    return LYNX_OK;
}

void lx_flow_encode(lx_writer *writer, const lx_flow_message *flow)
{
    lx_write_u64(writer, flow->received);
    lx_write_u64(writer, flow->limits[0]);
    lx_write_u64(writer, flow->limits[1]);
}

lynx_status lx_flow_decode(lynx_bytes payload, lx_flow_message *flow)
{
    lx_reader reader = lx_reader_of(payload.data, payload.size);
    lx_flow_message f = {0};
    f.received = lx_read_u64(&reader);
    f.limits[0] = lx_read_u64(&reader);
    f.limits[1] = lx_read_u64(&reader);
    LX_REQUIRE(!reader.ran_out && lx_reader_left(&reader) == 0, LYNX_ERR_PROTOCOL);
    *flow = f;
    return LYNX_OK;
}
