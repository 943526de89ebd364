/* SPDX-License-Identifier: MIT */
/*
 * receiver.h - what the three files of the receiver share: receiver.c has requests and what the
 * owner asks, receiver_pages.c has planes, their acknowledgements and credit, receiver_lanes.c
 * has connections and their messages.
 *
 * A request:
 *
 *     FREE --request--> ASKED --ACCEPT--> ACTIVE --all is here--> OVER --end--> FREE
 *                         |                  |                     ^
 *                         +- REFUSE, fail ---+---------------------+
 *                         +---- end ---------+----------------------------> FREE
 *
 * What has arrived stays readable until the owner ends the request or destroys the receiver.
 * Pages that still come for it then are read and dropped.
 *
 * A plane: nothing -> coming on one lane (a buffer, chunks in order) -> checked and marked ->
 * released. When its lane is lost before it is whole, it is nothing again. When it does not
 * match its checksum, too, and the sender is asked for it once more.
 *
 * Each lane grants credit: so many plane bytes may be begun on it. A lane's share of the pools
 * is what its planes in memory leave of pool / lanes.
 */
#ifndef LX_SESSION_RECEIVER_H
#define LX_SESSION_RECEIVER_H

#include "kv/page_map.h"
#include "session/event_queue.h"
#include "session/lane.h"
#include "session/news.h"
#include "session/spare.h"

enum { LX_ACK_BATCH = 16 }; /* planes that one ACK names */

/* How far a request is. */
typedef enum lx_want { LX_WANT_FREE, LX_WANT_ASKED, LX_WANT_ACTIVE, LX_WANT_OVER } lx_want;

typedef struct lx_plane_slot {
    uint8_t *data;
    uint32_t size; /* of the whole plane */
    uint32_t fill; /* bytes that came */
    uint64_t digest;
    uint8_t lane;         /* that carries or carried it */
    uint8_t broken_count; /* times that it did not match its checksum */
    bool has_begun;
    bool is_marked; /* whole and checked */
    bool is_released;
    bool was_forgotten; /* it began before and is nothing again */
} lx_plane_slot;

typedef struct lx_receiver_request {
    lx_want phase;
    uint64_t id;
    lynx_request request;
    lynx_token *tokens; /* behind 'request', until ACCEPT: it may have to be asked again */
    uint8_t *options;   /* payload of OPTIONS, as long as the tokens; NULL: none are needed */
    size_t options_bytes;
    lynx_logprobs *logprobs; /* of each of 'answer_tokens', if they are wanted */
    uint32_t next_token;     /* index of the answer's token that comes next */
    uint64_t marked;         /* planes that are here */
    uint32_t left_out;       /* tokens in front whose pages do not come, as ACCEPT said */
    bool has_accept;         /* ACCEPT came: a page of another lane may overtake it */
    bool is_known;           /* the connection of lane 0 told the sender of it */
    bool is_ready;           /* READY came */
    bool is_started;         /* START was sent, or need not be */
    bool has_yielded;        /* YIELD came */
    uint32_t plane_count;
    lynx_page_map *map;
    lx_plane_slot *planes; /* [slot][plane] */
    size_t plane_slots;
    lx_event_queue events;

    /* The last event has its place here, so that it comes even without memory. */
    bool tells_end;
    lynx_event end;
    char end_text[LYNX_SESSION_TEXT_MAX + 1];
} lx_receiver_request;

typedef struct lx_receiver_lane {
    lx_lane lane; /* first: the owner of a lane finds its own by it */

    /* The page that is coming; NULL when its data is dropped. */
    lx_receiver_request *page_request;
    lx_plane_slot *page_slot;
    lx_page_message page;
    uint32_t page_chunk;

    /* The plane whose memory lynx_receiver_room gave away; and that memory, when the plane was
     * freed before it was given back. */
    const uint8_t *lent;
    uint8_t *stray;
    size_t stray_bytes;

    /* Answers of one request that wait to leave. */
    uint64_t ack_request;
    lx_ack_entry acks[LX_ACK_BATCH];
    uint32_t ack_count;

    uint64_t begun[2];       /* plane bytes of this connection: anchors, residuals */
    uint64_t granted[2];     /* as the sender knows it */
    uint64_t in_memory[2];   /* planes that came on this lane, whatever the connection */
    uint64_t reported;       /* bytes of this connection, as the sender knows it */
    lynx_time_ns owed_since; /* acknowledgements or a report wait; 0: none do */
    lynx_time_ns paid_at;    /* the last of them left */
    bool has_chunk;          /* a chunk ended since then */
    bool must_wake;
} lx_receiver_lane;

struct lynx_receiver {
    lx_identity identity;
    lynx_session_options options;
    lx_receiver_lane lanes[LYNX_LANES_MAX];
    lx_receiver_request requests[LYNX_REQUESTS_MAX];
    lx_spares spares;
    uint64_t last_id;
    uint32_t last_resume; /* serial number */
    lynx_time_ns now;     /* of the last call that said it */
    lynx_status failure;  /* LYNX_OK, or what every request ends with */
    char failure_text[LYNX_SESSION_TEXT_MAX + 1];
    bool is_closed; /* that is for good */
};

/* ---- receiver.c ---------------------------------------------------------------------- */

/* The request of that id that was not ended; NULL when there is none. */
lx_receiver_request *lx_receiver_find(lynx_receiver *receiver, uint64_t id);
bool lx_receiver_wants_pages(const lx_receiver_request *request);

/* ASKED or ACTIVE. */
bool lx_receiver_is_live(const lx_receiver_request *request);

/* The sender has the request; its tokens are not needed any more. For one with held pages the
 * event comes with ACCEPT alone, which says whether they are left out. */
lynx_status lx_receiver_accepted(lynx_receiver *receiver, lx_receiver_request *request);
lynx_status lx_receiver_on_accept(lynx_receiver *receiver, lx_receiver_request *request,
                                  lynx_bytes payload);

lynx_status lx_receiver_push_event(lynx_receiver *receiver, lx_receiver_request *request,
                                   const lynx_event *event);

/* The last event of a request. */
void lx_receiver_end_request(lynx_receiver *receiver, lx_receiver_request *request,
                             lynx_event_type type, lynx_status status, const char *text);

/* FINISH when every plane and token is here. */
void lx_receiver_check_complete(lynx_receiver *receiver, lx_receiver_request *request);

/* ---- receiver_pages.c ---------------------------------------------------------------- */

/* The memory of a plane is free again, and so is its lane's credit for it. */
void lx_plane_free(lynx_receiver *receiver, lx_plane_slot *plane, uint32_t class_index);

/* Nobody writes to what lynx_receiver_room gave any more. */
void lx_page_take_back(lynx_receiver *receiver, lx_receiver_lane *lane);

/* What came of a plane is worth nothing. */
void lx_plane_forget(lynx_receiver *receiver, lx_plane_slot *plane, uint32_t class_index);

/* The chunk that comes on the lane has no place any more. */
void lx_page_drop(lx_receiver_lane *lane);

/* Send what was checked and not told yet; what came and what may come; both. */
lynx_status lx_acks_flush(lx_receiver_lane *lane);
lynx_status lx_receiver_report(lynx_receiver *receiver, lx_receiver_lane *lane);
lynx_status lx_receiver_pay(lynx_receiver *receiver, lx_receiver_lane *lane);

/* Of lx_lane_ops. */
lynx_status lx_receiver_on_page(void *owner, lx_lane *base, uint64_t request_id,
                                const lx_page_message *page, uint32_t chunk_bytes,
                                uint8_t **target);
lynx_status lx_receiver_on_page_end(void *owner, lx_lane *base, lynx_time_ns now);

/* ---- receiver_lanes.c ---------------------------------------------------------------- */

lx_receiver_lane *lx_receiver_lane_of(lx_lane *lane);

/* Queue REQUEST, if there is a lane for it; else the next one begins with it. */
lynx_status lx_receiver_send_request(lynx_receiver *receiver, lx_receiver_request *request);

#endif
