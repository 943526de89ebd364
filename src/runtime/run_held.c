/* SPDX-License-Identifier: MIT */
/*
 * run_held.c - a prompt whose first pages come from a source while the remote sends the others;
 * see run.h.
 *
 * The source is read from the beginning on, but nothing of it is taken before ACCEPT has said
 * that its pages are left out: a remote that sends them all the same is right.
 */
#include "base/check.h"
#include "runtime/held_prefix.h"
#include "runtime/run.h"

/* Who waits for the remote waits for the source, too. Called on the reading thread. */
static void on_stock(void *user)
{
    lynx_pump *pump = user;
    lynx_pump_lock(pump);
    lx_pump_changed(pump);
    lynx_pump_unlock(pump);
}

static uint32_t held_columns(const lx_run *r)
{
    return r->held_tokens / r->model->shape.page_tokens;
}

static bool is_wanted(const lx_run *r, lynx_page_id id)
{
    return id.page < held_columns(r) &&
           lynx_page_is_needed(&r->model->shape, id, r->options->prompt_tokens);
}

static uint64_t count_pages(const lx_run *r)
{
    lynx_page_walk walk = lynx_page_walk_of(&r->model->shape, r->options->prompt_tokens);
    lynx_page_id id;
    uint64_t count = 0;
    walk.page_end = held_columns(r);
    while (lynx_page_walk_next(&walk, &id))
        count++;
    return count;
}

lynx_status lx_run_open_held(lx_run *r)
{
    const lynx_run_options *o = r->options;
    const lynx_codec_spec *spec = &o->source->ops->prefix(o->source)->spec;
    LX_TRY(lx_page_pass_init(&r->held_pass, r->engine, spec, o->kernels, o->memory));
    r->held_due = count_pages(r) * r->held_pass.plane_count;
    return lx_stock_open(&r->stock, o->source, r->model, on_stock, r->pump, r->memory);
}

void lx_run_drop_held(lx_run *r)
{
    lx_stock_close(r->stock);
    lx_page_pass_fini(&r->held_pass);
    r->stock = NULL;
    r->held_tokens = r->result->held_tokens = 0;
    r->leaves_out = r->has_lost_held = false;
}

lynx_status lx_run_name_held(const lx_run *r, lynx_request *request)
{
    if (!r->held_tokens)
        return LYNX_OK;
    request->held_tokens = r->held_tokens;
    request->held_spec = r->options->source->ops->prefix(r->options->source)->spec;
    return lx_held_name(r->model, &request->held_spec, request->tokens, r->held_tokens,
                        request->held_name);
}

void lx_run_on_accept(lx_run *r, uint32_t left_out)
{
    r->leaves_out = left_out > 0;
    r->held_tokens = r->result->held_tokens = left_out;
    if (!r->leaves_out) /* everything comes; what was read is dropped */
        return;
    lx_meter_left_out(&r->meter, count_pages(r));
}

bool lx_run_is_held(const lx_run *r, lynx_page_id id)
{
    return r->leaves_out && id.page < held_columns(r);
}

/* Which planes of the run's codec plane 'plane' of a held page, whose codec may have another
 * number of them, stands for: [*first, returned). The first one for the anchor, the last one
 * for all that are left. */
static uint32_t planes_of_held(const lx_run *r, uint32_t plane, uint32_t *first)
{
    const uint32_t last = r->pass.plane_count - 1;
    *first = plane < last ? plane : last;
    if (plane + 1 == r->held_pass.plane_count)
        return last + 1;
    return plane < last ? plane + 1 : *first;
}

static void take_arrival(lx_run *r, const lx_arrival *arrival)
{
    uint32_t first;
    if (!is_wanted(r, arrival->page)) { /* of the prefix, but not of this prompt */
        lx_stock_release(r->stock, arrival->page);
        return;
    }
    const uint32_t end = planes_of_held(r, arrival->plane, &first);
    r->held_due--;
    lx_run_note_plane(r, arrival, first, end);
}

void lx_run_take_held(lx_run *r)
{
    char text[LYNX_TEXT_MAX];
    lx_arrival arrival;
    if (r->stock && !r->held_tokens)
        lx_run_drop_held(r);
    if (!r->leaves_out)
        return;
    const lynx_status status = lx_stock_end(r->stock, text);
    while (lx_stock_next(r->stock, &arrival))
        take_arrival(r, &arrival);
    if (status == LYNX_OK || status == LYNX_BLOCKED || r->held_due == 0 || r->is_over)
        return;
    r->has_lost_held = true;
    lx_run_over(r, status, text);
}
