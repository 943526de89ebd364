/* SPDX-License-Identifier: MIT */
/*
 * bench_guess.c - what guesses beside strict steps give, and steps of one token for drafts:
 * each prompt is answered by strict steps without and with guesses, and as drafts are made
 * without and with them, in turn on the same engine, on the whole cache and on one of four
 * bits; and what a step of more tokens takes.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "document.h"
#include "numbers.h"

enum { OPT_JSON = CLI_OPT_OWN, OPT_PROMPT, OPT_TOKENS };
enum { FILES_MAX = 64, TOKENS_MAX = 4096, COLUMNS_MAX = 8, ROUNDS = 15 };
enum { KINDS = 2, CACHES = 2 };

/* How tokens are made. The first is what all others are compared with. */
enum { STEPS, GUESSES, DRAFTS, DRAFTS_GUESSES, WAYS };

static const char command[] = "lynx bench guess";

static const char help[] =
    "Usage: lynx bench guess -m model.gguf [options] FILE...\n"
    "\n"
    "What guesses beside strictly exact steps give, and steps of one token for drafts: the\n"
    "beginning of each file is continued, and summed up, by exact steps with guesses on the\n"
    "whole cache and on one of four bits, and on that by drafts and by drafts with guesses "
    "where\n"
    "they pay. Each is compared with exact steps without guesses.\n"
    "\n"
    "      --prompt N         tokens of each prompt's text (300)\n"
    "      --tokens N         most tokens of each answer (48)\n"
    "      --json             rows: kind, cache, way, prompts, tokens, steps, guessed,\n"
    "                         guessed_right, tokens_per_step, token_ms_without, token_ms, "
    "ratio\n"
    "                         (of these, the\n"
    "                         middle of the prompts'), ratio_most, step_ratio (of the time of "
    "a\n"
    "                         step); and rows of batches: kind, columns, batch_ms, ratio\n"
    "\n";

static const char help_end[] = "\n"
                               "Example:\n"
                               "  lynx bench guess -m model.gguf README.md docs/http.md\n"
                               "\n"
                               "Exit codes: 0 measured, 1 failed, 2 usage.\n";

static const char *const kind_names[KINDS] = {"continue", "question"};
static const char *const cache_names[CACHES] = {"whole", "4 bits"};

static const char *const way_names[WAYS] = {"steps", "guesses", "drafts", "drafts, guesses"};

/* Of one kind of prompt on one cache in one way. */
typedef struct row {
    uint32_t prompts, tokens, steps, guessed, guessed_right;
    double without[FILES_MAX], with[FILES_MAX]; /* seconds of a token */
    double ratios[FILES_MAX], step_ratios[FILES_MAX];
} row;

typedef struct bench {
    cli_options common;
    bool is_json;
    uint32_t prompt, tokens;
    char **files;
    uint32_t file_count;
    lynx_engine *engine;
    lynx_codec_spec four_bits;
    row rows[KINDS][CACHES][WAYS];
    double batches[COLUMNS_MAX + 1][ROUNDS];
    char text[LYNX_TEXT_MAX];
} bench;

/* What one answer took. */
typedef struct timing {
    double token_s, step_s;
    lynx_run_result result;
} timing;

static lynx_status answer(bench *b, const lynx_token *prompt, uint32_t count, uint32_t cache,
                          uint32_t way, timing *t)
{
    static lynx_token tokens[TOKENS_MAX];
    static lynx_time_ns times[TOKENS_MAX];
    lynx_run_options o;
    lynx_run_options_init(&o);
    o.engine = b->engine;
    o.method = cache ? LYNX_METHOD_LOCAL_FULL : LYNX_METHOD_LOCAL;
    o.spec = b->four_bits;
    o.prompt = prompt;
    o.prompt_tokens = count;
    o.answer_tokens_max = b->tokens;
    o.guesses = way == GUESSES || way == DRAFTS_GUESSES;
    o.skip_verify = way == DRAFTS || way == DRAFTS_GUESSES;
    t->result = (lynx_run_result){.tokens = tokens, .times = times, .capacity = b->tokens};
    const lynx_status status = lynx_run(NULL, 0, &o, &t->result, b->text);
    const uint32_t made = t->result.token_count;
    if (status != LYNX_OK || made < 3)
        return status;
    /* The time of the first token has the codec's work in it on a cache of four bits: from the
     * second on. A step that made the second along with the third counts as one. */
    const double all = (double)(times[made - 1] - times[1]) / 1e9;
    t->token_s = all / (made - 2);
    t->step_s = t->result.steps > 1 ? all / (t->result.steps - 1) : 0;
    return LYNX_OK;
}

static void add_answer(row *r, const timing *without, const timing *with)
{
    if (with->token_s <= 0 || without->step_s <= 0)
        return;
    r->tokens += with->result.token_count - 1;
    r->steps += with->result.steps;
    r->guessed += with->result.guessed;
    r->guessed_right += with->result.guessed_right;
    r->without[r->prompts] = without->token_s;
    r->with[r->prompts] = with->token_s;
    r->ratios[r->prompts] = with->token_s / without->token_s;
    r->step_ratios[r->prompts++] = with->step_s / without->step_s;
}

static lynx_status add_prompt(bench *b, row rows[WAYS], const lynx_token *prompt,
                              uint32_t count, uint32_t cache)
{
    timing times[WAYS] = {0};
    const uint32_t ways = cache ? WAYS : DRAFTS; /* none is drafted on the whole cache */
    for (uint32_t way = 0; way < ways; way++) {
        const lynx_status status = answer(b, prompt, count, cache, way, &times[way]);
        if (status != LYNX_OK)
            return status;
        if (way != STEPS)
            add_answer(&rows[way], &times[STEPS], &times[way]);
    }
    return LYNX_OK;
}

/* The beginning of the file as it is. */
static int begin_of(const bench *b, const char *path, lynx_token **tokens, uint32_t *count)
{
    size_t size = 0;
    char *text = cli_read_file(command, path, &size);
    if (!text)
        return CLI_FAILED;
    const lynx_status status = cli_tokenize(b->engine, text, size, true, tokens, count);
    free(text);
    if (status != LYNX_OK)
        return cli_fail(command, status, NULL);
    *count = *count < b->prompt ? *count : b->prompt;
    return CLI_OK;
}

static int measure_file(bench *b, const char *path)
{
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        lynx_token *tokens = NULL;
        uint32_t count = 0;
        lynx_status status = LYNX_OK;
        const int code = kind == 0 ? begin_of(b, path, &tokens, &count)
                                   : document_prompt(command, b->engine, path, b->prompt, 0,
                                                     &tokens, &count);
        if (code != CLI_OK)
            return code;
        for (uint32_t cache = 0; cache < CACHES && status == LYNX_OK; cache++)
            status = add_prompt(b, b->rows[kind][cache], tokens, count, cache);
        free(tokens);
        if (status != LYNX_OK)
            return cli_fail(command, status, b->text);
    }
    return CLI_OK;
}

/* A batch of 2 is a step with a guess. */
static lynx_status measure_batches(bench *b)
{
    lynx_token tokens[COLUMNS_MAX + 1] = {0};
    const lynx_engine_ops *ops = b->engine->ops;
    const uint32_t length = ops->length(b->engine);
    for (uint32_t i = 0; i <= COLUMNS_MAX; i++)
        tokens[i] = (lynx_token)(i + 20);
    for (uint32_t round = 0; round < ROUNDS; round++)
        for (uint32_t columns = 1; columns <= COLUMNS_MAX; columns++) {
            const lynx_time_ns start = lynx_clock_now();
            lynx_status status = ops->batch(b->engine, tokens, columns, 0);
            b->batches[columns][round] = (double)(lynx_clock_now() - start) / 1e6;
            if (status == LYNX_OK)
                status = ops->rewind(b->engine, length);
            if (status != LYNX_OK)
                return status;
        }
    return LYNX_OK;
}

static void put_row(const bench *b, json_t *rows, uint32_t kind, uint32_t cache, uint32_t way)
{
    row r = b->rows[kind][cache][way];
    const uint32_t n = r.prompts;
    if (n == 0)
        return;
    const double speed = (double)r.tokens / r.steps;
    const double ratio = numbers_median(r.ratios, n); /* sorts */
    const double most = r.ratios[n - 1];
    const double step = numbers_median(r.step_ratios, n);
    const double without = 1e3 * numbers_median(r.without, n);
    const double with = 1e3 * numbers_median(r.with, n);
    if (!b->is_json)
        printf("%-9s %-7s %-15s %8u %7.3f %12.1f %9.1f %6.3f %11.3f %11.3f\n", kind_names[kind],
               cache_names[cache], way_names[way], n, speed, without, with, ratio, most, step);
    json_array_append_new(
        rows,
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f}",
                  "kind", kind_names[kind], "cache", cache_names[cache], "way", way_names[way],
                  "prompts", (json_int_t)n, "tokens", (json_int_t)r.tokens, "steps",
                  (json_int_t)r.steps, "guessed", (json_int_t)r.guessed, "guessed_right",
                  (json_int_t)r.guessed_right, "tokens_per_step", speed, "token_ms_without",
                  without, "token_ms", with, "ratio", ratio, "ratio_most", most, "step_ratio",
                  step));
}

static void put_batch(const bench *b, json_t *rows, uint32_t columns)
{
    double times[ROUNDS], ratios[ROUNDS];
    for (uint32_t i = 0; i < ROUNDS; i++) {
        times[i] = b->batches[columns][i];
        ratios[i] = b->batches[columns][i] / b->batches[2][i];
    }
    const double ms = numbers_median(times, ROUNDS);
    const double ratio = numbers_median(ratios, ROUNDS);
    if (!b->is_json)
        printf("batch of %u: %.1f ms, %.3f of a batch of 2\n", columns, ms, ratio);
    json_array_append_new(rows, json_pack("{s:s, s:I, s:f, s:f}", "kind", "batch", "columns",
                                          (json_int_t)columns, "batch_ms", ms, "ratio", ratio));
}

static void put(const bench *b)
{
    json_t *rows = json_array();
    if (!b->is_json)
        printf("%-9s %-7s %-15s %8s %7s %12s %9s %6s %11s %11s\n", "kind", "cache", "way",
               "prompts", "tok/step", "ms/tok alone", "ms/tok", "ratio", "ratio, most",
               "step, ratio");
    for (uint32_t kind = 0; kind < KINDS; kind++)
        for (uint32_t cache = 0; cache < CACHES; cache++)
            for (uint32_t way = GUESSES; way < WAYS; way++)
                put_row(b, rows, kind, cache, way);
    for (uint32_t columns = 1; columns <= COLUMNS_MAX; columns++)
        put_batch(b, rows, columns);
    if (b->is_json) {
        json_dumpf(rows, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(5));
        fputc('\n', stdout);
    }
    json_decref(rows);
}

static int measure(bench *b)
{
    for (uint32_t i = 0; i < b->file_count; i++) {
        const int code = measure_file(b, b->files[i]);
        if (code != CLI_OK)
            return code;
    }
    const lynx_status status = measure_batches(b);
    if (status != LYNX_OK)
        return cli_fail(command, status, b->engine->ops->error_text(b->engine));
    put(b);
    return CLI_OK;
}

static int run_bench(bench *b)
{
    /* A codec of one plane: what the anchors of "range44" hold. */
    if (lynx_codec_spec_named(&b->four_bits, "range44:k=4,v=4") != LYNX_OK)
        return cli_fail(command, LYNX_ERR_ARGUMENT, NULL);
    const int code = cli_load_engine(&b->common, &b->engine);
    if (code != CLI_OK)
        return code;
    const int measured = measure(b);
    lynx_engine_destroy(b->engine);
    return measured;
}

int lx_bench_guess(int argc, char **argv)
{
    static const struct option options[] = {
        CLI_ENGINE_OPTIONS,
        {"json", no_argument, NULL, OPT_JSON},
        {"prompt", required_argument, NULL, OPT_PROMPT},
        {"tokens", required_argument, NULL, OPT_TOKENS},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    static bench b = {.prompt = 300, .tokens = 48};
    int option;
    cli_options_init(&b.common, command);
    while ((option = getopt_long(argc, argv, ":hm:t:c:", options, NULL)) != -1) {
        if (option == '?' || option == ':')
            return cli_bad_option(command, option, argv);
        const int taken = cli_take_option(&b.common, option, optarg);
        if (taken == CLI_USAGE)
            return CLI_USAGE;
        if (taken == CLI_OK)
            continue;
        if (option == 'h') {
            printf("%s%s%s", help, cli_engine_help, help_end);
            return CLI_OK;
        }
        if (option == OPT_JSON)
            b.is_json = true;
        else if (!(option == OPT_PROMPT ? cli_parse_u32(optarg, 1, 1 << 20, &b.prompt)
                                        : cli_parse_u32(optarg, 4, TOKENS_MAX, &b.tokens)))
            return cli_usage(command, "'%s' is out of range", optarg);
    }
    if (optind == argc || argc - optind > FILES_MAX)
        return cli_usage(command, "it needs 1 to %d files with text", FILES_MAX);
    b.files = argv + optind;
    b.file_count = (uint32_t)(argc - optind);
    return run_bench(&b);
}
