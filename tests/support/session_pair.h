/* SPDX-License-Identifier: MIT */
/*
 * session_pair.h - a sender and a receiver with two pipes of bytes between them, in virtual
 * time.
 *
 * The pair also plays the prefill node: it answers REQUEST by ACCEPT, adds the planes of every
 * page in a random order at random moments, and finishes. It keeps its own record of each
 * plane, so that tests can compare what arrives with what was sent, and sees that a plane of a
 * less significant class never begins a frame while a more significant one waits.
 */
#ifndef TEST_SUPPORT_SESSION_PAIR_H
#define TEST_SUPPORT_SESSION_PAIR_H

#include "lynx/session.h"
#include "support/failing_allocator.h"
#include "support/rng.h"

enum { TEST_LAYERS = 2, TEST_PLANES_TOP = 512 };

typedef struct test_plane {
    uint64_t request_id;
    lynx_page_id page;
    uint32_t plane;
    uint8_t *data; /* NULL after its release */
    uint8_t *copy;
    size_t size;
    uint32_t releases;
    bool is_added, is_sent;
} test_plane;

typedef struct test_pipe {
    uint8_t *data;
    size_t capacity, first, end; /* bytes [first, end) are in flight */
    uint64_t total;              /* bytes that ever entered */
    uint64_t flip_byte;          /* this byte of the stream is changed by 'flip_mask' */
    uint8_t flip_mask;           /* 0: nothing is */
    bool keeps;                  /* do not forget bytes that left, for the tests to look at */
} test_pipe;

typedef struct test_pair {
    lynx_layer_shape layers[TEST_LAYERS];
    lynx_model model;
    lynx_session_options sender_options, receiver_options;
    test_allocator memory;
    lynx_sender *sender;
    lynx_receiver *receiver;
    lynx_time_ns now;
    test_rng rng;
    uint32_t piece_top;   /* most bytes that move at once */
    test_pipe down, up;   /* sender to receiver; receiver to sender */
    uint64_t frame_left;  /* bytes of the frame that enters 'down' */
    uint32_t frame_plane; /* record of the plane whose frame that is; TEST_PLANES_TOP: none */

    test_plane planes[TEST_PLANES_TOP];
    uint32_t plane_count;
    uint32_t order_errors; /* frames that began out of order */

    /* What the events said. */
    uint32_t accepts, refuses, plane_events, finishes, delivered, cancels, hellos;
    bool sender_closed, receiver_closed;
    lynx_status sender_status, receiver_status;
    char sender_text[LYNX_SESSION_TEXT_MAX + 1], receiver_text[LYNX_SESSION_TEXT_MAX + 1];
    bool has_small_planes; /* none is larger than 90 bytes */
    bool is_manual;        /* the test answers REQUEST itself */
    lynx_event last_request;
} test_pair;

/* The model of all pairs: 2 layers of 512 and 8 channels, the second with a window of 40, pages
 * of 32 tokens. Options point to the pair, which does not move; nothing is created yet. */
void test_pair_init(test_pair *pair, uint64_t seed);
lynx_status test_pair_create(test_pair *pair);
/* Ends both and frees the records. */
void test_pair_destroy(test_pair *pair);

/* A request for 'token_count' tokens, coded as "range". */
lynx_request test_pair_request(uint32_t token_count);

/* Move some bytes one way; false when there were none. */
bool test_pair_move_down(test_pair *pair);
bool test_pair_move_up(test_pair *pair);
/* Take all events and act on them. */
void test_pair_events(test_pair *pair);
/* Add one plane that is not yet added; finish the requests that have all. False: none left. */
bool test_pair_add_plane(test_pair *pair);
/* Bytes, events and planes at random until nothing moves, but no more than 'steps'. */
void test_pair_run(test_pair *pair, uint32_t steps);
/* Planes in the receiver's map and memory differ from those added: the number. */
uint32_t test_pair_wrong_planes(const test_pair *pair);

#endif
