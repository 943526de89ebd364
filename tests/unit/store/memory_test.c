/* SPDX-License-Identifier: MIT */
/* memory_test.c - every allocation of keeping, finding, listing and checking fails in turn. */
#include "runtime/page_pass.h"
#include "support/cmocka_all.h"
#include "support/failing_allocator.h"
#include "support/store_bed.h"

enum { PROMPT = 70 };

static bool go_on(void *user, const lynx_store_entry *entry)
{
    (void)user;
    (void)entry;
    return true;
}

static bool on_fault(void *user, const char *object, const char *what)
{
    (void)object;
    (void)what;
    ++*(uint32_t *)user;
    return true;
}

static lynx_status put_document(store_bed *bed, lynx_store *store, char *text)
{
    const lynx_model *model = bed->engine->ops->model(bed->engine);
    const lynx_document document = {
        .name = "one",
        .model = {model->name, model->fingerprint, model->shape, bed->spec},
        .tokens = bed->tokens,
        .token_count = PROMPT,
    };
    return lynx_store_put_document(store, &document, text, LYNX_PLACE_TEXT_MAX);
}

static lynx_status load(store_bed *bed, lynx_store *store, const lynx_allocator *memory,
                        char *text)
{
    lynx_source *source = NULL;
    lx_page_pass pass;
    lynx_status status =
        lynx_store_find(store, bed->engine->ops->model(bed->engine), &bed->spec, bed->tokens,
                        PROMPT + 1, &source, text, LYNX_PLACE_TEXT_MAX);
    if (status != LYNX_OK)
        return status;
    assert_non_null(source);
    status = lx_page_pass_init(&pass, bed->engine, &bed->spec, NULL, memory);
    if (status == LYNX_OK)
        status = bed->engine->ops->reserve(bed->engine, PROMPT);
    if (status == LYNX_OK)
        status = lx_page_load(&pass, source);
    lx_page_pass_fini(&pass);
    lynx_source_destroy(source);
    return status;
}

static lynx_status use_store(store_bed *bed, lynx_store *store, const lynx_allocator *memory)
{
    lynx_keep_options keep;
    lynx_keep_result result;
    lynx_store_removed removed;
    uint32_t faults = 0;
    char text[LYNX_TEXT_MAX] = "";
    lynx_keep_options_init(&keep);
    keep.engine = bed->engine;
    keep.spec = bed->spec;
    keep.tokens = bed->tokens;
    keep.token_count = PROMPT;
    keep.store = store;
    keep.memory = memory;
    lynx_status status = lynx_keep(&keep, &result, text);
    if (status == LYNX_OK)
        status = put_document(bed, store, text);
    if (status == LYNX_OK)
        status = load(bed, store, memory, text);
    if (status == LYNX_OK)
        status = lynx_store_list(store, go_on, NULL, text, sizeof(text));
    if (status == LYNX_OK)
        status = lynx_store_verify(store, false, on_fault, &faults, text, sizeof(text));
    assert_int_equal(faults, 0);
    if (status == LYNX_OK)
        status = lynx_store_remove(store, "one", &removed, text, sizeof(text));
    if (status == LYNX_OK)
        assert_int_equal(store_bed_count(bed, ""), 0);
    return status;
}

static lynx_status try_all(store_bed *bed, const lynx_allocator *memory)
{
    lynx_store_options options;
    lynx_store *store = NULL;
    lynx_store_options_init(&options);
    options.memory = memory;
    options.limit_bytes = 1 << 30;
    lynx_status status = lynx_place_folder(&options.place, bed->folder, memory);
    if (status != LYNX_OK)
        return status;
    status = lynx_store_create(&store, &options);
    if (status != LYNX_OK) {
        lynx_place_destroy(options.place);
        return status;
    }
    status = use_store(bed, store, memory);
    lynx_store_destroy(store);
    return status;
}

static void test_each_allocation_fails(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    uint32_t failures = 0;
    lx_toy_options_init(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    for (uint64_t n = 1;; n++) {
        test_allocator allocator;
        test_allocator_init(&allocator);
        allocator.fail_at = n;
        const lynx_status status = try_all(&bed, &allocator.allocator);
        assert_int_equal(allocator.live_blocks, 0);
        if (status == LYNX_OK)
            break;
        assert_int_equal(status, LYNX_ERR_MEMORY);
        failures++;
        assert_int_equal(store_bed_verify(&bed), 0);
    }
    assert_true(failures > 50);
    store_bed_end(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
