/* SPDX-License-Identifier: MIT */
/*
 * cli_threads.c - how long threads of the engine wait in a loop before they sleep.
 *
 * libgomp lets them wait for milliseconds. Where other processes want the cores as well, each
 * then holds the core that the other threads need: on two busy cores a prefill node was ready
 * after 8 s, not 2. With a short wait it takes 2 s, and steps of a quiet machine are slower by
 * 0 to 8 %; without any, they take three times as long. And nearly without any libgomp does,
 * whatever is said of the wait, as soon as more than one thread of a process computes in turn
 * (it counts the helpers of all of them), unless its policy is to wait actively: 1,000 turns
 * then, where it has 100 else. (lynx bench e2e: a step of 25 ms instead of 42.)
 */
#include <stdlib.h>
#include <unistd.h>

#include "cli.h"

enum { PATH_ROOM = 4096 };

void cli_share_cores(char **argv)
{
    char path[PATH_ROOM];
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
    if (size <= 0 || size == PATH_ROOM || setenv("GOMP_SPINCOUNT", "5000", 0) != 0 ||
        setenv("OMP_WAIT_POLICY", "active", 0) != 0)
        return;
    path[size] = '\0';
    /* libgomp has read its environment by now: begin once more. */
    execv(path, argv);
}
