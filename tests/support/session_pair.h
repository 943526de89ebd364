/* SPDX-License-Identifier: MIT */
/*
 * session_pair.h - a sender and one or two receivers, joined by connections of bytes, in
 * virtual time.
 *
 * The pair also plays the nodes. The prefill node answers REQUEST by ACCEPT, adds planes,
 * tokens and progress at random moments, and finishes. The decode node checks each event
 * against what was added. Both are as strict as the contract of lynx/session.h allows: they ask
 * a lane for bytes only after they read from it, wrote to it, were woken for it, or when its
 * deadline has passed; what write() gave is kept for a while before it is taken; a lane that
 * has closed is disconnected when it has nothing more to write.
 *
 *     receiver of peer p, lane l <-- connection: pipes 'down', 'up' --> lane of the sender
 *
 * A connection may be cut at any moment, at both ends at once or at one first.
 */
#ifndef TEST_SUPPORT_SESSION_PAIR_H
#define TEST_SUPPORT_SESSION_PAIR_H

#include "lynx/session.h"
#include "support/failing_allocator.h"
#include "support/rng.h"

enum {
    TEST_LAYERS = 2,
    TEST_PEERS = 2,
    TEST_LANES = 3,
    TEST_CONNECTIONS = 16,
    TEST_REQUESTS = 20,
    TEST_PLANES_TOP = 512,
    TEST_HEAD_BYTES = 72 /* of a PAGE frame, before the plane's bytes */
};

typedef struct test_plane {
    uint32_t request; /* index of the record */
    lynx_page_id page;
    uint32_t plane;
    uint8_t *data; /* NULL after its release */
    uint8_t *copy;
    size_t size;
    uint32_t adds, releases, events;
    uint32_t flips;      /* times that a byte of it was changed on its way */
    uint32_t connection; /* that carries it */
    bool is_added, is_begun, is_sent;
} test_plane;

typedef struct test_request {
    uint32_t peer;
    uint64_t id;  /* at the receiver */
    uint64_t key; /* at the sender; 0: it does not know it (any more) */
    lynx_request request;
    uint32_t tokens_told, tokens_here, progress_told, progress_here;
    uint32_t first_plane, plane_count; /* records */
    uint32_t planes_here;
    uint32_t tokens_most; /* that the prefill node chooses: with CARRY_ON, some */
    bool has_yielded;
    uint32_t left_out; /* tokens whose pages the prefill node does not add */
    bool is_accepted;  /* ACCEPT came */
    bool is_ready, is_started, is_finished, is_refused, is_ended;
    bool is_finished_there, is_failing_there; /* prefill node: finish, refuse is to come */
    lynx_status status;                       /* of REFUSE */
} test_request;

typedef struct test_pipe {
    uint8_t *data;
    size_t capacity, first, end; /* bytes [first, end) are in flight */
    uint64_t total;              /* bytes that ever entered */
    uint64_t flip_byte;          /* this byte of the stream is changed by 'flip_mask' */
    uint8_t flip_mask;           /* 0: nothing is */
    bool keeps;                  /* do not forget bytes that left, for the tests to look at */

    /* What write() gave and the link has not taken. */
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t part_count;
    uint64_t part_digest;
} test_pipe;

typedef struct test_connection {
    bool at_sender, at_receiver; /* not disconnected there yet */
    uint32_t peer, lane, sender_lane;
    bool sender_ready, receiver_ready; /* may have something to write */
    bool sender_closed, receiver_closed;
    test_pipe down, up;            /* sender to receiver; receiver to sender */
    uint32_t slowness;             /* moves in one of so many turns */
    bool is_stalled;               /* the link takes nothing from the sender */
    lynx_time_ns sender_learns_at; /* that the receiver has gone, if it has */
    uint8_t head[TEST_HEAD_BYTES]; /* of the frame that enters 'down' */
    uint64_t frame_at, frame_bytes;
    uint32_t frame_plane; /* record of the plane whose frame that is; TEST_PLANES_TOP: none */
    uint32_t pages;       /* PAGE frames that began */
    uint8_t *place;       /* where the next bytes of 'down' may be received to: 'room' bytes */
    size_t room;
} test_connection;

typedef struct test_peer {
    lynx_session_options options;
    lynx_receiver *receiver;
    char name[32]; /* authenticated; "": none */
    test_allocator memory;
} test_peer;

typedef struct test_pair {
    lynx_layer_shape layers[TEST_LAYERS];
    lynx_model model;
    lynx_session_options sender_options;
    test_allocator memory;
    lynx_sender *sender;
    test_peer peers[TEST_PEERS];
    uint32_t peer_count;
    lynx_time_ns now, tick_at;
    uint64_t turn_ns; /* virtual time of a turn in which something moved */
    test_rng rng;
    uint32_t piece_top; /* most bytes that move at once */
    test_connection connections[TEST_CONNECTIONS];
    test_request requests[TEST_REQUESTS];
    uint32_t request_count;
    test_plane planes[TEST_PLANES_TOP];
    uint32_t plane_count;

    /* How the nodes behave. */
    bool refuses_held;     /* the prefill node adds the pages that the decode node holds, too */
    bool has_small_planes; /* none is larger than 90 bytes */
    bool is_in_order;      /* planes are added page by page, not at random */
    bool is_manual;        /* the test answers REQUEST itself */
    bool reconnects;       /* lanes that are not connected come back at random moments */
    bool starts;           /* START after READY, or before */
    bool ends;             /* the decode node ends requests that are over */
    bool releases_pages;   /* it releases a page that is complete */
    uint32_t slow_reader;  /* ... in one of so many turns */
    uint32_t flip_chance;  /* one in so many PAGE frames gets a changed byte; 0: none does */
    bool is_plain;         /* nothing is sent twice: the order is checked by records as well */

    /* What was seen. */
    uint32_t order_errors;   /* frames that began out of order */
    uint32_t content_errors; /* events or planes that are wrong */
    uint32_t spins;          /* deadlines in the past that led to nothing */
    uint32_t accepts, refuses, plane_events, finishes, delivered, cancels, opened, yields;
    uint32_t sender_closes, receiver_closes;
    lynx_status sender_status, receiver_status; /* of the last CLOSED or REFUSE */
    char sender_text[LYNX_SESSION_TEXT_MAX + 1], receiver_text[LYNX_SESSION_TEXT_MAX + 1];
    lynx_event last_request;
    bool has_logprobs; /* of the last token that a decode node heard of */
    lynx_logprobs logprobs;
} test_pair;

/* The model of all pairs: 2 layers of 512 and 8 channels, the second with a window of 40, pages
 * of 32 tokens. Options point to the pair, which does not move; nothing is created yet. */
void test_pair_init(test_pair *pair, uint64_t seed);
/* The sender, 'peer_count' receivers, and a connection for each of their lanes. */
lynx_status test_pair_create(test_pair *pair);
/* Ends all and frees the records. */
void test_pair_destroy(test_pair *pair);

/* A request for 'token_count' tokens, coded as "range". */
lynx_request test_pair_request(uint32_t token_count);
/* The same; the decode node holds the pages of the first tokens. */
lynx_request test_pair_held_request(uint32_t token_count, uint32_t held_tokens);
/* Ask for it at a peer; '*index' is its record. */
lynx_status test_pair_ask(test_pair *pair, uint32_t peer, const lynx_request *request,
                          uint32_t *index);

/* The prefill node refuses it, if it still knows it. */
void test_pair_refuse(test_pair *pair, test_request *request, lynx_status status,
                      const char *text);

/* A new connection for a lane that has none at its receiver. */
lynx_status test_pair_connect(test_pair *pair, uint32_t peer, uint32_t lane);
/* The connection of a lane as its receiver sees it; NULL: none. */
test_connection *test_pair_connection(test_pair *pair, uint32_t peer, uint32_t lane);
/* It breaks: both ends learn it at once, what is in flight is lost. */
void test_pair_cut(test_pair *pair, uint32_t peer, uint32_t lane);
/* The sender's end breaks; what it sent still arrives. */
void test_pair_cut_sender(test_pair *pair, uint32_t peer, uint32_t lane);
/* The receiver's end breaks; the sender learns it after 'lag_ns'. */
void test_pair_cut_receiver(test_pair *pair, uint32_t peer, uint32_t lane, uint64_t lag_ns);
/* The sender's process ends and another one begins. */
lynx_status test_pair_restart_sender(test_pair *pair);

/* Take all events and act on them. */
void test_pair_events(test_pair *pair);
/* The prefill node adds something; false: it has nothing to add. */
bool test_pair_work(test_pair *pair);
/* One turn: bytes, events and planes at random; false when nothing moved. */
bool test_pair_turn(test_pair *pair);
/* Turns until nothing moves, but no more than 'turns'. */
void test_pair_run(test_pair *pair, uint32_t turns);
/* Turns, with jumps to the next deadline, until every request is over (and ended, if the nodes
 * end them) and nothing moves; false when that has not come in 'most_ns' of virtual time. */
bool test_pair_complete(test_pair *pair, uint64_t most_ns);
/* Time goes on for 'span_ns', whatever moves. */
void test_pair_pass(test_pair *pair, uint64_t span_ns);

/* Planes in the receivers' maps and memory differ from those added: the number. */
uint32_t test_pair_wrong_planes(const test_pair *pair);

#endif
