/* SPDX-License-Identifier: MIT */
/*
 * session.h - the two ends of a transfer, without input or output of their own.
 *
 * A sender (prefill node) and a receiver (decode node) talk over one ordered stream of bytes.
 * Neither opens a socket, starts a thread or asks for the time: the owner passes in bytes that
 * arrived and the time, takes ranges to send, and calls again at the deadline. The messages are
 * those of docs/format.md.
 *
 *     receiver                                   sender
 *        HELLO  ------------------------------->
 *               <-------------------------------  HELLO
 *        REQUEST (tokens, codec, sampling) ---->
 *               <-------------------------------  ACCEPT | REFUSE
 *               <-------------------------------  PROGRESS (prefilled tokens) ...
 *               <-------------------------------  READY          (only with HOLD)
 *        START  ------------------------------->                 (only with HOLD)
 *               <-------------------------------  TOKEN 0, PAGE plane 0 ..., PAGE plane 1 ...
 *        ACK (pages) -------------------------->
 *               <-------------------------------  FINISH
 *        CANCEL | CLOSE either way at any time; PING after a second of silence
 *
 * Order at the sender: control messages first, then planes by significance: while a plane 0 is
 * queued no bytes of a plane 1 leave, whatever request they belong to; first come first served
 * inside a plane. The choice is made anew after each chunk of 'chunk_bytes'.
 *
 * Events wait in a queue that grows, up to 2^20 of them (then the session ends with
 * LYNX_ERR_LIMIT): take all of them after each read. CLOSED comes even when memory has run out.
 *
 * Calls on a session that is over return LYNX_ERR_CLOSED where they would send something.
 *
 * Threads: one thread at a time for each object (the runtime holds a lock). What write() gave
 * may be read without the lock until wrote(), whatever is called in between, but destroy.
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
    LYNX_REQUESTS_MAX = 16,      /* open requests of one session */
    LYNX_SESSION_TEXT_MAX = 512, /* bytes of a reason or a model name */
    LYNX_SESSION_PARTS_MAX = 2   /* ranges that one write call gives */
};

typedef struct lynx_session_options {
    size_t struct_size;
    const lynx_model *model;      /* shape, fingerprint, name; read during create */
    bool allow_other_weights;     /* accept a peer whose weights differ. Default false */
    uint32_t chunk_bytes;         /* unit of preemption, in [4096, 1 MiB]. Default 65536 */
    uint64_t timeout_ns;          /* peer silent for so long: ERR_TIMEOUT. Default 10 s */
    uint64_t ping_ns;             /* send PING after so long without sending. Default 1 s */
    const lynx_allocator *memory; /* kept; NULL = C library */
} lynx_session_options;

LYNX_API void lynx_session_options_init(lynx_session_options *options);

/* ---- a request ----------------------------------------------------------------------- */

enum {
    LYNX_REQUEST_HOLD = 1,     /* send READY after the prefill, and pages only after START */
    LYNX_REQUEST_REUSE = 2,    /* a cache of the same tokens that is still held will do */
    LYNX_REQUEST_NO_PAGES = 4, /* tokens only (the prefill node decodes on) */
    LYNX_REQUEST_AFTER_PREFILL = 8 /* no page leaves before the prefill is complete (blob) */
};

typedef struct lynx_request {
    lynx_codec_spec spec;
    lynx_sampling sampling;
    uint32_t flags;         /* LYNX_REQUEST_... */
    uint32_t answer_tokens; /* tokens that the prefill node chooses itself, >= 1 */
    uint32_t token_count;   /* prompt, in [1, LYNX_PROMPT_TOKENS_MAX] */
    const lynx_token *tokens;
} lynx_request;

/* ---- events -------------------------------------------------------------------------- */

typedef enum lynx_event_type {
    LYNX_EVENT_NONE,  /* nothing new */
    LYNX_EVENT_HELLO, /* the peer is who we want; 'text' is its model's name */
    /* sender: 'request_id', 'request', which is valid until the owner refuses it, or has taken
     * its CANCEL or DELIVERED and asks for the next event */
    LYNX_EVENT_REQUEST,
    LYNX_EVENT_START,     /* sender: 'request_id' */
    LYNX_EVENT_CANCEL,    /* sender: 'request_id'; its planes are dropped already */
    LYNX_EVENT_DELIVERED, /* sender: every plane of 'request_id' is acknowledged */
    LYNX_EVENT_ACCEPT,    /* receiver: 'request_id' */
    LYNX_EVENT_REFUSE,    /* receiver: 'request_id', 'status', 'text'; the request is over */
    LYNX_EVENT_PROGRESS,  /* receiver: 'count' prompt tokens are prefilled */
    LYNX_EVENT_READY,     /* receiver: the held cache is finished */
    LYNX_EVENT_TOKEN,     /* receiver: token 'token' with index 'count' of the answer */
    LYNX_EVENT_PLANE,     /* receiver: plane 'plane' of page 'page' is here and checked */
    LYNX_EVENT_FINISH,    /* receiver: everything of 'request_id' is here */
    LYNX_EVENT_CLOSED     /* the session is over; 'status' and 'text' say why. Last event */
} lynx_event_type;

typedef struct lynx_event {
    lynx_event_type type;
    uint64_t request_id;
    lynx_status status;
    uint32_t count;
    lynx_token token;
    lynx_page_id page;
    uint32_t plane;
    const lynx_request *request;
    const char *text;  /* terminated; valid until the next call on the object */
    lynx_time_ns time; /* 'now' of the read that made the event */
} lynx_event;

/* Counters of one session. Bytes include all framing. */
typedef struct lynx_session_counters {
    uint64_t bytes_sent, bytes_received;
    uint64_t plane_bytes_sent[LYNX_PLANES_MAX]; /* payload and framing of pages, by plane */
    uint64_t plane_bytes_received[LYNX_PLANES_MAX];
    uint64_t queued_bytes;     /* sender: payload added and not acknowledged */
    uint64_t queued_bytes_top; /* its largest value */
} lynx_session_counters;

/* ---- sender (prefill node) ----------------------------------------------------------- */

typedef struct lynx_sender lynx_sender;

LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_create(lynx_sender **sender,
                                                        const lynx_session_options *options,
                                                        lynx_time_ns now);
LYNX_API void lynx_sender_destroy(lynx_sender *sender);

/* Bytes that arrived; all are consumed. An error is also queued as LYNX_EVENT_CLOSED, and a
 * CLOSE message with the reason is queued for the peer: keep writing until write gives none. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_read(lynx_sender *sender, lynx_time_ns now,
                                                      const uint8_t *data, size_t size);

/* The next bytes to send: '*count' (0 = none now) ranges, at most about 'chunk_bytes' in all,
 * borrowed until wrote() has taken them or the sender is destroyed. Until wrote() the
 * same bytes are given again. An error is queued as LYNX_EVENT_CLOSED; the ranges are valid
 * with it. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_write(lynx_sender *sender, lynx_time_ns now,
                                                       lynx_bytes parts[LYNX_SESSION_PARTS_MAX],
                                                       uint32_t *count);

/* The link took 'size' bytes (>= 1, <= what the last write gave). A message that has begun is
 * finished before another one starts. To be called before a read of what answers these bytes.
 */
LYNX_API void lynx_sender_wrote(lynx_sender *sender, lynx_time_ns now, size_t size);

/* When to call write again even if nothing arrives (ping, time-out). Passing the time-out
 * makes write close the session with ERR_TIMEOUT. */
LYNX_API lynx_time_ns lynx_sender_deadline(const lynx_sender *sender);

/* Take the oldest event; false when there is none. */
LYNX_API bool lynx_sender_next_event(lynx_sender *sender, lynx_event *event);

LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_accept(lynx_sender *sender,
                                                        uint64_t request_id);
/* Also after accept: the request ends with 'status' (an error) and 'text', its planes are
 * dropped. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_refuse(lynx_sender *sender,
                                                        uint64_t request_id, lynx_status status,
                                                        const char *text);
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_progress(lynx_sender *sender,
                                                          uint64_t request_id, uint32_t done);
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_ready(lynx_sender *sender,
                                                       uint64_t request_id);
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_token(lynx_sender *sender, uint64_t request_id,
                                                       uint32_t index, lynx_token token);

/* Called once for each plane that was added, when it is acknowledged or dropped: from within a
 * read, a wrote, a refuse or the destroy. It must not call the sender. */
typedef void lynx_plane_release(void *user, uint8_t *data, size_t size);

/* Queue a plane. On success the sender keeps 'data' until 'release'; on failure it stays with
 * the caller. 'size' may be 0. The checksum is computed here, once.
 * LYNX_ERR_STATE: no such request (cancelled meanwhile), not accepted, or finished.
 * LYNX_ERR_ARGUMENT: page not needed or wanted, no such plane, or it was added before.
 * LYNX_ERR_CLOSED, LYNX_ERR_MEMORY. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_plane(lynx_sender *sender, uint64_t request_id,
                                                       lynx_page_id page, uint32_t plane,
                                                       uint8_t *data, size_t size,
                                                       lynx_plane_release *release, void *user);

/* Nothing more will be added; FINISH leaves behind the last plane. LYNX_ERR_STATE also when a
 * plane of a needed page was not added, unless the request wants no pages. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sender_finish(lynx_sender *sender,
                                                        uint64_t request_id);

/* Say good-bye with a reason; LYNX_OK for an ordinary end. */
LYNX_API void lynx_sender_close(lynx_sender *sender, lynx_status status, const char *text);
LYNX_API lynx_session_counters lynx_sender_counters(const lynx_sender *sender);

/* ---- receiver (decode node) ---------------------------------------------------------- */

typedef struct lynx_receiver lynx_receiver;

/* As the sender's, by name. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_receiver_create(lynx_receiver **receiver,
                                                          const lynx_session_options *options,
                                                          lynx_time_ns now);
LYNX_API void lynx_receiver_destroy(lynx_receiver *receiver);
LYNX_API LYNX_MUST_CHECK lynx_status lynx_receiver_read(lynx_receiver *receiver,
                                                        lynx_time_ns now, const uint8_t *data,
                                                        size_t size);
LYNX_API LYNX_MUST_CHECK lynx_status
lynx_receiver_write(lynx_receiver *receiver, lynx_time_ns now,
                    lynx_bytes parts[LYNX_SESSION_PARTS_MAX], uint32_t *count);
LYNX_API void lynx_receiver_wrote(lynx_receiver *receiver, lynx_time_ns now, size_t size);
LYNX_API lynx_time_ns lynx_receiver_deadline(const lynx_receiver *receiver);
LYNX_API bool lynx_receiver_next_event(lynx_receiver *receiver, lynx_event *event);
LYNX_API void lynx_receiver_close(lynx_receiver *receiver, lynx_status status,
                                  const char *text);
LYNX_API lynx_session_counters lynx_receiver_counters(const lynx_receiver *receiver);

/* Ask for a prompt's cache. 'request' and its tokens are copied. May be called before HELLO
 * arrived. The bound of each plane's size follows from shape and spec. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_receiver_request(lynx_receiver *receiver,
                                                           const lynx_request *request,
                                                           uint64_t *request_id);
/* Once, for a request with LYNX_REQUEST_HOLD; LYNX_ERR_STATE otherwise. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_receiver_start(lynx_receiver *receiver,
                                                         uint64_t request_id);
/* Drop the request and what it holds; the sender is told. To be called for requests that are
 * over as well, to free their planes. Events of it that wait already still come. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_receiver_cancel(lynx_receiver *receiver,
                                                          uint64_t request_id);

/* What is here. Borrowed until the request ends; NULL when there is no such request. */
LYNX_API const lynx_page_map *lynx_receiver_map(const lynx_receiver *receiver,
                                                uint64_t request_id);

/* The planes of a page that are here from plane 0 on, without a gap: '*count' of them,
 * borrowed until release_page. LYNX_ERR_STATE when plane 0 is not here or was released. */
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
