/* SPDX-License-Identifier: MIT */
/*
 * eval.c - what a codec costs: KL, top-1 and accepted drafts against the untouched cache.
 *
 * For each text: prefill, decode a reference continuation greedily on the cache as it is, keep
 * its logits. Then for each codec and number of planes: put the reconstruction in the cache's
 * place, run the continuation in one pass, compare the logits, restore the cache.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"

enum { CONTINUATION = 48, TEXTS_MAX = 64, SPECS_MAX = 32 };
enum { OPT_JSON = CLI_OPT_OWN, OPT_CODEC, OPT_TOKENS };

static const char command[] = "lynx eval";

static const char help[] =
    "Usage: lynx eval -m model.gguf [options] TEXT-FILE...\n"
    "\n"
    "Compare codecs with the cache as it is, over 48 greedy tokens behind each text: mean KL\n"
    "divergence, top-1 agreement, length of the correct draft prefix, bits a value on the "
    "wire.\n"
    "\n"
    "      --codec NAME[,NAME...]  (all that 'lynx run --help' lists)\n"
    "      --tokens N              prompt tokens taken of each text (1000)\n"
    "      --json                  rows: codec, planes, bits_per_value, kl, top1, "
    "accepted_mean,\n"
    "                              positions\n"
    "\n";

static const char help_end[] = "\n"
                               "Exit codes: 0 measured, 1 engine or file, 2 usage or text.\n"
                               "\n"
                               "Example:\n"
                               "  lynx eval -m model.gguf --codec range,paper,int4 *.txt\n";

typedef struct row {
    char codec[24];
    uint32_t planes;
    double bits, kl;
    uint64_t top1, positions, accepted, texts;
} row;

typedef struct evaluation {
    cli_options shared;
    lynx_engine *engine;
    const lynx_model *model;
    const char *codecs;
    uint32_t prompt_tokens;
    bool is_json;
    row rows[SPECS_MAX];
    uint32_t row_count;

    lynx_token history[CONTINUATION + 1]; /* reference: first token and continuation */
    float *reference;                     /* [CONTINUATION][vocabulary] */
    uint8_t *saved;                       /* the cache as it is, page by page */
    size_t saved_bytes;
} evaluation;

/* Call 'visit' for every needed page of the prompt; stops at the first failure. */
typedef lynx_status visit_page(evaluation *v, lynx_codec *codec, lynx_page_id id,
                               uint32_t tokens, size_t *at, void *user);

static lynx_status each_page(evaluation *v, lynx_codec *codec, uint32_t tokens,
                             visit_page *visit, void *user)
{
    const lynx_shape *shape = &v->model->shape;
    size_t at = 0;
    for (uint32_t page = 0; page < lynx_shape_page_count(shape, tokens); page++)
        for (uint32_t layer = 0; layer < shape->layer_count; layer++)
            for (uint32_t side = 0; side < 2; side++) {
                const lynx_page_id id = {page, (uint16_t)layer, (uint8_t)side};
                if (!lynx_page_is_needed(shape, id, tokens))
                    continue;
                const lynx_status status = visit(v, codec, id, tokens, &at, user);
                if (status != LYNX_OK)
                    return status;
            }
    return LYNX_OK;
}

static const lynx_side_shape *side_of(const evaluation *v, lynx_page_id id)
{
    return &v->model->shape.layers[id.layer].sides[id.side];
}

/* Raw copy of a page to or from 'saved'. */
static lynx_status copy_page(evaluation *v, lynx_codec *raw, lynx_page_id id, uint32_t tokens,
                             size_t *at, void *user)
{
    const bool is_save = *(const bool *)user;
    const lynx_page_span span = lynx_page_span_of(&v->model->shape, id, tokens);
    const size_t size = lynx_codec_plane_bytes_max(raw, side_of(v, id), (lynx_side)id.side, 0,
                                                   span.token_count);
    uint8_t *planes[1] = {v->saved + *at};
    size_t bytes[1];
    bool is_raw;
    lynx_tile tile;
    *at += size;
    if (*at > v->saved_bytes)
        return LYNX_ERR_LIMIT;
    lynx_status status = v->engine->ops->map_page(v->engine, id, tokens, !is_save, &tile);
    if (status != LYNX_OK)
        return status;
    const lynx_bytes view = {planes[0], size};
    status = is_save ? lynx_codec_encode(raw, side_of(v, id), (lynx_side)id.side, &span, &tile,
                                         planes, bytes, &is_raw)
                     : lynx_codec_decode(raw, side_of(v, id), (lynx_side)id.side, &span, &view,
                                         1, &tile);
    const lynx_status unmapped = v->engine->ops->unmap_page(v->engine);
    return status == LYNX_OK ? unmapped : status;
}

typedef struct pass {
    uint32_t planes;
    uint64_t bytes, values;
    uint8_t *room[LYNX_PLANES_MAX];
} pass;

/* Replace a page by its reconstruction from the first planes. */
static lynx_status code_page(evaluation *v, lynx_codec *codec, lynx_page_id id, uint32_t tokens,
                             size_t *at, void *user)
{
    pass *p = user;
    const lynx_page_span span = lynx_page_span_of(&v->model->shape, id, tokens);
    size_t sizes[LYNX_PLANES_MAX];
    lynx_bytes views[LYNX_PLANES_MAX];
    bool is_raw;
    lynx_tile tile;
    (void)at;
    lynx_status status = v->engine->ops->map_page(v->engine, id, tokens, false, &tile);
    if (status == LYNX_OK)
        status = lynx_codec_encode(codec, side_of(v, id), (lynx_side)id.side, &span, &tile,
                                   p->room, sizes, &is_raw);
    if (status == LYNX_OK)
        status = v->engine->ops->unmap_page(v->engine);
    if (status == LYNX_OK)
        status = v->engine->ops->map_page(v->engine, id, tokens, true, &tile);
    if (status != LYNX_OK)
        return status;
    for (uint32_t i = 0; i < p->planes; i++) {
        views[i] = (lynx_bytes){p->room[i], sizes[i]};
        p->bytes += sizes[i];
    }
    p->values += (uint64_t)span.token_count * side_of(v, id)->channels;
    status = lynx_codec_decode(codec, side_of(v, id), (lynx_side)id.side, &span, views,
                               p->planes, &tile);
    const lynx_status unmapped = v->engine->ops->unmap_page(v->engine);
    return status == LYNX_OK ? unmapped : status;
}

static lynx_status make_codec(const evaluation *v, const char *name, lynx_codec **codec,
                              uint32_t *planes)
{
    lynx_codec_options options;
    lynx_codec_options_init(&options);
    const lynx_status status = lynx_codec_spec_named(&options.spec, name);
    if (status != LYNX_OK)
        return status;
    *planes = lynx_codec_spec_plane_count(&options.spec);
    options.page_tokens = v->model->shape.page_tokens;
    options.channels_max = LYNX_CHANNELS_MAX / 16;
    options.element = v->model->shape.element;
    return lynx_codec_create(codec, &options);
}

/* KL(reference || logits) in nats. */
static double divergence(const float *reference, const float *logits, uint32_t count)
{
    double top[2] = {-INFINITY, -INFINITY};
    double sum[2] = {0, 0};
    for (uint32_t i = 0; i < count; i++) {
        top[0] = (double)reference[i] > top[0] ? (double)reference[i] : top[0];
        top[1] = (double)logits[i] > top[1] ? (double)logits[i] : top[1];
    }
    for (uint32_t i = 0; i < count; i++) {
        sum[0] += exp((double)reference[i] - top[0]);
        sum[1] += exp((double)logits[i] - top[1]);
    }
    const double shift = top[1] + log(sum[1]) - top[0] - log(sum[0]);
    double kl = 0;
    for (uint32_t i = 0; i < count; i++) {
        const double p = exp((double)reference[i] - top[0]) / sum[0];
        kl += p * ((double)reference[i] - (double)logits[i] + shift);
    }
    return kl;
}

static lynx_token largest(const float *logits, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return (lynx_token)best;
}

/* The continuation on what the cache holds now, added to 'r'. */
static lynx_status compare(evaluation *v, uint32_t tokens, row *r)
{
    const uint32_t vocabulary = v->model->vocabulary;
    lynx_status status = v->engine->ops->rewind(v->engine, tokens);
    if (status == LYNX_OK)
        status = v->engine->ops->batch(v->engine, v->history, CONTINUATION);
    if (status != LYNX_OK)
        return status;
    bool is_prefix = true;
    for (uint32_t i = 0; i < CONTINUATION; i++) {
        const float *logits = v->engine->ops->logits(v->engine, i);
        r->kl += divergence(v->reference + (size_t)i * vocabulary, logits, vocabulary);
        const bool is_same = largest(logits, vocabulary) == v->history[i + 1];
        r->top1 += is_same;
        is_prefix = is_prefix && is_same;
        r->accepted += is_prefix;
        r->positions++;
    }
    r->texts++;
    return v->engine->ops->rewind(v->engine, tokens);
}

static lynx_status make_reference(evaluation *v, const lynx_token *prompt, uint32_t tokens)
{
    const uint32_t vocabulary = v->model->vocabulary;
    lynx_status status = v->engine->ops->prefill(v->engine, prompt, tokens, NULL, NULL);
    if (status != LYNX_OK)
        return status;
    v->history[0] = largest(v->engine->ops->logits(v->engine, 0), vocabulary);
    for (uint32_t i = 0; i < CONTINUATION; i++) {
        status = v->engine->ops->step(v->engine, v->history[i]);
        if (status != LYNX_OK)
            return status;
        const float *logits = v->engine->ops->logits(v->engine, 0);
        memcpy(v->reference + (size_t)i * vocabulary, logits, vocabulary * sizeof(float));
        v->history[i + 1] = largest(logits, vocabulary);
    }
    return v->engine->ops->rewind(v->engine, tokens);
}

static row *row_of(evaluation *v, const char *codec, uint32_t planes)
{
    for (uint32_t i = 0; i < v->row_count; i++)
        if (strcmp(v->rows[i].codec, codec) == 0 && v->rows[i].planes == planes)
            return &v->rows[i];
    if (v->row_count == SPECS_MAX)
        return NULL;
    row *r = &v->rows[v->row_count++];
    snprintf(r->codec, sizeof(r->codec), "%s", codec);
    r->planes = planes;
    return r;
}

static lynx_status evaluate_codec(evaluation *v, const char *name, lynx_codec *raw,
                                  uint32_t tokens)
{
    bool is_save = false;
    uint32_t planes = 0;
    lynx_codec *codec = NULL;
    pass p = {0};
    lynx_status status = make_codec(v, name, &codec, &planes);
    for (uint32_t i = 0; i < LYNX_PLANES_MAX && status == LYNX_OK; i++) {
        p.room[i] = malloc((size_t)LYNX_CHANNELS_MAX / 16 * 256 * 4 + 64);
        status = p.room[i] ? LYNX_OK : LYNX_ERR_MEMORY;
    }
    for (p.planes = 1; p.planes <= planes && status == LYNX_OK; p.planes += planes - 1) {
        row *r = row_of(v, name, p.planes);
        p.bytes = 0;
        p.values = 0;
        status = r ? each_page(v, codec, tokens, code_page, &p) : LYNX_ERR_LIMIT;
        if (status == LYNX_OK)
            status = v->engine->ops->commit_pages(v->engine);
        if (status == LYNX_OK)
            status = compare(v, tokens, r);
        if (status == LYNX_OK) {
            r->bits += (double)p.bytes * 8 / (double)p.values;
            status = each_page(v, raw, tokens, copy_page, &is_save);
        }
        if (planes == 1)
            break;
    }
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        free(p.room[i]);
    lynx_codec_destroy(codec);
    return status;
}

static lynx_status evaluate_text(evaluation *v, const lynx_token *prompt, uint32_t tokens)
{
    bool is_save = true;
    uint32_t planes;
    lynx_codec *raw = NULL;
    lynx_status status = make_reference(v, prompt, tokens);
    if (status == LYNX_OK)
        status = make_codec(v, "raw", &raw, &planes);
    v->saved_bytes = (size_t)lynx_shape_cache_bytes(&v->model->shape, tokens) + (1 << 20);
    v->saved = malloc(v->saved_bytes);
    if (status == LYNX_OK)
        status = v->saved ? each_page(v, raw, tokens, copy_page, &is_save) : LYNX_ERR_MEMORY;
    if (!v->codecs) {
        for (size_t i = 0; lynx_codec_spec_name_at(i) && status == LYNX_OK; i++)
            status = evaluate_codec(v, lynx_codec_spec_name_at(i), raw, tokens);
    } else {
        char *names = strdup(v->codecs);
        char *rest = names;
        for (char *name; names && status == LYNX_OK && (name = strsep(&rest, ",")) != NULL;)
            status = evaluate_codec(v, name, raw, tokens);
        free(names);
    }
    free(v->saved);
    lynx_codec_destroy(raw);
    return status;
}

static int check_text(const evaluation *v, const char *path, size_t size, uint32_t tokens)
{
    if (size == 0 || tokens == 0)
        return cli_usage(command, "the text '%s' is empty", path);
    if (tokens + CONTINUATION > v->model->context_tokens)
        return cli_usage(command,
                         "%u tokens of '%s' and %d behind them do not fit the context of %u; "
                         "use a larger --ctx-size or smaller --tokens",
                         tokens, path, CONTINUATION, v->model->context_tokens);
    return CLI_OK;
}

/* Names separated by commas: CLI_OK when there is a codec for each. */
static int check_codecs(const char *names)
{
    char *copy = strdup(names);
    char *rest = copy;
    int code = copy ? CLI_OK : cli_fail(command, LYNX_ERR_MEMORY, NULL);
    for (char *name; code == CLI_OK && (name = strsep(&rest, ",")) != NULL;) {
        lynx_codec_spec spec;
        if (lynx_codec_spec_named(&spec, name) != LYNX_OK)
            code = cli_usage(command, "there is no codec '%s'", name);
    }
    free(copy);
    return code;
}

static int evaluate_file(evaluation *v, const char *path)
{
    size_t size;
    lynx_token *tokens = NULL;
    uint32_t count = 0;
    char *text = cli_read_file(command, path, &size);
    if (!text)
        return CLI_FAILED;
    lynx_status status = cli_tokenize(v->engine, text, size, true, &tokens, &count);
    free(text);
    count = count < v->prompt_tokens ? count : v->prompt_tokens;
    const int code = status == LYNX_OK ? check_text(v, path, size, count) : CLI_OK;
    if (code != CLI_OK) {
        free(tokens);
        return code;
    }
    if (status == LYNX_OK)
        status = evaluate_text(v, tokens, count);
    free(tokens);
    return status == LYNX_OK
               ? CLI_OK
               : cli_fail(command, status,
                          status == LYNX_ERR_ENGINE ? v->engine->ops->error_text(v->engine)
                                                    : NULL);
}

static void put_rows(const evaluation *v)
{
    json_t *rows = json_array();
    if (!v->is_json)
        printf("%-12s %6s %6s %9s %6s %9s %10s\n", "codec", "planes", "bits", "KL", "top-1",
               "accepted", "positions");
    for (uint32_t i = 0; i < v->row_count; i++) {
        const row *r = &v->rows[i];
        const double positions = (double)r->positions;
        const double texts = (double)r->texts;
        if (v->is_json)
            json_array_append_new(rows,
                                  json_pack("{s:s,s:i,s:f,s:f,s:f,s:f,s:I}", "codec", r->codec,
                                            "planes", (int)r->planes, "bits_per_value",
                                            r->bits / texts, "kl", r->kl / positions, "top1",
                                            (double)r->top1 / positions, "accepted_mean",
                                            (double)r->accepted / texts, "positions",
                                            (json_int_t)r->positions));
        else
            printf("%-12s %6u %6.2f %9.5f %6.3f %9.1f %10llu\n", r->codec, r->planes,
                   r->bits / texts, r->kl / positions, (double)r->top1 / positions,
                   (double)r->accepted / texts, (unsigned long long)r->positions);
    }
    if (v->is_json) {
        json_dumpf(rows, stdout, JSON_INDENT(1));
        fputc('\n', stdout);
    }
    json_decref(rows);
}

int lx_command_eval(int argc, char **argv)
{
    static const struct option options[] = {
        CLI_ENGINE_OPTIONS,
        {"json", no_argument, NULL, OPT_JSON},
        {"codec", required_argument, NULL, OPT_CODEC},
        {"tokens", required_argument, NULL, OPT_TOKENS},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    evaluation v = {.prompt_tokens = 1000};
    cli_options_init(&v.shared, command);
    int option;
    while ((option = getopt_long(argc, argv, ":m:c:t:h", options, NULL)) != -1) {
        if (option == '?' || option == ':')
            return cli_bad_option(command, option, argv);
        const int taken = cli_take_option(&v.shared, option, optarg);
        if (taken == CLI_USAGE)
            return taken;
        if (taken == CLI_OK)
            continue;
        if (option == OPT_JSON) {
            v.is_json = true;
        } else if (option == OPT_CODEC) {
            v.codecs = optarg;
        } else if (option == OPT_TOKENS) {
            if (!cli_parse_u32(optarg, 1, LYNX_PROMPT_TOKENS_MAX, &v.prompt_tokens))
                return cli_usage(command, "'%s' is not a number of tokens", optarg);
        } else if (option == 'h') {
            printf("%s%s%s", help, cli_engine_help, help_end);
            return CLI_OK;
        } else {
            return cli_usage(command, "unknown option");
        }
    }
    if (optind == argc)
        return cli_usage(command, "no text; name one or more files");
    int code = v.codecs ? check_codecs(v.codecs) : CLI_OK;
    if (code == CLI_OK)
        code = cli_load_engine(&v.shared, &v.engine);
    if (code != CLI_OK)
        return code;
    v.model = v.engine->ops->model(v.engine);
    v.reference = malloc((size_t)CONTINUATION * v.model->vocabulary * sizeof(float));
    code = v.reference ? CLI_OK : cli_fail(command, LYNX_ERR_MEMORY, NULL);
    for (int i = optind; i < argc && code == CLI_OK; i++)
        code = evaluate_file(&v, argv[i]);
    if (code == CLI_OK)
        put_rows(&v);
    free(v.reference);
    lynx_engine_destroy(v.engine);
    return code;
}
