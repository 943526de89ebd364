/* SPDX-License-Identifier: MIT */
/* Grammars of schemas: what they take and what they do not, and what is refused. */
#include "grammar/grammar.h"
#include "serve/schema.h"
#include "support/cmocka_all.h"

static lx_grammar *read_grammar(const lx_buffer *text)
{
    lx_grammar *g = NULL;
    char error[LX_GRAMMAR_ERROR_BYTES];
    if (lx_grammar_create(&g, text->data, text->size, NULL, error) != LYNX_OK)
        fail_msg("%s\n%s", error, text->data);
    return g;
}

static bool takes(lx_grammar *g, const char *text)
{
    uint32_t state;
    assert_int_equal(lx_grammar_step(g, LX_GRAMMAR_START, text, strlen(text), &state), LYNX_OK);
    return state != LX_GRAMMAR_DEAD && lx_grammar_may_end(g, state);
}

typedef struct row {
    const char *schema; /* NULL: the one before */
    const char *text;
    bool is_taken;
} row;

static const row rows[] = {
    {"{\"type\":\"integer\"}", "-12", true},
    {NULL, "012", false},
    {NULL, "1.5", false},
    {"{\"type\":\"number\"}", "-0.25e-3", true},
    {NULL, "1.", false},
    {"{\"type\":[\"boolean\",\"null\"]}", "null", true},
    {NULL, "true", true},
    {NULL, "0", false},
    {"{\"type\":\"string\",\"minLength\":1,\"maxLength\":2}", "\"\"", false},
    {NULL, "\"\xC3\xA9\\n\"", true},
    {NULL, "\"abc\"", false},
    {NULL, "\"\n\"", false},
    {"{\"type\":\"string\"}", "\"\\u00e9\\ud7ff\"", true},
    {NULL, "\"\\ud800\"", false},
    {"{\"enum\":[\"a\\\"b\",7,null,{\"c\":[1]}]}", "\"a\\\"b\"", true},
    {NULL, "7", true},
    {NULL, "{\"c\":[1]}", true},
    {NULL, "8", false},
    {"{\"const\":\"x\"}", "\"x\"", true},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}",
     "[]", false},
    {NULL, "[1]", true},
    {NULL, "[1, 2]", true},
    {NULL, "[1,2,3]", false},
    {"{\"type\":\"array\",\"maxItems\":0}", "[ ]", true},
    {NULL, "[1]", false},
    {"{\"items\":{\"type\":\"null\"}}", "[null,null,null]", true},
    {NULL, "[]", true},
    {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{},"
     "\"c\":{\"type\":\"null\"}},\"required\":[\"b\"]}",
     "{\"b\":{\"x\":[1,\"y\"]}}", true},
    {NULL, "{\"a\":1, \"b\" : 2 ,\"c\":null}", true},
    {NULL, "{\"b\":2,\"c\":null}", true},
    {NULL, "{\"a\":1}", false},
    {NULL, "{}", false},
    {NULL, "{\"b\":1,\"a\":1}", false},
    {NULL, "{\"b\":1,}", false},
    {NULL, "{\"b\":1,\"d\":1}", false},
    {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"integer\"}}}", "{}",
     true},
    {NULL, "{\"b\":1}", true},
    {NULL, "{\"a\":1,\"b\":1}", true},
    {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}",
     "{\"x\":1,\"y\":2}", true},
    {NULL, "{\"x\":\"1\"}", false},
    {"{\"type\":\"object\",\"additionalProperties\":false}", "{}", true},
    {NULL, "{\"x\":1}", false},
    {"{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"integer\"}]}", "5", true},
    {"{\"oneOf\":[{\"type\":\"null\"},{\"type\":\"integer\"}]}", "null", true},
    {"{\"$defs\":{\"tree\":{\"type\":\"object\",\"properties\":{\"kids\":{\"type\":\"array\","
     "\"items\":{\"$ref\":\"#/$defs/tree\"}}},\"required\":[\"kids\"]}},"
     "\"$ref\":\"#/$defs/tree\"}",
     "{\"kids\":[{\"kids\":[]},{\"kids\":[]}]}", true},
    {NULL, "{\"kids\":[1]}", false},
    {"{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}", "[[],[[]]]", true},
    {"{\"title\":\"t\",\"description\":\"d\",\"type\":\"null\"}", "null", true},
};

static void texts_are_taken_as_the_schema_says(void **state)
{
    (void)state;
    lx_grammar *g = NULL;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        if (rows[i].schema) {
            char reason[LX_SCHEMA_REASON_BYTES];
            lx_buffer text = {0};
            json_t *schema = json_loads(rows[i].schema, 0, NULL);
            assert_non_null(schema);
            if (!lx_schema_grammar(schema, &text, reason))
                fail_msg("%s: %s", rows[i].schema, reason);
            lx_grammar_destroy(g);
            g = read_grammar(&text);
            lx_buffer_fini(&text);
            json_decref(schema);
        }
        if (takes(g, rows[i].text) != rows[i].is_taken)
            fail_msg("row %zu: %s", i, rows[i].text);
    }
    lx_grammar_destroy(g);
}

static void any_object_is_json(void **state)
{
    (void)state;
    lx_buffer text = {0};
    lx_schema_any_object(&text);
    lx_grammar *g = read_grammar(&text);
    assert_true(takes(g, "{}"));
    assert_true(takes(g, "{\n  \"a\": [1, {\"b\": null}, \"x\\\\\"],\n  \"c\": -1.5e+10 }"));
    assert_false(takes(g, "[]"));
    assert_false(takes(g, "{} "));
    assert_false(takes(g, "{\"a\":01}"));
    assert_false(takes(g, "{\"a\":\"\\x\"}"));
    lx_grammar_destroy(g);
    lx_buffer_fini(&text);
}

static void what_cannot_be_followed_is_named(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"{\"type\":\"text\"}", "schema: 'text' is no type"},
        {"{\"type\":7}", "'type' must be"},
        {"{\"type\":[]}", "'type' is empty"},
        {"{\"properties\":{\"a\":{\"items\":{\"format\":\"date\"}}}}",
         "/a/items: 'format' is not supported"},
        {"{\"properties\":{\"a\":7}}", "/a: a schema must be an object"},
        {"{\"properties\":[]}", "'properties' must be an object"},
        {"{\"type\":\"object\",\"required\":[\"x\"]}", "'x' is required"},
        {"{\"properties\":{\"x\":{}},\"required\":\"x\"}", "'required' must be"},
        {"{\"type\":\"string\",\"maxLength\":1001}", "'maxLength' must be"},
        {"{\"type\":\"string\",\"minLength\":-1}", "'minLength' must be"},
        {"{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}", "'minItems' is above"},
        {"{\"enum\":[]}", "'enum' must be"},
        {"{\"anyOf\":{}}", "'anyOf' must be"},
        {"{\"$ref\":\"http://x\"}", "'$ref' must be"},
        {"{\"$ref\":\"#/$defs/x\"}", "'$ref' must be"},
        {"{\"allOf\":[]}", "'allOf' is not supported"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        char reason[LX_SCHEMA_REASON_BYTES];
        lx_buffer text = {0};
        json_t *schema = json_loads(bad[i][0], 0, NULL);
        if (lx_schema_grammar(schema, &text, reason) || !strstr(reason, bad[i][1]))
            fail_msg("%s: %s", bad[i][0], reason);
        lx_buffer_fini(&text);
        json_decref(schema);
    }
}

/* Deep, wide and circular ones end in a sentence. */
static void hostile_schemas_are_refused(void **state)
{
    (void)state;
    char reason[LX_SCHEMA_REASON_BYTES], name[32];
    lx_buffer text = {0};
    json_t *deep = json_object(), *wide = json_object(), *names = json_object();
    for (uint32_t i = 0; i < 100; i++)
        deep = json_pack("{s:o}", "items", deep);
    assert_false(lx_schema_grammar(deep, &text, reason));
    assert_non_null(strstr(reason, "more than 32 deep"));
    lx_buffer_fini(&text);
    for (uint32_t i = 0; i < 20000; i++) {
        snprintf(name, sizeof(name), "property-%u", i);
        json_object_set_new(names, name, json_object());
    }
    json_object_set_new(wide, "properties", names);
    assert_false(lx_schema_grammar(wide, &text, reason));
    assert_non_null(strstr(reason, "too large"));
    lx_buffer_fini(&text);
    json_decref(deep);
    json_decref(wide);
    json_t *circle = json_pack("{s:s}", "$ref", "#");
    lx_grammar *g = NULL;
    char error[LX_GRAMMAR_ERROR_BYTES];
    assert_true(lx_schema_grammar(circle, &text, reason));
    assert_int_equal(lx_grammar_create(&g, text.data, text.size, NULL, error),
                     LYNX_ERR_ARGUMENT);
    assert_non_null(strstr(error, "left recursion"));
    lx_buffer_fini(&text);
    json_decref(circle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_taken_as_the_schema_says),
        cmocka_unit_test(any_object_is_json),
        cmocka_unit_test(what_cannot_be_followed_is_named),
        cmocka_unit_test(hostile_schemas_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
