/* SPDX-License-Identifier: MIT */
/* choice_test.c - requests over toy prefill nodes, one slow, quick or gone: which node and
 * which method they get once there are figures. */
#include <poll.h>
#include <unistd.h>

#include "support/cmocka_all.h"

#include "lynx/serve.h"
#include "support/http_client.h"
#include "support/toy_nodes.h"

enum { NODES_MAX = 2, PROMPT_BYTES = 380 };

static const uint64_t ms = 1000000;

typedef struct server {
    toy_prefill nodes[NODES_MAX];
    toy_decode decode[NODES_MAX]; /* a remote each; the engine is that of the first */
    lynx_remote *remotes[NODES_MAX];
    const char *names[NODES_MAX];
    lynx_engine *engines[1];
    uint32_t count, draft_count_max;
    lynx_serve *serve;
    uint16_t port;
} server;

/* Before start: rates, times of engines. */
static void init(server *s, uint32_t count)
{
    *s = (server){.count = count, .draft_count_max = 16};
    for (uint32_t i = 0; i < count; i++) {
        toy_prefill_init(&s->nodes[i]);
        s->nodes[i].toy.layer_count = 8;
        s->nodes[i].toy.step_ns = 5 * ms;
    }
    toy_decode_init(&s->decode[0], "");
    s->decode[0].toy = s->nodes[0].toy;
}

static void start(server *s)
{
    char text[LYNX_TEXT_MAX];
    lynx_serve_options options;
    const lx_toy_options toy = s->decode[0].toy;
    for (uint32_t i = 0; i < s->count; i++) {
        toy_prefill_start(&s->nodes[i]);
        toy_decode_init(&s->decode[i], s->nodes[i].address);
        s->decode[i].toy = toy;
        s->decode[i].remote.is_lasting = true;
        s->decode[i].remote.first_patience_ns = 500 * ms;
        s->decode[i].remote.patience_ns = 300 * ms;
        toy_decode_open(&s->decode[i]);
        s->remotes[i] = s->decode[i].handle;
        s->names[i] = s->nodes[i].address;
    }
    s->engines[0] = s->decode[0].engine;
    lynx_serve_options_init(&options);
    options.engines = s->engines;
    options.slot_count = 1;
    options.remotes = s->remotes;
    options.remote_names = s->names;
    options.remote_count = s->count;
    options.draft_count_max = s->draft_count_max;
    assert_int_equal(lynx_tcp_listen("127.0.0.1:0", &options.descriptor, &s->port, text,
                                     sizeof(text)),
                     LYNX_OK);
    assert_int_equal(lynx_serve_create(&s->serve, &options, text), LYNX_OK);
    for (uint32_t i = 0; i < s->count; i++) {
        lynx_remote_status status = {0};
        while (!status.is_connected)
            lynx_remote_status_of(s->remotes[i], &status);
    }
}

static void finish(server *s)
{
    lynx_serve_destroy(s->serve);
    for (uint32_t i = 0; i < s->count; i++)
        toy_decode_finish(&s->decode[i]);
    for (uint32_t i = 0; i < s->count; i++)
        toy_prefill_finish(&s->nodes[i]);
}

typedef struct told {
    char text[512], method[32], reason[LYNX_TEXT_MAX], node[64];
    unsigned drafted, accepted;
} told;

static unsigned number(const char *answer, const char *name)
{
    const char *found = strstr(answer, name);
    assert_non_null(found);
    return (unsigned)strtoul(found + strlen(name), NULL, 10);
}

static void ask(const server *s, const char *more, told *t)
{
    static char answer[ANSWER_BYTES];
    char prompt[PROMPT_BYTES + 1], body[1024];
    for (uint32_t i = 0; i < PROMPT_BYTES; i++)
        prompt[i] = (char)('a' + (i * 7 + i / 26) % 26);
    prompt[PROMPT_BYTES] = '\0';
    snprintf(body, sizeof(body), "{\"prompt\":\"%s\",\"temperature\":0%s%s}", prompt,
             strstr(more, "max_tokens") ? "" : ",\"max_tokens\":12", more);
    http_read_all(http_post(s->port, "/v1/completions", body), answer);
    if (strncmp(answer, "HTTP/1.1 200 ", 13) != 0)
        fail_msg("%s", answer);
    http_collect(answer, "\"choices\":[{\"index\":0,\"text\":\"", t->text);
    http_collect(answer, "\"method\":\"", t->method);
    http_collect(answer, "\"reason\":\"", t->reason);
    http_collect(answer, "\"prefill_node\":\"", t->node);
    t->drafted = number(answer, "\"drafted\":");
    t->accepted = number(answer, "\"accepted\":");
    if (getenv("LYNX_LOG"))
        fprintf(stderr, "%s %s: %s; step %f, chance %f\n", t->method, t->node, t->reason,
                http_metric(s->port, "lynx_own_step_seconds"),
                http_metric(s->port, "lynx_draft_chance"));
}

static void assert_told(const told *t, const char *method, const char *words)
{
    assert_string_equal(t->method, method);
    if (!strstr(t->reason, words))
        fail_msg("no '%s' in '%s'", words, t->reason);
}

/* As an answer with each method. */
static void ask_by_name(const server *s, told *want)
{
    static const char *const methods[] = {"speculate", "wait", "local"};
    for (size_t i = 0; i < 3; i++) {
        told t;
        char more[64];
        snprintf(more, sizeof(more), ",\"lynx\":{\"method\":\"%s\"}", methods[i]);
        ask(s, more, &t);
        assert_told(&t, methods[i], "the request asked for it");
        if (i > 0)
            assert_string_equal(t.text, want->text);
        *want = t;
    }
    assert_true(strlen(want->text) > 0);
}

static void a_slow_link_is_not_used_for_long(void **state)
{
    static server s;
    told t, first, want;
    (void)state;
    init(&s, 1);
    s.nodes[0].rate = 2000000;
    start(&s);
    ask(&s, "", &first);
    assert_told(&first, "speculate", "too little is known");
    assert_string_equal(first.node, s.names[0]);
    ask(&s, "", &t);
    assert_told(&t, "local", "by prefilling here");
    assert_string_equal(t.node, "");
    assert_string_equal(t.text, first.text);
    assert_true(http_metric(s.port, "lynx_fallbacks_total{reason=\"slower\"}") > 0.5);
    assert_true(http_metric(s.port, "lynx_answers_total{method=\"local\"}") > 0.5);
    ask_by_name(&s, &want);
    assert_string_equal(want.text, first.text);
    finish(&s);
}

/* A prefill here takes 200 ms a piece, there 5; the cache is here as soon as its anchor, unless
 * this machine is very busy. */
static void a_quick_link_is_waited_for(void **state)
{
    static server s;
    told t, want;
    uint32_t waits = 0;
    (void)state;
    init(&s, 1);
    s.nodes[0].toy.piece_ns = 5 * ms;
    s.decode[0].toy.piece_ns = 200 * ms;
    s.nodes[0].toy.step_ns = s.decode[0].toy.step_ns = 200 * ms;
    start(&s);
    ask(&s, ",\"max_tokens\":4,\"lynx\":{\"method\":\"speculate\"}", &want);
    for (int i = 0; i < 6 && !waits; i++) {
        ask(&s, ",\"max_tokens\":4", &t);
        assert_string_equal(t.node, s.names[0]);
        assert_string_equal(t.text, want.text);
        assert_non_null(strstr(t.reason, "by prefilling here; link"));
        waits += strcmp(t.method, "wait") == 0;
    }
    assert_int_equal(waits, 1);
    finish(&s);
}

static void without_its_node_it_computes_here_and_says_why(void **state)
{
    static server s;
    told t, want;
    (void)state;
    init(&s, 1);
    s.decode[0].toy.piece_ns = 100 * ms;
    start(&s);
    ask_by_name(&s, &want);
    toy_prefill_finish(&s.nodes[0]);
    /* It may be noticed by a request that is under way. */
    for (int i = 0; i < 100; i++) {
        ask(&s, "", &t);
        assert_string_equal(t.text, want.text);
        if (strcmp(t.method, "local") == 0 && strstr(t.reason, "no prefill node is connected"))
            break;
        poll(NULL, 0, 20);
    }
    assert_told(&t, "local", "no prefill node is connected (127.0.0.1:");
    assert_string_equal(t.node, "");
    assert_true(http_metric(s.port, "lynx_fallbacks_total{reason=\"unreachable\"}") > 0.5);
    lynx_serve_destroy(s.serve);
    toy_decode_finish(&s.decode[0]);
}

/* The second node is the quicker one; when it is gone, the first. */
static void the_quicker_node_is_asked(void **state)
{
    static server s;
    told t, want;
    (void)state;
    init(&s, 2);
    s.decode[0].toy.piece_ns = 600 * ms; /* never here */
    s.nodes[0].rate = 4000000;
    start(&s);
    ask(&s, "", &want);
    bool was_asked[2] = {false, false};
    for (int i = 0; i < 6; i++) {
        ask(&s, "", &t);
        assert_string_equal(t.text, want.text);
        was_asked[strcmp(t.node, s.names[1]) == 0] = true;
        if (i > 1)
            assert_string_equal(t.node, s.names[1]);
    }
    assert_true(was_asked[1]);
    toy_prefill_finish(&s.nodes[1]);
    for (int i = 0; i < 3; i++) {
        ask(&s, "", &t);
        assert_string_equal(t.text, want.text);
        assert_string_equal(t.node, s.names[0]);
    }
    lynx_serve_destroy(s.serve);
    toy_decode_finish(&s.decode[0]);
    toy_decode_finish(&s.decode[1]);
    toy_prefill_finish(&s.nodes[0]);
}

/* Drafting ends at the bound, later where a draft is not worth its row any more, or when the
 * cache is complete. */
static void drafts_end_at_the_bound_or_where_they_do_not_pay(void **state)
{
    static const char more[] = ",\"max_tokens\":100,\"lynx\":{\"method\":\"speculate\"}";
    static server s;
    told t;
    (void)state;
    init(&s, 1);
    s.nodes[0].rate = 250000;
    start(&s);
    ask(&s, more, &t);
    assert_int_equal(t.drafted, s.draft_count_max);
    assert_true(t.accepted < 6);
    for (int i = 0; i < 3; i++)
        ask(&s, more, &t);
    assert_in_range(t.drafted, LYNX_PACE_LEAST, s.draft_count_max - 1);
    finish(&s);
    init(&s, 1);
    start(&s);
    ask(&s, more, &t);
    assert_true(t.drafted < s.draft_count_max);
    finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_link_is_not_used_for_long),
        cmocka_unit_test(a_quick_link_is_waited_for),
        cmocka_unit_test(without_its_node_it_computes_here_and_says_why),
        cmocka_unit_test(the_quicker_node_is_asked),
        cmocka_unit_test(drafts_end_at_the_bound_or_where_they_do_not_pay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
