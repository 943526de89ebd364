/* SPDX-License-Identifier: MIT */
/* What may be said on which connection, in which order, and what an error on one leaves. */
#include "support/cmocka_all.h"

#include "base/digest.h"
#include "session/sender.h"
#include "support/open_pair.h"

static const lynx_page_id first_page = {0, 0, 0}, second_page = {1, 0, 0};

static void open_pair(test_pair *pair, uint32_t lanes, uint32_t flags, bool accepts)
{
    test_pair_init(pair, 5);
    pair->peers[0].options.lanes = lanes;
    test_open_pair(pair, flags, accepts);
}

static uint32_t lane_of(test_pair *pair, uint32_t lane)
{
    return test_pair_connection(pair, 0, lane)->sender_lane;
}

/* ---- what the link takes ------------------------------------------------------------- */

typedef struct taken {
    uint8_t bytes[4096];
    size_t size;
} taken;

/* The link takes the next 'most' bytes, or all that there are, in pieces of 'piece'. */
static void take_sender(test_pair *pair, uint32_t lane, taken *t, size_t most, size_t piece)
{
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count;
    while (most > 0) {
        assert_int_equal(lynx_sender_write(pair->sender, lane, pair->now, parts, &count),
                         LYNX_OK);
        if (count == 0)
            return;
        size_t size = parts[0].size < piece ? parts[0].size : piece;
        size = size < most ? size : most;
        assert_true(t->size + size <= sizeof(t->bytes));
        memcpy(t->bytes + t->size, parts[0].data, size);
        t->size += size;
        most -= size;
        lynx_sender_wrote(pair->sender, lane, pair->now, size);
    }
}

static void take_receiver(test_pair *pair, taken *t)
{
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count;
    lynx_receiver *r = pair->peers[0].receiver;
    while (lynx_receiver_write(r, 0, pair->now, parts, &count) == LYNX_OK && count) {
        assert_true(t->size + parts[0].size <= sizeof(t->bytes));
        memcpy(t->bytes + t->size, parts[0].data, parts[0].size);
        t->size += parts[0].size;
        lynx_receiver_wrote(r, 0, pair->now, parts[0].size);
    }
}

/* The frame at '*at', which moves behind it; false at the end. */
static bool next_frame(const taken *t, size_t *at, lx_frame *frame, const uint8_t **payload)
{
    if (*at == t->size)
        return false;
    assert_true(*at + LX_FRAME_BYTES <= t->size);
    assert_int_equal(lx_frame_decode(t->bytes + *at, frame), LYNX_OK);
    *payload = t->bytes + *at + LX_FRAME_BYTES;
    *at += LX_FRAME_BYTES + frame->payload_bytes;
    assert_true(*at <= t->size);
    return true;
}

static void expect_types(const taken *t, const uint8_t *types, size_t count)
{
    lx_frame frame;
    const uint8_t *payload;
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(next_frame(t, &at, &frame, &payload));
        assert_int_equal(frame.type, types[i]);
    }
    assert_int_equal(at, t->size);
}

/* ---- frames -------------------------------------------------------------------------- */

/* F-3: the request ends, and a message waits, when a part of a frame has left. */
static void test_frame_is_finished(void **state)
{
    (void)state;
    static const uint8_t types[] = {LX_MESSAGE_PAGE, LX_MESSAGE_REFUSE};
    for (size_t most = 1; most < TEST_HEAD_BYTES + 8; most++) {
        static test_pair pair;
        taken t = {.size = 0};
        uint8_t data[8];
        uint32_t releases = 0;
        open_pair(&pair, 1, 0, true);
        const uint32_t lane = lane_of(&pair, 0);
        assert_int_equal(test_add(&pair, 0, first_page, 0, data, 8, &releases), LYNX_OK);
        take_sender(&pair, lane, &t, most, 7);
        assert_int_equal(lynx_sender_refuse(pair.sender, pair.requests[0].key, LYNX_ERR_ENGINE,
                                            ""),
                         LYNX_OK);
        assert_int_equal(releases, 0);
        take_sender(&pair, lane, &t, SIZE_MAX, 7);
        assert_int_equal(releases, 1);
        expect_types(&t, types, 2);
        for (uint32_t i = 0; i < 8; i++)
            assert_int_equal(t.bytes[TEST_HEAD_BYTES + i], 7);
        test_pair_destroy(&pair);
    }
}

/* F-5: nothing behind the error is read, CLOSE is the last word, and the session goes on. */
static void test_error_ends_one_connection(void **state)
{
    (void)state;
    static const uint8_t close_alone[] = {LX_MESSAGE_CLOSE};
    static const uint8_t page_alone[] = {LX_MESSAGE_PAGE};
    test_pair pair;
    taken said = {.size = 0}, other = {.size = 0};
    uint8_t data[8];
    const uint8_t zeros[8] = {0};
    uint32_t releases = 0;
    lx_reason reason;
    open_pair(&pair, 2, 0, true);
    const uint32_t lane = lane_of(&pair, 0);
    const lx_frame bad = {.type = LX_MESSAGE_START, .request_id = 1};
    const lx_frame end = {.type = LX_MESSAGE_END, .request_id = 1};
    uint8_t frames[2 * TEST_FRAME_BYTES];
    size_t size = test_frame(frames, bad, NULL); /* no flag hold */
    size += test_frame(frames + size, end, NULL);
    assert_int_equal(lynx_sender_read(pair.sender, lane, pair.now, frames, size),
                     LYNX_ERR_PROTOCOL);
    assert_int_equal(test_feed_lane(&pair, lane, end, NULL), LYNX_OK); /* unread */
    assert_int_equal(test_add(&pair, 0, first_page, 0, data, 8, &releases), LYNX_OK);
    take_sender(&pair, lane, &said, SIZE_MAX, 7);
    expect_types(&said, close_alone, 1);
    assert_int_equal(lx_reason_decode((lynx_bytes){said.bytes + LX_FRAME_BYTES,
                                                   said.size - LX_FRAME_BYTES},
                                      &reason),
                     LYNX_OK);
    assert_true(reason.status == LYNX_ERR_PROTOCOL && reason.text.size > 0);
    take_sender(&pair, lane_of(&pair, 1), &other, SIZE_MAX, 7);
    expect_types(&other, page_alone, 1);
    test_pair_events(&pair);
    assert_true(pair.sender_closes == 1 && pair.cancels == 0);

    /* The decode node does the same, and uses nothing of the frame. */
    lynx_receiver *r = pair.peers[0].receiver;
    said.size = 0;
    const lx_frame ready = {.type = LX_MESSAGE_READY, .request_id = 1};
    const lx_frame token = {.type = LX_MESSAGE_TOKEN, .request_id = 1, .payload_bytes = 8};
    size = test_frame(frames, ready, NULL); /* no flag hold */
    size += test_frame(frames + size, token, zeros);
    assert_int_equal(lynx_receiver_read(r, 0, pair.now, frames, size), LYNX_ERR_PROTOCOL);
    assert_int_equal(lynx_receiver_read(r, 0, pair.now, frames, size), LYNX_OK);
    take_receiver(&pair, &said);
    expect_types(&said, close_alone, 1);
    test_pair_events(&pair);
    assert_true(pair.receiver_closes == 1 && pair.refuses == 0);
    assert_int_equal(pair.requests[0].tokens_here, 0);
    test_pair_destroy(&pair);
}

/* ---- greeting ------------------------------------------------------------------------ */

/* Give one end the HELLO of a peer of that role and minor version. */
static lynx_status feed_greeting(test_pair *pair, bool is_sender, uint8_t role, uint8_t minor)
{
    lx_identity identity;
    lx_hello hello;
    uint8_t payload[LX_HELLO_BYTES_MAX];
    assert_int_equal(lx_identity_init(&identity, &pair->peers[0].options, role), LYNX_OK);
    lx_greeting_fill(&identity, &hello);
    hello.session[0] = 1;
    hello.version_minor = minor;
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_hello_encode(&writer, &hello);
    lx_identity_fini(&identity);
    const lx_frame frame = {.type = LX_MESSAGE_HELLO, .payload_bytes = (uint32_t)writer.offset};
    const lynx_status status = test_feed(pair, is_sender, frame, payload);
    test_pair_events(pair);
    return status;
}

/* F-13: two nodes of one role. */
static void test_same_role(void **state)
{
    (void)state;
    for (uint32_t is_sender = 0; is_sender < 2; is_sender++) {
        test_pair pair;
        test_pair_init(&pair, 5);
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        assert_int_equal(feed_greeting(&pair, is_sender,
                                       is_sender ? LX_ROLE_SENDER : LX_ROLE_RECEIVER,
                                       LX_WIRE_VERSION_MINOR),
                         LYNX_ERR_PROTOCOL);
        assert_string_equal(is_sender ? pair.sender_text : pair.receiver_text,
                            is_sender ? "both ends are prefill nodes"
                                      : "both ends are decode nodes");
        test_pair_destroy(&pair);
    }
}

/* F-72: pages of an older node are cut elsewhere, if a layer has a window. */
static void test_older_nodes_and_windows(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        const bool is_sender = i & 1, is_older = i & 2, has_window = i & 4;
        test_pair pair;
        test_pair_init(&pair, 5);
        pair.layers[1].window_tokens = has_window ? 40 : 0;
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        const lynx_status status =
            feed_greeting(&pair, is_sender, is_sender ? LX_ROLE_RECEIVER : LX_ROLE_SENDER,
                          is_older ? LX_MINOR_OF_WINDOWS - 1 : LX_MINOR_OF_WINDOWS);
        assert_int_equal(status, is_older && has_window ? LYNX_ERR_VERSION : LYNX_OK);
        if (status != LYNX_OK)
            assert_non_null(strstr(is_sender ? pair.sender_text : pair.receiver_text, "2.4"));
        test_pair_destroy(&pair);
    }
}

/* ---- lanes --------------------------------------------------------------------------- */

/* REQUEST 2 of two tokens. */
static lx_frame make_request(uint8_t payload[512], const lx_request_message *message)
{
    lx_writer writer = lx_writer_of(payload, 512);
    lx_request_message copy = *message;
    copy.answer_tokens = 1;
    copy.token_count = 2;
    lx_request_encode(&writer, &copy);
    lx_write_u32(&writer, 1);
    lx_write_u32(&writer, 2);
    return (lx_frame){.type = LX_MESSAGE_REQUEST,
                      .request_id = 2,
                      .payload_bytes = (uint32_t)writer.offset};
}

static lx_request_message good_request(void)
{
    const lynx_request request = test_pair_request(2);
    return (lx_request_message){.spec = request.spec, .sampling = request.sampling};
}

static lynx_status feed_receiver(test_pair *pair, uint32_t lane, lx_frame frame,
                                 const uint8_t *payload)
{
    uint8_t bytes[TEST_FRAME_BYTES];
    const size_t size = test_frame(bytes, frame, payload);
    return lynx_receiver_read(pair->peers[0].receiver, lane, pair->now, bytes, size);
}

/* F-18: what is right on lane 0 is wrong on lane 1. */
static void test_messages_of_lane_0(void **state)
{
    (void)state;
    uint8_t request[512], refuse[8] = {0};
    static const uint8_t zeros[8];
    const lx_request_message message = good_request();
    lx_writer writer = lx_writer_of(refuse, sizeof(refuse));
    lx_write_u32(&writer, (uint32_t)LYNX_ERR_ENGINE);
    const struct {
        bool to_sender;
        lx_frame frame;
        const uint8_t *payload;
    } messages[] = {
        {true, make_request(request, &message), request},
        {true, {.type = LX_MESSAGE_START, .request_id = 1}, NULL},
        {true, {.type = LX_MESSAGE_END, .request_id = 1}, NULL},
        {false, {.type = LX_MESSAGE_ACCEPT, .request_id = 1}, NULL},
        {false, {.type = LX_MESSAGE_READY, .request_id = 1}, NULL},
        {false, {.type = LX_MESSAGE_PROGRESS, .request_id = 1, .payload_bytes = 4}, zeros},
        {false, {.type = LX_MESSAGE_TOKEN, .request_id = 1, .payload_bytes = 8}, zeros},
        {false, {.type = LX_MESSAGE_REFUSE, .request_id = 1, .payload_bytes = 8}, refuse},
        /* These are right on both. */
        {true, {.type = LX_MESSAGE_PING}, NULL},
        {true, {.type = LX_MESSAGE_CLOSE, .payload_bytes = 8}, zeros},
        {false, {.type = LX_MESSAGE_PING}, NULL},
        {false, {.type = LX_MESSAGE_CLOSE, .payload_bytes = 8}, zeros},
    };
    for (size_t i = 0; i < 2 * sizeof(messages) / sizeof(*messages); i++) {
        test_pair pair;
        const uint32_t lane = i % 2;
        const size_t m = i / 2;
        open_pair(&pair, 2, LYNX_REQUEST_HOLD, true);
        const lynx_status got =
            messages[m].to_sender
                ? test_feed_lane(&pair, lane_of(&pair, lane), messages[m].frame,
                                 messages[m].payload)
                : feed_receiver(&pair, lane, messages[m].frame, messages[m].payload);
        assert_int_equal(got, lane && m < 8 ? LYNX_ERR_PROTOCOL : LYNX_OK);
        test_pair_destroy(&pair);
    }
    test_pair pair;
    open_pair(&pair, 2, 0, true);
    const lynx_session_counters counters = lynx_sender_counters(pair.sender);
    assert_int_equal(test_feed_resume(&pair, lane_of(&pair, 1), 2, NULL), LYNX_ERR_PROTOCOL);
    test_pair_events(&pair);
    assert_int_equal(pair.cancels, 0); /* it would have ended the request */
    assert_int_equal(lynx_sender_counters(pair.sender).resumes, counters.resumes);
    test_pair_destroy(&pair);
}

/* Takes one chunk of a page whole: its page and offset. */
static lx_page_message take_chunk(test_pair *pair, uint32_t lane, size_t *size)
{
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count;
    lx_page_message page = {0};
    *size = 0;
    assert_int_equal(lynx_sender_write(pair->sender, lane, pair->now, parts, &count), LYNX_OK);
    if (count == 0)
        return page;
    assert_true(count == 2 && parts[0].size == TEST_HEAD_BYTES);
    assert_int_equal(lx_page_decode_header(parts[0].data + LX_FRAME_BYTES, &page), LYNX_OK);
    *size = parts[1].size;
    lynx_sender_wrote(pair->sender, lane, pair->now, parts[0].size + parts[1].size);
    return page;
}

/* F-20: another lane does not go on with a plane that it did not begin. */
static void test_plane_keeps_its_lane(void **state)
{
    (void)state;
    enum { SIZE = 300000 };
    static uint8_t data[2][SIZE];
    static const uint32_t order[] = {1, 0, 0, 1, 1, 0};
    test_pair pair;
    uint32_t releases = 0, chunks = 0;
    size_t size, sent[2] = {0};
    open_pair(&pair, 2, 0, true);
    const uint32_t lanes[] = {lane_of(&pair, 0), lane_of(&pair, 1)};
    assert_int_equal(test_add(&pair, 0, second_page, 0, data[1], SIZE, &releases), LYNX_OK);
    lx_page_message page = take_chunk(&pair, lanes[1], &size);
    assert_true(page.page.page == 1 && page.offset == 0 && size > 0 && size < SIZE);
    sent[1] = size;
    take_chunk(&pair, lanes[0], &size);
    assert_int_equal(size, 0); /* the only plane is that of lane 1 */
    assert_int_equal(test_add(&pair, 0, first_page, 0, data[0], SIZE, &releases), LYNX_OK);
    for (uint32_t i = 0; sent[0] < SIZE || sent[1] < SIZE; i++) {
        const uint32_t lane = order[i % 6];
        page = take_chunk(&pair, lanes[lane], &size);
        assert_true(size > 0 || sent[lane] == SIZE);
        if (size == 0)
            continue;
        assert_true(page.page.page == lane && page.offset == sent[lane]);
        sent[lane] += size;
        chunks++;
    }
    assert_true(chunks >= 3);
    test_pair_destroy(&pair);
    assert_int_equal(releases, 2);
}

/* F-54: residuals fill the window and no more; an anchor does not wait for it. */
static void test_residuals_wait_for_the_window(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    static uint8_t data[SIZE];
    uint8_t anchor[8];
    test_pair pair;
    uint32_t releases = 0;
    size_t size;
    open_pair(&pair, 1, 0, true);
    const uint32_t lane = lane_of(&pair, 0);
    const lx_flow *flow = &pair.sender->lanes[lane].flow;
    assert_int_equal(test_add(&pair, 0, first_page, 1, data, SIZE, &releases), LYNX_OK);
    for (size = 1; size > 0;) {
        const uint64_t under_way = flow->sent - flow->reported;
        const lx_page_message page = take_chunk(&pair, lane, &size);
        assert_int_equal(size > 0, under_way < lx_flow_window(flow));
        assert_true(size == 0 || page.plane == 1);
    }
    assert_int_equal(test_add(&pair, 0, first_page, 0, anchor, 8, &releases), LYNX_OK);
    const lx_page_message page = take_chunk(&pair, lane, &size);
    assert_true(size == 8 && page.plane == 0);
    /* What the peer reports makes room. */
    const lx_sender_lane *own = &pair.sender->lanes[lane];
    assert_int_equal(test_feed_flow(&pair, lane, flow->sent, own->limits[0], own->limits[1]),
                     LYNX_OK);
    assert_true(take_chunk(&pair, lane, &size).plane == 1 && size > 0);
    test_pair_destroy(&pair);
    assert_int_equal(releases, 2);
}

/* ---- requests ------------------------------------------------------------------------ */

/* F-27: all that was said while nobody listened. */
static void test_answer_to_resume(void **state)
{
    (void)state;
    static const uint8_t types[] = {LX_MESSAGE_HELLO, LX_MESSAGE_ACCEPT, LX_MESSAGE_PROGRESS,
                                    LX_MESSAGE_READY, LX_MESSAGE_TOKEN};
    for (uint32_t is_started = 0; is_started < 2; is_started++) {
        test_pair pair;
        taken t = {.size = 0};
        uint32_t lane;
        open_pair(&pair, 1, LYNX_REQUEST_HOLD | LYNX_REQUEST_NO_PAGES, false);
        const uint64_t key = pair.requests[0].key;
        test_pair_cut(&pair, 0, 0);
        assert_int_equal(lynx_sender_accept(pair.sender, key, 0), LYNX_OK);
        assert_int_equal(lynx_sender_progress(pair.sender, key, 40), LYNX_OK);
        assert_int_equal(lynx_sender_token(pair.sender, key, 8, NULL), LYNX_OK);
        assert_int_equal(lynx_sender_token(pair.sender, key, 9, NULL), LYNX_OK);
        assert_int_equal(lynx_sender_finish(pair.sender, key), LYNX_OK);
        lx_resume_entry entry = {.request_id = 1,
                                 .next_token = 1,
                                 .flags = is_started ? LX_RESUME_STARTED : 0u};
        memcpy(entry.ticket, pair.requests[0].request.ticket, LYNX_ID_BYTES);
        assert_int_equal(lynx_sender_connect(pair.sender, pair.now, NULL, &lane), LYNX_OK);
        assert_int_equal(test_feed_hello(&pair, lane, pair.peers[0].options.session_id, 0),
                         LYNX_OK);
        assert_int_equal(test_feed_resume(&pair, lane, 2, &entry), LYNX_OK);
        take_sender(&pair, lane, &t, SIZE_MAX, 1000);
        expect_types(&t, types, is_started ? 5 : 4);
        if (is_started) { /* index 1, token 9 */
            assert_int_equal(t.bytes[t.size - 8], 1);
            assert_int_equal(t.bytes[t.size - 4], 9);
        }
        test_pair_destroy(&pair);
    }
}

/* F-30 */
static void test_requests_out_of_range(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 9; i++) {
        test_pair pair;
        uint8_t payload[512];
        lx_request_message message = good_request();
        open_pair(&pair, 1, 0, true);
        if (i == 1)
            message.spec.plane_bits[0][0] = 9;
        else if (i == 2)
            message.spec.plane_bits[1][0] = 0;
        else if (i == 3)
            message.spec.chunk_tokens = 64;
        else if (i == 4)
            message.sampling.temperature = -1;
        else if (i == 5)
            message.sampling.top_p = 0;
        else if (i == 6)
            message.sampling.penalty_tokens = 4097;
        else if (i == 7)
            memset(&message.sampling.min_p, 0xFF, sizeof(float)); /* not a number */
        const lx_frame frame = make_request(payload, &message);
        if (i == 8)
            payload[2] |= 2; /* a flag of wire format 2.2 */
        assert_int_equal(test_feed(&pair, true, frame, payload),
                         i ? LYNX_ERR_PROTOCOL : LYNX_OK);
        if ((i >= 1 && i <= 3) ||
            i == 8) { /* codecs of another version: it is said what to do */
            test_pair_events(&pair);
            assert_non_null(strstr(pair.sender_text, "use the same version of Lynx"));
        }
        test_pair_destroy(&pair);
    }
}

/* ---- acknowledgements ---------------------------------------------------------------- */

/* All 16 planes of 40 tokens, without bytes, and the first ones once more: all are
 * acknowledged. */
static void feed_planes(test_pair *pair, uint32_t count)
{
    lx_page_message page = {.plane_digest = lx_digest64(NULL, 0)};
    for (uint32_t i = 0; i < count; i++) {
        uint8_t payload[LX_PAGE_FIXED_BYTES];
        page.page = (lynx_page_id){i & 1, i >> 1 & 1, i >> 2 & 1};
        page.plane = (uint8_t)(i >> 3 & 1);
        lx_writer writer = lx_writer_of(payload, sizeof(payload));
        lx_page_encode_header(&writer, &page);
        assert_int_equal(feed_receiver(pair, 0,
                                       (lx_frame){.type = LX_MESSAGE_PAGE,
                                                  .request_id = 1,
                                                  .payload_bytes = sizeof(payload)},
                                       payload),
                         LYNX_OK);
    }
}

/* F-47 */
static void test_batches_of_acknowledgements(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 40; count++) {
        test_pair pair;
        taken t = {.size = 0};
        lx_frame frame;
        const uint8_t *payload;
        size_t at = 0;
        uint32_t acknowledged = 0;
        open_pair(&pair, 1, 0, true);
        feed_planes(&pair, count);
        if (count < 16) /* else a full batch waits to leave already */
            assert_true(lynx_receiver_deadline(pair.peers[0].receiver, 0) <=
                        pair.now + 2000000);
        pair.now += 2000000;
        take_receiver(&pair, &t);
        while (next_frame(&t, &at, &frame, &payload)) {
            if (frame.type != LX_MESSAGE_ACK)
                continue;
            assert_in_range(frame.payload_bytes, 8, 16 * LX_ACK_ENTRY_BYTES);
            acknowledged += frame.payload_bytes / LX_ACK_ENTRY_BYTES;
        }
        assert_int_equal(acknowledged, count);
        test_pair_destroy(&pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame_is_finished),
        cmocka_unit_test(test_error_ends_one_connection),
        cmocka_unit_test(test_same_role),
        cmocka_unit_test(test_older_nodes_and_windows),
        cmocka_unit_test(test_messages_of_lane_0),
        cmocka_unit_test(test_plane_keeps_its_lane),
        cmocka_unit_test(test_residuals_wait_for_the_window),
        cmocka_unit_test(test_answer_to_resume),
        cmocka_unit_test(test_requests_out_of_range),
        cmocka_unit_test(test_batches_of_acknowledgements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
