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

static lynx_status make_chat(lynx_engine *engine, const lx_api_request *r, const char *name,
                             char **text, size_t *size, lx_api_fault *fault)
{
    const lynx_engine_ops *ops = engine->ops;
    size_t needed = 0;
    lynx_status status =
        ops->chat_prompt(engine, name, r->turns, r->turn_count, NULL, 0, &needed);
    if (status == LYNX_ERR_UNSUPPORTED)
        return unknown_template(r, fault);
    if (status != LYNX_OK && status != LYNX_ERR_LIMIT)
        return status;
    *text = malloc(needed + 1);
    LX_REQUIRE(*text, LYNX_ERR_MEMORY);
    return ops->chat_prompt(engine, name, r->turns, r->turn_count, *text, needed, size);
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

lynx_status lx_prompt_make(lynx_engine *engine, const lx_api_request *r,
                           const char *template_name, lynx_token **tokens, uint32_t *count,
                           lx_api_fault *fault)
{
    char *chat = NULL;
    size_t size = 0;
    lynx_status status;
    *tokens = NULL;
    *count = 0;
    switch (r->kind) {
    case LX_API_CHAT:
        status = make_chat(engine, r, r->template_name ? r->template_name : template_name,
                           &chat, &size, fault);
        if (status == LYNX_OK)
            status = tokenize(engine, chat, size, true, true, tokens, count);
        free(chat);
        return status;
    case LX_API_COMPLETION:
        if (!r->text)
            return copy_tokens(engine->ops->model(engine), r, tokens, count, fault);
        return tokenize(engine, r->text, r->text_size, true, true, tokens, count);
    case LX_API_TOKENIZE:
        return tokenize(engine, r->text, r->text_size, r->add_start, r->parse_special, tokens,
                        count);
    }
    return LYNX_ERR_ARGUMENT;
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
