/* SPDX-License-Identifier: MIT */
/*
 * cache_file_test.c - cache files: every field against its legal values, every byte changed,
 * every length cut, and files that grow.
 */
#include <unistd.h>

#include "base/cursor.h"
#include "base/digest.h"
#include "runtime/page_pass.h"
#include "store/header.h"
#include "support/cmocka_all.h"
#include "support/store_bed.h"

enum { FILE_MAX = 1 << 16, PLANES_MAX = 256, TOKENS = 40 };

static const char path[] = "cache_file_test.lynx";

/* A file in memory, and where its sections are. */
typedef struct image {
    uint8_t bytes[FILE_MAX];
    size_t size;
} image;

static void read_image(image *i)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    i->size = fread(i->bytes, 1, FILE_MAX, file);
    assert_true(i->size > LX_PREAMBLE_BYTES && i->size < FILE_MAX);
    fclose(file);
}

static void write_image(const image *i, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(i->bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static uint32_t get_u32(const image *i, size_t at)
{
    lx_reader reader = lx_reader_of(i->bytes + at, 4);
    return lx_read_u32(&reader);
}

static void put_u32(image *i, size_t at, uint32_t value)
{
    lx_writer writer = lx_writer_of(i->bytes + at, 4);
    lx_write_u32(&writer, value);
}

/* Make the digests right again, so that what is behind them is looked at. */
static void redigest(image *i)
{
    const uint32_t block = get_u32(i, 16);
    if (LX_PREAMBLE_BYTES + (size_t)block <= i->size)
        lx_digest128(i->bytes + LX_PREAMBLE_BYTES, block, i->bytes + 64);
    lx_writer writer = lx_writer_of(i->bytes + 80, 8);
    lx_write_u64(&writer, lx_digest64(i->bytes, 80));
}

/* Offset of the content of a section. */
static size_t section(const image *i, uint32_t type)
{
    size_t at = LX_PREAMBLE_BYTES;
    while (get_u32(i, at) != type) {
        assert_true(at < i->size);
        at += 16 + (get_u32(i, at + 8) + 7u) / 8 * 8;
    }
    return at + 16;
}

static void tiny(lx_toy_options *toy)
{
    lx_toy_options_init(toy);
    toy->layer_count = 1;
    toy->channels = 16;
    toy->page_tokens = 32;
    toy->context_tokens = 128;
}

static void keep_file(store_bed *bed, uint32_t count, const uint8_t *key)
{
    lynx_keep_result result;
    store_bed_keep_file(bed, count, path, key, &result);
    assert_int_equal(result.computed_tokens, count);
}

static lynx_status open_file(lynx_place **place, const uint8_t *key, lynx_cache_file **file)
{
    char text[LYNX_PLACE_TEXT_MAX] = "";
    assert_int_equal(lynx_place_files(place, NULL), LYNX_OK);
    const lynx_status status =
        lynx_cache_file_open(file, *place, path, key, NULL, text, sizeof(text));
    assert_true(status == LYNX_OK || text[0]);
    return status;
}

/* What opening says. */
static lynx_status status_of(const image *i)
{
    lynx_place *place = NULL;
    lynx_cache_file *file = NULL;
    write_image(i, i->size);
    const lynx_status status = open_file(&place, NULL, &file);
    lynx_cache_file_close(file);
    lynx_place_destroy(place);
    return status;
}

/* ---- S-1 to S-5: fields -------------------------------------------------------------- */

typedef struct field {
    uint32_t type; /* section; 0: the preamble */
    size_t at;
    uint32_t value;
    lynx_status want;
} field;

static const field fields[] = {
    {0, 0, 0x584E594D, LYNX_ERR_PROTOCOL}, /* S-1: magic */
    {0, 8, 2, LYNX_ERR_VERSION},           /* S-1: a newer version */
    {0, 8, 0, LYNX_ERR_VERSION},
    {0, 12, 2, LYNX_ERR_PROTOCOL},              /* S-2: sealed */
    {0, 20, 1, LYNX_ERR_PROTOCOL},              /* S-2: zero */
    {0, 16, (1u << 30) + 1, LYNX_ERR_PROTOCOL}, /* S-2: header bytes */
    {0, 16, 8, LYNX_ERR_PROTOCOL},
    {0, 56, 100, LYNX_ERR_PROTOCOL}, /* S-2: total bytes */
    {1, 48, 3, LYNX_ERR_PROTOCOL},   /* S-4: element */
    {1, 52, 33, LYNX_ERR_PROTOCOL},  /* S-4: page tokens */
    {1, 56, 0, LYNX_ERR_PROTOCOL},   /* S-4: layers */
    {1, 56, 2, LYNX_ERR_PROTOCOL},
    {1, 60, 513, LYNX_ERR_PROTOCOL},      /* S-3: the name's size */
    {1, 64 + 12, 9, LYNX_ERR_PROTOCOL},   /* S-4: rope pairing */
    {2, 0, 9, LYNX_ERR_PROTOCOL},         /* S-4: profile */
    {2, 4, 64u << 16, LYNX_ERR_PROTOCOL}, /* S-4: raw tokens at the end */
    {3, 0, 32, LYNX_ERR_PROTOCOL},        /* S-4: first, and so fewer tokens */
    {3, 0, 1, LYNX_ERR_PROTOCOL},
    {3, 4, 0, LYNX_ERR_PROTOCOL}, /* S-4: end */
    {3, 4, (1u << 24) + 1, LYNX_ERR_PROTOCOL},
    {3, 72, 0x80000000u, LYNX_ERR_PROTOCOL}, /* S-4: a token below 0 */
    {3, 72, 63, LYNX_ERR_PROTOCOL},          /* S-9: named for another token */
    {4, 0, 1, LYNX_ERR_PROTOCOL},            /* S-5: planes */
    {4, 4, 3, LYNX_ERR_PROTOCOL},            /* S-5: pages */
    {4, 8, 70000, LYNX_ERR_PROTOCOL},        /* S-5: longer than raw */
};

static void test_each_field(void **state)
{
    (void)state;
    static image good, bad;
    lx_toy_options toy;
    store_bed bed;
    tiny(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    keep_file(&bed, TOKENS, NULL);
    read_image(&good);
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
        const field *f = &fields[i];
        bad = good;
        put_u32(&bad, (f->type ? section(&bad, f->type) : 0) + f->at, f->value);
        redigest(&bad);
        const lynx_status got = status_of(&bad);
        if (got != f->want)
            fail_msg("field %zu: %s", i, lynx_status_name(got));
    }
    assert_int_equal(status_of(&good), LYNX_OK);
    store_bed_end(&bed);
    unlink(path);
}

/* S-3: a section that nobody knows is skipped if it says so. */
static void test_unknown_sections(void **state)
{
    (void)state;
    static image good, more;
    lx_toy_options toy;
    store_bed bed;
    tiny(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    keep_file(&bed, TOKENS, NULL);
    read_image(&good);
    for (uint32_t kind = 0; kind < 4; kind++) {
        static const uint32_t types[] = {77, 77, 5, 900}, flags[] = {1, 0, 1, 3};
        static const lynx_status wants[] = {LYNX_OK, LYNX_ERR_UNSUPPORTED, LYNX_ERR_PROTOCOL,
                                            LYNX_ERR_PROTOCOL};
        const size_t at = section(&good, 2) - 16, size = 24;
        more = good;
        memmove(more.bytes + at + size, good.bytes + at, good.size - at);
        memset(more.bytes + at, 0, size);
        more.size += size;
        put_u32(&more, at, types[kind]);
        put_u32(&more, at + 4, flags[kind]);
        put_u32(&more, at + 8, 3);
        put_u32(&more, 16, get_u32(&good, 16) + (uint32_t)size);
        put_u32(&more, 56, get_u32(&good, 56) + (uint32_t)size);
        redigest(&more);
        assert_int_equal(status_of(&more), wants[kind]);
        more.bytes[at + 16 + 3] = 1; /* padding */
        redigest(&more);
        assert_int_equal(status_of(&more), LYNX_ERR_PROTOCOL);
    }
    store_bed_end(&bed);
    unlink(path);
}

/* ---- what a reader gives ------------------------------------------------------------- */

/* Planes as they came, copied. */
typedef struct haul {
    uint32_t count, tokens;
    lynx_source_plane planes[PLANES_MAX];
    uint64_t digests[PLANES_MAX];
    lynx_status end;
} haul;

static void read_haul(store_bed *bed, uint32_t count, const uint8_t *key, haul *h)
{
    lynx_place *place = NULL;
    lynx_cache_file *file = NULL;
    lynx_source *source = NULL;
    char text[LYNX_PLACE_TEXT_MAX] = "";
    memset(h, 0, sizeof(*h));
    h->end = open_file(&place, key, &file);
    if (file)
        h->end = lynx_cache_file_source(file, bed->engine->ops->model(bed->engine), bed->tokens,
                                        count, &source, text, sizeof(text));
    if (source) {
        h->tokens = source->ops->prefix(source)->token_count;
        while ((h->end = source->ops->next(source, &h->planes[h->count])) == LYNX_OK) {
            const lynx_bytes bytes = h->planes[h->count].bytes;
            h->digests[h->count] = lx_digest64(bytes.data, bytes.size);
            source->ops->release(source, &h->planes[h->count]);
            assert_true(++h->count < PLANES_MAX);
        }
        assert_true(h->end == LYNX_ERR_CLOSED || source->ops->error_text(source)[0]);
    }
    lynx_source_destroy(source);
    lynx_cache_file_close(file);
    lynx_place_destroy(place);
}

/* 'got' is the beginning of 'good'. */
static void assert_beginning(const haul *got, const haul *good)
{
    assert_true(got->count <= good->count);
    for (uint32_t i = 0; i < got->count; i++) {
        assert_int_equal(got->digests[i], good->digests[i]);
        assert_int_equal(got->planes[i].page.page, good->planes[i].page.page);
        assert_int_equal(got->planes[i].page.layer, good->planes[i].page.layer);
        assert_int_equal(got->planes[i].page.side, good->planes[i].page.side);
        assert_int_equal(got->planes[i].plane, good->planes[i].plane);
    }
}

static bool count_fault(void *user, const char *object, const char *what)
{
    assert_true(object[0] && what[0]);
    ++*(uint32_t *)user;
    return true;
}

static uint32_t count_faults(const uint8_t *key)
{
    lynx_place *place = NULL;
    lynx_cache_file *file = NULL;
    char text[LYNX_PLACE_TEXT_MAX];
    uint32_t faults = open_file(&place, key, &file) != LYNX_OK;
    if (file)
        assert_int_equal(lynx_cache_file_verify(file, count_fault, &faults, text, sizeof(text)),
                         LYNX_OK);
    lynx_cache_file_close(file);
    lynx_place_destroy(place);
    return faults;
}

/* S-6, S-13: each byte changed in turn and each length: never a wrong plane, and the check of
 * the file finds it. */
static void change_everything(const uint8_t *key)
{
    static image good, bad;
    static haul right, got;
    lx_toy_options toy;
    store_bed bed;
    tiny(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    keep_file(&bed, TOKENS, key);
    read_image(&good);
    read_haul(&bed, TOKENS + 1, key, &right);
    assert_int_equal(right.end, LYNX_ERR_CLOSED);
    assert_int_equal(right.count, 2 * 2 * 2);
    assert_int_equal(right.tokens, TOKENS);
    assert_int_equal(count_faults(key), 0);
    for (size_t i = 0; i < good.size; i++) {
        bad = good;
        bad.bytes[i] ^= (uint8_t)(1u << i % 8);
        write_image(&bad, bad.size);
        read_haul(&bed, TOKENS + 1, key, &got);
        assert_int_not_equal(got.end, LYNX_ERR_CLOSED);
        assert_beginning(&got, &right);
        assert_true(count_faults(key) > 0);
    }
    uint32_t useful = 0;
    for (size_t size = 0; size < good.size; size++) {
        write_image(&good, size);
        read_haul(&bed, TOKENS + 1, key, &got);
        assert_int_not_equal(got.end, LYNX_ERR_CLOSED);
        assert_beginning(&got, &right);
        assert_true(count_faults(key) > 0);
        useful += got.count >= right.count / 2; /* all anchors */
    }
    assert_true(useful > 100);
    store_bed_end(&bed);
    unlink(path);
}

static void test_every_byte_and_length(void **state)
{
    (void)state;
    change_everything(NULL);
}

/* S-14: the same of a sealed file; and no key, or another one, gives nothing. */
static void test_sealed_files(void **state)
{
    (void)state;
    static const uint8_t key[LYNX_STORE_KEY_BYTES] = {9}, other[LYNX_STORE_KEY_BYTES] = {8};
    static image first, second;
    static haul h;
    lx_toy_options toy;
    store_bed bed;
    change_everything(key);
    tiny(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    keep_file(&bed, TOKENS, key);
    read_image(&first);
    read_haul(&bed, TOKENS + 1, NULL, &h);
    assert_int_equal(h.end, LYNX_ERR_DENIED);
    read_haul(&bed, TOKENS + 1, other, &h);
    assert_int_equal(h.end, LYNX_ERR_DENIED);
    /* Written again it has another salt and other bytes throughout. */
    keep_file(&bed, TOKENS, key);
    read_image(&second);
    assert_int_equal(first.size, second.size);
    assert_memory_not_equal(first.bytes + 24, second.bytes + 24, 32);
    assert_memory_not_equal(first.bytes + first.size - 64, second.bytes + second.size - 64, 64);
    store_bed_end(&bed);
    unlink(path);
}

/* ---- S-11, S-12: files that grow ----------------------------------------------------- */

/* A finished segment of the tokens from 'first' to 'end'. */
static lynx_segment *make_segment(store_bed *bed, uint32_t first, uint32_t end)
{
    lynx_segment_options options;
    lynx_segment *segment = NULL;
    lx_page_pass pass;
    const lynx_shape *shape = &bed->engine->ops->model(bed->engine)->shape;
    lynx_segment_options_init(&options);
    options.model = bed->engine->ops->model(bed->engine);
    options.spec = bed->spec;
    options.tokens = bed->tokens;
    options.first_token = first;
    options.end_token = end;
    assert_int_equal(lynx_segment_create(&segment, &options), LYNX_OK);
    assert_int_equal(bed->engine->ops->prefill(bed->engine, bed->tokens, end, NULL, NULL),
                     LYNX_OK);
    assert_int_equal(lx_page_pass_init(&pass, bed->engine, &bed->spec, NULL, NULL), LYNX_OK);
    for (uint32_t page = first / 32; page < lynx_shape_page_count(shape, end); page++)
        for (uint8_t side = 0; side < 2; side++) {
            const lynx_page_id id = {page, 0, side};
            lynx_bytes planes[LYNX_PLANES_MAX];
            const lynx_bytes *parts = NULL;
            size_t count = 0;
            assert_int_equal(lynx_segment_finish(segment, &parts, &count), LYNX_ERR_STATE);
            assert_int_equal(lx_page_encode(&pass, id, end), LYNX_OK);
            for (uint32_t i = 0; i < pass.plane_count; i++)
                planes[i] = (lynx_bytes){pass.coder.planes[i], pass.coder.plane_bytes[i]};
            assert_int_equal(lynx_segment_add(segment, id, planes, pass.plane_count), LYNX_OK);
            assert_int_equal(lynx_segment_add(segment, id, planes, pass.plane_count),
                             LYNX_ERR_STATE);
        }
    lx_page_pass_fini(&pass);
    return segment;
}

static lynx_status append_segment(store_bed *bed, uint32_t first, uint32_t end)
{
    char text[LYNX_PLACE_TEXT_MAX] = "";
    lynx_segment *segment = make_segment(bed, first, end);
    const lynx_status status = lynx_cache_file_append(path, segment, text, sizeof(text));
    assert_true(status == LYNX_OK || text[0]);
    lynx_segment_destroy(segment);
    return status;
}

static void test_files_grow(void **state)
{
    (void)state;
    static image old, grown, torn;
    static haul before, h;
    lx_toy_options toy;
    store_bed bed;
    tiny(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    unlink(path);
    assert_int_equal(append_segment(&bed, 32, 75), LYNX_ERR_SYSTEM); /* nothing to go on from */
    assert_int_equal(append_segment(&bed, 0, 40), LYNX_OK);
    read_image(&old);
    read_haul(&bed, 41, NULL, &before);
    assert_int_equal(append_segment(&bed, 64, 75), LYNX_ERR_STATE);
    assert_int_equal(append_segment(&bed, 32, 40), LYNX_ERR_STATE);
    assert_int_equal(append_segment(&bed, 32, 75), LYNX_OK);
    read_image(&grown);
    assert_true(grown.size > old.size);
    assert_memory_equal(grown.bytes, old.bytes, old.size);
    read_haul(&bed, 76, NULL, &h);
    assert_int_equal(h.tokens, 75);
    assert_int_equal(h.count, 3 * 2 * 2);
    /* A prompt that ends where the first segment does uses its partial page. */
    read_haul(&bed, 41, NULL, &h);
    assert_int_equal(h.tokens, 40);
    assert_int_equal(h.count, before.count);
    assert_beginning(&h, &before);

    /* Cut anywhere in the new segment, or its header not there yet: the old content. */
    for (size_t size = old.size; size < grown.size; size += 7) {
        torn = grown;
        if (size % 2)
            memset(torn.bytes + old.size, 0, LX_PREAMBLE_BYTES);
        write_image(&torn, size);
        read_haul(&bed, 76, NULL, &h);
        assert_int_equal(h.tokens, 40);
        assert_int_equal(h.end, LYNX_ERR_CLOSED);
        assert_beginning(&h, &before);
        assert_true(size == old.size || count_faults(NULL) > 0);
    }
    assert_int_equal(append_segment(&bed, 32, 75), LYNX_OK);
    read_image(&torn);
    assert_int_equal(torn.size, grown.size);
    assert_memory_equal(torn.bytes, grown.bytes, grown.size);

    /* Other tokens, another codec. */
    bed.tokens[3]++;
    assert_int_equal(append_segment(&bed, 64, 100), LYNX_ERR_STATE);
    bed.tokens[3]--;
    assert_int_equal(lynx_codec_spec_named(&bed.spec, "range44:recent=0"), LYNX_OK);
    assert_int_equal(append_segment(&bed, 64, 100), LYNX_ERR_MODEL);
    store_bed_end(&bed);
    unlink(path);
}

/* ---- what a reader waits for --------------------------------------------------------- */

static const lynx_place_ops *inner_place;
static uint64_t arrived; /* bytes of the file */

static lynx_status read_arrived(lynx_place *place, lynx_object *object, uint64_t offset,
                                void *data, size_t size, char *text, size_t text_size)
{
    if (offset + size > arrived)
        return LYNX_ERR_TIMEOUT;
    return inner_place->read(place, object, offset, data, size, text, text_size);
}

/* The anchor of every page is given when its last byte is there, although all of the file fits
 * in one read. */
static void test_anchors_wait_for_nothing(void **state)
{
    lx_toy_options toy;
    store_bed bed;
    lynx_place *place = NULL;
    lynx_cache_file *file = NULL;
    lynx_source *source = NULL;
    lynx_source_plane plane;
    char text[LYNX_PLACE_TEXT_MAX] = "";
    (void)state;
    tiny(&toy);
    store_bed_begin(&bed, &toy, "range-3", NULL);
    keep_file(&bed, TOKENS, NULL);
    assert_int_equal(open_file(&place, NULL, &file), LYNX_OK);
    assert_int_equal(lynx_cache_file_source(file, bed.engine->ops->model(bed.engine),
                                            bed.tokens, TOKENS + 1, &source, text,
                                            sizeof(text)),
                     LYNX_OK);
    const lynx_segment_info info = lynx_cache_file_segment(file, 0);
    lynx_place_ops slow = *place->ops;
    inner_place = place->ops;
    slow.read = read_arrived;
    place->ops = &slow;
    arrived = info.offset + info.bytes - info.plane_bytes[1] - info.plane_bytes[2];
    for (uint32_t number = 0; number < 3; number++) {
        for (uint64_t page = 0; page < info.page_count; page++) {
            assert_int_equal(source->ops->next(source, &plane), LYNX_OK);
            assert_int_equal(plane.plane, number);
            source->ops->release(source, &plane);
        }
        assert_int_equal(source->ops->next(source, &plane),
                         number < 2 ? LYNX_ERR_TIMEOUT : LYNX_ERR_CLOSED);
        arrived += number < 2 ? info.plane_bytes[number + 1] : 0;
    }
    place->ops = inner_place;
    lynx_source_destroy(source);
    lynx_cache_file_close(file);
    lynx_place_destroy(place);
    store_bed_end(&bed);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_field),
        cmocka_unit_test(test_unknown_sections),
        cmocka_unit_test(test_every_byte_and_length),
        cmocka_unit_test(test_sealed_files),
        cmocka_unit_test(test_files_grow),
        cmocka_unit_test(test_anchors_wait_for_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
