/* SPDX-License-Identifier: MIT */
/* bench_transfer_lynx.c - the two ends with sender, receiver and pump. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench_transfer.h"
#include "cli.h"

/* Pages of one prompt: enough for a minute of any link, and for every anchor a page. */
enum {
    LAYERS = 128,
    PAGE_TOKENS = 256,
    PAGES = 64,
    ANCHORS_FROM =
        LAYERS * PAGES * 2 - TRANSFER_SAMPLES_MAX, /* pages behind have no residual */
    QUEUED_PLANES = 24
};
static const uint64_t look_ns = 2000000;

/* ---- what both have ------------------------------------------------------------------ */

typedef struct shapes {
    lynx_layer_shape layers[LAYERS];
    lynx_model model;
} shapes;

/* Channels so many that a residual of four bits for each value has the wanted size. */
static void make_shapes(shapes *s, uint32_t page_bytes)
{
    const uint32_t channels = page_bytes * 2 / PAGE_TOKENS;
    for (uint32_t i = 0; i < LAYERS; i++)
        s->layers[i] =
            (lynx_layer_shape){.sides = {{.channels = channels, .head_channels = channels},
                                         {.channels = channels, .head_channels = channels}}};
    s->model = (lynx_model){
        .shape = {LAYERS, PAGE_TOKENS, LYNX_ELEMENT_F16, s->layers},
        .name = "bench",
    };
}

static lynx_page_id page_at(uint32_t index)
{
    return (lynx_page_id){index % PAGES, (uint16_t)(index / 2 / PAGES), index / PAGES % 2};
}

static lynx_session_options options_of(const shapes *s)
{
    lynx_session_options options;
    lynx_session_options_init(&options);
    options.model = &s->model;
    options.session_id[0] = 1;
    return options;
}

/* Wrap a socket as the case says; the link is taken in any case. */
static lynx_status wrap(const transfer_case *task, lynx_link **link, int side)
{
    lynx_link *outer = NULL;
    lynx_status status = LYNX_OK;
    if (task->is_paced) {
        lynx_pacer_options pacer;
        lynx_pacer_options_init(&pacer);
        pacer.rate_bits_per_s = side == 0 ? (uint64_t)(task->link_mbps * 1e6) : 0;
        pacer.delay_ns = (uint64_t)(task->rtt_ms * 1e6 / 2);
        status = lynx_link_paced(&outer, *link, &pacer, NULL);
    } else if (task->credentials) {
        lynx_tls_options tls;
        lynx_tls_options_init(&tls);
        tls.role = side == 0 ? LYNX_TLS_SERVER : LYNX_TLS_CLIENT;
        status = lynx_link_tls(&outer, *link, task->credentials, &tls, NULL);
    }
    if (status != LYNX_OK)
        lynx_link_destroy(*link);
    else if (outer)
        *link = outer;
    return status;
}

static lynx_tcp_options tcp_of(const transfer_case *task)
{
    lynx_tcp_options tcp;
    lynx_tcp_options_init(&tcp);
    tcp.congestion = task->congestion;
    return tcp;
}

/* ---- the sending process ------------------------------------------------------------- */

typedef struct source {
    transfer_state *state;
    lynx_sender *sender;
    lynx_pump *pump;
    transfer_plan plan;
    uint64_t request; /* 0: none yet */
    uint8_t *residual;
    uint8_t *spares[QUEUED_PLANES]; /* memory of anchors that were sent */
    uint32_t spare_count;
    uint32_t next_residual, next_anchor, queued;
    bool has_failed;
} source;

static void keep_anchor(void *user, uint8_t *data, size_t size)
{
    source *s = user;
    (void)size;
    if (s->spare_count < QUEUED_PLANES)
        s->spares[s->spare_count++] = data;
    else
        free(data);
}

static void count_residual(void *user, uint8_t *data, size_t size)
{
    source *s = user;
    (void)data;
    (void)size;
    s->queued--;
}

static void add_anchor(source *s)
{
    const size_t size = s->state->task.page_bytes;
    uint8_t *data = s->spare_count ? s->spares[--s->spare_count] : calloc(1, size);
    if (!data)
        return;
    const lynx_time_ns now = lynx_clock_now();
    memcpy(data, &now, sizeof(now));
    const lynx_status status =
        lynx_sender_plane(s->sender, now, s->request, page_at(ANCHORS_FROM + s->next_anchor++),
                          0, data, size, keep_anchor, s);
    s->has_failed |= status != LYNX_OK;
    if (status != LYNX_OK)
        free(data);
}

static void add_residuals(source *s)
{
    const size_t size = s->state->task.page_bytes;
    while (s->queued < QUEUED_PLANES && s->next_residual < ANCHORS_FROM) {
        const lynx_status status = lynx_sender_plane(s->sender, lynx_clock_now(), s->request,
                                                     page_at(s->next_residual++), 1,
                                                     s->residual, size, count_residual, s);
        s->has_failed |= status != LYNX_OK;
        if (status != LYNX_OK)
            return;
        s->queued++;
    }
}

static void take_events(source *s)
{
    lynx_event event;
    while (lynx_sender_next_event(s->sender, &event)) {
        if (event.type == LYNX_EVENT_CLOSED && event.status != LYNX_OK)
            s->has_failed = !transfer_fail(s->state, 0, "connection", event.text);
        if (event.type != LYNX_EVENT_REQUEST)
            continue;
        s->request = event.request_id;
        s->has_failed |= lynx_sender_accept(s->sender, s->request, 0) != LYNX_OK;
        transfer_plan_start(&s->plan, s->state);
    }
}

static lynx_time_ns earlier(lynx_time_ns a, lynx_time_ns b)
{
    return a < b ? a : b;
}

/* With the lock held. */
static bool feed(source *s)
{
    const transfer_case *task = &s->state->task;
    /* Idle processes are looked at seldom, so that what is measured is theirs. */
    const uint64_t rest_ns = task->is_idle ? 100 * look_ns : look_ns;
    take_events(s);
    const lynx_time_ns now = lynx_clock_now();
    if (s->request) {
        if (transfer_plan_takes_anchor(&s->plan, s->state, now))
            add_anchor(s);
        if (!task->is_idle)
            add_residuals(s);
        if (transfer_plan_look(&s->plan, s->state, now))
            return false;
        lynx_pump_wait(s->pump, earlier(s->plan.next_anchor, now + rest_ns));
    } else {
        lynx_pump_wait(s->pump, now + rest_ns);
    }
    return !s->has_failed;
}

static lynx_status accept_link(source *s, char *text)
{
    const transfer_case *task = &s->state->task;
    const lynx_tcp_options tcp = tcp_of(task);
    int listener;
    uint16_t port = 0;
    char address[64];
    lynx_link *link = NULL;
    transfer_address(s->state, address);
    lynx_status status = lynx_tcp_listen(address, &listener, &port, text, LYNX_TEXT_MAX);
    if (status != LYNX_OK)
        return status;
    atomic_store(&s->state->port, port);
    status = lynx_tcp_accept(listener, 10000000000ull, &tcp, &link, text, LYNX_TEXT_MAX, NULL);
    if (status == LYNX_OK)
        status = wrap(task, &link, 0);
    if (status == LYNX_OK)
        status = lynx_pump_attach(s->pump, link, 0);
    return status;
}

bool transfer_lynx_send(transfer_state *state)
{
    static shapes s;
    char text[LYNX_TEXT_MAX] = "";
    source from = {.state = state, .residual = calloc(1, state->task.page_bytes)};
    lynx_pump_options pump;
    make_shapes(&s, state->task.page_bytes);
    const lynx_session_options options = options_of(&s);
    lynx_pump_options_init(&pump);
    if (!from.residual ||
        lynx_sender_create(&from.sender, &options, lynx_clock_now()) != LYNX_OK ||
        lynx_pump_create_sender(&from.pump, from.sender, &pump) != LYNX_OK)
        return transfer_fail(state, 0, "sender", "no memory");
    if (accept_link(&from, text) != LYNX_OK)
        return transfer_fail(state, 0, "sender", text);
    lynx_pump_lock(from.pump);
    while (feed(&from))
        ;
    lynx_pump_unlock(from.pump);
    /* The process ends: nothing is given back. The other one may have ended before. */
    return !from.has_failed || atomic_load(&state->is_over);
}

/* ---- the receiving process ----------------------------------------------------------- */

typedef struct target {
    transfer_state *state;
    lynx_receiver *receiver;
    lynx_pump *pump;
    transfer_meter meter;
    uint64_t request;
    bool has_failed;
} target;

static lynx_status ask(target *t)
{
    static lynx_token tokens[PAGES * PAGE_TOKENS];
    lynx_request request = {.answer_tokens = 1,
                            .token_count = PAGES * PAGE_TOKENS,
                            .tokens = tokens};
    lynx_sampling_init(&request.sampling);
    const lynx_status status = lynx_codec_spec_named(&request.spec, "range:k=4+4,v=4+4");
    return status == LYNX_OK ? lynx_receiver_request(t->receiver, &request, &t->request)
                             : status;
}

static void take_plane(target *t, const lynx_event *event)
{
    lynx_bytes planes[LYNX_PLANES_MAX];
    uint32_t count;
    if (event->plane == 0 &&
        lynx_receiver_planes(t->receiver, t->request, event->page, planes, &count) == LYNX_OK)
        transfer_note_anchor(t->state, planes[0].data);
    atomic_fetch_add(&t->state->bytes, t->state->task.page_bytes);
    lynx_receiver_release_page(t->receiver, t->request, event->page);
}

/* With the lock held. */
static bool drain(target *t)
{
    const uint64_t rest_ns = t->state->task.is_idle ? 100 * look_ns : look_ns;
    lynx_event event;
    while (lynx_receiver_next_event(t->receiver, t->request, &event)) {
        if (event.type == LYNX_EVENT_PLANE)
            take_plane(t, &event);
        if (event.type == LYNX_EVENT_REFUSE)
            t->has_failed = !transfer_fail(t->state, 1, "request", event.text);
    }
    while (lynx_receiver_next_event(t->receiver, 0, &event))
        if (event.type == LYNX_EVENT_CLOSED)
            t->has_failed = !transfer_fail(t->state, 1, "connection", event.text);
    if (t->has_failed || transfer_meter_look(&t->meter, t->state))
        return false;
    lynx_pump_wait(t->pump, lynx_clock_now() + rest_ns);
    return true;
}

static lynx_status connect_link(target *t, char *text)
{
    const struct timespec pause = {0, 2000000};
    const lynx_tcp_options tcp = tcp_of(&t->state->task);
    char address[64];
    lynx_link *link = NULL;
    while (atomic_load(&t->state->port) == 0)
        nanosleep(&pause, NULL);
    transfer_address(t->state, address);
    lynx_status status =
        lynx_tcp_connect(address, 5000000000ull, &tcp, &link, text, LYNX_TEXT_MAX, NULL);
    if (status == LYNX_OK)
        status = wrap(&t->state->task, &link, 1);
    if (status == LYNX_OK)
        status = lynx_pump_attach(t->pump, link, 0);
    return status;
}

bool transfer_lynx_receive(transfer_state *state)
{
    static shapes s;
    char text[LYNX_TEXT_MAX] = "";
    target to = {.state = state};
    lynx_pump_options pump;
    make_shapes(&s, state->task.page_bytes);
    const lynx_session_options options = options_of(&s);
    lynx_pump_options_init(&pump);
    if (lynx_receiver_create(&to.receiver, &options, lynx_clock_now()) != LYNX_OK ||
        lynx_pump_create_receiver(&to.pump, to.receiver, &pump) != LYNX_OK ||
        ask(&to) != LYNX_OK)
        return transfer_fail(state, 1, "receiver", "no memory");
    if (connect_link(&to, text) != LYNX_OK)
        return transfer_fail(state, 1, "receiver", text);
    lynx_pump_lock(to.pump);
    while (drain(&to))
        ;
    lynx_pump_unlock(to.pump);
    return !to.has_failed;
}
