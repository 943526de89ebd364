/* SPDX-License-Identifier: MIT */
#include "support/fault_link.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { FLIP_ROOM = 512 };

typedef struct fault_link {
    lynx_link base;
    lynx_link *inner;
    fault_plan plan;
    fault_tally *tally;
    uint64_t moved; /* bytes, both ways */
    bool has_happened;
    bool is_polled_by_time;
    bool is_waiting; /* the last send waited for the stall */
    lynx_time_ns stall_end;
} fault_link;

static fault_link *own_of(lynx_link *link)
{
    return (fault_link *)(void *)link;
}

static const fault_link *own_of_const(const lynx_link *link)
{
    return (const fault_link *)(const void *)link;
}

/* Bytes that pass before the fault. */
static uint64_t left(const fault_link *f)
{
    if (f->plan.kind == FAULT_NONE || f->has_happened)
        return UINT64_MAX;
    return f->plan.at_byte > f->moved ? f->plan.at_byte - f->moved : 0;
}

/* What lets the link live on is followed by what does not. */
static void plan_next(fault_link *f)
{
    const uint64_t at = f->moved + f->plan.more_bytes;
    if (f->plan.more_bytes == 0)
        return;
    f->plan = (fault_plan){.kind = FAULT_BREAK, .at_byte = at};
    f->has_happened = false;
}

static void happen(fault_link *f, lynx_time_ns now)
{
    f->has_happened = true;
    f->tally->happened[f->plan.kind]++;
    if (f->plan.kind == FAULT_FLIP)
        plan_next(f);
    if (f->plan.kind == FAULT_STALL)
        f->stall_end =
            f->plan.stall_ns == LYNX_TIME_NEVER ? LYNX_TIME_NEVER : now + f->plan.stall_ns;
}

/* What the fault leaves of the link. */
static lynx_status state(fault_link *f, lynx_time_ns now)
{
    if (f->tally->is_down)
        return LYNX_ERR_CLOSED;
    if (left(f) == 0 && f->plan.kind != FAULT_FLIP)
        happen(f, now);
    if (!f->has_happened)
        return LYNX_OK;
    if (f->plan.kind == FAULT_BREAK || f->plan.kind == FAULT_RESET)
        return LYNX_ERR_CLOSED;
    if (f->plan.kind == FAULT_STALL && now < f->stall_end)
        return LYNX_BLOCKED;
    plan_next(f);
    return LYNX_OK;
}

/* Send with the bit that is due changed, no more than a few bytes. */
static lynx_status send_flipped(fault_link *f, lynx_time_ns now, const lynx_bytes *part,
                                uint64_t offset, size_t *size)
{
    uint8_t copy[FLIP_ROOM];
    const size_t count = part->size < FLIP_ROOM ? part->size : FLIP_ROOM;
    memcpy(copy, part->data, count);
    if (offset < count)
        copy[offset] ^= 4;
    const lynx_bytes one = {copy, count};
    const lynx_status status = f->inner->ops->send(f->inner, now, &one, 1, size);
    if (status == LYNX_OK && offset < *size)
        happen(f, now);
    return status;
}

static lynx_status fault_send(lynx_link *link, lynx_time_ns now, const lynx_bytes *parts,
                              uint32_t part_count, size_t *size)
{
    fault_link *f = own_of(link);
    *size = 0;
    const lynx_status status = state(f, now);
    f->is_waiting = status == LYNX_BLOCKED;
    if (status != LYNX_OK || part_count == 0)
        return status;
    const uint64_t most = left(f);
    lynx_status sent;
    if (most == UINT64_MAX) {
        sent = f->inner->ops->send(f->inner, now, parts, part_count, size);
    } else if (f->plan.kind == FAULT_FLIP) {
        sent = send_flipped(f, now, parts, most, size);
    } else {
        const lynx_bytes part = {parts->data, parts->size < most ? parts->size : (size_t)most};
        sent = f->inner->ops->send(f->inner, now, &part, 1, size);
    }
    f->moved += *size;
    return sent;
}

static lynx_status fault_receive(lynx_link *link, lynx_time_ns now, uint8_t *data,
                                 size_t capacity, size_t *size)
{
    fault_link *f = own_of(link);
    *size = 0;
    const lynx_status status = state(f, now);
    if (status != LYNX_OK)
        return status;
    const uint64_t most = left(f);
    const bool flips = f->plan.kind == FAULT_FLIP;
    if (!flips && most < capacity)
        capacity = (size_t)most;
    const lynx_status got = f->inner->ops->receive(f->inner, now, data, capacity, size);
    if (flips && most < *size) {
        data[most] ^= 4;
        happen(f, now);
    }
    f->moved += *size;
    return got;
}

static lynx_status fault_flush(lynx_link *link, lynx_time_ns now, lynx_time_ns *next)
{
    fault_link *f = own_of(link);
    *next = LYNX_TIME_NEVER;
    if (state(f, now) == LYNX_BLOCKED) {
        *next = f->stall_end;
        return LYNX_OK;
    }
    return f->inner->ops->flush(f->inner, now, next);
}

static bool fault_is_draining(const lynx_link *link)
{
    const fault_link *f = own_of_const(link);
    return f->inner->ops->is_draining(f->inner);
}

/* While it stands still the descriptor stays readable, which would keep a poll busy. */
static int fault_descriptor(const lynx_link *link)
{
    const fault_link *f = own_of_const(link);
    return f->is_polled_by_time ? -1 : f->inner->ops->descriptor(f->inner);
}

static bool fault_wants_writable(const lynx_link *link)
{
    const fault_link *f = own_of_const(link);
    return !f->is_waiting && f->inner->ops->wants_writable(f->inner);
}

static const char *fault_error_text(const lynx_link *link)
{
    const fault_link *f = own_of_const(link);
    return f->has_happened || f->tally->is_down ? "cut by the test"
                                                : f->inner->ops->error_text(f->inner);
}

static const char *fault_peer_name(const lynx_link *link)
{
    const fault_link *f = own_of_const(link);
    return f->inner->ops->peer_name(f->inner);
}

static void fault_destroy(lynx_link *link)
{
    fault_link *f = own_of(link);
    const struct linger at_once = {.l_onoff = 1};
    if (f->has_happened && f->plan.kind == FAULT_RESET)
        setsockopt(f->inner->ops->descriptor(f->inner), SOL_SOCKET, SO_LINGER, &at_once,
                   sizeof(at_once));
    lynx_link_destroy(f->inner);
    free(f);
}

static const lynx_link_ops ops = {fault_send,        fault_receive,    fault_flush,
                                  fault_is_draining, fault_descriptor, fault_wants_writable,
                                  fault_error_text,  fault_peer_name,  fault_destroy};

lynx_link *fault_link_create(lynx_link *inner, const fault_plan *plan, fault_tally *tally)
{
    fault_link *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    *f = (fault_link){.base = {&ops},
                      .inner = inner,
                      .plan = *plan,
                      .tally = tally,
                      .is_polled_by_time = plan->kind == FAULT_STALL};
    return &f->base;
}
