/* SPDX-License-Identifier: MIT */
/*
 * place_cached.c - a place in front of another. Which bytes of an object were read is a list of
 * runs; when the object is closed and they are one run of all of it, it is written in front.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "lynx/net.h"
#include "store/part.h"

enum { RUNS_MAX = 64, EVICTED_MAX = 64 };

static const char kept_prefix[] = "segments/"; /* what never changes: docs/format-store.md */
static const uint64_t held_max = (uint64_t)1 << 30;

typedef struct cached {
    lynx_place base;
    lynx_place_ops ops; /* of 'base': what 'back' cannot do is NULL */
    lynx_place *front, *back;
    uint64_t limit_bytes; /* in front; 0: none */
    const lynx_allocator *memory;
    _Atomic uint64_t held_bytes;
    pthread_mutex_t evicting;
    pthread_mutex_t moving; /* an object, from 'front' to 'back' */
} cached;

typedef struct run {
    uint64_t first, end;
} run;

typedef struct object {
    lynx_object base;
    lynx_place *place; /* of 'inner'; both change under the lock 'moving' */
    lynx_object *inner;
    bool is_cancelled; /* under the same lock */
    uint8_t *data;     /* NULL: not to be kept */
    size_t room;
    run runs[RUNS_MAX]; /* that were read, in order, none beside another */
    size_t run_count;
    char name[LYNX_PLACE_NAME_MAX + 1];
} object;

static cached *of(lynx_place *place)
{
    return (cached *)(void *)place;
}

static object *object_of(lynx_object *o)
{
    return (object *)(void *)o;
}

/* ---- what was read ------------------------------------------------------------------- */

static void forget(cached *c, object *o)
{
    if (o->data)
        atomic_fetch_sub(&c->held_bytes, o->room);
    lx_free(c->memory, o->data, o->room, 1);
    o->data = NULL;
}

/* Room for all of it, if there is. */
static void remember(cached *c, object *o)
{
    const uint64_t size = o->inner->size;
    if (size == 0 || size > held_max)
        return;
    if (atomic_fetch_add(&c->held_bytes, size) + size <= held_max)
        o->data = lx_alloc(c->memory, (size_t)size, 1);
    if (!o->data)
        atomic_fetch_sub(&c->held_bytes, size);
    o->room = (size_t)size;
}

/* False: there are too many runs. */
static bool add_run(object *o, uint64_t first, uint64_t end)
{
    size_t at = 0, behind = 0;
    while (at < o->run_count && o->runs[at].end < first)
        at++;
    for (behind = at; behind < o->run_count && o->runs[behind].first <= end; behind++) {
        first = o->runs[behind].first < first ? o->runs[behind].first : first;
        end = o->runs[behind].end > end ? o->runs[behind].end : end;
    }
    const size_t count = o->run_count - (behind - at) + 1;
    if (count > RUNS_MAX)
        return false;
    memmove(&o->runs[at + 1], &o->runs[behind], (o->run_count - behind) * sizeof(*o->runs));
    o->runs[at] = (run){first, end};
    o->run_count = count;
    return true;
}

static void keep(cached *c, object *o, uint64_t offset, const void *data, size_t size)
{
    if (!o->data || size == 0)
        return;
    if (add_run(o, offset, offset + size))
        memcpy(o->data + offset, data, size);
    else
        forget(c, o);
}

static bool is_whole(const object *o)
{
    return o->data && o->run_count == 1 && o->runs[0].first == 0 &&
           o->runs[0].end == o->inner->size;
}

/* ---- room in front ------------------------------------------------------------------- */

typedef struct oldest {
    char name[LYNX_PLACE_NAME_MAX + 1];
    uint64_t size;
    int64_t used_ns;
} oldest;

typedef struct look {
    uint64_t bytes;            /* of all */
    oldest found[EVICTED_MAX]; /* the oldest, oldest first */
    size_t count;
} look;

static bool look_at(void *user, const lynx_place_entry *entry)
{
    look *l = user;
    size_t at = l->count;
    l->bytes += entry->size;
    while (at > 0 && l->found[at - 1].used_ns > entry->used_ns)
        at--;
    if (at == EVICTED_MAX || strlen(entry->name) > LYNX_PLACE_NAME_MAX)
        return true;
    l->count += l->count < EVICTED_MAX;
    memmove(&l->found[at + 1], &l->found[at], (l->count - at - 1) * sizeof(*l->found));
    snprintf(l->found[at].name, sizeof(l->found[at].name), "%s", entry->name);
    l->found[at].size = entry->size;
    l->found[at].used_ns = entry->used_ns;
    return true;
}

/* Errors in front are nobody's: what cannot go stays. */
static void make_room(const cached *c)
{
    char text[LYNX_PLACE_TEXT_MAX];
    const lynx_place_ops *ops = c->front->ops;
    look *l = lx_alloc_zeroed(c->memory, 1, sizeof(*l));
    bool is_full = l && ops->list && ops->remove;
    while (is_full) {
        memset(l, 0, sizeof(*l));
        is_full = ops->list(c->front, kept_prefix, look_at, l, text, sizeof(text)) == LYNX_OK &&
                  l->bytes > c->limit_bytes && l->count > 0;
        for (size_t i = 0; i < l->count && is_full && l->bytes > c->limit_bytes; i++) {
            is_full = ops->remove(c->front, l->found[i].name, text, sizeof(text)) == LYNX_OK;
            l->bytes -= l->found[i].size;
        }
    }
    lx_free(c->memory, l, 1, sizeof(*l));
}

static void write_in_front(cached *c, const char *name, const lynx_bytes *parts, size_t count)
{
    char text[LYNX_PLACE_TEXT_MAX];
    if (!c->front->ops->write ||
        c->front->ops->write(c->front, name, parts, count, text, sizeof(text)) != LYNX_OK ||
        c->limit_bytes == 0)
        return;
    pthread_mutex_lock(&c->evicting);
    make_room(c);
    pthread_mutex_unlock(&c->evicting);
}

static bool is_kept(const char *name)
{
    return strncmp(name, kept_prefix, sizeof(kept_prefix) - 1) == 0;
}

/* ---- operations ---------------------------------------------------------------------- */

static lynx_status open_inner(cached *c, object *o, const char *name, char *text,
                              size_t text_size)
{
    char unheard[LYNX_PLACE_TEXT_MAX];
    o->place = c->front;
    if (is_kept(name) &&
        c->front->ops->open(c->front, name, &o->inner, unheard, sizeof(unheard)) == LYNX_OK &&
        o->inner)
        return LYNX_OK;
    o->inner = NULL;
    o->place = c->back;
    return c->back->ops->open(c->back, name, &o->inner, text, text_size);
}

static lynx_status cached_open(lynx_place *place, const char *name, lynx_object **opened,
                               char *text, size_t text_size)
{
    cached *c = of(place);
    *opened = NULL;
    object *o = lx_alloc_zeroed(c->memory, 1, sizeof(*o));
    LX_REQUIRE(o, LYNX_ERR_MEMORY);
    const lynx_status status = open_inner(c, o, name, text, text_size);
    if (status != LYNX_OK || !o->inner) {
        lx_free(c->memory, o, 1, sizeof(*o));
        return status;
    }
    snprintf(o->name, sizeof(o->name), "%s", name);
    o->base.size = o->inner->size;
    if (is_kept(name) && o->place == c->back)
        remember(c, o);
    *opened = &o->base;
    return LYNX_OK;
}

static void cached_close(lynx_place *place, lynx_object *base)
{
    cached *c = of(place);
    object *o = object_of(base);
    const lynx_bytes all = {o->data, o->room};
    if (is_whole(o))
        write_in_front(c, o->name, &all, 1);
    forget(c, o);
    o->place->ops->close(o->place, o->inner);
    lx_free(c->memory, o, 1, sizeof(*o));
}

/* The copy in front is of no use: it goes, and the object is read from behind if it has the
 * same size there. */
static bool move_behind(cached *c, object *o)
{
    char unheard[LYNX_PLACE_TEXT_MAX];
    lynx_object *inner = NULL;
    if (o->place != c->front)
        return false;
    if (c->front->ops->remove)
        (void)!c->front->ops->remove(c->front, o->name, unheard, sizeof(unheard));
    if (c->back->ops->open(c->back, o->name, &inner, unheard, sizeof(unheard)) != LYNX_OK ||
        !inner)
        return false;
    if (inner->size != o->base.size) {
        c->back->ops->close(c->back, inner);
        return false;
    }
    pthread_mutex_lock(&c->moving);
    lynx_object *old = o->inner;
    o->inner = inner;
    o->place = c->back;
    if (o->is_cancelled && c->back->ops->cancel)
        c->back->ops->cancel(c->back, inner);
    pthread_mutex_unlock(&c->moving);
    c->front->ops->close(c->front, old);
    return true;
}

static bool cached_doubt(lynx_place *place, lynx_object *base)
{
    return move_behind(of(place), object_of(base));
}

static lynx_status cached_read(lynx_place *place, lynx_object *base, uint64_t offset,
                               void *data, size_t size, char *text, size_t text_size)
{
    object *o = object_of(base);
    lynx_status status =
        o->place->ops->read(o->place, o->inner, offset, data, size, text, text_size);
    if (status != LYNX_OK && status != LYNX_ERR_CANCELLED && move_behind(of(place), o))
        status = o->place->ops->read(o->place, o->inner, offset, data, size, text, text_size);
    LX_TRY(status);
    keep(of(place), o, offset, data, size);
    return LYNX_OK;
}

static void cached_expect(lynx_place *place, const lynx_range *ranges, size_t count)
{
    cached *c = of(place);
    lynx_place *const places[] = {c->front, c->back};
    lynx_range *inner = lx_alloc(c->memory, count, sizeof(*inner));
    for (size_t p = 0; p < 2 && inner; p++) {
        size_t used = 0;
        for (size_t i = 0; i < count; i++)
            if (object_of(ranges[i].object)->place == places[p])
                inner[used++] = (lynx_range){object_of(ranges[i].object)->inner,
                                             ranges[i].offset, ranges[i].size};
        if (places[p]->ops->expect)
            places[p]->ops->expect(places[p], inner, used);
    }
    lx_free(c->memory, inner, count, sizeof(*inner));
}

static lynx_status cached_write(lynx_place *place, const char *name, const lynx_bytes *parts,
                                size_t count, char *text, size_t text_size)
{
    cached *c = of(place);
    LX_TRY(c->back->ops->write(c->back, name, parts, count, text, text_size));
    if (is_kept(name))
        write_in_front(c, name, parts, count);
    return LYNX_OK;
}

static lynx_status cached_list(lynx_place *place, const char *prefix, lynx_place_visit *visit,
                               void *user, char *text, size_t text_size)
{
    cached *c = of(place);
    return c->back->ops->list(c->back, prefix, visit, user, text, text_size);
}

/* In front first, so that what is gone behind is not read from there. */
static lynx_status cached_remove(lynx_place *place, const char *name, char *text,
                                 size_t text_size)
{
    cached *c = of(place);
    char unheard[LYNX_PLACE_TEXT_MAX];
    if (c->front->ops->remove)
        (void)!c->front->ops->remove(c->front, name, unheard, sizeof(unheard));
    return c->back->ops->remove(c->back, name, text, text_size);
}

static void cached_use(lynx_place *place, const char *name)
{
    cached *c = of(place);
    if (c->front->ops->use && is_kept(name))
        c->front->ops->use(c->front, name);
    if (c->back->ops->use)
        c->back->ops->use(c->back, name);
}

static lynx_status cached_lock(lynx_place *place, char *text, size_t text_size)
{
    return of(place)->back->ops->lock(of(place)->back, text, text_size);
}

static void cached_unlock(lynx_place *place)
{
    of(place)->back->ops->unlock(of(place)->back);
}

static lynx_status cached_sweep(lynx_place *place, char *text, size_t text_size)
{
    cached *c = of(place);
    char unheard[LYNX_PLACE_TEXT_MAX];
    if (c->front->ops->sweep)
        (void)!c->front->ops->sweep(c->front, unheard, sizeof(unheard));
    return c->back->ops->sweep ? c->back->ops->sweep(c->back, text, text_size) : LYNX_OK;
}

static void cached_cancel(lynx_place *place, lynx_object *base)
{
    cached *c = of(place);
    lynx_place *const places[] = {c->front, c->back};
    pthread_mutex_lock(&c->moving);
    if (base)
        object_of(base)->is_cancelled = true;
    for (size_t p = 0; p < 2; p++) {
        const bool is_meant = !base || object_of(base)->place == places[p];
        if (places[p]->ops->cancel && is_meant)
            places[p]->ops->cancel(places[p], base ? object_of(base)->inner : NULL);
    }
    pthread_mutex_unlock(&c->moving);
}

static const char *cached_description(const lynx_place *place)
{
    const lynx_place *back = ((const cached *)(const void *)place)->back;
    return back->ops->description(back);
}

static void cached_destroy(lynx_place *place)
{
    cached *c = of(place);
    lynx_place_destroy(c->front);
    lynx_place_destroy(c->back);
    pthread_mutex_destroy(&c->evicting);
    pthread_mutex_destroy(&c->moving);
    lx_free(c->memory, c, 1, sizeof(*c));
}

static void fill_operations(lynx_place_ops *ops, const lynx_place_ops *back)
{
    *ops = (lynx_place_ops){.destroy = cached_destroy,
                            .description = cached_description,
                            .open = cached_open,
                            .close = cached_close,
                            .read = cached_read,
                            .expect = cached_expect,
                            .write = back->write ? cached_write : NULL,
                            .list = back->list ? cached_list : NULL,
                            .remove = back->remove ? cached_remove : NULL,
                            .use = cached_use,
                            .lock = back->lock ? cached_lock : NULL,
                            .unlock = back->lock ? cached_unlock : NULL,
                            .sweep = cached_sweep,
                            .cancel = cached_cancel,
                            .doubt = cached_doubt};
}

lynx_status lynx_place_cached(lynx_place **place, lynx_place *front, lynx_place *back,
                              uint64_t limit_bytes, const lynx_allocator *memory)
{
    memory = lx_allocator_or_default(memory);
    cached *c = lx_alloc_zeroed(memory, 1, sizeof(*c));
    LX_REQUIRE(c, LYNX_ERR_MEMORY);
    const bool has_one = pthread_mutex_init(&c->evicting, NULL) == 0;
    if (!has_one || pthread_mutex_init(&c->moving, NULL) != 0) {
        if (has_one)
            pthread_mutex_destroy(&c->evicting);
        lx_free(memory, c, 1, sizeof(*c));
        return LYNX_ERR_MEMORY;
    }
    fill_operations(&c->ops, back->ops);
    c->base.ops = &c->ops;
    c->front = front;
    c->back = back;
    c->limit_bytes = limit_bytes;
    c->memory = memory;
    atomic_init(&c->held_bytes, 0);
    *place = &c->base;
    return LYNX_OK;
}
