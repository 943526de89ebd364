/* SPDX-License-Identifier: MIT */
/* cache_clean.c - 'lynx cache verify', 'rm' and 'gc'. */
#include <inttypes.h>
#include <string.h>

#include "cache.h"
#include "cli_store.h"

enum { OPT_REPAIR = CACHE_OPT_OWN, OPT_MAX_SIZE, OPT_DOCUMENTS };

static const char verify_help[] =
    "Usage: lynx cache verify [FILE.lynx ...] [options]\n"
    "\n"
    "Read everything in the store, or in cache files, and tell each fault.\n"
    "\n"
    "      --repair       remove what is broken from the store; it is computed again when it "
    "is "
    "wanted\n" CACHE_OPTIONS_HELP "\n"
    "Exit codes: 0 no fault, 1 files, 2 usage, 4 another version, 5 faults, 6 refused (access, "
    "or\n"
    "another key).\n"
    "\n"
    "Example:\n"
    "  lynx cache verify\n";

static const char rm_help[] =
    "Usage: lynx cache rm NAME ... [options]\n"
    "\n"
    "Remove documents and those of their segments that no other document needs.\n"
    "\n" CACHE_OPTIONS_HELP "\n"
    "Exit codes: 0 removed, 1 files, or there is none, 2 usage, 6 refused (access, or another "
    "key).\n"
    "\n"
    "Example:\n"
    "  lynx cache rm report.txt\n";

static const char gc_help[] =
    "Usage: lynx cache gc [options]\n"
    "\n"
    "Remove what writers that died left behind and, with a limit, the segments that were used\n"
    "longest ago until the store holds at most SIZE.\n"
    "\n"
    "      --max-size SIZE  most bytes, such as 500M or 20G\n"
    "      --documents      also remove segments that no document needs\n" CACHE_OPTIONS_HELP
    "\n"
    "Exit codes: 0 done, 1 files, 2 usage, 6 refused (access, or another key).\n"
    "\n"
    "Example:\n"
    "  lynx cache gc --max-size 20G\n";

typedef struct clean {
    cache_options options;
    bool must_repair, only_documents;
    uint64_t limit_bytes;
    lynx_store *store;
    uint32_t faults;
    json_t *rows;
    char text[LYNX_PLACE_TEXT_MAX];
} clean;

/* Each command takes its own of them. */
static const struct option verify_options[] = {{"repair", no_argument, NULL, OPT_REPAIR},
                                               CACHE_OPTIONS,
                                               {NULL, 0, NULL, 0}};
static const struct option rm_options[] = {CACHE_OPTIONS, {NULL, 0, NULL, 0}};
static const struct option gc_options[] = {{"max-size", required_argument, NULL, OPT_MAX_SIZE},
                                           {"documents", no_argument, NULL, OPT_DOCUMENTS},
                                           CACHE_OPTIONS,
                                           {NULL, 0, NULL, 0}};

/* -1: go on; else the exit code. */
static int parse(clean *c, const char *help, const struct option *options, int argc,
                 char **argv)
{
    int option;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return CLI_OK;
        }
        if (option == '?' || option == ':')
            return cli_bad_option(c->options.command, option, argv);
        if (cache_take_option(&c->options, option, optarg) == 0)
            return CLI_USAGE;
        if (option == OPT_MAX_SIZE &&
            cache_take_max_size(&c->options, optarg, &c->limit_bytes) != CLI_OK)
            return CLI_USAGE;
        c->must_repair |= option == OPT_REPAIR;
        c->only_documents |= option == OPT_DOCUMENTS;
    }
    return -1;
}

/* ---- verify -------------------------------------------------------------------------- */

static bool on_fault(void *user, const char *object, const char *what)
{
    clean *c = user;
    c->faults++;
    if (c->rows)
        return json_array_append_new(c->rows, json_pack("{s:s, s:s}", "object", object, "fault",
                                                        what)) == 0;
    printf("%s: %s\n", object, what);
    return true;
}

static int verify_file(clean *c, const char *path)
{
    lynx_place *place = NULL;
    lynx_cache_file *file = NULL;
    lynx_status status = cache_open_file(&c->options, path, &place, &file, c->text);
    int code = CLI_OK;
    if (status == LYNX_OK && !file)
        code = cli_error(c->options.command, "there is no file '%s'", cache_shown(place, path));
    else if (file)
        status = lynx_cache_file_verify(file, on_fault, c, c->text, sizeof(c->text));
    else if (status == LYNX_ERR_PROTOCOL || status == LYNX_ERR_CORRUPT) {
        (void)on_fault(c, cache_shown(place, path), c->text);
        status = LYNX_OK;
    }
    lynx_cache_file_close(file);
    lynx_place_destroy(place);
    return status == LYNX_OK ? code : cache_fail(&c->options, status, c->text);
}

static int verify_store(clean *c)
{
    const int code = cache_open(&c->options, 0, &c->store);
    if (code != CLI_OK)
        return code;
    const lynx_status status =
        lynx_store_verify(c->store, c->must_repair, on_fault, c, c->text, sizeof(c->text));
    lynx_store_destroy(c->store);
    return status == LYNX_OK ? CLI_OK : cache_fail(&c->options, status, c->text);
}

int lx_cache_verify(int argc, char **argv)
{
    clean c = {0};
    cache_options_init(&c.options, "lynx cache verify");
    int code = parse(&c, verify_help, verify_options, argc, argv);
    if (code >= 0)
        return code;
    c.rows = c.options.is_json ? json_array() : NULL;
    if (optind == argc)
        code = verify_store(&c);
    else if (c.must_repair)
        code = cli_usage(c.options.command, "--repair is for a store, not for files");
    else
        code = cache_read_key(&c.options);
    for (int i = optind; i < argc && code == CLI_OK; i++)
        code = verify_file(&c, argv[i]);
    if (code == CLI_OK && c.options.is_json)
        cache_print(json_pack("{s:O}", "faults", c.rows));
    else if (code == CLI_OK && c.faults == 0)
        puts("no fault");
    json_decref(c.rows);
    return code == CLI_OK && c.faults > 0 && !c.must_repair ? CLI_CORRUPT : code;
}

/* ---- rm and gc ----------------------------------------------------------------------- */

static void report(const clean *c, const char *name, const lynx_store_removed *removed)
{
    char size[16];
    if (c->options.is_json) {
        json_t *object = json_pack("{s:I, s:I}", "objects", (json_int_t)removed->objects,
                                   "bytes", (json_int_t)removed->bytes);
        if (name)
            json_object_set_new(object, "name", json_string(name));
        cache_print(object);
        return;
    }
    cache_put_size(removed->bytes, size);
    printf("%s%s%" PRIu32 " objects removed, %s\n", name ? name : "", name ? ": " : "",
           removed->objects, size);
}

int lx_cache_rm(int argc, char **argv)
{
    clean c = {0};
    lynx_store_removed removed;
    cache_options_init(&c.options, "lynx cache rm");
    int code = parse(&c, rm_help, rm_options, argc, argv);
    if (code >= 0)
        return code;
    if (optind == argc)
        return cli_usage(c.options.command, "name the documents to remove");
    code = cache_open(&c.options, 0, &c.store);
    for (int i = optind; i < argc && code == CLI_OK; i++) {
        const lynx_status status =
            lynx_store_remove(c.store, argv[i], &removed, c.text, sizeof(c.text));
        if (status != LYNX_OK)
            code = cache_fail(&c.options, status, c.text);
        else if (removed.objects == 0)
            code = cli_error(c.options.command, "there is no document '%s' in %s", argv[i],
                             c.options.folder);
        else
            report(&c, argv[i], &removed);
    }
    lynx_store_destroy(c.store);
    return code;
}

int lx_cache_gc(int argc, char **argv)
{
    clean c = {0};
    lynx_store_removed removed;
    cache_options_init(&c.options, "lynx cache gc");
    int code = parse(&c, gc_help, gc_options, argc, argv);
    if (code >= 0)
        return code;
    if (optind < argc)
        return cli_usage(c.options.command, "unexpected argument '%s'", argv[optind]);
    code = cache_open(&c.options, 0, &c.store);
    if (code != CLI_OK)
        return code;
    const lynx_status status = lynx_store_collect(c.store, c.limit_bytes, c.only_documents,
                                                  &removed, c.text, sizeof(c.text));
    if (status != LYNX_OK)
        code = cache_fail(&c.options, status, c.text);
    else
        report(&c, NULL, &removed);
    lynx_store_destroy(c.store);
    return code;
}
