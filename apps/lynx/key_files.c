/* SPDX-License-Identifier: MIT */
#include "key_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool key_folder_make(const char *path)
{
    char part[KEY_PATH_MAX];
    if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part)) {
        errno = ENAMETOOLONG;
        return false;
    }
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, S_IRWXU) != 0 && errno != EEXIST)
            return false;
        *slash = '/';
    }
    return mkdir(part, S_IRWXU) == 0 || errno == EEXIST;
}

static bool write_all(int descriptor, const char *content)
{
    size_t left = strlen(content);
    while (left > 0) {
        const ssize_t count = write(descriptor, content, left);
        if (count < 0 && errno != EINTR)
            return false;
        if (count > 0) {
            content += count;
            left -= (size_t)count;
        }
    }
    return fsync(descriptor) == 0;
}

bool key_file_write(const char *path, const char *content, unsigned mode, bool may_replace)
{
    char draft[KEY_PATH_MAX];
    if (snprintf(draft, sizeof(draft), "%s.%ld", path, (long)getpid()) >= (int)sizeof(draft)) {
        errno = ENAMETOOLONG;
        return false;
    }
    const int descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
    if (descriptor < 0)
        return false;
    bool is_written = fchmod(descriptor, (mode_t)mode) == 0 && write_all(descriptor, content);
    is_written = close(descriptor) == 0 && is_written;
    /* link() refuses to replace, rename() does not. */
    is_written = is_written && (may_replace ? rename(draft, path) : link(draft, path)) == 0;
    const int error = errno;
    if (!is_written || !may_replace)
        unlink(draft);
    errno = error;
    return is_written;
}

bool key_file_read(const char *path, char *content)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    const size_t size = fread(content, 1, KEY_FILE_MAX, file);
    const bool is_read = !ferror(file) && size < KEY_FILE_MAX;
    fclose(file);
    if (is_read)
        content[size] = '\0';
    else
        errno = EFBIG;
    return is_read;
}

bool key_next_certificate(const char **text, char *one, size_t size)
{
    static const char end[] = "-----END CERTIFICATE-----";
    const char *start = strstr(*text, "-----BEGIN CERTIFICATE-----");
    const char *stop = start ? strstr(start, end) : NULL;
    if (!stop)
        return false;
    const size_t length = (size_t)(stop - start) + strlen(end);
    *text = stop + strlen(end);
    if (length + 2 > size)
        return false;
    memcpy(one, start, length);
    memcpy(one + length, "\n", 2);
    return true;
}
