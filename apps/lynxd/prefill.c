/* SPDX-License-Identifier: MIT */
#include "prefill.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

enum { OPT_LISTEN = CLI_OPT_OWN, OPT_PORT_FILE, OPT_ONCE };

static const char command[] = "lynxd prefill";

static const char help[] =
    "Usage: lynxd prefill -m model.gguf [options]\n"
    "\n"
    "Prefill prompts for decode nodes and send them the caches, anchors first.\n"
    "\n"
    "      --listen HOST:PORT   where decode nodes connect (127.0.0.1:7600); port 0: any free "
    "one\n"
    "      --port-file FILE     write the port there once the node is ready\n"
    "      --once               end after the first connection; its result is the exit code\n"
    "\n";

static const char help_end[] =
    "\n"
    "Exit codes: 0 ended by a signal or (--once) in order, 1 engine or file, 2 usage, 3 "
    "connection,\n"
    "4 other model or version, 5 corrupt data, 6 refused (not authenticated).\n"
    "\n"
    "Example:\n"
    "  lynxd prefill -m model.gguf --listen 127.0.0.1:7600 --link-mbps 50\n";

typedef struct prefill_options {
    cli_options shared;
    const char *address;
    const char *port_file;
    bool is_once;
} prefill_options;

static const struct option long_options[] = {
    CLI_ENGINE_OPTIONS,
    CLI_LINK_OPTIONS,
    CLI_KEYS_OPTIONS,
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"port-file", required_argument, NULL, OPT_PORT_FILE},
    {"once", no_argument, NULL, OPT_ONCE},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* -1: go on; else the exit code. */
static int parse(prefill_options *o, int argc, char **argv)
{
    int option;
    while ((option = getopt_long(argc, argv, ":m:c:t:h", long_options, NULL)) != -1) {
        if (option == '?' || option == ':')
            return cli_bad_option(command, option, argv);
        const int taken = cli_take_option(&o->shared, option, optarg);
        if (taken == CLI_USAGE)
            return CLI_USAGE;
        if (taken == CLI_OK)
            continue;
        if (option == OPT_LISTEN) {
            o->address = optarg;
        } else if (option == OPT_PORT_FILE) {
            o->port_file = optarg;
        } else if (option == OPT_ONCE) {
            o->is_once = true;
        } else if (option == 'h') {
            printf("%s%s\n%s\n%s%s", help, cli_engine_help, cli_link_help, cli_keys_help,
                   help_end);
            return CLI_OK;
        } else {
            return cli_usage(command, "unknown option");
        }
    }
    if (optind < argc)
        return cli_usage(command, "unexpected argument '%s'", argv[optind]);
    return -1;
}

/* Announce the port in a file that appears only when it is complete. */
static bool write_port_file(const char *path, uint16_t port)
{
    char draft[4096];
    if (snprintf(draft, sizeof(draft), "%s.%ld", path, (long)getpid()) >= (int)sizeof(draft))
        return false;
    FILE *file = fopen(draft, "w");
    if (!file)
        return false;
    const bool is_written = fprintf(file, "%u\n", port) > 0;
    return fclose(file) == 0 && is_written && rename(draft, path) == 0;
}

static int serve_connections(const prefill_options *o, lynx_engine *engine, int descriptor)
{
    char text[LYNX_TEXT_MAX];
    lynx_held_prompt *held = NULL;
    lynx_status status = lynx_held_prompt_create(&held, NULL);
    lynx_serve_options serve;
    lynx_serve_options_init(&serve);
    serve.engine = engine;
    serve.held = held;
    serve.allow_other_weights = o->shared.allow_other_weights;
    serve.timeout_ns = o->shared.timeout_ns;
    serve.stop = &cli_stop;
    while (status == LYNX_OK && !cli_stop) {
        lynx_link *link = NULL;
        status = cli_accept(&o->shared, descriptor, 200000000ull, &link, text, sizeof(text));
        if (status == LYNX_BLOCKED) {
            status = LYNX_OK;
            continue;
        }
        if (status != LYNX_OK)
            break;
        lynx_serve_report report;
        const lynx_status served = lynx_serve(link, &serve, &report, text);
        fprintf(stderr,
                "%s: connection ended (%s): requests %llu, sent %llu bytes, queue at most %llu "
                "bytes of %llu of cache, prefill %.2f s, encode %.3f s\n",
                command, served == LYNX_OK ? "in order" : text,
                (unsigned long long)report.requests,
                (unsigned long long)report.counters.bytes_sent,
                (unsigned long long)report.counters.queued_bytes_top,
                (unsigned long long)report.cache_bytes, (double)report.prefill_ns / 1e9,
                (double)report.encode_ns / 1e9);
        if (o->is_once) {
            lynx_held_prompt_destroy(held);
            return cli_exit_code(served);
        }
    }
    lynx_held_prompt_destroy(held);
    return status == LYNX_OK ? CLI_OK : cli_fail(command, status, text);
}

int lynxd_prefill(int argc, char **argv)
{
    prefill_options o = {.address = "127.0.0.1:7600"};
    cli_options_init(&o.shared, command);
    int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    cli_catch_signals();

    lynx_engine *engine = NULL;
    code = cli_secure(&o.shared, o.address);
    if (code == CLI_OK)
        code = cli_load_engine(&o.shared, &engine);
    if (code != CLI_OK) {
        cli_secure_end(&o.shared);
        return code;
    }

    char text[LYNX_TEXT_MAX];
    int descriptor = -1;
    uint16_t port = 0;
    const lynx_status status =
        lynx_tcp_listen(o.address, &descriptor, &port, text, sizeof(text));
    if (status != LYNX_OK) {
        code = cli_fail(command, status, text);
    } else if (o.port_file && !write_port_file(o.port_file, port)) {
        code = cli_error(command, "cannot write the port file '%s': %s", o.port_file,
                         strerror(errno));
    } else {
        fprintf(stderr, "%s: %s is ready on port %u\n", command,
                engine->ops->model(engine)->name, port);
        code = serve_connections(&o, engine, descriptor);
    }
    if (descriptor >= 0)
        close(descriptor);
    lynx_engine_destroy(engine);
    cli_secure_end(&o.shared);
    return code;
}
