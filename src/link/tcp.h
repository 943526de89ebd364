/* SPDX-License-Identifier: MIT */
/* tcp.h - what opening sockets and the link over one share. */
#ifndef LX_LINK_TCP_H
#define LX_LINK_TCP_H

#include "lynx/link.h"

/* Set an integer option; a kernel that lacks it is forgiven. */
void lx_tcp_set(int descriptor, int level, int name, int value);
bool lx_tcp_set_nonblocking(int descriptor);

/* Set the options of a connection; NULL: the defaults. Nothing is set on a local socket. */
lynx_status lx_tcp_apply(int descriptor, const lynx_tcp_options *options, char *text,
                         size_t text_size);

/* The link over a connected socket; takes 'descriptor' on success. */
lynx_status lx_tcp_wrap(int descriptor, lynx_link **link, const lynx_allocator *memory);

#endif
