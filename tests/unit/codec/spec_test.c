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
    lynx_codec_spec spec = named("range");
    spec.plane_bits[1][0]++; /* the sides differ */
    assert_refused(spec);
    spec = named("range");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_is_a_good_spec),
        cmocka_unit_test(fields_must_fit_together),
        cmocka_unit_test(profiles_have_rules_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
