/* SPDX-License-Identifier: MIT */
/* crew_test.c - every item of a list is done once, by whichever member. */
#include "runtime/crew.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "support/cmocka_all.h"

enum { ITEMS_MAX = 1000 };

typedef struct list {
    atomic_uint done[ITEMS_MAX];
    atomic_uint inside[LX_CREW_MEMBERS_MAX];
    atomic_bool is_shared; /* two items by one member at once */
    uint32_t members;
} list;

static void do_item(void *user, uint32_t member, size_t index)
{
    list *l = user;
    if (member >= l->members || atomic_fetch_add(&l->inside[member], 1) != 0)
        atomic_store(&l->is_shared, true);
    atomic_fetch_add(&l->done[index], 1);
    atomic_fetch_sub(&l->inside[member], 1);
}

static void run_list(lx_crew *crew, uint32_t members, size_t count)
{
    static list l;
    memset(&l, 0, sizeof(l));
    l.members = members;
    lx_crew_run(crew, count, do_item, &l);
    for (size_t i = 0; i < ITEMS_MAX; i++)
        assert_int_equal(atomic_load(&l.done[i]), i < count ? 1 : 0);
    assert_false(atomic_load(&l.is_shared));
}

static void each_item_is_done_once(void **state)
{
    static const uint32_t members[] = {1, 2, 5, LX_CREW_MEMBERS_MAX};
    static const size_t counts[] = {0, 1, 2, 3, 40, ITEMS_MAX};
    (void)state;
    for (size_t m = 0; m < sizeof(members) / sizeof(*members); m++) {
        lx_crew *crew = NULL;
        assert_int_equal(lx_crew_create(&crew, members[m], lynx_allocator_default()), LYNX_OK);
        for (uint32_t round = 0; round < 50; round++)
            for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++)
                run_list(crew, members[m], counts[c]);
        lx_crew_destroy(crew);
    }
}

/* Two items that wait for one another need two threads. */
static void meet(void *user, uint32_t member, size_t index)
{
    atomic_uint *here = user;
    (void)member;
    (void)index;
    atomic_fetch_add(here, 1);
    while (atomic_load(here) < 2)
        ;
}

static void items_are_done_at_once(void **state)
{
    lx_crew *crew = NULL;
    (void)state;
    assert_int_equal(lx_crew_create(&crew, 2, lynx_allocator_default()), LYNX_OK);
    for (uint32_t round = 0; round < 20; round++) {
        atomic_uint here = 0;
        lx_crew_run(crew, 2, meet, &here);
        assert_int_equal(atomic_load(&here), 2);
    }
    lx_crew_destroy(crew);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_item_is_done_once),
        cmocka_unit_test(items_are_done_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
