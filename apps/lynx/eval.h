/* SPDX-License-Identifier: MIT */
/* eval.h - what the parts of 'lynx eval' share. */
#ifndef EVAL_H
#define EVAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lynx/engine.h"

enum {
    EVAL_DRAFT = 62, /* tokens drafted behind a prompt: what one exact pass verifies */
    EVAL_METHODS_MAX = 64,
    EVAL_NAME_SIZE = 96
};

/* ---- ways to write a cache (eval_cache.c, eval_formula.c) ----------------------------- */

/* A quantiser of others, for comparison: what its formulas make of one side of one layer, and
 * how many bits it would send. Nothing of it travels. */
typedef struct eval_formula eval_formula;

/* Formulas by name: "q8_0", "q4_0", "cachegen"; NULL behind the last, or for other names. */
const char *eval_formula_name_at(size_t index);
const eval_formula *eval_formula_named(const char *name);

/* Where a page lies in the model. */
typedef struct eval_place {
    uint32_t layer, layer_count;
    lynx_side side;
    uint32_t channels;
} eval_place;

/* Symbols that a formula with an entropy coder has made of one side of one layer. */
typedef struct eval_symbols {
    uint32_t *counts; /* [channel][EVAL_SYMBOLS] */
} eval_symbols;
enum { EVAL_SYMBOLS = 32 };

/* 'from' through the formula into 'to'; bits of what has a fixed size, while symbols are
 * counted; and the entropy of those, in bits, which sets the counts back. */
double eval_formula_page(const eval_formula *formula, const eval_place *place,
                         const lynx_tile *from, const lynx_tile *to, uint32_t tokens,
                         eval_symbols *symbols);
double eval_symbols_take_bits(eval_symbols *symbols, uint32_t channels);

/* A codec or a formula, and how many of its planes are here. */
typedef struct eval_method {
    char name[EVAL_NAME_SIZE];
    uint32_t planes;
    lynx_codec *codec; /* NULL: 'formula' */
    const eval_formula *formula;
    double bits_at_8000; /* a value, head and tail counted in a prompt of 8,000 tokens; 0: as
                            measured */
} eval_method;

/* Append the methods of a list of names, "range:tail=64,paper" (what has an equals sign and no
 * colon belongs to the name before it), or of every name for NULL; of each with its first 1, 2,
 * ... planes. The bad name, or NULL, is
 * put in '*bad' (EVAL_NAME_SIZE bytes). LYNX_ERR_ARGUMENT: 'bad'; LYNX_ERR_LIMIT: too many. */
lynx_status eval_methods_parse(const char *list, uint32_t planes_max, eval_method methods[],
                               uint32_t *count, char *bad);
/* Make their codecs for a model. */
lynx_status eval_methods_open(eval_method methods[], uint32_t count, const lynx_model *model);
void eval_methods_close(eval_method methods[], uint32_t count);

/* A copy of what the engine's cache holds of a prompt. */
typedef struct eval_cache {
    lynx_engine *engine;
    const lynx_model *model;
    uint32_t tokens;
    uint8_t *bytes;
    size_t size;
    uint8_t *planes[LYNX_PLANES_MAX];
    eval_symbols symbols;
} eval_cache;

/* What coding did to a prompt's cache. vNMSE: squared errors by squares, the mean of layers. */
typedef struct eval_damage {
    double bits; /* a value */
    double vnmse[2];
} eval_damage;

lynx_status eval_cache_open(eval_cache *cache, lynx_engine *engine);
void eval_cache_close(eval_cache *cache);
/* Copy the cache of the first 'tokens' tokens. */
lynx_status eval_cache_save(eval_cache *cache, uint32_t tokens);
/* Put the copy in the engine, as 'method' gives it (NULL: as it is). */
lynx_status eval_cache_load(eval_cache *cache, const eval_method *method, eval_damage *damage);

/* ---- logits and attention (eval_logits.c) --------------------------------------------- */

lynx_token eval_largest(const float *logits, uint32_t count);
/* log(sum(exp(logits))) */
double eval_log_sum(const float *logits, uint32_t count);
/* KL(reference || logits) in nats; the sums are those of eval_log_sum. */
double eval_divergence(const float *reference, double reference_sum, const float *logits,
                       double sum, uint32_t count);

/* Attention outputs at some positions, and how far others are from them. */
typedef struct eval_attention {
    uint32_t layers, positions;
    float **reference; /* [layer], each [position][channels]; made when first seen */
    uint32_t *channels;
    double *error, *square; /* [layer] */
    uint32_t first, count;  /* positions of the batch that runs; count 0: not watched */
    bool is_reference, is_lost;
} eval_attention;

lynx_status eval_attention_open(eval_attention *a, uint32_t layers, uint32_t positions);
void eval_attention_close(eval_attention *a);
/* A pass over all positions begins. */
void eval_attention_begin(eval_attention *a, bool is_reference);
/* For lynx_llama_watch_attention. */
void eval_attention_watch(void *user, uint32_t layer, const float *values, uint32_t channels,
                          uint32_t tokens);
/* The mean of layers. */
double eval_attention_vnmse(const eval_attention *a);

/* ---- samples and rows (eval_rows.c) --------------------------------------------------- */

/* One method on one prompt. */
typedef struct eval_sample {
    uint32_t text; /* index of its document */
    uint32_t prompt;
    uint64_t digest; /* of the prompt's tokens and those behind it */
    uint32_t positions, top1;
    double bits, kl, loss, loss_f16; /* the last three are sums over positions, in nats */
    uint32_t accepted;               /* of EVAL_DRAFT */
    double vnmse_k, vnmse_v, vnmse_attention;
} eval_sample;

typedef struct eval_row {
    const eval_method *method;
    eval_sample *samples;
    uint32_t count, room;
} eval_row;

lynx_status eval_row_add(eval_row *row, const eval_sample *sample);
/* Whether there is a sample of the prompt; one of other tokens (the text has changed) goes. */
bool eval_row_has(eval_row *row, uint32_t text, uint32_t prompt, uint64_t digest);

/* A figure and its 95 % interval (bootstrap over documents). */
typedef struct eval_figure {
    double value, low, high;
} eval_figure;

typedef struct eval_summary {
    double bits_per_value, bits_at_8000;
    eval_figure kl, top1, accepted;
    double accepted_10, accepted_20, accepted_all; /* shares of prompts */
    double perplexity, perplexity_f16;
    double vnmse_k, vnmse_v, vnmse_attention;
    uint64_t positions;
    uint32_t prompts, texts;
} eval_summary;

eval_summary eval_row_summary(const eval_row *row, uint32_t text_count);

typedef enum eval_form { EVAL_TABLE, EVAL_CSV, EVAL_JSON } eval_form;
void eval_put_rows(const eval_row rows[], uint32_t count, uint32_t text_count, eval_form form);

/* Plots in 'folder' from rows; false after a message. */
bool eval_plot(const char *command, const char *folder, const eval_row rows[], uint32_t count,
               uint32_t text_count);

/* A line of CSV from a flat object, and a line of names before the first. */
void eval_put_csv(json_t *object, bool is_first);

/* ---- what was measured before (eval_resume.c) ------------------------------------------ */

/* What must be the same for samples to belong together. */
typedef struct eval_setting {
    char weights[33];
    uint32_t tokens, positions, prompts;
} eval_setting;

/* Read 'path' if it is there and open it for more; each sample goes to its row. CLI_OK or an
 * exit code after the message. */
int eval_resume_open(const char *command, const char *path, const eval_setting *setting,
                     char *const texts[], uint32_t text_count, eval_row rows[], uint32_t count,
                     FILE **file);
/* False when it could not be written. */
bool eval_resume_add(FILE *file, const char *text, const eval_method *method,
                     const eval_sample *sample);

/* ---- tasks (eval_task.c, eval_items.c) ------------------------------------------------- */

typedef enum eval_task { EVAL_PASSKEY, EVAL_RECALL, EVAL_CHOICE, EVAL_TASKS } eval_task;
bool eval_task_named(const char *name, eval_task *task);
const char *eval_task_name(eval_task task);

enum { EVAL_LENGTHS_MAX = 8, EVAL_OPTIONS = 4 };

/* A context, a question behind it, and what may be said; the first option is right. Without
 * others the answer is right when it is the one that the model gives. */
typedef struct eval_item {
    char *context;
    char question[256];
    char options[EVAL_OPTIONS][64];
    uint32_t option_count;
    double depth; /* where in the context the answer stands, 0 to 1 */
} eval_item;

/* Item 'index' of a task: a function of its arguments. The context has about 'words' words.
 * 'context' is malloc()ed, NULL without memory. */
void eval_item_make(eval_task task, uint32_t words, uint32_t index, eval_item *item);

/* Accuracy of each method, lengths in tokens. CLI_OK or an exit code after the message. */
int eval_run_task(const char *command, lynx_engine *engine, eval_task task,
                  const uint32_t lengths[], uint32_t length_count, uint32_t items,
                  const eval_method methods[], uint32_t count, eval_form form);

#endif
