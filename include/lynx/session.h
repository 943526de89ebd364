/* SPDX-License-Identifier: MIT */
/*
 * session.h - the two ends of a transfer, without input or output of their own.
 *
 * A session joins a decode node to a prefill node. It has one or more lanes, each a connection
 * (an ordered stream of bytes), and it outlives them: after a cut the decode node connects
 * anew, says what it holds, and only the rest is sent. A receiver is the decode node's end of
 * one session. A sender is the prefill node's end of all of its sessions, so that it can keep
 * one order of planes across requests and peers.
 *
 * Neither opens a socket, starts a thread or asks for the time: the owner passes in bytes that
 * arrived on a lane and the time, takes ranges to send, and calls again at the lane's deadline.
 * The messages are those of docs/format.md.
 *
 *     receiver                                   sender
 *        HELLO, RESUME, FLOW ------------------>
 *               <-------------------------------  HELLO
 *        REQUEST (tokens, codec, sampling) ---->                 (HELD, OPTIONS before it)
 *               <-------------------------------  ACCEPT | REFUSE
 *               <-------------------------------  PROGRESS (prefilled tokens) ...
 *               <-------------------------------  READY          (only with HOLD)
 *        START  ------------------------------->                 (only with HOLD)
 *               <-------------------------------  TOKEN 0, PAGE plane 0 ..., PAGE plane 1 ...
 *               <-------------------------------  TOKEN 1 ..., YIELD     (only with CARRY_ON)
 *        ACK, AGAIN (planes), FLOW ------------>
 *        END -----------------------------------> when all is here, or it is wanted no more
 *        CLOSE either way at any time; PING after a second of silence
 *
 * Order at the sender: control messages first, then planes by significance: while an anchor
 * (plane 0) may leave to any peer, no residual begins, first come first served inside a class.
 * The choice is made anew after each chunk. What may leave is bounded by the receiver's credit
 * and, for residuals, by a window of little more than a round trip of unreported bytes, so that
 * a late anchor does not wait behind them in the network. A peer that takes nothing for
 * 'stall_ns' does not count.
 *
 * Threads: one thread at a time for each object (the runtime holds a lock). What write() gave
 * may be read without the lock until wrote() or disconnect() of that lane, whatever is called
 * in between, but destroy.
 */
#ifndef LYNX_SESSION_H
#define LYNX_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/codec.h"
#include "lynx/engine.h"
#include "lynx/export.h"
#include "lynx/kv.h"
#include "lynx/memory.h"
#include "lynx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LYNX_SESSION_TEXT_MAX = 512, /* bytes of a reason or a name */
    LYNX_SESSION_PARTS_MAX = 2   /* ranges that one write call gives */
};

typedef struct lynx_session_options {
    size_t struct_size;
    const lynx_model *model;      /* shape, fingerprint, name; read during create */
    bool allow_other_weights;     /* accept a peer whose weights differ. Default false */
    uint64_t timeout_ns;          /* lane silent for so long: ERR_TIMEOUT. Default 10 s */
    uint64_t ping_ns;             /* send PING after so long without sending. Default 1 s */
    const lynx_allocator *memory; /* kept; NULL = C library */

    /* Sender. */
    uint32_t connections_max; /* lanes of all peers, [1, 4096]. Default 64 */
    uint32_t sessions_max;    /* [1, 1024]. Default 32 */
    uint32_t requests_max;    /* live ones of a session, [1, LYNX_REQUESTS_MAX]. Default that */
    uint64_t resume_ns;       /* a session without a lane is kept for so long. Default 60 s */
    uint64_t stall_ns;        /* a lane that takes nothing for so long holds nobody up.
                                 Default 250 ms */
    uint64_t residual_age_max_ns; /* a residual that waits longer goes before anchors, one at a
                                     time; 0: never. Default 0 */

    /* Receiver. */
    uint8_t session_id[LYNX_ID_BYTES]; /* random and secret; unique for each receiver */
    uint32_t lanes;                    /* connections, [1, LYNX_LANES_MAX]. Default 1 */
    uint64_t pool_bytes[2]; /* planes in memory: anchors, residuals; overrun by a plane for each
                               lane at most, and by an eighth, up to 32 MiB, that is kept for
                               planes to come. Default 1 GiB each */
} lynx_session_options;

LYNX_API void lynx_session_options_init(lynx_session_options *options);

/* ---- a request ----------------------------------------------------------------------- */

enum {
    LYNX_REQUEST_HOLD = 1,     /* READY when every plane is there; they leave after START */
    LYNX_REQUEST_REUSE = 2,    /* a cache of the same tokens that is still held will do */
    LYNX_REQUEST_NO_PAGES = 4, /* tokens only (the prefill node decodes on) */
    LYNX_REQUEST_AFTER_PREFILL = 8, /* no page leaves before the prefill is complete (blob) */
    LYNX_REQUEST_CARRY_ON = 16 /* further tokens, chosen on the cache that the planes give, may
                                  come while they travel. Not with HOLD or NO_PAGES */
};

typedef struct lynx_request {
    lynx_codec_spec spec;
    lynx_sampling sampling;
    uint32_t flags;                /* LYNX_REQUEST_... */
    uint32_t answer_tokens;        /* tokens that the prefill node chooses itself, >= 1; with
                                      CARRY_ON the most of them */
    uint32_t token_count;          /* prompt, in [1, LYNX_PROMPT_TOKENS_MAX] */
    uint8_t ticket[LYNX_ID_BYTES]; /* random: who does not know it cannot resume the request */
    const lynx_token *tokens;
    bool wants_logprobs;   /* of the tokens that the prefill node chooses */
    uint32_t top_logprobs; /* [0, LYNX_TOP_LOGPROBS_MAX]; 0 unless wanted */

    /* The pages of so many first tokens are on the decode node already, all planes of them, and
     * need not be sent: a multiple of page_tokens, less than 'token_count'. 0: none are. Not
     * with NO_PAGES or CARRY_ON. */
    uint32_t held_tokens;
    lynx_codec_spec held_spec;          /* of these pages; without raw tokens at the end */
    uint8_t held_name[LYNX_NAME_BYTES]; /* of these tokens, model and codec:
                                           docs/format-store.md, Names, without a key */
} lynx_request;

/* ---- events -------------------------------------------------------------------------- */

typedef enum lynx_event_type {
    LYNX_EVENT_NONE, /* nothing new */

    /* Of a lane: 'lane', 'text'. */
    LYNX_EVENT_OPENED, /* the peer is who we want; 'text' is its model's name */
    LYNX_EVENT_CLOSED, /* no more bytes are read; 'status' and 'text' say why. LYNX_OK: the peer
                          said good-bye. Disconnect when write gives nothing */

    /* Sender, of a request. */
    LYNX_EVENT_REQUEST, /* 'request', valid until the owner refuses it, or has taken its CANCEL
                           or DELIVERED and asks for the next event */
    LYNX_EVENT_CANCEL,  /* wanted no more, or its session ended; its planes are dropped */
    LYNX_EVENT_DELIVERED, /* every plane is acknowledged */

    /* Receiver, of a request. */
    LYNX_EVENT_ACCEPT,   /* the pages of the first 'count' tokens are left out: all that were
                            said to be held, or none */
    LYNX_EVENT_REFUSE,   /* 'status', 'text'; last event of the request */
    LYNX_EVENT_PROGRESS, /* 'count' prompt tokens are prefilled */
    LYNX_EVENT_READY,    /* the held cache is finished */
    LYNX_EVENT_TOKEN,    /* token 'token' with index 'count' of the answer */
    LYNX_EVENT_YIELD,    /* CARRY_ON: no further token comes; 'count' have come */
    LYNX_EVENT_PLANE,    /* plane 'plane' of page 'page' is here and checked */
    LYNX_EVENT_FINISH    /* every plane and token is here; last event of the request */
} lynx_event_type;

typedef struct lynx_event {
    lynx_event_type type;
    uint64_t request_id;
    uint32_t lane;
    lynx_status status;
    uint32_t count;
    lynx_token token;
    lynx_page_id page;
    uint32_t plane;
    const lynx_request *request;
    const lynx_logprobs *logprobs; /* TOKEN, if they were asked for; else NULL. Valid until the
                                      request ends */
    const char *text;              /* terminated; valid until the next call on the object */
    lynx_time_ns time;             /* 'now' of the call that made the event */
    uint64_t bytes; /* receiver, of a request: received then on all lanes together */
} lynx_event;

/* Counters of one end. Bytes include all framing. */
typedef struct lynx_session_counters {
    uint64_t bytes_sent, bytes_received;
    uint64_t plane_bytes_sent[LYNX_PLANES_MAX]; /* payload and framing of pages, by plane */
    uint64_t plane_bytes_received[LYNX_PLANES_MAX];
    uint64_t queued_bytes;         /* sender: payload added and not acknowledged */
    uint64_t queued_bytes_top;     /* its largest value */
    uint64_t resent_bytes;         /* sender: payload that had left and was queued once more */
    uint64_t unacknowledged_bytes; /* sender: payload that had left and was not acknowledged
                                      when its lane broke; resent_bytes is at most this */
    uint64_t sessions, resumes;    /* sessions begun; lanes that went on after a cut */
    uint64_t connections;          /* lanes that are connected now */
    uint64_t corrupt_planes;       /* receiver: asked for again */
    uint64_t denied;               /* sender: lanes of a peer that was not who it must be */
} lynx_session_counters;

/* ---- sender (prefill node) ----------------------------------------------------------- */

typedef struct lynx_sender lynx_sender;

LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_create(lynx_sender **sender,
                                                        const lynx_session_options *options,
                                                        lynx_time_ns now);
LYNX_API void lynx_sender_destroy(lynx_sender *sender);

/* A connection came. '*lane' names it until disconnect. 'peer' is the authenticated name of the
 * other end (copied; NULL: none): a session is resumed only under the name that began it.
 * LYNX_ERR_LIMIT: connections_max are here. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_connect(lynx_sender *sender, lynx_time_ns now,
                                                         const char *peer, uint32_t *lane);

/* The connection is gone: what it had not acknowledged goes back to the queue. Its CLOSED event
 * comes now if it had not; 'status' and 'text' are its reason then. */
LYNX_API void lynx_sender_disconnect(lynx_sender *sender, lynx_time_ns now, uint32_t lane,
                                     lynx_status status, const char *text);

/* Bytes that arrived; all are consumed. An error also closes the lane, and a CLOSE message with
 * the reason is queued for the peer: keep writing until write gives none. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_read(lynx_sender *sender, uint32_t lane,
                                                      lynx_time_ns now, const uint8_t *data,
                                                      size_t size);

/* The next bytes to send on a lane: '*count' (0 = none now) ranges, a chunk at most, borrowed
 * until wrote() has taken them, disconnect() or destroy. Until wrote() the same bytes are given
 * again. An error closes the lane; the ranges are valid with it. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_write(lynx_sender *sender, uint32_t lane,
                                                       lynx_time_ns now,
                                                       lynx_bytes parts[LYNX_SESSION_PARTS_MAX],
                                                       uint32_t *count);

/* The link took 'size' bytes (>= 1, <= what the last write gave). A message that has begun is
 * finished before another one starts. To be called before a read of what answers these bytes.
 */
LYNX_API void lynx_sender_wrote(lynx_sender *sender, uint32_t lane, lynx_time_ns now,
                                size_t size);

/* When to call write again even if nothing arrives. */
LYNX_API lynx_time_ns lynx_sender_deadline(const lynx_sender *sender, uint32_t lane);

/* How far the life of a lane has come. */
typedef enum lynx_lane_state {
    LYNX_LANE_ALIVE,  /* bytes are read */
    LYNX_LANE_CLOSED, /* closed here; the reason may still have to leave */
    LYNX_LANE_GONE    /* closed by the peer, or not connected: nothing more to say */
} lynx_lane_state;

LYNX_API lynx_lane_state lynx_sender_lane_state(const lynx_sender *sender, uint32_t lane);

/* Lanes that have something to write because of a call that was not on them, one a call; false
 * when there is none. To be asked after every call but deadline and counters. */
LYNX_API bool lynx_sender_next_wake(lynx_sender *sender, uint32_t *lane);

/* End the sessions that nobody resumed in time. '*next' is when to call again. */
LYNX_API void lynx_sender_tick(lynx_sender *sender, lynx_time_ns now, lynx_time_ns *next);

/* Take the oldest event; false when there is none. */
LYNX_API bool lynx_sender_next_event(lynx_sender *sender, lynx_event *event);

/* The pages of the first 'left_out' tokens will not be added: the request's held_tokens, whose
 * name is the owner's to check, or 0. LYNX_ERR_ARGUMENT: another number. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_accept(lynx_sender *sender,
                                                        uint64_t request_id, uint32_t left_out);
/* Also after accept: the request ends with 'status' (an error) and 'text', its planes are
 * dropped. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_refuse(lynx_sender *sender,
                                                        uint64_t request_id, lynx_status status,
                                                        const char *text);
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_progress(lynx_sender *sender,
                                                          uint64_t request_id, uint32_t done);
/* The next token of the answer; its index follows from the order. 'logprobs' are copied; NULL
 * exactly when the request does not want them. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_token(lynx_sender *sender, uint64_t request_id,
                                                       lynx_token token,
                                                       const lynx_logprobs *logprobs);

/* Called once for each plane that was added, when it is acknowledged or dropped: from within a
 * read, wrote, refuse, disconnect, tick or destroy. It must not call the sender. */
typedef void lynx_plane_release(void *user, uint8_t *data, size_t size);

/* Queue a plane. On success the sender keeps 'data' until 'release'; on failure it stays with
 * the caller. 'size' may be 0. The checksum is computed here, once.
 * LYNX_ERR_STATE: no such request (it ended meanwhile), not accepted, or finished.
 * LYNX_ERR_ARGUMENT: page not needed, wanted or left out, no such plane, or it was added
 * before. LYNX_ERR_MEMORY. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_plane(lynx_sender *sender, lynx_time_ns now,
                                                       uint64_t request_id, lynx_page_id page,
                                                       uint32_t plane, uint8_t *data,
                                                       size_t size, lynx_plane_release *release,
                                                       void *user);

/* Nothing more will be added; READY leaves if the request holds, YIELD if it carried on and did
 * not get to the end. LYNX_ERR_STATE also when a token of the answer (with CARRY_ON the first),
 * or a plane of a needed page, unless the request wants no pages, was not added. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_finish(lynx_sender *sender,
                                                        uint64_t request_id);

/* From now on no session begins and no request is taken: both are refused with LYNX_ERR_CLOSED.
 * What was asked for before goes on, on lanes that come anew, too. */
LYNX_API void lynx_sender_drain(lynx_sender *sender);
/* No request waits for the owner or has a plane or token to deliver. */
LYNX_API bool lynx_sender_is_idle(const lynx_sender *sender);

/* Say good-bye on every lane with a reason; LYNX_OK for an ordinary end. */
LYNX_API void lynx_sender_close(lynx_sender *sender, lynx_status status, const char *text);
LYNX_API lynx_session_counters lynx_sender_counters(const lynx_sender *sender);
/* Age of the oldest residual that waits to leave; 0: none does. */
LYNX_API uint64_t lynx_sender_residual_age(const lynx_sender *sender, lynx_time_ns now);

/* ---- receiver (decode node) ---------------------------------------------------------- */

typedef struct lynx_receiver lynx_receiver;

/* As the sender's, by name; lanes are numbered by the caller, below 'options->lanes'. Lane 0
 * carries the control messages. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_receiver_create(lynx_receiver **receiver,
                                                          const lynx_session_options *options,
                                                          lynx_time_ns now);
LYNX_API void lynx_receiver_destroy(lynx_receiver *receiver);

/* Lane 'lane' has a connection (again). LYNX_ERR_STATE: it had one; LYNX_ERR_MEMORY. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_receiver_connect(lynx_receiver *receiver,
                                                           lynx_time_ns now, uint32_t lane);
LYNX_API void lynx_receiver_disconnect(lynx_receiver *receiver, lynx_time_ns now, uint32_t lane,
                                       lynx_status status, const char *text);
LYNX_API LYNX_MUST_CHECK lynx_status lynx_receiver_read(lynx_receiver *receiver, uint32_t lane,
                                                        lynx_time_ns now, const uint8_t *data,
                                                        size_t size);
/* Where the next bytes of a lane may be received to, so that read need not copy them: '*room'
 * gets how many, all of one plane; 0: anywhere. If they go there, read is called with '*target'
 * and their number before any other call gives bytes of the lane. The memory stays valid until
 * the lane's next read, room or disconnect, whatever is called meanwhile on the receiver. */
LYNX_API void lynx_receiver_room(lynx_receiver *receiver, uint32_t lane, uint8_t **target,
                                 size_t *room);
LYNX_API LYNX_MUST_CHECK lynx_status
lynx_receiver_write(lynx_receiver *receiver, uint32_t lane, lynx_time_ns now,
                    lynx_bytes parts[LYNX_SESSION_PARTS_MAX], uint32_t *count);
LYNX_API void lynx_receiver_wrote(lynx_receiver *receiver, uint32_t lane, lynx_time_ns now,
                                  size_t size);
LYNX_API lynx_time_ns lynx_receiver_deadline(const lynx_receiver *receiver, uint32_t lane);
LYNX_API lynx_lane_state lynx_receiver_lane_state(const lynx_receiver *receiver, uint32_t lane);
LYNX_API bool lynx_receiver_next_wake(lynx_receiver *receiver, uint32_t *lane);

/* Take the oldest event of a request, or, with request_id 0, of the lanes. */
LYNX_API bool lynx_receiver_next_event(lynx_receiver *receiver, uint64_t request_id,
                                       lynx_event *event);
LYNX_API void lynx_receiver_close(lynx_receiver *receiver, lynx_status status,
                                  const char *text);
LYNX_API lynx_session_counters lynx_receiver_counters(const lynx_receiver *receiver);

/* The prefill node is given up: every live request ends with REFUSE, 'status' and 'text', and
 * so will those to come. */
LYNX_API void lynx_receiver_fail(lynx_receiver *receiver, lynx_time_ns now, lynx_status status,
                                 const char *text);

/* The prefill node is there again: requests are taken once more; those that ended stay ended.
 * Has no effect after close. */
LYNX_API void lynx_receiver_recover(lynx_receiver *receiver);

/* Why fail or close was called, in 'status' and as text; NULL: neither was. */
LYNX_API const char *lynx_receiver_failure(const lynx_receiver *receiver, lynx_status *status);

/* Ask for a prompt's cache. 'request' and its tokens are copied. May be called at any time,
 * connected or not. The bound of each plane's size follows from shape and spec.
 * LYNX_ERR_LIMIT: LYNX_REQUESTS_MAX are live. LYNX_ERR_CLOSED: close or fail was called. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_receiver_request(lynx_receiver *receiver,
                                                           const lynx_request *request,
                                                           uint64_t *request_id);
/* Once, for a request with LYNX_REQUEST_HOLD; LYNX_ERR_STATE otherwise. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_receiver_start(lynx_receiver *receiver,
                                                         uint64_t request_id);
/* Drop the request and what it holds; the sender is told. To be called for every request, also
 * for those that are finished or refused. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_receiver_end(lynx_receiver *receiver,
                                                       uint64_t request_id);

/* What is here; pages that are left out count as here. Borrowed until the request ends; NULL
 * when there is no such request. */
LYNX_API const lynx_page_map *lynx_receiver_map(const lynx_receiver *receiver,
                                                uint64_t request_id);

/* The planes of a page that are here from plane 0 on, without a gap: '*count' of them,
 * borrowed until release_page. LYNX_ERR_STATE when plane 0 is not here, was left out, or was
 * released. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_receiver_planes(const lynx_receiver *receiver,
                                                          uint64_t request_id,
                                                          lynx_page_id page,
                                                          lynx_bytes planes[LYNX_PLANES_MAX],
                                                          uint32_t *count);

/* Free the memory of a page's planes; its bits in the map stay. */
LYNX_API void lynx_receiver_release_page(lynx_receiver *receiver, uint64_t request_id,
                                         lynx_page_id page);

#ifdef __cplusplus
}
#endif

#endif
