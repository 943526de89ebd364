/* SPDX-License-Identifier: MIT */
/* place_net.h - a place on a server, whether it speaks plain HTTP or S3. */
#ifndef LX_NET_PLACE_NET_H
#define LX_NET_PLACE_NET_H

#include "net/streams.h"

typedef struct lx_net_place {
    lynx_place base;
    lynx_place_ops ops; /* of 'base' */
    lx_network network;
    lx_streams streams;
    char shown[LYNX_NET_URL_MAX]; /* what people see */
    bool is_single;               /* its address is that of the only object */
    /* S3 */
    char bucket_url[LYNX_NET_URL_MAX];
    char prefix[LYNX_NET_URL_MAX]; /* of keys: "" or with a last '/' */
} lx_net_place;

/* As lynx_place_http and lynx_place_s3; 'is_single' as above. */
lynx_status lx_place_http(lynx_place **place, const char *url, bool is_single,
                          const lynx_net_options *options, lx_text said);
lynx_status lx_place_s3(lynx_place **place, const char *url, bool is_single,
                        const lynx_net_options *options, lx_text said);

/* A place with its connections and all operations but list, without an address. */
lynx_status lx_net_place_create(lx_net_place **place, const lynx_net_options *options,
                                lx_text said);
void lx_net_place_destroy(lynx_place *place);

/* Bytes that hold the URL of any object, its query and terminator. */
enum { LX_OBJECT_URL_ROOM = LX_ADDRESS_ROOM + LYNX_NET_URL_MAX };

#endif
