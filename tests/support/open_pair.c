/* SPDX-License-Identifier: MIT */
#include "support/open_pair.h"

#include <string.h>

#include "base/digest.h"
#include "session/lane.h"
#include "support/cmocka_all.h"

void test_open_pair(test_pair *pair, uint32_t flags, bool accepts)
{
    uint32_t index;
    pair->is_manual = true;
    pair->has_small_planes = true;
    assert_int_equal(test_pair_create(pair), LYNX_OK);
    lynx_request request = test_pair_request(40);
    request.flags = flags;
    request.answer_tokens = 2;
    assert_int_equal(test_pair_ask(pair, 0, &request, &index), LYNX_OK);
    test_pair_run(pair, TEST_TURNS);
    assert_int_equal(pair->last_request.request_id, pair->requests[0].key);
    if (accepts)
        assert_int_equal(lynx_sender_accept(pair->sender, pair->requests[0].key, 0), LYNX_OK);
    test_pair_run(pair, TEST_TURNS);
    assert_int_equal(pair->accepts, accepts);
}

void test_close_pair(test_pair *pair)
{
    test_pair_destroy(pair);
    for (uint32_t i = 0; i < pair->plane_count; i++)
        assert_int_equal(pair->planes[i].releases, pair->planes[i].adds);
    assert_int_equal(pair->memory.live_bytes, 0);
    for (uint32_t i = 0; i < TEST_PEERS; i++)
        assert_int_equal(pair->peers[i].memory.live_bytes, 0);
    assert_int_equal(pair->order_errors + pair->spins, 0);
}

size_t test_frame(uint8_t bytes[TEST_FRAME_BYTES], lx_frame frame, const uint8_t *payload)
{
    const size_t covered =
        frame.type == LX_MESSAGE_PAGE ? LX_PAGE_FIXED_BYTES : frame.payload_bytes;
    assert_true(frame.payload_bytes <= 1024);
    if (!frame.version)
        frame.version = LX_WIRE_VERSION;
    frame.payload_digest = lx_digest64(payload, covered);
    lx_frame_encode(&frame, bytes);
    if (payload)
        memcpy(bytes + LX_FRAME_BYTES, payload, frame.payload_bytes);
    return LX_FRAME_BYTES + frame.payload_bytes;
}

lynx_status test_feed(test_pair *pair, bool to_sender, lx_frame frame, const uint8_t *payload)
{
    uint8_t bytes[TEST_FRAME_BYTES];
    test_connection *c = test_pair_connection(pair, 0, 0);
    assert_non_null(c);
    const size_t size = test_frame(bytes, frame, payload);
    c->sender_ready = c->receiver_ready = true;
    return to_sender ? lynx_sender_read(pair->sender, c->sender_lane, pair->now, bytes, size)
                     : lynx_receiver_read(pair->peers[0].receiver, 0, pair->now, bytes, size);
}

lynx_status test_feed_lane(test_pair *pair, uint32_t lane, lx_frame frame,
                           const uint8_t *payload)
{
    uint8_t bytes[TEST_FRAME_BYTES];
    const size_t size = test_frame(bytes, frame, payload);
    return lynx_sender_read(pair->sender, lane, pair->now, bytes, size);
}

lynx_status test_feed_hello(test_pair *pair, uint32_t lane,
                            const uint8_t session[LYNX_ID_BYTES], uint8_t number)
{
    uint8_t payload[LX_HELLO_BYTES_MAX];
    lx_identity identity;
    lx_hello hello;
    assert_int_equal(lx_identity_init(&identity, &pair->peers[0].options, LX_ROLE_RECEIVER),
                     LYNX_OK);
    lx_greeting_fill(&identity, &hello);
    hello.lane = number;
    memcpy(hello.session, session, LYNX_ID_BYTES);
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_hello_encode(&writer, &hello);
    lx_identity_fini(&identity);
    return test_feed_lane(pair, lane,
                          (lx_frame){.type = LX_MESSAGE_HELLO,
                                     .payload_bytes = (uint32_t)writer.offset},
                          payload);
}

lynx_status test_feed_resume(test_pair *pair, uint32_t lane, uint32_t serial,
                             const lx_resume_entry *entry)
{
    uint8_t payload[1024];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_resume_encode_count(&writer, entry != NULL, serial);
    if (entry)
        lx_resume_encode_entry(&writer, entry);
    return test_feed_lane(pair, lane,
                          (lx_frame){.type = LX_MESSAGE_RESUME,
                                     .payload_bytes = (uint32_t)writer.offset},
                          payload);
}

lynx_status test_feed_flow(test_pair *pair, uint32_t lane, uint64_t received, uint64_t anchors,
                           uint64_t residuals)
{
    uint8_t payload[LX_FLOW_BYTES];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_flow_encode(&writer, &(lx_flow_message){received, {anchors, residuals}});
    return test_feed_lane(pair, lane,
                          (lx_frame){.type = LX_MESSAGE_FLOW, .payload_bytes = LX_FLOW_BYTES},
                          payload);
}

static void on_release(void *user, uint8_t *data, size_t size)
{
    memset(data, 0xEE, size); /* nobody may look at it any more */
    ++*(uint32_t *)user;
}

lynx_status test_add(test_pair *pair, uint32_t request, lynx_page_id page, uint32_t plane,
                     uint8_t *data, size_t size, uint32_t *releases)
{
    memset(data, 7, size);
    return lynx_sender_plane(pair->sender, pair->now, pair->requests[request].key, page, plane,
                             data, size, on_release, releases);
}
