/* SPDX-License-Identifier: MIT */
/* pair_nodes.h - what the nodes of a session_pair do; for session_pair.c alone. */
#ifndef TEST_SUPPORT_PAIR_NODES_H
#define TEST_SUPPORT_PAIR_NODES_H

#include "support/session_pair.h"

/* As assert, but in release builds as well. */
void test_require(bool condition);

/* An event of a request at the sender, or at the receiver of 'request'. */
void test_prefill_event(test_pair *pair, const lynx_event *event);
void test_decode_event(test_pair *pair, test_request *request, const lynx_event *event);

/* What the decode node does without an event: START, release of pages, end. */
void test_decode_work(test_pair *pair, test_request *request);

/* The plane of a PAGE frame; TEST_PLANES_TOP when there is none. */
uint32_t test_plane_of_frame(const test_pair *pair, uint32_t peer,
                             const uint8_t head[TEST_HEAD_BYTES]);

#endif
