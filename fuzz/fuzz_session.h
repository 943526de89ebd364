/* SPDX-License-Identifier: MIT */
/*
 * fuzz_session.h - what both session targets need. Their input:
 *
 *     choice (1 byte), cut (2 bytes, little endian), bytes of the first connection up to 'cut',
 *     bytes of a second one that takes its place
 *
 * Bits of the choice: 0, frames whose digests are wrong are mended, so that the fuzzer reaches
 * what lies behind them; 1, the owner ends things half-way; 2, pieces of one byte; 3, of some.
 */
#ifndef FUZZ_SESSION_H
#define FUZZ_SESSION_H

#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "lynx/session.h"
#include "wire/frame.h"
#include "wire/messages.h"

/* The model of tests/support/session_pair.c, so that its exchanges can be corpora. */
static inline void fuzz_options(lynx_session_options *options, lynx_model *model,
                                lynx_layer_shape layers[2])
{
    memset(layers, 0, 2 * sizeof(*layers));
    for (uint32_t layer = 0; layer < 2; layer++)
        for (uint32_t side = 0; side < 2; side++)
            layers[layer].sides[side] =
                (lynx_side_shape){.channels = layer ? 8 : 512, .head_channels = 8};
    layers[1].window_tokens = 40;
    *model = (lynx_model){
        .name = "test model",
        .architecture = "test",
        .shape = {2, 32, LYNX_ELEMENT_F16, layers},
        .vocabulary = 100,
        .context_tokens = 4096,
        .batch_tokens = 2,
    };
    lynx_session_options_init(options);
    options->model = model;
    options->session_id[0] = 1;
    options->connections_max = options->sessions_max =
        4; /* few: they are made for each input */
}

enum { FUZZ_HEAD_BYTES = 3 };

/* Put the right digests in the frames of 'data', as far as their lengths lead. */
static inline void fuzz_mend(uint8_t *data, size_t size)
{
    for (size_t at = 0; at + LX_FRAME_BYTES <= size;) {
        uint8_t *frame = data + at;
        const size_t left = size - at - LX_FRAME_BYTES;
        const uint32_t bytes = (uint32_t)frame[16] | (uint32_t)frame[17] << 8 |
                               (uint32_t)frame[18] << 16 | (uint32_t)frame[19] << 24;
        size_t covered = frame[5] == LX_MESSAGE_PAGE && bytes > LX_PAGE_FIXED_BYTES
                             ? (size_t)LX_PAGE_FIXED_BYTES
                             : bytes;
        covered = covered < left ? covered : left;
        uint64_t digest = lx_digest64(frame + LX_FRAME_BYTES, covered);
        for (uint32_t i = 0; i < 8; i++)
            frame[24 + i] = (uint8_t)(digest >> 8 * i);
        digest = lx_digest64(frame, 32);
        for (uint32_t i = 0; i < 8; i++)
            frame[32 + i] = (uint8_t)(digest >> 8 * i);
        if (bytes > left)
            return;
        at += LX_FRAME_BYTES + bytes;
    }
}

/* Where the second connection begins. */
static inline size_t fuzz_cut(const uint8_t *input, size_t size)
{
    const size_t cut = (size_t)input[1] | (size_t)input[2] << 8;
    return cut < size ? cut : size;
}

/* An exact copy on the heap, where the sanitizer sees each byte too far. */
static inline uint8_t *fuzz_input(const uint8_t *input, size_t size)
{
    uint8_t *data = malloc(size - FUZZ_HEAD_BYTES);
    if (!data)
        abort();
    memcpy(data, input + FUZZ_HEAD_BYTES, size - FUZZ_HEAD_BYTES);
    const size_t cut = fuzz_cut(input, size - FUZZ_HEAD_BYTES);
    if (input[0] & 1) {
        fuzz_mend(data, cut);
        fuzz_mend(data + cut, size - FUZZ_HEAD_BYTES - cut);
    }
    return data;
}

/* Bytes of the next piece: one, some, or all that is left. */
static inline size_t fuzz_piece(size_t left, uint8_t choice, size_t at)
{
    size_t piece = choice & 4 ? 1 : choice & 8 ? 1 + (at * 31 + choice) % 61 : left;
    return piece < left ? piece : left;
}

#endif
