/* SPDX-License-Identifier: MIT */
/*
 * link_paced.c - a slower link: a token bucket for the rate, a delay line for the latency.
 *
 * The bucket counts in nanoseconds of transmission: 'free_at' is the time at which the emulated
 * wire has put out all that was accepted. A send is accepted while free_at is at most BURST
 * ahead of now, and moves free_at by its transmission time; idle time earns nothing beyond now.
 * So the rate holds on average however coarse the timer is, and the n-th byte arrives at its
 * own time (the delay line keeps it until free_at + delay).
 */
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "lynx/link.h"

/* How far the wire may be ahead, so that a thread that wakes late loses no time of the link. */
enum { BURST_NS = 10000000, LINE_BYTES_LEAST = 1 << 20 };

typedef struct held {
    struct held *next;
    lynx_time_ns due;
    size_t size, sent;
    uint8_t bytes[];
} held;

typedef struct paced_link {
    lynx_link base;
    const lynx_allocator *memory;
    lynx_link *inner;
    lynx_pacer_options options;
    lynx_time_ns free_at;
    bool was_full;       /* the last send had more than there was room for */
    long double rest_ns; /* fraction of a nanosecond that free_at lacks */
    held *first, *last;
    size_t held_bytes, held_bytes_max;
} paced_link;

static paced_link *paced_of(lynx_link *link)
{
    return (paced_link *)(void *)link;
}

static const paced_link *paced_of_const(const lynx_link *link)
{
    return (const paced_link *)(const void *)link;
}

/* Move 'free_at' by the transmission time of 'size' bytes, fractions of a nanosecond kept. */
static void spend(paced_link *p, size_t size)
{
    const long double ns =
        (long double)size * 8e9L / (long double)p->options.rate_bits_per_s + p->rest_ns;
    const uint64_t whole = (uint64_t)ns;
    p->rest_ns = ns - (long double)whole;
    p->free_at += whole;
}

/* Bytes that may be accepted now. */
static size_t allowance(paced_link *p, lynx_time_ns now, size_t wanted)
{
    if (p->options.rate_bits_per_s == 0)
        return wanted;
    if (p->free_at < now)
        p->free_at = now;
    if (p->free_at >= now + BURST_NS)
        return 0;
    const long double room = (long double)(now + BURST_NS - p->free_at) *
                             (long double)p->options.rate_bits_per_s / 8e9L;
    size_t bytes = (size_t)room;
    if (bytes < 64)
        bytes = 64; /* very slow links go into debt by a few bytes, never below progress */
    return bytes < wanted ? bytes : wanted;
}

static void pop_held(paced_link *p)
{
    held *h = p->first;
    p->first = h->next;
    if (!p->first)
        p->last = NULL;
    p->held_bytes -= h->size;
    lx_free(p->memory, h, 1, sizeof(*h) + h->size);
}

/* Hand on what is due. */
static lynx_status release_due(paced_link *p, lynx_time_ns now)
{
    while (p->first && p->first->due <= now) {
        held *h = p->first;
        size_t size = 0;
        const lynx_bytes part = {h->bytes + h->sent, h->size - h->sent};
        const lynx_status status = p->inner->ops->send(p->inner, now, &part, 1, &size);
        if (status != LYNX_OK)
            return status;
        h->sent += size;
        if (h->sent < h->size)
            return LYNX_BLOCKED;
        pop_held(p);
    }
    return LYNX_OK;
}

static lynx_status hold(paced_link *p, const lynx_bytes *parts, uint32_t part_count,
                        size_t size)
{
    held *h = lx_alloc(p->memory, 1, sizeof(*h) + size);
    LX_REQUIRE(h, LYNX_ERR_MEMORY);
    *h = (held){.size = size};
    size_t fill = 0;
    for (uint32_t i = 0; i < part_count && fill < size; i++) {
        const size_t take = parts[i].size < size - fill ? parts[i].size : size - fill;
        memcpy(h->bytes + fill, parts[i].data, take);
        fill += take;
    }
    if (p->last)
        p->last->next = h;
    else
        p->first = h;
    p->last = h;
    p->held_bytes += size;
    return LYNX_OK;
}

static lynx_status paced_send(lynx_link *link, lynx_time_ns now, const lynx_bytes *parts,
                              uint32_t part_count, size_t *size)
{
    paced_link *p = paced_of(link);
    size_t wanted = 0;
    *size = 0;
    for (uint32_t i = 0; i < part_count; i++)
        wanted += parts[i].size;
    const lynx_status status = release_due(p, now);
    LX_REQUIRE(!lynx_failed(status), status);
    size_t count = allowance(p, now, wanted);
    if (count > p->held_bytes_max - p->held_bytes)
        count = p->held_bytes_max - p->held_bytes;
    p->was_full = count < wanted;
    LX_REQUIRE(count > 0, LYNX_BLOCKED);
    LX_TRY(hold(p, parts, part_count, count));
    if (p->options.rate_bits_per_s)
        spend(p, count);
    p->last->due = (p->options.rate_bits_per_s ? p->free_at : now) + p->options.delay_ns;
    *size = count;
    const lynx_status sent = release_due(p, now);
    return lynx_failed(sent) ? sent : LYNX_OK;
}

static lynx_status paced_receive(lynx_link *link, lynx_time_ns now, uint8_t *data,
                                 size_t capacity, size_t *size)
{
    lynx_link *inner = paced_of(link)->inner;
    return inner->ops->receive(inner, now, data, capacity, size);
}

static lynx_status paced_flush(lynx_link *link, lynx_time_ns now, lynx_time_ns *next)
{
    paced_link *p = paced_of(link);
    const lynx_status status = release_due(p, now);
    LX_REQUIRE(!lynx_failed(status), status);
    lynx_time_ns inner_next;
    LX_TRY(p->inner->ops->flush(p->inner, now, &inner_next));
    /* Due bytes that the socket would not take wait for it, not for the clock. */
    lynx_time_ns due = p->first && status == LYNX_OK ? p->first->due : LYNX_TIME_NEVER;
    if (p->was_full && p->options.rate_bits_per_s) { /* nobody else asks when there is room */
        const bool has_room = p->free_at <= now + BURST_NS / 2;
        const lynx_time_ns room = has_room ? now : p->free_at - BURST_NS / 2;
        due = room < due ? room : due;
        p->was_full = !has_room;
    }
    *next = due < inner_next ? due : inner_next;
    return LYNX_OK;
}

static bool paced_is_draining(const lynx_link *link)
{
    const paced_link *p = paced_of_const(link);
    return p->first != NULL || p->inner->ops->is_draining(p->inner);
}

static int paced_descriptor(const lynx_link *link)
{
    const paced_link *p = paced_of_const(link);
    return p->inner->ops->descriptor(p->inner);
}

static bool paced_wants_writable(const lynx_link *link)
{
    const paced_link *p = paced_of_const(link);
    return p->inner->ops->wants_writable(p->inner);
}

static const char *paced_error_text(const lynx_link *link)
{
    const paced_link *p = paced_of_const(link);
    return p->inner->ops->error_text(p->inner);
}

static const char *paced_peer_name(const lynx_link *link)
{
    const paced_link *p = paced_of_const(link);
    return p->inner->ops->peer_name(p->inner);
}

static void paced_destroy(lynx_link *link)
{
    paced_link *p = paced_of(link);
    while (p->first)
        pop_held(p);
    lynx_link_destroy(p->inner);
    lx_free(p->memory, p, 1, sizeof(*p));
}

static const lynx_link_ops paced_ops = {
    .send = paced_send,
    .receive = paced_receive,
    .flush = paced_flush,
    .is_draining = paced_is_draining,
    .descriptor = paced_descriptor,
    .wants_writable = paced_wants_writable,
    .error_text = paced_error_text,
    .peer_name = paced_peer_name,
    .destroy = paced_destroy,
};

void lynx_pacer_options_init(lynx_pacer_options *options)
{
    *options = (lynx_pacer_options){.struct_size = sizeof(*options)};
}

lynx_status lynx_link_paced(lynx_link **link, lynx_link *inner,
                            const lynx_pacer_options *options, const lynx_allocator *memory)
{
    const uint64_t rate = options->rate_bits_per_s;
    LX_REQUIRE(rate == 0 || (rate >= 10000 && rate <= 100000000000ull), LYNX_ERR_ARGUMENT);
    LX_REQUIRE(options->delay_ns <= 10000000000ull, LYNX_ERR_ARGUMENT);
    memory = lx_allocator_or_default(memory);
    paced_link *p = lx_alloc_zeroed(memory, 1, sizeof(*p));
    LX_REQUIRE(p, LYNX_ERR_MEMORY);
    p->base.ops = &paced_ops;
    p->memory = memory;
    p->inner = inner;
    p->options = *options;
    /* What can be on the emulated wire at once, twice. */
    p->held_bytes_max =
        LINE_BYTES_LEAST +
        (size_t)((long double)rate / 4e9L * (long double)(options->delay_ns + BURST_NS));
    *link = &p->base;
    return LYNX_OK;
}
