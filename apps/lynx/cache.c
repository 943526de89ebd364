/* SPDX-License-Identifier: MIT */
#include "cache.h"
#include "lynx/net.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

static const char help[] =
    "Usage: lynx cache add|gc|ls|pull|push|rm|show|verify [options]\n"
    "\n"
    "  add     compute the cache of a document and keep it\n"
    "  gc      remove what is of no use, and the least recently used beyond a limit\n"
    "  ls      list the documents\n"
    "  pull    copy documents, or a cache file, from another place\n"
    "  push    copy documents to another place\n"
    "  rm      remove documents\n"
    "  show    tell what a document or a cache file holds\n"
    "  verify  read everything and tell each fault\n"
    "\n"
    "Example:\n"
    "  lynx cache add report.txt -m model.gguf\n"
    "\n"
    "'lynx cache add --help' explains the options.\n";

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"add", lx_cache_add},   {"gc", lx_cache_gc},         {"ls", lx_cache_ls},
    {"pull", lx_cache_pull}, {"push", lx_cache_push},     {"rm", lx_cache_rm},
    {"show", lx_cache_show}, {"verify", lx_cache_verify},
};

int lx_command_cache(int argc, char **argv)
{
    if (argc < 2)
        return cli_usage("lynx cache",
                         "say what to do: add, gc, ls, pull, push, rm, show or verify");
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (strcmp(argv[1], "--help") != 0 && strcmp(argv[1], "-h") != 0)
        return cli_usage("lynx cache",
                         "unknown command '%s'; there are add, gc, ls, pull, push, rm, "
                         "show and verify",
                         argv[1]);
    fputs(help, stdout);
    return CLI_OK;
}

void cache_options_init(cache_options *options, const char *command)
{
    memset(options, 0, sizeof(*options));
    options->command = command;
}

int cache_take_option(cache_options *o, int option, const char *value)
{
    if (option == CACHE_OPT_STORE) {
        if (value[0] == '\0' || strlen(value) >= sizeof(o->folder)) {
            cli_usage(o->command, "the folder's name is empty or too long");
            return 0;
        }
        strcpy(o->folder, value);
        return 1;
    }
    if (option == CACHE_OPT_FRONT_SIZE)
        return cli_parse_size(value, &o->front.limit_bytes) && o->front.limit_bytes > 0
                   ? 1
                   : (cli_usage(o->command, "--store-cache-size takes a size such as 500M or "
                                            "20G; '--store-cache none' keeps nothing"),
                      0);
    if (option == CACHE_OPT_FRONT)
        o->front.folder = value;
    else if (option == CACHE_OPT_KEY)
        o->key_file = value;
    else if (option == CACHE_OPT_JSON)
        o->is_json = true;
    else
        return -1;
    return 1;
}

int cache_fail(const cache_options *o, lynx_status status, const char *text)
{
    const int code = cli_fail(o->command, status, text);
    return status == LYNX_ERR_SYSTEM || status == LYNX_ERR_LIMIT ? CLI_FAILED : code;
}

int cache_read_key(cache_options *o)
{
    char text[LYNX_PLACE_TEXT_MAX];
    if (!o->key_file)
        return CLI_OK;
    const lynx_status status = lynx_store_read_key(o->key_file, o->key, text, sizeof(text));
    return status == LYNX_OK ? CLI_OK : cache_fail(o, status, text);
}

const uint8_t *cache_key(const cache_options *o)
{
    return o->key_file ? o->key : NULL;
}

int cache_open_at(const cache_options *o, const char *typed, uint64_t limit_bytes,
                  lynx_store **store)
{
    char text[LYNX_PLACE_TEXT_MAX];
    const lynx_status status = cli_store_open(typed, o->has_front ? &o->front : NULL,
                                              cache_key(o), limit_bytes, store, text);
    return status == LYNX_OK ? CLI_OK : cache_fail(o, status, text[0] ? text : NULL);
}

int cache_open(cache_options *o, uint64_t limit_bytes, lynx_store **store)
{
    if (!o->folder[0] && !lynx_store_default_folder(o->folder, sizeof(o->folder)))
        return cli_usage(o->command, "HOME is not set; pass --store DIR");
    const int code = cache_read_key(o);
    return code == CLI_OK ? cache_open_at(o, o->folder, limit_bytes, store) : code;
}

lynx_status cache_open_file(const cache_options *o, const char *typed, lynx_place **place,
                            lynx_cache_file **file, char *text)
{
    const char *name = NULL;
    const lynx_status status =
        lynx_place_of_object(place, &name, typed, NULL, text, LYNX_PLACE_TEXT_MAX);
    if (status != LYNX_OK)
        return status;
    return lynx_cache_file_open(file, *place, name, cache_key(o), NULL, text,
                                LYNX_PLACE_TEXT_MAX);
}

const char *cache_shown(const lynx_place *place, const char *typed)
{
    return cli_store_is_url(typed) ? place->ops->description(place) : typed;
}

int cache_take_max_size(const cache_options *o, const char *value, uint64_t *bytes)
{
    return cli_parse_size(value, bytes)
               ? CLI_OK
               : cli_usage(o->command, "--max-size takes a size such as 500M or 20G");
}

void cache_put_size(uint64_t bytes, char text[16])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 999.5 && unit < 4; unit++)
        value /= 1000;
    snprintf(text, 16, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

bool cache_is_path(const char *name)
{
    static const char suffix[] = ".lynx";
    const size_t size = strlen(name), tail = sizeof(suffix) - 1;
    return strchr(name, '/') || (size > tail && strcmp(name + size - tail, suffix) == 0);
}

void cache_print(json_t *object)
{
    json_dumpf(object, stdout, JSON_COMPACT);
    fputc('\n', stdout);
    json_decref(object);
}
