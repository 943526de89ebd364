/* SPDX-License-Identifier: MIT */
#include "lynx/speculate.h"

uint32_t lynx_accept_count(const lynx_token *drafts, const lynx_token *verified, uint32_t count)
{
    uint32_t accepted = 0;
    while (accepted < count && drafts[accepted] == verified[accepted])
        accepted++;
    return accepted;
}

uint32_t lynx_draft_limit(uint32_t draft_count_max, uint32_t answer_left, uint32_t context_left)
{
    uint32_t limit = draft_count_max;
    if (answer_left < limit)
        limit = answer_left;
    if (context_left < limit)
        limit = context_left;
    return limit;
}
