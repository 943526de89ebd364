/* SPDX-License-Identifier: MIT */
/* lynx - the command line: one table of subcommands. */
#include <stdio.h>
#include <string.h>

#include "commands.h"

static int command_bench(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "codec") == 0)
        return lx_bench_codec(argc - 1, argv + 1);
    fputs("Usage: lynx bench codec [options]; see 'lynx bench codec --help'\n", stderr);
    return 2;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"run", lx_command_run, "answer one prompt, with the cache from a prefill node"},
    {"demo", lx_command_demo, "measure every way to move a cache, side by side"},
    {"eval", lx_command_eval, "tell what a codec costs: KL, top-1, accepted drafts"},
    {"bench", command_bench, "measure speed (codec)"},
    {"inspect", lx_command_inspect, "put a recorded exchange in words"},
    {"requantize", lx_command_requantize, "write a GGUF in another weight type"},
};

static void put_help(FILE *stream)
{
    fputs("Usage: lynx COMMAND [options]\n\n", stream);
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        fprintf(stream, "  %-11s %s\n", commands[i].name, commands[i].summary);
    fputs("\n'lynx COMMAND --help' explains a command, with an example.\n", stream);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc >= 2 && i < sizeof(commands) / sizeof(*commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        put_help(stdout);
        return 0;
    }
    if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
        puts("lynx " LYNX_VERSION);
        return 0;
    }
    if (argc >= 2)
        fprintf(stderr, "lynx: unknown command '%s'\n\n", argv[1]);
    put_help(stderr);
    return 2;
}
