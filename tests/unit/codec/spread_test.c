/* SPDX-License-Identifier: MIT */
/* Bits of channels by their steps, against a search that gives one bit after the other. */
#include "codec/spread.h"

#include "support/cmocka_all.h"
#include "support/rng.h"

enum { CHANNELS = 40, CODE_BITS = 8 };

static void give_one_by_one(const uint16_t *steps, uint32_t channels, uint32_t mean,
                            uint8_t *bits)
{
    memset(bits, 1, channels);
    for (uint32_t given = channels; given < mean * channels; given++) {
        uint32_t best = 0;
        int32_t most = INT32_MIN;
        for (uint32_t c = 0; c < channels; c++) {
            const int32_t height = (steps[c] & 0x7FFF) * 11 / 128 - 64 * bits[c];
            if (bits[c] < CODE_BITS && height > most) {
                most = height;
                best = c;
            }
        }
        bits[best]++;
    }
}

static void check(const uint16_t *steps, uint32_t channels)
{
    uint16_t weights[CHANNELS];
    memcpy(weights, steps, channels * sizeof(*weights));
    lx_spread_weights(weights, channels);
    uint8_t before[CHANNELS] = {0}, expected[CHANNELS], bits[CHANNELS];
    for (uint32_t mean = 1; mean <= CODE_BITS; mean++) {
        uint32_t sum = 0;
        give_one_by_one(steps, channels, mean, expected);
        lx_spread_bits(weights, channels, mean, CODE_BITS, bits);
        assert_memory_equal(bits, expected, channels);
        for (uint32_t c = 0; c < channels; c++) {
            sum += bits[c];
            assert_true(bits[c] >= before[c]); /* planes only add */
        }
        assert_int_equal(sum, mean * channels);
        memcpy(before, bits, channels);
    }
}

/* P-10 */
static void bits_go_where_steps_are_largest(void **state)
{
    (void)state;
    test_rng rng = test_rng_of(7);
    for (uint32_t round = 0; round < 2000; round++) {
        uint16_t steps[CHANNELS];
        const uint32_t channels = 1 + (uint32_t)test_rng_below(&rng, CHANNELS);
        /* From all alike to all of the range of halves. */
        const uint32_t width = 1u << test_rng_below(&rng, 15);
        for (uint32_t c = 0; c < channels; c++)
            steps[c] = (uint16_t)test_rng_below(&rng, width > 0x7C00 ? 0x7C00 : width);
        check(steps, channels);
    }
}

static void the_ends_of_the_range_work(void **state)
{
    (void)state;
    uint16_t steps[CHANNELS] = {0};
    uint8_t bits[CHANNELS];
    check(steps, CHANNELS); /* constant channels alone */
    memset(steps, 0xFF, sizeof(steps));
    check(steps, CHANNELS); /* no half that a page may have, and yet no harm */
    memset(steps, 0, sizeof(steps));
    steps[3] = 0x7BFF;
    check(steps, CHANNELS);
    lx_spread_weights(steps, CHANNELS);
    lx_spread_bits(steps, CHANNELS, 2, CODE_BITS, bits);
    assert_int_equal(bits[3], CODE_BITS);
    assert_int_equal(bits[39], 1); /* the first channels get what is left over */
    assert_int_equal(bits[0], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_go_where_steps_are_largest),
        cmocka_unit_test(the_ends_of_the_range_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
