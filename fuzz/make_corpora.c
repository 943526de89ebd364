/* SPDX-License-Identifier: MIT */
/*
 * make_corpora.c - write the seed inputs of the session targets: the bytes of one small
 * exchange, whole and cut in the middle and resumed, in both directions, with each way of
 * cutting it in pieces; and random sequences of calls for the pair. Run with the folder of the
 * corpora:
 *
 *     build/tests/make_corpora fuzz/corpora
 */
#include <stdio.h>
#include <string.h>

#include "support/session_pair.h"

static FILE *open_input(const char *root, const char *target, const char *name, uint32_t number)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s/%s-%u", root, target, name, number);
    FILE *file = fopen(path, "wb");
    if (!file)
        perror(path);
    return file;
}

/* What both connections carried one way. */
static int write_input(const char *root, const char *target, const char *name, uint8_t choice,
                       const test_pipe *first, const test_pipe *next)
{
    FILE *file = open_input(root, target, name, choice);
    if (!file)
        return 1;
    fputc(choice, file);
    fputc((int)(first->end & 255), file);
    fputc((int)(first->end >> 8 & 255), file);
    fwrite(first->data, 1, first->end, file);
    if (next->end)
        fwrite(next->data, 1, next->end, file);
    return fclose(file) != 0;
}

/* An exchange that is cut after 'turns'. */
static int write_exchange(const char *root, const char *name, uint32_t turns, uint32_t flags,
                          bool has_options, uint32_t held_tokens)
{
    static const uint8_t choices[] = {0, 1, 3, 5, 9, 17};
    static const lynx_bias biases[2] = {{1, -100}, {9, 3}};
    static test_pair pair;
    uint32_t index;
    int failed = 0;
    lynx_request request = test_pair_held_request(70, held_tokens);
    const bool carries_on = flags & LYNX_REQUEST_CARRY_ON;
    test_pair_init(&pair, 3);
    pair.has_small_planes = pair.starts = pair.reconnects = true;
    pair.is_plain = false;
    request.flags = flags;
    request.answer_tokens = carries_on ? 100 : 1; /* not all of them will come */
    if (has_options) {
        request.wants_logprobs = true;
        request.top_logprobs = 2;
        request.sampling.biases = biases;
        request.sampling.bias_count = 2;
        request.sampling.allowed = (const uint8_t *)"\xFF\x01";
        request.sampling.allowed_bytes = 2;
    }
    for (uint32_t i = 0; i < 2; i++)
        pair.connections[i].down.keeps = pair.connections[i].up.keeps = true;
    if (test_pair_create(&pair) != LYNX_OK ||
        test_pair_ask(&pair, 0, &request, &index) != LYNX_OK)
        return 1;
    for (uint32_t i = 0; i < turns; i++)
        test_pair_turn(&pair);
    /* The first place is kept as it is: the second connection must not take it. */
    test_connection *first = &pair.connections[0], *next = &pair.connections[1];
    if (turns) {
        const test_connection was = *first;
        test_pair_cut(&pair, 0, 0);
        first->at_sender = true;
        failed |= test_pair_connect(&pair, 0, 0) != LYNX_OK;
        first->at_sender = false;
        first->down.end = was.down.end;
    }
    test_pair_run(&pair, 100000);
    const uint8_t asked =
        (uint8_t)((carries_on ? 32 : 0) | (has_options ? 64 : 0) | (held_tokens ? 128 : 0));
    for (size_t i = 0; i < sizeof(choices) / sizeof(*choices); i++) {
        failed |= write_input(root, "fuzz_receiver_read", name, choices[i] | asked,
                              &first->down, &next->down);
        failed |=
            write_input(root, "fuzz_sender_read", name, choices[i], &first->up, &next->up);
    }
    test_pair_destroy(&pair);
    return failed;
}

static int write_calls(const char *root, uint32_t number)
{
    test_rng rng = test_rng_of(number);
    uint8_t calls[120];
    FILE *file = open_input(root, "fuzz_pair", "calls", number);
    if (!file)
        return 1;
    test_rng_fill(&rng, calls, sizeof(calls));
    calls[1] = 4 | (uint8_t)(number << 3); /* ask first, so that there is something to cut */
    for (uint32_t i = 2; i < sizeof(calls); i += 2)
        calls[i] |= 7; /* turns */
    fwrite(calls, 1, sizeof(calls), file);
    return fclose(file) != 0;
}

int main(int argc, char **argv)
{
    int failed = argc != 2;
    if (failed)
        return 1;
    failed |= write_exchange(argv[1], "exchange", 0, 0, false, 0);
    failed |= write_exchange(argv[1], "resumed", 900, LYNX_REQUEST_HOLD, false, 0);
    failed |= write_exchange(argv[1], "carried", 0, LYNX_REQUEST_CARRY_ON, false, 0);
    failed |= write_exchange(argv[1], "carried-resumed", 900, LYNX_REQUEST_CARRY_ON, false, 0);
    failed |= write_exchange(argv[1], "options", 0, 0, true, 0);
    failed |= write_exchange(argv[1], "options-resumed", 900, 0, true, 0);
    failed |= write_exchange(argv[1], "held", 0, 0, false, 64);
    failed |= write_exchange(argv[1], "held-resumed", 900, 0, false, 64);
    for (uint32_t i = 0; i < 12; i++)
        failed |= write_calls(argv[1], i);
    return failed;
}
