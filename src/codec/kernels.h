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

enum { LX_KERNEL_TOKENS = 64 };

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

    /* codes[i] = clamp(round_to_even((values[i] - low) * inverse), 0, code_max). 'count' is a
     * multiple of 32. */
    void (*quantize)(const float *values, uint32_t count, float low, float inverse,
                     uint32_t code_max, uint8_t *codes);

    /* values[i] = low + codes[i] * step. 'count' is a multiple of 32. */
    void (*dequantize)(const uint8_t *codes, uint32_t count, float low, float step,
                       float *values);

    /* Bits 'shift + bits - 1' down to 'shift' of each code to 'bits' rows, 'row_bytes' apart;
     * bit t of a row is token t. 'count' is a multiple of 64. */
    void (*pack)(const uint8_t *codes, uint32_t count, uint32_t shift, uint32_t bits,
                 uint8_t *rows, size_t row_bytes);

    /* codes[i] |= the bits of the rows, at the same place. */
    void (*unpack)(const uint8_t *rows, size_t row_bytes, uint32_t count, uint32_t shift,
                   uint32_t bits, uint8_t *codes);

    /* (a, b) <- (a cos - b sin, a sin + b cos), element by element; 'count' multiple of 32. */
    void (*rotate)(float *a, float *b, const float *cosines, const float *sines,
                   uint32_t count);
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
