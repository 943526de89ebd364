/* SPDX-License-Identifier: MIT */
/*
 * eval_cache.c - a prompt's cache as it is, and as a codec or a formula gives it.
 *
 * The copy has, side by side of each layer and page by page, a page's values token by token.
 */
#include <stdlib.h>
#include <string.h>

#include "eval.h"

enum { COUNTED_TOKENS = 8000, RAW_HEADER = 4 };

/* ---- methods ------------------------------------------------------------------------- */

static lynx_status add_method(eval_method methods[], uint32_t *count, const char *name,
                              uint32_t planes)
{
    if (*count == EVAL_METHODS_MAX)
        return LYNX_ERR_LIMIT;
    eval_method *m = &methods[(*count)++];
    *m = (eval_method){.planes = planes, .formula = eval_formula_named(name)};
    snprintf(m->name, sizeof(m->name), "%s", name);
    return LYNX_OK;
}

static lynx_status add_name(const char *name, uint32_t planes_max, eval_method methods[],
                            uint32_t *count)
{
    lynx_codec_spec spec;
    if (eval_formula_named(name))
        return add_method(methods, count, name, 1);
    lynx_status status = lynx_codec_spec_named(&spec, name);
    if (status != LYNX_OK)
        return status;
    const uint32_t planes = lynx_codec_spec_plane_count(&spec);
    for (uint32_t i = 1; i <= planes && i <= planes_max && status == LYNX_OK; i++)
        status = add_method(methods, count, name, i);
    return status;
}

static lynx_status add_every_name(uint32_t planes_max, eval_method methods[], uint32_t *count)
{
    lynx_status status = LYNX_OK;
    for (size_t i = 0; lynx_codec_spec_name_at(i) && status == LYNX_OK; i++)
        status = add_name(lynx_codec_spec_name_at(i), planes_max, methods, count);
    for (size_t i = 0; eval_formula_name_at(i) && status == LYNX_OK; i++)
        status = add_name(eval_formula_name_at(i), planes_max, methods, count);
    return status;
}

/* Where the next name begins: commas inside one stand before settings. */
static const char *end_of_name(const char *list)
{
    for (const char *comma = strchr(list, ','); comma; comma = strchr(comma + 1, ',')) {
        const size_t size = strcspn(comma + 1, ",");
        const char *equals = memchr(comma + 1, '=', size);
        if (!equals || memchr(comma + 1, ':', (size_t)(equals - comma - 1)))
            return comma;
    }
    return list + strlen(list);
}

lynx_status eval_methods_parse(const char *list, uint32_t planes_max, eval_method methods[],
                               uint32_t *count, char *bad)
{
    bad[0] = '\0';
    if (!list)
        return add_every_name(planes_max, methods, count);
    for (;;) {
        const char *end = end_of_name(list);
        const size_t size = (size_t)(end - list);
        snprintf(bad, EVAL_NAME_SIZE, "%.*s", (int)size, list);
        const lynx_status status = size < EVAL_NAME_SIZE
                                       ? add_name(bad, planes_max, methods, count)
                                       : LYNX_ERR_ARGUMENT;
        if (status != LYNX_OK)
            return status;
        if (*end == '\0')
            return LYNX_OK;
        list = end + 1;
    }
}

static uint32_t most_channels(const lynx_shape *shape)
{
    uint32_t most = 1;
    for (uint32_t i = 0; i < shape->layer_count; i++)
        for (uint32_t side = 0; side < 2; side++)
            if (shape->layers[i].sides[side].channels > most)
                most = shape->layers[i].sides[side].channels;
    return most;
}

static lynx_status make_codec(const char *name, const lynx_model *model, lynx_codec **codec)
{
    lynx_codec_options options;
    lynx_codec_options_init(&options);
    const lynx_status status = lynx_codec_spec_named(&options.spec, name);
    options.page_tokens = model->shape.page_tokens;
    options.channels_max = most_channels(&model->shape);
    options.element = model->shape.element;
    return status == LYNX_OK ? lynx_codec_create(codec, &options) : status;
}

static size_t page_bytes_max(const lynx_model *model)
{
    return RAW_HEADER + (size_t)model->shape.page_tokens * most_channels(&model->shape) *
                            lynx_element_bytes(model->shape.element);
}

static void free_planes(uint8_t *planes[LYNX_PLANES_MAX])
{
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        free(planes[i]);
}

static lynx_status make_planes(const lynx_model *model, uint8_t *planes[LYNX_PLANES_MAX])
{
    bool is_made = true;
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++) {
        planes[i] = malloc(page_bytes_max(model));
        is_made = is_made && planes[i];
    }
    return is_made ? LYNX_OK : LYNX_ERR_MEMORY;
}

static lynx_tile row_tile(const lynx_shape *shape, uint32_t channels, void *data)
{
    const size_t size = lynx_element_bytes(shape->element);
    return (lynx_tile){.data = data,
                       .element = shape->element,
                       .token_stride_bytes = channels * size,
                       .channel_stride_bytes = size};
}

/* Sizes do not depend on values: a layer of 8,000 zeros tells them. */
static lynx_status count_bits(eval_method *m, const lynx_model *model, uint8_t *zeros,
                              uint8_t *const planes[])
{
    const lynx_shape *shape = &model->shape;
    double bytes = 0, values = 0;
    for (uint32_t page = 0; page < lynx_shape_page_count(shape, COUNTED_TOKENS); page++)
        for (uint32_t s = 0; s < 2; s++) {
            const lynx_side_shape *side = &shape->layers[0].sides[s];
            const lynx_page_id id = {page, 0, (uint8_t)s};
            const lynx_page_span span = lynx_page_span_of(shape, id, COUNTED_TOKENS);
            const lynx_tile tile = row_tile(shape, side->channels, zeros);
            size_t sizes[LYNX_PLANES_MAX];
            bool is_raw;
            if (!side->channels)
                continue;
            const lynx_status status = lynx_codec_encode(m->codec, side, (lynx_side)s, &span,
                                                         &tile, planes, sizes, &is_raw);
            if (status != LYNX_OK)
                return status;
            for (uint32_t i = 0; i < m->planes; i++)
                bytes += (double)sizes[i];
            values += (double)span.token_count * side->channels;
        }
    m->bits_at_8000 = bytes * 8 / values;
    return LYNX_OK;
}

lynx_status eval_methods_open(eval_method methods[], uint32_t count, const lynx_model *model)
{
    uint8_t *planes[LYNX_PLANES_MAX] = {NULL};
    uint8_t *zeros = calloc(1, page_bytes_max(model));
    lynx_status status = zeros ? make_planes(model, planes) : LYNX_ERR_MEMORY;
    for (uint32_t i = 0; i < count && status == LYNX_OK; i++) {
        if (methods[i].formula)
            continue;
        status = make_codec(methods[i].name, model, &methods[i].codec);
        if (status == LYNX_OK)
            status = count_bits(&methods[i], model, zeros, planes);
    }
    free_planes(planes);
    free(zeros);
    return status;
}

void eval_methods_close(eval_method methods[], uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        lynx_codec_destroy(methods[i].codec);
}

/* ---- the copy ------------------------------------------------------------------------ */

lynx_status eval_cache_open(eval_cache *cache, lynx_engine *engine)
{
    *cache = (eval_cache){.engine = engine, .model = engine->ops->model(engine)};
    cache->symbols.counts =
        calloc((size_t)most_channels(&cache->model->shape) * EVAL_SYMBOLS, sizeof(uint32_t));
    return cache->symbols.counts ? make_planes(cache->model, cache->planes) : LYNX_ERR_MEMORY;
}

void eval_cache_close(eval_cache *cache)
{
    free(cache->bytes);
    free(cache->symbols.counts);
    free_planes(cache->planes);
    *cache = (eval_cache){0};
}

static const lynx_side_shape *side_of(const eval_cache *cache, lynx_page_id id)
{
    return &cache->model->shape.layers[id.layer].sides[id.side];
}

/* Both ways between the engine and the copy, value by value as it is. */
static lynx_status copy_page(eval_cache *cache, lynx_page_id id, uint8_t *bytes, bool is_save)
{
    const lynx_page_span span = lynx_page_span_of(&cache->model->shape, id, cache->tokens);
    const uint32_t channels = side_of(cache, id)->channels;
    const lynx_tile copy = row_tile(&cache->model->shape, channels, bytes);
    const size_t size = lynx_element_bytes(copy.element);
    lynx_engine *engine = cache->engine;
    lynx_tile page;
    const lynx_status status =
        engine->ops->map_page(engine, id, cache->tokens, !is_save, &page);
    if (status != LYNX_OK)
        return status;
    for (uint32_t t = 0; t < span.token_count; t++)
        for (uint32_t c = 0; c < channels; c++) {
            uint8_t *at = (uint8_t *)page.data + t * page.token_stride_bytes +
                          c * page.channel_stride_bytes;
            uint8_t *saved = bytes + t * copy.token_stride_bytes + c * size;
            memcpy(is_save ? saved : at, is_save ? at : saved, size);
        }
    return engine->ops->unmap_page(engine);
}

typedef struct damage_sums {
    double bits, values;
    double error[2], square[2]; /* of the layer that is being coded */
    double vnmse[2];
    uint32_t layers[2];
} damage_sums;

static void add_errors(const lynx_tile *before, const lynx_tile *after, uint32_t tokens,
                       uint32_t channels, double *error, double *square)
{
    for (uint32_t t = 0; t < tokens; t++)
        for (uint32_t c = 0; c < channels; c++) {
            const double value = (double)lynx_tile_get(before, t, c);
            const double difference = (double)lynx_tile_get(after, t, c) - value;
            *error += difference * difference;
            *square += value * value;
        }
}

static lynx_status code_tile(eval_cache *cache, const eval_method *m, lynx_page_id id,
                             const lynx_page_span *span, const lynx_tile *from,
                             const lynx_tile *to, double *bits)
{
    const lynx_side_shape *side = side_of(cache, id);
    size_t sizes[LYNX_PLANES_MAX];
    lynx_bytes views[LYNX_PLANES_MAX];
    bool is_raw;
    if (m->formula) {
        const eval_place place = {id.layer, cache->model->shape.layer_count, (lynx_side)id.side,
                                  side->channels};
        *bits +=
            eval_formula_page(m->formula, &place, from, to, span->token_count, &cache->symbols);
        return LYNX_OK;
    }
    const lynx_status status = lynx_codec_encode(m->codec, side, (lynx_side)id.side, span, from,
                                                 cache->planes, sizes, &is_raw);
    if (status != LYNX_OK)
        return status;
    for (uint32_t i = 0; i < m->planes; i++) {
        views[i] = (lynx_bytes){cache->planes[i], sizes[i]};
        *bits += (double)sizes[i] * 8;
    }
    return lynx_codec_decode(m->codec, side, (lynx_side)id.side, span, views, m->planes, to);
}

static lynx_status code_page(eval_cache *cache, const eval_method *m, lynx_page_id id,
                             uint8_t *bytes, damage_sums *sums)
{
    const lynx_page_span span = lynx_page_span_of(&cache->model->shape, id, cache->tokens);
    const uint32_t channels = side_of(cache, id)->channels;
    const lynx_tile saved = row_tile(&cache->model->shape, channels, bytes);
    lynx_engine *engine = cache->engine;
    lynx_tile page;
    lynx_status status = engine->ops->map_page(engine, id, cache->tokens, true, &page);
    if (status != LYNX_OK)
        return status;
    status = code_tile(cache, m, id, &span, &saved, &page, &sums->bits);
    if (status == LYNX_OK)
        add_errors(&saved, &page, span.token_count, channels, &sums->error[id.side],
                   &sums->square[id.side]);
    sums->values += (double)span.token_count * channels;
    const lynx_status unmapped = engine->ops->unmap_page(engine);
    return status == LYNX_OK ? unmapped : status;
}

static void finish_side(damage_sums *sums, uint32_t side)
{
    if (sums->square[side] > 0) {
        sums->vnmse[side] += sums->error[side] / sums->square[side];
        sums->layers[side]++;
    }
    sums->error[side] = sums->square[side] = 0;
}

/* Every needed page, a side of a layer at a time: into the copy, or out of it through 'm'. */
static lynx_status each_page(eval_cache *cache, const eval_method *m, bool is_save,
                             damage_sums *sums)
{
    const lynx_shape *shape = &cache->model->shape;
    uint8_t *bytes = cache->bytes;
    for (uint32_t layer = 0; layer < shape->layer_count; layer++)
        for (uint32_t side = 0; side < 2; side++) {
            for (uint32_t page = 0; page < lynx_shape_page_count(shape, cache->tokens);
                 page++) {
                const lynx_page_id id = {page, (uint16_t)layer, (uint8_t)side};
                if (!lynx_page_is_needed(shape, id, cache->tokens))
                    continue;
                const lynx_status status = m ? code_page(cache, m, id, bytes, sums)
                                             : copy_page(cache, id, bytes, is_save);
                if (status != LYNX_OK)
                    return status;
                bytes += (size_t)lynx_page_span_of(shape, id, cache->tokens).token_count *
                         side_of(cache, id)->channels * lynx_element_bytes(shape->element);
            }
            finish_side(sums, side);
            sums->bits += eval_symbols_take_bits(&cache->symbols,
                                                 shape->layers[layer].sides[side].channels);
        }
    return LYNX_OK;
}

lynx_status eval_cache_save(eval_cache *cache, uint32_t tokens)
{
    damage_sums none = {0};
    cache->tokens = tokens;
    cache->size = (size_t)lynx_shape_cache_bytes(&cache->model->shape, tokens);
    free(cache->bytes);
    cache->bytes = malloc(cache->size);
    return cache->bytes ? each_page(cache, NULL, true, &none) : LYNX_ERR_MEMORY;
}

lynx_status eval_cache_load(eval_cache *cache, const eval_method *method, eval_damage *damage)
{
    damage_sums sums = {0};
    const lynx_status status = each_page(cache, method, false, &sums);
    if (status != LYNX_OK)
        return status;
    if (damage && sums.values > 0) {
        damage->bits = sums.bits / sums.values;
        for (uint32_t side = 0; side < 2; side++)
            damage->vnmse[side] = sums.layers[side] ? sums.vnmse[side] / sums.layers[side] : 0;
    }
    return cache->engine->ops->commit_pages(cache->engine);
}
