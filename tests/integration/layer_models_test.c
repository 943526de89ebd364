/* SPDX-License-Identifier: MIT */
/*
 * layer_models_test.c - a batch whose layers wait for their part of the cache: its logits are
 * those of a batch behind the whole cache, where no layer was there before it was waited for.
 * And a prefill that tells of each layer: what it tells of is there.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/cmocka_all.h"
#include "support/gguf_engines.h"
#include "support/gguf_models.h"

enum { TOKENS = 600, ROWS = 15, PAGES = 1024 };

static char path[64];

/* The pages of one prompt, as rows without gaps. */
typedef struct cache {
    lynx_engine *engine;
    const lynx_engine_ops *ops;
    const lynx_shape *shape;
    uint8_t *pages[PAGES];
    size_t count;
    uint32_t next;    /* layer that is waited for */
    uint32_t fail_at; /* layer whose wait fails */
    uint32_t until;   /* pages that end behind this token are left out */
    uint32_t pieces;
} cache;

typedef void move_page(uint8_t *kept, uint8_t *at, size_t bytes);

static void keep(uint8_t *kept, uint8_t *at, size_t bytes)
{
    memcpy(kept, at, bytes);
}

static void put(uint8_t *kept, uint8_t *at, size_t bytes)
{
    memcpy(at, kept, bytes);
}

static void compare(uint8_t *kept, uint8_t *at, size_t bytes)
{
    assert_memory_equal(at, kept, bytes);
}

/* Not a number, of any type. */
static void spoil(uint8_t *kept, uint8_t *at, size_t bytes)
{
    (void)kept;
    memset(at, 0xff, bytes);
}

/* The rows of one page, in the order of its memory. */
static void move_rows(const cache *c, lynx_page_id id, bool is_write, move_page *move,
                      uint8_t *kept)
{
    const size_t size = lynx_element_bytes(c->shape->element);
    const uint32_t channels = c->shape->layers[id.layer].sides[id.side].channels;
    const uint32_t tokens = lynx_page_span_of(c->shape, id, TOKENS).token_count;
    lynx_tile tile;
    assert_int_equal(c->ops->map_page(c->engine, id, TOKENS, is_write, &tile), LYNX_OK);
    const bool by_token = tile.channel_stride_bytes == size;
    const size_t stride = by_token ? tile.token_stride_bytes : tile.channel_stride_bytes;
    const size_t bytes = size * (by_token ? channels : tokens);
    for (uint32_t row = 0; row < (by_token ? tokens : channels); row++)
        move(kept + row * bytes, (uint8_t *)tile.data + row * stride, bytes);
    assert_int_equal(c->ops->unmap_page(c->engine), LYNX_OK);
}

/* Pages of the layer; LYNX_LAYERS_MAX: of all. */
static void move_layer(cache *c, uint32_t only, bool is_write, move_page *move)
{
    size_t at = 0;
    lynx_page_id id;
    for (lynx_page_walk walk = lynx_page_walk_of(c->shape, TOKENS);
         lynx_page_walk_next(&walk, &id); at++) {
        const lynx_page_span span = lynx_page_span_of(c->shape, id, TOKENS);
        assert_true(at < PAGES);
        if (!c->pages[at])
            c->pages[at] = calloc(c->shape->page_tokens,
                                  c->shape->layers[id.layer].sides[id.side].channels * 4u);
        assert_non_null(c->pages[at]);
        if ((only == id.layer || only == LYNX_LAYERS_MAX) &&
            span.first_token + span.token_count <= c->until)
            move_rows(c, id, is_write, move, c->pages[at]);
    }
    c->count = at;
}

static bool see_layers(void *user, uint32_t done, uint32_t layers)
{
    cache *c = user;
    assert_int_equal(layers, ++c->next);
    c->until = done;
    move_layer(c, layers - 1, false, compare);
    c->until = TOKENS;
    return layers != c->fail_at;
}

static bool see_piece(void *user, uint32_t done, uint32_t total)
{
    cache *c = user;
    assert_int_equal(total, TOKENS);
    assert_int_equal(c->next, c->shape->layer_count - 1);
    assert_int_equal(c->ops->length(c->engine), done);
    c->next = 0;
    c->pieces++;
    return true;
}

static lynx_status write_layer(void *user, uint32_t layer)
{
    cache *c = user;
    assert_int_equal(layer, c->next++);
    if (layer == c->fail_at)
        return LYNX_ERR_TIMEOUT;
    move_layer(c, layer, true, put);
    assert_int_equal(c->ops->commit_pages(c->engine), LYNX_OK);
    return LYNX_OK;
}

static void spoil_all(cache *c)
{
    assert_int_equal(c->ops->reserve(c->engine, TOKENS), LYNX_OK);
    move_layer(c, LYNX_LAYERS_MAX, true, spoil);
    assert_int_equal(c->ops->commit_pages(c->engine), LYNX_OK);
    c->next = 0;
}

/* 'c' has the pages of the tokens. */
static void check_prefill(cache *c, const lynx_token *tokens)
{
    c->fail_at = UINT32_MAX;
    spoil_all(c);
    assert_int_equal(c->ops->prefill_by_layer(c->engine, tokens, TOKENS, see_piece, see_layers,
                                              c),
                     LYNX_OK);
    assert_true(c->pieces > 1);
    assert_int_equal(c->ops->length(c->engine), TOKENS);
    move_layer(c, LYNX_LAYERS_MAX, false, compare);
    /* Who asks it to stop is heard behind each layer. */
    spoil_all(c);
    c->fail_at = 2;
    assert_int_equal(c->ops->prefill_by_layer(c->engine, tokens, TOKENS, see_piece, see_layers,
                                              c),
                     LYNX_ERR_CANCELLED);
    assert_int_equal(c->next, 2);
    assert_int_equal(c->ops->length(c->engine), 0);
    assert_int_equal(c->ops->prefill(c->engine, tokens, TOKENS, NULL, NULL), LYNX_OK);
    move_layer(c, LYNX_LAYERS_MAX, false, compare);
}

/* The same for drafts: the last row alone, in another rounding than 'want', and of few tokens.
 */
static void check_drafts(cache *c, const lynx_token *tokens, const float *want)
{
    const uint32_t vocabulary = c->ops->model(c->engine)->vocabulary;
    float largest = 0;
    for (uint32_t t = 0; t < vocabulary; t++)
        largest = fmaxf(largest, fabsf(want[t]));
    spoil_all(c);
    c->fail_at = UINT32_MAX;
    assert_int_equal(c->ops->draft_batch(c->engine, tokens + TOKENS, ROWS, tokens, 20,
                                         write_layer, c),
                     LYNX_OK);
    assert_int_equal(c->next, c->shape->layer_count);
    assert_int_equal(c->ops->length(c->engine), TOKENS + ROWS);
    const float *got = c->ops->logits(c->engine, 0);
    assert_non_null(got);
    assert_null(c->ops->logits(c->engine, 1));
    uint32_t seen = 0;
    for (uint32_t t = 0; t < vocabulary; t++)
        if (got[t] > -1e29f) {
            assert_true(fabsf(got[t] - want[t]) < 0.05f * largest);
            seen++;
        }
    assert_in_range(seen, 100, vocabulary - 1);
    for (uint32_t at = 0; at < c->shape->layer_count; at += c->shape->layer_count - 1) {
        spoil_all(c);
        c->fail_at = at;
        assert_int_equal(c->ops->draft_batch(c->engine, tokens + TOKENS, ROWS, tokens, 20,
                                             write_layer, c),
                         LYNX_ERR_TIMEOUT);
        assert_int_equal(c->next, at + 1);
        assert_int_equal(c->ops->length(c->engine), TOKENS);
        assert_true(at == 0 || !c->ops->logits(c->engine, 0));
    }
}

static void check_engine(lynx_engine *engine)
{
    static lynx_token tokens[TOKENS + ROWS];
    cache c = {.engine = engine,
               .ops = engine->ops,
               .shape = &engine->ops->model(engine)->shape,
               .fail_at = UINT32_MAX,
               .until = TOKENS};
    const uint32_t vocabulary = c.ops->model(engine)->vocabulary;
    const size_t bytes = vocabulary * sizeof(float);
    float *want = malloc(ROWS * bytes);
    assert_non_null(want);
    assert_true(c.ops->model(engine)->can_await_layers);
    for (uint32_t i = 0; i < TOKENS + ROWS; i++)
        tokens[i] = (lynx_token)((i * 7 + i / 5 + 3) % vocabulary);
    assert_int_equal(c.ops->prefill(engine, tokens, TOKENS, NULL, NULL), LYNX_OK);
    move_layer(&c, LYNX_LAYERS_MAX, false, keep);
    assert_int_equal(c.ops->batch(engine, tokens + TOKENS, ROWS, 0), LYNX_OK);
    for (uint32_t row = 0; row < ROWS; row++)
        memcpy(want + (size_t)row * vocabulary, c.ops->logits(engine, row), bytes);

    spoil_all(&c);
    assert_int_equal(c.ops->batch_by_layer(engine, tokens + TOKENS, ROWS, 0, write_layer, &c),
                     LYNX_OK);
    assert_int_equal(c.next, c.shape->layer_count);
    assert_int_equal(c.ops->length(engine), TOKENS + ROWS);
    for (uint32_t row = 0; row < ROWS; row++)
        assert_memory_equal(c.ops->logits(engine, row), want + (size_t)row * vocabulary, bytes);

    /* A wait that fails ends the batch, and leaves an engine that goes on. */
    for (uint32_t at = 0; at < c.shape->layer_count; at += c.shape->layer_count - 1) {
        spoil_all(&c);
        c.fail_at = at;
        assert_int_equal(c.ops->batch_by_layer(engine, tokens + TOKENS, ROWS, ROWS - 1,
                                               write_layer, &c),
                         LYNX_ERR_TIMEOUT);
        assert_int_equal(c.next, at + 1);
        assert_int_equal(c.ops->length(engine), TOKENS);
        move_layer(&c, LYNX_LAYERS_MAX, true, put);
        assert_int_equal(c.ops->commit_pages(engine), LYNX_OK);
        assert_int_equal(c.ops->batch(engine, tokens + TOKENS, ROWS, ROWS - 1), LYNX_OK);
        assert_memory_equal(c.ops->logits(engine, ROWS - 1),
                            want + (size_t)(ROWS - 1) * vocabulary, bytes);
    }
    check_drafts(&c, tokens, want + (size_t)(ROWS - 1) * vocabulary);
    check_prefill(&c, tokens);
    for (size_t i = 0; i < c.count; i++)
        free(c.pages[i]);
    free(want);
    lynx_engine_destroy(engine);
}

static void small_models(void **state)
{
    (void)state;
    static const gguf_shape shape = {3, 48, 16, {3, 2, 4}, {1, 2, 2}};
    lynx_engine *engine = NULL;
    assert_true(gguf_write_attention(path, &shape));
    test_engines_load(&engine, 1, path, LYNX_CACHE_AUTO);
    check_engine(engine);
    unlink(path);
}

/* Where the cache is not in place, or others compute in the same batch. */
static void engines_that_cannot(void **state)
{
    (void)state;
    static const gguf_shape shape = {2, 32, 16, {2, 2}, {1, 1}};
    lynx_engine *engines[2] = {NULL};
    assert_true(gguf_write_attention(path, &shape));
    for (uint32_t count = 1; count <= 2; count++) {
        test_engines_load(engines, count, path, count == 1 ? LYNX_CACHE_BLOB : LYNX_CACHE_AUTO);
        const lynx_engine_ops *ops = engines[0]->ops;
        cache none = {.next = 0};
        const lynx_token token = 1;
        assert_false(ops->model(engines[0])->can_await_layers);
        assert_int_equal(ops->batch_by_layer(engines[0], &token, 1, 0, write_layer, &none),
                         LYNX_ERR_UNSUPPORTED);
        assert_int_equal(ops->prefill_by_layer(engines[0], &token, 1, NULL, see_layers, &none),
                         LYNX_ERR_UNSUPPORTED);
        assert_int_equal(none.next, 0);
        test_engines_destroy(engines, count, 0);
    }
    unlink(path);
}

static void check_real(const char *model)
{
    const char *folder = getenv("LYNX_TEST_MODELS");
    char file[600];
    lynx_engine *engine = NULL;
    snprintf(file, sizeof(file), "%s/%s", folder ? folder : ".", model);
    if (access(file, R_OK) != 0)
        skip();
    test_engines_load(&engine, 1, file, LYNX_CACHE_AUTO);
    check_engine(engine);
}

static void llama_models(void **state)
{
    (void)state;
    check_real("smollm2-135m-f16.gguf");
}

static void models_with_windows(void **state)
{
    (void)state;
    check_real("gemma3-270m-f16.gguf");
}

int main(void)
{
    snprintf(path, sizeof(path), "layers-%ld.gguf", (long)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_models),
        cmocka_unit_test(engines_that_cannot),
        cmocka_unit_test(llama_models),
        cmocka_unit_test(models_with_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
