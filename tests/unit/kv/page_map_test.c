/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kv/page_map.h"
#include "support/failing_allocator.h"
#include "support/rng.h"

enum { PAGE_TOP = 12, LAYERS = 3, PLANES = 3 };

static const lynx_layer_shape layers[LAYERS] = {
    {.sides = {{.channels = 8, .head_channels = 8}, {.channels = 8, .head_channels = 8}}},
    {.sides = {{.channels = 8, .head_channels = 8}, {.channels = 0}}},
    {.sides = {{.channels = 8, .head_channels = 8}, {.channels = 8, .head_channels = 8}},
     .window_tokens = 50},
};
static const lynx_shape shape = {LAYERS, 32, LYNX_ELEMENT_F16, layers};

/* The map agrees with a plain table after every one of many random marks. */
static void test_map_agrees_with_a_table(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        test_rng rng = test_rng_of(seed);
        const uint32_t prompt = 1 + (uint32_t)test_rng_below(&rng, 32 * (PAGE_TOP - 2));
        bool table[PAGE_TOP][LAYERS + 1][3][PLANES + 1] = {{{{false}}}};
        uint64_t present[PLANES + 1] = {0};
        uint64_t needed = 0;
        lynx_page_map *map = NULL;
        assert_int_equal(lynx_page_map_create(&map, &shape, prompt, PLANES, NULL), LYNX_OK);
        for (uint32_t page = 0; page < PAGE_TOP; page++)
            for (uint32_t layer = 0; layer < LAYERS; layer++)
                for (uint32_t side = 0; side < 2; side++)
                    needed += lynx_page_is_needed(
                        &shape, (lynx_page_id){page, (uint16_t)layer, (uint8_t)side}, prompt);
        assert_int_equal(lynx_page_map_needed(map), needed);
        for (uint32_t i = 0; i < 600; i++) {
            const lynx_page_id id = {(uint32_t)test_rng_below(&rng, PAGE_TOP),
                                     (uint16_t)test_rng_below(&rng, LAYERS + 1),
                                     (uint8_t)test_rng_below(&rng, 3)};
            const uint32_t plane = (uint32_t)test_rng_below(&rng, PLANES + 1);
            bool *bit = &table[id.page][id.layer][id.side][plane];
            const bool is_new =
                !*bit && plane < PLANES && lynx_page_is_needed(&shape, id, prompt);
            assert_int_equal(lynx_page_map_mark(map, id, plane), is_new);
            *bit |= is_new;
            present[plane] += is_new;
            assert_int_equal(lynx_page_map_has(map, id, plane), *bit);
            assert_int_equal(lynx_page_map_present(map, plane), present[plane]);
            bool is_complete = plane < PLANES;
            for (uint32_t p = 0; p <= plane; p++)
                is_complete &= present[p] == needed;
            assert_int_equal(lynx_page_map_is_complete(map, plane), is_complete);
        }
        lynx_page_map_destroy(map);
    }
}

static void test_slots_are_distinct(void **state)
{
    (void)state;
    lynx_page_map *map = NULL;
    assert_int_equal(lynx_page_map_create(&map, &shape, 100, 1, NULL), LYNX_OK);
    uint8_t seen[256] = {0};
    uint64_t found = 0;
    assert_in_range(lx_page_map_slots(map), 1, sizeof(seen));
    for (uint32_t page = 0; page < 5; page++)
        for (uint32_t layer = 0; layer < LAYERS; layer++)
            for (uint32_t side = 0; side < 2; side++) {
                const size_t slot =
                    lx_page_map_slot(map, (lynx_page_id){page, (uint16_t)layer, (uint8_t)side});
                if (slot == SIZE_MAX)
                    continue;
                assert_true(slot < lx_page_map_slots(map));
                const lynx_page_id back = lx_page_map_page(map, slot);
                assert_true(back.page == page && back.layer == layer && back.side == side);
                for (uint32_t pages = 0; pages < 5; pages++) /* F-70: those in front */
                    assert_int_equal(slot < lx_page_map_slots_before(map,
                                                                     pages * shape.page_tokens),
                                     page < pages);
                assert_int_equal(seen[slot]++, 0);
                found++;
            }
    assert_int_equal(found, lynx_page_map_needed(map));
    lynx_page_map_destroy(map);
}

static void test_arguments_and_memory(void **state)
{
    (void)state;
    lynx_page_map *map = NULL;
    test_allocator memory;
    lynx_shape bad = shape;
    bad.layer_count = 0;
    assert_int_equal(lynx_page_map_create(&map, &bad, 1, 1, NULL), LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_page_map_create(&map, &shape, 0, 1, NULL), LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_page_map_create(&map, &shape, LYNX_PROMPT_TOKENS_MAX + 1, 1, NULL),
                     LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_page_map_create(&map, &shape, 1, 0, NULL), LYNX_ERR_ARGUMENT);
    assert_int_equal(lynx_page_map_create(&map, &shape, 1, LYNX_PLANES_MAX + 1, NULL),
                     LYNX_ERR_ARGUMENT);
    test_allocator_init(&memory);
    for (uint64_t n = 1; n <= 3; n++) {
        memory.fail_at = memory.calls + n;
        assert_int_equal(lynx_page_map_create(&map, &shape, 100, 2, &memory.allocator),
                         LYNX_ERR_MEMORY);
        assert_null(map);
        assert_int_equal(memory.live_bytes, 0);
    }
    memory.fail_at = 0;
    assert_int_equal(lynx_page_map_create(&map, &shape, 100, 2, &memory.allocator), LYNX_OK);
    lynx_page_map_destroy(map);
    assert_int_equal(memory.live_bytes, 0);
    lynx_page_map_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_agrees_with_a_table),
        cmocka_unit_test(test_slots_are_distinct),
        cmocka_unit_test(test_arguments_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
