/* SPDX-License-Identifier: MIT */
/*
 * keep.c - from an engine's cache into segments.
 *
 *     stored prefix --load--> cache --compute what is missing--> cache
 *                                          | each segment that is whole now
 *                                          +--encode--> store, or at the end a file
 */
#include <stdio.h>

#include "base/check.h"
#include "lynx/keep.h"
#include "runtime/page_pass.h"

typedef struct keep {
    const lynx_keep_options *options;
    const lynx_model *model;
    lynx_keep_result *result;
    lx_page_pass pass;
    uint32_t written; /* tokens up to the end of the last segment */
    lynx_status status;
    char *text;
} keep;

void lynx_keep_options_init(lynx_keep_options *options)
{
    *options = (lynx_keep_options){.struct_size = sizeof(*options)};
    (void)!lynx_codec_spec_named(&options->spec, "range"); /* the name is there */
    options->spec = lynx_codec_spec_storable(options->spec);
}

static lynx_status fail(const keep *k, lynx_status status, const char *text)
{
    snprintf(k->text, LYNX_TEXT_MAX, "%s", text && text[0] ? text : lynx_status_text(status));
    return status;
}

static lynx_status engine_failed(const keep *k, lynx_status status)
{
    return fail(k, status,
                status == LYNX_ERR_ENGINE
                    ? k->options->engine->ops->error_text(k->options->engine)
                    : NULL);
}

/* ---- writing ------------------------------------------------------------------------- */

static lynx_status add_page(void *user, lynx_page_id id, const lynx_bytes *planes,
                            uint32_t plane_count)
{
    return lynx_segment_add(user, id, planes, plane_count);
}

static lynx_status encode_pages(keep *k, lynx_segment *segment, uint32_t first, uint32_t end)
{
    const lynx_shape *shape = &k->model->shape;
    lx_page_job *jobs;
    size_t count = 0;
    LX_TRY(lx_page_jobs(&k->pass, &jobs));
    for (uint32_t page = first / shape->page_tokens; page < lynx_shape_page_count(shape, end);
         page++)
        for (uint32_t layer = 0; layer < shape->layer_count; layer++)
            for (uint32_t side = 0; side < 2; side++) {
                const lynx_page_id id = {page, (uint16_t)layer, (uint8_t)side};
                if (!lynx_segment_wants(segment, id))
                    continue;
                jobs[count++].id = id;
                if (count < LX_PAGE_JOBS_MAX)
                    continue;
                LX_TRY(lx_page_encode_jobs(&k->pass, end, count, add_page, segment));
                count = 0;
            }
    return lx_page_encode_jobs(&k->pass, end, count, add_page, segment);
}

static lynx_status write_file(keep *k, const lynx_bytes *parts, size_t count)
{
    lynx_place *place = NULL;
    LX_TRY(lynx_place_files(&place, k->options->memory));
    const lynx_status status =
        place->ops->write(place, k->options->path, parts, count, k->text, LYNX_TEXT_MAX);
    lynx_place_destroy(place);
    return status;
}

static lynx_status put(keep *k, lynx_segment *segment)
{
    const lynx_bytes *parts = NULL;
    size_t count = 0;
    LX_TRY(lynx_segment_finish(segment, &parts, &count));
    LX_TRY(k->options->store
               ? lynx_store_put(k->options->store, segment, k->text, LYNX_TEXT_MAX)
               : write_file(k, parts, count));
    k->result->segments_written++;
    for (size_t i = 0; i < count; i++)
        k->result->bytes_written += parts[i].size;
    return LYNX_OK;
}

static lynx_status write_segment(keep *k, uint32_t end)
{
    const lynx_keep_options *o = k->options;
    lynx_segment_options options;
    lynx_segment *segment = NULL;
    lynx_segment_options_init(&options);
    options.model = k->model;
    options.spec = o->spec;
    options.tokens = o->tokens;
    options.first_token = k->written;
    options.end_token = end;
    options.key = o->store ? lynx_store_key(o->store) : o->key;
    options.memory = o->memory;
    k->text[0] = '\0';
    LX_TRY(lynx_segment_create(&segment, &options));
    lynx_status status = encode_pages(k, segment, k->written, end);
    if (status == LYNX_OK)
        status = put(k, segment);
    lynx_segment_destroy(segment);
    k->written = end;
    return status;
}

/* Where the segment ends that begins at 'first'. */
static uint32_t end_after(const keep *k, uint32_t first)
{
    const uint32_t count = k->options->token_count;
    return k->options->store ? lynx_store_cut(k->model->shape.page_tokens, first, count)
                             : count;
}

/* Every segment that the first 'done' tokens fill. */
static lynx_status write_segments(keep *k, uint32_t done)
{
    const lynx_time_ns start = lynx_clock_now();
    lynx_status status = LYNX_OK;
    while (status == LYNX_OK && k->written < k->options->token_count &&
           end_after(k, k->written) <= done)
        status = write_segment(k, end_after(k, k->written));
    k->result->write_ns += lynx_clock_now() - start;
    return status == LYNX_OK || k->text[0] ? status : fail(k, status, NULL);
}

/* ---- computing ----------------------------------------------------------------------- */

/* 'done' tokens are in the cache. False: 'status' says why not to go on. */
static bool advance(keep *k, uint32_t done)
{
    const lynx_keep_options *o = k->options;
    k->status = write_segments(k, done);
    if (k->status == LYNX_OK && o->progress && !o->progress(o->user, done, o->token_count))
        k->status = fail(k, LYNX_ERR_CANCELLED, NULL);
    return k->status == LYNX_OK;
}

static bool on_progress(void *user, uint32_t done, uint32_t total)
{
    (void)total;
    return advance(user, done);
}

static lynx_status compute_all(keep *k)
{
    const lynx_keep_options *o = k->options;
    k->written = 0;
    k->result->computed_tokens = o->token_count;
    const lynx_status status =
        o->engine->ops->prefill(o->engine, o->tokens, o->token_count, on_progress, k);
    LX_TRY(k->status);
    return status == LYNX_OK ? status : engine_failed(k, status);
}

/* What is behind the 'stored' tokens of the cache. */
static lynx_status compute_rest(keep *k, uint32_t stored)
{
    const lynx_keep_options *o = k->options;
    for (uint32_t done = stored; done < o->token_count;) {
        const uint32_t left = o->token_count - done;
        const uint32_t count = left < k->model->batch_tokens ? left : k->model->batch_tokens;
        const lynx_status status =
            o->engine->ops->batch(o->engine, o->tokens + done, count, count);
        if (status != LYNX_OK)
            return engine_failed(k, status);
        done += count;
        k->result->computed_tokens += count;
        if (!advance(k, done))
            return k->status;
    }
    return LYNX_OK;
}

/* ---- loading ------------------------------------------------------------------------- */

static lynx_status load(keep *k, lynx_source *source, uint32_t tokens)
{
    const lynx_engine_ops *ops = k->options->engine->ops;
    LX_TRY(ops->reserve(k->options->engine, tokens));
    LX_TRY(lx_page_load(&k->pass, source));
    return ops->commit_pages(k->options->engine);
}

/* Put the stored prefix into the cache; '*tokens' of it, 0 when there is none of use. */
static lynx_status load_prefix(keep *k, uint32_t *tokens)
{
    const lynx_keep_options *o = k->options;
    lynx_source *source = NULL;
    const lynx_time_ns start = lynx_clock_now();
    *tokens = 0;
    LX_TRY(lynx_store_find(o->store, k->model, &o->spec, o->tokens, o->token_count, &source,
                           k->text, LYNX_TEXT_MAX));
    if (!source)
        return LYNX_OK;
    const uint32_t found = source->ops->prefix(source)->token_count;
    const lynx_status status = load(k, source, found);
    lynx_source_destroy(source);
    k->result->load_ns = lynx_clock_now() - start;
    if (status == LYNX_ERR_MEMORY || status == LYNX_ERR_ENGINE)
        return engine_failed(k, status);
    *tokens = status == LYNX_OK ? found : 0;
    return LYNX_OK;
}

/* The last cut at or before 'tokens': from there on segments are written. */
static uint32_t cut_before(const keep *k, uint32_t tokens)
{
    uint32_t cut = 0;
    while (end_after(k, cut) <= tokens && end_after(k, cut) < k->options->token_count)
        cut = end_after(k, cut);
    return cut;
}

static lynx_status keep_prompt(keep *k)
{
    const lynx_keep_options *o = k->options;
    uint32_t stored = 0;
    if (o->store && !o->is_fresh)
        LX_TRY(lynx_store_length(o->store, k->model, &o->spec, o->tokens, o->token_count,
                                 &stored, k->text, LYNX_TEXT_MAX));
    k->result->stored_tokens = stored;
    if (stored == o->token_count)
        return LYNX_OK;
    if (!o->is_computed && stored > 0)
        LX_TRY(load_prefix(k, &stored));
    k->result->stored_tokens = stored;
    k->written = cut_before(k, stored);
    if (o->is_computed)
        return write_segments(k, o->token_count);
    const lynx_time_ns start = lynx_clock_now();
    const lynx_status status = stored > 0 ? compute_rest(k, stored) : compute_all(k);
    k->result->compute_ns = lynx_clock_now() - start - k->result->write_ns;
    return status;
}

static lynx_status check(const keep *k)
{
    const lynx_keep_options *o = k->options;
    if (o->struct_size != sizeof(*o) || (o->store != NULL) == (o->path != NULL) ||
        o->token_count == 0)
        return fail(k, LYNX_ERR_ARGUMENT, NULL);
    if (lynx_codec_spec_check(&o->spec) != LYNX_OK || !lynx_codec_spec_is_storable(&o->spec))
        return fail(
            k, LYNX_ERR_ARGUMENT,
            "this codec sends the last tokens of the prompt in another way, so its pages "
            "depend on what follows: say tail=0,recent=0");
    if (o->token_count > k->model->context_tokens)
        return fail(k, LYNX_ERR_LIMIT,
                    "the prompt is longer than the context: raise --ctx-size");
    if (o->is_computed && o->engine->ops->length(o->engine) < o->token_count)
        return fail(k, LYNX_ERR_STATE, "the engine's cache does not hold these tokens");
    return LYNX_OK;
}

lynx_status lynx_keep(const lynx_keep_options *options, lynx_keep_result *result, char *text)
{
    keep k = {
        .options = options,
        .model = options->engine->ops->model(options->engine),
        .result = result,
        .text = text,
    };
    *result = (lynx_keep_result){0};
    text[0] = '\0';
    LX_TRY(check(&k));
    lynx_status status = lx_page_pass_init(&k.pass, options->engine, &options->spec,
                                           options->kernels, options->memory);
    if (status == LYNX_OK)
        status = keep_prompt(&k);
    lx_page_pass_fini(&k.pass);
    return status == LYNX_OK || text[0] ? status : fail(&k, status, NULL);
}
