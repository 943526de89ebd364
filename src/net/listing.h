/* SPDX-License-Identifier: MIT */
/* listing.h - a page of the list that S3 gives of a bucket (ListObjectsV2). */
#ifndef LX_NET_LISTING_H
#define LX_NET_LISTING_H

#include "lynx/place.h"

enum { LX_TOKEN_MAX = 2048 };

typedef struct lx_listing {
    bool is_truncated;
    char token[LX_TOKEN_MAX]; /* for the next page; "": none */
} lx_listing;

/* Read a page; 'visit' gets keys as they are. False of it ends the reading, '*goes_on' says so.
 * LYNX_ERR_CORRUPT: it is no such page. */
lynx_status lx_listing_read(lx_listing *listing, const char *data, size_t size,
                            lynx_place_visit *visit, void *user, bool *goes_on);

#endif
