/* SPDX-License-Identifier: MIT */
#include "support/test_keys.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "support/cmocka_all.h"

void test_folder_make(char folder[TEST_PATH_MAX])
{
    snprintf(folder, TEST_PATH_MAX, "keys.XXXXXX");
    assert_non_null(mkdtemp(folder));
}

void test_folder_remove(const char *folder)
{
    DIR *open = opendir(folder);
    assert_non_null(open);
    for (const struct dirent *entry; (entry = readdir(open)) != NULL;) {
        char path[TEST_PATH_MAX + 256];
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    closedir(open);
    rmdir(folder);
}

void test_file_write(const char *folder, const char *name, const char *content, unsigned mode)
{
    char path[TEST_PATH_MAX + 16];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, (mode_t)mode), 0);
}

void test_authority(lynx_keys_pair *authority)
{
    char text[512];
    lynx_keys_options options;
    lynx_keys_options_init(&options, "test", 10);
    assert_int_equal(lynx_keys_make_authority(&options, authority, text, sizeof(text)),
                     LYNX_OK);
}

void test_node(const lynx_keys_pair *authority, const char *name, int64_t starts_s,
               int64_t ends_s, lynx_keys_pair *node)
{
    char text[512];
    lynx_keys_options options;
    lynx_keys_options_init(&options, name, 1);
    options.starts_unix_s = (int64_t)time(NULL) + starts_s;
    options.ends_unix_s = (int64_t)time(NULL) + ends_s;
    assert_int_equal(lynx_keys_make_node(&options, authority, node, text, sizeof(text)),
                     LYNX_OK);
}

void test_keys_write(const char *folder, const char *authorities, const lynx_keys_pair *node)
{
    test_file_write(folder, "ca.pem", authorities, 0644);
    test_file_write(folder, "node.pem", node->certificate, 0644);
    test_file_write(folder, "node.key", node->key, 0600);
}

static lynx_credentials *load(const lynx_credentials_options *options)
{
    char text[512] = "";
    lynx_credentials *credentials = NULL;
    const lynx_status status =
        lynx_credentials_create(&credentials, options, text, sizeof(text), NULL);
    if (status != LYNX_OK)
        print_error("%s\n", text);
    assert_int_equal(status, LYNX_OK);
    return credentials;
}

lynx_credentials *test_credentials(const lynx_keys_pair *authority, const char *name,
                                   const char *const *allowed, uint32_t allowed_count)
{
    char folder[TEST_PATH_MAX];
    lynx_keys_pair node;
    lynx_credentials_options options;
    test_folder_make(folder);
    test_node(authority, name, -60, 3600, &node);
    test_keys_write(folder, authority->certificate, &node);
    lynx_credentials_options_init(&options);
    options.folder = folder;
    options.allowed_names = allowed;
    options.allowed_count = allowed_count;
    lynx_credentials *credentials = load(&options);
    test_folder_remove(folder);
    return credentials;
}

lynx_credentials *test_psk(const char *content)
{
    char folder[TEST_PATH_MAX];
    char path[TEST_PATH_MAX + 16];
    lynx_credentials_options options;
    test_folder_make(folder);
    test_file_write(folder, "psk", content, 0600);
    snprintf(path, sizeof(path), "%s/psk", folder);
    lynx_credentials_options_init(&options);
    options.psk_file = path;
    lynx_credentials *credentials = load(&options);
    test_folder_remove(folder);
    return credentials;
}
