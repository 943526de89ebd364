/* SPDX-License-Identifier: MIT */
/* plan_report.c - all methods side by side, the choice, and where it changes. */
#include <math.h>

#include "plan_parts.h"

enum { CROSSOVERS_MAX = 32 };
/* Links from which to which crossovers are looked for, in bytes a second: 0.1 Mbit/s to 1
 * Tbit/s.
 */
static const double slowest = 1.25e4;
static const double fastest = 1.25e11;

static double mbps(double bytes_per_s)
{
    return bytes_per_s * 8 / 1e6;
}

/* ---- JSON ------------------------------------------------------------------------------ */

static json_t *method_json(const lynx_plan_request *request, lynx_plan_method method)
{
    lynx_plan_times t;
    lynx_plan_predict(request, method, &t);
    const struct {
        const char *name;
        double value;
    } fields[] = {
        {"ttft_s", t.ttft_s},
        {"tt2t_s", t.tt2t_s},
        {"tt16t_s", t.tt16t_s},
        {"tt32t_s", t.tt32t_s},
        {"tt64t_s", t.tt64t_s},
        {"total_s", t.total_s},
        {"stall_s", t.stall_s},
        {"anchor_s", t.anchor_s},
        {"complete_s", t.complete_s},
        {"verify_s", t.verify_s},
        {"drafted", t.drafted},
        {"accepted", t.accepted},
        {"bytes", t.bytes},
        {"prefill_node_s", t.prefill_node_s},
        {"decode_node_s", t.decode_node_s},
    };
    json_t *row = json_pack("{s:s,s:b}", "method", lynx_plan_method_name(method), "is_possible",
                            t.is_possible);
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
        json_object_set_new(row, fields[i].name,
                            t.is_possible ? plan_number(fields[i].value) : json_null());
    return row;
}

static json_t *crossovers_json(const lynx_plan_crossover *crossovers, uint32_t count)
{
    json_t *rows = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(rows,
                              json_pack("{s:f,s:s,s:s}", "link_mbps",
                                        mbps(crossovers[i].bytes_per_s), "below",
                                        lynx_plan_method_name(crossovers[i].below), "above",
                                        lynx_plan_method_name(crossovers[i].above)));
    return rows;
}

static void put_json(const lynx_plan_request *request, const lynx_plan_choice *choice,
                     const char *text, const lynx_plan_crossover *crossovers, uint32_t count)
{
    json_t *methods = json_array();
    for (uint32_t m = 0; m < LYNX_PLAN_METHOD_COUNT; m++)
        json_array_append_new(methods, method_json(request, (lynx_plan_method)m));
    json_t *report =
        json_pack("{s:f,s:i,s:i,s:s,s:f,s:o,s:s,s:s,s:o}", "link_mbps",
                  mbps(request->link.bytes_per_s), "prompt_tokens", (int)request->prompt_tokens,
                  "answer_tokens", (int)request->answer_tokens, "scenario",
                  request->is_stored ? "stored" : "cold", "cache_bytes",
                  request->cache.raw_bytes, "methods", methods, "choice",
                  lynx_plan_method_name(choice->method), "reason", text, "crossovers",
                  crossovers_json(crossovers, count));
    json_dumpf(report, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    fputc('\n', stdout);
    json_decref(report);
}

/* ---- for people ------------------------------------------------------------------------ */

static void put_cell(double value, int width, int digits)
{
    if (isfinite(value))
        printf(" %*.*f", width, digits, value);
    else
        printf(" %*s", width, "-");
}

static void put_method(const lynx_plan_request *request, lynx_plan_method method, bool is_best)
{
    lynx_plan_times t;
    lynx_plan_predict(request, method, &t);
    printf("%c %-12s", is_best ? '*' : ' ', lynx_plan_method_name(method));
    put_cell(t.is_possible ? t.bytes / 1e6 : (double)NAN, 9, 2);
    put_cell(t.stall_s, 8, 2);
    put_cell(t.ttft_s, 8, 2);
    put_cell(t.tt2t_s, 8, 2);
    put_cell(t.tt32t_s, 8, 2);
    put_cell(t.tt64t_s, 8, 2);
    put_cell(t.total_s, 8, 2);
    if (t.drafted > 0)
        printf("  %.0f drafts, %.1f stand", t.drafted, t.accepted);
    fputc('\n', stdout);
}

static void put_rate(double bytes_per_s)
{
    const double rate = mbps(bytes_per_s);
    if (rate >= 1000)
        printf("%.3g Gbit/s", rate / 1000);
    else
        printf("%.3g Mbit/s", rate);
}

static void put_crossovers(const lynx_plan_crossover *crossovers, uint32_t count)
{
    if (count == 0)
        return;
    printf("\nOver slower links: %s", lynx_plan_method_name(crossovers[0].below));
    for (uint32_t i = 0; i < count; i++) {
        printf("; from ");
        put_rate(crossovers[i].bytes_per_s);
        printf(" on: %s", lynx_plan_method_name(crossovers[i].above));
    }
    puts(".");
}

static void put_table(const lynx_plan_request *request, const lynx_plan_choice *choice,
                      const char *text, const lynx_plan_crossover *crossovers, uint32_t count)
{
    printf("%u prompt tokens, cache %s (%.1f MB as it is), ", request->prompt_tokens,
           request->is_stored ? "stored" : "made now", request->cache.raw_bytes / 1e6);
    put_rate(request->link.bytes_per_s);
    printf(", drafts stand with %.2f. Seconds:\n\n", request->stands);
    printf("  %-12s %9s %8s %8s %8s %8s %8s %8s\n", "method", "MB", "stall", "TTFT", "TT2T",
           "TT32T", "TT64T", "all");
    for (uint32_t m = 0; m < LYNX_PLAN_METHOD_COUNT; m++)
        put_method(request, (lynx_plan_method)m, m == choice->method);
    printf("\n%s\n", text);
    put_crossovers(crossovers, count);
}

int plan_report(const lynx_plan_request *request, const lynx_plan_options *options,
                bool has_crossovers, bool is_json)
{
    const char *why;
    char text[LYNX_PLAN_TEXT_MAX];
    lynx_plan_choice choice;
    lynx_plan_crossover crossovers[CROSSOVERS_MAX];
    uint32_t count = 0;
    if (lynx_plan_check(request, &why) != LYNX_OK)
        return cli_usage(plan_command, "%s", why);
    if (lynx_plan_choose(request, options, &choice) != LYNX_OK)
        return cli_usage(plan_command, "no method of --methods is possible with these nodes; "
                                       "give their rates or other methods");
    lynx_plan_explain(request, options, &choice, text);
    const lynx_status status = has_crossovers
                                   ? lynx_plan_crossovers(request, options, slowest, fastest,
                                                          crossovers, CROSSOVERS_MAX, &count)
                                   : LYNX_OK;
    if (status != LYNX_OK)
        return cli_fail(plan_command, status, NULL);
    count = count < CROSSOVERS_MAX ? count : CROSSOVERS_MAX;
    if (is_json)
        put_json(request, &choice, text, crossovers, count);
    else
        put_table(request, &choice, text, crossovers, count);
    return CLI_OK;
}
