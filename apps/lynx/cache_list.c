/* SPDX-License-Identifier: MIT */
/* cache_list.c - 'lynx cache ls' and 'lynx cache show'. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "cache.h"

static const char ls_help[] =
    "Usage: lynx cache ls [options]\n"
    "\n"
    "List the documents of the store: name, tokens (and how many of them are here), bytes of "
    "their\n"
    "segments, shared ones included, model, and when they were last used.\n"
    "\n" CACHE_OPTIONS_HELP "\n"
    "Exit codes: 0 listed, 1 files, 2 usage, 6 refused (access, or another key).\n"
    "\n"
    "Example:\n"
    "  lynx cache ls\n";

static const char show_help[] =
    "Usage: lynx cache show NAME | FILE.lynx  [options]\n"
    "\n"
    "Tell what a document of the store or a cache file holds, segment by segment.\n"
    "\n" CACHE_OPTIONS_HELP "\n"
    "Exit codes: 0 shown, 1 files, or there is none, 2 usage, 4 another version, 5 corrupt "
    "data,\n"
    "6 refused (access, or another key).\n"
    "\n"
    "Example:\n"
    "  lynx cache show report.txt\n";

static const struct option long_options[] = {CACHE_OPTIONS, {NULL, 0, NULL, 0}};

/* -1: go on; else the exit code. */
static int parse(cache_options *o, const char *help, int argc, char **argv)
{
    int option;
    while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return CLI_OK;
        }
        if (option == '?' || option == ':')
            return cli_bad_option(o->command, option, argv);
        if (cache_take_option(o, option, optarg) == 0)
            return CLI_USAGE;
    }
    return -1;
}

static void put_time(int64_t seconds, char text[32])
{
    const time_t time = (time_t)seconds;
    struct tm parts;
    if (seconds == 0 || !localtime_r(&time, &parts) ||
        strftime(text, 32, "%Y-%m-%d %H:%M", &parts) == 0)
        strcpy(text, "-");
}

static json_t *digest_of(const uint8_t *bytes, size_t size)
{
    char text[33] = "";
    for (size_t i = 0; i < size && i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return json_string(text);
}

/* ---- ls ------------------------------------------------------------------------------ */

typedef struct list {
    json_t *rows; /* NULL: a table */
    uint32_t count, broken;
} list;

static json_t *entry_json(const lynx_store_entry *e)
{
    const lynx_document *d = e->document;
    if (!d)
        return json_pack("{s:s, s:s}", "object", e->object, "error", e->why);
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:s, s:o, s:I, s:f, s:I}", "name", d->name,
                     "tokens", (json_int_t)d->token_count, "tokens_here",
                     (json_int_t)e->tokens_here, "bytes", (json_int_t)e->bytes, "segments",
                     (json_int_t)e->segment_count, "model", d->model.name, "text_digest",
                     digest_of(d->text_digest, 16), "made_at", (json_int_t)d->made_at,
                     "used_at", (double)e->used_ns / 1e9, "text_bytes",
                     (json_int_t)d->text_bytes);
}

static bool list_entry(void *user, const lynx_store_entry *e)
{
    list *l = user;
    char size[16], used[32];
    l->count++;
    l->broken += !e->document;
    if (l->rows)
        return json_array_append_new(l->rows, entry_json(e)) == 0;
    if (l->count == 1)
        printf("%-24s %8s %8s %10s  %-16s  %s\n", "NAME", "TOKENS", "HERE", "BYTES",
               "LAST USED", "MODEL");
    if (!e->document) {
        printf("%-24s %s\n", e->object, e->why);
        return true;
    }
    cache_put_size(e->bytes, size);
    put_time(e->used_ns / 1000000000, used);
    printf("%-24s %8" PRIu32 " %8" PRIu32 " %10s  %-16s  %s\n", e->document->name,
           e->document->token_count, e->tokens_here, size, used, e->document->model.name);
    return true;
}

int lx_cache_ls(int argc, char **argv)
{
    cache_options o;
    char text[LYNX_PLACE_TEXT_MAX];
    lynx_store *store = NULL;
    list l = {0};
    cache_options_init(&o, "lynx cache ls");
    int code = parse(&o, ls_help, argc, argv);
    if (code >= 0)
        return code;
    if (optind < argc)
        return cli_usage(o.command, "unexpected argument '%s'", argv[optind]);
    code = cache_open(&o, 0, &store);
    if (code != CLI_OK)
        return code;
    l.rows = o.is_json ? json_array() : NULL;
    const lynx_status status = lynx_store_list(store, list_entry, &l, text, sizeof(text));
    if (status != LYNX_OK)
        code = cache_fail(&o, status, text);
    else if (o.is_json)
        cache_print(json_pack("{s:s, s:O}", "store", o.folder, "documents", l.rows));
    else if (l.count == 0)
        printf("no documents in %s; 'lynx cache add' keeps one\n", o.folder);
    json_decref(l.rows);
    lynx_store_destroy(store);
    return code;
}

/* ---- show ---------------------------------------------------------------------------- */

typedef struct view {
    const cache_options *options;
    lynx_store *store;
    json_t *object, *segments; /* NULL: text */
    bool is_found;
    lynx_status status;
    char text[LYNX_PLACE_TEXT_MAX];
} view;

static bool show_segment(void *user, const char *object, const lynx_segment_info *s)
{
    view *v = user;
    char planes[LYNX_PLANES_MAX * 16] = "", size[16];
    if (v->segments) {
        json_t *bytes = json_array();
        for (uint32_t i = 0; i < LYNX_PLANES_MAX && s->plane_bytes[i]; i++)
            json_array_append_new(bytes, json_integer((json_int_t)s->plane_bytes[i]));
        return json_array_append_new(
                   v->segments,
                   json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:I}", "object", object,
                             "prefix", s->name, "first_token", (json_int_t)s->first_token,
                             "end_token", (json_int_t)s->end_token, "offset",
                             (json_int_t)s->offset, "bytes", (json_int_t)s->bytes, "pages",
                             (json_int_t)s->page_count, "plane_bytes", bytes, "planes_missing",
                             (json_int_t)s->planes_missing)) == 0;
    }
    for (uint32_t i = 0; i < LYNX_PLANES_MAX && s->plane_bytes[i]; i++) {
        cache_put_size(s->plane_bytes[i], size);
        snprintf(planes + strlen(planes), sizeof(planes) - strlen(planes), "%s%s",
                 i ? " + " : "", size);
    }
    printf("  tokens %" PRIu32 " to %" PRIu32 ": %" PRIu64 " pages, planes %s%s\n",
           s->first_token, s->end_token, s->page_count, planes,
           s->planes_missing ? "; CUT OFF" : "");
    if (s->planes_missing)
        printf("    %" PRIu64 " planes are missing\n", s->planes_missing);
    return true;
}

static void show_model(view *v, const lynx_stored_model *m, uint32_t tokens)
{
    if (!v->object) {
        printf("  model %s, %" PRIu32 " layers, pages of %" PRIu32 " tokens\n", m->name,
               m->shape.layer_count, m->shape.page_tokens);
        return;
    }
    json_object_set_new(v->object, "model", json_string(m->name));
    json_object_set_new(v->object, "weights", digest_of(m->fingerprint.weights, 16));
    json_object_set_new(v->object, "layers", json_integer(m->shape.layer_count));
    json_object_set_new(v->object, "page_tokens", json_integer(m->shape.page_tokens));
    json_object_set_new(v->object, "tokens", json_integer(tokens));
}

static bool show_entry(void *user, const lynx_store_entry *e)
{
    view *v = user;
    const lynx_document *d = e->document;
    char used[32], size[16];
    v->is_found = true;
    if (v->object) {
        json_t *row = entry_json(e);
        json_object_update(v->object, row);
        json_decref(row);
    } else {
        put_time(e->used_ns / 1000000000, used);
        cache_put_size(e->bytes, size);
        printf("%s: %" PRIu32 " tokens of %" PRIu64 " bytes of text, %" PRIu32
               " tokens here, %s, last used %s\n",
               d->name, d->token_count, d->text_bytes, e->tokens_here, size, used);
    }
    show_model(v, &d->model, d->token_count);
    v->status = lynx_store_segments(v->store, d, show_segment, v, v->text, sizeof(v->text));
    return false;
}

static int show_document(view *v, const char *name)
{
    int code = cache_open((cache_options *)(uintptr_t)v->options, 0, &v->store);
    if (code != CLI_OK)
        return code;
    const lynx_status status =
        lynx_store_show(v->store, name, show_entry, v, v->text, sizeof(v->text));
    lynx_store_destroy(v->store);
    if (status != LYNX_OK || v->status != LYNX_OK)
        return cache_fail(v->options, status != LYNX_OK ? status : v->status, v->text);
    return v->is_found
               ? CLI_OK
               : cli_error(v->options->command,
                           "there is no document '%s' in %s; 'lynx cache ls' lists them", name,
                           v->options->folder);
}

static int show_file(view *v, const char *path)
{
    lynx_place *place = NULL;
    lynx_cache_file *file = NULL;
    uint32_t tokens = 0;
    lynx_status status = cache_open_file(v->options, path, &place, &file, v->text);
    if (file) {
        (void)lynx_cache_file_tokens(file, &tokens);
        if (!v->object)
            printf("%s: %" PRIu32 " tokens\n", path, tokens);
        show_model(v, lynx_cache_file_model(file), tokens);
        for (size_t i = 0; i < lynx_cache_file_segment_count(file); i++) {
            const lynx_segment_info info = lynx_cache_file_segment(file, i);
            (void)show_segment(v, path, &info);
        }
        const uint64_t tail = lynx_cache_file_tail(file);
        if (v->object)
            json_object_set_new(v->object, "tail_bytes", json_integer((json_int_t)tail));
        else if (tail > 0)
            printf("  %" PRIu64 " bytes behind the last segment are no segment\n", tail);
    }
    int code = CLI_OK;
    if (status == LYNX_OK && !file)
        code =
            cli_error(v->options->command, "there is no file '%s'", cache_shown(place, path));
    lynx_cache_file_close(file);
    lynx_place_destroy(place);
    return status == LYNX_OK ? code : cache_fail(v->options, status, v->text);
}

int lx_cache_show(int argc, char **argv)
{
    cache_options o;
    view v = {.options = &o};
    cache_options_init(&o, "lynx cache show");
    int code = parse(&o, show_help, argc, argv);
    if (code >= 0)
        return code;
    if (argc - optind != 1)
        return cli_usage(o.command, "name one document or cache file");
    if (o.is_json) {
        v.object = json_object();
        v.segments = json_array();
    }
    const char *name = argv[optind];
    if (!cache_is_path(name))
        code = show_document(&v, name);
    else if ((code = cache_read_key(&o)) == CLI_OK)
        code = show_file(&v, name);
    if (v.object) {
        json_object_set_new(v.object, "parts", v.segments);
        if (code == CLI_OK)
            cache_print(v.object);
        else
            json_decref(v.object);
    }
    return code;
}
