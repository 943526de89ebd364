/* SPDX-License-Identifier: MIT */
#include "support/toy_stored.h"

static const uint64_t LEAST_NS = 20000000;

void toy_run_stored(toy_answer *plain, toy_answer *got, lynx_engine *engine,
                    memory_source *source, uint32_t stored, uint32_t steps,
                    lynx_run_options *options)
{
    lynx_run_options local = *options;
    local.method = LYNX_METHOD_LOCAL_FULL;
    local.cached_tokens = stored;
    local.on_moment = NULL;
    local.guesses = false;
    toy_run(plain, engine, NULL, 0, &local);
    TOY_CHECK(plain->text[0] == '\0');
    const uint64_t step_ns =
        (plain->times[TOY_ANSWER - 1] - plain->times[0]) / (TOY_ANSWER - 1);
    source->residual_ns = steps * step_ns > LEAST_NS ? steps * step_ns : LEAST_NS;
    options->source = &source->base;
    toy_run(got, engine, NULL, 0, options);
    TOY_CHECK(source->held == 0);
}
