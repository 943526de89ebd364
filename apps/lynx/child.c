/* SPDX-License-Identifier: MIT */
#include "child.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

bool child_path(const char *name, char *path, size_t size)
{
    char self[4096];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length <= 0)
        return false;
    self[length] = '\0';
    char *slash = strrchr(self, '/');
    if (!slash)
        return false;
    *slash = '\0';
    return snprintf(path, size, "%s/%s", self, name) < (int)size;
}

static void run_child(char *const arguments[], const int pipe_ends[2], const char *log_path)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* not even a killed parent leaves it behind */
    if (pipe_ends[1] >= 0) {
        dup2(pipe_ends[1], STDOUT_FILENO);
        close(pipe_ends[0]);
        close(pipe_ends[1]);
    }
    if (log_path) {
        const int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0666);
        if (log >= 0) {
            dup2(log, STDERR_FILENO);
            close(log);
        }
    }
    execv(arguments[0], arguments);
    _exit(127);
}

pid_t child_start(char *const arguments[], FILE **output, const char *log_path)
{
    int pipe_ends[2] = {-1, -1};
    if (output && pipe2(pipe_ends, O_CLOEXEC) != 0)
        return -1;
    fflush(NULL);
    const pid_t id = fork();
    if (id == 0)
        run_child(arguments, pipe_ends, log_path);
    if (pipe_ends[1] >= 0)
        close(pipe_ends[1]);
    if (output) {
        *output = id > 0 ? fdopen(pipe_ends[0], "r") : NULL;
        if (!*output)
            close(pipe_ends[0]);
    }
    return id;
}

int child_wait(pid_t id)
{
    int status = 0;
    if (waitpid(id, &status, 0) != id || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

void child_stop(pid_t id)
{
    if (id > 0 && kill(id, SIGTERM) == 0)
        child_wait(id);
}

uint16_t child_wait_for_port(pid_t id, const char *path, double seconds)
{
    const struct timespec pause = {0, 20000000};
    for (double waited = 0; waited < seconds; waited += 0.02) {
        FILE *file = fopen(path, "r");
        unsigned port = 0;
        if (file) {
            if (fscanf(file, "%u", &port) != 1)
                port = 0;
            fclose(file);
        }
        if (port)
            return (uint16_t)port;
        if (waitpid(id, NULL, WNOHANG) == id)
            return 0;
        nanosleep(&pause, NULL);
    }
    return 0;
}
