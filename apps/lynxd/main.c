/* SPDX-License-Identifier: MIT */
/* lynxd - the daemon: serves prompt caches to decode nodes. */
#include <stdio.h>
#include <string.h>

#include "prefill.h"

static const char help[] =
    "Usage: lynxd prefill -m model.gguf [options]\n"
    "\n"
    "  prefill    prefill prompts for decode nodes and send them the caches\n"
    "\n"
    "Example:\n"
    "  lynxd prefill -m model.gguf --listen 127.0.0.1:7600\n"
    "\n"
    "'lynxd COMMAND --help' explains the options of a command.\n";

int main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "prefill") == 0)
        return lynxd_prefill(argc - 1, argv + 1);
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(help, stdout);
        return 0;
    }
    if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
        puts("lynxd " LYNX_VERSION);
        return 0;
    }
    fputs(help, stderr);
    return 2;
}
