/* SPDX-License-Identifier: MIT */
/* check.h - the two macros with control flow, and no third. */
#ifndef LX_BASE_CHECK_H
#define LX_BASE_CHECK_H

#include "lynx/status.h"

/* Leave the function with 'error' unless 'condition' holds. */
#define LX_REQUIRE(condition, error)                                                           \
    do {                                                                                       \
        if (!(condition))                                                                      \
            return (error);                                                                    \
    } while (0)

/* Leave the function with the result of 'call' unless it is LYNX_OK. */
#define LX_TRY(call)                                                                           \
    do {                                                                                       \
        const lynx_status lx_try_status = (call);                                              \
        if (lx_try_status != LYNX_OK)                                                          \
            return lx_try_status;                                                              \
    } while (0)

#endif
