/* SPDX-License-Identifier: MIT */
/* The bytes of planes, read by a second decoder that follows docs/format-codec.md alone. */
#include <math.h>

#include "support/cmocka_all.h"

#include "base/half.h"
#include "lynx/codec.h"
#include "support/rng.h"

enum { CHANNELS = 32, HEAD = 16, TOKENS = 100, HEAD_RAW = 4, TAIL_RAW = 3 };
enum { CODED = TOKENS - HEAD_RAW - TAIL_RAW, CHUNKS = (CODED + 31) / 32 };

enum { TURNED = 8 };

static const lynx_side_shape plain_shape = {.channels = CHANNELS, .head_channels = HEAD};
/* Channels that turn together, by angles so small that no value changes. */
static const lynx_side_shape still_shape = {CHANNELS,
                                            HEAD,
                                            {LYNX_ROPE_HALVES, TURNED, 0x1p126f, 0x1p-149f}};
static const lynx_page_span whole_span = {0, TOKENS, TOKENS};

/* A page in rows of tokens, and its planes. */
typedef struct coded {
    const lynx_side_shape *shape;
    lynx_side side;
    uint16_t values[TOKENS * CHANNELS];
    uint8_t room[LYNX_PLANES_MAX][TOKENS * CHANNELS * 2 + 256];
    size_t bytes[LYNX_PLANES_MAX];
    lynx_bytes views[LYNX_PLANES_MAX];
    uint32_t rows[LYNX_PLANES_MAX + 1][CHANNELS]; /* P-10: of planes 0 to i - 1 */
    bool is_raw;
} coded;

static lynx_tile tile_of(uint16_t *values)
{
    return (lynx_tile){values, LYNX_ELEMENT_F16, CHANNELS * 2, 2};
}

static void fill(coded *c, uint64_t seed)
{
    test_rng rng = test_rng_of(seed);
    for (uint32_t i = 0; i < TOKENS * CHANNELS; i++)
        c->values[i] = lx_half_of_float((float)(int32_t)test_rng_below(&rng, 4001) / 500.0f -
                                        (float)(i % CHANNELS));
}

/* Channels with ranges of very different widths, one of them constant. */
static void narrow_some(coded *c)
{
    for (uint32_t i = 0; i < TOKENS * CHANNELS; i++) {
        const uint32_t channel = i % CHANNELS;
        const float value = lx_float_of_half(c->values[i]);
        const float width = channel == 1 ? 0.0f : 1.0f / (float)(1u << channel % 7);
        c->values[i] = lx_half_of_float(value * width);
    }
}

static lynx_codec_spec spec_of(const char *name)
{
    lynx_codec_spec spec;
    assert_int_equal(lynx_codec_spec_named(&spec, name), LYNX_OK);
    spec.undo_rope = false;
    if (spec.profile != LYNX_PROFILE_RAW) {
        spec.head_raw_tokens = HEAD_RAW;
        spec.tail_raw_tokens = TAIL_RAW;
    }
    return spec;
}

static lynx_codec *codec_of(const lynx_codec_spec *spec)
{
    lynx_codec_options options;
    lynx_codec *codec = NULL;
    lynx_codec_options_init(&options);
    options.spec = *spec;
    options.channels_max = CHANNELS;
    assert_int_equal(lynx_codec_create(&codec, &options), LYNX_OK);
    return codec;
}

static void encode(const lynx_codec_spec *spec, const lynx_side_shape *shape, lynx_side side,
                   const lynx_page_span *span, coded *c)
{
    uint8_t *planes[LYNX_PLANES_MAX];
    lynx_codec *codec = codec_of(spec);
    const lynx_tile tile = tile_of(c->values);
    c->shape = shape;
    c->side = side;
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        planes[i] = c->room[i];
    assert_int_equal(lynx_codec_encode(codec, shape, side, span, &tile, planes, c->bytes,
                                       &c->is_raw),
                     LYNX_OK);
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        c->views[i] = (lynx_bytes){c->room[i], c->bytes[i]};
    lynx_codec_destroy(codec);
}

static lynx_status decode(const lynx_codec_spec *spec, const coded *c, uint32_t planes,
                          uint16_t *values)
{
    lynx_codec *codec = codec_of(spec);
    const lynx_tile tile = tile_of(values);
    const lynx_status status =
        lynx_codec_decode(codec, c->shape, c->side, &whole_span, c->views, planes, &tile);
    lynx_codec_destroy(codec);
    return status;
}

/* ---- the second decoder -------------------------------------------------------------- */

static float half_at(const uint8_t *bytes)
{
    return lx_float_of_half((uint16_t)(bytes[0] | bytes[1] << 8));
}

/* P-9 */
static void get_narrow(const uint8_t *bytes, uint16_t *low, uint16_t *step)
{
    *low = (uint16_t)((bytes[0] | (bytes[1] & 15) << 8) << 4);
    *step = (uint16_t)((bytes[1] >> 4 | bytes[2] << 4) << 3);
}

static size_t channel_meta(const lynx_codec_spec *spec)
{
    if (spec->profile == LYNX_PROFILE_TOKEN)
        return 0;
    if (spec->chunk_tokens == 0)
        return spec->meta_wide ? 4 : 3;
    return spec->meta_wide ? 4 * CHUNKS : 4 + 2 * CHUNKS;
}

static size_t meta_bytes(const lynx_codec_spec *spec)
{
    return CHANNELS * channel_meta(spec) +
           (spec->profile == LYNX_PROFILE_TOKEN ? 4 * CODED * (CHANNELS / HEAD) : 0);
}

static const uint8_t *meta_of(const coded *c)
{
    return c->room[0] + 4 + (HEAD_RAW + TAIL_RAW) * CHANNELS * 2;
}

static void range_of(const lynx_codec_spec *spec, const coded *c, uint32_t channel,
                     uint16_t *low, uint16_t *step)
{
    const uint8_t *meta = meta_of(c) + channel * channel_meta(spec);
    get_narrow(meta, low, step);
    if (spec->meta_wide) {
        *low = (uint16_t)(meta[0] | meta[1] << 8);
        *step = (uint16_t)(meta[2] | meta[3] << 8);
    }
}

/* P-10 */
static float square_of(const lynx_codec_spec *spec, const coded *c, uint32_t channel)
{
    uint16_t low, step;
    range_of(spec, c, channel, &low, &step);
    const float width = 255.9375f * lx_float_of_half(step);
    const float most = fmaxf(-lx_float_of_half(low), lx_float_of_half(low) + width);
    return most * most;
}

/* P-10 */
static int32_t weight_of(const lynx_codec_spec *spec, const coded *c, uint32_t channel)
{
    uint16_t low, step;
    uint32_t e;
    range_of(spec, c, channel, &low, &step);
    float q = c->side == LYNX_SIDE_KEYS ? square_of(spec, c, channel) : 0.0f;
    if (c->side == LYNX_SIDE_KEYS && spec->undo_rope && c->shape->rope.dims &&
        channel % HEAD < TURNED)
        q += square_of(spec, c, channel ^ (TURNED / 2));
    memcpy(&e, &q, sizeof(e));
    return step == 0 ? 0 : (int32_t)((5 * step + 2 * (e / 8192)) / 80);
}

/* P-10, one bit after the other: rows of each channel, 'total' in all. */
static void spread_rows(const lynx_codec_spec *spec, const coded *c, uint32_t total,
                        uint32_t rows[CHANNELS])
{
    uint32_t given = CHANNELS;
    for (uint32_t channel = 0; channel < CHANNELS; channel++)
        rows[channel] = 1;
    while (given < total) {
        uint32_t best = 0;
        int32_t height = INT32_MIN;
        for (uint32_t channel = 0; channel < CHANNELS; channel++) {
            const int32_t own = weight_of(spec, c, channel) - 64 * (int)rows[channel];
            if (rows[channel] < 12 && own > height) {
                best = channel;
                height = own;
            }
        }
        rows[best]++;
        given++;
    }
}

static void find_rows(const lynx_codec_spec *spec, coded *c)
{
    const uint32_t planes = lynx_codec_spec_plane_count(spec);
    uint32_t total = 0;
    for (uint32_t p = 0; spec->spread && p < planes; p++) {
        total += CHANNELS * spec->plane_bits[c->side][p];
        const uint8_t *quarters =
            p + 1 < planes ? spec->quarter_bits : spec->total_quarter_bits;
        spread_rows(spec, c, total + CHANNELS * (uint32_t)quarters[c->side] / 4,
                    c->rows[p + 1]);
    }
}

/* P-12: tokens of the coded run before the recent ones. */
static uint32_t earlier_of(const lynx_codec_spec *spec)
{
    const uint32_t recent = spec->recent_tokens > TAIL_RAW ? spec->recent_tokens - TAIL_RAW : 0;
    return recent < CODED ? CODED - recent : 0;
}

static uint32_t rows_of_plane(const lynx_codec_spec *spec, const coded *c, uint32_t plane)
{
    uint32_t rows = 0;
    if (!spec->spread)
        return CHANNELS * spec->plane_bits[c->side][plane];
    for (uint32_t channel = 0; channel < CHANNELS; channel++)
        rows += c->rows[plane + 1][channel] - c->rows[plane][channel];
    return rows;
}

/* Where the rows are that have a token's bits. */
typedef struct place {
    const uint8_t *rows;
    size_t bytes;   /* of a row */
    uint32_t token; /* in it */
} place;

/* P-5, P-12 */
static place place_of(const lynx_codec_spec *spec, const coded *c, uint32_t plane,
                      uint32_t token)
{
    const uint32_t earlier = earlier_of(spec);
    const uint8_t *first = meta_of(c) + meta_bytes(spec);
    place at = {plane ? c->room[plane] : first, (earlier + 7) / 8, token};
    if (token < earlier)
        return at;
    at = (place){first + rows_of_plane(spec, c, 0) * at.bytes, (CODED - earlier + 7) / 8,
                 token - earlier};
    for (uint32_t p = 0; p < plane; p++)
        at.rows += rows_of_plane(spec, c, p) * at.bytes;
    return at;
}

/* P-12: of a recent token all planes are here. */
static uint32_t planes_here(const lynx_codec_spec *spec, uint32_t planes, uint32_t token)
{
    return token < earlier_of(spec) ? planes : lynx_codec_spec_plane_count(spec);
}

static uint32_t bit_of(place at, size_t row)
{
    return (uint32_t)at.rows[row * at.bytes + at.token / 8] >> at.token % 8 & 1u;
}

/* P-10: as code_of. */
static uint32_t spread_code_of(const lynx_codec_spec *spec, const coded *c, uint32_t planes,
                               uint32_t channel, uint32_t token, uint32_t *missing)
{
    uint32_t code = 0;
    const uint32_t *before = c->rows[0];
    for (uint32_t p = 0; p < planes_here(spec, planes, token); p++) {
        const place at = place_of(spec, c, p, token);
        const uint32_t *now = c->rows[p + 1];
        size_t row = 0;
        for (uint32_t i = 0; i < channel; i++)
            row += now[i] - before[i];
        for (uint32_t b = before[channel]; b < now[channel]; b++)
            code = code << 1 | bit_of(at, row++);
        before = now;
    }
    *missing = 12 - before[channel];
    return code << *missing;
}

/* The bits of a code that 'planes' planes hold; '*missing' is how many are not here. */
static uint32_t code_of(const lynx_codec_spec *spec, const coded *c, uint32_t planes,
                        uint32_t channel, uint32_t token, uint32_t *missing)
{
    uint32_t code = 0;
    *missing = 0;
    if (spec->spread)
        return spread_code_of(spec, c, planes, channel, token, missing);
    for (uint32_t p = 0; p < lynx_codec_spec_plane_count(spec); p++) {
        const uint32_t bits = spec->plane_bits[c->side][p];
        const bool is_here = p < planes_here(spec, planes, token);
        const place at = place_of(spec, c, p, token);
        for (uint32_t b = 0; b < bits && is_here; b++)
            code = code << 1 | bit_of(at, channel * bits + b);
        *missing += is_here ? 0 : bits;
    }
    return code << *missing;
}

static float on_grid(float low, float step, uint32_t code, uint32_t missing)
{
    const float centre = (float)((1u << missing) - 1) / 2.0f;
    const float shift = centre * step;
    const float base = low + shift;
    const float scaled = (float)code * step;
    return base + scaled;
}

/* P-11, of 12 bits. */
static float on_bent_grid(float low, float step, uint32_t code, uint32_t missing)
{
    const float half = 127.96875f * step;
    const float middle = low + half;
    const float centre = (float)((1u << missing) - 1) / 2.0f;
    const float d = ((float)code + centre) / 16.0f - 127.96875f;
    const float coarser = fabsf(d) * (step / 255.9375f);
    const float slope = 0.5f * step + coarser;
    const float above = d * slope;
    return middle + above;
}

static float paper_value(const uint8_t *meta, float alpha, uint32_t code, uint32_t missing)
{
    const int a = (int)(code >> 4) >= 8 ? (int)(code >> 4) - 16 : (int)(code >> 4);
    const int r = (int)(code & 15) >= 8 ? (int)(code & 15) - 16 : (int)(code & 15);
    const int v = a < 0 ? -a - 1 : a;
    const int i = missing == 0 ? 16 * v - r : v == 0 ? 4 : 16 * v;
    const double mean = half_at(meta) + meta[4] / 255.0 * half_at(meta + 2);
    const double sigma = meta[5] / 255.0 * half_at(meta + 2);
    const double distance = sigma * (pow(1.0 + alpha, i / 120.0) - 1.0) / alpha;
    return (float)(a < 0 ? mean - distance : mean + distance);
}

static float value_of(const lynx_codec_spec *spec, const coded *c, uint32_t planes,
                      uint32_t channel, uint32_t token)
{
    uint32_t missing;
    const uint32_t code = code_of(spec, c, planes, channel, token, &missing);
    const uint8_t *meta = meta_of(c) + channel * channel_meta(spec);
    const uint32_t chunk = token / 32;
    uint32_t bits = 0;
    for (uint32_t p = 0; p < LYNX_PLANES_MAX; p++)
        bits += spec->plane_bits[c->side][p];
    if (spec->profile == LYNX_PROFILE_TOKEN) {
        meta = meta_of(c) + (channel / HEAD * CODED + token) * 4;
        return on_grid(half_at(meta), half_at(meta + 2), code, missing);
    }
    if (spec->profile == LYNX_PROFILE_PAPER) {
        const uint8_t own[6] = {
            meta[0], meta[1], meta[2], meta[3], meta[4 + 2 * chunk], meta[5 + 2 * chunk]};
        return paper_value(own, spec->alpha, code, missing);
    }
    if (spec->chunk_tokens == 0) {
        uint16_t low, step;
        range_of(spec, c, channel, &low, &step);
        const bool is_bent = spec->bend && c->side == LYNX_SIDE_VALUES;
        const float parts = spec->spread ? 16.0f : 1.0f;
        return is_bent
                   ? on_bent_grid(lx_float_of_half(low), lx_float_of_half(step), code, missing)
                   : on_grid(lx_float_of_half(low), lx_float_of_half(step) / parts, code,
                             missing);
    }
    if (spec->meta_wide)
        return on_grid(half_at(meta + 4 * chunk), half_at(meta + 4 * chunk + 2), code, missing);
    const float offset = (float)meta[4 + 2 * chunk] * half_at(meta + 2);
    const float width = (float)meta[5 + 2 * chunk] * half_at(meta + 2);
    return on_grid(half_at(meta) + offset, width / (float)((1u << bits) - 1), code, missing);
}

static void expect_values(const lynx_codec_spec *spec, const coded *c, uint32_t planes)
{
    static uint16_t out[TOKENS * CHANNELS];
    assert_int_equal(decode(spec, c, planes, out), LYNX_OK);
    for (uint32_t t = 0; t < CODED; t++)
        for (uint32_t channel = 0; channel < CHANNELS; channel++) {
            const uint16_t half = out[(HEAD_RAW + t) * CHANNELS + channel];
            const float value = value_of(spec, c, planes, channel, t);
            if (spec->profile == LYNX_PROFILE_PAPER)
                assert_true(fabsf(lx_float_of_half(half) - value) <=
                            fabsf(value) / 1024 + 0.001f); /* rounding to a half */
            else
                assert_int_equal(half, lx_half_of_float(value));
        }
}

/* Each built-in codec, and what none of them has; NULL behind the last. */
static const char *codec_name_at(size_t index)
{
    static const char *const others[] = {"range:bend=no,spread=no,k=5+3,v=5+3",
                                         "range:bend=no",
                                         "range:k=8,v=8",
                                         "range:k=4+3,v=5+7",
                                         "range:spread=yes,k=4+4,v=4+4",
                                         "range:k=4.25+3.75,v=4.5+3.5",
                                         "range:k=4.25+3,v=4.25+4.5",
                                         "range:k=3.75+2+2.25,v=4+2+2",
                                         "range:spread=yes,k=1+1+6,v=1+1+6,wide=yes",
                                         "range:spread=yes,k=4+2+2,v=4+2+2",
                                         "range:recent=0",
                                         "range:recent=8,spread=no,bend=no",
                                         "range:recent=248",
                                         NULL};
    size_t count = 0;
    while (lynx_codec_spec_name_at(count))
        count++;
    return index < count ? lynx_codec_spec_name_at(index) : others[index - count];
}

/* The first plane of range-3 is that of range, so what is drafted on it is the same. */
static void an_anchor_does_not_depend_on_the_planes_behind_it(void **state)
{
    (void)state;
    static coded two, three;
    static uint16_t of_two[TOKENS * CHANNELS], of_three[TOKENS * CHANNELS];
    const lynx_codec_spec range = spec_of("range");
    const lynx_codec_spec range_3 = spec_of("range-3");
    assert_int_equal(lynx_codec_spec_plane_count(&range_3), 3);
    for (uint32_t side = 0; side < 2; side++) {
        fill(&two, side);
        narrow_some(&two);
        fill(&three, side);
        narrow_some(&three);
        encode(&range, &plain_shape, (lynx_side)side, &whole_span, &two);
        encode(&range_3, &plain_shape, (lynx_side)side, &whole_span, &three);
        assert_int_equal(three.bytes[0], two.bytes[0]);
        assert_int_equal(decode(&range, &two, 1, of_two), LYNX_OK);
        assert_int_equal(decode(&range_3, &three, 1, of_three), LYNX_OK);
        assert_memory_equal(of_three, of_two, sizeof(of_two));
        assert_int_equal(three.bytes[1] + three.bytes[2], two.bytes[1]);
    }
}

/* Sizes, raw tokens, unused bits, and the value of every code on each number of planes. */
static void expect_layout(const lynx_codec_spec *codec, const lynx_side_shape *shape,
                          lynx_side side, uint64_t seed)
{
    static coded c;
    lynx_codec_spec spec = *codec;
    const uint32_t planes = lynx_codec_spec_plane_count(&spec);
    const uint32_t earlier = earlier_of(&spec);
    const size_t row_bytes = (earlier + 7) / 8, recent_bytes = (CODED - earlier + 7) / 8;
    uint32_t sum = 0, rows = 0, all = 0;
    spec.undo_rope = shape->rope.dims > 0;
    fill(&c, seed);
    if (spec.spread)
        narrow_some(&c);
    encode(&spec, shape, side, &whole_span, &c);
    find_rows(&spec, &c);
    assert_false(c.is_raw);
    assert_memory_equal(c.room[0], "\0\0\0\0", 4);
    assert_memory_equal(c.room[0] + 4, c.values, HEAD_RAW * CHANNELS * 2);
    assert_memory_equal(c.room[0] + 4 + HEAD_RAW * CHANNELS * 2,
                        c.values + (TOKENS - TAIL_RAW) * CHANNELS, TAIL_RAW * CHANNELS * 2);
    const size_t front = (size_t)(meta_of(&c) - c.room[0]) + meta_bytes(&spec);
    for (uint32_t p = 0; p < planes; p++)
        all += rows_of_plane(&spec, &c, p);
    for (uint32_t p = 0; p < planes; p++) {
        const size_t first = p ? 0 : front;
        const uint32_t before = rows;
        sum += 4u * spec.plane_bits[side][p];
        const uint8_t *quarters = p + 1 < planes ? spec.quarter_bits : spec.total_quarter_bits;
        rows = CHANNELS * (sum + quarters[side]) / 4;
        const size_t end = first + (size_t)(rows - before) * row_bytes;
        assert_int_equal(c.bytes[p], end + (p ? 0 : all * recent_bytes));
        for (size_t row = first; row < end && earlier % 8; row += row_bytes)
            assert_int_equal(c.room[p][row + row_bytes - 1] >> earlier % 8, 0);
        for (size_t row = end; row < c.bytes[p]; row += recent_bytes)
            assert_int_equal(c.room[p][row + recent_bytes - 1] >> (CODED - earlier) % 8, 0);
    }
    for (uint32_t here = 1; here <= planes; here++)
        expect_values(&spec, &c, here);
}

/* P-2, P-5, P-7, P-10 */
static void planes_are_laid_out_as_written(void **state)
{
    (void)state;
    uint32_t tried = 0;
    for (size_t s = 0; codec_name_at(s); s++) {
        const lynx_codec_spec spec = spec_of(codec_name_at(s));
        if (spec.profile == LYNX_PROFILE_RAW)
            continue;
        expect_layout(&spec, &plain_shape, LYNX_SIDE_KEYS, s);
        expect_layout(&spec, &still_shape, LYNX_SIDE_KEYS, s);
        expect_layout(&spec, &plain_shape, LYNX_SIDE_VALUES, s);
        tried++;
    }
    assert_true(tried >= 14);
}

/* P-6 */
static void ranges_are_the_tightest(void **state)
{
    (void)state;
    static coded c;
    const lynx_codec_spec spec = spec_of("int8");
    fill(&c, 99);
    encode(&spec, &plain_shape, LYNX_SIDE_KEYS, &whole_span, &c);
    for (uint32_t channel = 0; channel < CHANNELS; channel++) {
        const uint8_t *meta = meta_of(&c) + 4 * channel;
        const float low = half_at(meta);
        const float step = half_at(meta + 2);
        const uint16_t step_half = (uint16_t)(meta[2] | meta[3] << 8);
        float least = INFINITY;
        float most = -INFINITY;
        for (uint32_t t = 0; t < CODED; t++) {
            const float x = lx_float_of_half(c.values[(HEAD_RAW + t) * CHANNELS + channel]);
            least = fminf(least, x);
            most = fmaxf(most, x);
        }
        assert_true(low == least); /* a half itself, so the largest that is not above */
        assert_true(low + 255.0f * step >= most);
        assert_true(low + 255.0f * lx_float_of_half((uint16_t)(step_half - 1)) < most);
        for (uint32_t t = 0; t < CODED; t++) {
            uint32_t missing;
            const float x = lx_float_of_half(c.values[(HEAD_RAW + t) * CHANNELS + channel]);
            const float inverse = 1.0f / step;
            const long code = lrintf((x - low) * inverse);
            assert_int_equal(code_of(&spec, &c, 1, channel, t, &missing), code < 0     ? 0
                                                                          : code > 255 ? 255
                                                                                       : code);
        }
    }
}

/* P-11: the value of a code is near by the rows that the channel has. */
static void bent_codes_are_near(void **state)
{
    (void)state;
    static coded c;
    const lynx_codec_spec spec = spec_of("range:k=8,v=8");
    uint32_t long_codes = 0;
    fill(&c, 97);
    narrow_some(&c);
    encode(&spec, &plain_shape, LYNX_SIDE_VALUES, &whole_span, &c);
    find_rows(&spec, &c);
    for (uint32_t channel = 0; channel < CHANNELS; channel++)
        for (uint32_t t = 0; t < CODED; t++) {
            const float x = lx_float_of_half(c.values[(HEAD_RAW + t) * CHANNELS + channel]);
            uint16_t low, step;
            uint32_t missing;
            range_of(&spec, &c, channel, &low, &step);
            const uint32_t code = code_of(&spec, &c, 1, channel, t, &missing);
            const float value =
                on_bent_grid(lx_float_of_half(low), lx_float_of_half(step), code, missing);
            /* Half a bin and half a code of rounding, in steps, which are 0.5 to 1.5 wide. */
            const float half = (float)((1u << missing) + 1) / 32.0f;
            const float end = fabsf((float)code / 16.0f - 127.96875f) + 2.0f * half;
            const float width = lx_float_of_half(step) * (0.5f + end / 127.96875f);
            assert_true(fabsf(value - x) <= half * width + 1e-6f);
            long_codes += missing < 4;
        }
    assert_true(long_codes > 0);
}

/* P-6, P-9: below zero and above it. */
static void narrow_ranges_are_the_tightest(void **state)
{
    (void)state;
    static coded c;
    const lynx_codec_spec spec = spec_of("range44");
    fill(&c, 98);
    for (uint32_t t = 0; t < TOKENS; t++)
        for (uint32_t channel = 0; channel < CHANNELS / 2; channel++) {
            uint16_t *value = &c.values[t * CHANNELS + channel];
            *value = lx_half_of_float(100.0f + lx_float_of_half(*value));
        }
    encode(&spec, &plain_shape, LYNX_SIDE_KEYS, &whole_span, &c);
    for (uint32_t channel = 0; channel < CHANNELS; channel++) {
        uint16_t low;
        uint16_t step;
        float least = INFINITY;
        float most = -INFINITY;
        get_narrow(meta_of(&c) + 3 * channel, &low, &step);
        for (uint32_t t = 0; t < CODED; t++) {
            const float x = lx_float_of_half(c.values[(HEAD_RAW + t) * CHANNELS + channel]);
            least = fminf(least, x);
            most = fmaxf(most, x);
        }
        const float base = lx_float_of_half(low);
        const bool is_below_zero = (low & 0x8000) != 0;
        const uint16_t next = (uint16_t)(is_below_zero ? low - 16 : low + 16);
        assert_true(base <= least);
        assert_true(lx_float_of_half(next) > least);
        assert_true(base + 255.9375f * lx_float_of_half(step) >= most);
        assert_true(base + 255.9375f * lx_float_of_half((uint16_t)(step - 8)) < most);
    }
}

/* P-1, P-3 */
static void raw_pages_are_plain_values(void **state)
{
    (void)state;
    static coded c;
    for (uint32_t why = 0; why < 5; why++) {
        lynx_codec_spec spec = spec_of(why == 0 ? "raw" : "range44");
        lynx_page_span span = whole_span;
        fill(&c, why);
        if (why == 1)
            spec.head_raw_tokens = TOKENS; /* nothing is coded */
        if (why == 2)
            c.values[50 * CHANNELS] = 0x7E00; /* not a number */
        if (why == 3)
            c.values[50 * CHANNELS] = lx_half_of_float(-30016.0f);
        if (why == 4)
            span = (lynx_page_span){32, HEAD_RAW, TOKENS}; /* coding would not be smaller */
        encode(&spec, &plain_shape, LYNX_SIDE_KEYS, &span, &c);
        const size_t size = span.token_count * CHANNELS * 2;
        assert_int_equal(c.is_raw, why > 0); /* although the codec codes pages */
        assert_int_equal(c.bytes[0], 4 + size);
        assert_memory_equal(c.room[0], "\1\0\0\0", 4);
        assert_memory_equal(c.room[0] + 4, c.values, size);
        assert_int_equal(why == 0 ? 0 : c.bytes[1], 0);
    }
}

/* P-4 */
static void broken_planes_are_refused(void **state)
{
    (void)state;
    static coded c;
    static uint16_t out[TOKENS * CHANNELS];
    for (uint32_t why = 0; why < 7; why++) {
        lynx_codec_spec spec = spec_of("range44");
        fill(&c, why);
        encode(&spec, &plain_shape, LYNX_SIDE_KEYS, &whole_span, &c);
        uint8_t *meta = c.room[0] + (meta_of(&c) - c.room[0]);
        if (why == 0)
            c.room[0][0] = 2; /* no mode */
        else if (why == 1)
            c.room[0][3] = 1;
        else if (why == 2)
            c.views[0].size--;
        else if (why == 3)
            c.views[1].size--;
        else if (why == 4)
            memcpy(meta, "\xC0\x07", 2); /* an infinite low end */
        else if (why == 5)
            spec.head_raw_tokens = TOKENS; /* mode 0 without a coded run */
        memset(out, 0x55, sizeof(out));
        assert_int_equal(decode(&spec, &c, 2, out), why == 6 ? LYNX_OK : LYNX_ERR_CORRUPT);
        for (uint32_t i = 0; i < TOKENS * CHANNELS && why < 6; i++)
            assert_int_equal(out[i], 0x5555);
    }
}

/* P-8: keys that are one vector, turned by their positions, are constant when turned back. */
static void rotation_is_undone(void **state)
{
    (void)state;
    static coded c;
    static const lynx_rope_pairing pairings[] = {LYNX_ROPE_NEIGHBOURS, LYNX_ROPE_HALVES};
    enum { DIMS = 6, FIRST = 512 };
    for (uint32_t n = 0; n < 2; n++) {
        const lynx_side_shape shape = {CHANNELS, CHANNELS, {pairings[n], DIMS, 10000.0f, 0.5f}};
        const lynx_page_span span = {FIRST, TOKENS, FIRST + 2 * TOKENS};
        lynx_codec_spec spec = spec_of("int8");
        spec.undo_rope = true;
        for (uint32_t i = 0; i < TOKENS * CHANNELS; i++)
            c.values[i] = lx_half_of_float(7.0f); /* channels that are not turned */
        for (uint32_t t = 0; t < TOKENS; t++)
            for (uint32_t i = 0; i < DIMS / 2; i++) {
                const uint32_t a = n == 0 ? 2 * i : i;
                const uint32_t b = n == 0 ? 2 * i + 1 : i + DIMS / 2;
                const double angle = (FIRST + t) * 0.5 * pow(10000.0, -2.0 * i / DIMS);
                const double x = 1.0 + a;
                const double y = 1.0 + b;
                uint16_t *row = c.values + t * CHANNELS;
                row[a] = lx_half_of_float((float)(x * cos(angle) - y * sin(angle)));
                row[b] = lx_half_of_float((float)(x * sin(angle) + y * cos(angle)));
            }
        encode(&spec, &shape, LYNX_SIDE_KEYS, &span, &c);
        assert_false(c.is_raw);
        for (uint32_t channel = 0; channel < CHANNELS; channel++) {
            const uint8_t *meta = c.room[0] + 4 + 4 * channel; /* no raw tokens here */
            const float expected = channel < DIMS ? 1.0f + (float)channel : 7.0f;
            assert_true(fabsf(half_at(meta) - expected) < 0.02f);
            assert_true(255.0f * half_at(meta + 2) < 0.03f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_anchor_does_not_depend_on_the_planes_behind_it),
        cmocka_unit_test(planes_are_laid_out_as_written),
        cmocka_unit_test(ranges_are_the_tightest),
        cmocka_unit_test(bent_codes_are_near),
        cmocka_unit_test(narrow_ranges_are_the_tightest),
        cmocka_unit_test(raw_pages_are_plain_values),
        cmocka_unit_test(broken_planes_are_refused),
        cmocka_unit_test(rotation_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
