/* SPDX-License-Identifier: MIT */
#include "link/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "link/explain.h"

typedef struct tcp_link {
    lynx_link base;
    const lynx_allocator *memory;
    int descriptor;
    bool is_blocked;
    char text[160];
} tcp_link;

static lynx_status fail(tcp_link *t, const char *what)
{
    snprintf(t->text, sizeof(t->text), "%s: %s", what, strerror(errno));
    const bool is_gone = errno == ECONNRESET || errno == EPIPE || errno == ETIMEDOUT;
    return is_gone ? LYNX_ERR_CLOSED : LYNX_ERR_SYSTEM;
}

static lynx_status tcp_send(lynx_link *link, lynx_time_ns now, const lynx_bytes *parts,
                            uint32_t part_count, size_t *size)
{
    tcp_link *t = (tcp_link *)(void *)link;
    struct iovec vectors[8];
    struct msghdr message = {.msg_iov = vectors};
    (void)now;
    *size = 0;
    for (uint32_t i = 0; i < part_count && i < 8; i++) {
        vectors[i].iov_base = (void *)(uintptr_t)parts[i].data;
        vectors[i].iov_len = parts[i].size;
        message.msg_iovlen = i + 1;
    }
    ssize_t count;
    do
        count = sendmsg(t->descriptor, &message, MSG_NOSIGNAL);
    while (count < 0 && errno == EINTR);
    t->is_blocked = count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    if (t->is_blocked)
        return LYNX_BLOCKED;
    if (count < 0)
        return fail(t, "cannot send");
    *size = (size_t)count;
    return LYNX_OK;
}

static lynx_status tcp_receive(lynx_link *link, lynx_time_ns now, uint8_t *data,
                               size_t capacity, size_t *size)
{
    tcp_link *t = (tcp_link *)(void *)link;
    (void)now;
    *size = 0;
    ssize_t count;
    do
        count = recv(t->descriptor, data, capacity, 0);
    while (count < 0 && errno == EINTR);
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return LYNX_BLOCKED;
    if (count < 0)
        return fail(t, "cannot receive");
    if (count == 0) {
        snprintf(t->text, sizeof(t->text), "the peer closed the connection");
        return LYNX_ERR_CLOSED;
    }
    *size = (size_t)count;
    return LYNX_OK;
}

static lynx_status tcp_flush(lynx_link *link, lynx_time_ns now, lynx_time_ns *next)
{
    (void)link;
    (void)now;
    *next = LYNX_TIME_NEVER;
    return LYNX_OK;
}

static bool tcp_is_draining(const lynx_link *link)
{
    (void)link;
    return false;
}

static int tcp_descriptor(const lynx_link *link)
{
    return ((const tcp_link *)(const void *)link)->descriptor;
}

static bool tcp_wants_writable(const lynx_link *link)
{
    return ((const tcp_link *)(const void *)link)->is_blocked;
}

static const char *tcp_error_text(const lynx_link *link)
{
    const tcp_link *t = (const tcp_link *)(const void *)link;
    return t->text[0] ? t->text : "the connection broke";
}

static const char *tcp_peer_name(const lynx_link *link)
{
    (void)link;
    return NULL;
}

static void tcp_destroy(lynx_link *link)
{
    tcp_link *t = (tcp_link *)(void *)link;
    close(t->descriptor);
    lx_free(t->memory, t, 1, sizeof(*t));
}

static const lynx_link_ops tcp_ops = {
    .send = tcp_send,
    .receive = tcp_receive,
    .flush = tcp_flush,
    .is_draining = tcp_is_draining,
    .descriptor = tcp_descriptor,
    .wants_writable = tcp_wants_writable,
    .error_text = tcp_error_text,
    .peer_name = tcp_peer_name,
    .destroy = tcp_destroy,
};

/* ---- options ------------------------------------------------------------------------- */

void lynx_tcp_options_init(lynx_tcp_options *options)
{
    *options = (lynx_tcp_options){
        .struct_size = sizeof(*options),
        .dscp = -1,
        .user_timeout_ms = 5000,
        .keepalive_idle_s = 5,
        .keepalive_interval_s = 1,
        .keepalive_count = 3,
        .notsent_bytes = 512 << 10,
    };
}

void lx_tcp_set(int descriptor, int level, int name, int value)
{
    /* A kernel without the option serves a little worse, not wrongly. */
    (void)!setsockopt(descriptor, level, name, &value, sizeof(value));
}

bool lx_tcp_set_nonblocking(int descriptor)
{
    const int flags = fcntl(descriptor, F_GETFL);
    return flags >= 0 && fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0 &&
           fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0;
}

static bool is_local_socket(int descriptor)
{
    int domain = 0;
    socklen_t length = sizeof(domain);
    return getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 &&
           domain == AF_UNIX;
}

/* What was asked for by name or number, and has no default, must hold. */
static lynx_status apply_asked(int d, const lynx_tcp_options *o, char *text, size_t text_size)
{
    if (o->congestion && setsockopt(d, IPPROTO_TCP, TCP_CONGESTION, o->congestion,
                                    (socklen_t)strlen(o->congestion)) != 0)
        return lx_explain(text, text_size, LYNX_ERR_ARGUMENT,
                          "the kernel does not offer the congestion control '%s' (%s); see "
                          "/proc/sys/net/ipv4/tcp_allowed_congestion_control",
                          o->congestion, strerror(errno));
    const uint64_t bytes_per_s = o->pacing_bits_per_s / 8;
    if (o->pacing_bits_per_s &&
        setsockopt(d, SOL_SOCKET, SO_MAX_PACING_RATE, &bytes_per_s, sizeof(bytes_per_s)) != 0)
        return lx_explain(text, text_size, LYNX_ERR_UNSUPPORTED,
                          "the kernel does not pace this socket: %s", strerror(errno));
    if (o->dscp >= 0) { /* one of the two fits the family */
        lx_tcp_set(d, IPPROTO_IP, IP_TOS, o->dscp << 2);
        lx_tcp_set(d, IPPROTO_IPV6, IPV6_TCLASS, o->dscp << 2);
    }
    return LYNX_OK;
}

lynx_status lx_tcp_apply(int d, const lynx_tcp_options *options, char *text, size_t text_size)
{
    lynx_tcp_options o;
    lynx_tcp_options_init(&o);
    if (options)
        o = *options;
    if (o.dscp < -1 || o.dscp > 63)
        return lx_explain(text, text_size, LYNX_ERR_ARGUMENT, "DSCP %d is not in 0 to 63",
                          o.dscp);
    if (is_local_socket(d))
        return LYNX_OK;
    LX_TRY(apply_asked(d, &o, text, text_size));
    lx_tcp_set(d, IPPROTO_TCP, TCP_NODELAY, 1);
    lx_tcp_set(d, IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)o.notsent_bytes);
    lx_tcp_set(d, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)o.user_timeout_ms);
    lx_tcp_set(d, SOL_SOCKET, SO_KEEPALIVE, o.keepalive_idle_s > 0);
    if (o.keepalive_idle_s > 0) {
        lx_tcp_set(d, IPPROTO_TCP, TCP_KEEPIDLE, (int)o.keepalive_idle_s);
        lx_tcp_set(d, IPPROTO_TCP, TCP_KEEPINTVL, (int)o.keepalive_interval_s);
        lx_tcp_set(d, IPPROTO_TCP, TCP_KEEPCNT, (int)o.keepalive_count);
    }
    return LYNX_OK;
}

lynx_status lx_tcp_wrap(int descriptor, lynx_link **link, const lynx_allocator *memory)
{
    memory = lx_allocator_or_default(memory);
    LX_REQUIRE(lx_tcp_set_nonblocking(descriptor), LYNX_ERR_SYSTEM);
    tcp_link *t = lx_alloc_zeroed(memory, 1, sizeof(*t));
    LX_REQUIRE(t, LYNX_ERR_MEMORY);
    t->base.ops = &tcp_ops;
    t->memory = memory;
    t->descriptor = descriptor;
    *link = &t->base;
    return LYNX_OK;
}
