/* SPDX-License-Identifier: MIT */
/* fetch_test.c - a cache file that is fetched: whole or not at all, and on from where it was.
 */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <signal.h>

#include "support/cmocka_all.h"
#include "support/fault_place.h"
#include "support/store_bed.h"

enum { PROMPT = 480 };

static const uint8_t key[LYNX_STORE_KEY_BYTES] = {7, 7};

typedef struct bed {
    store_bed store; /* its folder, its engine */
    fault_place source;
    char from[96], to[96], draft[96];
    bool is_cancelled;
    lynx_file_fetched fetched;
    char text[LYNX_PLACE_TEXT_MAX];
} bed;

static void make_file(bed *b, const char *path, const uint8_t *sealed_by)
{
    lynx_keep_result result;
    store_bed_keep_file(&b->store, PROMPT, path, sealed_by, &result);
}

static void begin(bed *b, const uint8_t *sealed_by)
{
    lx_toy_options toy;
    lynx_place *files = NULL;
    memset(b, 0, sizeof(*b));
    lx_toy_options_init(&toy);
    toy.layer_count = 4; /* a file of more than 64 KiB */
    toy.channels = 64;
    toy.context_tokens = 512;
    store_bed_begin(&b->store, &toy, "range", NULL);
    snprintf(b->from, sizeof(b->from), "%s/from.lynx", b->store.folder);
    snprintf(b->to, sizeof(b->to), "%s/to.lynx", b->store.folder);
    snprintf(b->draft, sizeof(b->draft), "%s/to.lynx.part", b->store.folder);
    assert_int_equal(lynx_place_files(&files, NULL), LYNX_OK);
    fault_place_init(&b->source, files);
    make_file(b, b->from, sealed_by);
}

static void end(bed *b)
{
    lynx_place_destroy(&b->source.base);
    store_bed_end(&b->store);
}

static bool on_progress(void *user, uint64_t done, uint64_t total)
{
    assert_true(done <= total && total > 0);
    return !((bed *)user)->is_cancelled;
}

static lynx_status fetch(bed *b, const char *from, const uint8_t *sealed_by)
{
    b->text[0] = '\0';
    const lynx_status status =
        lynx_cache_file_fetch(&b->source.base, from, b->to, sealed_by, on_progress, b,
                              &b->fetched, b->text, sizeof(b->text));
    assert_true(status == LYNX_OK || b->text[0]);
    return status;
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static void copy_file(const char *from, const char *to, size_t size, size_t flipped)
{
    static uint8_t data[1 << 20];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in && out);
    const size_t all = fread(data, 1, sizeof(data), in);
    assert_true(all > 0 && all < sizeof(data));
    if (flipped < all)
        data[flipped] ^= 16;
    size = size < all ? size : all;
    assert_int_equal(fwrite(data, 1, size, out), size);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

static void assert_is_fetched(const bed *b)
{
    char command[320];
    assert_false(is_there(b->draft));
    snprintf(command, sizeof(command), "cmp -s %s %s", b->from, b->to);
    assert_int_equal(system(command), 0);
}

static void a_file_is_fetched(void **state)
{
    (void)state;
    bed b;
    begin(&b, NULL);
    assert_int_equal(fetch(&b, b.from, NULL), LYNX_OK);
    assert_true(b.fetched.bytes > 4096);
    assert_int_equal(b.fetched.bytes_kept, 0);
    assert_is_fetched(&b);
    assert_int_equal(fetch(&b, b.from, NULL), LYNX_OK); /* over the old one */
    assert_is_fetched(&b);
    assert_int_equal(unlink(b.to), 0);
    assert_int_equal(fetch(&b, "none.lynx", NULL), LYNX_OK);
    assert_int_equal(b.fetched.bytes, 0);
    assert_false(is_there(b.to) || is_there(b.draft));
    end(&b);
}

/* What an earlier call left is gone on from, when it is the beginning of this file. */
static void it_goes_on(void **state)
{
    (void)state;
    bed b;
    begin(&b, NULL);
    b.is_cancelled = true;
    assert_int_equal(fetch(&b, b.from, NULL), LYNX_ERR_CANCELLED);
    b.is_cancelled = false;
    assert_false(is_there(b.to));
    assert_true(is_there(b.draft));

    static const size_t sizes[] = {1, 87, 88, 5000, 20000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        copy_file(b.from, b.draft, sizes[i], SIZE_MAX);
        assert_int_equal(fetch(&b, b.from, NULL), LYNX_OK);
        assert_int_equal(b.fetched.bytes_kept, sizes[i]);
        assert_is_fetched(&b);
    }
    /* Another file's beginning, one that is too long, and one that is wrong further behind. */
    copy_file(b.from, b.draft, 5000, 100);
    assert_int_equal(fetch(&b, b.from, NULL), LYNX_OK);
    assert_int_equal(b.fetched.bytes_kept, 0);
    assert_is_fetched(&b);
    copy_file(b.from, b.draft, SIZE_MAX, SIZE_MAX);
    assert_int_equal(truncate(b.draft, (off_t)b.fetched.bytes + 1), 0);
    assert_int_equal(fetch(&b, b.from, NULL), LYNX_OK);
    assert_int_equal(b.fetched.bytes_kept, 0);
    assert_is_fetched(&b);
    copy_file(b.from, b.draft, (size_t)b.fetched.bytes - 1, (size_t)b.fetched.bytes - 2);
    assert_true(b.fetched.bytes > 70000); /* behind what is compared with the source */
    assert_int_equal(fetch(&b, b.from, NULL), LYNX_OK);
    assert_int_equal(b.fetched.bytes_kept, 0);
    assert_is_fetched(&b);
    end(&b);
}

static void what_is_broken_gets_no_name(void **state)
{
    (void)state;
    bed b;
    char broken[96];
    begin(&b, NULL);
    snprintf(broken, sizeof(broken), "%s/broken.lynx", b.store.folder);
    static const size_t bytes[] = {0, 20, 100, 3000, 50000};
    for (size_t i = 0; i < sizeof(bytes) / sizeof(*bytes); i++) {
        copy_file(b.from, broken, SIZE_MAX, bytes[i]);
        assert_int_equal(fetch(&b, broken, NULL), LYNX_ERR_CORRUPT);
        assert_non_null(strstr(b.text, "broken where it comes from"));
        assert_false(is_there(b.to) || is_there(b.draft));
        copy_file(b.from, broken, 60000 - bytes[i], SIZE_MAX);
        assert_int_equal(fetch(&b, broken, NULL), LYNX_ERR_CORRUPT);
        assert_false(is_there(b.to));
    }
    b.source.flips = 1; /* on the way */
    assert_int_equal(fetch(&b, b.from, NULL), LYNX_OK);
    assert_is_fetched(&b);
    end(&b);
}

static void a_sealed_file(void **state)
{
    static const uint8_t other[LYNX_STORE_KEY_BYTES] = {1};
    (void)state;
    bed b;
    begin(&b, key);
    assert_int_equal(fetch(&b, b.from, key), LYNX_OK);
    assert_is_fetched(&b);
    assert_int_equal(fetch(&b, b.from, NULL), LYNX_OK);
    assert_is_fetched(&b);
    copy_file(b.from, b.draft, 60000, 50000); /* of another file, as its beginning tells */
    assert_int_equal(fetch(&b, b.from, NULL), LYNX_OK);
    assert_is_fetched(&b);
    assert_int_equal(unlink(b.to), 0);
    assert_int_equal(fetch(&b, b.from, other), LYNX_ERR_DENIED);
    assert_false(is_there(b.to));
    end(&b);
}

static void what_the_disk_refuses(void **state)
{
    (void)state;
    bed b;
    struct rlimit was, small;
    begin(&b, NULL);
    const int descriptor = open(b.draft, O_RDWR | O_CREAT, 0600);
    assert_int_equal(flock(descriptor, LOCK_EX), 0);
    assert_int_equal(fetch(&b, b.from, NULL), LYNX_ERR_STATE);
    assert_non_null(strstr(b.text, "another process"));
    close(descriptor);

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = (struct rlimit){30000, was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const lynx_status status = fetch(&b, b.from, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(status, LYNX_ERR_LIMIT);
    assert_non_null(strstr(b.text, "make room"));
    assert_false(is_there(b.to));
    assert_int_equal(fetch(&b, b.from, NULL), LYNX_OK);
    assert_int_equal(b.fetched.bytes_kept, 30000);
    assert_is_fetched(&b);

    strcpy(b.to, "no-such-folder/to.lynx");
    assert_int_equal(fetch(&b, b.from, NULL), LYNX_ERR_SYSTEM);
    assert_non_null(strstr(b.text, "no-such-folder"));
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_fetched),           cmocka_unit_test(it_goes_on),
        cmocka_unit_test(what_is_broken_gets_no_name), cmocka_unit_test(a_sealed_file),
        cmocka_unit_test(what_the_disk_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
