/* SPDX-License-Identifier: MIT */
/* serve_store_test.c - a server on toy engines with a store: what is loaded, computed, kept and
 * counted, and what happens when the store fails. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "support/cmocka_all.h"

#include "lynx/keep.h"
#include "lynx/serve.h"
#include "support/http_client.h"
#include "support/store_bed.h"
#include "support/toy_nodes.h"

enum { PAGE = 32, SLOTS = 2 };

typedef struct server {
    store_bed bed; /* its engine is that of slot 0 */
    lynx_engine *engines[SLOTS];
    lynx_serve_options options;
    lynx_serve *serve;
    uint16_t port;
} server;

static void open_serve(server *s)
{
    char text[LYNX_TEXT_MAX];
    s->options.store = s->bed.store;
    assert_int_equal(lynx_tcp_listen("127.0.0.1:0", &s->options.descriptor, &s->port, text,
                                     sizeof(text)),
                     LYNX_OK);
    assert_int_equal(lynx_serve_create(&s->serve, &s->options, text), LYNX_OK);
}

static void start(server *s)
{
    lx_toy_options toy;
    memset(s, 0, sizeof(*s));
    lx_toy_options_init(&toy);
    toy.piece_ns = 40000000;                       /* slower than a folder */
    store_bed_begin(&s->bed, &toy, "paper", NULL); /* coarse: other caches, other tokens */
    s->engines[0] = s->bed.engine;
    assert_int_equal(lx_toy_create(&s->engines[1], &toy, NULL), LYNX_OK);
    lynx_serve_options_init(&s->options);
    s->options.engines = s->engines;
    s->options.slot_count = SLOTS;
    s->options.spec = s->bed.spec;
    s->options.store_least_tokens = PAGE;
    open_serve(s);
}

static void finish(server *s)
{
    lynx_serve_destroy(s->serve);
    lynx_engine_destroy(s->engines[1]);
    store_bed_end(&s->bed);
}

typedef struct told {
    char text[512];
    unsigned prompt, reused, computed, kept;
} told;

static unsigned number(const char *answer, const char *name)
{
    const char *found = strstr(answer, name);
    assert_non_null(found);
    return (unsigned)strtoul(found + strlen(name), NULL, 10);
}

static const char *post(server *s, uint32_t bytes, uint32_t seed, const char *more)
{
    static char answer[ANSWER_BYTES];
    char prompt[512], body[1024];
    for (uint32_t i = 0; i < bytes; i++) /* two seeds part at byte 150 */
        prompt[i] = (char)('a' + (i * 7 + i / 26 + (i >= 150 ? seed : 0)) % 26);
    prompt[bytes] = '\0';
    snprintf(body, sizeof(body), "{\"prompt\":\"%s\",\"temperature\":0,\"max_tokens\":12%s}",
             prompt, more);
    http_read_all(http_post(s->port, "/v1/completions", body), answer);
    return answer;
}

static void await_written(server *s)
{
    for (uint32_t i = 0; http_metric(s->port, "lynx_store_waiting_bytes") > 0; i++) {
        TOY_CHECK(i < 3000);
        poll(NULL, 0, 10);
    }
}

static void ask(server *s, uint32_t bytes, uint32_t seed, const char *more, told *t)
{
    const char *answer = post(s, bytes, seed, more);
    if (strncmp(answer, "HTTP/1.1 200 ", 13) != 0)
        fail_msg("%s", answer);
    http_collect(answer, "\"choices\":[{\"index\":0,\"text\":\"", t->text);
    t->prompt = number(answer, "\"prompt_tokens\":");
    t->reused = number(answer, "\"reused_tokens\":");
    t->computed = number(answer, "\"computed_tokens\":");
    t->kept = number(answer, "\"kept_tokens\":");
    await_written(s);
}

static void assert_told(const told *t, unsigned reused, unsigned kept)
{
    assert_int_equal(t->reused, reused);
    assert_int_equal(t->kept, kept);
    assert_int_equal(t->computed, t->prompt - reused);
}

static void the_rest_is_computed(void **state)
{
    server s;
    told first, again, other;
    (void)state;
    start(&s);
    ask(&s, 200, 0, "", &first);
    const unsigned whole = (first.prompt - 1) / PAGE * PAGE;
    assert_told(&first, 0, whole);
    ask(&s, 200, 0, "", &again);
    assert_told(&again, whole, 0);
    assert_string_equal(again.text, first.text);
    /* It shares 150 bytes: four pages. */
    ask(&s, 200, 1, "", &other);
    assert_told(&other, 4 * PAGE, whole);
    ask(&s, 200, 1, "", &again);
    assert_told(&again, whole, 0);
    assert_string_equal(again.text, other.text);
    assert_int_equal(http_metric(s.port, "lynx_store_hits_total"), 3);
    assert_int_equal(http_metric(s.port, "lynx_store_misses_total"), 1);
    assert_int_equal(http_metric(s.port, "lynx_store_reused_tokens_total"),
                     2 * whole + 4 * PAGE);
    assert_int_equal(http_metric(s.port, "lynx_computed_tokens_total"),
                     first.computed + other.computed + 2 * (first.prompt - whole));
    /* Another process. */
    lynx_serve_destroy(s.serve);
    store_bed_open(&s.bed, NULL, 0);
    open_serve(&s);
    ask(&s, 200, 0, "", &again);
    assert_told(&again, whole, 0);
    assert_string_equal(again.text, first.text);
    finish(&s);
}

static void what_is_not_wanted_is_left(void **state)
{
    server s;
    told t;
    (void)state;
    start(&s);
    ask(&s, 200, 0, ",\"lynx\":{\"store\":false}", &t);
    assert_told(&t, 0, 0);
    ask(&s, 20, 0, "", &t); /* no whole page */
    assert_told(&t, 0, 0);
    assert_int_equal(store_bed_count(&s.bed, ""), 0);
    ask(&s, 200, 0, "", &t);
    ask(&s, 200, 0, ",\"lynx\":{\"method\":\"local\"}", &t); /* computes it anyway */
    assert_told(&t, 0, t.kept);
    /* Shorter than the least. */
    lynx_serve_destroy(s.serve);
    s.options.store_least_tokens = 8 * PAGE;
    open_serve(&s);
    ask(&s, 200, 0, "", &t);
    assert_told(&t, 0, 0);
    /* No memory to wait in. */
    lynx_serve_destroy(s.serve);
    s.options.store_least_tokens = PAGE;
    s.options.store_waiting_bytes = 100;
    open_serve(&s);
    ask(&s, 300, 2, "", &t);
    assert_int_equal(t.kept, 0);
    assert_int_equal(http_metric(s.port, "lynx_store_dropped_total"), 1);
    finish(&s);
}

/* A place that fails as it is told to. */
static const lynx_place_ops *good;
static _Atomic int failing; /* 1: writes, 2: opens */

static lynx_status fail_write(lynx_place *place, const char *name, const lynx_bytes *parts,
                              size_t count, char *text, size_t text_size)
{
    if (!(failing & 1))
        return good->write(place, name, parts, count, text, text_size);
    snprintf(text, text_size, "the disk of the test is full");
    return LYNX_ERR_LIMIT;
}

static lynx_status fail_open(lynx_place *place, const char *name, lynx_object **object,
                             char *text, size_t text_size)
{
    if (!(failing & 2))
        return good->open(place, name, object, text, text_size);
    snprintf(text, text_size, "the server of the test is away");
    return LYNX_ERR_TIMEOUT;
}

static void failures_harm_nobody(void **state)
{
    server s;
    told first, again;
    (void)state;
    start(&s);
    lynx_serve_destroy(s.serve);
    lynx_place *place = lynx_store_place(s.bed.store);
    good = place->ops;
    lynx_place_ops ops = *good;
    ops.write = fail_write;
    ops.open = fail_open;
    place->ops = &ops;
    failing = 1;
    open_serve(&s);
    ask(&s, 200, 0, "", &first);
    assert_true(first.kept > 0);
    assert_int_equal(http_metric(s.port, "lynx_store_failures_total{what=\"write\"}"), 1);
    assert_int_equal(store_bed_count(&s.bed, ""), 0);
    /* It is left alone for a second. */
    ask(&s, 200, 0, "", &again);
    assert_told(&again, 0, 0);
    assert_int_equal(http_metric(s.port, "lynx_store_dropped_total"), 1);
    assert_string_equal(again.text, first.text);
    failing = 2;
    ask(&s, 200, 0, "", &again);
    ask(&s, 200, 0, "", &again);
    assert_int_equal(http_metric(s.port, "lynx_store_failures_total{what=\"find\"}"), 1);
    assert_string_equal(again.text, first.text);
    failing = 0;
    for (uint32_t i = 0; again.kept == 0; i++) {
        TOY_CHECK(i < 3000);
        poll(NULL, 0, 10);
        ask(&s, 200, 0, "", &again);
    }
    ask(&s, 200, 0, "", &again);
    assert_told(&again, again.reused, 0);
    assert_true(again.reused > 0);
    assert_string_equal(again.text, first.text);
    place->ops = good;
    finish(&s);
}

/* Which segment it is, and how. */
static void break_a_segment(server *s, const char *part, long at)
{
    char command[256], path[256] = "";
    snprintf(command, sizeof(command), "ls %s/segments/*/%s*", s->bed.folder, part);
    FILE *list = popen(command, "r");
    assert_non_null(list);
    assert_non_null(fgets(path, sizeof(path), list));
    pclose(list);
    path[strcspn(path, "\n")] = '\0';
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    const int byte = fgetc(file);
    assert_int_equal(fseek(file, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    assert_int_equal(fputc(byte ^ 1, file), byte ^ 1);
    fclose(file);
}

/* The answer is the same, and the next one finds it whole. */
static void what_is_broken_is_made_good(void **state)
{
    static const char *const parts[] = {"0-32-", "64-", "160-"};
    server s;
    told first, again;
    (void)state;
    start(&s);
    ask(&s, 200, 0, "", &first);
    for (uint32_t i = 0; i < 6; i++) {
        break_a_segment(&s, parts[i / 2], i % 2 ? 90 : -1); /* header or last plane */
        ask(&s, 200, 0, "", &again);
        assert_string_equal(again.text, first.text);
        assert_int_equal(again.kept, first.kept);
        ask(&s, 200, 0, "", &again);
        assert_string_equal(again.text, first.text);
        assert_told(&again, first.kept, 0);
    }
    assert_int_equal(http_metric(s.port, "lynx_store_failures_total{what=\"load\"}"), 3);
    assert_int_equal(http_metric(s.port, "lynx_recomputed_total"), 0);
    assert_int_equal(store_bed_verify(&s.bed), 0);
    finish(&s);
}

static void documents_come_first(void **state)
{
    server s;
    told t, again;
    char text[LYNX_PLACE_TEXT_MAX];
    (void)state;
    start(&s);
    const lynx_model *model = s.bed.engine->ops->model(s.bed.engine);
    lynx_document document = {
        .name = "d",
        .model = {model->name, model->fingerprint, model->shape, s.bed.spec},
        .tokens = s.bed.tokens,
        .token_count = 100,
    };
    assert_int_equal(lynx_store_put_document(s.bed.store, &document, text, sizeof(text)),
                     LYNX_OK);
    document.name[0] = 'e';
    document.model.fingerprint.weights[0] ^= 1;
    assert_int_equal(lynx_store_put_document(s.bed.store, &document, text, sizeof(text)),
                     LYNX_OK);
    /* Nothing of it is stored: it is computed and kept up to its end. */
    ask(&s, 9, 0, ",\"lynx\":{\"document\":\"d\"}", &t);
    assert_told(&t, 0, 100);
    ask(&s, 9, 0, ",\"lynx\":{\"document\":\"d\"}", &again);
    assert_told(&again, 100, 0);
    assert_int_equal(again.computed, 9);
    assert_string_equal(again.text, t.text);
    ask(&s, 19, 0, ",\"lynx\":{\"document\":\"d\"}", &again);
    assert_int_equal(again.computed, 19);
    static const char *const wrong[][3] = {{"none", "HTTP/1.1 404 ", "document_not_found"},
                                           {"e", "HTTP/1.1 400 ", "document_of_another_model"}};
    for (size_t i = 0; i < 2; i++) {
        char more[64];
        snprintf(more, sizeof(more), ",\"lynx\":{\"document\":\"%s\"}", wrong[i][0]);
        const char *answer = post(&s, 9, 0, more);
        assert_memory_equal(answer, wrong[i][1], strlen(wrong[i][1]));
        assert_non_null(strstr(answer, wrong[i][2]));
        assert_non_null(strstr(answer, "lynx.document"));
    }
    finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rest_is_computed), cmocka_unit_test(what_is_not_wanted_is_left),
        cmocka_unit_test(failures_harm_nobody), cmocka_unit_test(what_is_broken_is_made_good),
        cmocka_unit_test(documents_come_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
