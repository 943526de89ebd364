/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"

static const char command[] = "lynx requantize";

static const char help[] =
    "Usage: lynx requantize SOURCE TARGET TYPE\n"
    "\n"
    "Write a GGUF file with all weights in TYPE (f16 or q8_0). TARGET appears when it is "
    "whole.\n"
    "\n"
    "Example:\n"
    "  lynx requantize SmolLM2-135M-Instruct.Q4_1.gguf smollm2-135m-f16.gguf f16\n"
    "\n"
    "Exit codes: 0 written, 1 engine or file, 2 usage.\n";

int lx_command_requantize(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(help, stdout);
        return CLI_OK;
    }
    for (int i = 1; i < argc; i++)
        if (argv[i][0] == '-' && argv[i][1])
            return cli_usage(command, "unknown option '%s'", argv[i]);
    if (argc != 4)
        return cli_usage(command, "three arguments are needed: SOURCE TARGET TYPE");
    char text[LYNX_TEXT_MAX];
    char *draft = malloc(strlen(argv[2]) + sizeof(".part"));
    if (!draft)
        return cli_fail(command, LYNX_ERR_MEMORY, NULL);
    sprintf(draft, "%s.part", argv[2]);
    const lynx_status status =
        lynx_llama_requantize(argv[1], draft, argv[3], text, sizeof(text));
    int code = CLI_OK;
    if (status != LYNX_OK)
        code = cli_fail(command, status, text);
    else if (rename(draft, argv[2]) != 0)
        code = cli_error(command, "cannot write '%s': %s", argv[2], strerror(errno));
    free(draft);
    return code;
}
