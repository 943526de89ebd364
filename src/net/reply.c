/* SPDX-License-Identifier: MIT */
#include "net/reply.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"

enum { HEAD_MAX = 64 << 10, LINE_MAX_BYTES = 1024, RETRY_AFTER_MAX_S = 3600 };

static const uint64_t size_max = INT64_MAX;

/* Decimal digits at '*at', which moves behind them; false: none, or too large. */
static bool read_number(const char **at, uint64_t *value)
{
    const char *begin = *at;
    *value = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++) {
        const uint64_t digit = (uint64_t)(**at - '0');
        if (*value > (size_max - digit) / 10)
            return false;
        *value = *value * 10 + digit;
    }
    return *at > begin;
}

/* "bytes 0-99/1234", or "bytes * /1234" without the blank. */
static bool read_range(lx_reply *reply, const char *value)
{
    const char *at = value;
    if (strncasecmp(at, "bytes ", 6) != 0)
        return false;
    at += 6;
    if (strncmp(at, "*/", 2) == 0) {
        at += 2;
        return read_number(&at, &reply->total) && !*at;
    }
    if (!read_number(&at, &reply->first) || *at++ != '-' || !read_number(&at, &reply->last) ||
        *at++ != '/' || !read_number(&at, &reply->total) || *at)
        return false;
    reply->has_range = reply->first <= reply->last && reply->last < reply->total;
    return reply->has_range;
}

static bool read_field(lx_reply *reply, const char *name, const char *value)
{
    uint64_t number = 0;
    const char *at = value;
    if (strcasecmp(name, "content-range") == 0)
        return read_range(reply, value);
    if (strcasecmp(name, "content-length") == 0) {
        reply->has_length = read_number(&at, &reply->length) && !*at;
        return reply->has_length;
    }
    if (strcasecmp(name, "etag") == 0 && strlen(value) < sizeof(reply->etag))
        snprintf(reply->etag, sizeof(reply->etag), "%s", value);
    if (strcasecmp(name, "last-modified") == 0 && strlen(value) < sizeof(reply->modified))
        snprintf(reply->modified, sizeof(reply->modified), "%s", value);
    if (strcasecmp(name, "content-encoding") == 0)
        reply->is_encoded = strcasecmp(value, "identity") != 0;
    if (strcasecmp(name, "retry-after") == 0 && read_number(&at, &number))
        reply->retry_after_s =
            number < RETRY_AFTER_MAX_S ? (uint32_t)number : (uint32_t)RETRY_AFTER_MAX_S;
    return true;
}

/* "HTTP/1.1 206 Partial Content". */
static bool read_status(lx_reply *reply, const char *line)
{
    const char *at = strchr(line, ' ');
    uint64_t status = 0;
    const size_t seen = reply->header_bytes;
    if (!at)
        return false;
    at++;
    if (!read_number(&at, &status) || status < 100 || status > 999)
        return false;
    memset(reply, 0, sizeof(*reply));
    reply->status = (long)status;
    reply->header_bytes = seen;
    return true;
}

lynx_status lx_reply_read_line(lx_reply *reply, const char *data, size_t size, lx_text said)
{
    char line[LINE_MAX_BYTES];
    reply->header_bytes += size;
    if (reply->header_bytes > HEAD_MAX)
        return lx_tell(said, LYNX_ERR_SYSTEM, "the head of the server's answer has no end");
    while (size > 0 && isspace((unsigned char)data[size - 1]))
        size--;
    if (size == 0 || size >= sizeof(line)) /* none of those that we read is so long */
        return LYNX_OK;
    memcpy(line, data, size);
    line[size] = '\0';
    bool is_good = true;
    if (strncasecmp(line, "HTTP/", 5) == 0) {
        is_good = read_status(reply, line);
    } else if (strchr(line, ':')) {
        char *value = strchr(line, ':');
        *value++ = '\0';
        is_good = read_field(reply, line, value + strspn(value, " \t"));
    }
    if (!is_good)
        return lx_tell(said, LYNX_ERR_SYSTEM,
                       "the head of the server's answer breaks HTTP; is it a web server?");
    return LYNX_OK;
}

void lx_reply_code(const lx_reply *reply, char *code, size_t size)
{
    const char *at = strstr(reply->excuse, "<Code>");
    size_t used = 0;
    for (at = at ? at + 6 : ""; isalnum((unsigned char)*at) && used + 1 < size; at++)
        code[used++] = *at;
    code[used] = '\0';
}
