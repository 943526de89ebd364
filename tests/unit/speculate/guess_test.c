/* SPDX-License-Identifier: MIT */
#include "speculate/guess.h"

#include "support/cmocka_all.h"
#include "support/failing_allocator.h"
#include "support/rng.h"

enum { ROOM = 4000 };

/* What lx_guess promises, by looking through everything. */
static uint32_t search(const lynx_token *history, uint32_t count, lynx_token *guess)
{
    for (uint32_t length = LX_GUESS_RUN_MAX; length > 0; length--)
        for (uint32_t behind = count ? count - 1 : 0; behind >= length; behind--) {
            uint32_t same = 0;
            while (same < length && history[behind - 1 - same] == history[count - 1 - same])
                same++;
            if (same == length) {
                *guess = history[behind];
                return length;
            }
        }
    return 0;
}

static void check(lx_guesses *g, const lynx_token *history, uint32_t count)
{
    lynx_token guess = -1;
    lynx_token expected = -1;
    assert_int_equal(lx_guess(g, history, count, &guess), search(history, count, &expected));
    assert_int_equal(guess, expected);
}

static void the_newest_of_the_longest_matches_counts(void **state)
{
    (void)state;
    /* 1 2 3 is longer than the 3 behind it; of two, the newer. */
    const lynx_token history[] = {1, 2, 3, 40, 1, 2, 3, 41, 3, 42, 2, 3, 43, 1, 2, 3};
    lynx_token guess = -1;
    lx_guesses g;
    assert_int_equal(lx_guesses_init(&g, 16, NULL), LYNX_OK);
    assert_int_equal(lx_guess(&g, history, 16, &guess), 3);
    assert_int_equal(guess, 41);
    assert_int_equal(lx_guess(&g, history, 9, &guess), 1);
    assert_int_equal(guess, 41);
    lx_guesses_forget(&g, 0);
    assert_int_equal(lx_guess(&g, history, 0, &guess), 0);
    assert_int_equal(lx_guess(&g, history, 1, &guess), 0);
    assert_int_equal(lx_guess(&g, history, 4, &guess), 0);
    lx_guesses_fini(&g);
}

/* Few words, so that runs repeat; and many, so that most slots are of runs that stand alone. */
static void the_index_finds_what_a_search_finds(void **state)
{
    (void)state;
    static lynx_token history[ROOM];
    static const uint32_t words[] = {1, 2, 3, 10, 60, 1000, 250000};
    test_rng rng = test_rng_of(5);
    for (uint32_t w = 0; w < sizeof(words) / sizeof(*words); w++) {
        lx_guesses g;
        assert_int_equal(lx_guesses_init(&g, ROOM, NULL), LYNX_OK);
        for (uint32_t count = 0; count < ROOM; count++) {
            if (count % 7 == 0 || count < 50)
                check(&g, history, count);
            history[count] = (lynx_token)test_rng_below(&rng, words[w]);
        }
        lx_guesses_fini(&g);
    }
}

/* Drafts come and are withdrawn, as much as all that is there. */
static void what_is_forgotten_leaves_no_trace(void **state)
{
    (void)state;
    enum { FEW = 300 };
    lynx_token history[FEW];
    test_rng rng = test_rng_of(6);
    for (uint32_t trial = 0; trial < 40; trial++) {
        const uint32_t words = 1 + (uint32_t)test_rng_below(&rng, 30);
        uint32_t count = 0;
        lx_guesses g;
        assert_int_equal(lx_guesses_init(&g, FEW, NULL), LYNX_OK);
        for (uint32_t turn = 0; turn < 200; turn++) {
            const uint32_t kept = (uint32_t)test_rng_below(&rng, count + 1);
            if (turn % 3 == 0) {
                lx_guesses_forget(&g, kept);
                count = kept;
            }
            for (uint32_t i = (uint32_t)test_rng_below(&rng, 40); i > 0 && count < FEW; i--)
                history[count++] = (lynx_token)test_rng_below(&rng, words);
            check(&g, history, count);
        }
        lx_guesses_fini(&g);
    }
}

/* Tokens that as runs of one have the first of 'slots', by the hash of guess.c. */
static void find_colliding(uint32_t slots, lynx_token *tokens, uint32_t count)
{
    uint32_t found = 0;
    for (uint32_t token = 0; found < count; token++) {
        uint64_t x = (1 ^ (uint64_t)token) * 0x9E3779B97F4A7C15u;
        x ^= x >> 32;
        if (((uint32_t)x & (slots - 1)) == 0)
            tokens[found++] = (lynx_token)token;
    }
}

/* Somebody who chooses tokens that collide gets fewer guesses, and no wrong memory. */
static void tokens_that_collide_are_bounded(void **state)
{
    (void)state;
    enum { MANY = 500 };
    lynx_token history[2 * MANY];
    lynx_token guess = -1;
    lx_guesses g;
    assert_int_equal(lx_guesses_init(&g, 2 * MANY, NULL), LYNX_OK);
    find_colliding(g.slot_mask + 1, history, MANY);
    for (uint32_t i = 0; i < MANY; i++)
        history[MANY + i] = history[i];
    /* The first tokens have slots; those behind the bound of tries have none. */
    assert_int_equal(lx_guess(&g, history, MANY + 1, &guess), 1);
    assert_int_equal(guess, history[1]);
    lx_guesses_forget(&g, 0);
    lynx_token last[MANY + 1];
    for (uint32_t i = 0; i <= MANY; i++)
        last[i] = history[i < MANY ? i : MANY - 2];
    assert_int_equal(lx_guess(&g, last, MANY + 1, &guess), 0);
    lx_guesses_forget(&g, 0);
    for (uint32_t i = 0; i <= g.slot_mask; i++)
        assert_int_equal(g.runs[0].newest[i], 0);
    lx_guesses_fini(&g);
}

static void memory_that_is_missing_is_said(void **state)
{
    (void)state;
    test_allocator failing;
    lx_guesses g = {0};
    lx_guesses_fini(&g);
    test_allocator_init(&failing);
    failing.fail_at = 1;
    assert_int_equal(lx_guesses_init(&g, 10, &failing.allocator), LYNX_ERR_MEMORY);
    lx_guesses_fini(&g);
    assert_int_equal(lx_guesses_init(&g, 10, &failing.allocator), LYNX_OK);
    assert_true(failing.live_bytes <= 10 * 72 + LX_GUESS_RUN_MAX * 64);
    lx_guesses_fini(&g);
    assert_int_equal(failing.live_blocks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_of_the_longest_matches_counts),
        cmocka_unit_test(the_index_finds_what_a_search_finds),
        cmocka_unit_test(what_is_forgotten_leaves_no_trace),
        cmocka_unit_test(tokens_that_collide_are_bounded),
        cmocka_unit_test(memory_that_is_missing_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
