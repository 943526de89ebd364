/* SPDX-License-Identifier: MIT */
/*
 * llama_batch.c - everything that touches the context: decoding for one slot or for several in
 * one batch, and calls. With one slot it runs on the caller's thread, else on the model's.
 *
 * llama.cpp cuts a batch of several sequences into parts in which each brings equally many
 * tokens. Exact logits need at least two of each in every part, so with several slots every
 * slot's columns are even: differences of even numbers are none or at least two.
 *
 * Drafts need no exact logits. One token alone takes little more than half of the time of two,
 * so where a llama_decode has steps of drafts alone, each is one token, and its logits may be
 * those of few tokens (llama_head.c); beside others it would change the kernels for all, and is
 * padded as a step.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "llama/llama_internal.h"

/* A batch of steps waits this long for the slots of the batch before it. A slot needs a few
 * tenths to choose its token; a batch that goes without it costs all slots tens of these. */
static const uint64_t PATIENCE_NS = 1000000;

/* Beside the results of llama_decode. */
enum { NO_LOGITS = -100 };

bool lx_batch_should_abort(void *user)
{
    const lx_llama *e = user;
    for (uint32_t i = 0; i < e->running_count; i++)
        if (!atomic_load(&e->running[i]->is_cancelled))
            return false;
    return e->running_count > 0;
}

/* ---- a batch ------------------------------------------------------------------------- */

/* Strict: never one column alone, because other kernels would compute it. */
static uint32_t columns_of(const lx_llama *e, lx_job_kind kind, uint32_t count)
{
    if (kind == LX_JOB_PIECE || e->options.exact == LYNX_EXACT_ROUNDING)
        return count;
    return count == 1 || e->slot_count > 1 ? count + count % 2 : count;
}

void lx_decode_job_init(lx_decode_job *job, lx_slot *slot, lx_job_kind kind,
                        const lynx_token *tokens, uint32_t count)
{
    *job = (lx_decode_job){.base = {.kind = kind,
                                    .slot = slot->index,
                                    .columns = columns_of(slot->shared, kind, count)},
                           .slot = slot,
                           .tokens = tokens,
                           .count = count};
}

/* The first column with logits: of a piece the last one. Of a step never one alone, as above.
 */
static uint32_t first_output(const lx_decode_job *job)
{
    const uint32_t columns = job->base.columns;
    const uint32_t first = job->first_row - job->first_row % 2;
    if (job->base.kind == LX_JOB_PIECE)
        return columns - 1;
    return columns < 2 ? 0 : first < columns - 2 ? first : columns - 2;
}

/* The job's tokens, the last of them again as a dummy where the columns are more. */
static void add_to_batch(lx_llama *e, const lx_decode_job *job)
{
    struct llama_batch *batch = &e->batch;
    const uint32_t first = first_output(job);
    for (uint32_t i = 0; i < job->base.columns; i++) {
        const int32_t at = batch->n_tokens++;
        batch->token[at] = job->tokens[i < job->count ? i : job->count - 1];
        batch->pos[at] = (llama_pos)(job->slot->length + i);
        batch->n_seq_id[at] = 1;
        batch->seq_id[at][0] = (llama_seq_id)job->slot->index;
        batch->logits[at] = i >= first;
    }
}

static bool drop_from(const lx_slot *s, uint32_t length)
{
    return llama_memory_seq_rm(llama_get_memory(s->shared->context), (llama_seq_id)s->index,
                               (llama_pos)length, -1);
}

/* Before any job of the slot. */
static lynx_status drop_tail(lx_slot *s)
{
    if (s->has_tail && !drop_from(s, s->length))
        return lx_llama_fail(s->error, LYNX_ERR_ENGINE,
                             "llama.cpp cannot drop the last tokens");
    s->has_tail = false;
    return LYNX_OK;
}

/* Logits rows of a job whose columns begin at 'first' in the batch; 'is_headed': they are in
 * their place. */
static bool keep_rows(lx_llama *e, const lx_decode_job *job, uint32_t first, bool is_headed)
{
    lx_slot *s = job->slot;
    const bool is_piece = job->base.kind == LX_JOB_PIECE;
    s->row_zero = is_piece ? first + job->count - 1 : first;
    s->row_begin = is_piece ? 0 : first_output(job);
    s->row_end = is_piece ? 1 : job->count;
    s->has_own_rows = e->slot_count > 1 || is_headed;
    for (uint32_t row = s->row_begin; s->has_own_rows && !is_headed && row < s->row_end;
         row++) {
        const float *from = llama_get_logits_ith(e->context, (int32_t)(s->row_zero + row));
        if (!from)
            return false;
        memcpy(s->rows + (size_t)(row - s->row_begin) * e->description.vocabulary, from,
               e->description.vocabulary * sizeof(float));
    }
    return true;
}

/* The status of a job whose batch was computed; what it appended is dropped unless it is OK. */
static lynx_status finish_job(lx_llama *e, const lx_decode_job *job, uint32_t first,
                              bool is_headed)
{
    lx_slot *s = job->slot;
    const bool is_kept = keep_rows(e, job, first, is_headed);
    const bool is_cancelled = atomic_load(&s->is_cancelled);
    const bool is_whole = !is_cancelled && e->wait_status == LYNX_OK;
    const uint32_t length = s->length + (is_kept && is_whole ? job->count : 0);
    s->has_tail = length < s->length + job->base.columns;
    s->length = length;
    if (!is_whole)
        s->row_begin = s->row_end = 0;
    LX_TRY(drop_tail(s));
    LX_REQUIRE(is_kept, lx_llama_fail(s->error, LYNX_ERR_ENGINE, "llama.cpp gave no logits"));
    return is_cancelled ? LYNX_ERR_CANCELLED : e->wait_status;
}

static bool are_drafts(lx_decode_job *const jobs[], uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!jobs[i]->is_draft)
            return false;
    return true;
}

/* llama_decode of the batch; of drafts by few tokens, 'is_headed', with logits from here. */
static int32_t decode_batch(lx_llama *e, lx_decode_job *const jobs[], uint32_t count,
                            bool is_headed)
{
    float *logits[LX_SLOTS_MAX];
    if (!is_headed)
        return llama_decode(e->context, e->batch);
    lx_head_begin(e, count);
    for (uint32_t i = 0; i < count; i++) {
        lx_head_add(e, jobs[i]->tokens, jobs[i]->count);
        lx_head_add(e, jobs[i]->history, jobs[i]->history_count);
        logits[i] = jobs[i]->slot->rows;
    }
    const int32_t result = llama_decode(e->context, e->batch);
    /* A wait that failed has ended it before, and says so itself. */
    const bool is_whole = result == 0 && e->wait_status == LYNX_OK;
    const lynx_status status = lx_head_end(e, is_whole ? logits : NULL);
    return status == LYNX_OK ? result : NO_LOGITS;
}

/* llama_decode of all jobs; 0 when each has its status, else its result, and none has one. */
static int32_t decode_all(lx_llama *e, lx_decode_job *jobs[], uint32_t count)
{
    const bool is_drafts = are_drafts(jobs, count);
    const bool is_headed = is_drafts && e->head.is_ready;
    e->batch.n_tokens = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (is_drafts && jobs[i]->base.kind == LX_JOB_STEP)
            jobs[i]->count = jobs[i]->base.columns = 1;
        add_to_batch(e, jobs[i]);
        e->running[i] = jobs[i]->slot;
    }
    e->running_count = count;
    const int32_t result = decode_batch(e, jobs, count, is_headed);
    e->running_count = 0;
    uint32_t first = 0;
    for (uint32_t i = 0; i < count; first += jobs[i++]->base.columns)
        if (result == 0)
            jobs[i]->base.status = finish_job(e, jobs[i], first, is_headed);
        else /* parts of the batch may have been computed */
            (void)drop_from(jobs[i]->slot, jobs[i]->slot->length);
    return result;
}

static void decode_alone(lx_llama *e, lx_decode_job *job)
{
    const int32_t result = decode_all(e, &job, 1);
    if (result == 2)
        job->base.status = LYNX_ERR_CANCELLED;
    else if (result != 0)
        job->base.status = lx_llama_fail(job->slot->error, LYNX_ERR_ENGINE,
                                         "llama.cpp could not decode (%d)", result);
}

/* Those that can be decoded; each other one has its status. */
static uint32_t make_ready(lx_decode_job *jobs[], uint32_t count)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < count; i++) {
        lx_slot *s = jobs[i]->slot;
        jobs[i]->base.status =
            atomic_load(&s->is_cancelled) ? LYNX_ERR_CANCELLED : drop_tail(s);
        if (jobs[i]->base.status == LYNX_OK)
            jobs[left++] = jobs[i];
    }
    return left;
}

static void log_failure(const lx_llama *e, uint32_t count, int32_t result)
{
    char line[128];
    snprintf(line, sizeof(line),
             "llama.cpp could not decode %u slots at once (%d); each is decoded alone\n", count,
             result);
    if (e->options.log)
        e->options.log(e->options.log_user, 2, line);
}

void lx_decode_group(lx_llama *e, lx_decode_job *jobs[], uint32_t count)
{
    count = make_ready(jobs, count);
    if (count > 1) {
        const int32_t result = decode_all(e, jobs, count);
        if (result == 0)
            return;
        if (result != 2)
            log_failure(e, count, result);
    }
    /* One alone; or each by itself, so that only those fail that cause it. */
    count = make_ready(jobs, count);
    for (uint32_t i = 0; i < count; i++)
        decode_alone(e, jobs[i]);
}

/* ---- the caller's side --------------------------------------------------------------- */

typedef struct call_job {
    lx_job base;
    lx_slot *slot;
    lx_slot_call *call;
    void *user;
} call_job;

static void run_group(lx_llama *e, lx_job *group[], uint32_t count)
{
    lx_decode_job *jobs[LX_SLOTS_MAX];
    if (group[0]->kind != LX_JOB_CALL) {
        for (uint32_t i = 0; i < count; i++)
            jobs[i] = (lx_decode_job *)(void *)group[i];
        lx_decode_group(e, jobs, count);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        call_job *job = (call_job *)(void *)group[i];
        job->base.status = drop_tail(job->slot);
        if (job->base.status == LYNX_OK)
            job->base.status = job->call(job->slot, job->user);
    }
}

/* Here, or where the model's thread is. */
static lynx_status run_job(lx_llama *e, lx_job *job)
{
    if (e->has_thread) {
        lx_slot_queue_put(&e->queue, job);
        lx_slot_queue_wait(&e->queue, job);
    } else {
        run_group(e, &job, 1);
    }
    return job->status;
}

lynx_status lx_slot_run(lx_slot *s, lx_slot_call *call, void *user)
{
    call_job job = {{.kind = LX_JOB_CALL, .slot = s->index}, s, call, user};
    return run_job(s->shared, &job.base);
}

lynx_status lx_slot_make_rows(lx_slot *s, uint32_t count)
{
    const lx_llama *e = s->shared;
    const size_t row_bytes = e->description.vocabulary * sizeof(float);
    if (count <= s->row_room)
        return LYNX_OK;
    lx_free(e->memory, s->rows, s->row_room, row_bytes);
    s->row_room = 0;
    s->row_begin = s->row_end = 0;
    s->rows = lx_alloc(e->memory, count, row_bytes);
    LX_REQUIRE(s->rows, LYNX_ERR_MEMORY);
    s->row_room = count;
    return LYNX_OK;
}

static lynx_status check_tokens(const lx_llama *e, const lynx_token *tokens, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        LX_REQUIRE(tokens[i] >= 0 && (uint32_t)tokens[i] < e->description.vocabulary,
                   LYNX_ERR_ARGUMENT);
    return LYNX_OK;
}

static lynx_status run_decode(lx_decode_job *job)
{
    lx_slot *s = job->slot;
    const lx_llama *e = s->shared;
    LX_REQUIRE(job->count >= 1 && job->count <= e->piece_tokens, LYNX_ERR_ARGUMENT);
    LX_TRY(check_tokens(e, job->tokens, job->count));
    LX_TRY(check_tokens(e, job->history, job->history_count));
    if (e->slot_count > 1 || (job->is_draft && e->head.is_ready))
        LX_TRY(lx_slot_make_rows(s, job->base.columns - first_output(job)));
    return run_job(s->shared, &job->base);
}

static lynx_status decode(lx_slot *s, lx_job_kind kind, const lynx_token *tokens,
                          uint32_t count, uint32_t first_row)
{
    lx_decode_job job;
    lx_decode_job_init(&job, s, kind, tokens, count);
    job.first_row = first_row;
    return run_decode(&job);
}

lynx_status lx_slot_decode_piece(lx_slot *s, const lynx_token *tokens, uint32_t count)
{
    return decode(s, LX_JOB_PIECE, tokens, count, 0);
}

lynx_status lx_slot_decode_step(lx_slot *s, const lynx_token *tokens, uint32_t count,
                                uint32_t first_row)
{
    return decode(s, LX_JOB_STEP, tokens, count, first_row);
}

static lynx_status decode_draft(lx_slot *s, lx_job_kind kind, const lynx_token *tokens,
                                uint32_t count, const lynx_token *history,
                                uint32_t history_count)
{
    lx_decode_job job;
    lx_decode_job_init(&job, s, kind, tokens, count);
    job.is_draft = true;
    job.history = history;
    job.history_count = history_count;
    return run_decode(&job);
}

lynx_status lx_slot_decode_draft(lx_slot *s, const lynx_token *tokens, uint32_t count,
                                 const lynx_token *history, uint32_t history_count)
{
    return decode_draft(s, LX_JOB_STEP, tokens, count, history, history_count);
}

lynx_status lx_slot_decode_draft_piece(lx_slot *s, const lynx_token *tokens, uint32_t count,
                                       const lynx_token *history, uint32_t history_count)
{
    return decode_draft(s, LX_JOB_PIECE, tokens, count, history, history_count);
}

/* ---- the model's thread -------------------------------------------------------------- */

static void *compute(void *user)
{
    lx_llama *e = user;
    lx_job *group[LX_SLOTS_MAX];
    uint32_t count;
    while ((count = lx_slot_queue_take(&e->queue, group)) > 0) {
        run_group(e, group, count);
        lx_slot_queue_finish(&e->queue, group, count);
    }
    return NULL;
}

lynx_status lx_batch_start_thread(lx_llama *e)
{
    LX_TRY(lx_slot_queue_init(&e->queue, e->slot_count, e->piece_tokens, PATIENCE_NS));
    e->has_queue = true;
    LX_REQUIRE(pthread_create(&e->thread, NULL, compute, e) == 0, LYNX_ERR_SYSTEM);
    e->has_thread = true;
    return LYNX_OK;
}

void lx_batch_stop_thread(lx_llama *e)
{
    if (e->has_thread) {
        lx_slot_queue_close(&e->queue);
        pthread_join(e->thread, NULL);
    }
    if (e->has_queue)
        lx_slot_queue_fini(&e->queue);
    e->has_thread = false;
    e->has_queue = false;
}
