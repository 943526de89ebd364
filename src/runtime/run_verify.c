/* SPDX-License-Identifier: MIT */
/* run_verify.c - what becomes valid: the passes on the full cache; see run.h. */
#include "base/check.h"
#include "runtime/run.h"

bool lx_run_has_pass(const lx_run *r)
{
    return r->result->drafted > 0 || r->result->token_count != 1;
}

/* Over the tokens from 'first' in the history on and the drafts behind them. */
static lynx_status pass(lx_run *r, uint32_t first, const lx_draft *drafts, uint32_t drafted,
                        uint32_t *accepted)
{
    lynx_run_result *result = r->result;
    const uint32_t prompt = r->options->prompt_tokens;
    const uint32_t valid = prompt + result->token_count;
    const bool has_answer = result->token_count + drafted > 0;
    const bool ends = has_answer && lx_run_is_end(r, r->history[valid - 1 + drafted]);
    const bool has_bonus = !ends && lx_run_answer_left(r) > drafted;
    const uint32_t rows = valid - 1 - first + drafted + (has_bonus ? 1 : 0);
    lynx_token follower = 0;

    *accepted = drafted;
    const uint64_t awaited = r->awaited_ns;
    const lynx_time_ns start = lynx_clock_now();
    LX_TRY(lx_run_check_drafts(r, first, rows, drafted, true, accepted, &follower));
    const lynx_time_ns end = lynx_clock_now();
    lx_run_note_own_token(r);
    lynx_pace_pass(r->pace, rows, end - start - (r->awaited_ns - awaited));
    lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_VERIFIED,
                                 .time = end,
                                 .count = *accepted,
                                 .total = drafted});

    for (uint32_t i = 0; i < *accepted && !lx_run_is_answered(r); i++)
        lx_run_add_token(r, drafts[i].token, drafts[i].time,
                         r->row_logprobs ? &r->row_logprobs[i] : NULL);
    if (!lx_run_is_answered(r) && (*accepted < drafted || has_bonus))
        lx_run_add_token(r, follower, end,
                         r->row_logprobs ? &r->row_logprobs[*accepted] : NULL);
    /* The cache keeps what is valid and has been input: everything but the last token. */
    return lx_next_rewind(&r->next, prompt + result->token_count - 1);
}

/* Drafts that are verified next. Nobody was told of them before: they count from now on. */
static void tell(const lx_run *r, lx_draft *drafts, uint32_t drafted)
{
    const lynx_time_ns now = lynx_clock_now();
    for (uint32_t i = 0; i < drafted; i++) {
        drafts[i].time = now;
        lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_DRAFT,
                                     .time = now,
                                     .count = r->result->token_count + i,
                                     .token = drafts[i].token});
    }
    lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_VERIFY, .time = now, .total = drafted});
}

/* Where a branch has what is valid and more, that is verified, too. */
static lynx_status verify_rest(lx_run *r, uint32_t begin)
{
    lynx_run_result *result = r->result;
    lx_draft *drafts;
    uint32_t drafted, accepted;
    while (!lx_run_is_answered(r) && (drafts = lx_run_take_rest(r, begin, &drafted))) {
        LX_REQUIRE(!lx_run_is_stopped(r), LYNX_ERR_CANCELLED);
        tell(r, drafts, drafted);
        LX_TRY(pass(r, r->options->prompt_tokens + result->token_count - 1, drafts, drafted,
                    &accepted));
        result->branch_drafted += drafted;
        result->branch_accepted += accepted;
    }
    return LYNX_OK;
}

lynx_status lx_run_verify(lx_run *r)
{
    lynx_run_result *result = r->result;
    const uint32_t begin = result->token_count;
    const bool is_early = !lx_run_has_plane(r, r->pass.plane_count - 1);
    const lynx_time_ns start = lynx_clock_now();
    lx_run_take_trunk(r);
    const uint32_t drafted = result->drafted;
    lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_VERIFY, .time = start, .total = drafted});
    LX_TRY(lx_next_rewind(&r->next, r->cached_tokens));
    LX_TRY(lx_run_apply_pages(r));
    LX_TRY(lx_run_keep_more(r));
    LX_TRY(lx_run_digest(r));
    LX_TRY(pass(r, r->cached_tokens, r->branches.all[0].drafts, drafted, &result->accepted));
    if (drafted)
        lynx_pace_verdict(r->pace, drafted, result->accepted);
    if (result->accepted < drafted)
        LX_TRY(verify_rest(r, begin));
    result->verify_ns = lynx_clock_now() - (is_early ? r->zero + result->complete_ns : start);
    return LYNX_OK;
}

void lx_run_accept_unverified(lx_run *r)
{
    lynx_run_result *result = r->result;
    lx_run_take_trunk(r);
    result->accepted = result->drafted;
    for (uint32_t i = 0; i < result->drafted && !lx_run_is_answered(r); i++)
        lx_run_add_token(r, r->branches.all[0].drafts[i].token,
                         r->branches.all[0].drafts[i].time, NULL);
}
