/* SPDX-License-Identifier: MIT */
/* page_load.c - a stored prefix into an engine's cache, page by page as its last plane comes.
 */
#include "base/check.h"
#include "runtime/page_pass.h"
#include "runtime/stock.h"

static const uint64_t wait_ns = 1000000000;

/* Decode the pages of jobs, which are whole. */
static lynx_status take_jobs(lx_page_pass *pass, lx_stock *stock, uint32_t tokens, size_t count)
{
    LX_TRY(lx_page_decode_jobs(pass, tokens, count));
    for (size_t i = 0; i < count; i++)
        lx_stock_release(stock, pass->jobs[i].id);
    return LYNX_OK;
}

/* Decode each page whose planes are all here: its last one has come just now. */
static lynx_status take_pages(lx_page_pass *pass, lx_stock *stock, uint32_t tokens)
{
    lx_arrival arrival;
    lx_page_job *jobs;
    size_t count = 0;
    LX_TRY(lx_page_jobs(pass, &jobs));
    while (lx_stock_next(stock, &arrival)) {
        lx_page_job *job = &jobs[count];
        job->id = arrival.page;
        if (!lx_stock_planes(stock, job->id, job->planes, &job->plane_count, &job->span) ||
            arrival.plane + 1 < pass->plane_count)
            continue;
        if (++count < LX_PAGE_JOBS_MAX)
            continue;
        LX_TRY(take_jobs(pass, stock, tokens, count));
        count = 0;
    }
    return take_jobs(pass, stock, tokens, count);
}

lynx_status lx_page_load(lx_page_pass *pass, lynx_source *source)
{
    const uint32_t tokens = source->ops->prefix(source)->token_count;
    char text[LYNX_TEXT_MAX];
    lx_stock *stock = NULL;
    lynx_status end = LYNX_BLOCKED;
    lynx_status status = LYNX_OK;
    LX_TRY(lx_stock_open(&stock, source, pass->model, NULL, NULL, pass->memory));
    while (status == LYNX_OK && end == LYNX_BLOCKED) {
        lx_stock_wait(stock, lynx_clock_now() + wait_ns);
        end = lx_stock_end(stock, text); /* first: nothing comes behind it */
        status = take_pages(pass, stock, tokens);
    }
    lx_stock_close(stock);
    return status == LYNX_OK ? end : status;
}
