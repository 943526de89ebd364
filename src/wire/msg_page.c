/* SPDX-License-Identifier: MIT */
#include "base/check.h"
#include "wire/messages.h"

void lx_page_encode_header(lx_writer *writer, const lx_page_message *page)
{
    lx_write_u32(writer, page->page.page);
    lx_write_u16(writer, page->page.layer);
    lx_write_u8(writer, page->page.side);
    lx_write_u8(writer, page->plane);
    lx_write_u32(writer, page->plane_bytes);
    lx_write_u32(writer, page->offset);
    lx_write_u64(writer, page->plane_digest);
    lx_write_u64(writer, 0);
}

lynx_status lx_page_decode_header(const uint8_t bytes[LX_PAGE_FIXED_BYTES],
                                  lx_page_message *page)
{
    lx_reader reader = lx_reader_of(bytes, LX_PAGE_FIXED_BYTES);
    lx_page_message p = {0};
    p.page.page = lx_read_u32(&reader);
    p.page.layer = lx_read_u16(&reader);
    p.page.side = lx_read_u8(&reader);
    p.plane = lx_read_u8(&reader);
    p.plane_bytes = lx_read_u32(&reader);
    p.offset = lx_read_u32(&reader);
    p.plane_digest = lx_read_u64(&reader);
    const uint64_t reserved = lx_read_u64(&reader);
    LX_REQUIRE(reserved == 0 && p.page.side <= 1 && p.plane < LYNX_PLANES_MAX,
               LYNX_ERR_PROTOCOL);
    LX_REQUIRE(p.offset <= p.plane_bytes, LYNX_ERR_PROTOCOL);
    *page = p;
    return LYNX_OK;
}

void lx_ack_encode_entry(lx_writer *writer, const lx_ack_entry *entry)
{
    lx_write_u32(writer, entry->page.page);
    lx_write_u16(writer, entry->page.layer);
    lx_write_u8(writer, entry->page.side);
    lx_write_u8(writer, entry->plane);
}

lynx_status lx_ack_decode_entry(lx_reader *reader, lx_ack_entry *entry)
{
    entry->page.page = lx_read_u32(reader);
    entry->page.layer = lx_read_u16(reader);
    entry->page.side = lx_read_u8(reader);
    entry->plane = lx_read_u8(reader);
    LX_REQUIRE(!reader->ran_out && entry->page.side <= 1 && entry->plane < LYNX_PLANES_MAX,
               LYNX_ERR_PROTOCOL);
    return LYNX_OK;
}
