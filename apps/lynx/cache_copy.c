/* SPDX-License-Identifier: MIT */
/* cache_copy.c - 'lynx cache pull' and 'push'. */
#include <inttypes.h>
#include <string.h>

#include "cache.h"
#include "lynx/net.h"

enum { OPT_PLACE = CACHE_OPT_OWN, OPT_ALL, OPT_MAX_SIZE };

static const char pull_help[] =
    "Usage: lynx cache pull NAME ... --from PLACE [options]\n"
    "       lynx cache pull --all --from PLACE [options]\n"
    "       lynx cache pull URL.lynx [-o FILE] [options]\n"
    "\n"
    "Copy documents and their caches from another store to this one, or a cache file to this\n"
    "folder. What is here is not copied again, and what arrived stays: after an interruption "
    "the\n"
    "same command copies the rest. Everything is compared with its digests before it counts "
    "as\n"
    "here.\n"
    "\n"
    "      --from PLACE   a folder, http(s)://HOST/PATH or s3://BUCKET/PREFIX\n"
    "      --all          every document (not from a web server: it has no list)\n"
    "  -o, --output FILE  where the cache file goes (its name, in this folder)\n"
    "      --max-size SIZE  then remove what was used longest ago until the store holds at "
    "most\n"
    "                     SIZE, such as 20G (no limit)\n" CACHE_OPTIONS_HELP "\n";

static const char push_help[] =
    "Usage: lynx cache push NAME ... --to PLACE [options]\n"
    "       lynx cache push --all --to PLACE [options]\n"
    "\n"
    "Copy documents and their caches from this store to another one. What is there is not "
    "copied\n"
    "again, and what arrived stays: after an interruption the same command copies the rest.\n"
    "\n"
    "      --to PLACE     a folder, http(s)://HOST/PATH (by PUT) or s3://BUCKET/PREFIX\n"
    "      --all          every document\n" CACHE_OPTIONS_HELP "\n";

static const char help_middle[] =
    "Encrypted stores are copied as they are; both have the same key. Without --key an "
    "encrypted\n"
    "store can be copied by --all alone, and its pages are not compared.\n"
    "\n"
    "Exit codes: 0 copied, 1 files or full disk, or there is none, 2 usage, 3 connection,\n"
    "4 another model or version, 5 corrupt data, 6 refused (access, or another key),\n"
    "130 interrupted.\n"
    "\n"
    "Example:\n";

static const struct option pull_options[] = {
    {"from", required_argument, NULL, OPT_PLACE},
    {"all", no_argument, NULL, OPT_ALL},
    {"output", required_argument, NULL, 'o'},
    {"max-size", required_argument, NULL, OPT_MAX_SIZE},
    CACHE_OPTIONS,
    {NULL, 0, NULL, 0},
};
static const struct option push_options[] = {
    {"to", required_argument, NULL, OPT_PLACE},
    {"all", no_argument, NULL, OPT_ALL},
    CACHE_OPTIONS,
    {NULL, 0, NULL, 0},
};

typedef struct copy {
    cache_options options;
    bool is_push, is_all;
    const char *place, *output;
    uint64_t max_bytes;
    lynx_store *here, *there;
    const char *name; /* what is copied now */
    bool has_line;    /* of progress, which is to be ended */
    json_t *rows;
    char text[LYNX_PLACE_TEXT_MAX];
} copy;

static int take(copy *c, int option, const char *value)
{
    const int shared = cache_take_option(&c->options, option, value);
    if (shared >= 0)
        return shared ? CLI_OK : CLI_USAGE;
    if (option == OPT_MAX_SIZE)
        return cache_take_max_size(&c->options, value, &c->max_bytes);
    if (option == OPT_PLACE)
        c->place = value;
    else if (option == 'o')
        c->output = value;
    c->is_all |= option == OPT_ALL;
    return CLI_OK;
}

/* -1: go on; else the exit code. */
static int parse(copy *c, int argc, char **argv)
{
    int option;
    const char *letters = c->is_push ? ":h" : ":o:h";
    const struct option *table = c->is_push ? push_options : pull_options;
    while ((option = getopt_long(argc, argv, letters, table, NULL)) != -1) {
        if (option == 'h') {
            printf("%s%s%s", c->is_push ? push_help : pull_help, help_middle,
                   c->is_push ? "  lynx cache push report.txt --to s3://caches/team\n"
                              : "  lynx cache pull report.txt --from https://nas/caches\n");
            return CLI_OK;
        }
        if (option == '?' || option == ':')
            return cli_bad_option(c->options.command, option, argv);
        const int code = take(c, option, optarg);
        if (code != CLI_OK)
            return code;
    }
    return -1;
}

/* Only what 'pull' fetches as a file needs no other place. */
static int check(const copy *c, int count, char **names)
{
    int files = 0;
    for (int i = 0; i < count && !c->is_push; i++)
        files += cache_is_path(names[i]);
    if (c->is_all && count > 0)
        return cli_usage(c->options.command, "--all goes without names");
    if (!c->is_all && count == 0)
        return cli_usage(c->options.command, "name the documents, or pass --all");
    if (!c->place && (files < count || c->is_all))
        return cli_usage(c->options.command, "no other place; pass %s PLACE",
                         c->is_push ? "--to" : "--from");
    if (c->place && files > 0)
        return cli_usage(c->options.command, "'%s' is a cache file: it goes without --from",
                         names[0]);
    if (c->output && (count != 1 || files != 1))
        return cli_usage(c->options.command, "--output is for one cache file");
    return CLI_OK;
}

/* ---- what people see ----------------------------------------------------------------- */

static bool on_progress(void *user, uint64_t done, uint64_t total)
{
    copy *c = user;
    char part[16], whole[16];
    if (!c->options.is_json && cli_has_color(stderr)) {
        cache_put_size(done, part);
        cache_put_size(total, whole);
        fprintf(stderr, "\r%s: %s of %s\033[K", c->name, part, whole);
        c->has_line = true;
    }
    return !cli_stop;
}

/* The line of progress makes room for what follows. */
static void end_progress(copy *c)
{
    if (c->has_line)
        fputs("\r\033[K", stderr);
    c->has_line = false;
}

static void report(copy *c, const lynx_store_copied *d)
{
    char written[16], present[16];
    if (c->rows) {
        json_t *row =
            json_pack("{s:I, s:I, s:I, s:I}", "objects_written", (json_int_t)d->objects_written,
                      "bytes_written", (json_int_t)d->bytes_written, "objects_present",
                      (json_int_t)d->objects_present, "bytes_present",
                      (json_int_t)d->bytes_present);
        if (!c->is_all) {
            json_object_set_new(row, "name", json_string(c->name));
            json_object_set_new(row, "tokens", json_integer(d->token_count));
            json_object_set_new(row, "tokens_copied", json_integer(d->tokens_here));
        }
        json_array_append_new(c->rows, row);
    } else {
        cache_put_size(d->bytes_written, written);
        cache_put_size(d->bytes_present, present);
        printf("%s: %s copied, %s were there\n", c->name, written, present);
    }
    if (d->tokens_here < d->token_count)
        cli_say(c->options.command, CLI_LEVEL_WARNING,
                "%s: of %" PRIu32 " tokens the cache of %" PRIu32
                " is stored; the rest is computed when it is asked about",
                c->name, d->token_count, d->tokens_here);
}

/* ---- copying ------------------------------------------------------------------------- */

static int fail(copy *c, lynx_status status)
{
    end_progress(c);
    return status == LYNX_ERR_CANCELLED && cli_stop ? CLI_INTERRUPTED
                                                    : cache_fail(&c->options, status, c->text);
}

static int copy_one(copy *c, const char *name)
{
    lynx_store_copied copied;
    lynx_store *from = c->is_push ? c->here : c->there, *to = c->is_push ? c->there : c->here;
    c->name = name ? name : "all";
    const lynx_status status =
        lynx_store_copy(from, to, name, on_progress, c, &copied, c->text, sizeof(c->text));
    if (status != LYNX_OK)
        return fail(c, status);
    end_progress(c);
    if (name && copied.objects_written + copied.objects_present == 0)
        return cli_error(c->options.command, "there is no document '%s' in '%s'", name,
                         c->is_push ? c->options.folder : c->place);
    report(c, &copied);
    return CLI_OK;
}

static int copy_documents(copy *c, int count, char **names)
{
    int code = cache_open(&c->options, c->is_push ? 0 : c->max_bytes, &c->here);
    if (code == CLI_OK)
        code = cache_open_at(&c->options, c->place, 0, &c->there);
    if (code == CLI_OK && c->is_all)
        code = copy_one(c, NULL);
    for (int i = 0; i < count && code == CLI_OK; i++)
        code = copy_one(c, names[i]);
    lynx_store_destroy(c->here);
    lynx_store_destroy(c->there);
    return code;
}

/* The last part of the URL's path. */
static bool name_of(const char *url, char *file, size_t size)
{
    const size_t length = strcspn(url, "?#");
    size_t first = length;
    while (first > 0 && url[first - 1] != '/')
        first--;
    return length > first && length - first < size &&
           snprintf(file, size, "%.*s", (int)(length - first), url + first) > 0;
}

static int fetch_file(copy *c, const char *url)
{
    char file[256];
    const char *name = NULL, *path = c->output ? c->output : file;
    lynx_place *place = NULL;
    lynx_file_fetched fetched = {0};
    if (!c->output && !name_of(url, file, sizeof(file)))
        return cli_usage(c->options.command, "the URL names no file; pass --output FILE");
    lynx_status status =
        lynx_place_of_object(&place, &name, url, NULL, c->text, sizeof(c->text));
    if (status != LYNX_OK)
        return fail(c, status);
    c->name = path;
    status = lynx_cache_file_fetch(place, name, path, cache_key(&c->options), on_progress, c,
                                   &fetched, c->text, sizeof(c->text));
    end_progress(c);
    if (status == LYNX_OK && fetched.bytes == 0)
        (void)cli_error(c->options.command, "there is no cache file '%s'", name);
    lynx_place_destroy(place);
    if (status != LYNX_OK || fetched.bytes == 0)
        return status != LYNX_OK ? fail(c, status) : CLI_FAILED;
    char size[16];
    cache_put_size(fetched.bytes, size);
    if (c->rows)
        json_array_append_new(c->rows, json_pack("{s:s, s:I, s:I}", "file", path, "bytes",
                                                 (json_int_t)fetched.bytes, "bytes_kept",
                                                 (json_int_t)fetched.bytes_kept));
    else
        printf("%s: %s\n", path, size);
    return CLI_OK;
}

static int fetch_files(copy *c, int count, char **urls)
{
    int code = cache_read_key(&c->options);
    for (int i = 0; i < count && code == CLI_OK; i++)
        code = fetch_file(c, urls[i]);
    return code;
}

static int run(copy *c, int argc, char **argv)
{
    int code = parse(c, argc, argv);
    if (code >= 0)
        return code;
    const int count = argc - optind;
    char **names = argv + optind;
    code = check(c, count, names);
    if (code != CLI_OK)
        return code;
    cli_catch_signals();
    c->rows = c->options.is_json ? json_array() : NULL;
    code = c->place ? copy_documents(c, count, names) : fetch_files(c, count, names);
    if (code == CLI_OK && c->rows)
        cache_print(json_pack("{s:O}", "copied", c->rows));
    json_decref(c->rows);
    return code;
}

int lx_cache_pull(int argc, char **argv)
{
    copy c = {0};
    cache_options_init(&c.options, "lynx cache pull");
    return run(&c, argc, argv);
}

int lx_cache_push(int argc, char **argv)
{
    copy c = {.is_push = true};
    cache_options_init(&c.options, "lynx cache push");
    return run(&c, argc, argv);
}
