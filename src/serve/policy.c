/* SPDX-License-Identifier: MIT */
/* policy.c - what this node has shown, and the choice with the nodes as they are. */
#include "serve/policy.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* Of what was known before, after each new observation. */
static const double KEPT = 0.8;
/* Before anything is known: drafts are mostly right. */
static const double PRIOR_HITS = 9;
static const double PRIOR_MISSES = 1;
/* Of a verification, about. */
static const double PASS_ROWS = 64;

/* More than a question. */
enum { MANY_TOKENS = 256 };

static const char *const fallback_names[LX_FALLBACK_COUNT] = {[LX_FALLBACK_NONE] = "none",
                                                              [LX_FALLBACK_UNREACHABLE] =
                                                                  "unreachable",
                                                              [LX_FALLBACK_FAILING] = "failing",
                                                              [LX_FALLBACK_SLOWER] = "slower",
                                                              [LX_FALLBACK_LOST] = "lost"};

const char *lx_fallback_name(lx_fallback fallback)
{
    return fallback_names[fallback];
}

void lx_policy_init(lx_policy *policy)
{
    *policy = (lx_policy){0};
    pthread_mutex_init(&policy->lock, NULL);
}

void lx_policy_fini(lx_policy *policy)
{
    pthread_mutex_destroy(&policy->lock);
}

/* ---- what this node has shown -------------------------------------------------------- */

static void renew(double *known, double seen)
{
    *known = *known > 0 ? KEPT * *known + (1 - KEPT) * seen : seen;
}

/* Two sums whose quotient is a rate. */
static void renew_rate(double *amount, double *seconds, double seen, uint64_t ns)
{
    *amount = KEPT * *amount + seen;
    *seconds = KEPT * *seconds + (double)ns / 1e9;
}

static void note(lx_own_figures *own, const lx_seen *s)
{
    if (s->prefill_ns)
        renew_rate(&own->prefill_tokens, &own->prefill_s, s->prefill_tokens,
                   s->prefill_ns / (s->busy ? s->busy : 1));
    if (s->step_ns)
        renew(&own->step_s, (double)s->step_ns / 1e9);
    if (s->draft_ns)
        renew(&own->draft_s, (double)s->draft_ns / 1e9);
    if (s->row_ns)
        renew(&own->row_s, (double)s->row_ns / 1e9);
    if (s->drafted) {
        own->hits = KEPT * own->hits + s->accepted;
        own->misses = KEPT * own->misses + (s->accepted < s->drafted);
    }
    if (s->decode_cache_ns)
        renew_rate(&own->decode_bytes, &own->decode_s, (double)s->cache_bytes,
                   s->decode_cache_ns);
    if (s->answer_tokens)
        renew(&own->answer_tokens, s->answer_tokens);
    if (s->store_ns)
        renew_rate(&own->store_bytes, &own->store_s, (double)s->store_bytes, s->store_ns);
}

void lx_policy_note(lx_policy *policy, const lx_seen *seen)
{
    pthread_mutex_lock(&policy->lock);
    note(&policy->own, seen);
    pthread_mutex_unlock(&policy->lock);
}

lx_own_figures lx_policy_own(lx_policy *policy)
{
    pthread_mutex_lock(&policy->lock);
    const lx_own_figures own = policy->own;
    pthread_mutex_unlock(&policy->lock);
    return own;
}

/* A verification is a prefill of a few tokens: it tells the rate before there was one, and may
 * be newer. */
double lx_own_prefill_rate(const lx_own_figures *own)
{
    const double seen = own->prefill_s > 0 ? own->prefill_tokens / own->prefill_s : 0;
    const double pass_s = own->step_s + (PASS_ROWS - 1) * own->row_s;
    const double by_rows = own->row_s > 0 ? PASS_ROWS / pass_s : 0;
    return seen > by_rows ? seen : by_rows;
}

double lx_own_stands(const lx_own_figures *own)
{
    const double hits = own->hits + PRIOR_HITS;
    return hits / (hits + own->misses + PRIOR_MISSES);
}

/* A prefill node computes the whole prompt, but need not send what is stored. One of which
 * nothing is known is asked where there is much to compute. */
static bool is_helped(const lx_stored *s, double load_s, double alone_s)
{
    if (!s->has_helpers)
        return false;
    if (s->helped_s <= 0)
        return s->prompt_tokens - s->stored_tokens >= MANY_TOKENS;
    return (s->helped_s > load_s ? s->helped_s : load_s) < alone_s;
}

lx_stored_way lx_policy_stored(const lx_own_figures *own, const lx_stored *s)
{
    const double rate = lx_own_prefill_rate(own) / (s->busy ? s->busy : 1);
    const uint32_t rest = s->prompt_tokens - s->stored_tokens;
    const double load_s =
        own->store_s > 0 ? (double)s->bytes * own->store_s / own->store_bytes : 0;
    if (rate <= 0)
        return LX_STORED_ALONE;
    const double alone_s = load_s + rest / rate;
    if (is_helped(s, load_s, alone_s))
        return s->otherwise_s > 0 && load_s > s->otherwise_s ? LX_STORED_NOT : LX_STORED_HELPED;
    const bool pays =
        load_s <= s->stored_tokens / rate && (s->otherwise_s <= 0 || alone_s <= s->otherwise_s);
    return pays ? LX_STORED_ALONE : LX_STORED_NOT;
}

lx_stored_way lx_policy_choose_stored(lx_policy *policy, const lx_stored *stored)
{
    pthread_mutex_lock(&policy->lock);
    const lx_stored_way way = lx_policy_stored(&policy->own, stored);
    if (way == LX_STORED_NOT)
        policy->own.store_s *= KEPT;
    pthread_mutex_unlock(&policy->lock);
    return way;
}

/* ---- the choice ---------------------------------------------------------------------- */

lynx_status lx_policy_choose(lx_policy *policy, const lx_question *question,
                             lynx_remote *const *remotes, const char *const *names,
                             uint32_t count, lx_choice *choice)
{
    lynx_remote_status *statuses = calloc((size_t)count + 1, sizeof(*statuses));
    LX_REQUIRE(statuses, LYNX_ERR_MEMORY);
    for (uint32_t i = 0; i < count; i++)
        lynx_remote_status_of(remotes[i], &statuses[i]);
    const lynx_time_ns now = lynx_clock_now();
    pthread_mutex_lock(&policy->lock);
    for (uint32_t i = 0; i < count; i++) /* a trial that is under way is enough */
        if (statuses[i].measured_at && statuses[i].measured_at < policy->tried_at[i])
            statuses[i].measured_at = policy->tried_at[i];
    lx_policy_choose_among(&policy->own, question, statuses, names, count, now, choice);
    if (choice->is_trial)
        policy->tried_at[choice->order[0]] = now;
    pthread_mutex_unlock(&policy->lock);
    free(statuses);
    return LYNX_OK;
}
