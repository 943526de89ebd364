/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "support/cmocka_all.h"

#include "base/half.h"
#include "codec/quantiser.h"
#include "codec/rope.h"
#include "lynx/codec.h"
#include "support/failing_allocator.h"
#include "support/rng.h"

enum { CHANNELS = 32, HEAD = 16, TOKENS = 256, WIDE_CHANNELS = 192 };

typedef struct page {
    uint16_t values[CHANNELS * TOKENS];
    lynx_tile tile;
    lynx_side_shape shape;
    lynx_page_span span;
    lynx_side side;
} page;

typedef struct coded {
    uint8_t room[LYNX_PLANES_MAX][CHANNELS * TOKENS * 4 + 64];
    uint8_t *planes[LYNX_PLANES_MAX];
    size_t bytes[LYNX_PLANES_MAX];
    lynx_bytes views[LYNX_PLANES_MAX];
    bool is_raw;
} coded;

static page make_page(uint64_t seed, bool by_channel, uint32_t first, uint32_t count,
                      uint32_t prompt)
{
    page p = {.shape = {CHANNELS, HEAD, {LYNX_ROPE_HALVES, HEAD, 10000.0f, 1.0f}},
              .span = {first, count, prompt},
              .side = by_channel ? LYNX_SIDE_VALUES : LYNX_SIDE_KEYS};
    test_rng rng = {seed};
    for (uint32_t i = 0; i < CHANNELS * TOKENS; i++)
        p.values[i] =
            lx_half_of_float((float)((int32_t)(uint32_t)test_rng_below(&rng, 65536) - 32768) /
                             (float)(1u << (8 + i % 7)));
    return p;
}

static lynx_tile tile_of(page *p)
{
    const bool by_channel = p->side == LYNX_SIDE_VALUES;
    return (lynx_tile){p->values, LYNX_ELEMENT_F16, by_channel ? 2 : CHANNELS * 2,
                       by_channel ? TOKENS * 2 : 2};
}

static float value_of(page *p, uint32_t token, uint32_t channel)
{
    const lynx_tile t = tile_of(p);
    uint16_t half;
    memcpy(&half,
           (uint8_t *)t.data + token * t.token_stride_bytes + channel * t.channel_stride_bytes,
           2);
    return lx_float_of_half(half);
}

static lynx_codec *make_codec(const lynx_codec_spec *spec, const char *kernels)
{
    lynx_codec_options options;
    lynx_codec *codec = NULL;
    lynx_codec_options_init(&options);
    options.spec = *spec;
    options.channels_max = CHANNELS;
    options.kernels = kernels;
    assert_int_equal(lynx_codec_create(&codec, &options), LYNX_OK);
    return codec;
}

static lynx_codec_spec named(const char *name)
{
    lynx_codec_spec spec;
    assert_int_equal(lynx_codec_spec_named(&spec, name), LYNX_OK);
    return spec;
}

static void encode(lynx_codec *codec, page *p, coded *c)
{
    const lynx_tile tile = tile_of(p);
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        c->planes[i] = c->room[i];
    assert_int_equal(lynx_codec_encode(codec, &p->shape, p->side, &p->span, &tile, c->planes,
                                       c->bytes, &c->is_raw),
                     LYNX_OK);
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        c->views[i] = (lynx_bytes){c->planes[i], c->bytes[i]};
}

/* Every built-in codec, every table, both layouts, odd lengths: bytes and values are the same
 * as the reference's, and the sizes keep to their bound. */
static void tables_agree(void **state)
{
    (void)state;
    static const uint32_t counts[] = {256, 255, 100, 33, 31, 5, 1};
    static coded a, b;
    static page out_a, out_b;
    for (size_t s = 0; lynx_codec_spec_name_at(s); s++)
        for (size_t t = 0; lynx_codec_kernels_at(t); t++)
            for (int side = 0; side < 2; side++)
                for (size_t n = 0; n < sizeof(counts) / sizeof(*counts); n++) {
                    const lynx_codec_spec spec = named(lynx_codec_spec_name_at(s));
                    const uint32_t planes = lynx_codec_spec_plane_count(&spec);
                    lynx_codec *reference = make_codec(&spec, "reference");
                    lynx_codec *fast = make_codec(&spec, lynx_codec_kernels_at(t));
                    page p = make_page(s * 100 + n, side, 0, counts[n], counts[n]);
                    memset(&a, 0xAA, sizeof(a));
                    memset(&b, 0xAA, sizeof(b));
                    encode(reference, &p, &a);
                    encode(fast, &p, &b);
                    for (uint32_t i = 0; i < planes; i++) {
                        assert_int_equal(a.bytes[i], b.bytes[i]);
                        assert_memory_equal(a.room[i], b.room[i], sizeof(a.room[i]));
                        assert_true(a.bytes[i] <= lynx_codec_plane_bytes_max(fast, &p.shape,
                                                                             p.side, i,
                                                                             counts[n]));
                    }
                    for (uint32_t i = 1; i <= planes; i++) {
                        memset(out_a.values, 0x55, sizeof(out_a.values));
                        memset(out_b.values, 0x55, sizeof(out_b.values));
                        out_a.side = out_b.side = p.side;
                        const lynx_tile ta = tile_of(&out_a);
                        const lynx_tile tb = tile_of(&out_b);
                        assert_int_equal(lynx_codec_decode(reference, &p.shape, p.side, &p.span,
                                                           a.views, i, &ta),
                                         LYNX_OK);
                        assert_int_equal(lynx_codec_decode(fast, &p.shape, p.side, &p.span,
                                                           a.views, i, &tb),
                                         LYNX_OK);
                        assert_memory_equal(out_a.values, out_b.values, sizeof(out_a.values));
                    }
                    lynx_codec_destroy(reference);
                    lynx_codec_destroy(fast);
                }
}

/* A page of any shape, element and layout; the values are those of 'seed'. */
typedef struct wide_page {
    uint8_t values[WIDE_CHANNELS * TOKENS * 4];
    lynx_side_shape shape;
    lynx_element element;
    bool by_channel;
} wide_page;

static lynx_tile wide_tile(wide_page *p)
{
    const size_t bytes = lynx_element_bytes(p->element);
    return (lynx_tile){p->values, p->element, p->by_channel ? bytes : bytes * p->shape.channels,
                       p->by_channel ? TOKENS * bytes : bytes};
}

static void fill_wide(wide_page *p, uint64_t seed)
{
    test_rng rng = {seed};
    for (uint32_t i = 0; i < p->shape.channels * TOKENS; i++) {
        const int32_t random = (int32_t)(uint32_t)test_rng_below(&rng, 65536) - 32768;
        const float value = (float)random / (float)(1u << (8 + i % 7));
        const uint16_t half = p->element == LYNX_ELEMENT_F16 ? lx_half_of_float(value)
                                                             : lx_bfloat_of_float(value);
        if (p->element == LYNX_ELEMENT_F32)
            memcpy(p->values + 4 * (size_t)i, &value, 4);
        else
            memcpy(p->values + 2 * (size_t)i, &half, 2);
    }
}

static uint64_t mix(uint64_t digest, const void *bytes, size_t count)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < count; i++)
        digest = (digest ^ at[i]) * 1099511628211u; /* FNV-1a */
    return digest;
}

/* Digest of the planes of a page and of what each number of them decodes to. */
static uint64_t digest_of(lynx_codec *codec, wide_page *p, lynx_side side,
                          const lynx_page_span *span, uint32_t plane_count)
{
    static wide_page out;
    static uint8_t room[LYNX_PLANES_MAX][sizeof(out.values) + 64];
    uint8_t *planes[LYNX_PLANES_MAX];
    size_t sizes[LYNX_PLANES_MAX];
    lynx_bytes views[LYNX_PLANES_MAX];
    bool is_raw;
    uint64_t digest = 14695981039346656037u;
    const lynx_tile source = wide_tile(p);
    for (uint32_t i = 0; i < plane_count; i++)
        planes[i] = room[i];
    assert_int_equal(lynx_codec_encode(codec, &p->shape, side, span, &source, planes, sizes,
                                       &is_raw),
                     LYNX_OK);
    for (uint32_t i = 0; i < plane_count; i++) {
        views[i] = (lynx_bytes){room[i], sizes[i]};
        digest = mix(digest, room[i], sizes[i]);
    }
    for (uint32_t i = 1; i <= plane_count; i++) {
        memset(out.values, 0x55, sizeof(out.values));
        out.shape = p->shape;
        out.element = p->element;
        out.by_channel = p->by_channel;
        const lynx_tile target = wide_tile(&out);
        assert_int_equal(lynx_codec_decode(codec, &p->shape, side, span, views, i, &target),
                         LYNX_OK);
        digest = mix(digest, out.values, sizeof(out.values));
    }
    return digest;
}

static uint64_t digest_all(const lynx_codec_spec *spec, const char *kernels,
                           lynx_element element)
{
    static const lynx_side_shape shapes[] = {
        {192, 64, {LYNX_ROPE_NEIGHBOURS, 64, 100000.0f, 1.0f}},
        {96, 96, {LYNX_ROPE_HALVES, 64, 10000.0f, 0.25f}},
        {30, 10, {LYNX_ROPE_NEIGHBOURS, 6, 10000.0f, 1.0f}},
        {7, 7, {LYNX_ROPE_HALVES, 4, 10000.0f, 1.0f}},
        {1, 1, {LYNX_ROPE_NONE, 0, 0.0f, 0.0f}},
    };
    static const uint32_t counts[] = {256, 252, 63};
    static wide_page p;
    uint64_t digest = 0;
    lynx_codec_options options;
    lynx_codec *codec = NULL;
    lynx_codec_options_init(&options);
    options.spec = *spec;
    options.channels_max = WIDE_CHANNELS;
    options.kernels = kernels;
    options.element = element;
    assert_int_equal(lynx_codec_create(&codec, &options), LYNX_OK);
    for (size_t s = 0; s < sizeof(shapes) / sizeof(*shapes); s++)
        for (size_t n = 0; n < sizeof(counts) / sizeof(*counts); n++)
            for (int layout = 0; layout < 2; layout++)
                for (int side = 0; side < 2; side++) {
                    const lynx_page_span span = {n == 1 ? 0 : 512, counts[n], 1000};
                    p.shape = shapes[s];
                    p.element = element;
                    p.by_channel = layout;
                    fill_wide(&p, s * 100 + n);
                    const uint64_t own = digest_of(codec, &p, (lynx_side)side, &span,
                                                   lynx_codec_spec_plane_count(spec));
                    digest = mix(digest, &own, sizeof(own));
                }
    lynx_codec_destroy(codec);
    return digest;
}

/* Planes and values of many shapes never change: these digests are those of
 * docs/format-codec.md, the same from every table. */
static void digests_are_those_of_the_format(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t digests[3]; /* F32, F16, BF16 */
    } known[] = {
        {"range:bend=yes,k=4+4,v=5+3,head=4,tail=0",
         {0x1f9730bc8f7e42ce, 0xd39639c54ef242d1, 0x10b9fa8d5ff1855}},
        {"range:spread=yes,bend=no,k=4+4,v=5+3,head=4,tail=0",
         {0x12d27ddadbd33a4c, 0xeff18afc4f41c3ca, 0x4d911e6b734fda71}},
        {"range:spread=no,bend=no,k=5+3,v=4+4,head=4,tail=0",
         {0xb9982fb50b4b20d6, 0xd133dad7fca8d62b, 0xff1283bca9800401}},
        {"range-chunk", {0x0cf564a1b8689f0c, 0xa2fed1764b8ae5e4, 0xd0aee3d37949d6c4}},
        {"paper", {0x5d2e7b6aca88fe50, 0x8f9e31629c5b3a80, 0xb2976ed96b8c1a3c}},
        {"int4-chunk", {0x5b77714378892ed0, 0x168488024cb45bdc, 0xbdf436d717670be4}},
        {"int8-token", {0xa14f73e9ed26b364, 0xe1b0e0dd5fd1c2c4, 0x1ca42b94f5db3a00}},
    };
    for (size_t n = 0; n < sizeof(known) / sizeof(*known); n++)
        for (size_t t = 0; lynx_codec_kernels_at(t); t++)
            for (int element = 0; element < 3; element++) {
                const lynx_codec_spec spec = named(known[n].name);
                const uint64_t digest =
                    digest_all(&spec, lynx_codec_kernels_at(t), (lynx_element)element);
                if (digest != known[n].digests[element])
                    fail_msg("%s, %s, element %d: %#llx", known[n].name,
                             lynx_codec_kernels_at(t), element, (unsigned long long)digest);
            }
}

/* P-5. Every split of eight bits: full precision does not depend on it, and error is half a
 * step. */
static void splits_give_the_same_full_values(void **state)
{
    (void)state;
    static coded c;
    static page out, whole;
    page p = make_page(5, true, 256, 200, 1000);
    lynx_codec_spec spec = named("int8");
    for (int cut = 0; cut <= 7; cut++) {
        if (cut) {
            memset(spec.plane_bits, 0, sizeof(spec.plane_bits));
            for (int side = 0; side < 2; side++) {
                spec.plane_bits[side][0] = (uint8_t)cut;
                spec.plane_bits[side][1] = (uint8_t)(8 - cut);
            }
        }
        lynx_codec *codec = make_codec(&spec, NULL);
        page *to = cut ? &out : &whole;
        *to = p;
        encode(codec, &p, &c);
        const lynx_tile tile = tile_of(to);
        assert_int_equal(lynx_codec_decode(codec, &p.shape, p.side, &p.span, c.views,
                                           cut ? 2 : 1, &tile),
                         LYNX_OK);
        if (cut)
            assert_memory_equal(out.values, whole.values, sizeof(out.values));
        lynx_codec_destroy(codec);
    }
    for (uint32_t channel = 0; channel < CHANNELS; channel++) {
        float least = INFINITY;
        float most = -INFINITY;
        for (uint32_t t = 0; t < 200; t++) {
            least = fminf(least, value_of(&p, t, channel));
            most = fmaxf(most, value_of(&p, t, channel));
        }
        /* Half a step, an eighth more for the rounding of step and result to halves. */
        const float bound = (most - least) / 255.0f * 0.625f + fmaxf(fabsf(least), most) / 1024;
        for (uint32_t t = 0; t < 200; t++)
            assert_true(fabsf(value_of(&p, t, channel) - value_of(&whole, t, channel)) <=
                        bound);
    }
}

static void raw_tokens_are_exact(void **state)
{
    (void)state;
    static coded c;
    const lynx_codec_spec spec = named("range:head=4,tail=7");
    lynx_codec *codec = make_codec(&spec, NULL);
    page p = make_page(9, false, 0, 100, 100);
    p.values[3] = 0x7C01;             /* a NaN of token 0: raw, so it must come back as it is */
    p.values[99 * CHANNELS] = 0xFC00; /* minus infinity in the last token */
    page out = p;
    memset(out.values, 0, sizeof(out.values));
    encode(codec, &p, &c);
    assert_false(c.is_raw);
    const lynx_tile tile = tile_of(&out);
    assert_int_equal(lynx_codec_decode(codec, &p.shape, p.side, &p.span, c.views, 1, &tile),
                     LYNX_OK);
    assert_memory_equal(out.values, p.values, 4 * CHANNELS * 2);
    assert_memory_equal(out.values + 93 * CHANNELS, p.values + 93 * CHANNELS, 7 * CHANNELS * 2);
    assert_memory_not_equal(out.values + 4 * CHANNELS, p.values + 4 * CHANNELS, CHANNELS * 2);
    lynx_codec_destroy(codec);
}

/* P-3. What cannot be carried faithfully travels raw, is said to, and comes back bit for bit.
 */
static void odd_pages_travel_raw(void **state)
{
    (void)state;
    static coded c;
    static const uint16_t odd[] = {0x7C00, 0xFC00, 0x7E01, 0x7BFF};
    static const char *const names[] = {"range", "range-chunk", "paper", "int4-chunk",
                                        "int8-token"};
    for (size_t n = 0; n < sizeof(names) / sizeof(*names); n++)
        for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++)
            for (int side = 0; side < 2; side++) {
                const lynx_codec_spec spec = named(names[n]);
                lynx_codec *codec = make_codec(&spec, NULL);
                page p = make_page(i, side, 512, 256, 1000);
                p.values[CHANNELS * TOKENS / 2] = odd[i];
                page out = p;
                memset(out.values, 0, sizeof(out.values));
                encode(codec, &p, &c);
                assert_true(c.is_raw);
                assert_int_equal(c.bytes[1] * (lynx_codec_spec_plane_count(&spec) > 1), 0);
                const lynx_tile tile = tile_of(&out);
                assert_int_equal(lynx_codec_decode(codec, &p.shape, p.side, &p.span, c.views, 1,
                                                   &tile),
                                 LYNX_OK);
                assert_memory_equal(out.values, p.values, sizeof(out.values));
                lynx_codec_destroy(codec);
            }
}

static void constant_channels_are_exact(void **state)
{
    (void)state;
    static coded c;
    static const uint16_t constants[] = {0x0000, 0x3C00, 0xBC00, 0x0001, 0x8003, 0x5640};
    const lynx_codec_spec spec = named("int8");
    for (size_t i = 0; i < sizeof(constants) / sizeof(*constants); i++) {
        lynx_codec *codec = make_codec(&spec, NULL);
        page p = make_page(i, true, 256, 256, 1000);
        for (uint32_t t = 0; t < TOKENS; t++)
            p.values[5 * TOKENS + t] = constants[i];
        page out = p;
        encode(codec, &p, &c);
        const lynx_tile tile = tile_of(&out);
        assert_int_equal(lynx_codec_decode(codec, &p.shape, p.side, &p.span, c.views, 1, &tile),
                         LYNX_OK);
        assert_memory_equal(out.values + 5 * TOKENS, p.values + 5 * TOKENS, TOKENS * 2);
        lynx_codec_destroy(codec);
    }
}

/* 12-bit metadata: exact on all planes without spread, and near on the anchor, where a channel
 * has four bits, or, next to wider ones, a single bit. */
static void constant_channels_are_near_on_narrow_metadata(void **state)
{
    (void)state;
    static coded c;
    static const uint16_t constants[] = {0x0000, 0x3C01, 0xBC0F, 0x1401, 0x9407, 0x564B};
    for (size_t i = 0; i < 3 * sizeof(constants) / sizeof(*constants); i++) {
        static const char *const names[] = {"range", "range:bend=no",
                                            "range:bend=no,spread=no"};
        const lynx_codec_spec spec = named(names[i % 3]);
        const uint16_t constant = constants[i / 3];
        lynx_codec *codec = make_codec(&spec, NULL);
        page p = make_page(i, true, 256, 256, 1000);
        for (uint32_t t = 0; t < TOKENS; t++)
            p.values[5 * TOKENS + t] = constant;
        page out = p;
        p.side = LYNX_SIDE_VALUES;
        encode(codec, &p, &c);
        const lynx_tile tile = tile_of(&out);
        for (uint32_t planes = 1; planes <= 2; planes++) {
            assert_int_equal(lynx_codec_decode(codec, &p.shape, p.side, &p.span, c.views,
                                               planes, &tile),
                             LYNX_OK);
            for (uint32_t t = 0; t < 256; t++) {
                const uint16_t value = out.values[5 * TOKENS + t];
                const float truth = lx_float_of_half(constant);
                if (planes == 2 && !spec.spread)
                    assert_int_equal(value, constant);
                else
                    assert_true(fabsf(lx_float_of_half(value) - truth) <=
                                /* at the end of a grid, which may be bent */
                                (spec.bend ? 2.5f : 1.0f) *
                                    fmaxf(fabsf(truth) / (spec.spread ? 128 : 1024),
                                          spec.spread ? 0x1p-15f : 0x1p-18f));
            }
        }
        lynx_codec_destroy(codec);
    }
}

/* P-4. Random and damaged planes: refused or decoded, never read or written out of bounds
 * (sanitizers). */
static void foreign_planes_are_safe(void **state)
{
    (void)state;
    static coded c;
    test_rng rng = {77};
    uint32_t refused = 0;
    for (uint32_t round = 0; round < 3000; round++) {
        const lynx_codec_spec spec = named(lynx_codec_spec_name_at(round % 10));
        lynx_codec *codec = make_codec(&spec, NULL);
        const uint32_t count = 1 + (uint32_t)test_rng_below(&rng, 256);
        page p = make_page(round, round % 2, 0, count, count);
        page before = p;
        encode(codec, &p, &c);
        const uint32_t planes = lynx_codec_spec_plane_count(&spec);
        const uint32_t plane = (uint32_t)test_rng_below(&rng, planes);
        if (round % 3 == 0 && c.views[plane].size)
            c.views[plane].size -=
                1 + (uint32_t)test_rng_below(&rng, (uint32_t)c.views[plane].size);
        else if (c.views[0].size)
            c.room[0][(uint32_t)test_rng_below(&rng,
                                               (uint32_t)(round % 2 ? 4 : c.views[0].size))] ^=
                (uint8_t)(1 + (uint32_t)test_rng_below(&rng, 255));
        const lynx_tile tile = tile_of(&p);
        const lynx_status status =
            lynx_codec_decode(codec, &p.shape, p.side, &p.span, c.views, planes, &tile);
        assert_true(status == LYNX_OK || status == LYNX_ERR_CORRUPT);
        if (status == LYNX_ERR_CORRUPT) {
            refused++;
            assert_memory_equal(p.values, before.values, sizeof(p.values));
        }
        lynx_codec_destroy(codec);
    }
    assert_true(refused > 500);
}

static void arguments_are_checked(void **state)
{
    (void)state;
    static coded c;
    lynx_codec_options options;
    lynx_codec *codec = NULL;
    lynx_codec_spec spec;
    assert_int_equal(lynx_codec_spec_named(&spec, "none"), LYNX_ERR_ARGUMENT);
    lynx_codec_options_init(&options);
    assert_int_equal(lynx_codec_create(&codec, &options), LYNX_ERR_ARGUMENT); /* no channels */
    options.channels_max = CHANNELS;
    options.kernels = "abacus";
    assert_int_equal(lynx_codec_create(&codec, &options), LYNX_ERR_UNSUPPORTED);
    options.kernels = NULL;
    options.page_tokens = 33;
    assert_int_equal(lynx_codec_create(&codec, &options), LYNX_ERR_ARGUMENT);
    options.page_tokens = 256;
    options.spec.plane_bits[0][0] = 9; /* 9 + 4 on one side */
    assert_int_equal(lynx_codec_create(&codec, &options), LYNX_ERR_ARGUMENT);
    assert_null(codec);

    spec = named("range");
    codec = make_codec(&spec, NULL);
    page p = make_page(1, false, 0, 256, 256);
    encode(codec, &p, &c);
    const lynx_tile tile = tile_of(&p);
    p.span.token_count = 257;
    assert_int_equal(lynx_codec_decode(codec, &p.shape, p.side, &p.span, c.views, 2, &tile),
                     LYNX_ERR_ARGUMENT);
    p.span.token_count = 256;
    assert_int_equal(lynx_codec_decode(codec, &p.shape, p.side, &p.span, c.views, 3, &tile),
                     LYNX_ERR_ARGUMENT);
    p.shape.channels = CHANNELS * 2;
    assert_int_equal(lynx_codec_decode(codec, &p.shape, p.side, &p.span, c.views, 2, &tile),
                     LYNX_ERR_ARGUMENT);
    lynx_codec_destroy(codec);
}

static void failed_allocations_leak_nothing(void **state)
{
    (void)state;
    test_allocator memory;
    for (uint64_t n = 1;; n++) {
        lynx_codec_options options;
        lynx_codec *codec = NULL;
        test_allocator_init(&memory);
        memory.fail_at = n;
        lynx_codec_options_init(&options);
        options.channels_max = CHANNELS;
        options.memory = &memory.allocator;
        const lynx_status status = lynx_codec_create(&codec, &options);
        if (status == LYNX_OK) {
            lynx_codec_destroy(codec);
            assert_int_equal(memory.live_blocks, 0);
            assert_true(n > 3);
            return;
        }
        assert_int_equal(status, LYNX_ERR_MEMORY);
        assert_null(codec);
        assert_int_equal(memory.live_blocks, 0);
        assert_int_equal(memory.live_bytes, 0);
    }
}

static void all_memory_is_taken_at_create(void **state)
{
    (void)state;
    static coded c;
    test_allocator memory;
    lynx_codec_options options;
    lynx_codec *codec = NULL;
    test_allocator_init(&memory);
    lynx_codec_options_init(&options);
    options.channels_max = CHANNELS;
    options.memory = &memory.allocator;
    assert_int_equal(lynx_codec_create(&codec, &options), LYNX_OK);
    const uint64_t calls = memory.calls;
    page p = make_page(1, false, 0, 256, 256);
    encode(codec, &p, &c);
    assert_int_equal(memory.calls, calls);
    lynx_codec_destroy(codec);
}

static void halves_match_all_patterns(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        const uint16_t half = (uint16_t)i;
        const float value = lx_float_of_half(half);
        if ((half & 0x7C00) == 0x7C00 && (half & 0x3FF))
            assert_true(isnan(value));
        else
            assert_int_equal(lx_half_of_float(value), half);
        if (isfinite(value)) {
            assert_int_equal(lx_half_below(value), half);
            assert_true(lx_float_of_half(lx_half_above(value + fabsf(value) / 4096)) >= value);
        }
    }
}

static void kernels_have_the_same_floats(void **state)
{
    (void)state;
    enum { ALL = 65536, LEFT = 13 };
    static uint16_t halves[ALL];
    static float floats[ALL + 1];
    for (uint32_t i = 0; i < ALL; i++)
        halves[i] = (uint16_t)i;
    for (size_t k = 0; lx_kernels_at(k); k++)
        for (uint32_t first = 0; first < ALL; first += ALL / 2 + LEFT) { /* uneven lengths */
            const uint32_t count = ALL - first - LEFT;
            floats[count] = 1.5f;
            lx_kernels_at(k)->floats(halves + first, count, floats);
            for (uint32_t i = 0; i < count; i++) {
                const float value = lx_float_of_half(halves[first + i]);
                assert_memory_equal(&floats[i], &value, sizeof(value));
            }
            assert_true(floats[count] == 1.5f);
        }
}

/* Sums are rounded, so that a range which ends just behind a grid does not get what was asked
 * for at first. */
static void grids_cover_their_ranges(void **state)
{
    (void)state;
    enum { MANY = 4000 };
    static lx_extent extents[MANY];
    static uint16_t lows[MANY], lengths[MANY], written[MANY];
    static float low_floats[MANY], step_floats[MANY];
    static uint8_t meta[4 * MANY];
    const lx_shared shared = {lows, lengths, low_floats, step_floats};
    lynx_codec_spec spec = {.profile = LYNX_PROFILE_RANGE};
    const float steps = 4095.0f / 16;
    test_rng rng = test_rng_of(11);
    for (uint32_t c = 0; c < MANY; c++) {
        /* Halves that 12 bits can say. */
        const float low =
            lx_float_of_half((uint16_t)(0x8000 | test_rng_below(&rng, 0x7400)) & 0xFFF0);
        const float step = lx_float_of_half((uint16_t)test_rng_below(&rng, 0x5000) & 0xFFF8);
        extents[c] = (lx_extent){low, nextafterf(low + steps * step, INFINITY)};
    }
    for (uint32_t is_wide = 0; is_wide < 2; is_wide++) {
        spec.meta_wide = is_wide != 0;
        const lx_quantiser q = {.spec = &spec,
                                .kernels = lx_kernels_at(0),
                                .shared = &shared,
                                .code_bits = LX_FINE_BITS,
                                .tokens = 64,
                                .padded = 64};
        const uint32_t zeros = is_wide ? 0 : 7;
        uint32_t wider = 0; /* than the step that the quotient asks for */
        assert_true(lx_range_put(&q, MANY, extents, 1, meta));
        for (uint32_t c = 0; c < MANY; c++) {
            const float most = low_floats[c] + steps * step_floats[c];
            assert_true(low_floats[c] <= extents[c].least && most >= extents[c].most);
            const uint32_t first = lx_half_above((extents[c].most - low_floats[c]) / steps);
            wider += ((first + zeros) & ~zeros) < lengths[c];
        }
        assert_true(wider > 0);
        memcpy(written, lengths, sizeof(written));
        memset(lengths, 0, sizeof(lengths));
        assert_true(lx_range_get(&q, MANY, meta));
        assert_memory_equal(written, lengths, sizeof(written));
    }
}

static void halves_next_to_odd_values(void **state)
{
    (void)state;
    assert_int_equal(lx_half_above(1e-9f), 0x0001); /* rounds to zero */
    assert_int_equal(lx_half_below(-1e-9f), 0x8001);
    assert_int_equal(lx_half_below(1e-9f), 0x0000);
    assert_int_equal(lx_half_above(-1e-9f), 0x8000);
    assert_int_equal(lx_half_below(65519.0f), 0x7BFF);
    assert_int_equal(lx_half_above(65519.0f), 0x7C00);
    assert_true(isnan(lx_float_of_half(lx_half_of_float(NAN))));
    assert_int_equal(lx_half_of_float(-NAN) & 0x8000, 0x8000);
}

static void bfloats_match_all_patterns(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        const uint16_t bfloat = (uint16_t)i;
        const float value = lx_float_of_bfloat(bfloat);
        if ((bfloat & 0x7F80) == 0x7F80 && (bfloat & 0x7F))
            assert_true(isnan(lx_float_of_bfloat(lx_bfloat_of_float(value))));
        else
            assert_int_equal(lx_bfloat_of_float(value), bfloat);
    }
    assert_int_equal(lx_bfloat_of_float(1.0f + 1.0f / 256), 0x3F80); /* ties to even */
    assert_int_equal(lx_bfloat_of_float(1.0f + 3.0f / 256), 0x3F82);
    assert_int_equal(lx_bfloat_of_float(3.4e38f), 0x7F80); /* beyond the largest */
}

/* P-8 */
static void own_functions_match_libm(void **state)
{
    (void)state;
    test_rng rng = {3};
    for (int i = 0; i < 20000; i++) {
        const double x = (double)(uint32_t)test_rng_below(&rng, 1000000000) / 997.0;
        double c;
        double s;
        lx_cos_sin(x, &c, &s);
        assert_true(fabs(c - cos(x)) < 1e-9 && fabs(s - sin(x)) < 1e-9);
        const double y = (double)(uint32_t)test_rng_below(&rng, 40000) / 1000.0 - 20.0;
        assert_true(fabs(lx_exp(y) / exp(y) - 1) < 1e-13);
        assert_true(fabs(lx_log(x + 0.001) - log(x + 0.001)) < 1e-12);
    }
}

/* P-8: rows have the floats of lx_cos_sin, whichever kernels work them out, also of angles that
 * are too large for kernels. */
static void rows_are_those_of_the_definition(void **state)
{
    (void)state;
    test_rng rng = {4};
    float cosines[LX_KERNEL_TOKENS * 3], sines[LX_KERNEL_TOKENS * 3];
    for (size_t table = 0; lx_kernels_at(table); table++)
        for (uint32_t i = 0; i < 600; i++) {
            const lynx_rope rope = {LYNX_ROPE_HALVES, 64, 2.0f + (float)(i * i),
                                    i % 7 ? 1.0f : 1e-30f + (float)(i * i * i)};
            const uint32_t pair = (uint32_t)test_rng_below(&rng, 32);
            const uint32_t first = (uint32_t)test_rng_below(&rng, LYNX_PROMPT_TOKENS_MAX);
            const double turn =
                (double)rope.scale * lx_exp(-2.0 * pair / 64 * lx_log((double)rope.base));
            lx_rope_row(lx_kernels_at(table), &rope, pair, first, 150, cosines, sines);
            for (uint32_t t = 0; t < 150; t++) {
                double c;
                double s;
                lx_cos_sin((first + t) * turn, &c, &s);
                assert_true(cosines[t] == (float)c && sines[t] == (float)s);
            }
        }
}

/* P-8: a block says so when it cannot tell which float is nearer. At 1 radian a token and
 * below 9e8 that are 441 blocks of 14 million. */
static void undecided_angles_are_told(void **state)
{
    (void)state;
    float cosines[LX_KERNEL_TOKENS], sines[LX_KERNEL_TOKENS];
    for (size_t table = 0; lx_kernels_at(table); table++) {
        const lx_kernels *kernels = lx_kernels_at(table);
        assert_true(kernels->turn(0, 1, cosines, sines));
        assert_false(kernels->turn(2127616, 1, cosines, sines));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_agree),
        cmocka_unit_test(digests_are_those_of_the_format),
        cmocka_unit_test(splits_give_the_same_full_values),
        cmocka_unit_test(raw_tokens_are_exact),
        cmocka_unit_test(odd_pages_travel_raw),
        cmocka_unit_test(constant_channels_are_exact),
        cmocka_unit_test(constant_channels_are_near_on_narrow_metadata),
        cmocka_unit_test(foreign_planes_are_safe),
        cmocka_unit_test(arguments_are_checked),
        cmocka_unit_test(failed_allocations_leak_nothing),
        cmocka_unit_test(all_memory_is_taken_at_create),
        cmocka_unit_test(halves_match_all_patterns),
        cmocka_unit_test(kernels_have_the_same_floats),
        cmocka_unit_test(grids_cover_their_ranges),
        cmocka_unit_test(halves_next_to_odd_values),
        cmocka_unit_test(bfloats_match_all_patterns),
        cmocka_unit_test(own_functions_match_libm),
        cmocka_unit_test(rows_are_those_of_the_definition),
        cmocka_unit_test(undecided_angles_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
