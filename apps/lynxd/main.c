/* SPDX-License-Identifier: MIT */
/* lynxd - the daemon: prefill nodes and decode nodes. */
#include <stdio.h>
#include <string.h>

#include "both.h"
#include "cli.h"
#include "decode.h"
#include "prefill.h"
#include "settings.h"

static const char help[] =
    "Usage: lynxd COMMAND -m model.gguf [options]\n"
    "       lynxd --check-config FILE\n"
    "\n"
    "  prefill    prefill prompts for decode nodes and send them the caches\n"
    "  decode     answer clients of OpenAI's API, with caches from prefill nodes\n"
    "  both       the two in one process, for one machine\n"
    "\n"
    "      --check-config FILE  say what is wrong with a file of settings, and where\n"
    "      --version            the version\n"
    "\n"
    "Example:\n"
    "  lynxd prefill -m model.gguf --listen 127.0.0.1:7600\n"
    "  lynxd decode -m model.gguf --prefill 127.0.0.1:7600 --http 127.0.0.1:8080\n"
    "\n"
    "'lynxd COMMAND --help' explains the options of a command.\n";

const lynxd_command *const lynxd_commands[] = {&lynxd_prefill, &lynxd_decode, &lynxd_both,
                                               NULL};

static int run_command(int argc, char **argv)
{
    if (argc < 2) {
        fputs(help, stderr);
        return CLI_USAGE;
    }
    for (const lynxd_command *const *c = lynxd_commands; *c; c++)
        if (strcmp(argv[1], (*c)->name) == 0)
            return (*c)->run(argc - 1, argv + 1);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        fputs(help, stdout);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("lynxd " LYNX_VERSION);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--check-config") == 0) {
        if (argc != 3)
            return cli_usage("lynxd", "--check-config takes one FILE");
        return lynxd_settings_check(argv[2]);
    }
    return cli_usage("lynxd", "unknown %s '%s'", argv[1][0] == '-' ? "option" : "command",
                     argv[1]);
}

int main(int argc, char **argv)
{
    cli_share_cores(argv);
    return cli_end("lynxd", run_command(argc, argv));
}
