/* SPDX-License-Identifier: MIT */
/* http_side.h - the decode node of a daemon: its options, its prefill nodes, its clients. */
#ifndef LYNXD_HTTP_SIDE_H
#define LYNXD_HTTP_SIDE_H

#include "cli.h"
#include "cli_remotes.h"
#include "lynx/llama.h"
#include "lynx/serve.h"
#include "prefill_side.h"
#include "store_side.h"

enum {
    LYNXD_OPT_PREFILL = LYNXD_OPT_HTTP_SIDE,
    LYNXD_OPT_HTTP,
    LYNXD_OPT_HTTP_PORT_FILE,
    LYNXD_OPT_SLOTS,
    LYNXD_OPT_QUEUE,
    LYNXD_OPT_CLIENTS,
    LYNXD_OPT_BODY,
    LYNXD_OPT_REQUEST_TIMEOUT,
    LYNXD_OPT_IDLE_TIMEOUT,
    LYNXD_OPT_KEY_FILE,
    LYNXD_OPT_CORS,
    LYNXD_OPT_CERT,
    LYNXD_OPT_KEY,
    LYNXD_OPT_NAME,
    LYNXD_OPT_TEMPLATE,
    LYNXD_OPT_CODEC,
    LYNXD_OPT_DRAFT_MAX
};

#define LYNXD_HTTP_OPTIONS                                                                     \
    {"prefill", required_argument, NULL, LYNXD_OPT_PREFILL},                                   \
        {"http", required_argument, NULL, LYNXD_OPT_HTTP},                                     \
        {"http-port-file", required_argument, NULL, LYNXD_OPT_HTTP_PORT_FILE},                 \
        {"http-cert", required_argument, NULL, LYNXD_OPT_CERT},                                \
        {"http-key", required_argument, NULL, LYNXD_OPT_KEY},                                  \
        {"api-key-file", required_argument, NULL, LYNXD_OPT_KEY_FILE},                         \
        {"cors-origin", required_argument, NULL, LYNXD_OPT_CORS},                              \
        {"slots", required_argument, NULL, LYNXD_OPT_SLOTS},                                   \
        {"queue", required_argument, NULL, LYNXD_OPT_QUEUE},                                   \
        {"max-connections", required_argument, NULL, LYNXD_OPT_CLIENTS},                       \
        {"max-body", required_argument, NULL, LYNXD_OPT_BODY},                                 \
        {"request-timeout", required_argument, NULL, LYNXD_OPT_REQUEST_TIMEOUT},               \
        {"idle-timeout", required_argument, NULL, LYNXD_OPT_IDLE_TIMEOUT},                     \
        {"model-name", required_argument, NULL, LYNXD_OPT_NAME},                               \
        {"chat-template", required_argument, NULL, LYNXD_OPT_TEMPLATE},                        \
        {"codec", required_argument, NULL, LYNXD_OPT_CODEC}, LYNXD_STORE_OPTIONS,              \
    {                                                                                          \
        "draft-max", required_argument, NULL, LYNXD_OPT_DRAFT_MAX                              \
    }

extern const char lynxd_http_help[]; /* from --http on */

enum { LYNXD_API_KEYS_MAX = 64, LYNXD_NAME_BYTES_MAX = 256 };

/* What the files of the HTTP side say. */
typedef struct http_secrets {
    char *key_text;
    const char *keys[LYNXD_API_KEYS_MAX]; /* into it */
    uint32_t key_count;
    char *certificate, *certificate_key;
} http_secrets;

typedef struct http_side {
    const char *command; /* for messages */
    cli_options *shared;
    lynx_serve_options options; /* engines and remotes are filled in */
    store_side store;
    cli_remotes nodes;
    const char *names[CLI_REMOTES_MAX]; /* of the nodes, as clients see them */
    const char *address, *port_file, *key_file, *cert_file, *cert_key_file;
    char name[LYNXD_NAME_BYTES_MAX];
    http_secrets *secrets; /* NULL: not read yet */
    lynx_serve *serve;
} http_side;

void http_side_init(http_side *side, const char *command, cli_options *shared);

/* As cli_take_option: CLI_OK, CLI_USAGE (said so), or -1: not one of them. */
int http_side_take_option(http_side *side, int option, const char *value);
/* What cannot go together. CLI_OK or CLI_USAGE after a message. */
int http_side_check_options(const http_side *side);

/* Read keys and certificates: of the HTTP side, and those for the prefill nodes. CLI_OK or an
 * exit code after a message. */
int http_side_read_files(http_side *side);
int http_side_secure(http_side *side);

/* Open the store, if there is one. */
int http_side_open_store(http_side *side);

/* Serve with 'engines', one for each slot, which stay the caller's. CLI_OK, or an exit code
 * after a message; http_side_close is to be called in any case. */
int http_side_open(http_side *side, lynx_engine *const engines[]);
/* SIGHUP: read the files of 'next' and use them from now on; what is wrong is said, and
 * the old ones stay then. 'next' is ended. */
void http_side_renew(http_side *side, http_side *next);
/* Let requests go on for a while; a second signal cuts it short. */
void http_side_drain(http_side *side, uint64_t grace_ns);
/* The nodes are closed, too. */
void http_side_close(http_side *side);

/* Free what was read. */
void http_side_end(http_side *side);

#endif
