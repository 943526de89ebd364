/* SPDX-License-Identifier: MIT */
/*
 * frame.h - the header in front of every message; docs/format.md, chapter Frame.
 *
 *   offset  0      4     5     6      8            16              20        24         32
 *           +------+-----+-----+------+------------+---------------+---------+----------+---------+
 *           | LYNX | ver | type| flags| request id | payload bytes | zero    | payload  | header  |
 *           | u32  | u8  | u8  | u16  | u64        | u32           | u32     | XXH3-64  | XXH3-64 |
 *           +------+-----+-----+------+------------+---------------+---------+----------+---------+
 *                                                                                          40 bytes
 * The last field covers the 32 bytes before it, so that no length is trusted before its check.
 */
#ifndef LX_WIRE_FRAME_H
#define LX_WIRE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "lynx/status.h"

enum {
    LX_FRAME_BYTES = 40,
    LX_WIRE_VERSION = 1,
    LX_PAYLOAD_BYTES_MAX = 64 << 20, /* a request of 2^24 tokens */
    LX_FRAME_SKIPPABLE = 1           /* flag: a receiver that does not know the type skips it */
};

typedef enum lx_message_type {
    LX_MESSAGE_HELLO = 1,
    LX_MESSAGE_REQUEST = 2,
    LX_MESSAGE_ACCEPT = 3,
    LX_MESSAGE_REFUSE = 4,
    LX_MESSAGE_PROGRESS = 5,
    LX_MESSAGE_READY = 6,
    LX_MESSAGE_START = 7,
    LX_MESSAGE_TOKEN = 8,
    LX_MESSAGE_PAGE = 9,
    LX_MESSAGE_ACK = 10,
    LX_MESSAGE_FINISH = 11,
    LX_MESSAGE_CANCEL = 12,
    LX_MESSAGE_CLOSE = 13,
    LX_MESSAGE_PING = 14
} lx_message_type;

typedef struct lx_frame {
    uint8_t version;
    uint8_t type;
    uint16_t flags;
    uint64_t request_id;
    uint32_t payload_bytes;
    uint64_t payload_digest; /* XXH3-64 of the payload; of PAGE, of its first 32 bytes */
} lx_frame;

/* Write the LX_FRAME_BYTES of 'frame'. */
void lx_frame_encode(const lx_frame *frame, uint8_t bytes[LX_FRAME_BYTES]);

/* Read them. LYNX_ERR_PROTOCOL: not ours, or reserved bits set. LYNX_ERR_CORRUPT: the header's digest
 * does not match. The version is for the caller to judge. */
lynx_status lx_frame_decode(const uint8_t bytes[LX_FRAME_BYTES], lx_frame *frame);

#endif
