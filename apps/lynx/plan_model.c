/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "plan_parts.h"

const char plan_command[] = "lynx plan";

void plan_model_free(plan_model *model)
{
    free(model->layers);
    *model = (plan_model){0};
}

bool plan_model_take(plan_model *model, const lynx_model *from)
{
    const size_t count = from->shape.layer_count;
    plan_model_free(model);
    model->layers = malloc(count * sizeof(*model->layers));
    if (!model->layers)
        return false;
    memcpy(model->layers, from->shape.layers, count * sizeof(*model->layers));
    model->shape = from->shape;
    model->shape.layers = model->layers;
    snprintf(model->name, sizeof(model->name), "%s", from->name);
    return true;
}

/* A head of usual size stands for all of them where only the bytes are known. */
static const lynx_layer_shape one_layer = {
    .sides = {{.channels = 128, .head_channels = 128}, {.channels = 128, .head_channels = 128}},
};
static const lynx_shape one_shape = {.layer_count = 1,
                                     .page_tokens = 256,
                                     .element = LYNX_ELEMENT_F16,
                                     .layers = &one_layer};

int plan_cache_of(const plan_model *model, const lynx_codec_spec *spec, uint32_t tokens,
                  lynx_plan_cache *cache)
{
    const lynx_shape *shape = model->layers ? &model->shape : &one_shape;
    const lynx_status status = lynx_plan_cache_of(cache, shape, tokens, spec, NULL);
    if (status != LYNX_OK)
        return cli_fail(plan_command, status, NULL);
    if (model->layers)
        return CLI_OK;
    const double scale = model->token_bytes * tokens / cache->raw_bytes;
    cache->raw_bytes *= scale;
    cache->int8_bytes *= scale;
    cache->int4_bytes *= scale;
    for (uint32_t i = 0; i < cache->plane_count; i++)
        cache->plane_bytes[i] *= scale;
    return CLI_OK;
}

lynx_plan_node plan_node_of(const plan_machine *m, uint32_t tokens)
{
    const double prefill = m->prefill_token_s + m->prefill_token2_s * tokens;
    return (lynx_plan_node){
        .prefill_tokens_per_s = prefill > 0 ? 1 / prefill : 0,
        .step_s = m->step_s + m->step_token_s * tokens,
        .exact_step_s = m->exact_step_s + m->exact_step_token_s * tokens,
        .draft_step_s = m->draft_step_s + m->draft_step_token_s * tokens,
        .pass_s = m->pass_s,
        .row_s = m->row_s,
        .pass_tokens = m->pass_tokens,
        .encode_bytes_per_s = m->encode_bytes_per_s,
        .decode_bytes_per_s = m->decode_bytes_per_s,
    };
}
