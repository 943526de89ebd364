/* SPDX-License-Identifier: MIT */
/*
 * lone_drafts_test.c - what steps of drafts put in the cache, rounded in their own way, is gone
 * before a token becomes valid: whatever way leads there, on the toy engine over a source. And
 * it would show if it were not.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/digest.h"
#include "support/cmocka_all.h"
#include "support/memory_source.h"
#include "support/toy_nodes.h"

enum { STORED = 64, REST = 6, PROMPT = STORED + REST, ANSWER = 60, CONTEXT = 256 };
enum { LAYERS = 3, CHANNELS = 32, ROW_BYTES = 2 * CHANNELS };
static const uint32_t NONE = UINT32_MAX;
static const uint64_t ms = 1000000;

/* The engine that a test looks through. */
static const lynx_engine_ops *true_ops;
static struct {
    uint32_t lone_from; /* rows from here on were made by drafts, or behind them */
    uint32_t draft_steps, reserves;
    atomic_uint drafts; /* of this run */
    /* A mutation: such rows are put back when they are computed anew. */
    bool keeps;
    bool is_lone[CONTEXT];
    uint8_t rows[CONTEXT][LAYERS][2][ROW_BYTES];
} seen;

static uint8_t *row_at(lynx_engine *engine, uint32_t layer, uint32_t side, uint32_t position)
{
    const uint32_t page_tokens = true_ops->model(engine)->shape.page_tokens;
    const lynx_page_id id = {position / page_tokens, (uint16_t)layer, (uint8_t)side};
    lynx_tile tile;
    assert_int_equal(true_ops->map_page(engine, id, true_ops->length(engine), true, &tile),
                     LYNX_OK);
    assert_int_equal(true_ops->unmap_page(engine), LYNX_OK);
    return (uint8_t *)tile.data + (position % page_tokens) * tile.token_stride_bytes;
}

static void copy_rows(lynx_engine *engine, uint32_t position, bool is_put)
{
    for (uint32_t layer = 0; layer < LAYERS; layer++)
        for (uint32_t side = 0; side < 2; side++) {
            uint8_t *row = row_at(engine, layer, side, position);
            uint8_t *kept = seen.rows[position][layer][side];
            memcpy(is_put ? row : kept, is_put ? kept : row, ROW_BYTES);
        }
}

/* Rows from 'first' on are those of drafts. */
static void note_lone(lynx_engine *engine, uint32_t first)
{
    seen.lone_from = first < seen.lone_from ? first : seen.lone_from;
    for (uint32_t i = first; seen.keeps && i < true_ops->length(engine); i++) {
        seen.is_lone[i] = true;
        copy_rows(engine, i, false);
    }
}

static lynx_status seen_draft_step(lynx_engine *engine, const lynx_token *tokens,
                                   uint32_t count, const lynx_token *history,
                                   uint32_t history_count)
{
    const uint32_t first = true_ops->length(engine);
    const lynx_status status =
        true_ops->draft_step(engine, tokens, count, history, history_count);
    seen.draft_steps++;
    note_lone(engine, first);
    return status;
}

static lynx_status seen_draft_batch(lynx_engine *engine, const lynx_token *tokens,
                                    uint32_t count, const lynx_token *history,
                                    uint32_t history_count, lynx_layer_wait *wait, void *user)
{
    const uint32_t first = true_ops->length(engine);
    const lynx_status status =
        true_ops->draft_batch(engine, tokens, count, history, history_count, wait, user);
    note_lone(engine, first);
    return status;
}

static lynx_status seen_batch(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                              uint32_t first_row)
{
    const uint32_t first = true_ops->length(engine);
    const lynx_status status = true_ops->batch(engine, tokens, count, first_row);
    for (uint32_t i = first; seen.keeps && i < first + count; i++)
        if (seen.is_lone[i])
            copy_rows(engine, i, true);
    return status;
}

static lynx_status seen_rewind(lynx_engine *engine, uint32_t length)
{
    seen.lone_from = length <= seen.lone_from ? NONE : seen.lone_from;
    return true_ops->rewind(engine, length);
}

static lynx_status seen_reserve(lynx_engine *engine, uint32_t count)
{
    seen.reserves++;
    seen.lone_from = NONE;
    return true_ops->reserve(engine, count);
}

static lynx_status seen_prefill(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                                lynx_prefill_progress *progress, void *user)
{
    seen.lone_from = NONE;
    return true_ops->prefill(engine, tokens, count, progress, user);
}

static lynx_engine *make_engine(const lx_toy_options *toy, lynx_engine_ops *ops)
{
    lynx_engine *engine = NULL;
    assert_int_equal(lx_toy_create(&engine, toy, NULL), LYNX_OK);
    memset(&seen, 0, sizeof(seen));
    seen.lone_from = NONE;
    true_ops = engine->ops;
    *ops = *engine->ops;
    ops->draft_step = seen_draft_step;
    ops->draft_batch = seen_draft_batch;
    ops->batch = seen_batch;
    ops->rewind = seen_rewind;
    ops->reserve = seen_reserve;
    ops->prefill = seen_prefill;
    engine->ops = ops;
    return engine;
}

/* ---- runs ---------------------------------------------------------------------------- */

typedef struct outcome {
    lynx_token tokens[ANSWER];
    lynx_time_ns times[ANSWER];
    lynx_run_result result;
    uint64_t digest; /* of all that the cache has at the end */
    uint32_t drafts;
    bool may_be_lone; /* tokens are taken on the anchor as they are */
} outcome;

static void on_moment(void *user, const lynx_moment *m)
{
    outcome *o = user;
    o->drafts += m->type == LYNX_MOMENT_DRAFT;
    seen.drafts = o->drafts;
    if (m->type == LYNX_MOMENT_TOKEN && !o->may_be_lone)
        assert_int_equal(seen.lone_from, NONE);
}

static uint64_t cache_digest(lynx_engine *engine)
{
    uint64_t digest = 0;
    for (uint32_t i = 0; i < true_ops->length(engine); i++)
        for (uint32_t layer = 0; layer < LAYERS; layer++)
            for (uint32_t side = 0; side < 2; side++)
                digest = digest * 31 + lx_digest64(row_at(engine, layer, side, i), ROW_BYTES);
    return digest;
}

static void run(outcome *o, lynx_engine *engine, lynx_run_options *options)
{
    char text[LYNX_TEXT_MAX];
    const bool may_be_lone = o->may_be_lone;
    *o = (outcome){.may_be_lone = may_be_lone};
    o->result = (lynx_run_result){.tokens = o->tokens, .times = o->times, .capacity = ANSWER};
    options->engine = engine;
    options->answer_tokens_max = ANSWER;
    options->draft_count_max = 30;
    options->ignore_end = true;
    options->on_moment = on_moment;
    options->user = o;
    assert_int_equal(lynx_run(NULL, 0, options, &o->result, text), LYNX_OK);
    assert_int_equal(seen.lone_from, NONE);
    assert_int_equal(o->result.token_count, ANSWER);
    assert_int_equal(true_ops->length(engine), PROMPT + ANSWER - 1);
    o->digest = cache_digest(engine);
}

typedef struct bed {
    lx_toy_options toy;
    lynx_engine_ops ops;
    lynx_engine *engine;
    lynx_token prompt[PROMPT];
    lynx_run_options options;
    memory_source source;
    outcome plain, got;
} bed;

/* Kinds of engines: how its drafts are made, and how pages get in. */
static void begin(bed *b, uint32_t kind, const char *codec)
{
    memset(b, 0, sizeof(*b));
    lx_toy_options_init(&b->toy);
    b->toy.layer_count = LAYERS;
    b->toy.channels = CHANNELS;
    b->toy.context_tokens = CONTEXT;
    b->toy.can_refine = kind & 1;
    b->toy.pads_drafts = kind & 2;
    if (kind & 4) { /* one token in half of the time: few guesses are worth it */
        b->toy.step_ns = 200000;
        b->toy.draft_step_ns = 100000;
    }
    b->engine = make_engine(&b->toy, &b->ops);
    toy_prompt(b->prompt, PROMPT, kind);
    lynx_run_options_init(&b->options);
    b->options.prompt = b->prompt;
    b->options.prompt_tokens = PROMPT;
    b->options.guesses = kind % 3 > 0;
    assert_int_equal(lynx_codec_spec_named(&b->options.spec, codec), LYNX_OK);
    memory_source_make(&b->source, b->engine, b->prompt, STORED, &b->options.spec);

    lynx_run_options local = b->options;
    local.method = LYNX_METHOD_LOCAL_FULL;
    local.cached_tokens = STORED;
    local.guesses = false;
    run(&b->plain, b->engine, &local);
    assert_int_equal(seen.draft_steps, 0);
    /* Each plane behind the anchor comes as soon as so many drafts are made, whatever the speed
     * of the machine. */
    b->source.residual_ns = 1000 * ms;
    b->source.drafts = &seen.drafts;
    b->source.drafts_min = 20;
    b->options.source = &b->source.base;
}

static void end(bed *b)
{
    memory_source_free(&b->source);
    lynx_engine_destroy(b->engine);
}

static bool is_plain(const bed *b)
{
    return b->got.digest == b->plain.digest &&
           memcmp(b->got.tokens, b->plain.tokens, sizeof(b->plain.tokens)) == 0;
}

enum { KINDS = 24 };

/* Verified, reviewed before, with what is kept behind the prefix computed on the way. */
static void nothing_of_drafts_is_left(void **state)
{
    uint32_t drafts = 0, steps = 0, accepted = 0, reviews = 0, padded = 0;
    (void)state;
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        bed b;
        begin(&b, kind, kind % 5 < 2 ? "range-3:k=2+2+4,v=2+2+4,head=0" : "range");
        b.options.kept_tokens = kind % 4 == 3 ? STORED + 3 : 0;
        run(&b.got, b.engine, &b.options);
        assert_true(b.options.kept_tokens || is_plain(&b));
        if (b.options.kept_tokens) { /* of which three tokens went through the codec, too */
            lynx_run_options wait = b.options;
            outcome waited = {0};
            wait.method = LYNX_METHOD_WAIT;
            memory_source_rewind(&b.source);
            run(&waited, b.engine, &wait);
            assert_memory_equal(b.got.tokens, waited.tokens, sizeof(waited.tokens));
            assert_true(b.got.digest == waited.digest);
        }
        drafts += b.got.drafts;
        steps += seen.draft_steps;
        accepted += b.got.result.accepted;
        reviews += b.got.result.reviews;
        padded += kind & 2 ? b.got.result.guessed_right : 0;
        end(&b);
    }
    assert_true(drafts > 10 * KINDS);
    assert_true(steps > 5 * KINDS);
    assert_true(accepted > KINDS);
    assert_true(reviews > 0);
    assert_true(padded > 0);
}

/* The source ends while drafts are made: the prompt is computed here, or the anchor kept. */
static void nothing_is_left_when_the_source_fails(void **state)
{
    uint32_t steps = 0;
    (void)state;
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        bed b;
        const bool keeps = kind % 4 > 1;
        begin(&b, kind, "range");
        b.source.fail_at = b.source.count - 1;
        b.source.failure = LYNX_ERR_CLOSED;
        b.options.on_loss = keeps ? LYNX_ON_LOSS_KEEP : LYNX_ON_LOSS_RECOMPUTE;
        b.got.may_be_lone = keeps;
        run(&b.got, b.engine, &b.options);
        assert_true(b.got.result.is_unverified == keeps);
        assert_true(keeps || is_plain(&b));
        steps += seen.draft_steps;
        end(&b);
    }
    assert_true(steps > 5 * KINDS);
}

/* Were the rows of drafts to stay under what is valid, other tokens would come of it. */
static void rows_that_stay_would_show(void **state)
{
    uint32_t others = 0, kept = 0;
    (void)state;
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        bed b;
        begin(&b, kind, "range");
        seen.keeps = true;
        run(&b.got, b.engine, &b.options);
        kept += b.got.digest != b.plain.digest;
        others += memcmp(b.got.tokens, b.plain.tokens, sizeof(b.plain.tokens)) != 0;
        end(&b);
    }
    assert_true(kept > KINDS / 2);
    assert_true(others > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_of_drafts_is_left),
        cmocka_unit_test(nothing_is_left_when_the_source_fails),
        cmocka_unit_test(rows_that_stay_would_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
