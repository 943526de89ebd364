/* SPDX-License-Identifier: MIT */
/* plan_measure.c - the speed of this machine with a model: prefill, steps, passes, codec. */
#include <stdlib.h>

#include "numbers.h"
#include "plan_parts.h"

enum { ROUNDS = 3, STEPS = 12, ROWS_FEW = 8, ROWS_MANY = 62 };
/* Two lengths, from which times that grow with the prompt are drawn. */
enum { SHORT_TOKENS = 512, LONG_TOKENS = 1024, ROOM = 80 };

typedef struct measurement {
    lynx_engine *engine;
    const lynx_model *model;
    const lynx_codec_spec *spec;
    lynx_token *tokens; /* LONG_TOKENS + ROOM of them */
    uint32_t lengths[2];
    double prefill[2], step[2], draft_step[2];
} measurement;

static double seconds(void)
{
    return (double)lynx_clock_now() / 1e9;
}

static lynx_status time_prefill(measurement *m, uint32_t tokens, int rounds, double *result)
{
    double times[ROUNDS];
    for (int i = 0; i < rounds; i++) {
        const double begin = seconds();
        const lynx_status status =
            m->engine->ops->prefill(m->engine, m->tokens, tokens, NULL, NULL);
        if (status != LYNX_OK)
            return status;
        times[i] = seconds() - begin;
    }
    *result = numbers_middle(times, (size_t)rounds);
    return LYNX_OK;
}

/* Behind what the cache holds, which stays as it is. A sampled token is part of a step. */
static lynx_status time_steps(measurement *m, bool is_draft, double *result)
{
    double times[STEPS];
    lynx_sampling sampling;
    lynx_sampling_init(&sampling);
    const uint32_t length = m->engine->ops->length(m->engine);
    for (uint32_t i = 0; i < STEPS; i++) {
        lynx_token token;
        const double begin = seconds();
        const lynx_token *next = &m->tokens[length + i];
        lynx_status status =
            is_draft ? m->engine->ops->draft_step(m->engine, next, 1, m->tokens, length)
                     : m->engine->ops->step(m->engine, *next);
        if (status == LYNX_OK)
            status = m->engine->ops->sample(m->engine, 0, &sampling, m->tokens, length,
                                            length + i + 1, &token);
        if (status != LYNX_OK)
            return status;
        times[i] = seconds() - begin;
    }
    *result = numbers_middle(times, STEPS);
    return m->engine->ops->rewind(m->engine, length);
}

static lynx_status time_pass(measurement *m, uint32_t rows, double *result)
{
    double times[ROUNDS];
    const uint32_t length = m->engine->ops->length(m->engine);
    for (int i = 0; i < ROUNDS; i++) {
        const double begin = seconds();
        lynx_status status = m->engine->ops->batch(m->engine, m->tokens + length, rows, 0);
        times[i] = seconds() - begin;
        if (status == LYNX_OK)
            status = m->engine->ops->rewind(m->engine, length);
        if (status != LYNX_OK)
            return status;
    }
    *result = numbers_middle(times, ROUNDS);
    return LYNX_OK;
}

static double lesser(double a, double b)
{
    return a < b ? a : b;
}

/* times[i] = first + second * xs[i], neither below zero. Where no such line is, something else
 * ran during one of the times, which only makes it longer: the other one counts. */
static void fit_line(const uint32_t *xs, const double *times, double *first, double *second)
{
    *second = xs[1] > xs[0] ? (times[1] - times[0]) / (xs[1] - xs[0]) : 0;
    *first = times[0] - *second * xs[0];
    if (*second < 0) {
        *second = 0;
        *first = times[1];
    } else if (*first < 0) {
        *first = 0;
        *second = lesser(times[0] / xs[0], times[1] / xs[1]);
    }
}

/* Prefills of both lengths, and steps of both kinds behind them. */
static lynx_status measure_lengths(measurement *m, int rounds)
{
    for (int i = 0; i < 2; i++) {
        lynx_status status = time_prefill(m, m->lengths[i], rounds, &m->prefill[i]);
        if (status == LYNX_OK)
            status = time_steps(m, false, &m->step[i]);
        if (status == LYNX_OK)
            status = time_steps(m, true, &m->draft_step[i]);
        if (status != LYNX_OK)
            return status;
    }
    return LYNX_OK;
}

static lynx_status measure_pass(measurement *m, plan_machine *machine)
{
    double times[2];
    const uint32_t most =
        m->model->batch_tokens < ROWS_MANY ? m->model->batch_tokens : ROWS_MANY;
    const uint32_t rows[2] = {most < ROWS_FEW ? 2 : ROWS_FEW, most};
    for (int i = 0; i < 2; i++) {
        const lynx_status status = time_pass(m, rows[i], &times[i]);
        if (status != LYNX_OK)
            return status;
    }
    fit_line(rows, times, &machine->pass_s, &machine->row_s);
    machine->pass_tokens = m->model->batch_tokens;
    return LYNX_OK;
}

/* ---- codec ----------------------------------------------------------------------------- */

typedef struct coding {
    lynx_codec *codec;
    uint32_t planes;
    uint8_t *room[LYNX_PLANES_MAX];
    double encode_s, decode_s;
} coding;

static lynx_status code_page(measurement *m, coding *c, lynx_page_id id, uint32_t tokens)
{
    const lynx_engine_ops *ops = m->engine->ops;
    const lynx_side_shape *side = &m->model->shape.layers[id.layer].sides[id.side];
    const lynx_page_span span = lynx_page_span_of(&m->model->shape, id, tokens);
    size_t sizes[LYNX_PLANES_MAX] = {0};
    lynx_bytes views[LYNX_PLANES_MAX];
    lynx_tile tile;
    bool is_raw;
    double begin = seconds();
    lynx_status status = ops->map_page(m->engine, id, tokens, false, &tile);
    if (status == LYNX_OK)
        status = lynx_codec_encode(c->codec, side, (lynx_side)id.side, &span, &tile, c->room,
                                   sizes, &is_raw);
    if (status == LYNX_OK)
        status = ops->unmap_page(m->engine);
    c->encode_s += seconds() - begin;
    for (uint32_t i = 0; i < c->planes; i++)
        views[i] = (lynx_bytes){c->room[i], sizes[i]};
    begin = seconds();
    if (status == LYNX_OK)
        status = ops->map_page(m->engine, id, tokens, true, &tile);
    if (status == LYNX_OK)
        status = lynx_codec_decode(c->codec, side, (lynx_side)id.side, &span, views, c->planes,
                                   &tile);
    if (status == LYNX_OK)
        status = ops->unmap_page(m->engine);
    c->decode_s += seconds() - begin;
    return status;
}

static lynx_status code_pages(measurement *m, coding *c)
{
    const uint32_t tokens = m->engine->ops->length(m->engine);
    lynx_page_walk walk = lynx_page_walk_of(&m->model->shape, tokens);
    lynx_page_id id;
    while (lynx_page_walk_next(&walk, &id)) {
        const lynx_status status = code_page(m, c, id, tokens);
        if (status != LYNX_OK)
            return status;
    }
    return m->engine->ops->commit_pages(m->engine);
}

static uint32_t channels_max(const lynx_shape *shape)
{
    uint32_t most = 1;
    for (uint32_t layer = 0; layer < shape->layer_count; layer++)
        for (uint32_t side = 0; side < 2; side++)
            if (shape->layers[layer].sides[side].channels > most)
                most = shape->layers[layer].sides[side].channels;
    return most;
}

static lynx_status make_coding(const measurement *m, coding *c)
{
    const lynx_shape *shape = &m->model->shape;
    lynx_codec_options options;
    lynx_codec_options_init(&options);
    options.spec = *m->spec;
    options.page_tokens = shape->page_tokens;
    options.channels_max = channels_max(shape);
    options.element = shape->element;
    c->planes = lynx_codec_spec_plane_count(m->spec);
    for (uint32_t i = 0; i < c->planes; i++) {
        /* A raw page, and its mode. */
        c->room[i] = malloc((size_t)options.channels_max * shape->page_tokens * 4 + 64);
        if (!c->room[i])
            return LYNX_ERR_MEMORY;
    }
    return lynx_codec_create(&c->codec, &options);
}

/* Twice: the first round warms. */
static lynx_status measure_codec(measurement *m, plan_machine *machine)
{
    coding c = {0};
    const double bytes =
        (double)lynx_shape_cache_bytes(&m->model->shape, m->engine->ops->length(m->engine));
    lynx_status status = make_coding(m, &c);
    for (int round = 0; round < 2 && status == LYNX_OK; round++) {
        c.encode_s = c.decode_s = 0;
        status = code_pages(m, &c);
    }
    machine->encode_bytes_per_s = c.encode_s > 0 ? bytes / c.encode_s : 0;
    machine->decode_bytes_per_s = c.decode_s > 0 ? bytes / c.decode_s : 0;
    lynx_codec_destroy(c.codec);
    for (uint32_t i = 0; i < c.planes; i++)
        free(c.room[i]);
    return status;
}

/* ---- both ways to step ----------------------------------------------------------------- */

static lynx_status measure_strict(measurement *m, plan_machine *machine)
{
    lynx_status status = measure_lengths(m, ROUNDS);
    if (status != LYNX_OK)
        return status;
    const double per_token[2] = {m->prefill[0] / m->lengths[0], m->prefill[1] / m->lengths[1]};
    fit_line(m->lengths, per_token, &machine->prefill_token_s, &machine->prefill_token2_s);
    fit_line(m->lengths, m->step, &machine->exact_step_s, &machine->exact_step_token_s);
    fit_line(m->lengths, m->draft_step, &machine->draft_step_s, &machine->draft_step_token_s);
    status = measure_pass(m, machine);
    return status == LYNX_OK ? measure_codec(m, machine) : status;
}

static lynx_status measure_fast(measurement *m, plan_machine *machine)
{
    const lynx_status status = measure_lengths(m, 1);
    if (status == LYNX_OK)
        fit_line(m->lengths, m->step, &machine->step_s, &machine->step_token_s);
    return status;
}

static int measure_engine(cli_options *options, measurement *m, plan_model *model,
                          plan_machine *machine, bool is_strict)
{
    options->engine.exact = is_strict ? LYNX_EXACT_STRICT : LYNX_EXACT_ROUNDING;
    int code = cli_load_engine(options, &m->engine);
    if (code != CLI_OK)
        return code;
    m->model = m->engine->ops->model(m->engine);
    for (uint32_t i = 0; i < LONG_TOKENS + ROOM; i++)
        m->tokens[i] = (lynx_token)((i * 7919u + 13u) % m->model->vocabulary);
    if (m->model->context_tokens < LONG_TOKENS + ROOM)
        code = cli_usage(plan_command, "the context has %u tokens; to measure needs -c %d",
                         m->model->context_tokens, LONG_TOKENS + ROOM);
    else if (is_strict && !plan_model_take(model, m->model))
        code = cli_fail(plan_command, LYNX_ERR_MEMORY, NULL);
    if (code == CLI_OK) {
        const lynx_status status =
            is_strict ? measure_strict(m, machine) : measure_fast(m, machine);
        if (status != LYNX_OK)
            code = cli_fail(plan_command, status, m->engine->ops->error_text(m->engine));
    }
    lynx_engine_destroy(m->engine);
    return code;
}

int plan_measure(cli_options *options, const lynx_codec_spec *spec, plan_model *model,
                 plan_machine *machine)
{
    measurement m = {.spec = spec, .lengths = {SHORT_TOKENS, LONG_TOKENS}};
    m.tokens = malloc((LONG_TOKENS + ROOM) * sizeof(*m.tokens));
    if (!m.tokens)
        return cli_fail(plan_command, LYNX_ERR_MEMORY, NULL);
    int code = measure_engine(options, &m, model, machine, true);
    if (code == CLI_OK)
        code = measure_engine(options, &m, model, machine, false);
    free(m.tokens);
    return code;
}
