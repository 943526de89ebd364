/* SPDX-License-Identifier: MIT */
/* settings_file.h - the lines of an INI file, each with its place. */
#ifndef LYNXD_SETTINGS_FILE_H
#define LYNXD_SETTINGS_FILE_H

#include <stdbool.h>

/* 'where' is "FILE:3: ". */
typedef struct settings_file_ops {
    void (*section)(void *user, const char *section, const char *where);
    /* 'section' is "" before the first one. */
    void (*key)(void *user, const char *section, const char *key, const char *value,
                const char *where);
    /* A line that is neither, or the file cannot be read. */
    void (*problem)(void *user, const char *where, const char *text);
} settings_file_ops;

/* False: there is no such file, or not to be opened, which is told as a problem. */
bool settings_file_read(const char *path, const settings_file_ops *ops, void *user);

#endif
