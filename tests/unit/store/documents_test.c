/* SPDX-License-Identifier: MIT */
/* documents_test.c - documents of a store: names, what they share, what goes with them. */
#include <unistd.h>

#include "store/store_names.h"
#include "support/cmocka_all.h"
#include "support/store_bed.h"

/* S-10 */
static void test_names(void **state)
{
    (void)state;
    char name[160];
    memset(name, 'a', sizeof(name));
    name[128] = '\0';
    assert_true(lynx_document_name_is_legal(name));
    name[128] = 'a';
    name[129] = '\0';
    assert_false(lynx_document_name_is_legal(name));
    static const char *const good[] = {"a", "report.txt", "a-b_c.2", "A"};
    static const char *const bad[] = {"",         ".",   ".a", "a/b", "a b",
                                      "\xC3\xA4", "a\n", "..", "/"};
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        assert_true(lynx_document_name_is_legal(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(lynx_document_name_is_legal(bad[i]));
}

/* S-7: names of segments are taken back as they were put, and no other ones. */
static void test_names_of_segments(void **state)
{
    (void)state;
    char object[LX_OBJECT_NAME_MAX], broken[LX_OBJECT_NAME_MAX];
    lx_segment_name name = {.first_token = 256, .end_token = 1024}, back;
    memset(name.parent, 0x5A, sizeof(name.parent));
    memset(name.name, 0xC3, sizeof(name.name));
    lx_segment_name_put(&name, object);
    assert_true(lynx_place_name_is_legal(object));
    assert_int_equal(strlen(object), 9 + 64 + 1 + 9 + 64 + 5);
    assert_true(lx_segment_name_take(object, &back));
    assert_memory_equal(&back, &name, sizeof(name));
    for (size_t i = 0; object[i]; i++) {
        strcpy(broken, object);
        broken[i] = '!';
        assert_false(lx_segment_name_take(broken, &back));
        broken[i] = '\0';
        assert_false(lx_segment_name_take(broken, &back));
    }
    strcpy(broken, object);
    memcpy(strchr(broken + 9, '/') + 1, "0256-", 5);
    assert_false(lx_segment_name_take(broken, &back));
}

static void put_document(store_bed *bed, const char *name, uint32_t count, lynx_status want)
{
    const lynx_model *model = bed->engine->ops->model(bed->engine);
    char text[LYNX_PLACE_TEXT_MAX] = "";
    lynx_document document = {
        .model = {model->name, model->fingerprint, model->shape, bed->spec},
        .text_bytes = 4 * (uint64_t)count,
        .made_at = 1700000000,
        .tokens = bed->tokens,
        .token_count = count,
    };
    strcpy(document.name, name);
    assert_int_equal(lynx_store_put_document(bed->store, &document, text, sizeof(text)), want);
    assert_true(want == LYNX_OK || text[0]);
}

static bool note_entry(void *user, const lynx_store_entry *entry)
{
    lynx_store_entry *last = user;
    assert_non_null(entry->document);
    assert_int_equal(entry->document->made_at, 1700000000);
    *last = *entry;
    last->document = NULL;
    return true;
}

static lynx_store_entry show(store_bed *bed, const char *name)
{
    char text[LYNX_PLACE_TEXT_MAX];
    lynx_store_entry entry = {0};
    assert_int_equal(lynx_store_show(bed->store, name, note_entry, &entry, text, sizeof(text)),
                     LYNX_OK);
    return entry;
}

static lynx_store_removed remove_document(store_bed *bed, const char *name)
{
    char text[LYNX_PLACE_TEXT_MAX];
    lynx_store_removed removed;
    assert_int_equal(lynx_store_remove(bed->store, name, &removed, text, sizeof(text)),
                     LYNX_OK);
    return removed;
}

static void share_and_remove(const uint8_t *key)
{
    lx_toy_options toy;
    store_bed bed;
    lynx_keep_result result;
    lx_toy_options_init(&toy);
    store_bed_begin(&bed, &toy, "range", key);
    store_bed_keep(&bed, 200, &result); /* 32, 64, 128, 200 */
    put_document(&bed, "one", 200, LYNX_OK);
    bed.tokens[150]++;
    store_bed_keep(&bed, 200, &result);
    put_document(&bed, "two", 200, LYNX_OK);
    bed.tokens[150]--;
    assert_int_equal(store_bed_count(&bed, "segments/"), 5);
    assert_int_equal(store_bed_count(&bed, "documents/"), 2);
    assert_int_equal(show(&bed, "one").tokens_here, 200);
    assert_int_equal(show(&bed, "one").segment_count, 4);
    assert_true(show(&bed, "one").used_ns > 0);
    assert_int_equal(show(&bed, "none").tokens_here, 0);
    if (key) { /* no name of a document is to be read in the folder */
        assert_int_equal(store_bed_count(&bed, "documents/one"), 0);
        assert_int_equal(store_bed_count(&bed, "documents/two"), 0);
    }

    /* The same name for another model. */
    toy.weights++;
    store_bed_engine(&bed, &toy);
    put_document(&bed, "one", 200, LYNX_ERR_STATE);
    toy.weights--;
    store_bed_engine(&bed, &toy);
    put_document(&bed, "one", 200, LYNX_OK);

    assert_int_equal(remove_document(&bed, "none").objects, 0);
    assert_int_equal(remove_document(&bed, "one").objects, 2);
    assert_int_equal(store_bed_count(&bed, "segments/"), 4);
    assert_int_equal(show(&bed, "two").tokens_here, 200);
    assert_int_equal(store_bed_verify(&bed), 0);
    assert_int_equal(remove_document(&bed, "two").objects, 5);
    assert_int_equal(store_bed_count(&bed, ""), 0);
    store_bed_end(&bed);
}

static void test_documents_share_segments(void **state)
{
    (void)state;
    static const uint8_t key[LYNX_STORE_KEY_BYTES] = {3};
    share_and_remove(NULL);
    share_and_remove(key);
}

static bool break_object(void *user, const lynx_place_entry *entry)
{
    char path[512];
    const char *folder = user;
    snprintf(path, sizeof(path), "%s/%s", folder, entry->name);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, (long)entry->size - 3, SEEK_SET);
    const int byte = fgetc(file);
    fseek(file, (long)entry->size - 3, SEEK_SET);
    fputc(byte ^ 16, file);
    fclose(file);
    return true;
}

static bool count_fault(void *user, const char *object, const char *what)
{
    (void)object;
    (void)what;
    ++*(uint32_t *)user;
    return true;
}

/* Every object is broken in its last bytes: each is told, none is used, repair removes all. */
static void test_broken_objects(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    lynx_keep_result result;
    char text[LYNX_PLACE_TEXT_MAX];
    uint32_t faults = 0;
    lx_toy_options_init(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    store_bed_keep(&bed, 200, &result);
    put_document(&bed, "one", 200, LYNX_OK);
    lynx_place *place = lynx_store_place(bed.store);
    assert_int_equal(place->ops->list(place, "", break_object, bed.folder, text, sizeof(text)),
                     LYNX_OK);
    assert_int_equal(store_bed_verify(&bed), 5);
    assert_int_equal(lynx_store_verify(bed.store, true, count_fault, &faults, text,
                                       sizeof(text)),
                     LYNX_OK);
    assert_int_equal(faults, 5);
    assert_int_equal(store_bed_count(&bed, ""), 0);
    store_bed_end(&bed);
}

/* Without its key a store is told as faults, and neither repaired nor collected away. */
static void test_nothing_goes_for_want_of_a_key(void **state)
{
    static const uint8_t key[LYNX_STORE_KEY_BYTES] = {3, 1, 4};
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    lynx_keep_result result;
    lynx_store_removed removed;
    char text[LYNX_PLACE_TEXT_MAX];
    uint32_t faults = 0;
    lx_toy_options_init(&toy);
    store_bed_begin(&bed, &toy, "range", key);
    store_bed_keep(&bed, 200, &result);
    put_document(&bed, "one", 200, LYNX_OK);
    const uint64_t bytes = store_bed_bytes(&bed);
    store_bed_open(&bed, NULL, 0);
    assert_int_equal(lynx_store_verify(bed.store, true, count_fault, &faults, text,
                                       sizeof(text)),
                     LYNX_OK);
    assert_int_equal(faults, 5);
    assert_int_equal(lynx_store_collect(bed.store, 0, true, &removed, text, sizeof(text)),
                     LYNX_ERR_DENIED);
    assert_non_null(strstr(text, "it is not known which segments"));
    assert_int_equal(store_bed_bytes(&bed), bytes);
    store_bed_open(&bed, key, 0);
    assert_int_equal(store_bed_verify(&bed), 0);
    store_bed_end(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_names_of_segments),
        cmocka_unit_test(test_documents_share_segments),
        cmocka_unit_test(test_broken_objects),
        cmocka_unit_test(test_nothing_goes_for_want_of_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
