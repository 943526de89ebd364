/* SPDX-License-Identifier: MIT */
/* lynxd - the daemon: serves prompt caches to decode nodes. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "decode.h"
#include "prefill.h"

static const char help[] =
    "Usage: lynxd COMMAND -m model.gguf [options]\n"
    "\n"
    "  prefill    prefill prompts for decode nodes and send them the caches\n"
    "  decode     answer clients of OpenAI's API, with caches from prefill nodes\n"
    "\n"
    "Example:\n"
    "  lynxd prefill -m model.gguf --listen 127.0.0.1:7600\n"
    "  lynxd decode -m model.gguf --prefill 127.0.0.1:7600 --http 127.0.0.1:8080\n"
    "\n"
    "'lynxd COMMAND --help' explains the options of a command.\n";

static int run_command(int argc, char **argv)
{
    if (argc < 2) {
        fputs(help, stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "prefill") == 0)
        return lynxd_prefill(argc - 1, argv + 1);
    if (strcmp(argv[1], "decode") == 0)
        return lynxd_decode(argc - 1, argv + 1);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        fputs(help, stdout);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("lynxd " LYNX_VERSION);
        return CLI_OK;
    }
    return cli_usage("lynxd", "unknown %s '%s'", argv[1][0] == '-' ? "option" : "command",
                     argv[1]);
}

int main(int argc, char **argv)
{
    return cli_end("lynxd", run_command(argc, argv));
}
