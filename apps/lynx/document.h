/* SPDX-License-Identifier: MIT */
/* document.h - prompts of a chosen length from a file: its text, then a question about it. */
#ifndef DOCUMENT_H
#define DOCUMENT_H

#include <stddef.h>
#include <stdint.h>

#include "lynx/engine.h"

/*
 * The chat prompt about the first 'token_limit' tokens of the document in 'path', or about the
 * plain text where the model's template is not known. A 'turn' above 0 turns the text, so that
 * it begins somewhere else: other prompts of about the same length. The caller frees '*tokens'.
 * CLI_OK or an exit code after the message.
 */
int document_prompt(const char *command, lynx_engine *engine, const char *path,
                    uint32_t token_limit, uint32_t turn, lynx_token **tokens, uint32_t *count);

#endif
