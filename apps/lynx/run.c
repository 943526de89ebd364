/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "answer_view.h"
#include "cli.h"
#include "cli_remotes.h"
#include "commands.h"
#include "record.h"
#include "run_cache.h"
#include "run_report.h"

enum {
    OPT_PREFILL = CLI_OPT_OWN,
    OPT_PLAIN,
    OPT_LOCAL,
    OPT_CODEC,
    OPT_DRAFT_MAX,
    OPT_JSON,
    OPT_RAW_PROMPT,
    OPT_SYSTEM,
    OPT_TEMPLATE,
    OPT_IGNORE_END,
    OPT_METHOD,
    OPT_STORED,
    OPT_TOKENS,
    OPT_DIGEST,
    OPT_CACHED_TOKENS,
    OPT_CACHE,
    OPT_STORE,
    OPT_KEY,
    OPT_STORE_CACHE,
    OPT_STORE_CACHE_SIZE,
    OPT_RECORD,
    OPT_ON_LOSS,
    OPT_ANCHOR_DEADLINE,
    OPT_DEADLINE,
    OPT_SKIP_VERIFY,
    OPT_FLIP
};

static const char command[] = "lynx run";

static const char help[] =
    "Usage: lynx run -m model.gguf (--prefill HOST:PORT | --cache NAME | --local | --plain)\n"
    "                [-p TEXT | -f FILE]\n"
    "       lynx run -m model.gguf --prefill HOST:PORT (--cache NAME | --store PLACE) ...\n"
    "\n"
    "Answer one prompt. The prompt is -p, or -f, or standard input; with both -f and -p the "
    "text\n"
    "of -p follows the file's.\n"
    "\n"
    "  -p, --prompt TEXT        the prompt\n"
    "  -f, --file FILE          its file ('-': standard input)\n"
    "  -n, --predict N          most tokens of the answer (64)\n"
    "      --prefill HOST:PORT  the prefill node; given several times: the next ones are tried "
    "when\n"
    "                           it cannot finish\n"
    "      --on-loss WHAT       when none can: recompute the prompt here, fail, or keep the "
    "anchor\n"
    "                           and go on unverified (recompute)\n"
    "      --anchor-deadline S  the anchor must be here after S seconds, else the node is "
    "lost\n"
    "      --deadline S         the same for the whole cache\n"
    "      --cache NAME         the prompt asks about a document whose cache is stored: its "
    "name "
    "in\n"
    "                           the store, or path or URL of a .lynx file ('lynx cache add'). "
    "It "
    "is\n"
    "                           read anchors first; with --plain it is computed anew, to "
    "compare.\n"
    "                           --json then has open_s, too: before the clock begins\n"
    "                           With --prefill, too, that node computes the prompt and sends "
    "only\n"
    "                           the pages behind those that are stored\n"
    "      --store PLACE        of the store: a folder, http(s)://HOST/PATH or "
    "s3://BUCKET/PREFIX\n"
    "                           (${XDG_CACHE_HOME:-~/.cache}/lynx/store). With --prefill and "
    "no\n"
    "                           --cache: the longest beginning of the prompt that is stored "
    "there\n"
    "                           in --codec is not sent\n"
    "      --key FILE           key file of an encrypted store\n" CLI_STORE_FRONT_HELP
    "      --local              no prefill node: prefill here, decode on the cache as it is\n"
    "      --plain              no prefill node: prefill here, pass the cache through the "
    "codec,\n"
    "                           decode plainly; the tokens that --prefill must give\n"
    "      --cached-tokens N    with --plain: only the first N tokens' cache goes through the "
    "codec, as\n"
    "                           if it had been stored; the tokens that --cache must give\n"
    "      --method NAME        lynx, carry, wait, anchor or tokens (lynx). Over a stored "
    "cache\n"
    "                           lynx drafts if the rest takes long enough to come\n"
    "      --codec NAME         range, range-3, range44, range-chunk, paper, int8, int4,\n"
    "                           int4-chunk, int8-token, int4-token or raw (range); with "
    "settings:\n"
    "                           range:k=4+4,v=5+3,tail=64 (docs/algorithm.md)\n"
    "      --draft-max N        most drafts (62)\n";

static const char help_rest[] =
    "      --stored             the prefill node finishes (or holds) the cache first; the "
    "clock\n"
    "                           starts when it sends\n"
    "      --raw-prompt         the prompt as it is, without the model's chat template\n"
    "      --tokens             the prompt is token ids, separated by blanks or commas\n"
    "      --system TEXT        system message of the chat\n"
    "      --chat-template NAME name of a template that llama.cpp knows\n"
    "      --ignore-end         go on behind the end of the text\n"
    "      --cache-digest       report a digest of the prompt's cache (the same as with "
    "--plain)\n"
    "      --record FILE        write what the prefill node sends to FILE, for 'lynx inspect'\n"
    "      --json               one JSON object on stdout: model, exactness, prompt_tokens,\n"
    "                           computed_tokens, held_tokens, cache_bytes,\n"
    "                           bytes_before_first_draft, bytes_total, prefill_s,\n"
    "                           anchor_s, complete_s, first_own_token_s, ttft_s, tt2t_s, "
    "tt16t_s,\n"
    "                           tt32t_s, tt64t_s, drafted, accepted, branches,\n"
    "                           branch_drafted, branch_accepted, reviews, withdrawn, steps,\n"
    "                           guessed,\n"
    "                           guessed_right, carried, carried_other, verify_ms, codec_ms,\n"
    "                           cache_digest,\n"
    "                           is_recomputed, is_verified, has_ended, tokens, text\n"
    "\n";

static const char help_end[] =
    "\n"
    "Exit codes: 0 answered, 1 engine or file, 2 usage or prompt, 3 connection, 4 other model "
    "or\n"
    "version, 5 corrupt data, 6 refused (not authenticated), 130 interrupted.\n"
    "\n"
    "Example:\n"
    "  lynx run -m model.gguf --prefill 127.0.0.1:7600 -f report.txt -p \"Sum this up.\"\n"
    "  lynx run -m model.gguf --cache report.txt -p \"What does it say about costs?\"\n"
    "  lynx run -m model.gguf --prefill 127.0.0.1:7600 --cache report.txt -p \"And risks?\"\n";

typedef struct run_command {
    cli_options shared;
    lynx_run_options run;
    const char *prompt, *file, *system, *template_name, *record;
    cli_remotes nodes;
    run_cache cache;
    bool is_json, is_raw_prompt, is_tokens, has_record_begun, has_record_failed;
    lynx_time_ns opened_at; /* began to look for the stored cache */
    uint64_t open_ns;       /* from then until the run began */
    answer_view view;
    lynx_engine *engine;
    lynx_token *tokens;
} run_command;

static const struct option long_options[] = {
    CLI_ENGINE_OPTIONS,
    CLI_SAMPLING_OPTIONS,
    CLI_LINK_OPTIONS,
    CLI_KEYS_OPTIONS,
    {"prompt", required_argument, NULL, 'p'},
    {"file", required_argument, NULL, 'f'},
    {"predict", required_argument, NULL, 'n'},
    {"prefill", required_argument, NULL, OPT_PREFILL},
    {"local", no_argument, NULL, OPT_LOCAL},
    {"plain", no_argument, NULL, OPT_PLAIN},
    {"method", required_argument, NULL, OPT_METHOD},
    {"codec", required_argument, NULL, OPT_CODEC},
    {"draft-max", required_argument, NULL, OPT_DRAFT_MAX},
    {"stored", no_argument, NULL, OPT_STORED},
    {"raw-prompt", no_argument, NULL, OPT_RAW_PROMPT},
    {"tokens", no_argument, NULL, OPT_TOKENS},
    {"system", required_argument, NULL, OPT_SYSTEM},
    {"chat-template", required_argument, NULL, OPT_TEMPLATE},
    {"ignore-end", no_argument, NULL, OPT_IGNORE_END},
    {"record", required_argument, NULL, OPT_RECORD},
    {"on-loss", required_argument, NULL, OPT_ON_LOSS},
    {"anchor-deadline", required_argument, NULL, OPT_ANCHOR_DEADLINE},
    {"deadline", required_argument, NULL, OPT_DEADLINE},
    {"cache", required_argument, NULL, OPT_CACHE},
    {"store", required_argument, NULL, OPT_STORE},
    {"key", required_argument, NULL, OPT_KEY},
    {"store-cache", required_argument, NULL, OPT_STORE_CACHE},
    {"store-cache-size", required_argument, NULL, OPT_STORE_CACHE_SIZE},
    {"cached-tokens", required_argument, NULL, OPT_CACHED_TOKENS},
    {"cache-digest", no_argument, NULL, OPT_DIGEST},
    {"skip-verify", no_argument, NULL, OPT_SKIP_VERIFY}, /* mutation check; not in --help */
    {"flip-residual-bit", no_argument, NULL, OPT_FLIP},  /* the same */
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int take_method(run_command *c, const char *name)
{
    static const struct {
        const char *name;
        lynx_method method;
    } methods[] = {{"lynx", LYNX_METHOD_SPECULATE},
                   {"carry", LYNX_METHOD_CARRY},
                   {"wait", LYNX_METHOD_WAIT},
                   {"anchor", LYNX_METHOD_ANCHOR},
                   {"tokens", LYNX_METHOD_TOKENS}};
    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++)
        if (strcmp(name, methods[i].name) == 0) {
            c->run.method = methods[i].method;
            return CLI_OK;
        }
    return cli_usage(command, "'%s' is not a method", name);
}

static int take_on_loss(run_command *c, const char *name)
{
    static const char *const names[] = {"recompute", "fail", "keep"};
    for (uint32_t i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            c->run.on_loss = (lynx_on_loss)i;
            return CLI_OK;
        }
    return cli_usage(command, "'%s' is not recompute, fail or keep", name);
}

static int take_deadline(const char *value, uint64_t *ns)
{
    double seconds;
    if (!cli_parse_double(value, 0.1, 86400, &seconds))
        return cli_usage(command, "'%s' is not a number of seconds from 0.1 on", value);
    *ns = (uint64_t)(seconds * 1e9);
    return CLI_OK;
}

/* CLI_OK: taken; else the exit code. */
static int take_cache(run_command *c, int option, const char *value)
{
    return cache_take_option(&c->cache.options, option, value) ? CLI_OK : CLI_USAGE;
}

static int take_own_option(run_command *c, int option, const char *value)
{
    switch (option) {
    case 'p':
        c->prompt = value;
        return CLI_OK;
    case 'f':
        c->file = value;
        return CLI_OK;
    case 'n':
        return cli_parse_u32(value, 1, LYNX_PROMPT_TOKENS_MAX, &c->run.answer_tokens_max)
                   ? CLI_OK
                   : cli_usage(command, "'%s' is not a number of tokens", value);
    case OPT_PREFILL:
        if (c->nodes.count == CLI_REMOTES_MAX)
            return cli_usage(command, "there are more than %d prefill nodes", CLI_REMOTES_MAX);
        c->nodes.addresses[c->nodes.count++] = value;
        return CLI_OK;
    case OPT_ON_LOSS:
        return take_on_loss(c, value);
    case OPT_ANCHOR_DEADLINE:
        return take_deadline(value, &c->run.anchor_deadline_ns);
    case OPT_DEADLINE:
        return take_deadline(value, &c->run.complete_deadline_ns);
    case OPT_LOCAL:
        c->run.method = LYNX_METHOD_LOCAL;
        return CLI_OK;
    case OPT_PLAIN:
        c->run.method = LYNX_METHOD_LOCAL_FULL;
        return CLI_OK;
    case OPT_METHOD:
        return take_method(c, value);
    case OPT_CODEC:
        return lynx_codec_spec_named(&c->run.spec, value) == LYNX_OK
                   ? CLI_OK
                   : cli_usage(command, CLI_NO_CODEC, value);
    case OPT_DRAFT_MAX:
        return cli_parse_u32(value, 0, 4096, &c->run.draft_count_max)
                   ? CLI_OK
                   : cli_usage(command, "'%s' is not a number of drafts", value);
    case OPT_CACHE:
        c->cache.name = value;
        return CLI_OK;
    case OPT_STORE:
        c->cache.has_store = true;
        return take_cache(c, CACHE_OPT_STORE, value);
    case OPT_KEY:
        return take_cache(c, CACHE_OPT_KEY, value);
    case OPT_STORE_CACHE:
        return take_cache(c, CACHE_OPT_FRONT, value);
    case OPT_STORE_CACHE_SIZE:
        return take_cache(c, CACHE_OPT_FRONT_SIZE, value);
    case OPT_CACHED_TOKENS:
        return cli_parse_u32(value, 1, LYNX_PROMPT_TOKENS_MAX, &c->run.cached_tokens)
                   ? CLI_OK
                   : cli_usage(command, "'%s' is not a number of tokens", value);
    case OPT_SYSTEM:
        c->system = value;
        return CLI_OK;
    case OPT_RECORD:
        c->record = value;
        return CLI_OK;
    case OPT_TEMPLATE:
        c->template_name = value;
        return CLI_OK;
    default:
        return cli_usage(command, "unknown option");
    }
}

static bool take_flag(run_command *c, int option)
{
    bool *const flag = option == OPT_JSON          ? &c->is_json
                       : option == OPT_RAW_PROMPT  ? &c->is_raw_prompt
                       : option == OPT_TOKENS      ? &c->is_tokens
                       : option == OPT_STORED      ? &c->run.is_stored
                       : option == OPT_IGNORE_END  ? &c->run.ignore_end
                       : option == OPT_DIGEST      ? &c->run.digest_cache
                       : option == OPT_SKIP_VERIFY ? &c->run.skip_verify
                       : option == OPT_FLIP        ? &c->run.flip_residual_bit
                                                   : NULL;
    if (flag)
        *flag = true;
    return flag != NULL;
}

/* Pages may come from a document, or from a store while a prefill node sends the others. */
static bool has_stored(const run_command *c)
{
    return c->cache.name || (c->cache.has_store && c->nodes.count);
}

/* What does not go with --cache, or --store and --prefill; -1: nothing. */
static int check_cache(const run_command *c)
{
    if (c->run.method == LYNX_METHOD_LOCAL || c->run.method == LYNX_METHOD_TOKENS ||
        c->run.method == LYNX_METHOD_CARRY)
        return cli_usage(command, "%s",
                         c->cache.name
                             ? "--cache goes with the methods lynx, wait and anchor, and with "
                               "--plain"
                             : "--store goes with the methods lynx, wait and anchor");
    if (c->cache.name && (c->system || c->is_tokens))
        return cli_usage(command, "--system and --tokens do not go with --cache: the prompt "
                                  "begins as it was stored");
    if (c->run.cached_tokens)
        return cli_usage(command, "--cached-tokens goes with --plain, without --cache");
    if (c->record && !c->nodes.count)
        return cli_usage(command, "--record needs a prefill node");
    if (c->run.method == LYNX_METHOD_LOCAL_FULL && c->nodes.count)
        return cli_usage(command, "--prefill does not go with --local or --plain");
    return -1;
}

/* -1: go on; else the exit code. */
static int parse(run_command *c, int argc, char **argv)
{
    int option;
    while ((option = getopt_long(argc, argv, ":m:c:t:p:f:n:h", long_options, NULL)) != -1) {
        if (option == 'h') {
            printf("%s%s%s\n%s\n%s\n%s%s", help, help_rest, cli_engine_help, cli_sampling_help,
                   cli_link_help, cli_keys_help, help_end);
            return CLI_OK;
        }
        if (option == '?' || option == ':')
            return cli_bad_option(command, option, argv);
        int taken = cli_take_option(&c->shared, option, optarg);
        if (taken == -1)
            taken = take_flag(c, option) ? CLI_OK : take_own_option(c, option, optarg);
        if (taken != CLI_OK)
            return taken;
    }
    if (optind < argc)
        return cli_usage(command, "unexpected argument '%s'", argv[optind]);
    const bool is_local =
        c->run.method == LYNX_METHOD_LOCAL || c->run.method == LYNX_METHOD_LOCAL_FULL;
    if (has_stored(c))
        return check_cache(c);
    if (!is_local && !c->nodes.count)
        return cli_usage(command, "no prefill node; pass --prefill HOST:PORT, --cache NAME or "
                                  "--local");
    if (c->run.cached_tokens && c->run.method != LYNX_METHOD_LOCAL_FULL)
        return cli_usage(command, "--cached-tokens goes with --plain");
    if (is_local && c->record)
        return cli_usage(command, "--record needs a prefill node");
    if (is_local && c->nodes.count)
        return cli_usage(command, "--prefill does not go with --local or --plain");
    return -1;
}

/* Between token ids; a prompt of nothing else is empty. */
static const char blanks[] = " \t\r\n,";

/* Token ids in decimal, separated by blanks or commas. */
static int parse_tokens(run_command *c, const char *text)
{
    const uint32_t vocabulary = c->engine->ops->model(c->engine)->vocabulary;
    c->tokens = malloc((strlen(text) / 2 + 1) * sizeof(*c->tokens));
    if (!c->tokens)
        return cli_fail(command, LYNX_ERR_MEMORY, NULL);
    uint32_t count = 0;
    for (const char *p = text + strspn(text, blanks); *p; p += strspn(p, blanks)) {
        char *end;
        const long token = strtol(p, &end, 10);
        if (end == p || token < 0 || token >= (long)vocabulary)
            return cli_usage(command, "'%.*s' is not a token id of this model (0 to %u)",
                             (int)strcspn(p, blanks), p, vocabulary - 1);
        c->tokens[count++] = (lynx_token)token;
        p = end;
    }
    c->run.prompt_tokens = count;
    return CLI_OK;
}

static int tokenize_chat(run_command *c, const char *text, size_t size)
{
    char *chat = NULL;
    lynx_status status = LYNX_OK;
    if (!c->is_raw_prompt) {
        status = cli_chat_prompt(c->engine, c->template_name, c->system, text, &chat, &size);
        if (status == LYNX_ERR_UNSUPPORTED)
            return cli_usage(command, "the chat template of this model is not known; name one "
                                      "with --chat-template, or pass --raw-prompt");
    }
    if (status == LYNX_OK)
        status = cli_tokenize(c->engine, chat ? chat : text, size, true, &c->tokens,
                              &c->run.prompt_tokens);
    free(chat);
    if (status != LYNX_OK)
        return cli_fail(command, status, c->engine->ops->error_text(c->engine));
    return CLI_OK;
}

static int make_prompt(run_command *c)
{
    size_t size = 0;
    char *text = NULL;
    if (c->file || !c->prompt)
        text = cli_read_file(command, c->file ? c->file : "-", &size);
    else
        text = strdup("");
    if (!text)
        return CLI_FAILED;
    if (c->prompt) {
        char *both = malloc(size + strlen(c->prompt) + 3);
        if (both)
            sprintf(both, "%s%s%s", text, size ? "\n\n" : "", c->prompt);
        free(text);
        text = both;
        if (!text)
            return cli_fail(command, LYNX_ERR_MEMORY, NULL);
    }
    /* A chat about blanks is none; the template would make tokens of it all the same. */
    const bool is_empty = !text[c->is_raw_prompt ? 0 : strspn(text, blanks)];
    int code = CLI_OK;
    if (!is_empty && c->cache.name)
        code = run_cache_prompt(&c->cache, c->engine, text, &c->tokens, &c->run.prompt_tokens);
    else if (!is_empty)
        code = c->is_tokens ? parse_tokens(c, text) : tokenize_chat(c, text, strlen(text));
    free(text);
    if (code == CLI_OK && c->run.prompt_tokens == 0)
        return cli_usage(command, "the prompt is empty; pass -p TEXT or -f FILE");
    c->run.prompt = c->tokens;
    return code;
}

static void on_moment(void *user, const lynx_moment *moment)
{
    run_command *c = user;
    if (!c->is_json)
        answer_view_moment(&c->view, moment);
    if (moment->type == LYNX_MOMENT_LOST)
        fprintf(stderr, "%s: %s\n", command, moment->text);
}

/* The recording is of the first connection. */
static lynx_status record_first(void *user, lynx_link **link, char *text)
{
    run_command *c = user;
    if (!c->record || c->has_record_begun)
        return LYNX_OK;
    const lynx_status status = record_link(link, c->record, &c->has_record_failed);
    c->has_record_begun = status == LYNX_OK;
    if (status == LYNX_ERR_SYSTEM)
        snprintf(text, LYNX_TEXT_MAX, "cannot write '%s': %s", c->record, strerror(errno));
    /* Trying again would not help. */
    return status == LYNX_ERR_SYSTEM ? LYNX_ERR_UNSUPPORTED : status;
}

static int answer(run_command *c, lynx_run_result *result)
{
    char text[LYNX_TEXT_MAX] = "";
    c->nodes.wrap = record_first;
    c->nodes.user = c;
    int code = cli_remotes_open(&c->nodes, &c->shared, c->engine);
    lynx_status status = LYNX_OK;
    if (code == CLI_OK) {
        answer_view_init(&c->view, stdout, c->engine);
        c->open_ns = lynx_clock_now() - c->opened_at;
        status = lynx_run(c->nodes.remotes, c->nodes.count, &c->run, result, text);
        if (!c->is_json)
            answer_view_end(&c->view);
    }
    cli_remotes_close(&c->nodes);
    if (code != CLI_OK)
        return code;
    if (c->has_record_failed)
        return cli_error(command, "cannot write '%s'; is the disk full?", c->record);
    if (status != LYNX_OK)
        return cli_fail(command, status, text);
    if (c->is_json) {
        json_t *report = run_report(c->engine, &c->run, result);
        if (c->cache.name)
            json_object_set_new(report, "open_s", json_real((double)c->open_ns / 1e9));
        json_object_set_new(report, "text", run_text(c->engine, result));
        json_dumpf(report, stdout, JSON_COMPACT);
        fputc('\n', stdout);
        json_decref(report);
    } else {
        run_summary(c->engine, &c->run, result);
    }
    return CLI_OK;
}

int lx_command_run(int argc, char **argv)
{
    run_command c = {0};
    cli_options_init(&c.shared, command);
    run_cache_init(&c.cache, command);
    lynx_run_options_init(&c.run);
    int code = parse(&c, argc, argv);
    if (code >= 0)
        return code;
    cli_catch_signals();
    code = CLI_OK;
    for (uint32_t i = 0; i < c.nodes.count && code == CLI_OK; i++)
        code = cli_secure(&c.shared, c.nodes.addresses[i]);
    if (code == CLI_OK)
        code = cli_load_engine(&c.shared, &c.engine);
    if (code != CLI_OK) {
        cli_secure_end(&c.shared);
        return code;
    }
    c.run.engine = c.engine;
    c.run.sampling = c.shared.sampling;
    c.run.guesses = c.shared.guesses;
    c.run.branch_count_max = c.shared.branches;
    c.run.stop = &cli_stop;
    c.run.on_moment = on_moment;
    c.run.user = &c;

    lynx_run_result result = {.capacity = c.run.answer_tokens_max};
    result.tokens = calloc(result.capacity, sizeof(*result.tokens));
    result.times = calloc(result.capacity, sizeof(*result.times));
    if (!result.tokens || !result.times)
        code = cli_fail(command, LYNX_ERR_MEMORY, NULL);
    c.cache.is_raw = c.is_raw_prompt;
    c.cache.template_name = c.template_name;
    c.opened_at = lynx_clock_now();
    if (code == CLI_OK && has_stored(&c))
        code = run_cache_open(&c.cache, c.engine);
    if (code == CLI_OK)
        code = make_prompt(&c);
    if (code == CLI_OK && has_stored(&c))
        code = run_cache_use(&c.cache, &c.run, c.nodes.count > 0);
    if (code == CLI_OK)
        code = answer(&c, &result);
    run_cache_close(&c.cache);
    free(result.tokens);
    free(result.times);
    free(c.tokens);
    lynx_engine_destroy(c.engine);
    cli_secure_end(&c.shared);
    return code;
}
