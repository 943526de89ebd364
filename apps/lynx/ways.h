/* SPDX-License-Identifier: MIT */
/* ways.h - every way to get an answer about a prompt whose cache is elsewhere, and its row. */
#ifndef WAYS_H
#define WAYS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "lynx/runtime.h"

typedef struct way {
    const char *name;
    lynx_method method;
    const char *codec;
    bool after_prefill;
    bool is_strict;           /* padded steps; the others need none and run lone ones */
    bool in_cold, in_stored;  /* scenarios where it differs from the other ways */
    const char *target_codec; /* its tokens are those of plain decoding on the cache behind this
                                 codec; "" = on the cache as it is */
} way;

enum { WAYS = 10 };
extern const way ways[WAYS];

/* NULL when there is none. */
const way *way_named(const char *name);

/* Set what the way asks for in 'options'. */
void way_options(const way *w, lynx_run_options *options);

/* As run_report(), without the tokens and with method, scenario, exact and stall_s: the time
 * without a token after the prefill, or after the request when the cache is stored. */
json_t *way_row(const way *w, bool is_stored, const lynx_run_options *options,
                const lynx_run_result *result);

#endif
