/* SPDX-License-Identifier: MIT */
/* policy_test.c - which prefill node and method follow from which figures. */
#include "support/cmocka_all.h"

#include "engine/toy_engine.h"
#include "serve/policy.h"

static const lynx_time_ns second = 1000000000;
static const char *const names[] = {"first:1", "second:2", "third:3"};

enum { NODES = 3, PROMPT = 4000 };

typedef struct scene {
    lynx_engine *engine;
    lynx_codec_spec spec;
    lx_own_figures own;
    lx_question question;
    lynx_remote_status nodes[NODES];
    lynx_time_ns now;
    double cache_bytes;
    lx_choice choice;
} scene;

/* Prefills of 1 s there and 20 s here (as the passes say), a step of 20 ms, a link that takes
 * some 4 s for the planes. */
static void make(scene *s)
{
    lx_toy_options toy;
    lx_toy_options_init(&toy);
    *s = (scene){.now = 10000 * second};
    assert_int_equal(lx_toy_create(&s->engine, &toy, NULL), LYNX_OK);
    assert_int_equal(lynx_codec_spec_named(&s->spec, "range"), LYNX_OK);
    s->question = (lx_question){.shape = &s->engine->ops->model(s->engine)->shape,
                                .spec = &s->spec,
                                .prompt_tokens = PROMPT,
                                .answer_tokens_max = 200,
                                .draft_count_max = 62,
                                .busy = 1};
    lynx_plan_cache cache;
    assert_int_equal(lynx_plan_cache_of(&cache, s->question.shape, PROMPT, &s->spec, NULL),
                     LYNX_OK);
    s->cache_bytes = cache.raw_bytes;
    s->own = (lx_own_figures){.prefill_tokens = 100,
                              .prefill_s = 1,
                              .step_s = 0.02,
                              .row_s = 0.005,
                              .answer_tokens = 100};
    for (uint32_t i = 0; i < NODES; i++)
        s->nodes[i] = (lynx_remote_status){.is_connected = true,
                                           .link_bytes_per_s = 0.5 * cache.raw_bytes / 4,
                                           .prefill_tokens_per_s = 4000,
                                           .round_trip_s = 0.01,
                                           .carries = 2,
                                           .measured_at = s->now};
}

static void end(scene *s)
{
    lynx_engine_destroy(s->engine);
}

static const lx_choice *choose(scene *s, uint32_t count)
{
    lx_policy_choose_among(&s->own, &s->question, s->nodes, names, count, s->now, &s->choice);
    if (getenv("LYNX_LOG"))
        fprintf(stderr, "%s\n", s->choice.reason);
    return &s->choice;
}

static void assert_choice(scene *s, uint32_t count, lynx_method method, lx_fallback fallback,
                          const char *words)
{
    const lx_choice *c = choose(s, count);
    assert_int_equal(c->method, method);
    assert_int_equal(c->fallback, fallback);
    if (!strstr(c->reason, words))
        fail_msg("no '%s' in '%s'", words, c->reason);
}

static void the_quickest_method_is_used(void **state)
{
    (void)state;
    scene s;
    make(&s);
    assert_choice(&s, 1, LYNX_METHOD_SPECULATE, LX_FALLBACK_NONE, "by drafting");
    assert_int_equal(s.choice.count, 1);
    assert_true(s.choice.deadline_ns == 0);
    const double link = s.nodes[0].link_bytes_per_s;
    s.nodes[0].link_bytes_per_s = 1e5 * link; /* all is here at once: drafting costs a pass */
    s.own.row_s = 0.1;
    s.own.misses = 50;
    assert_choice(&s, 1, LYNX_METHOD_WAIT, LX_FALLBACK_NONE, "by waiting for the cache");
    s.own.row_s = 0.005;
    s.own.misses = 0;
    s.nodes[0].link_bytes_per_s = link / 100;
    assert_choice(&s, 1, LYNX_METHOD_LOCAL_FULL, LX_FALLBACK_SLOWER, "by prefilling here");
    assert_int_equal(s.choice.count, 0);
    /* As quick a prefill here as there. */
    s.nodes[0].link_bytes_per_s = link;
    s.own.prefill_tokens = 4000;
    assert_choice(&s, 1, LYNX_METHOD_LOCAL_FULL, LX_FALLBACK_SLOWER, "4000 here");
    /* Eight slots share it. */
    s.question.busy = 8;
    assert_choice(&s, 1, LYNX_METHOD_SPECULATE, LX_FALLBACK_NONE, "500 here");
    end(&s);
}

static void a_prefill_node_without_work_may_carry_on(void **state)
{
    (void)state;
    scene s;
    make(&s);
    s.nodes[0].carries = 1;
    assert_choice(&s, 1, LYNX_METHOD_CARRY, LX_FALLBACK_NONE, "to see how quickly it does");
    s.nodes[0].carries = 2;
    assert_choice(&s, 1, LYNX_METHOD_SPECULATE, LX_FALLBACK_NONE, "by drafting");
    s.nodes[0].step_s = 0.01;
    assert_choice(&s, 1, LYNX_METHOD_CARRY, LX_FALLBACK_NONE,
                  "while the prefill node carries on");
    /* Not while it works for another request of ours, nor when its steps are slow. */
    s.nodes[0].requests = 1;
    assert_int_equal(choose(&s, 1)->method, LYNX_METHOD_SPECULATE);
    s.nodes[0].requests = 0;
    s.nodes[0].step_s = 1;
    assert_int_equal(choose(&s, 1)->method, LYNX_METHOD_SPECULATE);
    /* Nothing to see in the time of a step or two. */
    s.nodes[0].step_s = 0;
    s.nodes[0].carries = 0;
    s.nodes[0].link_bytes_per_s *= 1000;
    assert_int_not_equal(choose(&s, 1)->method, LYNX_METHOD_CARRY);
    end(&s);
}

static void what_was_not_measured_uses_lynx(void **state)
{
    (void)state;
    scene s;
    make(&s);
    const scene whole = s;
    double *const figures[] = {&s.nodes[0].link_bytes_per_s, &s.nodes[0].prefill_tokens_per_s,
                               &s.own.step_s};
    for (size_t i = 0; i < sizeof(figures) / sizeof(*figures); i++) {
        s = whole;
        s.nodes[0].link_bytes_per_s /= 1000;
        *figures[i] = 0;
        assert_choice(&s, 1, LYNX_METHOD_SPECULATE, LX_FALLBACK_NONE,
                      "too little is known yet of the prefill node first:1");
    }
    s = whole;
    s.nodes[0].is_connected = false;
    assert_choice(&s, 1, LYNX_METHOD_SPECULATE, LX_FALLBACK_NONE,
                  "the prefill node first:1 is being connected");
    /* This node's own prefill is not known, nor a pass that would tell: it is no candidate. */
    s = whole;
    s.nodes[0].link_bytes_per_s /= 1000;
    s.own.prefill_s = s.own.row_s = 0;
    assert_int_equal(choose(&s, 1)->fallback, LX_FALLBACK_NONE);
    assert_null(strstr(s.choice.reason, " here"));
    s.own.row_s = 0.005;
    assert_int_equal(choose(&s, 1)->fallback, LX_FALLBACK_SLOWER);
    end(&s);
}

static void the_request_may_say_how(void **state)
{
    (void)state;
    scene s;
    make(&s);
    s.nodes[0].link_bytes_per_s /= 1000;
    s.question.is_forced = true;
    s.question.method = LYNX_METHOD_WAIT;
    assert_choice(&s, 2, LYNX_METHOD_WAIT, LX_FALLBACK_NONE, "the request asked for it");
    assert_int_equal(s.choice.count, 2);
    assert_int_equal(s.choice.order[0], 1);
    s.question.method = LYNX_METHOD_LOCAL_FULL;
    assert_int_equal(choose(&s, 2)->count, 0);
    s.question.is_forced = false;
    assert_choice(&s, 0, LYNX_METHOD_LOCAL, LX_FALLBACK_NONE, "there is no prefill node");
    end(&s);
}

static void assert_order(scene *s, uint32_t a, uint32_t b, uint32_t c)
{
    choose(s, NODES);
    assert_int_equal(s->choice.count, NODES);
    assert_int_equal(s->choice.order[0], a);
    assert_int_equal(s->choice.order[1], b);
    assert_int_equal(s->choice.order[2], c);
}

static void nodes_go_by_the_time_that_is_expected(void **state)
{
    (void)state;
    scene s;
    make(&s);
    const scene whole = s;
    assert_order(&s, 0, 1, 2);
    s.nodes[0].link_bytes_per_s /= 2;
    s.nodes[2].link_bytes_per_s *= 2;
    assert_order(&s, 2, 1, 0);
    s = whole;
    s.nodes[0].prefill_tokens_per_s /= 8;
    s.nodes[1].wait_s = 3;
    assert_order(&s, 2, 1, 0);
    /* Load: what is under way to it and what it has to prefill first. */
    s = whole;
    s.nodes[0].cache_bytes_due[0] = s.nodes[0].cache_bytes_due[1] = (uint64_t)s.cache_bytes;
    s.nodes[1].tokens_due = 2 * PROMPT;
    assert_order(&s, 2, 1, 0);
    s.nodes[0].cache_bytes_due[0] = s.nodes[0].cache_bytes_due[1] = 0;
    assert_order(&s, 0, 2, 1);
    /* One that is not known is tried, where fewest requests are. */
    s = whole;
    s.nodes[1].link_bytes_per_s = s.nodes[2].link_bytes_per_s = 0;
    s.nodes[1].requests = 1;
    assert_order(&s, 2, 1, 0);
    end(&s);
}

static void nodes_that_are_away_come_last(void **state)
{
    (void)state;
    scene s;
    make(&s);
    s.nodes[0].is_given_up = true;
    s.nodes[0].is_connected = false;
    s.nodes[1].is_connected = false;
    s.nodes[1].link_bytes_per_s *= 100;
    assert_order(&s, 2, 1, 0);
    snprintf(s.nodes[2].text, sizeof(s.nodes[2].text), "it has no memory");
    s.nodes[2].failures = 1;
    s.nodes[2].failed_at = s.now - second / 2;
    assert_order(&s, 1, 2, 0);
    s.now += second;
    assert_order(&s, 2, 1, 0);
    /* The more often it failed, the longer it is left alone, up to a minute. */
    for (uint32_t failures = 2; failures < 70; failures++) {
        const lynx_time_ns pause = failures < 7 ? second << (failures - 1) : 60 * second;
        s.nodes[2].failures = failures;
        s.nodes[2].failed_at = s.now - pause + second / 10;
        assert_order(&s, 1, 2, 0);
        s.nodes[2].failed_at = s.now - pause - second / 10;
        assert_order(&s, 2, 1, 0);
    }
    end(&s);
}

static void without_a_node_that_works_it_is_computed_here(void **state)
{
    (void)state;
    scene s;
    make(&s);
    s.nodes[0].is_given_up = true;
    s.nodes[0].failed_at = s.now - 7 * second;
    snprintf(s.nodes[0].text, sizeof(s.nodes[0].text), "connection refused");
    assert_choice(&s, 1, LYNX_METHOD_LOCAL_FULL, LX_FALLBACK_UNREACHABLE,
                  "no prefill node is connected (first:1 since 7 s: connection refused)");
    s.nodes[0].is_given_up = false;
    s.nodes[0].failures = 4;
    assert_choice(&s, 1, LYNX_METHOD_LOCAL_FULL, LX_FALLBACK_FAILING,
                  "every prefill node failed a moment ago");
    s.now += 2 * second;
    assert_int_equal(choose(&s, 1)->method, LYNX_METHOD_SPECULATE);
    end(&s);
}

/* A link that was measured in a bad moment is not left for ever. */
static void old_figures_are_tried_anew(void **state)
{
    (void)state;
    scene s;
    make(&s);
    s.nodes[0].link_bytes_per_s /= 100;
    assert_int_equal(choose(&s, 1)->method, LYNX_METHOD_LOCAL_FULL);
    uint32_t minutes = 0;
    while (choose(&s, 1)->method == LYNX_METHOD_LOCAL_FULL) {
        s.now += 60 * second;
        assert_true(++minutes < 12);
    }
    assert_in_range(minutes, 3, 9);
    assert_true(s.choice.is_trial);
    assert_int_equal(s.choice.order[0], 0);
    /* What it may take: twice the time that it takes here. */
    assert_in_range(s.choice.deadline_ns, 40 * second, 100 * second);
    assert_non_null(strstr(s.choice.reason, "tried anew"));
    /* Nearly as good: no trial, no deadline. */
    s.nodes[0].link_bytes_per_s *= 100;
    choose(&s, 1);
    assert_false(s.choice.is_trial);
    assert_true(s.choice.deadline_ns == 0);
    /* The same among nodes. */
    s.nodes[0].link_bytes_per_s /= 100;
    s.nodes[1].measured_at = s.now;
    assert_int_equal(choose(&s, 2)->order[0], 1);
    s.now += 120 * second;
    s.nodes[1].measured_at = s.now;
    while (choose(&s, 2)->order[0] == 1) {
        s.now += 60 * second;
        s.nodes[1].measured_at = s.now;
        assert_true(++minutes < 20);
    }
    assert_true(s.choice.is_trial);
    assert_true(s.choice.deadline_ns < 20 * second);
    end(&s);
}

static void answers_renew_the_figures(void **state)
{
    (void)state;
    lx_policy policy;
    lx_policy_init(&policy);
    lx_own_figures own = lx_policy_own(&policy);
    assert_true(lx_own_prefill_rate(&own) == 0);
    assert_float_equal(lx_own_stands(&own), 0.9, 1e-9);
    lx_policy_note(&policy, &(lx_seen){.prefill_tokens = 1000,
                                       .prefill_ns = 10 * second,
                                       .busy = 2,
                                       .step_ns = second / 50,
                                       .draft_ns = second / 100,
                                       .drafted = 10,
                                       .accepted = 10,
                                       .cache_bytes = 1000000,
                                       .decode_cache_ns = second / 10,
                                       .answer_tokens = 40});
    own = lx_policy_own(&policy);
    assert_float_equal(lx_own_prefill_rate(&own), 200, 0.001);
    assert_float_equal(own.step_s, 0.02, 1e-9);
    assert_float_equal(own.draft_s, 0.01, 1e-9);
    assert_float_equal(own.answer_tokens, 40, 1e-9);
    assert_true(own.decode_bytes / own.decode_s > 9.99e6);
    assert_true(lx_own_stands(&own) > 0.94);
    /* What was not seen changes nothing. */
    lx_policy_note(&policy, &(lx_seen){0});
    const lx_own_figures same = lx_policy_own(&policy);
    assert_memory_equal(&same, &own, sizeof(own));
    /* Passes may tell a better rate. */
    lx_policy_note(&policy, &(lx_seen){.row_ns = 1000000});
    own = lx_policy_own(&policy);
    assert_float_equal(lx_own_prefill_rate(&own), 64.0F / 0.083F, 0.001);
    for (int i = 0; i < 20; i++)
        lx_policy_note(&policy,
                       &(lx_seen){.drafted = 8, .accepted = 0, .step_ns = second / 10});
    own = lx_policy_own(&policy);
    assert_true(lx_own_stands(&own) < 0.7);
    assert_true(own.step_s > 0.09);
    lx_policy_fini(&policy);
}

/* ---- a stored beginning ------------------------------------------------------------------ */

static void a_stored_beginning_is_loaded_where_it_pays(void **state)
{
    lx_policy policy;
    lx_stored stored = {.prompt_tokens = 1000,
                        .stored_tokens = 900,
                        .bytes = 9000000,
                        .busy = 1};
    (void)state;
    lx_policy_init(&policy);
    /* Nothing is known: it is tried. */
    assert_int_equal(lx_policy_choose_stored(&policy, &stored), LX_STORED_ALONE);
    stored.stored_tokens = 500;
    /* 100 tokens and 10 MB a second. */
    const lx_seen seen = {.prefill_tokens = 100,
                          .prefill_ns = 1000000000,
                          .busy = 1,
                          .store_bytes = 10000000,
                          .store_ns = 1000000000};
    lx_policy_note(&policy, &seen);
    assert_int_equal(lx_policy_choose_stored(&policy, &stored), LX_STORED_ALONE);
    stored.bytes = 60000000; /* 6 s, where the rest takes 5 s and the beginning, too */
    assert_int_equal(lx_policy_choose_stored(&policy, &stored), LX_STORED_NOT);
    stored.stored_tokens = 700; /* 6 s, 3 s and 7 s; a figure that was doubted is 4.8 s */
    assert_int_equal(lx_policy_choose_stored(&policy, &stored), LX_STORED_ALONE);
    /* A prefill node is quicker. */
    stored.otherwise_s = 4;
    assert_int_equal(lx_policy_choose_stored(&policy, &stored), LX_STORED_NOT);
    stored.otherwise_s = 20;
    assert_int_equal(lx_policy_choose_stored(&policy, &stored), LX_STORED_ALONE);
    /* One need not send what is stored. A figure that was doubted twice is 3.84 s, and what is
     * behind takes 3 s here. */
    stored.has_helpers = true;
    stored.helped_s = 6;
    assert_int_equal(lx_policy_choose_stored(&policy, &stored), LX_STORED_HELPED);
    stored.helped_s = 7;
    assert_int_equal(lx_policy_choose_stored(&policy, &stored), LX_STORED_ALONE);
    stored.helped_s = 0; /* not known: it is asked if there is much to compute */
    assert_int_equal(lx_policy_choose_stored(&policy, &stored), LX_STORED_HELPED);
    stored.stored_tokens = 900;
    assert_int_equal(lx_policy_choose_stored(&policy, &stored), LX_STORED_ALONE);
    stored.stored_tokens = 700;
    stored.helped_s = 3.4; /* all pages are here before the store has read its own */
    stored.otherwise_s = 3.5;
    assert_int_equal(lx_policy_choose_stored(&policy, &stored), LX_STORED_NOT);
    stored.has_helpers = false;
    stored.otherwise_s = 20;
    /* A slow store is tried again some time. */
    stored.bytes = 1000000000;
    uint32_t refusals = 0;
    while (lx_policy_choose_stored(&policy, &stored) == LX_STORED_NOT && refusals < 100)
        refusals++;
    assert_in_range(refusals, 5, 30);
    lx_policy_fini(&policy);
}

static void a_node_need_not_send_what_is_stored(void **state)
{
    (void)state;
    scene s;
    make(&s);
    assert_int_equal(choose(&s, 1)->helpers, 0);
    s.question.held_tokens = PROMPT / 4 * 3;
    const lx_choice *c = choose(&s, 2);
    assert_int_equal(c->helpers, 2);
    assert_int_equal(c->helped_by, LYNX_METHOD_SPECULATE);
    assert_true(c->helped_s > 0 && c->helped_s < 0.7 * c->expected_s);
    /* What is too slow for all pages may do for some. */
    s.nodes[0].link_bytes_per_s /= 100;
    c = choose(&s, 1);
    assert_int_equal(c->method, LYNX_METHOD_LOCAL_FULL);
    assert_int_equal(c->helpers, 1);
    assert_true(c->helped_s > 10);
    /* All is here at once. */
    s.nodes[0].link_bytes_per_s *= 1e7;
    assert_int_equal(choose(&s, 1)->helped_by, LYNX_METHOD_WAIT);
    s.question.is_forced = true;
    s.question.method = LYNX_METHOD_SPECULATE;
    assert_int_equal(choose(&s, 1)->helped_by, LYNX_METHOD_SPECULATE);
    s.question.is_forced = false;
    s.nodes[0].prefill_tokens_per_s = 0;
    c = choose(&s, 1);
    assert_int_equal(c->helpers, 1);
    assert_true(c->helped_s == 0);
    s.nodes[0].is_given_up = true;
    assert_int_equal(choose(&s, 1)->helpers, 0);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_quickest_method_is_used),
        cmocka_unit_test(a_prefill_node_without_work_may_carry_on),
        cmocka_unit_test(what_was_not_measured_uses_lynx),
        cmocka_unit_test(the_request_may_say_how),
        cmocka_unit_test(nodes_go_by_the_time_that_is_expected),
        cmocka_unit_test(nodes_that_are_away_come_last),
        cmocka_unit_test(without_a_node_that_works_it_is_computed_here),
        cmocka_unit_test(old_figures_are_tried_anew),
        cmocka_unit_test(answers_renew_the_figures),
        cmocka_unit_test(a_stored_beginning_is_loaded_where_it_pays),
        cmocka_unit_test(a_node_need_not_send_what_is_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
