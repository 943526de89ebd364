/* SPDX-License-Identifier: MIT */
#include "cli_store.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lynx/net.h"

enum { FOLDER_ROOM = 2048 };

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

bool cli_store_is_url(const char *typed)
{
    return strstr(typed, "://") != NULL;
}

/* Beside the default store. False: HOME is not set, or too long. */
static bool default_folder(char folder[FOLDER_ROOM])
{
    static const char suffix[] = "-cache";
    if (!lynx_store_default_folder(folder, FOLDER_ROOM) ||
        strlen(folder) + sizeof(suffix) > FOLDER_ROOM)
        return false;
    strcat(folder, suffix);
    return true;
}

/* What 'front' says; 'folder' has room for the default. */
static void take_front(lynx_net_options *options, const cli_store_front *front,
                       char folder[FOLDER_ROOM])
{
    if (front->folder && strcmp(front->folder, "none") != 0)
        options->front_folder = front->folder;
    else if (!front->folder && default_folder(folder))
        options->front_folder = folder;
    options->front_limit_bytes =
        front->limit_bytes ? front->limit_bytes : CLI_STORE_FRONT_BYTES;
}

lynx_status cli_store_open(const char *typed, const cli_store_front *front, const uint8_t *key,
                           uint64_t limit_bytes, lynx_store **store, char *text)
{
    char folder[FOLDER_ROOM];
    lynx_net_options net;
    lynx_store_options options;
    lynx_net_options_init(&net);
    lynx_store_options_init(&options);
    if (front)
        take_front(&net, front, folder);
    options.key = key;
    options.limit_bytes = limit_bytes;
    text[0] = '\0';
    lynx_status status =
        lynx_place_from_text(&options.place, typed, &net, text, LYNX_PLACE_TEXT_MAX);
    if (status != LYNX_OK)
        return status;
    status = lynx_store_create(store, &options);
    if (status != LYNX_OK)
        lynx_place_destroy(options.place);
    return status;
}
