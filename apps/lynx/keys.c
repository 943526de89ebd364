/* SPDX-License-Identifier: MIT */
/*
 * keys.c - 'lynx keys': the authority of a group of nodes, and what each node gets.
 *
 *   DIR/ca.pem  DIR/ca.key                      the authority; ca.pem may hold older ones, too
 *   DIR/NAME/ca.pem  node.pem  node.key         ready to copy to the node NAME
 *   DIR/psk                                     secrets, for those who want no certificates
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <jansson.h>

#include "cli.h"
#include "commands.h"
#include "key_files.h"
#include "lynx/keys.h"

enum {
    OPT_DIR = CLI_OPT_OWN,
    OPT_DAYS,
    OPT_WITHIN,
    OPT_FORCE,
    OPT_JSON,
    NODE_DAYS = 365,
    AUTHORITY_DAYS = 3650,
    WARN_DAYS = 30,
    DAY_S = 86400,
    SECRET_BYTES = 32,
    WORDS_MAX = 2
};

static const char command[] = "lynx keys";

static const char help[] =
    "Usage: lynx keys init | node NAME | show | rotate [ca | drop] | psk [ID]  [options]\n"
    "\n"
    "Make the keys by which nodes know each other. Do it on one machine, copy each node its "
    "own\n"
    "folder (scp -p), and keep ca.key where it is.\n"
    "\n"
    "  init         make the authority: ca.pem and ca.key (10 years)\n"
    "  node NAME    certify a node: folder NAME with ca.pem, node.pem, node.key (1 year)\n"
    "  show         what there is, and until when it is valid\n"
    "  rotate       renew the nodes that end soon or have an older authority\n"
    "  rotate ca    make a new authority and go on accepting the old one: copy the nodes' "
    "ca.pem,\n"
    "               then 'rotate', copy the folders, then 'rotate drop'\n"
    "  rotate drop  no longer accept authorities but the newest\n"
    "  psk [ID]     add a new secret to the file 'psk', in front; the one before it stays\n"
    "               accepted: copy the file first to nodes that listen, then to those that "
    "connect\n"
    "\n"
    "      --dir DIR      the folder (${XDG_CONFIG_HOME:-~/.config}/lynx/keys)\n"
    "      --days N       how long a certificate is valid\n"
    "      --within DAYS  'rotate' renews what ends within (30)\n"
    "      --force        replace what is there; 'rotate' renews all\n"
    "      --json         'show' as one JSON object\n"
    "\n"
    "Exit codes: 0 done, 1 files, 2 usage or something is there already.\n"
    "\n"
    "Example:\n"
    "  lynx keys init && lynx keys node prefill-1 && lynx keys node decode-1\n";

typedef struct keys_command {
    const char *words[WORDS_MAX];
    int word_count;
    char folder[KEY_PATH_MAX / 2];
    uint32_t days; /* 0: not given */
    uint32_t within_days;
    bool may_replace, is_json;
} keys_command;

static const struct option long_options[] = {
    {"dir", required_argument, NULL, OPT_DIR},
    {"days", required_argument, NULL, OPT_DAYS},
    {"within", required_argument, NULL, OPT_WITHIN},
    {"force", no_argument, NULL, OPT_FORCE},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int take_folder(keys_command *k, const char *path)
{
    const size_t length = strlen(path);
    if (length == 0 || length >= sizeof(k->folder) - LYNX_KEYS_NAME_MAX - 64)
        return cli_usage(command, "the folder's name is empty or too long");
    memcpy(k->folder, path, length + 1);
    return CLI_OK;
}

/* -1: go on; else the exit code. */
static int parse(keys_command *k, int argc, char **argv)
{
    int option;
    int code = CLI_OK;
    while (code == CLI_OK &&
           (option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return CLI_OK;
        }
        if (option == OPT_DIR)
            code = take_folder(k, optarg);
        else if (option == OPT_DAYS && !cli_parse_u32(optarg, 1, 36500, &k->days))
            code = cli_usage(command, "--days takes 1 to 36500");
        else if (option == OPT_WITHIN && !cli_parse_u32(optarg, 0, 36500, &k->within_days))
            code = cli_usage(command, "--within takes 0 to 36500");
        else if (option == '?')
            code = cli_usage(command, "unknown option");
        k->may_replace |= option == OPT_FORCE;
        k->is_json |= option == OPT_JSON;
    }
    if (code != CLI_OK)
        return code;
    while (optind < argc && k->word_count < WORDS_MAX)
        k->words[k->word_count++] = argv[optind++];
    if (optind < argc)
        return cli_usage(command, "unexpected argument '%s'", argv[optind]);
    if (k->word_count == 0)
        return cli_usage(command, "say what to do: init, node, show, rotate or psk");
    char path[KEY_PATH_MAX];
    if (!k->folder[0])
        return cli_keys_folder(path, sizeof(path))
                   ? (code = take_folder(k, path), code == CLI_OK ? -1 : code)
                   : cli_usage(command, "HOME is not set; pass --dir DIR");
    return -1;
}

/* ---- files --------------------------------------------------------------------------- */

static void path_of(const keys_command *k, const char *node, const char *name,
                    char path[KEY_PATH_MAX])
{
    snprintf(path, KEY_PATH_MAX, "%s%s%s/%s", k->folder, node ? "/" : "", node ? node : "",
             name);
}

static int put_file(const keys_command *k, const char *node, const char *name,
                    const char *content, unsigned mode, bool may_replace)
{
    char path[KEY_PATH_MAX];
    path_of(k, node, name, path);
    if (key_file_write(path, content, mode, may_replace))
        return CLI_OK;
    if (errno == EEXIST)
        return cli_usage(command, "'%s' is there already; --force replaces it", path);
    fprintf(stderr, "%s: cannot write '%s': %s\n", command, path, strerror(errno));
    return CLI_FAILED;
}

static bool has_file(const keys_command *k, const char *node, const char *name)
{
    char path[KEY_PATH_MAX];
    struct stat found;
    path_of(k, node, name, path);
    return stat(path, &found) == 0;
}

static int get_file(const keys_command *k, const char *node, const char *name, char *content)
{
    char path[KEY_PATH_MAX];
    path_of(k, node, name, path);
    if (key_file_read(path, content))
        return CLI_OK;
    const bool is_missing = errno == ENOENT;
    fprintf(stderr, "%s: cannot read '%s': %s%s\n", command, path, strerror(errno),
            is_missing ? "; make the authority by 'lynx keys init'" : "");
    return CLI_FAILED;
}

static int make_folder(const keys_command *k, const char *node)
{
    char path[KEY_PATH_MAX];
    snprintf(path, sizeof(path), "%s%s%s", k->folder, node ? "/" : "", node ? node : "");
    if (key_folder_make(path))
        return CLI_OK;
    fprintf(stderr, "%s: cannot make the folder '%s': %s\n", command, path, strerror(errno));
    return CLI_FAILED;
}

/* ---- the authority ------------------------------------------------------------------- */

static int make_authority(const keys_command *k, lynx_keys_pair *pair)
{
    char text[512];
    lynx_keys_options options;
    lynx_keys_options_init(&options, "lynx", k->days ? k->days : AUTHORITY_DAYS);
    const lynx_status status = lynx_keys_make_authority(&options, pair, text, sizeof(text));
    return status == LYNX_OK ? CLI_OK : cli_fail(command, status, text);
}

static int command_init(keys_command *k)
{
    lynx_keys_pair pair;
    int code = make_folder(k, NULL);
    if (code == CLI_OK && !k->may_replace && has_file(k, NULL, "ca.pem"))
        return cli_usage(command,
                         "there is an authority in '%s'; --force makes a new one, which "
                         "none of its nodes knows",
                         k->folder);
    if (code == CLI_OK)
        code = make_authority(k, &pair);
    /* The key first: without it ca.pem would say that there is an authority. */
    if (code == CLI_OK)
        code = put_file(k, NULL, "ca.key", pair.key, 0600, k->may_replace);
    if (code == CLI_OK)
        code = put_file(k, NULL, "ca.pem", pair.certificate, 0644, k->may_replace);
    lynx_keys_wipe(&pair, sizeof(pair));
    if (code == CLI_OK)
        printf("%s/ca.pem and ca.key are the new authority; next: lynx keys node NAME\n",
               k->folder);
    return code;
}

/* The pair that signs: the key, and the certificate in 'bundle' to which it belongs, which is
 * the first but for a rotation that was cut off. */
static int certify(const keys_command *k, const char *name, const char *bundle,
                   lynx_keys_pair *node)
{
    char text[512] = "there is no authority; make it by 'lynx keys init'";
    lynx_keys_pair authority;
    lynx_keys_certificate what;
    char *key = calloc(1, KEY_FILE_MAX);
    if (!key)
        return cli_fail(command, LYNX_ERR_MEMORY, NULL);
    int code = get_file(k, NULL, "ca.key", key);
    lynx_status status = LYNX_ERR_ARGUMENT;
    snprintf(authority.key, sizeof(authority.key), "%s", key);
    while (code == CLI_OK && status != LYNX_OK &&
           key_next_certificate(&bundle, authority.certificate, sizeof(authority.certificate)))
        if (lynx_keys_read(authority.certificate, &what) == LYNX_OK) {
            lynx_keys_options options;
            lynx_keys_options_init(&options, name, k->days ? k->days : NODE_DAYS);
            if (options.ends_unix_s > what.ends_unix_s)
                options.ends_unix_s = what.ends_unix_s;
            status = lynx_keys_make_node(&options, &authority, node, text, sizeof(text));
        }
    lynx_keys_wipe(&authority, sizeof(authority));
    lynx_keys_wipe(key, KEY_FILE_MAX);
    free(key);
    if (code != CLI_OK)
        return code;
    return status == LYNX_OK ? CLI_OK : cli_fail(command, status, text);
}

/* Write the folder of a node. */
static int put_node(const keys_command *k, const char *name, const char *bundle,
                    bool may_replace)
{
    lynx_keys_pair node;
    int code = make_folder(k, name);
    if (code == CLI_OK)
        code = certify(k, name, bundle, &node);
    if (code == CLI_OK)
        code = put_file(k, name, "node.key", node.key, 0600, may_replace);
    if (code == CLI_OK)
        code = put_file(k, name, "node.pem", node.certificate, 0644, may_replace);
    if (code == CLI_OK)
        code = put_file(k, name, "ca.pem", bundle, 0644, true);
    lynx_keys_wipe(&node, sizeof(node));
    return code;
}

static int command_node(keys_command *k)
{
    const char *name = k->words[1];
    if (k->word_count < 2 || !lynx_keys_name_is_valid(name))
        return cli_usage(command, "'%s' is not a name: letters, digits, '.', '-' and '_'",
                         k->word_count < 2 ? "" : name);
    char *bundle = malloc(KEY_FILE_MAX);
    if (!bundle)
        return cli_fail(command, LYNX_ERR_MEMORY, NULL);
    int code = get_file(k, NULL, "ca.pem", bundle);
    if (code == CLI_OK && !k->may_replace && has_file(k, name, "node.pem"))
        code = cli_usage(command,
                         "'%s/%s' is there already; --force replaces it, 'rotate' "
                         "renews it",
                         k->folder, name);
    if (code == CLI_OK)
        code = put_node(k, name, bundle, k->may_replace);
    free(bundle);
    if (code == CLI_OK)
        printf("%s/%s is ready; copy it to the node and pass it by --keys, or put its files in "
               "~/.config/lynx/keys there\n",
               k->folder, name);
    return code;
}

/* ---- all nodes ----------------------------------------------------------------------- */

static int is_node_entry(const struct dirent *entry)
{
    return lynx_keys_name_is_valid(entry->d_name);
}

/* Call 'visit' for each node's folder, in order of names, until one fails. */
static int each_node(keys_command *k,
                     int (*visit)(keys_command *k, const char *name, const char *certificate,
                                  void *user),
                     void *user)
{
    struct dirent **entries = NULL;
    const int count = scandir(k->folder, &entries, is_node_entry, alphasort);
    char *certificate = malloc(KEY_FILE_MAX);
    int code = certificate ? CLI_OK : cli_fail(command, LYNX_ERR_MEMORY, NULL);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (code == CLI_OK && has_file(k, name, "node.pem"))
            code = get_file(k, name, "node.pem", certificate);
        else if (code == CLI_OK)
            certificate[0] = '\0';
        if (code == CLI_OK && certificate[0])
            code = visit(k, name, certificate, user);
        free(entries[i]);
    }
    free(entries);
    free(certificate);
    return code;
}

static int64_t days_left(int64_t ends_unix_s)
{
    const int64_t left = ends_unix_s - (int64_t)time(NULL);
    return left >= 0 ? left / DAY_S : -1 - (-left - 1) / DAY_S;
}

/* ---- show ---------------------------------------------------------------------------- */

static json_t *describe(const lynx_keys_certificate *what, const char *folder)
{
    json_t *object = json_pack("{s:s, s:s, s:s, s:I, s:I}", "name", what->name, "issuer",
                               what->issuer, "fingerprint", what->fingerprint, "ends_unix_s",
                               (json_int_t)what->ends_unix_s, "days_left",
                               (json_int_t)days_left(what->ends_unix_s));
    if (folder)
        json_object_set_new(object, "folder", json_string(folder));
    return object;
}

static int show_node(keys_command *k, const char *name, const char *certificate, void *user)
{
    lynx_keys_certificate what;
    char path[KEY_PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", k->folder, name);
    if (lynx_keys_read(certificate, &what) != LYNX_OK) {
        fprintf(stderr, "%s: '%s/node.pem' is no certificate\n", command, path);
        return CLI_FAILED;
    }
    json_array_append_new(user, describe(&what, path));
    return CLI_OK;
}

static json_t *list_authorities(const char *bundle)
{
    char one[LYNX_KEYS_PEM_MAX];
    lynx_keys_certificate what;
    json_t *list = json_array();
    while (key_next_certificate(&bundle, one, sizeof(one)))
        if (lynx_keys_read(one, &what) == LYNX_OK)
            json_array_append_new(list, describe(&what, NULL));
    return list;
}

/* Ids alone, never secrets. */
static json_t *list_secrets(char *content)
{
    json_t *list = json_array();
    char *rest = content;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        char *colon = strchr(line, ':');
        if (!colon || line[0] == '#')
            continue;
        *colon = '\0';
        json_array_append_new(list, json_string(line));
    }
    return list;
}

static void print_list(const char *title, const json_t *list)
{
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
    {
        const json_int_t left = json_integer_value(json_object_get(item, "days_left"));
        char day[16] = "?";
        const time_t ends = (time_t)json_integer_value(json_object_get(item, "ends_unix_s"));
        struct tm utc;
        if (gmtime_r(&ends, &utc))
            strftime(day, sizeof(day), "%Y-%m-%d", &utc);
        printf("%-10s %s\n  issuer       %s\n  ends         %s, %lld days left%s\n"
               "  fingerprint  %s\n",
               title, json_string_value(json_object_get(item, "name")),
               json_string_value(json_object_get(item, "issuer")), day, (long long)left,
               left < 0           ? " - EXPIRED"
               : left < WARN_DAYS ? " - renew by 'lynx keys rotate'"
                                  : "",
               json_string_value(json_object_get(item, "fingerprint")));
    }
}

static void print_secrets(const json_t *list)
{
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
        printf("%-10s %s%s\n", "psk", json_string_value(item), i == 0 ? " (connects)" : "");
}

static void warn_of(const json_t *list)
{
    size_t i;
    const json_t *item;
    json_array_foreach(list, i, item)
    {
        const json_int_t left = json_integer_value(json_object_get(item, "days_left"));
        if (left < WARN_DAYS)
            fprintf(stderr, "%s: warning: '%s' %s\n", command,
                    json_string_value(json_object_get(item, "name")),
                    left < 0 ? "expired" : "ends in less than 30 days");
    }
}

static int command_show(keys_command *k)
{
    char *content = calloc(1, KEY_FILE_MAX);
    json_t *nodes = json_array();
    int code = content && nodes ? CLI_OK : cli_fail(command, LYNX_ERR_MEMORY, NULL);
    if (code == CLI_OK && has_file(k, NULL, "node.pem")) {
        code = get_file(k, NULL, "node.pem", content);
        if (code == CLI_OK)
            code = show_node(k, ".", content, nodes);
    }
    if (code == CLI_OK)
        code = each_node(k, show_node, nodes);
    json_t *authorities = NULL;
    if (code == CLI_OK && (has_file(k, NULL, "ca.pem") || !has_file(k, NULL, "psk")))
        code = get_file(k, NULL, "ca.pem", content);
    if (code == CLI_OK)
        authorities = list_authorities(content);
    json_t *secrets = json_array();
    if (code == CLI_OK && has_file(k, NULL, "psk")) {
        code = get_file(k, NULL, "psk", content);
        json_decref(secrets);
        secrets = code == CLI_OK ? list_secrets(content) : NULL;
    }
    if (code == CLI_OK && k->is_json) {
        json_t *all = json_pack("{s:s, s:O, s:O, s:O}", "folder", k->folder, "authorities",
                                authorities, "nodes", nodes, "psk", secrets);
        json_dumpf(all, stdout, JSON_COMPACT);
        fputc('\n', stdout);
        json_decref(all);
    } else if (code == CLI_OK) {
        print_list("authority", authorities);
        print_list("node", nodes);
        print_secrets(secrets);
    }
    if (code == CLI_OK) {
        warn_of(authorities);
        warn_of(nodes);
    }
    json_decref(authorities);
    json_decref(nodes);
    json_decref(secrets);
    if (content)
        lynx_keys_wipe(content, KEY_FILE_MAX);
    free(content);
    return code;
}

/* ---- rotate -------------------------------------------------------------------------- */

static int renew_node(keys_command *k, const char *name, const char *certificate, void *user)
{
    const char *bundle = user;
    const char *rest = bundle;
    char newest[LYNX_KEYS_PEM_MAX] = "";
    lynx_keys_certificate what;
    const bool is_read = lynx_keys_read(certificate, &what) == LYNX_OK;
    key_next_certificate(&rest, newest, sizeof(newest));
    const bool is_due = k->may_replace || !is_read ||
                        days_left(what.ends_unix_s) < (int64_t)k->within_days ||
                        !lynx_keys_is_signed_by(certificate, newest);
    if (!is_due)
        return put_file(k, name, "ca.pem", bundle, 0644, true);
    const int code = put_node(k, name, bundle, true);
    if (code == CLI_OK)
        printf("%s/%s is renewed; copy it to the node\n", k->folder, name);
    return code;
}

static int put_bundle(keys_command *k, const char *name, const char *certificate, void *user)
{
    (void)certificate;
    return put_file(k, name, "ca.pem", user, 0644, true);
}

/* A new authority in front of those that are accepted. */
static int rotate_authority(keys_command *k, const char *bundle)
{
    lynx_keys_pair pair;
    char *both = malloc(KEY_FILE_MAX);
    int code = both ? make_authority(k, &pair) : cli_fail(command, LYNX_ERR_MEMORY, NULL);
    if (code == CLI_OK &&
        snprintf(both, KEY_FILE_MAX, "%s%s", pair.certificate, bundle) >= KEY_FILE_MAX)
        code = cli_usage(command, "ca.pem holds too many authorities; run 'rotate drop'");
    if (code == CLI_OK)
        code = put_file(k, NULL, "ca.pem", both, 0644, true);
    if (code == CLI_OK)
        code = put_file(k, NULL, "ca.key", pair.key, 0600, true);
    if (code == CLI_OK)
        code = each_node(k, put_bundle, both);
    lynx_keys_wipe(&pair, sizeof(pair));
    free(both);
    if (code == CLI_OK)
        printf("the new authority is in front of ca.pem; copy each node its new ca.pem, then "
               "run 'lynx keys rotate' and copy the folders\n");
    return code;
}

static int require_newest(keys_command *k, const char *name, const char *certificate,
                          void *user)
{
    if (k->may_replace || lynx_keys_is_signed_by(certificate, user))
        return CLI_OK;
    return cli_usage(command,
                     "the node '%s' has an older authority; run 'lynx keys rotate' "
                     "first, or pass --force",
                     name);
}

static int drop_authorities(keys_command *k, const char *bundle)
{
    char newest[LYNX_KEYS_PEM_MAX] = "";
    if (!key_next_certificate(&bundle, newest, sizeof(newest)))
        return cli_usage(command, "ca.pem holds no certificate");
    int code = each_node(k, require_newest, newest);
    if (code == CLI_OK)
        code = put_file(k, NULL, "ca.pem", newest, 0644, true);
    if (code == CLI_OK)
        code = each_node(k, put_bundle, newest);
    if (code == CLI_OK)
        printf("only the newest authority is accepted; copy each node its new ca.pem\n");
    return code;
}

static int command_rotate(keys_command *k)
{
    const char *what = k->word_count == 2 ? k->words[1] : "";
    if (what[0] && strcmp(what, "ca") != 0 && strcmp(what, "drop") != 0)
        return cli_usage(command,
                         "'rotate %s' is not known; write rotate, rotate ca or rotate "
                         "drop",
                         what);
    char *bundle = malloc(KEY_FILE_MAX);
    if (!bundle)
        return cli_fail(command, LYNX_ERR_MEMORY, NULL);
    int code = get_file(k, NULL, "ca.pem", bundle);
    if (code == CLI_OK && !has_file(k, NULL, "ca.key"))
        code = cli_usage(command, "'%s' has no ca.key; rotate where 'lynx keys init' was run",
                         k->folder);
    if (code == CLI_OK && strcmp(what, "ca") == 0)
        code = rotate_authority(k, bundle);
    else if (code == CLI_OK && what[0])
        code = drop_authorities(k, bundle);
    else if (code == CLI_OK)
        code = each_node(k, renew_node, bundle);
    free(bundle);
    return code;
}

/* ---- psk ----------------------------------------------------------------------------- */

/* The first line of 'old' that holds a secret, or "". */
static const char *first_secret(char *old)
{
    char *rest = old;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (line[0] != '#' && strchr(line, ':'))
            return line;
    return "";
}

static int command_psk(keys_command *k)
{
    uint8_t bytes[SECRET_BYTES];
    uint32_t number = 0;
    char id[LYNX_KEYS_NAME_MAX];
    char *old = calloc(1, KEY_FILE_MAX);
    char fresh[1024];
    if (!old || lynx_keys_make_secret(bytes, sizeof(bytes)) != LYNX_OK ||
        lynx_keys_make_secret((uint8_t *)&number, sizeof(number)) != LYNX_OK) {
        free(old);
        return cli_fail(command, LYNX_ERR_MEMORY, NULL);
    }
    snprintf(id, sizeof(id), "psk-%08x", number);
    if (k->word_count == 2)
        snprintf(id, sizeof(id), "%s", k->words[1]);
    int code = make_folder(k, NULL);
    if (k->word_count == 2 && !lynx_keys_name_is_valid(k->words[1]))
        code = cli_usage(command, "'%s' is not an id: letters, digits, '.', '-' and '_'",
                         k->words[1]);
    const bool is_there = has_file(k, NULL, "psk");
    if (code == CLI_OK && is_there)
        code = get_file(k, NULL, "psk", old);
    const char *kept = first_secret(old);
    const size_t id_size = strlen(id);
    if (code == CLI_OK && strncmp(kept, id, id_size) == 0 && kept[id_size] == ':')
        code = cli_usage(command, "the id '%s' is in use; name another", id);
    size_t fill = (size_t)snprintf(fresh, sizeof(fresh), "%s:", id);
    for (size_t i = 0; i < sizeof(bytes); i++)
        fill += (size_t)snprintf(fresh + fill, sizeof(fresh) - fill, "%02x", bytes[i]);
    snprintf(fresh + fill, sizeof(fresh) - fill, "\n%.*s%s", (int)(sizeof(fresh) - fill) - 3,
             kept, kept[0] ? "\n" : "");
    if (code == CLI_OK)
        code = put_file(k, NULL, "psk", fresh, 0600, is_there);
    if (code == CLI_OK)
        printf(
            "%s/psk: '%s' connects%s; copy the file to nodes that listen, then to those that "
            "connect\n",
            k->folder, id, kept[0] ? ", the one before it is still accepted" : "");
    lynx_keys_wipe(bytes, sizeof(bytes));
    lynx_keys_wipe(fresh, sizeof(fresh));
    lynx_keys_wipe(old, KEY_FILE_MAX);
    free(old);
    return code;
}

int lx_command_keys(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(keys_command *k);
        int words_max;
    } verbs[] = {{"init", command_init, 1},
                 {"node", command_node, 2},
                 {"show", command_show, 1},
                 {"rotate", command_rotate, 2},
                 {"psk", command_psk, 2}};
    keys_command k = {.within_days = WARN_DAYS};
    const int code = parse(&k, argc, argv);
    if (code >= 0)
        return code;
    for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
        if (strcmp(k.words[0], verbs[i].name) == 0)
            return k.word_count <= verbs[i].words_max
                       ? verbs[i].run(&k)
                       : cli_usage(command, "unexpected argument '%s'", k.words[1]);
    return cli_usage(command, "'%s' is not known; write init, node, show, rotate or psk",
                     k.words[0]);
}
