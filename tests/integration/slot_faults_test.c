/* SPDX-License-Identifier: MIT */
/* Slots of which one is cancelled, fails or ends: the others do not see it. */
#include <dlfcn.h>
#include <llama.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lynx/status.h"
#include "support/cmocka_all.h"
#include "support/failing_allocator.h"
#include "support/gguf_engines.h"
#include "support/gguf_models.h"
#include "support/rng.h"

enum { SLOTS = 4 };

static char generated[64];
static const gguf_shape small = {3, 48, 24, {2, 2, 2}, {2, 1, 2}};

/* ---- llama_decode that fails, or waits ----------------------------------------------- */

/* A batch with this token fails after half of it was computed. -1: none. */
static atomic_int poison = -1;
static atomic_uint most_sequences; /* in one batch */
static atomic_bool is_held;        /* batches wait */
static atomic_uint held;           /* batches that do */
static atomic_uint decodes;

int32_t llama_decode(struct llama_context *context, struct llama_batch batch)
{
    static int32_t (*real)(struct llama_context *, struct llama_batch);
    if (!real)
        *(void **)(&real) = dlsym(RTLD_NEXT, "llama_decode");
    unsigned sequences = 1;
    atomic_fetch_add(&decodes, 1);
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

/* ---- jobs of several slots ----------------------------------------------------------- */

/* A job of one slot while the test holds the batch before it. */
typedef struct held_call {
    lynx_engine *engine;
    lynx_token tokens[2];
    uint32_t count;
    bool is_draft;
    lynx_status status;
    pthread_t thread;
} held_call;

static void *call_batch(void *user)
{
    held_call *call = user;
    const lynx_engine_ops *ops = call->engine->ops;
    call->status = call->is_draft
                       ? ops->draft_step(call->engine, call->tokens, 1, call->tokens, 2)
                       : ops->batch(call->engine, call->tokens, call->count, 0);
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
    test_engines_load(engines, SLOTS, generated, LYNX_CACHE_TENSORS);
    prefill_all(engines);
    const uint64_t prompt = test_cache_digest(engines[0], 10);
    atomic_store(&most_sequences, 0);
    begin_calls(engines, calls);
    end_calls(calls);
    assert_int_equal(atomic_load(&most_sequences), 3);
    for (uint32_t i = 0; i < SLOTS; i++) {
        assert_int_equal(calls[i].status, LYNX_OK);
        digests[i] = test_cache_digest(engines[i], 12);
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
        assert_true(test_cache_digest(engines[i], is_bad ? 10 : 12) ==
                    (is_bad ? prompt : digests[i]));
    }
    assert_non_null(strstr(engines[2]->ops->error_text(engines[2]), "decode"));
    /* The slot goes on where it was. */
    assert_int_equal(engines[2]->ops->batch(engines[2], calls[2].tokens, 2, 0), LYNX_OK);
    assert_true(test_cache_digest(engines[2], 12) == digests[2]);
    test_engines_destroy(engines, SLOTS, 2);
}

/* Steps of drafts alone are one batch of one token each, also where llama.cpp computes it in
 * parts: slots 0, 2 and 3 are not all neighbours. */
static void drafts_of_several_slots_are_one_batch(void **state)
{
    (void)state;
    enum { VOCABULARY = 320 };
    static float alone[SLOTS][VOCABULARY];
    lynx_engine *engines[SLOTS];
    held_call calls[SLOTS];
    assert_true(gguf_write_attention(generated, &small));
    test_engines_load(engines, SLOTS, generated, LYNX_CACHE_TENSORS);
    const lynx_engine_ops *ops = engines[0]->ops;
    assert_int_equal(ops->model(engines[0])->vocabulary, VOCABULARY);
    assert_non_null(strstr(lynx_llama_probe_report(engines[0]), "of the prompt: yes"));
    prefill_all(engines);
    for (uint32_t i = 0; i < SLOTS; i++) {
        calls[i] = (held_call){.engine = engines[i],
                               .tokens = {5 + (int)i, 9},
                               .count = 2,
                               .is_draft = i != 1};
        (void)call_batch(&calls[i]);
        assert_int_equal(calls[i].status, LYNX_OK);
        memcpy(alone[i], ops->logits(engines[i], 0), sizeof(alone[i]));
        assert_int_equal(ops->rewind(engines[i], 10), LYNX_OK);
    }
    hold();
    for (uint32_t n = 0; n < SLOTS; n++) {
        const uint32_t i = n == 0 ? 1 : n == 1 ? 0 : n;
        assert_int_equal(pthread_create(&calls[i].thread, NULL, call_batch, &calls[i]), 0);
        if (n == 0)
            await_held();
    }
    usleep(100000);
    atomic_store(&decodes, 0);
    end_calls(calls);
    assert_int_equal(atomic_load(&decodes), 1);
    for (uint32_t i = 0; i < SLOTS; i++) {
        assert_int_equal(calls[i].status, LYNX_OK);
        assert_int_equal(ops->length(engines[i]), calls[i].is_draft ? 11 : 12);
        const float *got = ops->logits(engines[i], 0);
        for (uint32_t t = 0; t < VOCABULARY; t++)
            assert_true(fabsf(got[t] - alone[i][t]) < 0.01f);
    }
    test_engines_destroy(engines, SLOTS, 0);
}

/* One that waits ends at once, one that runs at the end of its batch; the others do not see it.
 */
static void a_cancel_is_its_own_alone(void **state)
{
    (void)state;
    lynx_engine *engines[SLOTS];
    held_call calls[SLOTS];
    assert_true(gguf_write_attention(generated, &small));
    test_engines_load(engines, SLOTS, generated, LYNX_CACHE_TENSORS);
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
    test_engines_destroy(engines, SLOTS, 1);
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
        test_engines_load(engines, left, generated, LYNX_CACHE_TENSORS);
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
    lynx_token tokens[TEST_CONTEXT];
    assert_true(gguf_write_attention(generated, &small));
    test_engines_load(engines, 2, generated, LYNX_CACHE_TENSORS);
    const lynx_model *model = engines[0]->ops->model(engines[0]);
    assert_int_equal(model->context_tokens, TEST_CONTEXT);
    assert_int_equal(model->batch_tokens, 62);
    assert_non_null(strstr(lynx_llama_probe_report(engines[1]), "2 of 2 in one batch"));
    for (uint32_t i = 0; i < TEST_CONTEXT; i++)
        tokens[i] = (lynx_token)(i % 300);
    for (uint32_t i = 0; i < 2; i++) {
        const lynx_engine_ops *ops = engines[i]->ops;
        assert_int_equal(ops->prefill(engines[i], tokens, TEST_CONTEXT - 63, NULL, NULL),
                         LYNX_OK);
        assert_int_equal(ops->batch(engines[i], tokens, 63, 0), LYNX_ERR_ARGUMENT);
        assert_int_equal(ops->batch(engines[i], tokens, 62, 0), LYNX_OK);
        assert_int_equal(ops->step(engines[i], 1), LYNX_OK); /* its dummy has a cell too */
        assert_int_equal(ops->step(engines[i], 1), LYNX_ERR_LIMIT);
        assert_non_null(strstr(ops->error_text(engines[i]), "full"));
        assert_int_equal(ops->batch(engines[i], (const lynx_token[]){-1}, 1, 0),
                         LYNX_ERR_LIMIT);
        assert_int_equal(ops->rewind(engines[i], TEST_CONTEXT - 3), LYNX_OK);
        assert_int_equal(ops->step(engines[i], -1), LYNX_ERR_ARGUMENT);
        assert_int_equal(ops->batch(engines[i], tokens, 3, 0), LYNX_OK);
    }
    test_engines_destroy(engines, 2, 0);
}

static void wrong_counts_and_failing_memory_leave_nothing(void **state)
{
    (void)state;
    char text[TEST_TEXT_BYTES];
    lynx_engine *engines[3] = {NULL};
    lynx_llama_options options;
    test_allocator memory;
    assert_true(gguf_write_attention(generated, &small));
    test_engine_options(&options, generated, LYNX_CACHE_TENSORS);
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
            test_engines_destroy(engines, 3, (uint32_t)(n % 3));
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
        cmocka_unit_test(a_failing_batch_is_the_fault_of_one),
        cmocka_unit_test(drafts_of_several_slots_are_one_batch),
        cmocka_unit_test(a_cancel_is_its_own_alone),
        cmocka_unit_test(slots_end_in_any_order),
        cmocka_unit_test(limits_are_those_of_a_slot),
        cmocka_unit_test(wrong_counts_and_failing_memory_leave_nothing),
    };
    snprintf(generated, sizeof(generated), "/tmp/lynx-slot-faults-%d.gguf", (int)getpid());
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)remove(generated);
    return failed;
}
