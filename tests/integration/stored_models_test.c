/* SPDX-License-Identifier: MIT */
/*
 * stored_models_test.c - caches of models kept and loaded again: what a new engine has then is
 * what the codec makes of the cache of one prefill, and it answers the same.
 */
#include <ftw.h>
#include <stdlib.h>
#include <unistd.h>

#include "lynx/keep.h"
#include "lynx/llama.h"
#include "runtime/page_pass.h"
#include "support/cmocka_all.h"

enum { ANSWER = 24, QUESTION_MAX = 64 };

typedef struct bed {
    char folder[64];
    lynx_engine *engine;
    lynx_store *store;
    lynx_codec_spec spec;
    lynx_token *tokens; /* a document, then a question */
    uint32_t document, count;
} bed;

static int remove_one(const char *path, const struct stat *found, int type, struct FTW *walk)
{
    (void)found;
    (void)type;
    (void)walk;
    return remove(path);
}

/* False: the model is not here. */
static bool load(bed *b, const char *model)
{
    const char *folder = getenv("LYNX_TEST_MODELS");
    char path[600], text[LYNX_TEXT_MAX];
    lynx_llama_options options;
    snprintf(path, sizeof(path), "%s/%s", folder ? folder : ".", model);
    if (access(path, R_OK) != 0)
        return false;
    lynx_llama_options_init(&options);
    options.model_path = path;
    options.context_tokens = 4608;
    if (lynx_llama_create(&b->engine, &options, text, sizeof(text)) != LYNX_OK)
        fail_msg("%s", text);
    return true;
}

static uint32_t add_tokens(bed *b, const char *text, size_t size, bool is_first, size_t room)
{
    size_t count = 0;
    assert_int_equal(b->engine->ops->tokenize(b->engine, text, size, is_first, false,
                                              b->tokens + b->count, room, &count),
                     LYNX_OK);
    b->count += (uint32_t)count;
    return (uint32_t)count;
}

static void begin(bed *b)
{
    static const char question[] = "\n\nQuestion: what is a plane?\nAnswer:";
    char *text = malloc(1 << 20);
    FILE *file = fopen(LYNX_SOURCE_DIR "/docs/algorithm.md", "rb");
    lynx_store_options options;
    assert_non_null(text);
    assert_non_null(file);
    const size_t size = fread(text, 1, 9000, file);
    fclose(file);
    strcpy(b->folder, "store-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    b->tokens = calloc(4608, sizeof(*b->tokens));
    assert_non_null(b->tokens);
    b->count = 0;
    b->document = add_tokens(b, text, size, true, 4000);
    /* Elsewhere a segment's page holds more than the window, and has other codes. */
    const lynx_shape *shape = &b->engine->ops->model(b->engine)->shape;
    if (lynx_shape_has_window(shape))
        b->document = b->count -= b->count % shape->page_tokens;
    (void)add_tokens(b, question, strlen(question), false, QUESTION_MAX);
    free(text);
    lynx_store_options_init(&options);
    assert_int_equal(lynx_place_folder(&options.place, b->folder, NULL), LYNX_OK);
    assert_int_equal(lynx_store_create(&b->store, &options), LYNX_OK);
    assert_int_equal(lynx_codec_spec_named(&b->spec, "range"), LYNX_OK);
    b->spec = lynx_codec_spec_storable(b->spec);
}

static void end(bed *b)
{
    lynx_store_destroy(b->store);
    lynx_engine_destroy(b->engine);
    free(b->tokens);
    assert_int_equal(nftw(b->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* Feed the question behind 'from' tokens of the cache, and answer greedily. */
static void answer(bed *b, uint32_t from, lynx_token tokens[ANSWER])
{
    const lynx_engine_ops *ops = b->engine->ops;
    const uint32_t most = ops->model(b->engine)->batch_tokens;
    lynx_sampling sampling;
    uint32_t row = 0;
    lynx_sampling_init(&sampling);
    for (uint32_t at = from; at < b->count;) {
        const uint32_t left = b->count - at;
        const uint32_t count = left < most ? left : most;
        assert_int_equal(ops->batch(b->engine, b->tokens + at, count, 0), LYNX_OK);
        row = count - 1;
        at += count;
    }
    for (uint32_t i = 0; i < ANSWER; i++) {
        assert_int_equal(ops->sample(b->engine, row, &sampling, b->tokens, b->count, b->count,
                                     &tokens[i]),
                         LYNX_OK);
        assert_int_equal(ops->step(b->engine, tokens[i]), LYNX_OK);
        row = 0;
    }
}

static void keep(bed *b, uint32_t count, bool is_fresh, lynx_keep_result *result)
{
    char text[LYNX_TEXT_MAX];
    lynx_keep_options options;
    lynx_keep_options_init(&options);
    options.engine = b->engine;
    options.spec = b->spec;
    options.tokens = b->tokens;
    options.token_count = count;
    options.is_fresh = is_fresh;
    options.store = b->store;
    if (lynx_keep(&options, result, text) != LYNX_OK)
        fail_msg("%s", text);
}

/* Load what the store has of the document and question; tokens of it. */
static uint32_t load_stored(bed *b, lx_page_pass *pass)
{
    const lynx_engine_ops *ops = b->engine->ops;
    char text[LYNX_PLACE_TEXT_MAX];
    lynx_source *source = NULL;
    assert_int_equal(lynx_store_find(b->store, ops->model(b->engine), &b->spec, b->tokens,
                                     b->count, &source, text, sizeof(text)),
                     LYNX_OK);
    assert_non_null(source);
    const uint32_t prefix = source->ops->prefix(source)->token_count;
    assert_int_equal(ops->reserve(b->engine, prefix), LYNX_OK);
    assert_int_equal(lx_page_load(pass, source), LYNX_OK);
    assert_int_equal(ops->commit_pages(b->engine), LYNX_OK);
    lynx_source_destroy(source);
    return prefix;
}

static void check_model(const char *model)
{
    bed b;
    lx_page_pass pass;
    lynx_keep_result result;
    lynx_token want[ANSWER], got[ANSWER];
    uint64_t want_digest = 0, got_digest = 0;
    if (!load(&b, model))
        skip();
    begin(&b);
    /* A beginning that is there does not change what is kept. */
    keep(&b, b.document / 2, false, &result);
    keep(&b, b.document, true, &result);
    assert_int_equal(result.computed_tokens, b.document);

    /* What it has to be: one prefill of the document, its pages through the codec. */
    const lynx_engine_ops *ops = b.engine->ops;
    assert_int_equal(lx_page_pass_init(&pass, b.engine, &b.spec, NULL, NULL), LYNX_OK);
    assert_int_equal(ops->prefill(b.engine, b.tokens, b.document, NULL, NULL), LYNX_OK);
    assert_int_equal(lx_page_pass_all(&pass, b.document, NULL, NULL), LYNX_OK);
    assert_int_equal(lx_page_pass_digest(&pass, b.document, &want_digest), LYNX_OK);
    answer(&b, b.document, want);
    lx_page_pass_fini(&pass);

    /* After a restart. */
    lynx_engine_destroy(b.engine);
    assert_true(load(&b, model));
    assert_int_equal(lx_page_pass_init(&pass, b.engine, &b.spec, NULL, NULL), LYNX_OK);
    assert_int_equal(load_stored(&b, &pass), b.document);
    assert_int_equal(lx_page_pass_digest(&pass, b.document, &got_digest), LYNX_OK);
    assert_true(got_digest == want_digest);
    answer(&b, b.document, got);
    assert_memory_equal(got, want, sizeof(got));
    lx_page_pass_fini(&pass);
    end(&b);
}

static void test_llama(void **state)
{
    (void)state;
    check_model("smollm2-135m-q8_0.gguf");
}

/* Most of its layers have a sliding window. */
static void test_gemma(void **state)
{
    (void)state;
    check_model("gemma3-270m-f16.gguf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_gemma),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
