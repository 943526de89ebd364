/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/cursor.h"
#include "base/digest.h"
#include "lynx/status.h"
#include "support/failing_allocator.h"

static void test_cursor_round_trip(void **state)
{
    (void)state;
    uint8_t bytes[22];
    lx_writer writer = lx_writer_of(bytes, sizeof(bytes));
    lx_write_u8(&writer, 0x01);
    lx_write_u16(&writer, 0x0302);
    lx_write_u32(&writer, 0x07060504u);
    lx_write_u64(&writer, 0x0F0E0D0C0B0A0908u);
    lx_write_f32(&writer, 1.5f);
    lx_write_bytes(&writer, "xyz", 3);
    assert_false(writer.ran_out);
    for (uint8_t i = 0; i < 15; i++)
        assert_int_equal(bytes[i], i + 1);
    lx_reader reader = lx_reader_of(bytes, sizeof(bytes));
    char text[3];
    assert_int_equal(lx_read_u8(&reader), 0x01);
    assert_int_equal(lx_read_u16(&reader), 0x0302);
    assert_int_equal(lx_read_u32(&reader), 0x07060504u);
    assert_true(lx_read_u64(&reader) == 0x0F0E0D0C0B0A0908u);
    assert_true(lx_read_f32(&reader) == 1.5f);
    lx_read_bytes(&reader, text, 3);
    assert_memory_equal(text, "xyz", 3);
    assert_int_equal(lx_reader_left(&reader), 0);
    assert_false(reader.ran_out);
}

static void test_cursor_stays_out(void **state)
{
    (void)state;
    uint8_t bytes[4] = {1, 2, 3, 4};
    lx_reader reader = lx_reader_of(bytes, 3);
    assert_int_equal(lx_read_u32(&reader), 0);
    assert_true(reader.ran_out);
    assert_int_equal(lx_read_u8(&reader), 0);
    assert_null(lx_read_view(&reader, 1));
    lx_writer writer = lx_writer_of(bytes, 3);
    lx_write_u32(&writer, UINT32_MAX);
    lx_write_u8(&writer, 9);
    assert_true(writer.ran_out);
    assert_int_equal(bytes[0], 1);
    assert_int_equal(bytes[3], 4);
}

static void test_allocation(void **state)
{
    (void)state;
    test_allocator memory;
    test_allocator_init(&memory);
    assert_null(lx_alloc(&memory.allocator, SIZE_MAX / 2, 3));
    assert_null(lx_alloc(&memory.allocator, 0, 3));
    assert_int_equal(memory.calls, 0);
    uint8_t *bytes = lx_alloc_zeroed(&memory.allocator, 100, 2);
    assert_non_null(bytes);
    assert_int_equal((uintptr_t)bytes % 64, 0);
    for (uint32_t i = 0; i < 200; i++)
        assert_int_equal(bytes[i], 0);
    lx_free(&memory.allocator, bytes, 100, 2);
    lx_free(&memory.allocator, NULL, 7, 7);
    assert_int_equal(memory.live_bytes, 0);
    memory.fail_at = memory.calls + 1;
    assert_null(lx_alloc_zeroed(&memory.allocator, 1, 1));
    assert_ptr_equal(lx_allocator_or_default(NULL), lynx_allocator_default());
}

/* Vectors of the xxHash specification: the empty input. */
static void test_digests(void **state)
{
    (void)state;
    static const uint8_t empty[16] = {0x99, 0xAA, 0x06, 0xD3, 0x01, 0x47, 0x98, 0xD8,
                                      0x60, 0x01, 0xC3, 0x24, 0x46, 0x8D, 0x49, 0x7F};
    uint8_t digest[16];
    assert_true(lx_digest64("", 0) == 0x2D06800538D394C2u);
    lx_digest128("", 0, digest);
    assert_memory_equal(digest, empty, 16);
}

static void test_statuses(void **state)
{
    (void)state;
#define CHECK(name, value, scope, text)                                                        \
    assert_int_equal(LYNX_##name, value);                                                      \
    assert_string_equal(lynx_status_text(LYNX_##name), text);                                  \
    assert_string_equal(lynx_status_name(LYNX_##name), #name);                                 \
    assert_int_equal(lynx_status_scope(LYNX_##name), LYNX_SCOPE_##scope);                      \
    assert_int_equal(lynx_failed(LYNX_##name), (value) < 0);
    LYNX_STATUS_LIST(CHECK)
#undef CHECK
    assert_string_equal(lynx_status_text((lynx_status)-999), "unknown status");
    assert_string_equal(lynx_status_name((lynx_status)-999), "UNKNOWN");
    assert_int_equal(lynx_status_scope((lynx_status)-999), LYNX_SCOPE_PROCESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cursor_round_trip), cmocka_unit_test(test_cursor_stays_out),
        cmocka_unit_test(test_allocation),        cmocka_unit_test(test_digests),
        cmocka_unit_test(test_statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
