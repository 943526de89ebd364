/* SPDX-License-Identifier: MIT */
#include "base/cursor.h"

#include <string.h>

lx_reader lx_reader_of(const void *data, size_t size)
{
    return (lx_reader){.data = data, .size = size};
}

size_t lx_reader_left(const lx_reader *reader)
{
    return reader->size - reader->offset;
}

const uint8_t *lx_read_view(lx_reader *reader, size_t size)
{
    if (reader->ran_out || size > lx_reader_left(reader)) {
        reader->ran_out = true;
        return NULL;
    }
    const uint8_t *view = reader->data + reader->offset;
    reader->offset += size;
    return view;
}

static uint64_t read_little_endian(lx_reader *reader, size_t size)
{
    const uint8_t *view = lx_read_view(reader, size);
    uint64_t value = 0;
    for (size_t i = 0; view && i < size; i++)
        value |= (uint64_t)view[i] << (8 * i);
    return value;
}

uint8_t lx_read_u8(lx_reader *reader)
{
    return (uint8_t)read_little_endian(reader, 1);
}

uint16_t lx_read_u16(lx_reader *reader)
{
    return (uint16_t)read_little_endian(reader, 2);
}

uint32_t lx_read_u32(lx_reader *reader)
{
    return (uint32_t)read_little_endian(reader, 4);
}

uint64_t lx_read_u64(lx_reader *reader)
{
    return read_little_endian(reader, 8);
}

float lx_read_f32(lx_reader *reader)
{
    const uint32_t bits = lx_read_u32(reader);
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

void lx_read_bytes(lx_reader *reader, void *target, size_t size)
{
    const uint8_t *view = lx_read_view(reader, size);
    if (view && size)
        memcpy(target, view, size);
    else if (size)
        memset(target, 0, size);
}

lx_writer lx_writer_of(void *data, size_t capacity)
{
    return (lx_writer){.data = data, .capacity = capacity};
}

void lx_write_bytes(lx_writer *writer, const void *source, size_t size)
{
    if (writer->ran_out || size > writer->capacity - writer->offset) {
        writer->ran_out = true;
        return;
    }
    if (size)
        memcpy(writer->data + writer->offset, source, size);
    writer->offset += size;
}

static void write_little_endian(lx_writer *writer, uint64_t value, size_t size)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * i));
    lx_write_bytes(writer, bytes, size);
}

void lx_write_u8(lx_writer *writer, uint8_t value)
{
    write_little_endian(writer, value, 1);
}

void lx_write_u16(lx_writer *writer, uint16_t value)
{
    write_little_endian(writer, value, 2);
}

void lx_write_u32(lx_writer *writer, uint32_t value)
{
    write_little_endian(writer, value, 4);
}

void lx_write_u64(lx_writer *writer, uint64_t value)
{
    write_little_endian(writer, value, 8);
}

void lx_write_f32(lx_writer *writer, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    lx_write_u32(writer, bits);
}
