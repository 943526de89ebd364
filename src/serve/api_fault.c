/* SPDX-License-Identifier: MIT */
#include "serve/api_fault.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const char *type_of(unsigned http)
{
    if (http == 401)
        return "authentication_error";
    if (http == 429)
        return "rate_limit_error";
    return http >= 500 ? "server_error" : "invalid_request_error";
}

/* Drop a character that was cut at the end. */
static void trim(char *text)
{
    size_t size = strlen(text), start = size;
    while (start > 0 && size - start < 4 && ((uint8_t)text[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0)
        return;
    const uint8_t lead = (uint8_t)text[start - 1];
    const size_t needed = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (size - (start - 1) < needed)
        text[start - 1] = '\0';
}

void lx_api_fault_set(lx_api_fault *fault, unsigned http, const char *code, const char *format,
                      ...)
{
    va_list arguments;
    *fault = (lx_api_fault){.http = http, .type = type_of(http), .code = code};
    va_start(arguments, format);
    vsnprintf(fault->message, sizeof(fault->message), format, arguments);
    va_end(arguments);
    trim(fault->message);
}
