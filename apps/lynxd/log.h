/* SPDX-License-Identifier: MIT */
/* log.h - the daemon's log on stderr: one line for each event, with a level. */
#ifndef LYNXD_LOG_H
#define LYNXD_LOG_H

#include "cli.h"

typedef struct lynxd_log_options {
    cli_level level; /* lines that matter less are left out */
    bool is_json;
} lynxd_log_options;

/* level info, text. */
void lynxd_log_options_init(lynxd_log_options *options);

/* 1: taken, 0: wrong value, -1: not one of the log's. */
int lynxd_log_take_option(lynxd_log_options *options, int option, const char *value);

/*
 * From now on all lines of this program go here (cli_out.say). May be called again, for other
 * options. 'command' is kept.
 *
 *     text   lynxd prefill: warning: connection 3 ended: closed by the peer
 *     json   {"time": "2026-01-31T12:00:00.123Z", "level": "warning", "command": ..., "event":
 * ...}
 *
 * Text has no time: journald, or whoever else keeps a program's lines, stamps them. Where
 * stderr is the journal each line begins with its priority ("<4>"), which journald takes off.
 */
void lynxd_log_start(const char *command, const lynxd_log_options *options);

/* Any thread. */
void lynxd_log(cli_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A lynx_on_log: what peers bring about, a warning unless 'status' is LYNX_OK. Of these at most
 * 20 lines a second are written, and the others counted: strangers must not fill a disk. */
void lynxd_log_event(void *user, lynx_status status, const char *text);

/* Say how many were left out once their second is over; to be called now and then. */
void lynxd_log_turn(void);

#endif
