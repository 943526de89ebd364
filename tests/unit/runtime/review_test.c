/* SPDX-License-Identifier: MIT */
/*
 * review_test.c - drafts are looked at again each time that one more plane is here, on the toy
 * engine: what is withdrawn, what goes on, what it counts from, and that the tokens are those
 * of plain decoding on the full cache.
 */
#include <string.h>

#include "support/cmocka_all.h"
#include "support/memory_source.h"
#include "support/toy_nodes.h"
#include "support/toy_stored.h"

static const uint64_t ms = 1000000;

/* An anchor that is often wrong, and a second plane that is mostly right. */
static const char coarse[] = "range-3:k=2+4+2,v=2+4+2,head=0";
/* Two that are often wrong. */
static const char poor[] = "range-3:k=1+1+6,v=1+1+6,head=0";

/* The drafts that stand, as the moments tell. */
typedef struct watch {
    const lynx_run_options *options;
    lynx_time_ns zero, review_end;
    lynx_time_ns times[TOY_ANSWER];
    lynx_token tokens[TOY_ANSWER];
    uint32_t count;           /* of them */
    uint32_t valid, accepted; /* tokens before the drafts; drafts that stood */
    bool is_reviewing, is_verified;
    bool takes_drafts; /* as valid tokens, unverified */
    uint32_t reviews, withdrawn;
    uint32_t kept_all, drafts_behind; /* reviews; drafts behind what a review gave */
} watch;

static void on_draft(watch *w, const lynx_moment *m)
{
    assert_int_equal(m->count, w->valid + w->count);
    assert_true(w->count < TOY_ANSWER);
    /* What a review gives was produced when it ended. */
    if (m->time != w->review_end) {
        lynx_engine *engine = w->options->engine;
        const uint32_t before = w->options->prompt_tokens + m->count;
        assert_in_range(engine->ops->length(engine), before, before + 1); /* a right guess */
        w->drafts_behind += w->reviews > 0;
    }
    w->times[w->count] = m->time;
    w->tokens[w->count++] = m->token;
}

static void on_reviewed(watch *w, const lynx_moment *m)
{
    assert_true(w->is_reviewing);
    assert_int_equal(m->total, w->count);
    assert_true(m->count <= m->total);
    w->is_reviewing = false;
    w->review_end = m->time;
    w->reviews++;
    w->withdrawn += m->total - m->count;
    w->kept_all += m->count == m->total;
    w->count = m->count;
}

static void on_token(watch *w)
{
    if (w->is_verified || w->takes_drafts)
        return;
    assert_int_equal(w->count, 0); /* nothing is valid before the full cache */
    w->valid++;
}

static void on_moment(void *user, const lynx_moment *m)
{
    watch *w = user;
    switch (m->type) {
    case LYNX_MOMENT_REQUEST:
        w->zero = m->time;
        break;
    case LYNX_MOMENT_DRAFT:
        on_draft(w, m);
        break;
    case LYNX_MOMENT_REVIEW:
        assert_int_equal(m->total, w->count);
        w->is_reviewing = true;
        break;
    case LYNX_MOMENT_REVIEWED:
        on_reviewed(w, m);
        break;
    case LYNX_MOMENT_VERIFIED:
        assert_int_equal(m->total, w->count);
        w->accepted = m->count;
        w->is_verified = true;
        break;
    case LYNX_MOMENT_TOKEN:
        on_token(w);
        break;
    case LYNX_MOMENT_READY:
    case LYNX_MOMENT_PREFILL:
    case LYNX_MOMENT_PLANE:
    case LYNX_MOMENT_ANCHOR:
    case LYNX_MOMENT_COMPLETE:
    case LYNX_MOMENT_YIELD:
    case LYNX_MOMENT_HANDOVER:
    case LYNX_MOMENT_VERIFY:
    case LYNX_MOMENT_LOST:
        break;
    }
}

/* The result is what the moments told, and each draft that stood counts from when it was made:
 * the last time, if it was withdrawn in between. */
static void check_told(const watch *w, const toy_answer *got)
{
    assert_int_equal(got->result.reviews, w->reviews);
    assert_int_equal(got->result.withdrawn, w->withdrawn);
    assert_int_equal(got->result.drafted, w->count);
    assert_int_equal(got->result.accepted, w->accepted);
    for (uint32_t i = 0; i < w->accepted; i++) {
        assert_int_equal(got->tokens[w->valid + i], w->tokens[i]);
        assert_true(got->times[w->valid + i] == w->times[i] - w->zero);
    }
}

static void check_right(const toy_answer *got, const toy_answer *plain)
{
    assert_string_equal(got->text, "");
    assert_int_equal(got->status, LYNX_OK);
    assert_true(toy_answers_are_equal(got, plain));
    assert_int_equal(got->result.carried_other, 0);
}

static void make_options(lynx_run_options *o, const lynx_token *prompt, uint32_t count,
                         const char *codec, watch *w)
{
    lynx_run_options_init(o);
    o->prompt = prompt;
    o->prompt_tokens = count;
    o->ignore_end = true;
    o->branch_count_max = 0; /* they have a test of their own, second_choices_test.c */
    o->on_moment = on_moment;
    o->user = w;
    w->options = o;
    assert_int_equal(lynx_codec_spec_named(&o->spec, codec), LYNX_OK);
}

/* ---- over a source ------------------------------------------------------------------- */

/* ENOUGH: steps that all drafts and a pass over them take, and more. */
enum { STORED = 200, REST = 10, ENOUGH = 60 };

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
    make_options(&b->options, b->prompt, STORED + REST, codec, &b->seen);
    memory_source_make(&b->source, b->engine, b->prompt, STORED, &b->options.spec);
}

static void end(bed *b)
{
    memory_source_free(&b->source);
    lynx_engine_destroy(b->engine);
}

/* The second and the third plane come so many steps of this machine after those before them. */
static void run(bed *b, uint32_t steps)
{
    toy_run_stored(&b->plain, &b->got, b->engine, &b->source, STORED, steps, &b->options);
}

static void add(watch *sum, const watch *w)
{
    sum->reviews += w->reviews;
    sum->withdrawn += w->withdrawn;
    sum->kept_all += w->kept_all;
    sum->drafts_behind += w->drafts_behind;
    sum->accepted += w->accepted;
    sum->count += w->count;
}

/* All drafts are made before the second plane is here, and again before the third is. */
static void drafts_are_reviewed(void **state)
{
    watch sum = {0};
    (void)state;
    for (uint32_t round = 0; round < 8; round++) {
        bed b;
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        toy.can_refine = round & 1;
        toy.window_tokens = round & 2 ? 40 : 0;
        begin(&b, &toy, coarse, round);
        b.options.sampling.temperature = round & 4 ? 0.8F : 0;
        b.options.sampling.seed = round;
        run(&b, ENOUGH);
        check_right(&b.got, &b.plain);
        check_told(&b.seen, &b.got);
        if (b.seen.reviews)
            add(&sum, &b.seen);
        end(&b);
    }
    assert_true(sum.reviews > 0);
    assert_true(sum.withdrawn > 0);
    assert_true(sum.drafts_behind > 0);
    /* Six bits of eight, and no trace of what was withdrawn: most of them stand. */
    assert_true(3 * sum.accepted >= 2 * sum.count);
}

/* Some drafts are made, they stand, and more follow: in some round, as how many drafts there
 * are when the plane comes depends on the machine. */
static void drafts_that_stand_are_kept(void **state)
{
    watch sum = {0};
    (void)state;
    for (uint32_t round = 0; round < 256 && !(sum.kept_all && sum.drafts_behind); round++) {
        bed b;
        lx_toy_options toy;
        lynx_pace pace = {.step_ns = 1, .row_ns = 1}; /* there is time to draft */
        lx_toy_options_init(&toy);
        toy.step_ns = 4 * (uint32_t)ms;
        begin(&b, &toy, "range-3", round);
        b.options.pace = &pace;
        run(&b, 10);
        check_right(&b.got, &b.plain);
        check_told(&b.seen, &b.got);
        add(&sum, &b.seen);
        end(&b);
    }
    assert_true(sum.kept_all > 0);
    assert_true(sum.drafts_behind > 0);
}

/* Steps that are known to take longer than the rest: nothing is drafted, nor reviewed. */
static void the_rest_may_come_sooner(void **state)
{
    (void)state;
    for (int is_slow = 0; is_slow < 2; is_slow++) {
        uint32_t reviews = 0;
        /* Whether a plane comes between drafts depends on the machine. */
        for (uint32_t round = 0; round < 2 || (!is_slow && !reviews && round < 64); round++) {
            bed b;
            lx_toy_options toy;
            lynx_pace pace = {.step_ns = is_slow ? 1e15 : 1, .row_ns = 1};
            lx_toy_options_init(&toy);
            begin(&b, &toy, coarse, round);
            b.options.pace = &pace;
            run(&b, ENOUGH);
            check_right(&b.got, &b.plain);
            check_told(&b.seen, &b.got);
            assert_int_equal(b.got.result.drafted > 0, !is_slow);
            reviews += b.seen.reviews;
            end(&b);
        }
        assert_int_equal(reviews > 0, !is_slow);
    }
}

/* A mutation: what was reviewed is not yet what is right. */
static void reviews_do_not_stand_for_the_verification(void **state)
{
    uint32_t others = 0;
    (void)state;
    for (uint32_t round = 0; round < 40 && !others; round++) {
        bed b;
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        begin(&b, &toy, poor, round);
        b.options.skip_verify = b.seen.takes_drafts = true;
        run(&b, ENOUGH);
        assert_int_equal(b.got.status, LYNX_OK);
        others += b.seen.reviews && !toy_answers_are_equal(&b.got, &b.plain);
        end(&b);
    }
    assert_true(others > 0);
}

/* The source breaks behind a review: computed here, or kept as it is, marked so. */
static void losses_behind_a_review_are_made_good(void **state)
{
    uint32_t reviews = 0;
    (void)state;
    for (uint32_t round = 0; round < 4; round++) {
        const bool keeps = round & 1;
        bed b;
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        toy.can_refine = round & 2;
        begin(&b, &toy, coarse, round);
        b.source.fail_at = b.source.count - 3;
        b.seen.takes_drafts = keeps;
        b.options.on_loss = keeps ? LYNX_ON_LOSS_KEEP : LYNX_ON_LOSS_RECOMPUTE;
        run(&b, ENOUGH);
        assert_int_equal(b.got.status, LYNX_OK);
        assert_int_equal(b.got.result.is_unverified, keeps);
        assert_int_equal(b.got.result.is_recomputed, !keeps);
        assert_int_equal(b.got.result.token_count, TOY_ANSWER);
        if (!keeps)
            check_right(&b.got, &b.plain);
        reviews += b.seen.reviews;
        end(&b);
    }
    assert_true(reviews > 0);
}

/* ---- over a remote ------------------------------------------------------------------- */

/* Drafts begin behind the first token, or behind those that the prefill node chose before it
 * stopped. */
static void reviews_follow_what_is_valid(void **state)
{
    static const uint32_t bounds[] = {0, 1, 5, 9};
    watch sum = {0};
    (void)state;
    for (uint32_t round = 0; round < 8; round++) {
        toy_prefill p;
        toy_decode d;
        watch w = {0};
        lynx_token prompt[100];
        lynx_run_options o;
        toy_answer got, plain;
        toy_prefill_init(&p);
        p.rate = 1000000;
        p.options.carry_tokens_max = bounds[round % 4];
        toy_prefill_start(&p);
        toy_decode_init(&d, p.address);
        d.toy.can_refine = round & 4;
        toy_decode_open(&d);
        toy_prompt(prompt, 100, round);
        make_options(&o, prompt, 100, round % 2 ? poor : coarse, &w);
        o.method = round % 4 ? LYNX_METHOD_CARRY : LYNX_METHOD_SPECULATE;
        o.sampling.temperature = round / 3 % 2 ? 1.5F : 0;
        o.sampling.seed = round;
        o.digest_cache = true;
        toy_run(&got, d.engine, &d.handle, 1, &o);
        lynx_run_options local = o;
        local.on_moment = NULL;
        toy_want(&plain, d.engine, &local);
        toy_decode_finish(&d);
        toy_prefill_finish(&p);
        check_right(&got, &plain);
        check_told(&w, &got);
        assert_true(got.result.cache_digest == plain.result.cache_digest);
        assert_int_equal(w.valid, round % 4 > 1 ? bounds[round % 4] : 1);
        add(&sum, &w);
    }
    assert_true(sum.reviews > 0);
    assert_true(sum.withdrawn > 0);
    assert_true(sum.accepted > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drafts_are_reviewed),
        cmocka_unit_test(drafts_that_stand_are_kept),
        cmocka_unit_test(the_rest_may_come_sooner),
        cmocka_unit_test(reviews_do_not_stand_for_the_verification),
        cmocka_unit_test(losses_behind_a_review_are_made_good),
        cmocka_unit_test(reviews_follow_what_is_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
