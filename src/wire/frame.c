/* SPDX-License-Identifier: MIT */
#include "wire/frame.h"

#include "base/check.h"
#include "base/cursor.h"
#include "base/digest.h"

enum { DIGESTED_BYTES = 32 };
static const uint32_t MAGIC = 0x584E594Cu; /* "LYNX" */

void lx_frame_encode(const lx_frame *frame, uint8_t bytes[LX_FRAME_BYTES])
{
    lx_writer writer = lx_writer_of(bytes, LX_FRAME_BYTES);
    lx_write_u32(&writer, MAGIC);
    lx_write_u8(&writer, frame->version);
    lx_write_u8(&writer, frame->type);
    lx_write_u16(&writer, frame->flags);
    lx_write_u64(&writer, frame->request_id);
    lx_write_u32(&writer, frame->payload_bytes);
    lx_write_u32(&writer, 0);
    lx_write_u64(&writer, frame->payload_digest);
    lx_write_u64(&writer, lx_digest64(bytes, DIGESTED_BYTES));
}

lynx_status lx_frame_decode(const uint8_t bytes[LX_FRAME_BYTES], lx_frame *frame)
{
    lx_reader reader = lx_reader_of(bytes, LX_FRAME_BYTES);
    lx_frame f = {0};
    const uint32_t magic = lx_read_u32(&reader);
    f.version = lx_read_u8(&reader);
    f.type = lx_read_u8(&reader);
    f.flags = lx_read_u16(&reader);
    f.request_id = lx_read_u64(&reader);
    f.payload_bytes = lx_read_u32(&reader);
    const uint32_t reserved = lx_read_u32(&reader);
    f.payload_digest = lx_read_u64(&reader);
    const uint64_t digest = lx_read_u64(&reader);

    LX_REQUIRE(magic == MAGIC, LYNX_ERR_PROTOCOL);
    LX_REQUIRE(digest == lx_digest64(bytes, DIGESTED_BYTES), LYNX_ERR_CORRUPT);
    /* Another version may use every field but these otherwise. */
    frame->version = f.version;
    LX_REQUIRE(f.version == LX_WIRE_VERSION, LYNX_ERR_VERSION);
    LX_REQUIRE(reserved == 0 && (f.flags & ~LX_FRAME_SKIPPABLE) == 0, LYNX_ERR_PROTOCOL);
    LX_REQUIRE(f.payload_bytes <= LX_PAYLOAD_BYTES_MAX, LYNX_ERR_PROTOCOL);
    *frame = f;
    return LYNX_OK;
}
