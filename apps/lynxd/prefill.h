/* SPDX-License-Identifier: MIT */
#ifndef LYNXD_PREFILL_H
#define LYNXD_PREFILL_H

#include "command.h"

/* 'lynxd prefill'. */
extern const lynxd_command lynxd_prefill;

#endif
