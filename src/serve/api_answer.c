/* SPDX-License-Identifier: MIT */
#include "serve/api_answer.h"

#include <string.h>

#include "serve/text_stream.h"

/* Nine digits: a microsecond in a quarter of an hour. */
static char *dump(json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(value);
    return text;
}

/* Names of files and reasons of peers may hold any bytes; NULL becomes null. */
static json_t *clean_string(const char *text)
{
    if (!text)
        return json_null();
    lx_utf8 state = {0};
    lx_buffer clean = {0};
    lx_utf8_push(&state, text, strlen(text), &clean);
    json_t *string = json_string(clean.data ? clean.data : "");
    lx_buffer_fini(&clean);
    return string;
}

static const char *object_of(const lx_api_head *head, bool is_chunk)
{
    if (head->kind == LX_API_COMPLETION)
        return "text_completion";
    return is_chunk ? "chat.completion.chunk" : "chat.completion";
}

static json_t *begin(const lx_api_head *head, bool is_chunk, json_t *choices)
{
    return json_pack("{s:s, s:s, s:I, s:o, s:o}", "id", head->id, "object",
                     object_of(head, is_chunk), "created", (json_int_t)head->created, "model",
                     clean_string(head->model), "choices", choices);
}

static json_t *begin_chunk(const lx_api_head *head, json_t *choices)
{
    json_t *chunk = begin(head, true, choices);
    if (head->includes_usage)
        json_object_set_new(chunk, "usage", json_null());
    return chunk;
}

static json_t *usage(uint32_t prompt_tokens, uint32_t answer_tokens)
{
    return json_pack("{s:I, s:I, s:I}", "prompt_tokens", (json_int_t)prompt_tokens,
                     "completion_tokens", (json_int_t)answer_tokens, "total_tokens",
                     (json_int_t)prompt_tokens + answer_tokens);
}

static json_t *meta_object(const lx_api_meta *m)
{
    return json_pack(
        "{s:s, s:o, s:o, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
        "s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f}",
        "method", m->method, "reason", clean_string(m->reason), "prefill_node",
        clean_string(m->prefill_node), "is_recomputed", m->is_recomputed, "seed",
        (json_int_t)m->seed, "prompt_tokens", (json_int_t)m->prompt_tokens, "reused_tokens",
        (json_int_t)m->reused_tokens, "computed_tokens", (json_int_t)m->computed_tokens,
        "kept_tokens", (json_int_t)m->kept_tokens, "kept_bytes", (json_int_t)m->kept_bytes,
        "drafted", (json_int_t)m->drafted, "accepted", (json_int_t)m->accepted,
        "branch_drafted", (json_int_t)m->branch_drafted, "branch_accepted",
        (json_int_t)m->branch_accepted, "carried", (json_int_t)m->carried, "steps",
        (json_int_t)m->steps, "guessed", (json_int_t)m->guessed, "guessed_right",
        (json_int_t)m->guessed_right, "bytes", (json_int_t)m->bytes, "bytes_before_first_draft",
        (json_int_t)m->bytes_before_first_draft, "prefill_ms", m->prefill_ms, "anchor_ms",
        m->anchor_ms, "complete_ms", m->complete_ms, "verify_ms", m->verify_ms, "ttft_ms",
        m->ttft_ms, "total_ms", m->total_ms);
}

static json_t *delta(bool is_first, const char *text)
{
    json_t *object = json_object();
    if (is_first)
        json_object_set_new(object, "role", json_string("assistant"));
    if (text || is_first)
        json_object_set_new(object, "content", json_string(text ? text : ""));
    return object;
}

/* One choice; 'is_whole': of an answer in one piece. Takes 'part' and 'logprobs'. */
static json_t *choice(const lx_api_head *head, bool is_whole, json_t *part, const char *text,
                      json_t *logprobs, const char *finish)
{
    if (head->kind == LX_API_COMPLETION) {
        json_decref(part);
        return json_pack("[{s:i, s:s, s:o?, s:s?}]", "index", 0, "text", text ? text : "",
                         "logprobs", logprobs, "finish_reason", finish);
    }
    return json_pack("[{s:i, s:o, s:o?, s:s?}]", "index", 0, is_whole ? "message" : "delta",
                     part, "logprobs", logprobs, "finish_reason", finish);
}

char *lx_api_chunk(const lx_api_head *head, bool is_first, const char *text, json_t *logprobs,
                   const char *finish, const lx_api_meta *meta)
{
    json_t *chunk =
        begin_chunk(head, choice(head, false, delta(is_first, text), text, logprobs, finish));
    if (meta)
        json_object_set_new(chunk, "lynx", meta_object(meta));
    return dump(chunk);
}

char *lx_api_event(const lx_api_head *head, json_t *event)
{
    json_t *chunk = begin_chunk(head, json_array());
    json_object_set_new(chunk, "lynx", event);
    return dump(chunk);
}

char *lx_api_usage(const lx_api_head *head, uint32_t prompt_tokens, uint32_t answer_tokens)
{
    json_t *chunk = begin(head, true, json_array());
    json_object_set_new(chunk, "usage", usage(prompt_tokens, answer_tokens));
    return dump(chunk);
}

char *lx_api_whole(const lx_api_head *head, const char *text, json_t *logprobs,
                   const char *finish, uint32_t answer_tokens, const lx_api_meta *meta)
{
    json_t *answer =
        begin(head, false, choice(head, true, delta(true, text), text, logprobs, finish));
    json_object_set_new(answer, "usage", usage(meta->prompt_tokens, answer_tokens));
    json_object_set_new(answer, "lynx", meta_object(meta));
    return dump(answer);
}

char *lx_api_error(const lx_api_fault *fault)
{
    json_t *param = fault->param[0] ? clean_string(fault->param) : json_null();
    return dump(json_pack("{s:{s:o, s:s, s:o, s:s?}}", "error", "message",
                          clean_string(fault->message), "type", fault->type, "param", param,
                          "code", fault->code));
}

char *lx_api_model(const char *id, const lynx_model *model, int64_t created, bool is_list)
{
    json_t *entry =
        json_pack("{s:o, s:s, s:I, s:s, s:{s:o, s:o, s:I, s:I}}", "id", clean_string(id),
                  "object", "model", "created", (json_int_t)created, "owned_by", "lynx", "lynx",
                  "name", clean_string(model->name), "architecture",
                  clean_string(model->architecture), "context_tokens",
                  (json_int_t)model->context_tokens, "vocabulary",
                  (json_int_t)model->vocabulary);
    return dump(is_list ? json_pack("{s:s, s:[o]}", "object", "list", "data", entry) : entry);
}

char *lx_api_tokens(const lynx_token *tokens, uint32_t count)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(tokens[i]));
    return dump(json_pack("{s:o, s:I}", "tokens", list, "count", (json_int_t)count));
}
