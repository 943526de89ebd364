/* SPDX-License-Identifier: MIT */
#include "store/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FOLDER_ROOM = 4096 };

lynx_status lx_disk_explain(lx_text text, int error, const char *what, const char *path)
{
    const char *hint = "";
    lynx_status status = LYNX_ERR_SYSTEM;
    if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
        status = LYNX_ERR_LIMIT;
        hint = "; make room, or set a smaller limit";
    } else if (error == EACCES || error == EPERM) {
        status = LYNX_ERR_DENIED;
    } else if (error == EROFS) {
        hint = "; choose another folder by --store";
    }
    return lx_tell(text, status, "cannot %s '%s': %s%s", what, path, strerror(error), hint);
}

bool lx_disk_put(int descriptor, lynx_bytes bytes, uint64_t offset)
{
    for (size_t done = 0; done < bytes.size;) {
        const ssize_t wrote =
            pwrite(descriptor, bytes.data + done, bytes.size - done, (off_t)(offset + done));
        if (wrote < 0 && errno != EINTR)
            return false;
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    return true;
}

bool lx_disk_sync_folder(const char *path)
{
    char folder[FOLDER_ROOM];
    const char *slash = strrchr(path, '/');
    const int size = slash == path ? 1 : slash ? (int)(slash - path) : 1;
    snprintf(folder, sizeof(folder), "%.*s", size, slash ? path : ".");
    const int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return errno == ENOENT; /* somebody has removed the file already, and the folder */
    /* Some file systems cannot: the name is there all the same. */
    const bool is_done = fsync(descriptor) == 0 || errno == EINVAL;
    close(descriptor);
    return is_done;
}
