/* SPDX-License-Identifier: MIT */
/* Attention outputs as llama.cpp hands them on: every layer, every token, nothing else changed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lynx/llama.h"
#include "support/cmocka_all.h"
#include "support/gguf_engines.h"
#include "support/gguf_models.h"

enum { LAYERS = 3, TOKENS = 20, CHANNELS_MAX = 64 };

static char path[64];

typedef struct seen {
    uint32_t calls[LAYERS], tokens[LAYERS], channels[LAYERS];
    float last[LAYERS][CHANNELS_MAX]; /* of the last token */
} seen;

static void see(void *user, uint32_t layer, const float *values, uint32_t channels,
                uint32_t tokens)
{
    seen *s = user;
    CHECK(layer < LAYERS && channels <= CHANNELS_MAX);
    s->calls[layer]++;
    s->tokens[layer] += tokens;
    s->channels[layer] = channels;
    memcpy(s->last[layer], values + (size_t)(tokens - 1) * channels, channels * sizeof(float));
}

static void outputs_of_every_layer_are_seen(void **state)
{
    (void)state;
    /* Heads differ by layer. */
    static const gguf_shape shape = {LAYERS, 48, 16, {3, 2, 4}, {1, 2, 2}};
    lynx_engine *engine = NULL;
    lynx_token tokens[TOKENS];
    seen s = {{0}, {0}, {0}, {{0}}};
    assert_true(gguf_write_attention(path, &shape));
    test_engines_load(&engine, 1, path, LYNX_CACHE_AUTO);
    const lynx_engine_ops *ops = engine->ops;
    const uint32_t vocabulary = ops->model(engine)->vocabulary;
    float *before = malloc(vocabulary * sizeof(*before));
    for (uint32_t i = 0; i < TOKENS; i++)
        tokens[i] = (lynx_token)((i * 7 + 3) % vocabulary);
    assert_non_null(before);
    assert_int_equal(ops->prefill(engine, tokens, TOKENS, NULL, NULL), LYNX_OK);
    assert_int_equal(ops->batch(engine, tokens, 5, 0), LYNX_OK);
    memcpy(before, ops->logits(engine, 4), vocabulary * sizeof(*before));
    assert_int_equal(ops->rewind(engine, TOKENS), LYNX_OK);

    assert_int_equal(lynx_llama_watch_attention(engine, see, &s), LYNX_OK);
    assert_int_equal(ops->batch(engine, tokens, 5, 0), LYNX_OK);
    assert_memory_equal(before, ops->logits(engine, 4), vocabulary * sizeof(*before));
    for (uint32_t layer = 0; layer < LAYERS; layer++) {
        float sum = 0;
        assert_int_equal(s.calls[layer], 1);
        assert_int_equal(s.tokens[layer], 5);
        assert_int_equal(s.channels[layer], shape.heads[layer] * shape.head_size);
        for (uint32_t c = 0; c < s.channels[layer]; c++)
            sum += s.last[layer][c] * s.last[layer][c];
        assert_true(sum > 0);
    }
    /* The same tokens on the same cache give the same outputs; a step does, too. */
    const seen first = s;
    assert_int_equal(ops->rewind(engine, TOKENS + 4), LYNX_OK);
    assert_int_equal(ops->step(engine, tokens[4]), LYNX_OK);
    assert_int_equal(s.calls[0], 2);
    assert_int_equal(lynx_llama_watch_attention(engine, NULL, NULL), LYNX_OK);
    assert_int_equal(ops->step(engine, tokens[5]), LYNX_OK);
    assert_int_equal(s.calls[0], 2);
    assert_memory_equal(first.channels, s.channels, sizeof(s.channels));
    free(before);
    lynx_engine_destroy(engine);
}

static void slots_cannot_be_watched(void **state)
{
    (void)state;
    static const gguf_shape shape = {1, 32, 16, {2}, {1}};
    lynx_engine *engines[2];
    assert_true(gguf_write_attention(path, &shape));
    test_engines_load(engines, 2, path, LYNX_CACHE_AUTO);
    seen s;
    assert_int_equal(lynx_llama_watch_attention(engines[0], see, &s), LYNX_ERR_ARGUMENT);
    test_engines_destroy(engines, 2, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_of_every_layer_are_seen),
        cmocka_unit_test(slots_cannot_be_watched),
    };
    snprintf(path, sizeof(path), "/tmp/lynx-watch-%d.gguf", (int)getpid());
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)remove(path);
    return failed;
}
