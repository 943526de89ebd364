/* SPDX-License-Identifier: MIT */
#ifndef LYNXD_PREFILL_H
#define LYNXD_PREFILL_H

/* 'lynxd prefill'; argv[0] is the command's name. Returns the exit code. */
int lynxd_prefill(int argc, char **argv);

#endif
