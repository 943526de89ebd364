/* SPDX-License-Identifier: MIT */
/* cli.h - what the commands share: options, exit codes, messages, the engine, prompts. */
#ifndef CLI_H
#define CLI_H

#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lynx/engine.h"
#include "lynx/llama.h"
#include "lynx/runtime.h"
#include "lynx/tls.h"

/* Exit codes; docs/man and --help name them. */
enum {
    CLI_OK = 0,
    CLI_FAILED = 1,     /* anything else: engine, memory, files */
    CLI_USAGE = 2,      /* wrong option, value or prompt */
    CLI_CONNECTION = 3, /* no connection, or it broke or timed out */
    CLI_MISMATCH = 4,   /* another model or another version */
    CLI_CORRUPT = 5,    /* a page did not match its checksum, or the format was broken */
    CLI_DENIED = 6,     /* refused: not authenticated, by us or by the peer */
    CLI_INTERRUPTED = 130
};

/* How much a line for the operator matters. */
typedef enum cli_level {
    CLI_LEVEL_ERROR,
    CLI_LEVEL_WARNING,
    CLI_LEVEL_INFO,
    CLI_LEVEL_DEBUG
} cli_level;

/* Where lines for the operator go, and what stands before them; set before threads start. */
typedef struct cli_outlet {
    /* Called on any thread. NULL: "command: text" on stderr. */
    void (*say)(const char *command, cli_level level, const char *text);
    /* Whence the option comes that is being read, as "FILE:3: listen: "; NULL: unknown. */
    const char *(*place)(void);
} cli_outlet;

extern cli_outlet cli_out;

/* cli_threads.c: begin the program once more with threads of the engine that do not wait in a
 * loop for long, unless the environment says how long they wait. To be called first. */
void cli_share_cores(char **argv);

void cli_say(const char *command, cli_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

int cli_exit_code(lynx_status status);

/* "lynx run: text" on stderr, and the exit code for 'status'. */
int cli_fail(const char *command, lynx_status status, const char *text);
int cli_usage(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same for a file or a program that fails here: CLI_FAILED. */
int cli_error(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What is wrong when getopt_long gave '?' or ':' (option strings begin with ':'); CLI_USAGE. */
int cli_bad_option(const char *command, int result, char **argv);

/* Last of all: 'code', or CLI_FAILED after a message when stdout could not be written. */
int cli_end(const char *program, int code);

/* For cli_usage: the name of a codec, or its settings, that lynx_codec_spec_named() refused. */
#define CLI_NO_CODEC                                                                           \
    "there is no codec '%s'; --help lists the names, docs/algorithm.md their settings"

/* Set by SIGINT and SIGTERM after cli_catch_signals(). */
extern volatile sig_atomic_t cli_stop;
void cli_catch_signals(void);

/* True when 'stream' is a terminal and NO_COLOR is not set. */
bool cli_has_color(FILE *stream);

/* Numbers: whole argument, within bounds; false otherwise. */
bool cli_parse_u32(const char *text, uint32_t least, uint32_t most, uint32_t *value);
bool cli_parse_double(const char *text, double least, double most, double *value);
/* Seconds, at most a day, as nanoseconds. */
bool cli_parse_seconds(const char *text, double least, uint64_t *ns);

/* ---- options that several commands have ---------------------------------------------- */

enum {
    CLI_OPT_MODEL = 'm',
    CLI_OPT_THREADS = 't',
    CLI_OPT_CONTEXT = 'c',
    CLI_OPT_FIRST = 256,
    CLI_OPT_GPU_LAYERS = CLI_OPT_FIRST,
    CLI_OPT_THREADS_BATCH,
    CLI_OPT_CACHE_TYPE,
    CLI_OPT_FLASH,
    CLI_OPT_EXACT,
    CLI_OPT_GUESS,
    CLI_OPT_BRANCHES,
    CLI_OPT_DRAFT_VOCABULARY,
    CLI_OPT_CACHE_ACCESS,
    CLI_OPT_VERBOSE,
    CLI_OPT_TEMPERATURE,
    CLI_OPT_TOP_K,
    CLI_OPT_TOP_P,
    CLI_OPT_MIN_P,
    CLI_OPT_REPEAT,
    CLI_OPT_FREQUENCY,
    CLI_OPT_PRESENCE,
    CLI_OPT_REPEAT_LAST,
    CLI_OPT_SEED,
    CLI_OPT_LINK_MBPS,
    CLI_OPT_LINK_DELAY,
    CLI_OPT_TIMEOUT,
    CLI_OPT_OTHER_WEIGHTS,
    CLI_OPT_PATIENCE,
    CLI_OPT_LANES,
    CLI_OPT_KEYS,
    CLI_OPT_PSK,
    CLI_OPT_PLAINTEXT,
    CLI_OPT_ALLOW_NODE,
    CLI_OPT_PEER_NAME,
    CLI_OPT_CONGESTION,
    CLI_OPT_DSCP,
    CLI_OPT_PACING,
    CLI_OPT_CONFIG,
    CLI_OPT_CHECK_CONFIG,
    CLI_OPT_LOG_LEVEL,
    CLI_OPT_LOG_FORMAT,
    CLI_OPT_GRACE,
    CLI_OPT_OWN /* first number that a command may use for its own options */
};

#define CLI_ENGINE_OPTIONS                                                                     \
    {"model", required_argument, NULL, CLI_OPT_MODEL},                                         \
        {"ctx-size", required_argument, NULL, CLI_OPT_CONTEXT},                                \
        {"threads", required_argument, NULL, CLI_OPT_THREADS},                                 \
        {"threads-batch", required_argument, NULL, CLI_OPT_THREADS_BATCH},                     \
        {"gpu-layers", required_argument, NULL, CLI_OPT_GPU_LAYERS},                           \
        {"cache-type", required_argument, NULL, CLI_OPT_CACHE_TYPE},                           \
        {"flash-attn", required_argument, NULL, CLI_OPT_FLASH},                                \
        {"exact", required_argument, NULL, CLI_OPT_EXACT},                                     \
        {"guess", required_argument, NULL, CLI_OPT_GUESS},                                     \
        {"branches", required_argument, NULL, CLI_OPT_BRANCHES},                               \
        {"draft-vocab", required_argument, NULL, CLI_OPT_DRAFT_VOCABULARY},                    \
        {"cache-access", required_argument, NULL, CLI_OPT_CACHE_ACCESS},                       \
    {                                                                                          \
        "verbose", no_argument, NULL, CLI_OPT_VERBOSE                                          \
    }

#define CLI_SAMPLING_OPTIONS                                                                   \
    {"temp", required_argument, NULL, CLI_OPT_TEMPERATURE},                                    \
        {"top-k", required_argument, NULL, CLI_OPT_TOP_K},                                     \
        {"top-p", required_argument, NULL, CLI_OPT_TOP_P},                                     \
        {"min-p", required_argument, NULL, CLI_OPT_MIN_P},                                     \
        {"repeat-penalty", required_argument, NULL, CLI_OPT_REPEAT},                           \
        {"frequency-penalty", required_argument, NULL, CLI_OPT_FREQUENCY},                     \
        {"presence-penalty", required_argument, NULL, CLI_OPT_PRESENCE},                       \
        {"repeat-last-n", required_argument, NULL, CLI_OPT_REPEAT_LAST},                       \
    {                                                                                          \
        "seed", required_argument, NULL, CLI_OPT_SEED                                          \
    }

#define CLI_LINK_OPTIONS                                                                       \
    {"link-mbps", required_argument, NULL, CLI_OPT_LINK_MBPS},                                 \
        {"link-delay-ms", required_argument, NULL, CLI_OPT_LINK_DELAY},                        \
        {"timeout", required_argument, NULL, CLI_OPT_TIMEOUT},                                 \
        {"patience", required_argument, NULL, CLI_OPT_PATIENCE},                               \
        {"lanes", required_argument, NULL, CLI_OPT_LANES},                                     \
    {                                                                                          \
        "allow-other-weights", no_argument, NULL, CLI_OPT_OTHER_WEIGHTS                        \
    }

#define CLI_KEYS_OPTIONS                                                                       \
    {"keys", required_argument, NULL, CLI_OPT_KEYS},                                           \
        {"psk", required_argument, NULL, CLI_OPT_PSK},                                         \
        {"insecure-plaintext", no_argument, NULL, CLI_OPT_PLAINTEXT},                          \
        {"allow-node", required_argument, NULL, CLI_OPT_ALLOW_NODE},                           \
        {"peer-name", required_argument, NULL, CLI_OPT_PEER_NAME},                             \
        {"congestion", required_argument, NULL, CLI_OPT_CONGESTION},                           \
        {"dscp", required_argument, NULL, CLI_OPT_DSCP},                                       \
    {                                                                                          \
        "pacing-mbps", required_argument, NULL, CLI_OPT_PACING                                 \
    }

extern const char cli_keys_help[];
extern const char cli_engine_help[];
extern const char cli_sampling_help[];
extern const char cli_link_help[];

enum { CLI_ALLOWED_MAX = 256 };

/* How this program proves itself and what it asks of peers and sockets. */
typedef struct cli_security {
    const char *folder, *psk_file, *peer_name;
    const char *allowed[CLI_ALLOWED_MAX];
    uint32_t allowed_count;
    bool allows_plaintext;
    lynx_tcp_options tcp;
    lynx_credentials *credentials; /* NULL: plaintext */
} cli_security;

typedef struct cli_options {
    const char *command; /* for messages: "lynx run" */
    lynx_llama_options engine;
    bool is_verbose;
    lynx_sampling sampling;
    lynx_pacer_options pacer;
    uint64_t timeout_ns, patience_ns;
    uint32_t lanes;
    bool guesses; /* as in lynx_run_options */
    uint32_t branches;
    bool allow_other_weights;
    cli_security security;
} cli_options;

void cli_options_init(cli_options *options, const char *command);

/* Take one of the options above. CLI_OK: taken. CLI_USAGE: its value is wrong (said so).
 * -1: not one of them. */
int cli_take_option(cli_options *options, int option, const char *value);

/* Options that other programs are started with, so that their engines are as this one's; the
 * model and --exact are the caller's to add. */
enum { CLI_ENGINE_WORDS = 9 };
typedef struct cli_engine_words {
    char texts[CLI_ENGINE_WORDS][32]; /* "--name=value" */
    uint32_t count;
} cli_engine_words;

/* Add them to 'arguments', which end with NULL and have room for so many more; they live in
 * 'words'. */
void cli_add_engine_words(const cli_options *options, cli_engine_words *words,
                          char *arguments[]);

/* See that the model is named and a GGUF file, without loading it. CLI_OK or an exit code after
 * the message. */
int cli_check_model(const cli_options *options);

/* Load the model; CLI_OK or an exit code after the message. */
int cli_load_engine(const cli_options *options, lynx_engine **engine);
/* The same with 'count' slots. */
int cli_load_slots(const cli_options *options, lynx_engine *engines[], uint32_t count);

/* Wrap 'link' in a pacer when a rate or delay was asked for. Takes 'link' in any case. */
lynx_status cli_pace(const cli_options *options, lynx_link **link);

/* ---- connections (cli_link.c) -------------------------------------------------------- */

/* The default folder of keys; false when there is no home. */
bool cli_keys_folder(char *folder, size_t size);

/* 1: taken, 0: wrong value, -1: not one of CLI_KEYS_OPTIONS. */
int cli_take_security_option(cli_security *security, int option, const char *value);

/* "'x' is not an address; ..." and CLI_USAGE, or CLI_OK. */
int cli_check_address(const char *command, const char *address);

/* Read the keys, or see that plaintext is allowed for 'address'. CLI_OK or an exit code after
 * the message. */
int cli_secure(cli_options *options, const char *address);
/* Read the keys and the list of allowed names of 'next' for connections to come, on any thread;
 * what is wrong is said, and the old ones stay then. */
int cli_secure_again(cli_options *options, const cli_options *next);
void cli_secure_end(cli_options *options);

/* Connect or accept, encrypted if there are keys, paced if that was asked for. As
 * lynx_tcp_connect and lynx_tcp_accept; 'text' gets a sentence on failure. */
lynx_status cli_dial(const cli_options *options, const char *address, lynx_link **link,
                     char *text, size_t text_size);
lynx_status cli_accept(const cli_options *options, int descriptor, uint64_t timeout_ns,
                       lynx_link **link, char *text, size_t text_size);

/* Announce a port in a file that appears only when it is complete; false with errno. */
bool cli_write_port_file(const char *path, uint16_t port);

/* ---- prompts ------------------------------------------------------------------------- */

/* Whole file, or stdin for "-", terminated; the caller frees. NULL after a message. */
char *cli_read_file(const char *command, const char *path, size_t *size);

/* Tokens of 'text' with control tokens recognised; the caller frees. */
lynx_status cli_tokenize(lynx_engine *engine, const char *text, size_t size, bool add_start,
                         lynx_token **tokens, uint32_t *count);

/* One-turn chat prompt of the model's template; the caller frees '*text'. */
lynx_status cli_chat_prompt(lynx_engine *engine, const char *template_name, const char *system,
                            const char *user, char **text, size_t *size);

/* Write the text of one token to 'stream'. */
void cli_put_token(FILE *stream, lynx_engine *engine, lynx_token token);

#endif
