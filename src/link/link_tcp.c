/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "lynx/link.h"

enum {
    HOST_MAX = 256,
    NOTSENT_LOWAT_BYTES = 128 << 10, /* bounds what waits in front of a late anchor */
    KEEPALIVE_IDLE_S = 5,
    KEEPALIVE_INTERVAL_S = 1,
    KEEPALIVE_COUNT = 3,
    USER_TIMEOUT_MS = 5000,
    BACKLOG = 16
};

typedef struct tcp_link {
    lynx_link base;
    const lynx_allocator *memory;
    int descriptor;
    bool is_blocked;
    char text[160];
} tcp_link;

typedef struct endpoint {
    char host[HOST_MAX]; /* empty: any address */
    char port[8];
} endpoint;

static lynx_status explain(char *text, size_t size, lynx_status status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static lynx_status explain(char *text, size_t size, lynx_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, size, format, arguments);
    va_end(arguments);
    return status;
}

/* ---- the link ------------------------------------------------------------------------ */

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
    .destroy = tcp_destroy,
};

static void set_option(int descriptor, int level, int name, int value)
{
    /* A kernel without the option serves a little worse, not wrongly. */
    (void)!setsockopt(descriptor, level, name, &value, sizeof(value));
}

static bool set_nonblocking(int descriptor)
{
    const int flags = fcntl(descriptor, F_GETFL);
    return flags >= 0 && fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0 &&
           fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0;
}

/* Wrap a connected socket; closes it on failure. */
static lynx_status wrap(int descriptor, lynx_link **link, const lynx_allocator *memory)
{
    memory = lx_allocator_or_default(memory);
    tcp_link *t = set_nonblocking(descriptor) ? lx_alloc_zeroed(memory, 1, sizeof(*t)) : NULL;
    if (!t) {
        close(descriptor);
        return LYNX_ERR_MEMORY;
    }
    set_option(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(descriptor, IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES);
    set_option(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS);
    set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_option(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_option(descriptor, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
    t->base.ops = &tcp_ops;
    t->memory = memory;
    t->descriptor = descriptor;
    *link = &t->base;
    return LYNX_OK;
}

/* ---- addresses ----------------------------------------------------------------------- */

static bool parse_port(const char *text, char port[8])
{
    const size_t length = strlen(text);
    if (length < 1 || length > 5 || strspn(text, "0123456789") != length)
        return false;
    unsigned long number = 0;
    for (const char *p = text; *p; p++)
        number = number * 10 + (unsigned long)(*p - '0');
    memcpy(port, text, length + 1);
    return number <= 65535;
}

static bool parse_address(const char *address, endpoint *e)
{
    const char *colon = strrchr(address, ':');
    if (!colon || !parse_port(colon + 1, e->port))
        return false;
    size_t length = (size_t)(colon - address);
    const char *host = address;
    if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
        host++;
        length -= 2;
    } else if (memchr(host, ':', length)) {
        return false; /* an IPv6 address needs brackets */
    }
    if (length >= HOST_MAX)
        return false;
    memcpy(e->host, host, length);
    e->host[length] = '\0';
    return true;
}

bool lynx_tcp_is_loopback(const char *address)
{
    endpoint e;
    if (!parse_address(address, &e))
        return false;
    unsigned a, b, c, d;
    char rest;
    const bool is_quad = sscanf(e.host, "%3u.%3u.%3u.%3u%c", &a, &b, &c, &d, &rest) == 4;
    return strcmp(e.host, "localhost") == 0 || strcmp(e.host, "::1") == 0 ||
           (is_quad && a == 127);
}

static lynx_status resolve(const char *address, bool is_passive, struct addrinfo **found,
                           char *text, size_t text_size)
{
    endpoint e;
    if (!parse_address(address, &e))
        return explain(text, text_size, LYNX_ERR_ARGUMENT,
                       "'%s' is not an address; write HOST:PORT, [IPV6]:PORT or :PORT",
                       address);
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = is_passive ? AI_PASSIVE : 0,
    };
    const int error = getaddrinfo(e.host[0] ? e.host : NULL, e.port, &hints, found);
    if (error)
        return explain(text, text_size, LYNX_ERR_ARGUMENT, "cannot resolve '%s': %s", address,
                       gai_strerror(error));
    return LYNX_OK;
}

/* ---- listen, accept, connect --------------------------------------------------------- */

static uint16_t bound_port(int descriptor)
{
    struct sockaddr_storage bound;
    socklen_t length = sizeof(bound);
    if (getsockname(descriptor, (struct sockaddr *)&bound, &length) != 0)
        return 0;
    if (bound.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)(void *)&bound)->sin6_port);
    return ntohs(((struct sockaddr_in *)(void *)&bound)->sin_port);
}

lynx_status lynx_tcp_listen(const char *address, int *descriptor, uint16_t *port, char *text,
                            size_t text_size)
{
    struct addrinfo *found = NULL;
    LX_TRY(resolve(address, true, &found, text, text_size));
    int error = EADDRNOTAVAIL;
    int listener = -1;
    for (const struct addrinfo *a = found; a && listener < 0; a = a->ai_next) {
        listener = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (listener < 0)
            continue;
        set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1);
        if (bind(listener, a->ai_addr, a->ai_addrlen) != 0 || listen(listener, BACKLOG) != 0) {
            error = errno;
            close(listener);
            listener = -1;
        }
    }
    freeaddrinfo(found);
    if (listener < 0)
        return explain(text, text_size, LYNX_ERR_SYSTEM, "cannot listen on '%s': %s", address,
                       strerror(error));
    *descriptor = listener;
    *port = bound_port(listener);
    return LYNX_OK;
}

lynx_status lynx_tcp_accept(int descriptor, uint64_t timeout_ns, lynx_link **link, char *text,
                            size_t text_size, const lynx_allocator *memory)
{
    struct pollfd poller = {.fd = descriptor, .events = POLLIN};
    const int ready = poll(&poller, 1, (int)(timeout_ns / 1000000));
    if (ready <= 0)
        return LYNX_BLOCKED;
    const int accepted = accept4(descriptor, NULL, NULL, SOCK_CLOEXEC);
    if (accepted < 0) {
        const bool is_passing = errno == EINTR || errno == ECONNABORTED || errno == EAGAIN;
        return is_passing ? LYNX_BLOCKED
                          : explain(text, text_size, LYNX_ERR_SYSTEM,
                                    "cannot accept a connection: %s", strerror(errno));
    }
    return wrap(accepted, link, memory);
}

/* Connect one socket within the time; 0 or an errno. */
static int connect_within(int descriptor, const struct addrinfo *a, uint64_t timeout_ns)
{
    if (!set_nonblocking(descriptor))
        return errno;
    if (connect(descriptor, a->ai_addr, a->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    struct pollfd poller = {.fd = descriptor, .events = POLLOUT};
    if (poll(&poller, 1, (int)(timeout_ns / 1000000)) <= 0)
        return ETIMEDOUT;
    int error = 0;
    socklen_t length = sizeof(error);
    if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
        return errno;
    return error;
}

lynx_status lynx_tcp_connect(const char *address, uint64_t timeout_ns, lynx_link **link,
                             char *text, size_t text_size, const lynx_allocator *memory)
{
    struct addrinfo *found = NULL;
    LX_TRY(resolve(address, false, &found, text, text_size));
    int error = EADDRNOTAVAIL;
    int connected = -1;
    for (const struct addrinfo *a = found; a && connected < 0; a = a->ai_next) {
        connected = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (connected < 0)
            continue;
        error = connect_within(connected, a, timeout_ns);
        if (error) {
            close(connected);
            connected = -1;
        }
    }
    freeaddrinfo(found);
    if (connected < 0)
        return explain(text, text_size, LYNX_ERR_CLOSED,
                       "cannot connect to '%s': %s; is 'lynxd prefill' running there?", address,
                       strerror(error));
    return wrap(connected, link, memory);
}
