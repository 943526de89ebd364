/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lynx/store.h"
#include "store/part.h"

enum { FILE_MAX = 256, HEX_DIGITS = 64, BASE64_DIGITS = 44 };

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool take_hex(const char *text, uint8_t key[LYNX_STORE_KEY_BYTES])
{
    for (uint32_t i = 0; i < LYNX_STORE_KEY_BYTES; i++) {
        const int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        key[i] = (uint8_t)(16 * high + low);
    }
    return true;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

/* 43 digits and one '='. */
static bool take_base64(const char *text, uint8_t key[LYNX_STORE_KEY_BYTES])
{
    uint32_t bits = 0, held = 0, count = 0;
    for (uint32_t i = 0; i < BASE64_DIGITS - 1; i++) {
        const int value = base64_value(text[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held < 8)
            continue;
        held -= 8;
        key[count++] = (uint8_t)(bits >> held);
        bits &= (1u << held) - 1;
    }
    return count == LYNX_STORE_KEY_BYTES && bits == 0 && text[BASE64_DIGITS - 1] == '=';
}

/* One line, without the end of it. */
static lynx_status read_line(const char *path, char line[FILE_MAX], lx_text text)
{
    struct stat found;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        return lx_tell(text, LYNX_ERR_SYSTEM, "cannot read the key file '%s': %s", path,
                       strerror(errno));
    const ssize_t size = fstat(descriptor, &found) == 0 && S_ISREG(found.st_mode)
                             ? read(descriptor, line, FILE_MAX - 1)
                             : -1;
    close(descriptor);
    if (size < 0)
        return lx_tell(text, LYNX_ERR_SYSTEM, "cannot read the key file '%s'", path);
    if (found.st_mode & (S_IRWXG | S_IRWXO))
        return lx_tell(text, LYNX_ERR_DENIED,
                       "others may read or write the key file '%s': chmod 600 it", path);
    line[size] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    return LYNX_OK;
}

lynx_status lynx_store_read_key(const char *path, uint8_t key[LYNX_STORE_KEY_BYTES], char *text,
                                size_t text_size)
{
    const lx_text said = {text, text_size};
    char line[FILE_MAX] = {0};
    lynx_status status = read_line(path, line, said);
    if (status != LYNX_OK)
        return status;
    const size_t size = strlen(line);
    if (!(size == HEX_DIGITS && take_hex(line, key)) &&
        !(size == BASE64_DIGITS && take_base64(line, key)))
        status = lx_tell(said, LYNX_ERR_ARGUMENT,
                         "'%s' is no key file: 64 hexadecimal digits or 44 of base64 in one "
                         "line; 'openssl rand -hex 32' makes one",
                         path);
    memset(line, 0, sizeof(line));
    return status;
}
