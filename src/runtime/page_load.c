/* SPDX-License-Identifier: MIT */
/* page_load.c - a stored prefix into an engine's cache, page by page as its last plane comes.
 */
#include "base/check.h"
#include "runtime/page_pass.h"
#include "runtime/stock.h"

static const uint64_t wait_ns = 1000000000;

/* Decode each page whose planes are all here. */
static lynx_status take_pages(lx_page_pass *pass, lx_stock *stock, uint32_t tokens)
{
    lx_arrival arrival;
    lynx_bytes planes[LYNX_PLANES_MAX];
    uint32_t count = 0;
    while (lx_stock_next(stock, &arrival)) {
        if (!lx_stock_planes(stock, arrival.page, planes, &count) || count < pass->plane_count)
            continue;
        LX_TRY(lx_page_decode(pass, arrival.page, tokens, planes, count));
        lx_stock_release(stock, arrival.page);
    }
    return LYNX_OK;
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
