/* SPDX-License-Identifier: MIT */
/*
 * kernels.h - the inner loops of the codec, one table for each instruction set.
 *
 * The reference table is the definition: every other table gives the same bytes and the same
 * floats. Kernels do not allocate, fail or keep state. Blocks are channel-major floats: row c
 * holds the tokens of channel c, 'row_floats' apart. Rows are padded: kernels may read and
 * write up to the next multiple of LX_KERNEL_TOKENS.
 */
#ifndef LX_CODEC_KERNELS_H
#define LX_CODEC_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/codec.h"

enum { LX_KERNEL_TOKENS = 64, LX_CHUNK_TOKENS = 32, LX_STRIP_BYTES = LX_KERNEL_TOKENS / 8 };

/* Strips of LX_KERNEL_TOKENS tokens of some channels, and the bits of their codes: row[0] has
 * the top bit of the first channel; bit t of a row is token t, so a strip is eight bytes. */
typedef struct lx_area {
    uint8_t *row[8];
    size_t channel_bytes[8]; /* between the rows of two channels */
    uint32_t channels, strips;
    size_t pitch;      /* between two channels' values */
    size_t grid_pitch; /* between two channels' grids; each chunk of a channel has its own */
} lx_area;

/* Where codes lie. Encoding: scale = 1 / step, or 0; decoding: scale = step. */
typedef struct lx_grid {
    float low, scale;
} lx_grid;

typedef struct lx_kernels {
    const char *name;

    /* Values of a tile to a block. */
    void (*load)(float *block, size_t row_floats, const lynx_tile *tile, uint32_t tokens,
                 uint32_t channels);
    /* And back, rounded to nearest even. */
    void (*store)(const float *block, size_t row_floats, const lynx_tile *tile, uint32_t tokens,
                  uint32_t channels);

    /* Smallest and largest of 'count' values, a multiple of 32; false when one is not finite
     * (then the results mean nothing). */
    bool (*range)(const float *values, uint32_t count, float *least, float *most);

    /* code = clamp(round_to_even((value - low) * scale), 0, 2^code_bits - 1), as bits. */
    void (*quantize)(const float *values, const lx_grid *grids, uint32_t code_bits,
                     const lx_area *area);

    /* value = low + code * scale. Of the codes the top 'bits' are here, the others are 0. */
    void (*dequantize)(const lx_area *area, uint32_t bits, uint32_t code_bits,
                       const lx_grid *grids, float *values);

    /* The same bits from codes, and codes from bits; area->pitch counts codes then. */
    void (*pack)(const uint8_t *codes, uint32_t code_bits, const lx_area *area);
    void (*unpack)(const lx_area *area, uint32_t bits, uint32_t code_bits, uint8_t *codes);

    /* (a, b) <- (a cos - b sin, a sin + b cos) element by element for each of 'pairs' rows:
     * those of a and b are 'pitch' apart, those of the tables 'table_pitch'; 'count' elements,
     * a multiple of 32. */
    void (*rotate)(float *a, float *b, size_t pitch, const float *cosines, const float *sines,
                   size_t table_pitch, uint32_t pairs, uint32_t count);
} lx_kernels;

extern const lx_kernels lx_kernels_reference;
#if defined(__x86_64__)
extern const lx_kernels lx_kernels_avx2;
extern const lx_kernels lx_kernels_avx512;
#endif

/* Every table that this CPU can run, fastest first, then NULL. */
const lx_kernels *lx_kernels_at(size_t index);

/* The table of that name (NULL: the fastest), or NULL when this CPU cannot run it. */
const lx_kernels *lx_kernels_named(const char *name);

#endif
