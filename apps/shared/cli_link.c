/* SPDX-License-Identifier: MIT */
/* cli_link.c - connections of the programs: sockets, keys, pace. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

static const uint64_t connect_most_ns = 3000000000ull;

const char cli_keys_help[] =
    "Keys (see 'lynx keys --help'):\n"
    "      --keys DIR           ca.pem, node.pem and node.key of this node (used by itself:\n"
    "                           ${XDG_CONFIG_HOME:-~/.config}/lynx/keys, when node.pem is "
    "there)\n"
    "      --psk FILE           secrets instead, lines ID:HEX\n"
    "      --allow-node NAME    let in this peer and others so named (all of our authority)\n"
    "      --peer-name NAME     the peer must be this one\n"
    "      --insecure-plaintext no encryption, beyond this machine, too\n"
    "      --congestion NAME    TCP congestion control, such as bbr (the system's)\n"
    "      --dscp N             mark of each packet, 0 to 63 (none)\n"
    "      --pacing-mbps X      the kernel spreads packets to hold X Mbit/s (off)\n";

bool cli_keys_folder(char *folder, size_t size)
{
    const char *xdg = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    int length = -1;
    if (xdg && xdg[0] == '/')
        length = snprintf(folder, size, "%s/lynx/keys", xdg);
    else if (home && home[0])
        length = snprintf(folder, size, "%s/.config/lynx/keys", home);
    return length >= 0 && (size_t)length < size;
}

int cli_take_security_option(cli_security *s, int option, const char *value)
{
    double number;
    uint32_t count;
    switch (option) {
    case CLI_OPT_KEYS:
        s->folder = value;
        return 1;
    case CLI_OPT_PSK:
        s->psk_file = value;
        return 1;
    case CLI_OPT_PLAINTEXT:
        s->allows_plaintext = true;
        return 1;
    case CLI_OPT_ALLOW_NODE:
        if (s->allowed_count == CLI_ALLOWED_MAX)
            return 0;
        s->allowed[s->allowed_count++] = value;
        return 1;
    case CLI_OPT_PEER_NAME:
        s->peer_name = value;
        return 1;
    case CLI_OPT_CONGESTION:
        s->tcp.congestion = value;
        return 1;
    case CLI_OPT_DSCP:
        if (!cli_parse_u32(value, 0, 63, &count))
            return 0;
        s->tcp.dscp = (int32_t)count;
        return 1;
    case CLI_OPT_PACING:
        if (!cli_parse_double(value, 0.01, 1000000, &number))
            return 0;
        s->tcp.pacing_bits_per_s = (uint64_t)(number * 1e6);
        return 1;
    default:
        return -1;
    }
}

static bool has_default_keys(char *folder, size_t size)
{
    char path[4096 + 16];
    struct stat found;
    if (!cli_keys_folder(folder, size))
        return false;
    snprintf(path, sizeof(path), "%s/node.pem", folder);
    return stat(path, &found) == 0;
}

/* The keys that were asked for, or those that lie in the default folder, whose name 'room' of
 * 'size' bytes keeps. False: there are none. */
static bool find_keys(const cli_security *s, lynx_credentials_options *keys, char *room,
                      size_t size)
{
    lynx_credentials_options_init(keys);
    keys->folder = s->folder;
    keys->psk_file = s->psk_file;
    keys->allowed_names = s->allowed;
    keys->allowed_count = s->allowed_count;
    if (!s->folder && !s->psk_file && has_default_keys(room, size))
        keys->folder = room;
    return keys->folder || keys->psk_file;
}

static int load_keys(const cli_options *options, const lynx_credentials_options *keys,
                     lynx_credentials **credentials)
{
    char text[512];
    const lynx_status status =
        lynx_credentials_create(credentials, keys, text, sizeof(text), NULL);
    return status == LYNX_OK ? CLI_OK : cli_fail(options->command, status, text);
}

int cli_check_address(const char *command, const char *address)
{
    if (lynx_tcp_is_address(address))
        return CLI_OK;
    return cli_usage(command,
                     "'%s' is not an address; write HOST:PORT, [IPV6]:PORT, :PORT or "
                     "unix:/PATH",
                     address);
}

int cli_secure(cli_options *options, const char *address)
{
    char folder[4096];
    cli_security *s = &options->security;
    lynx_credentials_options keys;
    if (cli_check_address(options->command, address) != CLI_OK)
        return CLI_USAGE;
    if ((s->folder || s->psk_file) && s->allows_plaintext)
        return cli_usage(options->command,
                         "--insecure-plaintext does not go with --keys or --psk");
    if (s->allows_plaintext) {
        cli_say(options->command, CLI_LEVEL_WARNING, "caches travel unencrypted");
        return CLI_OK;
    }
    if (find_keys(s, &keys, folder, sizeof(folder))) /* once for all addresses of a command */
        return s->credentials ? CLI_OK : load_keys(options, &keys, &s->credentials);
    if (s->allowed_count || s->peer_name)
        return cli_usage(options->command,
                         "--allow-node and --peer-name need keys; pass --keys or --psk");
    if (!lynx_tcp_is_loopback(address))
        return cli_usage(
            options->command,
            "'%s' is not an address of this machine alone and there are no keys; make some by "
            "'lynx keys' and pass --keys, or use 127.0.0.1, or pass --insecure-plaintext",
            address);
    if (options->is_verbose)
        cli_say(options->command, CLI_LEVEL_INFO,
                "no keys, so this machine only and without encryption");
    return CLI_OK;
}

int cli_secure_again(cli_options *options, const cli_options *next)
{
    char folder[4096], text[512] = "there are none";
    lynx_credentials *credentials = options->security.credentials;
    lynx_credentials_options keys;
    if (!credentials) {
        cli_say(options->command, CLI_LEVEL_INFO,
                "there are no keys to read again; keys are taken into use at a start");
        return CLI_OK;
    }
    lynx_status status = LYNX_ERR_ARGUMENT;
    if (find_keys(&next->security, &keys, folder, sizeof(folder)))
        status = lynx_credentials_reload(credentials, &keys, text, sizeof(text));
    if (status != LYNX_OK) {
        cli_say(options->command, CLI_LEVEL_ERROR,
                "the old keys stay: %s; put it right and send SIGHUP again", text);
        return cli_exit_code(status);
    }
    if (keys.allowed_count)
        cli_say(options->command, CLI_LEVEL_INFO,
                "new connections use the keys that were read again, and %u allowed names",
                keys.allowed_count);
    else
        cli_say(options->command, CLI_LEVEL_INFO,
                "new connections use the keys that were read again");
    return CLI_OK;
}

void cli_secure_end(cli_options *options)
{
    lynx_credentials_destroy(options->security.credentials);
    options->security.credentials = NULL;
}

/* TLS, if there are keys, and the pace on top of it. Takes '*link' in any case. */
static lynx_status dress(const cli_options *options, lynx_tls_role role, lynx_link **link,
                         char *text, size_t text_size)
{
    const cli_security *s = &options->security;
    if (s->credentials) {
        lynx_tls_options tls;
        lynx_link *plain = *link;
        lynx_tls_options_init(&tls);
        tls.role = role;
        tls.peer_name = s->peer_name;
        const lynx_status status = lynx_link_tls(link, plain, s->credentials, &tls, NULL);
        if (status != LYNX_OK) {
            lynx_link_destroy(plain);
            *link = NULL;
            snprintf(text, text_size, "%s",
                     status == LYNX_ERR_ARGUMENT
                         ? "--peer-name is no name, or no id of the PSK "
                           "file"
                         : lynx_status_text(status));
            return status;
        }
    }
    const lynx_status status = cli_pace(options, link);
    if (status != LYNX_OK)
        snprintf(text, text_size, "%s", lynx_status_text(status));
    return status;
}

lynx_status cli_dial(const cli_options *options, const char *address, lynx_link **link,
                     char *text, size_t text_size)
{
    /* A call that is not taken within three seconds will not be later; sooner if asked for. */
    const uint64_t wait_ns =
        options->timeout_ns < connect_most_ns ? options->timeout_ns : connect_most_ns;
    const lynx_status status =
        lynx_tcp_connect(address, wait_ns, &options->security.tcp, link, text, text_size, NULL);
    return status == LYNX_OK ? dress(options, LYNX_TLS_CLIENT, link, text, text_size) : status;
}

lynx_status cli_accept(const cli_options *options, int descriptor, uint64_t timeout_ns,
                       lynx_link **link, char *text, size_t text_size)
{
    const lynx_status status = lynx_tcp_accept(descriptor, timeout_ns, &options->security.tcp,
                                               link, text, text_size, NULL);
    return status == LYNX_OK ? dress(options, LYNX_TLS_SERVER, link, text, text_size) : status;
}

bool cli_write_port_file(const char *path, uint16_t port)
{
    char draft[4096];
    if (snprintf(draft, sizeof(draft), "%s.%ld", path, (long)getpid()) >= (int)sizeof(draft))
        return false;
    FILE *file = fopen(draft, "w");
    if (!file)
        return false;
    const bool is_written = fprintf(file, "%u\n", port) > 0;
    return fclose(file) == 0 && is_written && rename(draft, path) == 0;
}
