/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <xxhash.h>

#include "cache.h"
#include "cli_store.h"
#include "cli_document.h"
#include "lynx/keep.h"

enum { OPT_CODEC = CACHE_OPT_OWN, OPT_NAME, OPT_RAW, OPT_TEMPLATE, OPT_MAX_SIZE, OPT_FRESH };

static const char command[] = "lynx cache add";

static const char help[] =
    "Usage: lynx cache add FILE -m model.gguf [options]\n"
    "\n"
    "Compute the cache of a document ('-': standard input) and keep it, so that questions "
    "about "
    "it\n"
    "need not compute it again. What the store has of its beginning is not computed.\n"
    "\n"
    "      --name NAME    the document's name (that of FILE)\n"
    "  -o, --output FILE  write one cache file, and nothing to the store\n"
    "      --codec NAME   as of 'lynx run', without raw tokens at the end (range)\n"
    "      --raw-prompt   the text as it is, without the model's chat template\n"
    "      --chat-template NAME name of a template that llama.cpp knows\n"
    "      --fresh        compute and write all of it, in one prefill\n"
    "      --max-size SIZE  remove what was used longest ago until the store holds at most "
    "SIZE,\n"
    "                     such as 20G (no limit)\n" CLI_STORE_FRONT_HELP CACHE_OPTIONS_HELP
    "\n";

static const char help_end[] =
    "\n"
    "Exit codes: 0 kept, 1 engine, file or full disk, 2 usage or prompt, 5 corrupt data,\n"
    "6 refused (access, or another key), 130 interrupted.\n"
    "\n"
    "Example:\n"
    "  lynx cache add report.txt -m model.gguf\n";

typedef struct add {
    cli_options shared;
    cache_options cache;
    cli_document how;
    lynx_keep_options keep;
    lynx_document document;
    const char *file, *name, *output;
    uint64_t limit_bytes;
    lynx_engine *engine;
    lynx_token *tokens;
} add;

static const struct option long_options[] = {
    CLI_ENGINE_OPTIONS,
    {"name", required_argument, NULL, OPT_NAME},
    {"output", required_argument, NULL, 'o'},
    {"codec", required_argument, NULL, OPT_CODEC},
    {"raw-prompt", no_argument, NULL, OPT_RAW},
    {"chat-template", required_argument, NULL, OPT_TEMPLATE},
    {"max-size", required_argument, NULL, OPT_MAX_SIZE},
    {"fresh", no_argument, NULL, OPT_FRESH},
    CACHE_FRONT_OPTIONS,
    CACHE_OPTIONS,
    {NULL, 0, NULL, 0},
};

static int take_codec(add *a, const char *name)
{
    if (lynx_codec_spec_named(&a->keep.spec, name) != LYNX_OK)
        return cli_usage(command, CLI_NO_CODEC, name);
    if (a->keep.spec.tail_raw_tokens > 0)
        return cli_usage(command, "a stored cache has no raw tokens at its end: say tail=0");
    a->keep.spec = lynx_codec_spec_storable(a->keep.spec);
    return CLI_OK;
}

/* CLI_OK: taken. */
static int take(add *a, int option, const char *value)
{
    const int shared = cli_take_option(&a->shared, option, value);
    if (shared >= 0)
        return shared;
    const int cache = cache_take_option(&a->cache, option, value);
    if (cache >= 0)
        return cache ? CLI_OK : CLI_USAGE;
    if (option == OPT_CODEC)
        return take_codec(a, value);
    if (option == OPT_MAX_SIZE)
        return cache_take_max_size(&a->cache, value, &a->limit_bytes);
    if (option == OPT_NAME)
        a->name = value;
    else if (option == 'o')
        a->output = value;
    else if (option == OPT_TEMPLATE)
        a->how.template_name = value;
    a->how.is_raw |= option == OPT_RAW;
    a->keep.is_fresh |= option == OPT_FRESH;
    return CLI_OK;
}

/* The name that the file's own gives: what is not legal becomes '-'. */
static void name_of_file(const char *file, char name[LYNX_DOCUMENT_NAME_MAX])
{
    const char *slash = strrchr(file, '/');
    snprintf(name, LYNX_DOCUMENT_NAME_MAX, "%.128s", slash ? slash + 1 : file);
    for (char *c = name; *c; c++) {
        const char one[] = {*c, '\0'};
        if (!lynx_document_name_is_legal(one) && *c != '.')
            *c = '-';
    }
    if (name[0] == '.')
        name[0] = '-';
}

static int check_names(add *a)
{
    if (!a->file)
        return cli_usage(command, "no file; '-' is standard input");
    if (a->output && a->name)
        return cli_usage(command, "--name is of a store, --output writes a file: pass one");
    if (!a->name && strcmp(a->file, "-") == 0 && !a->output)
        return cli_usage(command, "standard input has no name; pass --name NAME");
    if (a->name && !lynx_document_name_is_legal(a->name))
        return cli_usage(
            command,
            "'%s' is no name of a document: 1 to 128 letters, digits, '.', '_' and "
            "'-', the first no '.'",
            a->name);
    if (a->name)
        strcpy(a->document.name, a->name);
    else
        name_of_file(a->file, a->document.name);
    return CLI_OK;
}

/* -1: go on; else the exit code. */
static int parse(add *a, int argc, char **argv)
{
    int option;
    while ((option = getopt_long(argc, argv, ":m:t:c:o:h", long_options, NULL)) != -1) {
        if (option == 'h') {
            printf("%s%s%s", help, cli_engine_help, help_end);
            return CLI_OK;
        }
        if (option == '?' || option == ':')
            return cli_bad_option(command, option, argv);
        const int code = take(a, option, optarg);
        if (code != CLI_OK)
            return code;
    }
    if (optind < argc)
        a->file = argv[optind++];
    if (optind < argc)
        return cli_usage(command, "unexpected argument '%s'", argv[optind]);
    const int code = check_names(a);
    return code == CLI_OK ? -1 : code;
}

static int read_document(add *a)
{
    size_t size = 0;
    uint32_t count = 0;
    char *text = cli_read_file(command, a->file, &size);
    if (!text)
        return CLI_FAILED;
    int code = CLI_OK;
    XXH128_canonical_t digest;
    XXH128_canonicalFromHash(&digest, XXH3_128bits(text, size));
    memcpy(a->document.text_digest, digest.digest, sizeof(a->document.text_digest));
    a->document.text_bytes = size;
    if (strlen(text) != size)
        code = cli_usage(command, "'%s' is no text: it has zero bytes", a->file);
    else if (size == 0)
        code = cli_usage(command, "'%s' is empty", a->file);
    if (code == CLI_OK) {
        const lynx_status status =
            cli_document_tokens(a->engine, &a->how, text, &a->tokens, &count);
        if (status == LYNX_ERR_UNSUPPORTED)
            code = cli_usage(command, "the model's chat template is not known or changes the "
                                      "text; pass --raw-prompt or --chat-template NAME");
        else if (status != LYNX_OK)
            code = cli_fail(command, status, a->engine->ops->error_text(a->engine));
    }
    free(text);
    a->keep.tokens = a->tokens;
    a->keep.token_count = count;
    return code;
}

static bool on_progress(void *user, uint32_t done, uint32_t total)
{
    const add *a = user;
    if (!a->cache.is_json && cli_has_color(stderr))
        fprintf(stderr, "\r%" PRIu32 " of %" PRIu32 " tokens%s", done, total,
                done == total ? "\n" : "");
    return !cli_stop;
}

static void report(const add *a, const lynx_keep_result *result)
{
    const char *where = a->output ? a->output : a->document.name;
    if (a->cache.is_json) {
        cache_print(json_pack(
            "{s:s, s:i, s:i, s:i, s:i, s:I, s:f, s:f, s:f}", a->output ? "file" : "name", where,
            "tokens", (int)a->keep.token_count, "stored_tokens", (int)result->stored_tokens,
            "computed_tokens", (int)result->computed_tokens, "segments_written",
            (int)result->segments_written, "bytes_written", (json_int_t)result->bytes_written,
            "compute_s", (double)result->compute_ns / 1e9, "load_s",
            (double)result->load_ns / 1e9, "write_s", (double)result->write_ns / 1e9));
        return;
    }
    char size[16];
    cache_put_size(result->bytes_written, size);
    printf("%s: %" PRIu32 " tokens, %" PRIu32 " of them computed, %s written\n", where,
           a->keep.token_count, result->computed_tokens, size);
}

static int keep_document(add *a, lynx_store *store)
{
    char text[LYNX_TEXT_MAX];
    lynx_keep_result result;
    a->keep.engine = a->engine;
    a->keep.store = store;
    a->keep.path = a->output;
    a->keep.key = cache_key(&a->cache);
    a->keep.progress = on_progress;
    a->keep.user = a;
    lynx_status status = lynx_keep(&a->keep, &result, text);
    if (status == LYNX_OK && store) {
        const lynx_model *model = a->engine->ops->model(a->engine);
        a->document.model =
            (lynx_stored_model){model->name, model->fingerprint, model->shape, a->keep.spec};
        a->document.tokens = a->keep.tokens;
        a->document.token_count = a->keep.token_count;
        a->document.made_at = (int64_t)time(NULL);
        status = lynx_store_put_document(store, &a->document, text, sizeof(text));
    }
    if (status != LYNX_OK)
        return cache_fail(&a->cache, status, text);
    report(a, &result);
    return CLI_OK;
}

int lx_cache_add(int argc, char **argv)
{
    add a = {0};
    lynx_store *store = NULL;
    cli_options_init(&a.shared, command);
    cache_options_init(&a.cache, command);
    a.cache.has_front = true;
    lynx_keep_options_init(&a.keep);
    int code = parse(&a, argc, argv);
    if (code >= 0)
        return code;
    cli_catch_signals();
    code = a.output ? cache_read_key(&a.cache) : cache_open(&a.cache, a.limit_bytes, &store);
    if (code == CLI_OK)
        code = cli_load_engine(&a.shared, &a.engine);
    if (code == CLI_OK)
        code = read_document(&a);
    if (code == CLI_OK)
        code = keep_document(&a, store);
    free(a.tokens);
    lynx_engine_destroy(a.engine);
    lynx_store_destroy(store);
    return code;
}
