/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "plan/cluster.h"

enum { NODES_MAX = 1 << 20, REQUESTS_MAX = 1 << 24 };

void lynx_plan_cluster_init(lynx_plan_cluster *cluster)
{
    *cluster = (lynx_plan_cluster){
        .struct_size = sizeof(*cluster),
        .prefill_nodes = 1,
        .decode_nodes = 1,
        .slots = 1,
        .request_count = 20000,
        .warm_count = 2000,
        .token = 32,
        .seed = 1,
    };
    lynx_plan_request_init(&cluster->request);
}

/* ---- what is allowed ------------------------------------------------------------------- */

static const char *fault_of(const lynx_plan_cluster *o)
{
    const char *why;
    if (lynx_plan_check(&o->request, &why) != LYNX_OK)
        return why;
    if (o->prefill_nodes < 1 || o->prefill_nodes > NODES_MAX || o->decode_nodes < 1 ||
        o->decode_nodes > NODES_MAX || o->slots < 1 || o->slots > NODES_MAX)
        return "a cluster needs 1 to 1048576 prefill nodes, decode nodes and slots";
    if (!(o->requests_per_s > 0 && isfinite(o->requests_per_s)))
        return "the rate of requests must be above 0";
    if (o->request_count < 1 || o->request_count > REQUESTS_MAX ||
        o->warm_count >= o->request_count)
        return "there must be 1 to 16777216 requests, more than those that do not count";
    if (!(o->spread >= 0 && o->spread < 1))
        return "the spread of prompts must be at least 0 and below 1";
    if (o->request.decode.wait_s > 0 || o->request.link.bytes_ahead > 0)
        return "what waits in a cluster is simulated; the request itself must not wait";
    return NULL;
}

static bool is_simulated(const lynx_plan_cluster *o, lynx_plan_method method)
{
    return method != LYNX_PLAN_TOKENS && method != LYNX_PLAN_CARRY &&
           lx_is_possible(&o->request, method);
}

/* ---- the run --------------------------------------------------------------------------- */

static lynx_status allocate(lx_cluster *c)
{
    const lynx_plan_cluster *o = c->options;
    c->jobs = lx_alloc(c->memory, o->request_count, sizeof(*c->jobs));
    c->links = lx_alloc(c->memory, o->prefill_nodes, sizeof(*c->links));
    c->free_at = lx_alloc_zeroed(c->memory, o->prefill_nodes, sizeof(*c->free_at));
    c->targets = lx_alloc(c->memory, o->decode_nodes, sizeof(*c->targets));
    LX_REQUIRE(c->jobs && c->links && c->free_at && c->targets, LYNX_ERR_MEMORY);
    for (uint32_t i = 0; i < o->prefill_nodes; i++)
        lx_link_init(&c->links[i]);
    for (uint32_t i = 0; i < o->decode_nodes; i++)
        c->targets[i] = (lx_target){.head = LX_NOBODY, .tail = LX_NOBODY};
    return LYNX_OK;
}

static void release(lx_cluster *c)
{
    const lynx_plan_cluster *o = c->options;
    lx_free(c->memory, c->jobs, o->request_count, sizeof(*c->jobs));
    lx_free(c->memory, c->links, o->prefill_nodes, sizeof(*c->links));
    lx_free(c->memory, c->free_at, o->prefill_nodes, sizeof(*c->free_at));
    lx_free(c->memory, c->targets, o->decode_nodes, sizeof(*c->targets));
    lx_free(c->memory, c->loads, c->load_room, sizeof(*c->loads));
    lx_event_heap_fini(&c->heap);
}

/* All arrivals first, so that every method gets the same requests from a seed. */
static lynx_status make_jobs(lx_cluster *c)
{
    const lynx_plan_cluster *o = c->options;
    double at = 0;
    for (uint32_t i = 0; i < o->request_count; i++) {
        at -= log(lx_cluster_draw(c)) / o->requests_per_s;
        const double part = 1 + o->spread * (2 * lx_cluster_draw(c) - 1);
        const double tokens = fmax(1, round(o->request.prompt_tokens * part));
        c->jobs[i] = (lx_job){.at = at,
                              .tokens = (uint32_t)tokens,
                              .began = NAN,
                              .first = NAN,
                              .anchor = NAN,
                              .complete = NAN,
                              .wanted = NAN,
                              .slot = NAN,
                              .counted = NAN,
                              .end = NAN,
                              .next = LX_NOBODY};
        LX_TRY(lx_event_add(&c->heap, at, LX_ARRIVAL, i, 0));
    }
    return LYNX_OK;
}

static lynx_status run(lx_cluster *c)
{
    lx_event event;
    LX_TRY(allocate(c));
    LX_TRY(make_jobs(c));
    while (lx_event_next(&c->heap, &event))
        LX_TRY(lx_cluster_happen(c, &event));
    return LYNX_OK;
}

/* ---- what it comes to ------------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static lynx_plan_spread spread_of(double *values, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += values[i];
    qsort(values, count, sizeof(*values), compare);
    return (lynx_plan_spread){.mean = sum / count,
                              .p50 = values[count / 2],
                              .p95 = values[(uint32_t)((uint64_t)count * 95 / 100)]};
}

typedef double measure(const lx_cluster *c, const lx_job *job);

static double first_of(const lx_cluster *c, const lx_job *job)
{
    (void)c;
    return job->first - job->at;
}

static double counted_of(const lx_cluster *c, const lx_job *job)
{
    (void)c;
    return job->counted - job->at;
}

static double end_of(const lx_cluster *c, const lx_job *job)
{
    (void)c;
    return job->end - job->at;
}

static double wait_of(const lx_cluster *c, const lx_job *job)
{
    const lynx_plan_request *r = &c->options->request;
    if (c->method == LYNX_PLAN_RECOMPUTE)
        return 0;
    return job->began - job->at - r->link.round_trip_s / 2 - r->prefill.wait_s;
}

static double slot_wait_of(const lx_cluster *c, const lx_job *job)
{
    const double slot_wait = job->slot - job->wanted;
    return c->method == LYNX_PLAN_RECOMPUTE ? slot_wait + job->began - job->slot : slot_wait;
}

static lynx_status summarise(const lx_cluster *c, lynx_plan_load *load)
{
    static measure *const measures[] = {first_of, counted_of, end_of, wait_of, slot_wait_of};
    const lynx_plan_cluster *o = c->options;
    const uint32_t count = o->request_count - o->warm_count;
    lynx_plan_spread *const spreads[] = {&load->ttft_s, &load->token_s, &load->total_s,
                                         &load->wait_s, &load->slot_wait_s};
    double *values = lx_alloc(c->memory, count, sizeof(*values));
    LX_REQUIRE(values, LYNX_ERR_MEMORY);
    for (size_t m = 0; m < sizeof(measures) / sizeof(*measures); m++) {
        for (uint32_t i = 0; i < count; i++)
            values[i] = measures[m](c, &c->jobs[o->warm_count + i]);
        *spreads[m] = spread_of(values, count);
    }
    lx_free(c->memory, values, count, sizeof(*values));
    double link_busy_s = 0;
    for (uint32_t i = 0; i < o->prefill_nodes; i++)
        link_busy_s += c->links[i].busy_s;
    load->requests = count;
    load->prefill_use = c->source_busy_s / (c->now * o->prefill_nodes);
    load->link_use = link_busy_s / (c->now * o->prefill_nodes);
    load->slot_use = c->slot_busy_s / (c->now * o->decode_nodes * o->slots);
    load->bytes = c->bytes;
    load->in_system = c->in_system_s / c->now;
    return LYNX_OK;
}

lynx_status lynx_plan_simulate(const lynx_plan_cluster *cluster, lynx_plan_method method,
                               const lynx_allocator *memory, lynx_plan_load *load,
                               const char **why)
{
    const char *fault = fault_of(cluster);
    if (why)
        *why = fault ? fault : "";
    *load = (lynx_plan_load){0};
    LX_REQUIRE(!fault, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(is_simulated(cluster, method), LYNX_ERR_UNSUPPORTED);
    lx_cluster c = {
        .options = cluster,
        .method = method,
        .memory = lx_allocator_or_default(memory),
        .free_load = LX_NOBODY,
        .random = cluster->seed,
    };
    c.heap.memory = c.memory;
    lynx_status status = run(&c);
    if (status == LYNX_OK)
        status = summarise(&c, load);
    release(&c);
    return status;
}
