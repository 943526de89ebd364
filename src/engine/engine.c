/* SPDX-License-Identifier: MIT */
#include "lynx/engine.h"

#include <math.h>

void lynx_engine_destroy(lynx_engine *engine)
{
    if (engine)
        engine->ops->destroy(engine);
}

void lynx_sampling_init(lynx_sampling *sampling)
{
    *sampling = (lynx_sampling){
        .top_p = 1.0f,
        .repeat_penalty = 1.0f,
        .penalty_tokens = 64,
    };
}

static bool is_within(float value, float least, float most)
{
    return isfinite(value) && value >= least && value <= most;
}

lynx_status lynx_sampling_check(const lynx_sampling *sampling)
{
    const bool is_valid =
        is_within(sampling->temperature, 0.0f, 100.0f) && sampling->top_k >= 0 &&
        is_within(sampling->top_p, 0.0f, 1.0f) && sampling->top_p > 0.0f &&
        is_within(sampling->min_p, 0.0f, 1.0f) && sampling->min_p < 1.0f &&
        is_within(sampling->repeat_penalty, 0.0f, 10.0f) && sampling->repeat_penalty > 0.0f &&
        is_within(sampling->frequency_penalty, -2.0f, 2.0f) &&
        is_within(sampling->presence_penalty, -2.0f, 2.0f) && sampling->penalty_tokens >= 0 &&
        sampling->penalty_tokens <= 4096;
    return is_valid ? LYNX_OK : LYNX_ERR_ARGUMENT;
}
