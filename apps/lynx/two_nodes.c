/* SPDX-License-Identifier: MIT */
#include "two_nodes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "demo_keys.h"

enum { ARGUMENTS_MAX = 20 };

/* Folders one after the other, as 'mkdir -p'. */
static bool make_folder(const char *path)
{
    char part[4096];
    if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
        return false;
    for (char *p = part + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            (void)mkdir(part, 0777);
            *p = '/';
        }
    (void)mkdir(part, 0777);
    return access(part, W_OK) == 0;
}

static void choose_model(two_nodes *n)
{
    const char *home = getenv("HOME");
    const char *cache = getenv("XDG_CACHE_HOME");
    const bool has_cache = cache && cache[0];
    if (n->shared.engine.model_path)
        snprintf(n->model_path, sizeof(n->model_path), "%s", n->shared.engine.model_path);
    else
        snprintf(n->model_path, sizeof(n->model_path), "%s%s/lynx/models/gemma3-270m-f16.gguf",
                 has_cache ? cache : (home ? home : ""), has_cache ? "" : "/.cache");
    n->shared.engine.model_path = n->model_path;
}

int two_nodes_init(two_nodes *n)
{
    const char *command = n->shared.command;
    if (!make_folder(n->folder))
        return cli_error(command, "cannot write the folder '%s': %s", n->folder,
                         strerror(errno));
    snprintf(n->log_path, sizeof(n->log_path), "%.4000s/log", n->folder);
    snprintf(n->keys_path, sizeof(n->keys_path), "%.4000s/keys", n->folder);
    snprintf(n->own_keys, sizeof(n->own_keys), "%.4100s/decode", n->keys_path);
    choose_model(n);
    if (sched_getaffinity(0, sizeof(n->all_cores), &n->all_cores) != 0)
        CPU_ZERO(&n->all_cores); /* more than a set can tell: both have all of them */
    n->cores[0] = n->cores[1] = n->all_cores;
    if (!demo_keys_make(command, n->keys_path))
        return CLI_FAILED;
    n->shared.security.folder = n->own_keys;
    return cli_secure(&n->shared, "127.0.0.1:0");
}

void two_nodes_fini(two_nodes *n)
{
    child_stop(n->server);
    cli_secure_end(&n->shared);
}

void two_nodes_share(two_nodes *n, bool is_divided)
{
    const cpu_set_t before = n->cores[1];
    const int count = CPU_COUNT(&n->all_cores);
    for (int node = 0; node < 2; node++)
        n->cores[node] = n->all_cores;
    if (is_divided && count > 1) {
        int seen = 0;
        for (int core = 0; core < CPU_SETSIZE; core++)
            if (CPU_ISSET((size_t)core, &n->all_cores))
                CPU_CLR((size_t)core, &n->cores[seen++ < count / 2 ? 0 : 1]);
    }
    (void)sched_setaffinity(0, sizeof(n->cores[0]), &n->cores[0]);
    if (!CPU_EQUAL(&before, &n->cores[1])) {
        child_stop(n->server);
        n->server = 0;
    }
}

/* On the prefill node's cores: a child has those of who starts it. */
static pid_t start_server(const two_nodes *n, char *const arguments[])
{
    (void)sched_setaffinity(0, sizeof(n->cores[1]), &n->cores[1]);
    const pid_t id = child_start(arguments, NULL, n->log_path);
    (void)sched_setaffinity(0, sizeof(n->cores[0]), &n->cores[0]);
    return id;
}

int two_nodes_start(two_nodes *n)
{
    char program[4096];
    char port_path[4200];
    char mbps[32];
    char delay[32];
    char node_keys[4300];
    child_stop(n->server);
    n->server = 0;
    snprintf(port_path, sizeof(port_path), "%.4000s/port", n->folder);
    (void)remove(port_path);
    snprintf(mbps, sizeof(mbps), "%.4f", (double)n->shared.pacer.rate_bits_per_s / 1e6);
    snprintf(delay, sizeof(delay), "%.3f", (double)n->shared.pacer.delay_ns / 1e6);
    snprintf(node_keys, sizeof(node_keys), "%.4100s/prefill", n->keys_path);
    if (!child_path("lynxd", program, sizeof(program)))
        return cli_error(n->shared.command, "cannot find lynxd beside this program");
    cli_engine_words words;
    char *arguments[ARGUMENTS_MAX + CLI_ENGINE_WORDS] = {
        program,           "prefill",     "-m",          n->model_path,
        "--listen",        "127.0.0.1:0", "--exact",     n->is_strict ? "strict" : "rounding",
        "--port-file",     port_path,     "--link-mbps", mbps,
        "--link-delay-ms", delay,         "--keys",      node_keys};
    cli_add_engine_words(&n->shared, &words, arguments);
    n->server = start_server(n, arguments);
    const uint16_t port = n->server > 0 ? child_wait_for_port(n->server, port_path, 60) : 0;
    if (!port)
        return cli_stop ? CLI_INTERRUPTED
                        : cli_error(n->shared.command,
                                    "the prefill node did not start; see '%s'", n->log_path);
    snprintf(n->address, sizeof(n->address), "127.0.0.1:%u", port);
    return CLI_OK;
}

int two_nodes_open(two_nodes *n, const way *w, lynx_engine *engine, cli_remotes *remotes)
{
    const bool is_local = w->method == LYNX_METHOD_LOCAL;
    const bool is_strict = w->method == LYNX_METHOD_CARRY;
    *remotes = (cli_remotes){.addresses = {n->address}, .count = !is_local};
    if (!is_local && is_strict != n->is_strict) {
        n->is_strict = is_strict;
        const int code = two_nodes_start(n);
        if (code != CLI_OK)
            return code;
    }
    return cli_remotes_open(remotes, &n->shared, engine);
}
