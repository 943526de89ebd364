/* SPDX-License-Identifier: MIT */
/*
 * page_jobs.c - several pages at once, each by a thread of the pass's crew.
 *
 * The engine is called by the caller's thread alone: it maps a group of pages, the crew works
 * on the tiles, and unmapping ends all of them. An engine that lends one page at a time gives
 * groups of one.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "runtime/page_pass.h"

static uint32_t members_of(const lx_page_pass *pass)
{
    const uint32_t pages = pass->model->page_threads;
    return pages > LX_CREW_MEMBERS_MAX ? LX_CREW_MEMBERS_MAX : pages > 1 ? pages : 1;
}

static lynx_status make_coders(lx_page_pass *pass)
{
    const uint32_t count = members_of(pass) - 1;
    if (count == 0)
        return LYNX_OK;
    pass->coders = lx_alloc_zeroed(pass->memory, count, sizeof(*pass->coders));
    LX_REQUIRE(pass->coders, LYNX_ERR_MEMORY);
    pass->coder_count = count;
    for (uint32_t i = 0; i < count; i++)
        LX_TRY(lx_page_coder_init(pass, &pass->coders[i]));
    return LYNX_OK;
}

void lx_page_jobs_fini(lx_page_pass *pass)
{
    lx_crew_destroy(pass->crew);
    for (uint32_t i = 0; i < pass->coder_count; i++)
        lx_page_coder_fini(pass, &pass->coders[i]);
    lx_free(pass->memory, pass->coders, pass->coder_count, sizeof(*pass->coders));
    lx_free(pass->memory, pass->jobs, LX_PAGE_JOBS_MAX, sizeof(*pass->jobs));
    pass->crew = NULL;
    pass->coders = NULL;
    pass->coder_count = 0;
    pass->jobs = NULL;
}

static lynx_status make_all(lx_page_pass *pass)
{
    pass->jobs = lx_alloc(pass->memory, LX_PAGE_JOBS_MAX, sizeof(*pass->jobs));
    LX_REQUIRE(pass->jobs, LYNX_ERR_MEMORY);
    LX_TRY(make_coders(pass));
    return lx_crew_create(&pass->crew, members_of(pass), pass->memory);
}

lynx_status lx_page_jobs(lx_page_pass *pass, lx_page_job **jobs)
{
    const lynx_status status = pass->crew ? LYNX_OK : make_all(pass);
    if (status == LYNX_OK)
        *jobs = pass->jobs;
    else
        lx_page_jobs_fini(pass);
    return status;
}

/* What a group of jobs has in common. */
typedef struct group {
    lx_page_pass *pass;
    lx_page_job *jobs;
    uint32_t prompt_tokens;
    lx_page_take *take; /* NULL: decode */
    void *user;
} group;

static lynx_status encode(const group *g, lx_page_coder *coder, lx_page_job *job)
{
    lynx_bytes planes[LYNX_PLANES_MAX];
    LX_TRY(lx_page_encode_tile(g->pass, coder, job->id, g->prompt_tokens, &job->tile,
                               &job->is_raw));
    for (uint32_t plane = 0; plane < g->pass->plane_count; plane++)
        planes[plane] = (lynx_bytes){coder->planes[plane], coder->plane_bytes[plane]};
    return g->take(g->user, job->id, planes, g->pass->plane_count);
}

static void do_job(void *user, uint32_t member, size_t index)
{
    const group *g = user;
    lx_page_job *job = &g->jobs[index];
    lx_page_coder *coder = member == 0 ? &g->pass->coder : &g->pass->coders[member - 1];
    if (job->status != LYNX_OK)
        return;
    job->status = g->take
                      ? encode(g, coder, job)
                      : lx_page_decode_tile(g->pass, coder, job, g->prompt_tokens, &job->tile);
}

static void do_group(const group *g, size_t count)
{
    lynx_engine *engine = g->pass->engine;
    for (size_t i = 0; i < count; i++) {
        lx_page_job *job = &g->jobs[i];
        job->is_raw = false;
        job->status =
            engine->ops->map_page(engine, job->id, g->prompt_tokens, !g->take, &job->tile);
    }
    lx_crew_run(g->pass->crew, count, do_job, (void *)(uintptr_t)g);
    const lynx_status status = engine->ops->unmap_page(engine);
    for (size_t i = 0; i < count; i++) {
        g->pass->raw_pages += g->jobs[i].is_raw;
        if (g->jobs[i].status == LYNX_OK)
            g->jobs[i].status = status;
    }
}

static lynx_status do_jobs(group *g, size_t count)
{
    const size_t most = members_of(g->pass) > 1 ? count : 1;
    lx_page_job *jobs = g->pass->jobs;
    for (size_t i = 0; i < count; i += most) {
        g->jobs = jobs + i;
        do_group(g, most);
    }
    for (size_t i = 0; i < count; i++)
        LX_TRY(jobs[i].status);
    return LYNX_OK;
}

/* Pages of the same tokens turn their keys by the same angles, which a coder keeps for a few of
 * them. */
static int by_tokens(const void *a, const void *b)
{
    const lynx_page_id x = ((const lx_page_job *)a)->id;
    const lynx_page_id y = ((const lx_page_job *)b)->id;
    if (x.page != y.page)
        return x.page < y.page ? -1 : 1;
    return x.layer != y.layer ? (x.layer < y.layer ? -1 : 1) : x.side - y.side;
}

lynx_status lx_page_decode_jobs(lx_page_pass *pass, uint32_t prompt_tokens, size_t count)
{
    qsort(pass->jobs, count, sizeof(*pass->jobs), by_tokens);
    group g = {.pass = pass, .prompt_tokens = prompt_tokens};
    return do_jobs(&g, count);
}

lynx_status lx_page_encode_jobs(lx_page_pass *pass, uint32_t prompt_tokens, size_t count,
                                lx_page_take *take, void *user)
{
    group g = {.pass = pass, .prompt_tokens = prompt_tokens, .take = take, .user = user};
    return do_jobs(&g, count);
}
