/* SPDX-License-Identifier: MIT */
/* Bodies that are taken, and bodies that are refused with the member at fault. */
#include "serve/api_request.h"
#include "support/cmocka_all.h"

static lynx_status parse(lx_api_request *r, lx_api_kind kind, const char *body,
                         lx_api_fault *fault)
{
    return lx_api_request_parse(r, kind, body, strlen(body), fault);
}

#define CHAT(members) "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]" members "}"
#define TEXT(members) "{\"prompt\":\"hi\"" members "}"

/* ---- taken --------------------------------------------------------------------------- */

static void what_is_absent_has_openais_defaults(void **state)
{
    (void)state;
    lx_api_request r;
    lx_api_fault fault;
    assert_int_equal(parse(&r, LX_API_CHAT, CHAT(""), &fault), LYNX_OK);
    assert_null(r.model);
    assert_int_equal(r.turn_count, 1);
    assert_string_equal(r.turns[0].role, "user");
    assert_string_equal(r.turns[0].text, "hi");
    assert_int_equal(r.max_tokens, 0);
    assert_true(r.sampling.temperature == 1.0f && r.sampling.top_p == 1.0f);
    assert_false(r.has_seed || r.is_stream || r.includes_usage || r.is_optimistic);
    assert_int_equal(r.method, LX_API_METHOD_AUTO);
    assert_int_equal(r.stop_count, 0);
    lx_api_request_fini(&r);
}

static void every_member_is_taken(void **state)
{
    (void)state;
    lx_api_request r;
    lx_api_fault fault;
    const char body[] =
        CHAT(",\"model\":\"m\",\"max_completion_tokens\":7,\"temperature\":0.5,\"top_p\":0.25,"
             "\"top_k\":40,\"min_p\":0.125,\"repeat_penalty\":1.5,\"frequency_penalty\":-1,"
             "\"presence_penalty\":2,\"seed\":4294967295,\"stop\":[\"a\",\"bc\"],"
             "\"stream\":true,\"stream_options\":{\"include_usage\":true},"
             "\"lynx\":{\"stream\":\"optimistic\",\"method\":\"wait\"},"
             "\"chat_template\":\"chatml\",\"n\":1");
    assert_int_equal(parse(&r, LX_API_CHAT, body, &fault), LYNX_OK);
    assert_string_equal(r.model, "m");
    assert_int_equal(r.max_tokens, 7);
    const lynx_sampling *s = &r.sampling;
    assert_true(s->temperature == 0.5f && s->top_p == 0.25f && s->min_p == 0.125f);
    assert_true(s->repeat_penalty == 1.5f && s->frequency_penalty == -1.0f);
    assert_true(s->presence_penalty == 2.0f);
    assert_int_equal(s->top_k, 40);
    assert_int_equal(s->seed, 4294967295u);
    assert_true(r.has_seed && r.is_stream && r.includes_usage && r.is_optimistic);
    assert_int_equal(r.stop_count, 2);
    assert_string_equal(r.stops[1], "bc");
    assert_int_equal(r.method, LX_API_METHOD_WAIT);
    assert_string_equal(r.template_name, "chatml");
    lx_api_request_fini(&r);
}

static void options_are_taken(void **state)
{
    (void)state;
    lx_api_request r;
    lx_api_fault fault;
    assert_int_equal(parse(&r, LX_API_CHAT,
                           CHAT(",\"logit_bias\":{\"70\":-100,\"5\":1.5},\"logprobs\":true,"
                                "\"top_logprobs\":20,\"grammar\":\"root ::= [a-z]\""),
                           &fault),
                     LYNX_OK);
    assert_int_equal(r.sampling.bias_count, 2);
    assert_true(r.sampling.biases[0].token == 5 && r.sampling.biases[0].bias == 1.5f);
    assert_true(r.sampling.biases[1].token == 70 && r.sampling.biases[1].bias == -100.0f);
    assert_true(r.wants_logprobs && r.top_logprobs == 20);
    assert_string_equal(r.sampling.grammar, "root ::= [a-z]");
    assert_int_equal(r.sampling.grammar_bytes, 14);
    assert_string_equal(r.grammar_param, "grammar");
    lx_api_request_fini(&r);
    assert_int_equal(parse(&r, LX_API_COMPLETION,
                           TEXT(",\"logprobs\":0,\"response_format\":{\"type\":"
                                "\"json_object\"}"),
                           &fault),
                     LYNX_OK);
    assert_true(r.wants_logprobs && r.top_logprobs == 0);
    assert_int_equal(memcmp(r.sampling.grammar, "root ::= ", 9), 0);
    assert_string_equal(r.grammar_param, "response_format");
    lx_api_request_fini(&r);
}

/* More tokens, or more bytes, than may be. */
static void options_are_bounded(void **state)
{
    (void)state;
    lx_api_request r;
    lx_api_fault fault;
    char *body = malloc(LYNX_GRAMMAR_BYTES_MAX + 256);
    assert_non_null(body);
    for (uint32_t count = LYNX_BIASES_MAX; count <= LYNX_BIASES_MAX + 1; count++) {
        size_t at = (size_t)sprintf(body, "{\"prompt\":\"x\",\"logit_bias\":{");
        for (uint32_t i = 0; i < count; i++)
            at += (size_t)sprintf(body + at, "%s\"%u\":1", i ? "," : "", i);
        strcpy(body + at, "}}");
        assert_int_equal(parse(&r, LX_API_COMPLETION, body, &fault),
                         count == LYNX_BIASES_MAX ? LYNX_OK : LYNX_ERR_ARGUMENT);
        lx_api_request_fini(&r);
    }
    for (size_t size = LYNX_GRAMMAR_BYTES_MAX; size <= LYNX_GRAMMAR_BYTES_MAX + 1; size++) {
        const size_t at = (size_t)sprintf(body, "{\"prompt\":\"x\",\"grammar\":\"");
        memset(body + at, 'x', size);
        strcpy(body + at + size, "\"}");
        assert_int_equal(parse(&r, LX_API_COMPLETION, body, &fault),
                         size == LYNX_GRAMMAR_BYTES_MAX ? LYNX_OK : LYNX_ERR_ARGUMENT);
        lx_api_request_fini(&r);
    }
    free(body);
}

static void parts_of_a_content_are_joined(void **state)
{
    (void)state;
    lx_api_request r;
    lx_api_fault fault;
    const char body[] =
        "{\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\","
        "\"text\":\"a\"},{\"type\":\"text\",\"text\":\"\xC3\xA9\"}]},"
        "{\"role\":\"user\",\"content\":\"b\"}]}";
    assert_int_equal(parse(&r, LX_API_CHAT, body, &fault), LYNX_OK);
    assert_string_equal(r.turns[0].role, "system");
    assert_string_equal(r.turns[0].text, "a\xC3\xA9");
    lx_api_request_fini(&r);
}

static void prompts_are_texts_or_tokens(void **state)
{
    (void)state;
    static const char *const texts[] = {"{\"prompt\":\"hi\"}", "{\"prompt\":[\"hi\"]}"};
    static const char *const tokens[] = {"{\"prompt\":[1,2,3]}", "{\"prompt\":[[1,2,3]]}"};
    lx_api_request r;
    lx_api_fault fault;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(parse(&r, LX_API_COMPLETION, texts[i], &fault), LYNX_OK);
        assert_string_equal(r.text, "hi");
        lx_api_request_fini(&r);
        assert_int_equal(parse(&r, LX_API_COMPLETION, tokens[i], &fault), LYNX_OK);
        assert_int_equal(r.token_count, 3);
        assert_int_equal(r.tokens[2], 3);
        lx_api_request_fini(&r);
    }
}

static void texts_are_tokenized_with_options(void **state)
{
    (void)state;
    lx_api_request r;
    lx_api_fault fault;
    assert_int_equal(parse(&r, LX_API_TOKENIZE, "{\"content\":\"\"}", &fault), LYNX_OK);
    assert_true(!r.add_start && r.parse_special && r.text_size == 0);
    lx_api_request_fini(&r);
    assert_int_equal(parse(&r, LX_API_TOKENIZE,
                           "{\"content\":\"a\",\"add_special\":true,\"parse_special\":false}",
                           &fault),
                     LYNX_OK);
    assert_true(r.add_start && !r.parse_special);
    lx_api_request_fini(&r);
}

static void what_asks_for_nothing_is_ignored(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        CHAT(
            ",\"user\":\"u\",\"metadata\":{\"a\":1},\"store\":false,\"service_tier\":\"auto\""),
        CHAT(",\"tools\":[],\"logit_bias\":{},\"logprobs\":false,\"tool_choice\":\"none\""),
        CHAT(",\"response_format\":{\"type\":\"text\"},\"modalities\":[\"text\"]"),
        CHAT(",\"temperature\":null,\"stop\":null,\"n\":null,\"lynx\":null,\"seed\":null"),
        CHAT(",\"stream\":false,\"lynx\":{},\"best_of\":1,\"suffix\":\"\""),
        CHAT(",\"unknown\":[{\"deep\":[1,2,{\"x\":null}]}]")};
    lx_api_request r;
    lx_api_fault fault;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        assert_int_equal(parse(&r, LX_API_CHAT, bodies[i], &fault), LYNX_OK);
        assert_false(r.has_seed);
        lx_api_request_fini(&r);
    }
}

/* ---- refused ------------------------------------------------------------------------- */

typedef struct bad_row {
    lx_api_kind kind;
    const char *body, *param, *words;
} bad_row;

static const bad_row bad_rows[] = {
    {LX_API_CHAT, "", "", "not JSON"},
    {LX_API_CHAT, "{", "", "not JSON"},
    {LX_API_CHAT, "[]", "", "JSON object"},
    {LX_API_CHAT, "null", "", "not JSON"},
    {LX_API_CHAT, "{}{}", "", "not JSON"},
    {LX_API_CHAT, CHAT(",\"temperature\":NaN"), "", "not JSON"},
    {LX_API_CHAT, CHAT(",\"temperature\":1e999"), "", "not JSON"},
    {LX_API_CHAT, CHAT(",\"n\":1,\"n\":1"), "", "not JSON"},
    {LX_API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"\xFF\"}]}", "", "not JSON"},
    {LX_API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud800\"}]}", "",
     "not JSON"},
    {LX_API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]}", "",
     "not JSON"},
    {LX_API_CHAT, "{}", "messages", "missing"},
    {LX_API_CHAT, "{\"messages\":\"hi\"}", "messages", "array"},
    {LX_API_CHAT, "{\"messages\":[]}", "messages", "at least one"},
    {LX_API_CHAT, "{\"messages\":[1]}", "messages[0]", "object"},
    {LX_API_CHAT, "{\"messages\":[{\"content\":\"x\"}]}", "messages[0].role", "missing"},
    {LX_API_CHAT, "{\"messages\":[{\"role\":1,\"content\":\"x\"}]}", "messages[0].role",
     "string"},
    {LX_API_CHAT, "{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}", "messages[0].role",
     "\"user\""},
    {LX_API_CHAT, "{\"messages\":[{\"role\":\"user\"}]}", "messages[0].content", "missing"},
    {LX_API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":7}]}", "messages[0].content",
     "string"},
    {LX_API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"  \\n\"}]}", "messages",
     "no text"},
    {LX_API_CHAT,
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"user\",\"content\":"
     "[{\"type\":\"image_url\"}]}]}",
     "messages[1].content", "not supported"},
    {LX_API_CHAT,
     "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[{}]}]}",
     "messages[0].tool_calls", "not supported"},
    {LX_API_CHAT, CHAT(",\"n\":2"), "n", "must be 1"},
    {LX_API_CHAT, CHAT(",\"n\":0"), "n", "whole number"},
    {LX_API_COMPLETION, TEXT(",\"best_of\":3"), "best_of", "must be 1"},
    {LX_API_CHAT, CHAT(",\"logprobs\":1"), "logprobs", "true or false"},
    {LX_API_CHAT, CHAT(",\"logprobs\":true,\"top_logprobs\":21"), "top_logprobs",
     "from 0 to 20"},
    {LX_API_CHAT, CHAT(",\"top_logprobs\":2"), "top_logprobs", "goes with"},
    {LX_API_COMPLETION, TEXT(",\"logprobs\":6"), "logprobs", "from 0 to 5"},
    {LX_API_COMPLETION, TEXT(",\"logprobs\":true"), "logprobs", "whole number"},
    {LX_API_CHAT, CHAT(",\"logit_bias\":[5]"), "logit_bias", "an object"},
    {LX_API_CHAT, CHAT(",\"logit_bias\":{\"x\":1}"), "logit_bias", "no token id: 'x'"},
    {LX_API_CHAT, CHAT(",\"logit_bias\":{\"-1\":1}"), "logit_bias", "no token id"},
    {LX_API_CHAT, CHAT(",\"logit_bias\":{\"05\":1}"), "logit_bias", "no token id"},
    {LX_API_CHAT, CHAT(",\"logit_bias\":{\"2147483648\":1}"), "logit_bias", "no token id"},
    {LX_API_CHAT, CHAT(",\"logit_bias\":{\"5\":100.5}"), "logit_bias", "from -100 to 100"},
    {LX_API_CHAT, CHAT(",\"logit_bias\":{\"5\":null}"), "logit_bias", "from -100 to 100"},
    {LX_API_CHAT, CHAT(",\"grammar\":7"), "grammar", "string"},
    {LX_API_CHAT,
     CHAT(",\"grammar\":\"root ::= a\",\"response_format\":{\"type\":\"json_object\"}"),
     "grammar", "does not go with"},
    {LX_API_CHAT, CHAT(",\"response_format\":{\"type\":\"xml\"}"), "response_format.type",
     "json_schema"},
    {LX_API_CHAT, CHAT(",\"response_format\":{\"type\":\"json_schema\"}"),
     "response_format.json_schema", "the object"},
    {LX_API_CHAT,
     CHAT(",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":"
          "{\"type\":\"object\",\"properties\":{\"a\":{\"pattern\":\"x\"}}}}}"),
     "response_format.json_schema", "/a: 'pattern' is not supported"},
    {LX_API_CHAT, CHAT(",\"tools\":[{}]"), "tools", "not supported"},
    {LX_API_CHAT, CHAT(",\"tool_choice\":\"auto\""), "tool_choice", "\"none\""},
    {LX_API_CHAT, CHAT(",\"response_format\":\"text\""), "response_format", "object"},
    {LX_API_CHAT, CHAT(",\"response_format\":{}"), "response_format.type", "missing"},
    {LX_API_CHAT, CHAT(",\"modalities\":[\"audio\"]"), "modalities", "not supported"},
    {LX_API_COMPLETION, TEXT(",\"echo\":true"), "echo", "not supported"},
    {LX_API_COMPLETION, TEXT(",\"suffix\":\"x\""), "suffix", "not supported"},
    {LX_API_CHAT, CHAT(",\"temperature\":-0.1"), "temperature", "number from 0"},
    {LX_API_CHAT, CHAT(",\"temperature\":\"1\""), "temperature", "number"},
    {LX_API_CHAT, CHAT(",\"temperature\":true"), "temperature", "number"},
    {LX_API_CHAT, CHAT(",\"top_p\":0"), "top_p", "number"},
    {LX_API_CHAT, CHAT(",\"top_p\":1.5"), "top_p", "number"},
    {LX_API_CHAT, CHAT(",\"top_k\":-1"), "top_k", "whole number"},
    {LX_API_CHAT, CHAT(",\"min_p\":1"), "min_p", "number"},
    {LX_API_CHAT, CHAT(",\"repeat_penalty\":0"), "repeat_penalty", "number"},
    {LX_API_CHAT, CHAT(",\"frequency_penalty\":3"), "frequency_penalty", "number"},
    {LX_API_CHAT, CHAT(",\"presence_penalty\":-3"), "presence_penalty", "number"},
    {LX_API_CHAT, CHAT(",\"seed\":-1"), "seed", "whole number"},
    {LX_API_CHAT, CHAT(",\"seed\":4294967296"), "seed", "whole number"},
    {LX_API_CHAT, CHAT(",\"seed\":1.0"), "seed", "whole number"},
    {LX_API_CHAT, CHAT(",\"max_tokens\":0"), "max_tokens", "whole number"},
    {LX_API_CHAT, CHAT(",\"max_tokens\":-5"), "max_tokens", "whole number"},
    {LX_API_CHAT, CHAT(",\"max_tokens\":9999999999"), "max_tokens", "whole number"},
    {LX_API_CHAT, CHAT(",\"max_completion_tokens\":\"7\""), "max_completion_tokens",
     "whole number"},
    {LX_API_CHAT, CHAT(",\"stop\":\"\""), "stop", "string"},
    {LX_API_CHAT, CHAT(",\"stop\":[\"a\",7]"), "stop", "string"},
    {LX_API_CHAT, CHAT(",\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]"), "stop", "more than 4"},
    {LX_API_CHAT, CHAT(",\"stream\":1"), "stream", "true or false"},
    {LX_API_CHAT, CHAT(",\"stream_options\":{\"include_usage\":true}"), "stream_options",
     "stream"},
    {LX_API_CHAT, CHAT(",\"stream\":true,\"stream_options\":{\"include_usage\":1}"),
     "stream_options.include_usage", "true or false"},
    {LX_API_CHAT, CHAT(",\"stream\":true,\"stream_options\":7"), "stream_options", "object"},
    {LX_API_CHAT, CHAT(",\"lynx\":7"), "lynx", "object"},
    {LX_API_CHAT, CHAT(",\"lynx\":{\"method\":\"magic\"}"), "lynx.method", "speculate"},
    {LX_API_CHAT, CHAT(",\"lynx\":{\"methods\":\"wait\"}"), "lynx.methods", "not known"},
    {LX_API_CHAT, CHAT(",\"lynx\":{\"document\":7}"), "lynx.document", "string"},
    {LX_API_CHAT, CHAT(",\"lynx\":{\"document\":\"a/b\"}"), "lynx.document", "letters"},
    {LX_API_CHAT, CHAT(",\"lynx\":{\"document\":\"\"}"), "lynx.document", "letters"},
    {LX_API_CHAT, CHAT(",\"lynx\":{\"store\":1}"), "lynx.store", "true or false"},
    {LX_API_CHAT, CHAT(",\"stream\":true,\"lynx\":{\"stream\":\"x\"}"), "lynx.stream",
     "optimistic"},
    {LX_API_CHAT, CHAT(",\"lynx\":{\"stream\":\"optimistic\"}"), "lynx.stream", "stream"},
    {LX_API_CHAT, CHAT(",\"model\":7"), "model", "string"},
    {LX_API_CHAT, CHAT(",\"chat_template\":7"), "chat_template", "string"},
    {LX_API_COMPLETION, "{}", "prompt", "missing"},
    {LX_API_COMPLETION, "{\"prompt\":\"\"}", "prompt", "empty"},
    {LX_API_COMPLETION, "{\"prompt\":[]}", "prompt", "empty"},
    {LX_API_COMPLETION, "{\"prompt\":[[]]}", "prompt", "empty"},
    {LX_API_COMPLETION, "{\"prompt\":7}", "prompt", "string"},
    {LX_API_COMPLETION, "{\"prompt\":{}}", "prompt", "string"},
    {LX_API_COMPLETION, "{\"prompt\":[1,-2]}", "prompt", "place 1"},
    {LX_API_COMPLETION, "{\"prompt\":[1,2.5]}", "prompt", "place 1"},
    {LX_API_COMPLETION, "{\"prompt\":[1,99999999999]}", "prompt", "place 1"},
    {LX_API_COMPLETION, "{\"prompt\":[\"a\",\"b\"]}", "prompt", "several"},
    {LX_API_COMPLETION, "{\"prompt\":[[1],[2]]}", "prompt", "several"},
    {LX_API_TOKENIZE, "{}", "content", "missing"},
    {LX_API_TOKENIZE, "{\"content\":[1]}", "content", "string"},
    {LX_API_TOKENIZE, "{\"content\":\"x\",\"add_special\":1}", "add_special", "true or false"},
};

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad_rows) / sizeof(*bad_rows); i++) {
        const bad_row *row = &bad_rows[i];
        lx_api_request r;
        lx_api_fault fault;
        const lynx_status status = parse(&r, row->kind, row->body, &fault);
        if (status != LYNX_ERR_ARGUMENT || strcmp(fault.param, row->param) != 0 ||
            !strstr(fault.message, row->words) || !strstr(fault.message, row->param))
            fail_msg("%s: status %d, param '%s', message '%s'", row->body, status, fault.param,
                     fault.message);
        assert_int_equal(fault.http, 400);
        assert_string_equal(fault.type, "invalid_request_error");
        lx_api_request_fini(&r);
    }
}

static void a_body_that_nests_too_deep_is_refused(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    char *body = malloc(DEPTH + 32);
    assert_non_null(body);
    const int head = sprintf(body, "{\"prompt\":");
    memset(body + head, '[', DEPTH);
    lx_api_request r;
    lx_api_fault fault;
    assert_int_equal(lx_api_request_parse(&r, LX_API_COMPLETION, body, (size_t)head + DEPTH,
                                          &fault),
                     LYNX_ERR_ARGUMENT);
    assert_non_null(strstr(fault.message, "depth"));
    lx_api_request_fini(&r);
    free(body);
}

static void a_stop_string_has_a_bound(void **state)
{
    (void)state;
    char body[LX_API_STOP_BYTES_MAX + 200], stop[LX_API_STOP_BYTES_MAX + 2];
    lx_api_request r;
    lx_api_fault fault;
    for (size_t size = LX_API_STOP_BYTES_MAX; size < sizeof(stop); size++) {
        memset(stop, 'x', size);
        stop[size] = '\0';
        snprintf(body, sizeof(body), "{\"prompt\":\"hi\",\"stop\":\"%s\"}", stop);
        const bool is_right = size == LX_API_STOP_BYTES_MAX;
        assert_int_equal(parse(&r, LX_API_COMPLETION, body, &fault),
                         is_right ? LYNX_OK : LYNX_ERR_ARGUMENT);
        lx_api_request_fini(&r);
    }
}

static void the_store_may_be_named_and_left_out(void **state)
{
    lx_api_request r;
    lx_api_fault fault;
    (void)state;
    assert_int_equal(parse(&r, LX_API_CHAT,
                           CHAT(",\"lynx\":{\"document\":\"report.txt\",\"store\":true}"),
                           &fault),
                     LYNX_OK);
    assert_string_equal(r.document, "report.txt");
    assert_false(r.without_store);
    lx_api_request_fini(&r);
    assert_int_equal(parse(&r, LX_API_CHAT, CHAT(",\"lynx\":{\"store\":false}"), &fault),
                     LYNX_OK);
    assert_null(r.document);
    assert_true(r.without_store);
    lx_api_request_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_absent_has_openais_defaults),
        cmocka_unit_test(every_member_is_taken),
        cmocka_unit_test(options_are_taken),
        cmocka_unit_test(options_are_bounded),
        cmocka_unit_test(parts_of_a_content_are_joined),
        cmocka_unit_test(prompts_are_texts_or_tokens),
        cmocka_unit_test(texts_are_tokenized_with_options),
        cmocka_unit_test(what_asks_for_nothing_is_ignored),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(a_body_that_nests_too_deep_is_refused),
        cmocka_unit_test(a_stop_string_has_a_bound),
        cmocka_unit_test(the_store_may_be_named_and_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
