/* SPDX-License-Identifier: MIT */
/* Greeting, time, requests and every status that the calls and the peer's messages lead to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "session/event_queue.h"
#include "session/outbox.h"
#include "support/session_pair.h"
#include "wire/frame.h"
#include "wire/messages.h"

enum { STEPS = 100000 };
static const lynx_page_id first_page = {0, 0, 0};

static void ignore_release(void *user, uint8_t *data, size_t size)
{
    (void)user;
    (void)data;
    (void)size;
}

/* A pair that has greeted, with one request; accepted when 'accepts'. */
static uint64_t open_pair(test_pair *pair, uint32_t flags, bool accepts)
{
    uint64_t id = 0;
    test_pair_init(pair, 5);
    pair->is_manual = true;
    pair->has_small_planes = true;
    assert_int_equal(test_pair_create(pair), LYNX_OK);
    lynx_request request = test_pair_request(40);
    request.flags = flags;
    request.answer_tokens = 2;
    assert_int_equal(lynx_receiver_request(pair->receiver, &request, &id), LYNX_OK);
    test_pair_run(pair, STEPS);
    assert_int_equal(pair->last_request.request_id, id);
    if (accepts)
        assert_int_equal(lynx_sender_accept(pair->sender, id), LYNX_OK);
    test_pair_run(pair, STEPS);
    assert_int_equal(pair->accepts, accepts);
    return id;
}

static void close_pair(test_pair *pair)
{
    test_pair_destroy(pair);
    assert_int_equal(pair->memory.live_bytes, 0);
}

/* ---- greeting ------------------------------------------------------------------------ */

static void expect_model_error(test_pair *pair, const lynx_model *other, const char *what)
{
    pair->receiver_options.model = other;
    assert_int_equal(test_pair_create(pair), LYNX_OK);
    test_pair_run(pair, STEPS);
    assert_true(pair->sender_closed && pair->receiver_closed);
    assert_int_equal(pair->sender_status, LYNX_ERR_MODEL);
    assert_int_equal(pair->receiver_status, LYNX_ERR_MODEL);
    assert_non_null(strstr(pair->sender_text, what));
    assert_non_null(strstr(pair->sender_text, "test model"));
    assert_non_null(strstr(pair->sender_text, "other model"));
    assert_string_equal(pair->sender_text, pair->receiver_text);
    close_pair(pair);
}

/* F-14, F-15 */
static void test_other_model(void **state)
{
    (void)state;
    static const char *const words[] = {"architecture",          "tokenizer",
                                        "--allow-other-weights", "--cache-type",
                                        "tokens of a page",      "shape"};
    for (uint32_t i = 0; i < 6; i++) {
        test_pair pair;
        test_pair_init(&pair, i);
        lynx_model other = pair.model;
        lynx_layer_shape layers[TEST_LAYERS] = {pair.layers[0], pair.layers[1]};
        other.name = "other model";
        other.shape.layers = layers;
        if (i == 0)
            other.fingerprint.structure[15] = 1;
        else if (i == 1)
            other.fingerprint.tokenizer[0] = 1;
        else if (i == 2)
            other.fingerprint.weights[0] = 1;
        else if (i == 3)
            other.shape.element = LYNX_ELEMENT_BF16;
        else if (i == 4)
            other.shape.page_tokens = 64;
        else
            layers[1].sides[0].rope = (lynx_rope){LYNX_ROPE_HALVES, 8, 10000, 1};
        expect_model_error(&pair, &other, words[i]);
    }
}

static void test_other_weights_allowed(void **state)
{
    (void)state;
    for (uint32_t both = 0; both < 2; both++) {
        test_pair pair;
        test_pair_init(&pair, 1);
        lynx_model other = pair.model;
        other.fingerprint.weights[3] = 9;
        pair.receiver_options.model = &other;
        pair.receiver_options.allow_other_weights = true;
        pair.sender_options.allow_other_weights = both;
        assert_int_equal(test_pair_create(&pair), LYNX_OK);
        test_pair_run(&pair, STEPS);
        assert_int_equal(pair.sender_closed, !both);
        assert_int_equal(pair.receiver_closed, !both);
        close_pair(&pair);
    }
}

static void read_frame(test_pair *pair, bool to_sender, lx_frame frame, const uint8_t *payload,
                       lynx_status expected)
{
    uint8_t bytes[LX_FRAME_BYTES + 1024];
    const size_t covered =
        frame.type == LX_MESSAGE_PAGE ? LX_PAGE_FIXED_BYTES : frame.payload_bytes;
    if (!frame.version)
        frame.version = 1;
    frame.payload_digest = lx_digest64(payload, covered);
    lx_frame_encode(&frame, bytes);
    if (payload)
        memcpy(bytes + LX_FRAME_BYTES, payload, frame.payload_bytes);
    const size_t size = LX_FRAME_BYTES + frame.payload_bytes;
    const lynx_status status = to_sender
                                   ? lynx_sender_read(pair->sender, pair->now, bytes, size)
                                   : lynx_receiver_read(pair->receiver, pair->now, bytes, size);
    assert_int_equal(status, expected);
}

/* F-7 */
static void test_other_version(void **state)
{
    (void)state;
    test_pair pair;
    test_pair_init(&pair, 1);
    assert_int_equal(test_pair_create(&pair), LYNX_OK);
    read_frame(&pair, true, (lx_frame){.version = 3, .type = 1}, NULL, LYNX_ERR_VERSION);
    test_pair_events(&pair);
    assert_int_equal(pair.sender_status, LYNX_ERR_VERSION);
    assert_non_null(strstr(pair.sender_text, "prefill node speaks version 1"));
    assert_non_null(strstr(pair.sender_text, "decode node version 3"));
    test_pair_run(&pair, STEPS);
    assert_int_equal(pair.receiver_status, LYNX_ERR_VERSION);
    assert_string_equal(pair.sender_text, pair.receiver_text);
    close_pair(&pair);
}

/* ---- time ---------------------------------------------------------------------------- */

static void test_time_out(void **state)
{
    (void)state;
    test_pair pair;
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count;
    const uint64_t second = 1000000000u;
    open_pair(&pair, 0, true);
    assert_true(lynx_sender_deadline(pair.sender) <= pair.now + second);
    pair.now += second;
    assert_int_equal(lynx_sender_write(pair.sender, pair.now, parts, &count), LYNX_OK);
    assert_true(count == 1 && parts[0].size == LX_FRAME_BYTES);
    assert_int_equal(parts[0].data[5], LX_MESSAGE_PING);
    /* While the ping waits to leave, only the time-out is a deadline. */
    assert_true(lynx_sender_deadline(pair.sender) > pair.now + 8 * second);
    pair.now = lynx_sender_deadline(pair.sender);
    assert_int_equal(lynx_sender_write(pair.sender, pair.now, parts, &count), LYNX_OK);
    test_pair_events(&pair);
    assert_int_equal(pair.sender_status, LYNX_ERR_TIMEOUT);
    assert_true(lynx_sender_deadline(pair.sender) == LYNX_TIME_NEVER);
    test_pair_run(&pair, STEPS);
    assert_int_equal(pair.receiver_status, LYNX_ERR_TIMEOUT);
    assert_non_null(strstr(pair.receiver_text, "10000 ms"));
    close_pair(&pair);
}

/* Pings alone keep an idle session open. */
static void test_pings_keep_open(void **state)
{
    (void)state;
    test_pair pair;
    open_pair(&pair, 0, true);
    for (uint32_t i = 0; i < 100; i++) {
        const lynx_time_ns a = lynx_sender_deadline(pair.sender);
        const lynx_time_ns b = lynx_receiver_deadline(pair.receiver);
        pair.now = a < b ? a : b;
        test_pair_run(&pair, STEPS);
    }
    assert_false(pair.sender_closed || pair.receiver_closed);
    close_pair(&pair);
}

/* ---- calls in the wrong state -------------------------------------------------------- */

static void test_sender_states(void **state)
{
    (void)state;
    test_pair pair;
    uint8_t data[8] = {0};
    const uint64_t id = open_pair(&pair, LYNX_REQUEST_HOLD, false);
    lynx_sender *s = pair.sender;
    assert_int_equal(lynx_sender_accept(s, id + 1), LYNX_ERR_STATE);
    assert_int_equal(lynx_sender_token(s, id, 0, 1), LYNX_ERR_STATE);
    assert_int_equal(lynx_sender_refuse(s, id, LYNX_OK, ""), LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_sender_accept(s, id), LYNX_OK);
    assert_int_equal(lynx_sender_accept(s, id), LYNX_ERR_STATE);
    assert_int_equal(lynx_sender_ready(s, id), LYNX_OK);
    assert_int_equal(lynx_sender_finish(s, id), LYNX_ERR_STATE);
    assert_int_equal(lynx_sender_plane(s, id, (lynx_page_id){9, 0, 0}, 0, data, 8,
                                       ignore_release, NULL),
                     LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_sender_plane(s, id, first_page, 2, data, 8, ignore_release, NULL),
                     LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_sender_plane(s, id, first_page, 0, data, 8, ignore_release, NULL),
                     LYNX_OK);
    assert_int_equal(lynx_sender_plane(s, id, first_page, 0, data, 8, ignore_release, NULL),
                     LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_sender_counters(s).queued_bytes, 8);
    assert_int_equal(lynx_sender_refuse(s, id, LYNX_ERR_ENGINE, "broke\x1b[2J"), LYNX_OK);
    assert_int_equal(lynx_sender_plane(s, id, first_page, 1, data, 8, ignore_release, NULL),
                     LYNX_ERR_STATE);
    assert_int_equal(lynx_sender_refuse(s, id, LYNX_ERR_ENGINE, ""), LYNX_ERR_STATE);
    test_pair_run(&pair, STEPS);
    assert_int_equal(pair.refuses, 1);
    assert_int_equal(pair.receiver_status, LYNX_ERR_ENGINE);
    assert_string_equal(pair.receiver_text, "broke?[2J"); /* F-19 */
    assert_int_equal(lynx_sender_counters(s).queued_bytes, 0);
    lynx_sender_close(s, LYNX_OK, NULL);
    assert_int_equal(lynx_sender_progress(s, id, 1), LYNX_ERR_CLOSED);
    close_pair(&pair);
}

static void test_receiver_states(void **state)
{
    (void)state;
    test_pair pair;
    lynx_bytes planes[LYNX_PLANES_MAX];
    uint32_t count;
    uint64_t other;
    const uint64_t id = open_pair(&pair, LYNX_REQUEST_HOLD, true);
    lynx_receiver *r = pair.receiver;
    lynx_request request = test_pair_request(40);
    request.flags = 16;
    assert_int_equal(lynx_receiver_request(r, &request, &other), LYNX_ERR_ARGUMENT);
    request = test_pair_request(0);
    assert_int_equal(lynx_receiver_request(r, &request, &other), LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_receiver_planes(r, id, first_page, planes, &count), LYNX_ERR_STATE);
    assert_int_equal(lynx_receiver_planes(r, 99, first_page, planes, &count), LYNX_ERR_STATE);
    assert_int_equal(lynx_receiver_start(r, 99), LYNX_ERR_STATE);
    assert_int_equal(lynx_receiver_start(r, id), LYNX_OK);
    assert_int_equal(lynx_receiver_start(r, id), LYNX_ERR_STATE);
    assert_int_equal(lynx_receiver_cancel(r, 99), LYNX_ERR_STATE);
    assert_int_equal(lynx_receiver_cancel(r, id), LYNX_OK);
    assert_int_equal(lynx_receiver_cancel(r, id), LYNX_ERR_STATE);
    assert_null(lynx_receiver_map(r, id));
    test_pair_run(&pair, STEPS);
    assert_int_equal(pair.cancels, 1);
    request = test_pair_request(40);
    for (uint32_t i = 0; i < LYNX_REQUESTS_MAX; i++)
        assert_int_equal(lynx_receiver_request(r, &request, &other), LYNX_OK);
    assert_int_equal(lynx_receiver_request(r, &request, &other), LYNX_ERR_LIMIT);
    lynx_receiver_close(r, LYNX_OK, "");
    assert_int_equal(lynx_receiver_request(r, &request, &other), LYNX_ERR_CLOSED);
    assert_int_equal(lynx_receiver_cancel(r, other), LYNX_OK);
    close_pair(&pair);
}

/* F-17: refused by the session, the owner never hears of it. */
static void test_prompt_above_context(void **state)
{
    (void)state;
    test_pair pair;
    uint64_t id;
    test_pair_init(&pair, 1);
    lynx_model small = pair.model;
    small.context_tokens = 39;
    pair.sender_options.model = &small;
    assert_int_equal(test_pair_create(&pair), LYNX_OK);
    const lynx_request request = test_pair_request(40);
    assert_int_equal(lynx_receiver_request(pair.receiver, &request, &id), LYNX_OK);
    test_pair_run(&pair, STEPS);
    assert_int_equal(pair.refuses, 1);
    assert_int_equal(pair.receiver_status, LYNX_ERR_LIMIT);
    assert_int_equal(pair.last_request.request_id, 0);
    close_pair(&pair);
}

/* REQUEST and CANCEL in one read: the request that the first event shows is still there. */
static void test_cancel_before_the_request_is_taken(void **state)
{
    (void)state;
    test_pair pair;
    lynx_event event;
    uint64_t id;
    test_pair_init(&pair, 1);
    assert_int_equal(test_pair_create(&pair), LYNX_OK);
    const lynx_request request = test_pair_request(40);
    assert_int_equal(lynx_receiver_request(pair.receiver, &request, &id), LYNX_OK);
    assert_int_equal(lynx_receiver_cancel(pair.receiver, id), LYNX_OK);
    for (uint32_t i = 0; i < 100; i++)
        test_pair_move_up(&pair);
    assert_true(lynx_sender_next_event(pair.sender, &event) && event.type == LYNX_EVENT_HELLO);
    assert_true(lynx_sender_next_event(pair.sender, &event));
    assert_int_equal(event.type, LYNX_EVENT_REQUEST);
    assert_int_equal(event.request->tokens[6], 7);
    assert_int_equal(lynx_sender_accept(pair.sender, id), LYNX_ERR_STATE);
    const lynx_request *shown = event.request;
    assert_true(lynx_sender_next_event(pair.sender, &event));
    assert_int_equal(event.type, LYNX_EVENT_CANCEL);
    assert_int_equal(shown->tokens[0], 1);
    assert_false(lynx_sender_next_event(pair.sender, &event));
    close_pair(&pair);
}

/* ---- a peer that breaks the rules ---------------------------------------------------- */

typedef struct bad_page {
    lx_page_message page;
    uint64_t request_id;
    uint32_t chunk;
} bad_page;

static void test_bad_pages(void **state)
{
    (void)state;
    const bad_page pages[] = {
        {{{0, 0, 0}, 0, 4, 0, 0}, 0, 4}, /* F-11: request ids */
        {{{0, 0, 0}, 0, 4, 0, 0}, 2, 4},
        {{{9, 0, 0}, 0, 4, 0, 0}, 1, 4}, /* F-24: page, layer, plane */
        {{{0, 9, 0}, 0, 4, 0, 0}, 1, 4},
        {{{0, 0, 0}, 2, 4, 0, 0}, 1, 4},
        {{{0, 0, 0}, 0, 4, 1, 0}, 1, 3},          /* does not begin at 0 */
        {{{0, 0, 0}, 0, 4, 0, 0}, 1, 5},          /* longer than the plane */
        {{{0, 0, 0}, 0, 4, 0, 0}, 1, 0},          /* no byte of it */
        {{{0, 0, 0}, 0, UINT32_MAX, 0, 0}, 1, 4}, /* F-25 */
        {{{1, 0, 0}, 1, 3 * 512 + 1, 0, 0}, 1, 4},
    };
    for (size_t i = 0; i < sizeof(pages) / sizeof(*pages); i++) {
        test_pair pair;
        uint8_t payload[64] = {0};
        open_pair(&pair, 0, true);
        const uint64_t top = pair.memory.live_bytes;
        lx_writer writer = lx_writer_of(payload, sizeof(payload));
        lx_page_encode_header(&writer, &pages[i].page);
        read_frame(&pair, false,
                   (lx_frame){.type = LX_MESSAGE_PAGE,
                              .request_id = pages[i].request_id,
                              .payload_bytes = LX_PAGE_FIXED_BYTES + pages[i].chunk},
                   payload, LYNX_ERR_PROTOCOL);
        assert_true(pair.memory.live_bytes <= top + 4096);
        close_pair(&pair);
    }
}

/* F-26: the text names the plane, at both ends. */
static void test_corrupt_plane(void **state)
{
    (void)state;
    test_pair pair;
    uint8_t payload[40] = {0};
    const uint64_t id = open_pair(&pair, 0, true);
    lx_writer writer = lx_writer_of(payload, sizeof(payload));
    lx_page_encode_header(&writer, &(lx_page_message){{1, 1, 1}, 1, 8, 0, 12345});
    read_frame(&pair, false,
               (lx_frame){.type = LX_MESSAGE_PAGE, .request_id = id, .payload_bytes = 40},
               payload, LYNX_ERR_CORRUPT);
    assert_false(
        lynx_page_map_has(lynx_receiver_map(pair.receiver, id), (lynx_page_id){1, 1, 1}, 1));
    test_pair_run(&pair, STEPS);
    assert_int_equal(pair.sender_status, LYNX_ERR_CORRUPT);
    assert_non_null(strstr(pair.sender_text, "plane 1 of page 1, layer 1, values"));
    assert_string_equal(pair.sender_text, pair.receiver_text);
    close_pair(&pair);
}

static void expect(bool to_sender, uint32_t flags, lx_frame frame, lynx_status status)
{
    test_pair pair;
    static const uint8_t zeros[1024];
    open_pair(&pair, flags, true);
    read_frame(&pair, to_sender, frame, zeros, status);
    test_pair_events(&pair);
    assert_int_equal(to_sender ? pair.sender_closed : pair.receiver_closed, status != LYNX_OK);
    close_pair(&pair);
}

/* F-8, F-11, F-20, F-21, F-22, F-28, F-30 */
static void test_bad_messages(void **state)
{
    (void)state;
    const lynx_status bad = LYNX_ERR_PROTOCOL;
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_HELLO, .payload_bytes = 80}, bad);
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_ACCEPT, .request_id = 1}, bad);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_ACCEPT, .request_id = 1}, bad);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_START, .request_id = 1}, bad);
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_START, .request_id = 1}, bad);
    expect(true, 1, (lx_frame){.type = LX_MESSAGE_START, .request_id = 1}, LYNX_OK);
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_CANCEL, .request_id = 2}, bad);
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_CANCEL, .request_id = 1, .payload_bytes = 1},
           bad);
    expect(true, 0, (lx_frame){.type = LX_MESSAGE_ACK, .request_id = 1, .payload_bytes = 9},
           bad);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_FINISH, .request_id = 1}, bad);
    expect(false, LYNX_REQUEST_NO_PAGES, (lx_frame){.type = LX_MESSAGE_FINISH, .request_id = 1},
           LYNX_OK);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_READY, .request_id = 1}, bad);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_TOKEN, .request_id = 1, .payload_bytes = 8},
           LYNX_OK);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_TOKEN, .request_id = 1, .payload_bytes = 9},
           bad);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_REFUSE, .request_id = 1, .payload_bytes = 8},
           bad);
    expect(false, 0, (lx_frame){.type = 99, .payload_bytes = 7}, bad);
    expect(false, 0, (lx_frame){.type = 99, .flags = 1, .payload_bytes = 700}, LYNX_OK);
    expect(false, 0, (lx_frame){.type = 0, .flags = 1}, LYNX_OK);
    expect(false, 0, (lx_frame){.type = LX_MESSAGE_PING}, LYNX_OK);
}

/* ---- options, queue, outbox ---------------------------------------------------------- */

static void test_options(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 6; i++) {
        test_pair pair;
        test_pair_init(&pair, 1);
        lynx_session_options *o = &pair.sender_options;
        if (i == 0)
            o->chunk_bytes = 4095;
        else if (i == 1)
            o->chunk_bytes = (1 << 20) + 1;
        else if (i == 2)
            o->timeout_ns = 0;
        else if (i == 3)
            o->ping_ns = 0;
        else if (i == 4)
            o->model = NULL;
        else
            pair.model.shape.layer_count = 0;
        assert_int_equal(lynx_sender_create(&pair.sender, o, 0), LYNX_ERR_ARGUMENT);
        assert_int_equal(lynx_receiver_create(&pair.receiver, o, 0), LYNX_ERR_ARGUMENT);
        assert_true(!pair.sender && !pair.receiver);
        close_pair(&pair);
    }
}

static void test_event_queue(void **state)
{
    (void)state;
    test_allocator memory;
    lx_event_queue queue;
    lynx_event event = {.type = LYNX_EVENT_PLANE};
    test_allocator_init(&memory);
    lx_event_queue_init(&queue, &memory.allocator);
    lx_event_queue_push_closed(&queue, &event, "last");
    lx_event_queue_push_closed(&queue, &event, "ignored");
    uint32_t taken = 0, i = 0;
    for (; i < 1000; i++) {
        event.count = i;
        assert_int_equal(lx_event_queue_push(&queue, &event, i % 3 ? "text" : NULL), LYNX_OK);
        if (i % 5 == 0) {
            assert_true(lx_event_queue_take(&queue, &event));
            assert_int_equal(event.count, taken++);
        }
    }
    while (lx_event_queue_take(&queue, &event) && event.type == LYNX_EVENT_PLANE) {
        assert_int_equal(event.count, taken);
        assert_string_equal(event.text, taken++ % 3 ? "text" : "");
    }
    assert_int_equal(taken, 1000);
    assert_string_equal(event.text, "last");
    assert_false(lx_event_queue_take(&queue, &event));
    lynx_status status = LYNX_OK;
    for (i = 0; status == LYNX_OK; i++)
        status = lx_event_queue_push(&queue, &event, NULL);
    assert_int_equal(status, LYNX_ERR_LIMIT);
    assert_int_equal(i, LX_EVENTS_MAX + 1);
    lx_event_queue_fini(&queue);
    assert_int_equal(memory.live_bytes, 0);
}

static void test_outbox_cuts_texts_and_pieces(void **state)
{
    (void)state;
    test_allocator memory;
    lx_outbox outbox;
    char text[2 * LX_TEXT_BYTES_MAX];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    test_allocator_init(&memory);
    lx_outbox_init(&outbox, &memory.allocator);
    assert_int_equal(lx_outbox_next(&outbox, 100).size, 0);
    assert_int_equal(lx_outbox_push_refuse(&outbox, 1, LYNX_ERR_LIMIT, text), LYNX_OK);
    lx_outbox_push_close(&outbox, LYNX_ERR_LIMIT, text);
    size_t total = 0;
    for (lynx_bytes next = lx_outbox_next(&outbox, 7); next.size;
         next = lx_outbox_next(&outbox, 7)) {
        assert_in_range(next.size, 1, 7);
        lx_outbox_left(&outbox, next.size);
        total += next.size;
    }
    assert_int_equal(total, 2 * (LX_FRAME_BYTES + LX_REASON_BYTES_MAX));
    memory.fail_at = memory.calls + 1;
    assert_int_equal(lx_outbox_push_refuse(&outbox, 1, LYNX_ERR_LIMIT, NULL), LYNX_ERR_MEMORY);
    lx_outbox_fini(&outbox);
    assert_int_equal(memory.live_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_model),
        cmocka_unit_test(test_other_weights_allowed),
        cmocka_unit_test(test_other_version),
        cmocka_unit_test(test_time_out),
        cmocka_unit_test(test_pings_keep_open),
        cmocka_unit_test(test_sender_states),
        cmocka_unit_test(test_receiver_states),
        cmocka_unit_test(test_prompt_above_context),
        cmocka_unit_test(test_cancel_before_the_request_is_taken),
        cmocka_unit_test(test_bad_pages),
        cmocka_unit_test(test_corrupt_plane),
        cmocka_unit_test(test_bad_messages),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_event_queue),
        cmocka_unit_test(test_outbox_cuts_texts_and_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
