/* SPDX-License-Identifier: MIT */
#include "decode.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "cli_remotes.h"
#include "lynx/llama.h"
#include "lynx/serve.h"
#include "process.h"
#include "settings.h"

enum {
    OPT_PREFILL = CLI_OPT_OWN,
    OPT_HTTP,
    OPT_PORT_FILE,
    OPT_SLOTS,
    OPT_QUEUE,
    OPT_CONNECTIONS,
    OPT_BODY,
    OPT_REQUEST_TIMEOUT,
    OPT_IDLE_TIMEOUT,
    OPT_KEY_FILE,
    OPT_CORS,
    OPT_CERT,
    OPT_KEY,
    OPT_NAME,
    OPT_TEMPLATE,
    OPT_CODEC,
    OPT_DRAFT_MAX
};

enum { KEYS_MAX = 64, DESCRIPTORS = 65536, NAME_MAX_BYTES = 256 };

static const char command[] = "lynxd decode";

static const char help[] =
    "Usage: lynxd decode -m model.gguf [--prefill HOST:PORT ...] [options]\n"
    "\n"
    "Answer clients of OpenAI's API, with the caches of prompts from prefill nodes; without\n"
    "--prefill, prompts are prefilled here. docs/http.md describes what is served.\n"
    "\n"
    "      --prefill HOST:PORT  the prefill node; given several times: the next ones are tried "
    "when\n"
    "                           it cannot finish\n"
    "      --http HOST:PORT     where clients connect (127.0.0.1:8080); port 0: any free one\n"
    "      --http-port-file FILE  write the port there once the node is ready\n"
    "      --http-cert FILE     certificate (PEM) of the HTTP side, and\n"
    "      --http-key FILE      its key: TLS\n"
    "      --api-key-file FILE  keys, one a line, of which clients must send one\n"
    "      --cors-origin ORIGIN pages from there may use this server; '*': all (none)\n"
    "      --slots N            requests at a time (4)\n"
    "      --queue N            requests that wait for a slot (16); others get 429\n"
    "      --max-connections N  of clients (2048)\n"
    "      --max-body MB        of a request (8)\n"
    "      --request-timeout SECONDS  end a request that takes longer; 0: none (600)\n"
    "      --idle-timeout SECONDS  close a connection that is silent for so long (60)\n"
    "      --model-name NAME    what clients call the model (name of the file)\n"
    "      --chat-template NAME name of a template that llama.cpp knows (the model's own)\n"
    "      --codec NAME         range, range44, range-chunk, paper, int8, int4, int4-chunk,\n"
    "                           int8-token, int4-token or raw (range)\n"
    "      --draft-max N        most drafts (62)\n"
    "\n";

static const char help_end[] =
    "\n"
    "Exit codes: 0 ended by a signal, 1 engine or file, 2 usage, 3 no address to listen on,\n"
    "6 keys refused.\n"
    "\n"
    "Example:\n"
    "  lynxd decode -m model.gguf --prefill 127.0.0.1:7600 --http 127.0.0.1:8080\n";

typedef struct decode_command {
    cli_options shared;
    lynx_serve_options serve;
    cli_remotes nodes;
    const char *address, *port_file, *key_file, *cert_file, *cert_key_file;
    lynxd_daemon_options daemon;
    char name[NAME_MAX_BYTES];
    char *key_text, *certificate, *certificate_key;
    const char *keys[KEYS_MAX];
    lynx_engine *engines[LYNX_LLAMA_SLOTS_MAX];
} decode_command;

static const char short_options[] = ":m:c:t:h";

static const struct option long_options[] = {
    CLI_ENGINE_OPTIONS,
    CLI_LINK_OPTIONS,
    CLI_KEYS_OPTIONS,
    LYNXD_DAEMON_OPTIONS,
    {"prefill", required_argument, NULL, OPT_PREFILL},
    {"http", required_argument, NULL, OPT_HTTP},
    {"http-port-file", required_argument, NULL, OPT_PORT_FILE},
    {"http-cert", required_argument, NULL, OPT_CERT},
    {"http-key", required_argument, NULL, OPT_KEY},
    {"api-key-file", required_argument, NULL, OPT_KEY_FILE},
    {"cors-origin", required_argument, NULL, OPT_CORS},
    {"slots", required_argument, NULL, OPT_SLOTS},
    {"queue", required_argument, NULL, OPT_QUEUE},
    {"max-connections", required_argument, NULL, OPT_CONNECTIONS},
    {"max-body", required_argument, NULL, OPT_BODY},
    {"request-timeout", required_argument, NULL, OPT_REQUEST_TIMEOUT},
    {"idle-timeout", required_argument, NULL, OPT_IDLE_TIMEOUT},
    {"model-name", required_argument, NULL, OPT_NAME},
    {"chat-template", required_argument, NULL, OPT_TEMPLATE},
    {"codec", required_argument, NULL, OPT_CODEC},
    {"draft-max", required_argument, NULL, OPT_DRAFT_MAX},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* ---- options ------------------------------------------------------------------------- */

static bool take_seconds(const char *value, double least, uint64_t *ns)
{
    double seconds;
    if (!cli_parse_double(value, least, 86400, &seconds))
        return false;
    *ns = (uint64_t)(seconds * 1e9);
    return true;
}

static bool take_body(const char *value, size_t *bytes)
{
    double megabytes;
    if (!cli_parse_double(value, 0.001, 1024, &megabytes))
        return false;
    *bytes = (size_t)(megabytes * 1048576);
    return true;
}

/* 1: taken, 0: wrong value, -1: not a limit. */
static int take_limit(decode_command *c, int option, const char *value)
{
    lynx_serve_options *s = &c->serve;
    switch (option) {
    case OPT_SLOTS:
        return cli_parse_u32(value, 1, LYNX_LLAMA_SLOTS_MAX, &s->slot_count);
    case OPT_QUEUE:
        return cli_parse_u32(value, 0, 65536, &s->queue_max);
    case OPT_CONNECTIONS:
        return cli_parse_u32(value, 1, 60000, &s->connections_max);
    case OPT_DRAFT_MAX:
        return cli_parse_u32(value, 0, 4096, &s->draft_count_max);
    case OPT_BODY:
        return take_body(value, &s->body_bytes_max);
    case OPT_REQUEST_TIMEOUT:
        return take_seconds(value, 0, &s->request_ns);
    case OPT_IDLE_TIMEOUT:
        return take_seconds(value, 1, &s->idle_ns);
    default:
        return -1;
    }
}

static int take_own_option(decode_command *c, int option, const char *value)
{
    const struct {
        int option;
        const char **target;
    } texts[] = {{OPT_HTTP, &c->address},        {OPT_PORT_FILE, &c->port_file},
                 {OPT_KEY_FILE, &c->key_file},   {OPT_CORS, &c->serve.cors_origin},
                 {OPT_CERT, &c->cert_file},      {OPT_KEY, &c->cert_key_file},
                 {OPT_NAME, &c->serve.model_id}, {OPT_TEMPLATE, &c->serve.chat_template}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        if (option == texts[i].option) {
            *texts[i].target = value;
            return option == OPT_HTTP ? cli_check_address(command, value) : CLI_OK;
        }
    if (option == OPT_CODEC)
        return lynx_codec_spec_named(&c->serve.spec, value) == LYNX_OK
                   ? CLI_OK
                   : cli_usage(command, "there is no codec '%s'", value);
    if (option != OPT_PREFILL)
        return cli_usage(command, "unknown option");
    if (c->nodes.count == CLI_REMOTES_MAX)
        return cli_usage(command, "there are more than %d prefill nodes", CLI_REMOTES_MAX);
    c->nodes.addresses[c->nodes.count++] = value;
    return CLI_OK;
}

static int take_option(decode_command *c, int option, const char *value)
{
    const int shared = cli_take_option(&c->shared, option, value);
    if (shared != -1)
        return shared;
    const int daemon = lynxd_take_daemon_option(&c->daemon, command, option, value);
    if (daemon != -1)
        return daemon;
    const int limit = take_limit(c, option, value);
    if (limit == 0)
        return cli_usage(command, "'%s' is not a limit that this option takes", value);
    return limit > 0 ? CLI_OK : take_own_option(c, option, value);
}

static void set_defaults(decode_command *c)
{
    *c = (decode_command){.address = "127.0.0.1:8080"};
    cli_options_init(&c->shared, command);
    lynxd_daemon_options_init(&c->daemon);
    lynx_serve_options_init(&c->serve);
    c->serve.slot_count = 4;
    c->serve.model_id = NULL;
}

static int parse(void *target, int argc, char **argv)
{
    decode_command *c = target;
    int option;
    set_defaults(c);
    while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
        if (option == 'h') {
            printf("%s%s\n%s\n%s\n%s%s", help, lynxd_daemon_help, cli_engine_help,
                   cli_link_help, cli_keys_help, help_end);
            return CLI_OK;
        }
        if (option == '?' || option == ':')
            return cli_bad_option(command, option, argv);
        const int taken = take_option(c, option, optarg);
        if (taken != CLI_OK)
            return taken;
    }
    if (optind < argc)
        return cli_usage(command, "unexpected argument '%s'", argv[optind]);
    if (!c->cert_file != !c->cert_key_file)
        return cli_usage(command, "--http-cert and --http-key go together");
    return -1;
}

/* ---- files --------------------------------------------------------------------------- */

static int read_text(const char *path, char **text)
{
    size_t size = 0;
    if (!path)
        return CLI_OK;
    *text = cli_read_file(command, path, &size);
    return *text ? CLI_OK : CLI_FAILED;
}

/* The same of a file that nobody else may read. */
static int read_secret(const char *path, char **text)
{
    char opened[32];
    struct stat found;
    if (!path)
        return CLI_OK;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 || fstat(descriptor, &found) != 0)
        return cli_error(command, "cannot open '%s': %s", path, strerror(errno));
    int code = CLI_FAILED;
    if (found.st_mode & (S_IRWXG | S_IRWXO)) {
        code =
            cli_error(command, "others may read '%s'; please run: chmod 600 '%s'", path, path);
    } else {
        snprintf(opened, sizeof(opened), "/dev/fd/%d", descriptor);
        code = read_text(opened, text);
    }
    close(descriptor);
    return code;
}

static int read_keys(decode_command *c)
{
    static const char blanks[] = " \t\r\n";
    const int code = read_secret(c->key_file, &c->key_text);
    if (code != CLI_OK || !c->key_file)
        return code;
    char *rest = NULL;
    for (char *key = strtok_r(c->key_text, blanks, &rest); key;
         key = strtok_r(NULL, blanks, &rest)) {
        if (c->serve.api_key_count == KEYS_MAX)
            return cli_error(command, "'%s' has more than %d keys", c->key_file, KEYS_MAX);
        c->keys[c->serve.api_key_count++] = key;
    }
    c->serve.api_keys = c->keys;
    return c->serve.api_key_count
               ? CLI_OK
               : cli_error(command, "'%s' has no key; write one a line", c->key_file);
}

static int read_files(decode_command *c)
{
    int code = read_keys(c);
    if (code == CLI_OK)
        code = read_text(c->cert_file, &c->certificate);
    if (code == CLI_OK)
        code = read_secret(c->cert_key_file, &c->certificate_key);
    c->serve.tls_certificate = c->certificate;
    c->serve.tls_key = c->certificate_key;
    return code;
}

/* Clients call the model by the name of its file. */
static void name_model(decode_command *c)
{
    const char *path = c->shared.engine.model_path;
    const char *slash = strrchr(path, '/');
    if (c->serve.model_id)
        return;
    snprintf(c->name, sizeof(c->name), "%s", slash ? slash + 1 : path);
    char *suffix = strrchr(c->name, '.');
    if (suffix && strcmp(suffix, ".gguf") == 0)
        *suffix = '\0';
    c->serve.model_id = c->name;
}

/* ---- life ---------------------------------------------------------------------------- */

/* The one place where the engines of the slots are made. */
static void on_log(void *user, lynx_status status, const char *text)
{
    const decode_command *c = user;
    if (status != LYNX_OK || c->shared.is_verbose)
        lynxd_log_event(NULL, status, text);
}

/* Each client has a descriptor. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= DESCRIPTORS)
        return;
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static void warn(const decode_command *c)
{
    if (!lynx_tcp_is_loopback(c->address) && !(c->key_file && c->cert_file))
        lynxd_log(CLI_LEVEL_WARNING,
                  "whoever reaches %s can %s; pass --api-key-file and --http-cert", c->address,
                  c->key_file ? "read the answers on their way" : "use this server");
    if (!c->nodes.count)
        lynxd_log(CLI_LEVEL_INFO, "no --prefill, so prompts are prefilled here");
}

/* SIGHUP: the log's options come into use, and the keys for connections to come. */
static void reload(decode_command *c, int argc, char **argv)
{
    decode_command next;
    lynxd_settings *settings = NULL;
    lynxd_notify("RELOADING=1");
    if (lynxd_settings_read(&settings, &lynxd_decode, &next, argc, argv) >= 0)
        lynxd_log(CLI_LEVEL_WARNING,
                  "the old settings stay; put it right and send SIGHUP again");
    else if (cli_reload_keys(&c->shared) == CLI_OK)
        lynxd_start_log(&next.daemon, &next.shared);
    lynxd_settings_free(settings);
    lynxd_notify("READY=1");
}

static void await_end(decode_command *c, int argc, char **argv)
{
    while (!lynxd_must_drain()) {
        if (lynxd_take_reload())
            reload(c, argc, argv);
        lynxd_log_turn();
        poll(NULL, 0, 50);
    }
    lynxd_notify("STOPPING=1");
    lynxd_log(CLI_LEVEL_INFO, "stopping; requests may go on for %.1f s",
              (double)c->daemon.grace_ns / 1e9);
}

typedef struct hurry {
    lynx_serve *serve;
    atomic_bool is_over;
} hurry;

/* The second signal cuts the time of grace short. */
static void *watch_second_signal(void *user)
{
    hurry *h = user;
    while (!h->is_over && !cli_stop)
        poll(NULL, 0, 50);
    if (!h->is_over)
        lynx_serve_drain(h->serve, 0);
    return NULL;
}

static void drain(lynx_serve *serve, uint64_t grace_ns)
{
    pthread_t thread;
    hurry h = {.serve = serve};
    const bool has_watcher = pthread_create(&thread, NULL, watch_second_signal, &h) == 0;
    lynx_serve_drain(serve, grace_ns);
    h.is_over = true;
    if (has_watcher)
        pthread_join(thread, NULL);
}

static int serve_until_stopped(decode_command *c, uint16_t port, int argc, char **argv)
{
    char text[LYNX_TEXT_MAX];
    lynx_serve *serve = NULL;
    const lynx_status status = lynx_serve_create(&serve, &c->serve, text);
    if (status != LYNX_OK)
        return cli_error(command, "%s", text);
    c->serve.descriptor = -1;
    int code = CLI_OK;
    if (c->port_file && !cli_write_port_file(c->port_file, port))
        code = cli_error(command, "cannot write the port file '%s': %s", c->port_file,
                         strerror(errno));
    else
        lynxd_log(CLI_LEVEL_INFO, "%s is ready on port %u", c->serve.model_id, port);
    if (code == CLI_OK) {
        lynxd_notify("READY=1");
        await_end(c, argc, argv);
        drain(serve, c->daemon.grace_ns);
    }
    lynx_serve_destroy(serve);
    return code;
}

static int serve(decode_command *c, int argc, char **argv)
{
    char text[LYNX_TEXT_MAX];
    uint16_t port = 0;
    const lynx_status status =
        lynx_tcp_listen(c->address, &c->serve.descriptor, &port, text, sizeof(text));
    if (status != LYNX_OK)
        return cli_fail(command, status, text);
    c->nodes.is_lasting = true;
    int code = cli_remotes_open(&c->nodes, &c->shared, c->engines[0]);
    c->serve.engines = c->engines;
    c->serve.remotes = c->nodes.remotes;
    c->serve.remote_names = c->nodes.addresses;
    c->serve.remote_count = c->nodes.count;
    c->serve.log = on_log;
    c->serve.user = c;
    if (code == CLI_OK)
        code = serve_until_stopped(c, port, argc, argv);
    cli_remotes_close(&c->nodes);
    if (c->serve.descriptor >= 0)
        close(c->serve.descriptor);
    return code;
}

static void end(decode_command *c)
{
    for (uint32_t i = 0; i < c->serve.slot_count; i++)
        lynx_engine_destroy(c->engines[i]);
    cli_secure_end(&c->shared);
    free(c->key_text);
    free(c->certificate);
    free(c->certificate_key);
}

static int secure(decode_command *c)
{
    int code = CLI_OK;
    for (uint32_t i = 0; i < c->nodes.count && code == CLI_OK; i++)
        code = cli_secure(&c->shared, c->nodes.addresses[i]);
    return code;
}

static int run(int argc, char **argv)
{
    decode_command c;
    lynxd_settings *settings = NULL;
    int code = lynxd_settings_read(&settings, &lynxd_decode, &c, argc, argv);
    if (code >= 0)
        return code;
    lynxd_start_log(&c.daemon, &c.shared);
    lynxd_catch_signals();
    raise_descriptors();
    code = read_files(&c);
    if (code == CLI_OK)
        code = secure(&c);
    if (code == CLI_OK)
        code = cli_load_slots(&c.shared, c.engines, c.serve.slot_count);
    if (code == CLI_OK) {
        name_model(&c);
        warn(&c);
        code = serve(&c, argc, argv);
    }
    end(&c);
    lynxd_settings_free(settings);
    return code;
}

static int check(void *target)
{
    decode_command *c = target;
    lynxd_settings_about("model");
    int worst = cli_check_model(&c->shared);
    lynxd_settings_about(c->shared.security.psk_file ? "psk" : "keys");
    worst |= secure(c);
    lynxd_settings_about(NULL); /* these name the file */
    worst |= read_files(c);
    end(c);
    return worst;
}

const lynxd_command lynxd_decode = {
    .name = "decode",
    .title = command,
    .letters = short_options,
    .options = long_options,
    .target_size = sizeof(decode_command),
    .parse = parse,
    .check = check,
    .run = run,
};
