/* SPDX-License-Identifier: MIT */
/*
 * sender.h - what the three files of the sender share: sender.c has sessions, requests and what
 * the owner says, sender_messages.c has what peers say, sender_lanes.c has connections and the
 * choice of what leaves.
 *
 * A request:
 *
 *     FREE --REQUEST--> ASKED --accept--> ACTIVE --finish, all acknowledged--> DONE
 *      ^                  |                  |                                   |
 *      +---- refuse ------+------------------+                                   |
 *      |                  |                  |                                   |
 *      |                 END                END                                 END
 *      |                  v                  v                                   v
 *      +-- next call -- ENDED (planes are gone; the tokens stay until the last event is taken)
 *
 * A plane: HELD (until START) -> QUEUED by class -> BEGUN on a lane (chunks leave, others may
 * go between) -> SENT -> acknowledged. When its lane is lost it is QUEUED again, at the head.
 * The frame of a chunk that has begun is finished whatever happens; a plane that is dropped in
 * that moment is an orphan and is released when its frame has left.
 */
#ifndef LX_SESSION_SENDER_H
#define LX_SESSION_SENDER_H

#include "kv/page_map.h"
#include "sched/flow.h"
#include "sched/plane_queue.h"
#include "session/event_queue.h"
#include "session/lane.h"
#include "session/news.h"

typedef enum lx_request_phase {
    LX_FREE,
    LX_ASKED,
    LX_ACTIVE,
    LX_DONE,
    LX_ENDED
} lx_request_phase;

typedef enum lx_plane_phase { LX_HELD, LX_QUEUED, LX_BEGUN, LX_SENT } lx_plane_phase;

typedef struct lx_sender_request lx_sender_request;
typedef struct lx_session lx_session;

typedef struct lx_plane_entry {
    lx_queued queued;           /* first: an entry of the queue is a plane */
    lx_sender_request *request; /* NULL: an orphan */
    lx_plane_phase phase;
    uint32_t lane; /* BEGUN, SENT: which carries it */
    size_t index;  /* in the request's table */
    lx_page_message header;
    uint8_t *data;
    size_t size;
    uint32_t sent;        /* bytes of it in frames that left */
    uint32_t again_count; /* times that the receiver asked for it again */
    uint64_t lost_bytes;  /* that had left before it was queued once more */
    lynx_time_ns queued_at;
    lynx_plane_release *release;
    void *user;
} lx_plane_entry;

struct lx_sender_request {
    lx_request_phase phase;
    lx_session *session;
    bool is_started; /* planes and tokens may leave: START came, or it does not hold */
    bool is_finishing;
    bool is_listed; /* by the RESUME in work */
    uint64_t key;   /* how the owner calls it */
    uint64_t id;    /* on the wire */
    lynx_request request;
    lynx_token *tokens;
    lynx_bias *biases; /* behind 'request', as 'allowed' is */
    uint8_t *allowed;
    uint32_t plane_count;
    uint32_t left_out;        /* tokens in front whose pages the receiver holds */
    lynx_page_map *added;     /* planes that were queued, or are left out */
    lx_plane_entry **entries; /* [slot][plane]; NULL: not added, or acknowledged */
    size_t entry_count;
    size_t unacknowledged; /* planes */
    uint32_t progress;
    lynx_token *answer;             /* tokens that were chosen here, of 'answer_tokens' */
    lynx_logprobs *answer_logprobs; /* of each, if they are wanted */
    uint32_t answer_count, answer_sent, answer_room;

    /* CANCEL or DELIVERED has its place here, so that it comes even without memory. */
    bool tells_last, has_told_last;
    lynx_event last;
};

#define LX_NO_LANE UINT32_MAX

/* Places of a session: as many requests as may be open, and as many that have ended and whose
 * last event waits to be taken. */
enum { LX_SLOTS = 2 * LYNX_REQUESTS_MAX };

struct lx_session {
    bool is_used;
    uint8_t id[LYNX_ID_BYTES];
    char peer[LX_TEXT_BYTES_MAX + 1]; /* authenticated name; "": none */
    uint32_t lanes[LYNX_LANES_MAX];   /* connections, or LX_NO_LANE */
    uint32_t lane_count;
    uint32_t lanes_seen;     /* bits: numbers of lanes that ever came */
    bool has_good_bye;       /* on a lane, since the last one came */
    lynx_time_ns idle_since; /* without lanes */
    uint64_t last_id;
    uint32_t last_resume; /* serial number */
    lx_sender_request requests[LX_SLOTS];
    lx_plane_queue queue;
    uint32_t live_anchors;       /* of class 0, QUEUED or BEGUN */
    lynx_time_ns let_through_at; /* an old residual went before anchors */
};

typedef struct lx_sender_lane {
    lx_lane lane; /* first: the owner of a lane finds its own by it */
    lx_session *session;
    char peer[LX_TEXT_BYTES_MAX + 1];
    uint32_t number; /* of the session's lanes */
    bool is_resumed; /* lane 0: RESUME came */
    bool may_repeat; /* the session is older than the lane: REQUEST may come a second time */
    bool is_gated;   /* had residuals, but an anchor of another session goes first */
    lynx_time_ns look_at; /* gated: when to look again */
    bool is_lost;         /* disconnected; its last event waits */
    bool must_wake;

    /* Of the REQUEST that comes next. */
    uint8_t *options; /* payload of OPTIONS; NULL: none came */
    size_t options_bytes;
    lx_held_message held; /* 0 tokens: none came */
    uint64_t next_id;     /* which one that is, if either came */

    lx_flow flow;
    uint64_t limits[2], begun[2]; /* plane bytes: anchors, residuals */

    lx_plane_entry *current[LX_CLASSES]; /* begun, chunks are left */
    lx_plane_entry *urgent;              /* one of them that goes before anchors; or NULL */
    lx_plane_entry *leaving;             /* whose frame leaves; NULL: control messages may */
    uint32_t chunk_bytes;
    uint8_t frame[LX_FRAME_BYTES + LX_PAGE_FIXED_BYTES];
    uint32_t frame_left; /* bytes of 'frame', which leave first */
    uint32_t chunk_left;
    lynx_time_ns offered_at;  /* the link was given something at this time; 0: it took it */
    lynx_time_ns heard_of_at; /* last ACK or FLOW that told of progress */
    uint64_t sent_planes;     /* SENT on this lane */
    uint64_t pages_end;       /* bytes of the connection up to the last PAGE */
} lx_sender_lane;

struct lynx_sender {
    lx_identity identity;
    lynx_session_options options;
    lx_event_queue events;
    lx_sender_lane *lanes; /* 'connections_max' of them */
    lx_session *sessions;  /* 'sessions_max' of them */
    uint64_t last_serial;  /* of a request's key */
    uint64_t taken_key;    /* of the request whose last event was taken; 0: none */
    uint32_t last_events;  /* requests that have a last event to tell */
    uint32_t live_anchors; /* of all sessions */
    lynx_time_ns now;      /* of the last call that said it */
    bool is_draining;
};

/* ---- sender.c ------------------------------------------------------------------------ */

/* Why a sender that drains refuses. */
extern const char lx_stopping_text[];

/* Session 'hello' belongs to, found or made; an error is explained in 'lane'. */
lynx_status lx_sender_join(lynx_sender *sender, lx_sender_lane *lane, const lx_hello *hello);

bool lx_session_has_requests(const lx_session *session);

/* Drop all requests of a session and forget it. */
void lx_session_end(lynx_sender *sender, lx_session *session);

/* The plane is wanted no more. */
void lx_plane_settle(lynx_sender *sender, lx_sender_request *request, lx_plane_entry *entry);

/* A place for a request, with its key; NULL: the session has as many as it may. */
lx_sender_request *lx_sender_free_slot(lynx_sender *sender, lx_session *session);

void lx_sender_free_request(lynx_sender *sender, lx_sender_request *request);

/* The peer wants no more of it. */
void lx_sender_end_request(lynx_sender *sender, lx_sender_request *request);

/* DELIVERED when nothing is left to acknowledge. */
void lx_sender_check_delivered(lynx_sender *sender, lx_sender_request *request);

/* Queue a message where there is a lane for it; a session without one says it when it resumes.
 */
lynx_status lx_sender_tell(lynx_sender *sender, lx_sender_request *request,
                           lx_message_type type, const void *payload, size_t size);
lynx_status lx_sender_tell_accept(lynx_sender *sender, lx_sender_request *request);
lynx_status lx_sender_tell_progress(lynx_sender *sender, lx_sender_request *request);
lynx_status lx_sender_tell_tokens(lynx_sender *sender, lx_sender_request *request);
lynx_status lx_sender_tell_yield(lynx_sender *sender, lx_sender_request *request);

/* ---- sender_messages.c --------------------------------------------------------------- */

/* Of lx_lane_ops. */
lynx_status lx_sender_on_long_request(void *owner, lx_lane *lane, uint64_t request_id,
                                      uint32_t token_count);
lynx_status lx_sender_on_message(void *owner, lx_lane *lane, lynx_time_ns now,
                                 const lx_frame *frame, lynx_bytes payload);

/* Forget OPTIONS and HELD that wait for their REQUEST. */
void lx_sender_drop_preface(lynx_sender *sender, lx_sender_lane *lane);

/* Give a plane back to its owner. */
void lx_plane_release(lynx_sender *sender, lx_plane_entry *entry);

/* ---- sender_lanes.c ------------------------------------------------------------------ */

lx_sender_lane *lx_sender_lane_of(lx_lane *lane);

/* Put a plane in its queue, at the head when it goes once more. */
void lx_plane_enqueue(lynx_sender *sender, lx_plane_entry *entry, bool is_first);
/* Take a plane out of wherever it stands; true: it is an orphan now, since its frame leaves. */
bool lx_plane_detach(lynx_sender *sender, lx_plane_entry *entry);
/* What has left of a detached plane did not arrive: it goes once more. */
void lx_plane_lost(lynx_sender *sender, lx_plane_entry *entry);

/* Lane 0 of a session, or NULL. */
lx_lane *lx_session_control(lynx_sender *sender, lx_session *session);

/* All lanes of a session have something to look at. */
void lx_session_wake(lynx_sender *sender, const lx_session *session);

#endif
