/* SPDX-License-Identifier: MIT */
/* run_report.h - the result of one run as JSON and in words. */
#ifndef RUN_REPORT_H
#define RUN_REPORT_H

#include <jansson.h>

#include "lynx/engine.h"
#include "lynx/runtime.h"

/* Seconds from the clock's zero to the token that makes 'count' valid; JSON null if the answer
 * has fewer. */
json_t *run_seconds_to(const lynx_run_result *result, uint32_t count);

/* Everything that one run measured; a new reference. */
json_t *run_report(lynx_engine *engine, const lynx_run_options *options,
                   const lynx_run_result *result);

/* The answer as UTF-8 (broken bytes at its end dropped); a new reference. */
json_t *run_text(lynx_engine *engine, const lynx_run_result *result);

/* "drafted 20, accepted 18 ..." on stderr. */
void run_summary(lynx_engine *engine, const lynx_run_options *options,
                 const lynx_run_result *result);

#endif
