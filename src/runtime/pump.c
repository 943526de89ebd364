/* SPDX-License-Identifier: MIT */
/*
 * pump.c - one thread for each connection of a session's end.
 *
 * A thread runs a libuv loop that polls the link's descriptor, calls the end under the pump's
 * lock, and sends without it: ranges that write() gave stay valid until wrote(). Nothing is
 * pulled before the link has taken all of the pull before. Calls on one lane may give another
 * something to do; whoever made the call wakes it.
 *
 *     attach --> (first bytes, so the peer is known) --> connect --> turns --> disconnect -->
 * END a decode node connects at once
 */
#include "runtime/pump.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/check.h"

enum {
    RECEIVE_BYTES = 512 << 10,
    DIRECT_LEAST = 32 << 10, /* below that another call costs more than the copy */
    BETWEEN_BYTES = 4 << 10, /* most of what is received between two chunks to find the next */
    ROUNDS_PER_TURN = 16,
    SENDS_PER_ROUND = 8
};
static const uint64_t wait_ns = 1000000000;    /* most of one wait */
static const uint64_t poll_ns = 1000000;       /* of a link without a descriptor */
static const uint64_t linger_ns = 1000000000;  /* for the last words of a closed lane */
static const uint64_t good_bye_ns = 100000000; /* and, when they left, for the peer to read */

typedef struct pumped pumped;

struct lynx_pump {
    const lynx_allocator *memory;
    const lx_pump_ops *ops;
    void *end;
    lynx_pump_options options;

    uv_mutex_t lock;
    uv_cond_t changed;
    /* Under the lock. */
    uint64_t changes; /* counts what waiters wait for */
    uint64_t news;    /* of the end, as waiters know it */
    pumped *first;    /* attached links, ended ones that nobody joined yet among them */
    bool must_stop;
    lynx_time_ns stop_at;
};

/* A link with its thread. */
struct pumped {
    lynx_pump *pump;
    pumped *next;
    lynx_link *link;
    uint32_t lane; /* the session's name for it */
    bool has_lane; /* connect was called, disconnect was not */
    bool is_ended; /* its thread does nothing any more: under the lock */

    uv_thread_t thread;
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t timer;
    uv_poll_t poll;
    bool has_poll;
    int polled_events;

    /* Of the thread alone. */
    bool is_idle;    /* the end had nothing to send at the last pull */
    bool is_blocked; /* the link took nothing at the last send */
    bool was_direct; /* the last bytes that came were received to their place */
    uint8_t *place;  /* where the next ones may go: 'room' bytes, or 0 */
    size_t room;
    bool is_over;          /* the link can do no more */
    lynx_time_ns greet_by; /* the peer must have said something */
    lynx_time_ns closed_at, flushed_at;
    lynx_status over_status;
    char over_text[LYNX_SESSION_TEXT_MAX];
    uint8_t buffer[RECEIVE_BYTES];
};

lynx_time_ns lynx_clock_now(void)
{
    return uv_hrtime();
}

/* ---- the lock ------------------------------------------------------------------------ */

void lynx_pump_lock(lynx_pump *pump)
{
    uv_mutex_lock(&pump->lock);
}

/* Wake the threads whose lanes have something to write. Sending a wake-up does not wait. */
static void pass_wakes(lynx_pump *pump)
{
    uint32_t lane;
    while (pump->ops->next_wake(pump->end, &lane))
        for (pumped *p = pump->first; p; p = p->next)
            if (p->has_lane && !p->is_ended && p->lane == lane)
                uv_async_send(&p->wake);
}

void lx_pump_changed(lynx_pump *pump)
{
    pump->changes++;
    uv_cond_broadcast(&pump->changed);
}

/* Most of what arrives is a part of something: only the end of it is worth a wake-up. */
static void pass_news(lynx_pump *pump)
{
    const uint64_t news = pump->ops->news(pump->end);
    if (news == pump->news)
        return;
    pump->news = news;
    lx_pump_changed(pump);
}

void lynx_pump_unlock(lynx_pump *pump)
{
    pass_wakes(pump);
    pass_news(pump);
    uv_mutex_unlock(&pump->lock);
}

void lynx_pump_wait(lynx_pump *pump, lynx_time_ns deadline)
{
    pass_wakes(pump);
    pass_news(pump);
    const uint64_t seen = pump->changes;
    while (pump->changes == seen) {
        const lynx_time_ns now = uv_hrtime();
        if (now >= deadline)
            return;
        const uint64_t left = deadline - now; /* libuv adds the time to it: no overflow, then */
        if (uv_cond_timedwait(&pump->changed, &pump->lock, left < wait_ns ? left : wait_ns) !=
            0)
            return;
    }
}

/* ---- one link ------------------------------------------------------------------------ */

static void end_link(pumped *p, lynx_status status, const char *text)
{
    if (p->is_over)
        return;
    p->is_over = true;
    p->over_status = status;
    snprintf(p->over_text, sizeof(p->over_text), "%s", text);
}

static void link_failed(pumped *p, lynx_status status)
{
    end_link(p, status, p->link->ops->error_text(p->link));
}

/* The peer has said something, so that it is known who it is: the session may hear of it. */
static bool connect_lane(pumped *p)
{
    lynx_pump *pump = p->pump;
    if (p->has_lane)
        return true;
    const lynx_status status =
        pump->ops->connect(pump->end, uv_hrtime(), p->link->ops->peer_name(p->link), &p->lane);
    if (status == LYNX_OK)
        p->has_lane = true;
    else
        end_link(p, status, "there are too many connections already; raise the limit");
    return p->has_lane;
}

/* True when there may be more. */
static bool receive(pumped *p)
{
    lynx_pump *pump = p->pump;
    uint8_t *target = p->place;
    size_t room = p->room;
    size_t size = 0;
    if (room < DIRECT_LEAST) {
        target = p->buffer;
        room = p->was_direct ? BETWEEN_BYTES : sizeof(p->buffer);
    }
    const lynx_time_ns now = uv_hrtime();
    const lynx_status status = p->link->ops->receive(p->link, now, target, room, &size);
    if (status == LYNX_BLOCKED)
        return false;
    if (status != LYNX_OK) {
        link_failed(p, status);
        return false;
    }
    p->was_direct = target == p->place;
    lynx_pump_lock(pump);
    if (connect_lane(p)) {
        /* An error is an event of the session, and its reason leaves by send. */
        (void)!pump->ops->read(pump->end, p->lane, now, target, size);
        pump->ops->room(pump->end, p->lane, &p->place, &p->room);
    }
    lynx_pump_unlock(pump);
    return !p->is_over && size == room; /* else it was all that there is */
}

/* Say what the link took of the last pull, and pull again; the ranges. 'sent_at' is when the
 * link was given the bytes: an answer may be here before its call returns. */
static uint32_t pull(pumped *p, lynx_time_ns sent_at, size_t sent,
                     lynx_bytes parts[LYNX_SESSION_PARTS_MAX])
{
    lynx_pump *pump = p->pump;
    uint32_t count = 0;
    const lynx_time_ns now = uv_hrtime();
    lynx_pump_lock(pump);
    if (sent > 0)
        pump->ops->wrote(pump->end, p->lane, sent_at, sent);
    /* An error closes the lane; the parts are valid with it. */
    (void)!pump->ops->write(pump->end, p->lane, now, parts, &count);
    lynx_pump_unlock(pump);
    return count;
}

static void send_some(pumped *p)
{
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    lynx_time_ns sent_at = 0;
    size_t sent = 0;
    if (p->is_over || !p->has_lane)
        return;
    for (int sends = 0; sends <= SENDS_PER_ROUND; sends++) {
        const uint32_t count = pull(p, sent_at, sent, parts);
        sent = 0;
        p->is_idle = count == 0;
        p->is_blocked = false;
        if (count == 0 || sends == SENDS_PER_ROUND)
            return;
        sent_at = uv_hrtime();
        const lynx_status status = p->link->ops->send(p->link, sent_at, parts, count, &sent);
        p->is_blocked = status == LYNX_BLOCKED;
        if (p->is_blocked)
            return;
        if (status != LYNX_OK) {
            link_failed(p, status);
            return;
        }
    }
}

/* Receiving and sending take turns, so that what arrives is answered while more comes. */
static void move_bytes(pumped *p)
{
    bool has_more = true;
    for (int round = 0; has_more && round < ROUNDS_PER_TURN && !p->is_over; round++) {
        has_more = receive(p);
        send_some(p);
        has_more |= p->has_lane && !p->is_idle && !p->is_blocked;
    }
    if (has_more && !p->is_over)
        uv_async_send(&p->wake); /* others' turn, then ours again */
}

/* Has everything been said that will be said? */
static void look_for_end(pumped *p, bool must_stop, lynx_time_ns stop_at, lynx_lane_state state)
{
    const lynx_time_ns now = uv_hrtime();
    const bool is_flushed = !p->has_lane || (p->is_idle && !p->link->ops->is_draining(p->link));
    if (!p->has_lane && (must_stop || now >= p->greet_by))
        end_link(p, LYNX_ERR_TIMEOUT,
                 must_stop ? "stopped before the peer said who it is"
                           : "the peer connected and said nothing");
    /* The last words of a closed lane need more than to leave: see below. */
    if (must_stop && ((is_flushed && state != LYNX_LANE_CLOSED) || now >= stop_at))
        end_link(p, LYNX_ERR_CANCELLED, "stopped");
    if (state == LYNX_LANE_GONE)
        end_link(p, LYNX_ERR_CLOSED, "closed by the peer");
    if (state != LYNX_LANE_CLOSED || p->is_over)
        return;
    if (p->closed_at == 0)
        p->closed_at = now;
    if (is_flushed && p->flushed_at == 0)
        p->flushed_at = now;
    /* A connection that is closed with bytes unread takes our last words back: wait for the
     * peer to close, but not for long. */
    if ((p->flushed_at && now >= p->flushed_at + good_bye_ns) ||
        now >= p->closed_at + linger_ns)
        end_link(p, LYNX_ERR_CLOSED, "closed");
}

static void on_timer(uv_timer_t *timer);
static void on_poll(uv_poll_t *poll, int status, int events);

static lynx_time_ns earlier(lynx_time_ns a, lynx_time_ns b)
{
    return a < b ? a : b;
}

/* Ask libuv for what the link needs next. */
static void watch(pumped *p, lynx_time_ns next, lynx_lane_state state)
{
    const lynx_time_ns now = uv_hrtime();
    if (!p->has_poll)
        next = earlier(next, now + poll_ns);
    if (!p->has_lane)
        next = earlier(next, p->greet_by);
    if (state != LYNX_LANE_ALIVE)
        next = earlier(next, now + good_bye_ns);
    if (next == LYNX_TIME_NEVER) {
        uv_timer_stop(&p->timer);
    } else {
        const uint64_t ms = next > now ? (next - now + 999999) / 1000000 : 0;
        uv_update_time(&p->uv);
        uv_timer_start(&p->timer, on_timer, ms, 0);
    }
    if (!p->has_poll)
        return;
    const int events = UV_READABLE | (p->link->ops->wants_writable(p->link) ? UV_WRITABLE : 0);
    if (events != p->polled_events) {
        p->polled_events = events;
        uv_poll_start(&p->poll, events, on_poll);
    }
}

static void close_handle(uv_handle_t *handle, void *unused)
{
    (void)unused;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Tell the session, and let nobody wake the thread any more. */
static void leave(pumped *p)
{
    lynx_pump *pump = p->pump;
    lynx_pump_lock(pump);
    if (p->has_lane)
        pump->ops->disconnect(pump->end, uv_hrtime(), p->lane, p->over_status, p->over_text);
    p->is_ended = true;
    lx_pump_changed(pump);
    lynx_pump_unlock(pump);
    if (!p->has_lane && pump->options.log)
        pump->options.log(pump->options.user, p->over_status, p->over_text);
    lynx_link_destroy(p->link);
    p->link = NULL;
    uv_walk(&p->uv, close_handle, NULL);
}

static void turn(pumped *p)
{
    lynx_pump *pump = p->pump;
    lynx_time_ns link_next = LYNX_TIME_NEVER;
    if (!p->link)
        return;
    move_bytes(p);
    if (!p->is_over) {
        const lynx_status status = p->link->ops->flush(p->link, uv_hrtime(), &link_next);
        if (lynx_failed(status))
            link_failed(p, status);
    }
    lynx_pump_lock(pump);
    const lynx_lane_state state =
        p->has_lane ? pump->ops->lane_state(pump->end, p->lane) : LYNX_LANE_ALIVE;
    const bool must_stop = pump->must_stop;
    const lynx_time_ns stop_at = pump->stop_at;
    lynx_time_ns next = p->has_lane ? pump->ops->deadline(pump->end, p->lane) : LYNX_TIME_NEVER;
    lynx_pump_unlock(pump);
    look_for_end(p, must_stop, stop_at, state);
    if (must_stop)
        next = earlier(next, stop_at);
    if (p->is_over)
        leave(p);
    else
        watch(p, earlier(next, link_next), state);
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
    pumped *p = user;
    turn(p);
    uv_run(&p->uv, UV_RUN_DEFAULT);
    uv_loop_close(&p->uv); /* here, not when joined: its descriptors are wanted */
}

/* ---- attaching ----------------------------------------------------------------------- */

static void free_pumped(pumped *p)
{
    lx_free(p->pump->memory, p, 1, sizeof(*p));
}

/* Join threads that have ended. Called with the lock held, which is given up meanwhile. */
static void reap(lynx_pump *pump)
{
    for (pumped **at = &pump->first; *at;) {
        pumped *p = *at;
        if (!p->is_ended) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        uv_mutex_unlock(&pump->lock);
        uv_thread_join(&p->thread);
        free_pumped(p);
        uv_mutex_lock(&pump->lock);
        at = &pump->first;
    }
}

static lynx_status open_handles(pumped *p)
{
    const int descriptor = p->link->ops->descriptor(p->link);
    LX_REQUIRE(uv_async_init(&p->uv, &p->wake, on_wake) == 0, LYNX_ERR_SYSTEM);
    LX_REQUIRE(uv_timer_init(&p->uv, &p->timer) == 0, LYNX_ERR_SYSTEM);
    p->has_poll = descriptor >= 0;
    if (p->has_poll)
        LX_REQUIRE(uv_poll_init(&p->uv, &p->poll, descriptor) == 0, LYNX_ERR_SYSTEM);
    p->wake.data = p;
    p->timer.data = p;
    p->poll.data = p;
    return LYNX_OK;
}

static uint32_t count_links(const lynx_pump *pump)
{
    uint32_t count = 0;
    for (const pumped *p = pump->first; p; p = p->next)
        count++;
    return count;
}

/* The session hears of the lane, and its thread begins. */
static lynx_status start_pumped(pumped *p, bool connects)
{
    lynx_pump *pump = p->pump;
    lynx_pump_lock(pump);
    reap(pump);
    lynx_status status = pump->must_stop                                ? LYNX_ERR_CLOSED
                         : count_links(pump) >= pump->options.links_max ? LYNX_BLOCKED
                                                                        : LYNX_OK;
    if (status == LYNX_OK && connects) {
        status = pump->ops->connect(pump->end, uv_hrtime(), NULL, &p->lane);
        p->has_lane = status == LYNX_OK;
    }
    if (status == LYNX_OK && uv_thread_create(&p->thread, run_thread, p) != 0)
        status = LYNX_ERR_SYSTEM;
    if (status == LYNX_OK) {
        p->next = pump->first;
        pump->first = p;
    } else if (p->has_lane) {
        pump->ops->disconnect(pump->end, uv_hrtime(), p->lane, status, "no thread");
    }
    lx_pump_changed(pump);
    lynx_pump_unlock(pump);
    return status;
}

lynx_status lynx_pump_attach(lynx_pump *pump, lynx_link *link, uint32_t lane)
{
    pumped *p = lx_alloc(pump->memory, 1, sizeof(*p));
    LX_REQUIRE(p, LYNX_ERR_MEMORY);
    memset(p, 0, offsetof(pumped, buffer));
    p->pump = pump;
    p->link = link;
    p->lane = lane;
    p->greet_by = uv_hrtime() + pump->options.greet_ns;
    if (uv_loop_init(&p->uv) != 0) {
        free_pumped(p);
        return LYNX_ERR_SYSTEM;
    }
    lynx_status status = open_handles(p);
    if (status == LYNX_OK)
        status = start_pumped(p, pump->ops == &lx_pump_receiver);
    if (status == LYNX_OK)
        return LYNX_OK;
    uv_walk(&p->uv, close_handle, NULL);
    uv_run(&p->uv, UV_RUN_DEFAULT);
    uv_loop_close(&p->uv);
    free_pumped(p);
    return status;
}

/* ---- life ---------------------------------------------------------------------------- */

void lynx_pump_options_init(lynx_pump_options *options)
{
    *options = (lynx_pump_options){
        .struct_size = sizeof(*options),
        .greet_ns = 5000000000ull,
        .links_max = 4096,
    };
}

static lynx_status create(lynx_pump **pump, const lx_pump_ops *ops, void *end,
                          const lynx_pump_options *options)
{
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    lynx_pump *p = lx_alloc_zeroed(memory, 1, sizeof(*p));
    LX_REQUIRE(p, LYNX_ERR_MEMORY);
    p->memory = memory;
    p->ops = ops;
    p->end = end;
    p->options = *options;
    const bool has_lock = uv_mutex_init(&p->lock) == 0;
    if (!has_lock || uv_cond_init(&p->changed) != 0) {
        if (has_lock)
            uv_mutex_destroy(&p->lock);
        lx_free(memory, p, 1, sizeof(*p));
        return LYNX_ERR_SYSTEM;
    }
    *pump = p;
    return LYNX_OK;
}

lynx_status lynx_pump_create_sender(lynx_pump **pump, lynx_sender *sender,
                                    const lynx_pump_options *options)
{
    return create(pump, &lx_pump_sender, sender, options);
}

lynx_status lynx_pump_create_receiver(lynx_pump **pump, lynx_receiver *receiver,
                                      const lynx_pump_options *options)
{
    return create(pump, &lx_pump_receiver, receiver, options);
}

void lynx_pump_destroy(lynx_pump *pump, uint64_t linger)
{
    if (!pump)
        return;
    lynx_pump_lock(pump);
    pump->must_stop = true;
    pump->stop_at = uv_hrtime() + linger;
    for (pumped *p = pump->first; p; p = p->next)
        if (!p->is_ended)
            uv_async_send(&p->wake);
    for (reap(pump); pump->first; reap(pump))
        lynx_pump_wait(pump, LYNX_TIME_NEVER);
    lynx_pump_unlock(pump);
    uv_cond_destroy(&pump->changed);
    uv_mutex_destroy(&pump->lock);
    lx_free(pump->memory, pump, 1, sizeof(*pump));
}
