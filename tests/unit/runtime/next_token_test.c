/* SPDX-License-Identifier: MIT */
/*
 * next_token_test.c - guesses beside steps change no token, no logprob and no draft that
 * stands, on the toy engine with short prompts, whose answers repeat themselves.
 */
#include "runtime/next_token.h"

#include <string.h>

#include "base/alloc.h"
#include "runtime/carry.h"
#include "support/cmocka_all.h"
#include "support/memory_source.h"
#include "support/toy_nodes.h"

enum { ANSWER = 120, PROMPTS = 24, ROOM = TOY_PROMPT_MAX + ANSWER };

/* The engine that a test looks through, and what was asked of it. */
static const lynx_engine_ops *true_ops;
static struct {
    uint32_t steps, batches, samples;
    const lynx_token *right; /* the tokens that must come; NULL: not known */
    bool is_inexact;
} seen;

static const lynx_model *seen_model(const lynx_engine *engine)
{
    static lynx_model model;
    model = *true_ops->model(engine);
    if (seen.is_inexact)
        model.exactness = LYNX_EXACT_TO_ROUNDING;
    return &model;
}

static lynx_status seen_step(lynx_engine *engine, lynx_token token)
{
    seen.steps++;
    return true_ops->step(engine, token);
}

static lynx_status seen_batch(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                              uint32_t first_row)
{
    seen.batches++;
    return true_ops->batch(engine, tokens, count, first_row);
}

/* A sampler sees nothing but what is valid, each history once. */
static lynx_status seen_sample(lynx_engine *engine, uint32_t row, const lynx_sampling *sampling,
                               const lynx_token *history, uint32_t prompt_count,
                               uint32_t history_count, lynx_token *token)
{
    seen.samples++;
    if (seen.right)
        assert_memory_equal(history, seen.right, history_count * sizeof(*history));
    return true_ops->sample(engine, row, sampling, history, prompt_count, history_count, token);
}

static lynx_engine *make_engine(const lx_toy_options *toy, lynx_engine_ops *ops)
{
    lynx_engine *engine = NULL;
    assert_int_equal(lx_toy_create(&engine, toy, NULL), LYNX_OK);
    memset(&seen, 0, sizeof(seen));
    true_ops = engine->ops;
    *ops = *engine->ops;
    ops->model = seen_model;
    ops->step = seen_step;
    ops->batch = seen_batch;
    ops->sample = seen_sample;
    engine->ops = ops;
    return engine;
}

/* Prefill 'prompt_tokens' of the history, and choose 'answer' tokens behind them. */
static void answer(lynx_engine *engine, lynx_token *history, uint32_t prompt_tokens,
                   uint32_t answer_tokens, const lynx_sampling *sampling, bool guesses,
                   lx_next *next)
{
    const uint32_t end = prompt_tokens + answer_tokens;
    assert_int_equal(engine->ops->prefill(engine, history, prompt_tokens, NULL, NULL), LYNX_OK);
    assert_int_equal(engine->ops->rewind(engine, prompt_tokens - 1), LYNX_OK);
    assert_int_equal(lx_next_init(next, engine, sampling, prompt_tokens, ROOM, guesses, NULL),
                     LYNX_OK);
    for (uint32_t count = prompt_tokens; count < end; count++) {
        assert_int_equal(lx_next_choose(next, history, count, end - count, &history[count]),
                         LYNX_OK);
        assert_int_equal(engine->ops->length(engine), count + (next->ahead != 0));
        assert_true(next->ahead == 0 || next->ahead == count + 1);
    }
    assert_int_equal(next->ahead, 0); /* nothing was guessed behind the last */
}

static void tokens_are_those_without_guesses(void **state)
{
    (void)state;
    static const char grammar[] = "root ::= ([0-9]+ | [ -.]+)*";
    uint32_t right = 0, wrong = 0;
    for (uint32_t i = 0; i < PROMPTS; i++) {
        const uint32_t prompt_tokens = 2 + i % 9;
        lynx_token plain[ROOM], guessed[ROOM];
        lx_toy_options toy;
        lynx_engine_ops ops;
        lynx_sampling sampling;
        lx_next next;
        lx_toy_options_init(&toy);
        toy.window_tokens = i % 2 ? 20 : 0;
        lynx_engine *engine = make_engine(&toy, &ops);
        lynx_sampling_init(&sampling);
        sampling.temperature = i % 3 == 1 ? 0.3f : 0;
        sampling.seed = i;
        if (i % 4 == 3) {
            sampling.grammar = grammar;
            sampling.grammar_bytes = sizeof(grammar) - 1;
        }
        toy_prompt(plain, prompt_tokens, i);
        memcpy(guessed, plain, sizeof(guessed));
        answer(engine, plain, prompt_tokens, ANSWER, &sampling, false, &next);
        assert_int_equal(next.guessed, 0);
        assert_int_equal(next.steps, ANSWER);
        lx_next_fini(&next);

        memset(&seen, 0, sizeof(seen));
        seen.right = plain;
        answer(engine, guessed, prompt_tokens, ANSWER, &sampling, true, &next);
        assert_memory_equal(guessed, plain, (prompt_tokens + ANSWER) * sizeof(*plain));
        assert_int_equal(next.steps + next.guessed_right, ANSWER);
        assert_int_equal(seen.samples, ANSWER);
        assert_int_equal(seen.steps + seen.batches, next.steps);
        assert_int_equal(seen.batches, next.guessed);
        right += next.guessed_right;
        wrong += next.guessed - next.guessed_right;
        lx_next_fini(&next);
        lynx_engine_destroy(engine);
    }
    assert_true(right > PROMPTS * ANSWER / 20);
    assert_true(wrong > PROMPTS * ANSWER / 20);
}

/* Where a second token costs time, or its row has other bits. */
static void guesses_are_made_only_where_they_are_free(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        lynx_token history[ROOM];
        lx_toy_options toy;
        lynx_engine_ops ops;
        lynx_sampling sampling;
        lx_next next;
        lx_toy_options_init(&toy);
        toy.step_tokens = i == 1 ? 1 : 2;
        lynx_engine *engine = make_engine(&toy, &ops);
        seen.is_inexact = i == 2;
        lynx_sampling_init(&sampling);
        toy_prompt(history, 5, 1);
        answer(engine, history, 5, ANSWER, &sampling, true, &next);
        assert_int_equal(next.guessed > 0, i == 0);
        lx_next_fini(&next);
        lynx_engine_destroy(engine);
    }
}

/* The history becomes another one behind a rewind; what was ahead is forgotten. */
static void a_history_that_changes_is_followed(void **state)
{
    (void)state;
    uint32_t ahead = 0;
    for (uint32_t i = 0; i < PROMPTS; i++) {
        lynx_token history[ROOM], plain[ROOM];
        lx_toy_options toy;
        lynx_engine_ops ops;
        lynx_sampling sampling;
        lx_next next;
        lx_toy_options_init(&toy);
        lynx_engine *engine = make_engine(&toy, &ops);
        lynx_sampling_init(&sampling);
        toy_prompt(history, 6, i);
        answer(engine, history, 6, 80, &sampling, true, &next);
        assert_int_equal(lx_next_choose(&next, history, 86, 2, &history[86]), LYNX_OK);
        ahead += next.ahead != 0;
        assert_int_equal(lx_next_rewind(&next, 86), LYNX_OK);
        history[86] = (history[86] + 1) % 60 + 1; /* a correction */
        assert_int_equal(lx_next_choose(&next, history, 87, 1, &history[87]), LYNX_OK);
        assert_int_equal(next.row, 0);
        assert_int_equal(lx_next_rewind(&next, 30), LYNX_OK);
        assert_int_equal(engine->ops->length(engine), 30);
        history[30] = (history[30] + 1) % 60 + 1;
        memcpy(plain, history, sizeof(plain));
        for (uint32_t count = 31; count < 120; count++)
            assert_int_equal(lx_next_choose(&next, history, count, 120 - count,
                                            &history[count]),
                             LYNX_OK);
        lx_next_fini(&next);
        answer(engine, plain, 31, 89, &sampling, false, &next);
        assert_memory_equal(history, plain, 120 * sizeof(*plain));
        lx_next_fini(&next);
        lynx_engine_destroy(engine);
    }
    assert_true(ahead > 0);
}

/* ---- runs ---------------------------------------------------------------------------- */

/* What a run told. */
typedef struct told {
    lynx_token tokens[ANSWER];
    lynx_logprobs logprobs[ANSWER];
    uint32_t count, drafts, stop_at;
    volatile sig_atomic_t stop;
} told;

static void on_moment(void *user, const lynx_moment *m)
{
    told *t = user;
    t->drafts += m->type == LYNX_MOMENT_DRAFT;
    if (m->type != LYNX_MOMENT_TOKEN)
        return;
    assert_false(t->stop);
    t->tokens[t->count] = m->token;
    if (m->logprobs)
        t->logprobs[t->count] = *m->logprobs;
    if (++t->count == t->stop_at)
        t->stop = 1;
}

static lynx_status run(lynx_engine *engine, lynx_run_options *o, bool guesses, told *t,
                       lynx_run_result *result)
{
    static lynx_token tokens[ANSWER];
    static lynx_time_ns times[ANSWER];
    char text[LYNX_TEXT_MAX];
    const uint32_t stop_at = t->stop_at;
    *t = (told){.stop_at = stop_at};
    *result = (lynx_run_result){.tokens = tokens, .times = times, .capacity = ANSWER};
    o->engine = engine;
    o->answer_tokens_max = ANSWER;
    o->guesses = guesses;
    o->on_moment = on_moment;
    o->user = t;
    o->stop = &t->stop;
    return lynx_run(NULL, 0, o, result, text);
}

/* Plain decoding, with logprobs; and a run that is stopped between two tokens of one step. */
static void plain_decoding_tells_the_same(void **state)
{
    (void)state;
    uint32_t right = 0, ends = 0;
    for (uint32_t i = 0; i < 2 * PROMPTS; i++) {
        lynx_token prompt[16];
        lx_toy_options toy;
        lynx_engine_ops ops;
        lynx_run_options o;
        lynx_run_result result;
        told plain = {0}, guessed = {0};
        lx_toy_options_init(&toy);
        lynx_engine *engine = make_engine(&toy, &ops);
        toy_prompt(prompt, 4 + i % 7, i);
        lynx_run_options_init(&o);
        /* Answers of 1 and the end, which is guessed behind 1; with one of the biases the end
         * comes after the first token. */
        const lynx_bias biases[2] = {{0, 40.0f + (float)i / 2}, {1, 40}};
        if (i % 3 == 0) {
            prompt[0] = 1;
            prompt[1] = 0;
            o.sampling.biases = biases;
            o.sampling.bias_count = 2;
        }
        o.method = i % 2 ? LYNX_METHOD_LOCAL : LYNX_METHOD_LOCAL_FULL;
        o.prompt = prompt;
        o.prompt_tokens = 4 + i % 7;
        o.ignore_end = i % 3 > 0;
        o.wants_logprobs = true;
        o.top_logprobs = 3;
        assert_int_equal(run(engine, &o, false, &plain, &result), LYNX_OK);
        assert_int_equal(result.guessed, 0);
        assert_int_equal(result.steps, result.token_count - 1);
        assert_int_equal(run(engine, &o, true, &guessed, &result), LYNX_OK);
        /* A guess at an end is right and saves nothing: no token follows. */
        assert_in_range(result.steps + result.guessed_right, result.token_count - 1,
                        result.token_count - 1 + result.has_ended);
        assert_int_equal(engine->ops->length(engine), o.prompt_tokens + result.token_count - 1);
        assert_int_equal(guessed.count, plain.count);
        assert_memory_equal(guessed.tokens, plain.tokens, plain.count * sizeof(lynx_token));
        assert_memory_equal(guessed.logprobs, plain.logprobs,
                            plain.count * sizeof(lynx_logprobs));
        right += result.guessed_right;
        ends += result.steps + result.guessed_right == result.token_count;

        guessed.stop_at = 1 + plain.count / 2 + i % 2;
        if (guessed.stop_at < plain.count) {
            assert_int_equal(run(engine, &o, true, &guessed, &result), LYNX_ERR_CANCELLED);
            assert_int_equal(guessed.count, guessed.stop_at);
            assert_int_equal(result.token_count, guessed.stop_at);
        }
        lynx_engine_destroy(engine);
    }
    assert_true(right > PROMPTS);
    assert_true(ends > 0);
}

/* ---- carrying on --------------------------------------------------------------------- */

typedef struct carried {
    lynx_engine *engine;
    lynx_token tokens[ANSWER];
    lynx_logprobs logprobs[ANSWER];
    uint32_t count;
} carried;

static lynx_status on_carried(void *user, lynx_token token, uint32_t row)
{
    carried *c = user;
    lynx_logprobs_of(true_ops->logits(c->engine, row), 64, token, 3, &c->logprobs[c->count]);
    c->tokens[c->count++] = token;
    return LYNX_OK;
}

/* Tokens and the rows that they were chosen from. */
static void a_prefill_node_carries_the_same(void **state)
{
    (void)state;
    uint32_t batches = 0;
    for (uint32_t i = 0; i < PROMPTS; i++) {
        static carried all[2];
        lynx_token prompt[16];
        lx_toy_options toy;
        lynx_engine_ops ops;
        lynx_sampling sampling;
        lx_toy_options_init(&toy);
        lynx_engine *engine = make_engine(&toy, &ops);
        lynx_sampling_init(&sampling);
        toy_prompt(prompt, 6, i);
        for (uint32_t guesses = 0; guesses < 2; guesses++) {
            const lx_carry carry = {.engine = engine,
                                    .sampling = &sampling,
                                    .guesses = guesses,
                                    .memory = lx_allocator_or_default(NULL),
                                    .send = on_carried,
                                    .user = &all[guesses]};
            all[guesses] = (carried){.engine = engine};
            assert_int_equal(ops.prefill(engine, prompt, 6, NULL, NULL), LYNX_OK);
            assert_int_equal(lx_carry_on(&carry, prompt, 6, prompt[0], ANSWER), LYNX_OK);
            assert_int_equal(all[guesses].count, ANSWER - 1);
        }
        assert_memory_equal(all[0].tokens, all[1].tokens, sizeof(all[0].tokens));
        assert_memory_equal(all[0].logprobs, all[1].logprobs, sizeof(all[0].logprobs));
        batches += seen.batches;
        lynx_engine_destroy(engine);
    }
    assert_true(batches > 0);
}

/* Drafts on the anchor of a stored prefix: their bound holds, two come of a step, and the
 * answer is that of plain decoding. */
static void drafts_come_in_pairs_within_their_bound(void **state)
{
    (void)state;
    uint32_t drafts = 0, pairs = 0, at_bound = 0;
    for (uint32_t i = 0; i < PROMPTS; i++) {
        lynx_token prompt[48];
        lx_toy_options toy;
        lynx_engine_ops ops;
        lynx_run_options o;
        lynx_run_result result;
        memory_source source;
        told plain = {0}, guessed = {0};
        lx_toy_options_init(&toy);
        toy.page_tokens = 32;
        toy.can_refine = i % 2;
        lynx_engine *engine = make_engine(&toy, &ops);
        toy_prompt(prompt, 34, i);
        lynx_run_options_init(&o);
        o.prompt = prompt;
        o.prompt_tokens = 34;
        o.ignore_end = true;
        o.method = LYNX_METHOD_LOCAL_FULL;
        o.cached_tokens = 32;
        o.draft_count_max = 20 + i % 3;
        assert_int_equal(run(engine, &o, false, &plain, &result), LYNX_OK);
        memory_source_make(&source, engine, prompt, 32, &o.spec);
        source.residual_ns = 30000000;
        o.method = LYNX_METHOD_SPECULATE;
        o.source = &source.base;
        assert_int_equal(run(engine, &o, true, &guessed, &result), LYNX_OK);
        assert_memory_equal(guessed.tokens, plain.tokens, ANSWER * sizeof(lynx_token));
        guessed.drafts -= result.branch_drafted; /* which are told, too */
        assert_true(guessed.drafts <= o.draft_count_max);
        drafts += guessed.drafts;
        at_bound += guessed.drafts == o.draft_count_max;
        pairs += result.guessed_right;
        memory_source_free(&source);
        lynx_engine_destroy(engine);
    }
    assert_true(drafts > 0);
    assert_true(pairs > 0);
    assert_true(at_bound > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_those_without_guesses),
        cmocka_unit_test(guesses_are_made_only_where_they_are_free),
        cmocka_unit_test(a_history_that_changes_is_followed),
        cmocka_unit_test(plain_decoding_tells_the_same),
        cmocka_unit_test(a_prefill_node_carries_the_same),
        cmocka_unit_test(drafts_come_in_pairs_within_their_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
