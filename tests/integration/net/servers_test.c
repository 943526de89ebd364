/* SPDX-License-Identifier: MIT */
/* servers_test.c - places and stores on nginx and on a server of S3. */
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lynx/net.h"
#include "support/cmocka_all.h"
#include "support/real_servers.h"
#include "support/store_bed.h"

enum { KEPT = 500 }; /* tokens, and one more to ask for */

static char text[LYNX_PLACE_TEXT_MAX];

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset * 31 + (offset >> 9) * 7);
}

static void write_file(const test_real *s, const char *name, size_t size)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", s->content, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (size_t i = 0; i < size; i++)
        fputc(byte_at(i), file);
    assert_int_equal(fclose(file), 0);
}

static lynx_place *place_at(const char *typed)
{
    lynx_place *place = NULL;
    lynx_net_options o;
    lynx_net_options_init(&o);
    o.retries = 8;
    if (lynx_place_from_text(&place, typed, &o, text, sizeof(text)) != LYNX_OK)
        fail_msg("%s", text);
    return place;
}

static lynx_place *place_on(const test_real *s, const char *path)
{
    char url[160];
    snprintf(url, sizeof(url), "%s%s", s->address, path);
    return place_at(url);
}

static lynx_object *open_in(lynx_place *place, const char *name)
{
    lynx_object *object = NULL;
    if (place->ops->open(place, name, &object, text, sizeof(text)) != LYNX_OK)
        fail_msg("%s", text);
    return object;
}

static void read_right(lynx_place *place, lynx_object *object, uint64_t first, uint64_t end)
{
    static uint8_t data[1 << 20];
    while (first < end) {
        const size_t size = end - first < sizeof(data) ? (size_t)(end - first) : sizeof(data);
        if (place->ops->read(place, object, first, data, size, text, sizeof(text)) != LYNX_OK)
            fail_msg("%s", text);
        for (size_t i = 0; i < size; i++)
            if (data[i] != byte_at(first + i))
                fail_msg("byte %zu is wrong", (size_t)first + i);
        first += size;
    }
}

/* ---- a store, wherever it is ------------------------------------------------------------ */

static void use_store(store_bed *bed, lynx_place *place, uint64_t limit_bytes)
{
    lynx_store_options options;
    lynx_store_destroy(bed->store);
    lynx_store_options_init(&options);
    options.place = place;
    options.limit_bytes = limit_bytes;
    assert_int_equal(lynx_store_create(&bed->store, &options), LYNX_OK);
}

/* A cache goes there and comes back in another store. */
static void keep_and_read(const char *typed)
{
    store_bed bed;
    lx_toy_options toy;
    lynx_keep_result kept;
    lx_toy_options_init(&toy);
    store_bed_begin(&bed, &toy, "range", NULL);
    use_store(&bed, place_at(typed), 0);
    store_bed_keep(&bed, KEPT, &kept);
    store_bed_engine(&bed, &toy);
    use_store(&bed, place_at(typed), 0);
    const uint32_t prefix = store_bed_read(&bed, KEPT + 1);
    store_bed_compare(&bed, prefix);
    if (!lynx_store_place(bed.store)->ops->list) {
        assert_true(prefix >= KEPT / 2); /* cuts that have no name are not found */
    } else {
        assert_int_equal(prefix, KEPT);
        assert_int_equal(store_bed_verify(&bed), 0);
        assert_true(store_bed_count(&bed, "segments/") > 0);
    }
    store_bed_end(&bed);
}

/* ---- nginx ------------------------------------------------------------------------------- */

static void nginx_serves_ranges_and_takes_objects(void **state)
{
    (void)state;
    test_real nginx;
    char url[128];
    if (!test_nginx_start(&nginx, 0)) {
        fprintf(stderr, "no nginx: skipped\n");
        skip();
    }
    write_file(&nginx, "empty", 0);
    write_file(&nginx, "small", 10);
    write_file(&nginx, "large", 3000000);
    lynx_place *place = place_on(&nginx, "/");
    static const struct {
        const char *name;
        uint64_t size;
    } files[] = {{"empty", 0}, {"small", 10}, {"large", 3000000}};
    for (size_t i = 0; i < 3; i++) {
        lynx_object *object = open_in(place, files[i].name);
        assert_int_equal(object->size, files[i].size);
        const lynx_range range = {object, 0, object->size};
        place->ops->expect(place, &range, 1);
        read_right(place, object, 0, object->size);
        place->ops->close(place, object);
    }
    assert_null(open_in(place, "none"));
    const lynx_bytes part = {(const uint8_t *)"abc", 3};
    assert_int_equal(place->ops->write(place, "new", &part, 1, text, sizeof(text)),
                     LYNX_ERR_UNSUPPORTED);
    lynx_place_destroy(place);
    snprintf(url, sizeof(url), "%s/open/store", nginx.address);
    keep_and_read(url);
    test_real_stop(&nginx);
}

static void changed_files_are_found_out(void **state)
{
    (void)state;
    test_real nginx;
    uint8_t byte;
    if (!test_nginx_start(&nginx, 0))
        skip();
    write_file(&nginx, "file", 300000);
    lynx_place *place = place_on(&nginx, "");
    lynx_object *object = open_in(place, "file");
    write_file(&nginx, "file", 300001);
    assert_int_equal(place->ops->read(place, object, 200000, &byte, 1, text, sizeof(text)),
                     LYNX_ERR_CORRUPT);
    place->ops->close(place, object);
    lynx_place_destroy(place);
    test_real_stop(&nginx);
}

/* It dies while bytes come, and is there again. */
static void reading_survives_a_restart(void **state)
{
    (void)state;
    test_real nginx;
    if (!test_nginx_start(&nginx, 2 << 20))
        skip();
    write_file(&nginx, "file", 3000000);
    lynx_place *place = place_on(&nginx, "");
    lynx_object *object = open_in(place, "file");
    const lynx_range range = {object, 0, object->size};
    place->ops->expect(place, &range, 1);
    read_right(place, object, 0, 1000000);
    test_real_kill(&nginx);
    assert_true(test_nginx_again(&nginx));
    read_right(place, object, 1000000, object->size);
    place->ops->close(place, object);
    lynx_place_destroy(place);
    test_real_stop(&nginx);
}

/* The first 36 of 100 bytes are there long before the last; the figures are for people. */
static void anchors_come_first_at_a_rate(void **state)
{
    (void)state;
    static const struct {
        unsigned mbit;
        size_t size;
    } rates[] = {{5, 1500000}, {20, 6000000}, {100, 30000000}};
    for (size_t i = 0; i < 3; i++) {
        test_real nginx;
        if (!test_nginx_start(&nginx, rates[i].mbit * 125000))
            skip();
        write_file(&nginx, "file", rates[i].size);
        lynx_place *place = place_on(&nginx, "");
        const double start = now_s();
        lynx_object *object = open_in(place, "file");
        const uint64_t anchors = object->size * 36 / 100;
        const lynx_range ranges[] = {{object, 0, anchors},
                                     {object, anchors, object->size - anchors}};
        place->ops->expect(place, ranges, 2);
        read_right(place, object, 0, anchors);
        const double first = now_s() - start;
        read_right(place, object, anchors, object->size);
        const double all = now_s() - start;
        printf("nginx, %u Mbit/s: 36 %% after %.2f s, all after %.2f s (%.1f Mbit/s)\n",
               rates[i].mbit, first, all, (double)object->size * 8e-6 / all);
        assert_true(first < all);
        place->ops->close(place, object);
        lynx_place_destroy(place);
        test_real_stop(&nginx);
    }
}

/* ---- S3 ---------------------------------------------------------------------------------- */

static bool start_s3(test_real *s3)
{
    if (!test_rclone_start(s3)) {
        fprintf(stderr, "no rclone: skipped\n");
        return false;
    }
    setenv("AWS_ACCESS_KEY_ID", TEST_KEY_ID, 1);
    setenv("AWS_SECRET_ACCESS_KEY", TEST_SECRET, 1);
    setenv("AWS_ENDPOINT_URL", s3->address, 1);
    unsetenv("AWS_ENDPOINT_URL_S3");
    unsetenv("AWS_SESSION_TOKEN");
    setenv("AWS_REGION", "eu-west-3", 1);
    return true;
}

static void a_bucket_holds_a_store(void **state)
{
    (void)state;
    test_real s3;
    if (!start_s3(&s3))
        skip();
    keep_and_read("s3://bucket");
    keep_and_read("s3://bucket/some/prefix/");
    test_real_stop(&s3);
}

typedef struct seen {
    size_t count;
    uint64_t bytes;
    int64_t first_ns;
} seen;

static bool see(void *user, const lynx_place_entry *entry)
{
    seen *s = user;
    assert_true(lynx_place_name_is_legal(entry->name));
    assert_int_equal(strncmp(entry->name, "many/", 5), 0);
    s->count++;
    s->bytes += entry->size;
    s->first_ns = entry->used_ns;
    return s->count != 7 || s->bytes != 21; /* see lists_have_several_pages */
}

static void lists_have_several_pages(void **state)
{
    (void)state;
    test_real s3;
    char path[256];
    if (!start_s3(&s3))
        skip();
    snprintf(path, sizeof(path), "%s/bucket/many", s3.content);
    mkdir(path, 0755);
    for (int i = 0; i < 2300; i++) {
        snprintf(path, sizeof(path), "bucket/many/object-%04d", i);
        write_file(&s3, path, 1);
    }
    lynx_place *place = place_at("s3://bucket");
    seen s = {0, 0, 0};
    if (place->ops->list(place, "many/", see, &s, text, sizeof(text)) != LYNX_OK)
        fail_msg("%s", text);
    assert_int_equal(s.count, 2300);
    assert_int_equal(s.bytes, 2300);
    const int64_t now_ns = (int64_t)time(NULL) * 1000000000;
    assert_true(s.first_ns > now_ns - 600000000000 && s.first_ns < now_ns + 60000000000);
    s = (seen){0, 14, 0}; /* ended by the visitor */
    assert_int_equal(place->ops->list(place, "many/", see, &s, text, sizeof(text)), LYNX_OK);
    assert_int_equal(s.count, 7);
    s = (seen){0, 0, 0};
    assert_int_equal(place->ops->list(place, "none/", see, &s, text, sizeof(text)), LYNX_OK);
    assert_int_equal(s.count, 0);
    lynx_place_destroy(place);
    test_real_stop(&s3);
}

static void large_objects_are_signed_and_changes_found(void **state)
{
    (void)state;
    test_real s3;
    uint8_t *data = malloc(5000000);
    if (!start_s3(&s3)) {
        free(data);
        skip();
    }
    for (size_t i = 0; i < 5000000; i++)
        data[i] = byte_at(i);
    lynx_place *place = place_at("s3://bucket/large");
    const lynx_bytes parts[] = {{data, 100}, {data + 100, 4999900}};
    if (place->ops->write(place, "a/object.lynx", parts, 2, text, sizeof(text)) != LYNX_OK)
        fail_msg("%s", text);
    lynx_object *object = open_in(place, "a/object.lynx");
    assert_int_equal(object->size, 5000000);
    const lynx_range ranges[] = {{object, 0, 2000000}, {object, 2000000, 3000000}};
    place->ops->expect(place, ranges, 2);
    read_right(place, object, 0, 5000000);
    place->ops->close(place, object);

    object = open_in(place, "a/object.lynx");
    data[4000000] ^= 1; /* same length */
    assert_int_equal(place->ops->write(place, "a/object.lynx", parts, 2, text, sizeof(text)),
                     LYNX_OK);
    assert_int_equal(place->ops->read(place, object, 3000000, data, 1000, text, sizeof(text)),
                     LYNX_ERR_CORRUPT);
    place->ops->close(place, object);
    assert_int_equal(place->ops->remove(place, "a/object.lynx", text, sizeof(text)), LYNX_OK);
    assert_int_equal(place->ops->remove(place, "a/object.lynx", text, sizeof(text)), LYNX_OK);
    assert_null(open_in(place, "a/object.lynx"));
    lynx_place_destroy(place);
    free(data);
    test_real_stop(&s3);
}

static void wrong_keys_and_buckets_are_told(void **state)
{
    (void)state;
    test_real s3;
    lynx_object *object = NULL;
    if (!start_s3(&s3))
        skip();
    lynx_place *place = place_at("s3://nobucket");
    const lynx_bytes part = {(const uint8_t *)"abc", 3};
    assert_int_equal(place->ops->open(place, "a", &object, text, sizeof(text)),
                     LYNX_ERR_SYSTEM);
    assert_non_null(strstr(text, "NoSuchBucket"));
    lynx_place_destroy(place);
    setenv("AWS_SECRET_ACCESS_KEY", "hush-hush-hush-hush", 1);
    place = place_at("s3://bucket");
    assert_int_equal(place->ops->open(place, "a", &object, text, sizeof(text)),
                     LYNX_ERR_DENIED);
    assert_null(strstr(text, "hush"));
    assert_non_null(strstr(text, "SignatureDoesNotMatch"));
    assert_int_equal(place->ops->write(place, "a", &part, 1, text, sizeof(text)),
                     LYNX_ERR_DENIED);
    seen s = {0, 0, 0};
    assert_int_equal(place->ops->list(place, "many/", see, &s, text, sizeof(text)),
                     LYNX_ERR_DENIED);
    lynx_place_destroy(place);
    test_real_stop(&s3);
}

int main(void)
{
    setenv("no_proxy", "*", 1);
    setenv("HOME", "/nonexistent", 1); /* no netrc */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nginx_serves_ranges_and_takes_objects),
        cmocka_unit_test(changed_files_are_found_out),
        cmocka_unit_test(reading_survives_a_restart),
        cmocka_unit_test(anchors_come_first_at_a_rate),
        cmocka_unit_test(a_bucket_holds_a_store),
        cmocka_unit_test(lists_have_several_pages),
        cmocka_unit_test(large_objects_are_signed_and_changes_found),
        cmocka_unit_test(wrong_keys_and_buckets_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
