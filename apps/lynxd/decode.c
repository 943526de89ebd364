/* SPDX-License-Identifier: MIT */
#include "decode.h"

#include "cli.h"
#include "http_side.h"
#include "process.h"
#include "settings.h"

static const char command[] = "lynxd decode";

static const char help[] =
    "Usage: lynxd decode -m model.gguf [--prefill HOST:PORT ...] [options]\n"
    "\n"
    "Answer clients of OpenAI's API, with the caches of prompts from prefill nodes; without\n"
    "--prefill, prompts are prefilled here. docs/http.md describes what is served.\n"
    "\n"
    "      --prefill HOST:PORT  a prefill node; given several times: the one that is expected\n"
    "                           to be done first is asked, the others when it cannot finish\n";

static const char help_end[] =
    "\n"
    "Exit codes: 0 ended by a signal, 1 engine or file, 2 usage, 3 no address to listen on,\n"
    "6 keys refused.\n"
    "\n"
    "Example:\n"
    "  lynxd decode -m model.gguf --prefill 127.0.0.1:7600 --http 127.0.0.1:8080\n";

typedef struct decode_command {
    cli_options shared;
    lynxd_daemon_options daemon;
    http_side side;
    lynx_engine *engines[LYNX_LLAMA_SLOTS_MAX];
} decode_command;

static const struct option long_options[] = {
    CLI_ENGINE_OPTIONS,   CLI_LINK_OPTIONS,   CLI_KEYS_OPTIONS,
    LYNXD_DAEMON_OPTIONS, LYNXD_HTTP_OPTIONS, {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void set_defaults(void *target)
{
    decode_command *c = target;
    *c = (decode_command){0};
    cli_options_init(&c->shared, command);
    lynxd_daemon_options_init(&c->daemon);
    http_side_init(&c->side, command, &c->shared);
}

static int take(void *target, int option, const char *value)
{
    decode_command *c = target;
    int taken = cli_take_option(&c->shared, option, value);
    if (taken == -1)
        taken = lynxd_take_daemon_option(&c->daemon, command, option, value);
    if (taken == -1)
        taken = http_side_take_option(&c->side, option, value);
    return taken != -1 ? taken : cli_usage(command, "unknown option");
}

static int check_options(void *target)
{
    const decode_command *c = target;
    return http_side_check_options(&c->side);
}

static void put_help(void)
{
    printf("%s%s\n%s\n%s\n%s\n%s%s", help, lynxd_http_help, lynxd_daemon_help, cli_engine_help,
           cli_link_help, cli_keys_help, help_end);
}

/* The log's options come into use, keys and certificates for what is to come. */
static void renew(void *target, void *renewed)
{
    decode_command *c = target;
    decode_command *next = renewed;
    if (cli_secure_again(&c->shared, &next->shared) == CLI_OK)
        lynxd_start_log(&next->daemon, &next->shared);
    http_side_renew(&c->side, &next->side);
}

static int serve(decode_command *c, int argc, char **argv)
{
    const int code = http_side_open(&c->side, c->engines);
    if (code == CLI_OK) {
        lynxd_notify("READY=1");
        lynxd_await_end(&lynxd_decode, c, argc, argv, NULL, c->daemon.grace_ns);
        http_side_drain(&c->side, c->daemon.grace_ns);
    }
    http_side_close(&c->side);
    return code;
}

static void end(decode_command *c)
{
    for (uint32_t i = 0; i < LYNX_LLAMA_SLOTS_MAX; i++)
        lynx_engine_destroy(c->engines[i]);
    cli_secure_end(&c->shared);
    http_side_end(&c->side);
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
    lynxd_raise_descriptors();
    code = http_side_read_files(&c.side);
    if (code == CLI_OK)
        code = http_side_secure(&c.side);
    if (code == CLI_OK)
        code = http_side_open_store(&c.side);
    if (code == CLI_OK)
        code = cli_load_slots(&c.shared, c.engines, c.side.options.slot_count);
    if (code == CLI_OK)
        code = serve(&c, argc, argv);
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
    worst |= http_side_secure(&c->side);
    lynxd_settings_about(NULL); /* these name the file */
    worst |= http_side_read_files(&c->side);
    lynxd_settings_about("store");
    worst |= http_side_open_store(&c->side);
    end(c);
    return worst;
}

const lynxd_command lynxd_decode = {
    .name = "decode",
    .title = command,
    .options = long_options,
    .target_size = sizeof(decode_command),
    .set_defaults = set_defaults,
    .take = take,
    .check_options = check_options,
    .put_help = put_help,
    .check = check,
    .renew = renew,
    .run = run,
};
