/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "plan/cluster.h"

void lx_link_init(lx_link *link)
{
    *link = (lx_link){.head = {LX_NOBODY, LX_NOBODY}, .tail = {LX_NOBODY, LX_NOBODY}};
}

double lx_link_rate(const lx_cluster *c)
{
    return c->options->request.link.bytes_per_s * c->options->request.link.share;
}

static lynx_status grow(lx_cluster *c)
{
    const size_t room = c->load_room ? 2 * c->load_room : 256;
    LX_REQUIRE(room < LX_NOBODY, LYNX_ERR_LIMIT);
    lx_load *loads = lx_alloc(c->memory, room, sizeof(*loads));
    LX_REQUIRE(loads, LYNX_ERR_MEMORY);
    if (c->load_count)
        memcpy(loads, c->loads, c->load_count * sizeof(*loads));
    lx_free(c->memory, c->loads, c->load_room, sizeof(*loads));
    c->loads = loads;
    c->load_room = room;
    return LYNX_OK;
}

static lynx_status new_load(lx_cluster *c, uint32_t *index)
{
    if (c->free_load != LX_NOBODY) {
        *index = c->free_load;
        c->free_load = c->loads[*index].next;
        return LYNX_OK;
    }
    if (c->load_count == c->load_room)
        LX_TRY(grow(c));
    *index = (uint32_t)c->load_count++;
    return LYNX_OK;
}

/* Send the first load of the highest class that has one. */
static lynx_status send_next(lx_cluster *c, uint32_t index)
{
    lx_link *link = &c->links[index];
    link->round++;
    link->is_busy = true;
    link->since = c->now;
    for (link->sending = 0; link->sending < LX_CLASSES; link->sending++)
        if (link->head[link->sending] != LX_NOBODY) {
            const lx_load *load = &c->loads[link->head[link->sending]];
            return lx_event_add(&c->heap, c->now + load->bytes / lx_link_rate(c), LX_SENT,
                                index, link->round);
        }
    link->is_busy = false;
    return LYNX_OK;
}

/* Account for what was sent until now. */
static void pause(lx_cluster *c, lx_link *link)
{
    lx_load *load = &c->loads[link->head[link->sending]];
    const double sent = (c->now - link->since) * lx_link_rate(c);
    const double done = sent < load->bytes ? sent : load->bytes;
    load->bytes -= done;
    link->waiting_bytes -= done;
    link->busy_s += c->now - link->since;
}

lynx_status lx_link_add(lx_cluster *c, uint32_t job, uint32_t class, double bytes, bool is_last)
{
    const uint32_t index = c->jobs[job].source;
    lx_link *link = &c->links[index];
    uint32_t load;
    LX_TRY(new_load(c, &load));
    c->loads[load] =
        (lx_load){.job = job, .next = LX_NOBODY, .bytes = bytes, .is_last = is_last};
    if (link->tail[class] != LX_NOBODY)
        c->loads[link->tail[class]].next = load;
    else
        link->head[class] = load;
    link->tail[class] = load;
    link->waiting_bytes += bytes;
    c->bytes += bytes;
    if (link->is_busy && link->sending <= class)
        return LYNX_OK;
    if (link->is_busy)
        pause(c, link);
    return send_next(c, index);
}

lynx_status lx_link_sent(lx_cluster *c, uint32_t index, uint32_t round)
{
    lx_link *link = &c->links[index];
    if (round != link->round)
        return LYNX_OK; /* it was interrupted */
    const uint32_t class = link->sending;
    const uint32_t at = link->head[class];
    const lx_load load = c->loads[at];
    link->busy_s += c->now - link->since;
    link->waiting_bytes -= load.bytes;
    link->head[class] = load.next;
    if (load.next == LX_NOBODY)
        link->tail[class] = LX_NOBODY;
    c->loads[at].next = c->free_load;
    c->free_load = at;
    if (load.is_last)
        LX_TRY(lx_event_add(&c->heap, c->now + c->options->request.link.round_trip_s / 2,
                            class == 0 ? LX_ANCHOR : LX_COMPLETE, load.job, 0));
    return send_next(c, index);
}
