/* SPDX-License-Identifier: MIT */
/* demo_keys.h - keys for the two nodes of one demo or benchmark. */
#ifndef DEMO_KEYS_H
#define DEMO_KEYS_H

#include <stdbool.h>

/* Make an authority and two nodes, "prefill" and "decode", valid for two days; each node's
 * folder is 'folder'/NAME. False after a message. */
bool demo_keys_make(const char *command, const char *folder);

#endif
