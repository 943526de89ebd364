/* SPDX-License-Identifier: MIT */
#include "document.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* Bytes between the beginnings of two turns. */
enum { TURN_BYTES = 1013 };

static const char question[] = "\n\nSum up the text above in a few sentences.";

static bool is_inside_character(char byte)
{
    return ((uint8_t)byte & 0xC0) == 0x80;
}

/* What stood before 'start' comes behind the rest. */
static bool turn_text(char *text, size_t size, size_t start)
{
    while (start < size && is_inside_character(text[start]))
        start++;
    char *head = malloc(start + 1);
    if (!head)
        return false;
    memcpy(head, text, start);
    memmove(text, text + start, size - start);
    memcpy(text + size - start, head, start);
    free(head);
    return true;
}

/* Bytes of the beginning of 'text' that have about 'limit' tokens. */
static lynx_status cut_text(lynx_engine *engine, const char *text, uint32_t limit, size_t *size)
{
    const size_t whole = *size;
    for (int round = 0; round < 4; round++) {
        lynx_token *tokens = NULL;
        uint32_t count = 0;
        const lynx_status status = cli_tokenize(engine, text, *size, false, &tokens, &count);
        free(tokens);
        if (status != LYNX_OK)
            return status;
        if (count == 0 || (*size == whole && count <= limit))
            return LYNX_OK;
        const size_t better = *size * limit / count;
        *size = better < whole ? better : whole;
        while (*size > 0 && *size < whole && is_inside_character(text[*size]))
            (*size)--;
    }
    return LYNX_OK;
}

/* Tokens of a chat whose turn is 'user', or of 'user' where the template is not known. */
static lynx_status tokenize_chat(lynx_engine *engine, const char *user, lynx_token **tokens,
                                 uint32_t *count)
{
    char *chat = NULL;
    size_t size = 0;
    lynx_status status = cli_chat_prompt(engine, NULL, NULL, user, &chat, &size);
    if (status == LYNX_OK)
        status = cli_tokenize(engine, chat, size, true, tokens, count);
    else if (status == LYNX_ERR_UNSUPPORTED)
        status = cli_tokenize(engine, user, strlen(user), true, tokens, count);
    free(chat);
    return status;
}

int document_prompt(const char *command, lynx_engine *engine, const char *path,
                    uint32_t token_limit, uint32_t turn, lynx_token **tokens, uint32_t *count)
{
    size_t size = 0;
    char *text = cli_read_file(command, path, &size);
    if (!text)
        return CLI_FAILED;
    lynx_status status = LYNX_OK;
    if (size > 0 && !turn_text(text, size, (size_t)turn * TURN_BYTES % size))
        status = LYNX_ERR_MEMORY;
    if (status == LYNX_OK)
        status = cut_text(engine, text, token_limit, &size);
    char *user = status == LYNX_OK ? malloc(size + sizeof(question)) : NULL;
    if (status == LYNX_OK && !user)
        status = LYNX_ERR_MEMORY;
    if (status == LYNX_OK) {
        memcpy(user, text, size);
        memcpy(user + size, question, sizeof(question));
        status = tokenize_chat(engine, user, tokens, count);
    }
    free(user);
    free(text);
    return status == LYNX_OK ? CLI_OK : cli_fail(command, status, NULL);
}
