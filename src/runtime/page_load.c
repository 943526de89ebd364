/* SPDX-License-Identifier: MIT */
/* page_load.c - a stored prefix into an engine's cache, page by page as its last plane comes.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "runtime/page_pass.h"

/* Planes that came, by page and plane; 'owner' NULL: not here. */
typedef struct held {
    const lx_page_pass *pass;
    lynx_source *source;
    lynx_source_plane *planes;
    size_t count;
    uint32_t tokens;
    uint64_t left; /* pages that are not in the cache */
} held;

static lynx_source_plane *first_of(const held *h, lynx_page_id id)
{
    const uint32_t layers = h->pass->model->shape.layer_count;
    const size_t slot = ((size_t)id.page * layers + id.layer) * 2 + id.side;
    return h->planes + slot * h->pass->plane_count;
}

static bool is_whole(const held *h, const lynx_source_plane *planes)
{
    for (uint32_t i = 0; i < h->pass->plane_count; i++)
        if (!planes[i].owner)
            return false;
    return true;
}

static void release_page(const held *h, lynx_source_plane *planes)
{
    for (uint32_t i = 0; i < h->pass->plane_count; i++)
        if (planes[i].owner) {
            h->source->ops->release(h->source, &planes[i]);
            planes[i].owner = NULL;
        }
}

static lynx_status take_plane(lx_page_pass *pass, held *h, const lynx_source_plane *plane)
{
    lynx_source_plane *planes = first_of(h, plane->page);
    lynx_bytes bytes[LYNX_PLANES_MAX];
    planes[plane->plane] = *plane;
    if (!is_whole(h, planes))
        return LYNX_OK;
    for (uint32_t i = 0; i < pass->plane_count; i++)
        bytes[i] = planes[i].bytes;
    const lynx_status status =
        lx_page_decode(pass, plane->page, h->tokens, bytes, pass->plane_count);
    release_page(h, planes);
    h->left -= status == LYNX_OK;
    return status;
}

static uint64_t count_pages(const lynx_shape *shape, uint32_t tokens)
{
    uint64_t count = 0;
    for (uint32_t page = 0; page < lynx_shape_page_count(shape, tokens); page++)
        for (uint32_t layer = 0; layer < shape->layer_count; layer++)
            for (uint32_t side = 0; side < 2; side++)
                count +=
                    lynx_page_is_needed(shape,
                                        (lynx_page_id){page, (uint16_t)layer, (uint8_t)side},
                                        tokens);
    return count;
}

lynx_status lx_page_load(lx_page_pass *pass, lynx_source *source)
{
    const lynx_shape *shape = &pass->model->shape;
    held h = {.pass = pass, .source = source};
    lynx_source_plane plane;
    lynx_status status = LYNX_OK;
    h.tokens = source->ops->prefix(source)->token_count;
    h.left = count_pages(shape, h.tokens);
    h.count = (size_t)lynx_shape_page_count(shape, h.tokens) * shape->layer_count * 2 *
              pass->plane_count;
    h.planes = lx_alloc_zeroed(pass->memory, h.count, sizeof(*h.planes));
    LX_REQUIRE(h.planes, LYNX_ERR_MEMORY);
    while (status == LYNX_OK && h.left > 0) {
        status = source->ops->next(source, &plane);
        if (status == LYNX_OK)
            status = take_plane(pass, &h, &plane);
    }
    for (size_t i = 0; i < h.count; i++)
        if (h.planes[i].owner)
            source->ops->release(source, &h.planes[i]);
    lx_free(pass->memory, h.planes, h.count, sizeof(*h.planes));
    return status;
}
