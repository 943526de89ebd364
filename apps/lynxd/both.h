/* SPDX-License-Identifier: MIT */
#ifndef LYNXD_BOTH_H
#define LYNXD_BOTH_H

#include "command.h"

/* 'lynxd both'. */
extern const lynxd_command lynxd_both;

#endif
