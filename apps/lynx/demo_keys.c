/* SPDX-License-Identifier: MIT */
#include "demo_keys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "key_files.h"
#include "lynx/keys.h"

enum { DAYS = 2 };

static bool write_node(const char *folder, const char *name, const lynx_keys_pair *authority,
                       const lynx_keys_pair *node)
{
    char path[KEY_PATH_MAX];
    snprintf(path, sizeof(path), "%.3000s/%s", folder, name);
    if (!key_folder_make(path))
        return false;
    snprintf(path, sizeof(path), "%.3000s/%s/ca.pem", folder, name);
    if (!key_file_write(path, authority->certificate, 0644, true))
        return false;
    snprintf(path, sizeof(path), "%.3000s/%s/node.pem", folder, name);
    if (!key_file_write(path, node->certificate, 0644, true))
        return false;
    snprintf(path, sizeof(path), "%.3000s/%s/node.key", folder, name);
    return key_file_write(path, node->key, 0600, true);
}

bool demo_keys_make(const char *command, const char *folder)
{
    static const char *const names[] = {"prefill", "decode"};
    char text[512] = "";
    lynx_keys_options options;
    lynx_keys_pair authority;
    lynx_keys_pair node;
    lynx_keys_options_init(&options, "demo", DAYS);
    bool is_made =
        lynx_keys_make_authority(&options, &authority, text, sizeof(text)) == LYNX_OK;
    for (int i = 0; i < 2 && is_made; i++) {
        lynx_keys_options_init(&options, names[i], DAYS);
        is_made =
            lynx_keys_make_node(&options, &authority, &node, text, sizeof(text)) == LYNX_OK &&
            write_node(folder, names[i], &authority, &node);
    }
    if (!is_made)
        (void)!cli_error(command, "cannot make keys in '%s': %s", folder,
                         text[0] ? text : strerror(errno));
    lynx_keys_wipe(&authority, sizeof(authority));
    lynx_keys_wipe(&node, sizeof(node));
    return is_made;
}
