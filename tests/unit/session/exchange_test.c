/* SPDX-License-Identifier: MIT */
/*
 * The exchange of docs/format.md, chapter Example, byte for byte. When a byte changes on
 * purpose, run this test with LYNX_WRITE_EXCHANGE=<file> and paste the file into the chapter.
 */
#include "support/cmocka_all.h"

#include "support/session_pair.h"

enum { TEXT_BYTES = 65536 };

static const char *const names[] = {"",      "HELLO", "REQUEST", "ACCEPT", "REFUSE", "PROGRESS",
                                    "READY", "START", "TOKEN",   "PAGE",   "ACK",    "AGAIN",
                                    "END",   "CLOSE", "PING",    "RESUME", "FLOW",   "YIELD"};

static void append_frames(char *text, const char *who, const uint8_t *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t frame = 40 + (data[at + 16] | (size_t)data[at + 17] << 8);
        assert_true(at + frame <= size && data[at + 5] < 18);
        sprintf(text + strlen(text), "%s %s\n", who, names[data[at + 5]]);
        for (size_t i = 0; i < frame; i++)
            sprintf(text + strlen(text), "%s%02x",
                    i % 16 ? " "
                    : i    ? "\n  "
                           : "  ",
                    data[at + i]);
        strcat(text, "\n");
        at += frame;
    }
}

/* Everything that one end has to say reaches the other. */
static void drain_up(test_pair *pair, test_connection *c, char *text)
{
    lynx_receiver *receiver = pair->peers[0].receiver;
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count = 0;
    uint8_t bytes[8192];
    size_t size = 0;
    while (lynx_receiver_write(receiver, 0, pair->now, parts, &count) == LYNX_OK && count) {
        memcpy(bytes + size, parts[0].data, parts[0].size);
        size += parts[0].size;
        lynx_receiver_wrote(receiver, 0, pair->now, parts[0].size);
    }
    append_frames(text, "decode", bytes, size);
    assert_int_equal(lynx_sender_read(pair->sender, c->sender_lane, pair->now, bytes, size),
                     LYNX_OK);
}

static void drain_down(test_pair *pair, test_connection *c, char *text)
{
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count = 0;
    uint8_t bytes[8192];
    size_t size = 0;
    const uint32_t lane = c->sender_lane;
    while (lynx_sender_write(pair->sender, lane, pair->now, parts, &count) == LYNX_OK &&
           count) {
        size_t taken = 0;
        for (uint32_t i = 0; i < count; i++) {
            memcpy(bytes + size + taken, parts[i].data, parts[i].size);
            taken += parts[i].size;
        }
        size += taken;
        lynx_sender_wrote(pair->sender, lane, pair->now, taken);
    }
    append_frames(text, "prefill", bytes, size);
    assert_int_equal(lynx_receiver_read(pair->peers[0].receiver, 0, pair->now, bytes, size),
                     LYNX_OK);
}

static void drain(test_pair *pair, char *text)
{
    test_connection *c = test_pair_connection(pair, 0, 0);
    drain_up(pair, c, text);
    drain_down(pair, c, text);
    test_pair_events(pair);
}

static void on_release(void *user, uint8_t *data, size_t size)
{
    (void)data;
    (void)size;
    ++*(uint32_t *)user;
}

/* The default profile may change; the example stays. */
static lynx_request make_request(void)
{
    lynx_request request = test_pair_request(3);
    memset(&request.spec, 0, sizeof(request.spec));
    request.spec.profile = LYNX_PROFILE_RANGE;
    for (uint32_t side = 0; side < 2; side++) {
        request.spec.plane_bits[side][0] = 5;
        request.spec.plane_bits[side][1] = 3;
    }
    return request;
}

static void add_planes(test_pair *pair, uint64_t key, uint8_t planes[4][6], uint32_t *releases)
{
    for (uint32_t i = 4; i-- > 0;) /* residuals added first leave last */
        assert_int_equal(lynx_sender_plane(pair->sender, pair->now, key,
                                           (lynx_page_id){0, 0, (uint8_t)(i / 2)}, i % 2,
                                           planes[i], i == 3 ? 0 : 5, on_release, releases),
                         LYNX_OK);
}

static void make_exchange(char *text)
{
    test_pair pair;
    uint8_t planes[4][6] = {"key 0", "key 1", "val 0", "val 1"};
    uint32_t releases = 0, index;
    test_pair_init(&pair, 1);
    pair.is_manual = true;
    pair.model.shape.layer_count = 1;
    memset(&pair.model.fingerprint, 0x11, sizeof(pair.model.fingerprint));
    assert_int_equal(test_pair_create(&pair), LYNX_OK);
    const lynx_request request = make_request();
    assert_int_equal(test_pair_ask(&pair, 0, &request, &index), LYNX_OK);
    drain(&pair, text);
    const uint64_t key = pair.requests[0].key;
    assert_int_equal(lynx_sender_accept(pair.sender, key, 0), LYNX_OK);
    assert_int_equal(lynx_sender_progress(pair.sender, key, 3), LYNX_OK);
    assert_int_equal(lynx_sender_token(pair.sender, key, 42, NULL), LYNX_OK);
    add_planes(&pair, key, planes, &releases);
    assert_int_equal(lynx_sender_finish(pair.sender, key), LYNX_OK);
    drain(&pair, text);
    pair.now += 2000000;
    assert_int_equal(lynx_receiver_end(pair.peers[0].receiver, pair.requests[0].id), LYNX_OK);
    pair.requests[0].is_ended = true;
    drain(&pair, text);
    lynx_receiver_close(pair.peers[0].receiver, LYNX_OK, "bye");
    drain(&pair, text);
    assert_int_equal(releases, 4);
    assert_int_equal(pair.delivered, 1);
    assert_int_equal(pair.finishes, 1);
    assert_int_equal(pair.sender_closes, 1);
    test_pair_destroy(&pair);
}

/* F-1: HELLO is first both ways, and the decode node asks before it has heard anything. */
static void test_exchange_is_that_of_the_document(void **state)
{
    (void)state;
    static char exchange[TEXT_BYTES], document[8 * TEXT_BYTES];
    make_exchange(exchange);
    const char *target = getenv("LYNX_WRITE_EXCHANGE");
    if (target) {
        FILE *out = fopen(target, "w");
        assert_non_null(out);
        fputs(exchange, out);
        fclose(out);
        return;
    }
    FILE *file = fopen(LYNX_SOURCE_DIR "/docs/format.md", "r");
    assert_non_null(file);
    document[fread(document, 1, sizeof(document) - 1, file)] = '\0';
    fclose(file);
    const char *at = strstr(document, "```exchange\n");
    assert_non_null(at);
    at += strlen("```exchange\n");
    assert_int_equal(strncmp(at, exchange, strlen(exchange)), 0);
    assert_int_equal(strncmp(at + strlen(exchange), "```", 3), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange_is_that_of_the_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
