/* SPDX-License-Identifier: MIT */
/* metrics_store.c - what is known of the store; see metrics.h. */
#include "serve/metrics.h"

static void put_failures(const lx_metrics *m, lx_buffer *out)
{
    static const char *const names[] = {
        [LX_STORE_FIND] = "find", [LX_STORE_LOAD] = "load", [LX_STORE_WRITE] = "write"};
    lx_metrics_head(out, "lynx_store_failures_total", "counter",
                    "What the store could not do; the requests went on without it.");
    for (int i = 0; i < LX_STORE_FAILURE_COUNT; i++)
        lx_buffer_format(out, "lynx_store_failures_total{what=\"%s\"} %llu\n", names[i],
                         atomic_load(&m->store_failures[i]));
}

void lx_metrics_write_store(lx_metrics *m, const lynx_store *store, lx_buffer *out)
{
    lynx_store_counters counters = {0};
    if (store)
        counters = lynx_store_counters_of(store);
    lx_metrics_value(out, "lynx_store_hits_total", "counter",
                     "Prompts whose beginning was loaded from the store.",
                     atomic_load(&m->store_hits));
    lx_metrics_value(out, "lynx_store_misses_total", "counter",
                     "Prompts of which the store had nothing that was worth loading.",
                     atomic_load(&m->store_misses));
    lx_metrics_value(out, "lynx_store_reused_tokens_total", "counter",
                     "Tokens of prompts that came from the store.",
                     atomic_load(&m->store_reused));
    lx_metrics_value(out, "lynx_store_read_bytes_total", "counter",
                     "Bytes of planes from the store.", atomic_load(&m->store_read));
    lx_metrics_value(out, "lynx_store_written_bytes_total", "counter",
                     "Bytes written to the store.", atomic_load(&m->store_written));
    lx_metrics_value(out, "lynx_store_written_segments_total", "counter",
                     "Segments written to the store.", atomic_load(&m->store_segments));
    lx_metrics_value(out, "lynx_store_waiting_bytes", "gauge",
                     "Room taken by caches that are gathered, or wait to be written.",
                     atomic_load(&m->store_waiting));
    lx_metrics_value(out, "lynx_store_dropped_total", "counter",
                     "Caches that were not kept because too much waited, or writing failed a "
                     "moment ago.",
                     atomic_load(&m->store_dropped));
    lx_metrics_value(out, "lynx_store_evicted_segments_total", "counter",
                     "Segments that this node removed to hold the limit of the store.",
                     counters.evicted_segments);
    lx_metrics_value(out, "lynx_store_evicted_bytes_total", "counter", "Their bytes.",
                     counters.evicted_bytes);
    lx_metrics_value(out, "lynx_store_bytes", "gauge",
                     "Bytes of the store after this node's last write; 0: not known, as "
                     "without a limit.",
                     counters.bytes);
    put_failures(m, out);
}
