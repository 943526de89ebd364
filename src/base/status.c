/* SPDX-License-Identifier: MIT */
#include "lynx/status.h"

bool lynx_failed(lynx_status status)
{
    return status < 0;
}

const char *lynx_status_text(lynx_status status)
{
    switch (status) {
#define STATUS_TEXT(name, value, scope, text)                                                  \
    case LYNX_##name:                                                                          \
        return text;
        LYNX_STATUS_LIST(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "unknown status";
}

const char *lynx_status_name(lynx_status status)
{
    switch (status) {
#define STATUS_NAME(name, value, scope, text)                                                  \
    case LYNX_##name:                                                                          \
        return #name;
        LYNX_STATUS_LIST(STATUS_NAME)
#undef STATUS_NAME
    }
    return "UNKNOWN";
}

lynx_scope lynx_status_scope(lynx_status status)
{
    switch (status) {
#define STATUS_SCOPE(name, value, scope, text)                                                 \
    case LYNX_##name:                                                                          \
        return LYNX_SCOPE_##scope;
        LYNX_STATUS_LIST(STATUS_SCOPE)
#undef STATUS_SCOPE
    }
    return LYNX_SCOPE_PROCESS;
}
