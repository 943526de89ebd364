/* SPDX-License-Identifier: MIT */
/*
 * held_pages_test.c - runs over a prefill node whose first pages are stored on the decode node:
 * only the others are sent, and the tokens are those of the cache that both make, whatever came
 * when, and whatever broke.
 */
#include <string.h>

#include "runtime/page_pass.h"
#include "support/cmocka_all.h"
#include "support/memory_source.h"
#include "support/toy_nodes.h"

enum { PAGE_HEAD = 72 /* bytes of a PAGE frame before its chunk */ };

static const uint64_t ms = 1000000;

typedef struct bed {
    toy_prefill prefill;
    toy_decode decode;
    memory_source source;
    lynx_token prompt[TOY_PROMPT_MAX];
    uint32_t held; /* tokens of whole pages that are stored */
    lynx_run_options options;
    toy_answer plain, got;
    uint64_t came; /* planes of pages that are not held */
    uint32_t lost, lost_sources;
    char lost_text[LYNX_TEXT_MAX];
} bed;

static void on_moment(void *user, const lynx_moment *m)
{
    bed *b = user;
    b->came +=
        m->type == LYNX_MOMENT_PLANE && m->page.page >= b->held / b->decode.toy.page_tokens;
    if (m->type != LYNX_MOMENT_LOST)
        return;
    b->lost++;
    b->lost_sources += m->is_source;
    snprintf(b->lost_text, sizeof(b->lost_text), "%s", m->text);
}

static lynx_codec_spec named(const char *codec)
{
    lynx_codec_spec spec;
    assert_int_equal(lynx_codec_spec_named(&spec, codec), LYNX_OK);
    return spec;
}

/* A prompt of 'stored' tokens, kept in 'stored_codec', and 'rest' others. */
static void begin(bed *b, const lx_toy_options *toy, const char *codec,
                  const char *stored_codec, uint32_t stored, uint32_t rest)
{
    const lynx_codec_spec spec = lynx_codec_spec_storable(named(stored_codec));
    memset(b, 0, sizeof(*b));
    toy_prefill_init(&b->prefill);
    b->prefill.toy = *toy;
    toy_prefill_start(&b->prefill);
    toy_decode_init(&b->decode, b->prefill.address);
    b->decode.toy = *toy;
    toy_decode_open(&b->decode);
    toy_prompt(b->prompt, stored + rest, stored);
    lynx_run_options_init(&b->options);
    b->options.prompt = b->prompt;
    b->options.prompt_tokens = stored + rest;
    b->options.ignore_end = true;
    b->options.digest_cache = true;
    b->options.spec = named(codec);
    toy_want(&b->plain, b->decode.engine, &b->options);
    b->options.on_moment = on_moment;
    b->options.user = b;
    memory_source_make(&b->source, b->decode.engine, b->prompt, stored, &spec);
    b->options.source = &b->source.base;
    b->held = stored - stored % toy->page_tokens;
}

static void end(bed *b)
{
    assert_int_equal(b->source.held, 0);
    toy_decode_finish(&b->decode);
    toy_prefill_finish(&b->prefill);
    memory_source_free(&b->source);
}

static void run(bed *b)
{
    toy_run(&b->got, b->decode.engine, &b->decode.handle, 1, &b->options);
    assert_int_equal(b->source.held, 0);
}

static void check_right(bed *b, uint32_t held)
{
    assert_string_equal(b->got.text, "");
    assert_int_equal(b->got.status, LYNX_OK);
    assert_true(toy_answers_are_equal(&b->got, &b->plain));
    assert_int_equal(b->got.result.cache_digest, b->plain.result.cache_digest);
    assert_int_equal(b->got.result.held_tokens, held);
    assert_int_equal(b->got.result.computed_tokens, 0);
    assert_false(b->got.result.is_recomputed);
}

/* Planes of the pages behind the held ones: their number and bytes. */
static uint64_t planes_behind(bed *b, uint64_t *bytes)
{
    memory_source whole;
    uint64_t count = 0;
    const uint32_t page_tokens = b->decode.toy.page_tokens;
    *bytes = 0;
    memory_source_make(&whole, b->decode.engine, b->prompt, b->options.prompt_tokens,
                       &b->options.spec);
    for (size_t i = 0; i < whole.count; i++)
        if (whole.planes[i].page.page >= b->held / page_tokens) {
            *bytes += whole.planes[i].bytes.size;
            count++;
        }
    memory_source_free(&whole);
    return count;
}

/* The planes behind the held pages came, and on the wire was nothing else: on a slow machine a
 * plane has many chunks, each with its head. */
static void check_sent(bed *b)
{
    const lynx_session_counters counters = lynx_remote_counters(b->decode.handle);
    uint64_t bytes, received = 0;
    const uint64_t count = planes_behind(b, &bytes);
    for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
        received += counters.plane_bytes_received[i];
    if (b->held)
        assert_int_equal(b->came, count);
    assert_true(received >= bytes + PAGE_HEAD * count);
    assert_int_equal((received - bytes) % PAGE_HEAD, 0);
}

/* F-69, F-71: the stored pages are those that would have been sent. */
static void only_the_rest_is_sent(void **state)
{
    static const uint32_t lengths[][2] = {{31, 1}, {32, 1},   {33, 40},  {200, 1},
                                          {95, 7}, {64, 200}, {300, 70}, {352, 3}};
    static const char *const codecs[] = {"range", "range44", "range-3", "paper", "int8", "raw"};
    static const lynx_method methods[] = {LYNX_METHOD_SPECULATE, LYNX_METHOD_WAIT,
                                          LYNX_METHOD_CARRY, LYNX_METHOD_TOKENS};
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++)
        for (size_t way = 0; way < 4; way++) {
            const char *codec = codecs[(i + way) % (sizeof(codecs) / sizeof(*codecs))];
            bed b;
            lx_toy_options toy;
            lx_toy_options_init(&toy);
            toy.can_refine = way & 1;
            toy.window_tokens = (i + way) & 2 ? 40 : 0;
            begin(&b, &toy, codec, codec, lengths[i][0], lengths[i][1]);
            b.options.method = methods[way];
            if (way == 3) { /* no page comes at all */
                toy_want(&b.plain, b.decode.engine, &b.options);
                b.plain.result.cache_digest = 0;
            }
            b.source.residual_ns = i % 3 == 0 ? 5 * ms : 0;
            run(&b);
            const bool is_carried =
                way == 2 && !b.held; /* the answer may come before the cache */
            if (is_carried)
                b.got.result.cache_digest = b.plain.result.cache_digest;
            check_right(&b, way == 3 ? 0 : b.held);
            if (way < 3 && !is_carried)
                check_sent(&b);
            assert_int_equal(b.lost, 0);
            end(&b);
        }
}

/* The cache that stored pages and sent ones make, and plain decoding on it. */
static void want_both(bed *b, toy_answer *want)
{
    lynx_engine *e = b->decode.engine;
    const lynx_engine_ops *ops = e->ops;
    const lynx_shape *shape = &ops->model(e)->shape;
    const uint32_t count = b->options.prompt_tokens;
    lynx_token history[TOY_PROMPT_MAX + TOY_ANSWER];
    lx_page_pass passes[2];
    memcpy(history, b->prompt, count * sizeof(*history));
    assert_int_equal(ops->prefill(e, b->prompt, count, NULL, NULL), LYNX_OK);
    for (uint32_t i = 0; i < TOY_ANSWER; i++) {
        if (i > 0)
            assert_int_equal(ops->step(e, history[count + i - 1]), LYNX_OK);
        assert_int_equal(ops->sample(e, 0, &b->options.sampling, history, count, count + i,
                                     &want->tokens[i]),
                         LYNX_OK);
        history[count + i] = want->tokens[i];
        if (i > 0)
            continue;
        assert_int_equal(lx_page_pass_init(&passes[0], e, &b->source.about.spec, NULL, NULL),
                         LYNX_OK);
        assert_int_equal(lx_page_pass_init(&passes[1], e, &b->options.spec, NULL, NULL),
                         LYNX_OK);
        for (uint32_t page = 0; page < lynx_shape_page_count(shape, count); page++)
            for (uint32_t place = 0; place < 2 * shape->layer_count; place++) {
                const lynx_page_id id = {page, (uint16_t)(place / 2), (uint8_t)(place % 2)};
                lx_page_pass *pass = &passes[page >= b->held / shape->page_tokens];
                lynx_bytes planes[LYNX_PLANES_MAX];
                if (!lynx_page_is_needed(shape, id, count))
                    continue;
                assert_int_equal(lx_page_encode(pass, id, count), LYNX_OK);
                for (uint32_t p = 0; p < pass->plane_count; p++)
                    planes[p] = (lynx_bytes){pass->coder.planes[p], pass->coder.plane_bytes[p]};
                assert_int_equal(lx_page_decode(pass, id, count, planes, pass->plane_count),
                                 LYNX_OK);
            }
        assert_int_equal(ops->commit_pages(e), LYNX_OK);
        assert_int_equal(lx_page_pass_digest(&passes[0], count, &want->result.cache_digest),
                         LYNX_OK);
        lx_page_pass_fini(&passes[0]);
        lx_page_pass_fini(&passes[1]);
    }
    want->result.token_count = TOY_ANSWER;
}

/* F-71: stored pages may have another codec, with more planes or fewer; raw tokens at the end
 * of the prompt do not reach into them. */
static void codecs_may_differ(void **state)
{
    static const char *const codecs[][2] = {{"range", "int8"},         {"range-3", "int8"},
                                            {"int8", "range"},         {"range44", "range-3"},
                                            {"int8", "range-3"},       {"range-3", "range44"},
                                            {"range:tail=64", "range"}};
    (void)state;
    for (size_t i = 0; i < 2 * sizeof(codecs) / sizeof(*codecs); i++) {
        bed b;
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        toy.can_refine = i & 1;
        begin(&b, &toy, codecs[i / 2][0], codecs[i / 2][1], 200, 20);
        b.source.residual_ns = 5 * ms;
        want_both(&b, &b.plain);
        run(&b);
        check_right(&b, b.held);
        check_sent(&b);
        end(&b);
    }
}

/* A mutation: with pages of another text in front the tokens or the cache are other ones. */
static void other_pages_are_noticed(void **state)
{
    bed b;
    lx_toy_options toy;
    lynx_token other[TOY_PROMPT_MAX];
    const lynx_codec_spec spec = lynx_codec_spec_storable(named("range"));
    (void)state;
    lx_toy_options_init(&toy);
    begin(&b, &toy, "range", "range", 200, 20);
    memory_source_free(&b.source);
    toy_prompt(other, 200, 7);
    memory_source_make(&b.source, b.decode.engine, other, 200, &spec);
    run(&b);
    assert_int_equal(b.got.status, LYNX_OK);
    assert_int_not_equal(b.got.result.cache_digest, b.plain.result.cache_digest);
    end(&b);
}

/* F-69: whoever has other weights holds nothing that is of use to this prefill node. */
static void everything_comes_when_the_name_does_not_fit(void **state)
{
    bed b;
    lx_toy_options toy;
    (void)state;
    lx_toy_options_init(&toy);
    begin(&b, &toy, "range", "range", 200, 20);
    toy_decode_finish(&b.decode);
    toy_prefill_finish(&b.prefill);
    toy_prefill_init(&b.prefill);
    b.prefill.toy.weights = 1;
    b.prefill.options.session.allow_other_weights = true;
    toy_prefill_start(&b.prefill);
    b.decode.remote.session.allow_other_weights = true;
    b.decode.address = b.prefill.address;
    toy_decode_open(&b.decode);
    run(&b);
    check_right(&b, 0);
    assert_true(toy_prefill_has_logged(&b.prefill, "names them wrongly"));
    b.held = 0;
    check_sent(&b);
    end(&b);
}

/* All of it is asked for once more, of the same prefill node. */
static void broken_sources_are_made_good(void **state)
{
    static const lynx_status failures[] = {LYNX_ERR_SYSTEM, LYNX_ERR_CORRUPT, LYNX_ERR_CLOSED,
                                           LYNX_ERR_DENIED};
    (void)state;
    for (int refine = 0; refine < 2; refine++) {
        bed b;
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        toy.can_refine = refine;
        begin(&b, &toy, "range", "range", 200, 5);
        for (size_t at = 0; at < b.source.count; at += at < 4 ? 1 : b.source.count / 4) {
            memory_source_rewind(&b.source);
            b.source.fail_at = at;
            b.source.failure = failures[at % 4];
            b.source.residual_ns = 5 * ms;
            b.options.on_loss = at % 2 ? LYNX_ON_LOSS_FAIL : LYNX_ON_LOSS_RECOMPUTE;
            b.lost = b.lost_sources = 0;
            run(&b);
            check_right(&b, 0);
            assert_int_equal(b.lost, 1);
            assert_int_equal(b.lost_sources, 1);
            if (failures[at % 4] == LYNX_ERR_SYSTEM)
                assert_string_equal(b.lost_text, "the disk of the test is broken");
        }
        memory_source_rewind(&b.source);
        b.source.damage_at = 0; /* no legal anchor */
        b.lost = 0;
        run(&b);
        check_right(&b, 0);
        assert_int_equal(b.lost, 1);
        lynx_remote_status status;
        lynx_remote_status_of(b.decode.handle, &status);
        assert_int_equal(status.failures, 0); /* it did nothing wrong */
        assert_int_equal(status.tokens_due, 0);
        for (uint32_t i = 0; i < LYNX_PLANES_MAX; i++)
            assert_int_equal(status.cache_bytes_due[i], 0);
        end(&b);
    }
}

/* What the source has behind the last whole page, or outside the windows, is not missed. */
static void what_is_not_held_is_not_missed(void **state)
{
    bed b;
    lx_toy_options toy;
    (void)state;
    lx_toy_options_init(&toy);
    begin(&b, &toy, "range", "range", 33, 40);
    b.source.fail_at = b.source.count - 1; /* of the page that is not whole */
    run(&b);
    check_right(&b, 32);
    assert_int_equal(b.lost, 0);
    end(&b);
}

/* A cut, and a flipped bit, cost what they cost without held pages. One that looks like another
 * protocol is final, as ever: the prompt is computed here then. */
static void cuts_are_resumed(void **state)
{
    (void)state;
    uint64_t resumes = 0;
    uint32_t left_out = 0;
    for (uint32_t seed = 0; seed < 12; seed++) {
        bed b;
        lx_toy_options toy;
        lx_toy_options_init(&toy);
        begin(&b, &toy, "range", "range", 128, 200);
        toy_decode_close(&b.decode);
        b.decode.has_faults = true;
        b.decode.rng = test_rng_of(seed);
        b.decode.fault_bytes = 20000;
        b.decode.stall_ns = ms;
        b.decode.remote.patience_ns = 60000 * ms;
        b.decode.remote.session.lanes = 1 + seed % 2;
        b.decode.whole = 50;
        toy_decode_open(&b.decode);
        run(&b);
        assert_true(toy_answers_are_equal(&b.got, &b.plain));
        assert_int_equal(b.got.result.cache_digest, b.plain.result.cache_digest);
        assert_int_equal(b.got.result.held_tokens, b.got.result.is_recomputed ? 0 : b.held);
        left_out += !b.got.result.is_recomputed;
        end(&b);
        resumes += b.prefill.resumes;
    }
    assert_true(resumes > 0 && left_out > 0);
}

/* The next one sends everything; after the last one the prompt is computed here. */
static void lost_remotes(void **state)
{
    for (uint32_t count = 1; count < 3; count++) {
        bed b;
        lx_toy_options toy;
        toy_decode gone;
        lx_toy_options_init(&toy);
        begin(&b, &toy, "range", "range", 200, 20);
        toy_decode_init(&gone, "127.0.0.1:1");
        gone.toy = toy;
        gone.remote.first_patience_ns = 50 * ms;
        toy_decode_open(&gone);
        lynx_remote *remotes[] = {gone.handle, b.decode.handle};
        toy_run(&b.got, b.decode.engine, remotes, count, &b.options);
        assert_int_equal(b.got.status, LYNX_OK);
        assert_true(toy_answers_are_equal(&b.got, &b.plain));
        assert_int_equal(b.got.result.cache_digest, b.plain.result.cache_digest);
        assert_int_equal(b.got.result.is_recomputed, count == 1);
        assert_int_equal(b.got.result.held_tokens, 0);
        assert_int_equal(b.lost, 1);
        assert_int_equal(b.lost_sources, 0);
        if (count == 2) {
            b.held = 0;
            check_sent(&b);
        }
        toy_decode_finish(&gone);
        end(&b);
    }
    (void)state;
}

static void a_stopped_run_ends_its_source(void **state)
{
    volatile sig_atomic_t stop = 1;
    bed b;
    lx_toy_options toy;
    (void)state;
    lx_toy_options_init(&toy);
    begin(&b, &toy, "range", "range", 200, 5);
    b.source.pause_ns = 3600000 * ms; /* it would never end */
    b.options.stop = &stop;
    run(&b);
    assert_int_equal(b.got.status, LYNX_ERR_CANCELLED);
    end(&b);
}

/* A held cache is sent when it is asked for. */
static void it_may_wait_for_start(void **state)
{
    bed b;
    lx_toy_options toy;
    (void)state;
    lx_toy_options_init(&toy);
    begin(&b, &toy, "range", "range", 200, 60);
    b.options.is_stored = true;
    run(&b);
    check_right(&b, b.held);
    check_sent(&b);
    assert_true(b.got.result.anchor_ns < 3600000 * ms);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_rest_is_sent),
        cmocka_unit_test(codecs_may_differ),
        cmocka_unit_test(other_pages_are_noticed),
        cmocka_unit_test(everything_comes_when_the_name_does_not_fit),
        cmocka_unit_test(broken_sources_are_made_good),
        cmocka_unit_test(what_is_not_held_is_not_missed),
        cmocka_unit_test(cuts_are_resumed),
        cmocka_unit_test(lost_remotes),
        cmocka_unit_test(a_stopped_run_ends_its_source),
        cmocka_unit_test(it_may_wait_for_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
