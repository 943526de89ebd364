/* SPDX-License-Identifier: MIT */
/*
 * channel.h - what both ends of a session share: frames in and out, hello, ping, time-out,
 * close.
 *
 *     GREETING --HELLO is right--> OPEN --CLOSE came, or we failed--> CLOSED
 *         +------- wrong version, other model, broken frame -----------^
 *
 * After CLOSED nothing is read any more; what is queued (the reason for the peer) still leaves.
 */
#ifndef LX_SESSION_CHANNEL_H
#define LX_SESSION_CHANNEL_H

#include "lynx/session.h"
#include "session/event_queue.h"
#include "session/outbox.h"
#include "wire/frame.h"
#include "wire/messages.h"

typedef enum lx_phase { LX_PHASE_GREETING, LX_PHASE_OPEN, LX_PHASE_CLOSED } lx_phase;

/* Which end; the numbers travel in HELLO. */
enum { LX_ROLE_SENDER = 0, LX_ROLE_RECEIVER = 1 };

/* Where the input stands. */
typedef enum lx_input_phase {
    LX_INPUT_HEADER,  /* of a frame */
    LX_INPUT_PAYLOAD, /* of a control message, or the fixed part of PAGE */
    LX_INPUT_PAGE,    /* data of a page's chunk */
    LX_INPUT_SKIP     /* payload of a type that we do not know */
} lx_input_phase;

/* What the owner of a channel does with messages of OPEN; an error closes the session. Their
 * lengths lie in the limits of their types, and only the types of the other role come. */
typedef struct lx_channel_ops {
    lynx_status (*on_message)(void *owner, lynx_time_ns now, const lx_frame *frame,
                              lynx_bytes payload);
    /* A chunk comes: '*target' gets the address for its bytes; NULL: they are dropped. */
    lynx_status (*on_page)(void *owner, uint64_t request_id, const lx_page_message *page,
                           uint32_t chunk_bytes, uint8_t **target);
    /* All bytes of the chunk came. */
    lynx_status (*on_page_end)(void *owner, lynx_time_ns now);
} lx_channel_ops;

typedef struct lx_channel {
    const lx_channel_ops *ops;
    void *owner;
    const lynx_allocator *memory;
    lx_phase phase;
    uint8_t role; /* of this end */

    /* Who we are. */
    lynx_shape shape;
    lynx_layer_shape *layers; /* behind 'shape' */
    lynx_fingerprint fingerprint;
    char model_name[LX_TEXT_BYTES_MAX + 1];
    uint32_t context_tokens; /* 0: no limit of our own */
    bool allow_other_weights;
    uint64_t timeout_ns, ping_ns;
    uint32_t chunk_bytes;

    /* Input. The room for a payload grows with the bytes that came, not with those announced.
     */
    lx_input_phase input;
    uint8_t header[LX_FRAME_BYTES];
    uint32_t header_fill;
    lx_frame frame; /* the last whole header */
    uint8_t *payload;
    size_t payload_room, payload_fill;
    size_t payload_want;  /* bytes of the payload or its fixed part, LX_INPUT_PAYLOAD */
    uint8_t *page_target; /* where the next byte of a chunk goes */
    uint32_t left;        /* of the chunk or the skipped payload */

    lx_outbox outbox;
    lx_event_queue events;
    lynx_time_ns last_heard, last_sent;
    lynx_session_counters counters;
    char reason[LX_TEXT_BYTES_MAX + 1]; /* set by whoever returns an error to explain it */
} lx_channel;

/* Queues HELLO. On failure lx_channel_fini frees what was made. */
lynx_status lx_channel_init(lx_channel *channel, const lynx_session_options *options,
                            uint8_t role, const lx_channel_ops *ops, void *owner,
                            lynx_time_ns now);
void lx_channel_fini(lx_channel *channel);

lynx_status lx_channel_read(lx_channel *channel, lynx_time_ns now, const uint8_t *data,
                            size_t size);

/* Queue a control message. LYNX_ERR_MEMORY, or LYNX_ERR_CLOSED when the session is over. */
lynx_status lx_channel_send(lx_channel *channel, lx_message_type type, uint64_t request_id,
                            const void *payload, size_t size);

/* Time-out and ping; 'is_busy' when pages wait to leave, which are as good as a ping. */
void lx_channel_tick(lx_channel *channel, lynx_time_ns now, bool is_busy);
lynx_time_ns lx_channel_deadline(const lx_channel *channel, bool is_busy);

/* Queue an event. */
lynx_status lx_channel_event(lx_channel *channel, const lynx_event *event, const char *text);

/* End the session: event for us, CLOSE for the peer. Only the first call counts. */
void lx_channel_close(lx_channel *channel, lynx_status status, const char *text);

/* Put a sentence in 'reason' and return 'status'. */
lynx_status lx_channel_explain(lx_channel *channel, lynx_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Copy a text of the peer, terminated, with a question mark for each control character: it may
 * end in a terminal. */
void lx_channel_copy_text(char target[LX_TEXT_BYTES_MAX + 1], lynx_bytes text);

/* ---- greeting.c ---------------------------------------------------------------------- */

/* Queue our HELLO. */
lynx_status lx_greeting_send(lx_channel *channel);

/* Judge the peer's HELLO: LYNX_OK, or an error that is explained. 'name' gets its model's. */
lynx_status lx_greeting_check(lx_channel *channel, lynx_bytes payload,
                              char name[LX_TEXT_BYTES_MAX + 1]);

#endif
