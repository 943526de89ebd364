/* SPDX-License-Identifier: MIT */
/*
 * eval.c - what a codec costs: KL, top-1, perplexity, attention and accepted drafts against
 * the cache as it is.
 *
 * For each prompt: prefill; on the cache as it is run what follows in the text, and decode a
 * draft greedily; keep logits and attention outputs. Then for each codec and number of planes:
 * put the reconstruction in the cache's place, run both again, compare.
 */
#include "eval.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"

enum {
    OPT_JSON = CLI_OPT_OWN,
    OPT_CSV,
    OPT_CODEC,
    OPT_TOKENS,
    OPT_POSITIONS,
    OPT_PROMPTS,
    OPT_PLANES,
    OPT_RESUME,
    OPT_PLOT,
    OPT_TASK,
    OPT_ITEMS
};

enum { POSITIONS_MAX = 4096, BATCH = EVAL_DRAFT };

static const char command[] = "lynx eval";

static const char help[] =
    "Usage: lynx eval -m model.gguf [options] TEXT-FILE...\n"
    "       lynx eval -m model.gguf --task NAME [options]\n"
    "\n"
    "Compare codecs with the cache as it is: KL divergence, top-1 agreement and perplexity on "
    "what\n"
    "follows a prompt in its text; how many of 62 greedy tokens stand; squared errors of "
    "keys,\n"
    "values and attention outputs; bits a value on the wire. Or do a task on each cache.\n"
    "\n"
    "      --codec NAME[,NAME...]  all that 'lynx run --help' lists, with settings, and as\n"
    "                              formulas alone: q8_0, q4_0 (llama.cpp), cachegen (all)\n"
    "      --planes N              measure the first 1, 2, ... N planes of each codec (all)\n"
    "      --tokens N[,N...]       prompt tokens (1000); several for a task (500,1000,2000)\n"
    "      --prompts N             excerpts of each text (1)\n"
    "      --positions N           tokens behind each prompt that are compared (124)\n"
    "      --resume FILE           keep what is measured in FILE, and go on from it\n"
    "      --plot FOLDER           SVG pictures, by gnuplot, and their data\n"
    "      --task NAME             passkey, recall (of many pairs) or choice (of four "
    "answers)\n"
    "      --items N               of a task, for each length (20)\n"
    "      --csv                   rows as CSV\n"
    "      --json                  rows: codec, planes, bits_per_value, bits_at_8000, kl, "
    "kl_low,\n"
    "                              kl_high, top1, top1_low, top1_high, accepted_mean,\n"
    "                              accepted_low, accepted_high, accepted_10, accepted_20,\n"
    "                              accepted_all, perplexity, perplexity_f16, vnmse_k, "
    "vnmse_v,\n"
    "                              vnmse_attention, texts, prompts, positions\n"
    "\n";

static const char help_end[] =
    "\n"
    "Intervals (low, high) are 95 %: bootstrap over texts; Wilson's for tasks, whose rows are "
    "in\n"
    "docs/algorithm.md.\n"
    "\n"
    "Exit codes: 0 measured, 1 engine or file, 2 usage or text.\n"
    "\n"
    "Example:\n"
    "  lynx eval -m model.gguf --codec range,range:tail=64,paper:alpha=0.5 *.txt\n";

typedef struct evaluation {
    cli_options shared;
    lynx_engine *engine;
    const lynx_model *model;
    const char *codecs, *resume, *plot;
    uint32_t lengths[EVAL_LENGTHS_MAX], length_count;
    uint32_t positions, prompts, items, planes;
    eval_form form;
    eval_task task; /* EVAL_TASKS: texts */

    char **texts;
    uint32_t text_count;
    eval_method methods[EVAL_METHODS_MAX];
    eval_row rows[EVAL_METHODS_MAX];
    uint32_t row_count;
    FILE *kept;

    eval_cache cache;
    eval_attention attention;
    float *reference;      /* [positions][vocabulary] */
    double *reference_sum; /* [positions] */
    lynx_token draft[EVAL_DRAFT + 1];
} evaluation;

/* ---- one prompt ---------------------------------------------------------------------- */

/* A place in a text: a prompt and what follows it. */
typedef struct excerpt {
    uint32_t text, prompt;
    const lynx_token *tokens;
    uint32_t count;
    uint64_t digest;
} excerpt;

/* Called with the logits of each position behind a prompt. */
typedef void take_logits(evaluation *v, uint32_t position, const float *logits, void *user);

/* Run 'count' tokens behind the prompt; attention is watched on the text alone. */
static lynx_status follow(evaluation *v, uint32_t prompt_tokens, const lynx_token *tokens,
                          uint32_t count, take_logits *take, void *user)
{
    const bool is_text = tokens != v->draft;
    const lynx_engine_ops *ops = v->engine->ops;
    lynx_status status = ops->rewind(v->engine, prompt_tokens);
    for (uint32_t first = 0; first < count && status == LYNX_OK; first += BATCH) {
        const uint32_t left = count - first;
        const uint32_t now = left < BATCH ? left : BATCH;
        v->attention.first = first;
        v->attention.count = is_text ? now : 0;
        status = ops->batch(v->engine, tokens + first, now, 0);
        for (uint32_t i = 0; i < now && status == LYNX_OK; i++)
            take(v, first + i, ops->logits(v->engine, i), user);
    }
    v->attention.count = 0;
    return status == LYNX_OK ? ops->rewind(v->engine, prompt_tokens) : status;
}

static void keep_logits(evaluation *v, uint32_t position, const float *logits, void *user)
{
    const uint32_t vocabulary = v->model->vocabulary;
    (void)user;
    memcpy(v->reference + (size_t)position * vocabulary, logits, vocabulary * sizeof(float));
    v->reference_sum[position] = eval_log_sum(logits, vocabulary);
}

/* What the greedy draft is on the cache as it is. */
static lynx_status make_draft(evaluation *v, uint32_t prompt_tokens, lynx_token first)
{
    lynx_status status = LYNX_OK;
    v->draft[0] = first;
    for (uint32_t i = 0; i < EVAL_DRAFT && status == LYNX_OK; i++) {
        status = v->engine->ops->step(v->engine, v->draft[i]);
        if (status == LYNX_OK)
            v->draft[i + 1] =
                eval_largest(v->engine->ops->logits(v->engine, 0), v->model->vocabulary);
    }
    return status == LYNX_OK ? v->engine->ops->rewind(v->engine, prompt_tokens) : status;
}

static lynx_status make_reference(evaluation *v, const excerpt *x)
{
    lynx_status status = v->engine->ops->prefill(v->engine, x->tokens, x->count, NULL, NULL);
    if (status == LYNX_OK)
        status = make_draft(v, x->count,
                            eval_largest(v->engine->ops->logits(v->engine, 0),
                                         v->model->vocabulary));
    if (status == LYNX_OK)
        status = eval_cache_save(&v->cache, x->count);
    eval_attention_begin(&v->attention, true);
    if (status == LYNX_OK)
        status = follow(v, x->count, x->tokens + x->count, v->positions, keep_logits, NULL);
    return status == LYNX_OK && v->attention.is_lost ? LYNX_ERR_MEMORY : status;
}

typedef struct comparison {
    eval_sample sample;
    const lynx_token *text; /* that follows the prompt */
    bool is_prefix;         /* of the draft, so far */
} comparison;

static void compare_logits(evaluation *v, uint32_t position, const float *logits, void *user)
{
    const uint32_t vocabulary = v->model->vocabulary;
    const float *reference = v->reference + (size_t)position * vocabulary;
    const double reference_sum = v->reference_sum[position];
    const double sum = eval_log_sum(logits, vocabulary);
    comparison *c = user;
    const lynx_token next = c->text[position + 1];
    c->sample.kl += eval_divergence(reference, reference_sum, logits, sum, vocabulary);
    c->sample.loss += sum - (double)logits[next];
    c->sample.loss_f16 += reference_sum - (double)reference[next];
    c->sample.top1 += eval_largest(logits, vocabulary) == eval_largest(reference, vocabulary);
    c->sample.positions++;
}

static void compare_draft(evaluation *v, uint32_t position, const float *logits, void *user)
{
    comparison *c = user;
    c->is_prefix =
        c->is_prefix && eval_largest(logits, v->model->vocabulary) == v->draft[position + 1];
    c->sample.accepted += c->is_prefix;
}

static lynx_status evaluate_method(evaluation *v, const excerpt *x, const eval_method *m,
                                   eval_sample *sample)
{
    eval_damage damage = {0};
    comparison c = {.sample = {.text = x->text, .prompt = x->prompt, .digest = x->digest},
                    .text = x->tokens + x->count,
                    .is_prefix = true};
    lynx_status status = eval_cache_load(&v->cache, m, &damage);
    eval_attention_begin(&v->attention, false);
    if (status == LYNX_OK)
        status = follow(v, x->count, c.text, v->positions, compare_logits, &c);
    c.sample.vnmse_attention = eval_attention_vnmse(&v->attention);
    if (status == LYNX_OK)
        status = follow(v, x->count, v->draft, EVAL_DRAFT, compare_draft, &c);
    c.sample.bits = damage.bits;
    c.sample.vnmse_k = damage.vnmse[LYNX_SIDE_KEYS];
    c.sample.vnmse_v = damage.vnmse[LYNX_SIDE_VALUES];
    *sample = c.sample;
    return status;
}

static int fail(evaluation *v, lynx_status status)
{
    return cli_fail(command, status,
                    status == LYNX_ERR_ENGINE ? v->engine->ops->error_text(v->engine) : NULL);
}

/* Every method that the row of it has no sample of. */
static int evaluate_excerpt(evaluation *v, const excerpt *x)
{
    bool has_reference = false;
    for (uint32_t i = 0; i < v->row_count; i++) {
        eval_sample sample;
        if (eval_row_has(&v->rows[i], x->text, x->prompt, x->digest))
            continue;
        lynx_status status = has_reference ? LYNX_OK : make_reference(v, x);
        has_reference = true;
        if (status == LYNX_OK)
            status = evaluate_method(v, x, v->rows[i].method, &sample);
        if (status == LYNX_OK)
            status = eval_row_add(&v->rows[i], &sample);
        if (status != LYNX_OK)
            return fail(v, status);
        if (v->kept && !eval_resume_add(v->kept, v->texts[x->text], v->rows[i].method, &sample))
            return cli_error(command, "cannot write '%s'", v->resume);
        if (v->shared.is_verbose)
            cli_say(command, CLI_LEVEL_INFO, "%s, prompt %u, %s, %u planes: KL %.6f",
                    v->texts[x->text], x->prompt, v->rows[i].method->name,
                    v->rows[i].method->planes, sample.kl / sample.positions);
    }
    return CLI_OK;
}

/* ---- one text ------------------------------------------------------------------------ */

/* Whether the model begins every text with a token of its own. */
static lynx_status has_start_token(evaluation *v, bool *has)
{
    size_t counts[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        const lynx_status status =
            v->engine->ops->tokenize(v->engine, "a", 1, i == 1, true, NULL, 0, &counts[i]);
        if (status != LYNX_OK && status != LYNX_ERR_LIMIT)
            return status;
    }
    *has = counts[1] > counts[0];
    return LYNX_OK;
}

/* FNV-1a, in 63 bits: a number of JSON has a sign. */
static uint64_t digest_of(const lynx_token *tokens, uint32_t count)
{
    uint64_t digest = 14695981039346656037u;
    for (uint32_t i = 0; i < count; i++)
        digest = (digest ^ (uint32_t)tokens[i]) * 1099511628211u;
    return digest >> 1;
}

/* Prompts of equal length, evenly spaced, each with the start token before it. */
static int evaluate_tokens(evaluation *v, uint32_t text, const lynx_token *tokens,
                           uint32_t count, bool has_start)
{
    const uint32_t behind = v->positions + 1;
    const uint32_t room = count - behind;
    const uint32_t length = room < v->lengths[0] ? room : v->lengths[0];
    const uint32_t last = room - length; /* where the last prompt begins */
    lynx_token *part = malloc((size_t)(length + behind) * sizeof(*part));
    int code = part ? CLI_OK : cli_fail(command, LYNX_ERR_MEMORY, NULL);
    const uint32_t prompts = last ? v->prompts : 1;
    for (uint32_t i = 0; i < prompts && code == CLI_OK; i++) {
        const uint32_t begin = prompts > 1 ? (uint32_t)((uint64_t)last * i / (prompts - 1)) : 0;
        memcpy(part, tokens + begin, (size_t)(length + behind) * sizeof(*part));
        if (has_start)
            part[0] = tokens[0];
        code = evaluate_excerpt(v, &(excerpt){text, i, part, length,
                                              digest_of(part, length + behind)});
    }
    free(part);
    return code;
}

static int check_text(const evaluation *v, const char *path, uint32_t count)
{
    const uint32_t behind = v->positions > EVAL_DRAFT ? v->positions : EVAL_DRAFT;
    if (count < v->positions + 2)
        return cli_usage(command,
                         "the text '%s' has %u tokens, too few for a prompt and %u behind it; "
                         "name a longer text or smaller --positions",
                         path, count, v->positions + 1);
    const uint32_t room = count - v->positions - 1;
    const uint32_t tokens = room < v->lengths[0] ? room : v->lengths[0];
    if (tokens + behind > v->model->context_tokens)
        return cli_usage(command,
                         "%u tokens of '%s' and %u behind them do not fit the context of %u; "
                         "use a larger --ctx-size or smaller --tokens",
                         tokens, path, behind, v->model->context_tokens);
    return CLI_OK;
}

static int evaluate_file(evaluation *v, uint32_t text)
{
    const char *path = v->texts[text];
    size_t size;
    lynx_token *tokens = NULL;
    uint32_t count = 0;
    bool has_start = false;
    char *bytes = cli_read_file(command, path, &size);
    if (!bytes)
        return CLI_FAILED;
    if (size == 0) {
        free(bytes);
        return cli_usage(command, "the text '%s' is empty", path);
    }
    lynx_status status = has_start_token(v, &has_start);
    if (status == LYNX_OK)
        status = cli_tokenize(v->engine, bytes, size, true, &tokens, &count);
    free(bytes);
    int code = status == LYNX_OK ? check_text(v, path, count) : fail(v, status);
    if (code == CLI_OK)
        code = evaluate_tokens(v, text, tokens, count, has_start);
    free(tokens);
    return code;
}

/* ---- all texts ----------------------------------------------------------------------- */

static eval_setting setting_of(const evaluation *v)
{
    eval_setting s = {.tokens = v->lengths[0],
                      .positions = v->positions,
                      .prompts = v->prompts};
    for (size_t i = 0; i < sizeof(v->model->fingerprint.weights); i++)
        snprintf(s.weights + 2 * i, 3, "%02x", v->model->fingerprint.weights[i]);
    return s;
}

static lynx_status open_texts(evaluation *v)
{
    v->reference = malloc((size_t)v->positions * v->model->vocabulary * sizeof(float));
    v->reference_sum = malloc(v->positions * sizeof(double));
    if (!v->reference || !v->reference_sum)
        return LYNX_ERR_MEMORY;
    lynx_status status = eval_cache_open(&v->cache, v->engine);
    if (status == LYNX_OK)
        status = eval_attention_open(&v->attention, v->model->shape.layer_count, v->positions);
    if (status == LYNX_OK)
        status = lynx_llama_watch_attention(v->engine, eval_attention_watch, &v->attention);
    return status;
}

static int evaluate_texts(evaluation *v)
{
    const lynx_status status = open_texts(v);
    int code = status == LYNX_OK ? CLI_OK : fail(v, status);
    v->row_count = v->row_count < EVAL_METHODS_MAX ? v->row_count : EVAL_METHODS_MAX;
    for (uint32_t i = 0; i < v->row_count; i++)
        v->rows[i].method = &v->methods[i];
    if (code == CLI_OK && v->resume) {
        const eval_setting setting = setting_of(v);
        code = eval_resume_open(command, v->resume, &setting, v->texts, v->text_count, v->rows,
                                v->row_count, &v->kept);
    }
    for (uint32_t i = 0; i < v->text_count && code == CLI_OK; i++)
        code = evaluate_file(v, i);
    if (code == CLI_OK)
        eval_put_rows(v->rows, v->row_count, v->text_count, v->form);
    if (code == CLI_OK && v->plot &&
        !eval_plot(command, v->plot, v->rows, v->row_count, v->text_count))
        code = CLI_FAILED;
    if (v->kept)
        fclose(v->kept);
    for (uint32_t i = 0; i < v->row_count; i++)
        free(v->rows[i].samples);
    eval_attention_close(&v->attention);
    eval_cache_close(&v->cache);
    free(v->reference);
    free(v->reference_sum);
    return code;
}

/* ---- the command --------------------------------------------------------------------- */

static bool take_lengths(evaluation *v, const char *text)
{
    char *copy = strdup(text);
    char *rest = copy;
    bool is_good = copy != NULL;
    v->length_count = 0;
    for (char *one; is_good && (one = strsep(&rest, ",")) != NULL;)
        is_good = v->length_count < EVAL_LENGTHS_MAX &&
                  cli_parse_u32(one, 1, LYNX_PROMPT_TOKENS_MAX, &v->lengths[v->length_count++]);
    free(copy);
    return is_good;
}

static bool take_own(evaluation *v, int option, const char *value)
{
    switch (option) {
    case OPT_JSON:
        v->form = EVAL_JSON;
        return true;
    case OPT_CSV:
        v->form = EVAL_CSV;
        return true;
    case OPT_CODEC:
        v->codecs = value;
        return true;
    case OPT_RESUME:
        v->resume = value;
        return true;
    case OPT_PLOT:
        v->plot = value;
        return true;
    case OPT_TOKENS:
        return take_lengths(v, value);
    case OPT_POSITIONS:
        return cli_parse_u32(value, 1, POSITIONS_MAX, &v->positions);
    case OPT_PROMPTS:
        return cli_parse_u32(value, 1, 1000, &v->prompts);
    case OPT_PLANES:
        return cli_parse_u32(value, 1, LYNX_PLANES_MAX, &v->planes);
    case OPT_ITEMS:
        return cli_parse_u32(value, 1, 10000, &v->items);
    case OPT_TASK:
        return eval_task_named(value, &v->task);
    default:
        return false;
    }
}

static int take_methods(evaluation *v)
{
    char bad[EVAL_NAME_SIZE];
    const lynx_status status =
        eval_methods_parse(v->codecs, v->planes, v->methods, &v->row_count, bad);
    if (status == LYNX_ERR_LIMIT)
        return cli_usage(command, "more than %d codecs and planes; name fewer",
                         EVAL_METHODS_MAX);
    return status == LYNX_OK ? CLI_OK : cli_usage(command, CLI_NO_CODEC, bad);
}

static int check_usage(evaluation *v, int argc, char **argv)
{
    static const uint32_t defaults[] = {500, 1000, 2000};
    const bool is_task = v->task != EVAL_TASKS;
    v->texts = argv + optind;
    v->text_count = (uint32_t)(argc - optind);
    if (!is_task && v->text_count == 0)
        return cli_usage(command, "no text; name one or more files, or a --task");
    if (is_task && v->text_count)
        return cli_usage(command, "a task takes no text such as '%s'", v->texts[0]);
    if (is_task && (v->resume || v->plot))
        return cli_usage(command, "--resume and --plot are for texts, not for a task");
    if (!is_task && v->length_count > 1)
        return cli_usage(command, "several --tokens are for a task; give one number");
    if (v->length_count == 0) {
        v->length_count = is_task ? 3 : 1;
        memcpy(v->lengths, is_task ? defaults : defaults + 1,
               v->length_count * sizeof(*defaults));
    }
    return take_methods(v);
}

static int evaluate(evaluation *v)
{
    int code = cli_load_engine(&v->shared, &v->engine);
    if (code != CLI_OK)
        return code;
    v->model = v->engine->ops->model(v->engine);
    const lynx_status status = eval_methods_open(v->methods, v->row_count, v->model);
    if (status != LYNX_OK)
        code = fail(v, status);
    else if (v->task != EVAL_TASKS)
        code = eval_run_task(command, v->engine, v->task, v->lengths, v->length_count, v->items,
                             v->methods, v->row_count, v->form);
    else
        code = evaluate_texts(v);
    eval_methods_close(v->methods, v->row_count);
    lynx_engine_destroy(v->engine);
    return code;
}

int lx_command_eval(int argc, char **argv)
{
    static const struct option options[] = {
        CLI_ENGINE_OPTIONS,
        {"json", no_argument, NULL, OPT_JSON},
        {"csv", no_argument, NULL, OPT_CSV},
        {"codec", required_argument, NULL, OPT_CODEC},
        {"tokens", required_argument, NULL, OPT_TOKENS},
        {"positions", required_argument, NULL, OPT_POSITIONS},
        {"planes", required_argument, NULL, OPT_PLANES},
        {"prompts", required_argument, NULL, OPT_PROMPTS},
        {"resume", required_argument, NULL, OPT_RESUME},
        {"plot", required_argument, NULL, OPT_PLOT},
        {"task", required_argument, NULL, OPT_TASK},
        {"items", required_argument, NULL, OPT_ITEMS},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    static evaluation v = {.positions = 124,
                           .prompts = 1,
                           .items = 20,
                           .planes = LYNX_PLANES_MAX,
                           .task = EVAL_TASKS};
    cli_options_init(&v.shared, command);
    int option;
    while ((option = getopt_long(argc, argv, ":m:c:t:h", options, NULL)) != -1) {
        if (option == '?' || option == ':')
            return cli_bad_option(command, option, argv);
        const int taken = cli_take_option(&v.shared, option, optarg);
        if (taken == CLI_USAGE)
            return taken;
        if (option == 'h') {
            printf("%s%s%s", help, cli_engine_help, help_end);
            return CLI_OK;
        }
        if (taken != CLI_OK && !take_own(&v, option, optarg))
            return cli_usage(command, "'%s' is not what the option takes", optarg);
    }
    const int code = check_usage(&v, argc, argv);
    return code == CLI_OK ? evaluate(&v) : code;
}
