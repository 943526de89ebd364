/* SPDX-License-Identifier: MIT */
#include "sched/flow.h"

/*
 * The figures behind the numbers are those of 'lynx bench link', in bench/README.md.
 *
 * A chunk is what an anchor waits for when it comes in the wrong moment: half a millisecond of
 * the link, but 2 ms where that is less than 16 KiB, since each chunk wakes both processes
 * beside what they compute. Below 4 KiB its header would cost more than 2 %, above 256 KiB the
 * calls for each byte do not become fewer.
 */
enum {
    CHUNK_LEAST = 4 << 10,
    CHUNK_OF_SLOW_MOST = 16 << 10,
    CHUNK_MOST = 256 << 10,
    CHUNK_FIRST = 16 << 10,  /* before anything is measured */
    WINDOW_FIRST = 64 << 10, /* what TCP's first flights carry */
    SLACK_OF_SLOW_MOST = 32 << 10,
    START_GAIN = 2,
    FLAT_SAMPLES = 3, /* without growth by a quarter: the start is over */
    RENEWALS = 4,     /* one alone may have met a process that slept */

    /* Samples of a try: one that still sees the larger window of the last try, five without,
     * one that does not see all of the larger window yet, one that does. */
    PHASES = 8,
    PLAIN_FIRST = 1,
    PLAIN_COUNT = 5,
    LARGE_FIRST = 6,
    LARGE_PCT = 125,
    STRETCH_MOST_PCT = 1600
};
static const uint64_t chunk_ns = 500000;
static const uint64_t chunk_of_slow_ns = 2000000;
/*
 * Reports come at the end of a chunk; where the largest is short, in steps, and later. Who
 * computes beside answers up to some milliseconds late: on a slow link, where that is little
 * beside an anchor's own time, the window covers it, up to 32 KiB (at 50 Mbit/s, with drafts
 * beside it on two cores, all planes of 8.2 MB are here after 1.35 s instead of 1.45).
 */
static const uint64_t slack_ns = 500000;
static const uint64_t slack_of_slow_ns = 4000000;
static const uint64_t slack_of_steps_ns = 700000;
/* A thread that sleeps for 1 ms makes a sample of 10 ms wrong by a tenth, of 1 ms by a half. */
static const uint64_t sample_least_ns = 10000000;
static const uint64_t round_trip_age_ns = 10000000000ull;

/* Bytes of the link in 'time'. */
static uint64_t bytes_in(uint64_t rate, uint64_t time_ns)
{
    return (uint64_t)((long double)rate * (long double)time_ns / 1e9L);
}

/* Bytes in 'time', or in 'slow' where those are fewer than 'slow_most'. */
static uint64_t bytes_in_either(uint64_t rate, uint64_t time_ns, uint64_t slow_ns,
                                uint64_t slow_most)
{
    const uint64_t bytes = bytes_in(rate, time_ns), slow = bytes_in(rate, slow_ns);
    const uint64_t least = slow < slow_most ? slow : slow_most;
    return bytes > least ? bytes : least;
}

static uint64_t under_way(const lx_flow *flow)
{
    return flow->sent - flow->reported;
}

static bool is_starting(const lx_flow *flow)
{
    return flow->flat_samples < FLAT_SAMPLES;
}

void lx_flow_sent(lx_flow *flow, lynx_time_ns now, uint64_t size)
{
    const bool could_begin = lx_flow_has_room(flow);
    if (!flow->has_sample) {
        flow->has_sample = true;
        flow->sample_reported = flow->reported;
        flow->sample_offset = flow->sent + 1;
        flow->sample_time = flow->empty_time = now;
    }
    if (under_way(flow) == 0) /* the time since then does not count */
        flow->sample_time += now - flow->empty_time;
    /* The first byte is the one to wait for: the others tell how long a chunk takes. */
    if (!flow->has_probe && could_begin) {
        flow->has_probe = true;
        flow->probe_offset = flow->sent + 1;
        flow->probe_time = now;
    }
    flow->sent += size;
}

void lx_flow_starve(lx_flow *flow)
{
    flow->is_starved = true;
}

static void take_round_trip(lx_flow *flow, lynx_time_ns now)
{
    const uint64_t measured = now > flow->probe_time ? now - flow->probe_time : 1;
    flow->has_probe = false;
    if (flow->renewals > 0) {
        if (flow->renewed_ns == 0 || measured < flow->renewed_ns)
            flow->renewed_ns = measured;
        if (--flow->renewals > 0)
            return;
        flow->round_trip_ns = flow->renewed_ns;
        flow->round_trip_time = now;
    } else if (flow->round_trip_ns == 0 || measured <= flow->round_trip_ns) {
        flow->round_trip_ns = measured;
        flow->round_trip_time = now;
    } else if (now - flow->round_trip_time > round_trip_age_ns) {
        flow->renewals = RENEWALS;
        flow->renewed_ns = 0;
    }
}

static uint32_t stretch_of(const lx_flow *flow)
{
    return flow->stretch_pct ? flow->stretch_pct : 100;
}

/*
 * The window was too small when half of the bytes came that a larger one would bring if it were
 * the limit, or when the rate fell since the last try: a slower link looks the same, and then
 * the steps back follow. The second largest of the samples is compared, for it is touched by
 * neither one that is too large by chance nor those in which a lost packet held the rest up.
 * Samples that are wrong by a fifth stretch the window by chance in 28 tries of 100; the steps
 * back take that away again, as long as they are less than 35. With steps of a tenth a
 * loss at the start was felt for seconds: at 50 Mbit/s and 20 ms a p50 of 48 to 63 ms, not 27.
 */
static void end_try(lx_flow *flow, uint64_t rate)
{
    const uint64_t plain = flow->plains[1];
    const uint32_t stretch = stretch_of(flow);
    const bool has_fallen = plain < flow->last_plain - flow->last_plain / 8;
    flow->plains[0] = flow->plains[1] = 0;
    flow->last_plain = plain;
    if (rate > plain + plain / 8 || has_fallen)
        flow->stretch_pct =
            stretch < STRETCH_MOST_PCT * 2 / 3 ? stretch * 3 / 2 : STRETCH_MOST_PCT;
    else
        flow->stretch_pct = stretch > 125 ? stretch * 4 / 5 : 100;
}

static void note_plain(lx_flow *flow, uint64_t rate)
{
    if (rate > flow->plains[0]) {
        flow->plains[1] = flow->plains[0];
        flow->plains[0] = rate;
    } else if (rate > flow->plains[1]) {
        flow->plains[1] = rate;
    }
}

static void go_on_trying(lx_flow *flow, uint64_t rate)
{
    const uint32_t phase = flow->phase;
    if (phase >= PLAIN_FIRST && phase < PLAIN_FIRST + PLAIN_COUNT)
        note_plain(flow, rate);
    if (phase == PHASES - 1)
        end_try(flow, rate);
    flow->phase = (phase + 1) % PHASES;
}

static void add_sample(lx_flow *flow, uint64_t rate)
{
    flow->samples[flow->next_sample] = rate;
    flow->next_sample = (flow->next_sample + 1) % LX_FLOW_SAMPLES;
    if (!is_starting(flow)) {
        go_on_trying(flow, rate);
        return;
    }
    flow->flat_samples++;
    if (rate > flow->grown_rate + flow->grown_rate / 4) {
        flow->grown_rate = rate;
        flow->flat_samples = 0;
    }
}

static void take_sample(lx_flow *flow, lynx_time_ns now)
{
    const uint64_t span = now > flow->sample_time ? now - flow->sample_time : 0;
    if (!flow->has_sample || flow->reported < flow->sample_offset || span < sample_least_ns)
        return;
    const uint64_t bytes = flow->reported - flow->sample_reported;
    const uint64_t rate = (uint64_t)((long double)bytes * 1e9L / (long double)span);
    if (!flow->is_starved || rate > lx_flow_rate(flow))
        add_sample(flow, rate);
    flow->has_sample = flow->is_starved = false;
}

bool lx_flow_report(lx_flow *flow, lynx_time_ns now, uint64_t total)
{
    if (total < flow->reported || total > flow->sent)
        return false;
    flow->reported = total;
    if (flow->has_probe && total >= flow->probe_offset)
        take_round_trip(flow, now);
    take_sample(flow, now);
    if (under_way(flow) == 0)
        flow->empty_time = now;
    return true;
}

uint64_t lx_flow_rate(const lx_flow *flow)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < LX_FLOW_SAMPLES; i++)
        most = flow->samples[i] > most ? flow->samples[i] : most;
    return most;
}

uint32_t lx_flow_chunk(const lx_flow *flow)
{
    const uint64_t rate = lx_flow_rate(flow);
    if (rate == 0)
        return CHUNK_FIRST;
    const uint64_t bytes =
        bytes_in_either(rate, chunk_ns, chunk_of_slow_ns, CHUNK_OF_SLOW_MOST);
    return bytes < CHUNK_LEAST  ? CHUNK_LEAST
           : bytes > CHUNK_MOST ? CHUNK_MOST
                                : (uint32_t)bytes;
}

uint64_t lx_flow_window(const lx_flow *flow)
{
    const uint64_t rate = lx_flow_rate(flow);
    if (rate == 0)
        return WINDOW_FIRST;
    const uint64_t trip = bytes_in(rate, flow->round_trip_ns);
    const uint32_t chunk = lx_flow_chunk(flow);
    const uint64_t chunks = 2 * (uint64_t)chunk;
    const bool has_steps = chunk == CHUNK_MOST;
    if (flow->renewals > 0)
        return trip / 2 + 1;
    const uint64_t slack = bytes_in_either(rate, has_steps ? slack_of_steps_ns : slack_ns,
                                           slack_of_slow_ns, SLACK_OF_SLOW_MOST);
    uint64_t window = trip + trip / 4 + slack;
    window = window * stretch_of(flow) / 100;
    if (is_starting(flow))
        window *= START_GAIN;
    else if (flow->phase >= LARGE_FIRST)
        window = window * LARGE_PCT / 100;
    return window > chunks ? window : chunks;
}

bool lx_flow_has_room(const lx_flow *flow)
{
    return under_way(flow) < lx_flow_window(flow);
}
