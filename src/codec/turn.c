/* SPDX-License-Identifier: MIT */
/* turn.c - which channels of a page turn together. */
#include "codec/page.h"
#include "codec/rope.h"

static bool rope_is_equal(const lynx_rope *a, const lynx_rope *b)
{
    return a->pairing == b->pairing && a->dims == b->dims && a->base == b->base &&
           a->scale == b->scale;
}

/* The table for the coded run of a page; computed once for all layers that share it. */
static const lx_rope_table *rope_for(lynx_codec *codec, const lynx_rope *rope, uint32_t first,
                                     uint32_t count)
{
    for (uint32_t i = 0; i < LX_ROPE_TABLES; i++) {
        const lx_rope_table *t = &codec->ropes[i];
        if (t->count == count && t->first == first && rope_is_equal(&t->rope, rope))
            return t;
    }
    lx_rope_table *t = &codec->ropes[codec->next_rope];
    codec->next_rope = (codec->next_rope + 1) % LX_ROPE_TABLES;
    for (uint32_t pair = 0; pair < rope->dims / 2; pair++)
        lx_rope_row(codec->kernels, rope, pair, first, count,
                    t->cosines + pair * codec->row_values, t->sines + pair * codec->row_values);
    t->rope = *rope;
    t->first = first;
    t->count = count;
    return t;
}

/* The table of this page, or NULL when nothing is turned. */
static const lx_rope_table *turn_of(lynx_codec *codec, const lx_page_view *v)
{
    if (!codec->spec.undo_rope || v->side != LYNX_SIDE_KEYS ||
        v->shape->rope.pairing == LYNX_ROPE_NONE)
        return NULL;
    return rope_for(codec, &v->shape->rope, v->span->first_token + v->split.head,
                    v->split.coded);
}

void lx_begin_pair(lx_pair_walk *walk)
{
    walk->next = (lx_pair){.a = walk->channel, .b = walk->channel};
    if (walk->channel >= walk->turned)
        return;
    const uint32_t i = walk->channel / 2;
    lx_rope_channels(&walk->table->rope, i, &walk->next.a, &walk->next.b);
    const size_t at = i * walk->table_pitch + walk->first_token;
    walk->next.cosines = walk->table->cosines + at;
    walk->next.sines = walk->table->sines + at;
}

lx_pair_walk lx_walk_pairs(lynx_codec *codec, const lx_page_view *v, uint32_t first)
{
    const lx_rope_table *table = turn_of(codec, v);
    lx_pair_walk walk = {.table = table,
                         .table_pitch = codec->row_values,
                         .first_token = first,
                         .heads = 1,
                         .head_channels = v->shape->channels};
    if (table) {
        walk.heads = v->shape->channels / v->shape->head_channels;
        walk.head_channels = v->shape->head_channels;
        walk.turned = table->rope.dims;
    }
    lx_begin_pair(&walk);
    return walk;
}
