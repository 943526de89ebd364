/* SPDX-License-Identifier: MIT */
/* open_pair.h - a pair in which a test plays one end itself, frame by frame. */
#ifndef TEST_SUPPORT_OPEN_PAIR_H
#define TEST_SUPPORT_OPEN_PAIR_H

#include "support/session_pair.h"
#include "wire/frame.h"
#include "wire/messages.h"

enum { TEST_TURNS = 100000, TEST_FRAME_BYTES = LX_FRAME_BYTES + 1024 };

/* A pair that has greeted, with request 1 of 40 tokens and 2 of answer, record 0; accepted when
 * 'accepts'. Options and peers are as 'pair' was initialised with. */
void test_open_pair(test_pair *pair, uint32_t flags, bool accepts);
/* Ends it: nothing may have leaked, and every plane was released once. */
void test_close_pair(test_pair *pair);

/* Encode a frame with the right digests and version, unless 'frame' has one; its size.
 * 'payload' has the bytes that 'frame' announces, up to 1024. */
size_t test_frame(uint8_t bytes[TEST_FRAME_BYTES], lx_frame frame, const uint8_t *payload);

/* An end reads a frame on lane 0 of peer 0, with the right digests and version unless 'frame'
 * has one; 'payload' has the bytes that 'frame' announces. */
lynx_status test_feed(test_pair *pair, bool to_sender, lx_frame frame, const uint8_t *payload);
/* A sender reads it on a lane that no connection of the pair has. */
lynx_status test_feed_lane(test_pair *pair, uint32_t lane, lx_frame frame,
                           const uint8_t *payload);
/* HELLO of a receiver of the pair's model: what a stranger says first. */
lynx_status test_feed_hello(test_pair *pair, uint32_t lane,
                            const uint8_t session[LYNX_ID_BYTES], uint8_t number);
/* RESUME of one entry, or of none. */
lynx_status test_feed_resume(test_pair *pair, uint32_t lane, uint32_t serial,
                             const lx_resume_entry *entry);
lynx_status test_feed_flow(test_pair *pair, uint32_t lane, uint64_t received, uint64_t anchors,
                           uint64_t residuals);

/* The prefill node adds a plane: 'size' bytes of the value 7. */
lynx_status test_add(test_pair *pair, uint32_t request, lynx_page_id page, uint32_t plane,
                     uint8_t *data, size_t size, uint32_t *releases);

#endif
