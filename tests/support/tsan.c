/* SPDX-License-Identifier: MIT */
/*
 * tsan.c - what the thread sanitizer is told to pass over.
 *
 * libuv closes descriptors by the bare system call, which the sanitizer does not see: whoever
 * gets the number next seems to race with the thread that had it.
 */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "race:epoll_create1\n"
           "race:eventfd\n"
           "race:socket\n"
           "race:pipe2\n"
           "race:epoll_ctl\n"
           "race_top:libuv.so\n";
}
