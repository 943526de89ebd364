/* SPDX-License-Identifier: MIT */
/*
 * fault_link.h - a link that fails on purpose: it breaks, is reset, stands still or flips a bit
 * behind so many bytes, whichever way they went.
 *
 * A 'fault_tally' may be shared by many links on many threads; 'is_down' breaks all of them.
 */
#ifndef TEST_SUPPORT_FAULT_LINK_H
#define TEST_SUPPORT_FAULT_LINK_H

#include <stdatomic.h>

#include "lynx/link.h"

typedef enum fault_kind {
    FAULT_NONE,
    FAULT_BREAK, /* no byte more, either way; the descriptor is closed in order */
    FAULT_RESET, /* the same, and the peer gets a reset */
    FAULT_STALL, /* nothing moves for 'stall_ns', as if packets were lost; then it goes on */
    FAULT_FLIP,  /* one bit is changed, once */
    FAULT_KINDS
} fault_kind;

typedef struct fault_plan {
    fault_kind kind;
    uint64_t at_byte;    /* sent and received bytes before it */
    uint64_t stall_ns;   /* LYNX_TIME_NEVER: for ever */
    uint64_t more_bytes; /* so long after a stall or a flip the link breaks; 0: it does not */
} fault_plan;

typedef struct fault_tally {
    atomic_bool is_down;
    atomic_uint happened[FAULT_KINDS];
} fault_tally;

/* Wrap 'inner', which may be a TCP link or what wraps one. NULL: no memory, 'inner' stays. */
lynx_link *fault_link_create(lynx_link *inner, const fault_plan *plan, fault_tally *tally);

#endif
