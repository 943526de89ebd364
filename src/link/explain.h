/* SPDX-License-Identifier: MIT */
/* explain.h - an error with one sentence that says what to do. */
#ifndef LX_LINK_EXPLAIN_H
#define LX_LINK_EXPLAIN_H

#include <stddef.h>

#include "lynx/status.h"

/* Write the sentence to 'text' (cut to 'size') and return 'status'. */
lynx_status lx_explain(char *text, size_t size, lynx_status status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
