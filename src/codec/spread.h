/* SPDX-License-Identifier: MIT */
/*
 * spread.h - how many bits each channel of a page has in its first planes.
 *
 * A bit more halves a channel's error, so bits go where errors are largest. Both ends find the
 * same from the steps in the metadata, in whole numbers.
 */
#ifndef LX_CODEC_SPREAD_H
#define LX_CODEC_SPREAD_H

#include <stdint.h>

/* Steps of channels (the bits of halves) to weights, in place. */
void lx_spread_weights(uint16_t *steps, uint32_t channels);

/* 'bits' gets 1 to 'code_bits' for each channel, 'mean_bits' (1 to 'code_bits') on average.
 * More 'mean_bits' give no channel fewer. */
void lx_spread_bits(const uint16_t *weights, uint32_t channels, uint32_t mean_bits,
                    uint32_t code_bits, uint8_t *bits);

#endif
