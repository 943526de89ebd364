/* SPDX-License-Identifier: MIT */
#include "process.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli.h"

enum { DESCRIPTORS = 65536 };

static volatile sig_atomic_t must_drain, must_reload;

static void on_end(int number)
{
    (void)number;
    if (must_drain)
        cli_stop = 1;
    must_drain = 1;
}

static void on_hangup(int number)
{
    (void)number;
    must_reload = 1;
}

void lynxd_catch_signals(void)
{
    struct sigaction end = {.sa_handler = on_end};
    struct sigaction hangup = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGHUP, &hangup, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

bool lynxd_must_drain(void)
{
    return must_drain != 0;
}

bool lynxd_take_reload(void)
{
    const bool must = must_reload != 0;
    must_reload = 0;
    return must;
}

void lynxd_raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= DESCRIPTORS)
        return;
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

void lynxd_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t length = path ? strlen(path) : 0;
    if (length < 2 || length >= sizeof(address.sun_path))
        return;
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') /* an abstract name */
        address.sun_path[0] = '\0';
    const int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return;
    /* Nobody to tell is no reason to end. */
    (void)!sendto(descriptor, state, strlen(state), MSG_NOSIGNAL,
                  (const struct sockaddr *)&address,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    close(descriptor);
}
