/* SPDX-License-Identifier: MIT */
/* key_files.h - the folder of 'lynx keys': files that appear whole or not at all. */
#ifndef KEY_FILES_H
#define KEY_FILES_H

#include <stdbool.h>
#include <stddef.h>

enum { KEY_PATH_MAX = 4096, KEY_FILE_MAX = 64 << 10 };

/* Make a folder of mode 0700, and those above it; one that is there stays as it is. False with
 * errno. */
bool key_folder_make(const char *path);

/* Write by a rename. A file that is there is kept unless 'may_replace' (errno EEXIST). False
 * with errno. */
bool key_file_write(const char *path, const char *content, unsigned mode, bool may_replace);

/* The whole file, terminated, into 'content' (KEY_FILE_MAX bytes). False with errno. */
bool key_file_read(const char *path, char *content);

/* The next certificate of a PEM text into 'one' ('size' bytes); moves '*text' behind it. */
bool key_next_certificate(const char **text, char *one, size_t size);

#endif
