/* SPDX-License-Identifier: MIT */
#include "serve/api_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lynx/store.h"
#include "serve/api_members.h"
#include "serve/api_options.h"
#include "serve/api_prompt.h"

/* ---- what Lynx does not do ----------------------------------------------------------- */

static bool is_empty(const json_t *value)
{
    return (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

/* Members that would change the answer; empty ones and those that are false ask for nothing. */
static bool refuse_unsupported(const lx_members *body)
{
    static const char *const names[] = {"tools",       "functions",   "audio",
                                        "suffix",      "echo",        "web_search_options",
                                        "prediction",  "json_schema", "guided_json",
                                        "guided_regex"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        const json_t *value = lx_members_get(body, names[i]);
        const bool asks_nothing = !value || json_is_false(value) || is_empty(value) ||
                                  (json_is_string(value) && json_string_length(value) == 0);
        if (!asks_nothing)
            return lx_members_refuse(body, names[i], "is not supported by this server");
    }
    return true;
}

/* A string that may be absent, or 'only'. */
static bool must_be(const lx_members *members, const char *name, const char *only)
{
    const char *value = only;
    if (!lx_members_string(members, name, &value))
        return false;
    return strcmp(value, only) == 0 ||
           lx_members_refuse(members, name, "must be \"%s\"; others are not supported", only);
}

static bool check_modalities(const lx_members *body)
{
    const json_t *list = lx_members_get(body, "modalities");
    if (!list)
        return true;
    const json_t *first = json_array_get(list, 0);
    if (!json_is_array(list) || json_array_size(list) != 1 || !json_is_string(first) ||
        strcmp(json_string_value(first), "text") != 0)
        return lx_members_refuse(body, "modalities",
                                 "must be [\"text\"]; others are not supported");
    return true;
}

static bool check_single(const lx_members *body)
{
    uint32_t one = 1;
    for (uint32_t i = 0; i < 2; i++) {
        const char *name = i ? "best_of" : "n";
        if (!lx_members_u32(body, name, 1, UINT32_MAX, &one))
            return false;
        if (one != 1)
            return lx_members_refuse(body, name,
                                     "must be 1; one answer is all that this "
                                     "server gives");
    }
    return true;
}

static bool check_tool_choice(const lx_members *body)
{
    return must_be(body, "tool_choice", "none") && must_be(body, "function_call", "none");
}

/* ---- members ------------------------------------------------------------------------- */

static bool take_sampling(const lx_members *body, lx_api_request *r)
{
    lynx_sampling *s = &r->sampling;
    uint32_t top_k = 0;
    lynx_sampling_init(s);
    s->temperature = 1; /* as OpenAI's */
    r->has_seed = lx_members_get(body, "seed") != NULL;
    if (!lx_members_float(body, "temperature", 0, 100, &s->temperature) ||
        !lx_members_float(body, "top_p", 1e-6, 1, &s->top_p) ||
        !lx_members_float(body, "min_p", 0, 0.999999, &s->min_p) ||
        !lx_members_float(body, "repeat_penalty", 1e-6, 10, &s->repeat_penalty) ||
        !lx_members_float(body, "frequency_penalty", -2, 2, &s->frequency_penalty) ||
        !lx_members_float(body, "presence_penalty", -2, 2, &s->presence_penalty) ||
        !lx_members_u32(body, "top_k", 0, INT32_MAX, &top_k) ||
        !lx_members_u32(body, "seed", 0, UINT32_MAX, &s->seed))
        return false;
    s->top_k = (int32_t)top_k;
    return true;
}

static bool take_limit(const lx_members *body, lx_api_request *r)
{
    return lx_members_u32(body, "max_tokens", 1, INT32_MAX, &r->max_tokens) &&
           lx_members_u32(body, "max_completion_tokens", 1, INT32_MAX, &r->max_tokens);
}

static bool take_stop(const lx_members *body, lx_api_request *r, const json_t *stop)
{
    if (!json_is_string(stop) || json_string_length(stop) == 0 ||
        json_string_length(stop) > LX_API_STOP_BYTES_MAX)
        return lx_members_refuse(body, "stop",
                                 "must be a string of 1 to %d bytes, or up to %d of them",
                                 LX_API_STOP_BYTES_MAX, LX_API_STOPS_MAX);
    r->stops[r->stop_count] = strdup(json_string_value(stop));
    return r->stops[r->stop_count++] != NULL;
}

static bool take_stops(const lx_members *body, lx_api_request *r)
{
    const json_t *stop = lx_members_get(body, "stop");
    if (!stop)
        return true;
    if (!json_is_array(stop))
        return take_stop(body, r, stop);
    if (json_array_size(stop) > LX_API_STOPS_MAX)
        return lx_members_refuse(body, "stop", "has more than %d strings", LX_API_STOPS_MAX);
    for (size_t i = 0; i < json_array_size(stop); i++)
        if (!take_stop(body, r, json_array_get(stop, i)))
            return false;
    return true;
}

static bool take_stream(const lx_members *body, lx_api_request *r)
{
    if (!lx_members_bool(body, "stream", &r->is_stream))
        return false;
    const json_t *options = lx_members_get(body, "stream_options");
    if (!options)
        return true;
    if (!json_is_object(options))
        return lx_members_refuse(body, "stream_options", "must be an object");
    if (!r->is_stream)
        return lx_members_refuse(body, "stream_options", "goes with \"stream\": true only");
    const lx_members members = {options, "stream_options.", body->fault};
    return lx_members_bool(&members, "include_usage", &r->includes_usage);
}

static bool take_method(const lx_members *lynx, lx_api_request *r)
{
    static const char *const names[] = {[LX_API_METHOD_AUTO] = "auto",
                                        [LX_API_METHOD_SPECULATE] = "speculate",
                                        [LX_API_METHOD_CARRY] = "carry",
                                        [LX_API_METHOD_WAIT] = "wait",
                                        [LX_API_METHOD_LOCAL] = "local"};
    const char *name = names[LX_API_METHOD_AUTO];
    if (!lx_members_string(lynx, "method", &name))
        return false;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (strcmp(name, names[i]) == 0) {
            r->method = (lx_api_method)i;
            return true;
        }
    return lx_members_refuse(lynx, "method",
                             "must be \"auto\", \"speculate\", \"carry\", \"wait\" or "
                             "\"local\"");
}

static bool take_stored(const lx_members *lynx, lx_api_request *r)
{
    const char *name = NULL;
    bool uses_store = true;
    if (!lx_members_string(lynx, "document", &name) ||
        !lx_members_bool(lynx, "store", &uses_store))
        return false;
    r->without_store = !uses_store;
    if (!name)
        return true;
    if (!lynx_document_name_is_legal(name))
        return lx_members_refuse(lynx, "document",
                                 "must be the name of a document: 1 to 128 letters, digits, "
                                 "'.', '_' and '-', the first no '.'");
    r->document = strdup(name);
    return r->document != NULL;
}

/* The first member that nobody knows; NULL: none. */
static const char *unknown_member(const json_t *object)
{
    static const char *const names[] = {"stream", "method", "document", "store"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        bool is_known = false;
        for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
            is_known |= strcmp(name, names[i]) == 0;
        if (!is_known)
            return name;
    }
    return NULL;
}

/* Our own members: one that is unknown is a mistake. */
static bool take_lynx(const lx_members *body, lx_api_request *r)
{
    const json_t *object = lx_members_get(body, "lynx");
    if (!object)
        return true;
    if (!json_is_object(object))
        return lx_members_refuse(body, "lynx", "must be an object");
    const lx_members members = {object, "lynx.", body->fault};
    const char *unknown = unknown_member(object), *stream = NULL;
    if (unknown)
        return lx_members_refuse(&members, unknown,
                                 "is not known; there are \"stream\", \"method\", "
                                 "\"document\" and \"store\"");
    if (!lx_members_string(&members, "stream", &stream))
        return false;
    if (stream && strcmp(stream, "optimistic") != 0)
        return lx_members_refuse(&members, "stream", "must be \"optimistic\" if given");
    if (stream && !r->is_stream)
        return lx_members_refuse(&members, "stream", "goes with \"stream\": true only");
    r->is_optimistic = stream != NULL;
    return take_method(&members, r) && take_stored(&members, r);
}

static bool take_names(const lx_members *body, lx_api_request *r)
{
    const char *model = NULL, *template_name = NULL;
    if (!lx_members_string(body, "model", &model) ||
        !lx_members_string(body, "chat_template", &template_name))
        return false;
    r->model = model ? strdup(model) : NULL;
    r->template_name = template_name ? strdup(template_name) : NULL;
    return (!model || r->model) && (!template_name || r->template_name);
}

static bool take_answer(const lx_members *body, lx_api_request *r)
{
    return take_names(body, r) && refuse_unsupported(body) && check_modalities(body) &&
           check_single(body) && check_tool_choice(body) && take_sampling(body, r) &&
           lx_api_take_bias(body, r) && lx_api_take_logprobs(body, r) &&
           lx_api_take_format(body, r) && take_limit(body, r) && take_stops(body, r) &&
           take_stream(body, r) && take_lynx(body, r);
}

static bool take_tokenize(const lx_members *body, lx_api_request *r)
{
    r->parse_special = true;
    return take_names(body, r) && lx_api_take_content(body, r) &&
           lx_members_bool(body, "add_special", &r->add_start) &&
           lx_members_bool(body, "parse_special", &r->parse_special);
}

static bool take_body(const lx_members *body, lx_api_request *r)
{
    if (!json_is_object(body->object)) {
        lx_api_fault_set(body->fault, 400, NULL, "the body must be a JSON object");
        return false;
    }
    switch (r->kind) {
    case LX_API_CHAT:
        return take_answer(body, r) && lx_api_take_messages(body, r);
    case LX_API_COMPLETION:
        return take_answer(body, r) && lx_api_take_prompt(body, r);
    case LX_API_TOKENIZE:
        return take_tokenize(body, r);
    }
    return false;
}

lynx_status lx_api_request_parse(lx_api_request *request, lx_api_kind kind, const char *body,
                                 size_t size, lx_api_fault *fault)
{
    json_error_t error = {0}; /* without memory jansson leaves it as it is */
    *request = (lx_api_request){.kind = kind};
    *fault = (lx_api_fault){0};
    json_t *root = json_loadb(body ? body : "", size, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        /* Each mistake of a text has a code. Without memory there may be none, or the wrong
         * one. */
        const enum json_error_code code = json_error_code(&error);
        if (code == json_error_out_of_memory || code == json_error_unknown)
            return LYNX_ERR_MEMORY;
        lx_api_fault_set(fault, 400, NULL, "the body is not JSON: line %d, column %d: %s",
                         error.line, error.column, error.text);
        return LYNX_ERR_ARGUMENT;
    }
    const lx_members members = {root, "", fault};
    const bool is_good = take_body(&members, request);
    json_decref(root);
    if (is_good)
        return LYNX_OK;
    return fault->http ? LYNX_ERR_ARGUMENT : LYNX_ERR_MEMORY;
}

void lx_api_request_fini(lx_api_request *request)
{
    for (size_t i = 0; i < request->turn_count; i++)
        free((char *)(uintptr_t)request->turns[i].text);
    for (uint32_t i = 0; i < request->stop_count; i++)
        free(request->stops[i]);
    free(request->turns);
    free(request->text);
    free(request->tokens);
    free(request->model);
    free(request->template_name);
    free(request->biases);
    free(request->grammar);
    free(request->document);
    *request = (lx_api_request){0};
}
