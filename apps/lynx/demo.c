/* SPDX-License-Identifier: MIT */
/*
 * demo.c - every way to move a cache, side by side, on one emulated link in one run.
 *
 * Two processes: 'lynxd prefill' is started beside this one, which is the decode node. Each row
 * is one request on a connection of its own. What the tokens must be is asked of separate plain
 * processes ('lynx run --plain' or --local), which never see the link.
 *
 * Lynx runs strictly exact (padded steps); the other methods need no verification and run with
 * the faster lone steps. The report says which.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "answer_view.h"
#include "child.h"
#include "cli.h"
#include "commands.h"
#include "document.h"
#include "numbers.h"
#include "timeline.h"
#include "two_nodes.h"
#include "ways.h"

enum { ANSWER_TOKENS = 64, DOCUMENTS_MAX = 16, ARGUMENTS_MAX = 20 };
enum { OPT_OUTPUT = CLI_OPT_OWN, OPT_FULL, OPT_TOKENS, OPT_INT8_SECONDS, OPT_DRAFT_MAX };

static const char command[] = "lynx demo";

static const char help[] =
    "Usage: lynx demo [-m model.gguf] [options] [TEXT-FILE...]\n"
    "\n"
    "Start a prefill node beside this decode node, join them by an emulated link, and measure "
    "every\n"
    "way to get an answer about a document. Writes report.json and timeline.svg.\n"
    "\n"
    "      --full               all documents given (at least five), medians in the table\n"
    "      --tokens N           prompt tokens taken of a document (640)\n"
    "      --int8-seconds X     choose the link so that the INT8 cache needs X seconds (4.1)\n"
    "      --link-mbps X        this link instead\n"
    "      --draft-max N        most drafts (40)\n"
    "      --output FOLDER      (build/demo)\n"
    "\n"
    "Without files: docs/algorithm.md, and with --full four more documents of this project.\n"
    "Without -m: Gemma 3 270M in F16, as 'make models' leaves it.\n"
    "\n";

static const char help_end[] =
    "\n"
    "Exit codes: 0 measured, 1 engine, file or wrong tokens, 2 usage, 3 connection, 130\n"
    "interrupted.\n"
    "\n"
    "Example:\n"
    "  lynx demo -m model.gguf --link-mbps 30 report.txt\n";

enum { TARGETS_MAX = 8 };

typedef struct target {
    const char *codec;
    bool is_strict;
    lynx_token tokens[ANSWER_TOKENS];
    uint32_t count;
} target;

typedef struct demo {
    two_nodes nodes;
    bool is_full;
    uint32_t prompt_limit, draft_max;
    double int8_seconds, mbps;
    const char *files[DOCUMENTS_MAX];
    uint32_t file_count;

    char prompt_path[4096];
    lynx_engine *engines[2]; /* rounding, strict */
    json_t *rows;
    timeline line;
    answer_view *view;

    const char *document;
    lynx_token *prompt;
    uint32_t prompt_tokens;
    target targets[TARGETS_MAX];
    uint32_t target_count;
} demo;

/* One line on a terminal that the next one writes over; NULL clears it. */
static void put_progress(const char *name, const char *scenario)
{
    if (!cli_has_color(stderr))
        return;
    fputs("\r\x1b[K", stderr);
    if (name)
        fprintf(stderr, "%s, %s", name, scenario);
}

/* ---- the other processes ------------------------------------------------------------- */

static const target *find_target(demo *d, const way *w)
{
    for (uint32_t i = 0; i < d->target_count; i++)
        if (strcmp(d->targets[i].codec, w->target_codec) == 0 &&
            d->targets[i].is_strict == w->is_strict)
            return &d->targets[i];
    return NULL;
}

static bool read_tokens(FILE *output, target *t)
{
    json_t *report = json_loadf(output, 0, NULL);
    const json_t *tokens = json_object_get(report, "tokens");
    t->count = (uint32_t)json_array_size(tokens);
    for (uint32_t i = 0; i < t->count && i < ANSWER_TOKENS; i++)
        t->tokens[i] = (lynx_token)json_integer_value(json_array_get(tokens, i));
    const bool is_good = t->count >= 1 && t->count <= ANSWER_TOKENS;
    json_decref(report);
    return is_good;
}

/* Ask a separate plain process what the tokens must be. */
static int add_target(demo *d, const way *w)
{
    char program[4096];
    target *t = &d->targets[d->target_count];
    *t = (target){.codec = w->target_codec, .is_strict = w->is_strict};
    if (!child_path("lynx", program, sizeof(program)))
        return cli_error(command, "cannot find the program 'lynx'");
    const bool is_coded = w->target_codec[0] != '\0';
    cli_engine_words words;
    char *arguments[ARGUMENTS_MAX + CLI_ENGINE_WORDS] = {program,
                                                         "run",
                                                         "-m",
                                                         d->nodes.model_path,
                                                         is_coded ? "--plain" : "--local",
                                                         "--codec",
                                                         (char *)(uintptr_t)w->codec,
                                                         "--exact",
                                                         w->is_strict ? "strict" : "rounding",
                                                         "--tokens",
                                                         "-f",
                                                         d->prompt_path,
                                                         "-n",
                                                         "64",
                                                         "--ignore-end",
                                                         "--json"};
    cli_add_engine_words(&d->nodes.shared, &words, arguments);
    FILE *output = NULL;
    put_progress(w->name, "a plain process tells the right tokens");
    const pid_t id = child_start(arguments, &output, d->nodes.log_path);
    const bool is_read = output && read_tokens(output, t);
    put_progress(NULL, NULL);
    if (output)
        fclose(output);
    if (cli_stop) {
        child_stop(id);
        return CLI_INTERRUPTED;
    }
    if (id <= 0 || child_wait(id) != 0 || !is_read)
        return cli_error(command,
                         "the plain process that tells the right tokens failed; see '%s'",
                         d->nodes.log_path);
    d->target_count++;
    return CLI_OK;
}

/* ---- one row ------------------------------------------------------------------------- */

static void on_moment(void *user, const lynx_moment *moment)
{
    demo *d = user;
    timeline_add(&d->line, moment);
    if (d->view)
        answer_view_moment(d->view, moment);
}

static void add_row(demo *d, const way *w, bool is_stored, const lynx_run_options *options,
                    const lynx_run_result *result)
{
    json_t *row = way_row(w, is_stored, options, result);
    const target *t = find_target(d, w);
    const bool is_equal = t && t->count == result->token_count &&
                          memcmp(t->tokens, result->tokens, t->count * sizeof(*t->tokens)) == 0;
    json_object_set_new(row, "document", json_string(d->document));
    json_object_set_new(row, "link_mbps", json_real(d->mbps));
    json_object_set_new(row, "tokens_equal_target", json_boolean(is_equal));
    json_array_append_new(d->rows, row);
}

static int run_way(demo *d, const way *w, bool is_stored, bool is_shown)
{
    char text[LYNX_TEXT_MAX];
    lynx_token tokens[ANSWER_TOKENS];
    lynx_time_ns times[ANSWER_TOKENS];
    lynx_run_result result = {.tokens = tokens, .times = times, .capacity = ANSWER_TOKENS};
    lynx_run_options options;
    cli_remotes remotes;
    answer_view view;
    lynx_run_options_init(&options);
    way_options(w, &options);
    options.engine = d->engines[w->is_strict];
    options.prompt = d->prompt;
    options.prompt_tokens = d->prompt_tokens;
    options.answer_tokens_max = ANSWER_TOKENS;
    options.ignore_end = true;
    options.draft_count_max = d->draft_max;
    options.guesses = d->nodes.shared.guesses;
    options.branch_count_max = d->nodes.shared.branches;
    options.is_stored = is_stored;
    options.on_moment = on_moment;
    options.user = d;
    options.stop = &cli_stop;
    timeline_clear(&d->line);
    answer_view_init(&view, stdout, options.engine);
    d->view = is_shown ? &view : NULL;
    put_progress(is_shown ? NULL : w->name, is_stored ? "stored" : "cold");

    lynx_status status = LYNX_OK;
    const int code = two_nodes_open(&d->nodes, w, options.engine, &remotes);
    if (code == CLI_OK)
        status = lynx_run(remotes.remotes, remotes.count, &options, &result, text);
    cli_remotes_close(&remotes);
    put_progress(NULL, NULL);
    if (is_shown)
        answer_view_end(&view);
    d->view = NULL;
    if (code != CLI_OK)
        return code;
    if (status != LYNX_OK)
        return cli_fail(command, status, text);
    add_row(d, w, is_stored, &options, &result);
    return CLI_OK;
}

static int write_timeline(demo *d, bool is_stored)
{
    char path[4200];
    char title[256];
    snprintf(path, sizeof(path), "%s/timeline%s.svg", d->nodes.folder,
             is_stored ? "" : "-cold");
    snprintf(title, sizeof(title), "%s: %u tokens over %.1f Mbit/s, cache %s",
             d->engines[1]->ops->model(d->engines[1])->name, d->prompt_tokens, d->mbps,
             is_stored ? "stored" : "made now");
    return timeline_write_svg(&d->line, title, path)
               ? CLI_OK
               : cli_error(command, "cannot write '%s': %s", path, strerror(errno));
}

/* ---- one document -------------------------------------------------------------------- */

/* Also in a file, for the plain processes. */
static int make_prompt(demo *d, const char *path)
{
    free(d->prompt);
    d->prompt = NULL;
    const int code = document_prompt(command, d->engines[1], path, d->prompt_limit, 0,
                                     &d->prompt, &d->prompt_tokens);
    if (code != CLI_OK)
        return code;
    FILE *file = fopen(d->prompt_path, "w");
    for (uint32_t i = 0; file && i < d->prompt_tokens; i++)
        fprintf(file, "%d\n", d->prompt[i]);
    if (!file || fclose(file) != 0)
        return cli_error(command, "cannot write '%s': %s", d->prompt_path, strerror(errno));
    return CLI_OK;
}

/* The rate at which the INT8 cache of this prompt needs the seconds asked for. */
static double rate_for(const demo *d)
{
    const lynx_shape *shape = &d->engines[1]->ops->model(d->engines[1])->shape;
    const double bytes =
        (double)lynx_shape_cache_bytes(shape, d->prompt_tokens) / 2 * (1 + 4.0 / 256);
    return bytes * 8 / d->int8_seconds / 1e6;
}

/* The first document is shown while it runs, and drawn. */
static int run_scenario(demo *d, bool is_stored, bool is_first)
{
    int code = CLI_OK;
    for (size_t i = 0; i < WAYS && code == CLI_OK; i++) {
        const way *w = &ways[i];
        if (is_stored ? !w->in_stored : !w->in_cold)
            continue;
        const bool is_lynx = strcmp(w->name, "lynx") == 0;
        code = run_way(d, w, is_stored, is_first && is_stored && is_lynx);
        if (code == CLI_OK && is_lynx && is_first)
            code = write_timeline(d, is_stored);
    }
    return code;
}

static int run_document(demo *d, const char *path, bool is_first)
{
    int code = make_prompt(d, path);
    if (code == CLI_OK)
        fprintf(stderr, "%s: %u prompt tokens\n", path, d->prompt_tokens);
    d->document = path;
    d->target_count = 0;
    for (size_t i = 0; i < WAYS && code == CLI_OK; i++)
        if (!find_target(d, &ways[i]))
            code = add_target(d, &ways[i]);
    if (code == CLI_OK && is_first) {
        if (d->mbps == 0)
            d->mbps = rate_for(d);
        d->nodes.shared.pacer.rate_bits_per_s = (uint64_t)(d->mbps * 1e6);
        code = two_nodes_start(&d->nodes);
    }
    /* Cold first: its last way leaves the cache of this prompt on the prefill node. */
    if (code == CLI_OK)
        code = run_scenario(d, false, is_first);
    if (code == CLI_OK)
        code = run_scenario(d, true, is_first);
    return code;
}

/* ---- the report ---------------------------------------------------------------------- */

/* Median over documents of one column of one method; negative when there is none. */
static double median_of(const demo *d, const char *method, const char *scenario,
                        const char *column)
{
    double values[DOCUMENTS_MAX];
    size_t count = 0;
    size_t i;
    json_t *row;
    json_array_foreach(d->rows, i, row)
    {
        const json_t *value = json_object_get(row, column);
        if (strcmp(json_string_value(json_object_get(row, "method")), method) == 0 &&
            strcmp(json_string_value(json_object_get(row, "scenario")), scenario) == 0 &&
            json_is_number(value) && count < DOCUMENTS_MAX)
            values[count++] = json_number_value(value);
    }
    return count ? numbers_median(values, count) : -1;
}

static void put_seconds(double seconds)
{
    if (seconds < 0)
        printf("%8s", "-");
    else
        printf("%8.2f", seconds);
}

static bool all_equal(const demo *d, const char *method, const char *scenario)
{
    size_t i;
    json_t *row;
    json_array_foreach(d->rows, i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "method")), method) == 0 &&
            strcmp(json_string_value(json_object_get(row, "scenario")), scenario) == 0 &&
            !json_is_true(json_object_get(row, "tokens_equal_target")))
            return false;
    }
    return true;
}

static void put_scenario(const demo *d, const char *scenario)
{
    static const char *const columns[] = {"stall_s", "ttft_s",  "tt2t_s",
                                          "tt16t_s", "tt32t_s", "tt64t_s"};
    printf("\n%s, %.1f Mbit/s, seconds%s\n", scenario, d->mbps,
           d->is_full ? " (medians over the documents)" : "");
    printf("%-13s %8s%8s%8s%8s%8s%8s %8s %9s  %s\n", "method", "stall", "TTFT", "TT2T", "TT16T",
           "TT32T", "TT64T", "MB", "accepted", "right tokens");
    for (size_t i = 0; i < WAYS; i++) {
        if (median_of(d, ways[i].name, scenario, "ttft_s") < 0)
            continue;
        printf("%-13s ", ways[i].name);
        for (size_t c = 0; c < sizeof(columns) / sizeof(*columns); c++)
            put_seconds(median_of(d, ways[i].name, scenario, columns[c]));
        printf(" %8.2f", median_of(d, ways[i].name, scenario, "bytes_total") / 1e6);
        const double drafted = median_of(d, ways[i].name, scenario, "drafted");
        if (drafted > 0)
            printf(" %4.0f/%-4.0f", median_of(d, ways[i].name, scenario, "accepted"), drafted);
        else
            printf(" %9s", "");
        printf("  %s\n", all_equal(d, ways[i].name, scenario)   ? "yes"
                         : ways[i].method == LYNX_METHOD_ANCHOR ? "no (not verified)"
                                                                : "NO");
    }
}

static int write_report(const demo *d)
{
    char path[4200];
    snprintf(path, sizeof(path), "%s/report.json", d->nodes.folder);
    if (json_dump_file(d->rows, path, JSON_INDENT(1)) != 0)
        return cli_error(command, "cannot write '%s': %s", path, strerror(errno));
    put_scenario(d, "stored");
    put_scenario(d, "cold");
    printf("\nstored: the prefill node holds the finished cache (nothing is left to stream). "
           "cold: it prefills first, and "
           "pages "
           "leave\nmeanwhile. lynx: drafts on the anchor, verified on the full 8-bit cache, "
           "strict "
           "steps;\ncarry: the same, and the prefill node chooses tokens while the cache "
           "travels. carry_on: the\nprefill node chooses all of them. The others: lone steps. "
           "%s, %s/timeline.svg\n",
           path, d->nodes.folder);
    return all_equal(d, "lynx", "stored") && all_equal(d, "lynx", "cold")
               ? CLI_OK
               : cli_fail(command, LYNX_ERR_ENGINE,
                          "the tokens of lynx are not those of the plain process");
}

/* ---- options ------------------------------------------------------------------------- */

static const struct option long_options[] = {
    CLI_ENGINE_OPTIONS,
    CLI_LINK_OPTIONS,
    {"output", required_argument, NULL, OPT_OUTPUT},
    {"full", no_argument, NULL, OPT_FULL},
    {"tokens", required_argument, NULL, OPT_TOKENS},
    {"int8-seconds", required_argument, NULL, OPT_INT8_SECONDS},
    {"draft-max", required_argument, NULL, OPT_DRAFT_MAX},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int take_own_option(demo *d, int option, const char *value)
{
    bool is_good = true;
    if (option == OPT_OUTPUT)
        d->nodes.folder = value;
    else if (option == OPT_FULL)
        d->is_full = true;
    else if (option == OPT_TOKENS)
        is_good = cli_parse_u32(value, 1, LYNX_PROMPT_TOKENS_MAX, &d->prompt_limit);
    else if (option == OPT_DRAFT_MAX)
        is_good = cli_parse_u32(value, 0, 62, &d->draft_max);
    else if (option == OPT_INT8_SECONDS)
        is_good = cli_parse_double(value, 0.01, 1000, &d->int8_seconds);
    else
        return cli_usage(command, "unknown option");
    return is_good ? CLI_OK : cli_usage(command, "'%s' is not a value of this option", value);
}

static void choose_files(demo *d)
{
    static const char *const own[] = {"docs/algorithm.md", "docs/architecture.md",
                                      "docs/format.md", "README.md", "docs/format-codec.md"};
    if (d->file_count)
        return;
    d->file_count = d->is_full ? sizeof(own) / sizeof(*own) : 1;
    memcpy(d->files, own, sizeof(own));
}

/* -1: go on; else the exit code. */
static int parse(demo *d, int argc, char **argv)
{
    int option;
    while ((option = getopt_long(argc, argv, ":m:c:t:h", long_options, NULL)) != -1) {
        if (option == 'h') {
            printf("%s%s\n%s%s", help, cli_engine_help, cli_link_help, help_end);
            return CLI_OK;
        }
        if (option == '?' || option == ':')
            return cli_bad_option(command, option, argv);
        int taken = cli_take_option(&d->nodes.shared, option, optarg);
        if (taken == -1)
            taken = take_own_option(d, option, optarg);
        if (taken != CLI_OK)
            return taken;
    }
    for (int i = optind; i < argc && d->file_count < DOCUMENTS_MAX; i++)
        d->files[d->file_count++] = argv[i];
    if (d->is_full && d->file_count && d->file_count < 5)
        return cli_usage(command, "--full needs at least five documents");
    choose_files(d);
    d->mbps = (double)d->nodes.shared.pacer.rate_bits_per_s / 1e6;
    return -1;
}

static int load_engines(demo *d)
{
    for (int strict = 0; strict < 2; strict++) {
        d->nodes.shared.engine.exact = strict ? LYNX_EXACT_STRICT : LYNX_EXACT_ROUNDING;
        const int code = cli_load_engine(&d->nodes.shared, &d->engines[strict]);
        if (code != CLI_OK)
            return code;
    }
    return CLI_OK;
}

int lx_command_demo(int argc, char **argv)
{
    demo d = {.nodes = {.folder = "build/demo"},
              .prompt_limit = 640,
              .draft_max = 40,
              .int8_seconds = 4.1};
    cli_options_init(&d.nodes.shared, command);
    int code = parse(&d, argc, argv);
    if (code >= 0)
        return code;
    cli_catch_signals();
    snprintf(d.prompt_path, sizeof(d.prompt_path), "%.4000s/prompt.txt", d.nodes.folder);
    d.rows = json_array();
    code = two_nodes_init(&d.nodes);
    if (code == CLI_OK)
        code = load_engines(&d);
    for (uint32_t i = 0; i < d.file_count && code == CLI_OK; i++)
        code = run_document(&d, d.files[i], i == 0);
    if (code == CLI_OK)
        code = write_report(&d);
    two_nodes_fini(&d.nodes);
    json_decref(d.rows);
    timeline_fini(&d.line);
    free(d.prompt);
    lynx_engine_destroy(d.engines[0]);
    lynx_engine_destroy(d.engines[1]);
    return code;
}
