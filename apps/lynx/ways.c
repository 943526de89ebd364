/* SPDX-License-Identifier: MIT */
#include "ways.h"

#include <string.h>

#include "run_report.h"

const way ways[WAYS] = {
    {"f16", LYNX_METHOD_WAIT, "raw", true, false, true, true, ""},
    {"f16_streamed", LYNX_METHOD_WAIT, "raw", false, false, true, false, ""},
    {"int8", LYNX_METHOD_WAIT, "int8", false, false, true, true, "int8"},
    {"int4", LYNX_METHOD_WAIT, "int4", false, false, true, true, "int4"},
    {"anchor_only", LYNX_METHOD_ANCHOR, "range", false, false, true, true, "range"},
    {"lynx", LYNX_METHOD_SPECULATE, "range", false, true, true, true, "range"},
    {"lynx_3", LYNX_METHOD_SPECULATE, "range-3", false, true, true, true, "range-3"},
    {"carry", LYNX_METHOD_CARRY, "range", false, true, true, false, "range"},
    {"recompute", LYNX_METHOD_LOCAL, "raw", false, false, true, true, ""},
    /* Of a stored prompt the prefill node has chosen its tokens before it is asked. */
    {"carry_on", LYNX_METHOD_TOKENS, "raw", false, false, true, false, ""},
};

const way *way_named(const char *name)
{
    for (size_t i = 0; i < WAYS; i++)
        if (strcmp(ways[i].name, name) == 0)
            return &ways[i];
    return NULL;
}

void way_options(const way *w, lynx_run_options *options)
{
    options->method = w->method;
    options->after_prefill = w->after_prefill;
    options->on_loss = LYNX_ON_LOSS_FAIL; /* a row is of its way or of none */
    (void)!lynx_codec_spec_named(&options->spec, w->codec);
}

json_t *way_row(const way *w, bool is_stored, const lynx_run_options *options,
                const lynx_run_result *result)
{
    /* A stored cache needs no prefill: who prefills nevertheless stalls meanwhile. */
    const uint64_t zero = is_stored ? 0 : result->prefill_ns;
    const uint64_t stall = result->first_own_ns > zero ? result->first_own_ns - zero : 0;
    json_t *row = run_report(options->engine, options, result);
    json_object_del(row, "tokens");
    json_object_set_new(row, "method", json_string(w->name));
    json_object_set_new(row, "scenario", json_string(is_stored ? "stored" : "cold"));
    json_object_set_new(row, "exact", json_string(w->is_strict ? "strict" : "rounding"));
    /* Whose tokens come from the prefill node does not stall. */
    const bool has_stall = result->first_own_ns && !result->carried;
    json_object_set_new(row, "stall_s",
                        has_stall ? json_real((double)stall / 1e9) : json_null());
    return row;
}
