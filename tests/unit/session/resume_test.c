/* SPDX-License-Identifier: MIT */
/* A session's connections: who may take it up again, what is refused, and what a peer that
 * breaks the rules of RESUME, FLOW, ACK and credit gets. */
#include "support/cmocka_all.h"

#include "base/digest.h"
#include "session/sender.h"
#include "support/open_pair.h"

static const lynx_page_id first_page = {0, 0, 0}, second_page = {1, 0, 0};
static const uint64_t second = 1000000000u;

static void open_pair(test_pair *pair, uint32_t flags)
{
    test_pair_init(pair, 5);
    test_open_pair(pair, flags, true);
}

/* A stranger's connection that has greeted in the session of peer 0. */
static uint32_t greet(test_pair *pair, const char *name, lynx_status expected)
{
    uint32_t lane;
    assert_int_equal(lynx_sender_connect(pair->sender, pair->now, name, &lane), LYNX_OK);
    assert_int_equal(test_feed_hello(pair, lane, pair->peers[0].options.session_id, 0),
                     expected);
    return lane;
}

static void take_writes(test_pair *pair, uint32_t lane)
{
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count;
    while (lynx_sender_write(pair->sender, lane, pair->now, parts, &count) == LYNX_OK && count)
        lynx_sender_wrote(pair->sender, lane, pair->now,
                          parts[0].size + (count > 1 ? parts[1].size : 0));
}

/* ---- who ----------------------------------------------------------------------------- */

/* F-17: the name that began a session is the only one that resumes it. */
static void test_session_of_another_peer(void **state)
{
    (void)state;
    static const char *const names[] = {"mallory", "alic", "alice2", NULL};
    test_pair pair;
    test_pair_init(&pair, 5);
    strcpy(pair.peers[0].name, "alice");
    test_open_pair(&pair, 0, true);
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t lane = greet(&pair, names[i], LYNX_ERR_DENIED);
        test_pair_events(&pair);
        assert_int_equal(pair.sender_status, LYNX_ERR_DENIED);
        lynx_sender_disconnect(pair.sender, pair.now, lane, LYNX_OK, "");
    }
    assert_int_equal(lynx_sender_counters(pair.sender).denied, 4);
    test_pair_pass(&pair, 2 * second); /* the victim heard nothing of it */
    assert_true(pair.cancels == 0 && pair.receiver_closes == 0);
    const uint32_t lane = greet(&pair, "alice", LYNX_OK);
    lynx_sender_disconnect(pair.sender, pair.now, lane, LYNX_ERR_CLOSED, "");
    test_close_pair(&pair);
}

/* F-28: who knows the session and not the ticket gets nothing, and ends nothing. */
static void test_foreign_ticket(void **state)
{
    (void)state;
    test_pair pair;
    uint8_t data[8];
    uint32_t releases = 0;
    const uint8_t held[1] = {0xFF};
    open_pair(&pair, 0);
    const lx_resume_entry entry = {.request_id = 1, .held = {held, 1}};
    assert_int_equal(test_add(&pair, 0, first_page, 0, data, 8, &releases), LYNX_OK);
    test_pair_cut(&pair, 0, 0);
    const uint32_t lane = greet(&pair, NULL, LYNX_OK);
    assert_int_equal(test_feed_resume(&pair, lane, UINT32_MAX, &entry), LYNX_ERR_DENIED);
    assert_true(lynx_sender_counters(pair.sender).denied == 1 && releases == 0);
    lynx_sender_disconnect(pair.sender, pair.now, lane, LYNX_OK, "");
    test_pair_events(&pair);
    assert_int_equal(pair.cancels, 0);
    assert_int_equal(test_pair_connect(&pair, 0, 0), LYNX_OK);
    test_pair_run(&pair, TEST_TURNS);
    assert_true(releases == 1 && pair.cancels == 0 && pair.refuses == 0);
    pair.content_errors = 0; /* no record knows of the plane */
    test_close_pair(&pair);
}

/* REQUEST for an open request of another ticket; the same one when nothing was lost. F-34 */
static void test_request_twice(void **state)
{
    (void)state;
    for (uint32_t is_foreign = 0; is_foreign < 2; is_foreign++) {
        test_pair pair;
        uint8_t payload[512];
        open_pair(&pair, 0);
        const lynx_request *r = &pair.requests[0].request;
        lx_request_message message = {.spec = r->spec,
                                      .sampling = r->sampling,
                                      .answer_tokens = 2,
                                      .token_count = 40};
        memcpy(message.ticket, r->ticket, LYNX_ID_BYTES);
        message.ticket[15] ^= (uint8_t)is_foreign;
        lx_resume_entry entry = {.request_id = 1};
        memcpy(entry.ticket, r->ticket, LYNX_ID_BYTES);
        lx_writer writer = lx_writer_of(payload, sizeof(payload));
        lx_request_encode(&writer, &message);
        for (uint32_t i = 0; i < 40; i++)
            lx_write_u32(&writer, i);
        const lx_frame frame = {.type = LX_MESSAGE_REQUEST,
                                .request_id = 1,
                                .payload_bytes = (uint32_t)writer.offset};
        const uint32_t lane = greet(&pair, NULL, LYNX_OK);
        assert_int_equal(test_feed_resume(&pair, lane, 2, &entry), LYNX_OK);
        assert_int_equal(test_feed_lane(&pair, lane, frame, payload),
                         is_foreign ? LYNX_ERR_DENIED : LYNX_OK);
        lynx_sender_disconnect(pair.sender, pair.now, lane, LYNX_ERR_CLOSED, "");
        test_pair_destroy(&pair);

        open_pair(&pair, 0); /* on the connection that asked first */
        assert_int_equal(test_feed(&pair, true, frame, payload), LYNX_ERR_PROTOCOL);
        test_close_pair(&pair);
    }
}

/* ---- which connection ---------------------------------------------------------------- */

/* F-19, F-24: a lane's newer connection takes the place of the older one, whose bytes stay
 * where they are until it is disconnected. */
static void test_superseded_lane(void **state)
{
    (void)state;
    test_pair pair;
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX], again[LYNX_SESSION_PARTS_MAX];
    uint8_t data[8];
    uint32_t releases = 0, count, wake;
    open_pair(&pair, 0);
    test_connection *c = test_pair_connection(&pair, 0, 0);
    assert_int_equal(test_add(&pair, 0, first_page, 0, data, 8, &releases), LYNX_OK);
    assert_int_equal(lynx_sender_write(pair.sender, c->sender_lane, pair.now, parts, &count),
                     LYNX_OK);
    assert_true(count == 2 && parts[1].size == 8);
    const uint32_t lane = greet(&pair, NULL, LYNX_OK);
    assert_true(lynx_sender_next_wake(pair.sender, &wake) && wake == c->sender_lane);
    assert_int_equal(test_feed_resume(&pair, lane, 2, NULL), LYNX_OK); /* ends the request */
    test_pair_events(&pair);
    assert_true(pair.cancels == 1 && releases == 0 && parts[1].data[7] == 7);
    assert_int_equal(pair.sender_status, LYNX_ERR_CLOSED);
    assert_int_equal(lynx_sender_write(pair.sender, c->sender_lane, pair.now, again, &count),
                     LYNX_OK);
    assert_true(count == 2 && again[1].data == parts[1].data);
    lynx_sender_wrote(pair.sender, c->sender_lane, pair.now, parts[0].size + 3);
    assert_int_equal(releases, 0);
    lynx_sender_disconnect(pair.sender, pair.now, c->sender_lane, LYNX_ERR_CLOSED, "");
    assert_int_equal(releases, 1);
    c->at_sender = false;
    assert_int_equal(lynx_sender_counters(pair.sender).resumes, 1);
    /* What is left of the session is the newer lane's: it is not idle. */
    assert_int_equal(test_feed_lane(&pair, lane, (lx_frame){.type = LX_MESSAGE_PING}, NULL),
                     LYNX_OK);
    lynx_sender_disconnect(pair.sender, pair.now, lane, LYNX_ERR_CLOSED, "");
    test_close_pair(&pair);
}

/* A connection that was given up, and is read after the one that took its place, ends nothing;
 * nor does one with the number 0, which no decode node gives. F-24 */
static void test_late_resume(void **state)
{
    (void)state;
    test_pair pair;
    open_pair(&pair, 0);
    for (uint32_t serial = 0; serial < 2; serial++) {
        const lynx_status expected = serial == 0 ? LYNX_ERR_PROTOCOL : LYNX_ERR_CLOSED;
        const uint32_t lane = greet(&pair, NULL, LYNX_OK);
        assert_int_equal(test_feed_resume(&pair, lane, serial, NULL), expected);
        test_pair_events(&pair);
        assert_int_equal(pair.cancels, 0);
        lynx_sender_disconnect(pair.sender, pair.now, lane, LYNX_ERR_CLOSED, "");
    }
    test_close_pair(&pair);
}

/* F-17 */
static void test_limits(void **state)
{
    (void)state;
    test_pair pair;
    uint32_t lanes[3];
    uint8_t id[LYNX_ID_BYTES] = {0xAA};
    test_pair_init(&pair, 5);
    pair.sender_options.connections_max = 4;
    pair.sender_options.sessions_max = 2;
    test_open_pair(&pair, 0, true);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(lynx_sender_connect(pair.sender, pair.now, NULL, &lanes[i]), LYNX_OK);
    assert_int_equal(lynx_sender_connect(pair.sender, pair.now, NULL, &lanes[0]),
                     LYNX_ERR_LIMIT);
    assert_int_equal(test_feed_hello(&pair, lanes[0], id, 0), LYNX_OK);
    assert_int_equal(test_feed_hello(&pair, lanes[1], id, 1), LYNX_OK); /* the same session */
    id[0]++;
    assert_int_equal(test_feed_hello(&pair, lanes[2], id, 0), LYNX_ERR_LIMIT);
    assert_int_equal(lynx_sender_counters(pair.sender).sessions, 2);
    test_pair_events(&pair);
    assert_non_null(strstr(pair.sender_text, "2 sessions"));
    /* A place is free when its connection is gone and its events are taken. */
    lynx_sender_disconnect(pair.sender, pair.now, lanes[2], LYNX_OK, "");
    assert_int_equal(lynx_sender_connect(pair.sender, pair.now, NULL, &lanes[2]), LYNX_OK);
    /* Good-bye on one of two lanes: the session ends with the other one, however it ends. F-22
     */
    const uint8_t bye[8] = {0};
    assert_int_equal(test_feed_lane(&pair, lanes[0],
                                    (lx_frame){.type = LX_MESSAGE_CLOSE, .payload_bytes = 8},
                                    bye),
                     LYNX_OK);
    lynx_sender_disconnect(pair.sender, pair.now, lanes[0], LYNX_ERR_CLOSED, "");
    lynx_sender_disconnect(pair.sender, pair.now, lanes[1], LYNX_ERR_CLOSED, "");
    assert_int_equal(test_feed_hello(&pair, lanes[2], id, 0), LYNX_OK);
    for (uint32_t i = 0; i < 3; i++)
        lynx_sender_disconnect(pair.sender, pair.now, lanes[i], LYNX_OK, "");
    test_close_pair(&pair);
}

/* ---- a decode node that breaks the rules --------------------------------------------- */

static uint32_t lane_of(test_pair *pair)
{
    return test_pair_connection(pair, 0, 0)->sender_lane;
}

/* F-24, F-25: once, and first. */
static void test_resume_twice_or_never(void **state)
{
    (void)state;
    test_pair pair;
    open_pair(&pair, 0);
    assert_int_equal(test_feed_resume(&pair, lane_of(&pair), 2, NULL), LYNX_ERR_PROTOCOL);
    const uint32_t lane = greet(&pair, NULL, LYNX_OK);
    const lx_frame end = {.type = LX_MESSAGE_END, .request_id = 1};
    assert_int_equal(test_feed_lane(&pair, lane, end, NULL), LYNX_ERR_PROTOCOL);
    test_pair_events(&pair);
    assert_int_equal(pair.cancels, 0);
    lynx_sender_disconnect(pair.sender, pair.now, lane, LYNX_ERR_CLOSED, "");
    test_close_pair(&pair);
}

static void expect_resume(uint32_t flags, lx_resume_entry entry, uint8_t bits, size_t size,
                          lynx_status expected)
{
    test_pair pair;
    uint8_t data[8], held[100];
    uint32_t releases = 0;
    open_pair(&pair, flags);
    memset(held, bits, sizeof(held));
    assert_int_equal(test_add(&pair, 0, first_page, 0, data, 8, &releases), LYNX_OK);
    memcpy(entry.ticket, pair.requests[0].request.ticket, LYNX_ID_BYTES);
    entry.held = (lynx_bytes){held, size};
    test_pair_cut(&pair, 0, 0);
    const uint32_t lane = greet(&pair, NULL, LYNX_OK);
    assert_int_equal(test_feed_resume(&pair, lane, 2, &entry), expected);
    if (expected == LYNX_OK)
        assert_int_equal(releases, size > 0 && (bits & 1));
    lynx_sender_disconnect(pair.sender, pair.now, lane, LYNX_ERR_CLOSED, "");
    test_close_pair(&pair);
}

/* F-26: 2 pages of 2 layers and 2 sides, 2 planes: 16 bits. */
static void test_bad_resumes(void **state)
{
    (void)state;
    const lx_resume_entry good = {.request_id = 1};
    expect_resume(0, good, 0, 0, LYNX_OK);
    expect_resume(0, good, 0xFF, 2, LYNX_OK);
    expect_resume(0, good, 0xFE, 1, LYNX_OK);
    expect_resume(0, good, 0, 3, LYNX_ERR_PROTOCOL);
    expect_resume(LYNX_REQUEST_HOLD, good, 0xFF, 2, LYNX_ERR_PROTOCOL); /* before START */
    expect_resume(0, (lx_resume_entry){.request_id = 1, .next_token = 1}, 0, 0,
                  LYNX_ERR_PROTOCOL);
}

static lx_ack_entry entry_of(lynx_page_id page, uint8_t plane)
{
    return (lx_ack_entry){page, plane};
}

static lynx_status feed_ack(test_pair *pair, lx_message_type type, lx_ack_entry entry)
{
    uint8_t payload[LX_ACK_ENTRY_BYTES];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_ack_encode_entry(&writer, &entry);
    return test_feed_lane(
        pair, lane_of(pair),
        (lx_frame){.type = (uint8_t)type, .request_id = 1, .payload_bytes = 8}, payload);
}

/* F-46 */
static void test_bad_acknowledgements(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 7; i++) {
        test_pair pair;
        uint8_t data[2][8];
        uint32_t releases = 0;
        open_pair(&pair, 0);
        const lx_message_type type = i % 2 ? LX_MESSAGE_ACK : LX_MESSAGE_AGAIN;
        assert_int_equal(test_add(&pair, 0, first_page, 0, data[0], 8, &releases), LYNX_OK);
        lynx_status status = LYNX_ERR_PROTOCOL;
        if (i < 2) { /* not sent yet */
            status = feed_ack(&pair, type, entry_of(first_page, 0));
        } else if (i < 4) { /* never added: an acknowledgement that comes twice looks so */
            assert_int_equal(feed_ack(&pair, type, entry_of(first_page, 1)), LYNX_OK);
        } else if (i == 4) {
            status = feed_ack(&pair, type, entry_of((lynx_page_id){2, 0, 0}, 0));
        } else if (i == 5) {
            status = feed_ack(&pair, type, entry_of(first_page, 2));
        } else { /* sent, acknowledged, and once more */
            take_writes(&pair, lane_of(&pair));
            assert_int_equal(feed_ack(&pair, LX_MESSAGE_ACK, entry_of(first_page, 0)), LYNX_OK);
            assert_int_equal(releases, 1);
            assert_int_equal(feed_ack(&pair, LX_MESSAGE_ACK, entry_of(first_page, 0)), LYNX_OK);
            assert_int_equal(feed_ack(&pair, type, entry_of(first_page, 0)), LYNX_OK);
        }
        assert_int_equal(status, LYNX_ERR_PROTOCOL);
        test_close_pair(&pair);
        assert_int_equal(releases, 1);
    }
}

/* F-48: AGAIN for ever closes the connection; the plane waits for the next one. */
static void test_again_for_ever(void **state)
{
    (void)state;
    test_pair pair;
    uint8_t data[8];
    uint32_t releases = 0;
    open_pair(&pair, 0);
    const uint32_t lane = lane_of(&pair);
    assert_int_equal(test_add(&pair, 0, first_page, 0, data, 8, &releases), LYNX_OK);
    for (uint32_t i = 0; i < 4; i++) {
        take_writes(&pair, lane);
        assert_int_equal(feed_ack(&pair, LX_MESSAGE_AGAIN, entry_of(first_page, 0)),
                         i < 3 ? LYNX_OK : LYNX_ERR_CORRUPT);
    }
    const lynx_session_counters counters = lynx_sender_counters(pair.sender);
    assert_true(counters.resent_bytes == 24 && counters.unacknowledged_bytes == 24);
    assert_int_equal(releases, 0);
    test_close_pair(&pair);
}

/* F-52 */
static void test_bad_flow(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        test_pair pair;
        open_pair(&pair, 0);
        const lx_sender_lane *own = &pair.sender->lanes[lane_of(&pair)];
        uint64_t values[3] = {own->flow.sent, own->limits[0] + 1, own->limits[1] + 1};
        assert_int_equal(test_feed_flow(&pair, lane_of(&pair), values[0], values[1], values[2]),
                         LYNX_OK);
        if (i < 3)
            values[i]--;
        else
            values[0] += i == 3;
        values[1] = i == 4 ? UINT64_MAX : values[1];
        assert_int_equal(test_feed_flow(&pair, lane_of(&pair), values[0], values[1], values[2]),
                         i < 4 ? LYNX_ERR_PROTOCOL : LYNX_OK);
        test_close_pair(&pair);
    }
}

/* F-10: what a message announces is not allocated before it comes. */
static void test_length_bombs(void **state)
{
    (void)state;
    static const uint8_t types[] = {LX_MESSAGE_RESUME, LX_MESSAGE_REQUEST};
    for (uint32_t i = 0; i < 2; i++) {
        test_pair pair;
        uint8_t bytes[LX_FRAME_BYTES + 64] = {0};
        open_pair(&pair, 0);
        const lx_frame frame = {.version = LX_WIRE_VERSION,
                                .type = types[i],
                                .request_id = 7,
                                .payload_bytes = 64 << 20};
        lx_frame_encode(&frame, bytes);
        const uint64_t before = pair.memory.live_bytes;
        assert_int_equal(lynx_sender_read(pair.sender, lane_of(&pair), pair.now, bytes,
                                          sizeof(bytes)),
                         LYNX_OK);
        assert_true(pair.memory.live_bytes <= before + 4096);
        test_pair_destroy(&pair);
    }
}

/* ---- a prefill node that breaks the rules -------------------------------------------- */

static lynx_status feed_page(test_pair *pair, uint32_t lane, lx_page_message page,
                             uint32_t chunk, size_t bytes)
{
    uint8_t payload[512] = {0}, frame[TEST_FRAME_BYTES];
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_page_encode_header(&writer, &page);
    const size_t size = test_frame(frame,
                                   (lx_frame){.type = LX_MESSAGE_PAGE,
                                              .request_id = 1,
                                              .payload_bytes = LX_PAGE_FIXED_BYTES + chunk},
                                   payload);
    return lynx_receiver_read(pair->peers[0].receiver, lane, pair->now, frame,
                              bytes < size ? bytes : size);
}

static lx_page_message page_of(lynx_page_id page, uint32_t size, uint32_t offset)
{
    return (lx_page_message){page, 0, size, offset, 1};
}

/* F-51: each plane that begins costs credit, wanted or not. */
static void test_credit_overrun(void **state)
{
    (void)state;
    for (uint32_t is_unknown = 0; is_unknown < 2; is_unknown++) {
        test_pair pair;
        test_pair_init(&pair, 5);
        pair.peers[0].options.pool_bytes[0] = 100;
        test_open_pair(&pair, 0, true);
        lynx_receiver *r = pair.peers[0].receiver;
        if (is_unknown) {
            assert_int_equal(lynx_receiver_end(r, 1), LYNX_OK);
            pair.requests[0].is_ended = true;
        }
        assert_int_equal(feed_page(&pair, 0, page_of(first_page, 99, 0), 10, 999), LYNX_OK);
        assert_int_equal(feed_page(&pair, 0, page_of(first_page, 99, 10), 10, 999), LYNX_OK);
        assert_int_equal(feed_page(&pair, 0, page_of(second_page, 99, 0), 10, 999), LYNX_OK);
        assert_int_equal(feed_page(&pair, 0, page_of((lynx_page_id){0, 0, 1}, 1, 0), 1, 999),
                         LYNX_ERR_PROTOCOL);
        test_pair_events(&pair);
        assert_non_null(strstr(pair.receiver_text, "credit"));
        test_close_pair(&pair);
    }
}

static void open_two_lanes(test_pair *pair)
{
    test_pair_init(pair, 5);
    pair->peers[0].options.lanes = 2;
    test_open_pair(pair, 0, true);
}

/* F-45: a plane begins on lane 1 while its old lane 0 is in the middle of a chunk, and goes on:
 * into a buffer, or to where the receiver had the bytes go. */
static void change_lane(bool is_in_place)
{
    test_pair pair;
    open_two_lanes(&pair);
    lynx_receiver *r = pair.peers[0].receiver;
    lx_page_message page = page_of(first_page, 100, 0);
    uint8_t rest[50];
    uint8_t *target = rest;
    size_t room = sizeof(rest);
    static const uint8_t zeros[100];
    page.plane_digest = lx_digest64(zeros, 100);
    assert_int_equal(feed_page(&pair, 0, page, 60, TEST_HEAD_BYTES + 10), LYNX_OK);
    if (is_in_place)
        lynx_receiver_room(r, 0, &target, &room);
    assert_int_equal(room, sizeof(rest));
    assert_int_equal(feed_page(&pair, 1, page, 40, 999), LYNX_OK);
    memset(target, 9, room);
    assert_int_equal(lynx_receiver_read(r, 0, pair.now, target, room), LYNX_OK);
    lynx_receiver_room(r, 0, &target, &room);
    assert_int_equal(room, 0);
    page.offset = 60; /* late: dropped */
    assert_int_equal(feed_page(&pair, 0, page, 40, 999), LYNX_OK);
    page.offset = 40;
    assert_int_equal(feed_page(&pair, 1, page, 60, 999), LYNX_OK);
    assert_true(lynx_page_map_has(lynx_receiver_map(r, 1), first_page, 0));
    assert_int_equal(lynx_receiver_counters(r).corrupt_planes, 0);
    pair.plane_count = 0;
    test_pair_destroy(&pair);
}

static void test_plane_changes_its_lane(void **state)
{
    (void)state;
    change_lane(false);
    change_lane(true);
}

/* The other way round: a late first chunk takes the place of the plane; its lane asks again. */
static void test_late_first_chunk(void **state)
{
    (void)state;
    test_pair pair;
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count;
    open_two_lanes(&pair);
    lynx_receiver *r = pair.peers[0].receiver;
    const lx_page_message first = page_of(first_page, 100, 0);
    assert_int_equal(feed_page(&pair, 1, first, 40, 999), LYNX_OK);
    assert_int_equal(feed_page(&pair, 0, first, 60, 999), LYNX_OK);
    assert_int_equal(feed_page(&pair, 1, page_of(first_page, 100, 40), 60, 999), LYNX_OK);
    assert_int_equal(lynx_receiver_write(r, 1, pair.now, parts, &count), LYNX_OK);
    assert_true(count == 1 && parts[0].data[5] == LX_MESSAGE_AGAIN);
    /* When the late lane is lost, too, its chunks of the forgotten plane do no harm. */
    lynx_receiver_disconnect(r, pair.now, 1, LYNX_ERR_CLOSED, "");
    assert_int_equal(feed_page(&pair, 0, page_of(first_page, 100, 60), 20, 999), LYNX_OK);
    assert_false(lynx_page_map_has(lynx_receiver_map(r, 1), first_page, 0));
    test_pair_destroy(&pair);
}

/* F-44: a plane that is here already is acknowledged, also when all is here. */
static void test_plane_once_more(void **state)
{
    (void)state;
    test_pair pair;
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count;
    open_two_lanes(&pair);
    lynx_receiver *r = pair.peers[0].receiver;
    lx_page_message page = page_of(first_page, 0, 0);
    page.plane_digest = lx_digest64(NULL, 0);
    for (uint32_t lane = 0; lane < 2; lane++) {
        assert_int_equal(feed_page(&pair, lane, page, 0, 999), LYNX_OK);
        pair.now += 2000000;
        assert_int_equal(lynx_receiver_write(r, lane, pair.now, parts, &count), LYNX_OK);
        assert_true(count == 1 && parts[0].data[5] == LX_MESSAGE_ACK);
    }
    page.plane_digest++;
    assert_int_equal(feed_page(&pair, 1, page, 0, 999), LYNX_ERR_PROTOCOL);
    test_pair_destroy(&pair);
}

/* Pages of other lanes overtake ACCEPT; on lane 0 it comes first. F-41 */
static void test_page_before_accept(void **state)
{
    (void)state;
    for (uint32_t lane = 0; lane < 2; lane++) {
        test_pair pair;
        test_pair_init(&pair, 5);
        pair.peers[0].options.lanes = 2;
        test_open_pair(&pair, 0, false);
        assert_int_equal(feed_page(&pair, lane, page_of(first_page, 9, 0), 1, 999),
                         lane ? LYNX_OK : LYNX_ERR_PROTOCOL);
        test_pair_events(&pair);
        assert_int_equal(pair.accepts, lane);
        test_pair_destroy(&pair);
    }
}

/* ---- what a cut or a lack of memory leaves ------------------------------------------- */

/* All planes of 40 tokens, without bytes, and both tokens. */
static void feed_all(test_pair *pair)
{
    uint8_t token[LX_TOKEN_BYTES];
    lx_page_message page = {.plane_digest = lx_digest64(NULL, 0)};
    for (uint32_t i = 0; i < 16; i++) {
        page.page = (lynx_page_id){i & 1, i >> 1 & 1, i >> 2 & 1};
        page.plane = (uint8_t)(i >> 3);
        assert_int_equal(feed_page(pair, 0, page, 0, 999), LYNX_OK);
    }
    for (uint32_t i = 0; i < 2; i++) {
        lx_writer writer = lx_writer_of(token, sizeof(token));
        lx_token_encode(&writer, &(lx_token_message){.index = i, .token = 5});
        const lx_frame frame = {.type = LX_MESSAGE_TOKEN,
                                .request_id = 1,
                                .payload_bytes = LX_TOKEN_BYTES};
        assert_int_equal(test_feed(pair, false, frame, token), LYNX_OK);
    }
}

/* A plane comes once more after the last event of its request, on another lane. F-44 */
static void test_plane_after_finish(void **state)
{
    (void)state;
    test_pair pair;
    lynx_event event;
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count, finishes = 0;
    open_two_lanes(&pair);
    lynx_receiver *r = pair.peers[0].receiver;
    feed_all(&pair);
    while (lynx_receiver_next_event(r, 1, &event))
        finishes += event.type == LYNX_EVENT_FINISH;
    assert_int_equal(finishes, 1);
    lx_page_message page = {.plane_digest = lx_digest64(NULL, 0)};
    assert_int_equal(feed_page(&pair, 1, page, 0, 999), LYNX_OK);
    pair.now += 2000000;
    assert_int_equal(lynx_receiver_write(r, 1, pair.now, parts, &count), LYNX_OK);
    assert_true(count == 1 && parts[0].data[5] == LX_MESSAGE_ACK);
    test_pair_destroy(&pair);
}

/* END for what was over before the sender began anew names nothing that it knows. F-11, F-49 */
static void test_end_after_the_sender_began_anew(void **state)
{
    (void)state;
    test_pair pair;
    open_pair(&pair, 0);
    lynx_receiver *r = pair.peers[0].receiver;
    feed_all(&pair);
    assert_int_equal(test_pair_restart_sender(&pair), LYNX_OK);
    test_pair_run(&pair, TEST_TURNS);
    assert_int_equal(test_pair_connect(&pair, 0, 0), LYNX_OK);
    test_pair_run(&pair, TEST_TURNS);
    const uint32_t closes = pair.sender_closes;
    assert_int_equal(lynx_receiver_end(r, 1), LYNX_OK);
    pair.requests[0].is_ended = true;
    test_pair_run(&pair, TEST_TURNS);
    assert_int_equal(pair.sender_closes, closes);
    test_pair_destroy(&pair);
}

/* F-53: credit of a new connection is what the planes in memory leave, and grows when they go.
 */
static void test_credit_of_a_new_connection(void **state)
{
    (void)state;
    test_pair pair;
    uint8_t data[60];
    uint32_t releases = 0, lane;
    test_pair_init(&pair, 5);
    pair.peers[0].options.pool_bytes[0] = 100;
    test_open_pair(&pair, 0, true);
    lynx_receiver *r = pair.peers[0].receiver;
    assert_int_equal(test_add(&pair, 0, first_page, 0, data, 60, &releases), LYNX_OK);
    test_pair_run(&pair, TEST_TURNS);
    const lx_sender_lane *own = &pair.sender->lanes[lane_of(&pair)];
    assert_true(releases == 1 && own->limits[0] == 100 && own->begun[0] == 60);
    test_pair_cut(&pair, 0, 0);
    assert_int_equal(test_pair_connect(&pair, 0, 0), LYNX_OK);
    test_pair_run(&pair, TEST_TURNS);
    own = &pair.sender->lanes[lane_of(&pair)];
    assert_true(own->limits[0] == 40 && own->begun[0] == 0);
    while (lynx_receiver_next_wake(r, &lane))
        continue;
    lynx_receiver_release_page(r, 1, first_page);
    assert_true(lynx_receiver_next_wake(r, &lane) && lane == 0);
    test_pair_run(&pair, TEST_TURNS);
    test_pair_pass(&pair, 3000000);
    assert_int_equal(own->limits[0], 100);
    pair.content_errors = 0; /* no record knows of the plane */
    test_close_pair(&pair);
}

/* The other lanes are woken for what a lost one carried. F-21 */
static void test_planes_of_a_lost_lane(void **state)
{
    (void)state;
    test_pair pair;
    uint8_t data[8];
    uint32_t releases = 0, lane;
    open_two_lanes(&pair);
    const uint32_t first = lane_of(&pair);
    const uint32_t other = test_pair_connection(&pair, 0, 1)->sender_lane;
    assert_int_equal(test_add(&pair, 0, first_page, 0, data, 8, &releases), LYNX_OK);
    take_writes(&pair, other); /* into nowhere */
    while (lynx_sender_next_wake(pair.sender, &lane))
        continue;
    lynx_sender_disconnect(pair.sender, pair.now, other, LYNX_ERR_CLOSED, "");
    assert_true(lynx_sender_next_wake(pair.sender, &lane) && lane == first);
    assert_int_equal(lynx_sender_counters(pair.sender).unacknowledged_bytes, 8);
    take_writes(&pair, first);
    assert_int_equal(lynx_sender_counters(pair.sender).resent_bytes, 8);
    test_pair_destroy(&pair);
}

/* Calls that had no memory can be made again, and do nothing twice. */
static void test_calls_without_memory(void **state)
{
    (void)state;
    test_pair pair;
    test_pair_init(&pair, 5);
    test_open_pair(&pair, LYNX_REQUEST_NO_PAGES, false);
    const uint64_t key = pair.requests[0].key;
    uint32_t failures = 0;
    lynx_status status;
    do {
        pair.memory.fail_at = pair.memory.calls + 1 + failures;
        status = lynx_sender_accept(pair.sender, key, 0);
        failures += status == LYNX_ERR_MEMORY;
    } while (status == LYNX_ERR_MEMORY && failures < 5);
    assert_true(status == LYNX_OK && failures == 2);
    for (uint32_t i = 0; i < 2; i++) {
        pair.memory.fail_at = pair.memory.calls + 1;
        assert_int_equal(lynx_sender_token(pair.sender, key, 5, NULL), LYNX_ERR_MEMORY);
        assert_int_equal(lynx_sender_token(pair.sender, key, 5, NULL), LYNX_OK);
    }
    assert_int_equal(lynx_sender_finish(pair.sender, key), LYNX_OK);
    test_pair_run(&pair, TEST_TURNS);
    assert_true(pair.requests[0].tokens_here == 2 && pair.requests[0].is_finished);
    test_close_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session_of_another_peer),
        cmocka_unit_test(test_foreign_ticket),
        cmocka_unit_test(test_request_twice),
        cmocka_unit_test(test_superseded_lane),
        cmocka_unit_test(test_late_resume),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_resume_twice_or_never),
        cmocka_unit_test(test_bad_resumes),
        cmocka_unit_test(test_bad_acknowledgements),
        cmocka_unit_test(test_again_for_ever),
        cmocka_unit_test(test_bad_flow),
        cmocka_unit_test(test_length_bombs),
        cmocka_unit_test(test_credit_overrun),
        cmocka_unit_test(test_plane_changes_its_lane),
        cmocka_unit_test(test_late_first_chunk),
        cmocka_unit_test(test_plane_once_more),
        cmocka_unit_test(test_page_before_accept),
        cmocka_unit_test(test_plane_after_finish),
        cmocka_unit_test(test_end_after_the_sender_began_anew),
        cmocka_unit_test(test_credit_of_a_new_connection),
        cmocka_unit_test(test_planes_of_a_lost_lane),
        cmocka_unit_test(test_calls_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
