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
    uint64_t status_ns;
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
        } else if (option >= OPT_CONNECTIONS && option <= OPT_STATUS) {
            if (!take_limit(o, option, optarg))
                return cli_usage(command, "'%s' is not a limit that this option takes", optarg);
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

/* Lines of the log in one second; strangers must not fill a disk. */
enum { LOG_LINES_PER_S = 20 };

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static lynx_time_ns log_second; /* when the lines were counted from */
static uint32_t log_lines;

/* Begin the next second when it is time. Called with the lock held. */
static void turn_log_second(void)
{
    const lynx_time_ns now = lynx_clock_now();
    if (now - log_second < 1000000000ull)
        return;
    if (log_lines > LOG_LINES_PER_S)
        fprintf(stderr, "%s: %u more lines in a second, left out\n", command,
                log_lines - LOG_LINES_PER_S);
    log_second = now;
    log_lines = 0;
}

/* Every line of the daemon's log, from all threads. */
static void log_line(void *user, lynx_status status, const char *text)
{
    (void)user;
    (void)status;
    pthread_mutex_lock(&log_lock);
    turn_log_second();
    if (++log_lines <= LOG_LINES_PER_S)
        fprintf(stderr, "%s: %s\n", command, text);
    pthread_mutex_unlock(&log_lock);
}

typedef struct door {
    const prefill_options *options;
    lynx_prefill_node *node;
    int descriptor;
    atomic_bool must_close;
} door;

/* A peer that is turned away sees its connection close, and may come again. */
static void let_in(const door *d, lynx_link *link)
{
    const lynx_status status = lynx_prefill_node_connect(d->node, link);
    if (status == LYNX_OK)
        return;
    log_line(NULL, status,
             status == LYNX_BLOCKED ? "turned a peer away: too many connect, or are here"
                                    : lynx_status_text(status));
    lynx_link_destroy(link);
}

static void log_status(lynx_prefill_node *node)
{
    const lynx_prefill_report report = lynx_prefill_node_report(node);
    fprintf(stderr, "%s: connections %llu, queued %llu bytes, oldest residual %.3f s\n",
            command, (unsigned long long)report.counters.connections,
            (unsigned long long)report.counters.queued_bytes,
            (double)report.residual_age_ns / 1e9);
}

static void *watch_door(void *user)
{
    const door *d = user;
    char text[LYNX_TEXT_MAX];
    lynx_time_ns status_at = lynx_clock_now();
    while (!d->must_close) {
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
            log_line(NULL, status, text);
            poll(NULL, 0, 100); /* without descriptors, say, which others give back */
        }
        pthread_mutex_lock(&log_lock);
        turn_log_second();
        pthread_mutex_unlock(&log_lock);
    }
    return NULL;
}

static void log_totals(lynx_prefill_node *node)
{
    const lynx_prefill_report report = lynx_prefill_node_report(node);
    const lynx_session_counters *c = &report.counters;
    fprintf(
        stderr,
        "%s: requests %llu, sent %llu bytes, queue at most %llu bytes, sessions %llu, resumed "
        "%llu, sent again %llu bytes\n",
        command, (unsigned long long)report.requests, (unsigned long long)c->bytes_sent,
        (unsigned long long)c->queued_bytes_top, (unsigned long long)c->sessions,
        (unsigned long long)c->resumes, (unsigned long long)c->resent_bytes);
}

static int serve(const prefill_options *o, lynx_engine *engine, int descriptor)
{
    char text[LYNX_TEXT_MAX] = "";
    pthread_t thread;
    door d = {.options = o, .descriptor = descriptor};
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
    options.log = log_line;
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

int lynxd_prefill(int argc, char **argv)
{
    prefill_options o = {.address = "127.0.0.1:7600", .connects_per_s = 50, .queue_mb = 4096};
    cli_options_init(&o.shared, command);
    lynx_session_options_init(&o.session);
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
    } else if (o.port_file && !cli_write_port_file(o.port_file, port)) {
        code = cli_error(command, "cannot write the port file '%s': %s", o.port_file,
                         strerror(errno));
    } else {
        fprintf(stderr, "%s: %s is ready on port %u\n", command,
                engine->ops->model(engine)->name, port);
        code = serve(&o, engine, descriptor);
    }
    if (descriptor >= 0)
        close(descriptor);
    lynx_engine_destroy(engine);
    cli_secure_end(&o.shared);
    return code;
}
