/* SPDX-License-Identifier: MIT */
#include "support/range_server.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

uint8_t test_server_byte(uint64_t offset)
{
    return (uint8_t)(offset * 131 + (offset >> 8) * 17);
}

static bool make_certificate(const char *folder)
{
    char command[512];
    snprintf(command, sizeof(command),
             "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
             "-days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1 -keyout key.pem "
             "-out certificate.pem >/dev/null 2>&1",
             folder);
    return system(command) == 0;
}

static void become_server(const test_server *s, bool is_tls, int input, int output)
{
    char log[128], certificate[128], key[128];
    snprintf(log, sizeof(log), "%s/log", s->folder);
    snprintf(certificate, sizeof(certificate), "%s/certificate.pem", s->folder);
    snprintf(key, sizeof(key), "%s/key.pem", s->folder);
    dup2(input, 0);
    dup2(output, 1);
    execlp("python3", "python3", LYNX_SOURCE_DIR "/tests/support/range_server.py", log,
           is_tls ? certificate : NULL, key, NULL);
    _exit(127);
}

bool test_server_start(test_server *server, bool is_tls)
{
    int input[2], output[2];
    char line[16] = "";
    snprintf(server->folder, sizeof(server->folder), "/tmp/lynx-net-XXXXXX");
    if (!mkdtemp(server->folder) || (is_tls && !make_certificate(server->folder)) ||
        pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0)
        return false;
    server->process = fork();
    if (server->process == 0)
        become_server(server, is_tls, input[0], output[1]);
    close(input[0]);
    close(output[1]);
    server->input = input[1];
    for (size_t used = 0; used + 1 < sizeof(line) && !strchr(line, '\n'); used++)
        if (read(output[0], line + used, 1) != 1)
            break;
    close(output[0]);
    server->port = atoi(line);
    if (server->port == 0)
        test_server_stop(server);
    return server->port > 0;
}

void test_server_stop(test_server *server)
{
    char command[128];
    close(server->input);
    waitpid(server->process, NULL, 0);
    snprintf(command, sizeof(command), "rm -rf %s", server->folder);
    if (system(command) != 0)
        fprintf(stderr, "%s stays\n", server->folder);
}

const char *test_server_url(const test_server *server, const char *fault, bool is_tls)
{
    static char url[256];
    snprintf(url, sizeof(url), "%s://127.0.0.1:%d/%s", is_tls ? "https" : "http", server->port,
             fault);
    return url;
}

int test_server_count(const test_server *server, const char *text)
{
    char path[128], line[1024];
    int count = 0;
    snprintf(path, sizeof(path), "%s/log", server->folder);
    FILE *log = fopen(path, "r");
    while (log && fgets(line, sizeof(line), log))
        count += strstr(line, text) != NULL;
    if (log)
        fclose(log);
    return count;
}
