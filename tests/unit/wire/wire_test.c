/* SPDX-License-Identifier: MIT */
/* frame.c and the messages: what is written is read back, and each illegal field is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "support/rng.h"
#include "wire/frame.h"
#include "wire/messages.h"

static const lx_frame good_frame = {.version = 2,
                                    .type = 9,
                                    .flags = 1,
                                    .request_id = 77,
                                    .payload_bytes = 5,
                                    .payload_digest = 0x123456789ABCDEFu};

/* Change one byte and put the right digest behind it. */
static lynx_status decode_changed(uint32_t offset, uint8_t value)
{
    uint8_t bytes[LX_FRAME_BYTES];
    lx_frame frame = {0};
    lx_frame_encode(&good_frame, bytes);
    bytes[offset] = value;
    lx_writer writer = lx_writer_of(bytes + 32, 8);
    lx_write_u64(&writer, lx_digest64(bytes, 32));
    return lx_frame_decode(bytes, &frame);
}

static void test_frame(void **state)
{
    (void)state;
    uint8_t bytes[LX_FRAME_BYTES];
    lx_frame frame = {0};
    lx_frame_encode(&good_frame, bytes);
    assert_int_equal(lx_frame_decode(bytes, &frame), LYNX_OK);
    assert_int_equal(frame.type, 9);
    assert_int_equal(frame.flags, 1);
    assert_int_equal(frame.request_id, 77);
    assert_int_equal(frame.payload_bytes, 5);
    assert_true(frame.payload_digest == good_frame.payload_digest);
    /* F-6: any changed bit is found. */
    for (uint32_t bit = 0; bit < 8 * LX_FRAME_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(lx_frame_decode(bytes, &frame),
                         bit < 32 ? LYNX_ERR_PROTOCOL : LYNX_ERR_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(decode_changed(4, 1), LYNX_ERR_VERSION);  /* F-7 */
    assert_int_equal(decode_changed(6, 2), LYNX_ERR_PROTOCOL); /* F-8 */
    assert_int_equal(decode_changed(7, 1), LYNX_ERR_PROTOCOL);
    assert_int_equal(decode_changed(20, 1), LYNX_ERR_PROTOCOL);
    assert_int_equal(decode_changed(19, 5), LYNX_ERR_PROTOCOL);
}

/* A count, so many entries and nothing behind them. */
static lynx_status decode_resume(lynx_bytes payload)
{
    lx_reader reader = lx_reader_of(payload.data, payload.size);
    lx_resume_entry entry;
    uint32_t count = 0, serial;
    lynx_status status = lx_resume_decode_count(&reader, &count, &serial);
    for (uint32_t i = 0; i < count && status == LYNX_OK; i++)
        status = lx_resume_decode_entry(&reader, &entry);
    return status == LYNX_OK && lx_reader_left(&reader) ? LYNX_ERR_PROTOCOL : status;
}

static lynx_status decode_any(uint32_t kind, lynx_bytes payload)
{
    lx_hello hello;
    lx_request_message request;
    lx_reason reason;
    lx_token_message token;
    lx_page_message page;
    lx_flow_message flow;
    lx_options_message options;
    uint32_t done;
    switch (kind) {
    case 0:
        return lx_hello_decode(payload, &hello);
    case 1:
        return lx_request_decode(payload, &request);
    case 2:
        return lx_reason_decode(payload, &reason);
    case 3:
        return lx_token_decode(payload, &token);
    case 4:
        return lx_progress_decode(payload, &done);
    case 8:
        return lx_yield_decode(payload, &done);
    case 9:
        return lx_options_decode(payload, &options);
    case 10:
        return lx_token_decode(payload, &token);
    case 6:
        return lx_flow_decode(payload, &flow);
    case 7:
        return decode_resume(payload);
    default:
        return payload.size == LX_PAGE_FIXED_BYTES ? lx_page_decode_header(payload.data, &page)
                                                   : LYNX_ERR_PROTOCOL;
    }
}

static void encode_resume(lx_writer *writer)
{
    static const uint8_t held[3] = {0x81, 0, 1};
    lx_resume_entry entry = {.request_id = 5, .next_token = 1, .flags = 3, .held = {held, 3}};
    memset(entry.ticket, 0xAB, LYNX_ID_BYTES);
    lx_resume_encode_count(writer, 2, 77);
    lx_resume_encode_entry(writer, &entry);
    entry.held.size = 0;
    lx_resume_encode_entry(writer, &entry);
}

static void encode_options(lx_writer *writer)
{
    static const lynx_bias biases[2] = {{7, -100.0f}, {8, 0.5f}};
    static const uint8_t allowed[3] = {0x81, 0, 1};
    lynx_sampling sampling;
    lynx_sampling_init(&sampling);
    sampling.biases = biases;
    sampling.bias_count = 2;
    sampling.allowed = allowed;
    sampling.allowed_bytes = 3;
    lx_options_encode(writer, &(lx_options_message){.has_logprobs = true, .top_logprobs = 20},
                      &sampling);
}

static void encode_told_token(lx_writer *writer)
{
    lx_token_message message = {.index = 3,
                                .token = 9,
                                .has_logprobs = true,
                                .logprobs = {.logprob = -0.5f, .top_count = 2}};
    message.logprobs.top[1] = (lynx_token_logprob){9, -0.5f};
    lx_token_encode(writer, &message);
}

static size_t encode_any(uint32_t kind, uint8_t bytes[512])
{
    static const uint8_t tokens[8] = {1, 0, 0, 0, 2, 0, 0, 0};
    lx_writer writer = lx_writer_of(bytes, 512);
    const lx_hello hello = {.role = 1,
                            .element = 1,
                            .page_tokens = 32,
                            .layer_count = 1,
                            .model_name = {(const uint8_t *)"name", 4}};
    const lx_request_message request = {.spec = {.profile = LYNX_PROFILE_RANGE,
                                                 .plane_bits = {{4, 4}, {5, 3}},
                                                 .meta_wide = true,
                                                 .spread = true,
                                                 .bend = true,
                                                 .undo_rope = true,
                                                 .tail_raw_tokens = 64},
                                        .flags = 15,
                                        .answer_tokens = 1,
                                        .token_count = 2,
                                        .tokens = {tokens, 8}};
    const lx_reason reason = {LYNX_ERR_LIMIT, {(const uint8_t *)"why", 3}};
    const lx_page_message page = {{7, 3, 1}, 2, 100, 50, 99};
    if (kind == 0)
        lx_hello_encode(&writer, &hello);
    else if (kind == 1)
        lx_request_encode(&writer, &request);
    else if (kind == 2)
        lx_reason_encode(&writer, &reason);
    else if (kind == 3)
        lx_token_encode(&writer, &(lx_token_message){.index = 3, .token = -1});
    else if (kind == 4)
        lx_progress_encode(&writer, 9);
    else if (kind == 8)
        lx_yield_encode(&writer, 9);
    else if (kind == 6)
        lx_flow_encode(&writer, &(lx_flow_message){1, {2, UINT64_MAX}});
    else if (kind == 9)
        encode_options(&writer);
    else if (kind == 10)
        encode_told_token(&writer);
    else if (kind == 7)
        encode_resume(&writer);
    else
        lx_page_encode_header(&writer, &page);
    assert_false(writer.ran_out);
    return writer.offset;
}

/* TOKEN may have logprobs, of as many tokens as there are bytes for: who asked counts them. */
static bool is_shorter_token(uint32_t kind, size_t size)
{
    return (kind == 3 || kind == 10) && (size == 8 || (size >= 12 && size % 8 == 4));
}

/* F-12: no message is legal when a byte is missing or left over. */
static void test_lengths(void **state)
{
    (void)state;
    static const size_t sizes[] = {100, 100, 11, 8, 4, 32, 24, 91, 4, 35, 28};
    for (uint32_t kind = 0; kind < 11; kind++) {
        uint8_t bytes[512] = {0};
        const size_t size = encode_any(kind, bytes);
        assert_int_equal(size, sizes[kind]);
        for (size_t cut = 0; cut < size + 8; cut++)
            assert_int_equal(decode_any(kind, (lynx_bytes){bytes, cut}),
                             cut == size || is_shorter_token(kind, cut) ? LYNX_OK
                                                                        : LYNX_ERR_PROTOCOL);
    }
}

static void refuses(uint32_t kind, uint32_t offset, uint8_t value)
{
    uint8_t bytes[512];
    const size_t size = encode_any(kind, bytes);
    bytes[offset] = value;
    assert_int_equal(decode_any(kind, (lynx_bytes){bytes, size}), LYNX_ERR_PROTOCOL);
}

static void test_illegal_fields(void **state)
{
    (void)state;
    refuses(0, 0, 2);              /* F-13: role */
    refuses(0, 3, LYNX_LANES_MAX); /* lane */
    refuses(0, 93, 3);             /* name of 772 bytes */
    refuses(1, 0, 4);              /* profile */
    refuses(1, 2, 2);              /* booleans */
    refuses(1, 3, 2);
    refuses(1, 64, 32);                   /* flags */
    refuses(1, 64, 16 + 1);               /* F-58: carry on and hold */
    refuses(1, 64, 16 + 4);               /* carry on and no pages */
    refuses(1, 68, 0);                    /* answer tokens */
    refuses(1, 72, 0);                    /* token count */
    refuses(1, 75, 2);                    /* more than 2^24 tokens */
    refuses(2, 5, 9);                     /* a text of 2307 bytes */
    refuses(5, 6, 2);                     /* side */
    refuses(5, 7, 8);                     /* plane */
    refuses(5, 12, 101);                  /* offset behind the plane */
    refuses(5, 31, 1);                    /* zero */
    refuses(7, 0, LYNX_REQUESTS_MAX + 1); /* more entries than requests */
    refuses(7, 8, 0);                     /* request id */
    refuses(7, 36, 4);                    /* flags of an entry */
    refuses(7, 40, 200);                  /* a bitmap of 200 bytes */
    refuses(7, 43, 0xFF);                 /* a length bomb */
    refuses(7, 44, 1);                    /* zero */
    refuses(9, 0, 3);                     /* F-64: flags */
    refuses(9, 0, 0);                     /* likeliest tokens without logprobs */
    refuses(9, 4, 21);                    /* too many of them */
    refuses(9, 9, 4);                     /* 1026 biases */
    refuses(9, 14, 2);                    /* 2^17 and more bytes of tokens */
    refuses(9, 16, 8);                    /* token 8 twice */
    refuses(9, 24, 6);                    /* 7, 6 */
    refuses(9, 19, 0x80);                 /* a negative one */
    refuses(9, 23, 0xC3);                 /* -200 */
    refuses(9, 31, 0x7F);                 /* 0.5 becomes huge */
}

/* F-66 */
static void test_options_come_back(void **state)
{
    (void)state;
    uint8_t bytes[512];
    lx_options_message options;
    lx_token_message token;
    lynx_bias biases[2];
    size_t size = encode_any(9, bytes);
    assert_int_equal(lx_options_decode((lynx_bytes){bytes, size}, &options), LYNX_OK);
    assert_true(options.has_logprobs && options.top_logprobs == 20 && options.bias_count == 2);
    assert_true(options.allowed.size == 3 && options.allowed.data[0] == 0x81);
    lx_options_read_biases(&options, biases);
    assert_true(biases[0].token == 7 && biases[0].bias == -100.0f && biases[1].token == 8 &&
                biases[1].bias == 0.5f);
    size = encode_any(10, bytes);
    assert_int_equal(lx_token_decode((lynx_bytes){bytes, size}, &token), LYNX_OK);
    assert_true(token.has_logprobs && token.logprobs.logprob == -0.5f &&
                token.logprobs.top_count == 2 && token.logprobs.top[1].token == 9);
    size = encode_any(3, bytes);
    assert_int_equal(lx_token_decode((lynx_bytes){bytes, size}, &token), LYNX_OK);
    assert_false(token.has_logprobs);
    /* 21 tokens are one too many. */
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(lx_token_decode((lynx_bytes){bytes, LX_TOKEN_BYTES_MAX + 8}, &token),
                     LYNX_ERR_PROTOCOL);
}

/* F-12, F-69: ACCEPT has 4 bytes or none, HELD what it says. */
static void test_held_comes_back(void **state)
{
    (void)state;
    uint8_t bytes[LX_HELD_BYTES + 8] = {0};
    lx_held_message held = {.token_count = 512}, back;
    uint32_t left_out = 1;
    assert_int_equal(lynx_codec_spec_named(&held.spec, "range"), LYNX_OK);
    for (uint32_t i = 0; i < LYNX_NAME_BYTES; i++)
        held.name[i] = (uint8_t)(i + 1);
    lx_writer writer = lx_writer_of(bytes, sizeof(bytes));
    lx_held_encode(&writer, &held);
    assert_int_equal(writer.offset, LX_HELD_BYTES);
    for (size_t size = 0; size <= sizeof(bytes); size++)
        assert_int_equal(lx_held_decode((lynx_bytes){bytes, size}, &back),
                         size == LX_HELD_BYTES ? LYNX_OK : LYNX_ERR_PROTOCOL);
    assert_int_equal(back.token_count, 512);
    assert_int_equal(back.spec.plane_bits[1][0], held.spec.plane_bits[1][0]);
    assert_memory_equal(back.name, held.name, LYNX_NAME_BYTES);
    bytes[4] = 9; /* no profile */
    assert_int_equal(lx_held_decode((lynx_bytes){bytes, LX_HELD_BYTES}, &back),
                     LYNX_ERR_PROTOCOL);
    writer = lx_writer_of(bytes, sizeof(bytes));
    lx_accept_encode(&writer, 70000);
    assert_int_equal(writer.offset, LX_ACCEPT_BYTES);
    for (size_t size = 0; size <= 8; size++)
        assert_int_equal(lx_accept_decode((lynx_bytes){bytes, size}, &left_out),
                         size == 0 || size == 4 ? LYNX_OK : LYNX_ERR_PROTOCOL);
    assert_int_equal(lx_accept_decode((lynx_bytes){bytes, 4}, &left_out), LYNX_OK);
    assert_int_equal(left_out, 70000);
    assert_int_equal(lx_accept_decode((lynx_bytes){NULL, 0}, &left_out), LYNX_OK);
    assert_int_equal(left_out, 0);
}

static void test_values_come_back(void **state)
{
    (void)state;
    uint8_t bytes[512];
    lx_page_message page;
    lx_request_message request;
    lx_reason reason;
    lx_ack_entry ack;
    encode_any(5, bytes);
    assert_int_equal(lx_page_decode_header(bytes, &page), LYNX_OK);
    assert_true(page.page.page == 7 && page.page.layer == 3 && page.page.side == 1 &&
                page.plane == 2 && page.plane_bytes == 100 && page.offset == 50 &&
                page.plane_digest == 99);
    const size_t size = encode_any(1, bytes);
    assert_int_equal(lx_request_decode((lynx_bytes){bytes, size}, &request), LYNX_OK);
    assert_true(request.flags == 15 && request.token_count == 2 && request.tokens.data[4] == 2);
    assert_true(request.spec.meta_wide && request.spec.spread && request.spec.bend &&
                request.spec.undo_rope && request.spec.tail_raw_tokens == 64 &&
                request.spec.plane_bits[1][0] == 5);
    for (uint32_t tokens = 0; tokens < 256; tokens++) {
        uint8_t again[512];
        bytes[1] = (uint8_t)tokens;
        assert_int_equal(lx_request_decode((lynx_bytes){bytes, size}, &request), LYNX_OK);
        assert_int_equal(request.spec.recent_tokens, 8 * (tokens % 32));
        assert_int_equal(request.spec.chunk_tokens, tokens / 32 * 32);
        lx_writer writer = {again, sizeof(again), 0, false};
        lx_spec_encode(&writer, &request.spec);
        assert_int_equal(again[1], tokens);
    }
    bytes[1] = 0;
    for (uint32_t ranges = 0; ranges < 256; ranges++) { /* F-30 */
        bytes[2] = (uint8_t)ranges;
        assert_int_equal(lx_request_decode((lynx_bytes){bytes, size}, &request),
                         ranges & 2 ? LYNX_ERR_PROTOCOL : LYNX_OK);
        if (!(ranges & 2))
            assert_true(request.spec.meta_wide == (ranges & 1) &&
                        request.spec.spread == (ranges >> 2 & 1) &&
                        request.spec.bend == (ranges >> 3 & 1) &&
                        request.spec.quarter_bits[0] == (ranges >> 4 & 3) &&
                        request.spec.quarter_bits[1] == ranges >> 6);
    }
    bytes[2] = 4;
    for (uint32_t sides = 0; sides < 256; sides++) {
        bytes[3] = (uint8_t)sides;
        assert_int_equal(lx_request_decode((lynx_bytes){bytes, size}, &request),
                         sides & 14 ? LYNX_ERR_PROTOCOL : LYNX_OK);
        if (!(sides & 14))
            assert_true(request.spec.undo_rope == (sides & 1) &&
                        request.spec.total_quarter_bits[0] == (sides >> 4 & 3) &&
                        request.spec.total_quarter_bits[1] == sides >> 6);
    }
    encode_any(2, bytes);
    assert_int_equal(lx_reason_decode((lynx_bytes){bytes, 11}, &reason), LYNX_OK);
    assert_int_equal(reason.status, LYNX_ERR_LIMIT);
    lx_writer writer = lx_writer_of(bytes, 8);
    lx_ack_encode_entry(&writer, &(lx_ack_entry){{70000, 3, 1}, 7});
    lx_reader reader = lx_reader_of(bytes, 8);
    assert_int_equal(lx_ack_decode_entry(&reader, &ack), LYNX_OK);
    assert_true(ack.page.page == 70000 && ack.page.layer == 3 && ack.page.side == 1 &&
                ack.plane == 7);
    assert_int_equal(lx_ack_decode_entry(&reader, &ack), LYNX_ERR_PROTOCOL);
    bytes[6] = 2;
    reader = lx_reader_of(bytes, 8);
    assert_int_equal(lx_ack_decode_entry(&reader, &ack), LYNX_ERR_PROTOCOL);
}

static void test_resume_and_flow_come_back(void **state)
{
    (void)state;
    uint8_t bytes[512];
    lx_resume_entry entry;
    lx_flow_message flow;
    uint32_t count, serial;
    lx_reader reader = lx_reader_of(bytes, encode_any(7, bytes));
    assert_int_equal(lx_resume_decode_count(&reader, &count, &serial), LYNX_OK);
    assert_true(count == 2 && serial == 77);
    assert_int_equal(lx_resume_decode_entry(&reader, &entry), LYNX_OK);
    assert_true(entry.request_id == 5 && entry.next_token == 1 &&
                entry.flags == (LX_RESUME_STARTED | LX_RESUME_ASKED) &&
                entry.ticket[15] == 0xAB && entry.held.size == 3 && entry.held.data[2] == 1);
    assert_int_equal(lx_resume_decode_entry(&reader, &entry), LYNX_OK);
    assert_int_equal(entry.held.size, 0);
    assert_int_equal(lx_reader_left(&reader), 0);
    const size_t size = encode_any(6, bytes);
    assert_int_equal(lx_flow_decode((lynx_bytes){bytes, size}, &flow), LYNX_OK);
    assert_true(flow.received == 1 && flow.limits[0] == 2 && flow.limits[1] == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_illegal_fields),
        cmocka_unit_test(test_options_come_back),
        cmocka_unit_test(test_held_comes_back),
        cmocka_unit_test(test_values_come_back),
        cmocka_unit_test(test_resume_and_flow_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
