/* SPDX-License-Identifier: MIT */
/* command.h - what lynxd knows of its commands, and the options that all of them have. */
#ifndef LYNXD_COMMAND_H
#define LYNXD_COMMAND_H

#include "cli.h"
#include "log.h"

typedef struct lynxd_command {
    const char *name;  /* "prefill": argument, section of the file, part of LYNX_PREFILL_... */
    const char *title; /* "lynxd prefill": for messages */
    const struct option *options; /* and LYNXD_LETTERS */
    size_t target_size; /* of what the options are put in, which may point into them */
    void (*set_defaults)(void *target);
    /* An option of this command: CLI_OK, or CLI_USAGE after a message. */
    int (*take)(void *target, int option, const char *value);
    /* What cannot go together: CLI_OK, or CLI_USAGE after a message. May be NULL. */
    int (*check_options)(void *target);
    void (*put_help)(void);
    /* What the options do not show, such as files that are not there; nothing is kept. CLI_OK,
     * or another exit code after a message for each problem. */
    int (*check)(void *target);
    /* SIGHUP: what of 'next' can come into use while 'target' works; the rest at the next
     * start. */
    void (*renew)(void *target, void *next);
    int (*run)(int argc, char **argv);
} lynxd_command;

/* Short options of every command, for getopt_long. */
#define LYNXD_LETTERS ":m:c:t:h"

/* All of them; NULL behind the last. */
extern const lynxd_command *const lynxd_commands[];

/* ---- daemon.c: what every command has ------------------------------------------------ */

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

/* SIGHUP: read the settings again and renew 'target'; what is wrong is said, and the old ones
 * stay then. */
void lynxd_reload(const lynxd_command *command, void *target, int argc, char **argv);

/* Until a gentle end is asked for: reload when asked to, and call 'turn' (may be NULL) with
 * 'target' some times a second. */
void lynxd_await_end(const lynxd_command *command, void *target, int argc, char **argv,
                     void (*turn)(void *target), uint64_t grace_ns);

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
