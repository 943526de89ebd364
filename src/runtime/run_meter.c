/* SPDX-License-Identifier: MIT */
#include "runtime/run_meter.h"

void lx_meter_begin(lx_run_meter *m, lx_measure *measure, lynx_time_ns now, uint32_t tokens,
                    uint64_t cache_bytes, uint64_t pages, uint32_t plane_count, bool is_carried)
{
    *m = (lx_run_meter){.measure = measure,
                        .asked_at = now,
                        .tokens = tokens,
                        .page_bytes = pages ? cache_bytes / pages : 0,
                        .pages = pages,
                        .plane_count = pages ? plane_count : 0,
                        .was_alone = measure->tokens_due == 0,
                        .is_carried = is_carried};
    measure->requests++;
    measure->carries += is_carried;
    measure->tokens_due += tokens;
    for (uint32_t i = 0; i < m->plane_count; i++)
        measure->cache_bytes_due[i] += m->page_bytes * pages;
}

void lx_meter_left_out(lx_run_meter *m, uint64_t pages)
{
    m->pages -= pages;
    for (uint32_t i = 0; i < m->plane_count; i++)
        m->measure->cache_bytes_due[i] -= m->page_bytes * pages;
}

static void on_progress(lx_run_meter *m, const lynx_event *event)
{
    const uint32_t done = event->count < m->tokens ? event->count : m->tokens;
    if (done <= m->prefilled)
        return;
    m->measure->tokens_due -= done - m->prefilled;
    m->prefilled = done;
    if (done < m->tokens)
        return;
    m->prefilled_at = event->time;
    m->prefilled_bytes = event->bytes;
    if (m->accepted_at) /* both may be here at once */
        lx_measure_prefill(m->measure, m->tokens,
                           event->time -
                               (event->time > m->accepted_at ? m->accepted_at : m->asked_at));
}

static void on_plane(lx_run_meter *m, const lynx_event *event)
{
    if (event->plane >= m->plane_count || m->planes_seen[event->plane] == m->pages)
        return;
    m->planes_seen[event->plane]++;
    m->measure->cache_bytes_due[event->plane] -= m->page_bytes;
    m->arrived_at = event->time;
    m->arrived_bytes = event->bytes;
}

/* The first token that is carried comes after the codec's work: time runs from it on. */
static void on_token(lx_run_meter *m, const lynx_event *event)
{
    if (!m->is_carried || event->count < 1 || event->count <= m->carried)
        return;
    if (m->carried == 0)
        m->carry_from = event->time;
    m->carried = event->count;
    m->carry_to = event->time;
}

void lx_meter_event(lx_run_meter *m, const lynx_event *event)
{
    if (!m->measure)
        return;
    if (event->type == LYNX_EVENT_ACCEPT && !m->accepted_at) {
        m->accepted_at = event->time;
        m->accepted_bytes = event->bytes;
        lx_measure_accept(m->measure, event->time - m->asked_at, m->was_alone);
    } else if (event->type == LYNX_EVENT_PROGRESS) {
        on_progress(m, event);
    } else if (event->type == LYNX_EVENT_PLANE) {
        on_plane(m, event);
    } else if (event->type == LYNX_EVENT_TOKEN) {
        on_token(m, event);
    } else if (event->type == LYNX_EVENT_READY) {
        m->prefilled_at = 0; /* planes wait for more than the link */
    }
}

static bool is_complete(const lx_run_meter *m)
{
    for (uint32_t i = 0; i < m->plane_count; i++)
        if (m->planes_seen[i] < m->pages)
            return false;
    return m->plane_count > 0;
}

/* From the end of the prefill on, all that is missing waits for the link. If that is little,
 * the link kept up with the prefill, and is at least as quick. */
static void measure_link(const lx_run_meter *m, uint64_t bytes, lynx_time_ns now)
{
    const bool is_whole = is_complete(m);
    const lynx_time_ns end = is_whole ? m->arrived_at : now;
    const uint64_t here = is_whole ? m->arrived_bytes : bytes;
    if (!m->prefilled_at || !m->plane_count)
        return;
    const bool is_seen =
        end > m->prefilled_at &&
        lx_measure_link(m->measure, here - m->prefilled_bytes, end - m->prefilled_at, now);
    if (!is_seen && is_whole && m->accepted_at)
        lx_measure_link_least(m->measure, here - m->accepted_bytes, end - m->asked_at, now);
}

void lx_meter_end(lx_run_meter *m, uint64_t bytes, lynx_time_ns now, lynx_status status,
                  const char *text)
{
    lx_measure *measure = m->measure;
    if (!measure)
        return;
    const bool has_failed =
        status != LYNX_OK && status != LYNX_ERR_TIMEOUT && status != LYNX_ERR_CANCELLED;
    if (has_failed)
        lx_measure_failure(measure, status, text, now);
    else
        measure_link(m, bytes, now);
    if (m->carried > 1)
        lx_measure_steps(measure, m->carried - 1, m->carry_to - m->carry_from);
    if (status == LYNX_OK)
        lx_measure_success(measure);
    measure->requests--;
    measure->tokens_due -= m->tokens - m->prefilled;
    for (uint32_t i = 0; i < m->plane_count; i++)
        measure->cache_bytes_due[i] -= m->page_bytes * (m->pages - m->planes_seen[i]);
    m->measure = NULL;
}
