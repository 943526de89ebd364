/* SPDX-License-Identifier: MIT */
/* disk.h - files of this machine: words for errors, writing at a place, names that last. */
#ifndef LX_STORE_DISK_H
#define LX_STORE_DISK_H

#include "store/part.h"

/* "cannot WHAT 'PATH': ..." for errno 'error'; LYNX_ERR_LIMIT (no room), LYNX_ERR_DENIED or
 * LYNX_ERR_SYSTEM. */
lynx_status lx_disk_explain(lx_text text, int error, const char *what, const char *path);

/* All of 'bytes' at 'offset'; false: errno says why. */
bool lx_disk_put(int descriptor, lynx_bytes bytes, uint64_t offset);

/* A name that changed is on the disk once its folder is; false: errno says why. */
bool lx_disk_sync_folder(const char *path);

#endif
