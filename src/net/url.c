/* SPDX-License-Identifier: MIT */
#include "net/url.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"

/* One part of a URL as a string; false: too long. "" where there is none. */
static bool copy_part(CURLU *parsed, CURLUPart part, unsigned flags, char *target, size_t size)
{
    char *found = NULL;
    target[0] = '\0';
    if (curl_url_get(parsed, part, &found, flags) != CURLUE_OK)
        return true;
    const bool fits = strlen(found) < size;
    if (fits)
        memcpy(target, found, strlen(found) + 1);
    curl_free(found);
    return fits;
}

static bool is_loopback_host(const char *host)
{
    return strcasecmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "[::1]") == 0;
}

static bool take_apart(CURLU *parsed, lx_url *url)
{
    char scheme[16], host[256];
    const bool fits =
        copy_part(parsed, CURLUPART_SCHEME, 0, scheme, sizeof(scheme)) &&
        copy_part(parsed, CURLUPART_HOST, 0, host, sizeof(host)) &&
        copy_part(parsed, CURLUPART_QUERY, 0, url->query, sizeof(url->query)) &&
        copy_part(parsed, CURLUPART_USER, CURLU_URLDECODE, url->user, sizeof(url->user)) &&
        copy_part(parsed, CURLUPART_PASSWORD, CURLU_URLDECODE, url->password,
                  sizeof(url->password));
    if (!fits || (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0))
        return false;
    url->is_tls = strcasecmp(scheme, "https") == 0;
    url->is_loopback = is_loopback_host(host);
    static const CURLUPart secrets[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS,
                                        CURLUPART_QUERY, CURLUPART_FRAGMENT};
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
        if (curl_url_set(parsed, secrets[i], NULL, 0) != CURLUE_OK)
            return false;
    if (!copy_part(parsed, CURLUPART_URL, 0, url->address, sizeof(url->address)))
        return false;
    for (size_t size = strlen(url->address); size > 0 && url->address[size - 1] == '/'; size--)
        url->address[size - 1] = '\0';
    return url->address[0];
}

lynx_status lx_url_parse(lx_url *url, const char *typed, lx_text said)
{
    memset(url, 0, sizeof(*url));
    CURLU *parsed = curl_url();
    LX_REQUIRE(parsed, LYNX_ERR_MEMORY);
    const bool is_good = strlen(typed) < LYNX_NET_URL_MAX &&
                         curl_url_set(parsed, CURLUPART_URL, typed, 0) == CURLUE_OK &&
                         take_apart(parsed, url);
    curl_url_cleanup(parsed);
    if (!is_good)
        return lx_tell(said, LYNX_ERR_ARGUMENT,
                       "this is no address of a web server; write http://HOST/PATH or "
                       "https://HOST/PATH");
    return LYNX_OK;
}

/* scheme, host and port as one string. */
static bool origin_of(const char *url, char *origin, size_t size)
{
    char scheme[16] = "", host[256] = "", port[8] = "";
    CURLU *parsed = curl_url();
    const bool is_good =
        parsed && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
        copy_part(parsed, CURLUPART_SCHEME, 0, scheme, sizeof(scheme)) &&
        copy_part(parsed, CURLUPART_HOST, 0, host, sizeof(host)) &&
        copy_part(parsed, CURLUPART_PORT, CURLU_DEFAULT_PORT, port, sizeof(port));
    curl_url_cleanup(parsed);
    snprintf(origin, size, "%s://%s:%s", scheme, host, port);
    return is_good;
}

bool lx_url_is_same_origin(const char *a, const char *b)
{
    char of_a[300], of_b[300];
    return origin_of(a, of_a, sizeof(of_a)) && origin_of(b, of_b, sizeof(of_b)) &&
           strcasecmp(of_a, of_b) == 0;
}
