/* SPDX-License-Identifier: MIT */
/*
 * channel.h - what both ends of a session share: frames in and out, hello, ping, time-out, close.
 *
 *     GREETING --HELLO is right--> OPEN --CLOSE came, or we failed--> CLOSED
 *         +------- wrong version, other model, broken frame -----------^
 *
 * After CLOSED nothing is read any more; what is queued (the reason for the peer) still leaves.
 */
#ifndef LX_SESSION_CHANNEL_H
#define LX_SESSION_CHANNEL_H

#include "lynx/session.h"
#include "wire/frame.h"
#include "wire/messages.h"

typedef enum lx_phase { LX_PHASE_GREETING, LX_PHASE_OPEN, LX_PHASE_CLOSED } lx_phase;

typedef struct lx_control lx_control; /* a framed control message that waits to leave */
typedef struct lx_event_node lx_event_node;

/* What the owner of a channel does with messages; 'owner' is its pointer. Errors close the
 * session. A page's data goes where on_page says (NULL: it is read and dropped). */
typedef struct lx_channel_ops {
    lynx_status (*on_message)(void *owner, lynx_time_ns now, const lx_frame *frame,
                              lynx_bytes payload);
    lynx_status (*on_page)(void *owner, lynx_time_ns now, uint64_t request_id,
                           const lx_page_message *page, uint32_t chunk_bytes,
                           uint8_t **target);
    lynx_status (*on_page_end)(void *owner, lynx_time_ns now);
} lx_channel_ops;

typedef struct lx_channel {
    const lx_channel_ops *ops;
    void *owner;
    const lynx_allocator *memory;
    lx_phase phase;
    uint8_t role; /* of this end, as in HELLO */

    /* Who we are. */
    lynx_shape shape;
    lynx_layer_shape *layers;
    lynx_fingerprint fingerprint;
    char model_name[LYNX_SESSION_TEXT_MAX];
    bool allow_other_weights;
    uint64_t timeout_ns, ping_ns;
    uint32_t chunk_bytes;

    /* Input: a header, then a payload, or a page's fixed part and its data. */
    uint8_t header[LX_FRAME_BYTES];
    uint32_t header_fill;
    lx_frame frame;
    uint8_t *payload;
    size_t payload_room, payload_fill, payload_want;
    bool is_page_data;
    uint8_t *page_target;
    uint32_t page_left;

    /* Output. */
    lx_control *first_control, *last_control;
    size_t control_offset; /* bytes of the first that have left */

    lx_event_node *first_event, *last_event, *taken_event;
    lynx_time_ns last_heard, last_sent;
    lynx_session_counters counters;
    char reason[LYNX_SESSION_TEXT_MAX]; /* set by whoever returns an error to explain it */
} lx_channel;

lynx_status lx_channel_init(lx_channel *channel, const lynx_session_options *options,
                            uint8_t role, const lx_channel_ops *ops, void *owner,
                            lynx_time_ns now);
void lx_channel_fini(lx_channel *channel);

lynx_status lx_channel_read(lx_channel *channel, lynx_time_ns now, const uint8_t *data,
                            size_t size);

/* Queue a control message. */
lynx_status lx_channel_send(lx_channel *channel, lx_message_type type, uint64_t request_id,
                            const void *payload, size_t size);
lynx_status lx_channel_send_reason(lx_channel *channel, lx_message_type type,
                                   uint64_t request_id, lynx_status status, const char *text);

/* Time-out and ping. */
void lx_channel_tick(lx_channel *channel, lynx_time_ns now);
lynx_time_ns lx_channel_deadline(const lx_channel *channel);

bool lx_channel_has_control(const lx_channel *channel);
lynx_bytes lx_channel_control(const lx_channel *channel);
void lx_channel_control_left(lx_channel *channel, size_t size);

/* Queue an event; 'text' is copied, may be NULL. */
lynx_status lx_channel_event(lx_channel *channel, const lynx_event *event, const char *text);
bool lx_channel_next_event(lx_channel *channel, lynx_event *event);

/* End the session: event for us, CLOSE for the peer. Only the first call counts. */
void lx_channel_close(lx_channel *channel, lynx_status status, const char *text);

/* Put a sentence in 'reason' and return 'status'. */
lynx_status lx_channel_explain(lx_channel *channel, lynx_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
