/* SPDX-License-Identifier: MIT */
/* Slots on threads of their own compute what an engine alone computes, bit for bit: tokens,
 * logits and caches, with batches of all sizes, pages written under live sequences, cancels and
 * failing batches beside them. */
#include <dlfcn.h>
#include <llama.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "lynx/llama.h"
#include "lynx/status.h"
#include "support/cmocka_all.h"
#include "support/failing_allocator.h"
#include "support/gguf_models.h"
#include "support/rng.h"

enum {
    SLOTS = 4,
    PROMPT_MAX = 700,
    ANSWER = 40,
    HISTORY = PROMPT_MAX + ANSWER,
    CONTEXT = 1024,
    TEXT_BYTES = 512,
    CANCELS = 80
};

static char generated[64];

/* ---- llama_decode that fails, or is slow to begin ------------------------------------ */

/* A batch with this token (not a token that any story has) gets -3 after half of it was
 * computed by another name: nothing of it. -1: none. */
static atomic_int poison = -1;
static atomic_uint most_sequences; /* in one batch */
static atomic_bool is_held;        /* batches wait */
static atomic_uint held;           /* batches that do */

int32_t llama_decode(struct llama_context *context, struct llama_batch batch)
{
    static int32_t (*real)(struct llama_context *, struct llama_batch);
    if (!real)
        *(void **)(&real) = dlsym(RTLD_NEXT, "llama_decode");
    unsigned sequences = 1;
    atomic_fetch_add(&held, 1);
    while (atomic_load(&is_held))
        usleep(1000);
    atomic_fetch_sub(&held, 1);
    for (int32_t i = 1; i < batch.n_tokens; i++)
        sequences += batch.seq_id[i][0] != batch.seq_id[i - 1][0];
    if (sequences > atomic_load(&most_sequences))
        atomic_store(&most_sequences, sequences);
    for (int32_t i = 0; i < batch.n_tokens; i++)
        if (batch.token[i] == atomic_load(&poison)) {
            /* As if a part of the batch had been computed. */
            batch.n_tokens /= 2;
            return batch.n_tokens && real(context, batch) != 0 ? -4 : -3;
        }
    return real(context, batch);
}

/* ---- engines ------------------------------------------------------------------------- */

static void options_of(lynx_llama_options *options, const char *path, lynx_cache_access access)
{
    lynx_llama_options_init(options);
    options->model_path = path;
    options->context_tokens = CONTEXT;
    options->threads = 1;
    options->cache_access = access;
}

static void load(lynx_engine *engines[], uint32_t count, const char *path,
                 lynx_cache_access access)
{
    char text[TEXT_BYTES] = "";
    lynx_llama_options options;
    options_of(&options, path, access);
    const lynx_status status =
        lynx_llama_create_slots(engines, count, &options, text, sizeof(text));
    assert_string_equal(text, "");
    assert_int_equal(status, LYNX_OK);
}

/* Asserts of threads: cmocka's are for its own. */
#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                    \
            abort();                                                                           \
        }                                                                                      \
    } while (0)

/* ---- caches -------------------------------------------------------------------------- */

/* Every page of a prompt's cache, token-major, one after the other. */
typedef struct pages {
    uint8_t *bytes;
    size_t size;
} pages;

typedef enum { READ, WRITE, WRITE_ROUGHLY } direction;

static void move_page(lynx_engine *engine, lynx_page_id id, uint32_t tokens, direction way,
                      uint8_t **at)
{
    const lynx_shape *shape = &engine->ops->model(engine)->shape;
    const lynx_page_span span = lynx_page_span_of(shape, id, tokens);
    const uint32_t channels = shape->layers[id.layer].sides[id.side].channels;
    const size_t bytes = lynx_element_bytes(shape->element);
    lynx_tile tile;
    CHECK(engine->ops->map_page(engine, id, tokens, way != READ, &tile) == LYNX_OK);
    for (uint32_t t = 0; t < span.token_count; t++)
        for (uint32_t c = 0; c < channels; c++, *at += bytes) {
            uint8_t *cell = (uint8_t *)tile.data + t * tile.token_stride_bytes +
                            c * tile.channel_stride_bytes;
            memcpy(way == READ ? *at : cell, way == READ ? cell : *at, bytes);
            if (way == WRITE_ROUGHLY)
                cell[0] ^= 0x55; /* low bits of the fraction */
        }
    CHECK(engine->ops->unmap_page(engine) == LYNX_OK);
}

static void move_pages(lynx_engine *engine, uint32_t tokens, direction way, pages *p)
{
    const lynx_shape *shape = &engine->ops->model(engine)->shape;
    if (!p->bytes) {
        p->size = lynx_shape_cache_bytes(shape, tokens);
        p->bytes = malloc(p->size);
        CHECK(p->bytes);
    }
    uint8_t *at = p->bytes;
    const uint32_t count = lynx_shape_page_count(shape, tokens);
    for (uint16_t layer = 0; layer < shape->layer_count; layer++)
        for (uint8_t side = 0; side < 2; side++)
            for (uint32_t page = 0; page < count; page++) {
                const lynx_page_id id = {page, layer, side};
                if (lynx_page_is_needed(shape, id, tokens))
                    move_page(engine, id, tokens, way, &at);
            }
    CHECK(at == p->bytes + p->size);
    if (way != READ)
        CHECK(engine->ops->commit_pages(engine) == LYNX_OK);
}

static uint64_t cache_digest(lynx_engine *engine, uint32_t tokens)
{
    pages p = {0};
    move_pages(engine, tokens, READ, &p);
    const uint64_t digest = lx_digest64(p.bytes, p.size);
    free(p.bytes);
    return digest;
}

/* ---- stories ------------------------------------------------------------------------- */

/* What one engine is asked to do, and what came out. */
typedef struct story {
    lynx_engine *engine;
    uint32_t seed, prompt_tokens;
    bool is_short; /* for models that take their time */
    bool by_pages; /* the cache is reserved and written, roughly, then right */
    lynx_sampling sampling;
    const pages *source;
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
    CHECK(s->engine->ops->sample(s->engine, row, &s->sampling, s->history, count, &token) ==
          LYNX_OK);
    return token;
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
    pages p = *s->source;
    CHECK(ops->reserve(s->engine, count) == LYNX_OK);
    move_pages(s->engine, count, WRITE_ROUGHLY, &p);
    for (uint32_t i = 0; i < 5; i++) { /* drafts that do not count */
        AGAIN(s, ops->step(s->engine, s->history[count - 1 - i]));
        if (i == 2)
            move_pages(s->engine, count, WRITE, &p);
    }
    CHECK(ops->rewind(s->engine, count) == LYNX_OK);
    move_pages(s->engine, count, WRITE, &p);
}

/* The answer again by batches of the given size: the same tokens. */
static void verify(story *s, uint32_t size)
{
    const lynx_engine_ops *ops = s->engine->ops;
    uint32_t at = s->prompt_tokens - 1;
    const uint32_t end = s->prompt_tokens - 1 + ANSWER;
    CHECK(ops->rewind(s->engine, at) == LYNX_OK);
    while (at < end) {
        const uint32_t count = size < end - at ? size : end - at;
        AGAIN(s, ops->batch(s->engine, s->history + at, count));
        for (uint32_t row = 0; row < count; row++)
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
    s->digest = cache_digest(s->engine, s->prompt_tokens - 1 + (has_all ? ANSWER : 0));
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
static void tell_alone(story want[SLOTS], pages caches[SLOTS], lynx_engine *alone,
                       uint32_t seed)
{
    const uint32_t vocabulary = alone->ops->model(alone)->vocabulary;
    for (uint32_t i = 0; i < SLOTS; i++) {
        story_init(&want[i], seed + i, vocabulary);
        want[i].engine = alone;
        caches[i] = (pages){0};
        assert_int_equal(alone->ops->prefill(alone, want[i].history, want[i].prompt_tokens - 1,
                                             NULL, NULL),
                         LYNX_OK);
        move_pages(alone, want[i].prompt_tokens - 1, READ, &caches[i]);
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
                        const pages caches[SLOTS], bool is_cancelled)
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

static void destroy_all(lynx_engine *engines[], uint32_t count, uint32_t first)
{
    for (uint32_t i = 0; i < count; i++)
        lynx_engine_destroy(engines[(first + i) % count]);
}

/* On one model: quietly, then perhaps with cancels. */
static void check_model(const char *path, lynx_cache_access access, uint32_t seed,
                        bool is_cancelled)
{
    static story want[SLOTS];
    pages caches[SLOTS];
    lynx_engine *alone;
    lynx_engine *engines[SLOTS];
    load(&alone, 1, path, access);
    assert_int_equal(alone->ops->model(alone)->exactness, LYNX_EXACT);
    tell_alone(want, caches, alone, seed);
    lynx_engine_destroy(alone);
    load(engines, SLOTS, path, access);
    assert_int_equal(engines[0]->ops->model(engines[0])->exactness, LYNX_EXACT);
    atomic_store(&most_sequences, 0);
    tell_beside(engines, want, caches, false);
    assert_true(atomic_load(&most_sequences) > 1);
    if (is_cancelled)
        tell_beside(engines, want, caches, true);
    destroy_all(engines, SLOTS, seed % SLOTS);
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

/* A job of one slot while the test holds the batch before it. */
typedef struct held_call {
    lynx_engine *engine;
    lynx_token tokens[2];
    uint32_t count;
    lynx_status status;
    pthread_t thread;
} held_call;

static void *call_batch(void *user)
{
    held_call *call = user;
    call->status = call->engine->ops->batch(call->engine, call->tokens, call->count);
    return NULL;
}

static void hold(void)
{
    atomic_store(&is_held, true);
}

static void await_held(void)
{
    while (atomic_load(&held) == 0)
        usleep(1000);
}

/* Slot 0 computes while slots 1 to 3 come; then all three are in one batch. */
static void begin_calls(lynx_engine *engines[SLOTS], held_call calls[SLOTS])
{
    hold();
    for (uint32_t i = 0; i < SLOTS; i++) {
        calls[i] = (held_call){.engine = engines[i], .tokens = {5 + (int)i, 9}, .count = 2};
        assert_int_equal(pthread_create(&calls[i].thread, NULL, call_batch, &calls[i]), 0);
        if (i == 0)
            await_held();
    }
    usleep(100000);
}

static void end_calls(held_call calls[SLOTS])
{
    atomic_store(&is_held, false);
    for (uint32_t i = 0; i < SLOTS; i++)
        assert_int_equal(pthread_join(calls[i].thread, NULL), 0);
}

static void prefill_all(lynx_engine *engines[SLOTS])
{
    static const lynx_token prompt[] = {3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    for (uint32_t i = 0; i < SLOTS; i++)
        assert_int_equal(engines[i]->ops->prefill(engines[i], prompt, 10, NULL, NULL), LYNX_OK);
}

/* The tokens of a failing batch that are not to blame are computed without it. */
static void a_failing_batch_is_the_fault_of_one(void **state)
{
    (void)state;
    lynx_engine *engines[SLOTS];
    held_call calls[SLOTS];
    uint64_t digests[SLOTS];
    assert_true(gguf_write_attention(generated, &small));
    load(engines, SLOTS, generated, LYNX_CACHE_TENSORS);
    prefill_all(engines);
    const uint64_t prompt = cache_digest(engines[0], 10);
    atomic_store(&most_sequences, 0);
    begin_calls(engines, calls);
    end_calls(calls);
    assert_int_equal(atomic_load(&most_sequences), 3);
    for (uint32_t i = 0; i < SLOTS; i++) {
        assert_int_equal(calls[i].status, LYNX_OK);
        digests[i] = cache_digest(engines[i], 12);
    }
    prefill_all(engines);
    atomic_store(&poison, 5 + 2); /* the token of slot 2 */
    begin_calls(engines, calls);
    end_calls(calls);
    atomic_store(&poison, -1);
    for (uint32_t i = 0; i < SLOTS; i++) {
        const bool is_bad = i == 2;
        assert_int_equal(calls[i].status, is_bad ? LYNX_ERR_ENGINE : LYNX_OK);
        assert_int_equal(engines[i]->ops->length(engines[i]), is_bad ? 10 : 12);
        assert_true(cache_digest(engines[i], is_bad ? 10 : 12) ==
                    (is_bad ? prompt : digests[i]));
    }
    assert_non_null(strstr(engines[2]->ops->error_text(engines[2]), "decode"));
    /* The slot goes on where it was. */
    assert_int_equal(engines[2]->ops->batch(engines[2], calls[2].tokens, 2), LYNX_OK);
    assert_true(cache_digest(engines[2], 12) == digests[2]);
    destroy_all(engines, SLOTS, 2);
}

/* One that waits ends at once, one that runs at the end of its batch; the others do not see it.
 */
static void a_cancel_is_its_own_alone(void **state)
{
    (void)state;
    lynx_engine *engines[SLOTS];
    held_call calls[SLOTS];
    assert_true(gguf_write_attention(generated, &small));
    load(engines, SLOTS, generated, LYNX_CACHE_TENSORS);
    prefill_all(engines);
    begin_calls(engines, calls);
    engines[0]->ops->cancel(engines[0]);
    engines[3]->ops->cancel(engines[3]);
    assert_int_equal(pthread_join(calls[3].thread, NULL), 0); /* while slot 0 computes */
    assert_int_equal(calls[3].status, LYNX_ERR_CANCELLED);
    atomic_store(&is_held, false);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(pthread_join(calls[i].thread, NULL), 0);
    for (uint32_t i = 0; i < SLOTS; i++) {
        const bool is_cancelled = i == 0 || i == 3;
        assert_int_equal(calls[i].status, is_cancelled ? LYNX_ERR_CANCELLED : LYNX_OK);
        assert_int_equal(engines[i]->ops->length(engines[i]), is_cancelled ? 10 : 12);
    }
    for (uint32_t i = 0; i < SLOTS; i++)
        assert_int_equal(engines[i]->ops->step(engines[i], 4), LYNX_OK);
    destroy_all(engines, SLOTS, 1);
}

/* The others go on; the last one frees the model. */
static void slots_end_in_any_order(void **state)
{
    (void)state;
    static const uint32_t counts[] = {2, 3, LYNX_LLAMA_SLOTS_MAX};
    lynx_engine *engines[LYNX_LLAMA_SLOTS_MAX];
    assert_true(gguf_write_attention(generated, &small));
    for (uint32_t n = 0; n < 3; n++) {
        test_rng rng = test_rng_of(n);
        uint32_t left = counts[n];
        load(engines, left, generated, LYNX_CACHE_TENSORS);
        while (left > 0) {
            const uint32_t gone = (uint32_t)test_rng_below(&rng, left);
            lynx_engine_destroy(engines[gone]);
            engines[gone] = engines[--left];
            for (uint32_t i = 0; i < left; i++)
                assert_int_equal(engines[i]->ops->step(engines[i], 7), LYNX_OK);
        }
    }
}

static void limits_are_those_of_a_slot(void **state)
{
    (void)state;
    lynx_engine *engines[2];
    lynx_token tokens[CONTEXT];
    assert_true(gguf_write_attention(generated, &small));
    load(engines, 2, generated, LYNX_CACHE_TENSORS);
    const lynx_model *model = engines[0]->ops->model(engines[0]);
    assert_int_equal(model->context_tokens, CONTEXT);
    assert_int_equal(model->batch_tokens, 62);
    assert_non_null(strstr(lynx_llama_probe_report(engines[1]), "2 of 2 in one batch"));
    for (uint32_t i = 0; i < CONTEXT; i++)
        tokens[i] = (lynx_token)(i % 300);
    for (uint32_t i = 0; i < 2; i++) {
        const lynx_engine_ops *ops = engines[i]->ops;
        assert_int_equal(ops->prefill(engines[i], tokens, CONTEXT - 63, NULL, NULL), LYNX_OK);
        assert_int_equal(ops->batch(engines[i], tokens, 63), LYNX_ERR_ARGUMENT);
        assert_int_equal(ops->batch(engines[i], tokens, 62), LYNX_OK);
        assert_int_equal(ops->step(engines[i], 1), LYNX_OK); /* its dummy has a cell too */
        assert_int_equal(ops->step(engines[i], 1), LYNX_ERR_LIMIT);
        assert_non_null(strstr(ops->error_text(engines[i]), "full"));
        assert_int_equal(ops->batch(engines[i], (const lynx_token[]){-1}, 1), LYNX_ERR_LIMIT);
        assert_int_equal(ops->rewind(engines[i], CONTEXT - 3), LYNX_OK);
        assert_int_equal(ops->step(engines[i], -1), LYNX_ERR_ARGUMENT);
        assert_int_equal(ops->batch(engines[i], tokens, 3), LYNX_OK);
    }
    destroy_all(engines, 2, 0);
}

static void wrong_counts_and_failing_memory_leave_nothing(void **state)
{
    (void)state;
    char text[TEXT_BYTES];
    lynx_engine *engines[3] = {NULL};
    lynx_llama_options options;
    test_allocator memory;
    assert_true(gguf_write_attention(generated, &small));
    options_of(&options, generated, LYNX_CACHE_TENSORS);
    assert_int_equal(lynx_llama_create_slots(engines, 0, &options, text, sizeof(text)),
                     LYNX_ERR_ARGUMENT);
    assert_non_null(strstr(text, "slots"));
    assert_int_equal(lynx_llama_create_slots(engines, LYNX_LLAMA_SLOTS_MAX + 1, &options, text,
                                             sizeof(text)),
                     LYNX_ERR_ARGUMENT);
    uint64_t calls = UINT64_MAX;
    for (uint64_t n = 1; n <= calls; n++) {
        test_allocator_init(&memory);
        options.memory = &memory.allocator;
        memory.fail_at = n;
        text[0] = '\0';
        const lynx_status status =
            lynx_llama_create_slots(engines, 3, &options, text, sizeof(text));
        if (status == LYNX_OK) {
            calls = memory.calls;
            assert_true(n > calls);
            destroy_all(engines, 3, (uint32_t)(n % 3));
        } else {
            assert_true(lynx_failed(status) && text[0] != '\0');
            assert_null(engines[0]);
        }
        assert_int_equal(memory.live_blocks, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generated_models_agree),
        cmocka_unit_test(caches_behind_blobs_agree),
        cmocka_unit_test(a_failing_batch_is_the_fault_of_one),
        cmocka_unit_test(a_cancel_is_its_own_alone),
        cmocka_unit_test(slots_end_in_any_order),
        cmocka_unit_test(limits_are_those_of_a_slot),
        cmocka_unit_test(wrong_counts_and_failing_memory_leave_nothing),
        cmocka_unit_test(smollm2_f16_agrees),
        cmocka_unit_test(smollm2_q8_agrees),
        cmocka_unit_test(gemma3_agrees),
    };
    snprintf(generated, sizeof(generated), "/tmp/lynx-slots-%d.gguf", (int)getpid());
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)remove(generated);
    return failed;
}
