/* SPDX-License-Identifier: MIT */
#include "support/memory_source.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/page_pass.h"
#include "support/toy_nodes.h"

static bool is_drafted(const memory_source *s, uint32_t plane, uint32_t before)
{
    return s->drafts && plane > 0 &&
           *s->drafts - before >= (plane > 1 ? s->drafts_min / 4 : s->drafts_min);
}

static void pause_for(memory_source *s, uint64_t ns, uint32_t plane)
{
    const struct timespec slice = {0, 1000000};
    const uint32_t before = s->drafts ? *s->drafts : 0;
    for (uint64_t slept = 0; slept < ns && !s->is_cancelled; slept += 1000000) {
        if (is_drafted(s, plane, before))
            return;
        nanosleep(&slice, NULL);
    }
}

static void wait_for_layer(memory_source *s, const lynx_source_plane *plane)
{
    const struct timespec slice = {0, 200000};
    const uint32_t least = plane->page.layer + 256 * plane->plane;
    for (uint32_t i = 0; s->awaited && *s->awaited < least && !s->is_cancelled; i++) {
        if (i == 50000) {
            s->late++;
            return;
        }
        nanosleep(&slice, NULL);
    }
}

static const lynx_source_prefix *prefix(const lynx_source *source)
{
    return &((const memory_source *)(const void *)source)->about;
}

static lynx_status give(memory_source *s, size_t index, lynx_source_plane *plane)
{
    *plane = s->planes[index];
    uint8_t *bytes = malloc(plane->bytes.size + 1);
    TOY_CHECK(bytes);
    memcpy(bytes, plane->bytes.data, plane->bytes.size);
    if (index == s->damage_at && plane->bytes.size > 0)
        memset(bytes, 0xff, plane->bytes.size);
    plane->bytes.data = bytes;
    plane->owner = bytes;
    const size_t held = ++s->held;
    if (held > s->held_top)
        s->held_top = held;
    return LYNX_OK;
}

static lynx_status next(lynx_source *source, lynx_source_plane *plane)
{
    memory_source *s = (memory_source *)(void *)source;
    pause_for(s, s->pause_ns, 0);
    if (s->given < s->count && s->given > 0 &&
        s->planes[s->given].plane > s->planes[s->given - 1].plane)
        pause_for(s, s->residual_ns, s->planes[s->given].plane);
    if (s->given < s->count)
        wait_for_layer(s, &s->planes[s->given]);
    if (s->is_cancelled)
        return LYNX_ERR_CANCELLED;
    if (s->given == s->fail_at)
        return s->failure;
    if (s->given > 0 && s->given - 1 == s->twice_at) {
        s->twice_at = SIZE_MAX;
        return give(s, s->given - 1, plane);
    }
    return s->given == s->count ? LYNX_ERR_CLOSED : give(s, s->given++, plane);
}

static void release(lynx_source *source, const lynx_source_plane *plane)
{
    memory_source *s = (memory_source *)(void *)source;
    free(plane->owner);
    s->held--;
}

static void cancel(lynx_source *source)
{
    ((memory_source *)(void *)source)->is_cancelled = true;
}

static const char *error_text(const lynx_source *source)
{
    (void)source;
    return "the disk of the test is broken";
}

static void destroy(lynx_source *source)
{
    (void)source;
}

static void keep_page(memory_source *s, lx_page_pass *pass, lynx_page_id id, size_t index,
                      size_t pages)
{
    TOY_CHECK(lx_page_encode(pass, id, s->about.token_count) == LYNX_OK);
    for (uint32_t plane = 0; plane < pass->plane_count; plane++) {
        uint8_t *bytes = malloc(pass->coder.plane_bytes[plane] + 1);
        TOY_CHECK(bytes);
        memcpy(bytes, pass->coder.planes[plane], pass->coder.plane_bytes[plane]);
        s->planes[plane * pages + index] =
            (lynx_source_plane){.page = id,
                                .plane = plane,
                                .span = lynx_page_span_of(&pass->model->shape, id,
                                                          s->about.token_count),
                                .bytes = {bytes, pass->coder.plane_bytes[plane]}};
        s->about.bytes += pass->coder.plane_bytes[plane];
    }
}

static size_t keep_pages(memory_source *s, lx_page_pass *pass, const lynx_shape *shape,
                         size_t pages)
{
    size_t index = 0;
    for (uint32_t layer = 0; layer < shape->layer_count; layer++)
        for (uint32_t page = 0; page < lynx_shape_page_count(shape, s->about.token_count);
             page++)
            for (uint32_t side = 0; side < 2; side++) {
                const lynx_page_id id = {page, (uint16_t)layer, (uint8_t)side};
                if (!lynx_page_is_needed(shape, id, s->about.token_count))
                    continue;
                if (pages)
                    keep_page(s, pass, id, index, pages);
                index++;
            }
    return index;
}

void memory_source_make(memory_source *s, lynx_engine *engine, const lynx_token *tokens,
                        uint32_t token_count, const lynx_codec_spec *spec)
{
    static const lynx_source_ops ops = {destroy, prefix, next, release, cancel, error_text};
    const lynx_shape *shape = &engine->ops->model(engine)->shape;
    lx_page_pass pass = {.memory = NULL};
    memset(s, 0, sizeof(*s));
    s->base.ops = &ops;
    s->about = (lynx_source_prefix){.token_count = token_count,
                                    .spec = *spec,
                                    .description = "memory of the test"};
    TOY_CHECK(engine->ops->prefill(engine, tokens, token_count, NULL, NULL) == LYNX_OK);
    TOY_CHECK(lx_page_pass_init(&pass, engine, spec, NULL, NULL) == LYNX_OK);
    const size_t pages = keep_pages(s, &pass, shape, 0);
    s->count = pages * pass.plane_count;
    s->planes = calloc(s->count, sizeof(*s->planes));
    TOY_CHECK(s->planes);
    keep_pages(s, &pass, shape, pages);
    lx_page_pass_fini(&pass);
    memory_source_rewind(s);
}

void memory_source_rewind(memory_source *s)
{
    s->given = 0;
    s->held_top = 0;
    s->is_cancelled = false;
    s->pause_ns = s->residual_ns = 0;
    s->drafts = NULL;
    s->awaited = NULL;
    s->late = 0;
    s->fail_at = s->damage_at = s->twice_at = SIZE_MAX;
    s->failure = LYNX_ERR_SYSTEM;
}

void memory_source_free(memory_source *s)
{
    for (size_t i = 0; i < s->count; i++)
        free((void *)(uintptr_t)s->planes[i].bytes.data);
    free(s->planes);
}
