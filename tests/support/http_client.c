/* SPDX-License-Identifier: MIT */
#include "support/http_client.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/toy_nodes.h"

int http_connect(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    TOY_CHECK(descriptor >= 0);
    TOY_CHECK(connect(descriptor, (struct sockaddr *)&address, sizeof(address)) == 0);
    return descriptor;
}

void http_send(int descriptor, const char *text)
{
    const size_t size = strlen(text);
    TOY_CHECK(send(descriptor, text, size, MSG_NOSIGNAL) == (ssize_t)size);
}

int http_post(uint16_t port, const char *path, const char *body)
{
    char head[256];
    snprintf(head, sizeof(head),
             "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
             path, strlen(body));
    const int descriptor = http_connect(port);
    http_send(descriptor, head);
    http_send(descriptor, body);
    return descriptor;
}

void http_read_all(int descriptor, char *answer)
{
    size_t size = 0;
    for (;;) {
        const ssize_t got = recv(descriptor, answer + size, ANSWER_BYTES - 1 - size, 0);
        if (got <= 0)
            break;
        size += (size_t)got;
    }
    answer[size] = '\0';
    close(descriptor);
}

void http_get(uint16_t port, const char *path, char *answer)
{
    char head[256];
    snprintf(head, sizeof(head), "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
             path);
    const int descriptor = http_connect(port);
    http_send(descriptor, head);
    http_read_all(descriptor, answer);
}

void http_collect(const char *answer, const char *before, char *text)
{
    size_t size = 0;
    for (const char *at = strstr(answer, before); at; at = strstr(at, before)) {
        at += strlen(before);
        const size_t length = strcspn(at, "\"");
        memcpy(text + size, at, length);
        size += length;
    }
    text[size] = '\0';
}

double http_metric(uint16_t port, const char *name)
{
    char line[128];
    char *answer = malloc(ANSWER_BYTES);
    TOY_CHECK(answer != NULL);
    http_get(port, "/metrics", answer);
    snprintf(line, sizeof(line), "\n%s ", name);
    const char *found = strstr(answer, line);
    TOY_CHECK(found != NULL);
    const double value = strtod(found + strlen(line), NULL);
    free(answer);
    return value;
}
