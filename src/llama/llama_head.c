/* SPDX-License-Identifier: MIT */
/*
 * llama_head.c - logits of drafts for few tokens of a large vocabulary.
 *
 * The output layer has a row of weights for each token and is most of a small model with a
 * large vocabulary: 62 % of the bytes that a step of Gemma 3 270M reads. A draft needs no more
 * than the likely tokens (FR-Spec, Zhao et al. 2025, arXiv 2502.14856): the first of the
 * vocabulary, which tokenizers order by how common they are, and those that the prompt and the
 * answer have already. Whoever is missing makes a draft wrong, never a token.
 *
 * The evaluation callback keeps what goes into the output layer (result_norm) and ends the
 * graph there. The rows of common tokens are used where llama.cpp has them, the others are
 * copied together.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "llama/llama_internal.h"

enum {
    RARE_MAX = 16384,       /* distinct tokens of prompts and answers of all slots */
    GRAPH_BYTES = 64 * 1024 /* of the descriptions of a graph of few nodes */
};

/* The logit of a token that is not looked at. Not minus infinity: biases and grammars may leave
 * nothing else, and then a draft is one of them. */
static const float UNLIKELY = -1e30f;

/* ---- which layer --------------------------------------------------------------------- */

/* The output layer is one product, of weights that are read where they lie, and nothing comes
 * behind it. */
void lx_head_see(lx_llama *e, const struct ggml_tensor *node)
{
    const struct ggml_tensor *weights = node->src[0];
    if (strcmp(ggml_get_name(node), "result_output") != 0)
        return;
    const bool is_plain = node->op == GGML_OP_MUL_MAT &&
                          strcmp(ggml_get_name(node->src[1]), "result_norm") == 0 &&
                          weights->buffer && ggml_backend_buffer_is_host(weights->buffer) &&
                          weights->ne[1] == (int64_t)e->description.vocabulary;
    e->head.weights = is_plain ? weights : NULL;
}

static size_t result_floats(const lx_llama *e)
{
    return (size_t)e->slot_count * (e->head.common + RARE_MAX + (size_t)e->head.width);
}

/* The registry has it as an object pointer. */
static void set_threads(ggml_backend_t backend, int32_t threads)
{
    ggml_backend_reg_t registry =
        ggml_backend_dev_backend_reg(ggml_backend_get_device(backend));
    void *found = ggml_backend_reg_get_proc_address(registry, "ggml_backend_set_n_threads");
    ggml_backend_set_n_threads_t set;
    memcpy(&set, &found, sizeof(set));
    if (set)
        set(backend, threads);
}

lynx_status lx_head_init(lx_llama *e)
{
    lx_head *h = &e->head;
    h->common = e->options.draft_vocabulary;
    h->vocabulary = e->description.vocabulary;
    /* Less than half of the rows before those of the prompt, or it does not pay. */
    if (h->common == 0 || h->vocabulary / 2 <= h->common)
        h->weights = NULL;
    if (!h->weights)
        return LYNX_OK;
    h->width = (uint32_t)h->weights->ne[0];
    h->row_bytes = h->weights->nb[1];
    h->memory_bytes = GRAPH_BYTES + result_floats(e) * sizeof(float);
    h->backend = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, NULL);
    h->memory = lx_alloc(e->memory, h->memory_bytes, 1);
    h->inputs = lx_alloc(e->memory, (size_t)e->slot_count * h->width, sizeof(float));
    h->rare_rows = lx_alloc(e->memory, RARE_MAX, h->row_bytes);
    h->rare = lx_alloc(e->memory, RARE_MAX, sizeof(*h->rare));
    h->is_rare = lx_alloc_zeroed(e->memory, h->vocabulary, 1);
    LX_REQUIRE(h->backend && h->memory && h->inputs && h->rare_rows && h->rare && h->is_rare,
               LYNX_ERR_MEMORY);
    set_threads(h->backend, llama_n_threads(e->context));
    h->is_ready = true;
    return LYNX_OK;
}

void lx_head_fini(lx_llama *e)
{
    lx_head *h = &e->head;
    if (h->backend)
        ggml_backend_free(h->backend);
    lx_free(e->memory, h->memory, h->memory_bytes, 1);
    lx_free(e->memory, h->inputs, (size_t)e->slot_count * h->width, sizeof(float));
    lx_free(e->memory, h->rare_rows, RARE_MAX, h->row_bytes);
    lx_free(e->memory, h->rare, RARE_MAX, sizeof(*h->rare));
    lx_free(e->memory, h->is_rare, h->vocabulary, 1);
}

/* ---- the evaluation callback --------------------------------------------------------- */

bool lx_head_wants(const lx_llama *e, const struct ggml_tensor *node)
{
    return e->head.row_count > 0 && strcmp(ggml_get_name(node), "result_norm") == 0;
}

void lx_head_take(lx_llama *e, const struct ggml_tensor *node)
{
    lx_head *h = &e->head;
    const int64_t rows = ggml_nrows(node);
    if (node->type != GGML_TYPE_F32 || node->ne[0] != (int64_t)h->width ||
        !ggml_is_contiguous(node) || rows > (int64_t)(h->row_count - h->taken_count))
        return;
    ggml_backend_tensor_get(node, h->inputs + (size_t)h->taken_count * h->width, 0,
                            ggml_nbytes(node));
    h->taken_count += (uint32_t)rows;
}

/* ---- logits -------------------------------------------------------------------------- */

static void forget_rare(lx_head *h)
{
    for (uint32_t i = 0; i < h->rare_count; i++)
        h->is_rare[h->rare[i]] = 0;
    h->rare_count = 0;
}

static void add_rare(lx_head *h, lynx_token token)
{
    if (token < (lynx_token)h->common || h->is_rare[token])
        return;
    if (h->rare_count == RARE_MAX)
        forget_rare(h); /* among them those of prompts that are over */
    memcpy(h->rare_rows + h->rare_count * h->row_bytes,
           (const uint8_t *)h->weights->data + (size_t)token * h->row_bytes, h->row_bytes);
    h->is_rare[token] = 1;
    h->rare[h->rare_count++] = token;
}

void lx_head_begin(lx_llama *e, uint32_t rows)
{
    e->head.row_count = rows;
    e->head.taken_count = 0;
}

/* The last ones, as many as there is room for with those of all slots. */
void lx_head_add(lx_llama *e, const lynx_token *tokens, uint32_t count)
{
    const uint32_t most = RARE_MAX / 2 / e->slot_count;
    for (uint32_t i = count > most ? count - most : 0; i < count; i++)
        add_rare(&e->head, tokens[i]);
}

/* The product of 'count' rows of weights, at 'data', and the inputs. */
static struct ggml_tensor *add_product(struct ggml_context *context, struct ggml_cgraph *graph,
                                       const lx_head *h, void *data, uint32_t count,
                                       struct ggml_tensor *input)
{
    ggml_set_no_alloc(context, true);
    struct ggml_tensor *weights =
        ggml_new_tensor_2d(context, h->weights->type, h->width, count);
    ggml_set_no_alloc(context, false);
    weights->data = data;
    struct ggml_tensor *product = ggml_mul_mat(context, weights, input);
    ggml_build_forward_expand(graph, product);
    return product;
}

static void spread_row(const lx_head *h, const float *common, const float *rare, float *logits)
{
    memcpy(logits, common, h->common * sizeof(float));
    for (uint32_t i = h->common; i < h->vocabulary; i++)
        logits[i] = UNLIKELY;
    for (uint32_t i = 0; i < h->rare_count; i++)
        logits[h->rare[i]] = rare[i];
}

lynx_status lx_head_end(lx_llama *e, float *const logits[])
{
    lx_head *h = &e->head;
    const uint32_t rows = h->row_count;
    h->row_count = 0;
    if (!logits)
        return LYNX_OK;
    LX_REQUIRE(h->taken_count == rows, LYNX_ERR_ENGINE);
    struct ggml_context *context =
        ggml_init((struct ggml_init_params){h->memory_bytes, h->memory, false});
    LX_REQUIRE(context, LYNX_ERR_MEMORY);
    struct ggml_cgraph *graph = ggml_new_graph_custom(context, 8, false);
    struct ggml_tensor *input = ggml_new_tensor_2d(context, GGML_TYPE_F32, h->width, rows);
    memcpy(input->data, h->inputs, ggml_nbytes(input));
    const struct ggml_tensor *common =
        add_product(context, graph, h, h->weights->data, h->common, input);
    const struct ggml_tensor *rare =
        h->rare_count ? add_product(context, graph, h, h->rare_rows, h->rare_count, input)
                      : NULL;
    const enum ggml_status status = ggml_backend_graph_compute(h->backend, graph);
    for (uint32_t i = 0; i < rows && status == GGML_STATUS_SUCCESS; i++)
        spread_row(h, (const float *)common->data + (size_t)i * h->common,
                   rare ? (const float *)rare->data + (size_t)i * h->rare_count : NULL,
                   logits[i]);
    ggml_free(context);
    return status == GGML_STATUS_SUCCESS ? LYNX_OK : LYNX_ERR_ENGINE;
}
