/* SPDX-License-Identifier: MIT */
/*
 * chaos_test.c - several decode nodes on one prefill node, over connections that break, stand
 * still and flip bits at random bytes, while the prefill node is killed and started anew: every
 * request ends with the tokens of a local run, and nothing is left behind.
 *
 * LYNX_SEED=n: another course of events (threads make it another one each time as well).
 * LYNX_FULL=1: five times as much.
 */
#include <time.h>

#include "support/cmocka_all.h"
#include "support/toy_nodes.h"

enum { WORKERS = 4, PROMPTS = 6, REQUESTS = 120, CUTS = 500 };

typedef struct course {
    uint64_t seed;
    uint32_t requests_least, cuts_least;
    toy_prefill prefill;
    atomic_uint requests, recomputed, failed, cuts, corrupt;
    atomic_bool is_over;
} course;

typedef struct worker {
    course *course;
    uint32_t index;
    toy_decode node;
    lynx_run_options options[PROMPTS];
    toy_answer want[PROMPTS];
    lynx_token prompts[PROMPTS][TOY_PROMPT_MAX];
    uint32_t taken; /* cuts that the course knows of */
} worker;

/* What a run may end with when it must not recompute. */
static bool is_clear_error(const toy_answer *answer)
{
    return (answer->status == LYNX_ERR_CLOSED || answer->status == LYNX_ERR_CANCELLED ||
            answer->status == LYNX_ERR_TIMEOUT || answer->status == LYNX_ERR_PROTOCOL ||
            answer->status == LYNX_ERR_CORRUPT) &&
           answer->text[0] != '\0';
}

static void make_options(worker *w)
{
    static const char *const codecs[] = {"range", "range44", "paper", "raw", "range-3"};
    static const lynx_method methods[] = {LYNX_METHOD_SPECULATE, LYNX_METHOD_CARRY,
                                          LYNX_METHOD_WAIT,      LYNX_METHOD_TOKENS,
                                          LYNX_METHOD_SPECULATE, LYNX_METHOD_CARRY};
    for (uint32_t i = 0; i < PROMPTS; i++) {
        lynx_run_options *o = &w->options[i];
        lynx_run_options_init(o);
        o->prompt = w->prompts[i];
        o->prompt_tokens = 60 * (i + 1) + w->index;
        o->method = methods[i];
        o->is_stored = i == 4;
        o->on_loss = i == 5 ? LYNX_ON_LOSS_FAIL : LYNX_ON_LOSS_RECOMPUTE;
        o->sampling.temperature = i % 2 ? 1.2f : 0.0f;
        o->sampling.seed = i;
        TOY_CHECK(lynx_codec_spec_named(&o->spec, codecs[(i + w->index) % 5]) == LYNX_OK);
        toy_prompt(w->prompts[i], o->prompt_tokens, i + 10 * w->index);
        toy_want(&w->want[i], w->node.engine, o);
    }
}

static void note_cuts(worker *w)
{
    const fault_tally *f = &w->node.faults;
    const uint32_t cuts = f->happened[FAULT_BREAK] + f->happened[FAULT_RESET] +
                          f->happened[FAULT_STALL] + f->happened[FAULT_FLIP];
    w->course->cuts += cuts - w->taken;
    w->taken = cuts;
}

/* One request; the remote is made anew when it was given up. */
static void ask(worker *w, uint32_t which)
{
    toy_answer got;
    toy_run(&got, w->node.engine, &w->node.handle, 1, &w->options[which]);
    if (got.status == LYNX_OK && !toy_answers_are_equal(&got, &w->want[which])) {
        fprintf(stderr, "worker %u, prompt %u: other tokens (recomputed %d)\n", w->index, which,
                got.result.is_recomputed);
        TOY_CHECK(false);
    }
    if (got.status != LYNX_OK &&
        (w->options[which].on_loss != LYNX_ON_LOSS_FAIL || !is_clear_error(&got))) {
        fprintf(stderr, "worker %u, prompt %u: %s: %s\n", w->index, which,
                lynx_status_name(got.status), got.text);
        TOY_CHECK(false);
    }
    w->course->requests++;
    w->course->recomputed += got.result.is_recomputed;
    w->course->failed += got.status != LYNX_OK;
    if (got.status != LYNX_OK || got.result.is_recomputed) {
        w->course->corrupt += (uint32_t)lynx_remote_counters(w->node.handle).corrupt_planes;
        toy_decode_close(&w->node);
        toy_decode_open(&w->node);
    }
    note_cuts(w);
}

static void *work(void *user)
{
    worker *w = user;
    test_rng rng = test_rng_of(w->course->seed * 31 + w->index);
    while (!w->course->is_over)
        ask(w, (uint32_t)test_rng_below(&rng, PROMPTS));
    w->course->corrupt += (uint32_t)lynx_remote_counters(w->node.handle).corrupt_planes;
    toy_decode_close(&w->node);
    return NULL;
}

static void start_worker(worker *w, course *c, uint32_t index)
{
    *w = (worker){.course = c, .index = index};
    toy_decode_init(&w->node, c->prefill.address);
    w->node.remote.session.lanes = 1 + index % 3;
    w->node.remote.session.timeout_ns = 400000000ull;
    w->node.remote.session.ping_ns = 100000000ull;
    w->node.remote.retry_least_ns = 2000000ull;
    w->node.remote.retry_most_ns = 20000000ull;
    w->node.has_faults = true;
    w->node.whole = 5;
    w->node.fault_bytes = 12000;
    w->node.stall_ns = 100000000ull;
    w->node.rng = test_rng_of(c->seed * 101 + index);
    toy_decode_open(&w->node);
    make_options(w);
}

static void pause_ms(uint64_t ms)
{
    const struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

/* A thread that does not end in time shows where everything hangs. */
static void join_by(pthread_t thread, time_t seconds)
{
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += seconds;
    TOY_CHECK(pthread_timedjoin_np(thread, NULL, &deadline) == 0);
}

/* Kill the prefill node, or tell it to stop, at random moments until enough has happened. */
static void play(course *c)
{
    test_rng rng = test_rng_of(c->seed);
    const lynx_time_ns limit = lynx_clock_now() + 240000000000ull;
    while (c->requests < c->requests_least || c->cuts < c->cuts_least) {
        TOY_CHECK(lynx_clock_now() < limit);
        pause_ms(200 + test_rng_below(&rng, 1000));
        toy_prefill_restart(&c->prefill, test_rng_below(&rng, 4) == 0);
    }
    c->is_over = true;
}

static void print_course(const course *c, lynx_time_ns begin)
{
    const toy_prefill *p = &c->prefill;
    printf("seed %llu: %u requests (%u recomputed, %u failed as asked), %u cuts, %u broken "
           "planes, %u lives of the prefill node, %llu sessions, %llu resumed, sent again %llu "
           "bytes of %llu unacknowledged, %.1f s\n",
           (unsigned long long)c->seed, c->requests, c->recomputed, c->failed, c->cuts,
           c->corrupt, p->lives, (unsigned long long)p->sessions,
           (unsigned long long)p->resumes, (unsigned long long)p->resent,
           (unsigned long long)p->unacknowledged, (double)(lynx_clock_now() - begin) / 1e9);
}

/* libuv opens a pipe of its own, once, with the first loop. */
static void warm_up(void)
{
    static toy_prefill p;
    toy_decode d;
    lynx_token prompt[4];
    toy_answer got;
    lynx_run_options options;
    toy_prefill_init(&p);
    toy_prefill_start(&p);
    toy_decode_init(&d, p.address);
    toy_decode_open(&d);
    lynx_run_options_init(&options);
    options.prompt = prompt;
    options.prompt_tokens = 4;
    toy_prompt(prompt, 4, 1);
    toy_run(&got, d.engine, &d.handle, 1, &options);
    toy_decode_finish(&d);
    toy_prefill_finish(&p);
    assert_int_equal(got.status, LYNX_OK);
}

static void every_request_ends_as_promised(void **state)
{
    (void)state;
    static worker workers[WORKERS];
    static course c;
    pthread_t threads[WORKERS];
    const char *seed = getenv("LYNX_SEED");
    const char *full = getenv("LYNX_FULL");
    const uint32_t times = full && strcmp(full, "1") == 0 ? 5 : 1;
    warm_up();
    const unsigned descriptors = toy_count_descriptors();
    const unsigned thread_count = toy_count_threads();
    const lynx_time_ns begin = lynx_clock_now();
    c = (course){.seed = seed ? strtoull(seed, NULL, 10) : 1,
                 .requests_least = times * REQUESTS,
                 .cuts_least = times * CUTS};
    toy_prefill_init(&c.prefill);
    c.prefill.rate = 20000000;
    c.prefill.toy.piece_ns = 1000000;
    c.prefill.options.session.timeout_ns = 400000000ull;
    c.prefill.options.session.ping_ns = 100000000ull;
    c.prefill.options.session.stall_ns = 50000000ull;
    c.prefill.options.session.resume_ns = 1000000000ull;
    toy_prefill_start(&c.prefill);
    for (uint32_t i = 0; i < WORKERS; i++) {
        start_worker(&workers[i], &c, i);
        TOY_CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    play(&c);
    for (uint32_t i = 0; i < WORKERS; i++) {
        join_by(threads[i], 30);
        toy_decode_finish(&workers[i].node);
    }
    toy_prefill_finish(&c.prefill);
    print_course(&c, begin);
    assert_true(c.prefill.resent <= c.prefill.unacknowledged);
    assert_true(c.prefill.resumes > 0);
    assert_true(c.corrupt > 0);
    assert_true(c.recomputed + c.failed < c.requests); /* some arrived */
    assert_int_equal(toy_count_descriptors(), descriptors);
    assert_int_equal(toy_count_threads(), thread_count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_request_ends_as_promised)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
