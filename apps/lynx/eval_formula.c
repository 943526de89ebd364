/* SPDX-License-Identifier: MIT */
/*
 * eval_formula.c - quantisers of others, written from their published descriptions.
 *
 *   q8_0, q4_0  llama.cpp's cache types: blocks of 32 values along the channels of a token with
 *               a half as scale; 8.5 and 4.5 bits a value.
 *   cachegen    groups of 10 tokens: the first is an anchor of 8 bits a value, the others are
 *               differences to it in uniform bins. Each token has a half as scale of all its
 *               values. The first layers have 32 bins (keys: 10 of 32 layers, values: 2 of 32),
 *               those behind them 16. Bits are the entropy of the bins, channel by channel,
 *               which is below what any coder with tables made beforehand gets.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"

enum { BLOCK = 32, GROUP = 10, ANCHOR_STEPS = 127, HALF_BITS = 16 };

struct eval_formula {
    const char *name;
    double (*page)(const eval_place *place, const lynx_tile *from, const lynx_tile *to,
                   uint32_t tokens, eval_symbols *symbols);
};

/* As a half holds it. */
static float half_of(float value)
{
    uint16_t bits = 0;
    const lynx_tile tile = {
        .data = &bits,
        .element = LYNX_ELEMENT_F16,
        .token_stride_bytes = sizeof(bits),
        .channel_stride_bytes = sizeof(bits),
    };
    lynx_tile_set(&tile, 0, 0, value);
    return lynx_tile_get(&tile, 0, 0);
}

static float clamp(float value, float least, float most)
{
    return value < least ? least : value > most ? most : value;
}

/* ---- blocks -------------------------------------------------------------------------- */

/* The value of largest magnitude, with its sign. */
static float extreme(const lynx_tile *from, uint32_t token, uint32_t first, uint32_t end)
{
    float most = 0;
    for (uint32_t c = first; c < end; c++) {
        const float value = lynx_tile_get(from, token, c);
        most = fabsf(value) > fabsf(most) ? value : most;
    }
    return most;
}

typedef float block_value(float value, float extreme_value);

static float q8_value(float value, float most)
{
    const float step = fabsf(most) / 127.0f;
    const float inverse = step > 0 ? 1.0f / step : 0.0f;
    return roundf(value * inverse) * half_of(step);
}

/* The extreme gets code 0, so that its side has a step more. */
static float q4_value(float value, float most)
{
    const float step = most / -8.0f;
    const float inverse = step < 0 || step > 0 ? 1.0f / step : 0.0f;
    return (clamp(floorf(value * inverse + 8.5f), 0, 15) - 8.0f) * half_of(step);
}

static double code_blocks(const eval_place *place, const lynx_tile *from, const lynx_tile *to,
                          uint32_t tokens, block_value *value_of, uint32_t bits)
{
    double sum = 0;
    for (uint32_t t = 0; t < tokens; t++)
        for (uint32_t first = 0; first < place->channels; first += BLOCK) {
            const uint32_t left = place->channels - first;
            const uint32_t end = first + (left < BLOCK ? left : BLOCK);
            const float most = extreme(from, t, first, end);
            for (uint32_t c = first; c < end; c++)
                lynx_tile_set(to, t, c, value_of(lynx_tile_get(from, t, c), most));
            sum += (end - first) * bits + HALF_BITS;
        }
    return sum;
}

static double code_q8(const eval_place *place, const lynx_tile *from, const lynx_tile *to,
                      uint32_t tokens, eval_symbols *symbols)
{
    (void)symbols;
    return code_blocks(place, from, to, tokens, q8_value, 8);
}

static double code_q4(const eval_place *place, const lynx_tile *from, const lynx_tile *to,
                      uint32_t tokens, eval_symbols *symbols)
{
    (void)symbols;
    return code_blocks(place, from, to, tokens, q4_value, 4);
}

/* ---- CacheGen ------------------------------------------------------------------------ */

/* Steps to either side of zero. */
static float delta_steps(const eval_place *place)
{
    const uint32_t fine = place->side == LYNX_SIDE_KEYS ? 10 : 2;
    return place->layer * 32 < fine * place->layer_count ? 15 : 7;
}

/* One token against 'anchor' (NULL: against zero); its reconstruction goes to 'out'. */
static void code_token(const eval_place *place, const lynx_tile *from, const lynx_tile *to,
                       uint32_t token, const float *anchor, float steps, float *out,
                       eval_symbols *symbols)
{
    float most = 0;
    for (uint32_t c = 0; c < place->channels; c++) {
        const float value = lynx_tile_get(from, token, c) - (anchor ? anchor[c] : 0);
        most = fmaxf(most, fabsf(value));
    }
    const float scale = half_of(most / steps);
    const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
    for (uint32_t c = 0; c < place->channels; c++) {
        const float base = anchor ? anchor[c] : 0;
        const float value = lynx_tile_get(from, token, c) - base;
        const float code = clamp(roundf(value * inverse), -steps, steps);
        lynx_tile_set(to, token, c, base + code * scale);
        if (symbols)
            symbols->counts[(size_t)c * EVAL_SYMBOLS + (size_t)(code + steps)]++;
        else
            out[c] = base + code * scale;
    }
}

static double code_cachegen(const eval_place *place, const lynx_tile *from, const lynx_tile *to,
                            uint32_t tokens, eval_symbols *symbols)
{
    static _Thread_local float anchor[LYNX_CHANNELS_MAX];
    double bits = 0;
    for (uint32_t t = 0; t < tokens; t++) {
        const bool is_anchor = t % GROUP == 0;
        code_token(place, from, to, t, is_anchor ? NULL : anchor,
                   is_anchor ? ANCHOR_STEPS : delta_steps(place), anchor,
                   is_anchor ? NULL : symbols);
        bits += HALF_BITS + (is_anchor ? 8.0 * place->channels : 0);
    }
    return bits;
}

double eval_symbols_take_bits(eval_symbols *symbols, uint32_t channels)
{
    double bits = 0;
    for (uint32_t c = 0; c < channels; c++) {
        const uint32_t *counts = symbols->counts + (size_t)c * EVAL_SYMBOLS;
        double sum = 0;
        for (uint32_t i = 0; i < EVAL_SYMBOLS; i++)
            sum += counts[i];
        for (uint32_t i = 0; i < EVAL_SYMBOLS; i++)
            if (counts[i])
                bits += counts[i] * log2(sum / counts[i]);
    }
    memset(symbols->counts, 0, (size_t)channels * EVAL_SYMBOLS * sizeof(*symbols->counts));
    return bits;
}

/* ---- names --------------------------------------------------------------------------- */

static const eval_formula formulas[] = {
    {"q8_0", code_q8},
    {"q4_0", code_q4},
    {"cachegen", code_cachegen},
};

enum { FORMULA_COUNT = sizeof(formulas) / sizeof(*formulas) };

const char *eval_formula_name_at(size_t index)
{
    return index < FORMULA_COUNT ? formulas[index].name : NULL;
}

const eval_formula *eval_formula_named(const char *name)
{
    for (size_t i = 0; i < FORMULA_COUNT; i++)
        if (strcmp(formulas[i].name, name) == 0)
            return &formulas[i];
    return NULL;
}

double eval_formula_page(const eval_formula *formula, const eval_place *place,
                         const lynx_tile *from, const lynx_tile *to, uint32_t tokens,
                         eval_symbols *symbols)
{
    return formula->page(place, from, to, tokens, symbols);
}
