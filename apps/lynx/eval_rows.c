/* SPDX-License-Identifier: MIT */
/* eval_rows.c - samples of many prompts to figures with intervals, and their output. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"
#include "numbers.h"

enum { RESAMPLES = 1000 };

lynx_status eval_row_add(eval_row *row, const eval_sample *sample)
{
    if (row->count == row->room) {
        const uint32_t room = row->room ? 2 * row->room : 32;
        eval_sample *samples = realloc(row->samples, room * sizeof(*samples));
        if (!samples)
            return LYNX_ERR_MEMORY;
        row->samples = samples;
        row->room = room;
    }
    row->samples[row->count++] = *sample;
    return LYNX_OK;
}

bool eval_row_has(eval_row *row, uint32_t text, uint32_t prompt, uint64_t digest)
{
    bool has = false;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < row->count; i++) {
        const eval_sample one = row->samples[i];
        const bool is_same = one.text == text && one.prompt == prompt;
        if (is_same && one.digest != digest)
            continue;
        has = has || is_same;
        row->samples[kept++] = one;
    }
    row->count = kept;
    return has;
}

/* ---- intervals ----------------------------------------------------------------------- */

/* Sums of one document: what is divided, and by what. */
typedef struct ratio {
    double value, weight;
} ratio;

typedef ratio ratio_of(const eval_sample *sample);

static ratio kl_of(const eval_sample *s)
{
    return (ratio){s->kl, s->positions};
}

static ratio top1_of(const eval_sample *s)
{
    return (ratio){s->top1, s->positions};
}

static ratio accepted_of(const eval_sample *s)
{
    return (ratio){s->accepted, 1};
}

/* The same draws for every row, so that rows can be compared. */
static uint32_t draw(uint64_t *state, uint32_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 33) % below);
}

static eval_figure figure_of(const eval_row *row, uint32_t text_count, ratio_of *of)
{
    double resampled[RESAMPLES];
    uint64_t state = 1;
    ratio all = {0, 0};
    ratio *texts = calloc(text_count, sizeof(*texts));
    for (uint32_t i = 0; texts && i < row->count; i++) {
        const ratio one = of(&row->samples[i]);
        ratio *text = &texts[row->samples[i].text];
        text->value += one.value;
        text->weight += one.weight;
        all.value += one.value;
        all.weight += one.weight;
    }
    for (uint32_t i = 0; texts && i < RESAMPLES; i++) {
        ratio sum = {0, 0};
        for (uint32_t n = 0; n < text_count; n++) {
            const ratio *text = &texts[draw(&state, text_count)];
            sum.value += text->value;
            sum.weight += text->weight;
        }
        resampled[i] = sum.weight > 0 ? sum.value / sum.weight : all.value / all.weight;
    }
    if (!texts)
        return (eval_figure){NAN, NAN, NAN};
    free(texts);
    numbers_sort(resampled, RESAMPLES);
    return (eval_figure){all.value / all.weight, resampled[RESAMPLES / 40],
                         resampled[RESAMPLES - 1 - RESAMPLES / 40]};
}

static uint32_t count_texts(const eval_row *row, uint32_t text_count)
{
    uint32_t found = 0;
    for (uint32_t text = 0; text < text_count; text++)
        for (uint32_t i = 0; i < row->count; i++)
            if (row->samples[i].text == text) {
                found++;
                break;
            }
    return found;
}

eval_summary eval_row_summary(const eval_row *row, uint32_t text_count)
{
    eval_summary s = {.prompts = row->count, .texts = count_texts(row, text_count)};
    double loss = 0, loss_f16 = 0;
    for (uint32_t i = 0; i < row->count; i++) {
        const eval_sample *one = &row->samples[i];
        s.positions += one->positions;
        s.bits_per_value += one->bits / row->count;
        s.accepted_10 += (double)(one->accepted >= 10) / row->count;
        s.accepted_20 += (double)(one->accepted >= 20) / row->count;
        s.accepted_all += (double)(one->accepted == EVAL_DRAFT) / row->count;
        s.vnmse_k += one->vnmse_k / row->count;
        s.vnmse_v += one->vnmse_v / row->count;
        s.vnmse_attention += one->vnmse_attention / row->count;
        loss += one->loss;
        loss_f16 += one->loss_f16;
    }
    s.bits_at_8000 =
        row->method->bits_at_8000 > 0 ? row->method->bits_at_8000 : s.bits_per_value;
    s.perplexity = exp(loss / (double)s.positions);
    s.perplexity_f16 = exp(loss_f16 / (double)s.positions);
    s.kl = figure_of(row, text_count, kl_of);
    s.top1 = figure_of(row, text_count, top1_of);
    s.accepted = figure_of(row, text_count, accepted_of);
    return s;
}

/* ---- output -------------------------------------------------------------------------- */

static void put_table(const eval_row *row, const eval_summary *s, bool is_first)
{
    if (is_first)
        printf("KL, top-1, vNMSE and perplexity: behind the prompt, on the text itself. "
               "Accepted: of %d greedy\ntokens. [95 %% interval, bootstrap over texts]\n\n"
               "%-28s %6s %5s %27s %7s %20s %5s %5s %5s %8s %8s %8s %8s\n",
               EVAL_DRAFT, "codec", "planes", "bits*", "KL", "top-1", "accepted", ">=10",
               ">=20", "all", "ppl", "vNMSE K", "V", "attn.");
    printf("%-28s %6u %5.2f %9.6f [%7.5f-%7.5f] %7.4f %5.1f [%5.1f - %5.1f] %5.2f %5.2f %5.2f "
           "%8.3f %8.1e %8.1e %8.1e\n",
           row->method->name, row->method->planes, s->bits_at_8000, s->kl.value, s->kl.low,
           s->kl.high, s->top1.value, s->accepted.value, s->accepted.low, s->accepted.high,
           s->accepted_10, s->accepted_20, s->accepted_all, s->perplexity, s->vnmse_k,
           s->vnmse_v, s->vnmse_attention);
}

static json_t *row_json(const eval_row *row, const eval_summary *s)
{
    json_t *object = json_object();
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"bits_per_value", s->bits_per_value},
        {"bits_at_8000", s->bits_at_8000},
        {"kl", s->kl.value},
        {"kl_low", s->kl.low},
        {"kl_high", s->kl.high},
        {"top1", s->top1.value},
        {"top1_low", s->top1.low},
        {"top1_high", s->top1.high},
        {"accepted_mean", s->accepted.value},
        {"accepted_low", s->accepted.low},
        {"accepted_high", s->accepted.high},
        {"accepted_10", s->accepted_10},
        {"accepted_20", s->accepted_20},
        {"accepted_all", s->accepted_all},
        {"perplexity", s->perplexity},
        {"perplexity_f16", s->perplexity_f16},
        {"vnmse_k", s->vnmse_k},
        {"vnmse_v", s->vnmse_v},
        {"vnmse_attention", s->vnmse_attention},
    };
    json_object_set_new(object, "codec", json_string(row->method->name));
    json_object_set_new(object, "planes", json_integer(row->method->planes));
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        json_object_set_new(object, numbers[i].name, json_real(numbers[i].value));
    json_object_set_new(object, "texts", json_integer(s->texts));
    json_object_set_new(object, "prompts", json_integer(s->prompts));
    json_object_set_new(object, "positions", json_integer((json_int_t)s->positions));
    return object;
}

void eval_put_csv(json_t *object, bool is_first)
{
    const char *name;
    json_t *value;
    const char *comma = "";
    if (is_first) {
        json_object_foreach(object, name, value)
        {
            printf("%s%s", comma, name);
            comma = ",";
        }
        putchar('\n');
        comma = "";
    }
    json_object_foreach(object, name, value)
    {
        fputs(comma, stdout);
        comma = ",";
        if (json_is_string(value)) /* a codec's settings have commas */
            printf(strchr(json_string_value(value), ',') ? "\"%s\"" : "%s",
                   json_string_value(value));
        else if (json_is_integer(value))
            printf("%lld", (long long)json_integer_value(value));
        else
            printf("%.6g", json_real_value(value));
    }
    putchar('\n');
}

void eval_put_rows(const eval_row rows[], uint32_t count, uint32_t text_count, eval_form form)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < count; i++) {
        const eval_summary s = eval_row_summary(&rows[i], text_count);
        if (form == EVAL_TABLE) {
            put_table(&rows[i], &s, i == 0);
            continue;
        }
        json_t *object = row_json(&rows[i], &s);
        if (form == EVAL_CSV)
            eval_put_csv(object, i == 0);
        json_array_append_new(array, object);
    }
    if (form == EVAL_TABLE)
        puts("\n* a value, raw tokens counted in a prompt of 8,000");
    if (form == EVAL_JSON) {
        json_dumpf(array, stdout, JSON_INDENT(1));
        putchar('\n');
    }
    json_decref(array);
}
