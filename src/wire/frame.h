/* SPDX-License-Identifier: MIT */
/*
 * frame.h - the header in front of every message; docs/format.md, chapter Frame.
 *
 *     offset  0      4     5      6       8            16
 *             +------+-----+------+-------+------------+
 *             | LYNX | ver | type | flags | request id |
 *             +------+-----+------+-------+------------+
 *     offset  16              20         24               32              40
 *             +---------------+----------+----------------+---------------+
 *             | payload bytes | 0        | payload XXH3   | header XXH3   |
 *             +---------------+----------+----------------+---------------+
 *
 * The last field covers the 32 bytes before it, so that no length is trusted before its check.
 */
#ifndef LX_WIRE_FRAME_H
#define LX_WIRE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "lynx/status.h"

enum {
    LX_FRAME_BYTES = 40,
    LX_WIRE_VERSION = 2,
    LX_WIRE_VERSION_MINOR = 7,
    LX_MINOR_OF_WINDOWS = 5,                 /* from it on pages begin where windows begin */
    LX_FRAME_SKIPPABLE = 1,                  /* flag: who does not know the type skips it */
    LX_PAYLOAD_BYTES_MAX = (64 << 20) + 4096 /* a REQUEST of 2^24 tokens and its fixed part */
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
    LX_MESSAGE_AGAIN = 11,
    LX_MESSAGE_END = 12,
    LX_MESSAGE_CLOSE = 13,
    LX_MESSAGE_PING = 14,
    LX_MESSAGE_RESUME = 15,
    LX_MESSAGE_FLOW = 16,
    LX_MESSAGE_YIELD = 17,
    LX_MESSAGE_OPTIONS = 18,
    LX_MESSAGE_HELD = 19, /* skippable: who does not know it sends everything */
    LX_MESSAGE_LAST = LX_MESSAGE_HELD
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

/*
 * Read them.
 *
 * Returns LYNX_OK; LYNX_ERR_CORRUPT (the digest does not match); LYNX_ERR_PROTOCOL (not ours,
 * a reserved bit is set, the payload is above its limit); LYNX_ERR_VERSION (whole and of
 * another version: 'frame->version' alone is written). Otherwise 'frame' is written on success
 * only.
 */
lynx_status lx_frame_decode(const uint8_t bytes[LX_FRAME_BYTES], lx_frame *frame);

#endif
