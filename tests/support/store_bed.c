/* SPDX-License-Identifier: MIT */
#include "support/store_bed.h"

#include <ftw.h>
#include <unistd.h>

#include "runtime/page_pass.h"
#include "support/cmocka_all.h"

static int remove_one(const char *path, const struct stat *found, int type, struct FTW *walk)
{
    (void)found;
    (void)type;
    (void)walk;
    return remove(path);
}

void store_bed_engine(store_bed *bed, const lx_toy_options *toy)
{
    lynx_engine_destroy(bed->engine);
    assert_int_equal(lx_toy_create(&bed->engine, toy, NULL), LYNX_OK);
}

void store_bed_open(store_bed *bed, const uint8_t *key, uint64_t limit_bytes)
{
    lynx_store_options options;
    lynx_store_destroy(bed->store);
    lynx_store_options_init(&options);
    options.key = key;
    options.limit_bytes = limit_bytes;
    assert_int_equal(lynx_place_folder(&options.place, bed->folder, NULL), LYNX_OK);
    assert_int_equal(lynx_store_create(&bed->store, &options), LYNX_OK);
}

void store_bed_begin(store_bed *bed, const lx_toy_options *toy, const char *codec,
                     const uint8_t *key)
{
    memset(bed, 0, sizeof(*bed));
    strcpy(bed->folder, "store-XXXXXX");
    assert_non_null(mkdtemp(bed->folder));
    assert_int_equal(lynx_codec_spec_named(&bed->spec, codec), LYNX_OK);
    bed->spec = lynx_codec_spec_storable(bed->spec);
    for (uint32_t i = 0; i < STORE_BED_TOKENS; i++)
        bed->tokens[i] = (lynx_token)(1 + (i * 7 + i / 13) % 60);
    store_bed_engine(bed, toy);
    store_bed_open(bed, key, 0);
}

void store_bed_end(store_bed *bed)
{
    lynx_store_destroy(bed->store);
    lynx_engine_destroy(bed->engine);
    assert_int_equal(nftw(bed->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void keep(store_bed *bed, uint32_t count, lynx_keep_options *options,
                 lynx_keep_result *result)
{
    char text[LYNX_TEXT_MAX];
    options->engine = bed->engine;
    options->spec = bed->spec;
    options->tokens = bed->tokens;
    options->token_count = count;
    const lynx_status status = lynx_keep(options, result, text);
    if (status != LYNX_OK)
        fail_msg("keep: %s", text);
}

void store_bed_keep(store_bed *bed, uint32_t count, lynx_keep_result *result)
{
    lynx_keep_options options;
    lynx_keep_options_init(&options);
    options.store = bed->store;
    keep(bed, count, &options, result);
}

void store_bed_keep_file(store_bed *bed, uint32_t count, const char *path, const uint8_t *key,
                         lynx_keep_result *result)
{
    lynx_keep_options options;
    lynx_keep_options_init(&options);
    options.path = path;
    options.key = key;
    keep(bed, count, &options, result);
}

static void begin_pass(store_bed *bed, lx_page_pass *pass)
{
    assert_int_equal(lx_page_pass_init(pass, bed->engine, &bed->spec, NULL, NULL), LYNX_OK);
}

uint32_t store_bed_read(store_bed *bed, uint32_t count)
{
    const lynx_engine_ops *ops = bed->engine->ops;
    lynx_source *source = NULL;
    lx_page_pass pass;
    char text[LYNX_PLACE_TEXT_MAX];
    assert_int_equal(lynx_store_find(bed->store, ops->model(bed->engine), &bed->spec,
                                     bed->tokens, count, &source, text, sizeof(text)),
                     LYNX_OK);
    if (!source)
        return 0;
    const uint32_t prefix = source->ops->prefix(source)->token_count;
    begin_pass(bed, &pass);
    assert_int_equal(ops->reserve(bed->engine, prefix), LYNX_OK);
    assert_int_equal(lx_page_load(&pass, source), LYNX_OK);
    assert_int_equal(ops->commit_pages(bed->engine), LYNX_OK);
    lx_page_pass_fini(&pass);
    lynx_source_destroy(source);
    return prefix;
}

void store_bed_compare(store_bed *bed, uint32_t count)
{
    lx_page_pass pass;
    uint64_t got = 0, want = 1;
    begin_pass(bed, &pass);
    assert_int_equal(lx_page_pass_digest(&pass, count, &got), LYNX_OK);
    assert_int_equal(bed->engine->ops->prefill(bed->engine, bed->tokens, count, NULL, NULL),
                     LYNX_OK);
    assert_int_equal(lx_page_pass_all(&pass, count, NULL, NULL), LYNX_OK);
    assert_int_equal(lx_page_pass_digest(&pass, count, &want), LYNX_OK);
    assert_int_equal(got, want);
    lx_page_pass_fini(&pass);
}

uint32_t store_bed_length(store_bed *bed, uint32_t count)
{
    uint32_t length = 0;
    char text[LYNX_PLACE_TEXT_MAX];
    assert_int_equal(lynx_store_length(bed->store, bed->engine->ops->model(bed->engine),
                                       &bed->spec, bed->tokens, count, &length, text,
                                       sizeof(text)),
                     LYNX_OK);
    return length;
}

static bool count_fault(void *user, const char *object, const char *what)
{
    (void)object;
    (void)what;
    ++*(uint32_t *)user;
    return true;
}

uint32_t store_bed_verify(store_bed *bed)
{
    uint32_t faults = 0;
    char text[LYNX_PLACE_TEXT_MAX];
    assert_int_equal(lynx_store_verify(bed->store, false, count_fault, &faults, text,
                                       sizeof(text)),
                     LYNX_OK);
    return faults;
}

typedef struct tally {
    uint32_t count;
    uint64_t bytes;
} tally;

static bool count_object(void *user, const lynx_place_entry *entry)
{
    tally *t = user;
    t->count++;
    t->bytes += entry->size;
    return true;
}

static tally count_objects(store_bed *bed, const char *prefix)
{
    tally t = {0};
    char text[LYNX_PLACE_TEXT_MAX];
    lynx_place *place = lynx_store_place(bed->store);
    assert_int_equal(place->ops->list(place, prefix, count_object, &t, text, sizeof(text)),
                     LYNX_OK);
    return t;
}

uint32_t store_bed_count(store_bed *bed, const char *prefix)
{
    return count_objects(bed, prefix).count;
}

uint64_t store_bed_bytes(store_bed *bed)
{
    return count_objects(bed, "").bytes;
}
