/* SPDX-License-Identifier: MIT */
/* decode.c - planes to a page. */
#include <string.h>

#include "base/check.h"
#include "codec/page.h"

/* Everything that can be wrong with foreign planes. */
static lynx_status check_planes(const lynx_codec *codec, const lx_page_view *v,
                                const lynx_bytes planes[], uint32_t plane_count)
{
    LX_REQUIRE(planes[0].size >= LX_MODE_BYTES, LYNX_ERR_CORRUPT);
    const uint8_t *mode = planes[0].data;
    LX_REQUIRE(mode[0] <= LX_MODE_RAW && mode[1] == 0 && mode[2] == 0 && mode[3] == 0,
               LYNX_ERR_CORRUPT);
    const bool is_raw = mode[0] == LX_MODE_RAW;
    LX_REQUIRE(is_raw || lx_page_is_worth_coding(codec, v), LYNX_ERR_CORRUPT);
    for (uint32_t plane = 0; plane < plane_count; plane++) {
        const size_t size = !is_raw      ? lx_page_coded_bytes(codec, v, plane)
                            : plane == 0 ? lx_page_raw_bytes(v)
                                         : 0;
        LX_REQUIRE(planes[plane].size == size, LYNX_ERR_CORRUPT);
    }
    if (is_raw)
        return LYNX_OK;
    const lx_quantiser q = lx_page_quantiser(codec, v, v->split.coded, 0);
    const uint8_t *meta = planes[0].data + v->meta_offset;
    const uint32_t heads = v->shape->channels / v->shape->head_channels;
    for (uint32_t head = 0; v->head_meta && head < heads; head++)
        LX_REQUIRE(lx_token_check_head(&q, meta + head * v->head_meta), LYNX_ERR_CORRUPT);
    LX_REQUIRE(v->channel_meta == 0 || lx_range_get(&q, v->shape->channels, meta),
               LYNX_ERR_CORRUPT);
    return LYNX_OK;
}

static void get_codes(const lx_page_bits *p, uint32_t c, uint8_t *codes)
{
    const lx_pair alone = {.a = c, .b = c};
    lx_area area;
    lx_find_area(p, &alone, &area);
    p->codec->kernels->unpack(&area, codes);
    if (!lx_has_rest(p))
        return;
    lx_rest *rest = lx_rest_of(p, &area, &alone, NULL);
    lx_rest_bits(rest, &area, true);
    p->codec->kernels->unpack(&rest->area, codes + rest->first);
}

/* RANGE: bits of a pair to rows. Low bits that are not here are zero in the codes; the grids
 * have their centre. */
static void get_values(const lx_page_bits *p, const lx_pair *pair, const lynx_tile *rows,
                       bool is_final)
{
    lx_area area;
    lx_find_area(p, pair, &area);
    area.is_final = is_final;
    p->codec->kernels->dequantize(&area, pair, rows);
    if (!lx_has_rest(p))
        return;
    lx_rest *rest = lx_rest_of(p, &area, pair, rows);
    lx_rest_bits(rest, &area, true);
    p->codec->kernels->dequantize(&rest->area, &rest->pair, &rest->tile);
    lx_rest_values(rest, pair, rows, false);
}

static void decode_range(const lx_page_bits *p, const lynx_tile *rows, bool is_final)
{
    const lynx_codec *codec = p->codec;
    lx_range_grids(&p->q, p->view->shape->channels, p->meta,
                   lx_bits_with(codec, p->plane_count - 1), codec->grids, codec->grid_pitch);
    lx_pair_walk walk = lx_walk_pairs(p->codec, p->view, p->first);
    lx_pair pair;
    while (lx_next_pair(&walk, &pair))
        get_values(p, &pair, rows, is_final);
}

/* PAPER: codes of a channel to floats. */
static void decode_channel(const lx_page_bits *p, uint32_t c, float *values)
{
    get_codes(p, c, p->codec->codes);
    lx_paper_decode(&p->q, p->meta + c * p->view->channel_meta, p->codec->codes, values);
}

static void decode_paper(const lx_page_bits *p, const lynx_tile *rows)
{
    const lynx_codec *codec = p->codec;
    lx_pair_walk walk = lx_walk_pairs(p->codec, p->view, p->first);
    lx_pair pair;
    while (lx_next_pair(&walk, &pair)) {
        float *a = lx_block_row(codec, 0);
        float *b = lx_block_row(codec, 1);
        decode_channel(p, pair.a, a);
        if (pair.cosines)
            decode_channel(p, pair.b, b);
        codec->kernels->store(a, b, &pair, p->q.tokens, rows);
    }
}

static void decode_token(const lx_page_bits *p, const lynx_tile *rows)
{
    const lynx_codec *codec = p->codec;
    const uint32_t step = p->view->shape->head_channels;
    for (uint32_t c = 0; c < p->view->shape->channels; c++)
        get_codes(p, c, lx_codes_row(codec, c));
    for (uint32_t c = 0; c < p->view->shape->channels; c += step)
        lx_token_decode_head(&p->q, p->meta + c / step * p->view->head_meta,
                             lx_codes_row(codec, c), codec->row_values, step,
                             lx_block_row(codec, c));
    lx_pair_walk walk = lx_walk_pairs(p->codec, p->view, p->first);
    lx_pair pair;
    while (lx_next_pair(&walk, &pair))
        codec->kernels->store(lx_block_row(codec, pair.a), lx_block_row(codec, pair.b), &pair,
                              p->q.tokens, rows);
}

static void decode_part(const lx_page_bits *p, const lynx_tile *run)
{
    const lynx_profile profile = p->codec->spec.profile;
    const lynx_tile rows = lx_rows_of(p->codec, run);
    lx_find_rows(p);
    if (profile == LYNX_PROFILE_RANGE)
        decode_range(p, &rows, rows.data == run->data);
    else if (profile == LYNX_PROFILE_PAPER)
        decode_paper(p, &rows);
    else
        decode_token(p, &rows);
    lx_move_rows(p, &rows, run, p->tokens);
    if (p->codec->kernels->settle)
        p->codec->kernels->settle();
}

lynx_status lynx_codec_decode(lynx_codec *codec, const lynx_side_shape *shape, lynx_side side,
                              const lynx_page_span *span, const lynx_bytes planes[],
                              uint32_t plane_count, const lynx_tile *target)
{
    LX_TRY(lx_page_check(codec, shape, side, span, target));
    LX_REQUIRE(plane_count >= 1 && plane_count <= codec->plane_count, LYNX_ERR_ARGUMENT);
    const lx_page_view v = lx_page_view_of(codec, shape, side, span);
    LX_TRY(check_planes(codec, &v, planes, plane_count));
    uint8_t *plane0 = (uint8_t *)(uintptr_t)planes[0].data; /* only read below */
    if (plane0[0] == LX_MODE_RAW) {
        const lynx_tile wire = lx_wire_tile(codec, &v, plane0 + LX_MODE_BYTES);
        lx_copy_values(&wire, target, span->token_count, shape->channels);
        return LYNX_OK;
    }
    lx_copy_raw_tokens(codec, &v, target, plane0, false);
    uint8_t *here[LYNX_PLANES_MAX]; /* only read */
    for (uint32_t plane = 0; plane < plane_count; plane++)
        here[plane] = (uint8_t *)(uintptr_t)planes[plane].data;
    for (lx_part part = 0; part < LX_PARTS; part++) {
        if (lx_part_tokens(&v, part) == 0)
            continue;
        const lx_page_bits bits = lx_bits_of(codec, &v, here, plane_count, part, true);
        const lynx_tile run = lx_tile_at(target, v.split.head + bits.first, 0);
        decode_part(&bits, &run);
    }
    return LYNX_OK;
}
