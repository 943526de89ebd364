/* SPDX-License-Identifier: MIT */
#include "base/check.h"
#include "wire/messages.h"

void lx_options_encode(lx_writer *writer, const lx_options_message *options,
                       const lynx_sampling *sampling)
{
    const uint32_t allowed_bytes = sampling->allowed ? sampling->allowed_bytes : 0;
    lx_write_u32(writer, options->has_logprobs ? LX_OPTIONS_LOGPROBS : 0);
    lx_write_u32(writer, options->top_logprobs);
    lx_write_u32(writer, sampling->bias_count);
    lx_write_u32(writer, allowed_bytes);
    for (uint32_t i = 0; i < sampling->bias_count; i++) {
        lx_write_u32(writer, (uint32_t)sampling->biases[i].token);
        lx_write_f32(writer, sampling->biases[i].bias);
    }
    lx_write_bytes(writer, sampling->allowed, allowed_bytes);
}

void lx_options_read_biases(const lx_options_message *options, lynx_bias *biases)
{
    lx_reader reader = lx_reader_of(options->biases.data, options->biases.size);
    for (uint32_t i = 0; i < options->bias_count; i++) {
        biases[i].token = (lynx_token)lx_read_u32(&reader);
        biases[i].bias = lx_read_f32(&reader);
    }
}

static bool biases_are_legal(const lx_options_message *options)
{
    lx_reader reader = lx_reader_of(options->biases.data, options->biases.size);
    int64_t before = -1;
    for (uint32_t i = 0; i < options->bias_count; i++) {
        const int32_t token = (int32_t)lx_read_u32(&reader);
        const float bias = lx_read_f32(&reader);
        if (token <= before || !(bias >= -100.0f && bias <= 100.0f))
            return false;
        before = token;
    }
    return true;
}

lynx_status lx_options_decode(lynx_bytes payload, lx_options_message *options)
{
    lx_reader reader = lx_reader_of(payload.data, payload.size);
    lx_options_message o = {0};
    const uint32_t flags = lx_read_u32(&reader);
    o.top_logprobs = lx_read_u32(&reader);
    o.bias_count = lx_read_u32(&reader);
    o.allowed.size = lx_read_u32(&reader);
    o.has_logprobs = flags == LX_OPTIONS_LOGPROBS;
    LX_REQUIRE(!reader.ran_out && flags <= LX_OPTIONS_LOGPROBS, LYNX_ERR_PROTOCOL);
    LX_REQUIRE(o.top_logprobs <= (o.has_logprobs ? (uint32_t)LYNX_TOP_LOGPROBS_MAX : 0u) &&
                   o.bias_count <= LYNX_BIASES_MAX &&
                   o.allowed.size <= LX_OPTIONS_ALLOWED_BYTES_MAX,
               LYNX_ERR_PROTOCOL);
    o.biases.size = (size_t)o.bias_count * LX_OPTIONS_BIAS_BYTES;
    o.biases.data = lx_read_view(&reader, o.biases.size);
    o.allowed.data = lx_read_view(&reader, o.allowed.size);
    LX_REQUIRE(!reader.ran_out && lx_reader_left(&reader) == 0 && biases_are_legal(&o),
               LYNX_ERR_PROTOCOL);
    *options = o;
    return LYNX_OK;
}
