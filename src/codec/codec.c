/* SPDX-License-Identifier: MIT */
/* codec.c - a codec and the room that its pages share. */
#include "base/alloc.h"
#include "base/check.h"
#include "codec/page.h"

/* Values between rows: without them the rows of a head share a few sets of the first-level
 * cache. */
enum { ROW_GAP = 32 };

void lynx_codec_options_init(lynx_codec_options *options)
{
    *options = (lynx_codec_options){
        .struct_size = sizeof(*options),
        .page_tokens = 256,
        .element = LYNX_ELEMENT_F16,
    };
    /* "range" is one of the built-in names. */
    (void)!lynx_codec_spec_named(&options->spec, "range");
}

static lynx_status codec_init(lynx_codec *codec)
{
    const lynx_allocator *memory = codec->memory;
    const size_t channels = codec->options.channels_max;
    codec->row_values = (codec->options.page_tokens + LX_KERNEL_TOKENS - 1) / LX_KERNEL_TOKENS *
                            LX_KERNEL_TOKENS +
                        ROW_GAP;
    codec->block_rows = codec->spec.profile == LYNX_PROFILE_TOKEN ? channels : 2;
    codec->block =
        lx_alloc_zeroed(memory, codec->block_rows * codec->row_values, sizeof(float));
    codec->codes = lx_alloc_zeroed(memory, channels * codec->row_values, 1);
    codec->grid_pitch = codec->spec.chunk_tokens ? codec->row_values / LX_CHUNK_TOKENS : 1;
    const size_t grids = channels * codec->grid_pitch;
    codec->grids = lx_alloc_zeroed(memory, grids, sizeof(*codec->grids));
    codec->extents = lx_alloc_zeroed(memory, grids, sizeof(*codec->extents));
    lx_shared *shared = &codec->shared;
    shared->low_halves = lx_alloc_zeroed(memory, channels, sizeof(*shared->low_halves));
    shared->step_halves = lx_alloc_zeroed(memory, channels, sizeof(*shared->step_halves));
    shared->lows = lx_alloc_zeroed(memory, channels, sizeof(*shared->lows));
    shared->steps = lx_alloc_zeroed(memory, channels, sizeof(*shared->steps));
    codec->rows = lx_alloc_zeroed(memory, channels * codec->row_values, sizeof(float));
    codec->squares = lx_alloc_zeroed(memory, channels, sizeof(*codec->squares));
    codec->weights = lx_alloc_zeroed(memory, channels, sizeof(*codec->weights));
    codec->bits = lx_alloc_zeroed(memory, channels * LYNX_PLANES_MAX, 1);
    codec->rows_before =
        lx_alloc_zeroed(memory, channels * LYNX_PLANES_MAX, sizeof(*codec->rows_before));
    codec->zeros = lx_alloc_zeroed(memory, codec->row_values / 8, 1);
    codec->sink = lx_alloc_zeroed(memory, codec->row_values / 8, 1);
    LX_REQUIRE(codec->block && codec->codes && codec->rows && codec->grids && codec->extents &&
                   shared->low_halves && shared->step_halves && shared->lows && shared->steps &&
                   codec->squares && codec->weights && codec->bits && codec->rows_before &&
                   codec->zeros && codec->sink,
               LYNX_ERR_MEMORY);
    if (codec->spec.undo_rope) {
        codec->rope_floats = (channels / 2 + 1) * codec->row_values;
        for (uint32_t i = 0; i < LX_ROPE_TABLES; i++) {
            lx_rope_table *t = &codec->ropes[i];
            t->cosines = lx_alloc_zeroed(memory, codec->rope_floats, sizeof(float));
            t->sines = lx_alloc_zeroed(memory, codec->rope_floats, sizeof(float));
            LX_REQUIRE(t->cosines && t->sines, LYNX_ERR_MEMORY);
        }
    }
    if (codec->spec.profile == LYNX_PROFILE_PAPER)
        lx_paper_tables_init(&codec->paper, codec->spec.alpha);
    return LYNX_OK;
}

lynx_status lynx_codec_create(lynx_codec **codec, const lynx_codec_options *options)
{
    LX_TRY(lynx_codec_spec_check(&options->spec));
    LX_REQUIRE(options->page_tokens >= 32 && options->page_tokens <= LYNX_PAGE_TOKENS_MAX &&
                   options->page_tokens % 32 == 0,
               LYNX_ERR_ARGUMENT);
    LX_REQUIRE(options->channels_max >= 1 && options->channels_max <= LYNX_CHANNELS_MAX,
               LYNX_ERR_ARGUMENT);
    const lx_kernels *kernels = lx_kernels_named(options->kernels);
    LX_REQUIRE(kernels, LYNX_ERR_UNSUPPORTED);
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    lynx_codec *c = lx_alloc_zeroed(memory, 1, sizeof(*c));
    LX_REQUIRE(c, LYNX_ERR_MEMORY);
    c->memory = memory;
    c->options = *options;
    c->spec = options->spec;
    c->kernels = kernels;
    c->plane_count = lynx_codec_spec_plane_count(&c->spec);
    for (uint32_t plane = 0; plane < c->plane_count; plane++)
        c->code_bits += c->spec.plane_bits[0][plane];
    if (c->spec.spread)
        c->code_bits = LX_FINE_BITS;
    const lynx_status status = codec_init(c);
    if (lynx_failed(status)) {
        lynx_codec_destroy(c);
        return status;
    }
    *codec = c;
    return LYNX_OK;
}

void lynx_codec_destroy(lynx_codec *codec)
{
    if (!codec)
        return;
    const lynx_allocator *memory = codec->memory;
    const size_t channels = codec->options.channels_max;
    const size_t values = channels * codec->row_values;
    const lx_shared *shared = &codec->shared;
    lx_free(memory, codec->block, codec->block_rows * codec->row_values, sizeof(float));
    lx_free(memory, codec->codes, values, 1);
    lx_free(memory, codec->rows, values, sizeof(float));
    const size_t grids = channels * codec->grid_pitch;
    lx_free(memory, codec->grids, grids, sizeof(*codec->grids));
    lx_free(memory, codec->extents, grids, sizeof(*codec->extents));
    lx_free(memory, shared->low_halves, channels, sizeof(*shared->low_halves));
    lx_free(memory, shared->step_halves, channels, sizeof(*shared->step_halves));
    lx_free(memory, shared->lows, channels, sizeof(*shared->lows));
    lx_free(memory, shared->steps, channels, sizeof(*shared->steps));
    lx_free(memory, codec->squares, channels, sizeof(*codec->squares));
    lx_free(memory, codec->weights, channels, sizeof(*codec->weights));
    lx_free(memory, codec->bits, channels * LYNX_PLANES_MAX, 1);
    lx_free(memory, codec->rows_before, channels * LYNX_PLANES_MAX,
            sizeof(*codec->rows_before));
    lx_free(memory, codec->zeros, codec->row_values / 8, 1);
    lx_free(memory, codec->sink, codec->row_values / 8, 1);
    for (uint32_t i = 0; i < LX_ROPE_TABLES; i++) {
        lx_free(memory, codec->ropes[i].cosines, codec->rope_floats, sizeof(float));
        lx_free(memory, codec->ropes[i].sines, codec->rope_floats, sizeof(float));
    }
    lx_free(memory, codec, 1, sizeof(*codec));
}

const char *lynx_codec_kernels(const lynx_codec *codec)
{
    return codec->kernels->name;
}

const char *lynx_codec_kernels_at(size_t index)
{
    const lx_kernels *kernels = lx_kernels_at(index);
    return kernels ? kernels->name : NULL;
}
