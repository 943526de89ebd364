/* SPDX-License-Identifier: MIT */
/*
 * remote.c - a prefill node as a decode node sees it: one session, kept connected.
 *
 *     a lane:  DOWN --dial--> DIALLED --hello--> UP --link ended--> DOWN, after a pause
 *
 * One thread dials for all lanes; the pump's threads move the bytes. Lane 0 goes first, since
 * it carries the control messages. When no lane 0 could be had for the time of patience, or the
 * peer is not one that trying again would change, the remote is given up: its requests end, and
 * so do all to come; or, if it is lasting, those that come before its lane 0 is up again.
 */
#include "runtime/remote.h"

#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/check.h"
#include "runtime/pump.h"

static const uint64_t linger_ns = 1000000000;
static const uint64_t pause_ns = 500000000; /* between two looks at what the lanes do */
static const uint64_t lasting_ns = 1000000000;

typedef struct lane_state {
    bool is_dialled; /* has a connection, or had one whose end was not taken yet */
    bool is_up;      /* the peer's hello was right */
    lynx_time_ns up_since;
    uint64_t bytes_before; /* of planes, when it came up */
    lynx_time_ns next_try;
    uint64_t pause; /* before the try after that */
} lane_state;

struct lynx_remote {
    lynx_remote_options options;
    const lynx_allocator *memory;
    lynx_receiver *receiver;
    lynx_pump *pump;
    uv_thread_t thread;
    bool has_thread;

    /* Under the pump's lock. */
    bool must_stop;
    bool is_given_up;
    lynx_time_ns given_up_at;
    bool was_connected;
    lynx_time_ns down_since; /* lane 0 */
    lane_state lanes[LYNX_LANES_MAX];
    uint64_t random; /* state of the jitter */
    lx_measure measure;
    char why[LYNX_TEXT_MAX]; /* the last that went wrong */
};

lynx_receiver *lx_remote_receiver(lynx_remote *remote)
{
    return remote->receiver;
}

lynx_pump *lx_remote_pump(lynx_remote *remote)
{
    return remote->pump;
}

lx_measure *lx_remote_measure(lynx_remote *remote)
{
    return &remote->measure;
}

lynx_status lx_random(void *bytes, size_t size)
{
    return uv_random(NULL, NULL, bytes, size, 0, NULL) == 0 ? LYNX_OK : LYNX_ERR_SYSTEM;
}

static void say(const lynx_remote *r, lynx_status status, const char *text)
{
    if (r->options.log)
        r->options.log(r->options.log_user, status, text);
}

bool lx_is_users_to_mend(lynx_status status)
{
    return status == LYNX_ERR_MODEL || status == LYNX_ERR_VERSION ||
           status == LYNX_ERR_DENIED || status == LYNX_ERR_ARGUMENT ||
           status == LYNX_ERR_UNSUPPORTED;
}

/* Would another try end in the same way? */
static bool is_final(lynx_status status)
{
    return lx_is_users_to_mend(status) || status == LYNX_ERR_PROTOCOL ||
           status == LYNX_ERR_CANCELLED;
}

/* ---- lanes: with the lock held ------------------------------------------------------- */

static void give_up(lynx_remote *r, lynx_status status, const char *text)
{
    if (r->is_given_up)
        return;
    r->is_given_up = true;
    r->given_up_at = lynx_clock_now();
    lynx_receiver_fail(r->receiver, r->given_up_at, status, text);
    lx_pump_changed(r->pump); /* the runs wait for their last events */
}

static void recover(lynx_remote *r)
{
    if (!r->is_given_up)
        return;
    r->is_given_up = false;
    lynx_receiver_recover(r->receiver);
    lx_pump_changed(r->pump);
}

static uint64_t plane_bytes(const lynx_remote *r)
{
    const lynx_session_counters counters = lynx_receiver_counters(r->receiver);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        bytes += counters.plane_bytes_received[i];
    return bytes;
}

/* A connection that ended at once and brought nothing was none: the peer may have no room for
 * us, and says so only after its hello. */
static bool was_of_use(const lynx_remote *r, const lane_state *state)
{
    return state->is_up && (lynx_clock_now() - state->up_since >= lasting_ns ||
                            plane_bytes(r) > state->bytes_before);
}

/* A lane is down: when is the next try? Jitter keeps many nodes from coming back at once. */
static void plan_try(lynx_remote *r, uint32_t lane)
{
    lane_state *state = &r->lanes[lane];
    const lynx_time_ns now = lynx_clock_now();
    if (was_of_use(r, state)) {
        state->pause = r->options.retry_least_ns;
        r->was_connected |= lane == 0;
        r->down_since = lane == 0 ? now : r->down_since;
    }
    r->random = r->random * 6364136223846793005ull + 1442695040888963407ull;
    state->next_try = now + state->pause / 2 + (r->random >> 33) % (state->pause / 2 + 1);
    state->pause = 2 * state->pause < r->options.retry_most_ns ? 2 * state->pause
                                                               : r->options.retry_most_ns;
    state->is_up = false;
    state->is_dialled = false;
}

static void on_lane_event(lynx_remote *r, const lynx_event *event)
{
    if (event->type == LYNX_EVENT_OPENED) {
        lane_state *state = &r->lanes[event->lane];
        state->is_up = true;
        state->up_since = lynx_clock_now();
        state->bytes_before = plane_bytes(r);
        if (event->lane == 0)
            recover(r);
        return;
    }
    snprintf(r->why, sizeof(r->why), "%s",
             event->text[0] ? event->text : "the prefill node ended the connection");
    if (is_final(event->status))
        give_up(r, event->status, event->text);
    plan_try(r, event->lane);
}

/* Take the lanes' events, each with its line for the log. */
static void take_events(lynx_remote *r)
{
    lynx_event event;
    while (lynx_receiver_next_event(r->receiver, 0, &event)) {
        char text[LYNX_TEXT_MAX];
        const bool is_open = event.type == LYNX_EVENT_OPENED;
        snprintf(text, sizeof(text),
                 is_open ? "connection %u to a prefill node with '%.600s'"
                         : "connection %u broke: %.600s",
                 event.lane, event.text);
        on_lane_event(r, &event);
        lynx_pump_unlock(r->pump);
        say(r, is_open ? LYNX_OK : event.status, text);
        lynx_pump_lock(r->pump);
    }
}

/* The lane that is to be dialled now, or LYNX_LANES_MAX; '*next' is when to look again. */
static uint32_t lane_to_dial(const lynx_remote *r, lynx_time_ns *next)
{
    const lynx_time_ns now = lynx_clock_now();
    *next = now + pause_ns;
    uint32_t count = r->options.session.lanes;
    if (r->is_given_up) /* lane 0 alone tells whether it is there again */
        count = r->options.is_lasting ? 1 : 0;
    for (uint32_t i = 0; i < count; i++) {
        const lane_state *state = &r->lanes[i];
        /* One that still says why it was closed is not free yet; its end wakes us. */
        if (state->is_dialled || lynx_receiver_lane_state(r->receiver, i) == LYNX_LANE_CLOSED)
            continue;
        if (now >= state->next_try)
            return i;
        *next = state->next_try < *next ? state->next_try : *next;
    }
    return LYNX_LANES_MAX;
}

static void watch_patience(lynx_remote *r)
{
    char text[LYNX_TEXT_MAX];
    const uint64_t patience =
        r->was_connected ? r->options.patience_ns : r->options.first_patience_ns;
    if (r->lanes[0].is_up || lynx_clock_now() - r->down_since < patience)
        return;
    snprintf(text, sizeof(text), "no connection to the prefill node for %.1f s: %.600s",
             (double)patience / 1e9, r->why);
    give_up(r, LYNX_ERR_CLOSED, text);
}

/* ---- the thread ---------------------------------------------------------------------- */

/* Called without the lock. */
static void dial(lynx_remote *r, uint32_t lane)
{
    lynx_link *link = NULL;
    char text[LYNX_TEXT_MAX] = "";
    lynx_status status = r->options.dial(r->options.dial_user, lane, &link, text);
    if (status == LYNX_OK) {
        status = lynx_pump_attach(r->pump, link, lane);
        if (status != LYNX_OK) {
            lynx_link_destroy(link);
            snprintf(text, sizeof(text), "%s", lynx_status_text(status));
        }
    }
    lynx_pump_lock(r->pump);
    r->lanes[lane].is_dialled |= status == LYNX_OK;
    if (status != LYNX_OK) {
        snprintf(r->why, sizeof(r->why), "%s", text);
        plan_try(r, lane);
        if (is_final(status))
            give_up(r, status, text);
    }
    lynx_pump_unlock(r->pump);
}

static void run_thread(void *user)
{
    lynx_remote *r = user;
    lynx_pump_lock(r->pump);
    while (!r->must_stop) {
        lynx_time_ns next;
        take_events(r);
        watch_patience(r);
        const uint32_t lane = lane_to_dial(r, &next);
        if (lane == LYNX_LANES_MAX) {
            lynx_pump_wait(r->pump, next);
            continue;
        }
        lynx_pump_unlock(r->pump);
        dial(r, lane);
        lynx_pump_lock(r->pump);
    }
    lynx_pump_unlock(r->pump);
}

/* ---- life ---------------------------------------------------------------------------- */

void lynx_remote_options_init(lynx_remote_options *options)
{
    *options = (lynx_remote_options){
        .struct_size = sizeof(*options),
        .first_patience_ns = 3000000000ull,
        .patience_ns = 10000000000ull,
        .retry_least_ns = 50000000ull,
        .retry_most_ns = 2000000000ull,
    };
    lynx_session_options_init(&options->session);
}

static lynx_status remote_init(lynx_remote *r)
{
    lynx_session_options session = r->options.session;
    session.memory = r->options.memory;
    LX_TRY(lx_random(session.session_id, sizeof(session.session_id)));
    LX_TRY(lx_random(&r->random, sizeof(r->random)));
    r->down_since = lynx_clock_now();
    snprintf(r->why, sizeof(r->why), "nobody answered");
    for (uint32_t i = 0; i < LYNX_LANES_MAX; i++)
        r->lanes[i].pause = r->options.retry_least_ns;
    LX_TRY(lynx_receiver_create(&r->receiver, &session, r->down_since));
    lynx_pump_options pump;
    lynx_pump_options_init(&pump);
    pump.memory = r->options.memory;
    LX_TRY(lynx_pump_create_receiver(&r->pump, r->receiver, &pump));
    r->has_thread = uv_thread_create(&r->thread, run_thread, r) == 0;
    return r->has_thread ? LYNX_OK : LYNX_ERR_SYSTEM;
}

lynx_status lynx_remote_open(lynx_remote **remote, const lynx_remote_options *options)
{
    const lynx_allocator *memory = lx_allocator_or_default(options->memory);
    LX_REQUIRE(options->struct_size >= sizeof(*options) && options->dial &&
                   options->retry_least_ns > 0 &&
                   options->retry_most_ns >= options->retry_least_ns,
               LYNX_ERR_ARGUMENT);
    lynx_remote *r = lx_alloc_zeroed(memory, 1, sizeof(*r));
    LX_REQUIRE(r, LYNX_ERR_MEMORY);
    r->memory = memory;
    r->options = *options;
    const lynx_status status = remote_init(r);
    if (status != LYNX_OK) {
        lynx_remote_close(r);
        return status;
    }
    *remote = r;
    return LYNX_OK;
}

void lynx_remote_close(lynx_remote *r)
{
    if (!r)
        return;
    if (r->pump) {
        lynx_pump_lock(r->pump);
        r->must_stop = true;
        lynx_receiver_close(r->receiver, LYNX_OK, "");
        lynx_pump_unlock(r->pump);
    }
    if (r->has_thread)
        uv_thread_join(&r->thread);
    lynx_pump_destroy(r->pump, linger_ns);
    lynx_receiver_destroy(r->receiver);
    lx_free(r->memory, r, 1, sizeof(*r));
}

lynx_session_counters lynx_remote_counters(lynx_remote *r)
{
    lynx_pump_lock(r->pump);
    const lynx_session_counters counters = lynx_receiver_counters(r->receiver);
    lynx_pump_unlock(r->pump);
    return counters;
}

void lynx_remote_status_of(lynx_remote *r, lynx_remote_status *status)
{
    lynx_pump_lock(r->pump);
    *status =
        (lynx_remote_status){.is_connected = r->lanes[0].is_up, .is_given_up = r->is_given_up};
    lx_measure_tell(&r->measure, status);
    lynx_status failure;
    const char *why = lynx_receiver_failure(r->receiver, &failure);
    if (why) {
        status->failure = failure;
        status->failed_at = r->given_up_at;
        snprintf(status->text, sizeof(status->text), "%s", why);
    }
    lynx_pump_unlock(r->pump);
}
