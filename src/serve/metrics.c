/* SPDX-License-Identifier: MIT */
#include "serve/metrics.h"

static const double bounds[LX_BUCKETS] = {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                          0.5,   1,     2.5,  5,     10,   30,  120};

static const char *const route_names[LX_ROUTE_COUNT] = {"/v1/chat/completions",
                                                        "/v1/completions",
                                                        "/v1/models",
                                                        "/tokenize",
                                                        "/health",
                                                        "/metrics",
                                                        "/",
                                                        "none"};

static const char *const outcome_names[LX_OUTCOME_COUNT] = {"ok",          "refused",  "denied",
                                                            "queue_full",  "stopping", "late",
                                                            "client_gone", "failed"};

static const char *const way_names[LX_WAY_COUNT] = {"speculate", "carry", "wait", "local"};

const char *lx_way_name(lx_way way)
{
    return way_names[way];
}

void lx_histogram_add(lx_histogram *h, uint64_t ns)
{
    uint32_t i = 0;
    while (i < LX_BUCKETS && (double)ns / 1e9 > bounds[i])
        i++;
    atomic_fetch_add(&h->buckets[i], 1);
    atomic_fetch_add(&h->sum_ns, ns);
}

double lx_histogram_mean(const lx_histogram *h)
{
    unsigned long long count = 0;
    for (uint32_t i = 0; i <= LX_BUCKETS; i++)
        count += atomic_load(&h->buckets[i]);
    return count ? (double)atomic_load(&h->sum_ns) / 1e9 / (double)count : 0;
}

void lx_metrics_lost(lx_metrics *metrics, lynx_status status)
{
    const int number = -(int)status;
    if (number >= 0 && number < LX_STATUSES)
        atomic_fetch_add(&metrics->losses[number], 1);
}

/* ---- text ---------------------------------------------------------------------------- */

void lx_metrics_head(lx_buffer *out, const char *name, const char *type, const char *help)
{
    lx_buffer_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void lx_metrics_value(lx_buffer *out, const char *name, const char *type, const char *help,
                      unsigned long long value)
{
    lx_metrics_head(out, name, type, help);
    lx_buffer_format(out, "%s %llu\n", name, value);
}

static void put_real(lx_buffer *out, const char *name, const char *help, double value)
{
    lx_metrics_head(out, name, "gauge", help);
    lx_buffer_format(out, "%s %.9g\n", name, value);
}

static void put_histogram(lx_buffer *out, const char *name, const char *help,
                          const lx_histogram *h)
{
    unsigned long long count = 0;
    lx_metrics_head(out, name, "histogram", help);
    for (uint32_t i = 0; i < LX_BUCKETS; i++) {
        count += atomic_load(&h->buckets[i]);
        lx_buffer_format(out, "%s_bucket{le=\"%g\"} %llu\n", name, bounds[i], count);
    }
    count += atomic_load(&h->buckets[LX_BUCKETS]);
    lx_buffer_format(out, "%s_bucket{le=\"+Inf\"} %llu\n", name, count);
    lx_buffer_format(out, "%s_sum %.9f\n", name, (double)atomic_load(&h->sum_ns) / 1e9);
    lx_buffer_format(out, "%s_count %llu\n", name, count);
}

static void put_requests(lx_buffer *out, const lx_metrics *m)
{
    lx_metrics_head(out, "lynx_http_requests_total", "counter",
                    "Requests answered, by outcome.");
    for (uint32_t r = 0; r < LX_ROUTE_COUNT; r++)
        for (uint32_t o = 0; o < LX_OUTCOME_COUNT; o++)
            lx_buffer_format(out,
                             "lynx_http_requests_total{route=\"%s\",outcome=\"%s\"} %llu\n",
                             route_names[r], outcome_names[o], atomic_load(&m->requests[r][o]));
}

static void put_losses(lx_buffer *out, const lx_metrics *m)
{
    lx_metrics_head(out, "lynx_prefill_lost_total", "counter",
                    "Prefill nodes given up during a request, by reason.");
    for (int i = 1; i < LX_STATUSES; i++) {
        const char *name = lynx_status_name((lynx_status)-i);
        if (lynx_status_scope((lynx_status)-i) != LYNX_SCOPE_PROCESS)
            lx_buffer_format(out, "lynx_prefill_lost_total{reason=\"%s\"} %llu\n", name,
                             atomic_load(&m->losses[i]));
    }
}

static void put_methods(lx_buffer *out, const lx_metrics *m)
{
    lx_metrics_head(out, "lynx_answers_total", "counter", "Answers, by method.");
    for (uint32_t i = 0; i < LX_WAY_COUNT; i++)
        lx_buffer_format(out, "lynx_answers_total{method=\"%s\"} %llu\n", way_names[i],
                         atomic_load(&m->methods[i]));
}

static void put_fallbacks(lx_buffer *out, const lx_metrics *m)
{
    lx_metrics_head(out, "lynx_fallbacks_total", "counter",
                    "Prompts that were prefilled here although there are prefill nodes, by "
                    "reason.");
    for (int i = LX_FALLBACK_NONE + 1; i < LX_FALLBACK_COUNT; i++)
        lx_buffer_format(out, "lynx_fallbacks_total{reason=\"%s\"} %llu\n",
                         lx_fallback_name((lx_fallback)i), atomic_load(&m->fallbacks[i]));
}

void lx_metrics_write(lx_metrics *m, lx_policy *policy, lx_buffer *out)
{
    const lx_own_figures own = lx_policy_own(policy);
    put_requests(out, m);
    lx_metrics_value(out, "lynx_queue_requests", "gauge", "Requests that wait for a slot.",
                     atomic_load(&m->queued));
    lx_metrics_value(out, "lynx_slots", "gauge", "Slots.", atomic_load(&m->slots));
    lx_metrics_value(out, "lynx_slots_busy", "gauge", "Slots that work on a request.",
                     atomic_load(&m->busy));
    lx_metrics_value(out, "lynx_http_connections", "gauge", "Connections of clients now.",
                     atomic_load(&m->connections));
    lx_metrics_value(out, "lynx_prompt_tokens_total", "counter", "Tokens of prompts.",
                     atomic_load(&m->tokens_in));
    lx_metrics_value(out, "lynx_computed_tokens_total", "counter",
                     "Tokens of prompts that went through the model here.",
                     atomic_load(&m->computed));
    lx_metrics_value(out, "lynx_answer_tokens_total", "counter", "Valid tokens of answers.",
                     atomic_load(&m->tokens_out));
    lx_metrics_value(out, "lynx_carried_tokens_total", "counter",
                     "Tokens that prefill nodes chose while the cache travelled.",
                     atomic_load(&m->carried));
    lx_metrics_value(out, "lynx_drafted_tokens_total", "counter",
                     "Tokens drafted on the anchor.", atomic_load(&m->drafted));
    lx_metrics_value(out, "lynx_accepted_tokens_total", "counter",
                     "Drafts that verification kept.", atomic_load(&m->accepted));
    lx_metrics_value(
        out, "lynx_steps_total", "counter",
        "Steps of this node, of one token each, for drafts and for plain decoding.",
        atomic_load(&m->steps));
    lx_metrics_value(out, "lynx_guessed_tokens_total", "counter", "Guesses beside steps.",
                     atomic_load(&m->guessed));
    lx_metrics_value(out, "lynx_guessed_right_tokens_total", "counter",
                     "Guesses that saved a step.", atomic_load(&m->guessed_right));
    lx_metrics_value(
        out, "lynx_recomputed_total", "counter",
        "Requests whose prompt was prefilled here because no prefill node could finish.",
        atomic_load(&m->recomputed));
    put_methods(out, m);
    put_fallbacks(out, m);
    put_losses(out, m);
    put_histogram(out, "lynx_queue_wait_seconds", "From the request to a slot.", &m->wait);
    put_histogram(out, "lynx_anchor_seconds", "From the request to the complete anchor.",
                  &m->anchor);
    put_histogram(out, "lynx_ttft_seconds", "From the request to the first valid token.",
                  &m->ttft);
    put_histogram(out, "lynx_stall_seconds", "From the first valid token to the second.",
                  &m->stall);
    put_histogram(out, "lynx_verify_seconds", "Verification passes.", &m->verify);
    put_histogram(out, "lynx_request_seconds", "From the request to the end of the answer.",
                  &m->total);
    put_real(out, "lynx_own_prefill_tokens_per_second",
             "Rate of a prefill here, as if nothing else ran; 0: not known.",
             lx_own_prefill_rate(&own));
    put_real(out, "lynx_own_step_seconds", "One token after the other here; 0: not known.",
             own.step_s);
    put_real(out, "lynx_own_draft_seconds", "One draft after the other here; 0: not known.",
             own.draft_s);
    put_real(out, "lynx_draft_chance", "That a draft stands when those before it do.",
             lx_own_stands(&own));
}
