/* SPDX-License-Identifier: MIT */
/*
 * logprobs.h - how likely the tokens of an answer were, as OpenAI's clients read it.
 *
 * A token is told with the text that it began in, so that one which is cut off by a stop string
 * is not told. The end token is none of them.
 */
#ifndef LX_SERVE_LOGPROBS_H
#define LX_SERVE_LOGPROBS_H

#include <jansson.h>

#include "serve/api_request.h"

typedef struct lx_logprob_log {
    lx_api_kind kind;
    json_t *waiting;   /* tokens that were not told yet */
    size_t text_bytes; /* valid text up to now */
    size_t text_characters;
    bool has_failed;
} lx_logprob_log;

void lx_logprob_log_fini(lx_logprob_log *log);

/* The next valid token, and the text that it completes. */
void lx_logprob_log_add(lx_logprob_log *log, lynx_engine *engine, lynx_token token,
                        const lynx_logprobs *logprobs, const char *text, size_t size);

/* The member "logprobs" for the tokens that begin before byte 'end' of the text; NULL: none is
 * left, or no memory (has_failed). */
json_t *lx_logprob_log_take(lx_logprob_log *log, size_t end);

#endif
