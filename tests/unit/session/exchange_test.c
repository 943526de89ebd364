/* SPDX-License-Identifier: MIT */
/*
 * The exchange of docs/format.md, chapter Example, byte for byte. When a byte changes on
 * purpose, run this test with LYNX_WRITE_EXCHANGE=<file> and paste the file into the chapter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/session_pair.h"

enum { TEXT_BYTES = 65536 };

static const char *const names[] = {"",         "HELLO",  "REQUEST", "ACCEPT", "REFUSE",
                                    "PROGRESS", "READY",  "START",   "TOKEN",  "PAGE",
                                    "ACK",      "FINISH", "CANCEL",  "CLOSE",  "PING"};

static void append_frames(char *text, const char *who, const uint8_t *data, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t frame = 40 + (data[at + 16] | (size_t)data[at + 17] << 8);
        assert_true(at + frame <= size && data[at + 5] < 15);
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

static void drain(test_pair *pair, char *text)
{
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count = 0;
    uint8_t bytes[8192];
    size_t size = 0;
    while (lynx_receiver_write(pair->receiver, pair->now, parts, &count) == LYNX_OK && count) {
        memcpy(bytes + size, parts[0].data, parts[0].size);
        size += parts[0].size;
        lynx_receiver_wrote(pair->receiver, pair->now, parts[0].size);
    }
    append_frames(text, "decode", bytes, size);
    assert_int_equal(lynx_sender_read(pair->sender, pair->now, bytes, size), LYNX_OK);
    size = 0;
    while (lynx_sender_write(pair->sender, pair->now, parts, &count) == LYNX_OK && count) {
        size_t taken = 0;
        for (uint32_t i = 0; i < count; i++) {
            memcpy(bytes + size + taken, parts[i].data, parts[i].size);
            taken += parts[i].size;
        }
        size += taken;
        lynx_sender_wrote(pair->sender, pair->now, taken);
    }
    append_frames(text, "prefill", bytes, size);
    assert_int_equal(lynx_receiver_read(pair->receiver, pair->now, bytes, size), LYNX_OK);
    test_pair_events(pair);
}

static void on_release(void *user, uint8_t *data, size_t size)
{
    (void)data;
    (void)size;
    ++*(uint32_t *)user;
}

static void make_exchange(char *text)
{
    test_pair pair;
    uint8_t planes[4][6] = {"key 0", "key 1", "val 0", "val 1"};
    uint32_t releases = 0;
    uint64_t id;
    test_pair_init(&pair, 1);
    pair.is_manual = true;
    pair.model.shape.layer_count = 1;
    memset(&pair.model.fingerprint, 0x11, sizeof(pair.model.fingerprint));
    assert_int_equal(test_pair_create(&pair), LYNX_OK);
    lynx_request request = test_pair_request(3);
    /* The default profile may change; the example stays. */
    memset(&request.spec, 0, sizeof(request.spec));
    request.spec.profile = LYNX_PROFILE_RANGE;
    for (uint32_t side = 0; side < 2; side++) {
        request.spec.plane_bits[side][0] = 5;
        request.spec.plane_bits[side][1] = 3;
    }
    assert_int_equal(lynx_receiver_request(pair.receiver, &request, &id), LYNX_OK);
    drain(&pair, text);
    assert_int_equal(lynx_sender_accept(pair.sender, id), LYNX_OK);
    assert_int_equal(lynx_sender_progress(pair.sender, id, 3), LYNX_OK);
    assert_int_equal(lynx_sender_token(pair.sender, id, 0, 42), LYNX_OK);
    for (uint32_t i = 4; i-- > 0;) /* residuals added first leave last */
        assert_int_equal(lynx_sender_plane(pair.sender, id,
                                           (lynx_page_id){0, 0, (uint8_t)(i / 2)}, i % 2,
                                           planes[i], i == 3 ? 0 : 5, on_release, &releases),
                         LYNX_OK);
    assert_int_equal(lynx_sender_finish(pair.sender, id), LYNX_OK);
    drain(&pair, text);
    pair.now += 2000000;
    lynx_receiver_close(pair.receiver, LYNX_OK, "bye");
    drain(&pair, text);
    assert_int_equal(releases, 4);
    assert_int_equal(pair.delivered, 1);
    assert_int_equal(pair.finishes, 1);
    assert_true(pair.sender_closed);
    test_pair_destroy(&pair);
}

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
