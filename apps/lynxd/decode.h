/* SPDX-License-Identifier: MIT */
#ifndef LYNXD_DECODE_H
#define LYNXD_DECODE_H

#include "command.h"

/* 'lynxd decode'. */
extern const lynxd_command lynxd_decode;

#endif
