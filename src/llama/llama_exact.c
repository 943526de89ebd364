/* SPDX-License-Identifier: MIT */
/*
 * llama_exact.c - the probe of exactness: a token's logits alone, in batches of its own
 * sequence, and beside other sequences.
 *
 * A sequence's logits must not depend on its stream, so all slots hold the same tokens and are
 * held to the same steps of the first slot alone.
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "llama/llama_internal.h"

enum {
    STEP_TOKENS = 5,
    NEIGHBOURS = 4,     /* slots of a batch of the test, at most */
    LONG_TOKENS = 2000, /* of a neighbour whose cache is much longer */
    TOKENS = LX_PROBE_TOKENS + LX_BATCH_TOKENS
};

/* The larger one; a NaN stays, so that it does not pass as equal. */
static float worse(float a, float b)
{
    return isnan(a) || b <= a ? a : b;
}

static float largest_difference(const float *a, const float *b, uint32_t count)
{
    float most = 0;
    for (uint32_t i = 0; i < count; i++)
        most = worse(most, fabsf(a[i] - b[i]));
    return most;
}

/* Rows of a slot's batch, of its first tokens, against the steps that were saved. */
static void compare_rows(const lx_llama *e, lx_slot *s, uint32_t count, float *error)
{
    const uint32_t vocabulary = e->description.vocabulary;
    for (uint32_t row = s->row_begin; row < STEP_TOKENS && row < count; row++) {
        const float *logits = s->base.ops->logits(&s->base, row);
        *error =
            worse(*error, largest_difference(logits, e->saved_logits + (size_t)row * vocabulary,
                                             vocabulary));
    }
}

static uint64_t ns_since(int64_t start_us)
{
    const int64_t now = llama_time_us();
    return now > start_us ? (uint64_t)(now - start_us) * 1000 : 1;
}

/* The logits behind 'count' tokens by few tokens, one of which is a rare one, against those by
 * all. */
static lynx_status compare_head(lx_llama *e, const lynx_token *tokens, uint32_t count,
                                float *error)
{
    lx_slot *s = e->slots[0];
    const uint32_t vocabulary = e->description.vocabulary;
    const lynx_token rare = (lynx_token)vocabulary - 1;
    e->head.is_ready = false;
    LX_TRY(lx_slot_draft_batch(&s->base, tokens, count, NULL, 0));
    memcpy(e->saved_logits, s->base.ops->logits(&s->base, 0), vocabulary * sizeof(float));
    LX_TRY(lx_slot_rewind(&s->base, LX_PROBE_TOKENS));
    e->head.is_ready = true;
    LX_TRY(lx_slot_draft_batch(&s->base, tokens, count, &rare, 1));
    const float *few = s->base.ops->logits(&s->base, 0);
    *error = worse(*error, largest_difference(few, e->saved_logits, e->head.common));
    *error = worse(*error, fabsf(few[rare] - e->saved_logits[rare]));
    return lx_slot_rewind(&s->base, LX_PROBE_TOKENS);
}

/* Where that does not work drafts are by all tokens. */
static lynx_status probe_head(lx_llama *e, const lynx_token *tokens)
{
    static const float most = 0.01f; /* rounding */
    lx_slot *s = e->slots[0];
    float error = 0;
    if (!e->head.is_ready)
        return LYNX_OK;
    lynx_status status = compare_head(e, tokens, 1, &error);
    if (status == LYNX_OK)
        status = compare_head(e, tokens, 3, &error);
    LX_REQUIRE(status == LYNX_OK || e->head.is_ready, status); /* it is not to blame */
    e->head.is_ready = status == LYNX_OK && error <= most;
    s->error[0] = '\0';
    lx_llama_note(e, "drafts among %u of %u tokens and those of the prompt: %s", e->head.common,
                  e->description.vocabulary,
                  e->head.is_ready    ? "yes"
                  : status == LYNX_OK ? "no, the logits are others"
                                      : "no, they are not computed as is known");
    return lx_slot_rewind(&s->base, LX_PROBE_TOKENS);
}

/* As drafts are made. The quickest counts. */
static lynx_status time_draft_steps(lx_llama *e, const lynx_token *tokens)
{
    lx_slot *s = e->slots[0];
    uint64_t least = UINT64_MAX;
    LX_TRY(lx_slot_rewind(&s->base, LX_PROBE_TOKENS));
    for (uint32_t i = 0; i < STEP_TOKENS; i++) {
        const int64_t start = llama_time_us();
        LX_TRY(lx_slot_draft_step(&s->base, &tokens[i], 1, tokens, i));
        const uint64_t took = ns_since(start);
        least = took < least ? took : least;
    }
    e->description.draft_step_ns = least;
    return LYNX_OK;
}

/* The quickest counts: the first ones read the weights from the disk. */
static lynx_status save_steps(lx_llama *e, const lynx_token *tokens)
{
    const uint32_t vocabulary = e->description.vocabulary;
    lx_slot *s = e->slots[0];
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < STEP_TOKENS; i++) {
        const int64_t start = llama_time_us();
        LX_TRY(lx_slot_step(&s->base, tokens[i]));
        const uint64_t took = ns_since(start);
        least = took < least ? took : least;
        memcpy(e->saved_logits + (size_t)i * vocabulary, s->base.ops->logits(&s->base, 0),
               vocabulary * sizeof(float));
    }
    e->description.step_ns = least;
    return LYNX_OK;
}

/* A batch of 'count' tokens took so long. */
static void note_batch(lynx_model *model, uint32_t count, uint64_t took)
{
    model->row_ns = took > model->step_ns ? (took - model->step_ns) / (count - 1) : 1;
}

static lynx_status compare_batches(lx_llama *e, const lynx_token *tokens, float *error)
{
    /* And with logits of the last two tokens alone, or of all but two. */
    const uint32_t sizes[] = {2, 3, STEP_TOKENS, 20, e->description.batch_tokens};
    const uint32_t first_rows[] = {0, 0, STEP_TOKENS, 2, 0};
    lx_slot *s = e->slots[0];
    for (uint32_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        LX_TRY(lx_slot_rewind(&s->base, LX_PROBE_TOKENS));
        const int64_t start = llama_time_us();
        LX_TRY(lx_slot_batch(&s->base, tokens, sizes[i], first_rows[i]));
        note_batch(&e->description, sizes[i], ns_since(start)); /* the longest stays */
        compare_rows(e, s, sizes[i], error);
    }
    return LYNX_OK;
}

/* ---- several slots ------------------------------------------------------------------- */

/* One batch of 'count' slots from 'first', slot i with sizes[i] tokens. */
static lynx_status decode_beside(lx_llama *e, const lynx_token *tokens, uint32_t count,
                                 const uint32_t *sizes)
{
    lx_decode_job jobs[NEIGHBOURS];
    lx_decode_job *group[NEIGHBOURS];
    for (uint32_t i = 0; i < count; i++) {
        LX_TRY(lx_slot_make_rows(e->slots[i], sizes[i]));
        lx_decode_job_init(&jobs[i], e->slots[i], LX_JOB_STEP, tokens, sizes[i]);
        group[i] = &jobs[i];
    }
    lx_decode_group(e, group, count);
    for (uint32_t i = 0; i < count; i++)
        LX_TRY(jobs[i].base.status);
    return LYNX_OK;
}

/* Steps and batches of mixed sizes in one batch, each slot with each size in turn. */
static lynx_status compare_mixed(lx_llama *e, const lynx_token *tokens, uint32_t count,
                                 float *error)
{
    static const uint32_t mixed[NEIGHBOURS] = {1, 40, 3, 2};
    uint32_t sizes[NEIGHBOURS];
    for (uint32_t turn = 0; turn < count; turn++) {
        for (uint32_t i = 0; i < count; i++)
            sizes[i] = mixed[(i + turn) % count];
        LX_TRY(decode_beside(e, tokens, count, sizes));
        for (uint32_t i = 0; i < count; i++) {
            compare_rows(e, e->slots[i], sizes[i], error);
            LX_TRY(lx_slot_rewind(&e->slots[i]->base, LX_PROBE_TOKENS));
        }
    }
    return LYNX_OK;
}

/* Beside a cache that is much longer, so that more cells are computed for all. */
static lynx_status compare_long(lx_llama *e, const lynx_token *tokens, float *error)
{
    static const uint32_t steps[2] = {1, 1};
    const uint32_t most = e->description.context_tokens - 2;
    LX_TRY(lx_cache_reserve(&e->slots[1]->base, most < LONG_TOKENS ? most : LONG_TOKENS));
    LX_TRY(decode_beside(e, tokens, 2, steps));
    compare_rows(e, e->slots[0], 1, error);
    return LYNX_OK;
}

static lynx_status probe_neighbours(lx_llama *e, const lynx_token *tokens)
{
    const uint32_t count = e->slot_count < NEIGHBOURS ? e->slot_count : NEIGHBOURS;
    float error = 0;
    LX_TRY(lx_slot_rewind(&e->slots[0]->base, LX_PROBE_TOKENS));
    for (uint32_t i = 1; i < count; i++) {
        LX_TRY(lx_slot_clear(e->slots[i]));
        LX_TRY(lx_slot_decode_piece(e->slots[i], tokens, LX_PROBE_TOKENS));
    }
    LX_TRY(compare_mixed(e, tokens + LX_PROBE_TOKENS, count, &error));
    LX_TRY(compare_long(e, tokens + LX_PROBE_TOKENS, &error));
    lx_llama_note(e,
                  "slots: %u of %u in one batch (1, 40, 3, 2 tokens; a longer cache beside) "
                  "against one alone: %s, |difference| %g",
                  count, e->slot_count, error == 0 ? "exact" : "up to rounding", (double)error);
    if (error != 0 && e->description.exactness == LYNX_EXACT &&
        e->options.exact == LYNX_EXACT_STRICT)
        return lx_llama_fail(e->slots[0]->error, LYNX_ERR_UNSUPPORTED,
                             "the logits of '%s' depend on what else is in a batch (by %g); "
                             "use one slot, or --exact rounding",
                             e->architecture, (double)error);
    e->description.exactness_error = worse(e->description.exactness_error, error);
    if (error != 0)
        e->description.exactness = LYNX_EXACT_TO_ROUNDING;
    return LYNX_OK;
}

/* ---- the whole ----------------------------------------------------------------------- */

lynx_status lx_llama_probe_exactness(lx_llama *e)
{
    const uint32_t vocabulary = e->description.vocabulary;
    lynx_token tokens[TOKENS];
    float error = 0;
    for (uint32_t i = 0; i < TOKENS; i++)
        tokens[i] = (lynx_token)((i * 7919u + 13u) % vocabulary);
    e->saved_logits = lx_alloc(e->memory, (size_t)STEP_TOKENS * vocabulary, sizeof(float));
    LX_REQUIRE(e->saved_logits, LYNX_ERR_MEMORY);
    LX_TRY(lx_slot_clear(e->slots[0]));
    LX_TRY(lx_slot_decode_piece(e->slots[0], tokens, LX_PROBE_TOKENS));
    LX_TRY(probe_head(e, tokens + LX_PROBE_TOKENS));
    LX_TRY(save_steps(e, tokens + LX_PROBE_TOKENS));
    LX_TRY(time_draft_steps(e, tokens + LX_PROBE_TOKENS));
    LX_TRY(compare_batches(e, tokens + LX_PROBE_TOKENS, &error));
    e->description.exactness = error == 0 ? LYNX_EXACT : LYNX_EXACT_TO_ROUNDING;
    e->description.exactness_error = error;
    lx_llama_note(
        e, "exactness (%s): step against batches of 2, 3, 5, 20, %u: %s, |difference| %g",
        e->options.exact == LYNX_EXACT_STRICT ? "strict" : "rounding",
        e->description.batch_tokens, error == 0 ? "exact" : "up to rounding", (double)error);
    lx_llama_note(e, "step: %.2f ms, of a draft %.2f ms", (double)e->description.step_ns / 1e6,
                  (double)e->description.draft_step_ns / 1e6);
    if (e->slot_count > 1)
        LX_TRY(probe_neighbours(e, tokens));
    for (uint32_t i = 0; i < e->slot_count; i++)
        LX_TRY(lx_slot_clear(e->slots[i]));
    return LYNX_OK;
}
