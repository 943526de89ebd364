/* SPDX-License-Identifier: MIT */
/*
 * run.h - one prompt on a decode node: what its files share.
 *
 *     run_pages.c     what arrives, from a remote or a source: planes into the engine's cache
 *     run_held.c      what comes from a source while a remote sends the rest
 *     run_layers.c    what is computed behind a cache while it comes
 *     run_await.c     whether there is time to draft while the rest of a stored cache comes
 *     run_tokens.c    what is computed: drafts, reviews of them, plain decoding
 *     run_branches.c  drafts that go on from second choices
 *     run_verify.c    what becomes valid: the passes on the full cache
 *     run_alone.c     the local methods, and going on when the remotes or the source are lost
 *     decode_node.c   the methods over a link or a source
 */
#ifndef LX_RUNTIME_RUN_H
#define LX_RUNTIME_RUN_H

#include "lynx/runtime.h"
#include "lynx/speculate.h"
#include "runtime/next_token.h"
#include "runtime/page_pass.h"
#include "runtime/pump.h"
#include "runtime/run_meter.h"
#include "runtime/stock.h"
#include "speculate/branches.h"

typedef struct lx_run {
    const lynx_run_options *options;
    lynx_run_result *result;
    lynx_engine *engine;
    const lynx_model *model;
    const lynx_allocator *memory;
    lx_page_pass pass;
    char *text;
    lynx_time_ns zero;

    const lynx_codec_spec *spec; /* of the pages */
    uint32_t cached_tokens; /* of the prompt, that the pages give; the rest, if there is one,
                               is computed here */
    lx_stock *stock;        /* of a source; NULL: none is read */

    /* Over a remote: the pages of the prompt's first tokens are those of the source. */
    uint32_t held_tokens; /* said to the remote; 0: none, all pages come */
    bool leaves_out;      /* it said that it leaves them out */
    bool has_lost_held;   /* the source failed, not the remote */
    lx_page_pass held_pass;
    uint64_t held_due; /* planes of them that are not here yet */

    /* The remote in use. */
    lynx_receiver *receiver; /* with the pump's lock held */
    lynx_pump *pump;
    lx_measure *measure; /* with the pump's lock held */
    lx_run_meter meter;
    uint64_t request_id;
    uint64_t bytes_before; /* that had come when the request was made */
    bool is_ready, has_first, is_finished, is_over, is_flipped, has_yielded;
    bool has_bad_page; /* a page here is whole and not legal: the cache is of no use */
    lynx_status over_status;

    /* Prompt, answer and drafts in one row; the answer's first token is at 'prompt_tokens'. */
    lynx_token *history;
    size_t history_room;
    lx_next next;
    lx_branches branches;        /* of drafts; the history has those of the active one */
    lynx_logprobs *row_logprobs; /* of the verified tokens, if they are wanted */
    uint8_t *allowed; /* what the grammar lets come first, for the prefill node; or NULL */
    size_t allowed_bytes;
    lynx_token_clock clock;
    lynx_pace *pace; /* the caller's or 'own_pace', which knows only this run */
    lynx_pace own_pace;
    bool awaits_rest;        /* of a stored cache: it comes before drafts would pay */
    uint32_t least_plane;    /* a page is decoded once planes 0 .. this are here */
    uint32_t reviewed_plane; /* a review on planes 0 .. this was made, or did not pay */

    /* Counted from events, because the map runs ahead of the events that are taken. */
    uint64_t pages_needed, planes_seen[LYNX_PLANES_MAX], plane_bytes[LYNX_PLANES_MAX];
    lynx_time_ns arrived_at;  /* the newest plane */
    lynx_time_ns anchor_time; /* when the anchor was complete */
    uint64_t bytes_at_anchor; /* of residual planes that were here then */
    uint32_t *due; /* [layer][plane] pages that lack it; NULL: layers are not waited for */
    size_t due_count;
    uint32_t awaited_plane; /* by the batch that is computed */
    uint64_t awaited_ns;    /* time of batches that went by waiting */
    lynx_page_id *pending;  /* a plane of these pages arrived and is not in the cache yet */
    size_t pending_count, pending_room;
} lx_run;

void lx_run_emit(const lx_run *run, lynx_moment moment);
bool lx_run_is_stopped(const lx_run *run);

/* ---- run_pages.c --------------------------------------------------------------------- */

/* The remote can do no more for this request: the first reason counts. */
void lx_run_over(lx_run *run, lynx_status status, const char *text);

/* Take events without waiting, or, if there are none, wait for some. */
void lx_run_poll(lx_run *run);
lynx_status lx_run_wait(lx_run *run);

/* Take all events, with the pump's lock held. */
void lx_run_take_events(lx_run *run);

/* A plane came: note it, to be decoded with the page's others. Planes [first, end) of its page
 * count as here. */
void lx_run_note_plane(lx_run *run, const lx_arrival *arrival, uint32_t first, uint32_t end);

/* Every page has planes 0 .. 'plane', and the events that say so were taken. */
bool lx_run_has_plane(const lx_run *run, uint32_t plane);

/* The last plane that is complete; 0 when none is. */
uint32_t lx_run_best_plane(const lx_run *run);

/* Bytes of a plane, to those of the others. */
uint32_t lx_run_plane_weight(const lx_run *run, uint32_t plane);

/* The time in which the planes behind 'plane', which is complete, will come at the rate since
 * the anchor; 0 when that is not known. */
uint64_t lx_run_time_left(const lx_run *run, uint32_t plane);

/* Every page of which a plane is here is decoded the next time, anew or for the first. */
void lx_run_pend_all(lx_run *run);

/* Decode what has arrived into the engine's cache. */
lynx_status lx_run_apply_pages(lx_run *run);

/* Fill the digest of the prompt's cache, if it is asked for. */
lynx_status lx_run_digest(lx_run *run);

/* ---- run_layers.c -------------------------------------------------------------------- */

/* Of a source or remote from which nothing has come: from now on layers may be waited for, if
 * the engine can and there will be drafts. */
lynx_status lx_run_expect_layers(lx_run *run);
/* None comes any more. */
void lx_run_forget_layers(lx_run *run);
/* A plane of a page came. */
void lx_run_note_layer(lx_run *run, lynx_page_id page, uint32_t plane);

/* Planes 0 .. 'plane' are not all here, and a batch can wait for those of each layer. */
bool lx_run_can_await(const lx_run *run, uint32_t plane);
/* Planes 0 .. 'plane' of the layer are here. */
bool lx_run_has_layer(const lx_run *run, uint32_t layer, uint32_t plane);

/* A batch of 'count' tokens of the history from 'first' on, on planes 0 .. 'plane': where those
 * are not here and layers can be waited for, it waits for each. */
lynx_status lx_run_batch(lx_run *run, uint32_t first, uint32_t count, uint32_t first_row,
                         uint32_t plane);

/* The same on the anchor, for the first draft behind them. */
lynx_status lx_run_draft_batch(lx_run *run, uint32_t first, uint32_t count);

/* ---- run_held.c ---------------------------------------------------------------------- */

/* Begin to read what is held, for the remote in use. */
lynx_status lx_run_open_held(lx_run *run);

/* Whatever is tried next is tried without it. Not with the pump's lock held. */
void lx_run_drop_held(lx_run *run);

/* Say it in a request, if something is held. */
lynx_status lx_run_name_held(const lx_run *run, lynx_request *request);

/* The remote leaves out the pages of so many tokens. With the pump's lock held. */
void lx_run_on_accept(lx_run *run, uint32_t left_out);

/* The page comes from the source although there is a remote. */
bool lx_run_is_held(const lx_run *run, lynx_page_id id);

/* Take what the source has given since. */
void lx_run_take_held(lx_run *run);

/* ---- run_await.c --------------------------------------------------------------------- */

/* How many tokens may be drafted behind those that are valid. */
uint32_t lx_run_draft_limit(const lx_run *run);

/* There is time for more drafts, and then for a pass over 'rows' tokens, before what is missing
 * of the cache is here. So there is while none of it has come, as when other requests' anchors
 * do, and where a pass cannot begin before all is here. */
bool lx_run_has_time(const lx_run *run, uint32_t rows);

/* What the chance of a draft has to be, so that it pays: nearly none on an engine that waits.
 * On one that others compute on, too, it takes room in their batches, and saves a step. */
double lx_run_chance_least(const lx_run *run);

/* Over a stored cache, for drafts: is what is missing expected before they pay? Then
 * 'awaits_rest', and pages are decoded once. */
void lx_run_weigh(lx_run *run);

/* ---- run_tokens.c -------------------------------------------------------------------- */

bool lx_run_is_answered(const lx_run *run);

/* The first token is known, or it is for this node to compute. */
bool lx_run_has_start(const lx_run *run);
uint32_t lx_run_answer_left(const lx_run *run);
bool lx_run_is_end(const lx_run *run, lynx_token token);

/* A valid token, produced at 'time'. It stands in the history already or is put there.
 * 'logprobs' may be NULL. */
void lx_run_add_token(lx_run *run, lynx_token token, lynx_time_ns time,
                      const lynx_logprobs *logprobs);

/* Choose the token behind the first 'count' of the history from a row of logits. With
 * 'logprobs' (may be NULL) and if they are wanted, fill them in. */
lynx_status lx_run_sample(lx_run *run, uint32_t row, uint32_t count, lynx_token *token,
                          lynx_logprobs *logprobs);

/* 'logprobs' if they are wanted, else NULL. */
const lynx_logprobs *lx_run_wanted(const lx_run *run, const lynx_logprobs *logprobs);

/* Note that this node has produced a token, if it is the first. */
void lx_run_note_own_token(lx_run *run);

/* Plain decoding to the end of the answer; the engine holds all tokens but the last. */
lynx_status lx_run_decode(lx_run *run);

/* Known tokens of prompt and answer, valid ones, behind those whose pages come. */
uint32_t lx_run_behind_pages(const lx_run *run);

/* How many of 'left' tokens go through the model together. */
uint32_t lx_run_batch_of(const lx_run *run, uint32_t left);

/* Known tokens of prompt and answer, but for the last, that the cache does not have yet. */
uint32_t lx_run_behind(const lx_run *run);

/* Put them there, and count those that this node would have chosen otherwise. */
lynx_status lx_run_catch_up(lx_run *run);

/* Put them there, on what the cache holds, and the last one with them where there are any, or
 * where the anchor still comes: the batch gives the logits behind it, too, and saves a step.
 * 'is_draft': as drafts are computed, to be taken back. */
lynx_status lx_run_feed(lx_run *run, bool is_draft);

/* All planes of a source's pages are in the cache, and nothing behind them: compute what is to
 * be kept with them and let it go through the codec. */
lynx_status lx_run_keep_more(lx_run *run);

/* One step, and the drafts that it gives: one, or two when a guess was right; at most 'limit'
 * in all. */
lynx_status lx_run_draft(lx_run *run, uint32_t limit);

/* Run 'rows' tokens from 'first' in the history on through the model in batches: known tokens,
 * then 'drafted' drafts. '*accepted' of them agree, and '*follower' is the token behind them if
 * 'rows' reach that far. 'is_final': on the full cache, so that the pass tells of carried
 * tokens and of how likely all are, too. */
lynx_status lx_run_check_drafts(lx_run *run, uint32_t first, uint32_t rows, uint32_t drafted,
                                bool is_final, uint32_t *accepted, lynx_token *follower);

/* A pass over the drafts before all planes are here: what disagrees is withdrawn, and the
 * pass's own token drafted in its place, or behind them all while they are less than 'limit'.
 * Nothing becomes valid. */
lynx_status lx_run_review(lx_run *run, uint32_t limit);

/* ---- run_branches.c ------------------------------------------------------------------ */

lynx_status lx_run_init_branches(lx_run *run);

/* What would have been chosen instead of the draft's token, from 'row' of the logits that it
 * was chosen from; where that may matter. */
void lx_run_find_other(const lx_run *run, uint32_t row, lx_draft *draft);

/* Go on where the next of at most 'limit' drafts is most likely to be of use; '*goes_on' false:
 * no more are worth it, or what is missing of the cache will be here before they are. */
lynx_status lx_run_choose_branch(lx_run *run, uint32_t limit, bool *goes_on);

/* The trunk is in the history again; what is in the cache may be of another branch. */
void lx_run_take_trunk(lx_run *run);

/* The '*count' drafts of the longest branch that has the valid tokens behind the first 'begin'
 * of the answer, and those behind them, which are put in the history. NULL: none has. */
lx_draft *lx_run_take_rest(lx_run *run, uint32_t begin, uint32_t *count);

/* ---- run_verify.c -------------------------------------------------------------------- */

/* The pass has something to compute: drafts, or a first token. */
bool lx_run_has_pass(const lx_run *run);

/* One pass over the known tokens behind the pages and the drafts behind them, on what is in the
 * cache (and what is pending, or comes while it is computed), all planes of it: what agrees is
 * valid. Another one where a branch goes on behind that. */
lynx_status lx_run_verify(lx_run *run);

/* Take the drafts for valid tokens. */
void lx_run_accept_unverified(lx_run *run);

/* ---- run_alone.c --------------------------------------------------------------------- */

/* Start the clock. */
void lx_run_begin(lx_run *run);

/* LOCAL and LOCAL_FULL, to the end of the answer. */
lynx_status lx_run_locally(lx_run *run);

/* The remotes or the source are lost: go on from what is valid, as 'on_loss' says. */
lynx_status lx_run_go_on_alone(lx_run *run);

#endif
