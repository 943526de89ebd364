/* SPDX-License-Identifier: MIT */
/*
 * cursor.h - bounded reading and writing of little-endian bytes.
 *
 * A cursor that runs out stays out: reads give zeros, writes do nothing, and 'ran_out' is set.
 * So a parser is a list of reads with one check behind it. Do not put reads in a brace
 * initialiser: C11 leaves their order open (6.7.9).
 */
#ifndef LX_BASE_CURSOR_H
#define LX_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lx_reader {
    const uint8_t *data;
    size_t size;
    size_t offset;
    bool ran_out;
} lx_reader;

typedef struct lx_writer {
    uint8_t *data;
    size_t capacity;
    size_t offset;
    bool ran_out;
} lx_writer;

lx_reader lx_reader_of(const void *data, size_t size);
uint8_t lx_read_u8(lx_reader *reader);
uint16_t lx_read_u16(lx_reader *reader);
uint32_t lx_read_u32(lx_reader *reader);
uint64_t lx_read_u64(lx_reader *reader);
float lx_read_f32(lx_reader *reader);
void lx_read_bytes(lx_reader *reader, void *target, size_t size);
/* Pointer to the next 'size' bytes, passed over; NULL when there are fewer. */
const uint8_t *lx_read_view(lx_reader *reader, size_t size);
size_t lx_reader_left(const lx_reader *reader);

lx_writer lx_writer_of(void *data, size_t capacity);
void lx_write_u8(lx_writer *writer, uint8_t value);
void lx_write_u16(lx_writer *writer, uint16_t value);
void lx_write_u32(lx_writer *writer, uint32_t value);
void lx_write_u64(lx_writer *writer, uint64_t value);
void lx_write_f32(lx_writer *writer, float value);
void lx_write_bytes(lx_writer *writer, const void *source, size_t size);

#endif
