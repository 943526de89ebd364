/* SPDX-License-Identifier: MIT */
/* gguf_models.h - small models with random weights and any shape, written by ggml's own API. */
#ifndef TEST_SUPPORT_GGUF_MODELS_H
#define TEST_SUPPORT_GGUF_MODELS_H

#include <stdbool.h>
#include <stdint.h>

enum { GGUF_LAYERS_MAX = 8 };

/* A model of architecture "deci": that of Llama, with heads that may differ by layer. */
typedef struct gguf_shape {
    uint32_t layers, embedding, head_size;
    uint32_t heads[GGUF_LAYERS_MAX], kv_heads[GGUF_LAYERS_MAX];
} gguf_shape;

bool gguf_write_attention(const char *path, const gguf_shape *shape);

/* A recurrent model ("mamba"). */
bool gguf_write_recurrent(const char *path);

#endif
