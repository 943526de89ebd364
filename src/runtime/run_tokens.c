/* SPDX-License-Identifier: MIT */
/* run_tokens.c - drafts, reviews of them and plain decoding; see run.h. */
#include "base/check.h"
#include "runtime/run.h"

bool lx_run_is_end(const lx_run *r, lynx_token token)
{
    return !r->options->ignore_end && r->engine->ops->token_is_end(r->engine, token);
}

uint32_t lx_run_answer_left(const lx_run *r)
{
    return r->options->answer_tokens_max - r->result->token_count;
}

bool lx_run_is_answered(const lx_run *r)
{
    return r->result->has_ended || lx_run_answer_left(r) == 0;
}

bool lx_run_has_start(const lx_run *r)
{
    return r->has_first || (r->stock && !r->receiver);
}

/* A valid token, produced at 'time'. It stands in the history already or is put there. */
void lx_run_add_token(lx_run *r, lynx_token token, lynx_time_ns time,
                      const lynx_logprobs *logprobs)
{
    lynx_run_result *result = r->result;
    const uint32_t index = result->token_count;
    r->history[r->options->prompt_tokens + index] = token;
    result->tokens[index] = token;
    lynx_token_clock_add(&r->clock, time > r->zero ? time - r->zero : 0);
    result->token_count++;
    result->has_ended = lx_run_is_end(r, token);
    lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_TOKEN,
                                 .time = time,
                                 .count = index,
                                 .total = r->options->answer_tokens_max,
                                 .token = token,
                                 .logprobs = logprobs});
}

const lynx_logprobs *lx_run_wanted(const lx_run *r, const lynx_logprobs *logprobs)
{
    return r->options->wants_logprobs ? logprobs : NULL;
}

/* 'logprobs' may be NULL, and is left alone if they are not wanted. */
static void fill_logprobs(lx_run *r, uint32_t row, lynx_token token, lynx_logprobs *logprobs)
{
    if (logprobs && r->options->wants_logprobs)
        lynx_logprobs_of(r->engine->ops->logits(r->engine, row), r->model->vocabulary, token,
                         r->options->top_logprobs, logprobs);
}

lynx_status lx_run_sample(lx_run *r, uint32_t row, uint32_t count, lynx_token *token,
                          lynx_logprobs *logprobs)
{
    LX_TRY(r->engine->ops->sample(r->engine, row, &r->options->sampling, r->history,
                                  r->options->prompt_tokens, count, token));
    fill_logprobs(r, row, *token, logprobs);
    return LYNX_OK;
}

void lx_run_note_own_token(lx_run *r)
{
    if (r->result->first_own_ns == 0)
        r->result->first_own_ns = lynx_clock_now() - r->zero;
}

/* ---- tokens -------------------------------------------------------------------------- */

uint32_t lx_run_behind_pages(const lx_run *r)
{
    return r->options->prompt_tokens + r->result->token_count - r->cached_tokens;
}

uint32_t lx_run_behind(const lx_run *r)
{
    const uint32_t wanted = r->options->prompt_tokens + r->result->token_count - 1;
    const uint32_t length = r->engine->ops->length(r->engine);
    return wanted > length ? wanted - length : 0;
}

/* 'count' rows of a batch stand for the tokens from 'first' in the history on, whose followers
 * are known. */
static lynx_status check_carried(lx_run *r, uint32_t first, uint32_t count)
{
    for (uint32_t row = 0; row < count; row++) {
        lynx_token token;
        LX_TRY(lx_run_sample(r, row, first + row + 1, &token, NULL));
        r->result->carried_other += token != r->history[first + row + 1];
    }
    return LYNX_OK;
}

uint32_t lx_run_batch_of(const lx_run *r, uint32_t left)
{
    return left < r->model->batch_tokens ? left : r->model->batch_tokens;
}

lynx_status lx_run_keep_more(lx_run *r)
{
    const lynx_engine_ops *ops = r->engine->ops;
    const uint32_t first = r->cached_tokens;
    const uint32_t end = r->options->kept_tokens;
    if (!r->options->source || end <= first)
        return LYNX_OK;
    while (ops->length(r->engine) < end) {
        LX_REQUIRE(!lx_run_is_stopped(r), LYNX_ERR_CANCELLED);
        const uint32_t at = ops->length(r->engine);
        const uint32_t left = end - at;
        const uint32_t count = lx_run_batch_of(r, left);
        LX_TRY(ops->batch(r->engine, r->history + at, count, count));
    }
    LX_TRY(lx_page_pass_rest(&r->pass, first, end));
    r->cached_tokens = end;
    return LYNX_OK;
}

lynx_status lx_run_catch_up(lx_run *r)
{
    for (uint32_t left = lx_run_behind(r); left > 0; left = lx_run_behind(r)) {
        const uint32_t first = r->engine->ops->length(r->engine);
        const uint32_t count = lx_run_batch_of(r, left);
        LX_TRY(r->engine->ops->batch(r->engine, r->history + first, count, 0));
        LX_TRY(check_carried(r, first, count));
    }
    return LYNX_OK;
}

lynx_status lx_run_feed(lx_run *r, bool is_draft)
{
    const uint32_t behind = lx_run_behind(r);
    const bool takes_last = behind > 0 || lx_run_can_await(r, 0);
    for (uint32_t left = takes_last ? behind + 1 : 0; left > 0;) {
        const uint32_t first = r->engine->ops->length(r->engine);
        const uint32_t count = lx_run_batch_of(r, left);
        const uint32_t rows = count < left ? count : count - 1; /* that nobody asks for */
        LX_TRY(is_draft ? lx_run_draft_batch(r, first, count)
                        : lx_run_batch(r, first, count, rows, 0));
        left -= count;
        if (left == 0)
            lx_next_note(&r->next, first + count, is_draft ? 0 : rows);
    }
    return LYNX_OK;
}

/* Of an exact step, unless its logits are here already. */
static lynx_status choose_next(lx_run *r, uint32_t count, lynx_token *token)
{
    const bool is_ahead = r->next.ahead != 0;
    const uint32_t left = lx_run_answer_left(r);
    const lynx_time_ns start = lynx_clock_now();
    if (r->options->skip_verify)
        return lx_next_draft(&r->next, r->history, count, left, token);
    LX_TRY(lx_next_choose(&r->next, r->history, count, left, token));
    if (!is_ahead)
        lynx_pace_step(r->pace, lynx_clock_now() - start);
    return LYNX_OK;
}

lynx_status lx_run_decode(lx_run *r)
{
    lynx_run_result *result = r->result;
    while (!lx_run_is_answered(r)) {
        LX_REQUIRE(!lx_run_is_stopped(r), LYNX_ERR_CANCELLED);
        const uint32_t count = r->options->prompt_tokens + result->token_count;
        lynx_logprobs logprobs;
        lynx_token token;
        LX_TRY(choose_next(r, count, &token));
        fill_logprobs(r, r->next.row, token, &logprobs);
        lx_run_note_own_token(r);
        lx_run_add_token(r, token, lynx_clock_now(), lx_run_wanted(r, &logprobs));
    }
    /* A guess that was right has put the last token in the cache. */
    return lx_next_rewind(&r->next, r->options->prompt_tokens + result->token_count - 1);
}

/* 'draft' is the next one. What is behind a second choice is told when that is valid. */
static void put_draft(lx_run *r, lx_draft draft)
{
    lynx_run_result *result = r->result;
    const uint32_t index = result->token_count + result->drafted;
    r->history[r->options->prompt_tokens + index] = draft.token;
    lx_branches_add(&r->branches, draft, lx_run_is_end(r, draft.token));
    result->drafted++;
    if (r->branches.active == 0)
        lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_DRAFT,
                                     .time = draft.time,
                                     .count = index,
                                     .token = draft.token});
}

lynx_status lx_run_draft(lx_run *r, uint32_t limit)
{
    const lynx_run_result *result = r->result;
    const uint32_t before = result->drafted;
    const bool is_ahead = r->next.ahead != 0; /* it takes no step */
    const lynx_time_ns start = lynx_clock_now();
    lx_draft draft;
    do {
        const uint32_t count =
            r->options->prompt_tokens + result->token_count + result->drafted;
        LX_TRY(
            lx_next_draft(&r->next, r->history, count, limit - result->drafted, &draft.token));
        lx_run_find_other(r, r->next.row, &draft);
        lx_run_note_own_token(r);
        draft.time = lynx_clock_now();
        put_draft(r, draft);
    } while (r->next.ahead && !lx_run_is_end(r, draft.token));
    const uint64_t took = lynx_clock_now() - start;
    if (is_ahead)
        return LYNX_OK;
    lynx_pace_draft(r->pace, result->drafted - before, took);
    if (r->next.is_strict)
        lynx_pace_step(r->pace, took);
    return LYNX_OK;
}

lynx_status lx_run_check_drafts(lx_run *r, uint32_t first, uint32_t rows, uint32_t drafted,
                                bool is_final, uint32_t *accepted, lynx_token *follower)
{
    const uint32_t prompt = r->options->prompt_tokens;
    const uint32_t carried = prompt + r->result->token_count - 1 - first;
    /* What follows the rows before is of the prompt, or valid. */
    const uint32_t told = !is_final ? carried : prompt > first ? prompt - first - 1 : 0;
    *accepted = 0;
    for (uint32_t done = 0; done < rows;) {
        const uint32_t left = rows - done;
        const uint32_t count = lx_run_batch_of(r, left);
        const uint32_t begin = told > done ? told - done : 0;
        LX_TRY(lx_run_batch(r, first + done, count, begin,
                            is_final ? r->pass.plane_count - 1 : 0));
        for (uint32_t row = begin; row < count; row++) {
            const uint32_t index = done + row;
            const bool is_told = r->row_logprobs && is_final && index >= carried;
            LX_TRY(lx_run_sample(r, row, first + 1 + index, follower,
                                 is_told ? &r->row_logprobs[index - carried] : NULL));
            if (index >= carried + drafted)
                return LYNX_OK; /* all drafts stand, this one is the bonus */
            const bool is_equal =
                lynx_accept_count(&r->history[first + 1 + index], follower, 1) == 1;
            r->result->carried_other += index < carried && !is_equal;
            if (index < carried)
                continue;
            if (!is_equal)
                return LYNX_OK; /* the correction */
            if (!is_final)
                lx_run_find_other(r, row, &r->branches.all[0].drafts[*accepted]);
            (*accepted)++;
        }
        done += count;
    }
    return LYNX_OK;
}

lynx_status lx_run_review(lx_run *r, uint32_t limit)
{
    lynx_run_result *result = r->result;
    const uint32_t valid = r->options->prompt_tokens + result->token_count;
    lx_run_take_trunk(r);
    const uint32_t drafted = result->drafted;
    const bool has_follower =
        drafted < limit && !lx_run_is_end(r, r->history[valid - 1 + drafted]);
    const uint32_t rows = lx_run_behind_pages(r) - 1 + drafted + (has_follower ? 1 : 0);
    uint32_t kept = drafted;
    lynx_token follower = 0;
    lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_REVIEW, .total = drafted});
    LX_TRY(lx_next_rewind(&r->next, r->cached_tokens));
    LX_TRY(lx_run_apply_pages(r));
    const lynx_time_ns pass_start = lynx_clock_now();
    LX_TRY(lx_run_check_drafts(r, r->cached_tokens, rows, drafted, false, &kept, &follower));
    const lynx_time_ns end = lynx_clock_now();
    lynx_pace_pass(r->pace, rows, end - pass_start);
    result->reviews++;
    result->withdrawn += drafted - kept;
    result->drafted = kept;
    lx_branches_cut(&r->branches, kept);
    lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_REVIEWED,
                                 .time = end,
                                 .count = kept,
                                 .total = drafted});
    if (kept < drafted || has_follower)
        put_draft(r, (lx_draft){follower, -1, LX_MARGIN_SURE, end});
    /* The cache keeps what was input: everything but the last draft. */
    return lx_next_rewind(&r->next, valid - 1 + result->drafted);
}
