/* SPDX-License-Identifier: MIT */
#include "bench_transfer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

static const uint64_t warm_up_ns = 600000000; /* the windows of TCP and ours have grown */
static const uint64_t patience_ns = 60000000000ull;

transfer_state *transfer_state_new(void)
{
    void *memory = mmap(NULL, sizeof(transfer_state), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void transfer_state_free(transfer_state *state)
{
    if (state)
        munmap(state, sizeof(*state));
}

bool transfer_fail(transfer_state *state, int side, const char *what, const char *why)
{
    snprintf(state->text[side], sizeof(state->text[side]), "%s: %s", what, why);
    return false;
}

void transfer_address(const transfer_state *state, char *address)
{
    snprintf(address, 64, "%s:%u", state->task.space ? net_space_address : "127.0.0.1",
             atomic_load(&state->port));
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* ---- the sending process ------------------------------------------------------------- */

/* From one to three times what an anchor takes, so that the queue has come back before the
 * next, and by chance, so that nothing falls in step. */
static uint64_t pause_before_anchor(transfer_plan *plan, const transfer_case *task)
{
    const double alone_ns =
        (double)task->page_bytes * 8e3 / task->link_mbps + task->rtt_ms * 1e6 + 1e6;
    plan->random = plan->random * 1664525u + 1013904223u;
    return (uint64_t)(alone_ns * (2 + 4 * (double)(plan->random >> 8) / (1 << 24)));
}

void transfer_plan_start(transfer_plan *plan, const transfer_state *state)
{
    const uint64_t slow_ns = (uint64_t)(state->task.rtt_ms * 20e6);
    *plan = (transfer_plan){
        .begin_at = lynx_clock_now() + (slow_ns > warm_up_ns ? slow_ns : warm_up_ns),
        .next_anchor = LYNX_TIME_NEVER,
        .end_at = LYNX_TIME_NEVER,
        .random = 1,
    };
}

bool transfer_plan_look(transfer_plan *plan, transfer_state *state, lynx_time_ns now)
{
    const transfer_case *task = &state->task;
    if (!atomic_load(&state->has_begun) && now >= plan->begin_at) {
        plan->cpu_s = cpu_seconds();
        atomic_store(&state->has_begun, true);
        if (task->samples)
            plan->next_anchor = now + pause_before_anchor(plan, task);
        else
            plan->end_at = now + (uint64_t)(task->seconds * 1e9);
    }
    const bool has_all = task->samples && atomic_load(&state->sample_count) == task->samples;
    if (!atomic_load(&state->has_ended) && (now >= plan->end_at || has_all)) {
        state->cpu_s[0] = cpu_seconds() - plan->cpu_s;
        atomic_store(&state->has_ended, true);
    }
    return atomic_load(&state->is_over);
}

bool transfer_plan_takes_anchor(transfer_plan *plan, const transfer_state *state,
                                lynx_time_ns now)
{
    if (now < plan->next_anchor || plan->anchors == state->task.samples)
        return false;
    plan->anchors++;
    plan->next_anchor = plan->anchors < state->task.samples
                            ? now + pause_before_anchor(plan, &state->task)
                            : LYNX_TIME_NEVER;
    return true;
}

/* ---- the receiving process ----------------------------------------------------------- */

bool transfer_meter_look(transfer_meter *meter, transfer_state *state)
{
    if (!meter->has_begun && atomic_load(&state->has_begun)) {
        meter->has_begun = true;
        meter->begun_at = lynx_clock_now();
        meter->bytes = atomic_load(&state->bytes);
        meter->cpu_s = cpu_seconds();
    }
    if (!atomic_load(&state->has_ended))
        return false;
    state->measured_s = (double)(lynx_clock_now() - meter->begun_at) / 1e9;
    state->measured_bytes = atomic_load(&state->bytes) - meter->bytes;
    state->cpu_s[1] = cpu_seconds() - meter->cpu_s;
    atomic_store(&state->is_over, true);
    return true;
}

void transfer_note_anchor(transfer_state *state, const uint8_t *data)
{
    lynx_time_ns ready_at;
    memcpy(&ready_at, data, sizeof(ready_at));
    const unsigned index = atomic_load(&state->sample_count);
    if (index >= TRANSFER_SAMPLES_MAX)
        return;
    state->latencies_ms[index] = (double)(lynx_clock_now() - ready_at) / 1e6;
    atomic_store(&state->sample_count, index + 1);
}

/* ---- both ---------------------------------------------------------------------------- */

static bool run_side(transfer_state *state, int side)
{
    if (state->task.space && !net_space_enter(state->task.space, side))
        return transfer_fail(state, side, "cannot enter", "network namespace");
    if (state->task.kind == TRANSFER_LYNX)
        return side == 0 ? transfer_lynx_send(state) : transfer_lynx_receive(state);
    return side == 0 ? transfer_plain_send(state) : transfer_plain_receive(state);
}

static pid_t start_side(transfer_state *state, int side)
{
    fflush(NULL);
    const pid_t id = fork();
    if (id != 0)
        return id;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* not even a killed parent leaves it behind */
    signal(SIGINT, SIG_IGN);                /* the parent says when to end */
    signal(SIGPIPE, SIG_IGN);
    _exit(run_side(state, side) ? 0 : 1);
}

/* Did it end well? A crash is named. */
static bool judge(transfer_state *state, int side, int status)
{
    if (WIFSIGNALED(status))
        return transfer_fail(state, side, side == 0 ? "sender" : "receiver",
                             strsignal(WTERMSIG(status)));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Wait for both; the first that fails, an interruption or too long a time ends the other. */
static bool wait_for(transfer_state *state, pid_t ids[2])
{
    const struct timespec pause = {0, 5000000};
    const lynx_time_ns give_up_at = lynx_clock_now() + patience_ns;
    bool is_good = ids[0] > 0 && ids[1] > 0;
    while (ids[0] > 0 || ids[1] > 0) {
        is_good = is_good && !cli_stop && lynx_clock_now() < give_up_at;
        for (int i = 0; i < 2; i++) {
            int status = 0;
            if (ids[i] <= 0)
                continue;
            if (!is_good)
                kill(ids[i], SIGKILL);
            if (waitpid(ids[i], &status, WNOHANG) != ids[i])
                continue;
            is_good = is_good && judge(state, i, status);
            ids[i] = 0;
        }
        nanosleep(&pause, NULL);
    }
    return is_good;
}

bool transfer_run(transfer_state *state)
{
    pid_t ids[2];
    for (int i = 0; i < 2; i++)
        ids[i] = start_side(state, i);
    if (state->task.space && !net_space_run(state->task.space))
        for (int i = 0; i < 2; i++)
            kill(ids[i], SIGKILL);
    return wait_for(state, ids);
}
