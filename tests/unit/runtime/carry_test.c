/* SPDX-License-Identifier: MIT */
/*
 * carry_test.c - a prefill node carries on while the cache travels, on the toy engine over TCP:
 * the tokens are those of plain decoding on the cache that the planes give, wherever the decode
 * node takes over.
 */
#include <time.h>

#include "support/cmocka_all.h"
#include "support/toy_nodes.h"

enum { PROMPT = 300 };

static const uint64_t ms = 1000000;

static void pause_for(uint64_t ns)
{
    const struct timespec time = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    nanosleep(&time, NULL);
}

/* What a run saw, and what it does at its token 'act_at'. */
typedef struct watch {
    uint32_t yields, handovers, yielded_after;
    uint32_t act_at;
    void (*act)(struct watch *w);
    void *user;
} watch;

static void on_moment(void *user, const lynx_moment *m)
{
    watch *w = user;
    w->yields += m->type == LYNX_MOMENT_YIELD;
    w->handovers += m->type == LYNX_MOMENT_HANDOVER;
    if (m->type == LYNX_MOMENT_YIELD)
        w->yielded_after = m->count;
    if (m->type == LYNX_MOMENT_TOKEN && w->act && m->count == w->act_at) {
        w->act(w);
        w->act = NULL;
    }
}

static void make_options(lynx_run_options *o, lynx_token *prompt, uint32_t count, uint32_t seed,
                         watch *w)
{
    lynx_run_options_init(o);
    toy_prompt(prompt, count, seed);
    o->prompt = prompt;
    o->prompt_tokens = count;
    o->method = LYNX_METHOD_CARRY;
    o->ignore_end = true;
    o->digest_cache = true;
    o->on_moment = on_moment;
    o->user = w;
}

/* A prefill node whose steps take 'step_ns' and a decode node, on a link of 'rate'. */
typedef struct nodes {
    toy_prefill prefill;
    toy_decode decode;
} nodes;

static void begin(nodes *n, uint64_t rate, uint32_t step_ns)
{
    toy_prefill_init(&n->prefill);
    n->prefill.rate = rate;
    n->prefill.toy.step_ns = step_ns;
    toy_decode_init(&n->decode, NULL);
    n->decode.remote.session.timeout_ns = n->prefill.options.session.timeout_ns = 400 * ms;
    n->decode.remote.session.ping_ns = n->prefill.options.session.ping_ns = 100 * ms;
    n->decode.remote.retry_least_ns = 2 * ms;
    n->decode.remote.retry_most_ns = 20 * ms;
}

static void open_nodes(nodes *n)
{
    toy_prefill_start(&n->prefill);
    n->decode.address = n->prefill.address;
    toy_decode_open(&n->decode);
}

static void end(nodes *n)
{
    toy_decode_finish(&n->decode);
    toy_prefill_finish(&n->prefill);
}

static void run(nodes *n, toy_answer *got, lynx_run_options *options)
{
    toy_run(got, n->decode.engine, &n->decode.handle, 1, options);
}

/* The answer of plain decoding on the cache that the planes give. */
static void want(nodes *n, toy_answer *plain, const lynx_run_options *options)
{
    lynx_run_options local = *options;
    local.on_moment = NULL;
    toy_want(plain, n->decode.engine, &local);
}

static void check_right(const toy_answer *got, const toy_answer *plain)
{
    assert_string_equal(got->text, "");
    assert_int_equal(got->status, LYNX_OK);
    assert_true(toy_answers_are_equal(got, plain));
    assert_int_equal(got->result.carried_other, 0);
}

/* Whatever the codec, sampling, window, cache access and link, which sets where the decode node
 * takes over. F-59, F-62 */
static void tokens_equal_plain_decoding(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {1, 31, 33, 100, 200, PROMPT};
    static const char *const codecs[] = {"range44", "range", "paper", "range-3"};
    static const uint64_t rates[] = {100000, 4000000, 8000000, 0};
    uint32_t carried = 0, cut_short = 0;
    for (uint32_t round = 0; round < 24; round++) {
        static nodes n;
        watch w = {0};
        lynx_token prompt[PROMPT];
        lynx_run_options o;
        toy_answer got, plain;
        begin(&n, rates[round % 4], rates[round % 4] ? 500000 : 20 * (uint32_t)ms);
        n.prefill.toy.window_tokens = round % 3 == 0 ? 40 : 0;
        n.decode.toy.window_tokens = n.prefill.toy.window_tokens;
        n.decode.toy.can_refine = round % 2;
        open_nodes(&n);
        make_options(&o, prompt, lengths[round % 6], round, &w);
        assert_int_equal(lynx_codec_spec_named(&o.spec, codecs[round / 6]), LYNX_OK);
        o.sampling.temperature = round % 5 == 1 ? 1.5f : 0.0f;
        o.sampling.seed = round;
        run(&n, &got, &o);
        want(&n, &plain, &o);
        end(&n);
        check_right(&got, &plain);
        assert_true(got.result.cache_digest == plain.result.cache_digest ||
                    got.result.carried == TOY_ANSWER - 1);
        assert_int_equal(w.yields, 0);
        carried += got.result.carried;
        cut_short += got.result.carried < TOY_ANSWER - 1;
    }
    /* Somewhere the decode node took over, somewhere the prefill node got to the end. */
    assert_true(carried > 24);
    assert_true(cut_short > 0 && cut_short < 24);
}

/* Prompts whose answers are other ones on the cache as the prefill left it: a prefill node that
 * does not bring it to the codec's stage is found out. F-59 */
static void carried_tokens_see_the_codec(void **state)
{
    (void)state;
    static const uint32_t seeds[] = {2, 3, 10, 11};
    for (uint32_t i = 0; i < sizeof(seeds) / sizeof(*seeds); i++) {
        static nodes n;
        watch w = {0};
        lynx_token prompt[PROMPT];
        lynx_run_options o;
        toy_answer got, plain, raw;
        begin(&n, 100000, 0); /* the cache would take seconds */
        open_nodes(&n);
        make_options(&o, prompt, 200, seeds[i], &w);
        assert_int_equal(lynx_codec_spec_named(&o.spec, "paper"), LYNX_OK);
        run(&n, &got, &o);
        want(&n, &plain, &o);
        o.method = LYNX_METHOD_LOCAL;
        o.digest_cache = false;
        o.on_moment = NULL;
        toy_run(&raw, n.decode.engine, NULL, 0, &o);
        end(&n);
        check_right(&got, &plain);
        assert_int_equal(got.result.carried, TOY_ANSWER - 1);
        assert_int_equal(raw.status, LYNX_OK);
        assert_false(toy_answers_are_equal(&raw, &plain));
    }
}

/* The bound of the prefill node: the decode node drafts behind the last token that came. F-60
 */
static void drafts_follow_what_was_carried(void **state)
{
    (void)state;
    static const uint32_t bounds[] = {0, 1, 2, 5, TOY_ANSWER - 1, TOY_ANSWER};
    uint32_t drafted = 0, accepted = 0;
    for (uint32_t round = 0; round < 6; round++) {
        static nodes n;
        watch w = {0};
        lynx_token prompt[PROMPT];
        lynx_run_options o;
        toy_answer got, plain;
        begin(&n, 200000, 0);
        n.decode.toy.step_ns = 300000;
        n.decode.toy.can_refine = round % 2;
        n.prefill.options.carry_tokens_max = bounds[round];
        open_nodes(&n);
        make_options(&o, prompt, 100, round, &w);
        o.sampling.temperature = round % 2 ? 1.5f : 0.0f;
        run(&n, &got, &o);
        want(&n, &plain, &o);
        end(&n);
        check_right(&got, &plain);
        const uint32_t first = bounds[round] ? bounds[round] : 1;
        assert_int_equal(got.result.carried, first - 1);
        assert_int_equal(w.yields, first < TOY_ANSWER);
        assert_int_equal(w.yielded_after, first < TOY_ANSWER ? first : 0);
        assert_int_equal(w.handovers, 0);
        drafted += got.result.drafted;
        accepted += got.result.accepted;
    }
    assert_true(accepted > 0 && drafted > accepted);
}

/* ---- another request ----------------------------------------------------------------- */

typedef struct other {
    nodes *n;
    pthread_t thread;
    lynx_engine *engine;
    lynx_run_options options;
    lynx_token prompt[40];
    toy_answer got;
} other;

static void *ask_other(void *user)
{
    other *a = user;
    toy_run(&a->got, a->engine, &a->n->decode.handle, 1, &a->options);
    return NULL;
}

static void start_other(watch *w)
{
    other *a = w->user;
    TOY_CHECK(pthread_create(&a->thread, NULL, ask_other, a) == 0);
}

/* Who waits for the prefill node's engine is served before the answer is carried further; the
 * first one drafts on the anchor then. F-60 */
static void another_request_ends_it(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 3; round++) {
        static nodes n;
        static other a;
        watch w = {.act_at = round * 3, .act = start_other, .user = &a};
        lynx_token prompt[PROMPT];
        lynx_run_options o;
        toy_answer got, plain;
        begin(&n, 500000, 20 * (uint32_t)ms);
        n.decode.toy.step_ns = 300000;
        n.decode.remote.session.lanes = 2;
        open_nodes(&n);
        a = (other){.n = &n};
        assert_int_equal(lx_toy_create(&a.engine, &n.decode.toy, NULL), LYNX_OK);
        make_options(&a.options, a.prompt, 40, 7, NULL);
        a.options.on_moment = NULL;
        a.options.method = LYNX_METHOD_TOKENS;
        make_options(&o, prompt, PROMPT, round, &w);
        run(&n, &got, &o);
        pthread_join(a.thread, NULL);
        want(&n, &plain, &o);
        check_right(&got, &plain);
        assert_int_equal(a.got.status, LYNX_OK);
        assert_int_equal(w.yields, 1);
        assert_true(w.yielded_after < TOY_ANSWER && w.yielded_after >= w.act_at);
        assert_true(got.result.drafted > 0);
        lynx_engine_destroy(a.engine);
        end(&n);
    }
}

/* ---- what is left behind ------------------------------------------------------------- */

/* A cache that was brought to the codec's stage is not taken for the original. */
static void a_held_prompt_is_prefilled_anew(void **state)
{
    (void)state;
    static nodes n;
    lynx_token prompt[PROMPT];
    lynx_run_options o;
    toy_answer got, plain;
    watch w = {0};
    begin(&n, 2000000, 300000);
    open_nodes(&n);
    for (uint32_t round = 0; round < 4; round++) {
        make_options(&o, prompt, PROMPT, 1, &w);
        if (round % 2) { /* reuses what is held */
            o.method = LYNX_METHOD_SPECULATE;
            o.is_stored = true;
        }
        run(&n, &got, &o);
        want(&n, &plain, &o);
        check_right(&got, &plain);
        if (round % 2)
            assert_true(got.result.cache_digest == plain.result.cache_digest);
    }
    const lynx_prefill_report report = lynx_prefill_node_report(n.prefill.node);
    assert_true(report.carried > 0);
    /* The third run makes it anew, too: it does not ask to reuse. */
    assert_int_equal(report.prefilled, 4 * PROMPT);
    end(&n);
}

/* ---- losses -------------------------------------------------------------------------- */

static void kill_prefill(watch *w)
{
    toy_prefill_restart(w->user, false);
}

/* The prefill node is gone in the middle: what it chose stands, the rest comes from here. */
static void a_lost_prefill_node_is_replaced(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 4; round++) {
        static nodes n;
        watch w = {.act_at = 1 + 3 * round, .act = kill_prefill, .user = &n.prefill};
        lynx_token prompt[PROMPT];
        lynx_run_options o;
        toy_answer got, plain;
        begin(&n, 600000, 2 * (uint32_t)ms);
        open_nodes(&n);
        make_options(&o, prompt, PROMPT, round, &w);
        run(&n, &got, &o);
        want(&n, &plain, &o);
        check_right(&got, &plain);
        assert_true(got.result.is_recomputed);
        assert_true(got.result.carried >= w.act_at);
        end(&n);
    }
}

typedef struct cutter {
    nodes *n;
    pthread_t thread;
} cutter;

static void *cut_link(void *user)
{
    nodes *n = user;
    const unsigned dials = n->decode.dials;
    n->prefill.faults->is_down = true;
    for (uint32_t i = 0; i < 5000 && n->decode.dials == dials; i++)
        pause_for(ms);
    n->prefill.faults->is_down = false;
    return NULL;
}

/* A moment comes while the session is locked: who waits for the next connection is another. */
static void start_cutter(watch *w)
{
    cutter *c = w->user;
    TOY_CHECK(pthread_create(&c->thread, NULL, cut_link, c->n) == 0);
}

/* Connections break at any token; the session goes on, no token is lost or told twice. */
static void cuts_lose_no_token(void **state)
{
    (void)state;
    uint32_t carried_behind = 0;
    uint64_t resumes = 0; /* in some rounds all is over before the cut */
    for (uint32_t round = 0; round < 6; round++) {
        static nodes n;
        cutter c = {.n = &n};
        watch w = {.act_at = 2 * round, .act = start_cutter, .user = &c};
        lynx_token prompt[PROMPT];
        lynx_run_options o;
        toy_answer got, plain;
        begin(&n, 1000000, 5 * (uint32_t)ms);
        n.decode.remote.session.lanes = 1 + round % 2;
        open_nodes(&n);
        make_options(&o, prompt, PROMPT, round, &w);
        o.sampling.temperature = round % 2 ? 1.5f : 0.0f;
        run(&n, &got, &o);
        pthread_join(c.thread, NULL);
        want(&n, &plain, &o);
        check_right(&got, &plain);
        assert_false(got.result.is_recomputed);
        carried_behind += got.result.carried > w.act_at;
        end(&n);
        resumes += n.prefill.resumes;
    }
    assert_true(resumes > 0);
    assert_true(carried_behind > 0);
}

/* ---- limits -------------------------------------------------------------------------- */

static void limits_are_kept(void **state)
{
    (void)state;
    static nodes n;
    watch w = {0};
    lynx_token prompt[PROMPT];
    lynx_run_options o;
    toy_answer got, plain;
    begin(&n, 1000000, 0);
    n.prefill.toy.context_tokens = PROMPT + 3; /* the decode node has more */
    open_nodes(&n);
    make_options(&o, prompt, PROMPT, 1, &w);
    run(&n, &got, &o);
    want(&n, &plain, &o);
    check_right(&got, &plain);
    assert_int_equal(w.yielded_after, 3);
    o.is_stored = true;
    run(&n, &got, &o);
    assert_int_equal(got.status, LYNX_ERR_ARGUMENT);
    assert_non_null(strstr(got.text, "carry on"));
    end(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_equal_plain_decoding),
        cmocka_unit_test(carried_tokens_see_the_codec),
        cmocka_unit_test(drafts_follow_what_was_carried),
        cmocka_unit_test(another_request_ends_it),
        cmocka_unit_test(a_held_prompt_is_prefilled_anew),
        cmocka_unit_test(a_lost_prefill_node_is_replaced),
        cmocka_unit_test(cuts_lose_no_token),
        cmocka_unit_test(limits_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
