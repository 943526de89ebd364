/* SPDX-License-Identifier: MIT */
/* process.h - a daemon as its system sees it: signals, and what systemd is told. */
#ifndef LYNXD_PROCESS_H
#define LYNXD_PROCESS_H

#include <stdbool.h>

/* SIGTERM and SIGINT ask for a gentle end, the second of them sets cli_stop; SIGHUP asks to
 * read settings and keys again. */
void lynxd_catch_signals(void);

bool lynxd_must_drain(void);
/* True once for each time that it was asked for. */
bool lynxd_take_reload(void);

/* Each client and each peer has a descriptor: as many as this process may have. */
void lynxd_raise_descriptors(void);

/* Tell systemd, if it started us: "READY=1", "RELOADING=1", "STOPPING=1". */
void lynxd_notify(const char *state);

#endif
