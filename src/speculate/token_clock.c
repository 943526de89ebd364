/* SPDX-License-Identifier: MIT */
#include "lynx/speculate.h"

void lynx_token_clock_add(lynx_token_clock *clock, lynx_time_ns time)
{
    if (clock->count < clock->capacity)
        clock->times[clock->count++] = time;
}

lynx_time_ns lynx_token_clock_at(const lynx_token_clock *clock, uint32_t index,
                                 lynx_time_ns start)
{
    if (index >= clock->count)
        return LYNX_TIME_NEVER;
    return clock->times[index] > start ? clock->times[index] - start : 0;
}
