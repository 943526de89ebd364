/* SPDX-License-Identifier: MIT */
/* Foreign bytes against a receiver that has asked for two prompts, over one connection and
 * another that takes its place. A plane that is marked must be readable. */
#include "fuzz_session.h"

static void look_at(lynx_receiver *receiver, const lynx_event *event)
{
    lynx_bytes planes[LYNX_PLANES_MAX];
    uint32_t count = 0;
    volatile uint8_t last = 0;
    if (event->type != LYNX_EVENT_PLANE ||
        lynx_receiver_planes(receiver, event->request_id, event->page, planes, &count) !=
            LYNX_OK)
        return;
    for (uint32_t i = 0; i < count; i++)
        if (planes[i].size)
            last = planes[i].data[planes[i].size - 1];
    (void)last;
    if (event->page.page == 1)
        lynx_receiver_release_page(receiver, event->request_id, event->page);
}

static void take_events(lynx_receiver *receiver, const uint64_t ids[2])
{
    lynx_event event;
    while (lynx_receiver_next_event(receiver, 0, &event))
        continue;
    for (uint32_t i = 0; i < 2; i++)
        while (lynx_receiver_next_event(receiver, ids[i], &event))
            look_at(receiver, &event);
}

static void write_some(lynx_receiver *receiver, uint32_t lane, lynx_time_ns now)
{
    lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
    uint32_t count = 0;
    (void)!lynx_receiver_write(receiver, lane, now, parts, &count);
    if (count)
        lynx_receiver_wrote(receiver, lane, now, parts[0].size);
}

/* Bit 5 of the choice: the first one may be carried on. Bit 6: its logprobs are wanted. Bit 7,
 * without bit 5: its first two pages are held. */
static void ask(lynx_receiver *receiver, uint8_t choice, uint64_t ids[2])
{
    static const lynx_token tokens[70];
    lynx_request request = {.answer_tokens = 100, .token_count = 70, .tokens = tokens};
    lynx_sampling_init(&request.sampling);
    request.flags = choice >> 5 & 1 ? LYNX_REQUEST_CARRY_ON : 0u;
    request.wants_logprobs = choice >> 6 & 1;
    request.top_logprobs = request.wants_logprobs ? 2 : 0;
    if (lynx_codec_spec_named(&request.spec, "range") != LYNX_OK)
        abort();
    request.held_tokens = choice >> 5 == 4 || choice >> 5 == 6 ? 64 : 0;
    request.held_spec = lynx_codec_spec_storable(request.spec);
    for (uint32_t i = 0; i < 2; i++) {
        if (lynx_receiver_request(receiver, &request, &ids[i]) != LYNX_OK)
            abort();
        request.flags = LYNX_REQUEST_HOLD;
        request.wants_logprobs = false;
        request.top_logprobs = request.held_tokens = 0;
    }
}

/* The bytes in front of the cut come on lane 0, the others on it once more, or on lane 1 while
 * lane 0 is there as well. */
static uint32_t next_lane(lynx_receiver *receiver, uint8_t choice, lynx_time_ns now)
{
    const uint32_t lane = choice >> 4 & 1;
    if (lane == 0)
        lynx_receiver_disconnect(receiver, now, 0, LYNX_ERR_CLOSED, "cut");
    if (lynx_receiver_connect(receiver, now, lane) != LYNX_OK)
        abort();
    return lane;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size <= FUZZ_HEAD_BYTES)
        return 0;
    lynx_layer_shape layers[2];
    lynx_model model;
    lynx_session_options options;
    lynx_receiver *receiver = NULL;
    uint64_t ids[2];
    uint8_t *data = fuzz_input(input, size);
    const size_t bytes = size - FUZZ_HEAD_BYTES, cut = fuzz_cut(input, bytes);
    uint32_t lane = 0;
    fuzz_options(&options, &model, layers);
    options.lanes = 2;
    options.pool_bytes[0] = options.pool_bytes[1] = 100000;
    if (lynx_receiver_create(&receiver, &options, 1) != LYNX_OK ||
        lynx_receiver_connect(receiver, 1, 0) != LYNX_OK)
        abort();
    ask(receiver, input[0], ids);
    for (size_t at = 0; at < bytes;) {
        const size_t end = at < cut ? cut : bytes;
        const size_t piece = fuzz_piece(end - at, input[0], at);
        if (at == cut)
            lane = next_lane(receiver, input[0], at + 2);
        (void)!lynx_receiver_read(receiver, lane, at + 2, data + at, piece);
        at += piece;
        take_events(receiver, ids);
        if ((input[0] & 2) && at > bytes / 2)
            (void)!lynx_receiver_end(receiver, ids[0]);
        write_some(receiver, lane, at + 2 + 3000000 * (at & 1));
    }
    lynx_receiver_destroy(receiver);
    free(data);
    return 0;
}
