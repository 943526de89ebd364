/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "lynx/codec.h"
#include "support/cmocka_all.h"

static lynx_codec_spec named(const char *name)
{
    lynx_codec_spec spec;
    assert_int_equal(lynx_codec_spec_named(&spec, name), LYNX_OK);
    return spec;
}

static void assert_refused(lynx_codec_spec spec)
{
    assert_int_equal(lynx_codec_spec_check(&spec), LYNX_ERR_ARGUMENT);
}

static void every_name_is_a_good_spec(void **state)
{
    (void)state;
    size_t count = 0;
    for (const char *name; (name = lynx_codec_spec_name_at(count)) != NULL; count++) {
        const lynx_codec_spec spec = named(name);
        assert_int_equal(lynx_codec_spec_check(&spec), LYNX_OK);
    }
    assert_true(count >= 10);
}

/* One field wrong at a time. */
static void fields_must_fit_together(void **state)
{
    (void)state;
    lynx_codec_spec spec = named("range:bend=no,spread=no");
    spec.plane_bits[1][0]++; /* the sides differ */
    assert_refused(spec);
    spec = named("range:bend=no,spread=no");
    memset(spec.plane_bits, 0, sizeof(spec.plane_bits));
    spec.plane_bits[0][0] = spec.plane_bits[1][0] = 7; /* neither 4 nor 8 bits */
    assert_refused(spec);
    spec = named("range");
    spec.plane_bits[1][1] = 0; /* a plane is missing on one side */
    spec.plane_bits[1][2] = 4;
    assert_refused(spec);
    spec = named("range");
    spec.head_raw_tokens = 4097;
    assert_refused(spec);
    spec = named("range");
    spec.tail_raw_tokens = 4097;
    assert_refused(spec);
    spec = named("range");
    spec.chunk_tokens = 16;
    assert_refused(spec);
    spec = named("int4-token");
    spec.meta_wide = true;
    assert_refused(spec);
    spec = named("range");
    spec.alpha = 1.0f;
    assert_refused(spec);
    spec = named("range");
    memset(&spec.profile, 0x55, sizeof(spec.profile));
    assert_refused(spec);
    spec = named("range");
    spec.quarter_bits[1] = 4;
    assert_refused(spec);
    spec = named("range:k=8,v=8");
    spec.quarter_bits[0] = 1; /* of which plane? */
    assert_refused(spec);
    spec = named("range");
    spec.total_quarter_bits[0] = 4;
    assert_refused(spec);
    spec = named("range:v=5+7");
    spec.total_quarter_bits[1] = 1; /* above 12 bits */
    assert_refused(spec);
    spec = named("int8");
    spec.total_quarter_bits[1] = 1;
    assert_refused(spec);
}

static void profiles_have_rules_of_their_own(void **state)
{
    (void)state;
    static const float alphas[] = {0.0f, -1.0f, 256.0f, NAN, INFINITY};
    lynx_codec_spec spec = named("raw");
    spec.undo_rope = true;
    assert_refused(spec);
    spec = named("raw");
    spec.chunk_tokens = 32;
    assert_refused(spec);
    spec = named("raw");
    spec.plane_bits[0][0] = spec.plane_bits[1][0] = 8;
    assert_refused(spec);
    spec = named("int8-token");
    spec.chunk_tokens = 32;
    assert_refused(spec);
    spec = named("int8-token");
    spec.plane_bits[0][0] = spec.plane_bits[1][0] = 5;
    assert_refused(spec);
    spec = named("paper");
    spec.chunk_tokens = 0;
    assert_refused(spec);
    spec = named("paper");
    spec.meta_wide = true;
    assert_refused(spec);
    for (uint32_t side = 0; side < 2; side++) {
        spec = named("paper");
        spec.plane_bits[side][0] = 5;
        spec.plane_bits[side][1] = 3;
        assert_refused(spec);
    }
    for (size_t i = 0; i < sizeof(alphas) / sizeof(*alphas); i++) {
        spec = named("paper");
        spec.alpha = alphas[i];
        assert_refused(spec);
    }
}

static void settings_change_a_name(void **state)
{
    (void)state;
    const lynx_codec_spec range = named("range:k=4+2+2,v=3+2+3,head=0,tail=64,chunk=32,"
                                        "undo_rope=no,wide=yes,spread=no,bend=no");
    static const uint8_t planes[2][3] = {{4, 2, 2}, {3, 2, 3}};
    assert_int_equal(range.profile, LYNX_PROFILE_RANGE);
    for (uint32_t side = 0; side < 2; side++)
        assert_memory_equal(range.plane_bits[side], planes[side], sizeof(planes[side]));
    assert_int_equal(range.plane_bits[0][3], 0);
    assert_int_equal(range.head_raw_tokens, 0);
    assert_int_equal(range.tail_raw_tokens, 64);
    assert_int_equal(range.chunk_tokens, 32);
    assert_false(range.undo_rope);
    assert_true(range.meta_wide);
    assert_false(range.spread);
    assert_true(named("range:spread=yes").spread);
    assert_true(named("range").bend && named("range-3").bend && named("range44").bend);
    assert_false(named("range:bend=no").bend);
    assert_int_equal(named("range:k=4+3,v=5+7").plane_bits[1][1], 7);
    const lynx_codec_spec parts = named("range-3:k=4.25+2+1.75,v=4.50+2+1.5");
    static const uint8_t wholes[2][4] = {{4, 2, 2}, {4, 2, 2}};
    assert_memory_equal(parts.plane_bits[0], wholes[0], 4);
    assert_memory_equal(parts.plane_bits[1], wholes[1], 4);
    assert_true(parts.quarter_bits[0] == 1 && parts.quarter_bits[1] == 2);
    assert_true(parts.total_quarter_bits[0] == 0 && parts.total_quarter_bits[1] == 0);
    const lynx_codec_spec totals = named("range:k=4.25+3.5,v=4.5+3.75");
    static const uint8_t floors[2][4] = {{4, 3}, {4, 4}};
    assert_memory_equal(totals.plane_bits[0], floors[0], 4);
    assert_memory_equal(totals.plane_bits[1], floors[1], 4);
    assert_true(totals.total_quarter_bits[0] == 3 && totals.total_quarter_bits[1] == 1);
    const lynx_codec_spec one = named("range:k=4.25,v=8.5");
    assert_true(one.quarter_bits[0] == 0 && one.total_quarter_bits[0] == 1);
    assert_int_equal(lynx_codec_spec_plane_rows(&one, LYNX_SIDE_VALUES, 0, 64), 544);
    assert_int_equal(named("range:k=4.25+3.75,k=5+3").quarter_bits[0], 0);
    const lynx_codec_spec whole = named("range:k=4.25+3.75,v=4.25+4,bend=no,spread=no");
    assert_true(whole.quarter_bits[0] == 0 && whole.total_quarter_bits[1] == 0);
    assert_true(named("int8:spread=yes,bend=yes").bend);
    assert_true(named("int8:wide=no,undo_rope=yes").undo_rope);
    assert_int_equal(named("range:tail=1,tail=2").tail_raw_tokens, 2);
    /* What is not named stays. */
    const lynx_codec_spec tail = named("range:tail=7");
    assert_int_equal(tail.tail_raw_tokens, 7);
    assert_int_equal(tail.head_raw_tokens, named("range").head_raw_tokens);
    assert_int_equal(tail.plane_bits[0][0], named("range").plane_bits[0][0]);
    assert_int_equal(range.recent_tokens, 0); /* a chunk has none */
    assert_int_equal(named("range").recent_tokens, 16);
    assert_int_equal(named("int8:recent=248").recent_tokens, 248);
    assert_false(lynx_codec_spec_is_storable(&tail));
    const lynx_codec_spec recent = named("range:recent=8");
    assert_false(lynx_codec_spec_is_storable(&recent));
    const lynx_codec_spec stored = lynx_codec_spec_storable(named("range:tail=7"));
    assert_true(stored.recent_tokens == 0 && stored.tail_raw_tokens == 0 && stored.spread &&
                lynx_codec_spec_is_storable(&stored));
    assert_true(named("paper:alpha=0.5").alpha == 0.5f);
    assert_true(named("paper:alpha=4").alpha == 4.0f);
    assert_true(named("paper:alpha=.0625").alpha == 0.0625f);
}

/* P-10: sizes of planes follow from the specification alone. */
static void planes_have_their_rows(void **state)
{
    (void)state;
    const lynx_codec_spec spec = named("range-3:k=4.25+2+1.75,v=5+1+2");
    static const struct {
        lynx_side side;
        uint32_t channels, rows[3];
    } cases[] = {{LYNX_SIDE_KEYS, 64, {272, 128, 112}},
                 {LYNX_SIDE_KEYS, 3, {12, 6, 6}},
                 {LYNX_SIDE_VALUES, 64, {320, 64, 128}}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        for (uint32_t plane = 0; plane < 3; plane++)
            assert_int_equal(lynx_codec_spec_plane_rows(&spec, cases[i].side, plane,
                                                        cases[i].channels),
                             cases[i].rows[plane]);
}

static void other_settings_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "none",
        "range:",
        "range:,",
        "range:tail=64,",
        "range:tail",
        "range:tail=",
        "range:tail=-1",
        "range:tail=4097",
        "range:tail=99999999999999999999",
        "range:tail=6 4",
        "range:tail =64",
        "range: tail=64",
        "range:tails=64",
        "range:=64",
        "range:k=",
        "range:k=5+",
        "range:k=+5",
        "range:k=5+0+3",
        "range:k=5+3+",
        "range:k=1+1+1+1+1+1+1+1+1",
        "range:bend=no,spread=no,k=5+4", /* nine bits */
        "range:k=8",                     /* one plane of keys, two of values */
        "range:chunk=16",
        "range:chunk=288",
        "range:recent=7",
        "range:recent=256",
        "range:recent=-8",
        "range:chunk=32,spread=no,bend=no,k=4+4,v=4+4,recent=16",
        "paper:recent=16",
        "raw:recent=8",
        "int8-token:recent=8",
        "range:undo_rope=maybe",
        "range:undo_rope=1",
        "range:spread=yes,chunk=32",
        "range:spread=no", /* which bends */
        "range:bend=no,spread=no,k=4+3,v=4+3",
        "range:bend=no,spread=no,k=4+4,v=5+4",
        "range:v=5+8",
        "range:v=4.25+7.75+0.25",
        "range:v=5+7.25",
        "range:k=4.25+0.5",
        "range:bend=no,spread=no,k=4+3.75,v=4+4",
        "range:k=4.3+3.7",
        "range:k=4.25+2.25+1.5,v=4+2+2",
        "range:k=0.25+7.75",
        "range:bend=no,spread=no,k=4.25+3.75,v=4.25+3.75",
        "range:k=9+4",
        "int8:bend=yes",
        "int8-token:bend=yes",
        "paper:bend=yes",
        "range-chunk:spread=yes",
        "int8-token:spread=yes",
        "paper:spread=yes",
        "range:alpha=1",
        "rangetail=64",
        "range44x:tail=64",
        "paper:alpha=",
        "paper:alpha=.",
        "paper:alpha=0",
        "paper:alpha=1,5",
        "paper:alpha=1.5.2",
        "paper:alpha=-1",
        "paper:alpha=nan",
        "paper:alpha=256",
        "paper:alpha=0.00000000000000000001",
        "paper:k=5+3",
        "raw:undo_rope=yes",
    };
    const lynx_codec_spec before = named("range44");
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        lynx_codec_spec spec;
        memcpy(&spec, &before, sizeof(spec));
        if (lynx_codec_spec_named(&spec, bad[i]) != LYNX_ERR_ARGUMENT)
            fail_msg("'%s' was taken", bad[i]);
        assert_memory_equal(&spec, &before, sizeof(spec));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_change_a_name),
        cmocka_unit_test(planes_have_their_rows),
        cmocka_unit_test(other_settings_are_refused),
        cmocka_unit_test(every_name_is_a_good_spec),
        cmocka_unit_test(fields_must_fit_together),
        cmocka_unit_test(profiles_have_rules_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
