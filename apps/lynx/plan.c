/* SPDX-License-Identifier: MIT */
/*
 * plan.c - 'lynx plan': what each way to get an answer would take, from figures.
 *
 * Figures come from a profile that this command measured, from options, or from both: options
 * win. The model of time is that of lynx/plan.h; docs/plan.md tells what it leaves out.
 */
#include <math.h>
#include <string.h>

#include "commands.h"
#include "plan_parts.h"

enum {
    OPT_JSON = CLI_OPT_OWN,
    OPT_PROFILE,
    OPT_PREFILL_PROFILE,
    OPT_MEASURE,
    OPT_REPRODUCE,
    OPT_PREFILL_NODES,
    OPT_DECODE_NODES,
    OPT_SLOTS,
    OPT_REQUESTS,
    OPT_SEED,
    OPT_CODEC,
    OPT_PROMPT,
    OPT_ANSWER,
    OPT_STORED,
    OPT_METHODS,
    OPT_TOKEN,
    OPT_DRAFT_MAX,
    OPT_AT_ONCE,
    OPT_FIGURES /* first of the numbers below */
};

static const char help[] =
    "Usage: lynx plan [-m model.gguf | --profile FILE | figures] --link-mbps X [options]\n"
    "       lynx plan -m model.gguf --measure [options]\n"
    "       lynx plan --reproduce paper [--json]\n"
    "\n"
    "Tell what each way to get an answer would take, which one to use and at which link rates\n"
    "that changes. 'lynx plan --measure' times this machine and writes a profile.\n"
    "\n"
    "Request:\n"
    "      --link-mbps X           rate of the link (required)\n"
    "      --rtt-ms X              round trip (0)\n"
    "      --share X               part of the link that one request gets (1)\n"
    "      --at-once N             so many come at the same moment; what the middle one finds, "
    "at\n"
    "                              this link rate alone (1)\n"
    "      --prompt N              tokens of the prompt (1000)\n"
    "      --answer N              tokens of the answer (64)\n"
    "      --stored                the cache exists and is only fetched\n"
    "      --codec NAME            planes of Lynx and of waiting for them (range)\n"
    "      --draft-max N           most drafts (62)\n"
    "      --stands P              chance that a draft stands if those before it do (0.9)\n"
    "\n"
    "Model and machines:\n"
    "      --profile FILE          what --measure wrote, for both nodes\n"
    "      --prefill-profile FILE  the same for a prefill node that is another machine\n"
    "      --layers N              without a profile: layers of the model\n"
    "      --kv-heads N            heads of keys, as many of values\n"
    "      --head-dim N            channels of a head (128)\n"
    "      --cache-bytes N         bytes of cache for each token instead\n"
    "      --prefill-rate X        prompt tokens a second on the prefill node\n"
    "      --local-prefill-rate X  prompt tokens a second on the decode node\n"
    "      --step-ms X             a step of the decode node\n"
    "      --exact-step-ms X       a step behind a verification (as --step-ms)\n"
    "      --step-tokens X         tokens that such a step gives, with guesses at the next one "
    "(1)\n"
    "      --draft-step-ms X       a step of a draft (as --exact-step-ms)\n"
    "      --pass-ms X             a verification pass takes so long (as a step)\n"
    "      --row-ms X              and so long for each of its tokens (0)\n"
    "      --prefill-step-ms X     a step of the prefill node, if it may decode\n"
    "      --queue-s X             until the prefill node can begin (0)\n"
    "      --local-queue-s X       until the decode node can begin (0)\n"
    "\n"
    "Cluster (p50 and p95 of every method instead of one request):\n"
    "      --simulate RATE         so many requests a second come at random\n"
    "      --prefill-nodes N       prefill nodes, each with a link of its own (1)\n"
    "      --decode-nodes N        decode nodes (1)\n"
    "      --slots N               requests that a decode node answers at the same time (1)\n"
    "      --requests N            requests; the first tenth does not count (20000)\n"
    "      --spread X              prompts have 1 - X to 1 + X times the tokens (0)\n"
    "      --random-seed N         other random numbers (1)\n"
    "\n"
    "Result:\n"
    "      --token N               what counts is the time of this token; 0: of the last "
    "(32).\n"
    "                              Lynx and a plain way within 5 % of it go by the second\n"
    "      --methods A,B...        what may be chosen (lynx,wait,f16_streamed,int8,recompute)\n"
    "      --json                  methods, choice, reason and crossovers\n"
    "      --reproduce paper       the figures of the Lynx paper and what this model of time "
    "says\n"
    "      --measure               time this machine with -m; a profile on standard output\n"
    "\n";

static const char help_end[] =
    "\n"
    "Exit codes: 0 planned, 1 engine or file, 2 usage.\n"
    "\n"
    "Example:\n"
    "  lynx plan --layers 32 --kv-heads 8 --prompt 16000 --prefill-rate 8000 --step-ms 15 \\\n"
    "            --link-mbps 10000\n"
    "  lynx plan -m model.gguf --measure > here.json\n"
    "  lynx plan --profile here.json --prompt 2000 --link-mbps 30\n";

enum { NODES_MAX = 1 << 20, ROUNDS_OF_OTHERS = 256 };

/* Figures that are plain numbers. */
typedef enum figure {
    FIGURE_RTT,
    FIGURE_SHARE,
    FIGURE_STANDS,
    FIGURE_LAYERS,
    FIGURE_KV_HEADS,
    FIGURE_HEAD_DIM,
    FIGURE_CACHE_BYTES,
    FIGURE_PREFILL_RATE,
    FIGURE_LOCAL_PREFILL_RATE,
    FIGURE_STEP,
    FIGURE_EXACT_STEP,
    FIGURE_STEP_TOKENS,
    FIGURE_DRAFT_STEP,
    FIGURE_PASS,
    FIGURE_ROW,
    FIGURE_PREFILL_STEP,
    FIGURE_QUEUE,
    FIGURE_LOCAL_QUEUE,
    FIGURE_SIMULATE,
    FIGURE_SPREAD,
    FIGURE_COUNT
} figure;

static const struct {
    const char *name;
    double least, most;
} figures[FIGURE_COUNT] = {
    [FIGURE_RTT] = {"rtt-ms", 0, 1e6},
    [FIGURE_SHARE] = {"share", 1e-6, 1},
    [FIGURE_STANDS] = {"stands", 0, 1},
    [FIGURE_LAYERS] = {"layers", 1, LYNX_LAYERS_MAX},
    [FIGURE_KV_HEADS] = {"kv-heads", 1, 4096},
    [FIGURE_HEAD_DIM] = {"head-dim", 1, 4096},
    [FIGURE_CACHE_BYTES] = {"cache-bytes", 1, 1e9},
    [FIGURE_PREFILL_RATE] = {"prefill-rate", 1e-3, 1e9},
    [FIGURE_LOCAL_PREFILL_RATE] = {"local-prefill-rate", 1e-3, 1e9},
    [FIGURE_STEP] = {"step-ms", 1e-3, 1e7},
    [FIGURE_EXACT_STEP] = {"exact-step-ms", 1e-3, 1e7},
    [FIGURE_STEP_TOKENS] = {"step-tokens", 1, 2},
    [FIGURE_DRAFT_STEP] = {"draft-step-ms", 1e-3, 1e7},
    [FIGURE_PASS] = {"pass-ms", 0, 1e7},
    [FIGURE_ROW] = {"row-ms", 0, 1e7},
    [FIGURE_PREFILL_STEP] = {"prefill-step-ms", 1e-3, 1e7},
    [FIGURE_QUEUE] = {"queue-s", 0, 1e6},
    [FIGURE_LOCAL_QUEUE] = {"local-queue-s", 0, 1e6},
    [FIGURE_SIMULATE] = {"simulate", 1e-6, 1e9},
    [FIGURE_SPREAD] = {"spread", 0, 0.99},
};

typedef struct planning {
    cli_options shared;
    const char *profile, *prefill_profile;
    bool is_json, measures, reproduces, is_stored;
    lynx_codec_spec spec;
    uint32_t prompt, answer, draft_max;
    uint32_t at_once, prefill_nodes, decode_nodes, slots, requests, seed;
    lynx_plan_options options;
    double values[FIGURE_COUNT];
    bool has_value[FIGURE_COUNT];
    plan_model model;
    plan_machine machines[2]; /* prefill, decode */
} planning;

/* ---- options --------------------------------------------------------------------------- */

static bool take_methods(planning *p, const char *names)
{
    p->options.methods = 0;
    for (const char *at = names;; at++) {
        const size_t size = strcspn(at, ",");
        uint32_t m = 0;
        while (m < LYNX_PLAN_METHOD_COUNT &&
               (strlen(lynx_plan_method_name((lynx_plan_method)m)) != size ||
                strncmp(at, lynx_plan_method_name((lynx_plan_method)m), size) != 0))
            m++;
        if (m == LYNX_PLAN_METHOD_COUNT)
            return false;
        p->options.methods |= LYNX_PLAN_BIT(m);
        at += size;
        if (!*at)
            return true;
    }
}

static bool take_own(planning *p, int option, const char *value)
{
    switch (option) {
    case OPT_JSON:
        p->is_json = true;
        return true;
    case OPT_MEASURE:
        p->measures = true;
        return true;
    case OPT_REPRODUCE:
        p->reproduces = true;
        return strcmp(value, "paper") == 0;
    case OPT_STORED:
        p->is_stored = true;
        return true;
    case OPT_PROFILE:
        p->profile = value;
        return true;
    case OPT_PREFILL_PROFILE:
        p->prefill_profile = value;
        return true;
    case OPT_CODEC:
        return lynx_codec_spec_named(&p->spec, value) == LYNX_OK;
    case OPT_PROMPT:
        return cli_parse_u32(value, 1, LYNX_PROMPT_TOKENS_MAX, &p->prompt);
    case OPT_ANSWER:
        return cli_parse_u32(value, 1, LYNX_PROMPT_TOKENS_MAX, &p->answer);
    case OPT_DRAFT_MAX:
        return cli_parse_u32(value, 0, LYNX_PLAN_DRAFTS_MAX, &p->draft_max);
    case OPT_AT_ONCE:
        return cli_parse_u32(value, 1, NODES_MAX, &p->at_once);
    case OPT_PREFILL_NODES:
        return cli_parse_u32(value, 1, NODES_MAX, &p->prefill_nodes);
    case OPT_DECODE_NODES:
        return cli_parse_u32(value, 1, NODES_MAX, &p->decode_nodes);
    case OPT_SLOTS:
        return cli_parse_u32(value, 1, NODES_MAX, &p->slots);
    case OPT_REQUESTS:
        return cli_parse_u32(value, 10, 10000000, &p->requests);
    case OPT_SEED:
        return cli_parse_u32(value, 0, UINT32_MAX, &p->seed);
    case OPT_TOKEN:
        return cli_parse_u32(value, 0, LYNX_PROMPT_TOKENS_MAX, &p->options.token);
    case OPT_METHODS:
        return take_methods(p, value);
    default:
        break;
    }
    const int index = option - OPT_FIGURES;
    p->has_value[index] = true;
    return cli_parse_double(value, figures[index].least, figures[index].most,
                            &p->values[index]);
}

static int parse(planning *p, int argc, char **argv)
{
    static const struct option plain[] = {
        CLI_ENGINE_OPTIONS,
        {"link-mbps", required_argument, NULL, CLI_OPT_LINK_MBPS},
        {"json", no_argument, NULL, OPT_JSON},
        {"profile", required_argument, NULL, OPT_PROFILE},
        {"prefill-profile", required_argument, NULL, OPT_PREFILL_PROFILE},
        {"measure", no_argument, NULL, OPT_MEASURE},
        {"reproduce", required_argument, NULL, OPT_REPRODUCE},
        {"codec", required_argument, NULL, OPT_CODEC},
        {"prompt", required_argument, NULL, OPT_PROMPT},
        {"answer", required_argument, NULL, OPT_ANSWER},
        {"stored", no_argument, NULL, OPT_STORED},
        {"methods", required_argument, NULL, OPT_METHODS},
        {"token", required_argument, NULL, OPT_TOKEN},
        {"prefill-nodes", required_argument, NULL, OPT_PREFILL_NODES},
        {"decode-nodes", required_argument, NULL, OPT_DECODE_NODES},
        {"slots", required_argument, NULL, OPT_SLOTS},
        {"requests", required_argument, NULL, OPT_REQUESTS},
        {"random-seed", required_argument, NULL, OPT_SEED},
        {"draft-max", required_argument, NULL, OPT_DRAFT_MAX},
        {"at-once", required_argument, NULL, OPT_AT_ONCE},
        {"help", no_argument, NULL, 'h'},
    };
    enum { PLAIN = sizeof(plain) / sizeof(*plain) };
    struct option all[PLAIN + FIGURE_COUNT + 1] = {0};
    memcpy(all, plain, sizeof(plain));
    for (int i = 0; i < FIGURE_COUNT; i++)
        all[PLAIN + i] =
            (struct option){figures[i].name, required_argument, NULL, OPT_FIGURES + i};
    int option;
    while ((option = getopt_long(argc, argv, ":hm:t:c:", all, NULL)) != -1) {
        if (option == '?' || option == ':')
            return cli_bad_option(plan_command, option, argv);
        if (option == 'h') {
            printf("%s%s%s", help, cli_engine_help, help_end);
            return -1;
        }
        const int taken = cli_take_option(&p->shared, option, optarg);
        if (taken == CLI_USAGE)
            return taken;
        if (taken != CLI_OK && !take_own(p, option, optarg))
            return cli_usage(plan_command, "'%s' is out of range or unknown", optarg);
    }
    if (optind < argc)
        return cli_usage(plan_command, "'%s' is too much", argv[optind]);
    return CLI_OK;
}

/* ---- figures --------------------------------------------------------------------------- */

static int read_model(planning *p)
{
    lynx_engine *engine;
    int code = cli_load_engine(&p->shared, &engine);
    if (code != CLI_OK)
        return code;
    if (!plan_model_take(&p->model, engine->ops->model(engine)))
        code = cli_fail(plan_command, LYNX_ERR_MEMORY, NULL);
    lynx_engine_destroy(engine);
    return code;
}

/* Keys and values of F16. */
static int take_size(planning *p)
{
    const double *v = p->values;
    const bool has_shape = p->has_value[FIGURE_LAYERS] && p->has_value[FIGURE_KV_HEADS];
    if (p->has_value[FIGURE_CACHE_BYTES])
        p->model.token_bytes = v[FIGURE_CACHE_BYTES];
    else if (has_shape)
        p->model.token_bytes = 4 * v[FIGURE_LAYERS] * v[FIGURE_KV_HEADS] *
                               (p->has_value[FIGURE_HEAD_DIM] ? v[FIGURE_HEAD_DIM] : 128);
    else if (p->shared.engine.model_path)
        return read_model(p);
    else
        return cli_usage(plan_command, "which model? Give --profile, -m, --layers and "
                                       "--kv-heads, or --cache-bytes");
    return CLI_OK;
}

static int read_profiles(planning *p)
{
    int code = p->profile ? plan_profile_read(p->profile, &p->model, &p->machines[1]) : CLI_OK;
    p->machines[0] = p->machines[1];
    if (code == CLI_OK && p->prefill_profile) {
        plan_model ignored = {0};
        code = plan_profile_read(p->prefill_profile, &ignored, &p->machines[0]);
        plan_model_free(&ignored);
    }
    return code;
}

/* Options take the place of what a profile says; 'scale' turns their unit into seconds. */
static void override(const planning *p, figure index, double scale, double *first,
                     double *second)
{
    if (!p->has_value[index])
        return;
    *first = p->values[index] * scale;
    if (second)
        *second = 0;
}

static void override_rate(const planning *p, figure index, plan_machine *machine)
{
    if (!p->has_value[index])
        return;
    machine->prefill_token_s = 1 / p->values[index];
    machine->prefill_token2_s = 0;
}

static void override_machines(planning *p)
{
    plan_machine *prefill = &p->machines[0];
    plan_machine *decode = &p->machines[1];
    override_rate(p, FIGURE_PREFILL_RATE, prefill);
    override_rate(p, FIGURE_LOCAL_PREFILL_RATE, decode);
    override(p, FIGURE_PREFILL_STEP, 1e-3, &prefill->step_s, &prefill->step_token_s);
    override(p, FIGURE_PREFILL_STEP, 1e-3, &prefill->exact_step_s,
             &prefill->exact_step_token_s);
    if (p->has_value[FIGURE_STEP]) {
        override(p, FIGURE_STEP, 1e-3, &decode->step_s, &decode->step_token_s);
        override(p, FIGURE_STEP, 1e-3, &decode->exact_step_s, &decode->exact_step_token_s);
        if (!p->profile)
            decode->pass_s = decode->step_s;
    }
    override(p, FIGURE_EXACT_STEP, 1e-3, &decode->exact_step_s, &decode->exact_step_token_s);
    if (p->has_value[FIGURE_STEP] || p->has_value[FIGURE_EXACT_STEP])
        decode->draft_step_s = decode->draft_step_token_s = 0; /* as that one */
    override(p, FIGURE_DRAFT_STEP, 1e-3, &decode->draft_step_s, &decode->draft_step_token_s);
    override(p, FIGURE_PASS, 1e-3, &decode->pass_s, NULL);
    override(p, FIGURE_ROW, 1e-3, &decode->row_s, NULL);
}

static int check_machines(const planning *p)
{
    if (p->machines[0].prefill_token_s == 0 && p->machines[0].prefill_token2_s == 0 &&
        !p->is_stored)
        return cli_usage(plan_command, "how fast is the prefill node? Give --prefill-rate or "
                                       "--profile, or --stored");
    if (p->machines[1].step_s == 0 && p->machines[1].step_token_s == 0)
        return cli_usage(plan_command,
                         "how long is a step of the decode node? Give --step-ms or --profile");
    if (p->shared.pacer.rate_bits_per_s == 0)
        return cli_usage(plan_command, "how fast is the link? Give --link-mbps");
    if (p->at_once > 1 && p->has_value[FIGURE_SIMULATE])
        return cli_usage(plan_command, "--at-once is one moment and --simulate many: give one");
    return CLI_OK;
}

/* Pages leave by layer while a piece is computed: as if in so many pieces more. */
static uint32_t piece_by_layer(const planning *p, uint32_t piece_tokens)
{
    const uint32_t layers = p->model.layers ? p->model.shape.layer_count : 1;
    return layers < piece_tokens ? piece_tokens / layers : 1;
}

/* A step of 'columns' tokens for each of 1 + 'others' slots: as a pass over so many, where it
 * takes longer than that of one slot. Less than one other is there for a part of the time. */
static double shared_step(const lynx_plan_node *node, double own_s, uint32_t columns,
                          double others)
{
    const double pass_s = node->pass_s + columns * (1 + fmax(others, 1)) * node->row_s;
    const double part = fmin(others, 1);
    return (1 - part) * own_s + part * fmax(own_s, pass_s);
}

/* How many others decode beside the middle one while it makes 'token' tokens, on average, when
 * 'half' of them began before it and as many will behind it, one each 'interval_s'. */
static double others_beside(const lynx_plan_request *r, double half, uint32_t token,
                            double interval_s)
{
    double others = 0;
    double last = -1;
    for (int i = 0; i < ROUNDS_OF_OTHERS && others > 1.001 * last; i++) {
        const double step_s = shared_step(&r->decode, r->decode.step_s, 1, others);
        const double answer_s = r->answer_tokens * step_s;
        const double seen_s = token * step_s;
        last = others;
        others = 0;
        for (double place = 1; place < half + 1 && place * interval_s < answer_s; place++) {
            const double before = fmin(answer_s - place * interval_s, seen_s);
            const double behind = fmax(seen_s - place * interval_s, 0);
            others += fmin(half + 1 - place, 1) * (before + behind) / seen_s;
        }
    }
    return others;
}

/*
 * Of 'count' requests that come at the same moment, the middle one; as many come before it as
 * behind it. A prefill node works on one after the other; their transfers, told by those of
 * INT8, go one after the other, and wait for those before where they take longer than a
 * prefill. Anchors go first, so that all others wait for all anchors. The slots of a decode
 * node share its prefills and steps, and wait for each other's passes.
 */
static void meet_others(lynx_plan_request *r, uint32_t count, uint32_t token)
{
    const double half = (count - 1) / 2.0;
    const double transfer_s = r->cache.int8_bytes / (r->link.bytes_per_s * r->link.share);
    double prefill_s = 0;
    lynx_plan_node *decode = &r->decode;
    if (!r->is_stored)
        prefill_s = r->prompt_tokens / r->prefill.prefill_tokens_per_s;
    r->prefill.wait_s += half * prefill_s;
    const double queued = half * fmax(0, 1 - prefill_s / transfer_s);
    r->link.share /= 1 + queued;
    r->link.bytes_ahead += r->cache.plane_bytes[0] * queued / (1 + queued);
    const uint32_t seen = token && token < r->answer_tokens ? token : r->answer_tokens;
    const double others = others_beside(r, half, seen, fmax(prefill_s, transfer_s));
    decode->prefill_tokens_per_s /= count;
    if (decode->exact_step_s > 0)
        decode->exact_step_s = shared_step(decode, decode->exact_step_s, 2, others);
    if (decode->draft_step_s > 0)
        decode->draft_step_s = shared_step(decode, decode->draft_step_s, 1, others);
    decode->step_s = shared_step(decode, decode->step_s, 1, others);
    decode->pass_s *= 1 + others;
    decode->row_s *= 1 + others;
}

/* A guess beside the padding's place saves a step where it is right. */
static void take_guesses(const planning *p, lynx_plan_node *node)
{
    if (node->draft_step_s == 0)
        node->draft_step_s = node->exact_step_s;
    node->exact_step_s /= p->values[FIGURE_STEP_TOKENS];
}

static int make_request(planning *p, lynx_plan_request *r)
{
    lynx_plan_request_init(r);
    if (!p->has_value[FIGURE_SIMULATE]) /* there each piece is an event */
        r->piece_tokens = piece_by_layer(p, r->piece_tokens);
    r->prompt_tokens = p->prompt;
    r->answer_tokens = p->answer;
    r->is_stored = p->is_stored;
    r->draft_count_max = p->draft_max;
    r->stands = p->values[FIGURE_STANDS];
    r->prefill = plan_node_of(&p->machines[0], p->prompt);
    r->decode = plan_node_of(&p->machines[1], p->prompt);
    r->prefill.wait_s = p->values[FIGURE_QUEUE];
    r->decode.wait_s = p->values[FIGURE_LOCAL_QUEUE];
    r->link.bytes_per_s = (double)p->shared.pacer.rate_bits_per_s / 8;
    r->link.round_trip_s = p->values[FIGURE_RTT] / 1e3;
    r->link.share = p->values[FIGURE_SHARE];
    const int code = plan_cache_of(&p->model, &p->spec, p->prompt, &r->cache);
    if (code != CLI_OK)
        return code;
    meet_others(r, p->at_once, p->options.token);
    take_guesses(p, &r->prefill);
    take_guesses(p, &r->decode);
    return code;
}

static int simulate(const planning *p, const lynx_plan_request *request)
{
    lynx_plan_cluster cluster;
    lynx_plan_cluster_init(&cluster);
    cluster.request = *request;
    cluster.prefill_nodes = p->prefill_nodes;
    cluster.decode_nodes = p->decode_nodes;
    cluster.slots = p->slots;
    cluster.requests_per_s = p->values[FIGURE_SIMULATE];
    cluster.request_count = p->requests;
    cluster.warm_count = p->requests / 10;
    cluster.spread = p->values[FIGURE_SPREAD];
    cluster.token = p->options.token;
    cluster.seed = p->seed;
    return plan_simulate(&cluster, p->is_json);
}

static int make_plan(planning *p)
{
    lynx_plan_request request;
    int code = read_profiles(p);
    if (code == CLI_OK)
        override_machines(p);
    if (code == CLI_OK)
        code = check_machines(p);
    if (code == CLI_OK && !p->model.layers)
        code = take_size(p);
    if (code == CLI_OK)
        code = make_request(p, &request);
    if (code != CLI_OK)
        return code;
    return p->has_value[FIGURE_SIMULATE]
               ? simulate(p, &request)
               : plan_report(&request, &p->options, p->at_once == 1, p->is_json);
}

static int measure(planning *p)
{
    const int code = plan_measure(&p->shared, &p->spec, &p->model, &p->machines[1]);
    if (code != CLI_OK)
        return code;
    json_t *profile = plan_profile_json(&p->model, &p->machines[1]);
    json_dumpf(profile, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    fputc('\n', stdout);
    json_decref(profile);
    return CLI_OK;
}

int lx_command_plan(int argc, char **argv)
{
    planning p = {.prompt = 1000,
                  .answer = 64,
                  .draft_max = 62,
                  .at_once = 1,
                  .prefill_nodes = 1,
                  .decode_nodes = 1,
                  .slots = 1,
                  .requests = 20000,
                  .seed = 1};
    cli_options_init(&p.shared, plan_command);
    lynx_plan_options_init(&p.options);
    p.values[FIGURE_SHARE] = 1;
    p.values[FIGURE_STANDS] = 0.9;
    p.values[FIGURE_STEP_TOKENS] = 1;
    lynx_status status = lynx_codec_spec_named(&p.spec, "range");
    if (status != LYNX_OK)
        return cli_fail(plan_command, status, NULL);
    int code = parse(&p, argc, argv);
    if (code == CLI_OK)
        code = p.reproduces ? plan_paper(p.is_json) : p.measures ? measure(&p) : make_plan(&p);
    plan_model_free(&p.model);
    return code < 0 ? CLI_OK : code;
}
