/* SPDX-License-Identifier: MIT */
/*
 * guess_models_test.c - the second row of a step with a guess is, bit for bit, the row of the
 * next step without: logits at each of many positions of a text, behind right and wrong
 * guesses, and the cache at the end. Drafts that are made before, by steps of one token, and
 * taken back leave no trace. On models, with one slot and with two. LYNX_FULL=1: at 400
 * positions and in all weights that are there.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "lynx/llama.h"
#include "support/cmocka_all.h"
#include "support/gguf_engines.h"
#include "support/rng.h"

enum { PROMPT = 260, POSITIONS_MAX = 400, TOKENS_MAX = PROMPT + POSITIONS_MAX + 1 };

static bool is_full(void)
{
    const char *full = getenv("LYNX_FULL");
    return full && strcmp(full, "1") == 0;
}

static uint32_t read_text(lynx_engine *engine, lynx_token tokens[TOKENS_MAX])
{
    static char text[9000];
    static lynx_token all[9000];
    size_t count = 0;
    FILE *file = fopen(LYNX_SOURCE_DIR "/docs/algorithm.md", "rb");
    assert_non_null(file);
    const size_t size = fread(text, 1, sizeof(text), file);
    fclose(file);
    assert_int_equal(engine->ops->tokenize(engine, text, size, true, false, all, 9000, &count),
                     LYNX_OK);
    assert_true(count >= TOKENS_MAX);
    memcpy(tokens, all, TOKENS_MAX * sizeof(*all));
    return (uint32_t)count;
}

static uint64_t row_digest(lynx_engine *engine, uint32_t row)
{
    const float *logits = engine->ops->logits(engine, row);
    assert_non_null(logits);
    return lx_digest64(logits, engine->ops->model(engine)->vocabulary * sizeof(*logits));
}

static void begin(lynx_engine *engine, const lynx_token *tokens)
{
    assert_int_equal(engine->ops->prefill(engine, tokens, PROMPT, NULL, NULL), LYNX_OK);
}

/* Each position by a step of its own. */
static uint64_t by_steps(lynx_engine *engine, const lynx_token *tokens, uint32_t positions,
                         uint64_t *digests)
{
    begin(engine, tokens);
    for (uint32_t i = 0; i < positions; i++) {
        assert_int_equal(engine->ops->step(engine, tokens[PROMPT + i]), LYNX_OK);
        digests[i] = row_digest(engine, 0);
    }
    return test_cache_digest(engine, PROMPT + positions);
}

/* A draft or two at position 'at', and back; whether the first row has other bits than
 * 'exact'. */
static bool draft(lynx_engine *engine, const lynx_token *tokens, uint32_t at, uint64_t exact,
                  uint32_t count)
{
    bool is_other = false;
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(engine->ops->draft_step(engine, tokens + at + i, 2, tokens, at + i),
                         LYNX_OK);
        assert_int_equal(engine->ops->length(engine), at + i + 1); /* nothing is beside it */
        is_other = is_other || (i == 0 && row_digest(engine, 0) != exact);
    }
    assert_int_equal(engine->ops->rewind(engine, at), LYNX_OK);
    return is_other;
}

/* With guesses, of which some are wrong: the tail is taken back then. Rows that came second. */
static uint32_t by_guesses(lynx_engine *engine, const lynx_token *tokens, uint32_t positions,
                           const uint64_t *want, uint64_t *digests, uint64_t *cache)
{
    const uint32_t vocabulary = engine->ops->model(engine)->vocabulary;
    test_rng rng = test_rng_of(3);
    uint32_t second = 0;
    uint32_t others = 0; /* drafts that rounded in another way */
    begin(engine, tokens);
    for (uint32_t i = 0; i < positions; i++) {
        const bool is_right = i + 1 < positions && test_rng_below(&rng, 2);
        const lynx_token next = tokens[PROMPT + i + 1];
        const lynx_token wrong =
            (next + 1 + (lynx_token)test_rng_below(&rng, 1000)) % (lynx_token)vocabulary;
        const lynx_token pair[2] = {tokens[PROMPT + i], is_right ? next : wrong};
        if (i + 2 < positions && i % 3 == 0)
            others += draft(engine, tokens, PROMPT + i, want[i], 1 + i % 2);
        assert_int_equal(engine->ops->batch(engine, pair, 2, 0), LYNX_OK);
        digests[i] = row_digest(engine, 0);
        if (is_right) {
            digests[++i] = row_digest(engine, 1);
            second++;
        } else {
            assert_int_equal(engine->ops->rewind(engine, PROMPT + i + 1), LYNX_OK);
        }
    }
    *cache = test_cache_digest(engine, PROMPT + positions);
    print_message("%u drafts had other bits\n", others);
    return second;
}

static void check_slots(const char *path, uint32_t slots, uint32_t positions)
{
    static lynx_token tokens[TOKENS_MAX];
    static uint64_t want[POSITIONS_MAX], got[POSITIONS_MAX];
    char text[512];
    lynx_llama_options options;
    lynx_engine *engines[2];
    uint64_t cache = 0;
    lynx_llama_options_init(&options);
    options.model_path = path;
    options.context_tokens = 1536;
    if (lynx_llama_create_slots(engines, slots, &options, text, sizeof(text)) != LYNX_OK)
        fail_msg("%s", text);
    const lynx_model *model = engines[0]->ops->model(engines[0]);
    assert_int_equal(model->exactness, LYNX_EXACT);
    assert_int_equal(model->step_tokens, 2);
    assert_true(model->draft_step_ns > 0);
    (void)read_text(engines[0], tokens);
    const uint64_t want_cache = by_steps(engines[0], tokens, positions, want);
    const uint32_t second =
        by_guesses(engines[slots - 1], tokens, positions, want, got, &cache);
    print_message("%s, %u slots: %u positions, %u of them second rows\n", model->name, slots,
                  positions, second);
    assert_true(second > positions / 4);
    assert_memory_equal(got, want, positions * sizeof(*want));
    assert_true(cache == want_cache);
    for (uint32_t i = 0; i < slots; i++)
        lynx_engine_destroy(engines[i]);
}

static void check_model(const char *name, bool is_seldom)
{
    const char *folder = getenv("LYNX_TEST_MODELS");
    char path[600];
    snprintf(path, sizeof(path), "%s/%s", folder ? folder : ".", name);
    if (access(path, R_OK) != 0 || (is_seldom && !is_full()))
        skip();
    for (uint32_t slots = 1; slots <= 2; slots++)
        check_slots(path, slots, is_full() ? POSITIONS_MAX : 60);
}

static void test_llama(void **state)
{
    (void)state;
    check_model("smollm2-135m-q8_0.gguf", false);
}

static void test_llama_half(void **state)
{
    (void)state;
    check_model("smollm2-135m-f16.gguf", true);
}

static void test_llama_four_bits(void **state)
{
    (void)state;
    check_model("smollm2-135m-q4_1.gguf", true);
}

/* Most of its layers have a sliding window. */
static void test_gemma(void **state)
{
    (void)state;
    check_model("gemma3-270m-f16.gguf", false);
}

static void test_gemma_four_bits(void **state)
{
    (void)state;
    check_model("gemma3-270m-q4_k_m.gguf", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),           cmocka_unit_test(test_llama_half),
        cmocka_unit_test(test_llama_four_bits), cmocka_unit_test(test_gemma),
        cmocka_unit_test(test_gemma_four_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
