/* SPDX-License-Identifier: MIT */
#include "lynx/gather.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

enum { SINGLE_COLUMNS = 4 };

struct lynx_gather {
    const lynx_allocator *memory;
    lynx_segment_options options; /* of each segment, but for its ends */
    uint8_t key[LYNX_STORE_KEY_BYTES];
    lynx_token *tokens;
    uint32_t first_token, end_token;
    lynx_segment **segments;
    uint32_t *ends; /* of the segments */
    size_t count, room;
    uint64_t pages_left, bytes;
    bool has_failed;
};

void lynx_gather_options_init(lynx_gather_options *options)
{
    *options = (lynx_gather_options){.struct_size = sizeof(*options)};
}

/* Where the segment ends that begins at 'first'. */
static uint32_t end_after(const lynx_gather *g, uint32_t first)
{
    const lynx_shape *shape = &g->options.model->shape;
    if (lynx_shape_has_window(shape))
        return g->end_token;
    const uint32_t cut = lynx_store_cut(shape->page_tokens, first, g->end_token);
    if (g->end_token - cut >= SINGLE_COLUMNS * shape->page_tokens)
        return cut;
    return g->end_token - first < shape->page_tokens ? g->end_token
                                                     : first + shape->page_tokens;
}

static void drop_segments(lynx_gather *g)
{
    for (size_t i = 0; i < g->count; i++)
        lynx_segment_destroy(g->segments[i]);
    g->count = 0;
    g->pages_left = g->bytes = 0;
}

/* Of a segment. */
static uint64_t count_pages(const lynx_shape *shape, uint32_t first, uint32_t end)
{
    lynx_page_walk walk = lynx_page_walk_of(shape, end);
    lynx_page_id id;
    uint64_t count = 0;
    walk.next.page = first / shape->page_tokens;
    while (lynx_page_walk_next(&walk, &id))
        count++;
    return count;
}

static lynx_status make_segments(lynx_gather *g)
{
    for (uint32_t first = g->first_token; first < g->end_token;) {
        lynx_segment_options options = g->options;
        options.first_token = first;
        options.end_token = end_after(g, first);
        LX_REQUIRE(g->count < g->room, LYNX_ERR_ARGUMENT);
        LX_TRY(lynx_segment_create(&g->segments[g->count], &options));
        g->ends[g->count] = options.end_token;
        g->pages_left +=
            count_pages(&g->options.model->shape, options.first_token, options.end_token);
        g->count++;
        first = options.end_token;
    }
    return LYNX_OK;
}

static lynx_status gather_init(lynx_gather *g, const lynx_gather_options *o)
{
    lynx_segment_options_init(&g->options);
    g->options.model = o->model;
    g->options.spec = o->spec;
    g->options.memory = o->memory;
    if (o->key) {
        memcpy(g->key, o->key, sizeof(g->key));
        g->options.key = g->key;
    }
    g->first_token = o->first_token;
    g->end_token = o->end_token;
    g->room = lynx_shape_page_count(&o->model->shape, o->end_token);
    g->tokens = lx_alloc(g->memory, o->end_token, sizeof(*g->tokens));
    g->segments = lx_alloc_zeroed(g->memory, g->room, sizeof(*g->segments));
    g->ends = lx_alloc(g->memory, g->room, sizeof(*g->ends));
    LX_REQUIRE(g->tokens && g->segments && g->ends, LYNX_ERR_MEMORY);
    memcpy(g->tokens, o->tokens, o->end_token * sizeof(*g->tokens));
    g->options.tokens = g->tokens;
    return make_segments(g);
}

lynx_status lynx_gather_create(lynx_gather **gather, const lynx_gather_options *options)
{
    LX_REQUIRE(options->struct_size == sizeof(*options) &&
                   options->first_token < options->end_token,
               LYNX_ERR_ARGUMENT);
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    lynx_gather *g = lx_alloc_zeroed(memory, 1, sizeof(*g));
    LX_REQUIRE(g, LYNX_ERR_MEMORY);
    g->memory = memory;
    const lynx_status status = gather_init(g, options);
    if (status != LYNX_OK)
        lynx_gather_destroy(g);
    else
        *gather = g;
    return status;
}

void lynx_gather_destroy(lynx_gather *g)
{
    if (!g)
        return;
    drop_segments(g);
    memset(g->key, 0, sizeof(g->key));
    lx_free(g->memory, g->ends, g->room, sizeof(*g->ends));
    lx_free(g->memory, g->segments, g->room, sizeof(*g->segments));
    lx_free(g->memory, g->tokens, g->end_token, sizeof(*g->tokens));
    lx_free(g->memory, g, 1, sizeof(*g));
}

/* The segment that wants the page; SIZE_MAX: none. */
static size_t segment_of(const lynx_gather *g, lynx_page_id page)
{
    for (size_t i = 0; i < g->count; i++)
        if (lynx_segment_wants(g->segments[i], page))
            return i;
    return SIZE_MAX;
}

/* The page of both prompts. */
static bool has_same_tokens(const lynx_shape *shape, lynx_page_id page, uint32_t a, uint32_t b)
{
    const lynx_page_span of_a = lynx_page_span_of(shape, page, a);
    const lynx_page_span of_b = lynx_page_span_of(shape, page, b);
    return of_a.first_token == of_b.first_token && of_a.token_count == of_b.token_count;
}

void lynx_gather_add(lynx_gather *g, lynx_page_id page, uint32_t token_count,
                     const lynx_bytes *planes, uint32_t plane_count)
{
    const lynx_shape *shape = &g->options.model->shape;
    const size_t i = segment_of(g, page);
    if (i == SIZE_MAX || !has_same_tokens(shape, page, token_count, g->ends[i]))
        return;
    const lynx_status status = lynx_segment_add(g->segments[i], page, planes, plane_count);
    if (status != LYNX_OK) {
        g->has_failed = true;
        return;
    }
    g->pages_left--;
    for (uint32_t plane = 0; plane < plane_count; plane++)
        g->bytes += planes[plane].size;
}

lynx_status lynx_gather_restart(lynx_gather *g)
{
    drop_segments(g);
    g->first_token = 0;
    const lynx_status status = make_segments(g);
    g->has_failed = status != LYNX_OK;
    return status;
}

bool lynx_gather_is_whole(const lynx_gather *g)
{
    return !g->has_failed && g->pages_left == 0;
}

uint64_t lynx_gather_bytes(const lynx_gather *g)
{
    return g->bytes;
}

lynx_status lynx_gather_put(lynx_gather *g, lynx_store *store, lynx_gathered *written,
                            char *text, size_t text_size)
{
    *written = (lynx_gathered){0};
    LX_REQUIRE(lynx_gather_is_whole(g), LYNX_ERR_STATE);
    for (size_t i = g->count; i-- > 0;) {
        const lynx_bytes *parts = NULL;
        size_t count = 0;
        LX_TRY(lynx_store_put(store, g->segments[i], text, text_size));
        LX_TRY(lynx_segment_finish(g->segments[i], &parts, &count));
        written->segments++;
        for (size_t part = 0; part < count; part++)
            written->bytes += parts[part].size;
    }
    return LYNX_OK;
}
