/* SPDX-License-Identifier: MIT */
/*
 * link.h - an ordered stream of bytes between two ends, and ways to get one.
 *
 * A link never blocks. Encryption and several lanes are further links behind the same
 * contract. The pacer emulates a slower link: it holds an asked rate and adds a one-way
 * delay to what this end sends, without any privilege.
 *
 * Threads: one thread at a time for each link. link_tcp opens sockets; nothing else here
 * touches the system.
 */
#ifndef LYNX_LINK_H
#define LYNX_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/export.h"
#include "lynx/memory.h"
#include "lynx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lynx_link lynx_link;

typedef struct lynx_link_ops {
    /* Take up to the sum of 'parts' bytes; '*size' = how many. LYNX_BLOCKED (and 0): no room
     * now. LYNX_ERR_CLOSED: the peer is gone. LYNX_ERR_SYSTEM: see error_text. */
    lynx_status (*send)(lynx_link *link, lynx_time_ns now, const lynx_bytes *parts,
                        uint32_t part_count, size_t *size);
    /* Give up to 'capacity' bytes that arrived. LYNX_BLOCKED: none now. */
    lynx_status (*receive)(lynx_link *link, lynx_time_ns now, uint8_t *data, size_t capacity,
                           size_t *size);
    /* Move what the link itself holds back (a pacer's delay line); '*next' = when to call
     * again, LYNX_TIME_NEVER if there is no need. Also when send will have room again. */
    lynx_status (*flush)(lynx_link *link, lynx_time_ns now, lynx_time_ns *next);
    /* True while sent bytes are still held back by the link itself. */
    bool (*is_draining)(const lynx_link *link);
    /* Descriptor to poll, or -1. */
    int (*descriptor)(const lynx_link *link);
    /* True when send returned BLOCKED because the descriptor is not writable. */
    bool (*wants_writable)(const lynx_link *link);
    const char *(*error_text)(const lynx_link *link);
    void (*destroy)(lynx_link *link);
} lynx_link_ops;

/* First member of every link. */
struct lynx_link {
    const lynx_link_ops *ops;
};

/* End 'link' (closes its descriptor). NULL is allowed. */
LYNX_API void lynx_link_destroy(lynx_link *link);

/* Two ends of an in-process link, each direction holding at most 'capacity_bytes'. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_link_memory_pair(lynx_link *ends[2],
                                                           size_t capacity_bytes,
                                                           const lynx_allocator *memory);

typedef struct lynx_pacer_options {
    size_t struct_size;
    uint64_t rate_bits_per_s; /* 0 = unlimited; else in [10 kbit/s, 100 Gbit/s] */
    uint64_t delay_ns;        /* one way, [0, 10 s] */
} lynx_pacer_options;

LYNX_API void lynx_pacer_options_init(lynx_pacer_options *options);

/* Wrap 'inner'. On success the new link takes it; on failure it stays with the caller. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_link_paced(lynx_link **link, lynx_link *inner,
                                                     const lynx_pacer_options *options,
                                                     const lynx_allocator *memory);

/* ---- TCP ----------------------------------------------------------------------------- */

/* Parse "host:port", "[v6]:port" or ":port". Listening socket in '*descriptor'; 'port' gets
 * the bound port (ask with port 0). 'text' (>= 256 bytes) gets one sentence on failure. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_tcp_listen(const char *address, int *descriptor,
                                                     uint16_t *port, char *text,
                                                     size_t text_size);

/* True when 'address' names only this machine (127.0.0.0/8, ::1, localhost). */
LYNX_API bool lynx_tcp_is_loopback(const char *address);

/* Wait up to 'timeout_ns' for a peer. LYNX_BLOCKED when none came. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_tcp_accept(int descriptor, uint64_t timeout_ns,
                                                     lynx_link **link, char *text,
                                                     size_t text_size,
                                                     const lynx_allocator *memory);

/* Connect, waiting at most 'timeout_ns'. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_tcp_connect(const char *address, uint64_t timeout_ns,
                                                      lynx_link **link, char *text,
                                                      size_t text_size,
                                                      const lynx_allocator *memory);

#ifdef __cplusplus
}
#endif

#endif
