/* SPDX-License-Identifier: MIT */
/*
 * state_file.c - a cache file of Lynx against llama.cpp's own state file on a local disk.
 *
 *     state_file MODEL TEXT TOKENS ROUNDS FOLDER THREADS     rows as JSON on standard output
 *
 * One process has an engine of Lynx and a context of llama.cpp, each with the cache of the same
 * tokens. In each round both write theirs to a file in FOLDER and read it again, from the disk
 * and from memory. Both write through to the disk (llama.cpp's function does not: its file is
 * synchronised behind it), and 'unsynced_s' is what llama.cpp takes without. Reading begins
 * with the opening of the file and ends where the next token can be computed.
 */
#include <fcntl.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lynx/keep.h"
#include "lynx/llama.h"
#include "lynx/place.h"
#include "lynx/runtime.h"

enum { PATH_ROOM = 4096 };

typedef struct bench {
    lynx_engine *engine;
    struct llama_model *model;
    struct llama_context *context;
    lynx_token *tokens; /* 'count' and one more, the question */
    uint32_t count;
    char own_path[PATH_ROOM], state_path[PATH_ROOM];
} bench;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "state_file: %s: %s\n", what, why);
    exit(1);
}

static void check(bool is_good, const char *what)
{
    if (!is_good)
        die(what, "failed");
}

static double seconds_since(lynx_time_ns start)
{
    return (double)(lynx_clock_now() - start) / 1e9;
}

/* ---- both sides with the cache of the same tokens ------------------------------------ */

static void read_tokens(bench *b, const char *path)
{
    FILE *file = fopen(path, "rb");
    check(file != NULL, path);
    fseek(file, 0, SEEK_END);
    const size_t size = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(size + 1);
    b->tokens = malloc((size + 16) * sizeof(*b->tokens));
    check(text && b->tokens && fread(text, 1, size, file) == size, path);
    fclose(file);
    size_t count = 0;
    check(b->engine->ops->tokenize(b->engine, text, size, true, false, b->tokens, size + 16,
                                   &count) == LYNX_OK,
          "tokenize");
    if (count <= b->count)
        die(path, "has too few tokens");
    free(text);
}

static void make_engine(bench *b, const char *model, int threads)
{
    char text[LYNX_TEXT_MAX];
    lynx_llama_options options;
    lynx_llama_options_init(&options);
    options.model_path = model;
    options.context_tokens = b->count + 64;
    options.threads = threads;
    if (lynx_llama_create(&b->engine, &options, text, sizeof(text)) != LYNX_OK)
        die(model, text);
}

/* As llama.cpp is built for such a machine; of a sliding window it keeps only what is in it. */
static void make_context(bench *b, const char *model, int threads)
{
    struct llama_model_params model_params = llama_model_default_params();
    model_params.use_extra_bufts = false; /* as the engine; and AMX is not usable everywhere */
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = b->count + 64;
    params.n_batch = params.n_ubatch = 512;
    params.n_threads = params.n_threads_batch = threads;
    params.swa_full = false;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    b->model = llama_model_load_from_file(model, model_params);
    check(b->model != NULL, model);
    b->context = llama_init_from_model(b->model, params);
    check(b->context != NULL, model);
}

static void prefill(bench *b)
{
    check(b->engine->ops->prefill(b->engine, b->tokens, b->count, NULL, NULL) == LYNX_OK,
          "prefill");
    for (uint32_t done = 0; done < b->count;) {
        const uint32_t left = b->count - done, now = left < 512 ? left : 512;
        check(llama_decode(b->context, llama_batch_get_one(b->tokens + done, (int32_t)now)) ==
                  0,
              "llama_decode");
        done += now;
    }
}

/* ---- files --------------------------------------------------------------------------- */

static uint64_t size_of(const char *path)
{
    struct stat found;
    check(stat(path, &found) == 0, path);
    return (uint64_t)found.st_size;
}

static void sync_file(const char *path)
{
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    check(file >= 0 && fsync(file) == 0, path);
    close(file);
}

/* The next reader gets it from the disk. */
static void drop(const char *path)
{
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    check(file >= 0 && posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0, path);
    close(file);
}

/* ---- llama.cpp ----------------------------------------------------------------------- */

static double save_state(bench *b, double *unsynced_s)
{
    unlink(b->state_path);
    const lynx_time_ns start = lynx_clock_now();
    check(llama_state_seq_save_file(b->context, b->state_path, 0, b->tokens, b->count) > 0,
          b->state_path);
    *unsynced_s = seconds_since(start);
    sync_file(b->state_path);
    return seconds_since(start);
}

static double load_state(bench *b)
{
    static llama_token tokens[1 << 20];
    size_t count = 0;
    llama_memory_clear(llama_get_memory(b->context), false);
    const lynx_time_ns start = lynx_clock_now();
    check(llama_state_seq_load_file(b->context, b->state_path, 0, tokens, 1 << 20, &count) > 0,
          b->state_path);
    const double taken = seconds_since(start);
    check(count == b->count && memcmp(tokens, b->tokens, count * sizeof(*tokens)) == 0,
          "the tokens of the state file");
    return taken;
}

/* ---- Lynx ---------------------------------------------------------------------------- */

static double save_own(bench *b)
{
    char text[LYNX_TEXT_MAX];
    lynx_keep_options options;
    lynx_keep_result result;
    lynx_keep_options_init(&options);
    options.engine = b->engine;
    options.tokens = b->tokens;
    options.token_count = b->count;
    options.is_computed = true;
    options.path = b->own_path;
    unlink(b->own_path);
    const lynx_time_ns start = lynx_clock_now();
    if (lynx_keep(&options, &result, text) != LYNX_OK)
        die(b->own_path, text);
    return seconds_since(start);
}

/* The first step tells when the cache was there. */
static lynx_time_ns stepped_at;
static const lynx_engine_ops *inner_ops;

static lynx_status note_step(lynx_engine *engine, lynx_token token)
{
    stepped_at = lynx_clock_now();
    return inner_ops->step(engine, token);
}

static void load_source(bench *b, lynx_source *source)
{
    char text[LYNX_TEXT_MAX];
    lynx_token token;
    lynx_time_ns time;
    lynx_run_options options;
    lynx_run_result result = {.tokens = &token, .times = &time, .capacity = 1};
    lynx_run_options_init(&options);
    options.engine = b->engine;
    options.method = LYNX_METHOD_WAIT;
    options.prompt = b->tokens;
    options.prompt_tokens = b->count + 1;
    options.answer_tokens_max = 1;
    options.source = source;
    options.on_loss = LYNX_ON_LOSS_FAIL;
    if (lynx_run(NULL, 0, &options, &result, text) != LYNX_OK)
        die(b->own_path, text);
}

static double load_own(bench *b)
{
    char text[LYNX_TEXT_MAX] = "";
    lynx_place *place = NULL;
    lynx_cache_file *file = NULL;
    lynx_source *source = NULL;
    inner_ops = b->engine->ops;
    lynx_engine_ops watched = *inner_ops;
    watched.step = note_step;
    /* As llama.cpp's: nothing of the cache is here. */
    check(inner_ops->reserve(b->engine, 1) == LYNX_OK, "reserve");
    const lynx_time_ns start = lynx_clock_now();
    if (lynx_place_files(&place, NULL) != LYNX_OK ||
        lynx_cache_file_open(&file, place, b->own_path, NULL, NULL, text, sizeof(text)) !=
            LYNX_OK ||
        lynx_cache_file_source(file, inner_ops->model(b->engine), b->tokens, b->count + 1,
                               &source, text, sizeof(text)) != LYNX_OK)
        die(b->own_path, text);
    check(source->ops->prefix(source)->token_count == b->count, "the file's tokens");
    b->engine->ops = &watched;
    load_source(b, source);
    b->engine->ops = inner_ops;
    check(inner_ops->rewind(b->engine, b->count) == LYNX_OK, "rewind");
    lynx_source_destroy(source);
    lynx_cache_file_close(file);
    lynx_place_destroy(place);
    return (double)(stepped_at - start) / 1e9;
}

/* ---- rounds -------------------------------------------------------------------------- */

static void put_row(const bench *b, const char *op, int round, double own_s, double state_s,
                    double unsynced_s)
{
    printf("%s\n {\"op\": \"%s\", \"round\": %d, \"tokens\": %u, \"lynx_bytes\": %llu, "
           "\"llama_bytes\": %llu, \"lynx_s\": %.5f, \"llama_s\": %.5f",
           round == 1 && strcmp(op, "save") == 0 ? "[" : ",", op, round, b->count,
           (unsigned long long)size_of(b->own_path), (unsigned long long)size_of(b->state_path),
           own_s, state_s);
    if (unsynced_s > 0)
        printf(", \"llama_unsynced_s\": %.5f", unsynced_s);
    printf("}");
}

static void measure(bench *b, int round)
{
    double unsynced_s = 0;
    const double save_state_s = save_state(b, &unsynced_s), save_own_s = save_own(b);
    put_row(b, "save", round, save_own_s, save_state_s, unsynced_s);
    drop(b->state_path);
    drop(b->own_path);
    const double cold_state_s = load_state(b), cold_own_s = load_own(b);
    put_row(b, "restore_disk", round, cold_own_s, cold_state_s, 0);
    const double warm_state_s = load_state(b), warm_own_s = load_own(b);
    put_row(b, "restore_memory", round, warm_own_s, warm_state_s, 0);
}

static void quiet(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level >= GGML_LOG_LEVEL_ERROR && level != GGML_LOG_LEVEL_CONT)
        fputs(text, stderr);
}

int main(int argc, char **argv)
{
    bench b = {0};
    if (argc != 7)
        die("usage", "state_file MODEL TEXT TOKENS ROUNDS FOLDER THREADS");
    const int rounds = atoi(argv[4]), threads = atoi(argv[6]);
    b.count = (uint32_t)atoi(argv[3]);
    check(b.count > 0 && rounds > 0 && threads > 0, "a number");
    snprintf(b.own_path, PATH_ROOM, "%s/state_file.lynx", argv[5]);
    snprintf(b.state_path, PATH_ROOM, "%s/state_file.llama", argv[5]);
    make_engine(&b, argv[1], threads);
    llama_log_set(quiet, NULL);
    make_context(&b, argv[1], threads);
    read_tokens(&b, argv[2]);
    prefill(&b);
    double unsynced_s;
    (void)save_state(&b, &unsynced_s); /* once, so that memory and pages are there */
    (void)save_own(&b);
    (void)load_state(&b);
    (void)load_own(&b);
    for (int round = 1; round <= rounds; round++)
        measure(&b, round);
    printf("\n]\n");
    unlink(b.own_path);
    unlink(b.state_path);
    llama_free(b.context);
    llama_model_free(b.model);
    lynx_engine_destroy(b.engine);
    free(b.tokens);
    return 0;
}
