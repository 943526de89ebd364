/* SPDX-License-Identifier: MIT */
/*
 * text_stream.h - from the bytes of tokens to text that may leave: whole characters, and
 * nothing that could be the beginning of a stop string.
 */
#ifndef LX_SERVE_TEXT_STREAM_H
#define LX_SERVE_TEXT_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "serve/buffer.h"

/* ---- whole characters ---------------------------------------------------------------- */

/* The bytes of a character that is not complete yet. Copied by assignment. */
typedef struct lx_utf8 {
    char held[4];
    uint32_t count;
} lx_utf8;

/* Append to 'out' the characters that 'bytes' complete. A byte that can be part of none becomes
 * U+FFFD. What is held at the end of a text is dropped by not asking for it. */
void lx_utf8_push(lx_utf8 *state, const char *bytes, size_t size, lx_buffer *out);

/* The bytes of one token as text: what is no whole character is written as \xHH. False: some
 * of it was. */
bool lx_utf8_escape(const char *bytes, size_t size, lx_buffer *out);

/* ---- stop strings -------------------------------------------------------------------- */

typedef struct lx_stop_filter {
    char *const *stops; /* borrowed; not empty */
    uint32_t count;
    lx_buffer held; /* could be the beginning of one */
    bool is_hit;
} lx_stop_filter;

/* Append to 'out' what of 'text' and of what was held may leave. After a hit nothing does. */
void lx_stop_filter_push(lx_stop_filter *filter, const char *text, size_t size, lx_buffer *out);

/* The text is at its end: what is held was no stop string. */
void lx_stop_filter_end(lx_stop_filter *filter, lx_buffer *out);
void lx_stop_filter_fini(lx_stop_filter *filter);

#endif
