/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "lynx/place.h"

void lynx_place_destroy(lynx_place *place)
{
    if (place)
        place->ops->destroy(place);
}

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '.' || c == '_' || c == '-';
}

bool lynx_place_name_is_legal(const char *name)
{
    bool is_beginning = true; /* of a part */
    size_t size = 0;
    for (; name[size]; size++) {
        const char c = name[size];
        if (size == LYNX_PLACE_NAME_MAX || (is_beginning && (c == '.' || c == '/')) ||
            (c != '/' && !is_name_byte(c)))
            return false;
        is_beginning = c == '/';
    }
    return !is_beginning;
}
