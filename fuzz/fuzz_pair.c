/* SPDX-License-Identifier: MIT */
/*
 * A whole pair under a sequence of calls: each byte of the input is one of cuts, connections,
 * requests, ends, garbage, time. Whatever it was, all requests end, what arrived is right, and
 * nothing leaks.
 *
 *     bits 0 to 2: what, bits 3 to 7: with which lane, how long, how often
 */
#include <stdlib.h>
#include <string.h>

#include "support/session_pair.h"

enum { CUT, CUT_SENDER, CUT_RECEIVER, CONNECT, ASK, CALL, GARBAGE, TURNS };

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void ask(test_pair *pair, uint32_t choice)
{
    uint32_t index;
    lynx_request request = test_pair_request(1 + 3 * choice);
    request.flags = (choice & 1 ? LYNX_REQUEST_HOLD : 0u) |
                    (choice == 6 ? LYNX_REQUEST_NO_PAGES : 0u) |
                    (choice % 8 == 4 ? LYNX_REQUEST_CARRY_ON : 0u);
    request.answer_tokens = 1 + choice % 3;
    if (request.token_count > 32 && choice % 3 == 2 &&
        !(request.flags & LYNX_REQUEST_CARRY_ON)) {
        request.held_tokens = 32;
        request.held_spec = lynx_codec_spec_storable(request.spec);
    }
    if (pair->request_count < 6)
        (void)!test_pair_ask(pair, 0, &request, &index);
}

static void call(test_pair *pair, uint32_t choice)
{
    if (pair->request_count == 0)
        return;
    test_request *request = &pair->requests[choice % pair->request_count];
    lynx_receiver *receiver = pair->peers[0].receiver;
    if (choice & 8)
        request->is_ended |= lynx_receiver_end(receiver, request->id) == LYNX_OK;
    else if (choice & 16)
        test_pair_refuse(pair, request, LYNX_ERR_ENGINE, "refused");
    else
        request->is_started |= lynx_receiver_start(receiver, request->id) == LYNX_OK;
}

/* The next bytes of the input come instead of the peer's. */
static size_t garbage(test_pair *pair, uint32_t choice, const uint8_t *input, size_t size)
{
    const size_t most = 1 + (choice >> 2);
    const size_t count = most < size ? most : size;
    test_connection *c = test_pair_connection(pair, 0, choice & 1);
    if (!c || count == 0)
        return 0;
    if ((choice & 2) && c->at_sender)
        (void)!lynx_sender_read(pair->sender, c->sender_lane, pair->now, input, count);
    if (!(choice & 2))
        (void)!lynx_receiver_read(pair->peers[0].receiver, c->lane, pair->now, input, count);
    c->sender_ready = c->receiver_ready = true;
    test_pair_events(pair);
    return count;
}

static size_t step(test_pair *pair, const uint8_t *input, size_t size)
{
    const uint32_t choice = input[0] >> 3, lane = choice & 1;
    switch (input[0] & 7) {
    case CUT:
        test_pair_cut(pair, 0, lane);
        break;
    case CUT_SENDER:
        test_pair_cut_sender(pair, 0, lane);
        break;
    case CUT_RECEIVER:
        test_pair_cut_receiver(pair, 0, lane, 50000 * choice);
        break;
    case CONNECT:
        if (!test_pair_connection(pair, 0, lane))
            (void)!test_pair_connect(pair, 0, lane);
        break;
    case ASK:
        ask(pair, choice);
        break;
    case CALL:
        call(pair, choice);
        break;
    case GARBAGE:
        return 1 + garbage(pair, choice, input + 1, size - 1);
    default:
        for (uint32_t i = 0; i < choice + 1; i++)
            if (!test_pair_turn(pair))
                pair->now += 1000000 * choice * choice;
    }
    return 1;
}

static void finish(test_pair *pair)
{
    pair->reconnects = pair->ends = pair->starts = true;
    require(test_pair_complete(pair, 3600000000000u));
    require(pair->content_errors == 0 && pair->order_errors == 0);
    require(test_pair_wrong_planes(pair) == 0);
    const lynx_session_counters counters = lynx_sender_counters(pair->sender);
    require(counters.queued_bytes == 0 &&
            counters.resent_bytes <= counters.unacknowledged_bytes);
    test_pair_destroy(pair);
    for (uint32_t i = 0; i < pair->plane_count; i++)
        require(pair->planes[i].releases == pair->planes[i].adds);
    require(pair->memory.live_bytes == 0 && pair->peers[0].memory.live_bytes == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static test_pair pair;
    if (size < 2 || size > 400)
        return 0;
    test_pair_init(&pair, input[0]);
    pair.is_plain = false;
    pair.has_small_planes = true;
    pair.piece_top = input[0] & 1 ? 60 : 3000;
    pair.peers[0].options.lanes = 2;
    pair.peers[0].options.pool_bytes[0] = 400;
    pair.is_in_order = pair.releases_pages = true;
    pair.refuses_held = input[0] & 2;
    if (test_pair_create(&pair) != LYNX_OK)
        abort();
    for (size_t at = 1; at < size;)
        at += step(&pair, input + at, size - at);
    finish(&pair);
    return 0;
}
