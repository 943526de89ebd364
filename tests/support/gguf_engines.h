/* SPDX-License-Identifier: MIT */
/* gguf_engines.h - engines on a model file, and their caches as plain bytes. */
#ifndef TEST_SUPPORT_GGUF_ENGINES_H
#define TEST_SUPPORT_GGUF_ENGINES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "lynx/llama.h"

enum { TEST_CONTEXT = 1024, TEST_TEXT_BYTES = 512 };

/* For threads: cmocka's own asserts are for the main one. */
#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                    \
            abort();                                                                           \
        }                                                                                      \
    } while (0)

/* One thread of llama.cpp and TEST_CONTEXT tokens; drafts look at few tokens, of any model. */
void test_engine_options(lynx_llama_options *options, const char *path,
                         lynx_cache_access access);
void test_engines_load(lynx_engine *engines[], uint32_t count, const char *path,
                       lynx_cache_access access);
/* In turn from 'first'. */
void test_engines_destroy(lynx_engine *engines[], uint32_t count, uint32_t first);

/* Every page of a prompt's cache, token-major, one after the other. */
typedef struct test_pages {
    uint8_t *bytes; /* free() */
    size_t size;
} test_pages;

/* ROUGHLY: with wrong low bits, as an anchor has them. */
typedef enum { TEST_READ, TEST_WRITE, TEST_WRITE_ROUGHLY } test_direction;

/* Move the pages of 'tokens' tokens; reading into empty 'pages' gives them their memory. */
void test_pages_move(lynx_engine *engine, uint32_t tokens, test_direction way,
                     test_pages *pages);
uint64_t test_cache_digest(lynx_engine *engine, uint32_t tokens);

#endif
