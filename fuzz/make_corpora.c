/* SPDX-License-Identifier: MIT */
/*
 * make_corpora.c - write the seed inputs of the session targets: the bytes of one small
 * exchange, in both directions, with each way of cutting. Run in the root of the repository,
 * linked as a test:
 *
 *     cc -Iinclude -Isrc -Itests fuzz/make_corpora.c tests/support/{rng,failing_allocator,
 *        session_pair}.c <library> && ./a.out fuzz/corpora
 */
#include <stdio.h>

#include "support/session_pair.h"

static int write_input(const char *root, const char *target, uint8_t choice,
                       const test_pipe *pipe)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s/exchange-%u", root, target, choice);
    FILE *file = fopen(path, "wb");
    if (!file) {
        perror(path);
        return 1;
    }
    fputc(choice, file);
    fwrite(pipe->data, 1, pipe->end, file);
    return fclose(file) != 0;
}

int main(int argc, char **argv)
{
    static test_pair pair;
    const uint8_t choices[] = {0, 1, 3, 5, 9};
    const lynx_request request = test_pair_request(70);
    uint64_t id;
    int failed = argc != 2;
    test_pair_init(&pair, 3);
    pair.has_small_planes = true;
    pair.down.keeps = true;
    pair.up.keeps = true;
    if (failed || test_pair_create(&pair) != LYNX_OK ||
        lynx_receiver_request(pair.receiver, &request, &id) != LYNX_OK)
        return 1;
    test_pair_run(&pair, 100000);
    for (size_t i = 0; i < sizeof(choices); i++) {
        failed |= write_input(argv[1], "fuzz_receiver_read", choices[i], &pair.down);
        failed |= write_input(argv[1], "fuzz_sender_read", choices[i], &pair.up);
    }
    test_pair_destroy(&pair);
    return failed;
}
