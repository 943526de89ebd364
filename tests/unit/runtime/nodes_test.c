/* SPDX-License-Identifier: MIT */
/* nodes_test.c - both nodes on the toy engine, over real TCP on loopback, in one process. */
#include <pthread.h>
#include <unistd.h>

#include "support/cmocka_all.h"

#include "engine/toy_engine.h"
#include "lynx/runtime.h"
#include "runtime/pump.h"
#include "support/toy_nodes.h"

enum { ANSWER = 24 };

/* A prefill node with its two threads: one accepts, one works. */
typedef struct prefill_thread {
    pthread_t accepts, works;
    lynx_engine *engine;
    lynx_prefill_node *node;
    int descriptor;
    uint64_t rate;
    bool is_once;
    volatile sig_atomic_t stop;
    lynx_status status;
    char text[LYNX_TEXT_MAX];
    lynx_prefill_report report;
} prefill_thread;

static lynx_engine *make_toy(const lx_toy_options *options)
{
    lynx_engine *engine = NULL;
    assert_int_equal(lx_toy_create(&engine, options, NULL), LYNX_OK);
    return engine;
}

static lynx_status pace(lynx_link **link, uint64_t rate)
{
    lynx_link *inner = *link;
    lynx_pacer_options pacer;
    lynx_pacer_options_init(&pacer);
    pacer.rate_bits_per_s = rate;
    return lynx_link_paced(link, inner, &pacer, NULL);
}

static void *accept_peers(void *user)
{
    prefill_thread *p = user;
    char text[LYNX_TEXT_MAX];
    while (!lx_is_set(&p->stop)) {
        lynx_link *link = NULL;
        if (lynx_tcp_accept(p->descriptor, 20000000ull, NULL, &link, text, sizeof(text),
                            NULL) != LYNX_OK)
            continue;
        if ((p->rate && pace(&link, p->rate) != LYNX_OK) ||
            lynx_prefill_node_connect(p->node, link) != LYNX_OK)
            lynx_link_destroy(link);
    }
    return NULL;
}

static void *work(void *user)
{
    prefill_thread *p = user;
    p->status = lynx_prefill_node_run(p->node, p->text);
    return NULL;
}

/* Start a prefill node; its address in 'address'. */
static void start(prefill_thread *p, const lx_toy_options *options, char address[32])
{
    uint16_t port = 0;
    lynx_prefill_options node;
    lynx_prefill_options_init(&node);
    p->engine = make_toy(options);
    node.engine = p->engine;
    node.session.timeout_ns = 2000000000ull;
    node.stop = &p->stop;
    node.is_once = p->is_once;
    assert_int_equal(lynx_prefill_node_create(&p->node, &node), LYNX_OK);
    assert_int_equal(lynx_tcp_listen("127.0.0.1:0", &p->descriptor, &port, p->text,
                                     sizeof(p->text)),
                     LYNX_OK);
    snprintf(address, 32, "127.0.0.1:%u", port);
    assert_int_equal(pthread_create(&p->accepts, NULL, accept_peers, p), 0);
    assert_int_equal(pthread_create(&p->works, NULL, work, p), 0);
}

static void finish(prefill_thread *p)
{
    if (!p->is_once)
        toy_set(&p->stop);
    pthread_join(p->works, NULL);
    toy_set(&p->stop);
    pthread_join(p->accepts, NULL);
    p->report = lynx_prefill_node_report(p->node);
    lynx_prefill_node_destroy(p->node);
    close(p->descriptor);
    lynx_engine_destroy(p->engine);
}

typedef struct outcome {
    lynx_token tokens[ANSWER];
    lynx_time_ns times[ANSWER];
    lynx_run_result result;
    lynx_status status;
    char text[LYNX_TEXT_MAX];
} outcome;

static lynx_status dial(void *user, uint32_t lane, lynx_link **link, char *text)
{
    (void)lane;
    return lynx_tcp_connect(user, 2000000000ull, NULL, link, text, LYNX_TEXT_MAX, NULL);
}

static void run_over(outcome *o, char *address, const lx_toy_options *toy,
                     lynx_run_options *options, const lynx_remote_options *remote_options)
{
    lynx_remote *remote = NULL;
    lynx_remote_options own = *remote_options;
    lynx_engine *engine = make_toy(toy);
    own.session.model = engine->ops->model(engine);
    own.dial = dial;
    own.dial_user = address;
    options->engine = engine;
    options->answer_tokens_max = ANSWER;
    o->result = (lynx_run_result){.tokens = o->tokens, .times = o->times, .capacity = ANSWER};
    if (address)
        assert_int_equal(lynx_remote_open(&remote, &own), LYNX_OK);
    o->status = lynx_run(&remote, address ? 1 : 0, options, &o->result, o->text);
    lynx_remote_close(remote);
    lynx_engine_destroy(engine);
}

static void run(outcome *o, char *address, const lx_toy_options *toy, lynx_run_options *options)
{
    lynx_remote_options remote;
    lynx_remote_options_init(&remote);
    remote.session.timeout_ns = 2000000000ull;
    remote.first_patience_ns = 1000000000ull;
    run_over(o, address, toy, options, &remote);
}

static void make_prompt(lynx_token *prompt, uint32_t count, uint32_t seed)
{
    for (uint32_t i = 0; i < count; i++)
        prompt[i] = (lynx_token)((i * 31 + seed * 17 + i * i % 7) % 63) + 1;
}

/* Drafts on the anchor, verified: the tokens are those of plain decoding on the full cache, for
 * many prompts, lengths, samplings, windows and splits, and in both kinds of cache access. */
static void tokens_equal_plain_decoding(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {1, 2, 31, 32, 33, 64, 100, 200, 300};
    static const char *const codecs[] = {"range", "range44", "paper", "range-chunk"};
    uint32_t drafted = 0;
    uint32_t accepted = 0;
    for (uint32_t round = 0; round < 24; round++) {
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        toy.window_tokens = round % 3 == 0 ? 40 : 0;
        toy.can_refine = round % 2 == 0;
        toy.step_ns = 300000;
        prefill_thread p = {.rate = 2000000};
        char address[32];
        lynx_token prompt[300];
        outcome got;
        outcome want;
        lynx_run_options options;
        lynx_run_options_init(&options);
        assert_int_equal(lynx_codec_spec_named(&options.spec, codecs[round % 4]), LYNX_OK);
        options.prompt = prompt;
        options.prompt_tokens = lengths[round % 9];
        options.sampling.temperature = round % 4 == 1 ? 1.5f : 0.0f;
        options.sampling.seed = round;
        options.is_stored = round % 5 == 0;
        options.draft_count_max = round % 7 == 6 ? 0 : 62;
        options.digest_cache = true;
        make_prompt(prompt, options.prompt_tokens, round);
        start(&p, &toy, address);
        run(&got, address, &toy, &options);
        finish(&p);
        assert_string_equal(got.text, "");
        assert_int_equal(got.status, LYNX_OK);
        assert_int_equal(p.status, LYNX_OK);
        options.method = LYNX_METHOD_LOCAL_FULL;
        run(&want, NULL, &toy, &options);
        assert_int_equal(want.status, LYNX_OK);
        assert_int_equal(got.result.token_count, want.result.token_count);
        assert_memory_equal(got.tokens, want.tokens,
                            want.result.token_count * sizeof(*want.tokens));
        assert_int_equal(got.result.has_ended, want.result.has_ended);
        assert_true(got.result.cache_digest == want.result.cache_digest);
        drafted += got.result.drafted;
        accepted += got.result.accepted;
    }
    /* The test means nothing unless some drafts stood and some fell. */
    assert_true(accepted > 10);
    assert_true(drafted > accepted);
}

/* Where earlier runs found that drafting does not pay, few are made; and each run is learnt
 * from. */
static void drafts_follow_the_pace(void **state)
{
    (void)state;
    lx_toy_options toy;
    lx_toy_options_init(&toy);
    toy.step_ns = 300000;
    prefill_thread p = {.rate = 300000}; /* time for more drafts on a busy machine */
    char address[32];
    lynx_token prompt[300];
    uint32_t drafted[2];
    start(&p, &toy, address);
    for (uint32_t i = 0; i < 2; i++) {
        outcome o;
        lynx_pace pace = {.step_ns = 1,
                          .row_ns = i == 0 ? 1e-9 : 1e9,
                          .hits = 3.3,
                          .misses = 5};
        const lynx_pace before = pace;
        lynx_run_options options;
        lynx_run_options_init(&options);
        options.prompt = prompt;
        options.prompt_tokens = 300;
        options.ignore_end = true;
        options.pace = &pace;
        make_prompt(prompt, 300, i);
        run(&o, address, &toy, &options);
        assert_int_equal(o.status, LYNX_OK);
        drafted[i] = o.result.drafted;
        assert_true(pace.step_ns > before.step_ns);
        assert_true(pace.row_ns != before.row_ns);
        assert_true(pace.hits != before.hits);
    }
    finish(&p);
    assert_true(drafted[0] > LYNX_PACE_LEAST);
    assert_int_equal(drafted[1], LYNX_PACE_LEAST);
}

static void every_method_works(void **state)
{
    (void)state;
    static const lynx_method methods[] = {LYNX_METHOD_WAIT, LYNX_METHOD_ANCHOR,
                                          LYNX_METHOD_TOKENS, LYNX_METHOD_SPECULATE};
    static const char *const codecs[] = {"raw", "range", "raw", "range"};
    lx_toy_options toy;
    lx_toy_options_init(&toy);
    lynx_token prompt[150];
    char address[32];
    make_prompt(prompt, 150, 1);
    prefill_thread p = {0};
    start(&p, &toy, address);
    for (uint32_t i = 0; i < 8; i++) {
        outcome o;
        lynx_run_options options;
        lynx_run_options_init(&options);
        options.method = methods[i % 4];
        options.prompt = prompt;
        options.prompt_tokens = 150;
        options.is_stored = i >= 4;
        options.after_prefill = i == 0;
        options.ignore_end = true;
        assert_int_equal(lynx_codec_spec_named(&options.spec, codecs[i % 4]), LYNX_OK);
        run(&o, address, &toy, &options);
        assert_string_equal(o.text, "");
        assert_int_equal(o.result.token_count, ANSWER);
        assert_true(o.result.bytes_total > 0);
    }
    finish(&p);
}

static void other_models_are_refused(void **state)
{
    (void)state;
    for (int allow = 0; allow < 2; allow++) {
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        lynx_token prompt[40];
        char address[32];
        outcome o;
        lynx_run_options options;
        make_prompt(prompt, 40, 1);
        prefill_thread p = {.is_once = true};
        start(&p, &toy, address);
        if (allow)
            toy.channels = 48; /* another shape is never accepted */
        else
            toy.weights = 1;
        lynx_run_options_init(&options);
        options.prompt = prompt;
        options.prompt_tokens = 40;
        lynx_remote_options remote;
        lynx_remote_options_init(&remote);
        remote.session.allow_other_weights = allow;
        run_over(&o, address, &toy, &options, &remote);
        finish(&p);
        assert_int_equal(o.status, LYNX_ERR_MODEL);
        assert_int_equal(p.status, LYNX_ERR_MODEL);
        assert_non_null(strstr(o.text, allow ? "shape" : "--allow-other-weights"));
    }
}

static void prompts_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    lx_toy_options toy;
    lx_toy_options_init(&toy);
    lynx_token prompt[300];
    char address[32];
    outcome o;
    lynx_run_options options;
    make_prompt(prompt, 300, 1);
    prefill_thread p = {.is_once = true};
    toy.context_tokens = 256;
    start(&p, &toy, address);
    toy.context_tokens = 512;
    lynx_run_options_init(&options);
    options.prompt = prompt;
    options.prompt_tokens = 300;
    options.on_loss = LYNX_ON_LOSS_FAIL;
    run(&o, address, &toy, &options);
    finish(&p);
    assert_int_equal(o.status, LYNX_ERR_LIMIT);
    assert_non_null(strstr(o.text, "--ctx-size"));
}

/* Nobody there, and a peer that never speaks: an error within the time set, or the right tokens
 * from a prefill of our own. */
static void lost_peers_are_noticed(void **state)
{
    (void)state;
    for (int round = 0; round < 4; round++) {
        const bool is_silent = round % 2;
        const bool recomputes = round / 2;
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        lynx_token prompt[40];
        char address[32];
        char text[LYNX_TEXT_MAX];
        uint16_t port = 0;
        int listener = -1;
        outcome o;
        outcome want;
        lynx_run_options options;
        make_prompt(prompt, 40, 1);
        assert_int_equal(lynx_tcp_listen("127.0.0.1:0", &listener, &port, text, sizeof(text)),
                         LYNX_OK);
        snprintf(address, sizeof(address), "127.0.0.1:%u", port);
        lynx_run_options_init(&options);
        options.prompt = prompt;
        options.prompt_tokens = 40;
        options.on_loss = recomputes ? LYNX_ON_LOSS_RECOMPUTE : LYNX_ON_LOSS_FAIL;
        if (!is_silent)
            close(listener);
        const lynx_time_ns begin = lynx_clock_now();
        run(&o, address, &toy, &options);
        if (is_silent)
            close(listener);
        assert_true(lynx_clock_now() - begin < 5000000000ull);
        assert_int_equal(o.status, recomputes ? LYNX_OK : LYNX_ERR_CLOSED);
        assert_int_equal(o.result.is_recomputed, recomputes);
        if (!recomputes) {
            assert_non_null(strstr(o.text, "no connection to the prefill node for 1.0 s"));
            continue;
        }
        options.method = LYNX_METHOD_LOCAL_FULL;
        run(&want, NULL, &toy, &options);
        assert_int_equal(o.result.token_count, want.result.token_count);
        assert_memory_equal(o.tokens, want.tokens,
                            want.result.token_count * sizeof(*want.tokens));
    }
}

/* Skipping the verification, or a wrong residual, must show in the tokens. */
static void mutations_are_caught(void **state)
{
    (void)state;
    uint32_t caught[2] = {0};
    for (uint32_t round = 0; round < 12; round++) {
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        toy.step_ns = 300000;
        prefill_thread p = {.rate = 2000000};
        char address[32];
        lynx_token prompt[200];
        outcome want;
        lynx_run_options options;
        make_prompt(prompt, 200, round);
        start(&p, &toy, address);
        lynx_run_options_init(&options);
        options.prompt = prompt;
        options.prompt_tokens = 200;
        options.ignore_end = true;
        for (int which = 0; which < 2; which++) {
            outcome got;
            options.method = LYNX_METHOD_SPECULATE;
            options.skip_verify = which == 0;
            options.flip_residual_bit = which == 1;
            options.digest_cache = true;
            run(&got, address, &toy, &options);
            assert_int_equal(got.status, LYNX_OK);
            options.method = LYNX_METHOD_LOCAL_FULL;
            run(&want, NULL, &toy, &options);
            caught[which] += which == 0
                                 ? memcmp(got.tokens, want.tokens, sizeof(want.tokens)) != 0
                                 : got.result.cache_digest != want.result.cache_digest;
        }
        finish(&p);
    }
    assert_true(caught[0] > 0);
    assert_true(caught[1] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_equal_plain_decoding),
        cmocka_unit_test(drafts_follow_the_pace),
        cmocka_unit_test(every_method_works),
        cmocka_unit_test(other_models_are_refused),
        cmocka_unit_test(prompts_that_do_not_fit_are_refused),
        cmocka_unit_test(lost_peers_are_noticed),
        cmocka_unit_test(mutations_are_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
