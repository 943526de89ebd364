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

static void put_head(lx_buffer *out, const char *name, const char *type, const char *help)
{
    lx_buffer_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_value(lx_buffer *out, const char *name, const char *type, const char *help,
                      unsigned long long value)
{
    put_head(out, name, type, help);
    lx_buffer_format(out, "%s %llu\n", name, value);
}

static void put_histogram(lx_buffer *out, const char *name, const char *help,
                          const lx_histogram *h)
{
    unsigned long long count = 0;
    put_head(out, name, "histogram", help);
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
    put_head(out, "lynx_http_requests_total", "counter", "Requests answered, by outcome.");
    for (uint32_t r = 0; r < LX_ROUTE_COUNT; r++)
        for (uint32_t o = 0; o < LX_OUTCOME_COUNT; o++)
            lx_buffer_format(out,
                             "lynx_http_requests_total{route=\"%s\",outcome=\"%s\"} %llu\n",
                             route_names[r], outcome_names[o], atomic_load(&m->requests[r][o]));
}

static void put_losses(lx_buffer *out, const lx_metrics *m)
{
    put_head(out, "lynx_prefill_lost_total", "counter",
             "Prefill nodes given up during a request, by reason.");
    for (int i = 1; i < LX_STATUSES; i++) {
        const char *name = lynx_status_name((lynx_status)-i);
        if (lynx_status_scope((lynx_status)-i) != LYNX_SCOPE_PROCESS)
            lx_buffer_format(out, "lynx_prefill_lost_total{reason=\"%s\"} %llu\n", name,
                             atomic_load(&m->losses[i]));
    }
}

/* A label's value: backslash, quote and line end are escaped. */
static void put_label(lx_buffer *out, const char *text)
{
    for (; *text; text++)
        if (*text == '\n')
            lx_buffer_puts(out, "\\n");
        else
            lx_buffer_format(out, "%s%c", *text == '"' || *text == '\\' ? "\\" : "", *text);
}

typedef struct peer_row {
    const char *name, *type, *help;
    unsigned long long (*value)(const lynx_session_counters *counters);
} peer_row;

static unsigned long long resumes_of(const lynx_session_counters *c)
{
    return c->resumes;
}

static unsigned long long corrupt_of(const lynx_session_counters *c)
{
    return c->corrupt_planes;
}

static unsigned long long lanes_of(const lynx_session_counters *c)
{
    return c->connections;
}

static unsigned long long received_of(const lynx_session_counters *c)
{
    return c->bytes_received;
}

static unsigned long long sent_of(const lynx_session_counters *c)
{
    return c->bytes_sent;
}

static const peer_row peer_rows[] = {
    {"lynx_link_received_bytes_total", "counter", "Bytes from the prefill node.", received_of},
    {"lynx_link_sent_bytes_total", "counter", "Bytes to the prefill node.", sent_of},
    {"lynx_link_lanes", "gauge", "Connections to the prefill node now.", lanes_of},
    {"lynx_link_resumes_total", "counter", "Connections that went on after a cut.", resumes_of},
    {"lynx_link_corrupt_planes_total", "counter",
     "Planes that came broken and were asked for "
     "again.",
     corrupt_of}};

static void put_peers(lx_buffer *out, const lynx_session_counters *counters,
                      const char *const *names, uint32_t count)
{
    for (uint32_t r = 0; r < sizeof(peer_rows) / sizeof(*peer_rows); r++) {
        const peer_row *row = &peer_rows[r];
        put_head(out, row->name, row->type, row->help);
        for (uint32_t i = 0; i < count; i++) {
            lx_buffer_format(out, "%s{prefill_node=\"", row->name);
            put_label(out, names[i]);
            lx_buffer_format(out, "\"} %llu\n", row->value(&counters[i]));
        }
    }
    put_head(out, "lynx_link_plane_bytes_total", "counter",
             "Bytes of pages from the prefill node; plane 0 is the anchor.");
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t p = 0; p < LYNX_PLANES_MAX; p++) {
            lx_buffer_puts(out, "lynx_link_plane_bytes_total{prefill_node=\"");
            put_label(out, names[i]);
            lx_buffer_format(out, "\",plane=\"%u\"} %llu\n", p,
                             (unsigned long long)counters[i].plane_bytes_received[p]);
        }
}

enum { PEERS_MAX = 64 };

void lx_metrics_write(lx_metrics *m, lynx_remote *const *remotes, const char *const *names,
                      uint32_t count, lx_buffer *out)
{
    lynx_session_counters counters[PEERS_MAX];
    const uint32_t peers = count < PEERS_MAX ? count : PEERS_MAX;
    for (uint32_t i = 0; i < peers; i++)
        counters[i] = lynx_remote_counters(remotes[i]);
    put_requests(out, m);
    put_value(out, "lynx_queue_requests", "gauge", "Requests that wait for a slot.",
              atomic_load(&m->queued));
    put_value(out, "lynx_slots", "gauge", "Slots.", atomic_load(&m->slots));
    put_value(out, "lynx_slots_busy", "gauge", "Slots that work on a request.",
              atomic_load(&m->busy));
    put_value(out, "lynx_http_connections", "gauge", "Connections of clients now.",
              atomic_load(&m->connections));
    put_value(out, "lynx_prompt_tokens_total", "counter", "Tokens of prompts.",
              atomic_load(&m->tokens_in));
    put_value(out, "lynx_answer_tokens_total", "counter", "Valid tokens of answers.",
              atomic_load(&m->tokens_out));
    put_value(out, "lynx_carried_tokens_total", "counter",
              "Tokens that prefill nodes chose while the cache travelled.",
              atomic_load(&m->carried));
    put_value(out, "lynx_drafted_tokens_total", "counter", "Tokens drafted on the anchor.",
              atomic_load(&m->drafted));
    put_value(out, "lynx_accepted_tokens_total", "counter", "Drafts that verification kept.",
              atomic_load(&m->accepted));
    put_value(out, "lynx_recomputed_total", "counter",
              "Requests whose prompt was prefilled here because no prefill node could finish.",
              atomic_load(&m->recomputed));
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
    put_peers(out, counters, names, peers);
}
