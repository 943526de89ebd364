/* SPDX-License-Identifier: MIT */
/*
 * spread.h - how many bits each channel of a page has in its first planes.
 *
 * A bit more halves a channel's error, so bits go where errors are largest and, in keys, where
 * queries are likely to be large: in pairs of channels whose keys are. Both ends find the same
 * from the metadata.
 */
#ifndef LX_CODEC_SPREAD_H
#define LX_CODEC_SPREAD_H

#include <stdint.h>

/* What a channel weighs. 'step' is the bits of a half; 'square' is at least 0 and finite: that
 * of the keys of a channel, summed over a pair that turns together, 0 for values. */
uint16_t lx_spread_weight(uint16_t step, float square);

/* 'bits' gets 1 to 'code_bits' for each channel, 'total' in all ('channels' to 'channels' times
 * 'code_bits'). A larger 'total' gives no channel fewer. */
void lx_spread_bits(const uint16_t *weights, uint32_t channels, uint32_t total,
                    uint32_t code_bits, uint8_t *bits);

#endif
