/* SPDX-License-Identifier: MIT */
#include "base/check.h"
#include "wire/messages.h"

void lx_held_encode(lx_writer *writer, const lx_held_message *held)
{
    lx_write_u32(writer, held->token_count);
    lx_spec_encode(writer, &held->spec);
    lx_write_bytes(writer, held->name, sizeof(held->name));
}

lynx_status lx_held_decode(lynx_bytes payload, lx_held_message *held)
{
    lx_reader reader = lx_reader_of(payload.data, payload.size);
    lx_held_message h = {.token_count = lx_read_u32(&reader)};
    LX_TRY(lx_spec_decode(&reader, &h.spec));
    lx_read_bytes(&reader, h.name, sizeof(h.name));
    LX_REQUIRE(!reader.ran_out && lx_reader_left(&reader) == 0, LYNX_ERR_PROTOCOL);
    *held = h;
    return LYNX_OK;
}

void lx_accept_encode(lx_writer *writer, uint32_t left_out)
{
    lx_write_u32(writer, left_out);
}

lynx_status lx_accept_decode(lynx_bytes payload, uint32_t *left_out)
{
    lx_reader reader = lx_reader_of(payload.data, payload.size);
    const uint32_t value = payload.size ? lx_read_u32(&reader) : 0;
    LX_REQUIRE(!reader.ran_out && lx_reader_left(&reader) == 0, LYNX_ERR_PROTOCOL);
    *left_out = value;
    return LYNX_OK;
}
