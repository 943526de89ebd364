/* SPDX-License-Identifier: MIT */
/*
 * api_request.h - the body of a request: from bytes to a checked structure.
 *
 * Pure: no connection, no engine. What OpenAI's clients send and Lynx does not do is refused by
 * name; what has no bearing on the answer is ignored. A member that is null counts as absent.
 */
#ifndef LX_SERVE_API_REQUEST_H
#define LX_SERVE_API_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/engine.h"
#include "serve/api_fault.h"

typedef enum lx_api_kind {
    LX_API_CHAT,       /* POST /v1/chat/completions */
    LX_API_COMPLETION, /* POST /v1/completions */
    LX_API_TOKENIZE    /* POST /tokenize */
} lx_api_kind;

/* How the request wants to be computed. */
typedef enum lx_api_method {
    LX_API_METHOD_AUTO,
    LX_API_METHOD_SPECULATE,
    LX_API_METHOD_CARRY,
    LX_API_METHOD_WAIT,
    LX_API_METHOD_LOCAL
} lx_api_method;

enum { LX_API_STOPS_MAX = 4, LX_API_STOP_BYTES_MAX = 1024 };

typedef struct lx_api_request {
    lx_api_kind kind;
    char *model; /* NULL: not said */

    /* The prompt: a chat, or a text ('text_size' bytes), or tokens. */
    lynx_chat_turn *turns; /* texts are owned, roles are not */
    size_t turn_count;
    char *text;
    size_t text_size;
    lynx_token *tokens; /* >= 0; not checked against a vocabulary */
    uint32_t token_count;
    char *template_name; /* of the chat; NULL: not said */

    uint32_t max_tokens;    /* 0: as many as fit */
    lynx_sampling sampling; /* points to biases and grammar below */
    bool has_seed;
    lynx_bias *biases;
    char *grammar;             /* NULL: none */
    const char *grammar_param; /* the member that it comes from */
    bool wants_logprobs;
    uint32_t top_logprobs;
    char *stops[LX_API_STOPS_MAX]; /* not empty */
    uint32_t stop_count;

    bool is_stream, includes_usage, is_optimistic;
    lx_api_method method;
    char *document;                /* of the store, before the prompt; NULL: none */
    bool without_store;            /* nothing is loaded from it, and nothing kept */
    bool add_start, parse_special; /* of a text to tokenize */
} lx_api_request;

/*
 * Check 'size' bytes. LYNX_OK; LYNX_ERR_ARGUMENT with '*fault' filled in (status 400);
 * LYNX_ERR_MEMORY. 'request' must be given to fini in any case; it keeps nothing of 'body'.
 */
lynx_status lx_api_request_parse(lx_api_request *request, lx_api_kind kind, const char *body,
                                 size_t size, lx_api_fault *fault);
void lx_api_request_fini(lx_api_request *request);

#endif
