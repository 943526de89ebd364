/* SPDX-License-Identifier: MIT */
/*
 * outbox.h - framed control messages that wait to leave, oldest first.
 *
 * A message does not move from push until its last byte has left: the owner may hold a view of
 * it while others are pushed. CLOSE, the last message, has a place of its own, so that the peer
 * learns the reason even when memory has run out.
 */
#ifndef LX_SESSION_OUTBOX_H
#define LX_SESSION_OUTBOX_H

#include "lynx/memory.h"
#include "wire/frame.h"
#include "wire/messages.h"

typedef struct lx_control lx_control;

typedef struct lx_outbox {
    const lynx_allocator *memory;
    lx_control *first, *last;
    size_t bytes;       /* of the messages that wait, CLOSE excepted */
    size_t offset;      /* bytes of the oldest message that have left */
    size_t close_bytes; /* 0: no CLOSE waits */
    uint8_t close[LX_FRAME_BYTES + LX_REASON_BYTES_MAX];
} lx_outbox;

void lx_outbox_init(lx_outbox *outbox, const lynx_allocator *memory);
void lx_outbox_fini(lx_outbox *outbox);

/* Frame and append a message; 'payload' is copied. LYNX_ERR_MEMORY: nothing was appended. */
lynx_status lx_outbox_push(lx_outbox *outbox, lx_message_type type, uint64_t request_id,
                           lynx_bytes payload);

/* Append REFUSE; 'text' (NULL: none) is cut to LX_TEXT_BYTES_MAX. */
lynx_status lx_outbox_push_refuse(lx_outbox *outbox, uint64_t request_id, lynx_status status,
                                  const char *text);

/* Put CLOSE behind everything else; nothing is pushed after it. Cannot fail. */
void lx_outbox_push_close(lx_outbox *outbox, lynx_status status, const char *text);

/* The next bytes, at most 'limit'; size 0 when nothing waits. */
lynx_bytes lx_outbox_next(const lx_outbox *outbox, size_t limit);

/* 'size' of the bytes of lx_outbox_next have left. */
void lx_outbox_left(lx_outbox *outbox, size_t size);

#endif
