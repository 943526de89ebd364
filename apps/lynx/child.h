/* SPDX-License-Identifier: MIT */
/* child.h - programs that a command starts, by descriptor and id, and ends again. */
#ifndef CHILD_H
#define CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* Path of program 'name' beside the running one, in a buffer of 'size' bytes. */
bool child_path(const char *name, char *path, size_t size);

/* Start 'arguments[0]' (a path); its stdout goes to '*output' when that is not NULL, its stderr
 * to 'log_path' (appended) when that is not NULL. Returns the process id, or -1. */
pid_t child_start(char *const arguments[], FILE **output, const char *log_path);

/* Wait for the end; the exit code, or -1 when it did not end by itself. */
int child_wait(pid_t id);

/* Ask it to end, and wait. */
void child_stop(pid_t id);

/* Wait up to 'seconds' for a port in 'path' while 'id' lives; 0 when none came. */
uint16_t child_wait_for_port(pid_t id, const char *path, double seconds);

#endif
