/* SPDX-License-Identifier: MIT */
#include "serve/api_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/schema.h"

enum { COMPLETION_LOGPROBS_MAX = 5 };

/* ---- logit_bias ---------------------------------------------------------------------- */

/* The number of a token, as JSON writes it. */
static bool parse_token(const char *text, lynx_token *token)
{
    char again[16];
    const long value = strtol(text, NULL, 10);
    if (value < 0 || value > INT32_MAX)
        return false;
    snprintf(again, sizeof(again), "%ld", value);
    *token = (lynx_token)value;
    return strcmp(again, text) == 0;
}

static int by_token(const void *a, const void *b)
{
    const lynx_bias *left = a, *right = b;
    return left->token < right->token ? -1 : left->token > right->token;
}

static bool take_one_bias(const lx_members *body, lx_api_request *r, const char *name,
                          const json_t *value)
{
    lynx_bias bias = {0};
    const double number = json_number_value(value);
    if (!parse_token(name, &bias.token))
        return lx_members_refuse(body, "logit_bias", "has a key that is no token id: '%.40s'",
                                 name);
    if (!json_is_number(value) || !(number >= -100 && number <= 100))
        return lx_members_refuse(body, "logit_bias",
                                 "must map token ids to numbers from -100 to 100");
    bias.bias = (float)number;
    r->biases[r->sampling.bias_count++] = bias;
    return true;
}

bool lx_api_take_bias(const lx_members *body, lx_api_request *r)
{
    json_t *map = (json_t *)(uintptr_t)lx_members_get(body, "logit_bias");
    if (!map)
        return true;
    if (!json_is_object(map))
        return lx_members_refuse(body, "logit_bias",
                                 "must be an object of token ids and numbers");
    const size_t count = json_object_size(map);
    if (count > LYNX_BIASES_MAX)
        return lx_members_refuse(body, "logit_bias", "has more than %d tokens",
                                 LYNX_BIASES_MAX);
    if (count == 0)
        return true;
    r->biases = calloc(count, sizeof(*r->biases));
    if (!r->biases)
        return false;
    r->sampling.biases = r->biases;
    for (void *at = json_object_iter(map); at; at = json_object_iter_next(map, at))
        if (!take_one_bias(body, r, json_object_iter_key(at), json_object_iter_value(at)))
            return false;
    qsort(r->biases, count, sizeof(*r->biases), by_token);
    return true;
}

/* ---- logprobs ------------------------------------------------------------------------ */

static bool take_completion_logprobs(const lx_members *body, lx_api_request *r)
{
    const json_t *member = lx_members_get(body, "logprobs");
    if (!member || json_is_false(member))
        return true;
    r->wants_logprobs = true;
    return lx_members_u32(body, "logprobs", 0, COMPLETION_LOGPROBS_MAX, &r->top_logprobs);
}

bool lx_api_take_logprobs(const lx_members *body, lx_api_request *r)
{
    if (r->kind == LX_API_COMPLETION)
        return take_completion_logprobs(body, r);
    if (!lx_members_bool(body, "logprobs", &r->wants_logprobs) ||
        !lx_members_u32(body, "top_logprobs", 0, LYNX_TOP_LOGPROBS_MAX, &r->top_logprobs))
        return false;
    return r->top_logprobs == 0 || r->wants_logprobs ||
           lx_members_refuse(body, "top_logprobs", "goes with \"logprobs\": true only");
}

/* ---- grammar, response_format -------------------------------------------------------- */

static bool set_grammar(lx_api_request *r, char *text, size_t size, const char *param)
{
    r->grammar = text;
    r->grammar_param = param;
    r->sampling.grammar = text;
    r->sampling.grammar_bytes = (uint32_t)size;
    return text != NULL;
}

static bool take_grammar(const lx_members *body, lx_api_request *r)
{
    const json_t *member = lx_members_get(body, "grammar");
    const char *text = NULL;
    if (!lx_members_string(body, "grammar", &text))
        return false;
    if (!text || !text[0])
        return true;
    if (json_string_length(member) > LYNX_GRAMMAR_BYTES_MAX)
        return lx_members_refuse(body, "grammar", "has more than %d bytes",
                                 LYNX_GRAMMAR_BYTES_MAX);
    return set_grammar(r, strdup(text), json_string_length(member), "grammar");
}

static bool take_schema(const lx_members *format, lx_buffer *grammar)
{
    const json_t *member = lx_members_get(format, "json_schema");
    const json_t *schema = json_object_get(member, "schema");
    char reason[LX_SCHEMA_REASON_BYTES];
    if (!json_is_object(member) || !json_is_object(schema))
        return lx_members_refuse(format, "json_schema",
                                 "must be an object with the object \"schema\"");
    if (lx_schema_grammar(schema, grammar, reason))
        return true;
    return !grammar->has_failed && reason[0] &&
           lx_members_refuse(format, "json_schema", "cannot be followed: %s", reason);
}

static bool take_format_grammar(const lx_members *body, lx_api_request *r,
                                const lx_members *format, bool is_schema)
{
    lx_buffer grammar = {0};
    if (r->grammar)
        return lx_members_refuse(body, "grammar", "does not go with \"response_format\"");
    if (!is_schema)
        lx_schema_any_object(&grammar);
    else if (!take_schema(format, &grammar)) {
        lx_buffer_fini(&grammar);
        return false;
    }
    if (grammar.size > LYNX_GRAMMAR_BYTES_MAX || grammar.has_failed) {
        const bool is_large = !grammar.has_failed;
        lx_buffer_fini(&grammar);
        return is_large && lx_members_refuse(format, "json_schema", "is too large");
    }
    return set_grammar(r, grammar.data, grammar.size, "response_format"); /* owned from now */
}

bool lx_api_take_format(const lx_members *body, lx_api_request *r)
{
    const json_t *member = lx_members_get(body, "response_format");
    const lx_members format = {member, "response_format.", body->fault};
    const char *type = NULL;
    if (!take_grammar(body, r))
        return false;
    if (!member)
        return true;
    if (!json_is_object(member))
        return lx_members_refuse(body, "response_format", "must be an object");
    if (!lx_members_string(&format, "type", &type))
        return false;
    if (!type)
        return lx_members_refuse(&format, "type", "is missing");
    if (strcmp(type, "text") == 0)
        return true;
    const bool is_schema = strcmp(type, "json_schema") == 0;
    if (!is_schema && strcmp(type, "json_object") != 0)
        return lx_members_refuse(&format, "type",
                                 "must be \"text\", \"json_object\" or \"json_schema\"");
    return take_format_grammar(body, r, &format, is_schema);
}
