/* SPDX-License-Identifier: MIT */
/*
 * half.h - IEEE half precision and bfloat16, to and from float, round to nearest even.
 *
 * The results are those of the hardware's conversions (F16C), signalling NaNs made quiet.
 */
#ifndef LX_BASE_HALF_H
#define LX_BASE_HALF_H

#include <stdint.h>

float lx_float_of_half(uint16_t half);
uint16_t lx_half_of_float(float value);
/* The largest half <= value, the smallest half >= value; infinite where none is finite. */
uint16_t lx_half_below(float value);
uint16_t lx_half_above(float value);

float lx_float_of_bfloat(uint16_t bfloat);
uint16_t lx_bfloat_of_float(float value);

#endif
