/* SPDX-License-Identifier: MIT */
/* daemon.c - what every command of lynxd has: options, and a life until a signal. */
#include "command.h"

#include <poll.h>
#include <stdlib.h>

#include "process.h"
#include "settings.h"

const char lynxd_daemon_help[] =
    "Daemon:\n"
    "      --config FILE        options from this file; see lynxd.ini(5)\n"
    "      --check-config       say what is wrong with options and files, and end\n"
    "      --log-level LEVEL    error, warning, info or debug (info)\n"
    "      --log-format FORMAT  text, or json: an object each line (text)\n"
    "      --grace SECONDS      on SIGTERM, let what is on its way arrive for so long (10)\n";

void lynxd_daemon_options_init(lynxd_daemon_options *options)
{
    *options = (lynxd_daemon_options){.grace_ns = 10000000000ull};
    lynxd_log_options_init(&options->log);
}

int lynxd_take_daemon_option(lynxd_daemon_options *options, const char *command, int option,
                             const char *value)
{
    int taken = 1;
    if (option == CLI_OPT_GRACE)
        taken = cli_parse_seconds(value, 0, &options->grace_ns);
    else if (option != CLI_OPT_CONFIG && option != CLI_OPT_CHECK_CONFIG)
        taken = lynxd_log_take_option(&options->log, option, value);
    /* those two are for who reads the settings */
    if (taken == 0)
        return cli_usage(command, "'%s' is not a value that this option takes", value);
    return taken > 0 ? CLI_OK : -1;
}

void lynxd_start_log(lynxd_daemon_options *options, cli_options *shared)
{
    shared->is_verbose |= options->log.level == CLI_LEVEL_DEBUG;
    if (shared->is_verbose)
        options->log.level = CLI_LEVEL_DEBUG;
    lynxd_log_start(shared->command, &options->log);
}

void lynxd_reload(const lynxd_command *command, void *target, int argc, char **argv)
{
    void *next = calloc(1, command->target_size);
    lynxd_settings *settings = NULL;
    lynxd_notify("RELOADING=1");
    if (!next || lynxd_settings_read(&settings, command, next, argc, argv) >= 0)
        lynxd_log(CLI_LEVEL_WARNING,
                  "the old settings stay; put it right and send SIGHUP again");
    else
        command->renew(target, next);
    lynxd_settings_free(settings);
    free(next);
    lynxd_notify("READY=1");
}

void lynxd_await_end(const lynxd_command *command, void *target, int argc, char **argv,
                     void (*turn)(void *target), uint64_t grace_ns)
{
    while (!lynxd_must_drain()) {
        if (lynxd_take_reload())
            lynxd_reload(command, target, argc, argv);
        if (turn)
            turn(target);
        lynxd_log_turn();
        poll(NULL, 0, 50);
    }
    lynxd_notify("STOPPING=1");
    lynxd_log(CLI_LEVEL_INFO, "stopping; requests may go on for %.1f s",
              (double)grace_ns / 1e9);
}
