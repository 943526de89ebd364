/* SPDX-License-Identifier: MIT */
#include "support/gguf_engines.h"

#include <string.h>

#include "base/digest.h"

void test_engine_options(lynx_llama_options *options, const char *path,
                         lynx_cache_access access)
{
    lynx_llama_options_init(options);
    options->model_path = path;
    options->context_tokens = TEST_CONTEXT;
    options->threads = 1;
    options->cache_access = access;
    options->draft_vocabulary = 100;
}

void test_engines_load(lynx_engine *engines[], uint32_t count, const char *path,
                       lynx_cache_access access)
{
    char text[TEST_TEXT_BYTES] = "";
    lynx_llama_options options;
    test_engine_options(&options, path, access);
    const lynx_status status =
        lynx_llama_create_slots(engines, count, &options, text, sizeof(text));
    CHECK(text[0] == '\0');
    CHECK(status == LYNX_OK);
}

void test_engines_destroy(lynx_engine *engines[], uint32_t count, uint32_t first)
{
    for (uint32_t i = 0; i < count; i++)
        lynx_engine_destroy(engines[(first + i) % count]);
}

static void move_page(lynx_engine *engine, lynx_page_id id, uint32_t tokens, test_direction way,
                      uint8_t **at)
{
    const lynx_shape *shape = &engine->ops->model(engine)->shape;
    const lynx_page_span span = lynx_page_span_of(shape, id, tokens);
    const uint32_t channels = shape->layers[id.layer].sides[id.side].channels;
    const size_t bytes = lynx_element_bytes(shape->element);
    lynx_tile tile;
    CHECK(engine->ops->map_page(engine, id, tokens, way != TEST_READ, &tile) == LYNX_OK);
    for (uint32_t t = 0; t < span.token_count; t++)
        for (uint32_t c = 0; c < channels; c++, *at += bytes) {
            uint8_t *cell = (uint8_t *)tile.data + t * tile.token_stride_bytes +
                            c * tile.channel_stride_bytes;
            memcpy(way == TEST_READ ? *at : cell, way == TEST_READ ? cell : *at, bytes);
            if (way == TEST_WRITE_ROUGHLY)
                cell[0] ^= 0x55; /* low bits of the fraction */
        }
    CHECK(engine->ops->unmap_page(engine) == LYNX_OK);
}

void test_pages_move(lynx_engine *engine, uint32_t tokens, test_direction way, test_pages *p)
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
    if (way != TEST_READ)
        CHECK(engine->ops->commit_pages(engine) == LYNX_OK);
}

uint64_t test_cache_digest(lynx_engine *engine, uint32_t tokens)
{
    test_pages p = {0};
    test_pages_move(engine, tokens, TEST_READ, &p);
    const uint64_t digest = lx_digest64(p.bytes, p.size);
    free(p.bytes);
    return digest;
}
