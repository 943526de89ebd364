/* SPDX-License-Identifier: MIT */
/* Bits of channels by their weights, in all tables of kernels, against a search that gives one
 * bit after the other. */
#include "codec/spread.h"

#include "codec/kernels.h"

#include "support/cmocka_all.h"
#include "support/rng.h"

enum { CHANNELS = 200, SOME = 40, CODE_BITS = 8 };

static void give_one_by_one(const uint16_t *weights, uint32_t channels, uint32_t total,
                            uint8_t *bits)
{
    memset(bits, 1, channels);
    for (uint32_t given = channels; given < total; given++) {
        uint32_t best = 0;
        int32_t most = INT32_MIN;
        for (uint32_t c = 0; c < channels; c++) {
            const int32_t height = weights[c] - 64 * bits[c];
            if (bits[c] < CODE_BITS && height > most) {
                most = height;
                best = c;
            }
        }
        bits[best]++;
    }
}

static void check(const uint16_t *weights, uint32_t channels)
{
    uint8_t before[CHANNELS] = {0}, expected[CHANNELS], bits[CHANNELS];
    /* Whole bits and, where channels allow it, thirds between them. */
    const uint32_t pitch = channels < 3 ? channels : channels / 3;
    for (uint32_t total = channels; total <= CODE_BITS * channels; total += pitch) {
        uint32_t sum = 0;
        give_one_by_one(weights, channels, total, expected);
        for (size_t i = 0; lx_kernels_at(i); i++) {
            memset(bits, 0, channels);
            lx_kernels_at(i)->spread(weights, channels, total, CODE_BITS, bits);
            assert_memory_equal(bits, expected, channels);
        }
        for (uint32_t c = 0; c < channels; c++) {
            sum += bits[c];
            assert_true(bits[c] >= before[c]); /* planes only add */
        }
        assert_int_equal(sum, total);
        memcpy(before, bits, channels);
    }
}

/* P-10 */
static void bits_go_where_weights_are_largest(void **state)
{
    (void)state;
    test_rng rng = test_rng_of(7);
    for (uint32_t round = 0; round < 2000; round++) {
        uint16_t weights[CHANNELS];
        const uint32_t most = round % 100 ? SOME : CHANNELS;
        const uint32_t channels = 1 + (uint32_t)test_rng_below(&rng, most);
        /* From all alike to more than halves and floats can weigh. */
        const uint32_t width = 1u << test_rng_below(&rng, 15);
        for (uint32_t c = 0; c < channels; c++)
            weights[c] = (uint16_t)test_rng_below(&rng, width);
        check(weights, channels);
    }
}

/* P-10 */
static void weights_are_those_of_the_format(void **state)
{
    (void)state;
    assert_int_equal(lx_spread_weight(0x3C00, 0.0f), 15360 * 5 / 80);
    /* Twice the step is a bit more; twice the size 4 / 5 of one. */
    assert_int_equal(lx_spread_weight(0x4000, 0.0f), 15360 * 5 / 80 + 64);
    assert_int_equal(lx_spread_weight(0x3C00, 1.0f), (15360 * 5 + 2 * 130048) / 80);
    assert_int_equal(lx_spread_weight(0x3C00, 1024.0f), (15360 * 5 + 2 * 140288) / 80);
    assert_int_equal(lx_spread_weight(0x3C00, 1.5f), (15360 * 5 + 2 * 130560) / 80);
    assert_int_equal(lx_spread_weight(0, 1024.0f), 0); /* nothing to say of a constant */
    assert_int_equal(lx_spread_weight(0x8000, 1024.0f), 0);
    /* As large as metadata can be. */
    assert_int_equal(lx_spread_weight(0x7BFF, 0x1p50f), (31743 * 5 + 2 * 181248) / 80);
}

static void the_ends_of_the_range_work(void **state)
{
    (void)state;
    uint16_t weights[CHANNELS] = {0};
    uint8_t bits[CHANNELS];
    check(weights, CHANNELS); /* constant channels alone */
    memset(weights, 0xFF, sizeof(weights));
    check(weights, CHANNELS); /* more than anything weighs, and yet no harm */
    memset(weights, 0, sizeof(weights));
    weights[3] = 8000;
    check(weights, CHANNELS);
    lx_kernels_reference.spread(weights, CHANNELS, 2 * CHANNELS, CODE_BITS, bits);
    assert_int_equal(bits[3], CODE_BITS);
    assert_int_equal(bits[CHANNELS - 1], 1); /* the first channels get what is left over */
    assert_int_equal(bits[0], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_those_of_the_format),
        cmocka_unit_test(bits_go_where_weights_are_largest),
        cmocka_unit_test(the_ends_of_the_range_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
