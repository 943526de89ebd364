/* SPDX-License-Identifier: MIT */
/*
 * endpoint_loop.h - the link thread: pumps one session endpoint over one link.
 *
 * The thread runs a libuv loop that polls the link's descriptor, calls the endpoint under a
 * lock, and sends without it: ranges that write() gave stay valid until wrote(). Nothing is
 * pulled before the link has taken all of the pull before. No lock is held across a wait or
 * system call.
 */
#ifndef LX_RUNTIME_ENDPOINT_LOOP_H
#define LX_RUNTIME_ENDPOINT_LOOP_H

#include <stdbool.h>

#include "lynx/link.h"
#include "lynx/memory.h"
#include "lynx/session.h"
#include "lynx/status.h"

/* A sender or a receiver. All are called with the loop's lock held. */
typedef struct lx_endpoint_ops {
    lynx_status (*read)(void *endpoint, lynx_time_ns now, const uint8_t *data, size_t size);
    lynx_status (*write)(void *endpoint, lynx_time_ns now,
                         lynx_bytes parts[LYNX_SESSION_PARTS_MAX], uint32_t *count);
    void (*wrote)(void *endpoint, lynx_time_ns now, size_t size);
    lynx_time_ns (*deadline)(const void *endpoint);
    void (*close)(void *endpoint, lynx_status status, const char *text);
} lx_endpoint_ops;

extern const lx_endpoint_ops lx_endpoint_of_sender;
extern const lx_endpoint_ops lx_endpoint_of_receiver;

typedef struct lx_loop lx_loop;

/* Start the thread. Borrows 'endpoint' until stop; takes 'link' on success. */
lynx_status lx_loop_start(lx_loop **loop, const lx_endpoint_ops *ops, void *endpoint,
                          lynx_link *link, const lynx_allocator *memory);

/* Monotonic nanoseconds. */
lynx_time_ns lx_loop_now(void);

/* The endpoint may be used between these. */
void lx_loop_lock(lx_loop *loop);
void lx_loop_unlock(lx_loop *loop);

/* There is something new to send. With or without the lock. */
void lx_loop_wake(lx_loop *loop);

/* With the lock held: wait until the endpoint has read something, the link ended, or
 * 'deadline'. */
void lx_loop_wait(lx_loop *loop, lynx_time_ns deadline);

/* Send what is queued for up to 'linger_ns', end the thread, destroy the link, free the loop.
 */
void lx_loop_stop(lx_loop *loop, uint64_t linger_ns);

#endif
