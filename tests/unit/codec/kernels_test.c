/* SPDX-License-Identifier: MIT */
/*
 * kernels_test.c - every table gives the reference's bytes and values, for pages of any length.
 *
 * Without a framework: it also runs where there is only a cross compiler and an emulator.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lynx/codec.h"

/* Two planes are the most that these profiles have. */
enum { CHANNELS = 24, HEAD = 8, TOKENS = 256, PLANES = 2, ROOM = CHANNELS * TOKENS * 4 + 64 };

/* Rounds: whatever is there; small values; zeros of both signs and equal values; one value that
 * no code carries; an infinity; not a number. */
enum { ANY, SMALL, FEW, HUGE_VALUE, INFINITE, NOT_A_NUMBER, ROUNDS };

static const char *const profiles[] = {
    "range",
    "range44",
    "paper",
    "int8",
    "int4",
    "int8-token",
    "int4-token",
    "range:k=8,v=8",
    "range:k=4+3,v=5+7",
    "range:k=4.25+3.75,v=4.5+3.5",
    "range:k=4.25,v=8.75",
    "range:bend=no",
    "range:bend=no,spread=no",
    "range:bend=no,spread=no,k=3+5,v=6+2,head=0,tail=0",
};

typedef struct test_case {
    const char *profile;
    lynx_element element;
    bool by_channel;
    lynx_side side;
    uint32_t tokens;
    int round;
} test_case;

/* Planes of a page and what they decode to, one plane after the other. */
typedef struct outcome {
    uint8_t planes[PLANES][ROOM];
    size_t sizes[PLANES];
    uint8_t values[PLANES][CHANNELS * TOKENS * 4];
    uint32_t plane_count;
    bool is_raw;
} outcome;

static uint8_t source[CHANNELS * TOKENS * 4];

static uint32_t next_random(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return state;
}

static lynx_tile tile_of(const test_case *t, uint8_t *data)
{
    const size_t bytes = lynx_element_bytes(t->element);
    return (lynx_tile){data, t->element, t->by_channel ? bytes : CHANNELS * bytes,
                       t->by_channel ? TOKENS * bytes : bytes};
}

static float value_of(const test_case *t, uint32_t channel)
{
    const float any = (float)(int32_t)next_random() / 2147483648.0f;
    if (t->round == FEW)
        return next_random() >> 31 ? -0.0f : (float)(channel % 3);
    return any * (t->round == SMALL ? 1e-4f : 1.0f) * (float)(1u << channel % 9);
}

static void fill(const test_case *t)
{
    const lynx_tile tile = tile_of(t, source);
    const float zero = 0.0f;
    for (uint32_t channel = 0; channel < CHANNELS; channel++)
        for (uint32_t token = 0; token < TOKENS; token++)
            lynx_tile_set(&tile, token, channel, value_of(t, channel));
    const uint32_t token = next_random() % t->tokens, channel = next_random() % CHANNELS;
    if (t->round == HUGE_VALUE)
        lynx_tile_set(&tile, token, channel, 60000.0f);
    if (t->round == INFINITE)
        lynx_tile_set(&tile, token, channel, -1.0f / zero);
    if (t->round == NOT_A_NUMBER)
        lynx_tile_set(&tile, token, channel, zero / zero);
}

/* False after a failure. */
static bool run(const test_case *t, const char *table, outcome *o)
{
    const lynx_side_shape shape = {CHANNELS, HEAD, {LYNX_ROPE_HALVES, HEAD, 10000.0f, 1.0f}};
    const lynx_page_span span = {512, t->tokens, 4096};
    lynx_codec_options options;
    lynx_codec_options_init(&options);
    options.channels_max = CHANNELS;
    options.element = t->element;
    options.kernels = table;
    lynx_codec *codec = NULL;
    if (lynx_codec_spec_named(&options.spec, t->profile) != LYNX_OK ||
        lynx_codec_spec_plane_count(&options.spec) > PLANES ||
        lynx_codec_create(&codec, &options) != LYNX_OK)
        return false;
    memset(o, 0, sizeof(*o));
    o->plane_count = lynx_codec_spec_plane_count(&options.spec);
    uint8_t *planes[PLANES];
    lynx_bytes views[PLANES];
    for (uint32_t i = 0; i < o->plane_count; i++)
        planes[i] = o->planes[i];
    const lynx_tile tile = tile_of(t, source);
    bool is_good = lynx_codec_encode(codec, &shape, t->side, &span, &tile, planes, o->sizes,
                                     &o->is_raw) == LYNX_OK;
    for (uint32_t i = 0; is_good && i < o->plane_count; i++) {
        views[i] = (lynx_bytes){planes[i], o->sizes[i]};
        const lynx_tile target = tile_of(t, o->values[i]);
        is_good =
            lynx_codec_decode(codec, &shape, t->side, &span, views, i + 1, &target) == LYNX_OK;
    }
    lynx_codec_destroy(codec);
    return is_good;
}

static unsigned compared, failed;

/* All tables on one page. */
static void compare(const test_case *t)
{
    static outcome expected, found;
    fill(t);
    bool is_good = run(t, "reference", &expected);
    for (size_t i = 0; is_good && lynx_codec_kernels_at(i); i++) {
        is_good = run(t, lynx_codec_kernels_at(i), &found) &&
                  memcmp(&expected, &found, sizeof(found)) == 0;
        compared++;
        if (!is_good)
            fprintf(stderr,
                    "%s differs: %s, element %d, by channel %d, side %d, %u tokens, round %d\n",
                    lynx_codec_kernels_at(i), t->profile, t->element, t->by_channel, t->side,
                    t->tokens, t->round);
    }
    failed += !is_good;
}

/* Lengths around every step of the kernels; odd values where several steps meet. */
static void compare_lengths(test_case t)
{
    static const uint32_t lengths[] = {1,  7,   8,   15,  16,  31,  33,  63,  64,    65,
                                       97, 127, 128, 130, 160, 192, 200, 255, TOKENS};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        t.tokens = lengths[i];
        t.round = ANY;
        compare(&t);
    }
    t.tokens = 205;
    for (t.round = SMALL; t.round < ROUNDS; t.round++)
        compare(&t);
}

int main(void)
{
    static const lynx_element elements[] = {LYNX_ELEMENT_F16, LYNX_ELEMENT_F32,
                                            LYNX_ELEMENT_BF16};
    for (size_t p = 0; p < sizeof(profiles) / sizeof(*profiles); p++)
        for (size_t e = 0; e < sizeof(elements) / sizeof(*elements); e++)
            for (int i = 0; i < 4; i++)
                compare_lengths((test_case){.profile = profiles[p],
                                            .element = elements[e],
                                            .by_channel = i & 1,
                                            .side = i & 2 ? LYNX_SIDE_VALUES : LYNX_SIDE_KEYS});
    printf("%s and others: %u pages compared, %u failed\n", lynx_codec_kernels_at(0), compared,
           failed);
    return failed != 0 || compared == 0;
}
