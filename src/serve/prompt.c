/* SPDX-License-Identifier: MIT */
#include "serve/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static lynx_status refuse(lx_api_fault *fault, const char *param, const char *code,
                          const char *message)
{
    lx_api_fault_set(fault, 400, code, "%s", message);
    snprintf(fault->param, sizeof(fault->param), "%s", param);
    return LYNX_ERR_ARGUMENT;
}

static lynx_status tokenize(lynx_engine *engine, const char *text, size_t size, bool add_start,
                            bool parse_special, lynx_token **tokens, uint32_t *count)
{
    size_t needed = 0;
    lynx_status status =
        engine->ops->tokenize(engine, text, size, add_start, parse_special, NULL, 0, &needed);
    if (status != LYNX_OK && status != LYNX_ERR_LIMIT)
        return status;
    *tokens = calloc(needed + 1, sizeof(**tokens));
    LX_REQUIRE(*tokens, LYNX_ERR_MEMORY);
    LX_TRY(engine->ops->tokenize(engine, text, size, add_start, parse_special, *tokens, needed,
                                 &needed));
    *count = (uint32_t)needed;
    return LYNX_OK;
}

static lynx_status unknown_template(const lx_api_request *r, lx_api_fault *fault)
{
    return refuse(fault, "chat_template", NULL,
                  r->template_name
                      ? "'chat_template' is no template that this server knows"
                      : "the chat template of this model is not known; name one in "
                        "\"chat_template\", or start the server with "
                        "--chat-template");
}

/* '*text' is terminated. */
static lynx_status make_chat(lynx_engine *engine, const lx_api_request *r, const char *name,
                             const lynx_chat_turn *turns, char **text, size_t *size,
                             lx_api_fault *fault)
{
    const lynx_engine_ops *ops = engine->ops;
    size_t needed = 0;
    lynx_status status = ops->chat_prompt(engine, name, turns, r->turn_count, NULL, 0, &needed);
    if (status == LYNX_ERR_UNSUPPORTED)
        return unknown_template(r, fault);
    if (status != LYNX_OK && status != LYNX_ERR_LIMIT)
        return status;
    *text = calloc(needed + 1, 1);
    LX_REQUIRE(*text, LYNX_ERR_MEMORY);
    return ops->chat_prompt(engine, name, turns, r->turn_count, *text, needed, size);
}

static lynx_status copy_tokens(const lynx_model *model, const lx_api_request *r,
                               lynx_token **tokens, uint32_t *count, lx_api_fault *fault)
{
    for (uint32_t i = 0; i < r->token_count; i++)
        if ((uint32_t)r->tokens[i] >= model->vocabulary)
            return refuse(fault, "prompt", NULL,
                          "'prompt' has a number that is no token of this model");
    *tokens = malloc(r->token_count * sizeof(**tokens));
    LX_REQUIRE(*tokens, LYNX_ERR_MEMORY);
    memcpy(*tokens, r->tokens, r->token_count * sizeof(**tokens));
    *count = r->token_count;
    return LYNX_OK;
}

/* ---- behind a document --------------------------------------------------------------- */

/* Stands where document and message meet, and is in no text. */
static const char seam[] = "<LYNX:SEAM>";

/* The chat whose first message begins with the seam; '*at' is where it stands. */
static lynx_status make_seamed_chat(lynx_engine *engine, const lx_api_request *r,
                                    const char *name, char **chat, char **at,
                                    lx_api_fault *fault)
{
    size_t size = 0;
    const size_t room = sizeof(seam) + strlen(r->turns[0].text);
    lynx_chat_turn *turns = calloc(r->turn_count, sizeof(*turns));
    char *first = malloc(room);
    lynx_status status = LYNX_ERR_MEMORY;
    if (turns && first) {
        memcpy(turns, r->turns, r->turn_count * sizeof(*turns));
        snprintf(first, room, "%s%s", seam, r->turns[0].text);
        turns[0].text = first;
        status = make_chat(engine, r, name, turns, chat, &size, fault);
    }
    free(first);
    free(turns);
    LX_TRY(status);
    *at = strstr(*chat, seam);
    return *at ? LYNX_OK
               : refuse(fault, "lynx.document", NULL,
                        "this chat template changes the text of a message, so that no "
                        "document can stand before it");
}

/* The document was stored as the beginning of such a chat. */
static lynx_status check_opening(lynx_engine *engine, const char *chat, size_t size,
                                 const lynx_document *document, lx_api_fault *fault)
{
    lynx_token *opening = NULL;
    uint32_t count = 0;
    const lynx_status status = tokenize(engine, chat, size, true, true, &opening, &count);
    const bool is_same = status == LYNX_OK && count <= document->token_count &&
                         memcmp(opening, document->tokens, count * sizeof(*opening)) == 0;
    free(opening);
    if (status != LYNX_OK || is_same)
        return status;
    return refuse(fault, "lynx.document", NULL,
                  "the document was not stored for a chat with this template: use "
                  "/v1/completions, or store it anew ('lynx cache add')");
}

/* What stands behind the document in a chat. */
static lynx_status make_chat_rest(lynx_engine *engine, const lx_api_request *r,
                                  const char *name, const lynx_document *document,
                                  lynx_token **tokens, uint32_t *count, lx_api_fault *fault)
{
    char *chat = NULL, *at = NULL;
    if (strcmp(r->turns[0].role, "user") != 0)
        return refuse(fault, "messages[0].role", NULL,
                      "with 'lynx.document' the first message must be the user's, since the "
                      "document stands in it");
    lynx_status status = make_seamed_chat(engine, r, name, &chat, &at, fault);
    if (status == LYNX_OK)
        status = check_opening(engine, chat, (size_t)(at - chat), document, fault);
    if (status == LYNX_OK) {
        const char *rest = at + sizeof(seam) - 1;
        status = tokenize(engine, rest, strlen(rest), false, true, tokens, count);
    }
    free(chat);
    return status;
}

/* Put the document's tokens before. */
static lynx_status put_before(const lynx_document *document, lynx_token **tokens,
                              uint32_t *count)
{
    const uint32_t before = document->token_count;
    lynx_token *all = malloc(((size_t)before + *count) * sizeof(*all));
    LX_REQUIRE(all, LYNX_ERR_MEMORY);
    memcpy(all, document->tokens, before * sizeof(*all));
    if (*count)
        memcpy(all + before, *tokens, *count * sizeof(*all));
    free(*tokens);
    *tokens = all;
    *count += before;
    return LYNX_OK;
}

/* ---- the whole ----------------------------------------------------------------------- */

static lynx_status make_whole_chat(lynx_engine *engine, const lx_api_request *r,
                                   const char *name, lynx_token **tokens, uint32_t *count,
                                   lx_api_fault *fault)
{
    char *chat = NULL;
    size_t size = 0;
    lynx_status status = make_chat(engine, r, name, r->turns, &chat, &size, fault);
    if (status == LYNX_OK)
        status = tokenize(engine, chat, size, true, true, tokens, count);
    free(chat);
    return status;
}

static lynx_status make_own(lynx_engine *engine, const lx_api_request *r,
                            const char *template_name, const lynx_document *document,
                            lynx_token **tokens, uint32_t *count, lx_api_fault *fault)
{
    const char *name = r->template_name ? r->template_name : template_name;
    switch (r->kind) {
    case LX_API_CHAT:
        return document ? make_chat_rest(engine, r, name, document, tokens, count, fault)
                        : make_whole_chat(engine, r, name, tokens, count, fault);
    case LX_API_COMPLETION:
        if (!r->text)
            return copy_tokens(engine->ops->model(engine), r, tokens, count, fault);
        return tokenize(engine, r->text, r->text_size, !document, true, tokens, count);
    case LX_API_TOKENIZE:
        return tokenize(engine, r->text, r->text_size, r->add_start, r->parse_special, tokens,
                        count);
    }
    return LYNX_ERR_ARGUMENT;
}

lynx_status lx_prompt_make(lynx_engine *engine, const lx_api_request *r,
                           const char *template_name, const lynx_document *document,
                           lynx_token **tokens, uint32_t *count, lx_api_fault *fault)
{
    *tokens = NULL;
    *count = 0;
    LX_TRY(make_own(engine, r, template_name, document, tokens, count, fault));
    return document ? put_before(document, tokens, count) : LYNX_OK;
}

uint32_t lx_prompt_answer_tokens(const lynx_model *model, const lx_api_request *r,
                                 uint32_t prompt_tokens, lx_api_fault *fault)
{
    const uint32_t context = model->context_tokens;
    const uint32_t wanted = r->max_tokens ? r->max_tokens : 1;
    if (prompt_tokens == 0) {
        (void)refuse(fault, "prompt", NULL, "the prompt has no tokens");
        return 0;
    }
    if (prompt_tokens < context && wanted <= context - prompt_tokens)
        return r->max_tokens ? r->max_tokens : context - prompt_tokens;
    lx_api_fault_set(fault, 400, "context_length_exceeded",
                     "the prompt of %u tokens and an answer of %u do not fit the context of %u "
                     "tokens; shorten the prompt or lower max_tokens",
                     prompt_tokens, wanted, context);
    snprintf(fault->param, sizeof(fault->param), "%s",
             prompt_tokens < context  ? "max_tokens"
             : r->kind == LX_API_CHAT ? "messages"
                                      : "prompt");
    return 0;
}
