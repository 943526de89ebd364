/* SPDX-License-Identifier: MIT */
/* branches_test.c - where drafts go on from second choices, and what is found among them. */
#include "base/alloc.h"
#include "speculate/branches.h"
#include "support/cmocka_all.h"

enum { LIMIT = 40, SURE = 5 };

static lx_branches make(uint32_t most)
{
    lx_branches b;
    assert_int_equal(lx_branches_init(&b, LIMIT, most, lx_allocator_or_default(NULL)), LYNX_OK);
    return b;
}

/* Drafts with tokens 100, 101, ... of the active branch up to 'count'; each is far from
 * another, but for the one at 'close'. */
static void draft_to(lx_branches *b, uint32_t count, uint32_t close)
{
    for (uint32_t i = lx_branches_active(b)->count; i < count; i++) {
        lx_draft draft = {.token = (lynx_token)(100 + i), .other = -1, .margin = SURE};
        if (i == close) {
            draft.other = (lynx_token)(200 + i);
            draft.margin = 0.01F;
        }
        lx_branches_add(b, draft, false);
    }
}

static bool choose(lx_branches *b, double least, uint32_t *common)
{
    return lx_branches_choose(b, LIMIT, least, common);
}

static void the_closest_draft_is_left(void **state)
{
    uint32_t common;
    (void)state;
    lx_branches b = make(3);
    draft_to(&b, 10, 3);
    assert_true(choose(&b, 0.02, &common)); /* a run is not left */
    assert_int_equal(b.active, 0);
    draft_to(&b, LX_BRANCH_RUN, 3);
    assert_true(choose(&b, 0.02, &common)); /* the first choice is the likelier one */
    assert_int_equal(b.active, 0);
    draft_to(&b, LIMIT, 3);
    assert_true(choose(&b, 0.02, &common));
    assert_int_equal(b.active, 1);
    assert_int_equal(common, 3);
    const lx_branch *second = lx_branches_active(&b);
    assert_int_equal(second->count, 4);
    assert_int_equal(second->begin, 4);
    assert_int_equal(second->drafts[2].token, 102);
    assert_int_equal(second->drafts[3].token, 203);
    /* Nothing is tried twice. */
    draft_to(&b, LIMIT, LIMIT);
    assert_false(choose(&b, 0.02, &common));
    assert_int_equal(b.count, 2);
    lx_branches_fini(&b);
}

static void the_likeliest_branch_is_next(void **state)
{
    uint32_t common;
    (void)state;
    lx_branches b = make(3);
    draft_to(&b, 30, 2);
    b.all[0].drafts[28] = (lx_draft){.token = 128, .other = 228, .margin = 0.01F};
    assert_true(choose(&b, 0.02, &common)); /* 0.41, and behind the trunk 0.29 */
    assert_int_equal(common, 2);
    draft_to(&b, LIMIT, LIMIT);
    assert_true(choose(&b, 0.02, &common));
    assert_int_equal(b.active, 0);
    draft_to(&b, LIMIT, LIMIT);
    assert_true(choose(&b, 0.02, &common)); /* 0.22 */
    assert_int_equal(b.active, 2);
    assert_int_equal(lx_branches_active(&b)->drafts[28].token, 228);
    lx_branches_fini(&b);
}

static void what_is_unlikely_is_left_out(void **state)
{
    uint32_t common;
    (void)state;
    lx_branches b = make(3);
    draft_to(&b, LIMIT, 3);
    assert_false(choose(&b, 0.5, &common)); /* a second choice is right in less than a half */
    assert_int_equal(b.active, 0);
    assert_true(choose(&b, 0.4, &common));
    assert_int_equal(b.active, 1);
    lx_branches_fini(&b);
    lx_branches none = make(1);
    draft_to(&none, LIMIT, 3);
    assert_false(choose(&none, 0.02, &common));
    lx_branches_fini(&none);
    /* The trunk goes on whatever its chance is. */
    lx_branches trunk = make(1);
    for (uint32_t i = 0; i < LX_BRANCH_RUN; i++)
        lx_branches_add(&trunk, (lx_draft){.token = 1, .other = 2, .margin = 0}, false);
    assert_true(choose(&trunk, 0.5, &common));
    assert_int_equal(trunk.active, 0);
    lx_branches_fini(&trunk);
}

static void ends_are_not_passed(void **state)
{
    uint32_t common;
    (void)state;
    lx_branches b = make(2);
    draft_to(&b, 5, 1);
    lx_branches_add(&b, (lx_draft){.token = 0, .other = -1, .margin = SURE}, true);
    assert_true(choose(&b, 0.02, &common));
    assert_int_equal(common, 1);
    lx_branches_add(&b, (lx_draft){.token = 0, .other = -1, .margin = SURE}, true);
    assert_false(choose(&b, 0.02, &common));
    /* A review takes the end back, and all that others know. */
    lx_branches_cut(&b, 5);
    assert_int_equal(b.count, 1);
    assert_true(choose(&b, 0.02, &common));
    assert_int_equal(b.active, 0);
    assert_int_equal(lx_branches_active(&b)->count, 5);
    lx_branches_fini(&b);
}

static void the_longest_branch_is_found(void **state)
{
    static const lynx_token path[] = {100, 101, 102, 203, 104, 105};
    uint32_t common;
    (void)state;
    lx_branches b = make(3);
    draft_to(&b, LIMIT, 3);
    assert_true(choose(&b, 0.02, &common));
    draft_to(&b, 6, LIMIT);
    assert_ptr_equal(lx_branches_find(&b, path, 3), &b.all[0]);
    assert_ptr_equal(lx_branches_find(&b, path, 4), &b.all[1]);
    assert_ptr_equal(lx_branches_find(&b, path, 5), &b.all[1]);
    assert_null(lx_branches_find(&b, path, 6));
    assert_null(lx_branches_find(&b, path + 1, 2));
    assert_int_equal(lx_branches_take_trunk(&b), 3);
    assert_int_equal(b.active, 0);
    lx_branches_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_closest_draft_is_left),
        cmocka_unit_test(the_likeliest_branch_is_next),
        cmocka_unit_test(what_is_unlikely_is_left_out),
        cmocka_unit_test(ends_are_not_passed),
        cmocka_unit_test(the_longest_branch_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
