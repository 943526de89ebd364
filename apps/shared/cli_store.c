/* SPDX-License-Identifier: MIT */
#include "cli_store.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "lynx/net.h"

bool cli_parse_size(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9')
        return false;
    const unsigned long long value = strtoull(text, &end, 10);
    uint64_t unit = 1;
    const char *found = *end ? strchr(units, *end) : NULL;
    if (*end && (!found || end[1]))
        return false;
    for (ptrdiff_t i = 0; found && i <= found - units; i++)
        unit *= 1024;
    if (value > UINT64_MAX / 2 / unit)
        return false;
    *bytes = value * unit;
    return true;
}

lynx_status cli_store_open(const char *typed, const uint8_t *key, uint64_t limit_bytes,
                           lynx_store **store, char *text)
{
    lynx_store_options options;
    lynx_store_options_init(&options);
    options.key = key;
    options.limit_bytes = limit_bytes;
    text[0] = '\0';
    lynx_status status =
        lynx_place_from_text(&options.place, typed, NULL, text, LYNX_PLACE_TEXT_MAX);
    if (status != LYNX_OK)
        return status;
    status = lynx_store_create(store, &options);
    if (status != LYNX_OK)
        lynx_place_destroy(options.place);
    return status;
}
