/* SPDX-License-Identifier: MIT */
/* Characters leave whole, stop strings never. */
#include "serve/text_stream.h"
#include "support/cmocka_all.h"

/* ---- characters ---------------------------------------------------------------------- */

/* What leaves when 'bytes' come in pieces of 'piece'. */
static void push_pieces(const char *bytes, size_t piece, lx_buffer *out)
{
    lx_utf8 state = {0};
    const size_t size = strlen(bytes);
    for (size_t at = 0; at < size; at += piece)
        lx_utf8_push(&state, bytes + at, size - at < piece ? size - at : piece, out);
}

static void characters_leave_whole(void **state)
{
    (void)state;
    lx_utf8 utf8 = {0};
    lx_buffer out = {0};
    lx_utf8_push(&utf8, "a\xF0\x9F", 3, &out);
    assert_string_equal(out.data, "a");
    lx_utf8_push(&utf8, "\x98", 1, &out);
    assert_string_equal(out.data, "a");
    lx_utf8_push(&utf8, "\x80z", 2, &out);
    assert_string_equal(out.data, "a\xF0\x9F\x98\x80z");
    lx_buffer_fini(&out);
}

static void bytes_of_no_character_are_replaced(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *text;
    } rows[] = {{"\xC3\xA9", "\xC3\xA9"},
                {"\xFF", "\xEF\xBF\xBD"},
                {"\xC3x", "\xEF\xBF\xBDx"},
                {"\xC0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD"},                 /* too long */
                {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, /* surrogate */
                {"\xF4\x90\x80\x80z", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
                                      "z"}, /* above U+10FFFF */
                {"\xE2\x82\xC3\xA9", "\xEF\xBF\xBD\xEF\xBF\xBD\xC3\xA9"},
                {"\x80", "\xEF\xBF\xBD"},
                {"ok", "ok"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        for (size_t piece = 1; piece < 6; piece++) {
            lx_buffer out = {0};
            push_pieces(rows[i].bytes, piece, &out);
            assert_string_equal(out.data, rows[i].text);
            lx_buffer_fini(&out);
        }
}

/* ---- stop strings -------------------------------------------------------------------- */

static void filter_pieces(const char *text, size_t piece, char *const *stops, uint32_t count,
                          bool has_hit, const char *left)
{
    lx_stop_filter filter = {.stops = stops, .count = count};
    lx_buffer out = {0};
    const size_t size = strlen(text);
    lx_buffer_puts(&out, "");
    for (size_t at = 0; at < size; at += piece)
        lx_stop_filter_push(&filter, text + at, size - at < piece ? size - at : piece, &out);
    assert_int_equal(filter.is_hit, has_hit);
    lx_stop_filter_end(&filter, &out);
    assert_string_equal(out.data, left);
    lx_stop_filter_fini(&filter);
    lx_buffer_fini(&out);
}

static void a_stop_string_ends_the_text_however_it_is_cut(void **state)
{
    (void)state;
    char *const stops[] = {(char[]){"END"}, (char[]){"aab"}, (char[]){"\xC3\xA9"}};
    static const struct {
        const char *text, *left;
        bool has_hit;
    } rows[] = {{"one END two", "one ", true},
                {"EEND", "E", true},
                {"aaab", "a", true},
                {"aaaa", "aaaa", false},
                {"EN", "EN", false},
                {"ENAENDENX", "ENA", true},
                {"caf\xC3\xA9 END", "caf", true},
                {"aab END", "", true},
                {"xEN aaEND", "xEN aa", true},
                {"", "", false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        for (size_t piece = 1; piece < 12; piece++)
            filter_pieces(rows[i].text, piece, stops, 3, rows[i].has_hit, rows[i].left);
}

static void nothing_is_held_without_need(void **state)
{
    (void)state;
    char *const stops[] = {(char[]){"END"}};
    lx_stop_filter filter = {.stops = stops, .count = 1};
    lx_buffer out = {0};
    lx_stop_filter_push(&filter, "a", 1, &out);
    assert_string_equal(out.data, "a");
    lx_stop_filter_push(&filter, "bEN", 3, &out);
    assert_string_equal(out.data, "ab");
    lx_stop_filter_push(&filter, "x", 1, &out);
    assert_string_equal(out.data, "abENx");
    lx_stop_filter_push(&filter, "END", 3, &out);
    lx_stop_filter_push(&filter, "more", 4, &out);
    lx_stop_filter_end(&filter, &out);
    assert_string_equal(out.data, "abENx");
    lx_stop_filter_fini(&filter);
    lx_buffer_fini(&out);
}

static void text_passes_without_stop_strings(void **state)
{
    (void)state;
    filter_pieces("anything", 3, NULL, 0, false, "anything");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_leave_whole),
        cmocka_unit_test(bytes_of_no_character_are_replaced),
        cmocka_unit_test(a_stop_string_ends_the_text_however_it_is_cut),
        cmocka_unit_test(nothing_is_held_without_need),
        cmocka_unit_test(text_passes_without_stop_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
