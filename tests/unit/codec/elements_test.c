/* SPDX-License-Identifier: MIT */
/* Caches in F32 and BF16, in rows with gaps, and calls that do not fit a codec. */
#include <math.h>

#include "base/half.h"
#include "lynx/codec.h"
#include "support/cmocka_all.h"
#include "support/rng.h"

enum {
    CHANNELS = 24,
    HEAD = 8,
    TOKENS = 256,
    GAP = 3,
    ROOM = (CHANNELS + GAP) * (TOKENS + GAP)
};

typedef struct cache {
    uint8_t bytes[ROOM * 4];
    lynx_tile tile;
} cache;

static const lynx_side_shape shape = {CHANNELS, HEAD, {LYNX_ROPE_HALVES, HEAD, 1e4f, 1.0f}};

static void make_cache(cache *c, lynx_element element, bool by_channel, uint32_t gap)
{
    const size_t size = lynx_element_bytes(element);
    memset(c->bytes, 0x55, sizeof(c->bytes));
    c->tile = (lynx_tile){.data = c->bytes, .element = element};
    c->tile.token_stride_bytes = by_channel ? size : (CHANNELS + gap) * size;
    c->tile.channel_stride_bytes = by_channel ? (TOKENS + gap) * size : size;
}

static uint8_t *place(const cache *c, uint32_t token, uint32_t channel)
{
    return (uint8_t *)c->tile.data + token * c->tile.token_stride_bytes +
           channel * c->tile.channel_stride_bytes;
}

static float get(const cache *c, uint32_t token, uint32_t channel)
{
    float value;
    uint16_t half;
    if (c->tile.element == LYNX_ELEMENT_F32) {
        memcpy(&value, place(c, token, channel), 4);
        return value;
    }
    memcpy(&half, place(c, token, channel), 2);
    return c->tile.element == LYNX_ELEMENT_F16 ? lx_float_of_half(half)
                                               : lx_float_of_bfloat(half);
}

static void put(cache *c, uint32_t token, uint32_t channel, float value)
{
    const uint16_t half = c->tile.element == LYNX_ELEMENT_F16 ? lx_half_of_float(value)
                                                              : lx_bfloat_of_float(value);
    if (c->tile.element == LYNX_ELEMENT_F32)
        memcpy(place(c, token, channel), &value, 4);
    else
        memcpy(place(c, token, channel), &half, 2);
}

static void fill(cache *c, uint64_t seed)
{
    test_rng rng = {seed};
    for (uint32_t token = 0; token < TOKENS; token++)
        for (uint32_t channel = 0; channel < CHANNELS; channel++)
            put(c, token, channel,
                ((float)(uint32_t)test_rng_below(&rng, 20001) / 10000.0f - 1.0f) *
                    (float)(channel + 1));
}

static lynx_codec *make_codec(const char *name, lynx_element element, const char *kernels)
{
    lynx_codec_options options;
    lynx_codec *codec = NULL;
    lynx_codec_options_init(&options);
    assert_int_equal(lynx_codec_spec_named(&options.spec, name), LYNX_OK);
    options.channels_max = CHANNELS;
    options.element = element;
    options.kernels = kernels;
    assert_int_equal(lynx_codec_create(&codec, &options), LYNX_OK);
    assert_true(!kernels || strcmp(lynx_codec_kernels(codec), kernels) == 0);
    return codec;
}

/* Encode 'from' and decode it all into 'to'. */
static void pass(lynx_codec *codec, uint32_t plane_count, lynx_side side, uint32_t tokens,
                 const cache *from, const cache *to)
{
    static uint8_t room[LYNX_PLANES_MAX][ROOM * 4 + 64];
    const lynx_page_span span = {0, tokens, tokens};
    uint8_t *planes[LYNX_PLANES_MAX];
    size_t sizes[LYNX_PLANES_MAX];
    lynx_bytes views[LYNX_PLANES_MAX];
    bool is_raw;
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        planes[i] = room[i];
    assert_int_equal(lynx_codec_encode(codec, &shape, side, &span, &from->tile, planes, sizes,
                                       &is_raw),
                     LYNX_OK);
    for (uint32_t i = 0; i < plane_count; i++)
        views[i] = (lynx_bytes){planes[i], sizes[i]};
    assert_int_equal(lynx_codec_decode(codec, &shape, side, &span, views, plane_count,
                                       &to->tile),
                     LYNX_OK);
}

/* Eight bits of the channel's width, and the rounding of the element. */
static void assert_near(const cache *from, const cache *to, uint32_t tokens)
{
    const float grain = from->tile.element == LYNX_ELEMENT_BF16 ? 1.0f / 128 : 1.0f / 1024;
    for (uint32_t channel = 0; channel < CHANNELS; channel++) {
        const float most = (float)(channel + 1);
        const float bound = 2 * most / 255.0f * 0.625f + most * grain;
        for (uint32_t token = 0; token < tokens; token++)
            assert_true(fabsf(get(from, token, channel) - get(to, token, channel)) <= bound);
    }
}

static void elements_and_layouts(void **state)
{
    (void)state;
    static const lynx_element elements[] = {LYNX_ELEMENT_F32, LYNX_ELEMENT_F16,
                                            LYNX_ELEMENT_BF16};
    static const char *const names[] = {"raw", "int8", "int8-token"};
    static const uint32_t counts[] = {256, 77, 1};
    static cache from, reference, fast;
    for (size_t e = 0; e < sizeof(elements) / sizeof(*elements); e++)
        for (size_t n = 0; n < sizeof(names) / sizeof(*names); n++)
            for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
                for (int by_channel = 0; by_channel < 2; by_channel++)
                    for (uint32_t gap = 0; gap <= GAP; gap += GAP) {
                        make_cache(&from, elements[e], by_channel, gap);
                        fill(&from, n + i);
                        make_cache(&reference, elements[e], by_channel, gap);
                        lynx_codec *codec = make_codec(names[n], elements[e], "reference");
                        pass(codec, 1, LYNX_SIDE_VALUES, counts[i], &from, &reference);
                        lynx_codec_destroy(codec);
                        if (n != 2) /* a token's range is that of its largest channel */
                            assert_near(&from, &reference, counts[i]);
                        for (size_t t = 0; lynx_codec_kernels_at(t); t++) {
                            make_cache(&fast, elements[e], by_channel, gap);
                            codec = make_codec(names[n], elements[e], lynx_codec_kernels_at(t));
                            pass(codec, 1, LYNX_SIDE_VALUES, counts[i], &from, &fast);
                            lynx_codec_destroy(codec);
                            assert_memory_equal(fast.bytes, reference.bytes,
                                                sizeof(fast.bytes));
                        }
                    }
}

/* The first four tokens are sinks and travel bit for bit, in any element. */
static void raw_tokens_keep_their_element(void **state)
{
    (void)state;
    static const lynx_element elements[] = {LYNX_ELEMENT_F32, LYNX_ELEMENT_BF16};
    static cache from, to;
    for (size_t e = 0; e < 2; e++)
        for (int by_channel = 0; by_channel < 2; by_channel++) {
            make_cache(&from, elements[e], by_channel, 0);
            fill(&from, 3);
            make_cache(&to, elements[e], by_channel, 0);
            lynx_codec *codec = make_codec("range:head=4", elements[e], NULL);
            pass(codec, 2, LYNX_SIDE_KEYS, 100, &from, &to);
            lynx_codec_destroy(codec);
            assert_near(&from, &to, 4);
            for (uint32_t token = 0; token < 4; token++)
                for (uint32_t channel = 0; channel < CHANNELS; channel++)
                    assert_memory_equal(place(&from, token, channel),
                                        place(&to, token, channel),
                                        lynx_element_bytes(elements[e]));
        }
}

/* A cache of halves that arrives in an engine which keeps another element, and back. */
static void elements_are_converted(void **state)
{
    (void)state;
    static const lynx_element elements[] = {LYNX_ELEMENT_F32, LYNX_ELEMENT_BF16};
    static cache from, to, back;
    for (size_t e = 0; e < 2; e++) {
        make_cache(&from, LYNX_ELEMENT_F16, false, 0);
        fill(&from, 5);
        make_cache(&to, elements[e], true, GAP);
        make_cache(&back, LYNX_ELEMENT_F16, false, 0);
        lynx_codec *codec = make_codec("raw", LYNX_ELEMENT_F16, NULL);
        pass(codec, 1, LYNX_SIDE_KEYS, TOKENS, &from, &to);
        pass(codec, 1, LYNX_SIDE_KEYS, TOKENS, &to, &back);
        lynx_codec_destroy(codec);
        for (uint32_t token = 0; token < TOKENS; token++)
            for (uint32_t channel = 0; channel < CHANNELS; channel++) {
                const float value = get(&from, token, channel);
                const float want = e ? lx_float_of_bfloat(lx_bfloat_of_float(value)) : value;
                assert_true(get(&to, token, channel) == want);
                assert_true(get(&back, token, channel) ==
                            lx_float_of_half(lx_half_of_float(want)));
            }
    }
}

static lynx_status try_encode(lynx_codec *codec, const lynx_side_shape *s, int side,
                              lynx_page_span span, const lynx_tile *tile)
{
    static uint8_t room[LYNX_PLANES_MAX][ROOM * 4 + 64];
    uint8_t *planes[LYNX_PLANES_MAX];
    size_t sizes[LYNX_PLANES_MAX];
    bool is_raw;
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        planes[i] = room[i];
    return lynx_codec_encode(codec, s, (lynx_side)side, &span, tile, planes, sizes, &is_raw);
}

static void pages_that_do_not_fit(void **state)
{
    (void)state;
    static cache c;
    make_cache(&c, LYNX_ELEMENT_F16, false, 0);
    fill(&c, 1);
    lynx_codec *codec = make_codec("range", LYNX_ELEMENT_F16, NULL);
    const lynx_page_span good = {0, 100, 100};
    assert_int_equal(try_encode(codec, &shape, 0, good, &c.tile), LYNX_OK);
    assert_int_equal(try_encode(codec, &shape, 2, good, &c.tile), LYNX_ERR_ARGUMENT);

    static const lynx_page_span spans[] = {{0, 0, 100},
                                           {0, 257, 300},
                                           {101, 1, 100},
                                           {50, 51, 100}};
    for (size_t i = 0; i < sizeof(spans) / sizeof(*spans); i++)
        assert_int_equal(try_encode(codec, &shape, 0, spans[i], &c.tile), LYNX_ERR_ARGUMENT);

    static const lynx_side_shape shapes[] = {
        {0, HEAD, {LYNX_ROPE_NONE, 0, 0, 0}},
        {CHANNELS + 1, HEAD, {LYNX_ROPE_NONE, 0, 0, 0}},
        {CHANNELS, 0, {LYNX_ROPE_NONE, 0, 0, 0}},
        {CHANNELS, 7, {LYNX_ROPE_NONE, 0, 0, 0}},
        {CHANNELS, HEAD, {LYNX_ROPE_HALVES, HEAD + 2, 1e4f, 1.0f}},
        {CHANNELS, HEAD, {LYNX_ROPE_HALVES, HEAD - 1, 1e4f, 1.0f}},
        {CHANNELS, HEAD, {LYNX_ROPE_NEIGHBOURS, HEAD, 1.0f, 1.0f}},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        assert_int_equal(try_encode(codec, &shapes[i], 0, good, &c.tile), LYNX_ERR_ARGUMENT);

    lynx_tile tile = c.tile;
    tile.data = NULL;
    assert_int_equal(try_encode(codec, &shape, 0, good, &tile), LYNX_ERR_ARGUMENT);
    tile = c.tile;
    tile.channel_stride_bytes = 4; /* neither side by side */
    assert_int_equal(try_encode(codec, &shape, 0, good, &tile), LYNX_ERR_ARGUMENT);

    const lynx_bytes none[1] = {{NULL, 0}};
    assert_int_equal(lynx_codec_decode(codec, &shape, LYNX_SIDE_KEYS, &good, none, 0, &c.tile),
                     LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_codec_decode(codec, &shape, LYNX_SIDE_KEYS, &good, none, 1, &c.tile),
                     LYNX_ERR_CORRUPT);
    lynx_codec_destroy(codec);
}

/* A value by its name is the one that the tile's own bytes say. */
static void values_can_be_had_one_by_one(void **state)
{
    (void)state;
    static const lynx_element elements[] = {LYNX_ELEMENT_F32, LYNX_ELEMENT_F16,
                                            LYNX_ELEMENT_BF16};
    static cache c;
    for (uint32_t i = 0; i < 6; i++) {
        make_cache(&c, elements[i / 2], i % 2, GAP);
        fill(&c, i);
        for (uint32_t token = 0; token < TOKENS; token += 51)
            for (uint32_t channel = 0; channel < CHANNELS; channel++)
                assert_true(lynx_tile_get(&c.tile, token, channel) == get(&c, token, channel));
        const float neighbour = get(&c, 8, 2);
        lynx_tile_set(&c.tile, 7, 2, -0.625f);
        assert_true(get(&c, 7, 2) == -0.625f && get(&c, 8, 2) == neighbour);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_can_be_had_one_by_one),
        cmocka_unit_test(elements_and_layouts),
        cmocka_unit_test(raw_tokens_keep_their_element),
        cmocka_unit_test(elements_are_converted),
        cmocka_unit_test(pages_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
