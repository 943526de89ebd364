/* SPDX-License-Identifier: MIT */
/*
 * llama_engine.c - the engine contract on llama.cpp: the cache of one slot, steps, text.
 *
 * llama.cpp aborts on broken preconditions, so each is checked before a call. 'length' mirrors
 * what the context holds of the slot's sequence.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "llama/llama_internal.h"

lx_slot *lx_slot_of(lynx_engine *engine)
{
    return (lx_slot *)(void *)engine;
}

static const lx_slot *of_const(const lynx_engine *engine)
{
    return (const lx_slot *)(const void *)engine;
}

lynx_status lx_llama_fail(char *error, lynx_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, LX_ERROR_TEXT, format, arguments);
    va_end(arguments);
    return status;
}

/* ---- the cache ----------------------------------------------------------------------- */

static lynx_status do_nothing(lx_slot *s, void *user)
{
    (void)s;
    (void)user;
    return LYNX_OK;
}

lynx_status lx_slot_clear(lx_slot *s)
{
    s->is_blob_current = false;
    s->length = 0;
    s->has_tail = true;
    memset(s->first_cell, 0, sizeof(s->first_cell));
    return lx_slot_run(s, do_nothing, NULL);
}

/* The tail is dropped with the next job, so that no slot waits for the others for it. */
lynx_status lx_slot_rewind(lynx_engine *engine, uint32_t length)
{
    lx_slot *s = lx_slot_of(engine);
    LX_REQUIRE(length <= s->length, LYNX_ERR_ARGUMENT);
    for (uint32_t i = 0; i < LX_PARTS_MAX; i++)
        LX_REQUIRE(length > s->first_cell[i] || s->first_cell[i] == 0, LYNX_ERR_ARGUMENT);
    s->has_tail = s->has_tail || length < s->length;
    s->length = length;
    return LYNX_OK;
}

static uint32_t length(const lynx_engine *engine)
{
    return of_const(engine)->length;
}

/* ---- decoding ------------------------------------------------------------------------ */

static lynx_status check_room(lx_slot *s, uint32_t count)
{
    const uint32_t most = s->shared->description.context_tokens;
    return count <= most - s->length ? LYNX_OK
                                     : lx_llama_fail(s->error, LYNX_ERR_LIMIT,
                                                     "the context of %u tokens is full", most);
}

/* Before 'count' tokens, of 'most' that may come at once, are appended. */
static lynx_status begin_decode(lx_slot *s, uint32_t count, uint32_t most)
{
    LX_REQUIRE(count >= 1 && count <= most, LYNX_ERR_ARGUMENT);
    atomic_store(&s->is_cancelled, false);
    return check_room(s, count);
}

static lynx_status prefill_by_layer(lynx_engine *engine, const lynx_token *tokens,
                                    uint32_t count, lynx_prefill_progress *progress,
                                    lynx_prefill_layers *layers, void *user)
{
    lx_slot *s = lx_slot_of(engine);
    const uint32_t most = s->shared->piece_tokens;
    LX_REQUIRE(count >= 1 && count <= s->shared->description.context_tokens, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(!layers || s->shared->description.can_await_layers, LYNX_ERR_UNSUPPORTED);
    atomic_store(&s->is_cancelled, false);
    LX_TRY(lx_slot_clear(s));
    while (s->length < count) {
        const uint32_t left = count - s->length;
        LX_TRY(lx_slot_decode_piece_by_layer(s, tokens + s->length, left < most ? left : most,
                                             layers, user));
        s->is_blob_current = false;
        LX_REQUIRE(!progress || progress(user, s->length, count), LYNX_ERR_CANCELLED);
    }
    return LYNX_OK;
}

static lynx_status prefill(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                           lynx_prefill_progress *progress, void *user)
{
    return prefill_by_layer(engine, tokens, count, progress, NULL, user);
}

lynx_status lx_slot_batch(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                          uint32_t first_row)
{
    lx_slot *s = lx_slot_of(engine);
    LX_TRY(begin_decode(s, count, s->shared->description.batch_tokens));
    return lx_slot_decode_step(s, tokens, count, first_row);
}

lynx_status lx_slot_step(lynx_engine *engine, lynx_token token)
{
    return lx_slot_batch(engine, &token, 1, 0);
}

lynx_status lx_slot_draft_step(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                               const lynx_token *history, uint32_t history_count)
{
    lx_slot *s = lx_slot_of(engine);
    LX_TRY(begin_decode(s, count, s->shared->description.step_tokens));
    return lx_slot_decode_draft(s, tokens, count, history, history_count);
}

lynx_status lx_slot_draft_batch(lynx_engine *engine, const lynx_token *tokens, uint32_t count,
                                const lynx_token *history, uint32_t history_count)
{
    lx_slot *s = lx_slot_of(engine);
    LX_TRY(begin_decode(s, count, s->shared->description.batch_tokens));
    return lx_slot_decode_draft_piece(s, tokens, count, history, history_count);
}

static const float *logits(lynx_engine *engine, uint32_t row)
{
    const lx_slot *s = lx_slot_of(engine);
    const lx_llama *e = s->shared;
    if (row < s->row_begin || row >= s->row_end)
        return NULL;
    return s->has_own_rows ? s->rows + (size_t)(row - s->row_begin) * e->description.vocabulary
                           : llama_get_logits_ith(e->context, (int32_t)(s->row_zero + row));
}

static void cancel(lynx_engine *engine)
{
    lx_slot *s = lx_slot_of(engine);
    atomic_store(&s->is_cancelled, true);
    if (s->shared->has_queue)
        lx_slot_queue_cancel(&s->shared->queue, s->index);
}

/* ---- text ---------------------------------------------------------------------------- */

static lynx_status tokenize(lynx_engine *engine, const char *text, size_t size, bool add_start,
                            bool parse_special, lynx_token *tokens, size_t capacity,
                            size_t *count)
{
    lx_slot *s = lx_slot_of(engine);
    const lx_llama *e = s->shared;
    LX_REQUIRE(size <= INT32_MAX, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(llama_vocab_type(e->vocab) != LLAMA_VOCAB_TYPE_NONE, LYNX_ERR_UNSUPPORTED);
    const int32_t room = capacity > INT32_MAX ? INT32_MAX : (int32_t)capacity;
    const int32_t result =
        llama_tokenize(e->vocab, text, (int32_t)size, tokens, room, add_start, parse_special);
    if (result == INT32_MIN)
        return lx_llama_fail(s->error, LYNX_ERR_LIMIT, "the text has too many tokens");
    *count = (size_t)(result < 0 ? -result : result);
    return result < 0 ? LYNX_ERR_LIMIT : LYNX_OK;
}

static lynx_status token_text(lynx_engine *engine, lynx_token token, char *text,
                              size_t capacity, size_t *size)
{
    const lx_llama *e = of_const(engine)->shared;
    LX_REQUIRE(token >= 0 && (uint32_t)token < e->description.vocabulary, LYNX_ERR_ARGUMENT);
    LX_REQUIRE(llama_vocab_type(e->vocab) != LLAMA_VOCAB_TYPE_NONE, LYNX_ERR_UNSUPPORTED);
    const int32_t room = capacity > INT32_MAX ? INT32_MAX : (int32_t)capacity;
    const int32_t result = llama_token_to_piece(e->vocab, token, text, room, 0, false);
    LX_REQUIRE(result >= 0, LYNX_ERR_LIMIT);
    *size = (size_t)result;
    return LYNX_OK;
}

static bool token_is_end(const lynx_engine *engine, lynx_token token)
{
    const lx_llama *e = of_const(engine)->shared;
    return llama_vocab_type(e->vocab) != LLAMA_VOCAB_TYPE_NONE &&
           llama_vocab_is_eog(e->vocab, token);
}

/* Files without a template of their own, of families that have only one. */
static const char *family_template(const lx_llama *e)
{
    return strncmp(e->description.architecture, "gemma", 5) == 0 ? "gemma" : NULL;
}

static lynx_status chat_prompt(lynx_engine *engine, const char *template_name,
                               const lynx_chat_turn *turns, size_t count, char *text,
                               size_t capacity, size_t *size)
{
    const lx_llama *e = of_const(engine)->shared;
    const char *known = template_name;
    if (!known)
        known = llama_model_chat_template(e->model, NULL);
    if (!known)
        known = family_template(e);
    LX_REQUIRE(known, LYNX_ERR_UNSUPPORTED);
    const int32_t room = capacity > INT32_MAX ? INT32_MAX : (int32_t)capacity;
    struct llama_chat_message *messages = lx_alloc(e->memory, count, sizeof(*messages));
    LX_REQUIRE(messages, LYNX_ERR_MEMORY);
    for (size_t i = 0; i < count; i++)
        messages[i] = (struct llama_chat_message){turns[i].role, turns[i].text};
    const int32_t result = llama_chat_apply_template(known, messages, count, true, text, room);
    lx_free(e->memory, messages, count, sizeof(*messages));
    LX_REQUIRE(result >= 0, LYNX_ERR_UNSUPPORTED);
    *size = (size_t)result;
    return (size_t)result > capacity ? LYNX_ERR_LIMIT : LYNX_OK;
}

/* ---- the table ----------------------------------------------------------------------- */

static const lynx_model *model(const lynx_engine *engine)
{
    return &of_const(engine)->shared->description;
}

static const char *error_text(const lynx_engine *engine)
{
    const lx_slot *s = of_const(engine);
    return s->error[0] ? s->error : "the engine failed without a reason";
}

const lynx_engine_ops lx_slot_ops = {
    .destroy = lx_slot_destroy,
    .model = model,
    .error_text = error_text,
    .tokenize = tokenize,
    .token_text = token_text,
    .token_is_end = token_is_end,
    .chat_prompt = chat_prompt,
    .prefill = prefill,
    .reserve = lx_cache_reserve,
    .rewind = lx_slot_rewind,
    .length = length,
    .map_page = lx_cache_map,
    .unmap_page = lx_cache_unmap,
    .commit_pages = lx_cache_commit,
    .step = lx_slot_step,
    .prefill_by_layer = prefill_by_layer,
    .batch = lx_slot_batch,
    .batch_by_layer = lx_slot_batch_by_layer,
    .draft_step = lx_slot_draft_step,
    .draft_batch = lx_slot_draft_batch_by_layer,
    .logits = logits,
    .sample = lx_slot_sample,
    .first_tokens = lx_slot_first_tokens,
    .cancel = cancel,
};

const char *lynx_llama_probe_report(const lynx_engine *engine)
{
    return of_const(engine)->shared->report;
}

const char *lynx_llama_version(void)
{
    return llama_version();
}
