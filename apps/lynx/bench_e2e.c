/* SPDX-License-Identifier: MIT */
/*
 * bench_e2e.c - every way to get an answer, over a grid of links, prompts and requests at once.
 *
 * The points of the grid are measured one after the other; what a point needs (engines,
 * prompts, a prefill node behind its link) stays while the next points need the same. Ways take
 * turns inside a round, so that a machine that changes its speed changes all of them.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "cli.h"
#include "commands.h"
#include "document.h"
#include "e2e_grid.h"
#include "e2e_rows.h"
#include "two_nodes.h"
#include "ways.h"

enum { ANSWER_TOKENS = 64, TARGETS_MAX = 8 };
enum { OPT_DRAFT_MAX = E2E_OPT_OWN, OPT_OUTPUT, OPT_JSON };

static const char command[] = "lynx bench e2e";

static const char help[] =
    "Usage: lynx bench e2e [-m model.gguf] [options] [TEXT-FILE...]\n"
    "\n"
    "Measure every way to get an answer about a document over a grid of links, prompts and "
    "requests\n"
    "at once, with a prefill node in a process of its own. Rows are appended to a table; a "
    "grid "
    "that\n"
    "broke off goes on where it was when the same command is given again.\n"
    "\n";

static const char help_tail[] =
    "      --draft-max N           most drafts (62)\n"
    "      --output FILE           the table; its folder gets the log (build/bench/e2e.csv)\n"
    "      --json                  the table's rows on stdout\n"
    "\n"
    "Without files: docs/algorithm.md. Without -m: Gemma 3 270M in F16, as 'make models' "
    "leaves "
    "it.\n"
    "Each request has its row. Nodes that work at the same time, for more than one request, "
    "have half\n"
    "of the cores each. Right tokens are those of plain decoding without a link.\n"
    "\n";

static const char help_end[] =
    "\n"
    "Exit codes: 0 measured, 1 engine, file or wrong tokens, 2 usage, 3 connection, 130\n"
    "interrupted.\n"
    "\n"
    "Example:\n"
    "  lynx bench e2e -m model.gguf --links 10,50 --concurrency 1,4 --rounds 5 report.txt\n";

/* One of the requests that are made at the same time. */
typedef struct request {
    lynx_token *prompt;
    uint32_t prompt_tokens, slot;
    struct {
        const char *codec; /* way.target_codec */
        bool is_strict;
        lynx_token tokens[ANSWER_TOKENS];
    } targets[TARGETS_MAX];
    uint32_t target_count;

    lynx_token tokens[ANSWER_TOKENS];
    lynx_time_ns times[ANSWER_TOKENS];
    lynx_run_options options;
    lynx_run_result result;
    lynx_status status;
    char text[LYNX_TEXT_MAX];
    bool has_come, has_thread;
    pthread_t thread;
    struct bench *bench;
} request;

typedef struct bench {
    two_nodes nodes;
    e2e_grid grid;
    uint32_t draft_max;
    const char *output;
    bool is_json;
    e2e_rows rows;
    uint32_t point_count, points_done, points_measured;
    lynx_time_ns begin;

    /* What the last point stood on. */
    lynx_engine *engines[2][LYNX_LLAMA_SLOTS_MAX]; /* rounding, strict */
    uint32_t engine_count;
    const char *file;
    uint32_t prompt_limit;
    request *requests; /* [round][LYNX_LLAMA_SLOTS_MAX], each about another document */
    double mbps, delay_ms;

    cli_remotes remotes;
    pthread_mutex_t lock;
    pthread_cond_t has_come;
    uint32_t come, expected; /* requests that wait for all others, or have ended */
} bench;

/* ---- what a point needs -------------------------------------------------------------- */

static uint32_t request_count(const bench *b)
{
    return b->grid.rounds * LYNX_LLAMA_SLOTS_MAX;
}

/* Those of a round that are made at the same time. */
static request *requests_of(const bench *b, const e2e_point *point)
{
    return b->requests + (size_t)(point->round - 1) * LYNX_LLAMA_SLOTS_MAX;
}

static void drop_prompts(bench *b)
{
    for (uint32_t i = 0; i < request_count(b); i++) {
        free(b->requests[i].prompt);
        b->requests[i].prompt = NULL;
    }
    b->file = NULL;
}

static void drop_engines(bench *b)
{
    for (int strict = 0; strict < 2; strict++)
        for (uint32_t i = 0; i < b->engine_count; i++) {
            lynx_engine_destroy(b->engines[strict][i]);
            b->engines[strict][i] = NULL;
        }
    b->engine_count = 0;
}

static int need_engines(bench *b, uint32_t count)
{
    if (b->engine_count == count)
        return CLI_OK;
    drop_prompts(b);
    drop_engines(b);
    two_nodes_share(&b->nodes, count > 1);
    b->engine_count = count;
    for (int strict = 0; strict < 2; strict++) {
        b->nodes.shared.engine.exact = strict ? LYNX_EXACT_STRICT : LYNX_EXACT_ROUNDING;
        const int code = cli_load_slots(&b->nodes.shared, b->engines[strict], count);
        if (code != CLI_OK)
            return code;
    }
    return CLI_OK;
}

static int need_prompts(bench *b, const char *file, uint32_t limit)
{
    if (b->file == file && b->prompt_limit == limit)
        return CLI_OK;
    drop_prompts(b);
    for (uint32_t turn = 0; turn < b->grid.rounds * b->engine_count; turn++) {
        const uint32_t round = turn / b->engine_count;
        const uint32_t slot = turn % b->engine_count;
        request *r = &b->requests[round * LYNX_LLAMA_SLOTS_MAX + slot];
        r->target_count = 0;
        r->slot = slot;
        const int code = document_prompt(command, b->engines[1][0], file, limit, turn,
                                         &r->prompt, &r->prompt_tokens);
        if (code != CLI_OK)
            return code;
    }
    b->file = file;
    b->prompt_limit = limit;
    return CLI_OK;
}

static int need_link(bench *b, double mbps, double delay_ms)
{
    if (b->nodes.server > 0 && b->mbps == mbps && b->delay_ms == delay_ms)
        return CLI_OK;
    b->mbps = mbps;
    b->delay_ms = delay_ms;
    b->nodes.shared.pacer.rate_bits_per_s = (uint64_t)(mbps * 1e6);
    b->nodes.shared.pacer.delay_ns = (uint64_t)(delay_ms * 1e6);
    return two_nodes_start(&b->nodes);
}

static void set_options(bench *b, const way *w, bool is_stored, request *r)
{
    lynx_run_options *o = &r->options;
    lynx_run_options_init(o);
    way_options(w, o);
    o->engine = b->engines[w->is_strict][r->slot];
    o->prompt = r->prompt;
    o->prompt_tokens = r->prompt_tokens;
    o->answer_tokens_max = ANSWER_TOKENS;
    o->ignore_end = true;
    o->draft_count_max = b->draft_max;
    o->guesses = b->nodes.shared.guesses;
    o->branch_count_max = b->nodes.shared.branches;
    o->is_stored = is_stored;
    o->stop = &cli_stop;
    r->result =
        (lynx_run_result){.tokens = r->tokens, .times = r->times, .capacity = ANSWER_TOKENS};
}

static const lynx_token *find_target(const request *r, const way *w)
{
    for (uint32_t i = 0; i < r->target_count; i++)
        if (strcmp(r->targets[i].codec, w->target_codec) == 0 &&
            r->targets[i].is_strict == w->is_strict)
            return r->targets[i].tokens;
    return NULL;
}

/* What the tokens must be: plain decoding, without a link, on the cache that the way promises.
 */
static int need_target(bench *b, const way *w, request *r)
{
    if (find_target(r, w))
        return CLI_OK;
    set_options(b, w, false, r);
    r->options.method = w->target_codec[0] ? LYNX_METHOD_LOCAL_FULL : LYNX_METHOD_LOCAL;
    const lynx_status status = lynx_run(NULL, 0, &r->options, &r->result, r->text);
    if (status != LYNX_OK)
        return cli_fail(command, status, r->text);
    r->targets[r->target_count].codec = w->target_codec;
    r->targets[r->target_count].is_strict = w->is_strict;
    memcpy(r->targets[r->target_count].tokens, r->tokens, sizeof(r->tokens));
    r->target_count++;
    return CLI_OK;
}

/* ---- one point ----------------------------------------------------------------------- */

/* A request is where all begin, or will never be: whoever waits for it goes on. */
static void come(bench *b, request *r)
{
    pthread_mutex_lock(&b->lock);
    b->come += !r->has_come;
    r->has_come = true;
    if (b->come == b->expected)
        pthread_cond_broadcast(&b->has_come);
    pthread_mutex_unlock(&b->lock);
}

static void wait_for_all(bench *b, request *r)
{
    come(b, r);
    pthread_mutex_lock(&b->lock);
    while (b->come < b->expected)
        pthread_cond_wait(&b->has_come, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

/* Stored caches are asked for when all are there. */
static void on_moment(void *user, const lynx_moment *moment)
{
    request *r = user;
    if (moment->type == LYNX_MOMENT_READY)
        wait_for_all(r->bench, r);
}

static void *run_request(void *user)
{
    request *r = user;
    bench *b = r->bench;
    if (!r->options.is_stored)
        wait_for_all(b, r);
    r->status =
        lynx_run(b->remotes.remotes, b->remotes.count, &r->options, &r->result, r->text);
    come(b, r);
    return NULL;
}

static json_t *row_of(const way *w, bool is_stored, const request *r)
{
    json_t *row = way_row(w, is_stored, &r->options, &r->result);
    const lynx_token *target = find_target(r, w);
    const bool is_equal = target && r->result.token_count == ANSWER_TOKENS &&
                          memcmp(target, r->tokens, sizeof(r->tokens)) == 0;
    json_object_set_new(row, "tokens_equal_target", json_boolean(is_equal));
    return row;
}

static int run_together(bench *b, const way *w, const e2e_point *point)
{
    request *requests = requests_of(b, point);
    int code = CLI_OK;
    b->come = 0;
    b->expected = point->concurrency;
    for (uint32_t i = 0; i < b->expected; i++) {
        request *r = &requests[i];
        r->bench = b;
        r->has_come = false;
        set_options(b, w, point->is_stored && w->method != LYNX_METHOD_LOCAL, r);
        r->options.on_moment = on_moment;
        r->options.user = r;
        r->has_thread = pthread_create(&r->thread, NULL, run_request, r) == 0;
        if (!r->has_thread) {
            code = cli_error(command, "cannot make threads");
            come(b, r);
        }
    }
    for (uint32_t i = 0; i < b->expected; i++) {
        request *r = &requests[i];
        if (!r->has_thread)
            continue;
        pthread_join(r->thread, NULL);
        if (r->status != LYNX_OK && code == CLI_OK)
            code = cli_fail(command, r->status, r->text);
    }
    return code;
}

static int measure(bench *b, const way *w, const e2e_point *point)
{
    json_t *rows[LYNX_LLAMA_SLOTS_MAX];
    int code = two_nodes_open(&b->nodes, w, b->engines[1][0], &b->remotes);
    if (code == CLI_OK)
        code = run_together(b, w, point);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < b->remotes.count; i++)
        bytes += lynx_remote_counters(b->remotes.remotes[i]).bytes_received;
    cli_remotes_close(&b->remotes);
    if (code != CLI_OK)
        return code;
    for (uint32_t i = 0; i < point->concurrency; i++) {
        rows[i] = row_of(w, point->is_stored, &requests_of(b, point)[i]);
        json_object_set_new(rows[i], "bytes_total", json_integer((json_int_t)bytes));
    }
    code = e2e_rows_add(&b->rows, point, rows, point->concurrency);
    for (uint32_t i = 0; i < point->concurrency; i++)
        json_decref(rows[i]);
    return code;
}

/* One line on a terminal that the next one writes over. */
static void put_progress(const bench *b, const e2e_point *point)
{
    if (!cli_has_color(stderr))
        return;
    const double seconds = (double)(lynx_clock_now() - b->begin) / 1e9;
    const uint32_t left = b->point_count - b->points_done;
    fprintf(stderr, "\r\x1b[K%u of %u", b->points_done + 1, b->point_count);
    if (b->points_measured)
        fprintf(stderr, ", %.0f min left", seconds / b->points_measured * left / 60 + 0.5);
    fprintf(stderr, ": %s, %s, %g Mbit/s, %u tokens, %u at once", point->method,
            point->is_stored ? "stored" : "cold", point->link_mbps, point->prompt_tokens,
            point->concurrency);
}

static int run_point(void *user, const way *w, const e2e_point *point)
{
    bench *b = user;
    const char *file = point->document;
    if (e2e_rows_has(&b->rows, point)) {
        b->points_done++;
        return CLI_OK;
    }
    put_progress(b, point);
    int code = need_engines(b, point->concurrency);
    if (code == CLI_OK)
        code = need_prompts(b, file, point->prompt_tokens);
    for (uint32_t i = 0; i < point->concurrency && code == CLI_OK; i++)
        code = need_target(b, w, &requests_of(b, point)[i]);
    if (code == CLI_OK)
        code = need_link(b, point->link_mbps, point->delay_ms);
    if (code == CLI_OK)
        code = measure(b, w, point);
    b->points_done++;
    b->points_measured++;
    return code;
}

/* ---- the command ---------------------------------------------------------------------- */

static const struct option long_options[] = {
    CLI_ENGINE_OPTIONS,
    E2E_GRID_OPTIONS,
    {"draft-max", required_argument, NULL, OPT_DRAFT_MAX},
    {"output", required_argument, NULL, OPT_OUTPUT},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* -1: go on; else the exit code. */
static int parse(bench *b, int argc, char **argv)
{
    int option;
    while ((option = getopt_long(argc, argv, ":hm:t:c:", long_options, NULL)) != -1) {
        if (option == 'h') {
            printf("%s%s%s%s%s", help, e2e_grid_help, help_tail, cli_engine_help, help_end);
            return CLI_OK;
        }
        if (option == '?' || option == ':')
            return cli_bad_option(command, option, argv);
        const int taken = cli_take_option(&b->nodes.shared, option, optarg);
        if (taken == CLI_USAGE)
            return CLI_USAGE;
        if (taken == CLI_OK)
            continue;
        bool is_good = true;
        if (option == OPT_JSON)
            b->is_json = true;
        else if (option == OPT_OUTPUT)
            b->output = optarg;
        else if (option == OPT_DRAFT_MAX)
            is_good = cli_parse_u32(optarg, 0, 62, &b->draft_max);
        else
            is_good = e2e_grid_take(&b->grid, option, optarg);
        if (!is_good)
            return cli_usage(command, "'%s' is not a value of this option", optarg);
    }
    for (int i = optind; i < argc; i++) {
        if (b->grid.file_count == E2E_LIST_MAX)
            return cli_usage(command, "there are more than %d files", E2E_LIST_MAX);
        b->grid.files[b->grid.file_count++] = argv[i];
    }
    if (!b->grid.file_count)
        b->grid.files[b->grid.file_count++] = "docs/algorithm.md";
    return -1;
}

/* The folder of the table, as text of the caller's to free. */
static char *folder_of(const char *path)
{
    char *folder = strdup(path);
    char *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash)
        *slash = '\0';
    else if (folder)
        strcpy(folder, strlen(folder) ? "." : "");
    return folder;
}

static int put(const bench *b)
{
    json_t *all = e2e_rows_json(&b->rows);
    size_t i;
    json_t *row;
    bool are_right = true;
    json_array_foreach(all, i, row)
    {
        const way *w = way_named(json_string_value(json_object_get(row, "method")));
        if (w && w->method != LYNX_METHOD_ANCHOR &&
            !json_is_true(json_object_get(row, "tokens_equal_target")))
            are_right = false;
    }
    if (b->is_json) {
        json_dumpf(all, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(8));
        fputc('\n', stdout);
    } else {
        e2e_rows_put(&b->rows);
    }
    json_decref(all);
    return are_right ? CLI_OK
                     : cli_fail(command, LYNX_ERR_ENGINE,
                                "there are rows whose tokens are not the right ones");
}

static int run_bench(bench *b)
{
    char *folder = folder_of(b->output);
    b->requests = calloc(request_count(b), sizeof(*b->requests));
    if (!folder || !b->requests) {
        free(folder);
        return cli_fail(command, LYNX_ERR_MEMORY, NULL);
    }
    b->nodes.folder = folder;
    int code = two_nodes_init(&b->nodes);
    if (code == CLI_OK)
        code = e2e_rows_open(&b->rows, b->output);
    if (code == CLI_OK) {
        const char *slash = strrchr(b->nodes.model_path, '/');
        b->point_count = e2e_grid_points(&b->grid);
        b->begin = lynx_clock_now();
        code = e2e_grid_each(&b->grid, slash ? slash + 1 : b->nodes.model_path, run_point, b);
        if (cli_has_color(stderr))
            fputs("\r\x1b[K", stderr);
    }
    if (code == CLI_OK)
        code = put(b);
    two_nodes_fini(&b->nodes);
    e2e_rows_close(&b->rows);
    drop_prompts(b);
    drop_engines(b);
    free(b->requests);
    free(folder);
    return code;
}

int lx_bench_e2e(int argc, char **argv)
{
    bench b = {.lock = PTHREAD_MUTEX_INITIALIZER,
               .has_come = PTHREAD_COND_INITIALIZER,
               .draft_max = 62,
               .output = "build/bench/e2e.csv"};
    e2e_grid_init(&b.grid);
    cli_options_init(&b.nodes.shared, command);
    const int code = parse(&b, argc, argv);
    if (code >= 0)
        return code;
    cli_catch_signals();
    return run_bench(&b);
}
