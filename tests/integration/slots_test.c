/* SPDX-License-Identifier: MIT */
/* Slots on threads of their own compute what an engine alone computes, bit for bit: tokens,
 * logits and caches, with batches of all sizes, drafts that are taken back, pages written
 * under live sequences, and random cancels beside them. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "lynx/llama.h"
#include "support/cmocka_all.h"
#include "support/gguf_engines.h"
#include "support/gguf_models.h"
#include "support/rng.h"

enum { SLOTS = 4, PROMPT_MAX = 700, ANSWER = 40, HISTORY = PROMPT_MAX + ANSWER, CANCELS = 80 };

static char generated[64];

/* ---- stories ------------------------------------------------------------------------- */

/* What one engine is asked to do, and what came out. */
typedef struct story {
    lynx_engine *engine;
    uint32_t seed, prompt_tokens;
    bool is_short; /* for models that take their time */
    bool by_pages; /* the cache is reserved and written, roughly, then right */
    lynx_sampling sampling;
    const test_pages *source;
    lynx_token history[HISTORY];
    uint64_t logits_digest, digest;
    uint32_t cancels; /* how often a call was cancelled and made again */
} story;

/* Again when another thread cancelled it: nothing of it is there then. */
#define AGAIN(s, call)                                                                         \
    do {                                                                                       \
        const uint32_t before = (s)->engine->ops->length((s)->engine);                         \
        const lynx_status again = (call);                                                      \
        if (again == LYNX_OK)                                                                  \
            break;                                                                             \
        CHECK(again == LYNX_ERR_CANCELLED);                                                    \
        if (before == (s)->engine->ops->length((s)->engine))                                   \
            (s)->cancels++;                                                                    \
    } while (true)

static void add_logits(story *s, uint32_t row)
{
    const lynx_engine_ops *ops = s->engine->ops;
    const float *logits = ops->logits(s->engine, row);
    CHECK(logits);
    const uint64_t chain[2] = {s->logits_digest,
                               lx_digest64(logits,
                                           ops->model(s->engine)->vocabulary * sizeof(float))};
    s->logits_digest = lx_digest64(chain, sizeof(chain));
}

static lynx_token choose(story *s, uint32_t row, uint32_t count)
{
    lynx_token token;
    add_logits(s, row);
    CHECK(s->engine->ops->sample(s->engine, row, &s->sampling, s->history, s->prompt_tokens,
                                 count, &token) == LYNX_OK);
    return token;
}

/* Steps that need not be exact, alone in their batch or beside others. What they give does not
 * count; it is taken back by the caller. */
static void draft(story *s, uint32_t from, uint32_t steps)
{
    const lynx_engine_ops *ops = s->engine->ops;
    for (uint32_t i = 0; i < steps; i++) {
        const uint32_t length = ops->length(s->engine);
        const uint32_t count = 1 + (s->seed + i) % 2;
        AGAIN(s,
              ops->draft_step(s->engine, s->history + from + i, count, s->history, from + i));
        const uint32_t more = ops->length(s->engine) - length;
        CHECK(more >= 1 && more <= count);
        CHECK(ops->logits(s->engine, more - 1) && !ops->logits(s->engine, more));
    }
}

/* The last prompt token is left out: the first step computes it. */
static void fill_cache(story *s)
{
    const lynx_engine_ops *ops = s->engine->ops;
    const uint32_t count = s->prompt_tokens - 1;
    if (!s->by_pages) {
        AGAIN(s, ops->prefill(s->engine, s->history, count, NULL, NULL));
        return;
    }
    test_pages p = *s->source;
    CHECK(ops->reserve(s->engine, count) == LYNX_OK);
    test_pages_move(s->engine, count, TEST_WRITE_ROUGHLY, &p);
    for (uint32_t i = 0; i < 5; i++) {
        draft(s, i, 1);
        if (i == 2)
            test_pages_move(s->engine, count, TEST_WRITE, &p);
    }
    CHECK(ops->rewind(s->engine, count) == LYNX_OK);
    test_pages_move(s->engine, count, TEST_WRITE, &p);
}

/* The answer again by batches of the given size, of which logits are asked for from some row
 * on: the same tokens. */
static void verify(story *s, uint32_t size)
{
    const lynx_engine_ops *ops = s->engine->ops;
    uint32_t at = s->prompt_tokens - 1;
    const uint32_t end = s->prompt_tokens - 1 + ANSWER;
    CHECK(ops->rewind(s->engine, at) == LYNX_OK);
    draft(s, at, 3);
    CHECK(ops->rewind(s->engine, at) == LYNX_OK);
    while (at < end) {
        const uint32_t count = size < end - at ? size : end - at;
        const uint32_t first = (at + s->seed) % (count + 1);
        AGAIN(s, ops->batch(s->engine, s->history + at, count, first));
        CHECK(first < 2 || count < 4 || !ops->logits(s->engine, 0));
        for (uint32_t row = first; row < count; row++)
            CHECK(choose(s, row, at + row + 1) == s->history[at + row + 1]);
        CHECK(!ops->logits(s->engine, count));
        at += count;
    }
}

static void *tell(void *user)
{
    story *s = user;
    static const uint32_t sizes[] = {1, 2, 3, 5, 17, 33, 40};
    const lynx_engine_ops *ops = s->engine->ops;
    fill_cache(s);
    for (uint32_t i = 0; i < ANSWER; i++) {
        const uint32_t at = s->prompt_tokens + i;
        AGAIN(s, ops->step(s->engine, s->history[at - 1]));
        s->history[at] = choose(s, 0, at);
        CHECK(!ops->logits(s->engine, 1));
    }
    const uint32_t count = sizeof(sizes) / sizeof(*sizes);
    for (uint32_t i = 0; i < (s->is_short ? 2 : count); i++)
        verify(s, sizes[(i + s->seed) % count]);
    CHECK(ops->length(s->engine) == s->prompt_tokens - 1 + ANSWER);
    /* Behind blobs only the prompt has pages. */
    const bool has_all = ops->model(s->engine)->can_refine;
    s->digest = test_cache_digest(s->engine, s->prompt_tokens - 1 + (has_all ? ANSWER : 0));
    return NULL;
}

static void story_init(story *s, uint32_t seed, uint32_t vocabulary)
{
    test_rng rng = test_rng_of(seed);
    *s = (story){.seed = seed, .is_short = vocabulary > 1000};
    const uint32_t most = s->is_short ? 300 : PROMPT_MAX;
    const uint32_t least = seed % 2 ? 40 : most - 40;
    s->prompt_tokens = least + (uint32_t)test_rng_below(&rng, seed % 2 ? 60 : most - least);
    for (uint32_t i = 0; i < s->prompt_tokens; i++)
        s->history[i] = (lynx_token)(3 + test_rng_below(&rng, vocabulary - 3));
    lynx_sampling_init(&s->sampling);
    if (seed % 3 == 1) {
        s->sampling.temperature = 0.8f;
        s->sampling.top_k = 40;
        s->sampling.seed = seed;
    }
}

/* What a lone engine makes of each story, and the cache of its prompt. */
static void tell_alone(story want[SLOTS], test_pages caches[SLOTS], lynx_engine *alone,
                       uint32_t seed)
{
    const uint32_t vocabulary = alone->ops->model(alone)->vocabulary;
    for (uint32_t i = 0; i < SLOTS; i++) {
        story_init(&want[i], seed + i, vocabulary);
        want[i].engine = alone;
        caches[i] = (test_pages){0};
        assert_int_equal(alone->ops->prefill(alone, want[i].history, want[i].prompt_tokens - 1,
                                             NULL, NULL),
                         LYNX_OK);
        test_pages_move(alone, want[i].prompt_tokens - 1, TEST_READ, &caches[i]);
        (void)tell(&want[i]);
    }
}

typedef struct canceller {
    lynx_engine **engines;
    atomic_bool is_over;
} canceller;

static void *cancel_at_random(void *user)
{
    canceller *c = user;
    test_rng rng = test_rng_of(5);
    /* A bounded number, because a call that is cancelled again and again never ends. */
    for (int i = 0; i < CANCELS && !atomic_load(&c->is_over); i++) {
        lynx_engine *engine = c->engines[test_rng_below(&rng, SLOTS)];
        engine->ops->cancel(engine);
        usleep((useconds_t)test_rng_below(&rng, 20000));
    }
    return NULL;
}

static void compare(const story *got, const story *want)
{
    assert_memory_equal(got->history, want->history, sizeof(got->history));
    assert_true(got->logits_digest == want->logits_digest);
    assert_true(got->digest == want->digest && got->digest != 0);
}

/* All stories at once, one on each slot; odd ones by pages. */
static void tell_beside(lynx_engine *engines[SLOTS], const story want[SLOTS],
                        const test_pages caches[SLOTS], bool is_cancelled)
{
    static story got[SLOTS];
    pthread_t threads[SLOTS];
    pthread_t other;
    canceller c = {.engines = engines};
    for (uint32_t i = 0; i < SLOTS; i++) {
        story_init(&got[i], want[i].seed, engines[i]->ops->model(engines[i])->vocabulary);
        got[i].engine = engines[i];
        got[i].by_pages = i % 2 == 1;
        got[i].source = &caches[i];
        assert_int_equal(pthread_create(&threads[i], NULL, tell, &got[i]), 0);
    }
    if (is_cancelled)
        assert_int_equal(pthread_create(&other, NULL, cancel_at_random, &c), 0);
    for (uint32_t i = 0; i < SLOTS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    atomic_store(&c.is_over, true);
    if (is_cancelled)
        assert_int_equal(pthread_join(other, NULL), 0);
    uint32_t cancels = 0;
    for (uint32_t i = 0; i < SLOTS; i++) {
        compare(&got[i], &want[i]);
        cancels += got[i].cancels;
    }
    assert_true(is_cancelled ? cancels > 0 : cancels == 0);
}

/* On one model: quietly, then perhaps with cancels. */
static void check_model(const char *path, lynx_cache_access access, uint32_t seed,
                        bool is_cancelled)
{
    static story want[SLOTS];
    test_pages caches[SLOTS];
    lynx_engine *alone;
    lynx_engine *engines[SLOTS];
    test_engines_load(&alone, 1, path, access);
    assert_int_equal(alone->ops->model(alone)->exactness, LYNX_EXACT);
    tell_alone(want, caches, alone, seed);
    lynx_engine_destroy(alone);
    test_engines_load(engines, SLOTS, path, access);
    assert_int_equal(engines[0]->ops->model(engines[0])->exactness, LYNX_EXACT);
    tell_beside(engines, want, caches, false);
    if (is_cancelled)
        tell_beside(engines, want, caches, true);
    test_engines_destroy(engines, SLOTS, seed % SLOTS);
    for (uint32_t i = 0; i < SLOTS; i++)
        free(caches[i].bytes);
}

/* ---- tests --------------------------------------------------------------------------- */

static const gguf_shape small = {3, 48, 24, {2, 2, 2}, {2, 1, 2}};

static void generated_models_agree(void **state)
{
    (void)state;
    static const gguf_shape shapes[] = {
        {3, 48, 24, {2, 2, 2}, {2, 1, 2}},
        {4, 80, 40, {4, 2, 2, 4}, {2, 1, 2, 4}},
    };
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(gguf_write_attention(generated, &shapes[i]));
        check_model(generated, LYNX_CACHE_TENSORS, 10 + i, true);
    }
}

static void caches_behind_blobs_agree(void **state)
{
    (void)state;
    assert_true(gguf_write_attention(generated, &small));
    check_model(generated, LYNX_CACHE_BLOB, 21, true);
}

/* One that was downloaded; left out where there is none. */
static void check_real(const char *name, uint32_t seed)
{
    char path[512];
    const char *folder = getenv("LYNX_TEST_MODELS");
    snprintf(path, sizeof(path), "%s/%s", folder ? folder : "", name);
    if (!folder || access(path, R_OK) != 0)
        skip();
    check_model(path, LYNX_CACHE_TENSORS, seed, false);
}

static void smollm2_f16_agrees(void **state)
{
    (void)state;
    check_real("smollm2-135m-f16.gguf", 31);
}

static void smollm2_q8_agrees(void **state)
{
    (void)state;
    check_real("smollm2-135m-q8_0.gguf", 42);
}

static void gemma3_agrees(void **state)
{
    (void)state;
    check_real("gemma3-270m-f16.gguf", 53);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generated_models_agree), cmocka_unit_test(caches_behind_blobs_agree),
        cmocka_unit_test(smollm2_f16_agrees),     cmocka_unit_test(smollm2_q8_agrees),
        cmocka_unit_test(gemma3_agrees),
    };
    snprintf(generated, sizeof(generated), "/tmp/lynx-slots-%d.gguf", (int)getpid());
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)remove(generated);
    return failed;
}
