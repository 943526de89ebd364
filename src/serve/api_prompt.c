/* SPDX-License-Identifier: MIT */
#include "serve/api_prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- messages ------------------------------------------------------------------------ */

/* What the engine's templates know; OpenAI's newer clients say "developer" for "system". */
static const char *known_role(const char *role)
{
    static const char *const names[][2] = {{"system", "system"},
                                           {"developer", "system"},
                                           {"user", "user"},
                                           {"assistant", "assistant"}};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(role, names[i][0]) == 0)
            return names[i][1];
    return NULL;
}

/* The text of one part of a content, or NULL after the refusal. */
static const json_t *part_text(const lx_members *message, const json_t *part)
{
    const json_t *type = json_object_get(part, "type");
    const json_t *text = json_object_get(part, "text");
    if (json_is_string(type) && strcmp(json_string_value(type), "text") == 0 &&
        json_is_string(text))
        return text;
    lx_members_refuse(message, "content",
                      "must be a string or an array of {\"type\": \"text\", \"text\": ...}; "
                      "other parts are not supported");
    return NULL;
}

/* The parts one behind the other; NULL after a refusal or without memory. */
static char *join_parts(const lx_members *message, const json_t *parts)
{
    size_t size = 0;
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *text = part_text(message, json_array_get(parts, i));
        if (!text)
            return NULL;
        size += json_string_length(text);
    }
    char *joined = malloc(size + 1);
    size_t at = 0;
    for (size_t i = 0; joined && i < json_array_size(parts); i++) {
        const json_t *text = json_object_get(json_array_get(parts, i), "text");
        memcpy(joined + at, json_string_value(text), json_string_length(text));
        at += json_string_length(text);
    }
    if (joined)
        joined[at] = '\0';
    return joined;
}

static bool take_turn(const lx_members *message, lynx_chat_turn *turn)
{
    const char *role = NULL;
    if (!lx_members_string(message, "role", &role))
        return false;
    if (!role)
        return lx_members_refuse(message, "role", "is missing");
    turn->role = known_role(role);
    if (!turn->role)
        return lx_members_refuse(message, "role",
                                 "must be \"system\", \"user\" or \"assistant\"");
    const json_t *calls = lx_members_get(message, "tool_calls");
    if (calls && json_array_size(calls) > 0)
        return lx_members_refuse(message, "tool_calls", "is not supported by this server");
    const json_t *content = lx_members_get(message, "content");
    if (!content)
        return lx_members_refuse(message, "content", "is missing");
    if (json_is_string(content))
        turn->text = strdup(json_string_value(content));
    else if (json_is_array(content))
        turn->text = join_parts(message, content);
    else
        return lx_members_refuse(message, "content", "must be a string or an array of parts");
    return turn->text != NULL;
}

static bool has_text(const lx_api_request *r)
{
    for (size_t i = 0; i < r->turn_count; i++)
        if (r->turns[i].text[strspn(r->turns[i].text, " \t\r\n")])
            return true;
    return false;
}

bool lx_api_take_messages(const lx_members *body, lx_api_request *r)
{
    const json_t *messages = lx_members_get(body, "messages");
    if (!messages)
        return lx_members_refuse(body, "messages", "is missing");
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return lx_members_refuse(body, "messages", "must be an array of at least one message");
    const size_t count = json_array_size(messages);
    r->turns = calloc(count, sizeof(*r->turns));
    for (size_t i = 0; r->turns && i < count; i++) {
        char path[48];
        snprintf(path, sizeof(path), "messages[%zu].", i);
        const lx_members message = {json_array_get(messages, i), path, body->fault};
        if (!json_is_object(message.object)) {
            path[strlen(path) - 1] = '\0';
            return lx_members_refuse(&message, "", "must be an object");
        }
        if (!take_turn(&message, &r->turns[i]))
            return false;
        r->turn_count++;
    }
    if (r->turns && !has_text(r))
        return lx_members_refuse(body, "messages", "has no text");
    return r->turns != NULL;
}

/* ---- prompt and content -------------------------------------------------------------- */

static bool take_text(lx_api_request *r, const json_t *text)
{
    r->text_size = json_string_length(text);
    r->text = strdup(json_string_value(text));
    return r->text != NULL;
}

static bool take_tokens(const lx_members *body, lx_api_request *r, const json_t *list)
{
    const size_t count = json_array_size(list);
    r->tokens = calloc(count, sizeof(*r->tokens));
    for (size_t i = 0; r->tokens && i < count; i++) {
        const json_t *token = json_array_get(list, i);
        const json_int_t value = json_integer_value(token);
        if (!json_is_integer(token) || value < 0 || value > INT32_MAX)
            return lx_members_refuse(body, "prompt",
                                     "must be a string or an array of token ids; place %zu is "
                                     "neither",
                                     i);
        r->tokens[i] = (lynx_token)value;
    }
    r->token_count = (uint32_t)count;
    return r->tokens != NULL;
}

bool lx_api_take_prompt(const lx_members *body, lx_api_request *r)
{
    const json_t *prompt = lx_members_get(body, "prompt");
    const json_t *only = json_array_get(prompt, 0);
    if (!prompt)
        return lx_members_refuse(body, "prompt", "is missing");
    /* A list of one prompt is that prompt. */
    if (json_array_size(prompt) == 1 && (json_is_string(only) || json_is_array(only)))
        prompt = only;
    else if (json_is_string(only) || json_is_array(only))
        return lx_members_refuse(body, "prompt",
                                 "has several prompts; send one for each "
                                 "request");
    const bool is_empty =
        json_is_string(prompt) ? json_string_length(prompt) == 0 : json_array_size(prompt) == 0;
    if (!json_is_string(prompt) && !json_is_array(prompt))
        return lx_members_refuse(body, "prompt", "must be a string or an array of token ids");
    if (is_empty)
        return lx_members_refuse(body, "prompt", "is empty");
    return json_is_string(prompt) ? take_text(r, prompt) : take_tokens(body, r, prompt);
}

bool lx_api_take_content(const lx_members *body, lx_api_request *r)
{
    const json_t *content = lx_members_get(body, "content");
    if (!content)
        return lx_members_refuse(body, "content", "is missing");
    if (!json_is_string(content))
        return lx_members_refuse(body, "content", "must be a string");
    return take_text(r, content);
}
