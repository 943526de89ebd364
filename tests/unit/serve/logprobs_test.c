/* SPDX-License-Identifier: MIT */
/* How likely tokens were, in both of OpenAI's shapes. */
#include <math.h>

#include "engine/toy_engine.h"
#include "serve/logprobs.h"
#include "support/cmocka_all.h"

/* The toy's tokens, but for 10 and 11: the halves of U+00E9, and 12, which has no text. */
static lynx_engine_ops odd_ops;
static lynx_engine *engine;

static lynx_status odd_text(lynx_engine *e, lynx_token token, char *text, size_t capacity,
                            size_t *size)
{
    (void)e;
    (void)capacity;
    text[0] = token == 10 ? '\xC3' : token == 11 ? '\xA9' : (char)('0' + token);
    *size = token != 12;
    return LYNX_OK;
}

static int make_engine(void **state)
{
    (void)state;
    lx_toy_options options;
    lx_toy_options_init(&options);
    assert_int_equal(lx_toy_create(&engine, &options, NULL), LYNX_OK);
    odd_ops = *engine->ops;
    odd_ops.token_text = odd_text;
    engine->ops = &odd_ops;
    return 0;
}

static int free_engine(void **state)
{
    (void)state;
    lynx_engine_destroy(engine);
    return 0;
}

/* Takes 'json'. */
static void is_text(json_t *json, const char *want)
{
    char *got = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(4));
    assert_non_null(got);
    assert_string_equal(got, want);
    free(got);
    json_decref(json);
}

static const lynx_logprobs likely = {.logprob = -0.5f,
                                     .top_count = 2,
                                     .top = {{7, -0.5f}, {12, -2}}};

static void chats_have_a_list_of_tokens(void **state)
{
    (void)state;
    lx_logprob_log log = {.kind = LX_API_CHAT};
    assert_null(lx_logprob_log_take(&log, SIZE_MAX));
    lx_logprob_log_add(&log, engine, 7, &likely, "7", 1);
    is_text(lx_logprob_log_take(&log, 1),
            "{\"content\":[{\"token\":\"7\",\"logprob\":-0.5,\"bytes\":[55],\"top_logprobs\":["
            "{\"token\":\"7\",\"logprob\":-0.5,\"bytes\":[55]},"
            "{\"token\":\"\",\"logprob\":-2.0,\"bytes\":null}]}],\"refusal\":null}");
    assert_null(lx_logprob_log_take(&log, SIZE_MAX));
    /* A character in two tokens: neither is told before it is whole. */
    const lynx_logprobs alone = {.logprob = -1}, never = {.logprob = -INFINITY};
    lx_logprob_log_add(&log, engine, 10, &alone, "", 0);
    assert_null(lx_logprob_log_take(&log, 1));
    lx_logprob_log_add(&log, engine, 11, &alone, "\xC3\xA9", 2);
    is_text(lx_logprob_log_take(&log, 3),
            "{\"content\":[{\"token\":\"\\\\xc3\",\"logprob\":-1.0,\"bytes\":[195],"
            "\"top_logprobs\":[]},{\"token\":\"\\\\xa9\",\"logprob\":-1.0,\"bytes\":[169],"
            "\"top_logprobs\":[]}],\"refusal\":null}");
    lx_logprob_log_add(&log, engine, 7, &never, "7", 1); /* JSON has no infinity */
    is_text(lx_logprob_log_take(&log, 4),
            "{\"content\":[{\"token\":\"7\",\"logprob\":-9999.0,\"bytes\":[55],"
            "\"top_logprobs\":[]}],\"refusal\":null}");
    assert_false(log.has_failed);
    lx_logprob_log_fini(&log);
}

static void completions_have_lists(void **state)
{
    (void)state;
    lx_logprob_log log = {.kind = LX_API_COMPLETION};
    const lynx_logprobs rare = {.logprob = -9, .top_count = 1, .top = {{7, -0.5f}}};
    lx_logprob_log_add(&log, engine, 10, &rare, "", 0);
    lx_logprob_log_add(&log, engine, 11, &rare, "\xC3\xA9", 2);
    lx_logprob_log_add(&log, engine, 8, &rare, "8", 1);
    lx_logprob_log_add(&log, engine, 9, &rare, "9", 1);
    /* The last one begins where the text was cut. */
    is_text(lx_logprob_log_take(&log, 3),
            "{\"tokens\":[\"bytes:\\\\xc3\",\"bytes:\\\\xa9\",\"8\"],"
            "\"token_logprobs\":[-9.0,-9.0,-9.0],\"top_logprobs\":["
            "{\"7\":-0.5,\"bytes:\\\\xc3\":-9.0},{\"7\":-0.5,\"bytes:\\\\xa9\":-9.0},"
            "{\"7\":-0.5,\"8\":-9.0}],\"text_offset\":[0,0,1]}");
    lx_logprob_log_fini(&log);
}

/* The numbers themselves: of three tokens with logits 0, ln 2 and ln 1. */
static void numbers_are_those_of_the_softmax(void **state)
{
    (void)state;
    const float logits[] = {0, 0.69314718f, 0, -INFINITY};
    lynx_logprobs got;
    lynx_logprobs_of(logits, 4, 2, 20, &got);
    assert_int_equal(got.top_count, 4);
    assert_float_equal(got.logprob, -1.3862944f, 1e-6f);
    assert_int_equal(got.top[0].token, 1);
    assert_float_equal(got.top[0].logprob, -0.6931472f, 1e-6f);
    assert_true(got.top[1].token == 0 && got.top[2].token == 2); /* a tie: lowest id first */
    assert_true(got.top[3].token == 3 && got.top[3].logprob == -INFINITY);
    lynx_logprobs_of(logits, 4, 0, 0, &got);
    assert_int_equal(got.top_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chats_have_a_list_of_tokens),
        cmocka_unit_test(completions_have_lists),
        cmocka_unit_test(numbers_are_those_of_the_softmax),
    };
    return cmocka_run_group_tests(tests, make_engine, free_engine);
}
