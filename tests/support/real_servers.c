/* SPDX-License-Identifier: MIT */
#include "support/real_servers.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Paths are below the folder that nginx is started with. */
static const char nginx_settings[] =
    "daemon off; master_process off; pid pid; error_log log;\n"
    "events { worker_connections 64; }\n"
    "http {\n"
    "  access_log off; client_max_body_size 0; sendfile_max_chunk 64k;\n"
    "  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n"
    "  uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n"
    "  server {\n"
    "    listen 127.0.0.1:%d; root content; limit_rate %u;\n"
    "    location /open/ { dav_methods PUT DELETE; create_full_put_path on; }\n"
    "  }\n"
    "}\n";

/* One that is free now. */
static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    const int one = socket(AF_INET, SOCK_STREAM, 0);
    const bool is_bound = bind(one, (struct sockaddr *)&address, size) == 0 &&
                          getsockname(one, (struct sockaddr *)&address, &size) == 0;
    close(one);
    return is_bound ? ntohs(address.sin_port) : 0;
}

static bool answers(const test_real *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)s->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int one = socket(AF_INET, SOCK_STREAM, 0);
    const bool is_there = connect(one, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(one);
    return is_there;
}

/* False: it ended, as it does when it is not installed. */
static bool run(test_real *s, char *const *command)
{
    char log[96];
    snprintf(log, sizeof(log), "%s/output", s->folder);
    s->process = fork();
    if (s->process == 0) {
        const int output = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* not to outlive a test that is killed */
        dup2(output, 1);
        dup2(output, 2);
        execvp(command[0], command);
        _exit(127);
    }
    for (int i = 0; i < 3000; i++) {
        if (waitpid(s->process, NULL, WNOHANG) != 0) {
            s->process = 0;
            return false;
        }
        if (answers(s))
            return true;
        usleep(10000);
    }
    return false;
}

static bool prepare(test_real *s)
{
    memset(s, 0, sizeof(*s));
    snprintf(s->folder, sizeof(s->folder), "/tmp/lynx-real-XXXXXX");
    if (!mkdtemp(s->folder))
        return false;
    snprintf(s->content, sizeof(s->content), "%s/content", s->folder);
    s->port = free_port();
    snprintf(s->address, sizeof(s->address), "http://127.0.0.1:%d", s->port);
    /* A server without rights of its own has to read it, too. */
    return chmod(s->folder, 0755) == 0 && mkdir(s->content, 0755) == 0;
}

bool test_nginx_again(test_real *server)
{
    char settings[96];
    snprintf(settings, sizeof(settings), "%s/settings", server->folder);
    char *const command[] = {"nginx", "-p", server->folder, "-c", settings, NULL};
    return run(server, command);
}

bool test_nginx_start(test_real *server, unsigned rate)
{
    char path[128];
    if (!prepare(server))
        return false;
    snprintf(path, sizeof(path), "%s/settings", server->folder);
    FILE *settings = fopen(path, "w");
    fprintf(settings, nginx_settings, server->port, rate);
    fclose(settings);
    snprintf(path, sizeof(path), "%s/open", server->content);
    mkdir(path, 0755);
    if (test_nginx_again(server))
        return true;
    test_real_stop(server);
    return false;
}

bool test_rclone_start(test_real *server)
{
    char path[128], address[32];
    char *program = getenv("LYNX_RCLONE");
    if (!program || access(program, R_OK) != 0 || !prepare(server))
        return false;
    (void)!chmod(program, 0755); /* wheels do not say that it is one */
    snprintf(path, sizeof(path), "%s/bucket", server->content);
    mkdir(path, 0755);
    snprintf(address, sizeof(address), "127.0.0.1:%d", server->port);
    char *const command[] = {program,
                             "serve",
                             "s3",
                             "--auth-key",
                             TEST_KEY_ID "," TEST_SECRET,
                             "--addr",
                             address,
                             "--vfs-cache-mode",
                             "off",
                             "--config",
                             "/dev/null",
                             server->content,
                             NULL};
    if (run(server, command))
        return true;
    test_real_stop(server);
    return false;
}

void test_real_kill(test_real *server)
{
    if (server->process > 0) {
        kill(server->process, SIGKILL);
        waitpid(server->process, NULL, 0);
    }
    server->process = 0;
}

void test_real_stop(test_real *server)
{
    char command[128];
    test_real_kill(server);
    snprintf(command, sizeof(command), "rm -rf %s", server->folder);
    if (system(command) != 0)
        fprintf(stderr, "%s stays\n", server->folder);
}
