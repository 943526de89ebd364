/* SPDX-License-Identifier: MIT */
/*
 * Foreign bytes against a receiver that has asked for two prompts. The first byte is as in
 * fuzz_sender_read. A plane that is marked must be readable.
 */
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
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 2)
        return 0;
    static const lynx_token tokens[70];
    lynx_layer_shape layers[2];
    lynx_model model;
    lynx_session_options options;
    lynx_receiver *receiver = NULL;
    lynx_event event;
    uint64_t ids[2];
    lynx_request request = {.answer_tokens = 3, .token_count = 70, .tokens = tokens};
    uint8_t *data = fuzz_input(input + 1, size - 1, input[0] & 1);
    fuzz_options(&options, &model, layers);
    lynx_sampling_init(&request.sampling);
    if (lynx_codec_spec_named(&request.spec, "range") != LYNX_OK ||
        lynx_receiver_create(&receiver, &options, 0) != LYNX_OK)
        abort();
    for (uint32_t i = 0; i < 2; i++) {
        if (lynx_receiver_request(receiver, &request, &ids[i]) != LYNX_OK)
            abort();
        request.flags = LYNX_REQUEST_HOLD;
    }
    for (size_t at = 0; at < size - 1;) {
        const size_t piece = fuzz_piece(size - 1 - at, input[0], at);
        (void)!lynx_receiver_read(receiver, at, data + at, piece);
        at += piece;
        while (lynx_receiver_next_event(receiver, &event))
            look_at(receiver, &event);
        if ((input[0] & 2) && at > size / 2)
            (void)!lynx_receiver_cancel(receiver, ids[0]);
        lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
        uint32_t count = 0;
        (void)!lynx_receiver_write(receiver, at, parts, &count);
        if (count)
            lynx_receiver_wrote(receiver, at, parts[0].size);
    }
    lynx_receiver_destroy(receiver);
    free(data);
    return 0;
}
