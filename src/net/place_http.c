/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "net/place_net.h"

static lynx_status take_token(lx_settings *s, lx_text said)
{
    const char *token = getenv("LYNX_HTTP_TOKEN");
    if (!token || !token[0] || s->url.user[0])
        return LYNX_OK;
    if (!s->url.is_tls && !s->url.is_loopback)
        return lx_tell(said, LYNX_ERR_DENIED,
                       "LYNX_HTTP_TOKEN is not sent without encryption; write https://");
    const int size = snprintf(s->bearer, sizeof(s->bearer), "Authorization: Bearer %s", token);
    if (size < 0 || (size_t)size >= sizeof(s->bearer) || strpbrk(token, "\r\n"))
        return lx_tell(said, LYNX_ERR_ARGUMENT,
                       "LYNX_HTTP_TOKEN is too long, or has several lines");
    return LYNX_OK;
}

lynx_status lx_place_http(lynx_place **place, const char *url, bool is_single,
                          const lynx_net_options *options, lx_text said)
{
    lx_net_place *p = NULL;
    LX_TRY(lx_net_place_create(&p, options, said));
    lx_settings *s = &p->network.settings;
    lynx_status status = lx_url_parse(&s->url, url, said);
    if (status == LYNX_OK)
        status = take_token(s, said);
    if (status != LYNX_OK) {
        lx_net_place_destroy(&p->base);
        return status;
    }
    p->is_single = is_single;
    snprintf(p->shown, sizeof(p->shown), "%s", s->url.address);
    *place = &p->base;
    return LYNX_OK;
}

lynx_status lynx_place_http(lynx_place **place, const char *url,
                            const lynx_net_options *options, char *text, size_t text_size)
{
    const lx_text said = {text, text_size};
    return lx_place_http(place, url, false, options, said);
}
