/* SPDX-License-Identifier: MIT */
/*
 * net_space.h - two network namespaces and a slow wire between them.
 *
 *     namespace 0           this process                namespace 1
 *     10.0.0.1, tun --> [rate, drop-tail queue, delay] --> tun, 10.0.0.2
 *                   <-- [the same                    ] <--
 *
 * The wire is a thread for each direction: not every kernel has netem, and a rate without its
 * queue and delay would flatter every sender. The namespaces have no names: they end with the
 * processes that use them, however those end. Needs root or unprivileged user namespaces, and
 * /dev/net/tun.
 */
#ifndef NET_SPACE_H
#define NET_SPACE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct net_space net_space;

/* Make both. NULL: not possible here, 'text' says why. Call it before threads are started. */
net_space *net_space_open(double link_mbps, double rtt_ms, char *text, size_t text_size);

/* Of a child of this process: be in namespace 'side' from now on. */
bool net_space_enter(const net_space *space, int side);

/* Packets move from now on. Children that enter must have been started before. */
bool net_space_run(net_space *space);

/* NULL is allowed. */
void net_space_close(net_space *space);

/* Address that namespace 0 listens on. */
extern const char net_space_address[];

#endif
