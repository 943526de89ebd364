/* SPDX-License-Identifier: MIT */
/*
 * layers_test.c - what is computed behind a stored cache while it comes, on the toy engine: the
 * source gives a layer when the engine waits for it, so that a run ends only if the question,
 * and then the drafts, are computed in between. The tokens are those of the full cache.
 */
#include <string.h>

#include "support/cmocka_all.h"
#include "support/memory_source.h"
#include "support/toy_nodes.h"

/* The toy engine's operations, with a count of what was waited for. */
static lynx_engine_ops counting;
static const lynx_engine_ops *toy_ops;
static atomic_uint awaited, batches;

typedef struct waiter {
    lynx_layer_wait *wait;
    void *user;
    uint32_t base;
} waiter;

static lynx_status count_layer(void *user, uint32_t layer)
{
    const waiter *w = user;
    awaited = w->base + layer;
    return w->wait(w->user, layer);
}

static lynx_status batch_by_layer(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                                  uint32_t first_row, lynx_layer_wait *wait, void *user)
{
    waiter w = {wait, user, 256 * batches++};
    return toy_ops->batch_by_layer(engine, tokens, count, first_row, count_layer, &w);
}

static lynx_status draft_batch(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                               const lynx_token *history, uint32_t history_count,
                               lynx_layer_wait *wait, void *user)
{
    waiter w = {wait, user, wait ? 256 * batches++ : 0};
    return toy_ops->draft_batch(engine, tokens, count, history, history_count,
                                wait ? count_layer : NULL, &w);
}

static void count_batches(lynx_engine *engine)
{
    toy_ops = engine->ops;
    counting = *toy_ops;
    counting.batch_by_layer = batch_by_layer;
    counting.draft_batch = draft_batch;
    engine->ops = &counting;
    awaited = batches = 0;
}

typedef struct bed {
    lynx_engine *engine;
    memory_source source;
    lynx_token prompt[TOY_PROMPT_MAX];
    lynx_run_options options;
    toy_answer plain, got;
} bed;

static void begin(bed *b, uint32_t cached, uint32_t rest, uint32_t round)
{
    lx_toy_options toy;
    memset(b, 0, sizeof(*b));
    lx_toy_options_init(&toy);
    toy.can_refine = round & 1;
    toy.window_tokens = round & 2 ? 40 : 0;
    assert_int_equal(lx_toy_create(&b->engine, &toy, NULL), LYNX_OK);
    count_batches(b->engine);
    toy_prompt(b->prompt, cached + rest, cached + round);
    lynx_run_options_init(&b->options);
    b->options.prompt = b->prompt;
    b->options.prompt_tokens = cached + rest;
    b->options.answer_tokens_max = TOY_ANSWER;
    b->options.draft_count_max = 6;
    b->options.ignore_end = true;
    b->options.sampling.temperature = round & 4 ? 0.8F : 0;
    b->options.method = LYNX_METHOD_LOCAL_FULL;
    b->options.cached_tokens = cached;
    toy_run(&b->plain, b->engine, NULL, 0, &b->options);
    assert_string_equal(b->plain.text, "");
    b->options.method = LYNX_METHOD_SPECULATE;
    b->options.cached_tokens = 0;
    memory_source_make(&b->source, b->engine, b->prompt, cached, &b->options.spec);
    b->options.source = &b->source.base;
    b->source.awaited = &awaited;
}

static void end(bed *b)
{
    assert_int_equal(b->source.held, 0);
    memory_source_free(&b->source);
    lynx_engine_destroy(b->engine);
}

static void check_right(const bed *b)
{
    assert_string_equal(b->got.text, "");
    assert_int_equal(b->got.status, LYNX_OK);
    assert_int_equal(b->source.late, 0);
    assert_true(toy_answers_are_equal(&b->got, &b->plain));
}

static void question_and_drafts_are_computed_layer_by_layer(void **state)
{
    static const uint32_t lengths[][2] = {{33, 2}, {200, 7}, {64, 60}, {300, 90}, {31, 3}};
    (void)state;
    for (uint32_t i = 0; i < 5; i++)
        for (uint32_t round = 0; round < 8; round++) {
            bed b;
            begin(&b, lengths[i][0], lengths[i][1], round);
            toy_run(&b.got, b.engine, NULL, 0, &b.options);
            check_right(&b);
            assert_int_equal(batches, 2); /* all others behind the whole plane */
            assert_int_equal(b.got.result.drafted, 6);
            assert_true(b.got.result.first_own_ns < b.got.result.complete_ns);
            assert_false(b.got.result.is_recomputed);
            end(&b);
        }
}

/* Who needs the whole cache before the pass does not begin it early. */
static void a_digest_is_of_the_whole_cache(void **state)
{
    (void)state;
    bed b;
    begin(&b, 200, 7, 0);
    b.options.digest_cache = true;
    lynx_run_options plain = b.options;
    plain.method = LYNX_METHOD_LOCAL_FULL;
    plain.source = NULL;
    plain.cached_tokens = 200;
    toy_run(&b.plain, b.engine, NULL, 0, &plain);
    b.source.awaited = NULL;
    b.source.pause_ns = 1000000;
    toy_run(&b.got, b.engine, NULL, 0, &b.options);
    check_right(&b);
    assert_int_equal(batches, 1);
    assert_int_equal(b.got.result.cache_digest, b.plain.result.cache_digest);
    end(&b);
}

static void losses_between_layers_are_made_good(void **state)
{
    (void)state;
    bed b;
    begin(&b, 200, 7, 0);
    const size_t count = b.source.count;
    end(&b);
    for (size_t at = 0; at < count; at += 3)
        for (uint32_t kind = 0; kind < 2; kind++) {
            begin(&b, 200, 7, (uint32_t)at & 5); /* as many planes */
            if (kind == 0)
                b.source.fail_at = at;
            else if (b.source.planes[at].plane ==
                     0) /* no legal page: digests are the source's */
                b.source.damage_at = at;
            toy_run(&b.got, b.engine, NULL, 0, &b.options);
            check_right(&b);
            assert_int_equal(b.got.result.is_recomputed,
                             b.source.fail_at != SIZE_MAX || b.source.damage_at != SIZE_MAX);
            end(&b);
        }
}

/* Over a link that is slow, or so fast that nothing is drafted, or with no drafts wanted: the
 * first token is computed on an anchor so coarse that it would tell another one. */
static void what_a_remote_sends_is_computed_layer_by_layer(void **state)
{
    static const uint64_t rates[] = {1000000, 60000000, 0};
    (void)state;
    for (uint32_t round = 0; round < 24; round++) {
        toy_prefill prefill;
        toy_decode decode;
        lynx_token prompt[TOY_PROMPT_MAX];
        lynx_run_options options;
        toy_answer plain, got;
        toy_prefill_init(&prefill);
        prefill.rate = rates[round % 3];
        toy_prefill_start(&prefill);
        toy_decode_init(&decode, prefill.address);
        toy_decode_open(&decode);
        count_batches(decode.engine);
        const uint32_t count = 150 + 7 * round;
        toy_prompt(prompt, count, round);
        lynx_run_options_init(&options);
        options.prompt = prompt;
        options.prompt_tokens = count;
        options.ignore_end = true;
        options.is_stored = round % 2;
        options.draft_count_max = round % 4 == 3 ? 0 : 6;
        assert_int_equal(lynx_codec_spec_named(&options.spec, "range:k=1+7,v=1+7"), LYNX_OK);
        toy_want(&plain, decode.engine, &options);
        toy_run(&got, decode.engine, &decode.handle, 1, &options);
        assert_string_equal(got.text, "");
        assert_int_equal(got.status, LYNX_OK);
        assert_true(toy_answers_are_equal(&got, &plain));
        if (round % 3 == 0)
            assert_int_equal(batches, options.draft_count_max > 0 ? 2 : 1);
        toy_decode_finish(&decode);
        toy_prefill_finish(&prefill);
    }
}

static volatile sig_atomic_t stop;

static void stop_then(void *user, const lynx_moment *moment)
{
    (void)user;
    if (moment->type == LYNX_MOMENT_PLANE)
        toy_set(&stop);
}

static void a_run_stops_between_layers(void **state)
{
    (void)state;
    bed b;
    begin(&b, 200, 7, 0);
    static atomic_uint never;
    b.source.awaited = &never; /* the second layer does not come */
    b.options.stop = &stop;
    b.options.on_moment = stop_then;
    toy_run(&b.got, b.engine, NULL, 0, &b.options);
    assert_int_equal(b.got.status, LYNX_ERR_CANCELLED);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(question_and_drafts_are_computed_layer_by_layer),
        cmocka_unit_test(a_digest_is_of_the_whole_cache),
        cmocka_unit_test(losses_between_layers_are_made_good),
        cmocka_unit_test(what_a_remote_sends_is_computed_layer_by_layer),
        cmocka_unit_test(a_run_stops_between_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
