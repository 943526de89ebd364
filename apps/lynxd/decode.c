/* SPDX-License-Identifier: MIT */
#include "decode.h"

#include <poll.h>

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

static const char short_options[] = ":m:c:t:h";

static const struct option long_options[] = {
    CLI_ENGINE_OPTIONS,   CLI_LINK_OPTIONS,   CLI_KEYS_OPTIONS,
    LYNXD_DAEMON_OPTIONS, LYNXD_HTTP_OPTIONS, {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int take_option(decode_command *c, int option, const char *value)
{
    int taken = cli_take_option(&c->shared, option, value);
    if (taken == -1)
        taken = lynxd_take_daemon_option(&c->daemon, command, option, value);
    if (taken == -1)
        taken = http_side_take_option(&c->side, option, value);
    return taken != -1 ? taken : cli_usage(command, "unknown option");
}

static int parse(void *target, int argc, char **argv)
{
    decode_command *c = target;
    int option;
    *c = (decode_command){0};
    cli_options_init(&c->shared, command);
    lynxd_daemon_options_init(&c->daemon);
    http_side_init(&c->side, command, &c->shared);
    while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
        if (option == 'h') {
            printf("%s%s\n%s\n%s\n%s\n%s%s", help, lynxd_http_help, lynxd_daemon_help,
                   cli_engine_help, cli_link_help, cli_keys_help, help_end);
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
    return http_side_check_options(&c->side) == CLI_OK ? -1 : CLI_USAGE;
}

/* SIGHUP: the log's options come into use, keys and certificates for what is to come. */
static void reload(decode_command *c, int argc, char **argv)
{
    decode_command next;
    lynxd_settings *settings = NULL;
    lynxd_notify("RELOADING=1");
    if (lynxd_settings_read(&settings, &lynxd_decode, &next, argc, argv) >= 0) {
        lynxd_log(CLI_LEVEL_WARNING,
                  "the old settings stay; put it right and send SIGHUP again");
    } else {
        if (cli_secure_again(&c->shared, &next.shared) == CLI_OK)
            lynxd_start_log(&next.daemon, &next.shared);
        http_side_renew(&c->side, &next.side);
    }
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

static int serve(decode_command *c, int argc, char **argv)
{
    const int code = http_side_open(&c->side, c->engines);
    if (code == CLI_OK) {
        lynxd_notify("READY=1");
        await_end(c, argc, argv);
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
