/* SPDX-License-Identifier: MIT */
/*
 * plan_paper.c - the figures of the Lynx paper (arXiv 2607.01831v1) against the model of time.
 *
 * Sizes come from the published shapes of the models. What the paper does not say is assumed or
 * fitted below and listed in docs/plan.md, one line for each constant.
 */
#include "plan_parts.h"

/* Fitted to Table 1: what of the link's rate is payload, and what passes before bytes flow. */
static const double link_efficiency = 0.85;
static const double dispatch_s = 0.28;

/* Read off Table 1: 31 steps are 1.5 s by every plain method. */
static const double qwen_step_s = 1.5 / 31;

/* A step of LLaMA 8B reads its weights and the cache once, at 1.2 TB/s: three quarters of what
 * the memory of the paper's processors is said to give. */
static const double llama_weight_bytes = 8.03e9 * 2;
static const double memory_bytes_per_s = 1.2e12;

/* 19.38 of 21.43 drafts stand on average: p (1 - p^n) / (1 - p). */
static const double paper_stands = 0.991;
static const uint32_t paper_drafts = 64;

/* The paper gives 0.13 s for quantising and dequantising, taken for the cache of Table 1. A
 * third of it, dequantising all planes, lies between the last plane and the pass. */
static const double dequantise_s_per_byte = 0.13 / 3 / (262144.0 * 16384);

/* Bits of a value: four of each plane, and with the anchor two halves for 32 values and two for
 * 256 (the paper gives no formats). Plain quantisation has two halves for 256. */
static const double anchor_bits = 4 + 32.0 / 32 + 32.0 / 256;
static const double residual_bits = 4;
static const double plain_meta_bits = 32.0 / 256;

/* Bytes of a token in BF16: layers x KV heads x 128 channels x 2 sides x 2 bytes. */
static const double qwen_32b_bytes = 64 * 8 * 128 * 4;
static const double llama_8b_bytes = 32 * 8 * 128 * 4;
static const double qwen_235b_bytes = 94 * 4 * 128 * 4;

typedef struct report {
    bool is_json;
    json_t *rows;
} report;

static void put_row(report *r, const char *name, double paper, double own)
{
    const double error = own / paper - 1;
    if (r->is_json)
        json_array_append_new(r->rows,
                              json_pack("{s:s,s:f,s:f,s:f}", "name", name, "paper", paper,
                                        "lynx_plan", own, "relative_error", error));
    else
        printf("%-34s %8.2f %9.3f %+8.1f %%\n", name, paper, own, error * 100);
}

static void make_request(lynx_plan_request *r, double token_bytes, uint32_t tokens,
                         double step_s, double link_gbps)
{
    const double raw = token_bytes * tokens;
    lynx_plan_request_init(r);
    r->prompt_tokens = tokens;
    r->answer_tokens = 256;
    r->is_stored = true; /* the paper's clock starts when the prefill has ended */
    r->is_paced = false;
    r->draft_count_max = paper_drafts;
    r->stands = paper_stands;
    r->prefill.wait_s = dispatch_s;
    r->decode.step_s = step_s;
    r->link.bytes_per_s = link_gbps * 1e9 / 8 * link_efficiency;
    r->cache = (lynx_plan_cache){
        .raw_bytes = raw,
        .plane_bytes = {raw * anchor_bits / 16, raw * residual_bits / 16},
        .plane_count = 2,
        .int8_bytes = raw * (8 + plain_meta_bits) / 16,
        .int4_bytes = raw * (4 + plain_meta_bits) / 16,
    };
    r->decode.pass_s = step_s + raw * dequantise_s_per_byte;
}

/* The paper counts tokens of the decode node; ours begin with the prefill node's one. */
static double paper_token(const lynx_plan_request *r, lynx_plan_method method, uint32_t index)
{
    return lynx_plan_token_s(r, method, index + 1);
}

static void put_table_1(report *out)
{
    static const struct {
        const char *ttft_name, *tt32t_name;
        lynx_plan_method method;
        double ttft, tt32t;
    } published[] = {
        {"table1.bf16.ttft_s", "table1.bf16.tt32t_s", LYNX_PLAN_F16, 4.4, 5.9},
        {"table1.int8.ttft_s", "table1.int8.tt32t_s", LYNX_PLAN_INT8, 2.3, 3.8},
        {"table1.int4.ttft_s", "table1.int4.tt32t_s", LYNX_PLAN_INT4, 1.4, 2.9},
        {"table1.lynx.ttft_s", "table1.lynx.tt32t_s", LYNX_PLAN_LYNX, 1.6, 3.4},
    };
    lynx_plan_request r;
    make_request(&r, qwen_32b_bytes, 16384, qwen_step_s, 10);
    for (size_t i = 0; i < sizeof(published) / sizeof(*published); i++) {
        const lynx_plan_method method = published[i].method;
        put_row(out, published[i].ttft_name, published[i].ttft, paper_token(&r, method, 1));
        put_row(out, published[i].tt32t_name, published[i].tt32t, paper_token(&r, method, 32));
    }
    put_row(out, "ttft_gain_over_int8", 1.43,
            paper_token(&r, LYNX_PLAN_INT8, 1) / paper_token(&r, LYNX_PLAN_LYNX, 1));
    put_row(out, "tt32t_percent_less_than_int8", 10.7,
            100 - 100 * paper_token(&r, LYNX_PLAN_LYNX, 32) /
                      paper_token(&r, LYNX_PLAN_INT8, 32));
}

static void put_gain(report *out, const char *name, uint32_t tokens, double link_gbps,
                     double gain)
{
    lynx_plan_request r;
    const double step = (llama_weight_bytes + llama_8b_bytes * tokens) / memory_bytes_per_s;
    make_request(&r, llama_8b_bytes, tokens, step, link_gbps);
    put_row(out, name, gain,
            paper_token(&r, LYNX_PLAN_INT8, 64) - paper_token(&r, LYNX_PLAN_LYNX, 64));
}

int plan_paper(bool is_json)
{
    report out = {.is_json = is_json, .rows = json_array()};
    if (!is_json)
        printf("%-34s %8s %9s %10s\n", "name", "paper", "lynx plan", "error");
    put_table_1(&out);
    put_gain(&out, "llama8b.64k.10gbps.tt64t_gain_s", 65536, 10, 0.86);
    put_gain(&out, "llama8b.64k.50gbps.tt64t_gain_s", 65536, 50, 0.18);
    put_gain(&out, "llama8b.128k.25gbps.tt64t_gain_s", 131072, 25, 0.84);
    put_row(&out, "qwen3_235b.128k.cache_gib", 23.5,
            qwen_235b_bytes * 131072 / (1024.0 * 1024 * 1024));
    if (is_json) {
        json_dumpf(out.rows, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(5));
        fputc('\n', stdout);
    }
    json_decref(out.rows);
    return CLI_OK;
}
