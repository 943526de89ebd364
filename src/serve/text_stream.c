/* SPDX-License-Identifier: MIT */
#include "serve/text_stream.h"

#include <string.h>

/* ---- whole characters ---------------------------------------------------------------- */

enum { CUT = 0, BAD = -1 };

/* Bytes of the character that 'bytes' begin with; CUT: more are needed; BAD: it is none. By
 * table 3-7 of the Unicode standard. */
static int character(const uint8_t *bytes, size_t size)
{
    const uint8_t lead = bytes[0];
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return BAD;
    const int needed = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    const uint8_t least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const uint8_t most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    for (int i = 1; i < needed; i++) {
        if ((size_t)i == size)
            return CUT;
        if (bytes[i] < (i == 1 ? least : 0x80) || bytes[i] > (i == 1 ? most : 0xBF))
            return BAD;
    }
    return needed;
}

/* Take characters from the front of what is held; true while there is room for more bytes. */
static void take_characters(lx_utf8 *state, lx_buffer *out)
{
    while (state->count) {
        const int length = character((const uint8_t *)state->held, state->count);
        if (length == CUT)
            return;
        if (length == BAD)
            lx_buffer_puts(out, "\xEF\xBF\xBD");
        else
            lx_buffer_put(out, state->held, (size_t)length);
        const uint32_t taken = length == BAD ? 1 : (uint32_t)length;
        state->count -= taken;
        memmove(state->held, state->held + taken, state->count);
    }
}

void lx_utf8_push(lx_utf8 *state, const char *bytes, size_t size, lx_buffer *out)
{
    /* Fewer than four bytes are held between two rounds, so one more always fits. */
    for (size_t i = 0; i < size; i++) {
        state->held[state->count++] = bytes[i];
        take_characters(state, out);
    }
}

bool lx_utf8_escape(const char *bytes, size_t size, lx_buffer *out)
{
    bool is_text = true;
    for (size_t at = 0; at < size;) {
        const int length = character((const uint8_t *)bytes + at, size - at);
        is_text &= length > 0;
        if (length > 0)
            lx_buffer_put(out, bytes + at, (size_t)length);
        else
            lx_buffer_format(out, "\\x%02x", (unsigned)(uint8_t)bytes[at]);
        at += length > 0 ? (size_t)length : 1;
    }
    return is_text;
}

/* ---- stop strings -------------------------------------------------------------------- */

/* Where the first stop string begins in what is held; its size if there is none. */
static size_t find_stop(const lx_stop_filter *f)
{
    size_t first = f->held.size;
    for (uint32_t i = 0; i < f->count; i++) {
        const char *found = f->held.size ? strstr(f->held.data, f->stops[i]) : NULL;
        if (found && (size_t)(found - f->held.data) < first)
            first = (size_t)(found - f->held.data);
    }
    return first;
}

static bool begins_a_stop(const lx_stop_filter *f, const char *text, size_t size)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (strncmp(f->stops[i], text, size) == 0)
            return true;
    return false;
}

/* Where the longest end of what is held starts that could become a stop string. */
static size_t find_beginning(const lx_stop_filter *f)
{
    size_t longest = 0;
    for (uint32_t i = 0; i < f->count; i++)
        if (strlen(f->stops[i]) > longest)
            longest = strlen(f->stops[i]);
    size_t at = f->held.size > longest ? f->held.size - longest : 0;
    while (at < f->held.size && !begins_a_stop(f, f->held.data + at, f->held.size - at))
        at++;
    return at;
}

void lx_stop_filter_push(lx_stop_filter *f, const char *text, size_t size, lx_buffer *out)
{
    if (f->is_hit)
        return;
    lx_buffer_put(&f->held, text, size);
    const size_t stop = find_stop(f);
    f->is_hit = stop < f->held.size;
    const size_t free_size = f->is_hit ? stop : find_beginning(f);
    lx_buffer_put(out, f->held.data, free_size);
    lx_buffer_drop(&f->held, free_size);
    out->has_failed |= f->held.has_failed;
}

void lx_stop_filter_end(lx_stop_filter *f, lx_buffer *out)
{
    if (!f->is_hit)
        lx_buffer_put(out, f->held.data, f->held.size);
    lx_buffer_drop(&f->held, f->held.size);
}

void lx_stop_filter_fini(lx_stop_filter *f)
{
    lx_buffer_fini(&f->held);
}
