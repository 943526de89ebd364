/* SPDX-License-Identifier: MIT */
/* Which jobs are computed together, whose turn it is, who waits for whom. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "slots/slot_queue.h"
#include "support/cmocka_all.h"
#include "support/rng.h"

enum { COLUMNS = 512 };
static const uint64_t FOREVER = 3600u * 1000000000ull;

typedef struct fixture {
    lx_slot_queue queue;
    lx_job jobs[LX_SLOTS_MAX];
    lx_job *group[LX_SLOTS_MAX];
    uint32_t count;
} fixture;

static void begin(fixture *f, uint32_t slots, uint64_t patience_ns)
{
    memset(f, 0, sizeof(*f));
    assert_int_equal(lx_slot_queue_init(&f->queue, slots, COLUMNS, patience_ns), LYNX_OK);
}

static void end(fixture *f)
{
    lx_slot_queue_close(&f->queue);
    assert_int_equal(lx_slot_queue_take(&f->queue, f->group), 0);
    lx_slot_queue_fini(&f->queue);
}

static void put(fixture *f, uint32_t slot, lx_job_kind kind, uint32_t columns)
{
    f->jobs[slot] = (lx_job){.kind = kind, .slot = slot, .columns = columns};
    lx_slot_queue_put(&f->queue, &f->jobs[slot]);
}

/* Take the next group: it must be of 'kind' and of the slots of 'mask'. */
static void take(fixture *f, lx_job_kind kind, uint32_t mask)
{
    uint32_t got = 0;
    f->count = lx_slot_queue_take(&f->queue, f->group);
    assert_in_range(f->count, 1, LX_SLOTS_MAX);
    for (uint32_t i = 0; i < f->count; i++) {
        assert_int_equal(f->group[i]->kind, kind);
        assert_true(i == 0 || f->group[i]->slot > f->group[i - 1]->slot);
        got |= 1u << f->group[i]->slot;
    }
    assert_int_equal(got, mask);
}

static void finish(fixture *f)
{
    lx_slot_queue_finish(&f->queue, f->group, f->count);
    for (uint32_t i = 0; i < f->count; i++)
        lx_slot_queue_wait(&f->queue, f->group[i]); /* does not block: it is done */
}

static void steps_share_a_batch_in_the_order_of_slots(void **state)
{
    (void)state;
    fixture f;
    begin(&f, 4, 0);
    put(&f, 3, LX_JOB_STEP, 2);
    put(&f, 0, LX_JOB_STEP, 40);
    put(&f, 2, LX_JOB_STEP, 2);
    take(&f, LX_JOB_STEP, 1 << 0 | 1 << 2 | 1 << 3);
    finish(&f);
    end(&f);
}

/* What does not fit waits, and then goes first. */
static void a_batch_is_bounded(void **state)
{
    (void)state;
    fixture f;
    begin(&f, LX_SLOTS_MAX, 0);
    for (uint32_t i = 0; i < LX_SLOTS_MAX; i++)
        put(&f, LX_SLOTS_MAX - 1 - i, LX_JOB_STEP, 62);
    take(&f, LX_JOB_STEP, 0xFF00); /* 8 x 62 <= 512; those that came first */
    finish(&f);
    put(&f, 15, LX_JOB_STEP, 62);
    put(&f, 14, LX_JOB_STEP, 2);
    take(&f, LX_JOB_STEP, 0x40FF); /* 8 x 62 and the small one that still fits */
    finish(&f);
    take(&f, LX_JOB_STEP, 1 << 15);
    finish(&f);
    end(&f);
}

/* Pieces go alone, in the order in which they came; kinds take turns. */
static void pieces_alternate_with_steps(void **state)
{
    (void)state;
    fixture f;
    begin(&f, 5, 0);
    put(&f, 0, LX_JOB_STEP, 2);
    put(&f, 1, LX_JOB_STEP, 2);
    put(&f, 3, LX_JOB_PIECE, 512);
    put(&f, 2, LX_JOB_PIECE, 512);
    take(&f, LX_JOB_STEP, 1 << 0 | 1 << 1);
    finish(&f);
    put(&f, 0, LX_JOB_STEP, 2); /* back before the piece began */
    take(&f, LX_JOB_PIECE, 1 << 3);
    finish(&f);
    put(&f, 3, LX_JOB_PIECE, 512); /* its next one comes after that of slot 2 */
    put(&f, 1, LX_JOB_CALL, 0);
    put(&f, 4, LX_JOB_CALL, 0);
    take(&f, LX_JOB_CALL, 1 << 1 | 1 << 4);
    finish(&f);
    take(&f, LX_JOB_STEP, 1 << 0);
    finish(&f);
    put(&f, 0, LX_JOB_STEP, 2);
    take(&f, LX_JOB_PIECE, 1 << 2);
    finish(&f);
    take(&f, LX_JOB_STEP, 1 << 0);
    finish(&f);
    take(&f, LX_JOB_PIECE, 1 << 3);
    finish(&f);
    end(&f);
}

static void *put_later(void *user)
{
    fixture *f = user;
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    put(f, 0, LX_JOB_STEP, 2);
    return NULL;
}

/* Slots 0 and 1 were in the batch: the next one waits for both. */
static void a_batch_waits_for_those_of_the_last(void **state)
{
    (void)state;
    fixture f;
    pthread_t other;
    begin(&f, 4, FOREVER);
    put(&f, 0, LX_JOB_STEP, 2);
    put(&f, 1, LX_JOB_STEP, 2);
    take(&f, LX_JOB_STEP, 3);
    put(&f, 2, LX_JOB_STEP, 2); /* came while it was computed */
    put(&f, 3, LX_JOB_STEP, 2);
    finish(&f);
    put(&f, 1, LX_JOB_STEP, 2);
    assert_int_equal(pthread_create(&other, NULL, put_later, &f), 0);
    take(&f, LX_JOB_STEP, 0xF);
    assert_int_equal(pthread_join(other, NULL), 0);
    finish(&f);
    end(&f);
}

/* Neither a piece nor a call waits for slots that are choosing a token. */
static void other_kinds_do_not_wait(void **state)
{
    (void)state;
    fixture f;
    begin(&f, 4, FOREVER);
    put(&f, 0, LX_JOB_STEP, 2);
    take(&f, LX_JOB_STEP, 1);
    put(&f, 1, LX_JOB_STEP, 2);
    finish(&f);
    put(&f, 2, LX_JOB_PIECE, 300);
    put(&f, 3, LX_JOB_CALL, 0);
    take(&f, LX_JOB_PIECE, 1 << 2);
    finish(&f);
    take(&f, LX_JOB_CALL, 1 << 3);
    finish(&f);
    put(&f, 0, LX_JOB_CALL, 0); /* back, with something else than a step */
    take(&f, LX_JOB_STEP, 1 << 1);
    finish(&f);
    take(&f, LX_JOB_CALL, 1);
    finish(&f);
    end(&f);
}

/* Nor is a slot waited for that has ended, or for longer than was said. */
static void the_wait_ends(void **state)
{
    (void)state;
    fixture f;
    begin(&f, 2, FOREVER);
    put(&f, 0, LX_JOB_STEP, 2);
    take(&f, LX_JOB_STEP, 1);
    finish(&f);
    put(&f, 1, LX_JOB_STEP, 2);
    lx_slot_queue_leave(&f.queue, 0);
    take(&f, LX_JOB_STEP, 1 << 1);
    finish(&f);
    end(&f);
    begin(&f, 2, 2000000);
    put(&f, 0, LX_JOB_STEP, 2);
    take(&f, LX_JOB_STEP, 1);
    finish(&f);
    put(&f, 1, LX_JOB_STEP, 2);
    take(&f, LX_JOB_STEP, 1 << 1);
    finish(&f);
    end(&f);
}

static void what_waits_can_be_cancelled(void **state)
{
    (void)state;
    fixture f;
    begin(&f, 3, 0);
    put(&f, 0, LX_JOB_STEP, 2);
    put(&f, 1, LX_JOB_STEP, 2);
    put(&f, 2, LX_JOB_CALL, 0);
    lx_slot_queue_cancel(&f.queue, 1);
    lx_slot_queue_cancel(&f.queue, 2); /* a call is made in any case */
    lx_slot_queue_wait(&f.queue, &f.jobs[1]);
    assert_int_equal(f.jobs[1].status, LYNX_ERR_CANCELLED);
    take(&f, LX_JOB_CALL, 1 << 2);
    finish(&f);
    take(&f, LX_JOB_STEP, 1);
    lx_slot_queue_cancel(&f.queue, 0); /* too late: it runs */
    finish(&f);
    assert_int_equal(f.jobs[0].status, LYNX_OK);
    lx_slot_queue_cancel(&f.queue, 0); /* nothing is there */
    end(&f);
}

static void counts_have_a_range(void **state)
{
    (void)state;
    lx_slot_queue queue;
    assert_int_equal(lx_slot_queue_init(&queue, 0, 1, 0), LYNX_ERR_ARGUMENT);
    assert_int_equal(lx_slot_queue_init(&queue, LX_SLOTS_MAX + 1, 1, 0), LYNX_ERR_ARGUMENT);
}

/* ---- threads ------------------------------------------------------------------------- */

enum { THREADS = 6, JOBS = 2000 };

typedef struct crowd {
    lx_slot_queue queue;
    uint64_t done[THREADS];      /* written by the thread that computes, without a lock */
    uint32_t cancelled[THREADS]; /* by the slots */
    atomic_bool is_over;
} crowd;

typedef struct member {
    crowd *c;
    uint32_t slot;
} member;

static void *be_a_slot(void *user)
{
    const member *m = user;
    test_rng rng = test_rng_of(m->slot);
    uint64_t own = 0;
    for (uint32_t i = 0; i < JOBS; i++) {
        const lx_job_kind kind = (lx_job_kind)test_rng_below(&rng, LX_JOB_KINDS);
        lx_job job = {.kind = kind,
                      .slot = m->slot,
                      .columns = kind == LX_JOB_CALL
                                     ? 0
                                     : 2 * (1 + (uint32_t)test_rng_below(&rng, 100)),
                      .status = LYNX_OK};
        lx_slot_queue_put(&m->c->queue, &job);
        lx_slot_queue_wait(&m->c->queue, &job);
        own += job.status == LYNX_OK;
        m->c->cancelled[m->slot] += job.status == LYNX_ERR_CANCELLED;
        if (m->c->done[m->slot] != own)
            return "a job was done twice or not at all";
    }
    lx_slot_queue_leave(&m->c->queue, m->slot);
    return NULL;
}

static void *compute(void *user)
{
    crowd *c = user;
    lx_job *group[LX_SLOTS_MAX];
    uint32_t count;
    while ((count = lx_slot_queue_take(&c->queue, group)) > 0) {
        uint32_t columns = 0;
        for (uint32_t i = 0; i < count; i++) {
            columns += group[i]->columns;
            c->done[group[i]->slot]++;
        }
        if (columns > COLUMNS || (group[0]->kind == LX_JOB_PIECE && count > 1))
            return "a group is too large";
        lx_slot_queue_finish(&c->queue, group, count);
    }
    return NULL;
}

static void *cancel_some(void *user)
{
    crowd *c = user;
    test_rng rng = test_rng_of(99);
    while (!atomic_load(&c->is_over)) {
        lx_slot_queue_cancel(&c->queue, (uint32_t)test_rng_below(&rng, THREADS));
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
    return NULL;
}

static void every_job_is_done_once(void **state)
{
    (void)state;
    static crowd c;
    pthread_t computing;
    pthread_t cancelling;
    pthread_t threads[THREADS];
    member members[THREADS];
    void *complaint;
    assert_int_equal(lx_slot_queue_init(&c.queue, THREADS, COLUMNS, 100000), LYNX_OK);
    assert_int_equal(pthread_create(&computing, NULL, compute, &c), 0);
    assert_int_equal(pthread_create(&cancelling, NULL, cancel_some, &c), 0);
    for (uint32_t i = 0; i < THREADS; i++) {
        members[i] = (member){&c, i};
        assert_int_equal(pthread_create(&threads[i], NULL, be_a_slot, &members[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &complaint), 0);
        assert_null(complaint);
        assert_int_equal(c.done[i] + c.cancelled[i], JOBS);
    }
    atomic_store(&c.is_over, true);
    assert_int_equal(pthread_join(cancelling, NULL), 0);
    lx_slot_queue_close(&c.queue);
    assert_int_equal(pthread_join(computing, &complaint), 0);
    assert_null(complaint);
    lx_slot_queue_fini(&c.queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_share_a_batch_in_the_order_of_slots),
        cmocka_unit_test(a_batch_is_bounded),
        cmocka_unit_test(pieces_alternate_with_steps),
        cmocka_unit_test(a_batch_waits_for_those_of_the_last),
        cmocka_unit_test(other_kinds_do_not_wait),
        cmocka_unit_test(the_wait_ends),
        cmocka_unit_test(what_waits_can_be_cancelled),
        cmocka_unit_test(counts_have_a_range),
        cmocka_unit_test(every_job_is_done_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
