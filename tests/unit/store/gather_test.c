/* SPDX-License-Identifier: MIT */
/* gather_test.c - pages of a run, in any order, to segments that later prompts find. */
#include <stdio.h>
#include <string.h>

#include "lynx/gather.h"
#include "runtime/page_pass.h"
#include "support/cmocka_all.h"
#include "support/rng.h"
#include "support/store_bed.h"

enum { PAGE = 32, PAGES_MAX = 512 };

static void small_toy(lx_toy_options *toy, uint32_t window)
{
    lx_toy_options_init(toy);
    toy->page_tokens = PAGE;
    toy->context_tokens = STORE_BED_TOKENS;
    toy->piece_tokens = 64;
    toy->window_tokens = window;
}

static lynx_gather *make(store_bed *bed, uint32_t first, uint32_t end)
{
    lynx_gather_options options;
    lynx_gather *gather = NULL;
    lynx_gather_options_init(&options);
    options.model = bed->engine->ops->model(bed->engine);
    options.spec = bed->spec;
    options.tokens = bed->tokens;
    options.first_token = first;
    options.end_token = end;
    options.key = lynx_store_key(bed->store);
    assert_int_equal(lynx_gather_create(&gather, &options), LYNX_OK);
    return gather;
}

/* The pages of a cache of the first 'count' tokens, in an order that follows from 'seed'. */
static void hand_out(store_bed *bed, lynx_gather *gather, uint32_t count, uint32_t seed)
{
    const lynx_shape *shape = &bed->engine->ops->model(bed->engine)->shape;
    lynx_page_id pages[PAGES_MAX];
    uint32_t found = 0;
    lx_page_pass pass;
    test_rng rng = test_rng_of(seed);
    assert_int_equal(lx_page_pass_init(&pass, bed->engine, &bed->spec, NULL, NULL), LYNX_OK);
    assert_int_equal(bed->engine->ops->prefill(bed->engine, bed->tokens, count, NULL, NULL),
                     LYNX_OK);
    for (uint32_t page = 0; page < lynx_shape_page_count(shape, count); page++)
        for (uint32_t layer = 0; layer < shape->layer_count; layer++)
            for (uint32_t side = 0; side < 2; side++) {
                const lynx_page_id id = {page, (uint16_t)layer, (uint8_t)side};
                if (lynx_page_is_needed(shape, id, count))
                    pages[found++] = id;
            }
    for (uint32_t left = found; left > 0; left--) {
        const uint32_t at = (uint32_t)test_rng_below(&rng, left);
        lynx_bytes planes[LYNX_PLANES_MAX];
        assert_int_equal(lx_page_encode(&pass, pages[at], count), LYNX_OK);
        for (uint32_t i = 0; i < pass.plane_count; i++)
            planes[i] = (lynx_bytes){pass.coder.planes[i], pass.coder.plane_bytes[i]};
        lynx_gather_add(gather, pages[at], count, planes, pass.plane_count);
        pages[at] = pages[left - 1];
    }
    lx_page_pass_fini(&pass);
}

static uint32_t put(store_bed *bed, lynx_gather *gather)
{
    char text[LYNX_PLACE_TEXT_MAX] = "";
    lynx_gathered written;
    assert_true(lynx_gather_is_whole(gather));
    assert_int_equal(lynx_gather_put(gather, bed->store, &written, text, sizeof(text)),
                     LYNX_OK);
    assert_true(written.bytes > lynx_gather_bytes(gather));
    lynx_gather_destroy(gather);
    return written.segments;
}

typedef struct flip {
    const char *part;
    char name[LYNX_PLACE_NAME_MAX + 1];
} flip;

static bool find_name(void *user, const lynx_place_entry *entry)
{
    flip *f = user;
    if (strstr(entry->name, f->part))
        strcpy(f->name, entry->name);
    return true;
}

/* Of the segment whose name has 'part'. */
static void flip_last_byte(store_bed *bed, const char *part)
{
    lynx_place *place = lynx_store_place(bed->store);
    flip f = {.part = part};
    char path[512], text[LYNX_PLACE_TEXT_MAX];
    assert_int_equal(place->ops->list(place, "segments/", find_name, &f, text, sizeof(text)),
                     LYNX_OK);
    snprintf(path, sizeof(path), "%s/%s", bed->folder, f.name);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, -1, SEEK_END), 0);
    const int byte = fgetc(file);
    assert_int_equal(fseek(file, -1, SEEK_END), 0);
    assert_int_equal(fputc(byte ^ 1, file), byte ^ 1);
    fclose(file);
}

static void test_what_was_gathered_is_found(void **state)
{
    static const uint32_t ends[] = {1, 31, 32, 64, 96, 200, 320, 384};
    static const uint8_t key[LYNX_STORE_KEY_BYTES] = {3};
    (void)state;
    for (uint32_t window = 0; window <= 40; window += 40)
        for (uint32_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
            lx_toy_options toy;
            store_bed bed;
            small_toy(&toy, window);
            store_bed_begin(&bed, &toy, i % 2 ? "range" : "range-3", i % 3 ? NULL : key);
            lynx_gather *gather = make(&bed, 0, ends[i]);
            assert_false(lynx_gather_is_whole(gather));
            hand_out(&bed, gather, ends[i], i);
            (void)put(&bed, gather);
            assert_int_equal(store_bed_verify(&bed), 0);
            assert_int_equal(store_bed_read(&bed, ends[i] + 1), ends[i]);
            store_bed_compare(&bed, ends[i]);
            store_bed_end(&bed);
        }
}

/* S-8: cuts, and a column each near the end; what parts there shares all but a page. */
static void test_the_last_columns_are_apart(void **state)
{
    lx_toy_options toy;
    store_bed bed;
    (void)state;
    small_toy(&toy, 0);
    store_bed_begin(&bed, &toy, "range", NULL);
    lynx_gather *gather = make(&bed, 0, 10 * PAGE);
    hand_out(&bed, gather, 10 * PAGE + 5, 1); /* whole pages of a longer prompt */
    /* 1, 2, 4 and then 5 to 10 */
    assert_int_equal(put(&bed, gather), 9);
    bed.tokens[300]++;
    assert_int_equal(store_bed_length(&bed, 400), 9 * PAGE);
    /* The other prompt goes on from there, and so on, behind segments that end at no cut. */
    gather = make(&bed, 9 * PAGE, 12 * PAGE);
    hand_out(&bed, gather, 12 * PAGE, 2);
    assert_int_equal(put(&bed, gather), 3);
    assert_int_equal(store_bed_length(&bed, 400), 12 * PAGE);
    gather = make(&bed, 12 * PAGE, 420);
    hand_out(&bed, gather, 420, 3);
    assert_int_equal(put(&bed, gather), 2);
    assert_int_equal(store_bed_read(&bed, 421), 420);
    store_bed_compare(&bed, 420);
    bed.tokens[300]--;
    assert_int_equal(store_bed_length(&bed, 400), 10 * PAGE);
    assert_int_equal(store_bed_verify(&bed), 0);
    store_bed_end(&bed);
}

/* A web server cannot list; columns are found by their names. */
static void test_columns_are_found_without_a_list(void **state)
{
    lx_toy_options toy;
    store_bed bed;
    (void)state;
    small_toy(&toy, 0);
    store_bed_begin(&bed, &toy, "range", NULL);
    lynx_gather *gather = make(&bed, 0, 7 * PAGE);
    hand_out(&bed, gather, 7 * PAGE, 1);
    (void)put(&bed, gather);
    lynx_place *place = lynx_store_place(bed.store);
    const lynx_place_ops *ops = place->ops;
    lynx_place_ops blind = *ops;
    blind.list = NULL;
    place->ops = &blind;
    bed.tokens[200]++;
    assert_int_equal(store_bed_length(&bed, 400), 6 * PAGE);
    bed.tokens[200]--;
    assert_int_equal(store_bed_length(&bed, 400), 7 * PAGE);
    place->ops = ops;
    store_bed_end(&bed);
}

static void test_what_is_not_whole_is_not_put(void **state)
{
    lx_toy_options toy;
    store_bed bed;
    char text[LYNX_PLACE_TEXT_MAX];
    lynx_gathered written;
    (void)state;
    small_toy(&toy, 0);
    store_bed_begin(&bed, &toy, "range", NULL);
    /* The last page of a longer cache has more tokens. */
    lynx_gather *gather = make(&bed, 0, 3 * PAGE + 4);
    hand_out(&bed, gather, 3 * PAGE + 9, 1);
    assert_false(lynx_gather_is_whole(gather));
    assert_int_equal(lynx_gather_put(gather, bed.store, &written, text, sizeof(text)),
                     LYNX_ERR_STATE);
    assert_int_equal(store_bed_count(&bed, ""), 0);
    /* From the beginning again: what came does not count. */
    hand_out(&bed, gather, 3 * PAGE + 4, 2);
    assert_false(lynx_gather_is_whole(gather));
    assert_int_equal(lynx_gather_restart(gather), LYNX_OK);
    assert_false(lynx_gather_is_whole(gather));
    hand_out(&bed, gather, 3 * PAGE + 4, 2);
    (void)put(&bed, gather);
    assert_int_equal(store_bed_read(&bed, 101), 100);
    /* What lies before 'first_token' is asked for after a restart, too. */
    gather = make(&bed, 3 * PAGE, 4 * PAGE);
    assert_int_equal(lynx_gather_restart(gather), LYNX_OK);
    hand_out(&bed, gather, 4 * PAGE, 2);
    assert_int_equal(put(&bed, gather), 4);
    store_bed_end(&bed);
}

/* What a document needs stays with it and goes with it, however it was cut. */
static void test_documents_need_columns(void **state)
{
    lx_toy_options toy;
    store_bed bed;
    char text[LYNX_PLACE_TEXT_MAX];
    lynx_store_removed removed;
    (void)state;
    small_toy(&toy, 0);
    store_bed_begin(&bed, &toy, "range", NULL);
    lynx_gather *gather = make(&bed, 0, 8 * PAGE);
    hand_out(&bed, gather, 8 * PAGE, 1);
    const uint32_t segments = put(&bed, gather);
    const lynx_model *model = bed.engine->ops->model(bed.engine);
    lynx_document document = {
        .name = "d",
        .model = {model->name, model->fingerprint, model->shape, bed.spec},
        .tokens = bed.tokens,
        .token_count = 8 * PAGE,
    };
    assert_int_equal(lynx_store_put_document(bed.store, &document, text, sizeof(text)),
                     LYNX_OK);
    assert_int_equal(lynx_store_collect(bed.store, 0, true, &removed, text, sizeof(text)),
                     LYNX_OK);
    assert_int_equal(removed.objects, 0);
    assert_int_equal(store_bed_length(&bed, 400), 8 * PAGE);
    assert_int_equal(lynx_store_remove(bed.store, "d", &removed, text, sizeof(text)), LYNX_OK);
    assert_int_equal(removed.objects, segments + 1);
    assert_int_equal(store_bed_count(&bed, ""), 0);
    store_bed_end(&bed);
}

static void test_evictions_are_counted(void **state)
{
    lx_toy_options toy;
    store_bed bed;
    (void)state;
    small_toy(&toy, 0);
    store_bed_begin(&bed, &toy, "range", NULL);
    lynx_gather *gather = make(&bed, 0, 8 * PAGE);
    hand_out(&bed, gather, 8 * PAGE, 1);
    const uint64_t one = lynx_gather_bytes(gather);
    store_bed_open(&bed, NULL, one);
    (void)put(&bed, gather);
    const lynx_store_counters counters = lynx_store_counters_of(bed.store);
    assert_true(counters.evicted_segments > 0 && counters.evicted_bytes > 0);
    assert_int_equal(counters.bytes, store_bed_bytes(&bed));
    assert_true(counters.bytes <= one);
    /* The end has gone, not the beginning. */
    const uint32_t here = store_bed_length(&bed, 400);
    assert_true(here >= 4 * PAGE && here < 8 * PAGE);
    store_bed_end(&bed);
}

/* S-6: a plane that does not match its digest is noticed when it is read; its segment goes. */
static void test_what_is_broken_is_dropped(void **state)
{
    lx_toy_options toy;
    store_bed bed;
    char text[LYNX_PLACE_TEXT_MAX];
    lynx_source *source = NULL;
    lynx_source_plane plane;
    (void)state;
    small_toy(&toy, 0);
    store_bed_begin(&bed, &toy, "range", NULL);
    lynx_gather *gather = make(&bed, 0, 4 * PAGE);
    hand_out(&bed, gather, 4 * PAGE, 1);
    (void)put(&bed, gather);
    flip_last_byte(&bed, "/64-96-");
    assert_int_equal(store_bed_length(&bed, 200), 4 * PAGE); /* headers are right */
    assert_int_equal(lynx_store_find(bed.store, bed.engine->ops->model(bed.engine), &bed.spec,
                                     bed.tokens, 200, &source, text, sizeof(text)),
                     LYNX_OK);
    assert_int_equal(lynx_store_drop_broken(bed.store, source, text, sizeof(text)), LYNX_OK);
    assert_int_equal(store_bed_length(&bed, 200), 4 * PAGE); /* nothing was noticed yet */
    lynx_status status = LYNX_OK;
    while (status == LYNX_OK) {
        status = source->ops->next(source, &plane);
        if (status == LYNX_OK)
            source->ops->release(source, &plane);
    }
    assert_int_equal(status, LYNX_ERR_CORRUPT);
    assert_int_equal(lynx_store_drop_broken(bed.store, source, text, sizeof(text)), LYNX_OK);
    lynx_source_destroy(source);
    assert_int_equal(store_bed_length(&bed, 200), 2 * PAGE);
    store_bed_end(&bed);
}

static void test_options_are_checked(void **state)
{
    lynx_gather_options options;
    lynx_gather *gather = NULL;
    lx_toy_options toy;
    store_bed bed;
    (void)state;
    small_toy(&toy, 0);
    store_bed_begin(&bed, &toy, "range", NULL);
    lynx_gather_options_init(&options);
    options.model = bed.engine->ops->model(bed.engine);
    options.spec = bed.spec;
    options.tokens = bed.tokens;
    assert_int_equal(lynx_gather_create(&gather, &options), LYNX_ERR_ARGUMENT);
    options.end_token = 100;
    options.first_token = 5; /* on no page boundary */
    assert_int_equal(lynx_gather_create(&gather, &options), LYNX_ERR_ARGUMENT);
    options.first_token = 0;
    options.spec.tail_raw_tokens = 8;
    assert_int_equal(lynx_gather_create(&gather, &options), LYNX_ERR_ARGUMENT);
    assert_null(gather);
    store_bed_end(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_gathered_is_found),
        cmocka_unit_test(test_the_last_columns_are_apart),
        cmocka_unit_test(test_columns_are_found_without_a_list),
        cmocka_unit_test(test_what_is_not_whole_is_not_put),
        cmocka_unit_test(test_documents_need_columns),
        cmocka_unit_test(test_evictions_are_counted),
        cmocka_unit_test(test_what_is_broken_is_dropped),
        cmocka_unit_test(test_options_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
