/* SPDX-License-Identifier: MIT */
/*
 * second_choices_test.c - drafts behind second choices, on the toy engine: that they become
 * valid where the first choice was wrong, what they count from, and that the tokens are those
 * of plain decoding on the full cache.
 */
#include <string.h>

#include "support/cmocka_all.h"
#include "support/memory_source.h"
#include "support/toy_nodes.h"
#include "support/toy_stored.h"

enum { STORED = 200, REST = 10, ENOUGH = 150 /* steps, of all branches and passes */ };

/* What was told. */
typedef struct watch {
    lynx_time_ns zero, drafts[TOY_ANSWER];
    lynx_token tokens[TOY_ANSWER];
    uint32_t first, told; /* drafts, since the last pass, from this answer index on */
    uint32_t passes, stood, first_stood;
    bool is_verifying, is_standing[TOY_ANSWER];
} watch;

static void on_moment(void *user, const lynx_moment *m)
{
    watch *w = user;
    if (m->type == LYNX_MOMENT_REQUEST)
        w->zero = m->time;
    if (m->type == LYNX_MOMENT_DRAFT) {
        assert_true(m->count < TOY_ANSWER);
        w->drafts[m->count] = m->time;
        w->tokens[m->count] = m->token;
        w->first = w->told ? w->first : m->count;
        assert_int_equal(m->count, w->first + w->told);
        w->told++;
    }
    if (m->type == LYNX_MOMENT_VERIFY) {
        assert_int_equal(m->total, w->told);
        assert_false(w->is_verifying);
        w->is_verifying = true;
    }
    if (m->type == LYNX_MOMENT_VERIFIED) {
        assert_int_equal(m->total, w->told);
        assert_true(m->count <= m->total);
        w->is_verifying = false;
        for (uint32_t i = 0; i < m->count; i++)
            w->is_standing[w->first + i] = true;
        w->first_stood = w->passes ? w->first_stood : m->count;
        w->stood += m->count;
        w->told = 0;
        w->passes++;
    }
}

typedef struct bed {
    lynx_engine *engine;
    memory_source source;
    lynx_token prompt[TOY_PROMPT_MAX];
    lynx_run_options options;
    toy_answer plain, got;
    watch seen;
} bed;

static void begin(bed *b, const lx_toy_options *toy, const char *codec, uint32_t seed)
{
    memset(b, 0, sizeof(*b));
    assert_int_equal(lx_toy_create(&b->engine, toy, NULL), LYNX_OK);
    toy_prompt(b->prompt, STORED + REST, seed);
    lynx_run_options *o = &b->options;
    lynx_run_options_init(o);
    o->prompt = b->prompt;
    o->prompt_tokens = STORED + REST;
    o->ignore_end = true;
    o->on_moment = on_moment;
    o->user = &b->seen;
    assert_int_equal(lynx_codec_spec_named(&o->spec, codec), LYNX_OK);
    memory_source_make(&b->source, b->engine, b->prompt, STORED, &o->spec);
}

static void end(bed *b)
{
    memory_source_free(&b->source);
    lynx_engine_destroy(b->engine);
}

/* What it must be; then the same while the residual takes so many steps of this machine. */
static void run(bed *b, uint32_t steps)
{
    toy_run_stored(&b->plain, &b->got, b->engine, &b->source, STORED, steps, &b->options);
}

static void check(const bed *b)
{
    assert_string_equal(b->got.text, "");
    assert_int_equal(b->got.status, LYNX_OK);
    assert_true(toy_answers_are_equal(&b->got, &b->plain));
    assert_true(b->got.result.accepted <= b->got.result.drafted);
    assert_true(b->got.result.branches <= b->options.branch_count_max);
    assert_true(b->got.result.branch_accepted <= b->got.result.branch_drafted);
    assert_true(b->seen.passes <= 1 + b->got.result.branches);
    assert_int_equal(b->got.result.accepted, b->seen.first_stood);
    assert_int_equal(b->got.result.accepted + b->got.result.branch_accepted, b->seen.stood);
    /* What stood counts from when it was told of. */
    for (uint32_t i = 0; i < TOY_ANSWER; i++)
        if (b->seen.is_standing[i]) {
            assert_int_equal(b->got.tokens[i], b->seen.tokens[i]);
            assert_true(b->got.times[i] == b->seen.drafts[i] - b->seen.zero);
        }
}

static const char coarse[] = "range:k=2+6,v=2+6,head=0";

static void second_choices_stand(void **state)
{
    uint32_t branches = 0, drafted = 0, stood = 0;
    (void)state;
    for (uint32_t round = 0; round < 24; round++) {
        bed b;
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        toy.can_refine = round & 1;
        toy.window_tokens = round & 2 ? 40 : 0;
        toy.can_await_layers = round & 4;
        begin(&b, &toy, coarse, round);
        run(&b, ENOUGH);
        check(&b);
        branches += b.got.result.branches;
        drafted += b.got.result.branch_drafted;
        stood += b.got.result.branch_accepted;
        end(&b);
    }
    assert_true(branches > 0);
    assert_true(drafted > 0);
    assert_true(stood > 0);
}

/* None where none are wanted, where drafts are taken as they are, and where the largest logits
 * do not tell. */
static void there_may_be_none(void **state)
{
    static const lynx_bias bias = {.token = 'e', .bias = 1};
    static const char grammar[] = "root ::= [a-z ]*";
    (void)state;
    for (uint32_t round = 0; round < 5; round++) {
        bed b;
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        begin(&b, &toy, coarse, 2);
        if (round == 0)
            b.options.branch_count_max = 0;
        b.options.sampling.temperature = round == 1 ? 0.8F : 0;
        b.options.skip_verify = round == 2;
        b.options.sampling.biases = round == 3 ? &bias : NULL;
        b.options.sampling.bias_count = round == 3;
        b.options.sampling.grammar = round == 4 ? grammar : NULL;
        b.options.sampling.grammar_bytes = round == 4 ? sizeof(grammar) - 1 : 0;
        run(&b, ENOUGH);
        assert_int_equal(b.got.status, LYNX_OK);
        assert_int_equal(b.got.result.branches, 0);
        if (round != 2)
            check(&b);
        end(&b);
    }
}

/* Beside reviews, which make all branches new. */
static void reviews_go_on_with_the_trunk(void **state)
{
    uint32_t branches = 0, reviews = 0;
    (void)state;
    for (uint32_t round = 0; round < 16; round++) {
        bed b;
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        toy.can_refine = round & 1;
        begin(&b, &toy, "range-3:k=2+2+4,v=2+2+4,head=0", round);
        b.options.on_moment = NULL;
        run(&b, ENOUGH);
        assert_string_equal(b.got.text, "");
        assert_true(toy_answers_are_equal(&b.got, &b.plain));
        branches += b.got.result.branches;
        reviews += b.got.result.reviews;
        end(&b);
    }
    assert_true(branches > 0);
    assert_true(reviews > 0);
}

/* The source breaks while branches are drafted on: the prompt is computed here, or the trunk
 * kept as it is. */
static void losses_are_made_good(void **state)
{
    uint32_t branches = 0;
    (void)state;
    for (uint32_t round = 0; round < 8; round++) {
        const bool keeps = round & 1;
        bed b;
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        toy.can_refine = round & 2;
        begin(&b, &toy, coarse, round);
        b.options.on_moment = NULL;
        b.source.fail_at = b.source.count - 3;
        b.options.on_loss = keeps ? LYNX_ON_LOSS_KEEP : LYNX_ON_LOSS_RECOMPUTE;
        run(&b, ENOUGH);
        assert_int_equal(b.got.status, LYNX_OK);
        assert_int_equal(b.got.result.is_unverified, keeps);
        assert_int_equal(b.got.result.token_count, TOY_ANSWER);
        if (!keeps)
            assert_true(toy_answers_are_equal(&b.got, &b.plain));
        branches += b.got.result.branches;
        end(&b);
    }
    assert_true(branches > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_choices_stand),
        cmocka_unit_test(there_may_be_none),
        cmocka_unit_test(reviews_go_on_with_the_trunk),
        cmocka_unit_test(losses_are_made_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
