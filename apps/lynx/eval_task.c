/* SPDX-License-Identifier: MIT */
/*
 * eval_task.c - tasks on each cache: the context is in it, the question comes behind it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "eval.h"

enum { QUESTION_TOKENS = 62, DEPTHS = 5, PARTS = 1 + EVAL_LENGTHS_MAX + DEPTHS };

static const double WORD_TOKENS = 1.4; /* of the items' English, about */

/* Items of one part of all: every item, those of one length, those of one depth. */
typedef struct tally {
    uint32_t items, correct, kept, f16_correct;
} tally;

/* One method; the first is the cache as it is. */
typedef struct score {
    const eval_method *method; /* NULL: the cache as it is */
    tally parts[PARTS];
    double bits;
} score;

typedef struct task_run {
    lynx_engine *engine;
    eval_task task;
    const uint32_t *lengths;
    uint32_t length_count, score_count;
    score *scores;
    eval_cache cache;
} task_run;

/* ---- answers ------------------------------------------------------------------------- */

typedef struct line_tokens {
    lynx_token tokens[QUESTION_TOKENS];
    uint32_t question, all; /* tokens of the question, and with the option */
} line_tokens;

/* The question and one option behind it. */
static lynx_status tokenize_line(task_run *r, const eval_item *item, uint32_t option,
                                 line_tokens *line)
{
    const lynx_engine_ops *ops = r->engine->ops;
    size_t count = 0;
    lynx_status status = ops->tokenize(r->engine, item->question, strlen(item->question), false,
                                       false, line->tokens, QUESTION_TOKENS, &count);
    line->question = (uint32_t)count;
    if (status != LYNX_OK)
        return status;
    status = ops->tokenize(r->engine, item->options[option], strlen(item->options[option]),
                           false, false, line->tokens + line->question,
                           QUESTION_TOKENS - line->question, &count);
    line->all = line->question + (uint32_t)count;
    return status;
}

/* Log-probability of an option, and whether the model would give it. */
static lynx_status try_option(task_run *r, const eval_item *item, uint32_t option,
                              double *likelihood, bool *is_given)
{
    line_tokens line;
    const uint32_t vocabulary = r->cache.model->vocabulary;
    lynx_status status = tokenize_line(r, item, option, &line);
    if (status == LYNX_OK)
        status = r->engine->ops->batch(r->engine, line.tokens, line.all - 1, line.question - 1);
    if (status != LYNX_OK)
        return status;
    *likelihood = 0;
    *is_given = true;
    for (uint32_t i = line.question; i < line.all; i++) {
        const float *logits = r->engine->ops->logits(r->engine, i - 1);
        *likelihood += (double)logits[line.tokens[i]] - eval_log_sum(logits, vocabulary);
        *is_given = *is_given && eval_largest(logits, vocabulary) == line.tokens[i];
    }
    return r->engine->ops->rewind(r->engine, r->cache.tokens);
}

static lynx_status answer(task_run *r, const eval_item *item, bool *is_right)
{
    double best = -INFINITY;
    for (uint32_t i = 0; i < item->option_count; i++) {
        double likelihood;
        bool is_given;
        const lynx_status status = try_option(r, item, i, &likelihood, &is_given);
        if (status != LYNX_OK)
            return status;
        if (item->option_count == 1)
            *is_right = is_given;
        else if (likelihood > best)
            *is_right = i == 0;
        best = likelihood > best ? likelihood : best;
    }
    return LYNX_OK;
}

/* ---- items --------------------------------------------------------------------------- */

static void count_item(score *s, uint32_t length, uint32_t depth, bool is_right, bool f16_right)
{
    const uint32_t parts[3] = {0, 1 + length, 1 + EVAL_LENGTHS_MAX + depth};
    for (uint32_t i = 0; i < 3; i++) {
        tally *t = &s->parts[parts[i]];
        t->items++;
        t->correct += is_right;
        t->f16_correct += f16_right;
        t->kept += is_right && f16_right;
    }
}

static lynx_status do_item(task_run *r, const eval_item *item, uint32_t length)
{
    lynx_token *tokens = NULL;
    uint32_t count = 0;
    bool f16_right = false;
    lynx_status status =
        cli_tokenize(r->engine, item->context, strlen(item->context), true, &tokens, &count);
    if (status == LYNX_OK)
        status = r->engine->ops->prefill(r->engine, tokens, count, NULL, NULL);
    free(tokens);
    if (status == LYNX_OK)
        status = eval_cache_save(&r->cache, count);
    for (uint32_t i = 0; i < r->score_count && status == LYNX_OK; i++) {
        score *s = &r->scores[i];
        eval_damage damage = {0};
        bool is_right = false;
        status = eval_cache_load(&r->cache, s->method, &damage);
        if (status == LYNX_OK)
            status = answer(r, item, &is_right);
        f16_right = i == 0 ? is_right : f16_right;
        s->bits += damage.bits;
        count_item(s, length, (uint32_t)(item->depth * DEPTHS), is_right, f16_right);
    }
    return status;
}

/* ---- output -------------------------------------------------------------------------- */

/* Wilson's 95 % interval of a share. */
static eval_figure wilson(uint32_t correct, uint32_t items)
{
    const double z = 1.959964, n = items, p = correct / n;
    const double centre = (p + z * z / (2 * n)) / (1 + z * z / n);
    const double half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    /* The ends are exact at 0 and 1. */
    return (eval_figure){p, correct ? centre - half : 0, correct < items ? centre + half : 1};
}

static void name_part(const task_run *r, uint32_t part, char *name, size_t room)
{
    if (part == 0)
        snprintf(name, room, "all");
    else if (part <= EVAL_LENGTHS_MAX)
        snprintf(name, room, "%u tokens", r->lengths[part - 1]);
    else
        snprintf(name, room, "depth %.1f", (part - 1 - EVAL_LENGTHS_MAX + 0.5) / DEPTHS);
}

static json_t *part_json(const task_run *r, const score *s, uint32_t part)
{
    char name[32];
    const tally *t = &s->parts[part];
    const eval_figure f = wilson(t->correct, t->items);
    name_part(r, part, name, sizeof(name));
    return json_pack("{s:s,s:s,s:i,s:f,s:s,s:i,s:i,s:f,s:f,s:f,s:i,s:i}", "task",
                     eval_task_name(r->task), "codec", s->method ? s->method->name : "as it is",
                     "planes", s->method ? (int)s->method->planes : 0, "bits_per_value",
                     s->method
                         ? s->bits / s->parts[0].items
                         : 8.0 * (double)lynx_element_bytes(r->cache.model->shape.element),
                     "part", name, "items", (int)t->items, "correct", (int)t->correct,
                     "accuracy", f.value, "accuracy_low", f.low, "accuracy_high", f.high,
                     "f16_correct", (int)t->f16_correct, "kept", (int)t->kept);
}

static void put_line(json_t *o)
{
    printf("%-28s %6lld %5.2f %-12s %5lld %7lld %9.3f [%.3f - %.3f] %5lld of %lld\n",
           json_string_value(json_object_get(o, "codec")),
           (long long)json_integer_value(json_object_get(o, "planes")),
           json_real_value(json_object_get(o, "bits_per_value")),
           json_string_value(json_object_get(o, "part")),
           (long long)json_integer_value(json_object_get(o, "items")),
           (long long)json_integer_value(json_object_get(o, "correct")),
           json_real_value(json_object_get(o, "accuracy")),
           json_real_value(json_object_get(o, "accuracy_low")),
           json_real_value(json_object_get(o, "accuracy_high")),
           (long long)json_integer_value(json_object_get(o, "kept")),
           (long long)json_integer_value(json_object_get(o, "f16_correct")));
}

static void put_scores(const task_run *r, eval_form form)
{
    json_t *array = json_array();
    if (form == EVAL_TABLE)
        printf("%s: kept is of the items that the cache as it is solves. [95 %% interval]\n\n"
               "%-28s %6s %5s %-12s %5s %7s %9s %15s %5s\n",
               eval_task_name(r->task), "codec", "planes", "bits", "part", "items", "correct",
               "accuracy", "", "kept");
    for (uint32_t i = 0; i < r->score_count; i++)
        for (uint32_t part = 0; part < PARTS; part++) {
            if (r->scores[i].parts[part].items == 0 || (part && form == EVAL_TABLE))
                continue;
            json_t *object = part_json(r, &r->scores[i], part);
            if (form == EVAL_TABLE)
                put_line(object);
            if (form == EVAL_CSV)
                eval_put_csv(object, json_array_size(array) == 0);
            json_array_append_new(array, object);
        }
    if (form == EVAL_JSON) {
        json_dumpf(array, stdout, JSON_INDENT(1));
        putchar('\n');
    }
    json_decref(array);
}

/* ---- the run ------------------------------------------------------------------------- */

static lynx_status do_items(task_run *r, uint32_t items)
{
    lynx_status status = LYNX_OK;
    for (uint32_t length = 0; length < r->length_count; length++)
        for (uint32_t i = 0; i < items && status == LYNX_OK; i++) {
            eval_item item;
            eval_item_make(r->task, (uint32_t)(r->lengths[length] / WORD_TOKENS), i, &item);
            status = item.context ? do_item(r, &item, length) : LYNX_ERR_MEMORY;
            free(item.context);
        }
    return status;
}

int eval_run_task(const char *command, lynx_engine *engine, eval_task task,
                  const uint32_t lengths[], uint32_t length_count, uint32_t items,
                  const eval_method methods[], uint32_t count, eval_form form)
{
    task_run r = {.engine = engine,
                  .task = task,
                  .lengths = lengths,
                  .length_count = length_count,
                  .score_count = count + 1};
    const uint32_t most = engine->ops->model(engine)->context_tokens;
    for (uint32_t i = 0; i < length_count; i++)
        if (1.2 * lengths[i] + QUESTION_TOKENS > most)
            return cli_usage(command,
                             "a task of %u tokens does not fit the context of %u; use a larger "
                             "--ctx-size or smaller --tokens",
                             lengths[i], most);
    r.scores = calloc(r.score_count, sizeof(*r.scores));
    lynx_status status = r.scores ? eval_cache_open(&r.cache, engine) : LYNX_ERR_MEMORY;
    for (uint32_t i = 0; r.scores && i < count; i++)
        r.scores[1 + i].method = &methods[i];
    if (status == LYNX_OK)
        status = do_items(&r, items);
    if (status == LYNX_OK)
        put_scores(&r, form);
    eval_cache_close(&r.cache);
    free(r.scores);
    return status == LYNX_OK
               ? CLI_OK
               : cli_fail(command, status,
                          status == LYNX_ERR_ENGINE ? engine->ops->error_text(engine) : NULL);
}
