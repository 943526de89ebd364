/* SPDX-License-Identifier: MIT */
/*
 * rope.h - cosines and sines of the key rotation, the same on every machine.
 *
 * Computed in double from additions, multiplications and divisions only (no libm, whose last
 * bit differs between versions), then rounded to float.
 */
#ifndef LX_CODEC_ROPE_H
#define LX_CODEC_ROPE_H

#include <stdint.h>

#include "codec/kernels.h"
#include "lynx/kv.h"

/* e^x for |x| <= 700, and the natural logarithm of x > 0 (normal). Error below 1e-14 relative.
 */
double lx_exp(double x);
double lx_log(double x);

/* Cosine and sine of x in [0, 1e9]. */
void lx_cos_sin(double x, double *cosine, double *sine);

/* For pair 'pair' of a head: cosines[t] and sines[t] of the angle at position first + t, for t
 * below 'count' rounded up to LX_KERNEL_TOKENS. All kernels give the floats of lx_cos_sin(). */
void lx_rope_row(const lx_kernels *kernels, const lynx_rope *rope, uint32_t pair,
                 uint32_t first, uint32_t count, float *cosines, float *sines);

/* Channels of pair 'pair' inside a head. */
void lx_rope_channels(const lynx_rope *rope, uint32_t pair, uint32_t *a, uint32_t *b);

#endif
