/* SPDX-License-Identifier: MIT */
#include "runtime/page_pass.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"

static uint32_t channels_max(const lynx_shape *shape)
{
    uint32_t most = 1;
    for (uint32_t layer = 0; layer < shape->layer_count; layer++)
        for (uint32_t side = 0; side < 2; side++)
            if (shape->layers[layer].sides[side].channels > most)
                most = shape->layers[layer].sides[side].channels;
    return most;
}

/* Room for one plane of any page of the model. */
static size_t plane_room(const lx_page_pass *pass, uint32_t plane)
{
    const lynx_shape *shape = &pass->model->shape;
    size_t most = 1;
    for (uint32_t layer = 0; layer < shape->layer_count; layer++)
        for (uint32_t side = 0; side < 2; side++) {
            const lynx_side_shape *side_shape = &shape->layers[layer].sides[side];
            if (side_shape->channels == 0)
                continue;
            const size_t bytes =
                lynx_codec_plane_bytes_max(pass->coder.codec, side_shape, (lynx_side)side,
                                           plane, shape->page_tokens);
            most = bytes > most ? bytes : most;
        }
    return most;
}

lynx_status lx_page_coder_init(const lx_page_pass *pass, lx_page_coder *coder)
{
    if (!coder->codec)
        LX_TRY(lynx_codec_create(&coder->codec, &pass->codec_options));
    for (uint32_t plane = 0; plane < pass->plane_count; plane++) {
        coder->planes[plane] = lx_alloc(pass->memory, pass->plane_room[plane], 1);
        LX_REQUIRE(coder->planes[plane], LYNX_ERR_MEMORY);
    }
    if (pass->room_bytes > 0) {
        coder->room = lx_alloc(pass->memory, pass->room_bytes, 1);
        LX_REQUIRE(coder->room, LYNX_ERR_MEMORY);
    }
    return LYNX_OK;
}

void lx_page_coder_fini(const lx_page_pass *pass, lx_page_coder *coder)
{
    for (uint32_t plane = 0; plane < LYNX_PLANES_MAX; plane++)
        lx_free(pass->memory, coder->planes[plane], pass->plane_room[plane], 1);
    lx_free(pass->memory, coder->room, pass->room_bytes, 1);
    lynx_codec_destroy(coder->codec);
}

lynx_status lx_page_pass_init(lx_page_pass *pass, lynx_engine *engine,
                              const lynx_codec_spec *spec, const char *kernels,
                              const lynx_allocator *memory)
{
    *pass = (lx_page_pass){
        .engine = engine,
        .model = engine->ops->model(engine),
        .memory = lx_allocator_or_default(memory),
        .plane_count = lynx_codec_spec_plane_count(spec),
    };
    lynx_codec_options *options = &pass->codec_options;
    lynx_codec_options_init(options);
    options->spec = *spec;
    options->page_tokens = pass->model->shape.page_tokens;
    options->channels_max = channels_max(&pass->model->shape);
    options->element = pass->model->shape.element;
    options->kernels = kernels;
    options->memory = memory;
    LX_TRY(lynx_codec_create(&pass->coder.codec, options));
    for (uint32_t plane = 0; plane < pass->plane_count; plane++)
        pass->plane_room[plane] = plane_room(pass, plane);
    if (lynx_shape_has_window(&pass->model->shape))
        pass->room_bytes = (size_t)options->page_tokens * options->channels_max *
                           lynx_element_bytes(options->element);
    return lx_page_coder_init(pass, &pass->coder);
}

void lx_page_pass_fini(lx_page_pass *pass)
{
    lx_page_jobs_fini(pass);
    lx_page_coder_fini(pass, &pass->coder);
    *pass = (lx_page_pass){.memory = pass->memory};
}

/* ---- one page ------------------------------------------------------------------------ */

lynx_status lx_page_encode_tile(const lx_page_pass *pass, lx_page_coder *coder, lynx_page_id id,
                                uint32_t prompt_tokens, const lynx_tile *tile, bool *is_raw)
{
    const lynx_shape *shape = &pass->model->shape;
    const lynx_page_span span = lynx_page_span_of(shape, id, prompt_tokens);
    return lynx_codec_encode(coder->codec, &shape->layers[id.layer].sides[id.side],
                             (lynx_side)id.side, &span, tile, coder->planes, coder->plane_bytes,
                             is_raw);
}

static lynx_status decode(const lx_page_pass *pass, const lx_page_coder *coder,
                          const lx_page_job *job, const lynx_tile *tile)
{
    return lynx_codec_decode(coder->codec,
                             &pass->model->shape.layers[job->id.layer].sides[job->id.side],
                             (lynx_side)job->id.side, &job->span, job->planes, job->plane_count,
                             tile);
}

/* The last tokens of a tile that lies in the same order. */
static void copy_tail(const lynx_tile *from, uint32_t skipped, uint32_t tokens,
                      uint32_t channels, const lynx_tile *to)
{
    const size_t bytes = lynx_element_bytes(to->element);
    const bool by_token = to->channel_stride_bytes == bytes;
    const uint8_t *source = (const uint8_t *)from->data + skipped * from->token_stride_bytes;
    const size_t from_stride = by_token ? from->token_stride_bytes : from->channel_stride_bytes;
    const size_t to_stride = by_token ? to->token_stride_bytes : to->channel_stride_bytes;
    for (uint32_t row = 0; row < (by_token ? tokens : channels); row++)
        memcpy((uint8_t *)to->data + row * to_stride, source + row * from_stride,
               (by_token ? channels : tokens) * bytes);
}

/* By way of the coder's room. */
static lynx_status decode_tail(const lx_page_pass *pass, const lx_page_coder *coder,
                               const lx_page_job *job, uint32_t skipped, const lynx_tile *tile)
{
    const size_t bytes = lynx_element_bytes(tile->element);
    const uint32_t channels =
        pass->model->shape.layers[job->id.layer].sides[job->id.side].channels;
    const bool by_token = tile->channel_stride_bytes == bytes;
    const lynx_tile room = {
        .data = coder->room,
        .element = tile->element,
        .token_stride_bytes = by_token ? channels * bytes : bytes,
        .channel_stride_bytes = by_token ? bytes : pass->model->shape.page_tokens * bytes,
    };
    LX_TRY(decode(pass, coder, job, &room));
    copy_tail(&room, skipped, job->span.token_count - skipped, channels, tile);
    return LYNX_OK;
}

lynx_status lx_page_decode_tile(const lx_page_pass *pass, const lx_page_coder *coder,
                                const lx_page_job *job, uint32_t prompt_tokens,
                                const lynx_tile *tile)
{
    const lynx_page_span span = lynx_page_span_of(&pass->model->shape, job->id, prompt_tokens);
    const uint32_t skipped = span.first_token - job->span.first_token;
    LX_REQUIRE(job->span.first_token <= span.first_token &&
                   job->span.token_count == span.token_count + skipped,
               LYNX_ERR_CORRUPT);
    return skipped > 0 ? decode_tail(pass, coder, job, skipped, tile)
                       : decode(pass, coder, job, tile);
}

lynx_status lx_page_encode(lx_page_pass *pass, lynx_page_id id, uint32_t prompt_tokens)
{
    lynx_tile tile;
    bool is_raw = false;
    LX_TRY(pass->engine->ops->map_page(pass->engine, id, prompt_tokens, false, &tile));
    const lynx_status status =
        lx_page_encode_tile(pass, &pass->coder, id, prompt_tokens, &tile, &is_raw);
    LX_TRY(pass->engine->ops->unmap_page(pass->engine));
    pass->raw_pages += is_raw;
    return status;
}

lynx_status lx_page_decode(lx_page_pass *pass, lynx_page_id id, uint32_t prompt_tokens,
                           const lynx_bytes *planes, uint32_t plane_count)
{
    lynx_tile tile;
    LX_TRY(pass->engine->ops->map_page(pass->engine, id, prompt_tokens, true, &tile));
    lx_page_job job = {.id = id,
                       .plane_count = plane_count,
                       .span = lynx_page_span_of(&pass->model->shape, id, prompt_tokens)};
    memcpy(job.planes, planes, plane_count * sizeof(*planes));
    const lynx_status status =
        lx_page_decode_tile(pass, &pass->coder, &job, prompt_tokens, &tile);
    LX_TRY(pass->engine->ops->unmap_page(pass->engine));
    return status;
}

/* ---- all pages of a prompt ----------------------------------------------------------- */

static lynx_status pass_page(lx_page_pass *pass, lynx_page_id id, uint32_t prompt_tokens)
{
    LX_TRY(lx_page_encode(pass, id, prompt_tokens));
    lynx_bytes planes[LYNX_PLANES_MAX];
    for (uint32_t plane = 0; plane < pass->plane_count; plane++)
        planes[plane] = (lynx_bytes){pass->coder.planes[plane], pass->coder.plane_bytes[plane]};
    LX_TRY(lx_page_decode(pass, id, prompt_tokens, planes, pass->plane_count));
    if (pass->on_page)
        pass->on_page(pass->user, id, prompt_tokens, planes, pass->plane_count);
    return LYNX_OK;
}

lynx_status lx_page_pass_all(lx_page_pass *pass, uint32_t prompt_tokens,
                             lx_page_pass_goes_on *goes_on, void *user)
{
    lynx_page_walk walk = lynx_page_walk_of(&pass->model->shape, prompt_tokens);
    lynx_page_id id;
    while (lynx_page_walk_next(&walk, &id)) {
        LX_REQUIRE(!goes_on || goes_on(user), LYNX_ERR_CANCELLED);
        LX_TRY(pass_page(pass, id, prompt_tokens));
    }
    return pass->engine->ops->commit_pages(pass->engine);
}

lynx_status lx_page_pass_rest(lx_page_pass *pass, uint32_t first_token, uint32_t prompt_tokens)
{
    lynx_page_walk walk = lynx_page_walk_of(&pass->model->shape, prompt_tokens);
    lynx_page_id id;
    walk.next.page = first_token / pass->model->shape.page_tokens;
    while (lynx_page_walk_next(&walk, &id))
        LX_TRY(pass_page(pass, id, prompt_tokens));
    return pass->engine->ops->commit_pages(pass->engine);
}

static lynx_status digest_page(lx_page_pass *pass, lynx_page_id id, uint32_t prompt_tokens,
                               uint64_t *digest)
{
    const lynx_shape *shape = &pass->model->shape;
    const uint32_t channels = shape->layers[id.layer].sides[id.side].channels;
    const uint32_t tokens = lynx_page_span_of(shape, id, prompt_tokens).token_count;
    const size_t bytes = lynx_element_bytes(shape->element);
    lynx_tile tile;
    LX_TRY(pass->engine->ops->map_page(pass->engine, id, prompt_tokens, false, &tile));
    const bool by_token = tile.channel_stride_bytes == bytes;
    const uint32_t rows = by_token ? tokens : channels;
    for (uint32_t row = 0; row < rows; row++) {
        const size_t stride = by_token ? tile.token_stride_bytes : tile.channel_stride_bytes;
        const uint64_t chain[2] = {*digest,
                                   lx_digest64((const uint8_t *)tile.data + row * stride,
                                               (by_token ? channels : tokens) * bytes)};
        *digest = lx_digest64(chain, sizeof(chain));
    }
    return pass->engine->ops->unmap_page(pass->engine);
}

lynx_status lx_page_pass_digest(lx_page_pass *pass, uint32_t prompt_tokens, uint64_t *digest)
{
    lynx_page_walk walk = lynx_page_walk_of(&pass->model->shape, prompt_tokens);
    lynx_page_id id;
    *digest = 0;
    while (lynx_page_walk_next(&walk, &id))
        LX_TRY(digest_page(pass, id, prompt_tokens, digest));
    return LYNX_OK;
}
