/* SPDX-License-Identifier: MIT */
/*
 * api_answer.h - what the server says, as JSON text. Pure.
 *
 * Each function gives a terminated text of the caller's to free(), or NULL without memory.
 */
#ifndef LX_SERVE_API_ANSWER_H
#define LX_SERVE_API_ANSWER_H

#include <jansson.h>

#include "lynx/engine.h"
#include "serve/api_request.h"

/* What all parts of one answer say of it. */
typedef struct lx_api_head {
    lx_api_kind kind;
    const char *id, *model;
    int64_t created;     /* seconds of the epoch */
    bool includes_usage; /* "usage": null in all chunks but the last */
} lx_api_head;

/* The member "lynx". Times in milliseconds. */
typedef struct lx_api_meta {
    const char *method, *reason;
    const char *prefill_node; /* NULL: none */
    bool is_recomputed;
    uint32_t seed, prompt_tokens, drafted, accepted, carried, steps, guessed, guessed_right;
    uint32_t branch_drafted, branch_accepted;
    uint32_t reused_tokens, computed_tokens, kept_tokens; /* of the prompt; see docs/http.md */
    uint64_t kept_bytes;
    uint64_t bytes, bytes_before_first_draft;
    double prefill_ms, anchor_ms, complete_ms, verify_ms, ttft_ms, total_ms;
} lx_api_meta;

/* A chunk of a stream: the role (is_first), text (may be NULL), the end ('finish' and 'meta'
 * are not NULL). 'text' is valid UTF-8 everywhere here. Takes 'logprobs' (serve/logprobs.h; may
 * be NULL). */
char *lx_api_chunk(const lx_api_head *head, bool is_first, const char *text, json_t *logprobs,
                   const char *finish, const lx_api_meta *meta);
/* A chunk with an event of ours and no choice. Takes 'event'. */
char *lx_api_event(const lx_api_head *head, json_t *event);
char *lx_api_usage(const lx_api_head *head, uint32_t prompt_tokens, uint32_t answer_tokens);

/* The answer in one piece. Takes 'logprobs' (may be NULL). */
char *lx_api_whole(const lx_api_head *head, const char *text, json_t *logprobs,
                   const char *finish, uint32_t answer_tokens, const lx_api_meta *meta);

/* Texts of a fault may hold any bytes. */
char *lx_api_error(const lx_api_fault *fault);
/* The list of the one model, or (is_list = false) the model alone. */
char *lx_api_model(const char *id, const lynx_model *model, int64_t created, bool is_list);
char *lx_api_tokens(const lynx_token *tokens, uint32_t count);

#endif
