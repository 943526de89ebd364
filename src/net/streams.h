/* SPDX-License-Identifier: MIT */
/* streams.h - what is fetched ahead for the objects of a place, side by side. */
#ifndef LX_NET_STREAMS_H
#define LX_NET_STREAMS_H

#include "net/ahead.h"

typedef struct lx_stream lx_stream;

typedef struct lx_streams {
    lx_network *network;
    pthread_mutex_t lock;
    pthread_cond_t left; /* a reader did */
    lx_stream *first;
} lx_streams;

lynx_status lx_streams_init(lx_streams *streams, lx_network *network);
void lx_streams_fini(lx_streams *streams);

/* Fetch these from now on, instead of what was expected of the same objects. */
void lx_streams_expect(lx_streams *streams, const lx_ahead_span *spans, size_t count);

/* No longer anything of this object. */
void lx_streams_drop(lx_streams *streams, const void *object);

/* As lx_ahead_read. */
lynx_status lx_streams_read(lx_streams *streams, const void *object, uint64_t offset,
                            uint8_t *data, size_t size, const atomic_bool *is_stopped,
                            size_t *done, lx_text said);

void lx_streams_wake(lx_streams *streams);

#endif
