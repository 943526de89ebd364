/* SPDX-License-Identifier: MIT */
/*
 * stock.h - planes that a thread reads from a source ahead of the engine.
 *
 *     source --next()--> reading thread --> stock --arrivals, planes--> engine's thread
 *
 * The thread stops reading while more than a bound of planes behind the anchor waits to be
 * decoded, so that memory holds the anchors and little else.
 */
#ifndef LX_RUNTIME_STOCK_H
#define LX_RUNTIME_STOCK_H

#include <stdbool.h>

#include "lynx/engine.h"
#include "lynx/runtime.h"
#include "lynx/source.h"

typedef struct lx_stock lx_stock;

/* Called on the reading thread, without a lock, when something came or the end did. */
typedef void lx_stock_news(void *user);

/* Begin to read. 'source' stays the caller's and is used until the stock is closed. 'news' may
 * be NULL. */
lynx_status lx_stock_open(lx_stock **stock, lynx_source *source, const lynx_model *model,
                          lx_stock_news *news, void *user, const lynx_allocator *memory);
/* Cancels the source, joins the thread, releases every plane. NULL is allowed. */
void lx_stock_close(lx_stock *stock);

/* Pages of the prefix. */
uint64_t lx_stock_pages(const lx_stock *stock);

/* A plane that has come since the last call. */
typedef struct lx_arrival {
    lynx_page_id page;
    uint32_t plane;
    size_t bytes;
    lynx_time_ns time;
} lx_arrival;

bool lx_stock_next(lx_stock *stock, lx_arrival *arrival);

/* There is an arrival to take, or the rest cannot be had. */
bool lx_stock_has_news(lx_stock *stock);

/* Wait for an arrival or the end of the source, or until 'deadline'. */
void lx_stock_wait(lx_stock *stock, lynx_time_ns deadline);

/* LYNX_BLOCKED while it is read, LYNX_OK when all of it is here, else why not, with a sentence
 * in 'text' (LYNX_TEXT_MAX bytes). Arrivals may be left to take. */
lynx_status lx_stock_end(lx_stock *stock, char *text);

/* The planes 0 .. '*count' - 1 of a page that are here without a gap, and the tokens that they
 * hold; false: none, or released. They stay until lx_stock_release. */
bool lx_stock_planes(lx_stock *stock, lynx_page_id id, lynx_bytes *planes, uint32_t *count,
                     lynx_page_span *span);
void lx_stock_release(lx_stock *stock, lynx_page_id id);

#endif
