/* SPDX-License-Identifier: MIT */
/* plan_simulate.c - many requests on a cluster, by each method, side by side. */
#include "plan_parts.h"

static json_t *spread_json(const lynx_plan_spread *spread)
{
    return json_pack("{s:f,s:f,s:f}", "mean", spread->mean, "p50", spread->p50, "p95",
                     spread->p95);
}

static json_t *load_json(lynx_plan_method method, const lynx_plan_load *load)
{
    return json_pack("{s:s,s:i,s:o,s:o,s:o,s:o,s:o,s:f,s:f,s:f,s:f,s:f}", "method",
                     lynx_plan_method_name(method), "requests", (int)load->requests, "ttft_s",
                     spread_json(&load->ttft_s), "token_s", spread_json(&load->token_s),
                     "total_s", spread_json(&load->total_s), "wait_s",
                     spread_json(&load->wait_s), "slot_wait_s", spread_json(&load->slot_wait_s),
                     "prefill_use", load->prefill_use, "link_use", load->link_use, "slot_use",
                     load->slot_use, "bytes", load->bytes, "in_system", load->in_system);
}

static void put_head(const lynx_plan_cluster *cluster)
{
    printf("%.6g requests a second, %u prefill nodes, %u decode nodes with %u slots each. "
           "Seconds, p50 / p95:\n\n",
           cluster->requests_per_s, cluster->prefill_nodes, cluster->decode_nodes,
           cluster->slots);
    printf("%-12s %15s %15s %15s  %s\n", "method", "TTFT", "TT32T", "all",
           "busy: prefill link slots");
}

static void put_spread(const lynx_plan_spread *spread)
{
    printf(" %7.2f %7.2f", spread->p50, spread->p95);
}

static void put_line(lynx_plan_method method, const lynx_plan_load *load)
{
    const double busiest =
        load->prefill_use > load->link_use ? load->prefill_use : load->link_use;
    printf("%-12s", lynx_plan_method_name(method));
    put_spread(&load->ttft_s);
    put_spread(&load->token_s);
    put_spread(&load->total_s);
    printf("  %12.0f%% %3.0f%% %4.0f%%%s\n", load->prefill_use * 100, load->link_use * 100,
           load->slot_use * 100,
           busiest > 0.95 || load->slot_use > 0.95 ? "  too much: queues grow" : "");
}

int plan_simulate(const lynx_plan_cluster *cluster, bool is_json)
{
    json_t *rows = json_array();
    int code = CLI_OK;
    uint32_t count = 0;
    for (uint32_t m = 0; m < LYNX_PLAN_METHOD_COUNT && code == CLI_OK; m++) {
        const char *why;
        lynx_plan_load load;
        const lynx_plan_method method = (lynx_plan_method)m;
        const lynx_status status = lynx_plan_simulate(cluster, method, NULL, &load, &why);
        if (status == LYNX_ERR_UNSUPPORTED)
            continue;
        if (status != LYNX_OK)
            code = status == LYNX_ERR_ARGUMENT ? cli_usage(plan_command, "%s", why)
                                               : cli_fail(plan_command, status, NULL);
        else if (is_json)
            json_array_append_new(rows, load_json(method, &load));
        else if (count++ == 0)
            put_head(cluster);
        if (status == LYNX_OK && !is_json)
            put_line(method, &load);
    }
    if (code == CLI_OK && is_json) {
        json_dumpf(rows, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
        fputc('\n', stdout);
    }
    json_decref(rows);
    return code;
}
