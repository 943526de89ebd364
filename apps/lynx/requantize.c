/* SPDX-License-Identifier: MIT */
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
    "  lynx requantize SmolLM2-135M-Instruct.Q4_1.gguf smollm2-135m-f16.gguf f16\n";

int lx_command_requantize(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(help, stdout);
        return CLI_OK;
    }
    if (argc != 4)
        return cli_usage(command, "three arguments are needed: SOURCE TARGET TYPE");
    char text[LYNX_TEXT_MAX];
    char *draft = malloc(strlen(argv[2]) + sizeof(".part"));
    if (!draft)
        return cli_fail(command, LYNX_ERR_MEMORY, NULL);
    sprintf(draft, "%s.part", argv[2]);
    lynx_status status = lynx_llama_requantize(argv[1], draft, argv[3], text, sizeof(text));
    if (status == LYNX_OK && rename(draft, argv[2]) != 0) {
        snprintf(text, sizeof(text), "cannot write '%s'", argv[2]);
        status = LYNX_ERR_SYSTEM;
    }
    free(draft);
    return status == LYNX_OK ? CLI_OK : cli_fail(command, status, text);
}
