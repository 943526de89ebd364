/* SPDX-License-Identifier: MIT */
/*
 * engine.h - what Lynx asks of an inference engine.
 *
 * An engine holds one model and the cache of one sequence. Positions count from 0 and are
 * dense: 'length' tokens are in the cache, the next one gets position 'length'. Applications
 * plug an engine in by this table; lynx/llama.h gives one on llama.cpp.
 *
 * Threads: all calls of one engine come from one thread at a time, but cancel(), which may come
 * from any. Engines that share a model (slots) are used from different threads at once.
 * No call prints, exits or aborts; an error is explained by error_text().
 *
 * The functions below the table are the way to call it: they check the state so that each
 * engine need not.
 */
#ifndef LYNX_ENGINE_H
#define LYNX_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/codec.h"
#include "lynx/export.h"
#include "lynx/kv.h"
#include "lynx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t lynx_token;

/* Who the model is. Compared before any payload; see docs/format.md, HELLO. */
typedef struct lynx_fingerprint {
    uint8_t structure[16]; /* architecture, hyperparameters, shapes, RoPE */
    uint8_t tokenizer[16]; /* vocabulary and its types */
    uint8_t weights[16];   /* content of the weights file */
} lynx_fingerprint;

/* Whether one token's logits are the same alone and in a batch, found by a probe. */
typedef enum lynx_exactness {
    LYNX_EXACT = 0,            /* bit for bit */
    LYNX_EXACT_TO_ROUNDING = 1 /* floating-point rounding differs */
} lynx_exactness;

typedef struct lynx_model {
    const char *name;         /* for people; "SmolLM2 135M Instruct" */
    const char *architecture; /* "llama", "gemma3" */
    lynx_shape shape;
    lynx_fingerprint fingerprint;
    uint32_t vocabulary;     /* tokens */
    uint32_t context_tokens; /* most tokens that the cache can hold */
    uint32_t batch_tokens;   /* most tokens of one batch() call that is still exact; >= 2 */
    uint32_t step_tokens;    /* that a step computes, what it is padded with counted: a batch of
                                at most so many takes no longer than a step; >= 1 */
    lynx_exactness exactness;
    float exactness_error; /* largest |difference| of a logit that the probe saw */
    bool can_refine;       /* pages may be written between steps, under a live sequence */
    bool can_await_layers; /* batch_by_layer is there */
    uint64_t step_ns; /* that a step took on a short cache, and that one more token added to a
                         batch; 0: not known */
    uint64_t row_ns;
    uint64_t draft_step_ns; /* that a draft step took there; 0: not known */
    uint32_t slots; /* engines that share what computes: with more than one what is computed
                       here takes from the others */
    uint32_t page_threads; /* threads to work on pages with; > 1: several pages may be mapped at
                              once, and each be touched by a thread of its own */
} lynx_model;

enum {
    LYNX_BIASES_MAX = 1024,
    LYNX_GRAMMAR_BYTES_MAX = 65536,
    LYNX_GRAMMAR_TEXT_MAX = 256, /* bytes of a sentence about a grammar */
    LYNX_TOP_LOGPROBS_MAX = 20
};

/* Added to the logit of a token before all else. -100 bans the token; 100 is more than logits
 * differ by, and so leaves no other. */
typedef struct lynx_bias {
    lynx_token token;
    float bias; /* [-100, 100] */
} lynx_bias;

/* How a token is chosen. Zero temperature: the largest logit, lowest id on a tie. The random
 * state is a function of 'seed' and of the position of the new token only, so any node that
 * has the same logits and the same tokens before them chooses the same.
 *
 * 'grammar' and 'allowed' bound what may be chosen; at most one of them is there. A token that
 * does not fit is replaced by one that is chosen among those that do. The pointers are
 * borrowed. */
typedef struct lynx_sampling {
    float temperature;       /* [0, 100]; default 0 */
    int32_t top_k;           /* 0 = off; default 0 */
    float top_p;             /* (0, 1]; 1 = off; default 1 */
    float min_p;             /* [0, 1); 0 = off; default 0 */
    float repeat_penalty;    /* (0, 10]; 1 = off; default 1 */
    float frequency_penalty; /* [-2, 2]; default 0 */
    float presence_penalty;  /* [-2, 2]; default 0 */
    int32_t penalty_tokens;  /* last tokens that the penalties see, [0, 4096]; default 64 */
    uint32_t seed;           /* default 0 */
    const lynx_bias *biases; /* 'bias_count' of them, token ids rising; default none */
    uint32_t bias_count;     /* [0, LYNX_BIASES_MAX] */
    const char *grammar;     /* of the answer's text, in GBNF; NULL (default): none */
    uint32_t grammar_bytes;  /* [0, LYNX_GRAMMAR_BYTES_MAX] */
    const uint8_t *allowed;  /* bit t mod 8 of byte t div 8: token t; NULL (default): all */
    uint32_t allowed_bytes;  /* tokens behind them are not allowed */
} lynx_sampling;

LYNX_API void lynx_sampling_init(lynx_sampling *sampling);
/* LYNX_ERR_ARGUMENT: a number is out of its range. The grammar is not read. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_sampling_check(const lynx_sampling *sampling);

/* Read a grammar. LYNX_ERR_ARGUMENT, with a sentence in 'text' (LYNX_GRAMMAR_TEXT_MAX bytes),
 * when it is wrong or takes too much; LYNX_ERR_MEMORY. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_grammar_check(const char *grammar, size_t size,
                                                        char *text);

/* ---- how likely tokens are ----------------------------------------------------------- */

typedef struct lynx_token_logprob {
    lynx_token token;
    float logprob;
} lynx_token_logprob;

/* Natural logarithms of the softmax of the logits as the model gives them: no bias, penalty or
 * filter is in them. */
typedef struct lynx_logprobs {
    float logprob;                                 /* of the token in question */
    uint32_t top_count;                            /* [0, LYNX_TOP_LOGPROBS_MAX] */
    lynx_token_logprob top[LYNX_TOP_LOGPROBS_MAX]; /* most likely first, lowest id on a tie */
} lynx_logprobs;

/* 'top_count' is cut to what there is. */
LYNX_API void lynx_logprobs_of(const float *logits, uint32_t vocabulary, lynx_token token,
                               uint32_t top_count, lynx_logprobs *logprobs);

/* ---- the engine ---------------------------------------------------------------------- */

typedef struct lynx_engine lynx_engine;

/* Progress of a prefill: 'done' of 'total' tokens are in the cache. Called on the calling
 * thread; false stops the prefill with LYNX_ERR_CANCELLED. May read pages (map_page). */
typedef bool lynx_prefill_progress(void *user, uint32_t done, uint32_t total);

/* The first 'done' tokens are in the cache of the layers before 'layers', whose pages may be
 * read. Called as lynx_prefill_progress. */
typedef bool lynx_prefill_layers(void *user, uint32_t done, uint32_t layers);

/* What one side said; both terminated. */
typedef struct lynx_chat_turn {
    const char *role; /* "system", "user", "assistant" */
    const char *text;
} lynx_chat_turn;

/* Returns when layer 'layer' of the cache may be read; other than LYNX_OK ends the batch with
 * that. Called on the calling thread. May map, unmap and commit pages. */
typedef lynx_status lynx_layer_wait(void *user, uint32_t layer);

typedef struct lynx_engine_ops {
    void (*destroy)(lynx_engine *engine);
    const lynx_model *(*model)(const lynx_engine *engine);
    /* One sentence about the last error of this engine, never NULL. */
    const char *(*error_text)(const lynx_engine *engine);

    /* Text. tokenize: '*count' is always the number needed; LYNX_ERR_LIMIT when it is more
     * than 'capacity'. 'parse_special' recognises control tokens in the text. */
    lynx_status (*tokenize)(lynx_engine *engine, const char *text, size_t size, bool add_start,
                            bool parse_special, lynx_token *tokens, size_t capacity,
                            size_t *count);
    /* Bytes of one token (may be half a UTF-8 character), not terminated. */
    lynx_status (*token_text)(lynx_engine *engine, lynx_token token, char *text,
                              size_t capacity, size_t *size);
    bool (*token_is_end)(const lynx_engine *engine, lynx_token token);
    /* The prompt of a chat whose next turn is the model's; 'template_name' may be NULL (the
     * model's own). '*size' as in tokenize. LYNX_ERR_UNSUPPORTED: the template is not known;
     * pass a name. */
    lynx_status (*chat_prompt)(lynx_engine *engine, const char *template_name,
                               const lynx_chat_turn *turns, size_t count, char *text,
                               size_t capacity, size_t *size);

    /* Cache. prefill: empties it, runs all tokens (count >= 1) in pieces, leaves the logits
     * of the last in row 0. reserve: empties it and makes 'count' tokens of undefined
     * content, to be written by pages. rewind: keeps the first 'length' tokens. */
    lynx_status (*prefill)(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                           lynx_prefill_progress *progress, void *user);
    /* The same; 'layers' is called behind each layer of a piece but the last, before
     * 'progress'. NULL where can_await_layers is false. */
    lynx_status (*prefill_by_layer)(lynx_engine *engine, const lynx_token *tokens,
                                    uint32_t count, lynx_prefill_progress *progress,
                                    lynx_prefill_layers *layers, void *user);
    lynx_status (*reserve)(lynx_engine *engine, uint32_t count);
    lynx_status (*rewind)(lynx_engine *engine, uint32_t length);
    uint32_t (*length)(const lynx_engine *engine);

    /* Memory of page 'id' of a prompt of 'prompt_tokens' tokens: the engine's own where the
     * host can reach it, else a staging copy. 'is_write': the caller will overwrite all of it.
     * Unmap before the next map (with 'page_threads' > 1: it ends all maps that there are), and
     * before any prefill, step or batch. */
    lynx_status (*map_page)(lynx_engine *engine, lynx_page_id id, uint32_t prompt_tokens,
                            bool is_write, lynx_tile *tile);
    lynx_status (*unmap_page)(lynx_engine *engine);
    /* Make all written pages visible to the next step. Free where can_refine. */
    lynx_status (*commit_pages)(lynx_engine *engine);

    /* Append tokens; row i of the logits belongs to tokens[i]. step appends one token by the
     * path that decodes fastest among those that agree with batch() (strict exactness: padded
     * with a dummy that is removed again). batch: count in [1, batch_tokens]; rows before
     * 'first_row' are not asked for (the output layer is much of a small model), those from
     * it on are the same whatever it is; 'count' or more: none is. */
    lynx_status (*step)(lynx_engine *engine, lynx_token token);
    lynx_status (*batch)(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                         uint32_t first_row);
    /* The same, behind a cache of which some is still to be written: 'wait' is called for each
     * layer in its order, once, before what is in the cache of that layer is read. Those are
     * the logits of a batch behind the whole cache. NULL where can_await_layers is false. */
    lynx_status (*batch_by_layer)(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                                  uint32_t first_row, lynx_layer_wait *wait, void *user);
    /* Append tokens[0] by the path that decodes fastest. Logits and what is put in the cache
     * may differ from step() and batch() in rounding: the caller takes it all back before it
     * computes what must be exact. Where that path computes more tokens at once anyhow, it
     * appends those behind the first, too, and length() tells; 'count' in [1, step_tokens].
     * Logits may be those of common tokens and of the 'history_count' of 'history' (the prompt
     * and the answer so far) alone, and very small for others. */
    lynx_status (*draft_step)(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                              const lynx_token *history, uint32_t history_count);
    /* Append 'count' tokens, in [1, batch_tokens], for the first draft behind them, in row 0,
     * in whatever rounding as draft_step. 'wait' as in batch_by_layer, or NULL. */
    lynx_status (*draft_batch)(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                               const lynx_token *history, uint32_t history_count,
                               lynx_layer_wait *wait, void *user);
    /* 'vocabulary' floats, valid until the next call that computes; NULL where there are none.
     */
    const float *(*logits)(lynx_engine *engine, uint32_t row);

    /* Choose the token at position 'history_count' from logits row 'row'; 'history' is every
     * token before it, 'prompt_count' of the prompt and then those of the answer, which the
     * grammar describes. A pure function of its arguments. LYNX_ERR_ARGUMENT: the grammar is
     * wrong, or the answer so far does not fit it; LYNX_ERR_ENGINE: no token is left to
     * choose. */
    lynx_status (*sample)(lynx_engine *engine, uint32_t row, const lynx_sampling *sampling,
                          const lynx_token *history, uint32_t prompt_count,
                          uint32_t history_count, lynx_token *token);

    /* Which tokens the grammar of 'sampling' lets come first: as 'allowed' there, of
     * '(vocabulary + 7) / 8' bytes. */
    lynx_status (*first_tokens)(lynx_engine *engine, const lynx_sampling *sampling,
                                uint8_t *allowed);

    /* From any thread: stop what computes soon (LYNX_ERR_CANCELLED). */
    void (*cancel)(lynx_engine *engine);
} lynx_engine_ops;

/* First member of every engine. */
struct lynx_engine {
    const lynx_engine_ops *ops;
};

/* End 'engine'. NULL is allowed. */
LYNX_API void lynx_engine_destroy(lynx_engine *engine);

#ifdef __cplusplus
}
#endif

#endif
