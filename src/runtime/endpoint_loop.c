/* SPDX-License-Identifier: MIT */
#include "runtime/endpoint_loop.h"

#include <uv.h>

#include "base/alloc.h"
#include "base/check.h"

enum { RECEIVE_BYTES = 256 << 10, RECEIVES_PER_TURN = 8, SENDS_PER_TURN = 64 };

struct lx_loop {
    const lynx_allocator *memory;
    const lx_endpoint_ops *ops;
    void *endpoint;
    lynx_link *link;
    uint8_t *buffer;

    uv_thread_t thread;
    uv_mutex_t lock;
    uv_cond_t changed;
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t timer;
    uv_poll_t poll;
    bool has_poll;
    int polled_events;

    /* Under the lock. */
    uint64_t reads; /* counts what waiters wait for */
    bool is_over;   /* the link can do no more */
    bool must_stop;
    lynx_time_ns stop_at;

    /* Of the thread alone. */
    bool is_idle; /* the endpoint had nothing to send at the last pull */
};

lynx_time_ns lx_loop_now(void)
{
    return uv_hrtime();
}

/* ---- endpoints ----------------------------------------------------------------------- */

static lynx_status sender_read(void *endpoint, lynx_time_ns now, const uint8_t *data,
                               size_t size)
{
    return lynx_sender_read(endpoint, now, data, size);
}

static lynx_status sender_write(void *endpoint, lynx_time_ns now,
                                lynx_bytes parts[LYNX_SESSION_PARTS_MAX], uint32_t *count)
{
    return lynx_sender_write(endpoint, now, parts, count);
}

static void sender_wrote(void *endpoint, lynx_time_ns now, size_t size)
{
    lynx_sender_wrote(endpoint, now, size);
}

static lynx_time_ns sender_deadline(const void *endpoint)
{
    return lynx_sender_deadline(endpoint);
}

static void sender_close(void *endpoint, lynx_status status, const char *text)
{
    lynx_sender_close(endpoint, status, text);
}

static lynx_status receiver_read(void *endpoint, lynx_time_ns now, const uint8_t *data,
                                 size_t size)
{
    return lynx_receiver_read(endpoint, now, data, size);
}

static lynx_status receiver_write(void *endpoint, lynx_time_ns now,
                                  lynx_bytes parts[LYNX_SESSION_PARTS_MAX], uint32_t *count)
{
    return lynx_receiver_write(endpoint, now, parts, count);
}

static void receiver_wrote(void *endpoint, lynx_time_ns now, size_t size)
{
    lynx_receiver_wrote(endpoint, now, size);
}

static lynx_time_ns receiver_deadline(const void *endpoint)
{
    return lynx_receiver_deadline(endpoint);
}

static void receiver_close(void *endpoint, lynx_status status, const char *text)
{
    lynx_receiver_close(endpoint, status, text);
}

const lx_endpoint_ops lx_endpoint_of_sender = {sender_read, sender_write, sender_wrote,
                                               sender_deadline, sender_close};
const lx_endpoint_ops lx_endpoint_of_receiver = {receiver_read, receiver_write, receiver_wrote,
                                                 receiver_deadline, receiver_close};

/* ---- the pump ------------------------------------------------------------------------ */

static void link_ended(lx_loop *loop, lynx_status status)
{
    uv_mutex_lock(&loop->lock);
    if (!loop->is_over) {
        loop->is_over = true;
        const bool is_closed = status == LYNX_ERR_CLOSED;
        loop->ops->close(loop->endpoint, is_closed ? LYNX_ERR_CLOSED : status,
                         loop->link->ops->error_text(loop->link));
        loop->reads++;
        uv_cond_broadcast(&loop->changed);
    }
    uv_mutex_unlock(&loop->lock);
}

static bool is_over(lx_loop *loop)
{
    uv_mutex_lock(&loop->lock);
    const bool over = loop->is_over;
    uv_mutex_unlock(&loop->lock);
    return over;
}

static void pump_in(lx_loop *loop)
{
    for (int turn = 0; turn < RECEIVES_PER_TURN && !is_over(loop); turn++) {
        size_t size = 0;
        const lynx_time_ns now = uv_hrtime();
        const lynx_status status =
            loop->link->ops->receive(loop->link, now, loop->buffer, RECEIVE_BYTES, &size);
        if (status == LYNX_BLOCKED)
            return;
        if (status != LYNX_OK) {
            link_ended(loop, status);
            return;
        }
        uv_mutex_lock(&loop->lock);
        /* An error is an event of the endpoint, and its reason leaves by pump_out. */
        (void)!loop->ops->read(loop->endpoint, now, loop->buffer, size);
        loop->reads++;
        uv_cond_broadcast(&loop->changed);
        uv_mutex_unlock(&loop->lock);
    }
}

/* Pull and send until the link is full or there is nothing. */
static void pump_out(lx_loop *loop)
{
    for (int turn = 0; turn < SENDS_PER_TURN && !is_over(loop); turn++) {
        lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
        uint32_t count = 0;
        size_t size = 0;
        lynx_time_ns now = uv_hrtime();
        uv_mutex_lock(&loop->lock);
        lynx_status status = loop->ops->write(loop->endpoint, now, parts, &count);
        loop->reads += count == 0 && status != LYNX_OK;
        uv_mutex_unlock(&loop->lock);
        loop->is_idle = count == 0;
        if (count == 0)
            return;
        status = loop->link->ops->send(loop->link, now, parts, count, &size);
        if (status == LYNX_BLOCKED)
            return;
        if (status != LYNX_OK) {
            link_ended(loop, status);
            return;
        }
        now = uv_hrtime();
        uv_mutex_lock(&loop->lock);
        loop->ops->wrote(loop->endpoint, now, size);
        uv_mutex_unlock(&loop->lock);
    }
}

static void on_timer(uv_timer_t *timer);
static void on_poll(uv_poll_t *poll, int status, int events);

/* Ask libuv for what the link needs next. */
static void watch(lx_loop *loop, lynx_time_ns link_next)
{
    const lynx_time_ns now = uv_hrtime();
    uv_mutex_lock(&loop->lock);
    lynx_time_ns next = loop->ops->deadline(loop->endpoint);
    const bool over = loop->is_over;
    if (loop->must_stop && loop->stop_at < next)
        next = loop->stop_at;
    uv_mutex_unlock(&loop->lock);
    if (link_next < next)
        next = link_next;
    if (!loop->has_poll && !over && next > now + 1000000)
        next = now + 1000000; /* nothing to poll: look every millisecond */

    if (next == LYNX_TIME_NEVER) {
        uv_timer_stop(&loop->timer);
    } else {
        const uint64_t ms = next > now ? (next - now) / 1000000 : 0;
        uv_update_time(&loop->uv);
        uv_timer_start(&loop->timer, on_timer, ms ? ms : 1, 0);
    }
    if (!loop->has_poll)
        return;
    const bool wants_writable = loop->link->ops->wants_writable(loop->link);
    const int events = over ? 0 : UV_READABLE | (wants_writable ? UV_WRITABLE : 0);
    if (events != loop->polled_events) {
        loop->polled_events = events;
        if (events)
            uv_poll_start(&loop->poll, events, on_poll);
        else
            uv_poll_stop(&loop->poll);
    }
}

static void close_handle(uv_handle_t *handle, void *unused)
{
    (void)unused;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void turn(lx_loop *loop)
{
    lynx_time_ns link_next = LYNX_TIME_NEVER;
    pump_in(loop);
    pump_out(loop);
    if (!is_over(loop)) {
        const lynx_status status = loop->link->ops->flush(loop->link, uv_hrtime(), &link_next);
        if (lynx_failed(status))
            link_ended(loop, status);
    }
    uv_mutex_lock(&loop->lock);
    const bool is_flushed = loop->is_idle && !loop->link->ops->is_draining(loop->link);
    const bool ends =
        loop->must_stop && (loop->is_over || is_flushed || uv_hrtime() >= loop->stop_at);
    uv_mutex_unlock(&loop->lock);
    if (ends)
        uv_walk(&loop->uv, close_handle, NULL);
    else
        watch(loop, link_next);
}

static void on_timer(uv_timer_t *timer)
{
    turn(timer->data);
}

static void on_wake(uv_async_t *wake)
{
    turn(wake->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    turn(poll->data);
}

static void run_thread(void *user)
{
    lx_loop *loop = user;
    turn(loop);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

/* ---- life ---------------------------------------------------------------------------- */

static void free_loop(lx_loop *loop)
{
    const lynx_allocator *memory = loop->memory;
    lx_free(memory, loop->buffer, RECEIVE_BYTES, 1);
    lx_free(memory, loop, 1, sizeof(*loop));
}

/* Close what was opened in the libuv loop and let it see that. */
static void close_uv(lx_loop *loop)
{
    uv_walk(&loop->uv, close_handle, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    uv_loop_close(&loop->uv);
}

static lynx_status open_handles(lx_loop *loop)
{
    const int descriptor = loop->link->ops->descriptor(loop->link);
    LX_REQUIRE(uv_async_init(&loop->uv, &loop->wake, on_wake) == 0, LYNX_ERR_SYSTEM);
    LX_REQUIRE(uv_timer_init(&loop->uv, &loop->timer) == 0, LYNX_ERR_SYSTEM);
    loop->has_poll = descriptor >= 0;
    if (loop->has_poll)
        LX_REQUIRE(uv_poll_init(&loop->uv, &loop->poll, descriptor) == 0, LYNX_ERR_SYSTEM);
    loop->wake.data = loop;
    loop->timer.data = loop;
    loop->poll.data = loop;
    LX_REQUIRE(uv_mutex_init(&loop->lock) == 0, LYNX_ERR_SYSTEM);
    if (uv_cond_init(&loop->changed) != 0) {
        uv_mutex_destroy(&loop->lock);
        return LYNX_ERR_SYSTEM;
    }
    if (uv_thread_create(&loop->thread, run_thread, loop) != 0) {
        uv_cond_destroy(&loop->changed);
        uv_mutex_destroy(&loop->lock);
        return LYNX_ERR_SYSTEM;
    }
    return LYNX_OK;
}

lynx_status lx_loop_start(lx_loop **loop, const lx_endpoint_ops *ops, void *endpoint,
                          lynx_link *link, const lynx_allocator *memory)
{
    memory = lx_allocator_or_default(memory);
    lx_loop *l = lx_alloc_zeroed(memory, 1, sizeof(*l));
    LX_REQUIRE(l, LYNX_ERR_MEMORY);
    l->memory = memory;
    l->ops = ops;
    l->endpoint = endpoint;
    l->link = link;
    l->buffer = lx_alloc(memory, RECEIVE_BYTES, 1);
    lynx_status status = l->buffer ? LYNX_OK : LYNX_ERR_MEMORY;
    if (status == LYNX_OK && uv_loop_init(&l->uv) != 0)
        status = LYNX_ERR_SYSTEM;
    if (status != LYNX_OK) {
        free_loop(l);
        return status;
    }
    status = open_handles(l);
    if (status != LYNX_OK) {
        close_uv(l);
        free_loop(l);
        return status;
    }
    *loop = l;
    return LYNX_OK;
}

void lx_loop_lock(lx_loop *loop)
{
    uv_mutex_lock(&loop->lock);
}

void lx_loop_unlock(lx_loop *loop)
{
    uv_mutex_unlock(&loop->lock);
}

void lx_loop_wake(lx_loop *loop)
{
    uv_async_send(&loop->wake);
}

void lx_loop_wait(lx_loop *loop, lynx_time_ns deadline)
{
    const uint64_t seen = loop->reads;
    while (loop->reads == seen && !loop->is_over) {
        const lynx_time_ns now = uv_hrtime();
        if (now >= deadline ||
            uv_cond_timedwait(&loop->changed, &loop->lock, deadline - now) != 0)
            return;
    }
}

void lx_loop_stop(lx_loop *loop, uint64_t linger_ns)
{
    uv_mutex_lock(&loop->lock);
    loop->must_stop = true;
    loop->stop_at = uv_hrtime() + linger_ns;
    uv_mutex_unlock(&loop->lock);
    uv_async_send(&loop->wake);
    uv_thread_join(&loop->thread);
    uv_loop_close(&loop->uv);
    uv_cond_destroy(&loop->changed);
    uv_mutex_destroy(&loop->lock);
    lynx_link_destroy(loop->link);
    free_loop(loop);
}
