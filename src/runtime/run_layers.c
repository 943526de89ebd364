/* SPDX-License-Identifier: MIT */
/*
 * run_layers.c - computing behind a cache while it comes, layer by layer; see run.h.
 *
 * A cache comes in the order of its layers, and so is a batch computed: the first layers of
 * what is behind it run while the last ones of the cache are on their way.
 */
#include "base/alloc.h"
#include "base/check.h"
#include "runtime/run.h"

static uint32_t *due_of(const lx_run *r, uint32_t layer)
{
    return r->due + (size_t)layer * r->pass.plane_count;
}

void lx_run_forget_layers(lx_run *r)
{
    lx_free(r->memory, r->due, r->due_count, sizeof(*r->due));
    r->due = NULL;
}

lynx_status lx_run_expect_layers(lx_run *r)
{
    const lynx_shape *shape = &r->model->shape;
    lx_run_forget_layers(r);
    if (!r->model->can_await_layers || r->options->method != LYNX_METHOD_SPECULATE)
        return LYNX_OK;
    r->due_count = (size_t)shape->layer_count * r->pass.plane_count;
    r->due = lx_alloc_zeroed(r->memory, r->due_count, sizeof(*r->due));
    LX_REQUIRE(r->due, LYNX_ERR_MEMORY);
    lynx_page_walk walk = lynx_page_walk_of(shape, r->cached_tokens);
    lynx_page_id id;
    while (lynx_page_walk_next(&walk, &id))
        for (uint32_t plane = 0; plane < r->pass.plane_count; plane++)
            due_of(r, id.layer)[plane]++;
    return LYNX_OK;
}

void lx_run_note_layer(lx_run *r, lynx_page_id page, uint32_t plane)
{
    if (r->due)
        due_of(r, page.layer)[plane]--;
}

bool lx_run_has_layer(const lx_run *r, uint32_t layer, uint32_t plane)
{
    for (uint32_t i = 0; i <= plane; i++)
        if (due_of(r, layer)[i] > 0)
            return false;
    return true;
}

static lynx_status await_layer(void *user, uint32_t layer)
{
    lx_run *r = user;
    const lynx_time_ns start = lynx_clock_now();
    for (;;) {
        lx_run_poll(r);
        LX_TRY(lx_run_apply_pages(r));
        if (lx_run_has_layer(r, layer, r->awaited_plane))
            break;
        LX_REQUIRE(!r->is_over, r->over_status);
        LX_TRY(lx_run_wait(r));
    }
    r->awaited_ns += lynx_clock_now() - start;
    return LYNX_OK;
}

bool lx_run_can_await(const lx_run *r, uint32_t plane)
{
    return r->due && !lx_run_has_plane(r, plane);
}

lynx_status lx_run_draft_batch(lx_run *r, uint32_t first, uint32_t count)
{
    const bool waits = lx_run_can_await(r, 0);
    r->awaited_plane = 0;
    return r->engine->ops->draft_batch(r->engine, r->history + first, count, r->history,
                                       first + count, waits ? await_layer : NULL, r);
}

lynx_status lx_run_batch(lx_run *r, uint32_t first, uint32_t count, uint32_t first_row,
                         uint32_t plane)
{
    const lynx_engine_ops *ops = r->engine->ops;
    const lynx_token *tokens = r->history + first;
    if (!lx_run_can_await(r, plane))
        return ops->batch(r->engine, tokens, count, first_row);
    r->awaited_plane = plane;
    return ops->batch_by_layer(r->engine, tokens, count, first_row, await_layer, r);
}
