/* SPDX-License-Identifier: MIT */
#include "runtime/stock.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/check.h"
#include "kv/page_map.h"

/* Planes that complete their page and may wait for the engine. Those before them, the anchor's
 * above all, are held until their page is complete, and cannot wait for it. */
static const uint64_t ahead_bytes_max = 64u << 20;

typedef struct stocked {
    lynx_source_plane planes[LYNX_PLANES_MAX];
    uint8_t here; /* a bit for each plane that is held */
} stocked;

struct lx_stock {
    const lynx_allocator *memory;
    lynx_source *source;
    lx_stock_news *news;
    void *user;
    uint32_t plane_count;
    bool is_bounded;    /* the engine takes pages while it drafts */
    lynx_page_map *map; /* what has come; touched by the reading thread alone */
    size_t slots;

    uv_thread_t thread;
    uv_mutex_t lock; /* all below */
    uv_cond_t changed;
    bool has_lock, has_changed, has_thread;
    bool is_closing;
    stocked *pages; /* 'slots' of them */
    lx_arrival *arrivals;
    size_t arrivals_room, arrivals_count, arrivals_taken;
    uint64_t ahead_bytes;
    lynx_status status;
    char text[LYNX_TEXT_MAX];
};

/* ---- the reading thread -------------------------------------------------------------- */

static void tell(const lx_stock *s)
{
    if (s->news)
        s->news(s->user);
}

static void end_reading(lx_stock *s, lynx_status status, const char *text)
{
    uv_mutex_lock(&s->lock);
    s->status = status;
    snprintf(s->text, sizeof(s->text), "%s", text);
    uv_cond_broadcast(&s->changed);
    uv_mutex_unlock(&s->lock);
    tell(s);
}

static bool is_bounded(const lx_stock *s, uint32_t plane)
{
    return plane > 0 && plane + 1 == s->plane_count;
}

/* Put a plane in its place. Called with the lock held. */
static void put_plane(lx_stock *s, const lynx_source_plane *plane)
{
    stocked *page = &s->pages[lx_page_map_slot(s->map, plane->page)];
    page->planes[plane->plane] = *plane;
    page->here |= (uint8_t)(1u << plane->plane);
    if (is_bounded(s, plane->plane))
        s->ahead_bytes += plane->bytes.size;
    s->arrivals[s->arrivals_count++] = (lx_arrival){.page = plane->page,
                                                    .plane = plane->plane,
                                                    .bytes = plane->bytes.size,
                                                    .time = lynx_clock_now()};
    uv_cond_broadcast(&s->changed);
}

/* Wait until there is room ahead of the engine; false: closing. */
static bool await_room(lx_stock *s)
{
    uv_mutex_lock(&s->lock);
    while (s->is_bounded && !s->is_closing && s->ahead_bytes >= ahead_bytes_max)
        uv_cond_wait(&s->changed, &s->lock);
    const bool goes_on = !s->is_closing;
    uv_mutex_unlock(&s->lock);
    return goes_on;
}

/* False when it does not belong to the prefix, or came before. */
static bool take_plane(lx_stock *s, const lynx_source_plane *plane)
{
    if (!lynx_page_map_mark(s->map, plane->page, plane->plane)) {
        s->source->ops->release(s->source, plane);
        return false;
    }
    uv_mutex_lock(&s->lock);
    put_plane(s, plane);
    uv_mutex_unlock(&s->lock);
    tell(s);
    return true;
}

static void read_all(void *user)
{
    lx_stock *s = user;
    lynx_source_plane plane;
    while (await_room(s)) {
        const lynx_status status = s->source->ops->next(s->source, &plane);
        if (status == LYNX_ERR_CLOSED) {
            const bool is_whole = lynx_page_map_is_complete(s->map, s->plane_count - 1);
            end_reading(s, is_whole ? LYNX_OK : LYNX_ERR_CORRUPT,
                        is_whole ? "" : "the stored cache lacks pages");
            return;
        }
        if (status != LYNX_OK) {
            end_reading(s, status, s->source->ops->error_text(s->source));
            return;
        }
        if (!take_plane(s, &plane)) {
            end_reading(s, LYNX_ERR_CORRUPT,
                        "the stored cache has a page that does not belong to it");
            return;
        }
    }
    end_reading(s, LYNX_ERR_CANCELLED, lynx_status_text(LYNX_ERR_CANCELLED));
}

/* ---- the engine's thread ------------------------------------------------------------- */

static lynx_status stock_init(lx_stock *s, const lynx_model *model)
{
    const lynx_source_prefix *prefix = s->source->ops->prefix(s->source);
    s->plane_count = lynx_codec_spec_plane_count(&prefix->spec);
    s->is_bounded = model->can_refine;
    s->status = LYNX_BLOCKED;
    LX_TRY(lynx_page_map_create(&s->map, &model->shape, prefix->token_count, s->plane_count,
                                s->memory));
    s->slots = lx_page_map_slots(s->map);
    s->arrivals_room = s->slots * s->plane_count;
    s->pages = lx_alloc_zeroed(s->memory, s->slots, sizeof(*s->pages));
    s->arrivals = lx_alloc(s->memory, s->arrivals_room, sizeof(*s->arrivals));
    LX_REQUIRE(s->pages && s->arrivals, LYNX_ERR_MEMORY);
    s->has_lock = uv_mutex_init(&s->lock) == 0;
    s->has_changed = s->has_lock && uv_cond_init(&s->changed) == 0;
    LX_REQUIRE(s->has_changed, LYNX_ERR_SYSTEM);
    s->has_thread = uv_thread_create(&s->thread, read_all, s) == 0;
    return s->has_thread ? LYNX_OK : LYNX_ERR_SYSTEM;
}

lynx_status lx_stock_open(lx_stock **stock, lynx_source *source, const lynx_model *model,
                          lx_stock_news *news, void *user, const lynx_allocator *memory)
{
    lx_stock *s = lx_alloc_zeroed(memory, 1, sizeof(*s));
    LX_REQUIRE(s, LYNX_ERR_MEMORY);
    s->memory = memory;
    s->source = source;
    s->news = news;
    s->user = user;
    const lynx_status status = stock_init(s, model);
    if (status != LYNX_OK) {
        lx_stock_close(s);
        return status;
    }
    *stock = s;
    return LYNX_OK;
}

static void release_planes(lx_stock *s, stocked *page)
{
    for (uint32_t plane = 0; plane < s->plane_count; plane++)
        if (page->here & (1u << plane)) {
            if (is_bounded(s, plane))
                s->ahead_bytes -= page->planes[plane].bytes.size;
            s->source->ops->release(s->source, &page->planes[plane]);
        }
    page->here = 0;
}

static void stop_reading(lx_stock *s)
{
    uv_mutex_lock(&s->lock);
    s->is_closing = true;
    uv_cond_broadcast(&s->changed);
    uv_mutex_unlock(&s->lock);
    s->source->ops->cancel(s->source);
    uv_thread_join(&s->thread);
}

void lx_stock_close(lx_stock *s)
{
    if (!s)
        return;
    if (s->has_thread)
        stop_reading(s);
    for (size_t i = 0; s->pages && i < s->slots; i++)
        release_planes(s, &s->pages[i]);
    if (s->has_changed)
        uv_cond_destroy(&s->changed);
    if (s->has_lock)
        uv_mutex_destroy(&s->lock);
    lx_free(s->memory, s->arrivals, s->arrivals_room, sizeof(*s->arrivals));
    lx_free(s->memory, s->pages, s->slots, sizeof(*s->pages));
    lynx_page_map_destroy(s->map);
    lx_free(s->memory, s, 1, sizeof(*s));
}

uint64_t lx_stock_pages(const lx_stock *s)
{
    return lynx_page_map_needed(s->map);
}

bool lx_stock_next(lx_stock *s, lx_arrival *arrival)
{
    uv_mutex_lock(&s->lock);
    const bool is_one = s->arrivals_taken < s->arrivals_count;
    if (is_one)
        *arrival = s->arrivals[s->arrivals_taken++];
    uv_mutex_unlock(&s->lock);
    return is_one;
}

bool lx_stock_has_news(lx_stock *s)
{
    uv_mutex_lock(&s->lock);
    const bool has_news = s->arrivals_taken < s->arrivals_count ||
                          (s->status != LYNX_BLOCKED && s->status != LYNX_OK);
    uv_mutex_unlock(&s->lock);
    return has_news;
}

void lx_stock_wait(lx_stock *s, lynx_time_ns deadline)
{
    uv_mutex_lock(&s->lock);
    for (;;) {
        const lynx_time_ns now = lynx_clock_now();
        const bool is_idle =
            s->arrivals_taken == s->arrivals_count && s->status == LYNX_BLOCKED;
        if (!is_idle || now >= deadline)
            break;
        (void)!uv_cond_timedwait(&s->changed, &s->lock, deadline - now);
    }
    uv_mutex_unlock(&s->lock);
}

lynx_status lx_stock_end(lx_stock *s, char *text)
{
    uv_mutex_lock(&s->lock);
    const lynx_status status = s->status;
    snprintf(text, LYNX_TEXT_MAX, "%s", s->text);
    uv_mutex_unlock(&s->lock);
    return status;
}

bool lx_stock_planes(lx_stock *s, lynx_page_id id, lynx_bytes *planes, uint32_t *count,
                     lynx_page_span *span)
{
    uv_mutex_lock(&s->lock);
    const stocked *page = &s->pages[lx_page_map_slot(s->map, id)];
    *count = 0;
    while (*count < s->plane_count && (page->here & (1u << *count))) {
        planes[*count] = page->planes[*count].bytes;
        *span = page->planes[*count].span;
        (*count)++;
    }
    uv_mutex_unlock(&s->lock);
    return *count > 0;
}

void lx_stock_release(lx_stock *s, lynx_page_id id)
{
    uv_mutex_lock(&s->lock);
    release_planes(s, &s->pages[lx_page_map_slot(s->map, id)]);
    uv_cond_broadcast(&s->changed);
    uv_mutex_unlock(&s->lock);
}
