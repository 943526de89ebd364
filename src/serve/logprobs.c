/* SPDX-License-Identifier: MIT */
#include "serve/logprobs.h"

#include "serve/text_stream.h"

enum { TOKEN_BYTES_MAX = 512, NEVER = -9999 }; /* what OpenAI says of what cannot be */

void lx_logprob_log_fini(lx_logprob_log *log)
{
    json_decref(log->waiting);
    log->waiting = NULL;
}

static size_t token_bytes(lynx_engine *engine, lynx_token token, char *bytes)
{
    size_t size = 0;
    const bool has_text =
        !engine->ops->token_is_end(engine, token) &&
        engine->ops->token_text(engine, token, bytes, TOKEN_BYTES_MAX, &size) == LYNX_OK;
    return has_text ? size : 0;
}

/* A token without a text, such as a control token, has null. */
static json_t *byte_list(const char *bytes, size_t size)
{
    if (size == 0)
        return json_null();
    json_t *list = json_array();
    for (size_t i = 0; i < size; i++)
        json_array_append_new(list, json_integer((uint8_t)bytes[i]));
    return list;
}

/* Chat: \xHH for what is no character. Completion: "bytes:" and all of it so. */
static json_t *token_text(lx_api_kind kind, const char *bytes, size_t size)
{
    lx_buffer text = {0};
    lx_buffer_puts(&text, "");
    const bool is_text = lx_utf8_escape(bytes, size, &text);
    if (!is_text && kind == LX_API_COMPLETION) {
        lx_buffer_drop(&text, text.size);
        lx_buffer_puts(&text, "bytes:");
        for (size_t i = 0; i < size; i++)
            lx_buffer_format(&text, "\\x%02x", (unsigned)(uint8_t)bytes[i]);
    }
    json_t *string = text.has_failed ? NULL : json_string(text.data ? text.data : "");
    lx_buffer_fini(&text);
    return string;
}

static json_t *entry(lx_api_kind kind, lynx_engine *engine, lynx_token token, float logprob)
{
    char bytes[TOKEN_BYTES_MAX];
    const size_t size = token_bytes(engine, token, bytes);
    return json_pack("{s:o, s:f, s:o}", "token", token_text(kind, bytes, size), "logprob",
                     logprob > NEVER ? (double)logprob : (double)NEVER, "bytes",
                     byte_list(bytes, size));
}

static size_t characters(const char *text, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++)
        count += ((uint8_t)text[i] & 0xC0) != 0x80;
    return count;
}

void lx_logprob_log_add(lx_logprob_log *log, lynx_engine *engine, lynx_token token,
                        const lynx_logprobs *logprobs, const char *text, size_t size)
{
    json_t *top = json_array();
    for (uint32_t i = 0; i < logprobs->top_count; i++)
        json_array_append_new(top, entry(log->kind, engine, logprobs->top[i].token,
                                         logprobs->top[i].logprob));
    json_t *value = entry(log->kind, engine, token, logprobs->logprob);
    log->has_failed |= json_array_size(top) != logprobs->top_count;
    log->has_failed |= json_object_set_new(value, "top_logprobs", top) != 0;
    if (!log->waiting)
        log->waiting = json_array();
    log->has_failed |=
        json_array_append_new(log->waiting,
                              json_pack("[I, I, o]", (json_int_t)log->text_bytes,
                                        (json_int_t)log->text_characters, value)) != 0;
    log->text_bytes += size;
    log->text_characters += characters(text, size);
}

/* ---- shapes -------------------------------------------------------------------------- */

static json_t *chat_shape(const json_t *waiting, size_t count)
{
    json_t *content = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append(content, json_array_get(json_array_get(waiting, i), 2));
    if (json_array_size(content) != count) { /* no memory */
        json_decref(content);
        return NULL;
    }
    return json_pack("{s:o, s:n}", "content", content, "refusal");
}

/* The likeliest tokens, and the one that was chosen. Of tokens with one text the likeliest. */
static json_t *completion_top(const json_t *value)
{
    const json_t *top = json_object_get(value, "top_logprobs");
    json_t *map = json_object();
    for (size_t i = 0; i <= json_array_size(top); i++) {
        const json_t *from = i < json_array_size(top) ? json_array_get(top, i) : value;
        const char *name = json_string_value(json_object_get(from, "token"));
        if (name && !json_object_get(map, name))
            json_object_set(map, name, json_object_get(from, "logprob"));
    }
    return map;
}

static json_t *completion_shape(const json_t *waiting, size_t count)
{
    json_t *tokens = json_array(), *logprobs = json_array(), *tops = json_array(),
           *offsets = json_array();
    for (size_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(waiting, i), *value = json_array_get(row, 2);
        json_array_append(tokens, json_object_get(value, "token"));
        json_array_append(logprobs, json_object_get(value, "logprob"));
        json_array_append_new(tops, completion_top(value));
        json_array_append(offsets, json_array_get(row, 1));
    }
    const bool is_whole = json_array_size(tokens) == count &&
                          json_array_size(logprobs) == count &&
                          json_array_size(tops) == count && json_array_size(offsets) == count;
    json_t *shape = json_pack("{s:o, s:o, s:o, s:o}", "tokens", tokens, "token_logprobs",
                              logprobs, "top_logprobs", tops, "text_offset", offsets);
    if (is_whole)
        return shape;
    json_decref(shape); /* no memory */
    return NULL;
}

json_t *lx_logprob_log_take(lx_logprob_log *log, size_t end)
{
    size_t count = 0;
    while (count < json_array_size(log->waiting) &&
           (size_t)json_integer_value(json_array_get(json_array_get(log->waiting, count), 0)) <
               end)
        count++;
    if (count == 0)
        return NULL;
    json_t *shape = log->kind == LX_API_COMPLETION ? completion_shape(log->waiting, count)
                                                   : chat_shape(log->waiting, count);
    log->has_failed |= !shape;
    while (count > 0)
        json_array_remove(log->waiting, --count);
    return shape;
}
