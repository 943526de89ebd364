/* SPDX-License-Identifier: MIT */
/* tcp_connect.c - addresses; listen, accept, connect. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "link/explain.h"
#include "link/tcp.h"

enum { HOST_MAX = 256, BACKLOG = SOMAXCONN };

typedef struct endpoint {
    char host[HOST_MAX]; /* empty: any address */
    char port[8];
} endpoint;

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

/* Path of "unix:/path", or NULL. */
static const char *local_path(const char *address)
{
    return strncmp(address, "unix:", 5) == 0 ? address + 5 : NULL;
}

bool lynx_tcp_is_address(const char *address)
{
    endpoint e;
    return local_path(address) || parse_address(address, &e);
}

bool lynx_tcp_is_loopback(const char *address)
{
    endpoint e;
    if (local_path(address))
        return true;
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
        return lx_explain(text, text_size, LYNX_ERR_ARGUMENT,
                          "'%s' is not an address; write HOST:PORT, [IPV6]:PORT, :PORT or "
                          "unix:/PATH",
                          address);
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = is_passive ? AI_PASSIVE : 0,
    };
    const int error = getaddrinfo(e.host[0] ? e.host : NULL, e.port, &hints, found);
    if (error)
        return lx_explain(text, text_size, LYNX_ERR_ARGUMENT, "cannot resolve '%s': %s",
                          address, gai_strerror(error));
    return LYNX_OK;
}

/* ---- local sockets ------------------------------------------------------------------- */

static lynx_status local_address(const char *path, struct sockaddr_un *local, char *text,
                                 size_t text_size)
{
    const size_t length = strlen(path);
    *local = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (length == 0 || length >= sizeof(local->sun_path))
        return lx_explain(text, text_size, LYNX_ERR_ARGUMENT,
                          "the path of a local socket has 1 to %zu bytes, not %zu",
                          sizeof(local->sun_path) - 1, length);
    memcpy(local->sun_path, path, length + 1);
    return LYNX_OK;
}

/* Remove a socket that a program which ended has left. */
static void remove_stale(const struct sockaddr_un *local)
{
    struct stat found;
    if (lstat(local->sun_path, &found) != 0 || !S_ISSOCK(found.st_mode))
        return;
    const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return;
    if (connect(probe, (const struct sockaddr *)local, sizeof(*local)) != 0 &&
        errno == ECONNREFUSED)
        unlink(local->sun_path);
    close(probe);
}

/* The mode is set before anybody can connect, which takes listen(). */
static lynx_status listen_local(const char *path, int *descriptor, char *text, size_t text_size)
{
    struct sockaddr_un local;
    LX_TRY(local_address(path, &local, text, text_size));
    const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    LX_REQUIRE(listener >= 0, lx_explain(text, text_size, LYNX_ERR_SYSTEM,
                                         "cannot open a local socket: %s", strerror(errno)));
    remove_stale(&local);
    if (bind(listener, (const struct sockaddr *)&local, sizeof(local)) != 0 ||
        chmod(path, S_IRUSR | S_IWUSR) != 0 || listen(listener, BACKLOG) != 0) {
        const int error = errno;
        close(listener);
        return lx_explain(text, text_size, LYNX_ERR_SYSTEM, "cannot listen on 'unix:%s': %s",
                          path, strerror(error));
    }
    *descriptor = listener;
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
    if (local_path(address)) {
        LX_TRY(listen_local(local_path(address), descriptor, text, text_size));
        *port = 0;
        return LYNX_OK;
    }
    struct addrinfo *found = NULL;
    LX_TRY(resolve(address, true, &found, text, text_size));
    int error = EADDRNOTAVAIL;
    int listener = -1;
    for (const struct addrinfo *a = found; a && listener < 0; a = a->ai_next) {
        listener = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (listener < 0)
            continue;
        lx_tcp_set(listener, SOL_SOCKET, SO_REUSEADDR, 1);
        if (bind(listener, a->ai_addr, a->ai_addrlen) != 0 || listen(listener, BACKLOG) != 0) {
            error = errno;
            close(listener);
            listener = -1;
        }
    }
    freeaddrinfo(found);
    if (listener < 0)
        return lx_explain(text, text_size, LYNX_ERR_SYSTEM, "cannot listen on '%s': %s",
                          address, strerror(error));
    *descriptor = listener;
    *port = bound_port(listener);
    return LYNX_OK;
}

/* The link over a connected socket, or the socket closed. */
static lynx_status wrap(int descriptor, lynx_status applied, lynx_link **link, char *text,
                        size_t text_size, const lynx_allocator *memory)
{
    const lynx_status status =
        applied == LYNX_OK ? lx_tcp_wrap(descriptor, link, memory) : applied;
    if (status != LYNX_OK)
        close(descriptor);
    if (applied == LYNX_OK && status != LYNX_OK)
        return lx_explain(text, text_size, status, "%s", lynx_status_text(status));
    return status;
}

lynx_status lynx_tcp_accept(int descriptor, uint64_t timeout_ns,
                            const lynx_tcp_options *options, lynx_link **link, char *text,
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
                          : lx_explain(text, text_size, LYNX_ERR_SYSTEM,
                                       "cannot accept a connection: %s", strerror(errno));
    }
    return wrap(accepted, lx_tcp_apply(accepted, options, text, text_size), link, text,
                text_size, memory);
}

/* Connect one socket within the time; 0 or an errno. */
static int connect_within(int descriptor, const struct addrinfo *a, uint64_t timeout_ns)
{
    if (!lx_tcp_set_nonblocking(descriptor))
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

typedef struct attempt {
    int descriptor; /* connected, or -1 */
    int error;      /* errno of the last address that was tried */
    lynx_status applied;
} attempt;

/* Connect to the first address of 'list' that answers. Options come before the connection, so
 * that its first packet has them. */
static attempt connect_first(const struct addrinfo *list, uint64_t timeout_ns,
                             const lynx_tcp_options *options, char *text, size_t text_size)
{
    attempt t = {-1, EADDRNOTAVAIL, LYNX_OK};
    for (const struct addrinfo *a = list; a && t.descriptor < 0; a = a->ai_next) {
        t.descriptor = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (t.descriptor < 0)
            continue;
        t.applied = lx_tcp_apply(t.descriptor, options, text, text_size);
        if (t.applied != LYNX_OK)
            return t;
        t.error = connect_within(t.descriptor, a, timeout_ns);
        if (t.error) {
            close(t.descriptor);
            t.descriptor = -1;
        }
    }
    return t;
}

static attempt connect_local(const struct sockaddr_un *local, uint64_t timeout_ns,
                             const lynx_tcp_options *options, char *text, size_t text_size)
{
    struct sockaddr_un copy = *local;
    const struct addrinfo a = {.ai_family = AF_UNIX,
                               .ai_socktype = SOCK_STREAM,
                               .ai_addr = (struct sockaddr *)&copy,
                               .ai_addrlen = sizeof(copy)};
    return connect_first(&a, timeout_ns, options, text, text_size);
}

lynx_status lynx_tcp_connect(const char *address, uint64_t timeout_ns,
                             const lynx_tcp_options *options, lynx_link **link, char *text,
                             size_t text_size, const lynx_allocator *memory)
{
    attempt tried;
    if (local_path(address)) {
        struct sockaddr_un local;
        LX_TRY(local_address(local_path(address), &local, text, text_size));
        tried = connect_local(&local, timeout_ns, options, text, text_size);
    } else {
        struct addrinfo *found = NULL;
        LX_TRY(resolve(address, false, &found, text, text_size));
        tried = connect_first(found, timeout_ns, options, text, text_size);
        freeaddrinfo(found);
    }
    if (tried.descriptor < 0)
        return lx_explain(text, text_size, LYNX_ERR_CLOSED,
                          "cannot connect to '%s': %s; is 'lynxd prefill' running there?",
                          address, strerror(tried.error));
    return wrap(tried.descriptor, tried.applied, link, text, text_size, memory);
}
