/* SPDX-License-Identifier: MIT */
/* real_servers.h - nginx and rclone as processes of the test, on loopback, on a folder. */
#ifndef TEST_SUPPORT_REAL_SERVERS_H
#define TEST_SUPPORT_REAL_SERVERS_H

#include <stdbool.h>
#include <sys/types.h>

#define TEST_KEY_ID "TESTKEYIDTESTKEY"
#define TEST_SECRET "not/a+secret/in=tests/0123456789"

typedef struct test_real {
    pid_t process;
    int port;
    char folder[64];  /* configuration and log */
    char content[96]; /* what is served: files, or folders that are buckets */
    char address[64]; /* http://127.0.0.1:PORT */
} test_real;

/* Both: false: it is not installed. */

/* 'rate': bytes in a second for each connection; 0: no limit. PUT and DELETE are allowed below
 * /open/. */
bool test_nginx_start(test_real *server, unsigned rate);
/* The same server once more, after test_real_kill. */
bool test_nginx_again(test_real *server);
/* With a bucket "bucket". */
bool test_rclone_start(test_real *server);

void test_real_kill(test_real *server);
void test_real_stop(test_real *server);

#endif
