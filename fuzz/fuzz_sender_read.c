/* SPDX-License-Identifier: MIT */
/*
 * Foreign bytes against a sender. The first byte seeds what the owner does between pieces.
 * Frames of the input whose digests are wrong are mended when bit 0 of it is set, so that the
 * fuzzer reaches what lies behind them.
 */
#include "fuzz_session.h"

static void on_release(void *user, uint8_t *data, size_t size)
{
    (void)size;
    ++*(uint32_t *)user;
    free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 2)
        return 0;
    lynx_layer_shape layers[2];
    lynx_model model;
    lynx_session_options options;
    lynx_sender *sender = NULL;
    lynx_event event;
    uint32_t added = 0, released = 0;
    uint8_t *data = fuzz_input(input + 1, size - 1, input[0] & 1);
    fuzz_options(&options, &model, layers);
    if (lynx_sender_create(&sender, &options, 0) != LYNX_OK)
        abort();
    for (size_t at = 0; at < size - 1;) {
        const size_t piece = fuzz_piece(size - 1 - at, input[0], at);
        (void)!lynx_sender_read(sender, at, data + at, piece);
        at += piece;
        while (lynx_sender_next_event(sender, &event)) {
            if (event.type != LYNX_EVENT_REQUEST)
                continue;
            (void)!lynx_sender_accept(sender, event.request_id);
            uint8_t *plane = malloc(16);
            if (!plane)
                abort();
            memset(plane, 7, 16);
            if (lynx_sender_plane(sender, event.request_id, (lynx_page_id){0, 0, 0}, 0, plane,
                                  16, on_release, &released) == LYNX_OK)
                added++;
            else
                free(plane);
        }
        lynx_bytes parts[LYNX_SESSION_PARTS_MAX];
        uint32_t count = 0;
        (void)!lynx_sender_write(sender, at, parts, &count);
        if (count)
            lynx_sender_wrote(sender, at, parts[0].size);
    }
    lynx_sender_destroy(sender);
    if (added != released)
        abort();
    free(data);
    return 0;
}
