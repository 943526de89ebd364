/* SPDX-License-Identifier: MIT */
/* place_http_test.c - a web server as a place, well-behaved and not. */
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "lynx/net.h"
#include "support/cmocka_all.h"
#include "support/failing_allocator.h"
#include "support/range_server.h"

static test_server server;
static char text[LYNX_PLACE_TEXT_MAX];

static lynx_net_options quick(void)
{
    lynx_net_options o;
    lynx_net_options_init(&o);
    o.silence_timeout_ms = 20000; /* the machine may be busy */
    o.ahead_bytes = 64 << 10;
    return o;
}

static lynx_place *place_of(const char *fault, const lynx_net_options *options)
{
    lynx_net_options standard = quick();
    lynx_place *place = NULL;
    assert_int_equal(lynx_place_http(&place, test_server_url(&server, fault, false),
                                     options ? options : &standard, text, sizeof(text)),
                     LYNX_OK);
    return place;
}

static lynx_status open_in(lynx_place *place, const char *name, lynx_object **object)
{
    text[0] = '\0';
    return place->ops->open(place, name, object, text, sizeof(text));
}

static lynx_status read_at(lynx_place *place, lynx_object *object, uint64_t offset, size_t size)
{
    uint8_t *data = malloc(size + 1);
    text[0] = '\0';
    data[size] = 0xA5;
    const lynx_status status =
        place->ops->read(place, object, offset, data, size, text, sizeof(text));
    for (size_t i = 0; i < size && status == LYNX_OK; i++)
        assert_int_equal(data[i], test_server_byte(offset + i));
    assert_int_equal(data[size], 0xA5);
    free(data);
    return status;
}

/* ---- what is right ------------------------------------------------------------------- */

/* Anchors of two objects, then their residuals; read in other pieces than announced. */
static void read_announced(const char *fault)
{
    lynx_place *place = place_of(fault, NULL);
    lynx_object *a = NULL, *b = NULL;
    assert_int_equal(open_in(place, "400000", &a), LYNX_OK);
    assert_int_equal(open_in(place, "300000", &b), LYNX_OK);
    assert_int_equal(a->size, 400000);
    assert_int_equal(b->size, 300000);
    const lynx_range ranges[] = {{a, 1000, 150000},
                                 {b, 1000, 150000},
                                 {a, 151000, 249000},
                                 {b, 151000, 149000}};
    place->ops->expect(place, ranges, 4);
    for (size_t r = 0; r < 4; r++)
        for (uint64_t at = 0; at < ranges[r].size; at += 10000) {
            const uint64_t left = ranges[r].size - at;
            assert_int_equal(read_at(place, ranges[r].object, ranges[r].offset + at,
                                     (size_t)(left < 10000 ? left : 10000)),
                             LYNX_OK);
        }
    place->ops->close(place, a);
    place->ops->close(place, b);
    lynx_place_destroy(place);
}

static void announced_bytes_come_in_order(void **state)
{
    (void)state;
    static const char *const faults[] = {"plain", "ok", "dated", "few", "cut", "here", "away"};
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        read_announced(faults[i]);
    /* One request for each opening and for each range. */
    assert_int_equal(test_server_count(&server, "GET /ok/"), 6);
}

/* Two threads read two objects at once. */
typedef struct reader {
    lynx_place *place;
    const char *name;
    uint64_t size;
} reader;

static void *read_all(void *user)
{
    const reader *r = user;
    lynx_object *object = NULL;
    char said[LYNX_PLACE_TEXT_MAX];
    uint8_t data[5000];
    bool is_good = r->place->ops->open(r->place, r->name, &object, said, sizeof(said)) == 0;
    const lynx_range range = {object, 0, r->size};
    r->place->ops->expect(r->place, &range, 1);
    for (uint64_t at = 0; at < r->size && is_good; at += sizeof(data)) {
        is_good = r->place->ops->read(r->place, object, at, data, sizeof(data), said,
                                      sizeof(said)) == LYNX_OK;
        for (size_t i = 0; i < sizeof(data) && is_good; i++)
            is_good = data[i] == test_server_byte(at + i);
    }
    r->place->ops->close(r->place, object);
    return is_good ? user : NULL;
}

static void objects_are_read_side_by_side(void **state)
{
    (void)state;
    lynx_place *place = place_of("plain/side", NULL);
    reader readers[4] = {{place, "500000", 500000},
                         {place, "400000", 400000},
                         {place, "300000", 300000},
                         {place, "200000", 200000}};
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, &readers[i]), 0);
    for (size_t i = 0; i < 4; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        assert_non_null(result);
    }
    /* Opening and one range each: nothing was got twice. */
    assert_int_equal(test_server_count(&server, "GET /plain/side/"), 8);
    lynx_place_destroy(place);
}

static void bytes_are_left_out_and_read_again(void **state)
{
    (void)state;
    lynx_place *place = place_of("plain", NULL);
    lynx_object *object = NULL;
    assert_int_equal(open_in(place, "900000", &object), LYNX_OK);
    const lynx_range range = {object, 0, 900000};
    place->ops->expect(place, &range, 1);
    assert_int_equal(read_at(place, object, 100000, 10000), LYNX_OK); /* some left out */
    assert_int_equal(read_at(place, object, 70000, 10000), LYNX_OK);  /* those */
    assert_int_equal(read_at(place, object, 110000, 10000), LYNX_OK);
    assert_int_equal(read_at(place, object, 890000, 10000), LYNX_OK); /* far ahead */
    assert_int_equal(read_at(place, object, 10, 100), LYNX_OK);       /* of the opening */
    assert_int_equal(read_at(place, object, 60000, 300000), LYNX_OK);
    place->ops->expect(place, &range, 1); /* anew, and nobody reads */
    place->ops->close(place, object);
    lynx_place_destroy(place);
}

static void small_objects_do_without_ranges(void **state)
{
    (void)state;
    static const char *const names[] = {"0", "1", "65536", "65537", "1000000"};
    static const char *const faults[] = {"ignores", "plain"};
    for (size_t f = 0; f < 2; f++) {
        lynx_place *place = place_of(faults[f], NULL);
        for (size_t i = 0; i < 5; i++) {
            lynx_object *object = NULL;
            assert_int_equal(open_in(place, names[i], &object), LYNX_OK);
            assert_int_equal(object->size, strtoul(names[i], NULL, 10));
            assert_int_equal(read_at(place, object, 0, (size_t)object->size), LYNX_OK);
            place->ops->close(place, object);
        }
        lynx_place_destroy(place);
    }
    assert_int_equal(test_server_count(&server, "GET /ignores/"), 5);
}

static void connections_are_kept(void **state)
{
    (void)state;
    lynx_place *place = place_of("plain/kept", NULL);
    for (int i = 0; i < 5; i++) {
        lynx_object *object = NULL;
        assert_int_equal(open_in(place, "1000", &object), LYNX_OK);
        place->ops->close(place, object);
    }
    lynx_place_destroy(place);
    char path[128], line[1024], first[32] = "";
    int seen = 0;
    snprintf(path, sizeof(path), "%s/log", server.folder);
    FILE *log = fopen(path, "r");
    while (fgets(line, sizeof(line), log))
        if (strstr(line, "/plain/kept/")) {
            const char *connection = strstr(line, "connection=");
            if (seen++ == 0)
                snprintf(first, sizeof(first), "%s", connection);
            assert_string_equal(first, connection);
        }
    fclose(log);
    assert_int_equal(seen, 5);
}

/* ---- what is not there, and what fails ------------------------------------------------- */

static void failures_of_opening_say_what_they_are(void **state)
{
    (void)state;
    static const struct {
        const char *fault;
        lynx_status status;
        const char *words;
    } cases[] = {
        {"denied", LYNX_ERR_DENIED, "AccessDenied"},
        {"basic", LYNX_ERR_DENIED, "credentials"},
        {"down", LYNX_ERR_SYSTEM, "503"},
        {"packed", LYNX_ERR_SYSTEM, "compresses"},
        {"huge", LYNX_ERR_SYSTEM, "breaks HTTP"},
        {"huge_body", LYNX_ERR_UNSUPPORTED, "range requests"},
        {"endless", LYNX_ERR_UNSUPPORTED, "range requests"},
        {"head", LYNX_ERR_SYSTEM, "no end"},
        {"garbage", LYNX_ERR_SYSTEM, "HTTP"},
        {"no_claim", LYNX_ERR_SYSTEM, "range requests"},
        {"short_claim", LYNX_ERR_SYSTEM, "two lengths"},
        {"loop", LYNX_ERR_SYSTEM, "without end"},
        {"file", LYNX_ERR_DENIED, "redirects"},
        {"password", LYNX_ERR_DENIED, "redirects"},
    };
    lynx_net_options o = quick();
    o.retries = 1;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        lynx_place *place = place_of(cases[i].fault, &o);
        lynx_object *object = NULL;
        assert_int_equal(open_in(place, "200000", &object), cases[i].status);
        assert_null(object);
        if (!strstr(text, cases[i].words))
            fail_msg("%s: '%s' lacks '%s'", cases[i].fault, text, cases[i].words);
        lynx_place_destroy(place);
    }
    assert_int_equal(test_server_count(&server, "GET /down/"), 2);
}

static void failures_of_reading_say_what_they_are(void **state)
{
    (void)state;
    static const struct {
        const char *fault;
        lynx_status status;
    } cases[] = {{"changes", LYNX_ERR_CORRUPT},
                 {"grows", LYNX_ERR_CORRUPT},
                 {"vanishes", LYNX_ERR_CORRUPT},
                 {"refuses_later", LYNX_ERR_CORRUPT},
                 {"shifted", LYNX_ERR_SYSTEM}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int is_expected = 0; is_expected < 2; is_expected++) {
            static const char *const names[] = {"200000", "200001"};
            lynx_place *place = place_of(cases[i].fault, NULL);
            lynx_object *object = NULL;
            assert_int_equal(open_in(place, names[is_expected], &object), LYNX_OK);
            const lynx_range range = {object, 100000, 50000};
            if (is_expected)
                place->ops->expect(place, &range, 1);
            assert_int_equal(read_at(place, object, 100000, 50000), cases[i].status);
            assert_non_null(strstr(text, names[is_expected]));
            place->ops->close(place, object);
            lynx_place_destroy(place);
        }
}

static void silence_is_a_timeout(void **state)
{
    (void)state;
    static const char *const faults[] = {"silent", "hangs"};
    lynx_net_options o = quick();
    o.silence_timeout_ms = 300;
    o.retries = 1;
    for (size_t i = 0; i < 2; i++) {
        lynx_place *place = place_of(faults[i], &o);
        lynx_object *object = NULL;
        assert_int_equal(open_in(place, "200000", &object), LYNX_ERR_TIMEOUT);
        assert_non_null(strstr(text, "silent"));
        lynx_place_destroy(place);
    }
    assert_int_equal(test_server_count(&server, "GET /silent/"), 2);
}

static void nobody_listens(void **state)
{
    (void)state;
    lynx_place *place = NULL;
    lynx_object *object = NULL;
    lynx_net_options o = quick();
    o.retries = 1;
    assert_int_equal(lynx_place_http(&place, "http://127.0.0.1:1/x", &o, text, sizeof(text)),
                     LYNX_OK);
    assert_int_equal(open_in(place, "a", &object), LYNX_ERR_CLOSED);
    assert_non_null(strstr(text, "'http://127.0.0.1:1/x/a'"));
    lynx_place_destroy(place);
}

static void what_is_not_there_is_none(void **state)
{
    (void)state;
    lynx_place *place = place_of("gone", NULL);
    lynx_object *object = NULL;
    assert_int_equal(open_in(place, "a", &object), LYNX_OK);
    assert_null(object);
    assert_int_equal(open_in(place, "../a", &object), LYNX_ERR_ARGUMENT);
    lynx_place_destroy(place);
}

static void busy_servers_are_asked_again(void **state)
{
    (void)state;
    lynx_place *place = place_of("busy", NULL);
    lynx_object *object = NULL;
    const lynx_bytes part = {(const uint8_t *)"abc", 3};
    assert_int_equal(open_in(place, "1000", &object), LYNX_OK);
    assert_int_equal(test_server_count(&server, "GET /busy/1000 "), 3);
    place->ops->close(place, object);
    assert_int_equal(place->ops->write(place, "new", &part, 1, text, sizeof(text)), LYNX_OK);
    assert_int_equal(test_server_count(&server, "PUT /busy/new "), 3);
    lynx_place_destroy(place);
}

/* ---- secrets --------------------------------------------------------------------------- */

static void credentials_go_to_their_host_alone(void **state)
{
    (void)state;
    char url[256], path[128];
    lynx_net_options o = quick();
    lynx_place *place = NULL;
    lynx_object *object = NULL;
    snprintf(url, sizeof(url), "http://me:secret@127.0.0.1:%d/basic", server.port);
    assert_int_equal(lynx_place_http(&place, url, &o, text, sizeof(text)), LYNX_OK);
    assert_null(strstr(place->ops->description(place), "secret"));
    assert_int_equal(open_in(place, "1000", &object), LYNX_OK);
    place->ops->close(place, object);
    lynx_place_destroy(place);

    snprintf(url, sizeof(url), "http://me:secret@127.0.0.1:%d/away", server.port);
    assert_int_equal(lynx_place_http(&place, url, &o, text, sizeof(text)), LYNX_OK);
    assert_int_equal(open_in(place, "1234", &object), LYNX_OK);
    place->ops->close(place, object);
    lynx_place_destroy(place);
    snprintf(path, sizeof(path), "authorization=None host=localhost:%d", server.port);
    assert_int_equal(test_server_count(&server, "GET /away/1234"), 1);
    assert_true(test_server_count(&server, path) > 0);
    assert_int_equal(test_server_count(&server, "authorization=Basic bWU6c2VjcmV0 host=local"),
                     0);

    snprintf(path, sizeof(path), "%s/netrc", server.folder);
    FILE *netrc = fopen(path, "w");
    fputs("machine 127.0.0.1 login me password secret\n", netrc);
    fclose(netrc);
    o.netrc_file = path;
    place = place_of("basic", &o);
    assert_int_equal(open_in(place, "1001", &object), LYNX_OK);
    place->ops->close(place, object);
    lynx_place_destroy(place);
}

static void tokens_are_sent_and_never_told(void **state)
{
    (void)state;
    lynx_place *place = NULL;
    lynx_object *object = NULL;
    setenv("LYNX_HTTP_TOKEN", "t0ken", 1);
    assert_int_equal(lynx_place_http(&place, "http://store.example/x", NULL, text,
                                     sizeof(text)),
                     LYNX_ERR_DENIED);
    assert_null(strstr(text, "t0ken"));
    place = place_of("bearer", NULL);
    assert_int_equal(open_in(place, "1000", &object), LYNX_OK);
    place->ops->close(place, object);
    lynx_place_destroy(place);
    setenv("LYNX_HTTP_TOKEN", "wr0ng", 1);
    place = place_of("bearer", NULL);
    assert_int_equal(open_in(place, "1000", &object), LYNX_ERR_DENIED);
    assert_null(strstr(text, "wr0ng"));
    lynx_place_destroy(place);
    unsetenv("LYNX_HTTP_TOKEN");
}

static void signed_urls_open_one_object(void **state)
{
    (void)state;
    char url[256];
    const char *name = NULL;
    lynx_place *place = NULL;
    lynx_object *object = NULL;
    const lynx_net_options o = quick();
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/signed/a%%20b/300000?signature=hush",
             server.port);
    assert_int_equal(lynx_place_of_object(&place, &name, url, &o, text, sizeof(text)), LYNX_OK);
    assert_null(strstr(name, "hush"));
    assert_int_equal(open_in(place, name, &object), LYNX_OK);
    assert_int_equal(object->size, 300000);
    assert_int_equal(read_at(place, object, 200000, 100000), LYNX_OK);
    place->ops->close(place, object);
    lynx_place_destroy(place);
    url[strlen(url) - 1] = 'X';
    assert_int_equal(lynx_place_of_object(&place, &name, url, &o, text, sizeof(text)), LYNX_OK);
    assert_int_equal(open_in(place, name, &object), LYNX_ERR_DENIED);
    assert_null(strstr(text, "hus"));
    lynx_place_destroy(place);
}

/* ---- writing, ending, memory --------------------------------------------------------- */

static void objects_are_put_and_deleted(void **state)
{
    (void)state;
    lynx_place *place = place_of("plain", NULL);
    lynx_object *object = NULL;
    uint8_t *bytes = malloc(2000000);
    for (size_t i = 0; i < 2000000; i++)
        bytes[i] = test_server_byte(i);
    const lynx_bytes parts[] = {{bytes, 1}, {bytes + 1, 0}, {bytes + 1, 1999999}};
    assert_int_equal(place->ops->write(place, "a/b.lynx", parts, 3, text, sizeof(text)),
                     LYNX_OK);
    assert_int_equal(open_in(place, "a/b.lynx", &object), LYNX_OK);
    assert_int_equal(object->size, 2000000);
    assert_int_equal(read_at(place, object, 0, 2000000), LYNX_OK);
    place->ops->close(place, object);
    assert_int_equal(place->ops->remove(place, "a/b.lynx", text, sizeof(text)), LYNX_OK);
    assert_int_equal(place->ops->remove(place, "a/b.lynx", text, sizeof(text)), LYNX_OK);
    lynx_place_destroy(place);
    static const struct {
        const char *fault;
        lynx_status status;
    } cases[] = {{"full", LYNX_ERR_LIMIT},
                 {"fixed", LYNX_ERR_UNSUPPORTED},
                 {"denied", LYNX_ERR_DENIED}};
    for (size_t i = 0; i < 3; i++) {
        place = place_of(cases[i].fault, NULL);
        assert_int_equal(place->ops->write(place, "a", parts, 1, text, sizeof(text)),
                         cases[i].status);
        lynx_place_destroy(place);
    }
    free(bytes);
}

typedef struct waiting {
    lynx_place *place;
    lynx_object *object; /* NULL: all of the place */
} waiting;

static void *cancel_soon(void *user)
{
    const waiting *w = user;
    usleep(100000);
    w->place->ops->cancel(w->place, w->object);
    return NULL;
}

static void cancelling_ends_reads(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        lynx_place *place = place_of("later_hangs", NULL);
        lynx_object *object = NULL;
        pthread_t thread;
        assert_int_equal(open_in(place, "300000", &object), LYNX_OK);
        const lynx_range range = {object, 0, 300000};
        if (i % 2)
            place->ops->expect(place, &range, 1);
        waiting w = {place, i / 2 ? object : NULL};
        assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &w), 0);
        assert_int_equal(read_at(place, object, 0, 300000), LYNX_ERR_CANCELLED);
        pthread_join(thread, NULL);
        assert_int_equal(read_at(place, object, 100000, 1000), LYNX_ERR_CANCELLED);
        place->ops->close(place, object);
        lynx_place_destroy(place);
    }
}

/* Without memory nothing is lost: an error, or it works without fetching ahead. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool is_through = false;
    for (uint64_t n = 1; !is_through; n++) {
        test_allocator memory;
        test_allocator_init(&memory);
        memory.fail_at = n;
        lynx_net_options o = quick();
        o.memory = &memory.allocator;
        lynx_place *place = NULL;
        lynx_object *object = NULL;
        lynx_status status = lynx_place_http(&place, test_server_url(&server, "plain", false),
                                             &o, text, sizeof(text));
        if (status == LYNX_OK)
            status = open_in(place, "200000", &object);
        if (status == LYNX_OK) {
            const lynx_range range = {object, 0, 200000};
            place->ops->expect(place, &range, 1);
            status = read_at(place, object, 0, 200000);
        }
        assert_true(status == LYNX_OK || status == LYNX_ERR_MEMORY);
        if (object)
            place->ops->close(place, object);
        lynx_place_destroy(place);
        assert_int_equal(memory.live_blocks, 0);
        is_through = memory.calls < n;
        assert_true(!is_through || status == LYNX_OK);
    }
}

static void bad_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const typed[] = {"http://",        "https://",     "ftp://host/x",
                                        "http://ho st/",  "gopher://x",   "",
                                        "http://h:99999", "s3://",        "s3://b/../x",
                                        "s3:///x",        "s3://b?x=y/z", "s3://-b/x"};
    for (size_t i = 0; i < sizeof(typed) / sizeof(typed[0]); i++) {
        lynx_place *place = NULL;
        text[0] = '\0';
        assert_int_equal(lynx_place_from_text(&place, typed[i], NULL, text, sizeof(text)),
                         LYNX_ERR_ARGUMENT);
        assert_null(place);
        assert_true(strlen(text) > 10);
    }
    lynx_net_options o = quick();
    lynx_place *place = NULL;
    o.ahead_bytes = 1;
    assert_int_equal(lynx_place_http(&place, "http://h/", &o, text, sizeof(text)),
                     LYNX_ERR_ARGUMENT);
}

static void certificates_are_verified(void **state)
{
    (void)state;
    test_server secure;
    if (!test_server_start(&secure, true))
        skip();
    lynx_net_options o = quick();
    lynx_place *place = NULL;
    lynx_object *object = NULL;
    char path[128];
    assert_int_equal(lynx_place_http(&place, test_server_url(&secure, "plain", true), &o, text,
                                     sizeof(text)),
                     LYNX_OK);
    assert_int_equal(open_in(place, "300000", &object), LYNX_ERR_DENIED);
    assert_non_null(strstr(text, "certificate"));
    lynx_place_destroy(place);

    snprintf(path, sizeof(path), "%s/certificate.pem", secure.folder);
    o.ca_file = path;
    static const char *const faults[] = {"plain", "downgrade"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(lynx_place_http(&place, test_server_url(&secure, faults[i], true), &o,
                                         text, sizeof(text)),
                         LYNX_OK);
        assert_int_equal(open_in(place, "300000", &object), i ? LYNX_ERR_DENIED : LYNX_OK);
        if (i == 0) {
            assert_int_equal(read_at(place, object, 0, 300000), LYNX_OK);
            place->ops->close(place, object);
        }
        lynx_place_destroy(place);
    }
    test_server_stop(&secure);
}

int main(void)
{
    setenv("no_proxy", "*", 1);
    unsetenv("LYNX_HTTP_TOKEN");
    setenv("HOME", "/nonexistent", 1); /* no netrc */
    if (!test_server_start(&server, false)) {
        fprintf(stderr, "no python3: skipped\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(announced_bytes_come_in_order),
        cmocka_unit_test(objects_are_read_side_by_side),
        cmocka_unit_test(bytes_are_left_out_and_read_again),
        cmocka_unit_test(small_objects_do_without_ranges),
        cmocka_unit_test(connections_are_kept),
        cmocka_unit_test(failures_of_opening_say_what_they_are),
        cmocka_unit_test(failures_of_reading_say_what_they_are),
        cmocka_unit_test(silence_is_a_timeout),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(what_is_not_there_is_none),
        cmocka_unit_test(busy_servers_are_asked_again),
        cmocka_unit_test(credentials_go_to_their_host_alone),
        cmocka_unit_test(tokens_are_sent_and_never_told),
        cmocka_unit_test(signed_urls_open_one_object),
        cmocka_unit_test(objects_are_put_and_deleted),
        cmocka_unit_test(cancelling_ends_reads),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(bad_addresses_are_refused),
        cmocka_unit_test(certificates_are_verified),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_server_stop(&server);
    return failed;
}
