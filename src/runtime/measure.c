/* SPDX-License-Identifier: MIT */
#include "runtime/measure.h"

#include <stdio.h>
#include <string.h>

/* Of what was known before, after each new observation. */
static const double KEPT = 0.5;
/* The shortest way there and back is remembered, but not for ever. */
static const double ROUND_TRIP_RISES = 0.05;

enum { LINK_BYTES_LEAST = 32768 };

static void renew(lx_rate *rate, double amount, double ns)
{
    rate->amount = KEPT * rate->amount + amount;
    rate->ns = KEPT * rate->ns + ns;
}

static double per_second(const lx_rate *rate)
{
    return rate->ns > 0 ? rate->amount * 1e9 / rate->ns : 0;
}

bool lx_measure_link(lx_measure *m, uint64_t bytes, uint64_t ns, lynx_time_ns now)
{
    if (ns == 0 || (bytes < LINK_BYTES_LEAST && ns < 1000000000))
        return false;
    renew(&m->link, (double)bytes, (double)ns);
    m->measured_at = now;
    return true;
}

void lx_measure_link_least(lx_measure *m, uint64_t bytes, uint64_t ns, lynx_time_ns now)
{
    const lx_rate least = {(double)bytes, (double)ns};
    if (per_second(&least) > per_second(&m->link))
        m->link = least;
    m->measured_at = now;
}

void lx_measure_prefill(lx_measure *m, uint32_t tokens, uint64_t ns)
{
    if (tokens > 0 && ns > 0)
        renew(&m->prefill, tokens, (double)ns);
}

void lx_measure_steps(lx_measure *m, uint32_t tokens, uint64_t ns)
{
    if (tokens > 0 && ns > 0)
        renew(&m->steps, tokens, (double)ns);
}

void lx_measure_accept(lx_measure *m, uint64_t ns, bool was_alone)
{
    const double seen = (double)ns;
    if (!was_alone)
        return;
    if (m->round_trip_ns <= 0 || seen < m->round_trip_ns)
        m->round_trip_ns = seen;
    else
        m->round_trip_ns += ROUND_TRIP_RISES * (seen - m->round_trip_ns);
    m->wait_ns = KEPT * m->wait_ns + (1 - KEPT) * (seen - m->round_trip_ns);
}

void lx_measure_failure(lx_measure *m, lynx_status status, const char *text, lynx_time_ns now)
{
    m->failure = status;
    m->failed_at = now;
    m->failures++;
    snprintf(m->text, sizeof(m->text), "%s", text);
}

void lx_measure_success(lx_measure *m)
{
    m->failures = 0;
}

void lx_measure_tell(const lx_measure *m, lynx_remote_status *status)
{
    status->failure = m->failure;
    status->failed_at = m->failed_at;
    status->failures = m->failures;
    memcpy(status->text, m->text, sizeof(status->text));
    status->link_bytes_per_s = per_second(&m->link);
    status->prefill_tokens_per_s = per_second(&m->prefill);
    status->step_s = m->steps.amount > 0 ? m->steps.ns / 1e9 / m->steps.amount : 0;
    status->carries = m->carries;
    status->round_trip_s = m->round_trip_ns / 1e9;
    status->wait_s = m->wait_ns / 1e9;
    status->measured_at = m->measured_at;
    status->requests = m->requests;
    status->tokens_due = m->tokens_due;
    memcpy(status->cache_bytes_due, m->cache_bytes_due, sizeof(status->cache_bytes_due));
}
