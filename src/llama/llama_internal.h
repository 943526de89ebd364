/* SPDX-License-Identifier: MIT */
/* llama_internal.h - what the files of the adapter share. */
#ifndef LX_LLAMA_INTERNAL_H
#define LX_LLAMA_INTERNAL_H

#include <ggml-backend.h>
#include <ggml.h>
#include <llama.h>
#include <stdatomic.h>

#include "lynx/llama.h"

enum {
    LX_PARTS_MAX = 2, /* full attention, sliding window */
    LX_ERROR_TEXT = 512,
    LX_REPORT_TEXT = 4096,
    LX_BATCH_TOKENS = 63, /* 64 queries take another path of flash attention */
    LX_PIECE_TOKENS_MAX = 2048
};

/* Where the rows of one layer and side lie in a state blob. */
typedef struct lx_state_side {
    size_t offset;      /* of the first value; 0: side absent */
    int32_t type;       /* ggml_type */
    uint64_t row_bytes; /* row-major: bytes of a cell; transposed: bytes of a value */
    uint32_t channels;  /* transposed only */
    bool is_transposed;
} lx_state_side;

/* One llama_kv_cache in a blob: layers in the order of the blob. */
typedef struct lx_state_part {
    uint32_t cell_count;
    int32_t first_position;
    uint32_t layer_count;
    bool has_values;
    lx_state_side *sides; /* [layer][2] */
} lx_state_part;

/* A parsed blob of llama_state_seq_get_data. */
typedef struct lx_state {
    uint32_t part_count;
    lx_state_part parts[LX_PARTS_MAX];
} lx_state;

typedef struct lx_llama {
    lynx_engine base;
    const lynx_allocator *memory;
    lynx_llama_options options;
    struct llama_model *model;
    struct llama_context *context;
    const struct llama_vocab *vocab;
    struct llama_batch batch; /* room for a prefill piece */
    bool has_batch;
    uint32_t piece_tokens;

    lynx_model description;
    lynx_layer_shape *layers;
    uint32_t layer_count;
    char name[128], architecture[64];

    struct ggml_tensor **tensors; /* [layer][2], captured at start-up */
    bool is_captured;
    bool is_blob; /* cache access by blob */
    bool is_flash;

    /* Which part and which place in it a layer has. */
    uint32_t *part_of, *place_of;

    /* Blob access: the whole state; or a skeleton while cells are reserved. */
    uint8_t *blob;
    size_t blob_size;
    lx_state blob_state;
    bool is_blob_current; /* the blob holds what the context holds */

    /* A mapped page in device memory. */
    uint8_t *staging;
    size_t staging_size;
    struct ggml_tensor *mapped;
    lynx_tile mapped_tile;
    uint32_t mapped_first, mapped_count, mapped_channels;
    bool is_mapped_write;

    llama_token_data *candidates; /* 'vocabulary' of them */
    float *saved_logits;          /* for the probe */
    uint32_t length;
    atomic_bool is_cancelled;
    char error[LX_ERROR_TEXT];
    char report[LX_REPORT_TEXT];
} lx_llama;

lx_llama *lx_llama_of(lynx_engine *engine);

/* Explain in 'error' and return 'status'. */
lynx_status lx_llama_fail(lx_llama *e, lynx_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Append a line to the probe's report. */
void lx_llama_note(lx_llama *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- llama_engine.c ------------------------------------------------------------------ */

/* Decode tokens at the end of the cache; logits of all of them, or of the last alone. */
lynx_status lx_llama_decode(lx_llama *e, const lynx_token *tokens, uint32_t count,
                            bool all_logits);
lynx_status lx_llama_step(lynx_engine *engine, lynx_token token);
lynx_status lx_llama_batch(lynx_engine *engine, const lynx_token *tokens, uint32_t count);
lynx_status lx_llama_rewind(lynx_engine *engine, uint32_t length);
lynx_status lx_llama_clear(lx_llama *e);

/* ---- llama_state.c ------------------------------------------------------------------- */

/* Parse a whole blob; LYNX_ERR_UNSUPPORTED with a sentence when it is not as known. */
lynx_status lx_state_parse(lx_llama *e, const uint8_t *blob, size_t size, lx_state *state);
void lx_state_fini(lx_llama *e, lx_state *state);

/* Make a blob like 'like' with cells for positions 0 .. tokens - 1 in every part and zeros as
 * content. '*blob' is the caller's (free()). */
lynx_status lx_state_build(const lx_state *like, uint32_t tokens, uint8_t **blob, size_t *size);

/* Read the context's blob into '*blob' (malloc). */
lynx_status lx_state_get(lx_llama *e, uint8_t **blob, size_t *size);
lynx_status lx_state_set(lx_llama *e, const uint8_t *blob, size_t size);

/* ---- llama_cache.c ------------------------------------------------------------------- */

bool lx_cache_capture(struct ggml_tensor *node, bool ask, void *user);
lynx_status lx_cache_reserve(lynx_engine *engine, uint32_t count);
lynx_status lx_cache_map(lynx_engine *engine, lynx_page_id id, uint32_t prompt_tokens,
                         bool is_write, lynx_tile *tile);
lynx_status lx_cache_unmap(lynx_engine *engine);
lynx_status lx_cache_commit(lynx_engine *engine);
/* Tile of 'count' cells from 'first' of a side, wherever it lies. */
lynx_status lx_cache_tile(lx_llama *e, uint32_t layer, uint32_t side, uint32_t first,
                          uint32_t count, bool is_write, lynx_tile *tile);

/* ---- others -------------------------------------------------------------------------- */

lynx_status lx_llama_probe(lx_llama *e);
lynx_status lx_llama_fingerprint(lx_llama *e);
lynx_status lx_llama_sample(lynx_engine *engine, uint32_t row, const lynx_sampling *sampling,
                            const lynx_token *history, uint32_t history_count,
                            lynx_token *token);

/* Shape of one side of a layer; the head size is that of the file. */
void lx_llama_set_channels(lx_llama *e, uint32_t layer, uint32_t side, uint32_t channels);

#endif
