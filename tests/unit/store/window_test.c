/* SPDX-License-Identifier: MIT */
/* window_test.c - pages that are cut where a sliding window begins. */
#include "support/cmocka_all.h"

#include <unistd.h>

#include "runtime/page_pass.h"
#include "support/store_bed.h"

#define GOLDEN LYNX_SOURCE_DIR "/tests/golden/store/"

static const char path[] = "window.lynx";

/* Windows are no multiple of a page. */
static void windowed(lx_toy_options *toy)
{
    lx_toy_options_init(toy);
    toy->page_tokens = 128;
    toy->window_tokens = 170;
    toy->context_tokens = 800;
    toy->piece_tokens = 64;
}

static void keep_file(store_bed *bed, uint32_t count)
{
    lynx_keep_result result;
    unlink(path);
    store_bed_keep_file(bed, count, path, NULL, &result);
}

/* What the file has of a prompt of 'count' tokens, in the cache of an engine that had nothing;
 * returns its tokens. */
static uint32_t read_file(store_bed *bed, const lx_toy_options *toy, const char *name,
                          uint32_t count)
{
    lynx_place *place = NULL;
    lynx_cache_file *file = NULL;
    lynx_source *source = NULL;
    lx_page_pass pass;
    char text[LYNX_PLACE_TEXT_MAX] = "";
    uint32_t tokens = 0;
    store_bed_engine(bed, toy);
    const lynx_engine_ops *ops = bed->engine->ops;
    assert_int_equal(lynx_place_files(&place, NULL), LYNX_OK);
    assert_int_equal(lynx_cache_file_open(&file, place, name, NULL, NULL, text, sizeof(text)),
                     LYNX_OK);
    assert_non_null(file);
    assert_int_equal(lynx_cache_file_source(file, ops->model(bed->engine), bed->tokens, count,
                                            &source, text, sizeof(text)),
                     LYNX_OK);
    if (source) {
        const lynx_source_prefix *prefix = source->ops->prefix(source);
        tokens = prefix->token_count;
        assert_int_equal(lx_page_pass_init(&pass, bed->engine, &prefix->spec, NULL, NULL),
                         LYNX_OK);
        assert_int_equal(ops->reserve(bed->engine, tokens), LYNX_OK);
        assert_int_equal(lx_page_load(&pass, source), LYNX_OK);
        assert_int_equal(ops->commit_pages(bed->engine), LYNX_OK);
        lx_page_pass_fini(&pass);
    }
    lynx_source_destroy(source);
    lynx_cache_file_close(file);
    lynx_place_destroy(place);
    return tokens;
}

/* S-15: what comes back is what the codec makes of the prompt's own pages. */
static void test_files_come_back(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 128, 169, 170, 171, 201, 202, 300, 384, 424, 511};
    lx_toy_options toy;
    windowed(&toy);
    for (uint32_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        store_bed bed;
        store_bed_begin(&bed, &toy, i % 2 ? "range" : "raw", NULL);
        keep_file(&bed, counts[i]);
        assert_int_equal(read_file(&bed, &toy, path, counts[i] + 1), counts[i]);
        store_bed_compare(&bed, counts[i]);
        store_bed_end(&bed);
    }
    unlink(path);
}

/* S-15: a prompt that parts from the file finds the last page boundary only while the window
 * there lies in what was kept: at 384 it begins at 192, at 424 tokens at 224. */
static void test_what_was_cut_is_not_there(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    windowed(&toy);
    store_bed_begin(&bed, &toy, "raw", NULL);
    keep_file(&bed, 424);
    bed.tokens[386]++;
    assert_int_equal(read_file(&bed, &toy, path, 500), 0);
    bed.tokens[386]--;
    keep_file(&bed, 390);
    bed.tokens[386]++;
    assert_int_equal(read_file(&bed, &toy, path, 500), 384);
    store_bed_compare(&bed, 384);
    store_bed_end(&bed);
    unlink(path);
}

/* S-15: a chain gives pages that were cut for a shorter prompt; a longer one, whose window
 * begins further on in the same page, drops what lies before it. */
static void test_longer_prompts_use_the_pages_of_shorter_ones(void **state)
{
    (void)state;
    static const uint32_t counts[] = {300, 330, 424, 440, 500};
    lx_toy_options toy;
    store_bed bed;
    lynx_keep_result result;
    windowed(&toy);
    store_bed_begin(&bed, &toy, "raw", NULL);
    for (uint32_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        store_bed_engine(&bed, &toy);
        store_bed_keep(&bed, counts[i], &result);
        assert_true(i == 0 || result.stored_tokens > 0);
        store_bed_engine(&bed, &toy);
        assert_int_equal(store_bed_read(&bed, counts[i] + 1), counts[i]);
        store_bed_compare(&bed, counts[i]);
    }
    assert_int_equal(store_bed_verify(&bed), 0);
    store_bed_end(&bed);
}

/* Files from before section 6 have whole pages. */
static void test_whole_pages_are_read(void **state)
{
    (void)state;
    static const char *const names[] = {GOLDEN "window.lynx", GOLDEN "whole.lynx"};
    for (uint32_t i = 0; i < 2; i++) {
        lx_toy_options toy;
        store_bed bed;
        lx_toy_options_init(&toy);
        toy.layer_count = 2;
        toy.channels = 16;
        toy.page_tokens = 64;
        toy.window_tokens = 40;
        toy.context_tokens = 128;
        store_bed_begin(&bed, &toy, "raw", NULL);
        assert_int_equal(read_file(&bed, &toy, names[i], 76), 75);
        store_bed_compare(&bed, 75);
        /* Of whole pages, the last boundary is there, too. */
        assert_int_equal(read_file(&bed, &toy, names[i], 70), i == 1 ? 64 : 0);
        store_bed_end(&bed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_come_back),
        cmocka_unit_test(test_what_was_cut_is_not_there),
        cmocka_unit_test(test_longer_prompts_use_the_pages_of_shorter_ones),
        cmocka_unit_test(test_whole_pages_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
