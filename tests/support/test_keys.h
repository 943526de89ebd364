/* SPDX-License-Identifier: MIT */
/* test_keys.h - authorities, nodes and their files in a folder of the test; asserts that all
 * goes well. */
#ifndef TEST_SUPPORT_TEST_KEYS_H
#define TEST_SUPPORT_TEST_KEYS_H

#include "lynx/keys.h"
#include "lynx/tls.h"

enum { TEST_PATH_MAX = 256 };

/* A new folder under the current one, and its end with all files in it. */
void test_folder_make(char folder[TEST_PATH_MAX]);
void test_folder_remove(const char *folder);

/* Write 'content' to folder/name with 'mode'. */
void test_file_write(const char *folder, const char *name, const char *content, unsigned mode);

void test_authority(lynx_keys_pair *authority);
/* Valid from 'starts_s' to 'ends_s' seconds from now. */
void test_node(const lynx_keys_pair *authority, const char *name, int64_t starts_s,
               int64_t ends_s, lynx_keys_pair *node);

/* ca.pem (may be several certificates in a row), node.pem, node.key. */
void test_keys_write(const char *folder, const char *authorities, const lynx_keys_pair *node);

/* Credentials of a node 'name' that is made for this; the folder is gone afterwards. */
lynx_credentials *test_credentials(const lynx_keys_pair *authority, const char *name,
                                   const char *const *allowed, uint32_t allowed_count);

/* Credentials of a PSK file with this content. */
lynx_credentials *test_psk(const char *content);

#endif
