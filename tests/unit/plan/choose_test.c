/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lynx/plan.h"
#include "support/cmocka_all.h"
#include "support/failing_allocator.h"
#include "support/rng.h"

/* A small model on processors: 700 tokens, 18 KB of cache a token, 12 Mbit/s, stored. */
static lynx_plan_request slow_link(void)
{
    lynx_plan_request r;
    lynx_plan_request_init(&r);
    r.prompt_tokens = 700;
    r.is_stored = true;
    r.prefill = (lynx_plan_node){.prefill_tokens_per_s = 500, .step_s = 0.02};
    r.decode = (lynx_plan_node){.prefill_tokens_per_s = 100,
                                .step_s = 0.025,
                                .exact_step_s = 0.03,
                                .row_s = 0.004};
    r.link.bytes_per_s = 1.5e6;
    r.cache = (lynx_plan_cache){.raw_bytes = 12.6e6,
                                .plane_bytes = {3.7e6, 2.75e6},
                                .plane_count = 2,
                                .int8_bytes = 6.4e6,
                                .int4_bytes = 3.25e6};
    r.stands = 0.95;
    return r;
}

static lynx_plan_choice choose(const lynx_plan_request *r, const lynx_plan_options *o)
{
    lynx_plan_choice choice;
    assert_int_equal(lynx_plan_choose(r, o, &choice), LYNX_OK);
    return choice;
}

static lynx_plan_options defaults(void)
{
    lynx_plan_options o;
    lynx_plan_options_init(&o);
    return o;
}

static void the_quickest_is_chosen(void **state)
{
    (void)state;
    lynx_plan_request r = slow_link();
    lynx_plan_options o = defaults();
    o.margin = 0;
    lynx_plan_choice c = choose(&r, &o);
    assert_int_equal(c.method, LYNX_PLAN_LYNX);
    assert_int_equal(c.other, LYNX_PLAN_INT8);
    assert_true(c.expected_s < c.other_s && c.expected_s == c.lynx_s);
    r.decode.prefill_tokens_per_s = 2000;
    c = choose(&r, &o);
    assert_int_equal(c.method, LYNX_PLAN_RECOMPUTE);
    assert_true(c.expected_s < c.other_s && c.lynx_s > c.expected_s);
    /* No other method has the token earlier. */
    for (uint32_t m = 0; m < LYNX_PLAN_METHOD_COUNT; m++)
        if (o.methods & LYNX_PLAN_BIT(m))
            assert_true(lynx_plan_token_s(&r, (lynx_plan_method)m, 32) >= c.expected_s);
}

static void only_methods_of_the_set_are_chosen(void **state)
{
    (void)state;
    const lynx_plan_request r = slow_link();
    lynx_plan_options o = defaults();
    o.methods |= LYNX_PLAN_BIT(LYNX_PLAN_TOKENS);
    assert_int_equal(choose(&r, &o).method, LYNX_PLAN_TOKENS);
    o.methods = LYNX_PLAN_BIT(LYNX_PLAN_F16);
    const lynx_plan_choice c = choose(&r, &o);
    assert_int_equal(c.method, LYNX_PLAN_F16);
    assert_int_equal(c.other, LYNX_PLAN_F16);
    lynx_plan_choice none;
    o.methods = 0;
    assert_int_equal(lynx_plan_choose(&r, &o, &none), LYNX_ERR_UNSUPPORTED);
    lynx_plan_request impossible = r;
    impossible.decode.prefill_tokens_per_s = 0;
    o.methods = LYNX_PLAN_BIT(LYNX_PLAN_RECOMPUTE);
    assert_int_equal(lynx_plan_choose(&impossible, &o, &none), LYNX_ERR_UNSUPPORTED);
}

static void what_counts_can_be_another_token(void **state)
{
    (void)state;
    lynx_plan_request r = slow_link();
    lynx_plan_options o = defaults();
    r.decode.exact_step_s = 0.06; /* Lynx is early, and late at the end */
    r.answer_tokens = 400;
    o.token = 16;
    assert_int_equal(choose(&r, &o).method, LYNX_PLAN_LYNX);
    o.token = 0;
    const lynx_plan_choice all = choose(&r, &o);
    assert_true(all.method != LYNX_PLAN_LYNX);
    assert_true(all.expected_s == lynx_plan_token_s(&r, all.method, 400));
    r.answer_tokens = 8; /* shorter than the token that counts */
    o.token = 32;
    assert_true(choose(&r, &o).expected_s == lynx_plan_token_s(&r, LYNX_PLAN_LYNX, 8));
}

/* Near each other by the token that counts: what is seen earlier, and the plain way if neither
 * is. */
static void near_ones_go_by_the_second_token(void **state)
{
    (void)state;
    lynx_plan_request r = slow_link();
    lynx_plan_options o = defaults();
    for (int sign = -1; sign <= 1; sign += 2) {
        const double goal = (1 + 0.03 * sign) * lynx_plan_token_s(&r, LYNX_PLAN_INT8, 32);
        while (lynx_plan_token_s(&r, LYNX_PLAN_LYNX, 32) < goal)
            r.decode.exact_step_s += 0.0001;
        assert_int_equal(choose(&r, &o).method, LYNX_PLAN_LYNX);
        o.margin = 0.02; /* then they are not near */
        assert_int_equal(choose(&r, &o).method, sign < 0 ? LYNX_PLAN_LYNX : LYNX_PLAN_INT8);
        o.margin = 0.05;
    }
    r = slow_link();
    r.link.bytes_per_s = 1e11; /* nothing is left to draft for */
    r.decode.exact_step_s = 0.99 * r.decode.step_s;
    r.decode.draft_step_s = r.decode.step_s;
    assert_true(lynx_plan_token_s(&r, LYNX_PLAN_LYNX, 32) <
                lynx_plan_token_s(&r, LYNX_PLAN_INT8, 32));
    assert_true(choose(&r, &o).method != LYNX_PLAN_LYNX);
    char text[LYNX_PLAN_TEXT_MAX];
    const lynx_plan_choice c = choose(&r, &o);
    lynx_plan_explain(&r, &o, &c, text);
    assert_non_null(strstr(text, "within the margin, and its drafts are seen hardly sooner"));
    o.methods &= ~LYNX_PLAN_BIT(LYNX_PLAN_LYNX);
    lynx_plan_explain(&r, &o, &c, text);
    assert_non_null(strstr(text, "because it may not be chosen"));
    o = defaults();
    r.answer_tokens = 1; /* the first token is all there is */
    assert_true(choose(&r, &o).method != LYNX_PLAN_LYNX);
}

static void the_method_in_use_is_left_for_a_clear_gain_only(void **state)
{
    (void)state;
    lynx_plan_request r = slow_link();
    lynx_plan_options o = defaults();
    o.kept = LYNX_PLAN_LYNX;
    /* Steps of Lynx that make it 3 % slower than INT8. */
    const double goal = 1.03 * lynx_plan_token_s(&r, LYNX_PLAN_INT8, 32);
    while (lynx_plan_token_s(&r, LYNX_PLAN_LYNX, 32) < goal)
        r.decode.exact_step_s += 0.0001;
    assert_int_equal(choose(&r, &o).method, LYNX_PLAN_LYNX);
    o.kept = LYNX_PLAN_INT8;
    assert_int_equal(choose(&r, &o).method, LYNX_PLAN_INT8);
    o.kept = LYNX_PLAN_LYNX;
    o.margin = 0.02;
    assert_int_equal(choose(&r, &o).method, LYNX_PLAN_INT8);
    o.margin = 0.05;
    o.methods &= ~LYNX_PLAN_BIT(LYNX_PLAN_LYNX); /* what is kept must be allowed */
    assert_int_equal(choose(&r, &o).method, LYNX_PLAN_INT8);
}

/* ---- crossovers ------------------------------------------------------------------------ */

static void each_crossover_has_its_methods_on_both_sides(void **state)
{
    (void)state;
    lynx_plan_request r = slow_link();
    const lynx_plan_options o = defaults();
    lynx_plan_crossover found[16];
    uint32_t count;
    r.is_stored = false;
    assert_int_equal(lynx_plan_crossovers(&r, &o, 1e4, 1e10, found, 16, &count), LYNX_OK);
    assert_in_range(count, 1, 16);
    assert_int_equal(found[0].below, LYNX_PLAN_RECOMPUTE);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(found[i].below != found[i].above);
        if (i > 0) {
            assert_true(found[i].bytes_per_s > found[i - 1].bytes_per_s);
            assert_int_equal(found[i].below, found[i - 1].above);
        }
        r.link.bytes_per_s = found[i].bytes_per_s * 0.998;
        assert_int_equal(choose(&r, &o).method, found[i].below);
        r.link.bytes_per_s = found[i].bytes_per_s * 1.00001;
        assert_int_equal(choose(&r, &o).method, found[i].above);
    }
    uint32_t again;
    lynx_plan_crossover one;
    assert_int_equal(lynx_plan_crossovers(&r, &o, 1e4, 1e10, &one, 1, &again), LYNX_OK);
    assert_int_equal(again, count);
    assert_true(one.bytes_per_s == found[0].bytes_per_s);
}

/* Recompute against INT8, whose crossover is known: N / prefill = wait for the bytes. */
static void a_crossover_is_where_two_times_are_equal(void **state)
{
    (void)state;
    const lynx_plan_request r = slow_link();
    lynx_plan_options o = defaults();
    lynx_plan_crossover found;
    uint32_t count;
    o.margin = 0;
    o.methods = LYNX_PLAN_BIT(LYNX_PLAN_INT8) | LYNX_PLAN_BIT(LYNX_PLAN_RECOMPUTE);
    assert_int_equal(lynx_plan_crossovers(&r, &o, 1e4, 1e8, &found, 1, &count), LYNX_OK);
    assert_int_equal(count, 1);
    assert_true(fabs(found.bytes_per_s / (6.4e6 / 7) - 1) < 0.002);
    assert_int_equal(lynx_plan_crossovers(&r, &o, 1e4, 1e5, &found, 1, &count), LYNX_OK);
    assert_int_equal(count, 0);
}

static void crossovers_need_a_range(void **state)
{
    (void)state;
    const lynx_plan_request r = slow_link();
    lynx_plan_options o = defaults();
    lynx_plan_crossover found;
    uint32_t count;
    assert_int_equal(lynx_plan_crossovers(&r, &o, 0, 1, &found, 1, &count), LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_plan_crossovers(&r, &o, 2, 1, &found, 1, &count), LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_plan_crossovers(&r, &o, 1, INFINITY, &found, 1, &count),
                     LYNX_ERR_ARGUMENT);
    o.methods = 0;
    assert_int_equal(lynx_plan_crossovers(&r, &o, 1, 2, &found, 1, &count),
                     LYNX_ERR_UNSUPPORTED);
}

/* ---- in words -------------------------------------------------------------------------- */

static void explain(const lynx_plan_request *r, const lynx_plan_options *o, char *text)
{
    const lynx_plan_choice c = choose(r, o);
    lynx_plan_explain(r, o, &c, text);
    assert_in_range(strlen(text), 40, LYNX_PLAN_TEXT_MAX - 2);
    assert_int_equal(text[strlen(text) - 1], '.');
}

static void the_reason_is_told(void **state)
{
    (void)state;
    char text[LYNX_PLAN_TEXT_MAX];
    lynx_plan_request r = slow_link();
    lynx_plan_options o = defaults();
    explain(&r, &o, text);
    assert_non_null(strstr(text, "Use Lynx: over 12 Mbit/s the anchor is here after 2.47 s and "
                                 "the whole cache after 4.30 s"));
    r.decode.prefill_tokens_per_s = 1000;
    explain(&r, &o, text);
    assert_non_null(strstr(text, "Do not use Lynx here, because the decode node computes the "
                                 "prompt itself in 0.70 s"));
    r = slow_link();
    r.stands = 0.01;
    o.margin = 0;
    explain(&r, &o, text);
    assert_non_null(strstr(text, "should stand"));
    r.link.bytes_per_s = 1e10;
    explain(&r, &o, text);
    assert_non_null(strstr(text, "so there is nothing to gain by drafting"));
    o.methods = LYNX_PLAN_BIT(LYNX_PLAN_TOKENS);
    explain(&r, &o, text);
    assert_non_null(strstr(text, "let the prefill node decode"));
}

static void every_request_has_a_reason_that_fits(void **state)
{
    (void)state;
    char text[LYNX_PLAN_TEXT_MAX];
    test_rng random = test_rng_of(5);
    for (int i = 0; i < 500; i++) {
        lynx_plan_request r = slow_link();
        lynx_plan_options o = defaults();
        r.is_stored = test_rng_below(&random, 2);
        r.stands = (double)test_rng_below(&random, 101) / 100;
        r.link.bytes_per_s = pow(10, 3 + (double)test_rng_below(&random, 9000) / 1000);
        r.decode.prefill_tokens_per_s = (double)test_rng_below(&random, 4) * 300;
        o.methods = 1 + (uint32_t)test_rng_below(&random, 511);
        if (o.methods == LYNX_PLAN_BIT(LYNX_PLAN_RECOMPUTE))
            o.methods |= 1;
        explain(&r, &o, text);
    }
}

/* ---- bytes of a cache ------------------------------------------------------------------ */

/* What the codec writes for real values, page by page. */
static void encode_all(const lynx_shape *shape, uint32_t tokens, const char *name,
                       double *bytes)
{
    lynx_codec *codec;
    lynx_codec_options options;
    lynx_codec_options_init(&options);
    assert_int_equal(lynx_codec_spec_named(&options.spec, name), LYNX_OK);
    options.element = LYNX_ELEMENT_F32;
    options.channels_max = 64;
    assert_int_equal(lynx_codec_create(&codec, &options), LYNX_OK);
    test_rng random = test_rng_of(1);
    float *values = malloc(sizeof(float) * 64 * 256);
    assert_non_null(values);
    for (size_t i = 0; i < (size_t)64 * 256; i++)
        values[i] = (float)test_rng_below(&random, 2000) / 1000 - 1;
    uint8_t *room[LYNX_PLANES_MAX];
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        room[i] = malloc(1 << 18);
    for (uint32_t page = 0; page < lynx_shape_page_count(shape, tokens); page++)
        for (uint16_t layer = 0; layer < shape->layer_count; layer++)
            for (uint8_t side = 0; side < 2; side++) {
                const lynx_page_id id = {page, layer, side};
                if (!lynx_page_is_needed(shape, id, tokens))
                    continue;
                const lynx_side_shape *s = &shape->layers[layer].sides[side];
                const lynx_page_span span = lynx_page_span_of(shape, id, tokens);
                const lynx_tile tile = {values, LYNX_ELEMENT_F32, s->channels * sizeof(float),
                                        sizeof(float)};
                size_t sizes[LYNX_PLANES_MAX] = {0};
                bool is_raw;
                assert_int_equal(lynx_codec_encode(codec, s, (lynx_side)side, &span, &tile,
                                                   room, sizes, &is_raw),
                                 LYNX_OK);
                for (uint32_t i = 0; i < lynx_codec_spec_plane_count(&options.spec); i++)
                    bytes[i] += (double)sizes[i];
            }
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        free(room[i]);
    free(values);
    lynx_codec_destroy(codec);
}

static void bytes_are_those_that_the_codec_writes(void **state)
{
    (void)state;
    const lynx_layer_shape layers[] = {
        {.sides = {{.channels = 64, .head_channels = 32},
                   {.channels = 32, .head_channels = 32}}},
        {.sides = {{.channels = 32, .head_channels = 32}, {.channels = 0}},
         .window_tokens = 100},
    };
    const lynx_shape shape = {.layer_count = 2,
                              .page_tokens = 256,
                              .element = LYNX_ELEMENT_F32,
                              .layers = layers};
    static const uint32_t lengths[] = {1, 5, 255, 256, 300, 700, 1024};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        lynx_plan_cache cache;
        lynx_codec_spec spec;
        double planes[LYNX_PLANES_MAX] = {0};
        double int8[LYNX_PLANES_MAX] = {0};
        double int4[LYNX_PLANES_MAX] = {0};
        assert_int_equal(lynx_codec_spec_named(&spec, "range"), LYNX_OK);
        assert_int_equal(lynx_plan_cache_of(&cache, &shape, lengths[i], &spec, NULL), LYNX_OK);
        encode_all(&shape, lengths[i], "range", planes);
        encode_all(&shape, lengths[i], "int8", int8);
        encode_all(&shape, lengths[i], "int4", int4);
        assert_int_equal(cache.plane_count, 2);
        assert_true(cache.plane_bytes[0] == planes[0] && cache.plane_bytes[1] == planes[1]);
        assert_true(cache.int8_bytes == int8[0] && cache.int4_bytes == int4[0]);
        assert_true(cache.raw_bytes == (double)lynx_shape_cache_bytes(&shape, lengths[i]));
    }
    for (size_t n = 0; lynx_codec_spec_name_at(n); n++) {
        lynx_plan_cache cache;
        lynx_codec_spec spec;
        double planes[LYNX_PLANES_MAX] = {0};
        assert_int_equal(lynx_codec_spec_named(&spec, lynx_codec_spec_name_at(n)), LYNX_OK);
        assert_int_equal(lynx_plan_cache_of(&cache, &shape, 700, &spec, NULL), LYNX_OK);
        encode_all(&shape, 700, lynx_codec_spec_name_at(n), planes);
        for (uint32_t i = 0; i < cache.plane_count; i++)
            if (cache.plane_bytes[i] != planes[i])
                fail_msg("%s: plane %u", lynx_codec_spec_name_at(n), i);
    }
    lynx_plan_cache cache;
    lynx_codec_spec spec = {0};
    assert_int_equal(lynx_plan_cache_of(&cache, &shape, 1, &spec, NULL), LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_codec_spec_named(&spec, "range"), LYNX_OK);
    assert_int_equal(lynx_plan_cache_of(&cache, &shape, 0, &spec, NULL), LYNX_ERR_ARGUMENT);
}

static void memory_that_is_short_is_told(void **state)
{
    (void)state;
    const lynx_layer_shape layer = {.sides = {{.channels = 64, .head_channels = 64},
                                              {.channels = 64, .head_channels = 64}}};
    const lynx_shape shape = {.layer_count = 1,
                              .page_tokens = 256,
                              .element = LYNX_ELEMENT_F16,
                              .layers = &layer};
    lynx_codec_spec spec;
    assert_int_equal(lynx_codec_spec_named(&spec, "range"), LYNX_OK);
    lynx_status status = LYNX_ERR_MEMORY;
    uint64_t fail_at = 0;
    while (status == LYNX_ERR_MEMORY) {
        lynx_plan_cache cache;
        test_allocator memory;
        test_allocator_init(&memory);
        memory.fail_at = ++fail_at;
        status = lynx_plan_cache_of(&cache, &shape, 700, &spec, &memory.allocator);
        assert_int_equal(memory.live_blocks, 0);
    }
    assert_int_equal(status, LYNX_OK);
    assert_true(fail_at > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_quickest_is_chosen),
        cmocka_unit_test(only_methods_of_the_set_are_chosen),
        cmocka_unit_test(what_counts_can_be_another_token),
        cmocka_unit_test(near_ones_go_by_the_second_token),
        cmocka_unit_test(the_method_in_use_is_left_for_a_clear_gain_only),
        cmocka_unit_test(each_crossover_has_its_methods_on_both_sides),
        cmocka_unit_test(a_crossover_is_where_two_times_are_equal),
        cmocka_unit_test(crossovers_need_a_range),
        cmocka_unit_test(the_reason_is_told),
        cmocka_unit_test(every_request_has_a_reason_that_fits),
        cmocka_unit_test(bytes_are_those_that_the_codec_writes),
        cmocka_unit_test(memory_that_is_short_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
