/* SPDX-License-Identifier: MIT */
/*
 * codec.h - turn a page of keys or values into planes, and back.
 *
 * A page is up to 'page_tokens' consecutive tokens of one layer and one side (kv.h). The
 * codec writes each value as a code of 'code_bits' bits and cuts the codes in planes of
 * bits, most significant first: plane 0 (the anchor) also carries the metadata and the raw
 * tokens, and is enough to draft with; all planes together give the page at full precision.
 * The bytes are defined by docs/format.md, the mathematics by docs/algorithm.md; encoded
 * bytes and decoded values are the same for every kernel table, compiler and machine.
 *
 * A page that the codec cannot carry faithfully (a value is not finite, a range does not fit
 * the metadata, or coding would not be smaller) travels raw in plane 0, its other planes are
 * empty, and the plane says so.
 *
 * Threads: a codec is used by one thread at a time; different codecs are independent.
 * Nothing here opens a file, a socket or a device.
 */
#ifndef LYNX_CODEC_H
#define LYNX_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/export.h"
#include "lynx/kv.h"
#include "lynx/memory.h"
#include "lynx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The quantiser; the numbers travel. */
typedef enum lynx_profile {
    LYNX_PROFILE_RAW = 0,   /* values as they are, one plane: the f16 baseline */
    LYNX_PROFILE_RANGE = 1, /* nested min/max per channel (our default) */
    LYNX_PROFILE_PAPER = 2, /* Algorithm 1 of the paper, with the errata of docs/algorithm.md */
    LYNX_PROFILE_TOKEN = 3  /* min/max per token and head: the usual INT8 / INT4 (baseline) */
} lynx_profile;

/* How pages of one request are coded; both ends hold the same. Travels in REQUEST. */
typedef struct lynx_codec_spec {
    lynx_profile profile;

    /* Bits of each plane, most significant first, by side; zeros behind the last plane. Both
     * sides have the same number of planes and the same sum: 8, or 4 with RANGE and TOKEN; with
     * 'spread' each side any sum from 1 to 12. PAPER takes {4, 4} only; RAW takes {16} (the
     * cache's own type, whatever its size). Examples: {{4, 4}, {5, 3}}, {{4, 2, 2}, {4, 2, 2}},
     * {{8}, {8}}. */
    uint8_t plane_bits[2][LYNX_PLANES_MAX];

    /* Only with 'spread', quarters of a bit on average, 0 to 3, that a side has on top of that:
     * in its first plane, of two or more, and in all planes together. What the first has and
     * all have not, the last one lacks. */
    uint8_t quarter_bits[2];
    uint8_t total_quarter_bits[2];

    /* Tokens that share one range of a channel: 0 = the whole page (minimum and step, 12 bits
     * each); 32 = a chunk, two 8-bit numbers relative to the page's range (RANGE). PAPER takes
     * 32 only, TOKEN takes 0 only. 'meta_wide' (RANGE): two 16-bit numbers instead, whatever
     * shares them, which keep every constant channel exact. */
    uint8_t chunk_tokens;
    bool meta_wide;

    /* Undo the rotation of the keys before coding, where the shape describes it. */
    bool undo_rope;

    /* Give the channels of a page more bits, up to 12, or fewer, at least 1, by what their
     * errors cost; 'plane_bits' are the mean then (RANGE without chunks). */
    bool spread;

    /* Put the values of a channel on a grid that is twice as fine in the middle of its range,
     * and half as coarse again at its ends (only with 'spread'). */
    bool bend;

    /* First and last tokens of the prompt that travel raw, each in [0, 4096]. */
    uint16_t head_raw_tokens;
    uint16_t tail_raw_tokens;

    /* Last tokens of the prompt all of whose planes travel with the first one: answers lean on
     * them most. The bytes of all planes together and what they decode to are as without. A
     * multiple of 8 up to 248 (RANGE without chunks); a cache that is stored has none. */
    uint8_t recent_tokens;

    /* PAPER's companding parameter, in (0, 255]; 0 otherwise. */
    float alpha;
} lynx_codec_spec;

/*
 * Fill 'spec' from a name: "range" (the default: see docs/algorithm.md), "range-3" (the same
 * anchor, the rest in two planes), "range44" (the fewest bytes), "range-chunk",
 * "paper" (alpha 1), "int8", "int4", "int4-chunk" (32 tokens; these three with 16-bit
 * metadata), "int8-token", "int4-token", "raw".
 *
 * A name may be followed by settings, as "range:k=4.25+3.5,v=4.5+3.75,head=4" or
 * "paper:alpha=0.5": k and v (bits of each plane; the first and the last may have quarters with
 * spread), head and tail (raw tokens), recent (tokens), chunk (0 or 32), undo_rope, spread
 * (without which bits are whole ones), bend and wide (yes or no), alpha (a decimal number). A
 * setting that stands twice counts as it stands last.
 *
 * LYNX_ERR_ARGUMENT for other names and settings and for those that do not fit together;
 * 'spec' is unchanged then.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_codec_spec_named(lynx_codec_spec *spec,
                                                           const char *name);

/* The names above, in order; NULL behind the last. */
LYNX_API const char *lynx_codec_spec_name_at(size_t index);

/* LYNX_OK, or LYNX_ERR_ARGUMENT when the fields do not fit together. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_codec_spec_check(const lynx_codec_spec *spec);

/* Whether no byte of a page depends on where the prompt ends, as stored pages want it: none of
 * its last tokens are raw or recent. And a spec made so. */
LYNX_API bool lynx_codec_spec_is_storable(const lynx_codec_spec *spec);
LYNX_API lynx_codec_spec lynx_codec_spec_storable(lynx_codec_spec spec);

/* Planes of a page: 1 to LYNX_PLANES_MAX. */
LYNX_API uint32_t lynx_codec_spec_plane_count(const lynx_codec_spec *spec);

/* Bits that plane 'plane' (below the plane count) has for each token of 'channels' channels. */
LYNX_API uint32_t lynx_codec_spec_plane_rows(const lynx_codec_spec *spec, lynx_side side,
                                             uint32_t plane, uint32_t channels);

/* How the values of a page lie in memory. Value (token t, channel c) is at
 * data + t * token_stride_bytes + c * channel_stride_bytes. One of the strides is the
 * element's size: token-major (flash attention on, and keys always) has
 * channel_stride_bytes = element size; channel-major (values with flash attention off) has
 * token_stride_bytes = element size. */
typedef struct lynx_tile {
    void *data; /* only read by encode */
    lynx_element element;
    size_t token_stride_bytes;
    size_t channel_stride_bytes;
} lynx_tile;

/* One value of a tile as a number, and a number, rounded to nearest even, as a value. */
LYNX_API float lynx_tile_get(const lynx_tile *tile, uint32_t token, uint32_t channel);
LYNX_API void lynx_tile_set(const lynx_tile *tile, uint32_t token, uint32_t channel,
                            float value);

typedef struct lynx_codec lynx_codec;

typedef struct lynx_codec_options {
    size_t struct_size;
    lynx_codec_spec spec;
    uint32_t page_tokens;  /* as in lynx_shape. Default 256 */
    uint32_t channels_max; /* largest 'channels' of any side. No default */
    lynx_element element;  /* type of raw values on the wire: the sender's cache. Default F16 */
    /* "reference", "avx2", "avx512" or "neon"; NULL = the fastest. Default NULL */
    const char *kernels;
    const lynx_allocator *memory; /* kept; NULL = C library. Default NULL */
} lynx_codec_options;

/* Set every field to its default, 'spec' to "range". */
LYNX_API void lynx_codec_options_init(lynx_codec_options *options);

/*
 * Create a codec for pages of all layers of a model. All memory that it will ever use is
 * taken here. '*codec' is ended with lynx_codec_destroy().
 *
 * Returns LYNX_OK, LYNX_ERR_ARGUMENT, LYNX_ERR_UNSUPPORTED (this CPU does not run
 * 'kernels') or LYNX_ERR_MEMORY.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_codec_create(lynx_codec **codec,
                                                       const lynx_codec_options *options);
LYNX_API void lynx_codec_destroy(lynx_codec *codec);

/* Name of the kernel table in use. */
LYNX_API const char *lynx_codec_kernels(const lynx_codec *codec);

/* Names of the tables that this CPU can run, fastest first; NULL behind the last. */
LYNX_API const char *lynx_codec_kernels_at(size_t index);

/* Most bytes that plane 'plane' of a page of 'token_count' tokens can have, raw pages
 * included for plane 0. Used to size buffers and to refuse foreign lengths. */
LYNX_API size_t lynx_codec_plane_bytes_max(const lynx_codec *codec,
                                           const lynx_side_shape *shape, lynx_side side,
                                           uint32_t plane, uint32_t token_count);

/* Bytes that plane 'plane' of a page has when its values can be coded. 'span' as in encode. */
LYNX_API size_t lynx_codec_plane_bytes(const lynx_codec *codec, const lynx_side_shape *shape,
                                       lynx_side side, uint32_t plane,
                                       const lynx_page_span *span);

/*
 * Encode one page. 'source' is the first token of the page. 'planes[i]' has room for
 * lynx_codec_plane_bytes_max() bytes and gets 'plane_bytes[i]' of them, for each plane of the
 * spec; '*is_raw' tells whether the page travels raw although the spec codes it.
 *
 * Returns LYNX_OK or LYNX_ERR_ARGUMENT (span, shape or tile do not fit the codec).
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_codec_encode(
    lynx_codec *codec, const lynx_side_shape *shape, lynx_side side, const lynx_page_span *span,
    const lynx_tile *source, uint8_t *const planes[], size_t plane_bytes[], bool *is_raw);

/*
 * Decode one page from its first 'plane_count' planes (1 = anchor alone: each value is the
 * centre of what the missing bits leave open). Foreign planes are safe: each length and flag
 * is checked before a value is written.
 *
 * Returns LYNX_OK, LYNX_ERR_ARGUMENT, or LYNX_ERR_CORRUPT (planes do not fit the spec; the
 * target is unchanged).
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_codec_decode(
    lynx_codec *codec, const lynx_side_shape *shape, lynx_side side, const lynx_page_span *span,
    const lynx_bytes planes[], uint32_t plane_count, const lynx_tile *target);

#ifdef __cplusplus
}
#endif

#endif
