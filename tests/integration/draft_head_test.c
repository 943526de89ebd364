/* SPDX-License-Identifier: MIT */
/*
 * draft_head_test.c - drafts by few tokens of a large vocabulary: the logits of common tokens
 * and of those of the history are those by all tokens, up to rounding, and the others are out
 * of reach; nothing of it stays when it is taken back; a history with more rare tokens than
 * there is room for; a grammar that allows only tokens which were not looked at; and slots that
 * draft in one batch, in one part and in several.
 */
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "support/cmocka_all.h"
#include "support/gguf_engines.h"

enum { COMMON = 32768, PROMPT = 200, STEPS = 12, SLOTS = 4, MANY = 20000 };

/* Of logits up to 70; beside other slots other kernels compute. */
static const float ROUNDING = 0.5f;

static const char *model_path(void)
{
    static char path[600];
    const char *folder = getenv("LYNX_TEST_MODELS");
    snprintf(path, sizeof(path), "%s/gemma3-270m-f16.gguf", folder ? folder : ".");
    return access(path, R_OK) == 0 ? path : NULL;
}

static void load(lynx_engine *engines[], uint32_t slots, uint32_t draft_vocabulary)
{
    char text[TEST_TEXT_BYTES];
    lynx_llama_options options;
    test_engine_options(&options, model_path(), LYNX_CACHE_AUTO);
    options.draft_vocabulary = draft_vocabulary;
    if (lynx_llama_create_slots(engines, slots, &options, text, sizeof(text)) != LYNX_OK)
        fail_msg("%s", text);
}

/* Half of them rare. */
static lynx_token token_at(uint32_t i, uint32_t vocabulary)
{
    return (lynx_token)((i * 7919u + 13u) % (i % 2 ? vocabulary : COMMON));
}

static void make_tokens(const lynx_engine *engine, lynx_token tokens[PROMPT + STEPS])
{
    for (uint32_t i = 0; i < PROMPT + STEPS; i++)
        tokens[i] = token_at(i, engine->ops->model(engine)->vocabulary);
}

static bool is_among(const lynx_token *tokens, uint32_t count, lynx_token token)
{
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i] == token)
            return true;
    return false;
}

/* 'few' against 'all': how many were looked at, among them some of earlier prompts. */
static uint32_t compare(const float *few, const float *all, uint32_t vocabulary,
                        const lynx_token *history, uint32_t count)
{
    uint32_t seen = 0;
    for (uint32_t t = 0; t < vocabulary; t++) {
        const bool is_seen = few[t] > -1e29f;
        CHECK(is_seen || (t >= COMMON && !is_among(history, count, (lynx_token)t)));
        CHECK(!is_seen || fabsf(few[t] - all[t]) < ROUNDING);
        seen += is_seen;
    }
    return seen;
}

static void test_logits(void **state)
{
    lynx_engine *few[1], *all[1];
    lynx_token tokens[PROMPT + STEPS];
    (void)state;
    if (!model_path())
        skip();
    load(few, 1, COMMON);
    load(all, 1, 0);
    assert_non_null(
        strstr(lynx_llama_probe_report(few[0]), "tokens and those of the prompt: yes"));
    assert_null(strstr(lynx_llama_probe_report(all[0]), "and those of the prompt"));
    const lynx_engine_ops *ops = few[0]->ops;
    const uint32_t vocabulary = ops->model(few[0])->vocabulary;
    make_tokens(few[0], tokens);
    assert_int_equal(ops->prefill(few[0], tokens, PROMPT, NULL, NULL), LYNX_OK);
    assert_int_equal(ops->prefill(all[0], tokens, PROMPT, NULL, NULL), LYNX_OK);
    assert_int_equal(ops->step(few[0], tokens[PROMPT]), LYNX_OK);
    const uint64_t exact = lx_digest64(ops->logits(few[0], 0), vocabulary * sizeof(float));
    const uint64_t cache = test_cache_digest(few[0], PROMPT + 1);
    assert_int_equal(ops->rewind(few[0], PROMPT), LYNX_OK);
    for (uint32_t i = PROMPT; i < PROMPT + STEPS; i++) {
        assert_int_equal(ops->draft_step(few[0], &tokens[i], 1, tokens, i), LYNX_OK);
        assert_int_equal(ops->draft_step(all[0], &tokens[i], 1, tokens, i), LYNX_OK);
        const uint32_t seen =
            compare(ops->logits(few[0], 0), ops->logits(all[0], 0), vocabulary, tokens, i + 1);
        assert_in_range(seen, COMMON + PROMPT / 3, COMMON + 2 * PROMPT);
        assert_null(ops->logits(few[0], 1));
    }
    /* The first of them again, in one batch. */
    assert_int_equal(ops->rewind(few[0], PROMPT), LYNX_OK);
    assert_int_equal(ops->rewind(all[0], PROMPT), LYNX_OK);
    assert_int_equal(ops->draft_batch(few[0], tokens + PROMPT, 5, tokens, PROMPT + 5, NULL,
                                      NULL),
                     LYNX_OK);
    assert_int_equal(ops->batch(all[0], tokens + PROMPT, 5, 4), LYNX_OK);
    (void)compare(ops->logits(few[0], 0), ops->logits(all[0], 4), vocabulary, tokens, PROMPT);
    assert_null(ops->logits(few[0], 1));
    assert_int_equal(ops->length(few[0]), PROMPT + 5);
    /* Taken back, it is as if no draft had been. */
    assert_int_equal(ops->rewind(few[0], PROMPT), LYNX_OK);
    assert_int_equal(ops->step(few[0], tokens[PROMPT]), LYNX_OK);
    assert_true(lx_digest64(ops->logits(few[0], 0), vocabulary * sizeof(float)) == exact);
    assert_true(test_cache_digest(few[0], PROMPT + 1) == cache);
    lynx_engine_destroy(few[0]);
    lynx_engine_destroy(all[0]);
}

static void test_more_tokens_than_room(void **state)
{
    static lynx_token many[MANY];
    lynx_engine *engine;
    lynx_token tokens[PROMPT + STEPS];
    lynx_token token;
    lynx_sampling sampling;
    (void)state;
    if (!model_path())
        skip();
    load(&engine, 1, COMMON);
    const lynx_engine_ops *ops = engine->ops;
    make_tokens(engine, tokens);
    for (uint32_t i = 0; i < MANY; i++)
        many[i] = (lynx_token)(COMMON + 11 * i);
    assert_int_equal(ops->prefill(engine, tokens, PROMPT, NULL, NULL), LYNX_OK);
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t count = MANY - 8000 * i; /* its last ones are others than before */
        assert_int_equal(ops->draft_step(engine, &tokens[PROMPT + i], 1, many, count), LYNX_OK);
        assert_true(ops->logits(engine, 0)[many[count - 1]] > -1e29f);
        assert_true(ops->logits(engine, 0)[COMMON + 1] < -1e29f);
    }
    /* One rare token is allowed and was not looked at. */
    uint8_t allowed[(COMMON + 16) / 8] = {0};
    allowed[(COMMON + 1) / 8] = 1 << ((COMMON + 1) % 8);
    lynx_sampling_init(&sampling);
    sampling.allowed = allowed;
    sampling.allowed_bytes = sizeof(allowed);
    assert_int_equal(ops->sample(engine, 0, &sampling, tokens, PROMPT, PROMPT + 3, &token),
                     LYNX_OK);
    assert_int_equal(token, COMMON + 1);
    sampling.temperature = 1.0f;
    assert_int_equal(ops->sample(engine, 0, &sampling, tokens, PROMPT, PROMPT + 3, &token),
                     LYNX_OK);
    assert_int_equal(token, COMMON + 1);
    /* Foreign numbers are refused, and nothing is lost. */
    many[5] = (lynx_token)ops->model(engine)->vocabulary;
    assert_int_equal(ops->draft_step(engine, tokens, 1, many, MANY), LYNX_ERR_ARGUMENT);
    many[5] = -1;
    assert_int_equal(ops->draft_step(engine, tokens, 1, many, MANY), LYNX_ERR_ARGUMENT);
    assert_int_equal(ops->length(engine), PROMPT + 3);
    lynx_engine_destroy(engine);
}

typedef struct story {
    lynx_engine *engine;
    float *alone; /* [STEPS][vocabulary] */
    lynx_token tokens[PROMPT + STEPS];
} story;

static void *draft_beside(void *user)
{
    story *s = user;
    const lynx_engine_ops *ops = s->engine->ops;
    const uint32_t vocabulary = ops->model(s->engine)->vocabulary;
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < STEPS; i++) {
            const uint32_t at = PROMPT + i;
            CHECK(ops->draft_step(s->engine, &s->tokens[at], 1, s->tokens, at) == LYNX_OK);
            CHECK(ops->length(s->engine) == at + 1);
            const float *got = ops->logits(s->engine, 0);
            const float *want = s->alone + (size_t)i * vocabulary;
            for (uint32_t t = 0; t < COMMON; t++)
                CHECK(fabsf(got[t] - want[t]) < ROUNDING);
            for (uint32_t t = 0; t < at; t++)
                CHECK(fabsf(got[s->tokens[t]] - want[s->tokens[t]]) < ROUNDING);
        }
        CHECK(ops->rewind(s->engine, PROMPT) == LYNX_OK);
    }
    return NULL;
}

static void test_slots(void **state)
{
    static story stories[SLOTS];
    lynx_engine *engines[SLOTS], *all[1];
    pthread_t threads[SLOTS];
    (void)state;
    if (!model_path())
        skip();
    load(all, 1, 0);
    load(engines, SLOTS, COMMON);
    const lynx_engine_ops *ops = all[0]->ops;
    const uint32_t vocabulary = ops->model(all[0])->vocabulary;
    for (uint32_t k = 0; k < SLOTS; k++) {
        story *s = &stories[k];
        float *alone = malloc((size_t)STEPS * vocabulary * sizeof(float));
        assert_non_null(alone);
        for (uint32_t i = 0; i < PROMPT + STEPS; i++)
            s->tokens[i] = token_at(i + 1000 * k, vocabulary);
        assert_int_equal(ops->prefill(all[0], s->tokens, PROMPT, NULL, NULL), LYNX_OK);
        assert_int_equal(ops->prefill(engines[k], s->tokens, PROMPT, NULL, NULL), LYNX_OK);
        for (uint32_t i = 0; i < STEPS; i++) {
            assert_int_equal(ops->draft_step(all[0], &s->tokens[PROMPT + i], 1, NULL, 0),
                             LYNX_OK);
            memcpy(alone + (size_t)i * vocabulary, ops->logits(all[0], 0),
                   vocabulary * sizeof(float));
        }
        s->alone = alone;
        s->engine = engines[k];
    }
    /* All, and two that are no neighbours, which llama.cpp computes in parts. */
    for (uint32_t apart = 1; apart <= 2; apart++) {
        for (uint32_t k = 0; k < SLOTS; k += apart)
            assert_int_equal(pthread_create(&threads[k], NULL, draft_beside, &stories[k]), 0);
        for (uint32_t k = 0; k < SLOTS; k += apart)
            pthread_join(threads[k], NULL);
    }
    for (uint32_t k = 0; k < SLOTS; k++)
        free(stories[k].alone);
    test_engines_destroy(engines, SLOTS, 0);
    lynx_engine_destroy(all[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_more_tokens_than_room),
        cmocka_unit_test(test_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
