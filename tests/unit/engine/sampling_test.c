/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "lynx/engine.h"
#include "support/cmocka_all.h"

/* Each field at its bounds, and just beyond them. */
static void floats_keep_to_their_range(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        float good[2], bad[2];
    } fields[] = {
        {offsetof(lynx_sampling, temperature), {0.0f, 100.0f}, {-0.01f, 100.1f}},
        {offsetof(lynx_sampling, top_p), {1e-6f, 1.0f}, {0.0f, 1.01f}},
        {offsetof(lynx_sampling, min_p), {0.0f, 0.999f}, {-0.01f, 1.0f}},
        {offsetof(lynx_sampling, repeat_penalty), {0.01f, 10.0f}, {0.0f, 10.1f}},
        {offsetof(lynx_sampling, frequency_penalty), {-2.0f, 2.0f}, {-2.1f, 2.1f}},
        {offsetof(lynx_sampling, presence_penalty), {-2.0f, 2.0f}, {-2.1f, 2.1f}},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
        const float wrong[] = {fields[i].bad[0], fields[i].bad[1], NAN, INFINITY, -INFINITY};
        lynx_sampling sampling;
        lynx_sampling_init(&sampling);
        assert_int_equal(lynx_sampling_check(&sampling), LYNX_OK);
        float *const field = (float *)(void *)((char *)&sampling + fields[i].at);
        for (size_t j = 0; j < 2; j++) {
            *field = fields[i].good[j];
            assert_int_equal(lynx_sampling_check(&sampling), LYNX_OK);
        }
        for (size_t j = 0; j < sizeof(wrong) / sizeof(*wrong); j++) {
            *field = wrong[j];
            assert_int_equal(lynx_sampling_check(&sampling), LYNX_ERR_ARGUMENT);
        }
    }
}

static void counts_keep_to_their_range(void **state)
{
    (void)state;
    lynx_sampling sampling;
    lynx_sampling_init(&sampling);
    sampling.top_k = -1;
    assert_int_equal(lynx_sampling_check(&sampling), LYNX_ERR_ARGUMENT);
    sampling.top_k = INT32_MAX;
    sampling.penalty_tokens = 4096;
    assert_int_equal(lynx_sampling_check(&sampling), LYNX_OK);
    sampling.penalty_tokens = 4097;
    assert_int_equal(lynx_sampling_check(&sampling), LYNX_ERR_ARGUMENT);
    sampling.penalty_tokens = -1;
    assert_int_equal(lynx_sampling_check(&sampling), LYNX_ERR_ARGUMENT);
}

static void nothing_can_be_destroyed(void **state)
{
    (void)state;
    lynx_engine_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_keep_to_their_range),
        cmocka_unit_test(counts_keep_to_their_range),
        cmocka_unit_test(nothing_can_be_destroyed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
