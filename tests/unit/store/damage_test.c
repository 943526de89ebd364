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
#include "support/store_bed.h"

enum { PLANES_MAX = 512, TOKENS = 75 };

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_segment),
        cmocka_unit_test(test_a_sealed_segment),
        cmocka_unit_test(test_a_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
