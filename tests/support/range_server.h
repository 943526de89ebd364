/* SPDX-License-Identifier: MIT */
/* range_server.h - range_server.py as a process of the test. */
#ifndef TEST_SUPPORT_RANGE_SERVER_H
#define TEST_SUPPORT_RANGE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct test_server {
    pid_t process;
    int input; /* of the process: it ends when this is closed */
    int port;
    char folder[64]; /* of the test: log, certificate */
} test_server;

/* False: there is no python3 (with 'is_tls': or no openssl) here. */
bool test_server_start(test_server *server, bool is_tls);
void test_server_stop(test_server *server);

/* "http://127.0.0.1:PORT/FAULT", or https. */
const char *test_server_url(const test_server *server, const char *fault, bool is_tls);

/* Requests so far with this text in their line. */
int test_server_count(const test_server *server, const char *text);

/* The byte at 'offset' of each object. */
uint8_t test_server_byte(uint64_t offset);

#endif
