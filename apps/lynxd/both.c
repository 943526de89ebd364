/* SPDX-License-Identifier: MIT */
/*
 * both.c - a prefill node and a decode node in one process, for one machine.
 *
 * The prefill node is one more slot of the model: the weights are loaded once, and the passes
 * of both sides share one set of threads, which two contexts would fight over. The decode side
 * reaches it as it reaches others, over a local socket that only this user can open, so that
 * the session, the codec and what the page shows are those of two machines.
 */
#include "both.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http_side.h"
#include "process.h"
#include "settings.h"

enum { SLOTS_MAX = LYNX_LLAMA_SLOTS_MAX - 1 };

static const char command[] = "lynxd both";

static const char help[] =
    "Usage: lynxd both -m model.gguf [options]\n"
    "\n"
    "A prefill node and a decode node in one process, for one machine: 'lynxd decode' with a\n"
    "prefill node of its own, which may serve other decode nodes, too.\n"
    "\n"
    "      --listen HOST:PORT   let other decode nodes connect here; port 0: any free one "
    "(none)\n"
    "      --port-file FILE     write that port there once the node is ready\n";

static const char help_prefill[] =
    "\n"
    "Decode node:\n"
    "      --prefill HOST:PORT  another prefill node beside the own one; may be given several\n"
    "                           times\n";

static const char help_end[] =
    "\n"
    "Exit codes: 0 ended by a signal, 1 engine or file, 2 usage, 3 no address to listen on,\n"
    "6 keys refused.\n"
    "\n"
    "Example:\n"
    "  lynxd both -m model.gguf --http 127.0.0.1:8080\n";

typedef struct both_command {
    cli_options shared;
    cli_options own; /* the same for the connections inside: without keys */
    lynxd_daemon_options daemon;
    prefill_side prefill;
    http_side http;
    lynx_engine *engines[LYNX_LLAMA_SLOTS_MAX]; /* of the slots, then the prefill node's */

    char folder[4096], address[4096 + 16]; /* of the local socket */
    lynx_prefill_node *node;
    pthread_t node_thread;
    bool has_node_thread;
    lynxd_door inside, outside;
    bool is_inside_open, is_outside_open;
} both_command;

static const struct option long_options[] = {
    CLI_ENGINE_OPTIONS,
    CLI_LINK_OPTIONS,
    CLI_KEYS_OPTIONS,
    LYNXD_DAEMON_OPTIONS,
    LYNXD_HTTP_OPTIONS,
    LYNXD_PREFILL_OPTIONS,
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* ---- options ------------------------------------------------------------------------- */

static void set_defaults(void *target)
{
    both_command *c = target;
    *c = (both_command){.inside.descriptor = -1, .outside.descriptor = -1};
    cli_options_init(&c->shared, command);
    lynxd_daemon_options_init(&c->daemon);
    prefill_side_init(&c->prefill, command, &c->shared);
    http_side_init(&c->http, command, &c->shared);
    /* The own prefill node comes first; its address is known once it listens. */
    c->http.nodes.count = 1;
    c->http.nodes.own_options[0] = &c->own;
    c->http.nodes.addresses[0] = c->address;
    c->http.names[0] = "own";
}

static int take(void *target, int option, const char *value)
{
    both_command *c = target;
    int taken = cli_take_option(&c->shared, option, value);
    if (taken == -1)
        taken = lynxd_take_daemon_option(&c->daemon, command, option, value);
    if (taken == -1)
        taken = http_side_take_option(&c->http, option, value);
    if (taken == -1)
        taken = prefill_side_take_option(&c->prefill, option, value);
    if (option == LYNXD_OPT_SLOTS && taken == CLI_OK && c->http.options.slot_count > SLOTS_MAX)
        return cli_usage(command, "'%s' is more than the %d slots beside the prefill node",
                         value, SLOTS_MAX);
    return taken != -1 ? taken : cli_usage(command, "unknown option");
}

static int check_options(void *target)
{
    const both_command *c = target;
    return http_side_check_options(&c->http);
}

static void put_help(void)
{
    printf("%s%s%s%s\n%s\n%s\n%s\n%s%s", help, lynxd_prefill_help, help_prefill,
           lynxd_http_help, lynxd_daemon_help, cli_engine_help, cli_link_help, cli_keys_help,
           help_end);
}

/* ---- prefill node -------------------------------------------------------------------- */

static void *run_node(void *user)
{
    char text[LYNX_TEXT_MAX];
    (void)!lynx_prefill_node_run(user, text); /* an error is of 'once', which there is not */
    return NULL;
}

/* A new folder, since a path in a shared one may be another's. */
static int make_socket_folder(both_command *c)
{
    static const char *const variables[] = {"RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "TMPDIR"};
    const char *parent = NULL;
    for (size_t i = 0; i < sizeof(variables) / sizeof(*variables) && !parent; i++) {
        const char *value = getenv(variables[i]);
        parent = value && value[0] == '/' ? value : NULL;
    }
    snprintf(c->folder, sizeof(c->folder), "%.4000s/lynxd.XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(c->folder)) {
        const int code =
            cli_error(command, "cannot make the folder '%s': %s", c->folder, strerror(errno));
        c->folder[0] = '\0';
        return code;
    }
    snprintf(c->address, sizeof(c->address), "unix:%s/prefill", c->folder);
    return CLI_OK;
}

static int listen_at(const char *address, lynxd_door *door, uint16_t *port)
{
    char text[LYNX_TEXT_MAX];
    const lynx_status status =
        lynx_tcp_listen(address, &door->descriptor, port, text, sizeof(text));
    return status == LYNX_OK ? CLI_OK : cli_fail(command, status, text);
}

static int open_door(both_command *c, const char *address, const cli_options *shared,
                     lynxd_door *door, bool *is_open, uint16_t *port)
{
    const int code = listen_at(address, door, port);
    if (code != CLI_OK)
        return code;
    door->shared = shared;
    door->node = c->node;
    *is_open = lynxd_door_open(door);
    return *is_open ? CLI_OK : cli_error(command, "cannot start a thread");
}

static int open_outside(both_command *c)
{
    uint16_t port = 0;
    if (!c->prefill.address)
        return CLI_OK;
    const int code =
        open_door(c, c->prefill.address, &c->shared, &c->outside, &c->is_outside_open, &port);
    if (code != CLI_OK)
        return code;
    if (c->prefill.port_file && !cli_write_port_file(c->prefill.port_file, port))
        return cli_error(command, "cannot write the port file '%s': %s", c->prefill.port_file,
                         strerror(errno));
    lynxd_log(CLI_LEVEL_INFO, "decode nodes may connect on port %u", port);
    return CLI_OK;
}

static int open_node(both_command *c)
{
    uint16_t port = 0;
    int code =
        prefill_side_create(&c->prefill, c->engines[c->http.options.slot_count], &c->node);
    if (code == CLI_OK)
        code = make_socket_folder(c);
    if (code == CLI_OK)
        code = open_door(c, c->address, &c->own, &c->inside, &c->is_inside_open, &port);
    if (code == CLI_OK)
        code = open_outside(c);
    if (code != CLI_OK)
        return code;
    c->has_node_thread = pthread_create(&c->node_thread, NULL, run_node, c->node) == 0;
    return c->has_node_thread ? CLI_OK : cli_error(command, "cannot start a thread");
}

static void close_door(lynxd_door *door, bool is_open)
{
    if (is_open)
        lynxd_door_close(door);
    if (door->descriptor >= 0)
        close(door->descriptor);
}

static void close_node(both_command *c)
{
    if (c->has_node_thread)
        pthread_join(c->node_thread, NULL);
    close_door(&c->outside, c->is_outside_open);
    close_door(&c->inside, c->is_inside_open);
    if (c->has_node_thread)
        prefill_side_log_totals(c->node);
    lynx_prefill_node_destroy(c->node);
    if (c->folder[0]) {
        unlink(c->address + strlen("unix:"));
        rmdir(c->folder);
    }
}

/* ---- life ---------------------------------------------------------------------------- */

/* Keys, allowed names, certificate and the log's options come into use. */
static void renew(void *target, void *renewed)
{
    both_command *c = target;
    both_command *next = renewed;
    if (cli_secure_again(&c->shared, &next->shared) == CLI_OK)
        lynxd_start_log(&next->daemon, &next->shared);
    http_side_renew(&c->http, &next->http);
}

static void turn(void *target)
{
    both_command *c = target;
    prefill_side_turn(&c->prefill, c->node);
}

/* Requests of clients first, since they need the prefill node; its peers get what is left. */
static void drain(both_command *c)
{
    const lynx_time_ns end = lynx_clock_now() + c->daemon.grace_ns;
    http_side_drain(&c->http, c->daemon.grace_ns);
    const lynx_time_ns now = lynx_clock_now();
    prefill_side_drain(c->node, now < end ? end - now : 0);
}

static int serve(both_command *c, int argc, char **argv)
{
    int code = open_node(c);
    if (code == CLI_OK)
        code = http_side_open(&c->http, c->engines);
    if (code == CLI_OK) {
        lynxd_notify("READY=1");
        lynxd_await_end(&lynxd_both, c, argc, argv, turn, c->daemon.grace_ns);
        drain(c);
    } else if (c->node) {
        lynx_prefill_node_drain(c->node, 0);
    }
    http_side_close(&c->http);
    close_node(c);
    return code;
}

static int secure(both_command *c)
{
    int code = CLI_OK;
    if (c->prefill.address)
        code = cli_secure(&c->shared, c->prefill.address);
    if (code == CLI_OK)
        code = http_side_secure(&c->http);
    c->own = c->shared;
    c->own.security.credentials = NULL;
    return code;
}

static void end(both_command *c)
{
    for (uint32_t i = 0; i < LYNX_LLAMA_SLOTS_MAX; i++)
        lynx_engine_destroy(c->engines[i]);
    cli_secure_end(&c->shared);
    http_side_end(&c->http);
}

static int run_with(both_command *c, int argc, char **argv)
{
    lynxd_settings *settings = NULL;
    int code = lynxd_settings_read(&settings, &lynxd_both, c, argc, argv);
    if (code >= 0)
        return code;
    lynxd_start_log(&c->daemon, &c->shared);
    lynxd_catch_signals();
    lynxd_raise_descriptors();
    code = http_side_read_files(&c->http);
    if (code == CLI_OK)
        code = secure(c);
    if (code == CLI_OK)
        code = http_side_open_store(&c->http);
    if (code == CLI_OK)
        code = cli_load_slots(&c->shared, c->engines, c->http.options.slot_count + 1);
    if (code == CLI_OK)
        code = serve(c, argc, argv);
    end(c);
    lynxd_settings_free(settings);
    return code;
}

static int run(int argc, char **argv)
{
    both_command *c = calloc(1, sizeof(*c));
    if (!c)
        return cli_error(command, "no memory");
    const int code = run_with(c, argc, argv);
    free(c);
    return code;
}

static int check(void *target)
{
    both_command *c = target;
    lynxd_settings_about("model");
    int worst = cli_check_model(&c->shared);
    lynxd_settings_about(c->shared.security.psk_file ? "psk" : "keys");
    worst |= secure(c);
    lynxd_settings_about(NULL); /* these name the file */
    worst |= http_side_read_files(&c->http);
    lynxd_settings_about("store");
    worst |= http_side_open_store(&c->http);
    end(c);
    return worst;
}

const lynxd_command lynxd_both = {
    .name = "both",
    .title = command,
    .options = long_options,
    .target_size = sizeof(both_command),
    .set_defaults = set_defaults,
    .take = take,
    .check_options = check_options,
    .put_help = put_help,
    .check = check,
    .renew = renew,
    .run = run,
};
