/* SPDX-License-Identifier: MIT */
/*
 * settings.h - options from a file and from the environment.
 *
 * They become arguments that stand before those of the user, so that each option has one
 * parser, one check and one message whoever gave it. In order of strength:
 *
 *     command line     --listen 0.0.0.0:7600
 *     INI file         [prefill]
 *                      listen = 0.0.0.0:7600     (--config FILE, or LYNX_PREFILL_CONFIG)
 *     environment      LYNX_PREFILL_LISTEN=0.0.0.0:7600
 *
 * Options without a value take true or false. An option that may be given several times repeats
 * its key; all are used, those of the environment and of the command line, too. Messages about
 * a setting begin with its place, "lynxd.ini:3: listen: " or "LYNX_PREFILL_LISTEN: ".
 *
 * Threads: one at a time, as getopt has one state.
 */
#ifndef LYNXD_SETTINGS_H
#define LYNXD_SETTINGS_H

#include "command.h"

typedef struct lynxd_settings lynxd_settings;

/* Let 'command' parse all of them into 'target'. -1: go on, else the exit code after messages;
 * with --check-config always the exit code. '*settings' holds the strings that 'target' points
 * to; free it after 'target'. It is NULL unless -1 is returned. */
int lynxd_settings_read(lynxd_settings **settings, const lynxd_command *command, void *target,
                        int argc, char **argv);
void lynxd_settings_free(lynxd_settings *settings);

/* 'lynxd --check-config FILE': as each command that has a section in the file would. */
int lynxd_settings_check(const char *path);

/* Messages from now on are about this option, wherever it was set; NULL: about none. To be
 * called from lynxd_command.check. */
void lynxd_settings_about(const char *option);

#endif
