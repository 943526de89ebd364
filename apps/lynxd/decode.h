/* SPDX-License-Identifier: MIT */
#ifndef LYNXD_DECODE_H
#define LYNXD_DECODE_H

/* 'lynxd decode'; argv[0] is the command's name. Returns the exit code. */
int lynxd_decode(int argc, char **argv);

#endif
