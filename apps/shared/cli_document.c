/* SPDX-License-Identifier: MIT */
#include "cli_document.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* Stands where document and question meet, and is in no text. */
static const char seam[] = "<LYNX:SEAM>";

/* The chat whose turn is 'before', the seam, 'behind'; '*at' is where the seam stands. */
static lynx_status make_chat(lynx_engine *engine, const cli_document *how, const char *before,
                             const char *behind, char **chat, char **at)
{
    char *user = malloc(strlen(before) + sizeof(seam) + strlen(behind));
    size_t size = 0;
    if (!user)
        return LYNX_ERR_MEMORY;
    strcpy(user, before);
    strcat(user, seam);
    strcat(user, behind);
    const lynx_status status =
        cli_chat_prompt(engine, how->template_name, NULL, user, chat, &size);
    free(user);
    if (status != LYNX_OK)
        return status;
    *at = strstr(*chat, seam);
    return *at ? LYNX_OK : LYNX_ERR_UNSUPPORTED;
}

lynx_status cli_document_tokens(lynx_engine *engine, const cli_document *how, const char *text,
                                lynx_token **tokens, uint32_t *count)
{
    char *chat = NULL, *at = NULL;
    if (how->is_raw)
        return cli_tokenize(engine, text, strlen(text), true, tokens, count);
    lynx_status status = make_chat(engine, how, text, "", &chat, &at);
    if (status == LYNX_OK)
        status = cli_tokenize(engine, chat, (size_t)(at - chat), true, tokens, count);
    free(chat);
    return status;
}

lynx_status cli_question_tokens(lynx_engine *engine, const cli_document *how, const char *text,
                                lynx_token **tokens, uint32_t *count)
{
    char *chat = NULL, *at = NULL;
    if (how->is_raw)
        return cli_tokenize(engine, text, strlen(text), false, tokens, count);
    lynx_status status = make_chat(engine, how, "", text, &chat, &at);
    if (status == LYNX_OK) {
        const char *rest = at + sizeof(seam) - 1;
        status = cli_tokenize(engine, rest, strlen(rest), false, tokens, count);
    }
    free(chat);
    return status;
}
