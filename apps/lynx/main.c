/* SPDX-License-Identifier: MIT */
/* lynx - the command line: one table of subcommands. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "commands.h"

static const char bench_help[] =
    "Usage: lynx bench codec|e2e|engine|guess|link [options]\n"
    "\n"
    "  codec   time encoding and decoding of pages\n"
    "  e2e     time every way to get an answer over a grid of links and prompts\n"
    "  engine  time several slots that decode at the same time\n"
    "  guess   time answers with and without guesses beside strict steps\n"
    "  link    time late anchors, throughput and idleness of a transfer\n"
    "\n"
    "Example:\n"
    "  lynx bench codec --profile range\n"
    "\n"
    "'lynx bench codec --help' explains the options.\n";

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static const char bench_names[] = "there are 'codec', 'e2e', 'engine', 'guess' and 'link'";

static int command_bench(int argc, char **argv)
{
    if (argc < 2)
        return cli_usage("lynx bench", "no benchmark; %s", bench_names);
    if (strcmp(argv[1], "codec") == 0)
        return lx_bench_codec(argc - 1, argv + 1);
    if (strcmp(argv[1], "e2e") == 0)
        return lx_bench_e2e(argc - 1, argv + 1);
    if (strcmp(argv[1], "engine") == 0)
        return lx_bench_engine(argc - 1, argv + 1);
    if (strcmp(argv[1], "guess") == 0)
        return lx_bench_guess(argc - 1, argv + 1);
    if (strcmp(argv[1], "link") == 0)
        return lx_bench_link(argc - 1, argv + 1);
    if (!is_help(argv[1]))
        return cli_usage("lynx bench", "unknown benchmark '%s'; %s", argv[1], bench_names);
    fputs(bench_help, stdout);
    return CLI_OK;
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"run", lx_command_run, "answer one prompt, with the cache from a prefill node"},
    {"cache", lx_command_cache, "keep caches of documents, list, check and remove them"},
    {"demo", lx_command_demo, "measure every way to move a cache, side by side"},
    {"eval", lx_command_eval, "tell what a codec costs: KL, top-1, accepted drafts"},
    {"bench", command_bench, "measure speed (codec, e2e, engine, link)"},
    {"plan", lx_command_plan, "tell what each way to get an answer would take, and why"},
    {"inspect", lx_command_inspect, "put a recorded exchange in words"},
    {"keys", lx_command_keys, "make and renew the keys by which nodes know each other"},
    {"requantize", lx_command_requantize, "write a GGUF in another weight type"},
};

static void put_help(FILE *stream)
{
    fputs("Usage: lynx COMMAND [options]\n\n", stream);
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        fprintf(stream, "  %-11s %s\n", commands[i].name, commands[i].summary);
    fputs("\nExample:\n  lynx run -m model.gguf --prefill 127.0.0.1:7600 -p \"Hello\"\n"
          "\n'lynx COMMAND --help' explains a command, its options and its exit codes.\n",
          stream);
}

static int run_command(int argc, char **argv)
{
    if (argc < 2) {
        put_help(stderr);
        return CLI_USAGE;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (is_help(argv[1])) {
        put_help(stdout);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("lynx " LYNX_VERSION);
        return CLI_OK;
    }
    return cli_usage("lynx", "unknown %s '%s'", argv[1][0] == '-' ? "option" : "command",
                     argv[1]);
}

int main(int argc, char **argv)
{
    cli_share_cores(argv);
    return cli_end("lynx", run_command(argc, argv));
}
