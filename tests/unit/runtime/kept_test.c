/* SPDX-License-Identifier: MIT */
/*
 * kept_test.c - what a run hands out to be kept is what its answer stands on: who loads it
 * later answers in the same way, however the first run came by it.
 */
#include <string.h>

#include "lynx/gather.h"
#include "support/cmocka_all.h"
#include "support/memory_source.h"
#include "support/store_bed.h"
#include "support/toy_nodes.h"

enum { PAGE = 32 };

typedef struct bed {
    store_bed store;
    lynx_gather *gather; /* of the run; may be NULL */
    uint32_t lost;
} bed;

static void on_page(void *user, lynx_page_id page, uint32_t token_count,
                    const lynx_bytes *planes, uint32_t plane_count)
{
    bed *b = user;
    if (b->gather)
        lynx_gather_add(b->gather, page, token_count, planes, plane_count);
}

static void on_moment(void *user, const lynx_moment *m)
{
    bed *b = user;
    b->lost += m->type == LYNX_MOMENT_LOST;
    if (m->type == LYNX_MOMENT_LOST && b->gather)
        assert_int_equal(lynx_gather_restart(b->gather), LYNX_OK);
}

static void begin(bed *b, uint32_t window, bool can_refine)
{
    lx_toy_options toy;
    lx_toy_options_init(&toy);
    toy.window_tokens = window;
    toy.can_refine = can_refine;
    b->gather = NULL;
    b->lost = 0;
    store_bed_begin(&b->store, &toy, "paper", NULL); /* coarse: another cache, other tokens */
}

static void begin_gather(bed *b, uint32_t first, uint32_t end)
{
    lynx_gather_options options;
    lynx_gather_options_init(&options);
    options.model = b->store.engine->ops->model(b->store.engine);
    options.spec = b->store.spec;
    options.tokens = b->store.tokens;
    options.first_token = first;
    options.end_token = end;
    assert_int_equal(lynx_gather_create(&b->gather, &options), LYNX_OK);
}

static void put(bed *b)
{
    char text[LYNX_PLACE_TEXT_MAX] = "";
    lynx_gathered written;
    assert_true(lynx_gather_is_whole(b->gather));
    assert_int_equal(lynx_gather_put(b->gather, b->store.store, &written, text, sizeof(text)),
                     LYNX_OK);
    lynx_gather_destroy(b->gather);
    b->gather = NULL;
}

static lynx_run_options options_of(bed *b, lynx_method method, uint32_t prompt)
{
    lynx_run_options options;
    lynx_run_options_init(&options);
    options.method = method;
    options.prompt = b->store.tokens;
    options.prompt_tokens = prompt;
    options.ignore_end = true;
    options.spec = b->store.spec;
    options.on_page = on_page;
    options.on_moment = on_moment;
    options.user = b;
    return options;
}

/* Compute all of it and keep the first 'kept' tokens. */
static void run_plain(bed *b, uint32_t prompt, uint32_t kept, toy_answer *answer)
{
    lynx_run_options options = options_of(b, LYNX_METHOD_LOCAL_FULL, prompt);
    options.cached_tokens = options.kept_tokens = kept;
    toy_run(answer, b->store.engine, NULL, 0, &options);
    assert_int_equal(answer->status, LYNX_OK);
}

static lynx_source *find(bed *b, uint32_t prompt)
{
    char text[LYNX_PLACE_TEXT_MAX] = "";
    lynx_source *source = NULL;
    assert_int_equal(lynx_store_find(b->store.store,
                                     b->store.engine->ops->model(b->store.engine),
                                     &b->store.spec, b->store.tokens, prompt, &source, text,
                                     sizeof(text)),
                     LYNX_OK);
    assert_non_null(source);
    return source;
}

/* On what the store has, which must be 'stored' tokens. */
static void run_stored(bed *b, lynx_method method, uint32_t prompt, uint32_t stored,
                       uint32_t kept, toy_answer *answer)
{
    lynx_run_options options = options_of(b, method, prompt);
    options.source = find(b, prompt);
    options.kept_tokens = kept;
    assert_int_equal(options.source->ops->prefix(options.source)->token_count, stored);
    toy_run(answer, b->store.engine, NULL, 0, &options);
    lynx_source_destroy(options.source);
    assert_int_equal(answer->status, LYNX_OK);
    assert_false(answer->result.is_recomputed);
    assert_int_equal(answer->result.computed_tokens, prompt - stored);
}

/* Ask, ask again, go on with the conversation, ask that again. */
static void ask_four_times(uint32_t way)
{
    const lynx_method method = way & 1 ? LYNX_METHOD_WAIT : LYNX_METHOD_SPECULATE;
    toy_answer first, second, third, fourth;
    bed b;
    begin(&b, way & 2 ? 40 : 0, way & 4);
    begin_gather(&b, 0, 4 * PAGE);
    run_plain(&b, 150, 4 * PAGE, &first);
    put(&b);
    run_stored(&b, method, 150, 4 * PAGE, 0, &second);
    assert_true(toy_answers_are_equal(&first, &second));

    begin_gather(&b, 4 * PAGE, 9 * PAGE);
    run_stored(&b, method, 300, 4 * PAGE, 9 * PAGE, &third);
    put(&b);
    run_stored(&b, method, 300, 9 * PAGE, 0, &fourth);
    assert_true(toy_answers_are_equal(&third, &fourth));
    assert_int_equal(store_bed_verify(&b.store), 0);
    store_bed_end(&b.store);
}

static void answers_stand_on_what_is_kept(void **state)
{
    (void)state;
    for (uint32_t way = 0; way < 8; way++)
        ask_four_times(way);
}

/* The end of a document lies anywhere. */
static void kept_ends_need_no_whole_page(void **state)
{
    toy_answer first, second;
    bed b;
    (void)state;
    begin(&b, 0, true);
    begin_gather(&b, 0, 141);
    run_plain(&b, 150, 141, &first);
    put(&b);
    run_stored(&b, LYNX_METHOD_SPECULATE, 150, 141, 0, &second);
    assert_true(toy_answers_are_equal(&first, &second));
    store_bed_end(&b.store);
}

/* Whatever breaks while it is loaded: the same answer, and what is handed out makes it good. */
static void what_is_lost_is_kept_again(void **state)
{
    (void)state;
    for (uint32_t way = 0; way < 2; way++) {
        toy_answer first, want, got;
        memory_source source;
        bed b;
        begin(&b, way ? 40 : 0, true);
        begin_gather(&b, 0, 4 * PAGE);
        run_plain(&b, 150, 4 * PAGE, &first);
        put(&b);
        run_stored(&b, LYNX_METHOD_WAIT, 300, 4 * PAGE, 9 * PAGE, &want);

        memory_source_make(&source, b.store.engine, b.store.tokens, 4 * PAGE, &b.store.spec);
        for (size_t at = 0; at < source.count; at += source.count / 3) {
            memory_source_rewind(&source);
            source.fail_at = at;
            source.failure = LYNX_ERR_CORRUPT;
            lynx_run_options options = options_of(&b, LYNX_METHOD_SPECULATE, 300);
            options.source = &source.base;
            options.kept_tokens = 9 * PAGE;
            begin_gather(&b, 4 * PAGE, 9 * PAGE);
            b.lost = 0;
            toy_run(&got, b.store.engine, NULL, 0, &options);
            assert_int_equal(got.status, LYNX_OK);
            assert_int_equal(b.lost, 1);
            assert_true(got.result.is_recomputed);
            assert_true(toy_answers_are_equal(&want, &got));
            assert_true(lynx_gather_is_whole(b.gather));
            lynx_gather_destroy(b.gather);
            b.gather = NULL;
        }
        memory_source_free(&source);
        store_bed_end(&b.store);
    }
}

/* Pages that a prefill node sent. */
static void pages_over_a_link_are_kept(void **state)
{
    toy_prefill prefill;
    toy_decode decode;
    toy_answer sent, want, got;
    bed b;
    (void)state;
    begin(&b, 40, true);
    toy_prefill_init(&prefill);
    prefill.toy.window_tokens = 40;
    toy_prefill_start(&prefill);
    toy_decode_init(&decode, prefill.address);
    decode.toy.window_tokens = 40;
    toy_decode_open(&decode);
    run_plain(&b, 290, 9 * PAGE, &want);

    lynx_run_options options = options_of(&b, LYNX_METHOD_SPECULATE, 290);
    options.kept_tokens = 9 * PAGE;
    begin_gather(&b, 0, 9 * PAGE);
    toy_run(&sent, decode.engine, &decode.handle, 1, &options);
    assert_int_equal(sent.status, LYNX_OK);
    put(&b);
    run_stored(&b, LYNX_METHOD_SPECULATE, 290, 9 * PAGE, 0, &got);
    assert_true(toy_answers_are_equal(&want, &got));
    toy_decode_finish(&decode);
    toy_prefill_finish(&prefill);
    store_bed_end(&b.store);
}

static void more_than_the_prompt_cannot_be_kept(void **state)
{
    toy_answer answer;
    bed b;
    (void)state;
    begin(&b, 0, true);
    lynx_run_options options = options_of(&b, LYNX_METHOD_LOCAL_FULL, 100);
    options.kept_tokens = 100;
    toy_run(&answer, b.store.engine, NULL, 0, &options);
    assert_int_equal(answer.status, LYNX_ERR_ARGUMENT);
    store_bed_end(&b.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_stand_on_what_is_kept),
        cmocka_unit_test(kept_ends_need_no_whole_page),
        cmocka_unit_test(what_is_lost_is_kept_again),
        cmocka_unit_test(pages_over_a_link_are_kept),
        cmocka_unit_test(more_than_the_prompt_cannot_be_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
