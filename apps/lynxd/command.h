/* SPDX-License-Identifier: MIT */
/* command.h - what lynxd knows of its commands, and the options that all of them have. */
#ifndef LYNXD_COMMAND_H
#define LYNXD_COMMAND_H

#include "cli.h"

typedef struct lynxd_command {
    const char *name;  /* "prefill": argument, section of the file, part of LYNX_PREFILL_... */
    const char *title; /* "lynxd prefill": for messages */
    const char *letters; /* of short options, for getopt_long */
    const struct option *options;
    size_t target_size; /* of what 'parse' fills */
    /* Defaults, then arguments into 'target', which may point into them. -1: go on, else the
     * exit code after a message. */
    int (*parse)(void *target, int argc, char **argv);
    /* What parse does not see, such as files that are not there; nothing is kept. CLI_OK, or
     * another exit code after a message for each problem. */
    int (*check)(void *target);
    int (*run)(int argc, char **argv);
} lynxd_command;

/* All of them; NULL behind the last. */
extern const lynxd_command *const lynxd_commands[];

#define LYNXD_DAEMON_OPTIONS                                                                   \
    {"config", required_argument, NULL, CLI_OPT_CONFIG},                                       \
        {"check-config", no_argument, NULL, CLI_OPT_CHECK_CONFIG},                             \
        {"log-level", required_argument, NULL, CLI_OPT_LOG_LEVEL},                             \
        {"log-format", required_argument, NULL, CLI_OPT_LOG_FORMAT},                           \
    {                                                                                          \
        "grace", required_argument, NULL, CLI_OPT_GRACE                                        \
    }

extern const char lynxd_daemon_help[];

#endif
