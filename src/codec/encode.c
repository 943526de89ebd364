/* SPDX-License-Identifier: MIT */
/* encode.c - a page to its planes. */
#include <string.h>

#include "base/check.h"
#include "codec/page.h"

static void encode_raw(const lynx_codec *codec, const lx_page_view *v, const lynx_tile *source,
                       uint8_t *const planes[], size_t plane_bytes[])
{
    const lynx_tile wire = lx_wire_tile(codec, v, planes[0] + LX_MODE_BYTES);
    memset(planes[0], 0, LX_MODE_BYTES);
    planes[0][0] = LX_MODE_RAW;
    lx_copy_values(source, &wire, v->span->token_count, v->shape->channels);
    plane_bytes[0] = lx_page_raw_bytes(v);
    for (uint32_t plane = 1; plane < codec->plane_count; plane++)
        plane_bytes[plane] = 0;
}

/* Codes of a channel to its bits. */
static void put_codes(const lx_page_bits *p, uint32_t c, const uint8_t *codes)
{
    const lx_pair alone = {.a = c, .b = c};
    lx_area area;
    lx_find_area(p, &alone, &area);
    p->codec->kernels->pack(codes, &area);
    if (!lx_has_rest(p))
        return;
    lx_rest *rest = lx_rest_of(p, &area, &alone, NULL);
    p->codec->kernels->pack(codes + rest->first, &rest->area);
    lx_rest_bits(rest, &area, false);
}

/* Rows of a pair to its bits. */
static void put_values(const lx_page_bits *p, const lynx_tile *rows, const lx_pair *pair)
{
    lx_area area;
    lx_find_area(p, pair, &area);
    p->codec->kernels->quantize(rows, pair, &area);
    if (!lx_has_rest(p))
        return;
    lx_rest *rest = lx_rest_of(p, &area, pair, rows);
    lx_rest_values(rest, pair, rows, true);
    p->codec->kernels->quantize(&rest->tile, &rest->pair, &rest->area);
    lx_rest_bits(rest, &area, false);
}

/* Extents of a pair, of all tokens or of each chunk, where grids will be. Those of the whole
 * run, as everything that is shared by its parts. */
static bool find_extents(const lx_page_bits *p, const lynx_tile *rows, const lx_pair *pair)
{
    const lynx_codec *codec = p->codec;
    lx_extent *a = codec->extents + pair->a * codec->grid_pitch;
    lx_extent *b = codec->extents + pair->b * codec->grid_pitch;
    const uint32_t tokens = p->view->split.coded;
    const uint32_t step = codec->spec.chunk_tokens ? LX_CHUNK_TOKENS : tokens;
    for (uint32_t t = 0; t < tokens; t += step) {
        const lynx_tile part = lx_tile_at(rows, t, 0);
        lx_pair turned = *pair;
        if (pair->cosines) {
            turned.cosines += t;
            turned.sines += t;
        }
        if (!codec->kernels->extents(&part, &turned, tokens - t < step ? tokens - t : step, a++,
                                     b++))
            return false;
    }
    return true;
}

/* From the lines of tokens all channels are measured at once, where none turns. */
static bool has_line_extents(const lx_page_bits *p, const lynx_tile *rows, const lynx_tile *run)
{
    return p->codec->kernels->line_extents && rows->data != run->data &&
           run->element == LYNX_ELEMENT_F16 && run->channel_stride_bytes == 2 &&
           p->codec->spec.chunk_tokens == 0 && !lx_walk_pairs(p->codec, p->view, 0).table;
}

/* The coded run to rows, and extents of all channels. */
static bool move_and_measure(const lx_page_bits *p, const lynx_tile *rows, const lynx_tile *run)
{
    const lynx_codec *codec = p->codec;
    if (has_line_extents(p, rows, run)) {
        if (!codec->kernels->line_extents(run, p->view->split.coded, p->view->shape->channels,
                                          codec->extents, codec->grid_pitch))
            return false;
        lx_move_rows(p, run, rows, p->view->split.coded);
        return true;
    }
    lx_move_rows(p, run, rows, p->view->split.coded);
    lx_pair pair;
    for (lx_pair_walk walk = lx_walk_pairs(p->codec, p->view, 0); lx_next_pair(&walk, &pair);)
        if (!find_extents(p, rows, &pair))
            return false;
    return true;
}

static void put_part(const lx_page_bits *p, const lynx_tile *rows)
{
    const lynx_tile own = lx_tile_at(rows, p->first, 0);
    lx_pair pair;
    lx_find_rows(p);
    for (lx_pair_walk walk = lx_walk_pairs(p->codec, p->view, p->first);
         lx_next_pair(&walk, &pair);)
        put_values(p, &own, &pair);
}

/* RANGE: each step for all channels before the next, so that none waits for its own metadata
 * (and 'spread' needs that of all). */
static bool encode_range(const lx_page_bits *p, const lx_page_bits *recent,
                         const lynx_tile *rows, const lynx_tile *run)
{
    const lynx_codec *codec = p->codec;
    const uint32_t channels = p->view->shape->channels;
    if (!move_and_measure(p, rows, run))
        return false;
    if (!lx_range_put(&p->q, channels, codec->extents, codec->grid_pitch, p->meta))
        return false;
    lx_range_grids(&p->q, channels, p->meta, NULL, codec->grids, codec->grid_pitch);
    if (p->tokens)
        put_part(p, rows);
    if (recent->tokens)
        put_part(recent, rows);
    return true;
}

static bool encode_paper(const lx_page_bits *p, const lynx_tile *rows)
{
    const lynx_codec *codec = p->codec;
    lx_pair_walk walk = lx_walk_pairs(p->codec, p->view, p->first);
    lx_pair pair;
    lx_find_rows(p);
    while (lx_next_pair(&walk, &pair)) {
        lx_extent extents[2];
        if (!codec->kernels->extents(rows, &pair, p->q.tokens, &extents[0], &extents[1]))
            return false;
        codec->kernels->load(rows, &pair, p->q.tokens, lx_block_row(codec, 0),
                             lx_block_row(codec, 1));
        for (uint32_t i = 0; i < (pair.cosines ? 2 : 1); i++) {
            const uint32_t c = i ? pair.b : pair.a;
            if (!lx_paper_encode(&p->q, extents[i], lx_block_row(codec, i),
                                 p->meta + c * p->view->channel_meta, codec->codes))
                return false;
            put_codes(p, c, codec->codes);
        }
    }
    return true;
}

static bool encode_token(const lx_page_bits *p, const lynx_tile *rows)
{
    const lynx_codec *codec = p->codec;
    const uint32_t step = p->view->shape->head_channels;
    lx_pair_walk walk = lx_walk_pairs(p->codec, p->view, p->first);
    lx_pair pair;
    lx_find_rows(p);
    while (lx_next_pair(&walk, &pair))
        codec->kernels->load(rows, &pair, p->q.tokens, lx_block_row(codec, pair.a),
                             lx_block_row(codec, pair.b));
    for (uint32_t c = 0; c < p->view->shape->channels; c += step)
        if (!lx_token_encode_head(&p->q, lx_block_row(codec, c), codec->row_values, step,
                                  p->meta + c / step * p->view->head_meta,
                                  lx_codes_row(codec, c)))
            return false;
    for (uint32_t c = 0; c < p->view->shape->channels; c++)
        put_codes(p, c, lx_codes_row(codec, c));
    return true;
}

static bool encode_run(const lx_page_bits *p, const lx_page_bits *recent, const lynx_tile *run)
{
    const lynx_profile profile = p->codec->spec.profile;
    const lynx_tile rows = lx_rows_of(p->codec, run);
    if (profile == LYNX_PROFILE_RANGE)
        return encode_range(p, recent, &rows, run);
    lx_move_rows(p, run, &rows, p->tokens);
    return profile == LYNX_PROFILE_PAPER ? encode_paper(p, &rows) : encode_token(p, &rows);
}

lynx_status lynx_codec_encode(lynx_codec *codec, const lynx_side_shape *shape, lynx_side side,
                              const lynx_page_span *span, const lynx_tile *source,
                              uint8_t *const planes[], size_t plane_bytes[], bool *is_raw)
{
    LX_TRY(lx_page_check(codec, shape, side, span, source));
    const lx_page_view v = lx_page_view_of(codec, shape, side, span);
    bool is_coded = lx_page_is_worth_coding(codec, &v);
    if (is_coded) {
        const lx_page_bits bits =
            lx_bits_of(codec, &v, planes, codec->plane_count, LX_PART_EARLIER, false);
        const lx_page_bits recent =
            lx_bits_of(codec, &v, planes, codec->plane_count, LX_PART_RECENT, false);
        const lynx_tile run = lx_tile_at(source, v.split.head, 0);
        memset(planes[0], 0, LX_MODE_BYTES);
        lx_copy_raw_tokens(codec, &v, source, planes[0], true);
        is_coded = encode_run(&bits, &recent, &run);
        for (uint32_t plane = 0; plane < codec->plane_count; plane++)
            plane_bytes[plane] = lx_page_coded_bytes(codec, &v, plane);
    }
    *is_raw = !is_coded && codec->spec.profile != LYNX_PROFILE_RAW;
    if (!is_coded)
        encode_raw(codec, &v, source, planes, plane_bytes);
    return LYNX_OK;
}
