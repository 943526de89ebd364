/* SPDX-License-Identifier: MIT */
/* buffer.h - bytes that grow. Without memory it keeps what it has and says so. */
#ifndef LX_SERVE_BUFFER_H
#define LX_SERVE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct lx_buffer {
    char *data; /* terminated once something was put in */
    size_t size, room;
    bool has_failed;
} lx_buffer;

void lx_buffer_put(lx_buffer *buffer, const char *data, size_t size);
void lx_buffer_puts(lx_buffer *buffer, const char *text);
void lx_buffer_format(lx_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Drop the first 'size' bytes. */
void lx_buffer_drop(lx_buffer *buffer, size_t size);
void lx_buffer_fini(lx_buffer *buffer);

#endif
