/* SPDX-License-Identifier: MIT */
/* Foreign bytes against a sender, over one connection and another that takes its place. The
 * owner accepts, leaves out what is held, adds a page and a token, and gives up requests
 * half-way when bit 1 is set. */
#include "fuzz_session.h"

typedef struct owner {
    lynx_sender *sender;
    uint32_t added, released;
    uint64_t last_request;
} owner;

static void on_release(void *user, uint8_t *data, size_t size)
{
    (void)size;
    ++*(uint32_t *)user;
    free(data);
}

static void on_request(owner *o, const lynx_event *event, lynx_time_ns now)
{
    const uint32_t held = event->request->held_tokens;
    const lynx_page_id page = {event->request->token_count > 64 ? 2 : 0, 0, 0};
    o->last_request = event->request_id;
    (void)!lynx_sender_accept(o->sender, event->request_id, held);
    for (uint32_t plane = 0; plane < 2; plane++) {
        uint8_t *data = malloc(16);
        if (!data)
            abort();
        memset(data, 7, 16);
        if (lynx_sender_plane(o->sender, now, event->request_id, page, plane, data, 16,
                              on_release, &o->released) == LYNX_OK)
            o->added++;
        else
            free(data);
    }
    static const lynx_logprobs told = {.logprob = -1, .top_count = 1, .top = {{3, -1}}};
    (void)!lynx_sender_token(o->sender, event->request_id, event->request->tokens[0],
                             event->request->wants_logprobs ? &told : NULL);
}

static void take_events(owner *o, lynx_time_ns now)
{
    lynx_event event;
    while (lynx_sender_next_event(o->sender, &event))
        if (event.type == LYNX_EVENT_REQUEST)
            on_request(o, &event, now);
}

static void write_some(owner *o, uint32_t lane, lynx_time_ns now)
{
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count = 0;
    (void)!lynx_sender_write(o->sender, lane, now, parts, &count);
    for (uint32_t i = 0; i < count; i++) /* both are there to be read */
        if (parts[i].data[0] + parts[i].data[parts[i].size - 1] > 510)
            continue;
    if (count)
        lynx_sender_wrote(o->sender, lane, now,
                          parts[0].size + (count > 1 ? parts[1].size : 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size <= FUZZ_HEAD_BYTES)
        return 0;
    lynx_layer_shape layers[2];
    lynx_model model;
    lynx_session_options options;
    owner o = {0};
    uint32_t lanes[2];
    uint8_t *data = fuzz_input(input, size);
    const size_t bytes = size - FUZZ_HEAD_BYTES, cut = fuzz_cut(input, bytes);
    uint32_t now_lane = 0;
    fuzz_options(&options, &model, layers);
    if (lynx_sender_create(&o.sender, &options, 1) != LYNX_OK ||
        lynx_sender_connect(o.sender, 1, NULL, &lanes[0]) != LYNX_OK ||
        lynx_sender_connect(o.sender, 1, NULL, &lanes[1]) != LYNX_OK)
        abort();
    for (size_t at = 0; at < bytes;) {
        const size_t end = at < cut ? cut : bytes;
        now_lane = at >= cut;
        const size_t piece = fuzz_piece(end - at, input[0], at);
        (void)!lynx_sender_read(o.sender, lanes[now_lane], at + 2, data + at, piece);
        at += piece;
        take_events(&o, at + 2);
        write_some(&o, lanes[0], at + 2);
        write_some(&o, lanes[1], at + 2);
        if ((input[0] & 2) && at > bytes / 2)
            (void)!lynx_sender_refuse(o.sender, o.last_request, LYNX_ERR_ENGINE, "half-way");
        if (at >= cut && at < cut + 61) /* the old connection goes some time later */
            lynx_sender_disconnect(o.sender, at + 2, lanes[0], LYNX_ERR_CLOSED, "cut");
    }
    lynx_sender_destroy(o.sender);
    if (o.added != o.released)
        abort();
    free(data);
    return 0;
}
