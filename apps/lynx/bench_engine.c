/* SPDX-License-Identifier: MIT */
/*
 * bench_engine.c - tokens per second of 1, 2, 4 ... slots that decode at the same time.
 *
 * All rows are of one model in one context. Each round times every count of slots in turn, and
 * a ratio is the median of the rounds' own ratios to one slot, so that a machine that changes
 * its speed changes both sides.
 */
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "commands.h"
#include "numbers.h"

enum { OPT_JSON = CLI_OPT_OWN, OPT_SLOTS, OPT_PROMPT, OPT_TOKENS, OPT_ROUNDS };
enum { ROWS_MAX = 6, ROUNDS_MAX = 99, TOKENS_MAX = 4096 };

static const char command[] = "lynx bench engine";

static const char help[] =
    "Usage: lynx bench engine -m model.gguf [options]\n"
    "\n"
    "Tokens per second of 1, 2, 4 ... slots that decode at the same time, in one run.\n"
    "\n"
    "      --slots N          most slots, 1 to 16 (4)\n"
    "      --prompt N         tokens that each slot has before (256)\n"
    "      --tokens N         tokens that each slot decodes in a round (32)\n"
    "      --rounds N         rounds; rows are their medians (5)\n"
    "      --json             rows: slots, prompt, tokens, tokens_per_s, ratio\n"
    "\n";

static const char help_end[] = "\n"
                               "Example:\n"
                               "  lynx bench engine -m model.gguf --slots 8\n"
                               "\n"
                               "Exit codes: 0 measured, 1 failed, 2 usage.\n";

typedef struct bench {
    cli_options common;
    bool is_json;
    uint32_t slots, prompt, tokens, rounds;
    lynx_engine *engines[LYNX_LLAMA_SLOTS_MAX];
    lynx_token *history;  /* the prompt */
    pthread_mutex_t gate; /* held until all threads of a round are there */
    bool is_off;          /* they are not: do nothing */
    double speeds[ROWS_MAX][ROUNDS_MAX];
} bench;

/* One slot of a round. */
typedef struct worker {
    bench *b;
    lynx_engine *engine;
    pthread_t thread;
    lynx_status status;
} worker;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static lynx_status decode(const bench *b, lynx_engine *engine)
{
    lynx_sampling sampling;
    lynx_token token = b->history[b->prompt - 1];
    lynx_status status = LYNX_OK;
    lynx_sampling_init(&sampling);
    for (uint32_t i = 0; i < b->tokens && status == LYNX_OK; i++) {
        status = engine->ops->step(engine, token);
        if (status == LYNX_OK)
            status = engine->ops->sample(engine, 0, &sampling, b->history, b->prompt, b->prompt,
                                         &token);
    }
    return status == LYNX_OK ? engine->ops->rewind(engine, b->prompt) : status;
}

static void *work(void *user)
{
    worker *w = user;
    pthread_mutex_lock(&w->b->gate);
    const bool is_off = w->b->is_off;
    pthread_mutex_unlock(&w->b->gate);
    w->status = is_off ? LYNX_ERR_SYSTEM : decode(w->b, w->engine);
    return NULL;
}

/* 'count' slots at the same time; their tokens per second. */
static lynx_status run_round(bench *b, uint32_t count, double *speed)
{
    worker workers[LYNX_LLAMA_SLOTS_MAX];
    lynx_status status = LYNX_OK;
    uint32_t made = 0;
    pthread_mutex_lock(&b->gate);
    for (; made < count; made++) {
        workers[made] = (worker){.b = b, .engine = b->engines[made]};
        if (pthread_create(&workers[made].thread, NULL, work, &workers[made]) != 0)
            break;
    }
    b->is_off = made < count;
    const double begin = seconds();
    pthread_mutex_unlock(&b->gate);
    for (uint32_t i = 0; i < made; i++) {
        pthread_join(workers[i].thread, NULL);
        if (workers[i].status != LYNX_OK)
            status = workers[i].status;
    }
    *speed = count * b->tokens / (seconds() - begin);
    return made < count ? LYNX_ERR_SYSTEM : status;
}

/* The prompt in every slot: any tokens do. */
static lynx_status fill(bench *b)
{
    const uint32_t vocabulary = b->engines[0]->ops->model(b->engines[0])->vocabulary;
    for (uint32_t i = 0; i < b->prompt; i++)
        b->history[i] = (lynx_token)((i * 7919u + 13u) % vocabulary);
    for (uint32_t i = 0; i < b->slots; i++) {
        lynx_engine *engine = b->engines[i];
        const lynx_status status =
            engine->ops->prefill(engine, b->history, b->prompt, NULL, NULL);
        if (status != LYNX_OK)
            return status;
    }
    return LYNX_OK;
}

/* Slots of row 'row': 1, 2, 4 ... and the most; 0 after the last. */
static uint32_t slots_of(const bench *b, uint32_t row)
{
    const uint32_t slots = 1u << row;
    if (slots >= b->slots)
        return slots < 2 * b->slots ? b->slots : 0;
    return slots;
}

static lynx_status measure(bench *b)
{
    double ignored;
    lynx_status status = fill(b);
    if (status == LYNX_OK)
        status = run_round(b, b->slots, &ignored); /* warm */
    for (uint32_t round = 0; round < b->rounds && status == LYNX_OK; round++)
        for (uint32_t row = 0; slots_of(b, row) && status == LYNX_OK; row++)
            status = run_round(b, slots_of(b, row), &b->speeds[row][round]);
    return status;
}

static double median(const double *values, uint32_t count)
{
    double sorted[ROUNDS_MAX];
    memcpy(sorted, values, count * sizeof(*values));
    return numbers_middle(sorted, count);
}

static void put(const bench *b)
{
    json_t *rows = json_array();
    if (!b->is_json)
        printf("%5s %8s %8s %10s %6s\n", "slots", "prompt", "tokens", "tokens/s", "ratio");
    for (uint32_t row = 0; slots_of(b, row); row++) {
        double ratios[ROUNDS_MAX];
        for (uint32_t i = 0; i < b->rounds; i++)
            ratios[i] = b->speeds[row][i] / b->speeds[0][i];
        const double speed = median(b->speeds[row], b->rounds);
        const double ratio = median(ratios, b->rounds);
        if (!b->is_json)
            printf("%5u %8u %8u %10.1f %6.2f\n", slots_of(b, row), b->prompt, b->tokens, speed,
                   ratio);
        json_array_append_new(rows,
                              json_pack("{s:i,s:i,s:i,s:f,s:f}", "slots", (int)slots_of(b, row),
                                        "prompt", (int)b->prompt, "tokens", (int)b->tokens,
                                        "tokens_per_s", speed, "ratio", ratio));
    }
    if (b->is_json) {
        json_dumpf(rows, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(5));
        fputc('\n', stdout);
    }
    json_decref(rows);
}

/* Measure on engines that are loaded. */
static int measure_loaded(bench *b)
{
    const lynx_engine_ops *ops = b->engines[0]->ops;
    const uint32_t most = ops->model(b->engines[0])->context_tokens;
    if (b->prompt + b->tokens > most)
        return cli_usage(command, "%u and %u tokens are more than the context of %u; use -c %u",
                         b->prompt, b->tokens, most, b->prompt + b->tokens);
    const lynx_status status = measure(b);
    if (status != LYNX_OK)
        return cli_fail(command, status, ops->error_text(b->engines[0]));
    put(b);
    return CLI_OK;
}

static int run_bench(bench *b)
{
    b->history = malloc(b->prompt * sizeof(*b->history));
    if (!b->history)
        return cli_fail(command, LYNX_ERR_MEMORY, NULL);
    int code = cli_load_slots(&b->common, b->engines, b->slots);
    if (code == CLI_OK) {
        code = measure_loaded(b);
        for (uint32_t i = 0; i < b->slots; i++)
            lynx_engine_destroy(b->engines[i]);
    }
    free(b->history);
    return code;
}

/* Takes one of its own options; false when the value is wrong. */
static bool take_own(bench *b, int option, const char *value)
{
    switch (option) {
    case OPT_SLOTS:
        return cli_parse_u32(value, 1, LYNX_LLAMA_SLOTS_MAX, &b->slots);
    case OPT_PROMPT:
        return cli_parse_u32(value, 1, 1 << 20, &b->prompt);
    case OPT_TOKENS:
        return cli_parse_u32(value, 1, TOKENS_MAX, &b->tokens);
    default:
        return cli_parse_u32(value, 1, ROUNDS_MAX, &b->rounds);
    }
}

int lx_bench_engine(int argc, char **argv)
{
    static const struct option options[] = {
        CLI_ENGINE_OPTIONS,
        {"json", no_argument, NULL, OPT_JSON},
        {"slots", required_argument, NULL, OPT_SLOTS},
        {"prompt", required_argument, NULL, OPT_PROMPT},
        {"tokens", required_argument, NULL, OPT_TOKENS},
        {"rounds", required_argument, NULL, OPT_ROUNDS},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    bench b = {.gate = PTHREAD_MUTEX_INITIALIZER,
               .slots = 4,
               .prompt = 256,
               .tokens = 32,
               .rounds = 5};
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
        else if (!take_own(&b, option, optarg))
            return cli_usage(command, "'%s' is out of range", optarg);
    }
    if (optind < argc)
        return cli_usage(command, "'%s' is too much", argv[optind]);
    return run_bench(&b);
}
