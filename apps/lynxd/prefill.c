/* SPDX-License-Identifier: MIT */
#include "prefill.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "process.h"
#include "settings.h"

enum {
    OPT_LISTEN = CLI_OPT_OWN,
    OPT_PORT_FILE,
    OPT_ONCE,
    OPT_CONNECTIONS,
    OPT_SESSIONS,
    OPT_REQUESTS,
    OPT_CONNECTS,
    OPT_QUEUE,
    OPT_RESUME,
    OPT_RESIDUAL_AGE,
    OPT_STATUS
};

static const char command[] = "lynxd prefill";

static const char help[] =
    "Usage: lynxd prefill -m model.gguf [options]\n"
    "\n"
    "Prefill prompts for decode nodes and send them the caches, anchors first.\n"
    "\n"
    "      --listen HOST:PORT   where decode nodes connect (127.0.0.1:7600); port 0: any free "
    "one\n"
    "      --port-file FILE     write the port there once the node is ready\n"
    "      --max-connections N  of all peers (64)\n"
    "      --max-sessions N     decode nodes at a time (32)\n"
    "      --max-requests N     of one decode node at a time (16)\n"
    "      --max-connects N     new connections in a second (50)\n"
    "      --max-queue MB       caches that wait for their decode nodes (4096)\n"
    "      --resume SECONDS     keep what a lost decode node asked for (60)\n"
    "      --residual-age SECONDS  let a residual that waits longer go before anchors, one at "
    "a\n"
    "                           time; 0: never (0)\n"
    "      --status SECONDS     a line about the queue so often; 0: none (0)\n"
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
    lynx_session_options session;
    uint32_t connects_per_s, queue_mb;
    lynxd_daemon_options daemon;
    uint64_t status_ns;
    const char *address;
    const char *port_file;
    bool is_once;
} prefill_options;

static const char short_options[] = ":m:c:t:h";

static const struct option long_options[] = {
    CLI_ENGINE_OPTIONS,
    CLI_LINK_OPTIONS,
    CLI_KEYS_OPTIONS,
    LYNXD_DAEMON_OPTIONS,
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"port-file", required_argument, NULL, OPT_PORT_FILE},
    {"once", no_argument, NULL, OPT_ONCE},
    {"max-connections", required_argument, NULL, OPT_CONNECTIONS},
    {"max-sessions", required_argument, NULL, OPT_SESSIONS},
    {"max-requests", required_argument, NULL, OPT_REQUESTS},
    {"max-connects", required_argument, NULL, OPT_CONNECTS},
    {"max-queue", required_argument, NULL, OPT_QUEUE},
    {"resume", required_argument, NULL, OPT_RESUME},
    {"residual-age", required_argument, NULL, OPT_RESIDUAL_AGE},
    {"status", required_argument, NULL, OPT_STATUS},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool take_seconds(const char *value, double least, uint64_t *ns)
{
    double seconds;
    if (!cli_parse_double(value, least, 86400, &seconds))
        return false;
    *ns = (uint64_t)(seconds * 1e9);
    return true;
}

static bool take_limit(prefill_options *o, int option, const char *value)
{
    switch (option) {
    case OPT_CONNECTIONS:
        return cli_parse_u32(value, 1, 4096, &o->session.connections_max);
    case OPT_SESSIONS:
        return cli_parse_u32(value, 1, 1024, &o->session.sessions_max);
    case OPT_REQUESTS:
        return cli_parse_u32(value, 1, LYNX_REQUESTS_MAX, &o->session.requests_max);
    case OPT_CONNECTS:
        return cli_parse_u32(value, 1, 100000, &o->connects_per_s);
    case OPT_QUEUE:
        return cli_parse_u32(value, 1, 1 << 30, &o->queue_mb);
    case OPT_RESUME:
        return take_seconds(value, 0.1, &o->session.resume_ns);
    case OPT_RESIDUAL_AGE:
        return take_seconds(value, 0, &o->session.residual_age_max_ns);
    default:
        return take_seconds(value, 0, &o->status_ns);
    }
}

static void set_defaults(prefill_options *o)
{
    *o = (prefill_options){.address = "127.0.0.1:7600", .connects_per_s = 50, .queue_mb = 4096};
    cli_options_init(&o->shared, command);
    lynx_session_options_init(&o->session);
    lynxd_daemon_options_init(&o->daemon);
}

static int parse(void *target, int argc, char **argv)
{
    prefill_options *o = target;
    int option;
    set_defaults(o);
    while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
        if (option == '?' || option == ':')
            return cli_bad_option(command, option, argv);
        int taken = cli_take_option(&o->shared, option, optarg);
        if (taken == -1)
            taken = lynxd_take_daemon_option(&o->daemon, command, option, optarg);
        if (taken == CLI_USAGE)
            return CLI_USAGE;
        if (taken == CLI_OK)
            continue;
        if (option == OPT_LISTEN) {
            o->address = optarg;
            if (cli_check_address(command, optarg) != CLI_OK)
                return CLI_USAGE;
        } else if (option == OPT_PORT_FILE) {
            o->port_file = optarg;
        } else if (option == OPT_ONCE) {
            o->is_once = true;
        } else if (option >= OPT_CONNECTIONS && option <= OPT_STATUS) {
            if (!take_limit(o, option, optarg))
                return cli_usage(command, "'%s' is not a limit that this option takes", optarg);
        } else if (option == 'h') {
            printf("%s%s\n%s\n%s\n%s%s", help, lynxd_daemon_help, cli_engine_help,
                   cli_link_help, cli_keys_help, help_end);
            return CLI_OK;
        } else {
            return cli_usage(command, "unknown option");
        }
    }
    if (optind < argc)
        return cli_usage(command, "unexpected argument '%s'", argv[optind]);
    return -1;
}

typedef struct door {
    prefill_options *options; /* this thread reads the keys again */
    lynx_prefill_node *node;
    int descriptor;
    int argc;
    char **argv;
    bool is_draining;
    atomic_bool must_close;
} door;

/* A peer that is turned away sees its connection close, and may come again. */
static void let_in(const door *d, lynx_link *link)
{
    const lynx_status status = lynx_prefill_node_connect(d->node, link);
    if (status == LYNX_OK)
        return;
    lynxd_log_event(NULL, status,
                    status == LYNX_BLOCKED ? "turned a peer away: too many connect, or are here"
                                           : lynx_status_text(status));
    lynx_link_destroy(link);
}

static void log_status(lynx_prefill_node *node)
{
    const lynx_prefill_report report = lynx_prefill_node_report(node);
    lynxd_log(CLI_LEVEL_INFO, "connections %llu, queued %llu bytes, oldest residual %.3f s",
              (unsigned long long)report.counters.connections,
              (unsigned long long)report.counters.queued_bytes,
              (double)report.residual_age_ns / 1e9);
}

/* SIGHUP: keys, allowed names and the log's options come into use; the rest at the next start.
 */
static void reload(door *d)
{
    prefill_options next;
    lynxd_settings *settings = NULL;
    lynxd_notify("RELOADING=1");
    const int code = lynxd_settings_read(&settings, &lynxd_prefill, &next, d->argc, d->argv);
    if (code >= 0)
        lynxd_log(CLI_LEVEL_WARNING,
                  "the old settings stay; put it right and send SIGHUP again");
    else if (cli_secure_again(&d->options->shared, &next.shared) == CLI_OK)
        lynxd_start_log(&next.daemon, &next.shared);
    lynxd_settings_free(settings);
    lynxd_notify("READY=1");
}

static void heed_signals(door *d)
{
    if (lynxd_take_reload())
        reload(d);
    if (!lynxd_must_drain() || d->is_draining)
        return;
    d->is_draining = true;
    lynxd_notify("STOPPING=1");
    lynxd_log(CLI_LEVEL_INFO, "stopping: nothing new begins; what is on its way has %.1f s",
              (double)d->options->daemon.grace_ns / 1e9);
    lynx_prefill_node_drain(d->node, d->options->daemon.grace_ns);
}

static void *watch_door(void *user)
{
    door *d = user;
    char text[LYNX_TEXT_MAX];
    lynx_time_ns status_at = lynx_clock_now();
    while (!d->must_close) {
        heed_signals(d);
        const uint64_t interval = d->options->status_ns;
        if (interval && lynx_clock_now() - status_at >= interval) {
            status_at = lynx_clock_now();
            log_status(d->node);
        }
        lynx_link *link = NULL;
        const lynx_status status = cli_accept(&d->options->shared, d->descriptor, 200000000ull,
                                              &link, text, sizeof(text));
        if (status == LYNX_OK)
            let_in(d, link);
        else if (status != LYNX_BLOCKED) {
            lynxd_log_event(NULL, status, text);
            poll(NULL, 0, 100); /* without descriptors, say, which others give back */
        }
        lynxd_log_turn();
    }
    return NULL;
}

static void log_totals(lynx_prefill_node *node)
{
    const lynx_prefill_report report = lynx_prefill_node_report(node);
    const lynx_session_counters *c = &report.counters;
    lynxd_log(
        CLI_LEVEL_INFO,
        "requests %llu, sent %llu bytes, queue at most %llu bytes, sessions %llu, resumed "
        "%llu, sent again %llu bytes",
        (unsigned long long)report.requests, (unsigned long long)c->bytes_sent,
        (unsigned long long)c->queued_bytes_top, (unsigned long long)c->sessions,
        (unsigned long long)c->resumes, (unsigned long long)c->resent_bytes);
}

static int serve(prefill_options *o, lynx_engine *engine, int descriptor, int argc, char **argv)
{
    char text[LYNX_TEXT_MAX] = "";
    pthread_t thread;
    door d = {.options = o, .descriptor = descriptor, .argc = argc, .argv = argv};
    lynx_prefill_options options;
    lynx_prefill_options_init(&options);
    options.engine = engine;
    options.session = o->session;
    options.session.allow_other_weights = o->shared.allow_other_weights;
    options.session.timeout_ns = o->shared.timeout_ns;
    options.connects_per_s = o->connects_per_s;
    options.queue_bytes_max = (uint64_t)o->queue_mb << 20;
    options.stop = &cli_stop;
    options.is_once = o->is_once;
    options.log = lynxd_log_event;
    lynx_status status = lynx_prefill_node_create(&d.node, &options);
    if (status != LYNX_OK)
        return cli_fail(command, status, NULL);
    if (pthread_create(&thread, NULL, watch_door, &d) != 0) {
        lynx_prefill_node_destroy(d.node);
        return cli_error(command, "cannot start a thread");
    }
    status = lynx_prefill_node_run(d.node, text);
    d.must_close = true;
    pthread_join(thread, NULL);
    log_totals(d.node);
    lynx_prefill_node_destroy(d.node);
    return cli_exit_code(status);
}

/* With the model loaded: listen, and work until the end. */
static int open_door(prefill_options *o, lynx_engine *engine, int argc, char **argv)
{
    char text[LYNX_TEXT_MAX];
    int descriptor = -1;
    uint16_t port = 0;
    int code;
    const lynx_status status =
        lynx_tcp_listen(o->address, &descriptor, &port, text, sizeof(text));
    if (status != LYNX_OK)
        return cli_fail(command, status, text);
    if (o->port_file && !cli_write_port_file(o->port_file, port)) {
        code = cli_error(command, "cannot write the port file '%s': %s", o->port_file,
                         strerror(errno));
    } else {
        lynxd_log(CLI_LEVEL_INFO, "%s is ready on port %u", engine->ops->model(engine)->name,
                  port);
        lynxd_notify("READY=1");
        code = serve(o, engine, descriptor, argc, argv);
    }
    close(descriptor);
    return code;
}

static int run(int argc, char **argv)
{
    prefill_options o;
    lynxd_settings *settings = NULL;
    int code = lynxd_settings_read(&settings, &lynxd_prefill, &o, argc, argv);
    if (code >= 0)
        return code;
    lynxd_start_log(&o.daemon, &o.shared);
    lynxd_catch_signals();

    lynx_engine *engine = NULL;
    code = cli_secure(&o.shared, o.address);
    if (code == CLI_OK)
        code = cli_load_engine(&o.shared, &engine);
    if (code == CLI_OK)
        code = open_door(&o, engine, argc, argv);
    lynx_engine_destroy(engine);
    cli_secure_end(&o.shared);
    lynxd_settings_free(settings);
    return code;
}

static int check(void *target)
{
    prefill_options *o = target;
    lynxd_settings_about("model");
    const int model = cli_check_model(&o->shared);
    lynxd_settings_about(o->shared.security.psk_file ? "psk" : "keys");
    const int keys = cli_secure(&o->shared, o->address);
    cli_secure_end(&o->shared);
    return model != CLI_OK ? model : keys;
}

const lynxd_command lynxd_prefill = {
    .name = "prefill",
    .title = command,
    .letters = short_options,
    .options = long_options,
    .target_size = sizeof(prefill_options),
    .parse = parse,
    .check = check,
    .run = run,
};
