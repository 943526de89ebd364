/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "lynx/link.h"

/* One direction: a ring that both ends share; freed by the end that is destroyed last. */
typedef struct pipe_ring {
    size_t start, fill;
} pipe_ring;

typedef struct pair {
    const lynx_allocator *memory;
    size_t capacity;
    pipe_ring rings[2]; /* by sending end */
    uint8_t *bytes[2];
    bool is_open[2];
} pair;

typedef struct memory_link {
    lynx_link base;
    pair *shared;
    uint32_t end;
} memory_link;

void lynx_link_destroy(lynx_link *link)
{
    if (link)
        link->ops->destroy(link);
}

static lynx_status memory_send(lynx_link *link, lynx_time_ns now, const lynx_bytes *parts,
                               uint32_t part_count, size_t *size)
{
    const memory_link *m = (memory_link *)(void *)link;
    pair *p = m->shared;
    pipe_ring *ring = &p->rings[m->end];
    (void)now;
    *size = 0;
    LX_REQUIRE(p->is_open[1 - m->end], LYNX_ERR_CLOSED);
    for (uint32_t i = 0; i < part_count; i++)
        for (size_t k = 0; k < parts[i].size && ring->fill < p->capacity; k++) {
            p->bytes[m->end][(ring->start + ring->fill) % p->capacity] = parts[i].data[k];
            ring->fill++;
            (*size)++;
        }
    return *size ? LYNX_OK : LYNX_BLOCKED;
}

static lynx_status memory_receive(lynx_link *link, lynx_time_ns now, uint8_t *data,
                                  size_t capacity, size_t *size)
{
    const memory_link *m = (memory_link *)(void *)link;
    pair *p = m->shared;
    const uint32_t peer = 1 - m->end;
    pipe_ring *ring = &p->rings[peer];
    (void)now;
    *size = 0;
    if (ring->fill == 0)
        return p->is_open[peer] ? LYNX_BLOCKED : LYNX_ERR_CLOSED;
    while (*size < capacity && ring->fill > 0) {
        data[(*size)++] = p->bytes[peer][ring->start];
        ring->start = (ring->start + 1) % p->capacity;
        ring->fill--;
    }
    return LYNX_OK;
}

static lynx_status memory_flush(lynx_link *link, lynx_time_ns now, lynx_time_ns *next)
{
    (void)link;
    (void)now;
    *next = LYNX_TIME_NEVER;
    return LYNX_OK;
}

static bool memory_is_draining(const lynx_link *link)
{
    (void)link;
    return false;
}

static int memory_descriptor(const lynx_link *link)
{
    (void)link;
    return -1;
}

static bool memory_wants_writable(const lynx_link *link)
{
    (void)link;
    return false;
}

static const char *memory_error_text(const lynx_link *link)
{
    (void)link;
    return "the other end of the in-process link is gone";
}

static const char *memory_peer_name(const lynx_link *link)
{
    (void)link;
    return NULL;
}

static void pair_release(pair *p)
{
    if (p->is_open[0] || p->is_open[1])
        return;
    const lynx_allocator *memory = p->memory;
    for (uint32_t i = 0; i < 2; i++)
        lx_free(memory, p->bytes[i], p->capacity, 1);
    lx_free(memory, p, 1, sizeof(*p));
}

static void memory_destroy(lynx_link *link)
{
    memory_link *m = (memory_link *)(void *)link;
    const lynx_allocator *memory = m->shared->memory;
    m->shared->is_open[m->end] = false;
    pair_release(m->shared);
    lx_free(memory, m, 1, sizeof(*m));
}

static const lynx_link_ops memory_ops = {
    .send = memory_send,
    .receive = memory_receive,
    .flush = memory_flush,
    .is_draining = memory_is_draining,
    .descriptor = memory_descriptor,
    .wants_writable = memory_wants_writable,
    .error_text = memory_error_text,
    .peer_name = memory_peer_name,
    .destroy = memory_destroy,
};

lynx_status lynx_link_memory_pair(lynx_link *ends[2], size_t capacity_bytes,
                                  const lynx_allocator *memory)
{
    LX_REQUIRE(capacity_bytes >= 1, LYNX_ERR_ARGUMENT);
    memory = lx_allocator_or_default(memory);
    pair *p = lx_alloc_zeroed(memory, 1, sizeof(*p));
    memory_link *links[2];
    for (uint32_t i = 0; i < 2; i++)
        links[i] = lx_alloc_zeroed(memory, 1, sizeof(*links[i]));
    for (uint32_t i = 0; p && i < 2; i++)
        p->bytes[i] = lx_alloc(memory, capacity_bytes, 1);
    if (!p || !links[0] || !links[1] || !p->bytes[0] || !p->bytes[1]) {
        for (uint32_t i = 0; i < 2; i++) {
            lx_free(memory, links[i], 1, sizeof(*links[i]));
            if (p)
                lx_free(memory, p->bytes[i], capacity_bytes, 1);
        }
        lx_free(memory, p, 1, sizeof(*p));
        return LYNX_ERR_MEMORY;
    }
    p->memory = memory;
    p->capacity = capacity_bytes;
    for (uint32_t i = 0; i < 2; i++) {
        p->is_open[i] = true;
        *links[i] = (memory_link){{&memory_ops}, p, i};
        ends[i] = &links[i]->base;
    }
    return LYNX_OK;
}
