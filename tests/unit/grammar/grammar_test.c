/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/grammar.h"
#include "support/cmocka_all.h"
#include "support/failing_allocator.h"

/* -1: does not fit, 0: fits so far, 1: may end. */
static int try_text(lx_grammar *g, const char *text)
{
    uint32_t state;
    assert_int_equal(lx_grammar_step(g, LX_GRAMMAR_START, text, strlen(text), &state), LYNX_OK);
    if (state == LX_GRAMMAR_DEAD)
        return -1;
    return lx_grammar_may_end(g, state);
}

static lx_grammar *make(const char *text)
{
    lx_grammar *g = NULL;
    char error[LX_GRAMMAR_ERROR_BYTES];
    const lynx_status status = lx_grammar_create(&g, text, strlen(text), NULL, error);
    if (status != LYNX_OK)
        fail_msg("%s: %s", text, error);
    return g;
}

typedef struct example {
    const char *text;
    int is; /* as of try_text */
} example;

static void check(const char *grammar, const example *examples)
{
    lx_grammar *g = make(grammar);
    for (; examples->text; examples++)
        if (try_text(g, examples->text) != examples->is)
            fail_msg("%s: '%s' is not %d", grammar, examples->text, examples->is);
    lx_grammar_destroy(g);
}

#define CHECK(grammar, ...) check(grammar, (const example[]){__VA_ARGS__, {NULL, 0}})

static void items_take_what_they_say(void **state)
{
    (void)state;
    CHECK("root ::= \"ab\"", {"", 0}, {"a", 0}, {"ab", 1}, {"abc", -1}, {"b", -1});
    CHECK("root ::= \"\"", {"", 1}, {"a", -1});
    CHECK("root ::= \"a\" | \"bc\" |", {"", 1}, {"a", 1}, {"b", 0}, {"bc", 1}, {"ac", -1});
    CHECK("root ::= [a-cx]", {"a", 1}, {"c", 1}, {"x", 1}, {"d", -1}, {"aa", -1});
    CHECK("root ::= [^a-c]", {"d", 1}, {"a", -1}, {"\n", 1}, {"\xC3\xA9", 1}, {"\xC3", 0});
    CHECK("root ::= [a-]", {"a", 1}, {"-", 1}, {"b", -1});
    CHECK("root ::= [c-da-bb-c]", {"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}, {"e", -1});
    CHECK("root ::= .", {"d", 1}, {"\xF0\x9F\x98\x80", 1}, {"\xF0\x9F", 0}, {"\x80", -1},
          {"\xED\xA0", -1}, {"\xC0", -1}, {"\xF4\x90", -1});
    CHECK("root ::= \"\\x41\\u00e9\\U0001F600\\n\\\\\\\"\"",
          {"A\xC3\xA9\xF0\x9F\x98\x80\n\\\"", 1}, {"B", -1});
    CHECK("root ::= (\"a\" | \"b\"\n | \"c\") \"d\" # end\n", {"ad", 1}, {"cd", 1}, {"d", -1});
    CHECK("root ::= a-b_1\n\n  a-b_1::=\n\"x\"\r\n", {"x", 1});
}

/* Spans of characters against the encoding of each character. */
static void classes_agree_with_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t least, most;
    } spans[] = {{"root ::= [\\u0000-\\U0010FFFF]", 0, 0x10FFFF},
                 {"root ::= [\\u007f-\\u0800]", 0x7F, 0x800},
                 {"root ::= [\\u0123-\\uFFFE]", 0x123, 0xFFFE},
                 {"root ::= [\\u1234-\\U00056789]", 0x1234, 0x56789},
                 {"root ::= [\\U00010001-\\U000fedcb]", 0x10001, 0xFEDCB}};
    for (size_t i = 0; i < sizeof(spans) / sizeof(*spans); i++) {
        lx_grammar *g = make(spans[i].text);
        for (uint32_t c = 1; c <= 0x10FFFF; c += c < 0x3000 ? 1 : 61) {
            char t[5] = {0};
            if (c < 0x80) {
                t[0] = (char)c;
            } else if (c < 0x800) {
                t[0] = (char)(0xC0 | c >> 6);
                t[1] = (char)(0x80 | (c & 63));
            } else if (c < 0x10000) {
                t[0] = (char)(0xE0 | c >> 12);
                t[1] = (char)(0x80 | (c >> 6 & 63));
                t[2] = (char)(0x80 | (c & 63));
            } else {
                t[0] = (char)(0xF0 | c >> 18);
                t[1] = (char)(0x80 | (c >> 12 & 63));
                t[2] = (char)(0x80 | (c >> 6 & 63));
                t[3] = (char)(0x80 | (c & 63));
            }
            const bool is_surrogate = c >= 0xD800 && c <= 0xDFFF;
            const bool is_in = c >= spans[i].least && c <= spans[i].most && !is_surrogate;
            if (try_text(g, t) != (is_in ? 1 : -1))
                fail_msg("%s: U+%04X", spans[i].text, c);
        }
        lx_grammar_destroy(g);
    }
}

static void repetitions_count(void **state)
{
    (void)state;
    CHECK("root ::= \"ab\"*", {"", 1}, {"ab", 1}, {"aba", 0}, {"abab", 1}, {"aa", -1});
    CHECK("root ::= \"a\"+", {"", 0}, {"a", 1}, {"aaaa", 1});
    CHECK("root ::= \"a\"? \"b\"", {"b", 1}, {"ab", 1}, {"aab", -1});
    CHECK("root ::= \"a\"{2}", {"a", 0}, {"aa", 1}, {"aaa", -1});
    CHECK("root ::= \"a\"{2,}", {"a", 0}, {"aa", 1}, {"aaaaaa", 1});
    CHECK("root ::= \"a\"{ 1 , 3 } \"b\"", {"b", -1}, {"aaab", 1}, {"aaaa", -1}, {"aaa", 0});
    CHECK("root ::= \"a\"{0} \"b\"", {"b", 1}, {"a", -1});
    CHECK("root ::= \"a\"{0,2} \"b\"", {"b", 1}, {"ab", 1}, {"aab", 1}, {"aaa", -1});
    CHECK("root ::= ((\"a\"? \"b\"?)*)+ \"c\"", {"bbabc", 1}, {"c", 1}, {"d", -1});
    CHECK("root ::= \"a\"{1024}", {"aaa", 0});
}

static void rules_call_each_other(void **state)
{
    (void)state;
    CHECK("root ::= \"(\" root \")\" | \"x\"", {"((x))", 1}, {"((x)", 0}, {"((x)))", -1});
    CHECK("root ::= list\nlist ::= item (\",\" list)?\nitem ::= \"a\" | \"[\" list \"]\"",
          {"a,[a,[a]],a", 1}, {"[a", 0}, {"[]", -1});
    CHECK("root ::= \"a\" root | \"b\"", {"aaaaab", 1}, {"aaab b", -1}, {"aaa", 0});
}

/* A call at the end of a rule needs no place to come back to: a long text, few states. */
static void long_texts_take_no_memory(void **state)
{
    (void)state;
    lx_grammar *g = make("root ::= \"a\" root | \"b\" other\nother ::= root | \"c\"");
    uint32_t at = LX_GRAMMAR_START;
    for (int i = 0; i < 100000; i++)
        assert_int_equal(lx_grammar_step(g, at, i % 3 ? "a" : "b", 1, &at), LYNX_OK);
    assert_int_not_equal(at, LX_GRAMMAR_DEAD);
    assert_false(lx_grammar_is_full(g));
    lx_grammar_destroy(g);
}

/* What nests without end reaches new states at each depth: the limit is said, and a reset
 * begins anew. */
static void states_are_bounded(void **state)
{
    (void)state;
    lx_grammar *g = make("root ::= \"(\" root \")\" | \"x\"");
    uint32_t at = LX_GRAMMAR_START;
    lynx_status status = LYNX_OK;
    for (int i = 0; i < 1000000 && status == LYNX_OK; i++)
        status = lx_grammar_step(g, at, "(", 1, &at);
    assert_int_equal(status, LYNX_ERR_LIMIT);
    assert_true(lx_grammar_is_full(g));
    assert_int_equal(lx_grammar_reset(g), LYNX_OK);
    assert_false(lx_grammar_is_full(g));
    assert_int_equal(try_text(g, "((x))"), 1);
    lx_grammar_destroy(g);
}

static void refuse(const char *text, const char *reason)
{
    lx_grammar *g = NULL;
    char error[LX_GRAMMAR_ERROR_BYTES];
    const lynx_status status = lx_grammar_create(&g, text, strlen(text), NULL, error);
    if (status != LYNX_ERR_ARGUMENT || !strstr(error, reason))
        fail_msg("'%.60s': %d, '%s'", text, status, status == LYNX_OK ? "" : error);
}

static void mistakes_are_named_with_their_place(void **state)
{
    (void)state;
    refuse("", "no rule 'root'");
    refuse("a ::= \"x\"", "no rule 'root'");
    refuse("root ::= \"x", "line 1, column 12: the text ends");
    refuse("root ::= \"x\"\n  root ::= \"y\"", "line 2, column 11: the rule 'root' is defined");
    refuse("root ::= b", "line 1, column 10: the rule 'b' is used and not defined");
    refuse("root = b", "\"::=\" is expected");
    refuse("root ::= (\"a\"", "')' is expected");
    refuse("root ::= \"a\")", "an item, '|' or the end");
    refuse("root ::= [z-a]", "backwards");
    refuse("root ::= []", "empty class");
    refuse("root ::= \"\\q\"", "unknown escape");
    refuse("root ::= \"\\", "unknown escape");
    refuse("root ::= [\\", "unknown escape");
    refuse("root ::= \"\\u12\"", "4 hexadecimal digits");
    refuse("root ::= \"\\U00110000\"", "no such character");
    refuse("root ::= \"a\"{3,1}", "backwards");
    refuse("root ::= \"a\"{1025}", "more than 1024 repetitions");
    refuse("root ::= \"a\"{99999999999999999999}", "more than 1024");
    refuse("root ::= \"a\"{,2}", "a number is expected");
    refuse("root ::= \"a\"{2", "'}' is expected");
    refuse("root ::= *", "an item");
    refuse("root ::= <think>", "tokens");
    refuse("root ::= \"\xFF\"", "not UTF-8");
    refuse("root ::= \"\xC3\"", "not UTF-8");
    refuse("root ::= \"\xED\xA0\x80", "the text ends");
    refuse("root ::= root \"a\" | \"b\"", "left recursion");
    refuse("root ::= x\nx ::= \"\" \"a\"? y\ny ::= x \"z\"", "'root' can come back");
}

/* What would take memory or time without end. */
static void hostile_grammars_are_refused(void **state)
{
    (void)state;
    const size_t size = 200000;
    char *text = malloc(size + 64);
    assert_non_null(text);
    strcpy(text, "root ::= ");
    memset(text + 9, '(', 60000);
    text[60009] = '\0';
    refuse(text, "more than 64 parentheses");
    refuse("root ::= ((((\"a\"{1000}){1000}){1000}){1000}){1000}", "too large");
    refuse("root ::= ((((((\"a\"*){9}){9}){9}){9}){9}){9}", "too large");
    memset(text + 9, '"', size);
    text[size] = '\0';
    refuse(text, "more than 65536 bytes");
    /* A chain of rules, each of which names the next one twice at its beginning. */
    size_t at = (size_t)sprintf(text, "root ::= r0\n");
    for (int i = 0; i < 900; i++)
        at += (size_t)sprintf(text + at, "r%d ::= r%d | r%d\n", i, i + 1, i + 1);
    strcpy(text + at, "r900 ::= \"y\"\n");
    lx_grammar *g = make(text);
    assert_int_equal(try_text(g, "y"), 1);
    lx_grammar_destroy(g);
    strcpy(text + at, "r900 ::= r1\n");
    refuse(text, "left recursion");
    /* The same, but each way has its own way back: 2^n of them. */
    at = (size_t)sprintf(text, "root ::= r0\nr30 ::= \"y\"\n");
    for (int i = 0; i < 30; i++)
        at += (size_t)sprintf(text + at, "r%d ::= r%d | r%d \"x\"\n", i, i + 1, i + 1);
    refuse(text, "too ambiguous");
    for (at = (size_t)sprintf(text, "root ::= \"a\"\n"); at < 60000;)
        at += (size_t)sprintf(text + at, "r%zu ::= \"a\"\n", at);
    refuse(text, "more than 1024 rules");
    free(text);
}

/* Ambiguity grows the set of places: given up, or done, but never for long. */
static void ambiguous_grammars_are_bounded(void **state)
{
    (void)state;
    lx_grammar *g = make("root ::= (a a? a? a? a? a? a? a? | a a)*\na ::= (\"x\" | b)+\n"
                         "b ::= \"x\" b? a? b?");
    uint32_t at = LX_GRAMMAR_START;
    lynx_status status = LYNX_OK;
    for (int i = 0; i < 200 && status == LYNX_OK; i++)
        status = lx_grammar_step(g, at, "x", 1, &at);
    assert_true(status == LYNX_OK || status == LYNX_ERR_LIMIT);
    lx_grammar_destroy(g);
}

/* Each allocation fails once, while the grammar is read and while it is followed. */
static void without_memory_nothing_is_lost(void **state)
{
    (void)state;
    static const char text[] = "root ::= (\"a\"{2,3} [b-d]+ | \"(\" root \")\")+";
    bool has_done_all = false;
    for (uint64_t n = 1; !has_done_all; n++) {
        test_allocator memory;
        test_allocator_init(&memory);
        memory.fail_at = n;
        lx_grammar *g = NULL;
        char error[LX_GRAMMAR_ERROR_BYTES];
        lynx_status status =
            lx_grammar_create(&g, text, strlen(text), &memory.allocator, error);
        if (status == LYNX_OK) {
            uint32_t at = LX_GRAMMAR_START;
            for (int i = 0; i < 3000 && status == LYNX_OK; i++)
                status = lx_grammar_step(g, at, "(", 1, &at);
            has_done_all = status == LYNX_OK;
            /* It can go on when there is memory again. */
            assert_int_equal(lx_grammar_reset(g), LYNX_OK);
            assert_int_equal(try_text(g, "(aab)"), 1);
            lx_grammar_destroy(g);
        }
        assert_true(has_done_all || status == LYNX_ERR_MEMORY);
        assert_int_equal(memory.live_bytes, 0);
        assert_true(n < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_take_what_they_say),
        cmocka_unit_test(classes_agree_with_utf8),
        cmocka_unit_test(repetitions_count),
        cmocka_unit_test(rules_call_each_other),
        cmocka_unit_test(long_texts_take_no_memory),
        cmocka_unit_test(states_are_bounded),
        cmocka_unit_test(mistakes_are_named_with_their_place),
        cmocka_unit_test(hostile_grammars_are_refused),
        cmocka_unit_test(ambiguous_grammars_are_bounded),
        cmocka_unit_test(without_memory_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
