/* SPDX-License-Identifier: MIT */
#include "serve/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool make_room(lx_buffer *b, size_t size)
{
    if (b->has_failed || size < b->room - b->size)
        return !b->has_failed;
    size_t room = b->room ? b->room : 256;
    while (room - b->size <= size && room < (size_t)-1 / 2)
        room *= 2;
    char *grown = realloc(b->data, room);
    b->has_failed = !grown || room - b->size <= size;
    if (!grown)
        return false;
    b->data = grown;
    b->room = room;
    return !b->has_failed;
}

void lx_buffer_put(lx_buffer *b, const char *data, size_t size)
{
    if (!make_room(b, size))
        return;
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
    b->data[b->size] = '\0';
}

void lx_buffer_puts(lx_buffer *b, const char *text)
{
    lx_buffer_put(b, text, strlen(text));
}

void lx_buffer_format(lx_buffer *b, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    const int size = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (size >= 0 && (size_t)size < sizeof(line))
        lx_buffer_put(b, line, (size_t)size);
    else
        b->has_failed = true;
}

void lx_buffer_drop(lx_buffer *b, size_t size)
{
    if (size == 0)
        return;
    memmove(b->data, b->data + size, b->size - size);
    b->size -= size;
    b->data[b->size] = '\0';
}

void lx_buffer_fini(lx_buffer *b)
{
    free(b->data);
    *b = (lx_buffer){0};
}
