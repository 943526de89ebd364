/* SPDX-License-Identifier: MIT */
#include "link/explain.h"

#include <stdarg.h>
#include <stdio.h>

lynx_status lx_explain(char *text, size_t size, lynx_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, size, format, arguments);
    va_end(arguments);
    return status;
}
