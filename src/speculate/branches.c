/* SPDX-License-Identifier: MIT */
#include "speculate/branches.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

/*
 * That a draft is wrong when those before it are right, by its margin: 0.5 where both logits
 * are the same, less by 1/e for each 0.12 (observed: 0.26 to 0.43 below 0.1, 0.08 to 0.19 up to
 * 0.2, 0.04 up to 0.3, 0 to 0.03 up to 0.5). Only the order of branches depends on it.
 */
static const double WRONG_MOST = 0.5;
static const double MARGIN_SCALE = 0.12;
/* Of wrong drafts, those whose second choice is right. */
static const double SECOND_IS_RIGHT = 0.9;

lynx_status lx_branches_init(lx_branches *b, uint32_t limit, uint32_t most,
                             const lynx_allocator *memory)
{
    *b = (lx_branches){.memory = memory, .limit = limit, .most = most};
    b->room = lx_alloc(memory, ((size_t)limit + 1) * most, sizeof(*b->room));
    LX_REQUIRE(b->room, LYNX_ERR_MEMORY);
    for (uint32_t i = 0; i < most; i++)
        b->all[i].drafts = b->room + (size_t)i * (limit + 1);
    lx_branches_cut(b, 0);
    return LYNX_OK;
}

void lx_branches_fini(lx_branches *b)
{
    lx_free(b->memory, b->room, ((size_t)b->limit + 1) * b->most, sizeof(*b->room));
    b->room = NULL;
}

void lx_branches_cut(lx_branches *b, uint32_t count)
{
    lx_branch *trunk = &b->all[0];
    b->count = 1;
    b->active = 0;
    b->run_end = LX_BRANCH_RUN;
    trunk->begin = 0;
    trunk->is_ended = trunk->is_ended && trunk->count == count;
    trunk->count = count;
}

lx_branch *lx_branches_active(lx_branches *b)
{
    return &b->all[b->active];
}

void lx_branches_add(lx_branches *b, lx_draft draft, bool is_end)
{
    lx_branch *branch = lx_branches_active(b);
    branch->drafts[branch->count++] = draft;
    branch->is_ended = is_end;
}

/* ---- the choice ---------------------------------------------------------------------- */

/* The chance that a draft stands when those before it do. */
static double stands(float margin)
{
    const double wrong = WRONG_MOST * exp(-fabs((double)margin) / MARGIN_SCALE);
    return margin < 0 ? SECOND_IS_RIGHT * wrong : 1 - wrong;
}

typedef struct candidate {
    double chance;       /* more than 0 where there is one */
    uint32_t branch, at; /* at == count of the branch: go on there; else by a second choice */
} candidate;

/* As far as chances are above 'least'; the trunk goes on in any case. */
static void look_at_branch(const lx_branches *b, uint32_t index, uint32_t limit, double least,
                           candidate *best)
{
    const lx_branch *branch = &b->all[index];
    double chance = 1;
    for (uint32_t i = 0; i < branch->count; i++) {
        const lx_draft *draft = &branch->drafts[i];
        const double second = chance * stands(-draft->margin);
        if (i >= branch->begin && i + 1 < limit && draft->other >= 0 && b->count < b->most &&
            second > least && second > best->chance)
            *best = (candidate){second, index, i};
        chance *= stands(draft->margin);
    }
    if (branch->count < limit && !branch->is_ended && (index == 0 || chance > least) &&
        chance > best->chance)
        *best = (candidate){chance, index, branch->count};
}

static uint32_t common_drafts(const lx_branch *a, const lx_branch *b)
{
    uint32_t count = 0;
    while (count < a->count && count < b->count &&
           a->drafts[count].token == b->drafts[count].token)
        count++;
    return count;
}

static uint32_t activate(lx_branches *b, uint32_t index)
{
    const uint32_t common = common_drafts(lx_branches_active(b), &b->all[index]);
    b->active = index;
    b->run_end = b->all[index].count + LX_BRANCH_RUN;
    return common;
}

/* A branch with the second choice of draft 'at' of another. */
static uint32_t fork(lx_branches *b, uint32_t from, uint32_t at)
{
    lx_draft *first = &b->all[from].drafts[at];
    lx_branch *branch = &b->all[b->count];
    memcpy(branch->drafts, b->all[from].drafts, at * sizeof(*branch->drafts));
    branch->drafts[at] = (lx_draft){first->other, -1, -first->margin, first->time};
    branch->begin = at + 1;
    branch->count = at + 1;
    branch->is_ended = false;
    first->other = -1;
    return b->count++;
}

uint32_t lx_branches_take_trunk(lx_branches *b)
{
    return activate(b, 0);
}

bool lx_branches_choose(lx_branches *b, uint32_t limit, double least, uint32_t *common)
{
    const lx_branch *active = lx_branches_active(b);
    candidate best = {0};
    *common = active->count;
    if (active->count < limit && active->count < b->run_end && !active->is_ended)
        return true;
    for (uint32_t i = 0; i < b->count; i++)
        look_at_branch(b, i, limit, least, &best);
    if (!(best.chance > 0))
        return false;
    const bool is_old = best.at == b->all[best.branch].count;
    *common = activate(b, is_old ? best.branch : fork(b, best.branch, best.at));
    return true;
}

static bool begins_with(const lx_branch *branch, const lynx_token *tokens, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (i >= branch->count || branch->drafts[i].token != tokens[i])
            return false;
    return true;
}

const lx_branch *lx_branches_find(const lx_branches *b, const lynx_token *tokens,
                                  uint32_t count)
{
    const lx_branch *found = NULL;
    for (uint32_t i = 0; i < b->count; i++) {
        const lx_branch *branch = &b->all[i];
        if (branch->count > (found ? found->count : count) &&
            begins_with(branch, tokens, count))
            found = branch;
    }
    return found;
}
