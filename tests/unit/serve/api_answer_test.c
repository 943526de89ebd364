/* SPDX-License-Identifier: MIT */
/* What the server says, as a client's parser reads it; and the metrics as Prometheus' does. */
#include "serve/api_answer.h"
#include "serve/metrics.h"
#include "support/cmocka_all.h"

static const lx_api_head chat = {LX_API_CHAT, "chatcmpl-1", "m", 7, false};
static const lx_api_head text = {LX_API_COMPLETION, "cmpl-1", "m", 7, true};

/* Takes 'json'. The value at a path of names and places, such as "choices/0/delta". */
static void check(char *json, const char *path, const char *want)
{
    char part[64];
    json_t *root = json_loads(json ? json : "", 0, NULL);
    assert_non_null(root);
    const json_t *at = root;
    for (const char *p = path; *p;) {
        const size_t size = strcspn(p, "/");
        snprintf(part, sizeof(part), "%.*s", (int)size, p);
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(part))
                               : json_object_get(at, part);
        p += size + (p[size] == '/');
    }
    char *got = at ? json_dumps(at, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    if (!got || strcmp(got, want) != 0)
        fail_msg("%s: %s instead of %s in %s", path, got ? got : "nothing", want, json);
    free(got);
    json_decref(root);
    free(json);
}

static const lx_api_meta meta = {.method = "speculate",
                                 .reason = "why",
                                 .prefill_node = "h:1",
                                 .is_recomputed = true,
                                 .seed = 4294967295u,
                                 .prompt_tokens = 5,
                                 .drafted = 4,
                                 .accepted = 3,
                                 .branch_drafted = 2,
                                 .branch_accepted = 1,
                                 .steps = 9,
                                 .guessed = 8,
                                 .guessed_right = 7,
                                 .bytes = 1ull << 40,
                                 .ttft_ms = 1.5};

static void chunks_have_openais_shape(void **state)
{
    (void)state;
    check(lx_api_chunk(&chat, true, NULL, NULL, NULL, NULL), "choices/0/delta",
          "{\"role\":\"assistant\",\"content\":\"\"}");
    check(lx_api_chunk(&chat, false, "a\"\n\xC3\xA9", NULL, NULL, NULL), "choices/0",
          "{\"index\":0,\"delta\":{\"content\":\"a\\\"\\n\xC3\xA9\"},\"logprobs\":null,"
          "\"finish_reason\":null}");
    check(lx_api_chunk(&chat, false, NULL, NULL, "stop", &meta), "choices/0",
          "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}");
    check(lx_api_chunk(&chat, false, NULL, NULL, "stop", &meta), "lynx/bytes", "1099511627776");
    check(lx_api_chunk(&chat, false, NULL, NULL, "stop", &meta), "lynx/seed", "4294967295");
    check(lx_api_chunk(&chat, false, NULL, NULL, "stop", &meta), "lynx/branch_drafted", "2");
    check(lx_api_chunk(&chat, false, NULL, NULL, "stop", &meta), "lynx/branch_accepted", "1");
    check(lx_api_chunk(&chat, false, NULL, NULL, "stop", &meta), "lynx/steps", "9");
    check(lx_api_chunk(&chat, false, NULL, NULL, "stop", &meta), "lynx/guessed", "8");
    check(lx_api_chunk(&chat, false, NULL, NULL, "stop", &meta), "lynx/guessed_right", "7");
    check(lx_api_chunk(&chat, false, "x", NULL, NULL, NULL), "object",
          "\"chat.completion.chunk\"");
    check(lx_api_chunk(&text, false, "x", NULL, NULL, NULL), "object", "\"text_completion\"");
    check(lx_api_chunk(&text, false, "x", NULL, NULL, NULL), "choices/0",
          "{\"index\":0,\"text\":\"x\",\"logprobs\":null,\"finish_reason\":null}");
    check(lx_api_chunk(&text, false, "x", NULL, NULL, NULL), "usage", "null");
    check(lx_api_usage(&text, 5, 6), "usage",
          "{\"prompt_tokens\":5,\"completion_tokens\":6,\"total_tokens\":11}");
    check(lx_api_usage(&text, 5, 6), "choices", "[]");
    check(lx_api_event(&chat, json_pack("{s:s}", "event", "anchor")), "lynx",
          "{\"event\":\"anchor\"}");
    check(lx_api_event(&chat, json_pack("{s:s}", "event", "anchor")), "choices", "[]");
}

static void whole_answers_have_openais_shape(void **state)
{
    (void)state;
    check(lx_api_whole(&chat, "hi", NULL, "length", 6, &meta), "choices/0/message",
          "{\"role\":\"assistant\",\"content\":\"hi\"}");
    check(lx_api_whole(&chat, "hi", NULL, "length", 6, &meta), "choices/0/finish_reason",
          "\"length\"");
    check(lx_api_whole(&chat, "hi", NULL, "length", 6, &meta), "object", "\"chat.completion\"");
    check(lx_api_whole(&chat, "hi", NULL, "length", 6, &meta), "usage/total_tokens", "11");
    check(lx_api_whole(&chat, "hi", NULL, "length", 6, &meta), "lynx/is_recomputed", "true");
    check(lx_api_whole(&chat, "hi", NULL, "length", 6, &meta), "created", "7");
    check(lx_api_whole(&text, "hi", NULL, "stop", 6, &meta), "choices/0/text", "\"hi\"");
}

static void names_and_reasons_may_hold_any_bytes(void **state)
{
    (void)state;
    const lx_api_head head = {LX_API_CHAT, "chatcmpl-1", "m\xFF", 7, false};
    lx_api_meta other = meta;
    other.reason = "cut \xC3";
    other.prefill_node = NULL;
    check(lx_api_whole(&head, "hi", NULL, "stop", 6, &other), "model", "\"m\xEF\xBF\xBD\"");
    check(lx_api_whole(&head, "hi", NULL, "stop", 6, &other), "lynx/reason", "\"cut \"");
    check(lx_api_whole(&head, "hi", NULL, "stop", 6, &other), "lynx/prefill_node", "null");
    check(lx_api_chunk(&head, false, NULL, NULL, "stop", &other), "lynx/reason", "\"cut \"");
}

static void errors_are_valid_whatever_they_quote(void **state)
{
    (void)state;
    lx_api_fault fault;
    char bytes[600];
    lx_api_fault_set(&fault, 429, "queue_full", "bad \xFF byte");
    check(lx_api_error(&fault), "error",
          "{\"message\":\"bad \xEF\xBF\xBD byte\",\"type\":\"rate_limit_error\",\"param\":null,"
          "\"code\":\"queue_full\"}");
    lx_api_fault_set(&fault, 503, NULL, "x");
    check(lx_api_error(&fault), "error/type", "\"server_error\"");
    lx_api_fault_set(&fault, 401, NULL, "x");
    check(lx_api_error(&fault), "error/type", "\"authentication_error\"");
    /* Cut inside a character: it is dropped. */
    memset(bytes, 'x', sizeof(bytes));
    memcpy(bytes + sizeof(fault.message) - 3, "\xF0\x9F\x98\x80", 4);
    bytes[sizeof(bytes) - 1] = '\0';
    lx_api_fault_set(&fault, 400, NULL, "%s", bytes);
    assert_int_equal(strlen(fault.message), sizeof(fault.message) - 3);
}

/* ---- memory -------------------------------------------------------------------------- */

static uint32_t allocations_left;

static void *allocate_some(size_t size)
{
    return allocations_left && allocations_left-- ? malloc(size) : NULL;
}

/* Of everything that is parsed and said, the n-th allocation of JSON fails, for each n. */
static void json_without_memory_is_no_accident(void **state)
{
    static const char body[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
        "\"text\",\"text\":\"hi\"}]}],\"stop\":[\"a\",\"b\"],"
        "\"model\":\"m\",\"stream\":true,\"lynx\":{\"method\":\"wait\"}}";
    lynx_status status = LYNX_ERR_MEMORY;
    uint32_t said = 0;
    (void)state;
    for (uint32_t n = 0; status != LYNX_OK || said < 3; n++) {
        lx_api_request request;
        lx_api_fault fault;
        json_set_alloc_funcs(allocate_some, free);
        allocations_left = n;
        status = lx_api_request_parse(&request, LX_API_CHAT, body, strlen(body), &fault);
        /* Inside its parser, jansson takes a failure for one of the text. */
        assert_true(status == LYNX_OK || status == LYNX_ERR_MEMORY ||
                    (status == LYNX_ERR_ARGUMENT && strstr(fault.message, "not JSON")));
        allocations_left = n;
        char *texts[3] = {lx_api_whole(&chat, "hi", NULL, "stop", 6, &meta), NULL, NULL};
        allocations_left = n;
        texts[1] = lx_api_chunk(&text, false, NULL, NULL, "stop", &meta);
        allocations_left = n;
        texts[2] = lx_api_error(&(lx_api_fault){.type = "t", .message = "x", .param = "p"});
        json_set_alloc_funcs(malloc, free);
        said = 0;
        for (uint32_t i = 0; i < 3; i++) {
            json_t *root = texts[i] ? json_loads(texts[i], 0, NULL) : NULL;
            assert_true(root || !texts[i]);
            said += root != NULL;
            json_decref(root);
            free(texts[i]);
        }
        lx_api_request_fini(&request);
        assert_true(n < 1000);
    }
}

/* ---- metrics ------------------------------------------------------------------------- */

static void has_line(const lx_buffer *out, const char *line)
{
    const char *found = strstr(out->data, line);
    if (!found || found[strlen(line)] != '\n' || (found > out->data && found[-1] != '\n'))
        fail_msg("no line '%s' in\n%s", line, out->data);
}

static lx_policy policy = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void metrics_are_counted_and_told(void **state)
{
    (void)state;
    static lx_metrics metrics;
    lx_buffer out = {0};
    assert_true(lx_histogram_mean(&metrics.ttft) < 1e-9);
    lx_histogram_add(&metrics.ttft, 500000);       /* below all bounds */
    lx_histogram_add(&metrics.ttft, 1000000000);   /* a bound is inclusive */
    lx_histogram_add(&metrics.ttft, 600000000000); /* above all */
    lx_metrics_lost(&metrics, LYNX_ERR_TIMEOUT);
    atomic_store(&metrics.requests[LX_ROUTE_CHAT][LX_OUTCOME_GONE], 3);
    atomic_store(&metrics.tokens_out, 99);
    atomic_store(&metrics.methods[LX_WAY_WAIT], 4);
    atomic_store(&metrics.fallbacks[LX_FALLBACK_SLOWER], 5);
    policy.own = (lx_own_figures){.prefill_tokens = 600,
                                  .prefill_s = 3,
                                  .step_s = 0.05,
                                  .draft_s = 0.025};
    lx_metrics_write(&metrics, &policy, &out);
    has_line(&out, "# TYPE lynx_ttft_seconds histogram");
    has_line(&out, "lynx_ttft_seconds_bucket{le=\"0.001\"} 1");
    has_line(&out, "lynx_ttft_seconds_bucket{le=\"0.5\"} 1");
    has_line(&out, "lynx_ttft_seconds_bucket{le=\"1\"} 2");
    has_line(&out, "lynx_ttft_seconds_bucket{le=\"120\"} 2");
    has_line(&out, "lynx_ttft_seconds_bucket{le=\"+Inf\"} 3");
    has_line(&out, "lynx_ttft_seconds_sum 601.000500000");
    has_line(&out, "lynx_ttft_seconds_count 3");
    has_line(&out, "lynx_prefill_lost_total{reason=\"ERR_TIMEOUT\"} 1");
    has_line(&out, "lynx_prefill_lost_total{reason=\"ERR_CLOSED\"} 0");
    has_line(&out, "lynx_http_requests_total{route=\"/v1/chat/completions\",outcome=\"client_"
                   "gone\"} 3");
    has_line(&out, "lynx_answer_tokens_total 99");
    has_line(&out, "lynx_answers_total{method=\"wait\"} 4");
    has_line(&out, "lynx_fallbacks_total{reason=\"slower\"} 5");
    has_line(&out, "lynx_own_prefill_tokens_per_second 200");
    has_line(&out, "lynx_own_step_seconds 0.05");
    has_line(&out, "lynx_own_draft_seconds 0.025");
    has_line(&out, "lynx_draft_chance 0.9");
    assert_true(lx_histogram_mean(&metrics.ttft) > 200.3);
    lx_buffer_fini(&out);
}

/* Each family has its help and type once, before its values, and no line is of another form. */
static void each_metric_has_help_and_type(void **state)
{
    (void)state;
    static lx_metrics metrics;
    lx_buffer out = {0};
    char family[128] = "", line[512];
    lx_metrics_write(&metrics, &policy, &out);
    uint32_t families = 0;
    for (const char *p = out.data; *p; p += strcspn(p, "\n") + 1) {
        snprintf(line, sizeof(line), "%.*s", (int)strcspn(p, "\n"), p);
        if (strncmp(line, "# HELP ", 7) == 0) {
            snprintf(family, sizeof(family), "%.*s", (int)strcspn(line + 7, " "), line + 7);
            families++;
            assert_true(strlen(line) > 7 + strlen(family) + 5);
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            assert_int_equal(strncmp(line + 7, family, strlen(family)), 0);
        } else {
            assert_int_equal(strncmp(line, family, strlen(family)), 0);
            assert_non_null(strrchr(line, ' '));
        }
    }
    assert_true(families > 15);
    lx_buffer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_have_openais_shape),
        cmocka_unit_test(whole_answers_have_openais_shape),
        cmocka_unit_test(names_and_reasons_may_hold_any_bytes),
        cmocka_unit_test(errors_are_valid_whatever_they_quote),
        cmocka_unit_test(json_without_memory_is_no_accident),
        cmocka_unit_test(metrics_are_counted_and_told),
        cmocka_unit_test(each_metric_has_help_and_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
