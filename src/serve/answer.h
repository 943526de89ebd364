/* SPDX-License-Identifier: MIT */
/*
 * answer.h - one job on one slot: prompt, run, text.
 *
 *     answer.c          from the request to the end of its answer
 *     answer_choice.c   by which method, and what it showed for the answers to come
 *     answer_store.c    what the store has of it, and what is put there
 *     answer_moments.c  what is said while it runs
 */
#ifndef LX_SERVE_ANSWER_H
#define LX_SERVE_ANSWER_H

#include "serve/api_answer.h"
#include "serve/filler.h"
#include "serve/job.h"
#include "serve/logprobs.h"
#include "serve/service.h"
#include "serve/text_stream.h"

/* Runs the job to its end; an error is said to the client. 'pace' is what drafting brought on
 * this engine. */
void lx_answer_job(lx_service *service, lynx_engine *engine, lynx_pace *pace, lx_job *job);

/* Before anything is answered: how quick this node is, by a prefill of some tokens and a step,
 * for a second or two. LYNX_ERR_ENGINE: 'text' (LYNX_TEXT_MAX bytes) gets one sentence. */
lynx_status lx_answer_measure(lx_service *service, lynx_engine *engine, char *text);

/* ---- shared by the files ------------------------------------------------------------- */

/* What an answer has of the store. */
typedef struct lx_answer_store {
    lx_filler *filler;       /* NULL: it uses no store */
    lynx_document *document; /* that the request names; or NULL */
    lynx_codec_spec spec;    /* of what is looked for and kept */
    lynx_source *source;     /* that is loaded; or NULL */
    bool is_helped;          /* a prefill node computes, and sends what is behind whole pages */
    bool is_broken;          /* it could not be read to its end */
    uint32_t reused_tokens;
    lynx_gather *gather; /* of what is kept; or NULL */
    uint64_t reserved;   /* for it */
    uint32_t gather_end; /* its last token's follower */
    uint32_t kept_tokens;
    uint64_t kept_bytes;
    lynx_time_ns loaded_from;
} lx_answer_store;

typedef struct lx_answer {
    const lynx_serve_options *options;
    lx_metrics *metrics;
    lx_policy *policy;
    lynx_engine *engine;
    lx_job *job;
    lx_api_head head;
    lynx_run_options run;
    lynx_run_result result;
    lx_choice choice;
    lynx_remote *remotes[LYNX_SERVE_REMOTES_MAX]; /* in the order of the choice */
    lx_answer_store store;
    lx_seen seen;
    lynx_time_ns local_from; /* a prefill here began; 0: none did */

    /* Text. */
    lx_utf8 valid;
    lx_utf8 *drafts; /* before the draft of each answer index. Of an optimistic stream */
    lx_stop_filter filter;
    lx_buffer text;       /* what may leave and has not */
    size_t released;      /* bytes that ever came into 'text' */
    uint32_t token_count; /* valid tokens up to a stop string */
    lx_logprob_log logprobs;

    /* Events. */
    json_t *planes; /* that came since they were told last; NULL: none */
    lynx_time_ns planes_at;
    uint64_t plane_bytes;

    lynx_time_ns prefill_at, anchor_at, complete_at, first_at, second_at; /* 0: not yet */
    uint32_t lost_count; /* prefill nodes that were given up */
    char lost_text[LYNX_TEXT_MAX];
} lx_answer;

/* Can the method that the request asks for be used at all? Else LYNX_ERR_ARGUMENT. */
lynx_status lx_answer_check_method(const lx_answer *answer, lx_api_fault *fault);
/* Choose method and prefill nodes; the prompt is known. LYNX_ERR_MEMORY. */
lynx_status lx_answer_choose(lx_answer *answer);
bool lx_answer_is_local(const lx_answer *answer);
const char *lx_answer_reason(const lx_answer *answer);
lx_way lx_answer_way(const lx_answer *answer);
/* The prefill node whose cache the answer stands on; NULL: none. */
const char *lx_answer_node(const lx_answer *answer);
void lx_answer_note_moment(lx_answer *answer, const lynx_moment *moment);
void lx_answer_note_end(lx_answer *answer);

/* Read the document that the request names, if there is one. LYNX_ERR_ARGUMENT with '*fault'.
 */
lynx_status lx_answer_open_document(lx_answer *answer, lx_api_fault *fault);
/* Find what the store has of the prompt. Whatever fails, here and in what follows, the answer
 * goes on without. */
void lx_answer_ask_store(lx_answer *answer);
/* Tokens whose whole pages were found. */
uint32_t lx_answer_held_tokens(const lx_answer *answer);
/* The method is chosen: load what was found if that pays, and gather what is new. */
void lx_answer_use_store(lx_answer *answer);
/* lynx_on_page; 'user' is the answer. */
void lx_answer_page(void *user, lynx_page_id page, uint32_t token_count,
                    const lynx_bytes *planes, uint32_t plane_count);
/* LYNX_MOMENT_LOST: all pages come anew. */
void lx_answer_lose_pages(lx_answer *answer, const lynx_moment *moment);
/* The run is over: what it showed, and what is kept of it. */
void lx_answer_note_store(lx_answer *answer);
/* The answer is said: hand over what is to be written, close all. */
void lx_answer_end_store(lx_answer *answer);

/* lynx_on_moment; 'user' is the answer. */
void lx_answer_moment(void *user, const lynx_moment *moment);

/* Say what is left of the text; on a stream. */
void lx_answer_flush(lx_answer *answer);

/* Milliseconds from the request; 0 for a time that is 0. */
double lx_answer_ms(const lx_answer *answer, lynx_time_ns time);

#endif
