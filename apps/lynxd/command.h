/* SPDX-License-Identifier: MIT */
/* command.h - what lynxd knows of its commands, and the options that all of them have. */
#ifndef LYNXD_COMMAND_H
#define LYNXD_COMMAND_H

#include "cli.h"
#include "log.h"

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

/* ---- daemon.c: options that every command has ---------------------------------------- */

typedef struct lynxd_daemon_options {
    lynxd_log_options log;
    uint64_t grace_ns; /* after SIGTERM; default 10 s */
} lynxd_daemon_options;

void lynxd_daemon_options_init(lynxd_daemon_options *options);

/* As cli_take_option: CLI_OK, CLI_USAGE (said so), or -1: not one of them. */
int lynxd_take_daemon_option(lynxd_daemon_options *options, const char *command, int option,
                             const char *value);

/* Write the log as was asked for; --verbose and the level debug are the same. */
void lynxd_start_log(lynxd_daemon_options *options, cli_options *shared);

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
