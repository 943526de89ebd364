/* SPDX-License-Identifier: MIT */
#include "support/gguf_models.h"

#include <ggml.h>
#include <gguf.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "support/rng.h"

enum { VOCABULARY = 320, CONTEXT = 2048, FEED_FORWARD = 96, SPECIAL = 3, BYTES = 256 };

typedef struct writer {
    struct gguf_context *file;
    struct ggml_context *tensors;
    const char *architecture;
    test_rng rng;
} writer;

static bool open_writer(writer *w, const char *architecture)
{
    const struct ggml_init_params params = {.mem_size = (size_t)64 << 20};
    *w = (writer){.file = gguf_init_empty(),
                  .tensors = ggml_init(params),
                  .architecture = architecture,
                  .rng = test_rng_of(11)};
    if (!w->file || !w->tensors)
        return false;
    gguf_set_val_str(w->file, "general.architecture", architecture);
    gguf_set_val_str(w->file, "general.name", "generated");
    return true;
}

static bool close_writer(writer *w, const char *path)
{
    const bool is_written = gguf_write_to_file(w->file, path, false);
    gguf_free(w->file);
    ggml_free(w->tensors);
    return is_written;
}

static void put_number(writer *w, const char *key, uint32_t value)
{
    char name[128];
    snprintf(name, sizeof(name), "%s.%s", w->architecture, key);
    gguf_set_val_u32(w->file, name, value);
}

static void put_numbers(writer *w, const char *key, const uint32_t *values, uint32_t count)
{
    char name[128];
    snprintf(name, sizeof(name), "%s.%s", w->architecture, key);
    gguf_set_arr_data(w->file, name, GGUF_TYPE_UINT32, values, count);
}

static void put_real(writer *w, const char *key, float value)
{
    char name[128];
    snprintf(name, sizeof(name), "%s.%s", w->architecture, key);
    gguf_set_val_f32(w->file, name, value);
}

/* Weights around zero that keep the size of what passes through them; norms are one. */
static void put_tensor(writer *w, const char *name, uint32_t width, uint32_t height)
{
    struct ggml_tensor *tensor =
        height ? ggml_new_tensor_2d(w->tensors, GGML_TYPE_F32, width, height)
               : ggml_new_tensor_1d(w->tensors, GGML_TYPE_F32, width);
    float *values = ggml_get_data_f32(tensor);
    const float size = sqrtf(3.0f / (float)width);
    for (int64_t i = 0; i < ggml_nelements(tensor); i++) {
        const float unit = (float)test_rng_below(&w->rng, 1u << 20) / (float)(1u << 19) - 1.0f;
        values[i] = height ? unit * size : 1.0f;
    }
    ggml_set_name(tensor, name);
    gguf_add_tensor(w->file, tensor);
}

static void put_layer_tensor(writer *w, uint32_t layer, const char *name, uint32_t width,
                             uint32_t height)
{
    char full[128];
    snprintf(full, sizeof(full), "blk.%u.%s", layer, name);
    put_tensor(w, full, width, height);
}

/* Three special tokens, the 256 bytes, and names for the rest. */
static void put_vocabulary(writer *w)
{
    static char names[VOCABULARY][16];
    const char *pointers[VOCABULARY];
    float scores[VOCABULARY];
    int32_t types[VOCABULARY];
    for (uint32_t i = 0; i < VOCABULARY; i++) {
        if (i < SPECIAL)
            snprintf(names[i], sizeof(names[i]), "%s",
                     i == 0   ? "<unk>"
                     : i == 1 ? "<s>"
                              : "</s>");
        else if (i < SPECIAL + BYTES)
            snprintf(names[i], sizeof(names[i]), "<0x%02X>", i - SPECIAL);
        else
            snprintf(names[i], sizeof(names[i]), "w%u", i);
        pointers[i] = names[i];
        scores[i] = -(float)i;
        types[i] = i == 0 ? 2 : i < SPECIAL ? 3 : i < SPECIAL + BYTES ? 6 : 1;
    }
    gguf_set_val_str(w->file, "tokenizer.ggml.model", "llama");
    gguf_set_arr_str(w->file, "tokenizer.ggml.tokens", pointers, VOCABULARY);
    gguf_set_arr_data(w->file, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, scores, VOCABULARY);
    gguf_set_arr_data(w->file, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, types, VOCABULARY);
    gguf_set_val_u32(w->file, "tokenizer.ggml.unknown_token_id", 0);
    gguf_set_val_u32(w->file, "tokenizer.ggml.bos_token_id", 1);
    gguf_set_val_u32(w->file, "tokenizer.ggml.eos_token_id", 2);
}

bool gguf_write_attention(const char *path, const gguf_shape *s)
{
    writer w;
    if (!open_writer(&w, "deci"))
        return false;
    uint32_t widths[GGUF_LAYERS_MAX];
    for (uint32_t i = 0; i < s->layers; i++)
        widths[i] = FEED_FORWARD;
    put_number(&w, "block_count", s->layers);
    put_number(&w, "context_length", CONTEXT);
    put_number(&w, "embedding_length", s->embedding);
    put_numbers(&w, "feed_forward_length", widths, s->layers);
    put_numbers(&w, "attention.head_count", s->heads, s->layers);
    put_numbers(&w, "attention.head_count_kv", s->kv_heads, s->layers);
    put_number(&w, "attention.key_length", s->head_size);
    put_number(&w, "attention.value_length", s->head_size);
    put_number(&w, "rope.dimension_count", s->head_size);
    put_real(&w, "rope.freq_base", 10000.0f);
    put_real(&w, "attention.layer_norm_rms_epsilon", 1e-5f);
    put_vocabulary(&w);
    put_tensor(&w, "token_embd.weight", s->embedding, VOCABULARY);
    put_tensor(&w, "output_norm.weight", s->embedding, 0);
    put_tensor(&w, "output.weight", s->embedding, VOCABULARY);
    for (uint32_t i = 0; i < s->layers; i++) {
        put_layer_tensor(&w, i, "attn_norm.weight", s->embedding, 0);
        put_layer_tensor(&w, i, "attn_q.weight", s->embedding, s->heads[i] * s->head_size);
        put_layer_tensor(&w, i, "attn_k.weight", s->embedding, s->kv_heads[i] * s->head_size);
        put_layer_tensor(&w, i, "attn_v.weight", s->embedding, s->kv_heads[i] * s->head_size);
        put_layer_tensor(&w, i, "attn_output.weight", s->heads[i] * s->head_size, s->embedding);
        put_layer_tensor(&w, i, "ffn_norm.weight", s->embedding, 0);
        put_layer_tensor(&w, i, "ffn_gate.weight", s->embedding, FEED_FORWARD);
        put_layer_tensor(&w, i, "ffn_up.weight", s->embedding, FEED_FORWARD);
        put_layer_tensor(&w, i, "ffn_down.weight", FEED_FORWARD, s->embedding);
    }
    return close_writer(&w, path);
}

bool gguf_write_recurrent(const char *path)
{
    enum { EMBEDDING = 32, INNER = 64, STATE = 16, RANK = 2, KERNEL = 4 };
    writer w;
    if (!open_writer(&w, "mamba"))
        return false;
    put_number(&w, "block_count", 1);
    put_number(&w, "context_length", CONTEXT);
    put_number(&w, "embedding_length", EMBEDDING);
    put_number(&w, "feed_forward_length", 0);
    put_number(&w, "attention.head_count", 0);
    put_number(&w, "ssm.conv_kernel", KERNEL);
    put_number(&w, "ssm.inner_size", INNER);
    put_number(&w, "ssm.state_size", STATE);
    put_number(&w, "ssm.time_step_rank", RANK);
    put_real(&w, "attention.layer_norm_rms_epsilon", 1e-5f);
    put_vocabulary(&w);
    put_tensor(&w, "token_embd.weight", EMBEDDING, VOCABULARY);
    put_tensor(&w, "output_norm.weight", EMBEDDING, 0);
    put_layer_tensor(&w, 0, "attn_norm.weight", EMBEDDING, 0);
    put_layer_tensor(&w, 0, "ssm_in.weight", EMBEDDING, 2 * INNER);
    put_layer_tensor(&w, 0, "ssm_conv1d.weight", KERNEL, INNER);
    put_layer_tensor(&w, 0, "ssm_conv1d.bias", INNER, 0);
    put_layer_tensor(&w, 0, "ssm_x.weight", INNER, RANK + 2 * STATE);
    put_layer_tensor(&w, 0, "ssm_dt.weight", RANK, INNER);
    put_layer_tensor(&w, 0, "ssm_dt.bias", INNER, 0);
    put_layer_tensor(&w, 0, "ssm_a", STATE, INNER);
    put_layer_tensor(&w, 0, "ssm_d", INNER, 0);
    put_layer_tensor(&w, 0, "ssm_out.weight", INNER, EMBEDDING);
    return close_writer(&w, path);
}
