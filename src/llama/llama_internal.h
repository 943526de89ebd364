/* SPDX-License-Identifier: MIT */
/* llama_internal.h - what the files of the adapter share. */
#ifndef LX_LLAMA_INTERNAL_H
#define LX_LLAMA_INTERNAL_H

#include <ggml-backend.h>
#include <ggml.h>
#include <llama.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/constraint.h"
#include "lynx/llama.h"
#include "slots/slot_queue.h"

enum {
    LX_PARTS_MAX = 2, /* full attention, sliding window */
    LX_ERROR_TEXT = 512,
    LX_REPORT_TEXT = 4096,
    LX_BATCH_TOKENS = 63,      /* 64 queries take another path of flash attention */
    LX_BATCH_TOKENS_EVEN = 62, /* of several slots, whose columns are even (llama_batch.c) */
    LX_PIECE_TOKENS_MAX = 2048,
    LX_PROBE_TOKENS = 48 /* of the context of the exactness probe */
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

typedef struct lx_slot lx_slot;

/* Logits of drafts for few tokens (llama_head.c). */
typedef struct lx_head {
    const struct ggml_tensor *weights; /* [vocabulary][width], llama.cpp's; NULL: not usable */
    bool is_ready;
    uint32_t vocabulary, width;
    uint32_t common; /* tokens from the first one on whose logits every draft has */
    size_t row_bytes;
    uint8_t *rare_rows; /* rows of the 'rare_count' others */
    lynx_token *rare;
    uint8_t *is_rare; /* for each token */
    uint32_t rare_count;
    uint32_t row_count;   /* of the decode that ends before the output layer; 0: none does */
    uint32_t taken_count; /* of them, which llama.cpp may compute in parts */
    float *inputs;        /* [row_count][width] */
    ggml_backend_t backend;
    void *memory;
    size_t memory_bytes;
} lx_head;

/* What the slots of one model share. */
typedef struct lx_llama {
    const lynx_allocator *memory;
    lynx_llama_options options;
    struct llama_model *model;
    struct llama_context *context; /* touched in jobs only */
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
    lx_state layout; /* of a blob that the probe saw: what every blob is built like */

    lx_slot *slots[LX_SLOTS_MAX]; /* for creation alone: each may end any time later */
    uint32_t slot_count;
    atomic_uint live_slots;

    /* Several slots: the thread that computes, and the jobs for it. */
    lx_slot_queue queue;
    pthread_t thread;
    bool has_queue, has_thread;
    lx_slot *running[LX_SLOTS_MAX]; /* whose tokens are in llama_decode */
    uint32_t running_count;

    /* batch_by_layer: who waits, for layers from 'awaited' on, and what came of it. */
    lynx_layer_wait *wait;
    void *wait_user;
    uint32_t awaited;
    lynx_status wait_status;
    uint32_t layer_ends;  /* nodes that end a layer, seen at start-up */
    bool has_other_order; /* of nodes than batch_by_layer builds on */

    /* lynx_llama_watch_attention. */
    lynx_attention_output *watch;
    void *watch_user;
    float *watched; /* 'watched_count' values of one layer */
    size_t watched_count;

    lx_head head;

    float *saved_logits; /* for the probe */
    char report[LX_REPORT_TEXT];
} lx_llama;

/* One sequence: an engine. */
struct lx_slot {
    lynx_engine base;
    lx_llama *shared;
    uint32_t index; /* sequence and stream of llama.cpp */
    uint32_t length;
    uint32_t arriving;                 /* tokens behind it whose layers are being computed */
    uint32_t first_cell[LX_PARTS_MAX]; /* position of cell 0 of its stream */
    bool has_tail; /* the context has more: the slot's next job drops that first */
    atomic_bool is_cancelled;

    /* Rows of the last decode, from 'row_begin' to before 'row_end': in the context, row 0 at
     * 'row_zero' of its batch, or, of several slots and of drafts by few tokens, in 'rows'. */
    uint32_t row_zero, row_begin, row_end, row_room;
    bool has_own_rows;
    float *rows;

    /* Blob access: the whole state; or a skeleton while cells are reserved. */
    uint8_t *blob;
    size_t blob_size;
    lx_state blob_state;
    bool is_blob_current; /* the blob holds what the context holds */

    /* Of what lx_state_set_undefined hands to llama.cpp. */
    uint8_t *skeleton;
    size_t skeleton_size;
    uint32_t skeleton_uses;

    /* A mapped page in device memory. */
    uint8_t *staging;
    size_t staging_size;
    struct ggml_tensor *mapped;
    lynx_tile mapped_tile;
    uint32_t mapped_first, mapped_count, mapped_channels;
    bool is_mapped_write;

    llama_token_data *candidates; /* 'vocabulary' of them */
    lx_constraint constraint;
    char error[LX_ERROR_TEXT];
};

lx_slot *lx_slot_of(lynx_engine *engine);

/* Explain in 'error' (LX_ERROR_TEXT bytes) and return 'status'. */
lynx_status lx_llama_fail(char *error, lynx_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Append a line to the probe's report. */
void lx_llama_note(lx_llama *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- llama_batch.c ------------------------------------------------------------------- */

/* A slot's tokens for the end of its cache, with logits of all (STEP) or of the last (PIECE).
 */
typedef struct lx_decode_job {
    lx_job base;
    lx_slot *slot;
    const lynx_token *tokens;
    uint32_t count;     /* of tokens that are kept */
    uint32_t first_row; /* of the logits that are asked for */
    bool is_draft; /* a step with drafts alone in its llama_decode is its first token alone */
    const lynx_token *history; /* of a draft: tokens that may come again */
    uint32_t history_count;
} lx_decode_job;

void lx_decode_job_init(lx_decode_job *job, lx_slot *slot, lx_job_kind kind,
                        const lynx_token *tokens, uint32_t count);

/* Decode a group as one batch; each job gets its status. On the thread that may touch the
 * context. */
void lx_decode_group(lx_llama *e, lx_decode_job *jobs[], uint32_t count);

/* Room for copies of the logits of 'count' tokens. */
lynx_status lx_slot_make_rows(lx_slot *s, uint32_t count);

/* Decode 'tokens' of a prefill, alone. */
lynx_status lx_slot_decode_piece(lx_slot *s, const lynx_token *tokens, uint32_t count);

/* The same for drafts, as lx_slot_decode_draft: all of the tokens. */
lynx_status lx_slot_decode_draft_piece(lx_slot *s, const lynx_token *tokens, uint32_t count,
                                       const lynx_token *history, uint32_t history_count);

/* The same for steps, with logits from 'first_row' on. */
lynx_status lx_slot_decode_step(lx_slot *s, const lynx_token *tokens, uint32_t count,
                                uint32_t first_row);

/* The same for drafts: only the first token if no other slot has any but drafts, by kernels
 * that round in another way. */
lynx_status lx_slot_decode_draft(lx_slot *s, const lynx_token *tokens, uint32_t count,
                                 const lynx_token *history, uint32_t history_count);

/* Run 'call' where and when nothing else touches the context. */
typedef lynx_status lx_slot_call(lx_slot *s, void *user);
lynx_status lx_slot_run(lx_slot *s, lx_slot_call *call, void *user);

/* Stop decoding when all slots of the batch are cancelled. */
bool lx_batch_should_abort(void *user);

lynx_status lx_batch_start_thread(lx_llama *e);
void lx_batch_stop_thread(lx_llama *e);

/* ---- llama_engine.c ------------------------------------------------------------------ */

extern const lynx_engine_ops lx_slot_ops;

lynx_status lx_slot_step(lynx_engine *engine, lynx_token token);
lynx_status lx_slot_batch(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                          uint32_t first_row);
lynx_status lx_slot_draft_step(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                               const lynx_token *history, uint32_t history_count);
lynx_status lx_slot_draft_batch(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                                const lynx_token *history, uint32_t history_count);
lynx_status lx_slot_rewind(lynx_engine *engine, uint32_t length);
lynx_status lx_slot_clear(lx_slot *s);

/* ---- llama_create.c ------------------------------------------------------------------ */

/* Of the engine's table: the last slot frees what all share. */
void lx_slot_destroy(lynx_engine *engine);

/* Shape of one side of a layer; the head size is that of the file. */
void lx_llama_set_channels(lx_llama *e, uint32_t layer, uint32_t side, uint32_t channels);

/* ---- llama_state.c ------------------------------------------------------------------- */

/* Parse a whole blob of the slot; LYNX_ERR_UNSUPPORTED with a sentence when it is not as
 * known. */
lynx_status lx_state_parse(lx_slot *s, const uint8_t *blob, size_t size, lx_state *state);
void lx_state_fini(const lx_llama *e, lx_state *state);

/* The first position that a part needs for a prompt of 'tokens': a window's pages begin late.
 */
uint32_t lx_state_first_cell(const lx_llama *e, uint32_t part, uint32_t tokens);

/* Make a blob for the slot with cells for the positions that each part needs, up to tokens - 1,
 * and zeros as content. '*blob' is the caller's (free()). */
lynx_status lx_state_build(const lx_slot *s, uint32_t tokens, uint8_t **blob, size_t *size);

/* Read the slot's blob into '*blob' (malloc); put one in the place of what the slot has. */
lynx_status lx_state_get(lx_slot *s, uint8_t **blob, size_t *size);
lynx_status lx_state_set(lx_slot *s, const uint8_t *blob, size_t size);

/* The same with undefined content, in the place of what the slot has. */
lynx_status lx_state_set_undefined(lx_slot *s, uint32_t tokens);
void lx_state_drop_skeleton(lx_slot *s);

/* ---- llama_cache.c ------------------------------------------------------------------- */

/* The evaluation callback: asked before and called after nodes are computed. */
bool lx_cache_capture(struct ggml_tensor *node, bool ask, void *user);
lynx_status lx_cache_reserve(lynx_engine *engine, uint32_t count);
lynx_status lx_cache_map(lynx_engine *engine, lynx_page_id id, uint32_t prompt_tokens,
                         bool is_write, lynx_tile *tile);
lynx_status lx_cache_unmap(lynx_engine *engine);
lynx_status lx_cache_commit(lynx_engine *engine);
/* Tile of 'count' cells from 'first' of a side, wherever it lies. */
lynx_status lx_cache_tile(lx_slot *s, uint32_t layer, uint32_t side, uint32_t first,
                          uint32_t count, bool is_write, lynx_tile *tile);

/* ---- llama_layers.c ------------------------------------------------------------------ */

/* At start-up: a node that is computed, and one that touches the cache of 'layer'. */
void lx_layers_see(lx_llama *e, const struct ggml_tensor *node);
void lx_layers_see_cache(lx_llama *e, uint32_t layer);
/* The order is what batch_by_layer builds on. */
bool lx_layers_are_in_order(const lx_llama *e);

/* Whether somebody waits for what comes behind the node. */
bool lx_layers_wants(const lx_llama *e, const struct ggml_tensor *node);
/* Wait for it; false: compute no further. */
bool lx_layers_await(lx_llama *e);

/* 'layers' may be NULL. */
lynx_status lx_slot_decode_piece_by_layer(lx_slot *s, const lynx_token *tokens, uint32_t count,
                                          lynx_prefill_layers *layers, void *user);

lynx_status lx_slot_batch_by_layer(lynx_engine *engine, const lynx_token *tokens,
                                   uint32_t count, uint32_t first_row, lynx_layer_wait *wait,
                                   void *user);

lynx_status lx_slot_draft_batch_by_layer(lynx_engine *engine, const lynx_token *tokens,
                                         uint32_t count, const lynx_token *history,
                                         uint32_t history_count, lynx_layer_wait *wait,
                                         void *user);

/* ---- llama_watch.c ------------------------------------------------------------------- */

/* Whether the node is an attention output that somebody watches, and there is room for it. */
bool lx_watch_wants(lx_llama *e, const struct ggml_tensor *node);
/* Hand it on. */
void lx_watch_take(lx_llama *e, struct ggml_tensor *node);

/* ---- llama_head.c -------------------------------------------------------------------- */

/* At start-up: a node that is computed. */
void lx_head_see(lx_llama *e, const struct ggml_tensor *node);
/* Ready where a draft may look at few tokens. */
lynx_status lx_head_init(lx_llama *e);
void lx_head_fini(lx_llama *e);

/* Around a llama_decode of drafts with 'rows' rows, one for each, which then computes no logits
 * of its own: begin, what each may be made of, decode, and the logits, 'vocabulary' for each
 * row; NULL: none, it failed. LYNX_ERR_ENGINE: the input of the output layer was not found. */
void lx_head_begin(lx_llama *e, uint32_t rows);
void lx_head_add(lx_llama *e, const lynx_token *tokens, uint32_t count);
lynx_status lx_head_end(lx_llama *e, float *const logits[]);

/* Whether the node goes into the output layer of such a decode; keep its rows, which are those
 * behind the ones before. */
bool lx_head_wants(const lx_llama *e, const struct ggml_tensor *node);
void lx_head_take(lx_llama *e, const struct ggml_tensor *node);

/* ---- others -------------------------------------------------------------------------- */

lynx_status lx_llama_probe(lx_llama *e);
lynx_status lx_llama_probe_exactness(lx_llama *e);
lynx_status lx_llama_fingerprint(lx_llama *e);
lynx_status lx_slot_sample(lynx_engine *engine, uint32_t row, const lynx_sampling *sampling,
                           const lynx_token *history, uint32_t prompt_count,
                           uint32_t history_count, lynx_token *token);
lynx_status lx_slot_first_tokens(lynx_engine *engine, const lynx_sampling *sampling,
                                 uint8_t *allowed);

#endif
