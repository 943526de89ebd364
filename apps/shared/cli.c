/* SPDX-License-Identifier: MIT */
#include "cli.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Bytes of a message; paths may be part of it. */
enum { TEXT_MAX = 8192 };

volatile sig_atomic_t cli_stop;

const char cli_engine_help[] =
    "Model and engine (names and meanings of llama.cpp):\n"
    "  -m, --model FILE         GGUF file (required)\n"
    "  -c, --ctx-size N         tokens of context; 0 = the model's own (4608)\n"
    "  -t, --threads N          threads of a step (all cores that it may use)\n"
    "      --threads-batch N    threads of the prefill (as --threads)\n"
    "      --gpu-layers N       layers on a GPU (0)\n"
    "      --cache-type TYPE    f16, bf16 or f32 (f16)\n"
    "      --flash-attn MODE    auto, on or off (auto: on with GPU layers)\n"
    "      --exact MODE         strict: steps and verification agree bit for bit; rounding:\n"
    "                           fastest steps, equal up to rounding (strict)\n"
    "      --guess HOW          yes: strict steps take a guess at the next token along, which\n"
    "                           saves a step when it is right; no: none. Tokens are the same "
    "(yes)\n"
    "      --branches N         0 to 7 second choices are drafted on while a cache is on its "
    "way;\n"
    "                           tokens are the same (3)\n"
    "      --draft-vocab N      drafts are made of the first N tokens of a large vocabulary\n"
    "                           and those of the prompt; 0: of all. Tokens are the same "
    "(32768)\n"
    "      --cache-access HOW   auto, tensors or blob (auto)\n"
    "      --verbose            lines of engine, probe and connections on stderr\n";

const char cli_sampling_help[] =
    "Sampling (0 temperature = greedy):\n"
    "      --temp X  --top-k N  --top-p X  --min-p X  --seed N\n"
    "      --repeat-penalty X  --frequency-penalty X  --presence-penalty X\n"
    "      --repeat-last-n N    tokens that the penalties see (64)\n";

const char cli_link_help[] =
    "Link:\n"
    "      --link-mbps X        hold what this end sends to X Mbit/s (emulated link)\n"
    "      --link-delay-ms X    add X ms of one-way delay to it\n"
    "      --timeout SECONDS    give up on a silent connection (10)\n"
    "      --patience SECONDS   give up on a prefill node that cannot be reached again (10)\n"
    "      --lanes N            connections to it, 1 to 8 (1)\n"
    "      --allow-other-weights  accept the same model in other weights (answers may "
    "differ)\n";

int cli_exit_code(lynx_status status)
{
    switch (status) {
    case LYNX_OK:
        return CLI_OK;
    case LYNX_ERR_ARGUMENT:
    case LYNX_ERR_LIMIT:
        return CLI_USAGE;
    case LYNX_ERR_CLOSED:
    case LYNX_ERR_TIMEOUT:
    case LYNX_ERR_SYSTEM:
        return CLI_CONNECTION;
    case LYNX_ERR_MODEL:
    case LYNX_ERR_VERSION:
        return CLI_MISMATCH;
    case LYNX_ERR_CORRUPT:
    case LYNX_ERR_PROTOCOL:
        return CLI_CORRUPT;
    case LYNX_ERR_DENIED:
        return CLI_DENIED;
    case LYNX_ERR_CANCELLED:
        return CLI_INTERRUPTED;
    case LYNX_MORE:
    case LYNX_BLOCKED:
    case LYNX_ERR_MEMORY:
    case LYNX_ERR_UNSUPPORTED:
    case LYNX_ERR_STATE:
    case LYNX_ERR_ENGINE:
        break;
    }
    return CLI_FAILED;
}

cli_outlet cli_out;

static void say(const char *command, cli_level level, const char *text)
{
    if (cli_out.say)
        cli_out.say(command, level, text);
    else
        fprintf(stderr, "%s: %s%s\n", command, level == CLI_LEVEL_WARNING ? "warning: " : "",
                text);
}

void cli_say(const char *command, cli_level level, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    say(command, level, text);
}

/* An error, with the place of the option that is wrong. */
static void complain(const char *command, const char *text, const char *advice)
{
    char line[2 * TEXT_MAX];
    const char *place = cli_out.place ? cli_out.place() : NULL;
    snprintf(line, sizeof(line), "%s%s%s", place ? place : "", text, advice);
    say(command, CLI_LEVEL_ERROR, line);
}

int cli_fail(const char *command, lynx_status status, const char *text)
{
    complain(command, text && text[0] ? text : lynx_status_text(status), "");
    return cli_exit_code(status);
}

int cli_usage(const char *command, const char *format, ...)
{
    char text[TEXT_MAX];
    char advice[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    snprintf(advice, sizeof(advice), "; see '%s --help'", command);
    complain(command, text, advice);
    return CLI_USAGE;
}

int cli_error(const char *command, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    complain(command, text, "");
    return CLI_FAILED;
}

int cli_bad_option(const char *command, int result, char **argv)
{
    const char *argument = argv[optind - 1];
    if (result == ':')
        return cli_usage(command, "option '%s' needs a value", argument);
    if (optopt == 0)
        return cli_usage(command, "unknown option '%s'", argument);
    if (optopt == 'h' || optopt >= CLI_OPT_FIRST)
        return cli_usage(command, "option '%s' takes no value", argument);
    return cli_usage(command, "unknown option '-%c'", optopt);
}

int cli_end(const char *program, int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    return cli_error(program, "cannot write to standard output: %s", strerror(errno));
}

static void on_signal(int number)
{
    (void)number;
    cli_stop = 1;
}

void cli_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
}

bool cli_has_color(FILE *stream)
{
    const char *no_color = getenv("NO_COLOR");
    return isatty(fileno(stream)) && (!no_color || !no_color[0]);
}

bool cli_parse_u32(const char *text, uint32_t least, uint32_t most, uint32_t *value)
{
    char *end;
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    if (errno || end == text || *end || strchr(text, '-') || number < least || number > most)
        return false;
    *value = (uint32_t)number;
    return true;
}

bool cli_parse_double(const char *text, double least, double most, double *value)
{
    char *end;
    errno = 0;
    const double number = strtod(text, &end);
    if (errno || end == text || *end || !(number >= least && number <= most))
        return false;
    *value = number;
    return true;
}

bool cli_parse_seconds(const char *text, double least, uint64_t *ns)
{
    double seconds;
    if (!cli_parse_double(text, least, 86400, &seconds))
        return false;
    *ns = (uint64_t)(seconds * 1e9);
    return true;
}

void cli_options_init(cli_options *options, const char *command)
{
    *options = (cli_options){.command = command,
                             .timeout_ns = 10000000000ull,
                             .patience_ns = 10000000000ull,
                             .lanes = 1,
                             .guesses = true,
                             .branches = 3};
    lynx_llama_options_init(&options->engine);
    lynx_sampling_init(&options->sampling);
    lynx_pacer_options_init(&options->pacer);
    lynx_tcp_options_init(&options->security.tcp);
}

/* Index of 'value' in a list of names, or -1. */
static int find_name(const char *value, const char *const names[], int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(value, names[i]) == 0)
            return i;
    return -1;
}

static bool take_number(const char *value, uint32_t least, uint32_t most, int32_t *target)
{
    uint32_t number;
    if (!cli_parse_u32(value, least, most, &number))
        return false;
    *target = (int32_t)number;
    return true;
}

static bool take_float(const char *value, double least, double most, float *target)
{
    double number;
    if (!cli_parse_double(value, least, most, &number))
        return false;
    *target = (float)number;
    return true;
}

static const char *const elements[] = {"f32", "f16", "bf16"};
static const char *const flash[] = {"auto", "on", "off"};
static const char *const access_names[] = {"auto", "tensors", "blob"};

/* 1: taken, 0: wrong value, -1: not an engine option. */
static int take_engine_option(cli_options *o, int option, const char *value)
{
    static const char *const exact[] = {"strict", "rounding"};
    static const char *const no_yes[] = {"no", "yes"};
    int index;
    switch (option) {
    case CLI_OPT_MODEL:
        o->engine.model_path = value;
        return 1;
    case CLI_OPT_CONTEXT:
        return cli_parse_u32(value, 0, LYNX_PROMPT_TOKENS_MAX, &o->engine.context_tokens);
    case CLI_OPT_THREADS:
        return take_number(value, 1, 1024, &o->engine.threads);
    case CLI_OPT_THREADS_BATCH:
        return take_number(value, 1, 1024, &o->engine.threads_batch);
    case CLI_OPT_GPU_LAYERS:
        return take_number(value, 0, 100000, &o->engine.gpu_layers);
    case CLI_OPT_CACHE_TYPE:
        index = find_name(value, elements, 3);
        o->engine.element = (lynx_element)index;
        return index >= 0;
    case CLI_OPT_FLASH:
        index = find_name(value, flash, 3);
        o->engine.flash_attention = (lynx_flash_attention)index;
        return index >= 0;
    case CLI_OPT_EXACT:
        index = find_name(value, exact, 2);
        o->engine.exact = (lynx_exact_mode)index;
        return index >= 0;
    case CLI_OPT_GUESS:
        index = find_name(value, no_yes, 2);
        o->guesses = index == 1;
        return index >= 0;
    case CLI_OPT_BRANCHES:
        return cli_parse_u32(value, 0, 7, &o->branches);
    case CLI_OPT_DRAFT_VOCABULARY:
        return cli_parse_u32(value, 0, INT32_MAX, &o->engine.draft_vocabulary);
    case CLI_OPT_CACHE_ACCESS:
        index = find_name(value, access_names, 3);
        o->engine.cache_access = (lynx_cache_access)index;
        return index >= 0;
    case CLI_OPT_VERBOSE:
        o->is_verbose = true;
        return 1;
    default:
        return -1;
    }
}

static void add_word(cli_engine_words *words, const char *name, const char *value)
{
    snprintf(words->texts[words->count++], sizeof(words->texts[0]), "--%s=%s", name, value);
}

static void add_number(cli_engine_words *words, const char *name, uint32_t number)
{
    char text[16];
    snprintf(text, sizeof(text), "%u", number);
    add_word(words, name, text);
}

void cli_add_engine_words(const cli_options *options, cli_engine_words *words,
                          char *arguments[])
{
    const lynx_llama_options *e = &options->engine;
    words->count = 0;
    add_number(words, "ctx-size", e->context_tokens);
    if (e->threads > 0)
        add_number(words, "threads", (uint32_t)e->threads);
    if (e->threads_batch > 0)
        add_number(words, "threads-batch", (uint32_t)e->threads_batch);
    add_number(words, "gpu-layers", (uint32_t)e->gpu_layers);
    add_word(words, "cache-type", elements[e->element]);
    add_word(words, "flash-attn", flash[e->flash_attention]);
    add_number(words, "draft-vocab", e->draft_vocabulary);
    add_word(words, "cache-access", access_names[e->cache_access]);
    add_word(words, "guess", options->guesses ? "yes" : "no");
    while (*arguments)
        arguments++;
    for (uint32_t i = 0; i < words->count; i++)
        arguments[i] = words->texts[i];
    arguments[words->count] = NULL;
}

static int take_sampling_option(cli_options *o, int option, const char *value)
{
    lynx_sampling *s = &o->sampling;
    switch (option) {
    case CLI_OPT_TEMPERATURE:
        return take_float(value, 0, 100, &s->temperature);
    case CLI_OPT_TOP_K:
        return take_number(value, 0, INT32_MAX, &s->top_k);
    case CLI_OPT_TOP_P:
        return take_float(value, 1e-6, 1, &s->top_p);
    case CLI_OPT_MIN_P:
        return take_float(value, 0, 0.999999, &s->min_p);
    case CLI_OPT_REPEAT:
        return take_float(value, 1e-6, 10, &s->repeat_penalty);
    case CLI_OPT_FREQUENCY:
        return take_float(value, -2, 2, &s->frequency_penalty);
    case CLI_OPT_PRESENCE:
        return take_float(value, -2, 2, &s->presence_penalty);
    case CLI_OPT_REPEAT_LAST:
        return take_number(value, 0, 4096, &s->penalty_tokens);
    case CLI_OPT_SEED:
        return cli_parse_u32(value, 0, UINT32_MAX, &s->seed);
    default:
        return -1;
    }
}

static int take_link_option(cli_options *o, int option, const char *value)
{
    double number;
    switch (option) {
    case CLI_OPT_LINK_MBPS:
        if (!cli_parse_double(value, 0.01, 100000, &number))
            return 0;
        o->pacer.rate_bits_per_s = (uint64_t)(number * 1e6);
        return 1;
    case CLI_OPT_LINK_DELAY:
        if (!cli_parse_double(value, 0, 10000, &number))
            return 0;
        o->pacer.delay_ns = (uint64_t)(number * 1e6);
        return 1;
    case CLI_OPT_TIMEOUT:
        if (!cli_parse_double(value, 0.1, 86400, &number))
            return 0;
        o->timeout_ns = (uint64_t)(number * 1e9);
        return 1;
    case CLI_OPT_PATIENCE:
        if (!cli_parse_double(value, 0.1, 86400, &number))
            return 0;
        o->patience_ns = (uint64_t)(number * 1e9);
        return 1;
    case CLI_OPT_LANES:
        return cli_parse_u32(value, 1, LYNX_LANES_MAX, &o->lanes);
    case CLI_OPT_OTHER_WEIGHTS:
        o->allow_other_weights = true;
        return 1;
    default:
        return -1;
    }
}

int cli_take_option(cli_options *options, int option, const char *value)
{
    int taken = take_engine_option(options, option, value);
    if (taken < 0)
        taken = take_sampling_option(options, option, value);
    if (taken < 0)
        taken = take_link_option(options, option, value);
    if (taken < 0)
        taken = cli_take_security_option(&options->security, option, value);
    if (taken == 0)
        return cli_usage(options->command, "'%s' is not a value that this option takes", value);
    return taken < 0 ? -1 : CLI_OK;
}

/* The engine writes lines in pieces, on whatever thread; an outlet takes whole ones. */
static void on_engine_log(void *user, int severity, const char *text)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char line[1024];
    static size_t used;
    const cli_options *options = user;
    (void)severity;
    if (!cli_out.say) {
        fputs(text, stderr);
        return;
    }
    pthread_mutex_lock(&lock);
    for (; *text; text++) {
        if (*text != '\n' && used + 1 < sizeof(line))
            line[used++] = *text;
        if (*text != '\n')
            continue;
        line[used] = '\0';
        if (used)
            cli_out.say(options->command, CLI_LEVEL_DEBUG, line);
        used = 0;
    }
    pthread_mutex_unlock(&lock);
}

/* The folder of things that are computed once per user; terminated, in a static buffer. */
static const char *cache_folder(void)
{
    static char folder[4096];
    const char *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (xdg && xdg[0])
        snprintf(folder, sizeof(folder), "%s/lynx", xdg);
    else if (home && home[0])
        snprintf(folder, sizeof(folder), "%s/.cache/lynx", home);
    else
        return NULL;
    return folder;
}

static int require_model(const cli_options *options)
{
    if (options->engine.model_path)
        return CLI_OK;
    return cli_usage(options->command, "no model; pass one with -m model.gguf");
}

int cli_check_model(const cli_options *options)
{
    const char *path = options->engine.model_path;
    char start[4] = "";
    if (require_model(options) != CLI_OK)
        return CLI_USAGE;
    FILE *file = fopen(path, "rb");
    if (!file)
        return cli_error(options->command, "cannot open the model '%s': %s", path,
                         strerror(errno));
    const bool is_model = fread(start, 1, 4, file) == 4 && memcmp(start, "GGUF", 4) == 0;
    fclose(file);
    return is_model ? CLI_OK
                    : cli_error(options->command, "the model '%s' is not a GGUF file", path);
}

int cli_load_engine(const cli_options *options, lynx_engine **engine)
{
    return cli_load_slots(options, engine, 1);
}

int cli_load_slots(const cli_options *options, lynx_engine *engines[], uint32_t count)
{
    if (require_model(options) != CLI_OK)
        return CLI_USAGE;
    lynx_llama_options engine_options = options->engine;
    char text[LYNX_TEXT_MAX];
    engine_options.cache_folder = cache_folder();
    if (options->is_verbose) {
        engine_options.log = on_engine_log;
        engine_options.log_user = (void *)(uintptr_t)options;
    }
    const lynx_status status =
        lynx_llama_create_slots(engines, count, &engine_options, text, sizeof(text));
    if (status != LYNX_OK) {
        const int code = cli_fail(options->command, status, text);
        return code == CLI_USAGE ? CLI_USAGE : CLI_FAILED;
    }
    if (options->is_verbose) {
        on_engine_log((void *)(uintptr_t)options, 0, lynx_llama_probe_report(engines[0]));
        on_engine_log((void *)(uintptr_t)options, 0, "\n");
    }
    return CLI_OK;
}

lynx_status cli_pace(const cli_options *options, lynx_link **link)
{
    if (options->pacer.rate_bits_per_s == 0 && options->pacer.delay_ns == 0)
        return LYNX_OK;
    lynx_link *paced = NULL;
    const lynx_status status = lynx_link_paced(&paced, *link, &options->pacer, NULL);
    if (status != LYNX_OK)
        lynx_link_destroy(*link);
    *link = paced;
    return status;
}

char *cli_read_file(const char *command, const char *path, size_t *size)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "%s: cannot open '%s': %s\n", command, path, strerror(errno));
        return NULL;
    }
    size_t room = 1 << 16;
    char *text = malloc(room + 1);
    *size = 0;
    size_t got = 1;
    while (text && got > 0) {
        if (*size == room) {
            room *= 2;
            char *grown = realloc(text, room + 1);
            if (!grown)
                free(text);
            text = grown;
            if (!text)
                break;
        }
        got = fread(text + *size, 1, room - *size, file);
        *size += got;
    }
    const bool has_failed = ferror(file);
    if (file != stdin)
        fclose(file);
    if (!text || has_failed) {
        fprintf(stderr, "%s: cannot read '%s'\n", command, path);
        free(text);
        return NULL;
    }
    text[*size] = '\0';
    return text;
}

lynx_status cli_tokenize(lynx_engine *engine, const char *text, size_t size, bool add_start,
                         lynx_token **tokens, uint32_t *count)
{
    size_t needed = 0;
    lynx_status status =
        engine->ops->tokenize(engine, text, size, add_start, true, NULL, 0, &needed);
    if (status != LYNX_OK && status != LYNX_ERR_LIMIT)
        return status;
    *tokens = malloc((needed + 1) * sizeof(**tokens));
    if (!*tokens)
        return LYNX_ERR_MEMORY;
    status =
        engine->ops->tokenize(engine, text, size, add_start, true, *tokens, needed, &needed);
    *count = (uint32_t)needed;
    if (status != LYNX_OK) {
        free(*tokens);
        *tokens = NULL;
    }
    return status;
}

lynx_status cli_chat_prompt(lynx_engine *engine, const char *template_name, const char *system,
                            const char *user, char **text, size_t *size)
{
    lynx_chat_turn turns[2];
    size_t count = 0;
    size_t needed = 0;
    if (system)
        turns[count++] = (lynx_chat_turn){"system", system};
    turns[count++] = (lynx_chat_turn){"user", user};
    lynx_status status =
        engine->ops->chat_prompt(engine, template_name, turns, count, NULL, 0, &needed);
    if (status != LYNX_OK && status != LYNX_ERR_LIMIT)
        return status;
    *text = malloc(needed + 1);
    if (!*text)
        return LYNX_ERR_MEMORY;
    status = engine->ops->chat_prompt(engine, template_name, turns, count, *text, needed, size);
    if (status != LYNX_OK) {
        free(*text);
        *text = NULL;
    }
    return status;
}

void cli_put_token(FILE *stream, lynx_engine *engine, lynx_token token)
{
    char text[512];
    size_t size = 0;
    if (engine->ops->token_text(engine, token, text, sizeof(text), &size) == LYNX_OK)
        fwrite(text, 1, size, stream);
}
