/* SPDX-License-Identifier: MIT */
#include "http_side.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "process.h"

const char lynxd_http_help[] =
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
    "      --codec NAME         range, range-3, range44, range-chunk, paper, int8, int4,\n"
    "                           int4-chunk, int8-token, int4-token or raw (range); with "
    "settings:\n"
    "                           range:k=4+4,v=5+3,tail=64 (docs/algorithm.md)\n"
    "      --draft-max N        most drafts (62)\n"
    "\n"
    "Store:\n"
    "      --store PLACE        load what it has of a prompt's beginning, and keep what is "
    "new:\n"
    "                           a folder, http(s)://HOST/PATH or s3://BUCKET/PREFIX (none)\n"
    "      --store-size SIZE    remove what was used longest ago beyond it; 0: no limit (20G "
    "in\n"
    "                           a folder, else 0)\n"
    "      --store-min N        fewest tokens that are worth loading or keeping (256)\n"
    "      --store-memory SIZE  of caches that wait to be written; beyond it they are not "
    "kept\n"
    "                           (1G)\n"
    "      --store-key FILE     key file of an encrypted store\n"
    "      --store-cache DIR    keep here what was read from a store with a URL, and what was\n"
    "                           written to it, so that it is read once (none)\n"
    "      --store-cache-size SIZE\n"
    "                           most bytes of it, the least recently used go (10G)\n";

/* ---- options ------------------------------------------------------------------------- */

void http_side_init(http_side *side, const char *command, cli_options *shared)
{
    *side = (http_side){.command = command, .shared = shared, .address = "127.0.0.1:8080"};
    lynx_serve_options_init(&side->options);
    side->options.slot_count = 4;
    side->options.model_id = NULL;
    side->nodes.is_lasting = true;
    store_side_init(&side->store, command, &side->options);
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
static int take_limit(http_side *side, int option, const char *value)
{
    lynx_serve_options *s = &side->options;
    switch (option) {
    case LYNXD_OPT_SLOTS:
        return cli_parse_u32(value, 1, LYNX_LLAMA_SLOTS_MAX, &s->slot_count);
    case LYNXD_OPT_QUEUE:
        return cli_parse_u32(value, 0, 65536, &s->queue_max);
    case LYNXD_OPT_CLIENTS:
        return cli_parse_u32(value, 1, 60000, &s->connections_max);
    case LYNXD_OPT_DRAFT_MAX:
        return cli_parse_u32(value, 0, 4096, &s->draft_count_max);
    case LYNXD_OPT_BODY:
        return take_body(value, &s->body_bytes_max);
    case LYNXD_OPT_REQUEST_TIMEOUT:
        return cli_parse_seconds(value, 0, &s->request_ns);
    case LYNXD_OPT_IDLE_TIMEOUT:
        return cli_parse_seconds(value, 1, &s->idle_ns);
    default:
        return -1;
    }
}

static bool take_text(http_side *s, int option, const char *value)
{
    const struct {
        int option;
        const char **target;
    } texts[] = {{LYNXD_OPT_HTTP, &s->address},
                 {LYNXD_OPT_HTTP_PORT_FILE, &s->port_file},
                 {LYNXD_OPT_KEY_FILE, &s->key_file},
                 {LYNXD_OPT_CORS, &s->options.cors_origin},
                 {LYNXD_OPT_CERT, &s->cert_file},
                 {LYNXD_OPT_KEY, &s->cert_key_file},
                 {LYNXD_OPT_NAME, &s->options.model_id},
                 {LYNXD_OPT_TEMPLATE, &s->options.chat_template}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        if (option == texts[i].option) {
            *texts[i].target = value;
            return true;
        }
    return false;
}

int http_side_take_option(http_side *s, int option, const char *value)
{
    const int stored = store_side_take_option(&s->store, option, value);
    if (stored != -1)
        return stored;
    const int limit = take_limit(s, option, value);
    if (limit == 0)
        return cli_usage(s->command, "'%s' is not a limit that this option takes", value);
    if (limit > 0)
        return CLI_OK;
    if (take_text(s, option, value))
        return option == LYNXD_OPT_HTTP ? cli_check_address(s->command, value) : CLI_OK;
    if (option == LYNXD_OPT_CODEC)
        return lynx_codec_spec_named(&s->options.spec, value) == LYNX_OK
                   ? CLI_OK
                   : cli_usage(s->command, CLI_NO_CODEC, value);
    if (option != LYNXD_OPT_PREFILL)
        return -1;
    if (s->nodes.count == CLI_REMOTES_MAX)
        return cli_usage(s->command, "there are more than %d prefill nodes", CLI_REMOTES_MAX);
    s->names[s->nodes.count] = value;
    s->nodes.addresses[s->nodes.count++] = value;
    return CLI_OK;
}

int http_side_check_options(const http_side *s)
{
    if (!s->cert_file != !s->cert_key_file)
        return cli_usage(s->command, "--http-cert and --http-key go together");
    return store_side_check_options(&s->store);
}

/* ---- files --------------------------------------------------------------------------- */

static int read_text(const char *command, const char *path, char **text)
{
    size_t size = 0;
    if (!path)
        return CLI_OK;
    *text = cli_read_file(command, path, &size);
    return *text ? CLI_OK : CLI_FAILED;
}

/* The same of a file that nobody else may read. */
static int read_secret(const char *command, const char *path, char **text)
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
        code = read_text(command, opened, text);
    }
    close(descriptor);
    return code;
}

static int read_keys(const http_side *side, http_secrets *s)
{
    static const char blanks[] = " \t\r\n";
    const int code = read_secret(side->command, side->key_file, &s->key_text);
    if (code != CLI_OK || !side->key_file)
        return code;
    char *rest = NULL;
    for (char *key = strtok_r(s->key_text, blanks, &rest); key;
         key = strtok_r(NULL, blanks, &rest)) {
        if (s->key_count == LYNXD_API_KEYS_MAX)
            return cli_error(side->command, "'%s' has more than %d keys", side->key_file,
                             LYNXD_API_KEYS_MAX);
        s->keys[s->key_count++] = key;
    }
    return s->key_count
               ? CLI_OK
               : cli_error(side->command, "'%s' has no key; write one a line", side->key_file);
}

int http_side_read_files(http_side *side)
{
    http_secrets *s = calloc(1, sizeof(*s));
    if (!s)
        return cli_error(side->command, "no memory");
    side->secrets = s;
    int code = read_keys(side, s);
    if (code == CLI_OK)
        code = read_text(side->command, side->cert_file, &s->certificate);
    if (code == CLI_OK)
        code = read_secret(side->command, side->cert_key_file, &s->certificate_key);
    return code;
}

int http_side_secure(http_side *s)
{
    int code = CLI_OK;
    for (uint32_t i = 0; i < s->nodes.count && code == CLI_OK; i++)
        if (!s->nodes.own_options[i])
            code = cli_secure(s->shared, s->nodes.addresses[i]);
    return code;
}

int http_side_open_store(http_side *side)
{
    return store_side_open(&side->store);
}

void http_side_end(http_side *side)
{
    http_secrets *s = side->secrets;
    store_side_close(&side->store);
    if (!s)
        return;
    free(s->key_text);
    free(s->certificate);
    free(s->certificate_key);
    free(s);
    side->secrets = NULL;
}

static lynx_serve_secrets secrets_of(const http_side *side)
{
    return (lynx_serve_secrets){.api_keys = side->secrets->keys,
                                .api_key_count = side->secrets->key_count,
                                .tls_certificate = side->secrets->certificate,
                                .tls_key = side->secrets->certificate_key};
}

static void log_secrets(const http_side *side)
{
    char keys[64] = "no API key";
    if (side->secrets->key_count)
        snprintf(keys, sizeof(keys), "one of %u API keys", side->secrets->key_count);
    lynxd_log(CLI_LEVEL_INFO, "clients need %s%s", keys,
              side->secrets->certificate
                  ? "; new connections see the certificate that was read again"
                  : "");
}

void http_side_renew(http_side *side, http_side *next)
{
    char text[LYNX_TEXT_MAX];
    lynx_status status = LYNX_ERR_ARGUMENT;
    if (http_side_read_files(next) == CLI_OK) {
        const lynx_serve_secrets secrets = secrets_of(next);
        status = lynx_serve_renew(side->serve, &secrets, text);
        if (status != LYNX_OK)
            (void)cli_error(side->command, "%s", text);
    }
    if (status == LYNX_OK) { /* the old ones end with 'next' */
        http_secrets *old = side->secrets;
        side->secrets = next->secrets;
        next->secrets = old;
        log_secrets(side);
    } else {
        lynxd_log(CLI_LEVEL_WARNING, "the old API keys and certificate stay");
    }
    http_side_end(next);
}

/* ---- life ---------------------------------------------------------------------------- */

static void on_log(void *user, lynx_status status, const char *text)
{
    (void)user;
    lynxd_log_event(NULL, status, text);
}

/* Clients call the model by the name of its file. */
static void name_model(http_side *s)
{
    const char *path = s->shared->engine.model_path;
    const char *slash = strrchr(path, '/');
    if (s->options.model_id)
        return;
    snprintf(s->name, sizeof(s->name), "%s", slash ? slash + 1 : path);
    char *suffix = strrchr(s->name, '.');
    if (suffix && strcmp(suffix, ".gguf") == 0)
        *suffix = '\0';
    s->options.model_id = s->name;
}

static void warn(const http_side *s)
{
    if (!lynx_tcp_is_loopback(s->address) && !(s->key_file && s->cert_file))
        lynxd_log(CLI_LEVEL_WARNING,
                  "whoever reaches %s can %s; pass --api-key-file and --http-cert", s->address,
                  s->key_file ? "read the answers on their way" : "use this server");
    if (!s->nodes.count)
        lynxd_log(CLI_LEVEL_INFO, "no --prefill, so prompts are prefilled here");
    if (s->options.store)
        lynxd_log(CLI_LEVEL_INFO, "caches are kept in %s",
                  lynx_store_place(s->options.store)
                      ->ops->description(lynx_store_place(s->options.store)));
}

static int start_serving(http_side *s, uint16_t port)
{
    char text[LYNX_TEXT_MAX];
    const lynx_status status = lynx_serve_create(&s->serve, &s->options, text);
    if (status != LYNX_OK)
        return cli_error(s->command, "%s", text);
    s->options.descriptor = -1;
    if (s->port_file && !cli_write_port_file(s->port_file, port))
        return cli_error(s->command, "cannot write the port file '%s': %s", s->port_file,
                         strerror(errno));
    lynxd_log(CLI_LEVEL_INFO, "%s is ready on port %u", s->options.model_id, port);
    return CLI_OK;
}

int http_side_open(http_side *s, lynx_engine *const engines[])
{
    char text[LYNX_TEXT_MAX];
    uint16_t port = 0;
    name_model(s);
    warn(s);
    const lynx_status status =
        lynx_tcp_listen(s->address, &s->options.descriptor, &port, text, sizeof(text));
    if (status != LYNX_OK)
        return cli_fail(s->command, status, text);
    const int code = cli_remotes_open(&s->nodes, s->shared, engines[0]);
    if (code != CLI_OK)
        return code;
    s->options.engines = engines;
    s->options.remotes = s->nodes.remotes;
    s->options.remote_names = s->names;
    s->options.remote_count = s->nodes.count;
    s->options.secrets = secrets_of(s);
    s->options.log = on_log;
    s->options.logs_http = s->shared->is_verbose;
    s->options.guesses = s->shared->guesses;
    s->options.branch_count_max = s->shared->branches;
    return start_serving(s, port);
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

void http_side_drain(http_side *s, uint64_t grace_ns)
{
    pthread_t thread;
    hurry h = {.serve = s->serve};
    const bool has_watcher = pthread_create(&thread, NULL, watch_second_signal, &h) == 0;
    lynx_serve_drain(s->serve, grace_ns);
    h.is_over = true;
    if (has_watcher)
        pthread_join(thread, NULL);
}

void http_side_close(http_side *s)
{
    lynx_serve_destroy(s->serve);
    s->serve = NULL;
    cli_remotes_close(&s->nodes);
    if (s->options.descriptor >= 0)
        close(s->options.descriptor);
}
