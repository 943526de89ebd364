/* SPDX-License-Identifier: MIT */
/*
 * quantiser.h - one head of one page between floats and codes; private to the codec.
 *
 * A quantiser sees the coded run of a page: 'tokens' tokens, which kernels see as 'padded'. It
 * writes metadata and codes, or reads them. Whether metadata can be trusted is asked before any
 * decoding (check).
 */
#ifndef LX_CODEC_QUANTISER_H
#define LX_CODEC_QUANTISER_H

#include <string.h>

#include "codec/kernels.h"
#include "lynx/codec.h"

enum { LX_PAPER_CODE_MAX = 120 };

/* Tables of PAPER for one alpha. */
typedef struct lx_paper_tables {
    float
        thresholds[LX_PAPER_CODE_MAX + 2]; /* code >= k where the magnitude >= thresholds[k] */
    float magnitudes[LX_PAPER_CODE_MAX + 9]; /* of a code, 0 .. 128 */
    float zero_magnitude;                    /* centroid of the anchor's zero bin */
} lx_paper_tables;

/* RANGE: low ends and steps of channels, where all tokens of one share them. */
typedef struct lx_shared {
    uint16_t *low_halves, *step_halves;
    float *lows, *steps;
} lx_shared;

typedef struct lx_quantiser {
    const lynx_codec_spec *spec;
    const lx_kernels *kernels;
    const lx_shared *shared; /* as last read or written */
    const lx_paper_tables *paper;
    uint32_t code_bits;    /* 8 or 4, or LX_FINE_BITS */
    uint32_t missing_bits; /* decode: low bits of the codes that are not here */
    uint32_t tokens, padded;
    bool is_bent; /* RANGE: values of a channel on a bent grid */
} lx_quantiser;

/* Bytes of metadata of one channel (RANGE, PAPER), of one head (TOKEN). */
size_t lx_channel_meta_bytes(const lynx_codec_spec *spec, uint32_t tokens);
size_t lx_head_meta_bytes(const lynx_codec_spec *spec, uint32_t tokens);

/* Chunks of a run; the last may be short. */
uint32_t lx_chunk_count(uint32_t tokens);

/* RANGE: metadata of all channels from their extents, 'pitch' apart: one of all tokens (and
 * 'pitch' is 1) or, where chunks have their own, one of each; false when it cannot be carried
 * faithfully. get: from a page; false when something is not finite. grids: of what was put or
 * got, for the kernels, one, or one for each chunk of 'padded' tokens where chunks have their
 * own; 'here' is the bits that are here of each channel, NULL for encoding. */
bool lx_range_put(const lx_quantiser *q, uint32_t channels, const lx_extent *extents,
                  size_t pitch, uint8_t *meta);
bool lx_range_get(const lx_quantiser *q, uint32_t channels, const uint8_t *meta);
void lx_range_grids(const lx_quantiser *q, uint32_t channels, const uint8_t *meta,
                    const uint8_t *here, lx_grid *grids, size_t pitch);

/* Of channels whose tokens share a grid, the square of the end of each range that is farther
 * from zero. */
void lx_range_squares(const lx_quantiser *q, uint32_t channels, float *squares);

/* PAPER: one channel; 'extent' of all its values. */
bool lx_paper_encode(const lx_quantiser *q, lx_extent extent, const float *values,
                     uint8_t *meta, uint8_t *codes);
void lx_paper_decode(const lx_quantiser *q, const uint8_t *meta, const uint8_t *codes,
                     float *values);
void lx_paper_tables_init(lx_paper_tables *tables, float alpha);

/* TOKEN: one head of 'channels' rows, 'row' apart in 'block' and in 'codes'. */
bool lx_token_encode_head(const lx_quantiser *q, const float *block, size_t row,
                          uint32_t channels, uint8_t *meta, uint8_t *codes);
void lx_token_decode_head(const lx_quantiser *q, const uint8_t *meta, const uint8_t *codes,
                          size_t row, uint32_t channels, float *block);
bool lx_token_check_head(const lx_quantiser *q, const uint8_t *meta);

/* Minimum and step as halves, 'steps' of which cover [least, most], the tightest;
 * false if there are none. Unless 'is_wide', only halves that 12 bits can say: the lowest four
 * of 'low' and the lowest three of 'step' are zero. */
bool lx_cover(float least, float most, float steps, bool is_wide, uint16_t *low,
              uint16_t *step);

/* Codes in a step. */
static inline float lx_parts_of(uint32_t code_bits)
{
    return code_bits == LX_FINE_BITS ? (float)LX_FINE_PARTS : 1.0f;
}

/* What the missing low bits add on average, in steps: half of 2^missing_bits - 1 codes. */
static inline float lx_centre(uint32_t code_bits, uint32_t missing_bits)
{
    const uint32_t bits = (127 + missing_bits) << 23;
    float power;
    memcpy(&power, &bits, sizeof(power));
    return (power - 1.0f) * (0.5f / lx_parts_of(code_bits));
}

#endif
