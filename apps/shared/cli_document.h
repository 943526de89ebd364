/* SPDX-License-Identifier: MIT */
/*
 * cli_document.h - prompts of a document and a question that are cut between the two, so that
 * the document's tokens are the same whatever is asked.
 */
#ifndef CLI_DOCUMENT_H
#define CLI_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/engine.h"

typedef struct cli_document {
    const char *template_name; /* of the chat; NULL: the model's own */
    bool is_raw;               /* no chat around it */
} cli_document;

/* Tokens of a chat up to the end of the document, which opens the user's turn. The caller frees
 * '*tokens'. LYNX_ERR_UNSUPPORTED: the template is not known, or changes the text. */
lynx_status cli_document_tokens(lynx_engine *engine, const cli_document *how, const char *text,
                                lynx_token **tokens, uint32_t *count);

/* Tokens of the question and of what ends the turn, to stand behind those of the document. */
lynx_status cli_question_tokens(lynx_engine *engine, const cli_document *how, const char *text,
                                lynx_token **tokens, uint32_t *count);

#endif
