/* SPDX-License-Identifier: MIT */
/* run_alone.c - a prompt without help from others; see run.h. */
#include "base/check.h"
#include "runtime/run.h"

/* ---- local methods ------------------------------------------------------------------- */

static bool on_local_prefill(void *user, uint32_t done, uint32_t total)
{
    lx_run *r = user;
    lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_PREFILL, .count = done, .total = total});
    return !lx_run_is_stopped(r);
}

void lx_run_begin(lx_run *r)
{
    r->zero = lynx_clock_now();
    lx_run_emit(r, (lynx_moment){.type = LYNX_MOMENT_REQUEST, .time = r->zero});
}

/* What the pages are of, computed here. */
static lynx_status prefill(lx_run *r)
{
    r->result->computed_tokens = r->options->prompt_tokens;
    lx_next_forget(&r->next, r->cached_tokens);
    return r->engine->ops->prefill(r->engine, r->options->prompt, r->cached_tokens,
                                   on_local_prefill, r);
}

/* As if the first tokens' cache had been stored. */
static lynx_status run_as_stored(lx_run *r)
{
    lx_run_begin(r);
    LX_TRY(prefill(r));
    LX_TRY(lx_page_pass_all(&r->pass, r->cached_tokens, NULL, NULL));
    LX_TRY(lx_run_digest(r));
    LX_TRY(lx_run_feed(r, false));
    r->result->prefill_ns = lynx_clock_now() - r->zero;
    return lx_run_decode(r);
}

lynx_status lx_run_locally(lx_run *r)
{
    const lynx_run_options *o = r->options;
    lynx_logprobs logprobs;
    lynx_token token;
    if (r->cached_tokens < o->prompt_tokens)
        return run_as_stored(r);
    lx_run_begin(r);
    LX_TRY(prefill(r));
    LX_TRY(lx_run_sample(r, 0, o->prompt_tokens, &token, &logprobs));
    r->result->prefill_ns = lynx_clock_now() - r->zero;
    lx_run_note_own_token(r);
    lx_run_add_token(r, token, lynx_clock_now(), lx_run_wanted(r, &logprobs));
    if (lx_run_is_answered(r))
        return LYNX_OK;
    if (o->method == LYNX_METHOD_LOCAL_FULL) {
        LX_TRY(lx_page_pass_all(&r->pass, r->cached_tokens, NULL, NULL));
        LX_TRY(lx_run_digest(r));
    }
    return lx_run_decode(r);
}

/* ---- when the remotes or the source are lost ----------------------------------------- */

/* Prefill here, bring the cache to the stage that was promised, and go on from what is valid:
 * the tokens are those that the prefill node would have made possible. */
static lynx_status recompute(lx_run *r)
{
    const lynx_run_options *o = r->options;
    lynx_logprobs logprobs;
    lynx_token token;
    r->result->is_recomputed = true;
    r->result->held_tokens = 0;
    r->is_finished = true;
    r->pending_count = 0;
    LX_TRY(prefill(r));
    if (!lx_run_has_start(r)) {
        LX_TRY(lx_run_sample(r, 0, o->prompt_tokens, &token, &logprobs));
        lx_run_note_own_token(r);
        lx_run_add_token(r, token, lynx_clock_now(), lx_run_wanted(r, &logprobs));
    }
    if (lx_run_is_answered(r))
        return LYNX_OK;
    if (o->method == LYNX_METHOD_TOKENS) {
        LX_TRY(lx_run_feed(r, false));
        return lx_run_decode(r);
    }
    LX_TRY(lx_page_pass_all(&r->pass, r->cached_tokens, NULL, NULL));
    LX_TRY(lx_run_has_pass(r) ? lx_run_verify(r) : lx_run_digest(r));
    return lx_run_decode(r);
}

/* Go on with the anchor as it is, and with the drafts; what they left in the cache is computed
 * anew, as that of any token that stands. */
static lynx_status keep_anchor(lx_run *r)
{
    r->result->is_unverified = true;
    LX_TRY(lx_run_apply_pages(r));
    lx_run_accept_unverified(r);
    if (lx_run_is_answered(r))
        return LYNX_OK;
    LX_TRY(lx_next_rewind(&r->next, r->cached_tokens));
    LX_TRY(lx_run_feed(r, false));
    return lx_run_decode(r);
}

static bool can_keep(const lx_run *r)
{
    return r->options->on_loss == LYNX_ON_LOSS_KEEP && lx_run_has_start(r) &&
           !r->has_bad_page && r->options->method != LYNX_METHOD_TOKENS &&
           lx_run_has_plane(r, 0);
}

lynx_status lx_run_go_on_alone(lx_run *r)
{
    lx_run_forget_layers(r);
    if (can_keep(r)) {
        const lynx_status status = keep_anchor(r);
        if (!r->has_bad_page)
            return status;
        r->result->is_unverified = false;
    }
    return recompute(r);
}
