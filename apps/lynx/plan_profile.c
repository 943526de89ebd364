/* SPDX-License-Identifier: MIT */
/*
 * plan_profile.c - what 'lynx plan --measure' writes and --profile reads.
 *
 *     {"version": 1, "model": "...", "machine": {figure: number ...},
 *      "shape": {"element": "f16", "page_tokens": 256,
 *                "layers": [[layers, key channels, of a head, value channels, of a head,
 *                            window] ...]}}
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan_parts.h"

enum { VERSION = 1, LAYER_FIELDS = 6 };

static const char *const elements[] = {"f32", "f16", "bf16"};

/* The figures of a machine, by name. Older profiles lack some, which are 0 then. */
static const struct {
    const char *name;
    size_t offset;
    bool may_lack;
} figures[] = {
    {"prefill_token_s", offsetof(plan_machine, prefill_token_s), false},
    {"prefill_token2_s", offsetof(plan_machine, prefill_token2_s), false},
    {"step_s", offsetof(plan_machine, step_s), false},
    {"step_token_s", offsetof(plan_machine, step_token_s), false},
    {"exact_step_s", offsetof(plan_machine, exact_step_s), false},
    {"exact_step_token_s", offsetof(plan_machine, exact_step_token_s), false},
    {"draft_step_s", offsetof(plan_machine, draft_step_s), true},
    {"draft_step_token_s", offsetof(plan_machine, draft_step_token_s), true},
    {"pass_s", offsetof(plan_machine, pass_s), false},
    {"row_s", offsetof(plan_machine, row_s), false},
    {"encode_bytes_per_s", offsetof(plan_machine, encode_bytes_per_s), false},
    {"decode_bytes_per_s", offsetof(plan_machine, decode_bytes_per_s), false},
};

enum { FIGURES = sizeof(figures) / sizeof(*figures) };

json_t *plan_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* ---- writing --------------------------------------------------------------------------- */

static bool is_same_layer(const lynx_layer_shape *a, const lynx_layer_shape *b)
{
    for (int side = 0; side < 2; side++)
        if (a->sides[side].channels != b->sides[side].channels ||
            a->sides[side].head_channels != b->sides[side].head_channels)
            return false;
    return a->window_tokens == b->window_tokens;
}

static json_t *layers_json(const lynx_shape *shape)
{
    json_t *layers = json_array();
    for (uint32_t i = 0; i < shape->layer_count;) {
        const lynx_layer_shape *first = &shape->layers[i];
        uint32_t count = 0;
        while (i + count < shape->layer_count && is_same_layer(first, first + count))
            count++;
        json_array_append_new(
            layers, json_pack("[i,i,i,i,i,i]", (int)count, (int)first->sides[0].channels,
                              (int)first->sides[0].head_channels, (int)first->sides[1].channels,
                              (int)first->sides[1].head_channels, (int)first->window_tokens));
        i += count;
    }
    return layers;
}

json_t *plan_profile_json(const plan_model *model, const plan_machine *machine)
{
    json_t *numbers = json_object();
    for (size_t i = 0; i < FIGURES; i++) {
        double value;
        memcpy(&value, (const char *)machine + figures[i].offset, sizeof(value));
        json_object_set_new(numbers, figures[i].name, json_real(value));
    }
    json_object_set_new(numbers, "pass_tokens", json_integer(machine->pass_tokens));
    return json_pack("{s:i,s:s,s:o,s:{s:s,s:i,s:o}}", "version", VERSION, "model", model->name,
                     "machine", numbers, "shape", "element", elements[model->shape.element],
                     "page_tokens", (int)model->shape.page_tokens, "layers",
                     layers_json(&model->shape));
}

/* ---- reading --------------------------------------------------------------------------- */

static bool read_machine(const json_t *numbers, plan_machine *machine)
{
    for (size_t i = 0; i < FIGURES; i++) {
        const json_t *number = json_object_get(numbers, figures[i].name);
        const double value = json_number_value(number);
        if (!number && figures[i].may_lack)
            continue;
        if (!json_is_number(number) || !isfinite(value) || value < 0)
            return false;
        memcpy((char *)machine + figures[i].offset, &value, sizeof(value));
    }
    const json_int_t tokens = json_integer_value(json_object_get(numbers, "pass_tokens"));
    if (tokens < 0 || tokens > LYNX_PROMPT_TOKENS_MAX)
        return false;
    machine->pass_tokens = (uint32_t)tokens;
    return true;
}

/* A run of equal layers behind those that 'shape' has. */
static bool read_layers(const json_t *run, plan_model *model)
{
    uint32_t fields[LAYER_FIELDS];
    if (json_array_size(run) != LAYER_FIELDS)
        return false;
    for (size_t i = 0; i < LAYER_FIELDS; i++) {
        const json_int_t value = json_integer_value(json_array_get(run, i));
        if (value < 0 || value > LYNX_PROMPT_TOKENS_MAX)
            return false;
        fields[i] = (uint32_t)value;
    }
    if (fields[0] > LYNX_LAYERS_MAX - model->shape.layer_count)
        return false;
    const lynx_layer_shape layer = {
        .sides = {{.channels = fields[1], .head_channels = fields[2]},
                  {.channels = fields[3], .head_channels = fields[4]}},
        .window_tokens = fields[5],
    };
    for (uint32_t i = 0; i < fields[0]; i++)
        model->layers[model->shape.layer_count++] = layer;
    return true;
}

static bool read_shape(const json_t *shape, plan_model *model)
{
    const char *element = json_string_value(json_object_get(shape, "element"));
    const json_int_t page = json_integer_value(json_object_get(shape, "page_tokens"));
    int index = 2;
    while (index >= 0 && (!element || strcmp(element, elements[index]) != 0))
        index--;
    if (index < 0 || page < 0 || page > LYNX_PAGE_TOKENS_MAX)
        return false;
    model->layers = calloc(LYNX_LAYERS_MAX, sizeof(*model->layers));
    if (!model->layers)
        return false;
    model->shape = (lynx_shape){.page_tokens = (uint32_t)page,
                                .element = (lynx_element)index,
                                .layers = model->layers};
    const json_t *runs = json_object_get(shape, "layers");
    for (size_t i = 0; i < json_array_size(runs); i++)
        if (!read_layers(json_array_get(runs, i), model))
            return false;
    return lynx_shape_check(&model->shape) == LYNX_OK;
}

int plan_profile_read(const char *path, plan_model *model, plan_machine *machine)
{
    size_t size;
    json_error_t error;
    char *text = cli_read_file(plan_command, path, &size);
    if (!text)
        return CLI_FAILED;
    json_t *profile = json_loadb(text, size, 0, &error);
    free(text);
    if (!profile)
        return cli_usage(plan_command, "'%s' is not JSON: %s in line %d", path, error.text,
                         error.line);
    plan_model_free(model);
    const char *name = json_string_value(json_object_get(profile, "model"));
    const bool is_good = json_integer_value(json_object_get(profile, "version")) == VERSION &&
                         read_machine(json_object_get(profile, "machine"), machine) &&
                         read_shape(json_object_get(profile, "shape"), model);
    snprintf(model->name, sizeof(model->name), "%s", name ? name : "");
    json_decref(profile);
    return is_good
               ? CLI_OK
               : cli_usage(plan_command,
                           "'%s' is not a profile; write one with 'lynx plan --measure'", path);
}
