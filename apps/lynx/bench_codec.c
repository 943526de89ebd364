/* SPDX-License-Identifier: MIT */
/*
 * bench_codec.c - speed of the codec against memcpy of the same bytes in the same run.
 *
 * The pages are those of SmolLM2 (192 channels, heads of 64), by default of 2,080 tokens of one
 * cache: 48 MiB, with their planes and the target more than a third-level cache holds, aligned
 * as ggml aligns them. Each round times memcpy of all pages and the operation on all pages in
 * turn, in processor time, which other processes take less from. The ratio is the median of the
 * rounds' own ratios, so that a machine that changes its speed changes both sides.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "commands.h"
#include "numbers.h"
#include "lynx/codec.h"

enum { CHANNELS = 192, HEAD = 64, TOKENS = 256, ROUNDS_MIN = 3, ROUNDS_MAX = 15 };
enum { OPT_JSON = CLI_OPT_OWN, OPT_PROFILE, OPT_KERNELS, OPT_MIB };

/* No round begins after this, beyond the first few: plain C takes its time. */
static const double ROW_SECONDS = 1.0;

static const char command[] = "lynx bench codec";

static const char help[] =
    "Usage: lynx bench codec [options]\n"
    "\n"
    "Time encoding and decoding of pages, each against memcpy of the same cache bytes in the "
    "same\n"
    "run (GB/s of cache bytes, one thread).\n"
    "\n"
    "      --profile NAME   one codec (range, range44, paper and int8)\n"
    "      --kernels NAME   one table: reference, avx2, avx512 or neon (all that this CPU "
    "runs)\n"
    "      --mib N          cache bytes of a round (48)\n"
    "      --json           rows: op, profile, table, layout, side, gb_per_s, "
    "memcpy_gb_per_s, ratio\n"
    "\n"
    "Example:\n"
    "  lynx bench codec --profile range\n"
    "\n"
    "Exit codes: 0 measured, 1 failed, 2 usage.\n";

typedef enum operation { ENCODE, DECODE_ANCHOR, DECODE_FULL } operation;
static const char *const operation_names[] = {"encode", "decode_anchor", "decode_full"};

typedef struct bench {
    size_t pages;
    uint8_t *cache, *copy; /* 'pages' pages of halves each */
    uint8_t *planes;       /* room for the planes of all pages */
    size_t room;           /* of one plane of one page */
    lynx_side_shape shape;
    lynx_side side;
    bool by_channel;
} bench;

enum { PAGE_BYTES = CHANNELS * TOKENS * 2 };

static lynx_tile tile_of(const bench *b, uint8_t *base, size_t page)
{
    lynx_tile tile = {.data = base + page * PAGE_BYTES, .element = LYNX_ELEMENT_F16};
    tile.token_stride_bytes = b->by_channel ? 2 : CHANNELS * 2;
    tile.channel_stride_bytes = b->by_channel ? TOKENS * 2 : 2;
    return tile;
}

/* Halves of all signs and of magnitudes 2^-6 to 4; the codec does the same work for all values.
 */
static void fill_cache(const bench *b)
{
    uint32_t state = 1;
    for (size_t i = 0; i < b->pages * CHANNELS * TOKENS; i++) {
        state = state * 1664525u + 1013904223u;
        /* Sign, exponents 2^-6 .. 2^1, random fraction. */
        const uint16_t half =
            (uint16_t)((state >> 16 & 0x8000) | ((9 + (state >> 28 & 7)) << 10) |
                       (state >> 10 & 0x3FF));
        memcpy(b->cache + 2 * i, &half, 2);
    }
}

static lynx_status run_page(const bench *b, lynx_codec *codec, uint32_t plane_count,
                            operation op, size_t page, size_t sizes[LYNX_PLANES_MAX])
{
    const lynx_page_span span = {1024, TOKENS, 4096};
    uint8_t *planes[LYNX_PLANES_MAX];
    lynx_bytes views[LYNX_PLANES_MAX];
    bool is_raw;
    for (uint32_t i = 0; i < plane_count; i++)
        planes[i] = b->planes + (page * plane_count + i) * b->room;
    if (op == ENCODE) {
        const lynx_tile source = tile_of(b, b->cache, page);
        return lynx_codec_encode(codec, &b->shape, b->side, &span, &source, planes, sizes,
                                 &is_raw);
    }
    for (uint32_t i = 0; i < plane_count; i++)
        views[i] = (lynx_bytes){planes[i], sizes[i]};
    const lynx_tile target = tile_of(b, b->copy, page);
    return lynx_codec_decode(codec, &b->shape, b->side, &span, views,
                             op == DECODE_ANCHOR ? 1 : plane_count, &target);
}

/* What each round took or gave. */
typedef struct rounds {
    size_t count;
    double codec[ROUNDS_MAX], copy[ROUNDS_MAX], ratio[ROUNDS_MAX];
} rounds;

static bool run_pages(const bench *b, lynx_codec *codec, uint32_t plane_count, operation op,
                      size_t sizes[LYNX_PLANES_MAX])
{
    for (size_t page = 0; page < b->pages; page++)
        if (run_page(b, codec, plane_count, op, page, sizes) != LYNX_OK)
            return false;
    return true;
}

static double processor_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static bool run_rounds(const bench *b, lynx_codec *codec, uint32_t plane_count, operation op,
                       rounds *r)
{
    size_t sizes[LYNX_PLANES_MAX] = {0};
    if (!run_pages(b, codec, plane_count, ENCODE, sizes))
        return false;
    const double begin = processor_seconds();
    for (r->count = 0; r->count < ROUNDS_MAX; r->count++) {
        const double start = processor_seconds();
        if (r->count >= ROUNDS_MIN && start - begin > ROW_SECONDS)
            break;
        memcpy(b->copy, b->cache, b->pages * PAGE_BYTES);
        const double middle = processor_seconds();
        if (!run_pages(b, codec, plane_count, op, sizes))
            return false;
        r->codec[r->count] = processor_seconds() - middle;
        r->copy[r->count] = middle - start;
        r->ratio[r->count] = r->copy[r->count] / r->codec[r->count];
    }
    return true;
}

/* One row; false after a failure. */
static bool measure(const bench *b, const char *profile, const char *table, operation op,
                    json_t *rows)
{
    lynx_codec_options options;
    lynx_codec_options_init(&options);
    options.channels_max = CHANNELS;
    options.kernels = table;
    lynx_codec *codec = NULL;
    if (lynx_codec_spec_named(&options.spec, profile) != LYNX_OK ||
        lynx_codec_create(&codec, &options) != LYNX_OK)
        return false;
    rounds r;
    const bool is_good =
        run_rounds(b, codec, lynx_codec_spec_plane_count(&options.spec), op, &r);
    lynx_codec_destroy(codec);
    if (!is_good)
        return false;
    const double gigabytes = (double)(b->pages * PAGE_BYTES) / 1e9;
    json_array_append_new(rows,
                          json_pack("{s:s,s:s,s:s,s:s,s:s,s:f,s:f,s:f}", "op",
                                    operation_names[op], "profile", profile, "table", table,
                                    "layout", b->by_channel ? "channel_major" : "token_major",
                                    "side", b->side == LYNX_SIDE_KEYS ? "keys" : "values",
                                    "gb_per_s", gigabytes / numbers_middle(r.codec, r.count),
                                    "memcpy_gb_per_s",
                                    gigabytes / numbers_middle(r.copy, r.count), "ratio",
                                    numbers_middle(r.ratio, r.count)));
    return true;
}

static void put_table(const json_t *rows)
{
    size_t i;
    json_t *row;
    printf("%-14s %-8s %-10s %-14s %-7s %8s %8s %7s\n", "op", "profile", "table", "layout",
           "side", "GB/s", "memcpy", "ratio");
    json_array_foreach(rows, i, row)
    {
        const char *op;
        const char *profile;
        const char *table;
        const char *layout;
        const char *side;
        double speed;
        double copy;
        double ratio;
        if (json_unpack(row, "{s:s,s:s,s:s,s:s,s:s,s:f,s:f,s:f}", "op", &op, "profile",
                        &profile, "table", &table, "layout", &layout, "side", &side, "gb_per_s",
                        &speed, "memcpy_gb_per_s", &copy, "ratio", &ratio) == 0)
            printf("%-14s %-8s %-10s %-14s %-7s %8.2f %8.2f %7.2f\n", op, profile, table,
                   layout, side, speed, copy, ratio);
    }
}

/* What engines have: values are channel-major without flash attention, all else is
 * token-major. */
static const struct {
    lynx_side side;
    bool by_channel;
} layouts[] = {
    {LYNX_SIDE_KEYS, false},
    {LYNX_SIDE_VALUES, false},
    {LYNX_SIDE_VALUES, true},
};

static bool measure_all(bench *b, const char *only_profile, const char *only_table,
                        json_t *rows)
{
    static const char *const profiles[] = {"range", "range44", "paper", "int8"};
    for (size_t p = 0; p < (only_profile ? 1 : sizeof(profiles) / sizeof(*profiles)); p++)
        for (size_t t = 0; lynx_codec_kernels_at(t); t++) {
            const char *table = lynx_codec_kernels_at(t);
            if (only_table && strcmp(only_table, table) != 0)
                continue;
            for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++) {
                b->by_channel = layouts[i].by_channel;
                b->side = layouts[i].side;
                for (int op = ENCODE; op <= DECODE_FULL; op++)
                    if (!measure(b, only_profile ? only_profile : profiles[p], table,
                                 (operation)op, rows))
                        return false;
            }
        }
    return true;
}

static bool has_table(const char *name)
{
    for (size_t i = 0; lynx_codec_kernels_at(i); i++)
        if (strcmp(lynx_codec_kernels_at(i), name) == 0)
            return true;
    return false;
}

int lx_bench_codec(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, OPT_JSON},
        {"profile", required_argument, NULL, OPT_PROFILE},
        {"kernels", required_argument, NULL, OPT_KERNELS},
        {"mib", required_argument, NULL, OPT_MIB},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    bool is_json = false;
    const char *profile = NULL;
    const char *table = NULL;
    uint32_t mib = 48;
    int option;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option == OPT_JSON) {
            is_json = true;
        } else if (option == OPT_PROFILE) {
            profile = optarg;
        } else if (option == OPT_KERNELS) {
            table = optarg;
        } else if (option == OPT_MIB) {
            if (!cli_parse_u32(optarg, 1, 4096, &mib))
                return cli_usage(command, "'%s' is not a number of MiB", optarg);
        } else if (option == 'h') {
            fputs(help, stdout);
            return CLI_OK;
        } else {
            return cli_bad_option(command, option, argv);
        }
    }
    lynx_codec_spec spec;
    if (profile && lynx_codec_spec_named(&spec, profile) != LYNX_OK)
        return cli_usage(command, CLI_NO_CODEC, profile);
    if (table && !has_table(table))
        return cli_usage(command, "there is no kernel table '%s' that this CPU runs", table);
    bench b = {
        .pages = ((size_t)mib << 20) / PAGE_BYTES,
        .room = PAGE_BYTES + 64,
        .shape = {CHANNELS, HEAD, {LYNX_ROPE_NEIGHBOURS, HEAD, 100000.0f, 1.0f}},
    };
    b.cache = aligned_alloc(64, b.pages * PAGE_BYTES);
    b.copy = aligned_alloc(64, b.pages * PAGE_BYTES);
    b.planes = malloc(b.pages * 2 * b.room);
    json_t *rows = json_array();
    bool is_good = b.cache && b.copy && b.planes;
    if (is_good) {
        fill_cache(&b);
        is_good = measure_all(&b, profile, table, rows);
    }
    if (is_good && is_json) {
        json_dumpf(rows, stdout, JSON_INDENT(1));
        fputc('\n', stdout);
    } else if (is_good) {
        put_table(rows);
    }
    json_decref(rows);
    free(b.cache);
    free(b.copy);
    free(b.planes);
    return is_good ? CLI_OK : cli_fail(command, LYNX_ERR_MEMORY, NULL);
}
