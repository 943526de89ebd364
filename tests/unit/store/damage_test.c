/* SPDX-License-Identifier: MIT */
/*
 * damage_test.c - segments, documents and cache files of which any byte was changed, or any
 * number of bytes is missing: what is read is right or an error with words, and the check of
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

enum { PLANES_MAX = 512, TOKENS = 75, MORE_TOKENS = 110 };

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
    c->data = malloc(1 << 20);
    assert_non_null(c->data);
    c->size = fread(c->data, 1, 1 << 20, file);
    assert_true(c->size > 0 && c->size < 1 << 20);
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

static char found_path[600];
static const char *wanted_folder;

static int take_path(const char *path, const struct stat *found, int type, struct FTW *walk)
{
    (void)found;
    (void)walk;
    if (type == FTW_F && strstr(path, wanted_folder))
        snprintf(found_path, sizeof(found_path), "%s", path);
    return 0;
}

/* A file of the store below 'folder'. */
static void read_stored(const store_bed *bed, const char *folder, content *c)
{
    wanted_folder = folder;
    found_path[0] = '\0';
    assert_int_equal(nftw(bed->folder, take_path, 16, FTW_PHYS), 0);
    read_file(c, found_path);
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

/* One changed object: found by the check, and nothing wrong is read. */
static void look_at_store(store_bed *bed, const record *whole, const char *what, size_t at)
{
    record r;
    if (store_bed_verify(bed) == 0)
        fail_msg("%s %zu was not found", what, at);
    if (find_all(bed, TOKENS + 1, &r))
        assert_all_right(&r, whole);
}

static void damage_store(const char *folder, const uint8_t *key)
{
    lx_toy_options toy;
    store_bed bed;
    lynx_keep_result result;
    record whole;
    content c;
    char text[LYNX_PLACE_TEXT_MAX];
    tiny_toy(&toy);
    store_bed_begin(&bed, &toy, "range", key);
    store_bed_keep(&bed, TOKENS, &result);
    const lynx_model *model = bed.engine->ops->model(bed.engine);
    lynx_document document = {.name = "text",
                              .model = {model->name, model->fingerprint, model->shape,
                                        bed.spec},
                              .tokens = bed.tokens,
                              .token_count = TOKENS};
    assert_int_equal(lynx_store_put_document(bed.store, &document, text, sizeof(text)),
                     LYNX_OK);
    assert_int_equal(store_bed_verify(&bed), 0);
    assert_true(find_all(&bed, TOKENS + 1, &whole));
    assert_int_equal(whole.end, LYNX_ERR_CLOSED);
    assert_int_equal(whole.count, 3 * 2 * 2 * 2); /* columns, layers, sides, planes */

    read_stored(&bed, folder, &c);
    for (size_t at = 0; at < c.size; at++) {
        const uint8_t was = c.data[at];
        c.data[at] ^= (uint8_t)(1u << (at % 8));
        write_byte(&c, at);
        look_at_store(&bed, &whole, "byte", at);
        c.data[at] = was;
        write_byte(&c, at);
    }
    for (size_t size = c.size; size-- > 0;) {
        assert_int_equal(truncate(c.path, (off_t)size), 0);
        look_at_store(&bed, &whole, "length", size);
    }
    c.data[c.size] = 0;
    write_file(&c, c.size + 1);
    look_at_store(&bed, &whole, "length", c.size + 1);

    /* Kept again, it is whole again. */
    if (strcmp(folder, "segments") == 0) {
        write_file(&c, c.size / 2);
        store_bed_keep(&bed, TOKENS, &result);
        assert_int_equal(store_bed_verify(&bed), 0);
    }
    free(c.data);
    store_bed_end(&bed);
}

/* S-1: every byte of a segment of a store, and every length. */
static void test_a_segment(void **state)
{
    (void)state;
    damage_store("segments", NULL);
}

static void test_a_sealed_segment(void **state)
{
    static const uint8_t key[LYNX_STORE_KEY_BYTES] = {9, 8};
    (void)state;
    damage_store("segments", key);
}

static void test_a_document(void **state)
{
    (void)state;
    damage_store("documents", NULL);
}

/* ---- a cache file -------------------------------------------------------------------- */

static bool count_fault(void *user, const char *object, const char *what)
{
    assert_true(object[0] && what[0]);
    ++*(uint32_t *)user;
    return true;
}

/* Open the file; false after an error with words. What is read is right. */
static bool look_at_file(store_bed *bed, const char *path, const record *whole, record *r,
                         uint32_t *faults)
{
    char text[LYNX_PLACE_TEXT_MAX] = "";
    lynx_place *place = NULL;
    lynx_cache_file *file = NULL;
    lynx_source *source = NULL;
    *faults = 0;
    *r = (record){.end = LYNX_ERR_STATE};
    assert_int_equal(lynx_place_files(&place, NULL), LYNX_OK);
    const lynx_status status =
        lynx_cache_file_open(&file, place, path, NULL, NULL, text, sizeof(text));
    if (status == LYNX_OK) {
        assert_int_equal(lynx_cache_file_verify(file, count_fault, faults, text, sizeof(text)),
                         LYNX_OK);
        const lynx_status found =
            lynx_cache_file_source(file, bed->engine->ops->model(bed->engine), bed->tokens,
                                   MORE_TOKENS + 1, &source, text, sizeof(text));
        assert_true(found == LYNX_OK || text[0]);
        if (source) {
            drain(source, r);
            if (whole)
                assert_all_right(r, whole);
        }
        lynx_cache_file_close(file);
    } else {
        assert_true(text[0] != '\0');
    }
    lynx_place_destroy(place);
    return status == LYNX_OK;
}

/* Keep TOKENS in 'path'; its size. */
static size_t make_file(store_bed *bed, const char *path)
{
    char text[LYNX_TEXT_MAX];
    lynx_keep_options options;
    lynx_keep_result result;
    struct stat found;
    lynx_keep_options_init(&options);
    options.engine = bed->engine;
    options.spec = bed->spec;
    options.tokens = bed->tokens;
    options.token_count = TOKENS;
    options.path = path;
    assert_int_equal(lynx_keep(&options, &result, text), LYNX_OK);
    assert_int_equal(stat(path, &found), 0);
    return (size_t)found.st_size;
}

/* Append what MORE_TOKENS has beyond: planes that stand for those of the engine. */
static void append_to_file(store_bed *bed, const char *path)
{
    char text[LYNX_TEXT_MAX];
    lynx_segment_options more;
    lynx_segment *segment = NULL;
    lynx_segment_options_init(&more);
    more.model = bed->engine->ops->model(bed->engine);
    more.spec = bed->spec;
    more.tokens = bed->tokens;
    more.first_token = TOKENS / 32 * 32;
    more.end_token = MORE_TOKENS;
    assert_int_equal(lynx_segment_create(&segment, &more), LYNX_OK);
    for (uint32_t page = 0; page < 4; page++)
        for (uint32_t i = 0; i < 4; i++) {
            const lynx_page_id id = {page, (uint16_t)(i / 2), (uint8_t)(i % 2)};
            const uint8_t bytes[3] = {(uint8_t)page, (uint8_t)i, 3};
            const lynx_bytes planes[2] = {{bytes, 3}, {bytes, 2}};
            if (lynx_segment_wants(segment, id))
                assert_int_equal(lynx_segment_add(segment, id, planes, 2), LYNX_OK);
        }
    assert_int_equal(lynx_cache_file_append(path, segment, text, sizeof(text)), LYNX_OK);
    lynx_segment_destroy(segment);
}

static void test_a_cache_file(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    record whole, either, r;
    content c;
    uint32_t faults = 0;
    char path[128];
    tiny_toy(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    snprintf(path, sizeof(path), "%s/a.lynx", bed.folder);
    (void)make_file(&bed, path);
    assert_true(look_at_file(&bed, path, NULL, &either, &faults));
    assert_int_equal(either.end, LYNX_ERR_CLOSED);
    assert_int_equal(faults, 0);
    append_to_file(&bed, path);
    assert_true(look_at_file(&bed, path, NULL, &whole, &faults));
    assert_int_equal(whole.end, LYNX_ERR_CLOSED);
    assert_int_equal(whole.count, 4 * 2 * 2 * 2);
    assert_int_equal(faults, 0);

    /* Of the page that was replaced the old planes are right, too: the prefix is shorter then.
     */
    for (size_t i = 0; i < whole.count; i++)
        either.planes[either.count++] = whole.planes[i];
    read_file(&c, path);
    for (size_t at = 0; at < c.size; at++) {
        const uint8_t was = c.data[at];
        c.data[at] ^= (uint8_t)(1u << (at % 8));
        write_byte(&c, at);
        if (look_at_file(&bed, path, &either, &r, &faults) && faults == 0)
            fail_msg("byte %zu was not found", at);
        c.data[at] = was;
        write_byte(&c, at);
    }
    free(c.data);
    store_bed_end(&bed);
}

/* A file that ends anywhere: all planes in front of the end are given, then words; a torn
 * appended segment leaves what was before. */
static void test_a_cut_cache_file(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed bed;
    record first, whole, r;
    content c;
    uint32_t faults = 0;
    size_t least;
    char path[128];
    tiny_toy(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    snprintf(path, sizeof(path), "%s/a.lynx", bed.folder);
    const size_t end_of_first = make_file(&bed, path);
    assert_true(look_at_file(&bed, path, NULL, &first, &faults));
    append_to_file(&bed, path);
    assert_true(look_at_file(&bed, path, NULL, &whole, &faults));
    read_file(&c, path);
    least = first.count;
    for (size_t size = c.size; size-- > 0;) {
        assert_int_equal(truncate(path, (off_t)size), 0);
        const bool is_open = look_at_file(&bed, path, &first, &r, &faults);
        assert_true(!is_open || faults > 0 || size == end_of_first);
        if (!is_open)
            continue;
        if (size >= end_of_first) {
            assert_int_equal(r.count, first.count);
            assert_int_equal(r.end, LYNX_ERR_CLOSED);
        } else {
            assert_true(r.count <= least && r.count + 1 >= least && r.count < first.count);
            assert_int_equal(r.end, LYNX_ERR_CORRUPT);
            least = r.count;
        }
    }
    assert_int_equal(least, 0);

    /* The next append takes the place of a torn tail, whatever is left of it. */
    for (size_t size = end_of_first; size < c.size; size += 97) {
        write_file(&c, size);
        append_to_file(&bed, path);
        assert_true(look_at_file(&bed, path, &whole, &r, &faults));
        assert_int_equal(r.count, whole.count);
        assert_int_equal(faults, 0);
    }
    free(c.data);
    store_bed_end(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_segment),        cmocka_unit_test(test_a_sealed_segment),
        cmocka_unit_test(test_a_document),       cmocka_unit_test(test_a_cache_file),
        cmocka_unit_test(test_a_cut_cache_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
