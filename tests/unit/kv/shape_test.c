/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "lynx/kv.h"

static lynx_layer_shape layers[2];

static lynx_shape good_shape(void)
{
    for (uint32_t i = 0; i < 2; i++) {
        layers[i] =
            (lynx_layer_shape){.sides = {{.channels = 64,
                                          .head_channels = 32,
                                          .rope = {LYNX_ROPE_NEIGHBOURS, 32, 10000.0f, 1.0f}},
                                         {.channels = 64, .head_channels = 32}}};
    }
    layers[1].window_tokens = 0;
    return (lynx_shape){2, 256, LYNX_ELEMENT_F16, layers};
}

static void test_good_shape(void **state)
{
    (void)state;
    const lynx_shape shape = good_shape();
    assert_int_equal(lynx_shape_check(&shape), LYNX_OK);
    layers[0].sides[LYNX_SIDE_VALUES].channels = 0; /* MLA */
    assert_int_equal(lynx_shape_check(&shape), LYNX_OK);
}

#define REFUSES(change)                                                                        \
    do {                                                                                       \
        lynx_shape shape = good_shape();                                                       \
        change;                                                                                \
        assert_int_equal(lynx_shape_check(&shape), LYNX_ERR_ARGUMENT);                         \
    } while (0)

static void test_each_field_is_checked(void **state)
{
    (void)state;
    REFUSES(shape.layer_count = 0);
    REFUSES(shape.layer_count = LYNX_LAYERS_MAX + 1);
    REFUSES(shape.page_tokens = 0);
    REFUSES(shape.page_tokens = 33);
    REFUSES(shape.page_tokens = LYNX_PAGE_TOKENS_MAX + 32);
    REFUSES(shape.element = (lynx_element)3);
    REFUSES(shape.layers = NULL);
    REFUSES(layers[1].sides[0].channels = LYNX_CHANNELS_MAX + 1);
    REFUSES(layers[1].sides[1].head_channels = 0);
    REFUSES(layers[1].sides[1].head_channels = 48);
    REFUSES(layers[0].sides[0].rope.pairing = (lynx_rope_pairing)3);
    REFUSES(layers[0].sides[0].rope.dims = 0);
    REFUSES(layers[0].sides[0].rope.dims = 31);
    REFUSES(layers[0].sides[0].rope.dims = 34);
    REFUSES(layers[0].sides[0].rope.base = 1.0f);
    REFUSES(layers[0].sides[0].rope.base = NAN);
    REFUSES(layers[0].sides[0].rope.scale = 0.0f);
    REFUSES(layers[0].sides[0].rope.scale = INFINITY);
}

static void test_element_bytes(void **state)
{
    (void)state;
    assert_int_equal(lynx_element_bytes(LYNX_ELEMENT_F32), 4);
    assert_int_equal(lynx_element_bytes(LYNX_ELEMENT_F16), 2);
    assert_int_equal(lynx_element_bytes(LYNX_ELEMENT_BF16), 2);
}

static void test_pages_cover_the_prompt(void **state)
{
    (void)state;
    const lynx_shape shape = good_shape();
    for (uint32_t prompt = 1; prompt < 1100; prompt++) {
        uint32_t tokens = 0;
        const uint32_t pages = lynx_shape_page_count(&shape, prompt);
        for (uint32_t page = 0; page < pages; page++) {
            const lynx_page_span span =
                lynx_page_span_of(&shape, (lynx_page_id){page, 0, 0}, prompt);
            assert_int_equal(span.first_token, tokens);
            assert_in_range(span.token_count, 1, 256);
            tokens += span.token_count;
        }
        assert_int_equal(tokens, prompt);
        assert_int_equal(
            lynx_page_span_of(&shape, (lynx_page_id){pages, 0, 0}, prompt).token_count, 0);
        assert_int_equal(lynx_shape_cache_bytes(&shape, prompt), prompt * 2u * 2u * 64u * 2u);
    }
}

/* A page is needed exactly when one of its tokens is seen by the token behind the prompt. */
static void test_window(void **state)
{
    (void)state;
    lynx_shape shape = good_shape();
    shape.page_tokens = 32;
    for (uint32_t window = 1; window < 100; window++)
        for (uint32_t prompt = 1; prompt < 200; prompt += 7) {
            layers[1].window_tokens = window;
            for (uint32_t page = 0; page < 8; page++) {
                bool is_seen = false;
                for (uint32_t t = page * 32; t < page * 32 + 32 && t < prompt; t++)
                    is_seen |= t + window > prompt;
                assert_int_equal(lynx_page_is_needed(&shape, (lynx_page_id){page, 1, 0},
                                                     prompt),
                                 is_seen);
            }
        }
    const lynx_page_id outside[] = {{0, 2, 0}, {0, 0, 2}, {7, 0, 0}, {UINT32_MAX, 0, 0}};
    for (size_t i = 0; i < 4; i++)
        assert_false(lynx_page_is_needed(&shape, outside[i], 200));
    layers[0].sides[1].channels = 0;
    assert_false(lynx_page_is_needed(&shape, (lynx_page_id){0, 0, 1}, 200));
}

/* Of a page that is needed there is what the token behind the prompt sees, and fewer than 32
 * tokens in front of it; of one that is not, all. */
static void test_pages_begin_where_windows_begin(void **state)
{
    (void)state;
    const lynx_shape shape = good_shape();
    for (uint32_t window = 1; window < 900; window += 53)
        for (uint32_t prompt = 1; prompt < 1100; prompt += 3) {
            const uint32_t begin = window > prompt ? 0 : prompt + 1 - window;
            layers[1].window_tokens = window;
            for (uint32_t page = 0; page < lynx_shape_page_count(&shape, prompt); page++) {
                const lynx_page_id id = {page, 1, 0};
                const lynx_page_span span = lynx_page_span_of(&shape, id, prompt);
                const lynx_page_span whole = lynx_page_span_whole(&shape, id, prompt);
                assert_int_equal(whole.first_token, page * 256);
                assert_int_equal(span.first_token + span.token_count,
                                 whole.first_token + whole.token_count);
                assert_int_equal(span.first_token % 32, 0);
                if (begin > page * 256 && lynx_page_is_needed(&shape, id, prompt))
                    assert_in_range(begin - span.first_token, 0, 31);
                else
                    assert_int_equal(span.first_token, page * 256);
            }
        }
    layers[1].window_tokens = 0;
}

/* Each needed page once, in order; columns before 'next' and behind 'page_end' are left. */
static void test_walk(void **state)
{
    (void)state;
    const lynx_shape shape = good_shape();
    layers[0].sides[1].channels = 0;
    for (uint32_t window = 0; window < 900; window += 300)
        for (uint32_t prompt = 1; prompt < 1100; prompt += 107)
            for (uint32_t first = 0; first < 3; first++) {
                const uint32_t pages = lynx_shape_page_count(&shape, prompt);
                lynx_page_walk walk = lynx_page_walk_of(&shape, prompt);
                lynx_page_id id;
                layers[1].window_tokens = window;
                walk.next.page = first;
                walk.page_end = pages > 1 ? pages - 1 : pages;
                for (uint32_t page = first; page < walk.page_end; page++)
                    for (uint32_t slot = 0; slot < 4; slot++) {
                        const lynx_page_id want = {page, (uint16_t)(slot / 2),
                                                   (uint8_t)(slot % 2)};
                        if (!lynx_page_is_needed(&shape, want, prompt))
                            continue;
                        assert_true(lynx_page_walk_next(&walk, &id));
                        assert_true(id.page == want.page && id.layer == want.layer &&
                                    id.side == want.side);
                    }
                assert_false(lynx_page_walk_next(&walk, &id));
                assert_false(lynx_page_walk_next(&walk, &id));
            }
    layers[1].window_tokens = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_shape),
        cmocka_unit_test(test_each_field_is_checked),
        cmocka_unit_test(test_element_bytes),
        cmocka_unit_test(test_pages_begin_where_windows_begin),
        cmocka_unit_test(test_pages_cover_the_prompt),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
