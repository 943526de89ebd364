/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "base/check.h"
#include "lynx/codec.h"

static const struct {
    const char *name;
    lynx_codec_spec spec;
} named[] = {
    {"range",
     {.profile = LYNX_PROFILE_RANGE,
      .plane_bits = {{4, 3}, {4, 4}},
      .quarter_bits = {1, 2},
      .total_quarter_bits = {3, 1},
      .undo_rope = true,
      .spread = true,
      .bend = true,
      .head_raw_tokens = 1,
      .recent_tokens = 16}},
    {"range-3",
     {.profile = LYNX_PROFILE_RANGE,
      .plane_bits = {{4, 2, 1}, {4, 2, 2}},
      .quarter_bits = {1, 2},
      .total_quarter_bits = {3, 1},
      .undo_rope = true,
      .spread = true,
      .bend = true,
      .head_raw_tokens = 1,
      .recent_tokens = 16}},
    {"range44",
     {.profile = LYNX_PROFILE_RANGE,
      .plane_bits = {{4, 3}, {4, 4}},
      .total_quarter_bits = {3, 1},
      .undo_rope = true,
      .spread = true,
      .bend = true,
      .head_raw_tokens = 1,
      .recent_tokens = 16}},
    {"range-chunk",
     {.profile = LYNX_PROFILE_RANGE,
      .plane_bits = {{4, 4}, {4, 4}},
      .chunk_tokens = 32,
      .head_raw_tokens = 4}},
    {"paper",
     {.profile = LYNX_PROFILE_PAPER,
      .plane_bits = {{4, 4}, {4, 4}},
      .chunk_tokens = 32,
      .alpha = 1.0f}},
    {"int8", {.profile = LYNX_PROFILE_RANGE, .plane_bits = {{8}, {8}}, .meta_wide = true}},
    {"int4", {.profile = LYNX_PROFILE_RANGE, .plane_bits = {{4}, {4}}, .meta_wide = true}},
    {"int4-chunk",
     {.profile = LYNX_PROFILE_RANGE,
      .plane_bits = {{4}, {4}},
      .chunk_tokens = 32,
      .meta_wide = true}},
    {"int8-token", {.profile = LYNX_PROFILE_TOKEN, .plane_bits = {{8}, {8}}}},
    {"int4-token", {.profile = LYNX_PROFILE_TOKEN, .plane_bits = {{4}, {4}}}},
    {"raw", {.profile = LYNX_PROFILE_RAW, .plane_bits = {{16}, {16}}}},
};

enum {
    NAMED_COUNT = sizeof(named) / sizeof(*named),
    RAW_TOKENS_MAX = 4096,
    RECENT_MAX = 248,
    RECENT_STEP = 8,
    SPREAD_BITS_MAX = 12,
    QUARTERS_MAX = 3
};

/* ---- a name and its settings --------------------------------------------------------- */

/* Text of a value, not terminated. */
typedef struct word {
    const char *text;
    size_t size;
} word;

static bool is_word(word w, const char *text)
{
    return w.size == strlen(text) && memcmp(w.text, text, w.size) == 0;
}

/* Digits alone, at most 'most'. */
static bool take_number(word w, uint32_t most, uint32_t *number)
{
    uint32_t value = 0;
    for (size_t i = 0; i < w.size; i++) {
        if (w.text[i] < '0' || w.text[i] > '9')
            return false;
        value = 10 * value + (uint32_t)(w.text[i] - '0');
        if (value > most)
            return false;
    }
    *number = value;
    return w.size > 0;
}

static bool take_tokens(word w, uint16_t *tokens)
{
    uint32_t number = 0;
    if (!take_number(w, RAW_TOKENS_MAX, &number))
        return false;
    *tokens = (uint16_t)number;
    return true;
}

static bool take_flag(word w, bool *flag)
{
    *flag = is_word(w, "yes");
    return *flag || is_word(w, "no");
}

/* Digits with a point among them, whatever the locale. */
static bool take_decimal(word w, float *decimal)
{
    double value = 0, unit = 1;
    bool is_fraction = false, has_digit = false;
    if (w.size > 16)
        return false;
    for (size_t i = 0; i < w.size; i++) {
        if (w.text[i] == '.' && !is_fraction) {
            is_fraction = true;
            continue;
        }
        if (w.text[i] < '0' || w.text[i] > '9')
            return false;
        has_digit = true;
        value = 10 * value + (w.text[i] - '0');
        unit *= is_fraction ? 10 : 1;
    }
    *decimal = (float)(value / unit);
    return has_digit;
}

/* "5+3", "4.25+3.5": the bits of each plane of a side. */
static bool take_planes(word w, lynx_codec_spec *spec, lynx_side side)
{
    uint8_t *bits = spec->plane_bits[side];
    uint32_t quarters = 0;
    size_t at = 0;
    memset(bits, 0, LYNX_PLANES_MAX);
    for (uint32_t plane = 0; plane < LYNX_PLANES_MAX; plane++) {
        float decimal = 0;
        const size_t begin = at;
        while (at < w.size && w.text[at] != '+')
            at++;
        if (!take_decimal((word){w.text + begin, at - begin}, &decimal) || decimal > 16)
            return false;
        const uint32_t number = (uint32_t)(4 * decimal);
        const bool is_last = at == w.size;
        if (plane == 0)
            quarters = is_last ? 0 : number % 4;
        const uint32_t whole = is_last && plane > 0 ? number + quarters : number;
        const bool is_whole = whole % 4 == 0 || plane == 0 || is_last;
        if (whole < 4 || !is_whole || (float)number != 4 * decimal)
            return false;
        bits[plane] = (uint8_t)(whole / 4);
        if (is_last) {
            spec->quarter_bits[side] = (uint8_t)quarters;
            spec->total_quarter_bits[side] = (uint8_t)(whole % 4);
            return true;
        }
        at++; /* the plus sign */
    }
    return false;
}

/* Without spread all bits are whole: a sum goes to the nearest. */
static bool take_spread(word w, lynx_codec_spec *spec)
{
    if (!take_flag(w, &spec->spread))
        return false;
    const uint32_t last = lynx_codec_spec_plane_count(spec) - 1;
    for (uint32_t side = 0; side < 2 && !spec->spread; side++) {
        if (spec->total_quarter_bits[side] >= 2)
            spec->plane_bits[side][last]++;
        spec->quarter_bits[side] = 0;
        spec->total_quarter_bits[side] = 0;
    }
    return true;
}

static bool take_setting(lynx_codec_spec *spec, word key, word value)
{
    uint32_t number = 0;
    if (is_word(key, "k"))
        return take_planes(value, spec, LYNX_SIDE_KEYS);
    if (is_word(key, "v"))
        return take_planes(value, spec, LYNX_SIDE_VALUES);
    if (is_word(key, "head"))
        return take_tokens(value, &spec->head_raw_tokens);
    if (is_word(key, "tail"))
        return take_tokens(value, &spec->tail_raw_tokens);
    if (is_word(key, "recent")) {
        const bool is_taken = take_number(value, RECENT_MAX, &number);
        spec->recent_tokens = (uint8_t)number;
        return is_taken;
    }
    if (is_word(key, "undo_rope"))
        return take_flag(value, &spec->undo_rope);
    if (is_word(key, "spread"))
        return take_spread(value, spec);
    if (is_word(key, "bend"))
        return take_flag(value, &spec->bend);
    if (is_word(key, "wide"))
        return take_flag(value, &spec->meta_wide);
    if (is_word(key, "alpha"))
        return take_decimal(value, &spec->alpha);
    if (!is_word(key, "chunk") || !take_number(value, 255, &number))
        return false;
    spec->chunk_tokens = (uint8_t)number;
    if (number)
        spec->recent_tokens = 0;
    return true;
}

/* "key=value,key=value". */
static bool take_settings(lynx_codec_spec *spec, const char *text)
{
    for (;;) {
        const size_t size = strcspn(text, ",");
        const char *equals = memchr(text, '=', size);
        if (!equals)
            return false;
        const word key = {text, (size_t)(equals - text)};
        const word value = {equals + 1, size - key.size - 1};
        if (!take_setting(spec, key, value))
            return false;
        if (text[size] == '\0')
            return true;
        text += size + 1;
    }
}

lynx_status lynx_codec_spec_named(lynx_codec_spec *spec, const char *name)
{
    const size_t size = strcspn(name, ":");
    for (size_t i = 0; i < NAMED_COUNT; i++)
        if (is_word((word){name, size}, named[i].name)) {
            lynx_codec_spec changed = named[i].spec;
            if (name[size] == ':')
                LX_REQUIRE(take_settings(&changed, name + size + 1), LYNX_ERR_ARGUMENT);
            LX_TRY(lynx_codec_spec_check(&changed));
            *spec = changed;
            return LYNX_OK;
        }
    return LYNX_ERR_ARGUMENT;
}

const char *lynx_codec_spec_name_at(size_t index)
{
    return index < NAMED_COUNT ? named[index].name : NULL;
}

bool lynx_codec_spec_is_storable(const lynx_codec_spec *spec)
{
    return spec->tail_raw_tokens == 0 && spec->recent_tokens == 0;
}

lynx_codec_spec lynx_codec_spec_storable(lynx_codec_spec spec)
{
    spec.tail_raw_tokens = 0;
    spec.recent_tokens = 0;
    return spec;
}

uint32_t lynx_codec_spec_plane_count(const lynx_codec_spec *spec)
{
    uint32_t count = 0;
    while (count < LYNX_PLANES_MAX && spec->plane_bits[0][count])
        count++;
    return count ? count : 1;
}

/* Of planes 0 to 'plane', in quarters of a bit. */
static uint32_t quarters_through(const lynx_codec_spec *spec, lynx_side side, uint32_t plane)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i <= plane; i++)
        sum += 4u * spec->plane_bits[side][i];
    const bool is_last = plane + 1 == lynx_codec_spec_plane_count(spec);
    return sum + (is_last ? spec->total_quarter_bits[side] : spec->quarter_bits[side]);
}

uint32_t lynx_codec_spec_plane_rows(const lynx_codec_spec *spec, lynx_side side, uint32_t plane,
                                    uint32_t channels)
{
    const uint32_t before = plane ? quarters_through(spec, side, plane - 1) * channels / 4 : 0;
    return quarters_through(spec, side, plane) * channels / 4 - before;
}

/* Sum of one side's bits; 0 when a zero stands before a bit count. */
static uint32_t code_bits(const lynx_codec_spec *spec, uint32_t side, uint32_t planes)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++) {
        if ((spec->plane_bits[side][i] != 0) != (i < planes))
            return 0;
        sum += spec->plane_bits[side][i];
    }
    return sum;
}

/* 'bits' is the sum of the side's whole bits. */
static bool quarters_fit(const lynx_codec_spec *spec, uint32_t side, uint32_t bits,
                         uint32_t planes)
{
    const uint32_t first = spec->quarter_bits[side];
    const uint32_t total = spec->total_quarter_bits[side];
    if (first == 0 && total == 0)
        return true;
    return spec->spread && first <= QUARTERS_MAX && total <= QUARTERS_MAX &&
           (first == 0 || planes > 1) && (total == 0 || bits < SPREAD_BITS_MAX);
}

lynx_status lynx_codec_spec_check(const lynx_codec_spec *spec)
{
    const uint32_t planes = lynx_codec_spec_plane_count(spec);
    const uint32_t bits = code_bits(spec, 0, planes);
    const uint32_t other = code_bits(spec, 1, planes);
    LX_REQUIRE(spec->spread ? other >= 1 && other <= SPREAD_BITS_MAX : other == bits,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(spec->head_raw_tokens <= RAW_TOKENS_MAX &&
                   spec->tail_raw_tokens <= RAW_TOKENS_MAX,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(spec->chunk_tokens == 0 || spec->chunk_tokens == 32, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(spec->recent_tokens == 0 ||
                   (spec->recent_tokens <= RECENT_MAX &&
                    spec->recent_tokens % RECENT_STEP == 0 &&
                    spec->profile == LYNX_PROFILE_RANGE && spec->chunk_tokens == 0),
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(!spec->meta_wide || spec->profile == LYNX_PROFILE_RANGE, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(!spec->spread || (spec->profile == LYNX_PROFILE_RANGE && !spec->chunk_tokens),
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(!spec->bend || spec->spread, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(quarters_fit(spec, 0, bits, planes) && quarters_fit(spec, 1, other, planes),
               LYNX_ERR_ARGUMENT);
    if (spec->profile != LYNX_PROFILE_PAPER)
        LX_REQUIRE(spec->alpha == 0.0f, LYNX_ERR_ARGUMENT);
    switch (spec->profile) {
    case LYNX_PROFILE_RAW:
        LX_REQUIRE(planes == 1 && bits == 16 && !spec->undo_rope && !spec->chunk_tokens,
                   LYNX_ERR_ARGUMENT);
        return LYNX_OK;
    case LYNX_PROFILE_RANGE:
        LX_REQUIRE(spec->spread ? bits >= 1 && bits <= SPREAD_BITS_MAX : bits == 8 || bits == 4,
                   LYNX_ERR_ARGUMENT);
        return LYNX_OK;
    case LYNX_PROFILE_PAPER:
        LX_REQUIRE(planes == 2 && bits == 8 && spec->plane_bits[0][0] == 4 &&
                       spec->plane_bits[1][0] == 4 && spec->chunk_tokens == 32,
                   LYNX_ERR_ARGUMENT);
        LX_REQUIRE(isfinite(spec->alpha) && spec->alpha > 0.0f && spec->alpha <= 255.0f,
                   LYNX_ERR_ARGUMENT);
        return LYNX_OK;
    case LYNX_PROFILE_TOKEN:
        LX_REQUIRE((bits == 8 || bits == 4) && !spec->chunk_tokens, LYNX_ERR_ARGUMENT);
        return LYNX_OK;
    }
    return LYNX_ERR_ARGUMENT;
}
