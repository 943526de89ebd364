/* SPDX-License-Identifier: MIT */
/* policy_choice.c - the choice from figures; see policy.h. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "serve/policy.h"

static const double AGE_DOUBLES_S = 60; /* a figure of a node counts as twice as fast */
static const double AGE_MOST = 1024;
static const double TRIAL_FACTOR = 1.5; /* slower than that: it is only tried */
static const double BACK_OFF_MOST_S = 60;
static const uint64_t deadline_least_ns = 1000000000;
static const uint32_t answer_guess = 64;

/* How far a node is from being used; the less the better. */
typedef enum node_class {
    READY,      /* connected */
    CONNECTING, /* not yet, or not again */
    FAILING,    /* a run over it failed a moment ago */
    GIVEN_UP    /* requests are refused at once */
} node_class;

/* What is expected of one node. */
typedef struct prospect {
    node_class class;
    bool is_measured;
    double age;                      /* factor by which its figures are believed less */
    lynx_plan_request plan, as_seen; /* with it, and without */
    double expected_s, as_seen_s;    /* the best method over it */
} prospect;

/* ---- figures for the plan ------------------------------------------------------------ */

static bool knows_enough(const lx_own_figures *own, const lynx_remote_status *s)
{
    return s->link_bytes_per_s > 0 && s->prefill_tokens_per_s > 0 && own->step_s > 0;
}

static double seconds_since(lynx_time_ns time, lynx_time_ns now)
{
    return now > time ? (double)(now - time) / 1e9 : 0;
}

static void fill_link(lynx_plan_request *p, const lynx_remote_status *s, double age)
{
    const lynx_plan_cache *cache = &p->cache;
    p->link.bytes_per_s = s->link_bytes_per_s * age;
    p->link.round_trip_s = s->round_trip_s;
    for (uint32_t i = 0; i < cache->plane_count; i++) {
        const double due =
            (double)s->cache_bytes_due[i] * cache->plane_bytes[i] / cache->raw_bytes;
        p->link.bytes_ahead += due;
        p->link.anchor_bytes_ahead += i == 0 ? due : 0;
    }
}

static bool is_idle(const lynx_remote_status *s)
{
    return s->requests == 0 && s->tokens_due == 0;
}

static void fill_nodes(lynx_plan_request *p, const lx_own_figures *own, const lx_question *q,
                       const lynx_remote_status *s, double age)
{
    p->prefill.prefill_tokens_per_s = s->prefill_tokens_per_s * age;
    p->prefill.step_s = is_idle(s) ? s->step_s : 0; /* else it does not carry on */
    p->prefill.wait_s = s->wait_s / age + s->tokens_due / p->prefill.prefill_tokens_per_s;
    p->decode.prefill_tokens_per_s = lx_own_prefill_rate(own) / (q->busy ? q->busy : 1);
    p->decode.step_s = own->step_s;
    p->decode.draft_step_s = own->draft_s;
    if (own->row_s > 0) {
        p->decode.pass_s = fmax(own->step_s - own->row_s, 0);
        p->decode.row_s = own->row_s;
    } else { /* a pass is at least a step, and a prefill of its tokens */
        p->decode.pass_s = own->step_s;
        const double rate = p->decode.prefill_tokens_per_s;
        p->decode.row_s = rate > 0 ? 1 / rate : 0;
    }
    if (own->decode_s > 0)
        p->decode.decode_bytes_per_s = own->decode_bytes / own->decode_s;
}

static uint32_t expected_answer(const lx_own_figures *own, const lx_question *q)
{
    const uint32_t usual =
        own->answer_tokens >= 1 ? (uint32_t)own->answer_tokens : answer_guess;
    return q->answer_tokens_max < usual ? q->answer_tokens_max : usual;
}

/* False: the figures make no plan. */
static bool make_plan(lynx_plan_request *p, const lx_own_figures *own, const lx_question *q,
                      const lynx_plan_cache *cache, const lynx_remote_status *s, double age)
{
    lynx_plan_request_init(p);
    p->prompt_tokens = q->prompt_tokens;
    p->answer_tokens = expected_answer(own, q);
    p->cache = *cache;
    p->stands = lx_own_stands(own);
    p->draft_count_max =
        q->draft_count_max < LYNX_PLAN_DRAFTS_MAX ? q->draft_count_max : LYNX_PLAN_DRAFTS_MAX;
    fill_link(p, s, age);
    fill_nodes(p, own, q, s, age);
    return lynx_plan_check(p, NULL) == LYNX_OK;
}

static lynx_plan_options options_of(unsigned methods)
{
    lynx_plan_options options;
    lynx_plan_options_init(&options);
    options.kept = LYNX_PLAN_LYNX;
    options.methods = methods;
    return options;
}

static const unsigned with_held = LYNX_PLAN_BIT(LYNX_PLAN_LYNX) | LYNX_PLAN_BIT(LYNX_PLAN_WAIT);
static const unsigned over_link = with_held | LYNX_PLAN_BIT(LYNX_PLAN_CARRY);

static double best_over_link(const lynx_plan_request *plan)
{
    const lynx_plan_options options = options_of(over_link);
    lynx_plan_choice choice;
    return lynx_plan_choose(plan, &options, &choice) == LYNX_OK ? choice.expected_s : INFINITY;
}

/* ---- one node ------------------------------------------------------------------------ */

static bool backs_off(const lynx_remote_status *s, lynx_time_ns now)
{
    const double pause = exp2(s->failures > 1 ? s->failures - 1.0 : 0);
    return s->failures > 0 && seconds_since(s->failed_at, now) < fmin(pause, BACK_OFF_MOST_S);
}

static node_class class_of(const lynx_remote_status *s, lynx_time_ns now)
{
    if (s->is_given_up)
        return GIVEN_UP;
    if (backs_off(s, now))
        return FAILING;
    return s->is_connected ? READY : CONNECTING;
}

static void look_at(prospect *p, const lx_own_figures *own, const lx_question *q,
                    const lynx_plan_cache *cache, const lynx_remote_status *s, lynx_time_ns now)
{
    *p = (prospect){.class = class_of(s, now)};
    p->age = fmin(exp2(seconds_since(s->measured_at, now) / AGE_DOUBLES_S), AGE_MOST);
    p->is_measured = cache && knows_enough(own, s) &&
                     make_plan(&p->plan, own, q, cache, s, p->age) &&
                     make_plan(&p->as_seen, own, q, cache, s, 1);
    if (!p->is_measured)
        return;
    p->expected_s = best_over_link(&p->plan);
    p->as_seen_s = best_over_link(&p->as_seen);
}

/* One that was never measured is tried first, with no request in work rather than with some. */
static bool is_better(const prospect *all, const lynx_remote_status *s, uint32_t a, uint32_t b)
{
    if (all[a].class != all[b].class)
        return all[a].class < all[b].class;
    if (all[a].is_measured != all[b].is_measured)
        return !all[a].is_measured;
    if (!all[a].is_measured)
        return s[a].requests < s[b].requests;
    return all[a].expected_s < all[b].expected_s;
}

static void sort(lx_choice *c, const prospect *all, const lynx_remote_status *s, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = i;
        for (; at > 0 && is_better(all, s, i, c->order[at - 1]); at--)
            c->order[at] = c->order[at - 1];
        c->order[at] = i;
    }
    c->count = count;
}

/* ---- the sentence -------------------------------------------------------------------- */

static void add(lx_choice *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(lx_choice *c, const char *format, ...)
{
    const size_t used = strlen(c->reason);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(c->reason + used, sizeof(c->reason) - used, format, arguments);
    va_end(arguments);
}

/* Three digits, never as 4e+03. */
static void add_number(lx_choice *c, double value)
{
    add(c, value < 100 ? "%.3g" : "%.0f", value);
}

static void add_figures(lx_choice *c, const lynx_plan_request *p, double age)
{
    add(c, "; link ");
    add_number(c, p->link.bytes_per_s / age * 8 / 1e6);
    add(c, " Mbit/s");
    if (p->link.bytes_ahead > 0)
        add(c, " with %.2f MB ahead", p->link.bytes_ahead / 1e6);
    add(c, ", prefill of %u tokens at ", p->prompt_tokens);
    add_number(c, p->prefill.prefill_tokens_per_s / age);
    add(c, " a second there");
    if (p->decode.prefill_tokens_per_s > 0) {
        add(c, " and ");
        add_number(c, p->decode.prefill_tokens_per_s);
        add(c, " here");
    }
}

/* "token 32 is expected after 1.20 s by drafting, 1.35 s by waiting, 9.10 s by prefilling here"
 */
static void add_times(lx_choice *c, const lynx_plan_request *p, const lynx_plan_options *o)
{
    static const struct {
        lynx_plan_method method;
        const char *words;
    } ways[] = {{LYNX_PLAN_LYNX, "by drafting"},
                {LYNX_PLAN_CARRY, "while the prefill node carries on"},
                {LYNX_PLAN_WAIT, "by waiting for the cache"},
                {LYNX_PLAN_RECOMPUTE, "by prefilling here"}};
    const uint32_t token = o->token < p->answer_tokens ? o->token : p->answer_tokens;
    add(c, "token %u is expected after", token);
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
        const double s = lynx_plan_token_s(p, ways[i].method, token);
        if (isfinite(s))
            add(c, "%s %.2f s %s", i ? "," : "", s, ways[i].words);
    }
}

/* ---- the method ---------------------------------------------------------------------- */

static void go_local(lx_choice *c, lx_fallback why)
{
    c->method = LYNX_METHOD_LOCAL_FULL;
    c->fallback = why;
    c->count = 0;
}

static void explain_unusable(lx_choice *c, const prospect *best, const lynx_remote_status *s,
                             const char *name, lynx_time_ns now)
{
    const bool is_given_up = best->class == GIVEN_UP;
    go_local(c, is_given_up ? LX_FALLBACK_UNREACHABLE : LX_FALLBACK_FAILING);
    add(c,
        is_given_up ? "no prefill node is connected (%.100s since %.0f s: %.400s)"
                    : "every prefill node failed a moment ago (%.100s %.1f s ago: %.400s)",
        name, seconds_since(s->failed_at, now), s->text);
}

/* What would be used if the node's figures were believed as they were seen. */
static double otherwise_s(const prospect *all, const lx_choice *c)
{
    const prospect *best = &all[c->order[0]];
    const lynx_plan_options here = options_of(LYNX_PLAN_BIT(LYNX_PLAN_RECOMPUTE));
    lynx_plan_choice local;
    double s = INFINITY;
    if (lynx_plan_choose(&best->as_seen, &here, &local) == LYNX_OK)
        s = local.expected_s;
    for (uint32_t i = 1; i < c->count; i++)
        if (all[c->order[i]].class == READY && all[c->order[i]].is_measured)
            s = fmin(s, all[c->order[i]].as_seen_s);
    return s;
}

/* Old figures that alone speak for this node are tried, and not longer than pays. */
static void mark_trial(lx_choice *c, const prospect *all, const lynx_remote_status *s,
                       lynx_time_ns now)
{
    const prospect *best = &all[c->order[0]];
    const double otherwise = otherwise_s(all, c);
    if (!(best->as_seen_s > TRIAL_FACTOR * otherwise))
        return;
    c->is_trial = true;
    c->deadline_ns = (uint64_t)(2 * otherwise * 1e9);
    if (c->deadline_ns < deadline_least_ns)
        c->deadline_ns = deadline_least_ns;
    add(c, "; tried anew, since its figures are %.0f s old",
        seconds_since(s->measured_at, now));
}

/* All is here before a draft is made: there is nothing to gain by it, and a pass to lose. */
static bool leaves_no_time(const lynx_plan_request *p, const lynx_plan_options *o)
{
    lynx_plan_times t;
    const uint32_t token = o->token < p->answer_tokens ? o->token : p->answer_tokens;
    const double draft_s =
        p->decode.draft_step_s > 0 ? p->decode.draft_step_s : p->decode.step_s;
    lynx_plan_predict(p, LYNX_PLAN_LYNX, &t);
    return t.is_possible && t.complete_s - t.anchor_s < draft_s &&
           lynx_plan_token_s(p, LYNX_PLAN_WAIT, token) <=
               lynx_plan_token_s(p, LYNX_PLAN_LYNX, token) * (1 + o->margin);
}

/* How quickly it decodes is seen when it does: it is asked to, some times, where it may help.
 */
static bool tries_carry(const lynx_plan_request *p, const lynx_remote_status *s)
{
    enum { CARRIES_MOST = 2, STEPS_LEAST = 4 };
    lynx_plan_times t;
    lynx_plan_predict(p, LYNX_PLAN_LYNX, &t);
    return s->step_s <= 0 && s->carries < CARRIES_MOST && is_idle(s) && t.is_possible &&
           p->answer_tokens > STEPS_LEAST &&
           t.complete_s - t.ttft_s > STEPS_LEAST * p->decode.step_s;
}

static lynx_method method_over_link(lx_choice *c, lynx_plan_method planned,
                                    const prospect *best, const lynx_plan_options *options,
                                    const lynx_remote_status *s)
{
    if (planned == LYNX_PLAN_CARRY)
        return LYNX_METHOD_CARRY;
    if (tries_carry(&best->plan, s)) {
        add(c, "; the prefill node is let carry on, to see how quickly it does");
        return LYNX_METHOD_CARRY;
    }
    const bool waits = planned == LYNX_PLAN_WAIT || leaves_no_time(&best->plan, options);
    return waits ? LYNX_METHOD_WAIT : LYNX_METHOD_SPECULATE;
}

static void choose_method(lx_choice *c, const prospect *all, const lynx_remote_status *s,
                          lynx_time_ns now)
{
    const prospect *best = &all[c->order[0]];
    const unsigned here =
        best->plan.decode.prefill_tokens_per_s > 0 ? LYNX_PLAN_BIT(LYNX_PLAN_RECOMPUTE) : 0;
    const lynx_plan_options options = options_of(over_link | here);
    lynx_plan_choice choice;
    if (lynx_plan_choose(&best->plan, &options, &choice) != LYNX_OK)
        choice.method = LYNX_PLAN_LYNX;
    add_times(c, &best->plan, &options);
    add_figures(c, &best->plan, best->age);
    if (choice.method == LYNX_PLAN_RECOMPUTE) {
        go_local(c, LX_FALLBACK_SLOWER);
        return;
    }
    c->method = method_over_link(c, choice.method, best, &options, s);
    mark_trial(c, all, s, now);
}

/* ---- behind a stored beginning ------------------------------------------------------- */

/* Of the cache, what a node does not leave out. */
static lynx_plan_cache cache_behind(const lynx_plan_cache *cache, const lx_question *q)
{
    const double share = 1 - (double)q->held_tokens / q->prompt_tokens;
    lynx_plan_cache behind = *cache;
    behind.raw_bytes *= share;
    behind.int8_bytes *= share;
    behind.int4_bytes *= share;
    for (uint32_t i = 0; i < behind.plane_count; i++)
        behind.plane_bytes[i] *= share;
    return behind;
}

static void look_for_help(lx_choice *c, const prospect *best, const lx_own_figures *own,
                          const lx_question *q, const lynx_remote_status *s)
{
    const lynx_plan_options options = options_of(with_held);
    lynx_plan_request plan;
    lynx_plan_choice choice;
    c->helpers = best->class < FAILING ? c->count : 0;
    c->helped_by = q->is_forced ? q->method : LYNX_METHOD_SPECULATE;
    if (c->helpers == 0 || !best->is_measured)
        return;
    const lynx_plan_cache behind = cache_behind(&best->plan.cache, q);
    if (!make_plan(&plan, own, q, &behind, s, best->age) ||
        lynx_plan_choose(&plan, &options, &choice) != LYNX_OK)
        return;
    c->helped_s = choice.expected_s;
    if (!q->is_forced)
        c->helped_by = choice.method == LYNX_PLAN_WAIT || leaves_no_time(&plan, &options)
                           ? LYNX_METHOD_WAIT
                           : LYNX_METHOD_SPECULATE;
}

/* ---- the whole ----------------------------------------------------------------------- */

static void choose_freely(lx_choice *c, const prospect *all, const lynx_remote_status *statuses,
                          const char *const *names, lynx_time_ns now)
{
    const uint32_t first = c->order[0];
    const prospect *best = &all[first];
    c->method = LYNX_METHOD_SPECULATE;
    if (best->class >= FAILING)
        explain_unusable(c, best, &statuses[first], names[first], now);
    else if (best->class == CONNECTING)
        add(c, "the prefill node %.100s is being connected", names[first]);
    else if (!best->is_measured)
        add(c, "too little is known yet of the prefill node %.100s", names[first]);
    else
        choose_method(c, all, &statuses[first], now);
}

void lx_policy_choose_among(const lx_own_figures *own, const lx_question *question,
                            const lynx_remote_status *statuses, const char *const *names,
                            uint32_t count, lynx_time_ns now, lx_choice *choice)
{
    prospect all[LYNX_SERVE_REMOTES_MAX];
    lynx_plan_cache cache;
    const bool has_cache = lynx_plan_cache_of(&cache, question->shape, question->prompt_tokens,
                                              question->spec, NULL) == LYNX_OK;
    *choice = (lx_choice){.method = LYNX_METHOD_LOCAL};
    for (uint32_t i = 0; i < count; i++)
        look_at(&all[i], own, question, has_cache ? &cache : NULL, &statuses[i], now);
    sort(choice, all, statuses, count);
    if (question->held_tokens && count > 0)
        look_for_help(choice, &all[choice->order[0]], own, question,
                      &statuses[choice->order[0]]);
    if (question->is_forced) {
        choice->method = question->method;
        add(choice, "the request asked for it");
    } else if (count == 0) {
        add(choice, "there is no prefill node");
    } else {
        choose_freely(choice, all, statuses, names, now);
    }
    if (choice->method == LYNX_METHOD_LOCAL || choice->method == LYNX_METHOD_LOCAL_FULL)
        choice->count = 0;
    else if (choice->count > 0 && all[choice->order[0]].is_measured)
        choice->expected_s = all[choice->order[0]].expected_s;
}
