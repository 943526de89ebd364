/* SPDX-License-Identifier: MIT */
#include "runtime/crew.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/check.h"

typedef struct member {
    lx_crew *crew;
    uint32_t index;
    uint64_t seen; /* the last list that it looked at */
    uv_thread_t thread;
} member;

struct lx_crew {
    const lynx_allocator *memory;
    member members[LX_CREW_MEMBERS_MAX]; /* from 1 on: threads */
    uint32_t count;                      /* of members that are there */
    bool has_lock, has_work, has_rest;

    uv_mutex_t lock; /* all below */
    uv_cond_t work;  /* a list is open, or all is over */
    uv_cond_t rest;  /* nobody works on one */
    uint64_t list;   /* lists so far */
    bool is_open, is_closing;
    uint32_t busy;
    size_t items;
    lx_crew_item *item;
    void *user;
    atomic_size_t next;
};

static void do_items(lx_crew *c, uint32_t index)
{
    for (size_t i = atomic_fetch_add(&c->next, 1); i < c->items;
         i = atomic_fetch_add(&c->next, 1))
        c->item(c->user, index, i);
}

/* A list that is not open any more is not looked at: who wakes late keeps nobody waiting. */
static void serve(void *user)
{
    member *m = user;
    lx_crew *c = m->crew;
    uv_mutex_lock(&c->lock);
    while (!c->is_closing) {
        if (!c->is_open || m->seen == c->list) {
            uv_cond_wait(&c->work, &c->lock);
            continue;
        }
        m->seen = c->list;
        c->busy++;
        uv_mutex_unlock(&c->lock);
        do_items(c, m->index);
        uv_mutex_lock(&c->lock);
        if (--c->busy == 0)
            uv_cond_signal(&c->rest);
    }
    uv_mutex_unlock(&c->lock);
}

static lynx_status start(lx_crew *c, uint32_t members)
{
    c->has_lock = uv_mutex_init(&c->lock) == 0;
    c->has_work = c->has_lock && uv_cond_init(&c->work) == 0;
    c->has_rest = c->has_work && uv_cond_init(&c->rest) == 0;
    LX_REQUIRE(c->has_rest, LYNX_ERR_SYSTEM);
    for (c->count = 1; c->count < members; c->count++) {
        member *m = &c->members[c->count];
        *m = (member){.crew = c, .index = c->count};
        if (uv_thread_create(&m->thread, serve, m) != 0)
            break;
    }
    return LYNX_OK;
}

lynx_status lx_crew_create(lx_crew **crew, uint32_t members, const lynx_allocator *memory)
{
    lx_crew *c = lx_alloc_zeroed(memory, 1, sizeof(*c));
    LX_REQUIRE(c, LYNX_ERR_MEMORY);
    c->memory = memory;
    atomic_init(&c->next, 0);
    const lynx_status status = start(c, members);
    if (status == LYNX_OK)
        *crew = c;
    else
        lx_crew_destroy(c);
    return status;
}

void lx_crew_destroy(lx_crew *c)
{
    if (!c)
        return;
    if (c->has_rest) {
        uv_mutex_lock(&c->lock);
        c->is_closing = true;
        uv_cond_broadcast(&c->work);
        uv_mutex_unlock(&c->lock);
    }
    for (uint32_t i = 1; i < c->count; i++)
        uv_thread_join(&c->members[i].thread);
    if (c->has_rest)
        uv_cond_destroy(&c->rest);
    if (c->has_work)
        uv_cond_destroy(&c->work);
    if (c->has_lock)
        uv_mutex_destroy(&c->lock);
    lx_free(c->memory, c, 1, sizeof(*c));
}

void lx_crew_run(lx_crew *c, size_t count, lx_crew_item *item, void *user)
{
    if (count < 2 || c->count < 2) {
        for (size_t i = 0; i < count; i++)
            item(user, 0, i);
        return;
    }
    uv_mutex_lock(&c->lock);
    c->items = count;
    c->item = item;
    c->user = user;
    atomic_store(&c->next, 0);
    c->is_open = true;
    c->list++;
    uv_cond_broadcast(&c->work);
    uv_mutex_unlock(&c->lock);
    do_items(c, 0);
    uv_mutex_lock(&c->lock);
    c->is_open = false;
    while (c->busy > 0)
        uv_cond_wait(&c->rest, &c->lock);
    uv_mutex_unlock(&c->lock);
}
