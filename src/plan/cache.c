/* SPDX-License-Identifier: MIT */
#include "base/check.h"
#include "lynx/plan.h"

static uint32_t channels_max(const lynx_shape *shape)
{
    uint32_t most = 1;
    for (uint32_t layer = 0; layer < shape->layer_count; layer++)
        for (uint32_t side = 0; side < 2; side++)
            if (shape->layers[layer].sides[side].channels > most)
                most = shape->layers[layer].sides[side].channels;
    return most;
}

static void add_page(const lynx_codec *codec, const lynx_shape *shape, lynx_page_id id,
                     uint32_t prompt_tokens, uint32_t plane_count, double *bytes)
{
    const lynx_page_span span = lynx_page_span_of(shape, id, prompt_tokens);
    const lynx_side_shape *side = &shape->layers[id.layer].sides[id.side];
    for (uint32_t plane = 0; plane < plane_count; plane++)
        bytes[plane] +=
            (double)lynx_codec_plane_bytes(codec, side, (lynx_side)id.side, plane, &span);
}

/* Bytes of each plane of all pages that are needed. */
static lynx_status sum_planes(const lynx_shape *shape, uint32_t prompt_tokens,
                              const lynx_codec_spec *spec, const lynx_allocator *memory,
                              double *bytes)
{
    lynx_codec *codec;
    lynx_codec_options options;
    lynx_codec_options_init(&options);
    options.spec = *spec;
    options.page_tokens = shape->page_tokens;
    options.channels_max = channels_max(shape);
    options.element = shape->element;
    options.memory = memory;
    LX_TRY(lynx_codec_create(&codec, &options));
    const uint32_t planes = lynx_codec_spec_plane_count(spec);
    lynx_page_walk walk = lynx_page_walk_of(shape, prompt_tokens);
    lynx_page_id id;
    while (lynx_page_walk_next(&walk, &id))
        add_page(codec, shape, id, prompt_tokens, planes, bytes);
    lynx_codec_destroy(codec);
    return LYNX_OK;
}

static lynx_status one_plane(const lynx_shape *shape, uint32_t prompt_tokens, const char *name,
                             const lynx_allocator *memory, double *bytes)
{
    lynx_codec_spec spec;
    LX_TRY(lynx_codec_spec_named(&spec, name));
    return sum_planes(shape, prompt_tokens, &spec, memory, bytes);
}

lynx_status lynx_plan_cache_of(lynx_plan_cache *cache, const lynx_shape *shape,
                               uint32_t prompt_tokens, const lynx_codec_spec *spec,
                               const lynx_allocator *memory)
{
    LX_TRY(lynx_shape_check(shape));
    LX_TRY(lynx_codec_spec_check(spec));
    LX_REQUIRE(prompt_tokens >= 1 && prompt_tokens <= LYNX_PROMPT_TOKENS_MAX,
               LYNX_ERR_ARGUMENT);
    *cache = (lynx_plan_cache){
        .raw_bytes = (double)lynx_shape_cache_bytes(shape, prompt_tokens),
        .plane_count = lynx_codec_spec_plane_count(spec),
    };
    LX_TRY(sum_planes(shape, prompt_tokens, spec, memory, cache->plane_bytes));
    LX_TRY(one_plane(shape, prompt_tokens, "int8", memory, &cache->int8_bytes));
    return one_plane(shape, prompt_tokens, "int4", memory, &cache->int4_bytes);
}
