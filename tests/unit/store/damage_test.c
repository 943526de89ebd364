/* SPDX-License-Identifier: MIT */
/*
 * damage_test.c - segments and documents of a store of which any byte was changed, or any
 * number of bytes is missing: what is found is right or an error with words, and the check of
 * everything finds the fault.
 */
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "lynx/keep.h"
#include "support/cmocka_all.h"
#include "support/rng.h"
#include "support/store_bed.h"

enum { PLANES_MAX = 512, TOKENS = 75, FILES_MAX = 8, LARGE_TOKENS = 480, CHANGES = 300 };

/* ---- planes that are right ----------------------------------------------------------- */

typedef struct plane_record {
    lynx_page_id page;
    uint32_t plane;
    uint64_t digest;
} plane_record;

typedef struct record {
    plane_record planes[PLANES_MAX];
    size_t count;
    lynx_status end; /* of next() behind the last plane */
} record;

/* Take everything that a source gives, and end it. */
static void drain(lynx_source *source, record *r)
{
    lynx_source_plane plane;
    r->count = 0;
    for (r->end = source->ops->next(source, &plane); r->end == LYNX_OK;
         r->end = source->ops->next(source, &plane)) {
        assert_true(r->count < PLANES_MAX);
        r->planes[r->count++] = (plane_record){plane.page, plane.plane,
                                               lx_digest64(plane.bytes.data, plane.bytes.size)};
        source->ops->release(source, &plane);
    }
    assert_true(r->end == LYNX_ERR_CLOSED || source->ops->error_text(source)[0]);
    lynx_source_destroy(source);
}

static bool is_among(const plane_record *p, const record *whole)
{
    for (size_t i = 0; i < whole->count; i++) {
        const plane_record *w = &whole->planes[i];
        if (w->page.page == p->page.page && w->page.layer == p->page.layer &&
            w->page.side == p->page.side && w->plane == p->plane && w->digest == p->digest)
            return true;
    }
    return false;
}

static void assert_all_right(const record *some, const record *whole)
{
    for (size_t i = 0; i < some->count; i++)
        assert_true(is_among(&some->planes[i], whole));
}

/* ---- files --------------------------------------------------------------------------- */

enum { LARGE_BYTES = 1 << 23 };

typedef struct content {
    char path[600];
    uint8_t *data;
    size_t size;
} content;

static void read_file(content *c, const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    snprintf(c->path, sizeof(c->path), "%s", path);
    c->data = malloc(LARGE_BYTES);
    assert_non_null(c->data);
    c->size = fread(c->data, 1, LARGE_BYTES, file);
    assert_true(c->size > 0 && c->size < LARGE_BYTES);
    fclose(file);
}

static void write_file(const content *c, size_t size)
{
    FILE *file = fopen(c->path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(c->data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void write_byte(const content *c, size_t at)
{
    const int descriptor = open(c->path, O_WRONLY);
    assert_true(descriptor >= 0);
    assert_int_equal(pwrite(descriptor, c->data + at, 1, (off_t)at), 1);
    close(descriptor);
}

static char found_paths[FILES_MAX][600];
static size_t found_count;
static const char *wanted_part;

static int take_path(const char *path, const struct stat *found, int type, struct FTW *walk)
{
    (void)found;
    (void)walk;
    if (type != FTW_F || !strstr(path, wanted_part))
        return 0;
    assert_true(found_count < FILES_MAX);
    snprintf(found_paths[found_count++], sizeof(*found_paths), "%s", path);
    return 0;
}

/* The files of the store that have this in their path. */
static size_t find_stored(const store_bed *bed, const char *part)
{
    wanted_part = part;
    found_count = 0;
    assert_int_equal(nftw(bed->folder, take_path, 16, FTW_PHYS), 0);
    return found_count;
}

static void tiny_toy(lx_toy_options *toy)
{
    lx_toy_options_init(toy);
    toy->layer_count = 2;
    toy->channels = 16;
    toy->page_tokens = 32;
    toy->context_tokens = 256;
    toy->piece_tokens = 64;
}

/* ---- a store ------------------------------------------------------------------------- */

static bool find_all(store_bed *bed, uint32_t count, record *r)
{
    char text[LYNX_PLACE_TEXT_MAX] = "";
    lynx_source *source = NULL;
    const lynx_status status =
        lynx_store_find(bed->store, bed->engine->ops->model(bed->engine), &bed->spec,
                        bed->tokens, count, &source, text, sizeof(text));
    if (status != LYNX_OK)
        assert_true(text[0] != '\0');
    if (!source)
        return false;
    drain(source, r);
    return true;
}

/* A store with a document of 'tokens' tokens, whole. */
static void begin(store_bed *bed, const lx_toy_options *toy, const uint8_t *key,
                  uint32_t tokens, record *whole)
{
    lynx_keep_result result;
    char text[LYNX_PLACE_TEXT_MAX];
    store_bed_begin(bed, toy, "range", key);
    store_bed_keep(bed, tokens, &result);
    const lynx_model *model = bed->engine->ops->model(bed->engine);
    lynx_document document = {.name = "text",
                              .model = {model->name, model->fingerprint, model->shape,
                                        bed->spec},
                              .tokens = bed->tokens,
                              .token_count = tokens};
    assert_int_equal(lynx_store_put_document(bed->store, &document, text, sizeof(text)),
                     LYNX_OK);
    assert_int_equal(store_bed_verify(bed), 0);
    assert_true(find_all(bed, tokens + 1, whole));
    assert_int_equal(whole->end, LYNX_ERR_CLOSED);
}

/* One changed object: found by the check, and nothing wrong is read. */
static void look_at_store(store_bed *bed, uint32_t tokens, const record *whole,
                          const char *what, size_t at)
{
    record r;
    if (store_bed_verify(bed) == 0)
        fail_msg("%s %zu was not found", what, at);
    if (find_all(bed, tokens + 1, &r))
        assert_all_right(&r, whole);
}

static void change_byte(store_bed *bed, uint32_t tokens, const record *whole, content *c,
                        size_t at, uint8_t bits)
{
    c->data[at] ^= bits;
    write_byte(c, at);
    look_at_store(bed, tokens, whole, "byte", at);
    c->data[at] ^= bits;
    write_byte(c, at);
}

static void cut(store_bed *bed, uint32_t tokens, const record *whole, const content *c,
                size_t size)
{
    assert_int_equal(truncate(c->path, (off_t)size), 0);
    look_at_store(bed, tokens, whole, "length", size);
}

/* Every byte and every length of a file. */
static void damage_file(store_bed *bed, const record *whole, const char *path)
{
    content c;
    read_file(&c, path);
    for (size_t at = 0; at < c.size; at++)
        change_byte(bed, TOKENS, whole, &c, at, (uint8_t)(1u << (at % 8)));
    for (size_t size = c.size; size-- > 0;)
        cut(bed, TOKENS, whole, &c, size);
    c.data[c.size] = 0;
    write_file(&c, c.size + 1);
    look_at_store(bed, TOKENS, whole, "length", c.size + 1);
    write_file(&c, c.size);
    free(c.data);
    assert_int_equal(store_bed_verify(bed), 0);
}

static void damage_store(const char *folder, size_t files, const uint8_t *key)
{
    lx_toy_options toy;
    store_bed bed;
    lynx_keep_result result;
    record whole;
    tiny_toy(&toy);
    begin(&bed, &toy, key, TOKENS, &whole);
    assert_int_equal(whole.count, 3 * 2 * 2 * 2); /* columns, layers, sides, planes */
    assert_int_equal(find_stored(&bed, folder), files);
    for (size_t i = 0; i < files; i++)
        damage_file(&bed, &whole, found_paths[i]);

    /* Kept again, it is whole again. */
    if (strcmp(folder, "segments/") == 0) {
        assert_int_equal(truncate(found_paths[0], 1000), 0);
        store_bed_keep(&bed, TOKENS, &result);
        assert_int_equal(store_bed_verify(&bed), 0);
    }
    store_bed_end(&bed);
}

/* S-1: every byte of every segment of a store, and every length. */
static void test_segments(void **state)
{
    (void)state;
    damage_store("segments/", 3, NULL);
}

static const uint8_t key[LYNX_STORE_KEY_BYTES] = {9, 8};

static void test_sealed_segments(void **state)
{
    (void)state;
    damage_store("segments/", 3, key);
}

static void test_documents(void **state)
{
    (void)state;
    damage_store("documents/", 1, NULL);
    damage_store("documents/", 1, key);
}

/* Random bytes and lengths of a large segment. */
static void test_a_large_segment(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    record whole;
    content c;
    test_rng rng = test_rng_of(19);
    lx_toy_options_init(&toy);
    toy.layer_count = 8;
    toy.channels = 256;
    toy.page_tokens = 64;
    toy.context_tokens = 512;
    begin(&bed, &toy, NULL, LARGE_TOKENS, &whole);
    assert_int_equal(find_stored(&bed, "/256-480-"), 1);
    read_file(&c, found_paths[0]);
    assert_true(c.size > 500000);
    for (uint32_t i = 0; i < CHANGES; i++)
        change_byte(&bed, LARGE_TOKENS, &whole, &c, (size_t)test_rng_below(&rng, c.size),
                    (uint8_t)(1u << test_rng_below(&rng, 8)));
    for (uint32_t i = 0; i < CHANGES / 10; i++) {
        cut(&bed, LARGE_TOKENS, &whole, &c, (size_t)test_rng_below(&rng, c.size));
        write_file(&c, c.size);
    }
    free(c.data);
    assert_int_equal(store_bed_verify(&bed), 0);
    store_bed_end(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_sealed_segments),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_a_large_segment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
