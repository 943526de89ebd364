/* SPDX-License-Identifier: MIT */
/*
 * answer_store.c - what the store has of a prompt, and what is put there; see answer.h.
 *
 *     prompt  |-- stored: loaded --|-- whole pages behind it: computed, kept --|-- the rest --|
 *             0              reused_tokens                               kept_tokens
 *
 * Whatever is kept, or could have been, passes the codec before the answer is computed on it,
 * so that later answers on what is stored are the same.
 */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "serve/answer.h"

static const lynx_model *model_of(const lx_answer *a)
{
    return a->engine->ops->model(a->engine);
}

/* ---- documents ----------------------------------------------------------------------- */

static lynx_status refuse(lx_api_fault *fault, unsigned http, const char *code,
                          const char *format, const char *name)
{
    lx_api_fault_set(fault, http, code, format, name);
    snprintf(fault->param, sizeof(fault->param), "lynx.document");
    return LYNX_ERR_ARGUMENT;
}

/* Who wrote the store may have made anything of it. */
static bool is_of_model(const lynx_document *d, const lynx_model *model)
{
    bool is_right =
        memcmp(&d->model.fingerprint, &model->fingerprint, sizeof(model->fingerprint)) == 0;
    for (uint32_t i = 0; i < d->token_count; i++)
        is_right = is_right && d->tokens[i] >= 0 && (uint32_t)d->tokens[i] < model->vocabulary;
    return is_right;
}

lynx_status lx_answer_open_document(lx_answer *a, lx_api_fault *fault)
{
    char text[LYNX_PLACE_TEXT_MAX] = "";
    const char *name = a->job->request.document;
    if (!name)
        return LYNX_OK;
    if (!a->options->store)
        return refuse(fault, 400, NULL,
                      "the document '%s' cannot be used: this server has no store (--store)",
                      name);
    const lynx_status status = lynx_store_get_document(a->options->store, name,
                                                       &a->store.document, text, sizeof(text));
    if (status != LYNX_OK) {
        if (a->store.filler)
            lx_filler_note_read(a->store.filler, LX_STORE_FIND, status, text);
        return refuse(fault, 503, "store", "the document '%s' cannot be read at present", name);
    }
    if (!a->store.document)
        return refuse(fault, 404, "document_not_found",
                      "there is no document '%s' in the store of this server", name);
    if (!is_of_model(a->store.document, model_of(a)))
        return refuse(fault, 400, "document_of_another_model",
                      "the document '%s' was stored for another model", name);
    a->store.spec = a->store.document->model.spec;
    return LYNX_OK;
}

/* ---- use ----------------------------------------------------------------------------- */

static bool may_load(const lx_answer *a)
{
    const lx_api_method asked = a->job->request.method;
    return asked != LX_API_METHOD_CARRY && asked != LX_API_METHOD_LOCAL &&
           lx_filler_may_read(a->store.filler);
}

static void find(lx_answer *a)
{
    char text[LYNX_PLACE_TEXT_MAX] = "";
    lynx_store *store = a->options->store;
    const lynx_document *d = a->store.document;
    const lynx_run_options *r = &a->run;
    const lynx_status status =
        d ? lynx_store_find_document(store, model_of(a), d, r->prompt, r->prompt_tokens,
                                     &a->store.source, text, sizeof(text))
          : lynx_store_find(store, model_of(a), &a->store.spec, r->prompt, r->prompt_tokens,
                            &a->store.source, text, sizeof(text));
    lx_filler_note_read(a->store.filler, LX_STORE_FIND, status, text);
}

static void leave(lx_answer *a)
{
    lynx_source_destroy(a->store.source);
    a->store.source = NULL;
}

static uint32_t found_tokens(const lx_answer *a)
{
    return a->store.source ? a->store.source->ops->prefix(a->store.source)->token_count : 0;
}

void lx_answer_ask_store(lx_answer *a)
{
    if (!a->store.filler)
        return;
    if (may_load(a))
        find(a);
    if (found_tokens(a) < a->options->store_least_tokens)
        leave(a);
}

uint32_t lx_answer_held_tokens(const lx_answer *a)
{
    const uint32_t found = found_tokens(a);
    return found - found % model_of(a)->shape.page_tokens;
}

static lx_stored_way way_of(const lx_answer *a)
{
    const lx_stored stored = {
        .prompt_tokens = a->run.prompt_tokens,
        .stored_tokens = found_tokens(a),
        .bytes = a->store.source->ops->prefix(a->store.source)->bytes,
        .busy = atomic_load(&a->metrics->busy),
        .otherwise_s = a->choice.expected_s,
        .has_helpers = a->choice.helpers > 0,
        .helped_s = a->choice.helped_s,
    };
    const lx_stored_way way = lx_policy_choose_stored(a->policy, &stored);
    const bool is_forced = a->job->request.method != LX_API_METHOD_AUTO;
    return way == LX_STORED_NOT && is_forced ? LX_STORED_ALONE : way;
}

static void use(lx_answer *a, lx_stored_way way)
{
    const bool waits = a->job->request.method == LX_API_METHOD_WAIT;
    lx_choice *c = &a->choice;
    a->store.is_helped = way == LX_STORED_HELPED;
    a->store.reused_tokens = found_tokens(a);
    a->run.source = a->store.source;
    c->fallback = LX_FALLBACK_NONE;
    if (a->store.is_helped) {
        c->method = c->helped_by;
        c->count = c->helpers;
    } else {
        c->method = waits ? LYNX_METHOD_WAIT : LYNX_METHOD_SPECULATE;
        c->count = 0;
        a->run.complete_deadline_ns = 0;
    }
    a->run.method = c->method;
    snprintf(c->reason, sizeof(c->reason), "the store has %u of %u tokens%s",
             a->store.reused_tokens, a->run.prompt_tokens,
             a->store.is_helped ? ", a prefill node sends the rest" : "");
}

static void load(lx_answer *a)
{
    const lx_stored_way way = a->store.source ? way_of(a) : LX_STORED_NOT;
    const bool is_used = way != LX_STORED_NOT;
    if (is_used)
        use(a, way);
    else
        leave(a);
    atomic_fetch_add(is_used ? &a->metrics->store_hits : &a->metrics->store_misses, 1);
}

/* ---- what is kept -------------------------------------------------------------------- */

/* The beginning that is worth keeping: whole pages without recent tokens, which are not as a
 * store has them, or the document that the request names if its pages end where we say. */
static uint32_t end_of_kept(const lx_answer *a, bool is_ours)
{
    const uint32_t page_tokens = model_of(a)->shape.page_tokens;
    const lynx_document *d = a->store.document;
    if (is_ours && d && a->store.reused_tokens < d->token_count &&
        d->token_count < a->run.prompt_tokens)
        return d->token_count;
    const uint32_t recent = is_ours ? 0 : a->run.spec.recent_tokens;
    const uint32_t last = recent ? recent : 1;
    return a->run.prompt_tokens > last
               ? (a->run.prompt_tokens - last) / page_tokens * page_tokens
               : 0;
}

static void drop_gather(lx_answer *a)
{
    if (!a->store.gather)
        return;
    lynx_gather_destroy(a->store.gather);
    lx_filler_give_back(a->store.filler, a->store.reserved);
    a->store.gather = NULL;
}

static void begin_gather(lx_answer *a, uint32_t first, uint32_t end)
{
    const lynx_shape *shape = &model_of(a)->shape;
    lynx_gather_options options;
    lynx_gather_options_init(&options);
    options.model = model_of(a);
    options.spec = a->store.spec;
    options.tokens = a->run.prompt;
    options.first_token = first;
    options.end_token = end;
    options.key = lynx_store_key(a->options->store);
    a->store.gather_end = end;
    a->store.reserved =
        lynx_shape_cache_bytes(shape, end) - (first ? lynx_shape_cache_bytes(shape, first) : 0);
    if (!lx_filler_reserve(a->store.filler, a->store.reserved))
        return;
    if (lynx_gather_create(&a->store.gather, &options) != LYNX_OK)
        lx_filler_give_back(a->store.filler, a->store.reserved);
}

static void plan_kept(lx_answer *a)
{
    const uint32_t first = a->store.reused_tokens;
    const bool is_alone = a->run.method == LYNX_METHOD_LOCAL;
    const bool is_ours = is_alone || (a->store.source && !a->store.is_helped);
    const uint32_t end = end_of_kept(a, is_ours);
    if (end == 0)
        return;
    if (is_alone) {
        a->run.method = LYNX_METHOD_LOCAL_FULL;
        a->run.cached_tokens = end;
    }
    /* A page that a document ends in is not stored a second time with what follows. */
    if (first % model_of(a)->shape.page_tokens || end <= first ||
        end - first < a->options->store_least_tokens)
        return;
    a->run.kept_tokens = end;
    begin_gather(a, first, end);
}

void lx_answer_use_store(lx_answer *a)
{
    if (!a->store.filler)
        return;
    load(a);
    plan_kept(a);
    a->store.loaded_from = lynx_clock_now();
}

void lx_answer_page(void *user, lynx_page_id page, uint32_t token_count,
                    const lynx_bytes *planes, uint32_t plane_count)
{
    const lx_answer *a = user;
    if (a->store.gather)
        lynx_gather_add(a->store.gather, page, token_count, planes, plane_count);
}

/* ---- the end ------------------------------------------------------------------------- */

void lx_answer_lose_pages(lx_answer *a, const lynx_moment *m)
{
    if (m->is_source) {
        a->store.is_broken = true;
        lx_filler_note_read(a->store.filler, LX_STORE_LOAD, m->status, m->text);
    }
    if (a->store.gather) {
        if (lynx_gather_restart(a->store.gather) != LYNX_OK)
            drop_gather(a);
    } else if (m->is_source) { /* what is computed now makes it good */
        begin_gather(a, 0, a->store.reused_tokens);
    }
}

static void drop_broken(lx_answer *a)
{
    char text[LYNX_PLACE_TEXT_MAX] = "";
    const lynx_status status =
        lynx_store_drop_broken(a->options->store, a->store.source, text, sizeof(text));
    if (status != LYNX_OK && a->options->log)
        a->options->log(a->options->user, status, text);
    a->store.reused_tokens = 0;
}

/* A prefill node that knows no held pages, or comes behind another one, sends all of them. */
static void note_source(lx_answer *a)
{
    const lynx_run_result *r = &a->result;
    const lynx_source_prefix *prefix = a->store.source->ops->prefix(a->store.source);
    if (a->store.is_helped)
        a->store.reused_tokens = r->held_tokens;
    if (a->store.reused_tokens)
        atomic_fetch_add(&a->metrics->store_read,
                         a->store.is_helped ? prefix->bytes : r->bytes_total);
    if (a->store.is_broken) {
        drop_broken(a);
        return;
    }
    atomic_fetch_add(&a->metrics->store_reused, a->store.reused_tokens);
    if (!a->store.is_helped && a->complete_at > a->store.loaded_from) {
        a->seen.store_bytes = r->bytes_total;
        a->seen.store_ns = a->complete_at - a->store.loaded_from;
    }
}

void lx_answer_note_store(lx_answer *a)
{
    if (a->store.source)
        note_source(a);
    if (!a->store.gather)
        return;
    if (!lynx_gather_is_whole(a->store.gather)) {
        drop_gather(a);
        return;
    }
    a->store.kept_tokens = a->store.gather_end;
    a->store.kept_bytes = lynx_gather_bytes(a->store.gather);
}

void lx_answer_end_store(lx_answer *a)
{
    if (a->store.kept_tokens)
        lx_filler_push(a->store.filler, a->store.gather, a->store.reserved);
    else
        drop_gather(a);
    lynx_source_destroy(a->store.source);
    lynx_document_destroy(a->store.document);
}
