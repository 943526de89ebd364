/* SPDX-License-Identifier: MIT */
/* fault_place.h - a place before another that breaks what passes, when told so. */
#ifndef TEST_SUPPORT_FAULT_PLACE_H
#define TEST_SUPPORT_FAULT_PLACE_H

#include "lynx/place.h"

typedef struct fault_place {
    lynx_place base;
    lynx_place_ops ops;
    lynx_place *inner;
    uint32_t flips;        /* so many reads of more than a header's 64 KiB get one wrong byte */
    uint32_t writes;       /* so far */
    uint32_t fail_write;   /* the write that fails, from 1; 0: none */
    bool is_torn;          /* what is written lacks its last byte */
    uint32_t opens, reads; /* so far */
} fault_place;

/* 'inner' is taken; the place lives as long as 'place'. */
void fault_place_init(fault_place *place, lynx_place *inner);

#endif
