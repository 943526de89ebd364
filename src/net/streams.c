/* SPDX-License-Identifier: MIT */
#include "net/streams.h"

#include "base/alloc.h"

struct lx_stream {
    lx_ahead *ahead;
    unsigned readers;
    lx_stream *next;
};

lynx_status lx_streams_init(lx_streams *streams, lx_network *network)
{
    streams->network = network;
    streams->first = NULL;
    if (pthread_mutex_init(&streams->lock, NULL) != 0)
        return LYNX_ERR_MEMORY;
    if (pthread_cond_init(&streams->left, NULL) == 0)
        return LYNX_OK;
    pthread_mutex_destroy(&streams->lock);
    return LYNX_ERR_MEMORY;
}

void lx_streams_fini(lx_streams *streams)
{
    pthread_cond_destroy(&streams->left);
    pthread_mutex_destroy(&streams->lock);
}

/* The lock is held. */
static lx_stream *find(lx_streams *streams, const void *object)
{
    lx_stream *s = streams->first;
    while (s && !lx_ahead_has(s->ahead, object))
        s = s->next;
    return s;
}

void lx_streams_drop(lx_streams *streams, const void *object)
{
    pthread_mutex_lock(&streams->lock);
    lx_stream *gone = find(streams, object);
    if (gone) {
        lx_stream **at = &streams->first;
        while (*at != gone)
            at = &(*at)->next;
        *at = gone->next;
        lx_ahead_stop(gone->ahead);
        while (gone->readers > 0)
            pthread_cond_wait(&streams->left, &streams->lock);
    }
    pthread_mutex_unlock(&streams->lock);
    if (gone) {
        lx_ahead_destroy(gone->ahead);
        lx_free(streams->network->memory, gone, 1, sizeof(*gone));
    }
}

void lx_streams_expect(lx_streams *streams, const lx_ahead_span *spans, size_t count)
{
    const lynx_allocator *memory = streams->network->memory;
    for (size_t i = 0; i < count; i++)
        lx_streams_drop(streams, spans[i].object);
    lx_stream *s = count > 0 ? lx_alloc_zeroed(memory, 1, sizeof(*s)) : NULL;
    if (!s)
        return;
    s->ahead = lx_ahead_create(streams->network, spans, count);
    if (!s->ahead) {
        lx_free(memory, s, 1, sizeof(*s));
        return;
    }
    pthread_mutex_lock(&streams->lock);
    s->next = streams->first;
    streams->first = s;
    pthread_mutex_unlock(&streams->lock);
}

lynx_status lx_streams_read(lx_streams *streams, const void *object, uint64_t offset,
                            uint8_t *data, size_t size, const atomic_bool *is_stopped,
                            size_t *done, lx_text said)
{
    *done = 0;
    pthread_mutex_lock(&streams->lock);
    lx_stream *s = find(streams, object);
    if (s)
        s->readers++;
    pthread_mutex_unlock(&streams->lock);
    if (!s)
        return LYNX_OK;
    const lynx_status status =
        lx_ahead_read(s->ahead, object, offset, data, size, is_stopped, done, said);
    pthread_mutex_lock(&streams->lock);
    s->readers--;
    pthread_cond_broadcast(&streams->left);
    pthread_mutex_unlock(&streams->lock);
    return status;
}

void lx_streams_wake(lx_streams *streams)
{
    pthread_mutex_lock(&streams->lock);
    for (lx_stream *s = streams->first; s; s = s->next)
        lx_ahead_wake(s->ahead);
    pthread_mutex_unlock(&streams->lock);
}
