/* SPDX-License-Identifier: MIT */
/* metrics_peers.c - what is known of prefill nodes; see metrics.h. */
#include <stdlib.h>

#include "serve/metrics.h"

/* A label's value: backslash, quote and line end are escaped. */
static void put_label(lx_buffer *out, const char *text)
{
    for (; *text; text++)
        if (*text == '\n')
            lx_buffer_puts(out, "\\n");
        else
            lx_buffer_format(out, "%s%c", *text == '"' || *text == '\\' ? "\\" : "", *text);
}

typedef struct peer {
    const char *name;
    lynx_session_counters counters;
    lynx_remote_status status;
} peer;

typedef struct peer_row {
    const char *name, *type, *help;
    double (*value)(const peer *peer);
} peer_row;

static double resumes_of(const peer *p)
{
    return (double)p->counters.resumes;
}

static double corrupt_of(const peer *p)
{
    return (double)p->counters.corrupt_planes;
}

static double lanes_of(const peer *p)
{
    return (double)p->counters.connections;
}

static double received_of(const peer *p)
{
    return (double)p->counters.bytes_received;
}

static double sent_of(const peer *p)
{
    return (double)p->counters.bytes_sent;
}

static double is_up(const peer *p)
{
    return p->status.is_connected && !p->status.is_given_up;
}

static double failures_of(const peer *p)
{
    return p->status.failures;
}

static double requests_of(const peer *p)
{
    return p->status.requests;
}

static double link_rate_of(const peer *p)
{
    return p->status.link_bytes_per_s;
}

static double round_trip_of(const peer *p)
{
    return p->status.round_trip_s;
}

static double prefill_rate_of(const peer *p)
{
    return p->status.prefill_tokens_per_s;
}

static double wait_of(const peer *p)
{
    return p->status.wait_s;
}

static double tokens_due_of(const peer *p)
{
    return p->status.tokens_due;
}

static const peer_row rows[] = {
    {"lynx_link_received_bytes_total", "counter", "Bytes from the prefill node.", received_of},
    {"lynx_link_sent_bytes_total", "counter", "Bytes to the prefill node.", sent_of},
    {"lynx_link_lanes", "gauge", "Connections to the prefill node now.", lanes_of},
    {"lynx_link_resumes_total", "counter", "Connections that went on after a cut.", resumes_of},
    {"lynx_link_corrupt_planes_total", "counter",
     "Planes that came broken and were asked for again.", corrupt_of},
    {"lynx_prefill_node_up", "gauge", "1: the prefill node is connected, 0: it is not.", is_up},
    {"lynx_prefill_node_failures", "gauge",
     "Requests that it failed since the last that went well.", failures_of},
    {"lynx_prefill_node_requests", "gauge", "Requests that use it now.", requests_of},
    {"lynx_prefill_node_due_tokens", "gauge",
     "Tokens of their prompts that it has not prefilled yet.", tokens_due_of},
    {"lynx_prefill_node_tokens_per_second", "gauge",
     "Rate at which it prefills, as last seen; 0: not yet.", prefill_rate_of},
    {"lynx_prefill_node_wait_seconds", "gauge", "That it lets us wait for the work of others.",
     wait_of},
    {"lynx_link_bytes_per_second", "gauge",
     "Rate at which pages come once they are computed, as last seen; 0: not yet.",
     link_rate_of},
    {"lynx_link_round_trip_seconds", "gauge", "There and back, as last seen; 0: not yet.",
     round_trip_of}};

static void put_rows(lx_buffer *out, const peer *peers, uint32_t count)
{
    for (uint32_t r = 0; r < sizeof(rows) / sizeof(*rows); r++) {
        const peer_row *row = &rows[r];
        lx_metrics_head(out, row->name, row->type, row->help);
        for (uint32_t i = 0; i < count; i++) {
            lx_buffer_format(out, "%s{prefill_node=\"", row->name);
            put_label(out, peers[i].name);
            lx_buffer_format(out, "\"} %.15g\n", row->value(&peers[i]));
        }
    }
}

static void put_planes(lx_buffer *out, const peer *peers, uint32_t count)
{
    lx_metrics_head(out, "lynx_link_plane_bytes_total", "counter",
                    "Bytes of pages from the prefill node; plane 0 is the anchor.");
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t p = 0; p < LYNX_PLANES_MAX; p++) {
            lx_buffer_puts(out, "lynx_link_plane_bytes_total{prefill_node=\"");
            put_label(out, peers[i].name);
            lx_buffer_format(out, "\",plane=\"%u\"} %llu\n", p,
                             (unsigned long long)peers[i].counters.plane_bytes_received[p]);
        }
}

void lx_metrics_write_peers(lynx_remote *const *remotes, const char *const *names,
                            uint32_t count, lx_buffer *out)
{
    peer *peers = calloc((size_t)count + 1, sizeof(*peers));
    if (!peers) {
        out->has_failed = true;
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        peers[i].name = names[i];
        peers[i].counters = lynx_remote_counters(remotes[i]);
        lynx_remote_status_of(remotes[i], &peers[i].status);
    }
    put_rows(out, peers, count);
    put_planes(out, peers, count);
    free(peers);
}
