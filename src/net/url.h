/* SPDX-License-Identifier: MIT */
/* url.h - a URL apart: what may be shown, and what may not. */
#ifndef LX_NET_URL_H
#define LX_NET_URL_H

#include "lynx/net.h"
#include "store/part.h"

enum {
    LX_USER_MAX = 256,
    LX_PASSWORD_MAX = 2048,
    LX_ADDRESS_ROOM = LYNX_NET_URL_MAX + LYNX_PLACE_NAME_MAX + 8
};

typedef struct lx_url {
    char address[LYNX_NET_URL_MAX]; /* scheme://host:port/path: no user, query, last '/' */
    char query[LYNX_NET_URL_MAX];   /* without '?'; "": none */
    char user[LX_USER_MAX];         /* "": none */
    char password[LX_PASSWORD_MAX];
    bool is_tls;
    bool is_loopback;
} lx_url;

/* LYNX_ERR_ARGUMENT: no http or https URL. */
lynx_status lx_url_parse(lx_url *url, const char *typed, lx_text said);

/* True when both lead to the same scheme, host and port. */
bool lx_url_is_same_origin(const char *a, const char *b);

#endif
