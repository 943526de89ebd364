/* SPDX-License-Identifier: MIT */
/* http_client.h - a client of a server on loopback. A mistake of the test itself aborts. */
#ifndef TEST_SUPPORT_HTTP_CLIENT_H
#define TEST_SUPPORT_HTTP_CLIENT_H

#include <stdint.h>

enum { ANSWER_BYTES = 1 << 18 };

int http_connect(uint16_t port);
void http_send(int descriptor, const char *text);

/* POST 'body'; the descriptor. */
int http_post(uint16_t port, const char *path, const char *body);

/* All that the server says, into ANSWER_BYTES; closes. */
void http_read_all(int descriptor, char *answer);
void http_get(uint16_t port, const char *path, char *answer);

/* What stands between 'before' and the next quote, everywhere. */
void http_collect(const char *answer, const char *before, char *text);

/* Value of a metric, its labels being part of the name. */
double http_metric(uint16_t port, const char *name);

#endif
