/* SPDX-License-Identifier: MIT */
/*
 * stored_test.c - runs whose prompt begins with a stored prefix, on the toy engine: the tokens
 * are those of plain decoding on the full cache of the prefix, whatever came when, and whatever
 * broke.
 */
#include <string.h>
#include <unistd.h>

#include "support/cmocka_all.h"
#include "support/memory_source.h"
#include "support/toy_nodes.h"

static const uint64_t ms = 1000000;

typedef struct bed {
    lynx_engine *engine;
    memory_source source;
    lynx_token prompt[TOY_PROMPT_MAX];
    lynx_run_options options;
    toy_answer plain, got;
    uint32_t lost;
} bed;

static void on_moment(void *user, const lynx_moment *m)
{
    bed *b = user;
    b->lost += m->type == LYNX_MOMENT_LOST && m->is_source;
}

/* A prompt of 'cached' stored tokens and 'rest' others. */
static void begin(bed *b, const lx_toy_options *toy, const char *codec, uint32_t cached,
                  uint32_t rest)
{
    lynx_codec_spec spec;
    memset(b, 0, sizeof(*b));
    assert_int_equal(lx_toy_create(&b->engine, toy, NULL), LYNX_OK);
    assert_int_equal(lynx_codec_spec_named(&spec, codec), LYNX_OK);
    toy_prompt(b->prompt, cached + rest, cached);
    lynx_run_options_init(&b->options);
    b->options.prompt = b->prompt;
    b->options.prompt_tokens = cached + rest;
    b->options.answer_tokens_max = TOY_ANSWER;
    b->options.ignore_end = true;
    b->options.digest_cache = true;
    b->options.spec = spec;
    b->options.method = LYNX_METHOD_LOCAL_FULL;
    b->options.cached_tokens = cached;
    toy_run(&b->plain, b->engine, NULL, 0, &b->options);
    assert_string_equal(b->plain.text, "");
    b->options.method = LYNX_METHOD_SPECULATE;
    b->options.cached_tokens = 0;
    b->options.on_moment = on_moment;
    b->options.user = b;
    memory_source_make(&b->source, b->engine, b->prompt, cached, &spec);
    b->options.source = &b->source.base;
}

static void end(bed *b)
{
    assert_int_equal(b->source.held, 0);
    memory_source_free(&b->source);
    lynx_engine_destroy(b->engine);
}

static void run(bed *b)
{
    toy_run(&b->got, b->engine, NULL, 0, &b->options);
    assert_int_equal(b->source.held, 0);
}

static void check_right(bed *b)
{
    assert_string_equal(b->got.text, "");
    assert_int_equal(b->got.status, LYNX_OK);
    assert_true(toy_answers_are_equal(&b->got, &b->plain));
}

static void tokens_are_those_of_the_full_cache(void **state)
{
    static const uint32_t lengths[][2] = {{31, 1},  {32, 1},   {33, 2},   {200, 1},
                                          {200, 7}, {64, 200}, {300, 70}, {1, 3}};
    static const char *const codecs[] = {"range", "range44", "range-3", "paper", "int8", "raw"};
    static const lynx_method methods[] = {LYNX_METHOD_SPECULATE, LYNX_METHOD_WAIT};
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++)
        for (size_t way = 0; way < 8; way++) {
            const size_t c = (i + way) % (sizeof(codecs) / sizeof(*codecs));
            bed b;
            lx_toy_options toy;
            lx_toy_options_init(&toy);
            toy.can_refine = way & 1;
            toy.window_tokens = way & 2 ? 40 : 0;
            begin(&b, &toy, codecs[c], lengths[i][0], lengths[i][1]);
            b.options.method = methods[way >> 2];
            b.options.sampling.temperature = i % 2 ? 0.8F : 0;
            if (i % 2) { /* what is right depends on the sampling, too */
                lynx_run_options plain = b.options;
                plain.method = LYNX_METHOD_LOCAL_FULL;
                plain.source = NULL;
                plain.cached_tokens = lengths[i][0];
                toy_run(&b.plain, b.engine, NULL, 0, &plain);
            }
            b.source.residual_ns = way < 4 && c < 4 ? 5 * ms : 0;
            run(&b);
            check_right(&b);
            assert_int_equal(b.got.result.computed_tokens, lengths[i][1]);
            assert_int_equal(b.got.result.bytes_total, b.source.about.bytes);
            assert_false(b.got.result.is_recomputed);
            end(&b);
        }
}

/* The anchor is enough to draft on, and drafts count from when they were made. */
static void drafts_are_made_while_the_rest_is_read(void **state)
{
    bed b;
    lx_toy_options toy;
    (void)state;
    lx_toy_options_init(&toy);
    begin(&b, &toy, "range", 300, 5);
    b.source.residual_ns = 1000 * ms;
    run(&b);
    check_right(&b);
    assert_int_equal(b.got.result.drafted, TOY_ANSWER);
    assert_true(b.got.result.accepted > 0);
    assert_true(b.got.result.times[0] < b.got.result.complete_ns);
    assert_true(b.got.result.anchor_ns < b.got.result.complete_ns);

    /* Without drafts the first token waits for the whole cache. */
    memory_source_rewind(&b.source);
    b.source.residual_ns = 50 * ms;
    b.options.draft_count_max = 0;
    run(&b);
    check_right(&b);
    assert_true(b.got.result.times[0] > b.got.result.complete_ns);
    end(&b);
}

/* ---- what the engine is asked for ---------------------------------------------------- */

static const lynx_engine_ops *inner_ops;
static memory_source *watched_source;
static uint32_t page_writes, planes_at_reserve;

static lynx_status count_map(lynx_engine *engine, lynx_page_id id, uint32_t tokens,
                             bool is_write, lynx_tile *tile)
{
    page_writes += is_write;
    return inner_ops->map_page(engine, id, tokens, is_write, tile);
}

/* Making room takes until a plane has been read, or ten seconds. */
static lynx_status slow_reserve(lynx_engine *engine, uint32_t count)
{
    for (int i = 0; i < 10000 && atomic_load(&watched_source->held) == 0; i++)
        usleep(1000);
    planes_at_reserve = (uint32_t)atomic_load(&watched_source->held);
    return inner_ops->reserve(engine, count);
}

static void watch(bed *b, lynx_engine_ops *ops)
{
    inner_ops = b->engine->ops;
    *ops = *inner_ops;
    ops->map_page = count_map;
    ops->reserve = slow_reserve;
    b->engine->ops = ops;
    watched_source = &b->source;
    page_writes = planes_at_reserve = 0;
}

/* Without a digest nothing but the loaded planes writes pages. */
static void who_waits_decodes_each_page_once(void **state)
{
    static const lynx_on_loss on_loss[] = {LYNX_ON_LOSS_FAIL, LYNX_ON_LOSS_KEEP};
    (void)state;
    for (uint32_t way = 0; way < 2; way++) {
        bed b;
        lx_toy_options toy;
        lynx_engine_ops ops;
        lx_toy_options_init(&toy);
        begin(&b, &toy, "range", 300, 5);
        const uint32_t pages = (uint32_t)b.source.count / 2;
        b.options.method = LYNX_METHOD_WAIT;
        b.options.on_loss = on_loss[way];
        b.source.residual_ns = 50 * ms;
        watch(&b, &ops);
        run(&b);
        b.engine->ops = inner_ops;
        check_right(&b);
        assert_true(planes_at_reserve > 0);
        if (way == 0)
            assert_int_equal(page_writes, pages);
        else /* the anchor has to be there, in case the rest is lost */
            assert_true(page_writes > pages);
        end(&b);
    }
}

/* A question of five tokens and a draft take 180 ms and more: the rest comes sooner, or
 * seems to and then does not, or there is time. A step of unknown length is no reason to wait.
 */
static void drafts_wait_for_what_comes_sooner(void **state)
{
    static const struct {
        uint32_t step_ms, rest_ms;
        bool drafts, keeps;
    } cases[] = {{90, 60, false, false},
                 {90, 60, false, true},
                 {90, 900, true, false},
                 {90, 900, true, true},
                 {2, 600, true, false}};
    (void)state;
    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(*cases); i++) {
        const size_t at = i / 2;
        bed b;
        lx_toy_options toy;
        lynx_engine_ops ops;
        lx_toy_options_init(&toy);
        toy.step_ns = cases[at].step_ms * (uint32_t)ms;
        toy.can_refine = i % 2;
        begin(&b, &toy, i % 2 ? "range" : "range-3", 150, 5);
        const uint32_t pages = (uint32_t)b.source.count / (i % 2 ? 2 : 3);
        b.options.on_loss = cases[at].keeps ? LYNX_ON_LOSS_KEEP : LYNX_ON_LOSS_RECOMPUTE;
        b.options.digest_cache = false;
        b.source.residual_ns = cases[at].rest_ms * ms;
        watch(&b, &ops);
        run(&b);
        b.engine->ops = inner_ops;
        check_right(&b);
        assert_int_equal(b.got.result.drafted > 0, cases[at].drafts);
        assert_int_equal(b.got.result.first_own_ns < b.got.result.complete_ns,
                         cases[at].drafts);
        if (!cases[at].drafts && !cases[at].keeps)
            assert_int_equal(page_writes, pages);
        end(&b);
    }
}

/* A mutation: drafts that nobody verified are not those of the full cache, for some prompt. */
static void unverified_drafts_are_noticed(void **state)
{
    uint32_t others = 0;
    (void)state;
    for (uint32_t length = 100; length < 300 && !others; length += 7) {
        bed b;
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        begin(&b, &toy, "paper", length, 3);
        b.source.residual_ns = 50 * ms;
        b.options.skip_verify = true;
        run(&b);
        assert_int_equal(b.got.status, LYNX_OK);
        others += !toy_answers_are_equal(&b.got, &b.plain);
        end(&b);
    }
    assert_true(others > 0);
}

static void broken_sources_are_made_good(void **state)
{
    static const lynx_status failures[] = {LYNX_ERR_SYSTEM, LYNX_ERR_CORRUPT, LYNX_ERR_CLOSED,
                                           LYNX_ERR_TIMEOUT};
    (void)state;
    for (int refine = 0; refine < 2; refine++) {
        bed b;
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        toy.can_refine = refine;
        begin(&b, &toy, "range", 200, 5);
        for (size_t at = 0; at <= b.source.count; at += at < 4 ? 1 : b.source.count / 4) {
            memory_source_rewind(&b.source);
            b.source.fail_at = at;
            b.source.failure = failures[at % 4];
            b.source.residual_ns = 5 * ms;
            b.lost = 0;
            run(&b);
            check_right(&b);
            const bool is_lost = at < b.source.count || b.source.failure != LYNX_ERR_CLOSED;
            assert_int_equal(b.got.result.is_recomputed, is_lost && at < b.source.count);
            assert_int_equal(b.lost, b.got.result.is_recomputed);
            assert_int_equal(b.got.result.computed_tokens,
                             b.got.result.is_recomputed ? 205 : 5);
        }
        end(&b);
    }
}

static void planes_that_do_not_belong_are_no_harm(void **state)
{
    bed b;
    lx_toy_options toy;
    (void)state;
    lx_toy_options_init(&toy);
    begin(&b, &toy, "range", 200, 5);
    for (size_t at = 0; at < b.source.count; at += 37) {
        memory_source_rewind(&b.source);
        b.source.twice_at = at;
        run(&b);
        check_right(&b);
        assert_true(b.got.result.is_recomputed);
    }
    /* Bytes that are no legal anchor. */
    memory_source_rewind(&b.source);
    b.source.damage_at = 0;
    run(&b);
    check_right(&b);
    end(&b);
}

static void losses_end_as_asked(void **state)
{
    bed b;
    lx_toy_options toy;
    (void)state;
    lx_toy_options_init(&toy);
    begin(&b, &toy, "range", 200, 5);
    b.source.fail_at = b.source.count / 2 + 3; /* the anchor is here */
    b.source.residual_ns = 20 * ms;
    b.options.on_loss = LYNX_ON_LOSS_FAIL;
    run(&b);
    assert_int_equal(b.got.status, LYNX_ERR_SYSTEM);
    assert_string_equal(b.got.text, "the disk of the test is broken");

    memory_source_rewind(&b.source);
    b.source.fail_at = b.source.count / 2 + 3;
    b.options.on_loss = LYNX_ON_LOSS_KEEP;
    run(&b);
    assert_int_equal(b.got.status, LYNX_OK);
    assert_int_equal(b.got.result.token_count, TOY_ANSWER);
    assert_true(b.got.result.is_unverified);
    assert_false(b.got.result.is_recomputed);
    end(&b);
}

static void a_stopped_run_ends_its_source(void **state)
{
    volatile sig_atomic_t stop = 1;
    bed b;
    lx_toy_options toy;
    (void)state;
    lx_toy_options_init(&toy);
    begin(&b, &toy, "range", 200, 5);
    b.source.pause_ns = 3600000 * ms; /* it would never end */
    b.options.stop = &stop;
    run(&b);
    assert_int_equal(b.got.status, LYNX_ERR_CANCELLED);
    end(&b);
}

static void prompts_that_leave_nothing_to_compute_are_refused(void **state)
{
    bed b;
    lx_toy_options toy;
    (void)state;
    lx_toy_options_init(&toy);
    begin(&b, &toy, "range", 200, 5);
    b.options.prompt_tokens = 200;
    run(&b);
    assert_int_equal(b.got.status, LYNX_ERR_ARGUMENT);
    assert_non_null(strstr(b.got.text, "leaves nothing to compute"));
    b.options.prompt_tokens = 205;
    b.options.method = LYNX_METHOD_TOKENS;
    run(&b);
    assert_int_equal(b.got.status, LYNX_ERR_ARGUMENT);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_those_of_the_full_cache),
        cmocka_unit_test(drafts_are_made_while_the_rest_is_read),
        cmocka_unit_test(who_waits_decodes_each_page_once),
        cmocka_unit_test(drafts_wait_for_what_comes_sooner),
        cmocka_unit_test(unverified_drafts_are_noticed),
        cmocka_unit_test(broken_sources_are_made_good),
        cmocka_unit_test(planes_that_do_not_belong_are_no_harm),
        cmocka_unit_test(losses_end_as_asked),
        cmocka_unit_test(a_stopped_run_ends_its_source),
        cmocka_unit_test(prompts_that_leave_nothing_to_compute_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
