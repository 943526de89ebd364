/* SPDX-License-Identifier: MIT */
/*
 * golden_test.c - cache files of version 1 that are kept (tests/golden/store): each still reads
 * as it did, and its generator here still writes the same bytes. 'golden_test --write' writes
 * them anew, and the seeds of the fuzz target with them; a new version keeps the old ones.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/digest.h"
#include "store/header.h"
#include "support/cmocka_all.h"
#include "support/store_bed.h"

#define FOLDER LYNX_SOURCE_DIR "/tests/golden/store/"
#define SEEDS  LYNX_SOURCE_DIR "/fuzz/corpora/fuzz_cache_file/"

enum { FILE_MAX = 1 << 15 };

typedef struct image {
    uint8_t bytes[FILE_MAX];
    size_t size;
} image;

/* ---- generators ---------------------------------------------------------------------- */

static const uint8_t golden_key[LYNX_STORE_KEY_BYTES] = {9};

/* Two layers, one with a window; no engine's arithmetic, so the same on every machine. */
static void begin(store_bed *bed, const char *codec, uint32_t page_tokens)
{
    lx_toy_options toy;
    lx_toy_options_init(&toy);
    toy.layer_count = 2;
    toy.channels = 16;
    toy.page_tokens = page_tokens;
    toy.window_tokens = 40;
    toy.context_tokens = 128;
    store_bed_begin(bed, &toy, codec, NULL);
}

static void take_file(const char *path, image *i)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s is not there; 'golden_test --write' writes it", path);
    i->size = fread(i->bytes, 1, FILE_MAX, file);
    assert_true(i->size < FILE_MAX);
    fclose(file);
}

static void write_whole(image *i, const char *codec, uint32_t page_tokens, const uint8_t *key)
{
    static const char path[] = "golden.lynx";
    store_bed bed;
    begin(&bed, codec, page_tokens);
    lynx_keep_result result;
    store_bed_keep_file(&bed, 75, path, key, &result);
    take_file(path, i);
    unlink(path);
    store_bed_end(&bed);
}

/* What "range" was when the first files were written. */
static const char whole_bits[] = "range:k=4+4,v=5+3,head=8";

static void make_good(image *i)
{
    write_whole(i, whole_bits, 32, NULL);
}

static void make_sealed(image *i)
{
    write_whole(i, whole_bits, 32, golden_key);
}

static void make_quarters(image *i)
{
    write_whole(i, "range:k=4.25+3.75,v=4.5+3.5,head=1", 32, NULL);
}

static void make_totals(image *i)
{
    write_whole(i, "range:k=4.25+3.5,v=4.5+3.75,head=1", 32, NULL);
}

/* The window of 40 begins inside a page of 64. */
static void make_window(image *i)
{
    write_whole(i, "raw", 64, NULL);
}

static void redigest(image *i)
{
    lx_reader reader = lx_reader_of(i->bytes + 16, 4);
    lx_digest128(i->bytes + LX_PREAMBLE_BYTES, lx_read_u32(&reader), i->bytes + 64);
    lx_writer writer = lx_writer_of(i->bytes + 80, 8);
    lx_write_u64(&writer, lx_digest64(i->bytes, 80));
}

static void make_newer(image *i)
{
    make_good(i);
    i->bytes[8] = 2;
    redigest(i);
}

static void make_other_magic(image *i)
{
    make_good(i);
    i->bytes[7] = '\r';
}

static void make_bad_header(image *i)
{
    make_good(i);
    i->bytes[LX_PREAMBLE_BYTES + 40] ^= 1;
}

static void make_bad_plane(image *i)
{
    make_good(i);
    i->bytes[i->size - 1] ^= 0x80;
}

static void make_cut(image *i)
{
    make_good(i);
    i->size -= 600;
}

/* A section of type 'type' in front of the others. */
static void put_section(image *i, uint32_t type, uint32_t flags)
{
    lx_reader reader = lx_reader_of(i->bytes + 16, 4);
    const uint32_t block = lx_read_u32(&reader);
    reader = lx_reader_of(i->bytes + 56, 8);
    const uint64_t total = lx_read_u64(&reader);
    memmove(i->bytes + LX_PREAMBLE_BYTES + 24, i->bytes + LX_PREAMBLE_BYTES,
            i->size - LX_PREAMBLE_BYTES);
    lx_writer writer = lx_writer_of(i->bytes + LX_PREAMBLE_BYTES, 24);
    lx_write_u32(&writer, type);
    lx_write_u32(&writer, flags);
    lx_write_u64(&writer, 2);
    lx_write_u64(&writer, 0x4C59);
    writer = lx_writer_of(i->bytes + 16, 4);
    lx_write_u32(&writer, block + 24);
    writer = lx_writer_of(i->bytes + 56, 8);
    lx_write_u64(&writer, total + 24);
    i->size += 24;
    redigest(i);
}

static void make_may_skip(image *i)
{
    make_good(i);
    put_section(i, 77, 1);
}

static void make_must_know(image *i)
{
    make_good(i);
    put_section(i, 77, 0);
}

/* The bit of codecs whose bits were spread by another rule (docs/format.md, 2.2). */
static void make_older_codec(image *i)
{
    make_good(i);
    uint32_t type = 0;
    for (size_t at = LX_PREAMBLE_BYTES; type != 2;) {
        lx_reader reader = lx_reader_of(i->bytes + at, 16);
        type = lx_read_u32(&reader);
        (void)lx_read_u32(&reader);
        if (type == 2)
            i->bytes[at + 16 + 2] = 2;
        at += 16 + (size_t)(lx_read_u64(&reader) + 7) / 8 * 8;
    }
    redigest(i);
}

static void make_torn(image *i)
{
    make_good(i);
    memset(i->bytes + i->size, 0, 500);
    i->size += 500;
}

/* ---- the files ----------------------------------------------------------------------- */

typedef struct golden {
    const char *name;
    void (*make)(image *i);
    const uint8_t *key;
    lynx_status open;
    uint32_t faults; /* that verify tells */
    bool is_random;  /* a salt is in it: the generator's bytes differ */
    const char *about;
} golden;

static const golden files[] = {
    {"good.lynx", make_good, NULL, LYNX_OK, 0, false, "75 tokens in one segment"},
    {"sealed.lynx", make_sealed, golden_key, LYNX_OK, 0, true,
     "the same, sealed by the key 09 00 ... 00"},
    {"quarters.lynx", make_quarters, NULL, LYNX_OK, 0, false,
     "the same, with quarters of a bit (wire format 2.4)"},
    {"totals.lynx", make_totals, NULL, LYNX_OK, 0, false,
     "the same, with quarters of a bit in all (wire format 2.6)"},
    {"window.lynx", make_window, NULL, LYNX_OK, 0, false,
     "75 tokens raw, pages of 64 that are cut where a window begins"},
    {"whole.lynx", NULL, NULL, LYNX_OK, 0, false,
     "the same with whole pages, as written before section 6 of 2026-11-29"},
    {"by-page.lynx", NULL, NULL, LYNX_OK, 0, false,
     "good.lynx by page, as written before section 7 of 2026-11-29"},
    {"may-skip.lynx", make_may_skip, NULL, LYNX_OK, 0, false,
     "a section that nobody knows and that says it may be skipped"},
    {"torn.lynx", make_torn, NULL, LYNX_OK, 1, false,
     "500 zeros behind the segment, as a killed append leaves them"},
    {"cut.lynx", make_cut, NULL, LYNX_OK, 1, false, "cut off 600 bytes before its end"},
    {"bad-plane.lynx", make_bad_plane, NULL, LYNX_OK, 1, false, "one bit of the last plane"},
    {"bad-header.lynx", make_bad_header, NULL, LYNX_ERR_CORRUPT, 0, false,
     "one bit of the header"},
    {"bad-magic.lynx", make_other_magic, NULL, LYNX_ERR_PROTOCOL, 0, false,
     "line ends converted"},
    {"must-know.lynx", make_must_know, NULL, LYNX_ERR_UNSUPPORTED, 0, false,
     "a section that nobody knows and that must be known"},
    {"older-codec.lynx", make_older_codec, NULL, LYNX_ERR_PROTOCOL, 0, false,
     "a codec of wire format 2.2, whose bits lie elsewhere"},
    {"newer.lynx", make_newer, NULL, LYNX_ERR_VERSION, 0, false, "version 2"},
};

enum { COUNT = sizeof(files) / sizeof(*files) };

static void test_generators_write_the_same(void **state)
{
    (void)state;
    static image kept, made;
    char path[512];
    for (uint32_t i = 0; i < COUNT; i++) {
        if (!files[i].make)
            continue; /* nothing writes it any more */
        snprintf(path, sizeof(path), FOLDER "%s", files[i].name);
        take_file(path, &kept);
        files[i].make(&made);
        assert_int_equal(made.size, kept.size);
        if (!files[i].is_random && memcmp(made.bytes, kept.bytes, made.size) != 0)
            fail_msg("%s differs from what is written now", files[i].name);
    }
}

static bool count_fault(void *user, const char *object, const char *what)
{
    (void)object;
    (void)what;
    ++*(uint32_t *)user;
    return true;
}

static void read_one(const golden *g)
{
    char path[512], text[LYNX_PLACE_TEXT_MAX] = "";
    lynx_place *place = NULL;
    lynx_cache_file *file = NULL;
    uint32_t faults = 0, tokens = 0;
    snprintf(path, sizeof(path), FOLDER "%s", g->name);
    assert_int_equal(lynx_place_files(&place, NULL), LYNX_OK);
    const lynx_status status =
        lynx_cache_file_open(&file, place, path, g->key, NULL, text, sizeof(text));
    if (status != g->open)
        fail_msg("%s: %s", g->name, lynx_status_name(status));
    if (status == LYNX_OK) {
        (void)lynx_cache_file_tokens(file, &tokens);
        assert_int_equal(tokens, 75);
        assert_int_equal(lynx_cache_file_verify(file, count_fault, &faults, text, sizeof(text)),
                         LYNX_OK);
        assert_int_equal(faults, g->faults);
    } else {
        assert_non_null(strstr(text, g->name));
    }
    lynx_cache_file_close(file);
    lynx_place_destroy(place);
}

static void test_each_reads_as_it_did(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < COUNT; i++)
        read_one(&files[i]);
}

static int put_file(const char *folder, const char *name, const uint8_t *front, size_t size,
                    const image *i)
{
    char path[512];
    snprintf(path, sizeof(path), "%s%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || (size && fwrite(front, 1, size, file) != size) ||
        fwrite(i->bytes, 1, i->size, file) != i->size || fclose(file) != 0) {
        perror(path);
        return 1;
    }
    return 0;
}

static int write_all(void)
{
    static image made;
    FILE *list = fopen(FOLDER "README", "w");
    int failed = list == NULL;
    for (uint32_t i = 0; i < COUNT && !failed; i++) {
        const uint8_t choice = files[i].key ? 2 : 1;
        if (files[i].make) {
            files[i].make(&made);
            failed |= put_file(FOLDER, files[i].name, NULL, 0, &made);
            failed |= put_file(SEEDS, files[i].name, &choice, 1, &made);
        }
        fprintf(list, "%-16s %s: %s\n", files[i].name, lynx_status_name(files[i].open),
                files[i].about);
    }
    return failed || fclose(list) != 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generators_write_the_same),
        cmocka_unit_test(test_each_reads_as_it_did),
    };
    if (argc == 2 && strcmp(argv[1], "--write") == 0)
        return write_all();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
