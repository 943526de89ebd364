/* SPDX-License-Identifier: MIT */
/*
 * kernels.h - the inner loops of the codec, one table for each instruction set.
 *
 * The reference table is the definition: every other table gives the same bytes and the same
 * floats. Kernels do not allocate, fail or keep state.
 *
 * 'rows' is a channel-major tile of halves or floats. Between rows and bits a value stays in
 * registers:
 *
 *   encoding:  tile -transpose-> rows -extents-> metadata;  rows -quantize-> bits
 *   decoding:  bits -dequantize-> rows -transpose-> tile
 */
#ifndef LX_CODEC_KERNELS_H
#define LX_CODEC_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/codec.h"

enum { LX_KERNEL_TOKENS = 64, LX_CHUNK_TOKENS = 32, LX_STRIP_BYTES = LX_KERNEL_TOKENS / 8 };

/* Fine codes count sixteenths of a step, others whole steps. */
enum { LX_FINE_BITS = 12, LX_FINE_PARTS = 16, LX_ROWS_MAX = LX_FINE_BITS };

/* So many rows before the first of a channel and behind its last are blank. */
enum { LX_ROWS_BLANK = 8 };

/* Where codes lie. Encoding: scale = 1 / step, or 0; decoding: scale = step.
 *
 * A bent grid (of fine codes) is close in its middle, 'low' here, and wide at its ends.
 * Decoding: d = steps + shift counts from the middle, and the value is low + d * (scale + |d| *
 * bend). Encoding: the inverse. LX_BEND_MIDDLE is half of the grid's width in steps,
 * LX_BEND_ROOT half of that and LX_BEND_SQUARE its square. */
typedef struct lx_grid {
    float low, scale;
    float shift, bend;
} lx_grid;

#define LX_BEND_WIDTH  255.9375f
#define LX_BEND_MIDDLE 127.96875f
#define LX_BEND_ROOT   63.984375f
#define LX_BEND_SQUARE 4094.000244140625f

/* Smallest and largest; no zero has a sign. */
typedef struct lx_extent {
    float least, most;
} lx_extent;

/* The bits of one channel: row[0] has the top bit of each code, bit t of a row is token t, so
 * that a strip of LX_KERNEL_TOKENS tokens is eight bytes. Blank rows are zeros to read, and
 * room to write. */
typedef struct lx_channel {
    uint8_t *const *row;
    uint32_t bits; /* rows that are here */
    const lx_grid *grids;
} lx_channel;

/* Whole strips of a channel, or of two that turn together. */
typedef struct lx_area {
    lx_channel a, b;
    uint32_t strips;
    uint32_t code_bits; /* of a whole code: up to 8, or LX_FINE_BITS */
    uint32_t grid_step; /* 1: each chunk has its grid; 0: all share the first */
    bool is_bent;       /* the grid of a channel that does not turn */
    bool is_final;      /* decoding: nobody here reads the values again */
} lx_area;

/* Two channels that turn together, (a, b) -> (a cos - b sin, a sin + b cos) with one angle for
 * each token; or, without cosines, channel a alone as it is. */
typedef struct lx_pair {
    uint32_t a, b;
    const float *cosines, *sines; /* padded to LX_KERNEL_TOKENS */
} lx_pair;

/* The largest angle of a rotation that is taken as it is; its quarter turns fit in 32 bits. */
#define LX_ANGLE_MAX 1e9

typedef struct lx_kernels {
    const char *name;

    /* Halves to floats, NaNs quiet. */
    void (*floats)(const uint16_t *halves, uint32_t count, float *floats);

    /* lx_spread_bits(). */
    void (*spread)(const uint16_t *weights, uint32_t channels, uint32_t total,
                   uint32_t code_bits, uint8_t *bits);

    /* Values between a channel-major and a token-major tile of the same element. Rows of the
     * channel-major one are padded to LX_KERNEL_TOKENS: behind the last token anything is read
     * and written. */
    void (*transpose)(const lynx_tile *from, const lynx_tile *to, uint32_t tokens,
                      uint32_t channels);

    /* Cosines and sines of (first + t) * turn for t below LX_KERNEL_TOKENS, all angles in
     * [0, LX_ANGLE_MAX]: the floats of lx_cos_sin(). False when one is too close to the middle
     * between two floats to tell here (then the results mean nothing). */
    bool (*turn)(double first, double turn, float *cosines, float *sines);

    /* 'count' values of a pair, turned back, to floats; those are padded like cosines. */
    void (*load)(const lynx_tile *rows, const lx_pair *pair, uint32_t count, float *a,
                 float *b);
    /* And forth, rounded to nearest even. */
    void (*store)(const float *a, const float *b, const lx_pair *pair, uint32_t count,
                  const lynx_tile *rows);

    /* Of 'count' values (at least one) of a pair turned back; 'b' only if it turns. False when
     * one is not finite (then the results mean nothing). */
    bool (*extents)(const lynx_tile *rows, const lx_pair *pair, uint32_t count, lx_extent *a,
                    lx_extent *b);

    /* The same of each channel as it is, from a token-major tile of halves, to every 'pitch'th
     * of 'extents'; NULL where there is none. */
    bool (*line_extents)(const lynx_tile *lines, uint32_t tokens, uint32_t channels,
                         lx_extent *extents, size_t pitch);

    /* The strips of a pair, turned back: steps = (value - low) * scale, times LX_FINE_PARTS for
     * fine codes, rounded to nearest even, clamped to 0 .. 2^code_bits - 1; the top bits of
     * that, as many as there are rows. On a bent grid u = (value - low) * scale, e =
     * sqrt(LX_BEND_SQUARE + LX_BEND_WIDTH * |u|) - LX_BEND_ROOT with the sign of u, and steps =
     * LX_BEND_MIDDLE + e. */
    void (*quantize)(const lynx_tile *rows, const lx_pair *pair, const lx_area *area);

    /* The strips of a pair: value = low + steps * scale, or as on a bent grid, turned forth,
     * rounded to nearest even; steps = code, or code / LX_FINE_PARTS. */
    void (*dequantize)(const lx_area *area, const lx_pair *pair, const lynx_tile *rows);

    /* Values that 'transpose' and 'dequantize' wrote past the caches come before what tells
     * others of them; NULL where there are none. */
    void (*settle)(void);

    /* The strips of channel a from codes of up to 8 bits, and codes from them. */
    void (*pack)(const uint8_t *codes, const lx_area *area);
    void (*unpack)(const lx_area *area, uint8_t *codes);
} lx_kernels;

extern const lx_kernels lx_kernels_reference;
#if defined(__x86_64__)
extern const lx_kernels lx_kernels_avx2;
extern const lx_kernels lx_kernels_avx512;
#elif defined(__aarch64__) && defined(__AARCH64EL__)
extern const lx_kernels lx_kernels_neon;
#endif

/* Every table that this CPU can run, fastest first, then NULL. */
const lx_kernels *lx_kernels_at(size_t index);

/* The table of that name (NULL: the fastest), or NULL when this CPU cannot run it. */
const lx_kernels *lx_kernels_named(const char *name);

#endif
