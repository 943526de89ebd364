/* SPDX-License-Identifier: MIT */
/*
 * choices_test.c - biases, grammars and logprobs on the toy engine over TCP: drafts, tokens of
 * the prefill node and verified ones keep to them, and all methods say the same.
 */
#include "grammar/grammar.h"
#include "support/cmocka_all.h"
#include "support/toy_nodes.h"

enum { PROMPT = 300 };

/* Tokens 1 to 63 are the characters from '1' on; 0 is the end. */
static const char grammar[] = "root ::= ([A-Z] [a-o]{1,2} [1-9])+ \"?\"";

/* What a run said of its tokens. */
typedef struct record {
    lynx_logprobs logprobs[TOY_ANSWER];
    bool is_told[TOY_ANSWER];
    lynx_token banned;
    uint32_t banned_drafts;
} record;

static void on_moment(void *user, const lynx_moment *m)
{
    record *r = user;
    r->banned_drafts += m->type == LYNX_MOMENT_DRAFT && m->token == r->banned;
    if (m->type != LYNX_MOMENT_TOKEN)
        return;
    r->is_told[m->count] = m->logprobs != NULL;
    if (m->logprobs)
        r->logprobs[m->count] = *m->logprobs;
}

typedef struct nodes {
    toy_prefill prefill;
    toy_decode decode;
} nodes;

static void begin(nodes *n)
{
    toy_prefill_init(&n->prefill);
    n->prefill.rate = 2000000;
    toy_prefill_start(&n->prefill);
    toy_decode_init(&n->decode, n->prefill.address);
    n->decode.toy.step_ns = 300000;
    toy_decode_open(&n->decode);
}

static void end(nodes *n)
{
    toy_decode_finish(&n->decode);
    toy_prefill_finish(&n->prefill);
}

static void fits(const toy_answer *answer)
{
    char error[LX_GRAMMAR_ERROR_BYTES];
    lx_grammar *g = NULL;
    uint32_t at = LX_GRAMMAR_START;
    assert_int_equal(lx_grammar_create(&g, grammar, strlen(grammar), NULL, error), LYNX_OK);
    for (uint32_t i = 0; i < answer->result.token_count; i++) {
        const char c = (char)('0' + answer->tokens[i]);
        if (answer->tokens[i] == 0)
            assert_true(lx_grammar_may_end(g, at));
        else
            assert_int_equal(lx_grammar_step(g, at, &c, 1, &at), LYNX_OK);
        assert_int_not_equal(at, LX_GRAMMAR_DEAD);
    }
    lx_grammar_destroy(g);
}

static void logprobs_are_equal(const record *a, const record *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        assert_true(a->is_told[i] && b->is_told[i]);
        assert_memory_equal(&a->logprobs[i], &b->logprobs[i], sizeof(lynx_logprobs));
        assert_int_equal(a->logprobs[i].top_count, 5);
        for (uint32_t t = 1; t < 5; t++)
            assert_true(a->logprobs[i].top[t].logprob <= a->logprobs[i].top[t - 1].logprob);
        assert_true(a->logprobs[i].logprob <= a->logprobs[i].top[0].logprob);
    }
}

/* Which of the options a round has. */
enum { HAS_BIAS = 1, HAS_GRAMMAR = 2, HAS_HEAT = 4, HAS_LOGPROBS = 8, ROUNDS = 24 };

static void all_methods_agree(void **state)
{
    (void)state;
    static const lynx_method methods[] = {LYNX_METHOD_SPECULATE, LYNX_METHOD_CARRY,
                                          LYNX_METHOD_WAIT};
    uint32_t drafted = 0, accepted = 0;
    nodes n;
    begin(&n);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        lynx_token prompt[PROMPT];
        record got = {.banned = -1}, want = {.banned = -1};
        toy_answer answer, local, plain;
        lynx_bias bias = {0, -100.0f};
        lynx_run_options o;
        lynx_run_options_init(&o);
        toy_prompt(prompt, PROMPT, round);
        o.prompt = prompt;
        o.prompt_tokens = PROMPT;
        o.sampling.temperature = round & HAS_HEAT ? 2.0f : 0.0f;
        o.sampling.seed = round;
        if (round & HAS_GRAMMAR) {
            o.sampling.grammar = grammar;
            o.sampling.grammar_bytes = (uint32_t)strlen(grammar);
        }
        toy_want(&plain, n.decode.engine, &o);
        o.on_moment = on_moment;
        o.wants_logprobs = round & HAS_LOGPROBS;
        o.top_logprobs = o.wants_logprobs ? 5 : 0;
        if (round & HAS_BIAS) { /* what would come first, and second, otherwise */
            bias.token = want.banned = got.banned = plain.tokens[round / 4 % 2];
            o.sampling.biases = &bias;
            o.sampling.bias_count = 1;
        }
        o.user = &want;
        toy_want(&local, n.decode.engine, &o);
        o.method = methods[round % 3];
        o.user = &got;
        toy_run(&answer, n.decode.engine, &n.decode.handle, 1, &o);
        assert_string_equal(answer.text, "");
        assert_int_equal(answer.status, LYNX_OK);
        assert_true(toy_answers_are_equal(&answer, &local));
        assert_false(answer.result.is_recomputed);
        for (uint32_t i = 0; i < answer.result.token_count; i++)
            assert_int_not_equal(answer.tokens[i], got.banned);
        assert_int_equal(got.banned_drafts, 0);
        if (o.sampling.grammar)
            fits(&answer);
        if (o.wants_logprobs)
            logprobs_are_equal(&got, &want, answer.result.token_count);
        else
            assert_false(got.is_told[0]);
        drafted += answer.result.drafted;
        accepted += answer.result.accepted;
    }
    end(&n);
    /* The test means nothing unless some drafts stood and some fell. */
    assert_true(accepted > 10);
    assert_true(drafted > accepted);
}

/* F-32, and what no method can do. */
static void what_cannot_be_is_said(void **state)
{
    (void)state;
    nodes n;
    begin(&n);
    for (uint32_t i = 0; i < 4; i++) {
        lynx_token prompt[PROMPT];
        static const char wrong[] = "root ::= [", narrow[] = "root ::= \"~\"";
        static const lynx_bias bias = {64, 1.0f};
        toy_answer answer;
        lynx_run_options o;
        lynx_run_options_init(&o);
        toy_prompt(prompt, PROMPT, i);
        o.prompt = prompt;
        o.prompt_tokens = PROMPT;
        o.on_loss = LYNX_ON_LOSS_FAIL;
        o.sampling.grammar = i == 0 ? wrong : i == 1 ? narrow : i == 2 ? grammar : NULL;
        o.sampling.grammar_bytes =
            o.sampling.grammar ? (uint32_t)strlen(o.sampling.grammar) : 0;
        o.method = i == 2 ? LYNX_METHOD_TOKENS : LYNX_METHOD_SPECULATE;
        if (i == 3) {
            o.sampling.biases = &bias;
            o.sampling.bias_count = 1;
        }
        toy_run(&answer, n.decode.engine, &n.decode.handle, 1, &o);
        static const lynx_status statuses[] = {LYNX_ERR_ARGUMENT, LYNX_ERR_ARGUMENT,
                                               LYNX_ERR_UNSUPPORTED, LYNX_ERR_ARGUMENT};
        static const char *const words[] = {"the grammar is wrong: line 1", "lets no token",
                                            "no grammar", "outside the vocabulary"};
        assert_int_equal(answer.status, statuses[i]);
        assert_non_null(strstr(answer.text, words[i]));
    }
    end(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_methods_agree),
        cmocka_unit_test(what_cannot_be_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
