/* SPDX-License-Identifier: MIT */
/* answer_moments.c - what is said while an answer is computed; see answer.h. */
#include <stdio.h>
#include <string.h>

#include "serve/answer.h"

static const uint64_t planes_interval_ns = 50000000; /* 20 a second */

enum { TOKEN_BYTES_MAX = 512 };

double lx_answer_ms(const lx_answer *a, lynx_time_ns time)
{
    return time > a->job->arrival ? (double)(time - a->job->arrival) / 1e6 : 0;
}

/* ---- text ---------------------------------------------------------------------------- */

void lx_answer_flush(lx_answer *a)
{
    if (!a->job->request.is_stream || a->text.size == 0)
        return;
    lx_job_say_event(a->job,
                     lx_api_chunk(&a->head, false, a->text.data,
                                  lx_logprob_log_take(&a->logprobs, a->released), NULL, NULL));
    lx_buffer_drop(&a->text, a->text.size);
}

/* The characters that a token completes, behind what 'state' holds. */
static void put_token_text(const lx_answer *a, lynx_token token, lx_utf8 *state, lx_buffer *out)
{
    char bytes[TOKEN_BYTES_MAX];
    size_t size = 0;
    if (!a->engine->ops->token_is_end(a->engine, token) &&
        a->engine->ops->token_text(a->engine, token, bytes, sizeof(bytes), &size) == LYNX_OK)
        lx_utf8_push(state, bytes, size, out);
}

/* ---- events -------------------------------------------------------------------------- */

/* Takes 'event'. */
static void say_event(lx_answer *a, json_t *event)
{
    if (event)
        lx_job_say_event(a->job, lx_api_event(&a->head, event));
}

static void say_simple(lx_answer *a, const lynx_moment *m, const char *name)
{
    say_event(a, json_pack("{s:s, s:f}", "event", name, "t_ms", lx_answer_ms(a, m->time)));
}

static void say_start(lx_answer *a, const lynx_moment *m)
{
    static const char *const names[] = {
        [LYNX_METHOD_SPECULATE] = "speculate", [LYNX_METHOD_CARRY] = "carry",
        [LYNX_METHOD_WAIT] = "wait",           [LYNX_METHOD_LOCAL] = "local",
        [LYNX_METHOD_LOCAL_FULL] = "local",    [LYNX_METHOD_ANCHOR] = "anchor",
        [LYNX_METHOD_TOKENS] = "tokens"};
    const lynx_model *model = a->engine->ops->model(a->engine);
    const uint32_t pages = lynx_shape_page_count(&model->shape, a->run.prompt_tokens);
    say_event(a, json_pack("{s:s, s:f, s:s, s:I, s:I, s:I, s:I}", "event", "start", "t_ms",
                           lx_answer_ms(a, m->time), "method", names[a->run.method],
                           "prompt_tokens", (json_int_t)a->run.prompt_tokens, "pages",
                           (json_int_t)pages, "layers", (json_int_t)model->shape.layer_count,
                           "planes", (json_int_t)lynx_codec_spec_plane_count(&a->run.spec)));
}

static void say_prefill(lx_answer *a, const lynx_moment *m)
{
    say_event(a, json_pack("{s:s, s:f, s:I, s:I}", "event", "prefill", "t_ms",
                           lx_answer_ms(a, m->time), "done", (json_int_t)m->count, "total",
                           (json_int_t)m->total));
}

static void say_planes(lx_answer *a, lynx_time_ns time)
{
    if (!a->planes)
        return;
    say_event(a, json_pack("{s:s, s:f, s:I, s:o}", "event", "planes", "t_ms",
                           lx_answer_ms(a, time), "bytes", (json_int_t)a->plane_bytes, "list",
                           a->planes));
    a->planes = NULL;
    a->planes_at = time;
}

static void note_plane(lx_answer *a, const lynx_moment *m)
{
    a->plane_bytes += m->bytes;
    if (!a->planes)
        a->planes = json_array();
    json_array_append_new(a->planes,
                          json_pack("[i, i, i, i]", (int)m->page.page, (int)m->page.layer,
                                    (int)m->page.side, (int)m->plane));
    if (m->time >= a->planes_at + planes_interval_ns)
        say_planes(a, m->time);
}

static void say_text(lx_answer *a, const lynx_moment *m, const char *name, const char *text)
{
    say_event(a,
              json_pack("{s:s, s:f, s:I, s:s}", "event", name, "t_ms", lx_answer_ms(a, m->time),
                        "index", (json_int_t)m->count, "text", text ? text : ""));
}

static void say_draft(lx_answer *a, const lynx_moment *m)
{
    lx_buffer text = {0};
    if (m->count == a->token_count) /* the first one follows the valid text */
        a->drafts[m->count] = a->valid;
    lx_utf8 state = a->drafts[m->count];
    put_token_text(a, m->token, &state, &text);
    a->drafts[m->count + 1] = state;
    say_text(a, m, "draft", text.data);
    lx_buffer_fini(&text);
}

static void say_reviewed(lx_answer *a, const lynx_moment *m)
{
    say_event(a, json_pack("{s:s, s:f, s:I, s:I}", "event", "reviewed", "t_ms",
                           lx_answer_ms(a, m->time), "kept", (json_int_t)m->count, "drafts",
                           (json_int_t)m->total));
}

static void say_verified(lx_answer *a, const lynx_moment *m)
{
    say_event(a, json_pack("{s:s, s:f, s:I, s:I}", "event", "verified", "t_ms",
                           lx_answer_ms(a, m->time), "accepted", (json_int_t)m->count, "drafts",
                           (json_int_t)m->total));
}

static void say_pass(lx_answer *a, const lynx_moment *m, const char *name)
{
    say_event(a, json_pack("{s:s, s:f, s:I}", "event", name, "t_ms", lx_answer_ms(a, m->time),
                           "drafts", (json_int_t)m->total));
}

static void say_carried(lx_answer *a, const lynx_moment *m, const char *name)
{
    say_event(a, json_pack("{s:s, s:f, s:I}", "event", name, "t_ms", lx_answer_ms(a, m->time),
                           "tokens", (json_int_t)m->count));
}

static void say_lost(lx_answer *a, const lynx_moment *m)
{
    lx_buffer text = {0};
    lx_utf8 state = {0};
    lx_utf8_push(&state, m->text, strlen(m->text), &text);
    say_event(a, json_pack("{s:s, s:f, s:s}", "event", "lost", "t_ms", lx_answer_ms(a, m->time),
                           "text", text.data ? text.data : ""));
    lx_buffer_fini(&text);
}

/* ---- moments ------------------------------------------------------------------------- */

/* Text of valid tokens; their times are when they are said. */
static void on_token(lx_answer *a, const lynx_moment *m)
{
    lx_buffer piece = {0};
    if (a->filter.is_hit)
        return;
    a->token_count++;
    if (a->token_count == 1)
        a->first_at = lynx_clock_now();
    if (a->token_count == 2)
        a->second_at = lynx_clock_now();
    put_token_text(a, m->token, &a->valid, &piece);
    if (a->job->request.is_optimistic)
        say_text(a, m, "token", piece.data);
    if (m->logprobs && !a->engine->ops->token_is_end(a->engine, m->token))
        lx_logprob_log_add(&a->logprobs, a->engine, m->token, m->logprobs, piece.data,
                           piece.size);
    const size_t before = a->text.size;
    lx_stop_filter_push(&a->filter, piece.data, piece.size, &a->text);
    a->released += a->text.size - before;
    lx_answer_flush(a);
    lx_buffer_fini(&piece);
    if (a->filter.is_hit)
        __atomic_store_n(&a->job->stop, 1, __ATOMIC_RELAXED);
}

/* What metadata and metrics need of a moment. */
static void note(lx_answer *a, const lynx_moment *m)
{
    if (m->type == LYNX_MOMENT_PREFILL && m->count == m->total)
        a->prefill_at = m->time;
    if (m->type == LYNX_MOMENT_ANCHOR)
        a->anchor_at = m->time;
    if (m->type == LYNX_MOMENT_COMPLETE)
        a->complete_at = m->time;
    if (m->type != LYNX_MOMENT_LOST)
        return;
    a->prefill_at = a->anchor_at = a->complete_at = 0;
    a->plane_bytes = 0;
    snprintf(a->lost_text, sizeof(a->lost_text), "%s", m->text);
    lx_answer_lose_pages(a, m);
    if (m->is_source)
        return;
    a->lost_count++;
    lx_metrics_lost(a->metrics, m->status);
    if (a->options->log)
        a->options->log(a->options->user, m->status, m->text);
}

static void say_moment(lx_answer *a, const lynx_moment *m)
{
    if (m->type != LYNX_MOMENT_PLANE && m->type != LYNX_MOMENT_PREFILL)
        say_planes(a, m->time);
    switch (m->type) {
    case LYNX_MOMENT_READY:
        break;
    case LYNX_MOMENT_REQUEST:
        say_start(a, m);
        break;
    case LYNX_MOMENT_PREFILL:
        say_prefill(a, m);
        break;
    case LYNX_MOMENT_PLANE:
        note_plane(a, m);
        break;
    case LYNX_MOMENT_ANCHOR:
        say_simple(a, m, "anchor");
        break;
    case LYNX_MOMENT_COMPLETE:
        say_simple(a, m, "complete");
        break;
    case LYNX_MOMENT_DRAFT:
        say_draft(a, m);
        break;
    case LYNX_MOMENT_REVIEW:
        say_pass(a, m, "review");
        break;
    case LYNX_MOMENT_REVIEWED:
        say_reviewed(a, m);
        break;
    case LYNX_MOMENT_VERIFY:
        say_pass(a, m, "verify");
        break;
    case LYNX_MOMENT_VERIFIED:
        say_verified(a, m);
        break;
    case LYNX_MOMENT_LOST:
        say_lost(a, m);
        break;
    case LYNX_MOMENT_YIELD:
        say_carried(a, m, "yield");
        break;
    case LYNX_MOMENT_HANDOVER:
        say_carried(a, m, "handover");
        break;
    case LYNX_MOMENT_TOKEN:
        break; /* on_token() */
    }
}

void lx_answer_moment(void *user, const lynx_moment *m)
{
    lx_answer *a = user;
    note(a, m);
    lx_answer_note_moment(a, m);
    if (a->job->request.is_optimistic)
        say_moment(a, m);
    if (m->type == LYNX_MOMENT_TOKEN)
        on_token(a, m);
}
