/* SPDX-License-Identifier: MIT */
/* place_cached_test.c - one folder in front of another. */
#include <sys/stat.h>
#include <unistd.h>

#include <ftw.h>

#include "lynx/net.h"
#include "support/cmocka_all.h"
#include "support/store_bed.h"

typedef struct bed {
    char folder[64];
    lynx_place *place;
    char text[LYNX_PLACE_TEXT_MAX];
} bed;

static void begin(bed *b, uint64_t limit_bytes)
{
    char front_path[96], back_path[96];
    lynx_place *front = NULL, *back = NULL;
    strcpy(b->folder, "/tmp/lynx-cached-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    snprintf(front_path, sizeof(front_path), "%s/front", b->folder);
    snprintf(back_path, sizeof(back_path), "%s/back", b->folder);
    assert_int_equal(lynx_place_folder(&front, front_path, NULL), LYNX_OK);
    assert_int_equal(lynx_place_folder(&back, back_path, NULL), LYNX_OK);
    assert_int_equal(lynx_place_cached(&b->place, front, back, limit_bytes, NULL), LYNX_OK);
}

static void end(bed *b)
{
    char command[192];
    lynx_place_destroy(b->place);
    snprintf(command, sizeof(command), "chmod -R u+w %s; rm -rf %s", b->folder, b->folder);
    assert_int_equal(system(command), 0);
}

static bool is_in(const bed *b, const char *side, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s/%s", b->folder, side, name);
    return access(path, F_OK) == 0;
}

/* Put it behind alone. */
static void put_behind(bed *b, const char *name, size_t size)
{
    char path[96];
    lynx_place *back = NULL;
    uint8_t *data = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 7);
    const lynx_bytes part = {data, size};
    snprintf(path, sizeof(path), "%s/back", b->folder);
    assert_int_equal(lynx_place_folder(&back, path, NULL), LYNX_OK);
    assert_int_equal(back->ops->write(back, name, &part, 1, b->text, sizeof(b->text)), LYNX_OK);
    lynx_place_destroy(back);
    free(data);
}

/* In pieces, from 'first' to 'end', then from 0 to 'first'. */
static void read_object(bed *b, const char *name, uint64_t first, uint64_t end_byte)
{
    lynx_object *object = NULL;
    uint8_t data[1000];
    assert_int_equal(b->place->ops->open(b->place, name, &object, b->text, sizeof(b->text)),
                     LYNX_OK);
    assert_non_null(object);
    const lynx_range range = {object, 0, object->size};
    b->place->ops->expect(b->place, &range, 1);
    const uint64_t bounds[2][2] = {{first, end_byte}, {0, first}};
    for (size_t r = 0; r < 2; r++)
        for (uint64_t at = bounds[r][0]; at < bounds[r][1]; at += sizeof(data)) {
            const uint64_t left = bounds[r][1] - at;
            const size_t size = left < sizeof(data) ? (size_t)left : sizeof(data);
            assert_int_equal(b->place->ops->read(b->place, object, at, data, size, b->text,
                                                 sizeof(b->text)),
                             LYNX_OK);
            for (size_t i = 0; i < size; i++)
                assert_int_equal(data[i], (uint8_t)((at + i) * 7));
        }
    b->place->ops->close(b->place, object);
}

static void what_was_read_whole_is_kept(void **state)
{
    (void)state;
    bed b;
    begin(&b, 0);
    put_behind(&b, "segments/a", 10500);
    put_behind(&b, "segments/b", 10500);
    put_behind(&b, "documents/c", 10500);
    read_object(&b, "segments/a", 4000, 10500);
    read_object(&b, "segments/b", 0, 10499);  /* but for a byte */
    read_object(&b, "documents/c", 0, 10500); /* may change */
    assert_true(is_in(&b, "front", "segments/a"));
    assert_false(is_in(&b, "front", "segments/b"));
    assert_false(is_in(&b, "front", "documents/c"));
    char path[128];
    snprintf(path, sizeof(path), "%s/back/segments/a", b.folder);
    assert_int_equal(unlink(path), 0);
    read_object(&b, "segments/a", 0, 10500);
    end(&b);
}

static void runs_may_lie_anyhow(void **state)
{
    (void)state;
    bed b;
    lynx_object *object = NULL;
    uint8_t byte[2];
    begin(&b, 0);
    put_behind(&b, "segments/few", 100);
    put_behind(&b, "segments/many", 400);
    static const char *const names[] = {"segments/few", "segments/many"};
    for (size_t n = 0; n < 2; n++) {
        /* Every second byte, from the end on; then all pairs. More than 64 runs are too many.
         */
        assert_int_equal(b.place->ops->open(b.place, names[n], &object, b.text, sizeof(b.text)),
                         LYNX_OK);
        for (uint64_t at = object->size; at >= 2; at -= 2)
            assert_int_equal(b.place->ops->read(b.place, object, at - 2, byte, 1, b.text,
                                                sizeof(b.text)),
                             LYNX_OK);
        for (uint64_t at = 0; at < object->size; at += 2)
            assert_int_equal(b.place->ops->read(b.place, object, at, byte, 2, b.text,
                                                sizeof(b.text)),
                             LYNX_OK);
        b.place->ops->close(b.place, object);
        assert_int_equal(is_in(&b, "front", names[n]), n == 0);
    }
    read_object(&b, "segments/few", 50, 100);
    end(&b);
}

static void what_is_written_is_on_both_sides(void **state)
{
    (void)state;
    bed b;
    const lynx_bytes part = {(const uint8_t *)"x", 1};
    begin(&b, 0);
    static const char *const names[] = {"segments/a", "documents/a"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(b.place->ops->write(b.place, names[i], &part, 1, b.text,
                                             sizeof(b.text)),
                         LYNX_OK);
        assert_true(is_in(&b, "back", names[i]));
        assert_int_equal(is_in(&b, "front", names[i]), i == 0);
        b.place->ops->use(b.place, names[i]);
        assert_int_equal(b.place->ops->remove(b.place, names[i], b.text, sizeof(b.text)),
                         LYNX_OK);
        assert_false(is_in(&b, "front", names[i]) || is_in(&b, "back", names[i]));
    }
    end(&b);
}

static void the_least_used_go(void **state)
{
    (void)state;
    bed b;
    char name[32];
    begin(&b, 3000);
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "segments/%d", i);
        put_behind(&b, name, 1000);
        read_object(&b, name, 0, 1000);
        if (i == 2)
            b.place->ops->use(b.place, "segments/0");
    }
    static const bool stays[] = {true, false, false, true, true};
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "segments/%d", i);
        assert_int_equal(is_in(&b, "front", name), stays[i]);
        assert_true(is_in(&b, "back", name));
    }
    end(&b);
}

/* A file stands where the folder in front should be. */
static void a_broken_front_is_nobodys_error(void **state)
{
    (void)state;
    bed b;
    char path[96];
    begin(&b, 1);
    snprintf(path, sizeof(path), "%s/front", b.folder);
    FILE *file = fopen(path, "w");
    fclose(file);
    put_behind(&b, "segments/a", 2000);
    read_object(&b, "segments/a", 0, 2000);
    const lynx_bytes part = {(const uint8_t *)"x", 1};
    assert_int_equal(b.place->ops->write(b.place, "segments/b", &part, 1, b.text,
                                         sizeof(b.text)),
                     LYNX_OK);
    assert_int_equal(b.place->ops->remove(b.place, "segments/b", b.text, sizeof(b.text)),
                     LYNX_OK);
    end(&b);
}

/* ---- a store behind a folder --------------------------------------------------------- */

enum { PROMPT = 200 };

static void open_store(store_bed *store, const char *front_path)
{
    lynx_store_options options;
    lynx_place *front = NULL, *back = NULL;
    lynx_store_destroy(store->store);
    lynx_store_options_init(&options);
    assert_int_equal(lynx_place_folder(&front, front_path, NULL), LYNX_OK);
    assert_int_equal(lynx_place_folder(&back, store->folder, NULL), LYNX_OK);
    assert_int_equal(lynx_place_cached(&options.place, front, back, 0, NULL), LYNX_OK);
    assert_int_equal(lynx_store_create(&store->store, &options), LYNX_OK);
}

static char found_path[600];

static int take_path(const char *path, const struct stat *found, int type, struct FTW *walk)
{
    (void)found;
    (void)walk;
    if (type == FTW_F && strstr(path, "/32-64-"))
        snprintf(found_path, sizeof(found_path), "%s", path);
    return 0;
}

/* A file in front that is broken anywhere, or cut off: the answer comes from behind, all of it,
 * and the copy is a good one again afterwards. */
static void a_broken_copy_is_read_from_behind(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed store;
    lynx_keep_result result;
    char front[] = "front-XXXXXX", command[700];
    struct stat found;
    assert_non_null(mkdtemp(front));
    lx_toy_options_init(&toy);
    toy.page_tokens = 32;
    store_bed_begin(&store, &toy, "range", NULL);
    store_bed_keep(&store, PROMPT, &result);
    open_store(&store, front);
    assert_int_equal(store_bed_read(&store, PROMPT + 1), PROMPT);
    assert_int_equal(nftw(front, take_path, 16, FTW_PHYS), 0);
    assert_int_equal(stat(found_path, &found), 0);
    const off_t size = found.st_size;
    for (off_t at = 0; at < 2 * size; at += at < 400 ? 7 : 211) {
        if (at < size) {
            FILE *file = fopen(found_path, "r+b");
            assert_non_null(file);
            assert_int_equal(fseek(file, at, SEEK_SET), 0);
            const int byte = fgetc(file);
            assert_int_equal(fseek(file, at, SEEK_SET), 0);
            assert_true(fputc(byte ^ 32, file) != EOF);
            assert_int_equal(fclose(file), 0);
        } else {
            assert_int_equal(truncate(found_path, at - size), 0);
        }
        assert_int_equal(store_bed_read(&store, PROMPT + 1), PROMPT);
        store_bed_compare(&store, PROMPT);
        assert_int_equal(store_bed_read(&store, PROMPT + 1), PROMPT);
        assert_int_equal(stat(found_path, &found), 0);
        assert_int_equal(found.st_size, size);
    }
    store_bed_end(&store);
    snprintf(command, sizeof(command), "rm -r %s", front);
    assert_int_equal(system(command), 0);
}

/* What was mended is not held against the store: nothing is removed behind. */
static void a_broken_copy_is_no_broken_segment(void **state)
{
    (void)state;
    lx_toy_options toy;
    store_bed store;
    lynx_keep_result result;
    lynx_source *source = NULL;
    lynx_source_plane plane;
    char front[] = "front-XXXXXX", command[700], text[LYNX_PLACE_TEXT_MAX];
    struct stat found;
    assert_non_null(mkdtemp(front));
    lx_toy_options_init(&toy);
    toy.page_tokens = 32;
    store_bed_begin(&store, &toy, "range", NULL);
    store_bed_keep(&store, PROMPT, &result);
    open_store(&store, front);
    assert_int_equal(store_bed_read(&store, PROMPT + 1), PROMPT);
    assert_int_equal(nftw(front, take_path, 16, FTW_PHYS), 0);
    assert_int_equal(stat(found_path, &found), 0);
    FILE *file = fopen(found_path, "r+b");
    assert_int_equal(fseek(file, found.st_size - 1, SEEK_SET), 0);
    const int byte = fgetc(file);
    assert_int_equal(fseek(file, found.st_size - 1, SEEK_SET), 0);
    assert_true(fputc(byte ^ 4, file) != EOF);
    assert_int_equal(fclose(file), 0);

    assert_int_equal(lynx_store_find(store.store, store.engine->ops->model(store.engine),
                                     &store.spec, store.tokens, PROMPT + 1, &source, text,
                                     sizeof(text)),
                     LYNX_OK);
    assert_non_null(source);
    while (source->ops->next(source, &plane) == LYNX_OK)
        source->ops->release(source, &plane);
    assert_int_equal(source->ops->next(source, &plane), LYNX_ERR_CLOSED);
    assert_int_equal(access(found_path, F_OK), -1);
    assert_int_equal(lynx_store_drop_broken(store.store, source, text, sizeof(text)), LYNX_OK);
    lynx_source_destroy(source);
    assert_int_equal(store_bed_length(&store, PROMPT), PROMPT);
    store_bed_end(&store);
    snprintf(command, sizeof(command), "rm -r %s", front);
    assert_int_equal(system(command), 0);
}

/* A copy that becomes shorter while it is read. */
static void a_copy_that_goes_is_read_from_behind(void **state)
{
    (void)state;
    bed b;
    lynx_object *object = NULL;
    uint8_t data[1000];
    char path[128];
    begin(&b, 0);
    put_behind(&b, "segments/a", 10500);
    read_object(&b, "segments/a", 0, 10500);
    assert_true(is_in(&b, "front", "segments/a"));
    assert_int_equal(b.place->ops->open(b.place, "segments/a", &object, b.text, sizeof(b.text)),
                     LYNX_OK);
    snprintf(path, sizeof(path), "%s/front/segments/a", b.folder);
    assert_int_equal(truncate(path, 5000), 0);
    for (uint64_t at = 0; at < 10000; at += 1000) {
        assert_int_equal(b.place->ops->read(b.place, object, at, data, 1000, b.text,
                                            sizeof(b.text)),
                         LYNX_OK);
        for (size_t i = 0; i < 1000; i++)
            assert_int_equal(data[i], (uint8_t)((at + i) * 7));
    }
    assert_false(is_in(&b, "front", "segments/a"));
    assert_false(b.place->ops->doubt(b.place, object)); /* there is no other copy now */
    b.place->ops->cancel(b.place, object);
    assert_int_equal(b.place->ops->read(b.place, object, 0, data, 1, b.text, sizeof(b.text)),
                     LYNX_ERR_CANCELLED);
    b.place->ops->close(b.place, object);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_read_whole_is_kept),
        cmocka_unit_test(runs_may_lie_anyhow),
        cmocka_unit_test(what_is_written_is_on_both_sides),
        cmocka_unit_test(the_least_used_go),
        cmocka_unit_test(a_broken_front_is_nobodys_error),
        cmocka_unit_test(a_broken_copy_is_read_from_behind),
        cmocka_unit_test(a_broken_copy_is_no_broken_segment),
        cmocka_unit_test(a_copy_that_goes_is_read_from_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
