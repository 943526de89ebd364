/* SPDX-License-Identifier: MIT */
#include "codec/rope.h"

#include <math.h>

#include "codec/rope_block.h"

/* ln 2 in two parts, so that k * LN2_HIGH is exact for |k| < 2^20. */
static const double LN2_HIGH = 6.93147180369123816490e-01;
static const double LN2_LOW = 1.90821492927058770002e-10;

double lx_exp(double x)
{
    const double k = floor(x / (LN2_HIGH + LN2_LOW) + 0.5);
    const double r = (x - k * LN2_HIGH) - k * LN2_LOW;
    double term = 1.0;
    double sum = 1.0;
    for (int n = 1; n <= 16; n++) { /* |r| <= 0.35: r^16 / 16! < 1e-20 */
        term = term * r / n;
        sum += term;
    }
    return ldexp(sum, (int)k);
}

double lx_log(double x)
{
    int exponent;
    double mantissa = frexp(x, &exponent); /* [0.5, 1) */
    if (mantissa < 0.70710678118654752) {
        mantissa *= 2.0;
        exponent--;
    }
    /* 2 atanh(z) with |z| <= 0.172: z^24 < 1e-18. */
    const double z = (mantissa - 1.0) / (mantissa + 1.0);
    const double square = z * z;
    double power = z;
    double sum = 0.0;
    for (int n = 1; n <= 25; n += 2) {
        sum += power / n;
        power *= square;
    }
    return exponent * LN2_HIGH + (exponent * LN2_LOW + 2.0 * sum);
}

void lx_cos_sin(double x, double *cosine, double *sine)
{
    const double k = floor(x * LX_TWO_OVER_PI + 0.5);
    const double r = ((x - k * LX_PIO2_1) - k * LX_PIO2_2) - k * LX_PIO2_3;
    const double square = r * r;
    double s = 0.0;
    double c = 0.0;
    /* |r| <= 0.79: the series to r^19 and r^20, from the small terms up. */
    for (int n = 19; n >= 3; n -= 2)
        s = (s + 1.0) * (-square / (n * (n - 1)));
    for (int n = 20; n >= 2; n -= 2)
        c = (c + 1.0) * (-square / (n * (n - 1)));
    s = r + r * s;
    c = 1.0 + c;
    const int quadrant = (int)(k - 4.0 * floor(k / 4.0));
    *cosine = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
    *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
}

static void exact_block(double first, double turn, float *cosines, float *sines)
{
    for (uint32_t t = 0; t < LX_KERNEL_TOKENS; t++) {
        double cosine;
        double sine;
        lx_cos_sin((first + t) * turn, &cosine, &sine);
        cosines[t] = (float)cosine;
        sines[t] = (float)sine;
    }
}

void lx_rope_row(const lx_kernels *kernels, const lynx_rope *rope, uint32_t pair,
                 uint32_t first, uint32_t count, float *cosines, float *sines)
{
    const double power = -2.0 * (double)pair / (double)rope->dims;
    const double turn = (double)rope->scale * lx_exp(power * lx_log((double)rope->base));
    for (uint32_t t = 0; t < count; t += LX_KERNEL_TOKENS) {
        const double at = (double)first + t;
        const bool fits = (at + LX_KERNEL_TOKENS) * turn <= LX_ANGLE_MAX;
        if (!fits || !kernels->turn(at, turn, cosines + t, sines + t))
            exact_block(at, turn, cosines + t, sines + t);
    }
}

void lx_rope_channels(const lynx_rope *rope, uint32_t pair, uint32_t *a, uint32_t *b)
{
    const bool is_neighbours = rope->pairing == LYNX_ROPE_NEIGHBOURS;
    *a = is_neighbours ? 2 * pair : pair;
    *b = is_neighbours ? 2 * pair + 1 : pair + rope->dims / 2;
}
