/* SPDX-License-Identifier: MIT */
#include "support/toy_nodes.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void toy_check(bool is_right, const char *file, int line, const char *what)
{
    if (is_right)
        return;
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    abort();
}

static unsigned count_entries(const char *path)
{
    unsigned count = 0;
    DIR *folder = opendir(path);
    TOY_CHECK(folder != NULL);
    for (const struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

unsigned toy_count_descriptors(void)
{
    return count_entries("/proc/self/fd");
}

unsigned toy_count_threads(void)
{
    return count_entries("/proc/self/task");
}

uint64_t toy_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void toy_set(volatile sig_atomic_t *flag)
{
    __atomic_store_n(flag, 1, __ATOMIC_RELAXED);
}

/* ---- a prefill node ------------------------------------------------------------------ */

static void on_log(void *user, lynx_status status, const char *text)
{
    toy_prefill *p = user;
    (void)status;
    if (getenv("LYNX_LOG"))
        fprintf(stderr, "prefill %s: %s\n", p->address, text);
    pthread_mutex_lock(&p->log_lock);
    const size_t used = strlen(p->log);
    snprintf(p->log + used, sizeof(p->log) - used, "%s\n", text);
    pthread_mutex_unlock(&p->log_lock);
}

bool toy_prefill_has_logged(toy_prefill *p, const char *words)
{
    pthread_mutex_lock(&p->log_lock);
    const bool has = strstr(p->log, words) != NULL;
    pthread_mutex_unlock(&p->log_lock);
    return has;
}

static void let_in(toy_prefill *p, lynx_link *link)
{
    const fault_plan none = {.kind = FAULT_NONE};
    lynx_link *paced = link;
    if (p->rate) {
        lynx_pacer_options pacer;
        lynx_pacer_options_init(&pacer);
        pacer.rate_bits_per_s = p->rate;
        TOY_CHECK(lynx_link_paced(&paced, link, &pacer, NULL) == LYNX_OK);
    }
    pthread_mutex_lock(&p->lock);
    lynx_prefill_node *node = p->node;
    lynx_link *own = node ? fault_link_create(paced, &none, p->faults) : NULL;
    if (!own || lynx_prefill_node_connect(node, own) != LYNX_OK)
        lynx_link_destroy(own ? own : paced);
    pthread_mutex_unlock(&p->lock);
}

static void *accept_peers(void *user)
{
    toy_prefill *p = user;
    char text[LYNX_TEXT_MAX];
    while (!p->must_close) {
        lynx_link *link = NULL;
        if (lynx_tcp_accept(p->descriptor, 20000000ull, NULL, &link, text, sizeof(text),
                            NULL) == LYNX_OK)
            let_in(p, link);
    }
    return NULL;
}

static void *work(void *user)
{
    toy_prefill *p = user;
    p->status = lynx_prefill_node_run(p->node, p->text);
    return NULL;
}

static void begin_life(toy_prefill *p)
{
    lynx_prefill_node *node = NULL;
    TOY_CHECK(lx_toy_create(&p->engine, &p->toy, NULL) == LYNX_OK);
    p->options.engine = p->engine;
    p->options.stop = &p->stop;
    p->options.log = on_log;
    p->options.user = p;
    p->stop = 0;
    p->faults = calloc(1, sizeof(*p->faults));
    TOY_CHECK(p->faults && lynx_prefill_node_create(&node, &p->options) == LYNX_OK);
    pthread_mutex_lock(&p->lock);
    p->node = node;
    pthread_mutex_unlock(&p->lock);
    TOY_CHECK(pthread_create(&p->works, NULL, work, p) == 0);
    p->lives++;
}

static void end_life(toy_prefill *p)
{
    pthread_join(p->works, NULL);
    pthread_mutex_lock(&p->lock);
    lynx_prefill_node *node = p->node;
    p->node = NULL;
    pthread_mutex_unlock(&p->lock);
    const lynx_prefill_report report = lynx_prefill_node_report(node);
    const lynx_session_counters *c = &report.counters;
    TOY_CHECK(c->resent_bytes <= c->unacknowledged_bytes);
    p->resent += c->resent_bytes;
    p->unacknowledged += c->unacknowledged_bytes;
    p->queued_top = c->queued_bytes_top > p->queued_top ? c->queued_bytes_top : p->queued_top;
    p->requests += report.requests;
    p->resumes += c->resumes;
    p->sessions += c->sessions;
    lynx_prefill_node_destroy(node);
    lynx_engine_destroy(p->engine);
    free(p->faults);
}

void toy_prefill_init(toy_prefill *p)
{
    *p = (toy_prefill){.descriptor = -1, .host = "127.0.0.1"};
    lx_toy_options_init(&p->toy);
    lynx_prefill_options_init(&p->options);
    p->options.session.timeout_ns = 2000000000ull;
    p->options.connects_per_s = 100000;
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->log_lock, NULL);
}

void toy_prefill_start(toy_prefill *p)
{
    uint16_t port = 0;
    snprintf(p->address, sizeof(p->address), "%s:0", p->host);
    TOY_CHECK(lynx_tcp_listen(p->address, &p->descriptor, &port, p->text, sizeof(p->text)) ==
              LYNX_OK);
    snprintf(p->address, sizeof(p->address), "%s:%u", p->host, port);
    begin_life(p);
    TOY_CHECK(pthread_create(&p->accepts, NULL, accept_peers, p) == 0);
}

void toy_prefill_restart(toy_prefill *p, bool is_told)
{
    if (!is_told)
        p->faults->is_down = true;
    toy_set(&p->stop);
    end_life(p);
    begin_life(p);
}

void toy_prefill_await(toy_prefill *p)
{
    end_life(p);
}

void toy_prefill_finish(toy_prefill *p)
{
    p->must_close = true;
    pthread_join(p->accepts, NULL);
    toy_set(&p->stop);
    if (p->node)
        end_life(p);
    close(p->descriptor);
    pthread_mutex_destroy(&p->log_lock);
    pthread_mutex_destroy(&p->lock);
}

/* ---- a decode node ------------------------------------------------------------------- */

static void plan_fault(toy_decode *d, fault_plan *plan)
{
    *plan = (fault_plan){.kind = FAULT_NONE};
    if (!d->has_faults || test_rng_below(&d->rng, 100) < d->whole)
        return;
    /* Stalls cost time: fewer of them. */
    static const fault_kind kinds[] = {FAULT_BREAK, FAULT_RESET, FAULT_BREAK, FAULT_RESET,
                                       FAULT_FLIP,  FAULT_FLIP,  FAULT_STALL};
    plan->kind = kinds[test_rng_below(&d->rng, sizeof(kinds) / sizeof(*kinds))];
    plan->at_byte = test_rng_below(&d->rng, d->fault_bytes);
    plan->more_bytes = 1 + test_rng_below(&d->rng, d->fault_bytes);
    plan->stall_ns = test_rng_below(&d->rng, 8) == 0 ? LYNX_TIME_NEVER
                                                     : test_rng_below(&d->rng, d->stall_ns);
}

static lynx_status dial(void *user, uint32_t lane, lynx_link **link, char *text)
{
    toy_decode *d = user;
    lynx_link *inner = NULL;
    fault_plan plan;
    (void)lane;
    if (d->network >= 0)
        TOY_CHECK(setns(d->network, CLONE_NEWNET) == 0);
    const lynx_status status =
        lynx_tcp_connect(d->address, 2000000000ull, NULL, &inner, text, LYNX_TEXT_MAX, NULL);
    if (status != LYNX_OK)
        return status;
    d->dials++;
    plan_fault(d, &plan);
    *link = fault_link_create(inner, &plan, &d->faults);
    TOY_CHECK(*link != NULL);
    return LYNX_OK;
}

static void on_remote_log(void *user, lynx_status status, const char *text)
{
    (void)user;
    (void)status;
    if (getenv("LYNX_LOG"))
        fprintf(stderr, "decode: %s\n", text);
}

void toy_decode_init(toy_decode *d, const char *address)
{
    *d = (toy_decode){.address = address, .network = -1};
    lx_toy_options_init(&d->toy);
    lynx_remote_options_init(&d->remote);
    d->remote.session.timeout_ns = 2000000000ull;
    d->remote.first_patience_ns = 1000000000ull;
    d->remote.patience_ns = 2000000000ull;
    d->remote.log = on_remote_log;
}

void toy_decode_open(toy_decode *d)
{
    if (!d->engine)
        TOY_CHECK(lx_toy_create(&d->engine, &d->toy, NULL) == LYNX_OK);
    d->remote.session.model = d->engine->ops->model(d->engine);
    d->remote.dial = dial;
    d->remote.dial_user = d;
    TOY_CHECK(lynx_remote_open(&d->handle, &d->remote) == LYNX_OK);
}

void toy_decode_close(toy_decode *d)
{
    lynx_remote_close(d->handle);
    d->handle = NULL;
}

void toy_decode_finish(toy_decode *d)
{
    toy_decode_close(d);
    lynx_engine_destroy(d->engine);
    d->engine = NULL;
}

/* ---- runs ---------------------------------------------------------------------------- */

void toy_prompt(lynx_token *prompt, uint32_t count, uint32_t seed)
{
    for (uint32_t i = 0; i < count; i++)
        prompt[i] = (lynx_token)((i * 31 + seed * 17 + i * i % 7) % 63) + 1;
}

void toy_run(toy_answer *answer, lynx_engine *engine, lynx_remote *const remotes[],
             uint32_t count, lynx_run_options *options)
{
    options->engine = engine;
    options->answer_tokens_max = TOY_ANSWER;
    answer->result = (lynx_run_result){.tokens = answer->tokens,
                                       .times = answer->times,
                                       .capacity = TOY_ANSWER};
    answer->status = lynx_run(remotes, count, options, &answer->result, answer->text);
}

void toy_want(toy_answer *answer, lynx_engine *engine, const lynx_run_options *options)
{
    lynx_run_options local = *options;
    /* Who decodes on the prefill node's cache does not see the codec. */
    local.method =
        options->method == LYNX_METHOD_TOKENS ? LYNX_METHOD_LOCAL : LYNX_METHOD_LOCAL_FULL;
    local.guesses = false;
    toy_run(answer, engine, NULL, 0, &local);
    TOY_CHECK(answer->status == LYNX_OK);
}

bool toy_answers_are_equal(const toy_answer *a, const toy_answer *b)
{
    return a->result.token_count == b->result.token_count &&
           memcmp(a->tokens, b->tokens, a->result.token_count * sizeof(*a->tokens)) == 0;
}
