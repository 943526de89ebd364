/* SPDX-License-Identifier: MIT */
/*
 * store_test.c - prompts of the toy engine kept in stores and files, and read again: what comes
 * back is what the codec made of the cache, for every shape, cut and codec.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "engine/toy_engine.h"
#include "lynx/keep.h"
#include "runtime/page_pass.h"
#include "support/cmocka_all.h"
#include "support/rng.h"
#include "support/store_bed.h"

/* ---- what comes back ----------------------------------------------------------------- */

static void keep_and_read(const lx_toy_options *toy, const char *codec, uint32_t count,
                          const uint8_t *key)
{
    store_bed bed;
    store_bed_begin(&bed, toy, codec, key);
    lynx_keep_result result;
    store_bed_keep(&bed, count, &result);
    assert_int_equal(result.computed_tokens, count);
    assert_int_equal(result.stored_tokens, 0);

    /* The whole prompt and one token more. */
    assert_int_equal(store_bed_read(&bed, count + 1), count);
    store_bed_compare(&bed, count);
    /* The prompt itself: not all of it, since a token must be computed. */
    const uint32_t most = store_bed_read(&bed, count);
    assert_true(most < count);
    /* Behind a window that ends earlier some pages are not kept: then the last cut is taken. */
    assert_true(
        most + toy->page_tokens >= count ||
        (toy->window_tokens > 0 && lynx_store_cut(toy->page_tokens, most, count) == count));
    if (most > 0)
        store_bed_compare(&bed, most);

    /* Kept again: nothing to do. */
    store_bed_keep(&bed, count, &result);
    assert_int_equal(result.computed_tokens, 0);
    assert_int_equal(result.stored_tokens, count);
    assert_int_equal(result.segments_written, 0);
    assert_int_equal(store_bed_verify(&bed), 0);
    store_bed_end(&bed);
}

static void test_a_prompt_comes_back(void **state)
{
    static const char *const codecs[] = {"range", "raw", "int8", "range44:k=4+2+2,v=4+2+2"};
    static const uint32_t counts[] = {1, 31, 32, 33, 64, 95, 128, 200, 257, 300};
    static const uint8_t key[LYNX_STORE_KEY_BYTES] = {7};
    (void)state;
    for (uint32_t window = 0; window <= 40; window += 40)
        for (uint32_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
            lx_toy_options toy;
            lx_toy_options_init(&toy);
            toy.window_tokens = window;
            toy.page_tokens = 32;
            toy.context_tokens = 512;
            toy.piece_tokens = 64;
            keep_and_read(&toy, codecs[i % 4], counts[i], i % 3 == 1 ? key : NULL);
        }
}

/* ---- prefixes ------------------------------------------------------------------------ */

static void small_toy(lx_toy_options *toy)
{
    lx_toy_options_init(toy);
    toy->page_tokens = 32;
    toy->context_tokens = 512;
    toy->piece_tokens = 64;
    toy->window_tokens = 40;
}

/* S-9: two prompts with the same beginning share its segments; only the rest is computed. */
static void test_beginnings_are_shared(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    lynx_keep_result result;
    small_toy(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    store_bed_keep(&bed, 300, &result);
    const uint32_t segments = store_bed_count(&bed, "segments/");

    /* Another one that goes another way behind token 150: cuts lie at 32, 64, 128, 256. */
    for (uint32_t i = 150; i < 300; i++)
        bed.tokens[i] = (bed.tokens[i] + 1) % 64;
    assert_int_equal(store_bed_length(&bed, 300), 128);
    store_bed_keep(&bed, 300, &result);
    assert_int_equal(result.stored_tokens, 128);
    assert_int_equal(result.computed_tokens, 172);
    assert_int_equal(result.segments_written, 2);
    assert_int_equal(store_bed_count(&bed, "segments/"), segments + 2);
    assert_int_equal(store_bed_length(&bed, 300), 300);

    /* A prompt that goes on uses the partial page, and replaces nothing. */
    store_bed_keep(&bed, 310, &result);
    assert_int_equal(result.stored_tokens, 300);
    assert_int_equal(result.computed_tokens, 10);
    assert_int_equal(store_bed_length(&bed, 310), 310);
    assert_int_equal(store_bed_length(&bed, 305), 300);
    assert_int_equal(store_bed_verify(&bed), 0);
    store_bed_end(&bed);
}

/* S-8: where segments of a store end. */
static void test_cuts(void **state)
{
    (void)state;
    static const uint32_t ends[] = {256, 512, 1024, 2048, 3072, 4096};
    for (uint32_t i = 0, at = 0; i < 6; at = ends[i++]) {
        assert_int_equal(lynx_store_cut(256, at, 1 << 20), ends[i]);
        assert_int_equal(lynx_store_cut(256, ends[i] - 1, 1 << 20), ends[i]);
        assert_int_equal(lynx_store_cut(256, at, at + 1), at + 1);
    }
}

/* Another model, codec or key finds nothing. */
static void test_others_find_nothing(void **state)
{
    (void)state;
    static const uint8_t key[LYNX_STORE_KEY_BYTES] = {1}, other[LYNX_STORE_KEY_BYTES] = {2};
    lx_toy_options toy;
    store_bed bed;
    lynx_keep_result result;
    small_toy(&toy);
    store_bed_begin(&bed, &toy, "range", key);
    store_bed_keep(&bed, 100, &result);
    assert_int_equal(store_bed_length(&bed, 101), 100);
    const lynx_codec_spec own = bed.spec;
    assert_int_equal(lynx_codec_spec_named(&bed.spec, "range44:recent=0"), LYNX_OK);
    assert_int_equal(store_bed_length(&bed, 101), 0);
    bed.spec = own;
    store_bed_open(&bed, other, 0);
    assert_int_equal(store_bed_length(&bed, 101), 0);
    store_bed_open(&bed, NULL, 0);
    assert_int_equal(store_bed_length(&bed, 101), 0);
    store_bed_open(&bed, key, 0);
    toy.weights++;
    store_bed_engine(&bed, &toy);
    assert_int_equal(store_bed_length(&bed, 101), 0);
    store_bed_end(&bed);
}

/* ---- eviction ------------------------------------------------------------------------ */

/* What was used longest ago goes first, and of one prompt its end. */
static void test_the_oldest_go(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    lynx_keep_result result;
    small_toy(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    store_bed_keep(&bed, 200, &result);
    const uint64_t one = result.bytes_written;
    bed.tokens[0]++;
    store_bed_keep(&bed, 200, &result);
    bed.tokens[0]--;
    assert_int_equal(store_bed_read(&bed, 201), 200); /* the first is used again */
    bed.tokens[0] += 2;
    store_bed_open(&bed, NULL, 2 * one + one / 8);
    store_bed_keep(&bed, 200, &result);
    assert_int_equal(store_bed_length(&bed, 200), 200);
    bed.tokens[0] -= 2;
    assert_int_equal(store_bed_length(&bed, 200), 200);
    bed.tokens[0]++;
    assert_true(store_bed_length(&bed, 200) < 200);

    /* Less and less room: what is left is a beginning, and what is found is right. */
    bed.tokens[0]--;
    for (uint64_t limit = 2 * one; limit > one / 8; limit /= 2) {
        lynx_store_removed removed;
        char text[LYNX_PLACE_TEXT_MAX];
        assert_int_equal(lynx_store_collect(bed.store, limit, false, &removed, text,
                                            sizeof(text)),
                         LYNX_OK);
        assert_true(store_bed_bytes(&bed) <= limit);
        const uint32_t here = store_bed_read(&bed, 200);
        if (here)
            store_bed_compare(&bed, here);
    }
    store_bed_end(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_prompt_comes_back),
        cmocka_unit_test(test_beginnings_are_shared),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_others_find_nothing),
        cmocka_unit_test(test_the_oldest_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
