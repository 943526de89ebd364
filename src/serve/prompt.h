/* SPDX-License-Identifier: MIT */
/* prompt.h - the prompt of a request, as tokens of an engine's model. */
#ifndef LX_SERVE_PROMPT_H
#define LX_SERVE_PROMPT_H

#include "lynx/store.h"
#include "serve/api_request.h"

/*
 * '*tokens' is the caller's to free(), also on failure. 'template_name' is the server's own;
 * may be NULL. With 'document' (NULL: none), which is of the engine's model, its tokens come
 * first: it opens the first message of a chat, as 'lynx run --cache' has it, or a text.
 * LYNX_ERR_ARGUMENT with '*fault' filled in; others without.
 */
lynx_status lx_prompt_make(lynx_engine *engine, const lx_api_request *request,
                           const char *template_name, const lynx_document *document,
                           lynx_token **tokens, uint32_t *count, lx_api_fault *fault);

/* How many tokens the answer may have; 0 after a refusal. */
uint32_t lx_prompt_answer_tokens(const lynx_model *model, const lx_api_request *request,
                                 uint32_t prompt_tokens, lx_api_fault *fault);

#endif
