/* SPDX-License-Identifier: MIT */
/*
 * link.h - an ordered stream of bytes between two ends, and ways to get one.
 *
 * A link never blocks. Encryption (lynx/tls.h) and several lanes are further links behind the
 * same contract. The pacer emulates a slower link: it holds an asked rate and adds a one-way
 * delay to what this end sends, without any privilege.
 *
 * Threads: one thread at a time for each link. lynx_tcp_* opens sockets, of TCP or of the
 * local machine ("unix:/path"); nothing else here touches the system.
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
     * now. LYNX_ERR_CLOSED: the peer is gone. LYNX_ERR_DENIED: it is not who it must be, or
     * says so of us. LYNX_ERR_SYSTEM: see error_text. */
    lynx_status (*send)(lynx_link *link, lynx_time_ns now, const lynx_bytes *parts,
                        uint32_t part_count, size_t *size);
    /* Give up to 'capacity' bytes that arrived. LYNX_BLOCKED: none now. */
    lynx_status (*receive)(lynx_link *link, lynx_time_ns now, uint8_t *data, size_t capacity,
                           size_t *size);
    /* Move what the link itself holds back (a pacer's delay line); '*next' = when to call
     * again, LYNX_TIME_NEVER if there is no need. Also when send will have room again, and
     * 'now' when bytes for receive wait inside the link, where no poll sees them. */
    lynx_status (*flush)(lynx_link *link, lynx_time_ns now, lynx_time_ns *next);
    /* True while sent bytes are still held back by the link itself. */
    bool (*is_draining)(const lynx_link *link);
    /* Descriptor to poll, or -1. */
    int (*descriptor)(const lynx_link *link);
    /* True when send returned BLOCKED because the descriptor is not writable. */
    bool (*wants_writable)(const lynx_link *link);
    const char *(*error_text)(const lynx_link *link);
    /* Authenticated name of the peer, valid until destroy. NULL: not authenticated, or not
     * yet. Bytes are received only from a peer whose name is known, if the link has one. */
    const char *(*peer_name)(const lynx_link *link);
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

/* ---- TCP and local sockets ----------------------------------------------------------- */

/* An option that the system lacks is left out, but for those that have no default. Of a local
 * socket ("unix:/path") none applies. */
typedef struct lynx_tcp_options {
    size_t struct_size;
    /* Congestion control, such as "bbr"; borrowed. NULL (default): the system's. A name that
     * the kernel does not have is refused. */
    const char *congestion;
    /* Mark of each packet, 0 to 63 (46: expedited forwarding); -1 (default): none. */
    int32_t dscp;
    /* The kernel spreads packets to hold this rate (SO_MAX_PACING_RATE); 0 (default): it does
     * not. */
    uint64_t pacing_bits_per_s;
    /* Sent data that nobody acknowledges for so long ends the connection. Default 5000. */
    uint32_t user_timeout_ms;
    /* A silent peer is asked after 'idle', then each 'interval', and is gone after 'count'
     * questions. Defaults 5, 1 and 3. Idle 0: not asked. */
    uint32_t keepalive_idle_s, keepalive_interval_s, keepalive_count;
    /* Bytes that may wait in the kernel unsent. What stands in front of a late anchor is
     * bounded by the session already: this only keeps the kernel from hoarding. Default 512
     * KiB. */
    uint32_t notsent_bytes;
} lynx_tcp_options;

LYNX_API void lynx_tcp_options_init(lynx_tcp_options *options);

/* Parse "host:port", "[v6]:port", ":port" or "unix:/path". Listening socket in '*descriptor';
 * 'port' gets the bound port (ask with port 0), 0 for a local socket. A local socket that
 * nobody listens on any more is replaced; only this user may connect to it. 'text' (>= 256
 * bytes) gets one sentence on failure. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_tcp_listen(const char *address, int *descriptor,
                                                     uint16_t *port, char *text,
                                                     size_t text_size);

/* True when 'address' has one of these forms. */
LYNX_API bool lynx_tcp_is_address(const char *address);

/* True when 'address' names only this machine (127.0.0.0/8, ::1, localhost, unix:). */
LYNX_API bool lynx_tcp_is_loopback(const char *address);

/* Wait up to 'timeout_ns' for a peer. LYNX_BLOCKED when none came. 'options' (NULL: defaults)
 * are read during the call. */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_tcp_accept(int descriptor, uint64_t timeout_ns,
                                                     const lynx_tcp_options *options,
                                                     lynx_link **link, char *text,
                                                     size_t text_size,
                                                     const lynx_allocator *memory);

/* Connect, waiting at most 'timeout_ns'. 'options' (NULL: defaults) are read during the call.
 */
LYNX_API LYNX_MUST_CHECK lynx_status lynx_tcp_connect(const char *address, uint64_t timeout_ns,
                                                      const lynx_tcp_options *options,
                                                      lynx_link **link, char *text,
                                                      size_t text_size,
                                                      const lynx_allocator *memory);

#ifdef __cplusplus
}
#endif

#endif
