/* SPDX-License-Identifier: MIT */
/*
 * bench_link.c - how soon a late anchor is there while residuals fill the link, how much of the
 * link is used, what moving bytes costs, and what doing nothing costs.
 *
 * Each link is measured with Lynx and with two plain connections in turn, so that a machine
 * that changes its speed changes both.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench_transfer.h"
#include "cli.h"
#include "commands.h"
#include "numbers.h"
#include "lynx/keys.h"

enum { OPT_JSON = CLI_OPT_OWN, OPT_CONGESTION, OPT_ONLY, OPT_PACED, OPT_MBPS, OPT_RTT };

static const char command[] = "lynx bench link";

static const char help[] =
    "Usage: lynx bench link [options]\n"
    "\n"
    "Time late anchors while residuals fill a link, with Lynx and with two plain TCP "
    "connections;\n"
    "then throughput on loopback against a bare loop, and the CPU of an idle pair. Links are\n"
    "emulated in network namespaces of this process, where it may have them (root, or user\n"
    "namespaces), and by the built-in pacer on loopback otherwise.\n"
    "\n"
    "      --only WHAT       anchor, throughput or idle (all)\n"
    "      --mbps N          anchor: only links of this rate\n"
    "      --rtt-ms N        anchor: only links of this round trip\n"
    "      --congestion NAME congestion control of all connections (the system's)\n"
    "      --paced           the built-in pacer, also where namespaces can be had\n"
    "      --json            rows: op and what was measured\n"
    "\n"
    "Example:\n"
    "  lynx bench link --only anchor --mbps 1000\n"
    "\n"
    "Exit codes: 0 measured, 1 failed, 2 usage.\n";

typedef struct link_row {
    double mbps, rtt_ms;
    uint32_t page_bytes, samples;
    bool is_tls;
} link_row;

/* A page is what an anchor of a small model has on a slow link, of a large one on a fast. */
static const link_row links[] = {
    {10, 1, 32 << 10, 25, false},      {10, 20, 32 << 10, 25, false},
    {50, 1, 64 << 10, 40, false},      {50, 20, 64 << 10, 40, false},
    {100, 1, 64 << 10, 60, false},     {100, 20, 64 << 10, 60, false},
    {1000, 1, 256 << 10, 120, false},  {1000, 1, 256 << 10, 120, true},
    {1000, 20, 256 << 10, 60, false},  {5000, 0.4, 512 << 10, 200, false},
    {10000, 0.4, 1 << 20, 200, false}, {10000, 0.4, 1 << 20, 200, true},
};

enum { ROUNDS = 3 };
static const double throughput_s = 2;
static const double idle_s = 10;

typedef struct bench {
    bool is_json, is_paced;
    const char *only, *congestion;
    double mbps, rtt_ms; /* 0, negative: all */
    lynx_credentials *credentials;
    transfer_state *state;
    json_t *rows;
    char text[256]; /* why links are not emulated as they should be, or what failed */
} bench;

/* ---- keys ---------------------------------------------------------------------------- */

/* A secret in a file that only this process sees. */
static lynx_status make_credentials(bench *b)
{
    uint8_t secret[LYNX_KEYS_SECRET_LEAST];
    char path[64];
    char text[512] = "";
    const int file = memfd_create("lynx-bench", MFD_CLOEXEC);
    lynx_status status = lynx_keys_make_secret(secret, sizeof(secret));
    if (file < 0 || status != LYNX_OK || fchmod(file, 0600) != 0)
        return LYNX_ERR_SYSTEM;
    dprintf(file, "bench:");
    for (size_t i = 0; i < sizeof(secret); i++)
        dprintf(file, "%02x", secret[i]);
    dprintf(file, "\n");
    snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    lynx_credentials_options options;
    lynx_credentials_options_init(&options);
    options.psk_file = path;
    status = lynx_credentials_create(&b->credentials, &options, text, sizeof(text), NULL);
    if (status != LYNX_OK)
        snprintf(b->text, sizeof(b->text), "%.250s", text);
    close(file);
    lynx_keys_wipe(secret, sizeof(secret));
    return status;
}

/* ---- rows ---------------------------------------------------------------------------- */

static double cpu_per_gb(const transfer_state *state)
{
    return (state->cpu_s[0] + state->cpu_s[1]) * 1e9 / (double)state->measured_bytes;
}

static double gb_per_s(const transfer_state *state)
{
    return (double)state->measured_bytes / 1e9 / state->measured_s;
}

static void add_row(bench *b, json_t *row)
{
    json_array_append_new(b->rows, row);
}

static void reset(bench *b, const transfer_case *task)
{
    memset(b->state, 0, sizeof(*b->state));
    b->state->task = *task;
    b->state->task.congestion = b->congestion;
}

static bool run(bench *b)
{
    if (transfer_run(b->state))
        return true;
    static const char *const kinds[] = {[TRANSFER_LYNX] = "lynx",
                                        [TRANSFER_TWO_CONNECTIONS] = "two connections",
                                        [TRANSFER_BARE] = "bare loop"};
    const transfer_case *task = &b->state->task;
    const char *why = b->state->text[0][0] ? b->state->text[0] : b->state->text[1];
    snprintf(b->text, sizeof(b->text), "%s, %s, %.0f Mbit/s, %.1f ms%s: %.150s",
             kinds[task->kind], task->credentials ? "TLS" : "TCP", task->link_mbps,
             task->rtt_ms, task->is_idle ? ", idle" : "",
             why[0] ? why : "the transfer did not end");
    return false;
}

static bool measure_anchors(bench *b, const link_row *link, transfer_kind kind)
{
    transfer_case task = {
        .kind = kind,
        .is_paced = b->is_paced,
        .link_mbps = link->mbps,
        .rtt_ms = link->rtt_ms,
        .page_bytes = link->page_bytes,
        .samples = link->samples,
        .credentials = link->is_tls ? b->credentials : NULL,
    };
    if (!b->is_paced)
        task.space = net_space_open(link->mbps, link->rtt_ms, b->text, sizeof(b->text));
    if (!b->is_paced && !task.space)
        return false;
    reset(b, &task);
    const bool is_good = run(b);
    net_space_close(task.space);
    if (!is_good)
        return false;
    transfer_state *s = b->state;
    const unsigned count = atomic_load(&s->sample_count);
    const double p50 = numbers_middle(s->latencies_ms, count);
    add_row(b, json_pack("{s:s,s:f,s:f,s:s,s:s,s:i,s:f,s:f,s:f,s:f,s:i,s:f,s:s,s:s}", "op",
                         "anchor", "link_mbps", link->mbps, "rtt_ms", link->rtt_ms, "scheduler",
                         kind == TRANSFER_LYNX ? "lynx" : "two_connections", "transport",
                         link->is_tls ? "tls" : "tcp", "page_bytes", (int)link->page_bytes,
                         "anchor_p50_ms", p50, "anchor_max_ms", s->latencies_ms[count - 1],
                         "link_use", gb_per_s(s) * 8e3 / link->mbps, "floor_ms",
                         link->page_bytes * 8e-3 / link->mbps + link->rtt_ms / 2, "samples",
                         (int)count, "cpu_s_per_gb", cpu_per_gb(s), "emulation",
                         b->is_paced ? "loopback-pacer" : "netns-tun", "congestion",
                         b->congestion ? b->congestion : "system"));
    return true;
}

static bool measure_all_anchors(bench *b)
{
    for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++) {
        const link_row *link = &links[i];
        if ((b->mbps > 0 && fabs(b->mbps - link->mbps) > 0.5) ||
            (b->rtt_ms >= 0 && fabs(b->rtt_ms - link->rtt_ms) > 0.05) ||
            (b->is_paced && link->is_tls))
            continue;
        if (!measure_anchors(b, link, TRANSFER_LYNX))
            return false;
        /* Two pacers would be two links; and TLS would tell nothing new of two connections. */
        if (!b->is_paced && !link->is_tls &&
            !measure_anchors(b, link, TRANSFER_TWO_CONNECTIONS))
            return false;
    }
    return true;
}

static bool measure_throughput(bench *b, bool is_tls)
{
    double speeds[2][ROUNDS];
    double cpus[2][ROUNDS];
    double ratios[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < 2; i++) {
            const transfer_case task = {
                .kind = i == 0 ? TRANSFER_LYNX : TRANSFER_BARE,
                .link_mbps = 1e5,
                .page_bytes = 1 << 20,
                .seconds = throughput_s,
                .credentials = is_tls ? b->credentials : NULL,
            };
            reset(b, &task);
            if (!run(b))
                return false;
            speeds[i][round] = gb_per_s(b->state);
            cpus[i][round] = cpu_per_gb(b->state);
        }
        ratios[round] = speeds[0][round] / speeds[1][round];
    }
    add_row(b, json_pack("{s:s,s:s,s:f,s:f,s:f,s:f,s:f}", "op", "throughput", "transport",
                         is_tls ? "tls" : "tcp", "gb_per_s", numbers_middle(speeds[0], ROUNDS),
                         "bare_gb_per_s", numbers_middle(speeds[1], ROUNDS), "ratio",
                         numbers_middle(ratios, ROUNDS), "cpu_s_per_gb",
                         numbers_middle(cpus[0], ROUNDS), "bare_cpu_s_per_gb",
                         numbers_middle(cpus[1], ROUNDS)));
    return true;
}

static bool measure_idle(bench *b)
{
    const transfer_case task = {.kind = TRANSFER_LYNX,
                                .link_mbps = 1e5,
                                .page_bytes = 4096,
                                .is_idle = true,
                                .seconds = idle_s};
    reset(b, &task);
    if (!run(b))
        return false;
    const transfer_state *s = b->state;
    add_row(b, json_pack("{s:s,s:f,s:f}", "op", "idle", "cpu_percent",
                         (s->cpu_s[0] + s->cpu_s[1]) * 100 / s->measured_s, "seconds",
                         s->measured_s));
    return true;
}

/* ---- output -------------------------------------------------------------------------- */

static double number(const json_t *row, const char *key)
{
    return json_number_value(json_object_get(row, key));
}

static const char *word(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static void put_anchor(const json_t *row)
{
    printf("%6.0f Mbit/s %5.1f ms  %-15s %-4s %8.0f B  p50 %8.2f  max %8.2f  floor %7.2f ms  "
           "use %5.3f  %5.2f s/GB\n",
           number(row, "link_mbps"), number(row, "rtt_ms"), word(row, "scheduler"),
           word(row, "transport"), number(row, "page_bytes"), number(row, "anchor_p50_ms"),
           number(row, "anchor_max_ms"), number(row, "floor_ms"), number(row, "link_use"),
           number(row, "cpu_s_per_gb"));
}

static void put_table(const json_t *rows)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        if (strcmp(word(row, "op"), "anchor") == 0)
            put_anchor(row);
        else if (strcmp(word(row, "op"), "throughput") == 0)
            printf("loopback %-4s %5.2f GB/s, bare %5.2f, ratio %4.2f; CPU %4.2f s/GB, bare "
                   "%4.2f\n",
                   word(row, "transport"), number(row, "gb_per_s"),
                   number(row, "bare_gb_per_s"), number(row, "ratio"),
                   number(row, "cpu_s_per_gb"), number(row, "bare_cpu_s_per_gb"));
        else
            printf("idle pair: %.2f %% of a CPU\n", number(row, "cpu_percent"));
    }
}

/* ---- the command --------------------------------------------------------------------- */

static bool wants(const bench *b, const char *what)
{
    return !b->only || strcmp(b->only, what) == 0;
}

static bool measure(bench *b)
{
    if (wants(b, "throughput") &&
        (!measure_throughput(b, false) || !measure_throughput(b, true)))
        return false;
    if (wants(b, "idle") && !measure_idle(b))
        return false;
    return !wants(b, "anchor") || measure_all_anchors(b);
}

/* Can namespaces be had? Else the pacer has to do. */
static void choose_emulation(bench *b)
{
    if (b->is_paced || !wants(b, "anchor"))
        return;
    net_space *space = net_space_open(1000, 1, b->text, sizeof(b->text));
    b->is_paced = space == NULL;
    net_space_close(space);
    if (b->is_paced)
        fprintf(stderr, "%s: links are emulated by the pacer on loopback: %s\n", command,
                b->text);
}

static int run_bench(bench *b)
{
    b->state = transfer_state_new();
    b->rows = json_array();
    cli_catch_signals();
    bool is_good = b->state && make_credentials(b) == LYNX_OK;
    if (is_good) {
        choose_emulation(b);
        is_good = measure(b);
    }
    if (is_good && b->is_json) {
        json_dumpf(b->rows, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(5));
        fputc('\n', stdout);
    } else {
        put_table(b->rows); /* after a failure too: what was measured stands */
    }
    json_decref(b->rows);
    lynx_credentials_destroy(b->credentials);
    transfer_state_free(b->state);
    if (cli_stop)
        return CLI_INTERRUPTED;
    return is_good ? CLI_OK : cli_error(command, "%s", b->text);
}

static bool is_kind(const char *word)
{
    return strcmp(word, "anchor") == 0 || strcmp(word, "throughput") == 0 ||
           strcmp(word, "idle") == 0;
}

int lx_bench_link(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, OPT_JSON},
        {"only", required_argument, NULL, OPT_ONLY},
        {"mbps", required_argument, NULL, OPT_MBPS},
        {"rtt-ms", required_argument, NULL, OPT_RTT},
        {"congestion", required_argument, NULL, OPT_CONGESTION},
        {"paced", no_argument, NULL, OPT_PACED},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    bench b = {.rtt_ms = -1};
    int option;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option == OPT_JSON) {
            b.is_json = true;
        } else if (option == OPT_PACED) {
            b.is_paced = true;
        } else if (option == OPT_CONGESTION) {
            b.congestion = optarg;
        } else if (option == OPT_ONLY) {
            b.only = optarg;
            if (!is_kind(optarg))
                return cli_usage(command, "there is no measurement '%s'", optarg);
        } else if (option == OPT_MBPS || option == OPT_RTT) {
            if (!cli_parse_double(optarg, 0, 1e5, option == OPT_MBPS ? &b.mbps : &b.rtt_ms))
                return cli_usage(command, "'%s' is not a number that this option takes",
                                 optarg);
        } else if (option == 'h') {
            fputs(help, stdout);
            return CLI_OK;
        } else {
            return cli_bad_option(command, option, argv);
        }
    }
    return run_bench(&b);
}
