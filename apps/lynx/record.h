/* SPDX-License-Identifier: MIT */
/* record.h - a link that writes what it receives to a file, for 'lynx inspect'. */
#ifndef LX_APPS_RECORD_H
#define LX_APPS_RECORD_H

#include "lynx/link.h"

/*
 * Wrap '*link'; on failure it stays as it is. LYNX_ERR_SYSTEM: the file cannot be written.
 * '*has_failed' becomes true when a part of it could not be; known once the link is destroyed.
 */
lynx_status record_link(lynx_link **link, const char *path, bool *has_failed);

#endif
