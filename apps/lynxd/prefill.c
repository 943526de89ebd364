/* SPDX-License-Identifier: MIT */
#include "prefill.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "prefill_side.h"
#include "process.h"
#include "settings.h"

enum { OPT_ONCE = LYNXD_OPT_HTTP_SIDE };

static const char command[] = "lynxd prefill";

static const char help[] =
    "Usage: lynxd prefill -m model.gguf [options]\n"
    "\n"
    "Prefill prompts for decode nodes and send them the caches, anchors first.\n"
    "\n"
    "      --listen HOST:PORT   where decode nodes connect (127.0.0.1:7600); port 0: any free "
    "one\n"
    "      --port-file FILE     write the port there once the node is ready\n"
    "      --max-connections N  of all peers (64)\n";

static const char help_once[] =
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
    prefill_side side;
    lynxd_daemon_options daemon;
} prefill_options;

static const struct option long_options[] = {
    CLI_ENGINE_OPTIONS,
    CLI_LINK_OPTIONS,
    CLI_KEYS_OPTIONS,
    LYNXD_DAEMON_OPTIONS,
    LYNXD_PREFILL_OPTIONS,
    {"max-connections", required_argument, NULL, LYNXD_OPT_PEER_CONNECTIONS},
    {"once", no_argument, NULL, OPT_ONCE},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void set_defaults(void *target)
{
    prefill_options *o = target;
    cli_options_init(&o->shared, command);
    lynxd_daemon_options_init(&o->daemon);
    prefill_side_init(&o->side, command, &o->shared);
    o->side.address = "127.0.0.1:7600";
}

static int take(void *target, int option, const char *value)
{
    prefill_options *o = target;
    int taken = cli_take_option(&o->shared, option, value);
    if (taken == -1)
        taken = lynxd_take_daemon_option(&o->daemon, command, option, value);
    if (taken == -1)
        taken = prefill_side_take_option(&o->side, option, value);
    if (taken != -1)
        return taken;
    if (option != OPT_ONCE)
        return cli_usage(command, "unknown option");
    o->side.is_once = true;
    return CLI_OK;
}

static void put_help(void)
{
    printf("%s%s%s%s\n%s\n%s\n%s%s", help, lynxd_prefill_help, help_once, lynxd_daemon_help,
           cli_engine_help, cli_link_help, cli_keys_help, help_end);
}

typedef struct daemon_state {
    prefill_options *options; /* the thread of the door reads the keys again */
    lynx_prefill_node *node;
    int argc;
    char **argv;
    bool is_draining;
} daemon_state;

/* Keys, allowed names and the log's options come into use. */
static void renew(void *target, void *renewed)
{
    prefill_options *o = target;
    prefill_options *next = renewed;
    if (cli_secure_again(&o->shared, &next->shared) == CLI_OK)
        lynxd_start_log(&next->daemon, &next->shared);
}

static void turn(void *user)
{
    daemon_state *d = user;
    if (lynxd_take_reload())
        lynxd_reload(&lynxd_prefill, d->options, d->argc, d->argv);
    prefill_side_turn(&d->options->side, d->node);
    if (!lynxd_must_drain() || d->is_draining)
        return;
    d->is_draining = true;
    lynxd_notify("STOPPING=1");
    prefill_side_drain(d->node, d->options->daemon.grace_ns);
}

static int serve(prefill_options *o, lynx_engine *engine, int descriptor, int argc, char **argv)
{
    char text[LYNX_TEXT_MAX] = "";
    daemon_state d = {.options = o, .argc = argc, .argv = argv};
    const int code = prefill_side_create(&o->side, engine, &d.node);
    if (code != CLI_OK)
        return code;
    lynxd_door door = {.shared = &o->shared,
                       .node = d.node,
                       .descriptor = descriptor,
                       .turn = turn,
                       .user = &d};
    if (!lynxd_door_open(&door)) {
        lynx_prefill_node_destroy(d.node);
        return cli_error(command, "cannot start a thread");
    }
    const lynx_status status = lynx_prefill_node_run(d.node, text);
    lynxd_door_close(&door);
    prefill_side_log_totals(d.node);
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
        lynx_tcp_listen(o->side.address, &descriptor, &port, text, sizeof(text));
    if (status != LYNX_OK)
        return cli_fail(command, status, text);
    if (o->side.port_file && !cli_write_port_file(o->side.port_file, port)) {
        code = cli_error(command, "cannot write the port file '%s': %s", o->side.port_file,
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
    code = cli_secure(&o.shared, o.side.address);
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
    const int keys = cli_secure(&o->shared, o->side.address);
    cli_secure_end(&o->shared);
    return model != CLI_OK ? model : keys;
}

const lynxd_command lynxd_prefill = {
    .name = "prefill",
    .title = command,
    .options = long_options,
    .target_size = sizeof(prefill_options),
    .set_defaults = set_defaults,
    .take = take,
    .put_help = put_help,
    .check = check,
    .renew = renew,
    .run = run,
};
