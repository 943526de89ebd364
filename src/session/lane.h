/* SPDX-License-Identifier: MIT */
/*
 * lane.h - one connection of a session, as both ends see it: frames in and out, hello, ping,
 * time-out, close.
 *
 *     GREETING --HELLO is right--> OPEN --CLOSE came, or we failed--> CLOSED
 *         +------- wrong version, other model, broken frame -----------^
 *
 * After CLOSED nothing is read any more; what is queued (the reason for the peer) still leaves.
 */
#ifndef LX_SESSION_LANE_H
#define LX_SESSION_LANE_H

#include "lynx/session.h"
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

/* Who we are: what all lanes of one end share. */
typedef struct lx_identity {
    const lynx_allocator *memory;
    uint8_t role;
    lynx_shape shape;
    lynx_layer_shape *layers; /* behind 'shape' */
    lynx_fingerprint fingerprint;
    char model_name[LX_TEXT_BYTES_MAX + 1];
    uint32_t context_tokens; /* 0: no limit of our own */
    bool allow_other_weights;
    uint64_t timeout_ns, ping_ns;
    lynx_session_counters counters;
    uint64_t news; /* counts what the owner may wait for: events, planes given back */
} lx_identity;

typedef struct lx_lane lx_lane;

/* What the owner of a lane does with messages; an error closes the lane. Their lengths lie in
 * the limits of their types, and only the types of the other role come. */
typedef struct lx_lane_ops {
    /* HELLO was right. */
    lynx_status (*on_hello)(void *owner, lx_lane *lane, lynx_time_ns now,
                            const lx_hello *hello);
    lynx_status (*on_message)(void *owner, lx_lane *lane, lynx_time_ns now,
                              const lx_frame *frame, lynx_bytes payload);
    /* A prompt above the context comes; its tokens are passed over. */
    lynx_status (*on_long_request)(void *owner, lx_lane *lane, uint64_t request_id,
                                   uint32_t token_count);
    /* A chunk comes: '*target' gets the address for its bytes; NULL: they are dropped. */
    lynx_status (*on_page)(void *owner, lx_lane *lane, uint64_t request_id,
                           const lx_page_message *page, uint32_t chunk_bytes, uint8_t **target);
    /* All bytes of the chunk came. */
    lynx_status (*on_page_end)(void *owner, lx_lane *lane, lynx_time_ns now);
} lx_lane_ops;

struct lx_lane {
    const lx_lane_ops *ops;
    void *owner;
    lx_identity *identity;
    uint32_t index;  /* as the owner counts */
    bool is_used;    /* from init to fini */
    bool is_control; /* carries all messages; the others carry pages and their answers */
    lx_phase phase;

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
    lynx_time_ns last_heard, last_sent;
    uint64_t bytes_sent, bytes_received; /* of this connection */

    /* Events of the lane have their places here, so that they come even without memory. */
    bool tells_opened, tells_closed;
    bool is_closed_by_peer;
    lynx_status close_status;
    lynx_time_ns opened_at, closed_at;
    char peer_model[LX_TEXT_BYTES_MAX + 1];
    char reason[LX_TEXT_BYTES_MAX + 1]; /* set by whoever returns an error to explain it */
};

lynx_status lx_identity_init(lx_identity *identity, const lynx_session_options *options,
                             uint8_t role);
void lx_identity_fini(lx_identity *identity);

/* Queues HELLO. On failure lx_lane_fini frees what was made. */
lynx_status lx_lane_init(lx_lane *lane, lx_identity *identity, uint32_t index,
                         const lx_lane_ops *ops, void *owner, const lx_hello *hello,
                         lynx_time_ns now);
/* Frees; events that wait stay readable until the next init. */
void lx_lane_fini(lx_lane *lane);

lynx_status lx_lane_read(lx_lane *lane, lynx_time_ns now, const uint8_t *data, size_t size);

/* Queue a control message. LYNX_ERR_MEMORY, LYNX_ERR_CLOSED when the lane is, or LYNX_ERR_LIMIT
 * when too many wait: the peer does not read. */
lynx_status lx_lane_send(lx_lane *lane, lx_message_type type, uint64_t request_id,
                         const void *payload, size_t size);

/* Queue REFUSE; the same. */
lynx_status lx_lane_refuse(lx_lane *lane, uint64_t request_id, lynx_status status,
                           const char *text);

/* 'size' bytes of control messages, or of pages, have left. */
void lx_lane_sent(lx_lane *lane, lynx_time_ns now, size_t size);

/* 'time' + 'span', or never. */
lynx_time_ns lx_time_after(lynx_time_ns time, uint64_t span);

/* Time-out and ping; 'is_busy' when pages wait to leave, which are as good as a ping. */
void lx_lane_tick(lx_lane *lane, lynx_time_ns now, bool is_busy);
lynx_time_ns lx_lane_deadline(const lx_lane *lane, bool is_busy);

/* End the lane: event for us, CLOSE for the peer. Only the first call counts. */
void lx_lane_close(lx_lane *lane, lynx_status status, const char *text);

/* The connection is gone: event for us, if none came before. */
void lx_lane_lost(lx_lane *lane, lynx_time_ns now, lynx_status status, const char *text);

lynx_lane_state lx_lane_state(const lx_lane *lane);

/* Take the lane's oldest event. */
bool lx_lane_next_event(lx_lane *lane, lynx_event *event);

/* Put a sentence in 'reason' and return 'status'. */
lynx_status lx_lane_explain(lx_lane *lane, lynx_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Credit knows two classes: 0 are anchors, 1 all other planes. */
uint32_t lx_credit_of(uint32_t plane);

/* Copy a text of the peer, terminated, with a question mark for each control character: it may
 * end in a terminal. */
void lx_copy_text(char target[LX_TEXT_BYTES_MAX + 1], lynx_bytes text);

/* ---- greeting.c ---------------------------------------------------------------------- */

/* Fill what HELLO says of us; session and lane are the caller's. */
void lx_greeting_fill(const lx_identity *identity, lx_hello *hello);

/* Judge the peer's HELLO: LYNX_OK, or an error that is explained. */
lynx_status lx_greeting_check(lx_lane *lane, const lx_hello *hello);

#endif
