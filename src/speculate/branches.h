/* SPDX-License-Identifier: MIT */
/*
 * branches.h - drafts that go on from second choices.
 *
 * Where a draft is wrong, the right token is nearly always the draft's second choice, and the
 * two logits lay close together: of 49 first wrong drafts (SmolLM2 and Gemma 3, 4.5 bits, 72
 * prompts) it was so in 44, 47 with less than 0.4 between them, and in 30 no draft before or
 * behind it had been closer. So while the rest of a cache is on its way, the closest drafts are
 * made once more, from their second choice on. Where the
 * verification finds the first choice wrong and the second right, what was drafted behind that
 * one is verified next.
 *
 * All drafts make a tree. A branch is a path through it from the root on; the first one, the
 * trunk, has first choices only. One is active: what is drafted is put behind it. Source:
 * docs/decisions/0017-second-choices.md.
 */
#ifndef LX_SPECULATE_BRANCHES_H
#define LX_SPECULATE_BRANCHES_H

#include "lynx/engine.h"
#include "lynx/memory.h"

enum {
    LX_BRANCHES_MAX = 8,
    LX_BRANCH_RUN = 16, /* drafts that are made on a branch before another one may be better */
    LX_MARGIN_SURE = 1  /* a draft with more than this to its second choice is right */
};

typedef struct lx_draft {
    lynx_token token;
    lynx_token other;  /* what would have been chosen without it; -1: not known, or tried */
    float margin;      /* its logit less that of the other, >= 0; of a second choice negative */
    lynx_time_ns time; /* when it was made */
} lx_draft;

typedef struct lx_branch {
    lx_draft *drafts;
    uint32_t begin; /* the first one that no older branch has */
    uint32_t count;
    bool is_ended; /* by a token that ends the text */
} lx_branch;

typedef struct lx_branches {
    const lynx_allocator *memory;
    lx_draft *room; /* of all */
    uint32_t limit; /* most drafts of each */
    uint32_t most;  /* branches */
    uint32_t count, active;
    uint32_t run_end; /* drafts of the active one, at which others are looked at */
    lx_branch all[LX_BRANCHES_MAX];
} lx_branches;

/* 'limit' drafts on each of 'most', [1, LX_BRANCHES_MAX], branches. LYNX_ERR_MEMORY; then, and
 * when it is zeroed, fini does nothing. */
lynx_status lx_branches_init(lx_branches *branches, uint32_t limit, uint32_t most,
                             const lynx_allocator *memory);
void lx_branches_fini(lx_branches *branches);

/* The trunk is all there is, it is active, and keeps its first 'count' drafts (what others know
 * of them counts no more). */
void lx_branches_cut(lx_branches *branches, uint32_t count);

lx_branch *lx_branches_active(lx_branches *branches);

/* Behind the active one, which has less than 'limit'. */
void lx_branches_add(lx_branches *branches, lx_draft draft, bool is_end);

/* Make the trunk active. Returns how many drafts it and what was active begin with alike. */
uint32_t lx_branches_take_trunk(lx_branches *branches);

/*
 * Make the branch active whose next draft is most likely to be of use, an old one or one that
 * begins with a second choice; of no more than 'limit' drafts, and with a chance above 'least',
 * but for the trunk. The one that is active stays so for a run of drafts. False: nothing is
 * left to draft on. '*common': as lx_branches_take_trunk.
 */
bool lx_branches_choose(lx_branches *branches, uint32_t limit, double least, uint32_t *common);

/* The longest branch that begins with these 'count' tokens and the token behind them; NULL:
 * none has more than them. */
const lx_branch *lx_branches_find(const lx_branches *branches, const lynx_token *tokens,
                                  uint32_t count);

#endif
