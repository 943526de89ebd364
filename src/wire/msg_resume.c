/* SPDX-License-Identifier: MIT */
#include "base/check.h"
#include "wire/messages.h"

void lx_resume_encode_count(lx_writer *writer, uint32_t count, uint32_t serial)
{
    lx_write_u32(writer, count);
    lx_write_u32(writer, serial);
}

void lx_resume_encode_entry(lx_writer *writer, const lx_resume_entry *entry)
{
    lx_write_u64(writer, entry->request_id);
    lx_write_bytes(writer, entry->ticket, sizeof(entry->ticket));
    lx_write_u32(writer, entry->next_token);
    lx_write_u32(writer, entry->flags);
    lx_write_u32(writer, (uint32_t)entry->held.size);
    lx_write_u32(writer, 0);
    lx_write_bytes(writer, entry->held.data, entry->held.size);
}

lynx_status lx_resume_decode_count(lx_reader *reader, uint32_t *count, uint32_t *serial)
{
    const uint32_t value = lx_read_u32(reader);
    const uint32_t number = lx_read_u32(reader);
    LX_REQUIRE(!reader->ran_out && value <= LYNX_REQUESTS_MAX, LYNX_ERR_PROTOCOL);
    *count = value;
    *serial = number;
    return LYNX_OK;
}

lynx_status lx_resume_decode_entry(lx_reader *reader, lx_resume_entry *entry)
{
    lx_resume_entry e = {0};
    e.request_id = lx_read_u64(reader);
    lx_read_bytes(reader, e.ticket, sizeof(e.ticket));
    e.next_token = lx_read_u32(reader);
    e.flags = lx_read_u32(reader);
    e.held.size = lx_read_u32(reader);
    const uint32_t reserved = lx_read_u32(reader);
    e.held.data = lx_read_view(reader, e.held.size);
    LX_REQUIRE(!reader->ran_out && reserved == 0, LYNX_ERR_PROTOCOL);
    LX_REQUIRE(e.request_id >= 1 &&
                   (e.flags & ~(uint32_t)(LX_RESUME_STARTED | LX_RESUME_ASKED)) == 0,
               LYNX_ERR_PROTOCOL);
    *entry = e;
    return LYNX_OK;
}
