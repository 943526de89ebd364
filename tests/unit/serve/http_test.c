/* SPDX-License-Identifier: MIT */
/* http_test.c - the HTTP side on toy engines, with a toy prefill node over TCP, in one process:
 * clients that stay, leave at random moments, or are there when the server ends. */
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "support/cmocka_all.h"

#include "lynx/serve.h"
#include "support/http_client.h"
#include "support/toy_nodes.h"

enum { SLOTS = 3, PROMPT_BYTES = 150 };

typedef struct server {
    toy_prefill prefill;
    toy_decode decode; /* its remote; its engine is that of slot 0 */
    lynx_engine *engines[SLOTS];
    lynx_remote *remotes[1];
    const char *names[1];
    lynx_serve *serve;
    uint16_t port;
} server;

static void start(server *s, uint32_t step_ns, uint32_t queue_max)
{
    char text[LYNX_TEXT_MAX];
    lynx_serve_options options;
    memset(s, 0, sizeof(*s));
    toy_prefill_init(&s->prefill);
    toy_prefill_start(&s->prefill);
    toy_decode_init(&s->decode, s->prefill.address);
    s->decode.toy.step_ns = step_ns;
    toy_decode_open(&s->decode);
    s->engines[0] = s->decode.engine;
    for (uint32_t i = 1; i < SLOTS; i++)
        assert_int_equal(lx_toy_create(&s->engines[i], &s->decode.toy, NULL), LYNX_OK);
    s->remotes[0] = s->decode.handle;
    s->names[0] = s->prefill.address;
    lynx_serve_options_init(&options);
    options.engines = s->engines;
    options.slot_count = SLOTS;
    options.remotes = s->remotes;
    options.remote_names = s->names;
    options.remote_count = 1;
    options.queue_max = queue_max;
    options.body_bytes_max = 100000;
    assert_int_equal(lynx_tcp_listen("127.0.0.1:0", &options.descriptor, &s->port, text,
                                     sizeof(text)),
                     LYNX_OK);
    assert_int_equal(lynx_serve_create(&s->serve, &options, text), LYNX_OK);
}

static void finish(server *s)
{
    lynx_serve_destroy(s->serve);
    for (uint32_t i = 1; i < SLOTS; i++)
        lynx_engine_destroy(s->engines[i]);
    toy_decode_finish(&s->decode);
    toy_prefill_finish(&s->prefill);
}

/* ---- clients ------------------------------------------------------------------------- */

/* Ask for a completion; 'more' are further members. The prompt follows from 'seed'. */
static int ask(const server *s, uint32_t seed, const char *more)
{
    char prompt[PROMPT_BYTES + 1], body[1024];
    test_rng rng = test_rng_of(seed);
    for (uint32_t i = 0; i < PROMPT_BYTES; i++)
        prompt[i] = (char)('a' + test_rng_below(&rng, 26));
    prompt[PROMPT_BYTES] = '\0';
    snprintf(body, sizeof(body), "{\"prompt\":\"%s\",\"seed\":%u%s}", prompt, seed, more);
    return http_post(s->port, "/v1/completions", body);
}

static unsigned metric(const server *s, const char *name)
{
    return (unsigned)http_metric(s->port, name);
}

static void await_idle(const server *s)
{
    for (uint32_t i = 0; metric(s, "lynx_slots_busy") || metric(s, "lynx_queue_requests");
         i++) {
        TOY_CHECK(i < 3000);
        poll(NULL, 0, 10);
    }
}

/* ---- answers ------------------------------------------------------------------------- */

static const char whole[] = ",\"max_tokens\":20,\"temperature\":0.7";
static const char streamed[] = ",\"max_tokens\":20,\"temperature\":0.7,\"stream\":true";
static const char optimistic[] = ",\"max_tokens\":20,\"temperature\":0.7,\"stream\":true,"
                                 "\"lynx\":{\"stream\":\"optimistic\"}";

typedef struct client {
    const server *server;
    uint32_t seed;
    const char *more;
    char text[256];
    pthread_t thread;
} client;

static void *run_client(void *user)
{
    client *c = user;
    char *answer = malloc(ANSWER_BYTES);
    TOY_CHECK(answer != NULL);
    http_read_all(ask(c->server, c->seed, c->more), answer);
    TOY_CHECK(strncmp(answer, "HTTP/1.1 200 ", 13) == 0);
    http_collect(answer, "\"choices\":[{\"index\":0,\"text\":\"", c->text);
    free(answer);
    return NULL;
}

static void streams_and_whole_answers_are_equal_alone_and_together(void **state)
{
    enum { CLIENTS = 9 };
    static const char *const kinds[] = {whole, streamed, optimistic};
    static server s;
    static client clients[CLIENTS];
    char want[CLIENTS][256];
    (void)state;
    start(&s, 0, 16);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = (client){.server = &s, .seed = i / 3, .more = whole};
        run_client(&clients[i]);
        assert_true(strlen(clients[i].text) > 0);
        memcpy(want[i], clients[i].text, sizeof(want[i]));
        clients[i].more = kinds[i % 3];
    }
    for (uint32_t i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&clients[i].thread, NULL, run_client, &clients[i]), 0);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        pthread_join(clients[i].thread, NULL);
        assert_string_equal(clients[i].text, want[i]);
    }
    await_idle(&s);
    finish(&s);
}

/* ---- clients that leave -------------------------------------------------------------- */

static const char endless[] = ",\"max_tokens\":300,\"stream\":true,\"temperature\":0.7,"
                              "\"lynx\":{\"stream\":\"optimistic\"}";
static const char endless_whole[] = ",\"max_tokens\":300,\"temperature\":0.7";

static void nothing_is_lost_when_clients_leave(void **state)
{
    static server s;
    static char answer[ANSWER_BYTES];
    test_rng rng = test_rng_of(5);
    (void)state;
    start(&s, 200000, 16);
    http_read_all(ask(&s, 1, whole), answer);
    await_idle(&s);
    const unsigned descriptors = toy_count_descriptors(), threads = toy_count_threads();
    for (uint32_t i = 0; i < 60; i++) {
        int clients[4];
        for (uint32_t j = 0; j < 4; j++)
            clients[j] = ask(&s, i, j % 2 ? endless : endless_whole);
        poll(NULL, 0, (int)test_rng_below(&rng, 25));
        for (uint32_t j = 0; j < 4; j++)
            close(clients[j]);
    }
    await_idle(&s);
    for (uint32_t i = 0; toy_count_descriptors() > descriptors; i++) {
        assert_true(i < 1000);
        poll(NULL, 0, 10);
    }
    assert_int_equal(toy_count_threads(), threads);
    http_read_all(ask(&s, 1, whole), answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    finish(&s);
}

static void a_full_queue_is_told(void **state)
{
    static server s;
    static char answer[ANSWER_BYTES];
    int clients[SLOTS + 1];
    (void)state;
    start(&s, 5000000, 1);
    for (uint32_t i = 0; i <= SLOTS; i++) {
        clients[i] = ask(&s, i, endless);
        while (metric(&s, "lynx_slots_busy") + metric(&s, "lynx_queue_requests") <= i)
            poll(NULL, 0, 5);
    }
    http_read_all(ask(&s, 9, whole), answer);
    assert_non_null(strstr(answer, "HTTP/1.1 429 "));
    assert_non_null(strstr(answer, "Retry-After: "));
    for (uint32_t i = 0; i <= SLOTS; i++)
        close(clients[i]);
    await_idle(&s);
    http_read_all(ask(&s, 9, whole), answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    finish(&s);
}

/* ---- the end ------------------------------------------------------------------------- */

static void streams_are_told_when_the_server_ends(void **state)
{
    static server s;
    static char answer[ANSWER_BYTES];
    int clients[6];
    (void)state;
    start(&s, 5000000, 16);
    for (uint32_t i = 0; i < 6; i++)
        clients[i] = ask(&s, i, i % 2 ? endless : endless_whole);
    while (metric(&s, "lynx_slots_busy") + metric(&s, "lynx_queue_requests") < 6)
        poll(NULL, 0, 5);
    lynx_serve_drain(s.serve, 50000000);
    http_read_all(ask(&s, 9, whole), answer);
    assert_non_null(strstr(answer, "HTTP/1.1 503 "));
    finish(&s);
    for (uint32_t i = 0; i < 6; i++) {
        http_read_all(clients[i], answer);
        assert_non_null(strstr(answer, "\"code\":\"stopping\""));
        assert_null(strstr(answer, "[DONE]"));
    }
}

static void requests_that_run_may_end_first(void **state)
{
    static server s;
    static char answer[ANSWER_BYTES];
    (void)state;
    start(&s, 1000000, 16);
    const int descriptor = ask(&s, 1, streamed);
    while (metric(&s, "lynx_slots_busy") == 0)
        poll(NULL, 0, 1);
    lynx_serve_drain(s.serve, 60000000000ull);
    finish(&s);
    http_read_all(descriptor, answer);
    assert_non_null(strstr(answer, "data: [DONE]\n\n"));
}

static void a_large_body_is_refused_without_keeping_it(void **state)
{
    static server s;
    static char answer[ANSWER_BYTES], piece[10001];
    (void)state;
    start(&s, 0, 16);
    memset(piece, ' ', sizeof(piece) - 1);
    for (uint32_t is_chunked = 0; is_chunked < 2; is_chunked++) {
        const int descriptor = http_connect(s.port);
        http_send(descriptor,
                  "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        http_send(descriptor, is_chunked ? "Transfer-Encoding: chunked\r\n\r\n"
                                         : "Content-Length: 200000\r\n\r\n");
        for (uint32_t i = 0; i < 20; i++) {
            http_send(descriptor, is_chunked ? "2710\r\n" : "");
            http_send(descriptor, piece);
            http_send(descriptor, is_chunked ? "\r\n" : "");
        }
        http_send(descriptor, is_chunked ? "0\r\n\r\n" : "");
        http_read_all(descriptor, answer);
        assert_non_null(strstr(answer, "HTTP/1.1 413 "));
    }
    finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams_and_whole_answers_are_equal_alone_and_together),
        cmocka_unit_test(nothing_is_lost_when_clients_leave),
        cmocka_unit_test(a_full_queue_is_told),
        cmocka_unit_test(streams_are_told_when_the_server_ends),
        cmocka_unit_test(requests_that_run_may_end_first),
        cmocka_unit_test(a_large_body_is_refused_without_keeping_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
