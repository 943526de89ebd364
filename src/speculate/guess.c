/* SPDX-License-Identifier: MIT */
#include "speculate/guess.h"

#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

/* Slots that are tried for a run; at most half of all are taken, so that fewer do, but for
 * tokens that somebody chose to collide. A run behind them is not kept. */
enum { TRIES = 64 };
static const uint32_t NO_SLOT = UINT32_MAX;

lynx_status lx_guesses_init(lx_guesses *g, uint32_t room, const lynx_allocator *memory)
{
    *g = (lx_guesses){.memory = lx_allocator_or_default(memory), .room = room};
    size_t slots = 2;
    while (slots < 2 * (size_t)room)
        slots *= 2;
    g->slot_mask = (uint32_t)(slots - 1);
    g->all_count = LX_GUESS_RUN_MAX * (slots + 2 * (size_t)room);
    g->all = lx_alloc_zeroed(g->memory, g->all_count, sizeof(*g->all));
    LX_REQUIRE(g->all, LYNX_ERR_MEMORY);
    uint32_t *next = g->all;
    for (uint32_t i = 0; i < LX_GUESS_RUN_MAX; i++) {
        g->runs[i] = (lx_guess_runs){next, next + slots, next + slots + room};
        next += slots + 2 * (size_t)room;
    }
    return LYNX_OK;
}

void lx_guesses_fini(lx_guesses *g)
{
    lx_free(g->memory, g->all, g->all ? g->all_count : 0, sizeof(*g->all));
    g->all = NULL;
}

static uint32_t hash_of(const lynx_token *run, uint32_t length)
{
    uint64_t x = length;
    for (uint32_t i = 0; i < length; i++) {
        x = (x ^ (uint32_t)run[i]) * 0x9E3779B97F4A7C15u;
        x ^= x >> 32;
    }
    return (uint32_t)x;
}

/* The slot of the run of 'length' tokens whose last is at 'last', or a free one for it. */
static uint32_t slot_of(const lx_guesses *g, const lynx_token *history, uint32_t last,
                        uint32_t length)
{
    const uint32_t *newest = g->runs[length - 1].newest;
    const lynx_token *run = history + last + 1 - length;
    const uint32_t hash = hash_of(run, length);
    for (uint32_t i = 0; i < TRIES; i++) {
        const uint32_t slot = (hash + i) & g->slot_mask;
        if (newest[slot] == 0 ||
            memcmp(history + newest[slot] - length, run, length * sizeof(*run)) == 0)
            return slot;
    }
    return NO_SLOT;
}

/* Put in the runs that end at the next place. */
static void add(lx_guesses *g, const lynx_token *history)
{
    const uint32_t place = g->count++;
    for (uint32_t i = 0; i < LX_GUESS_RUN_MAX && i <= place; i++) {
        lx_guess_runs *runs = &g->runs[i];
        const uint32_t slot = slot_of(g, history, place, i + 1);
        runs->slot[place] = slot;
        if (slot == NO_SLOT)
            continue;
        runs->older[place] = runs->newest[slot];
        runs->newest[slot] = place + 1;
    }
}

void lx_guesses_forget(lx_guesses *g, uint32_t count)
{
    while (g->count > count) {
        const uint32_t place = --g->count;
        for (uint32_t i = 0; i < LX_GUESS_RUN_MAX && i <= place; i++) {
            const lx_guess_runs *runs = &g->runs[i];
            if (runs->slot[place] != NO_SLOT)
                runs->newest[runs->slot[place]] = runs->older[place];
        }
    }
}

uint32_t lx_guess(lx_guesses *g, const lynx_token *history, uint32_t count, lynx_token *guess)
{
    /* What follows the last token is not known. */
    lx_guesses_forget(g, count ? count - 1 : 0);
    while (g->count + 1 < count)
        add(g, history);
    for (uint32_t length = LX_GUESS_RUN_MAX; length > 0; length--) {
        if (count < length + 1)
            continue;
        const uint32_t slot = slot_of(g, history, count - 1, length);
        const uint32_t behind = slot == NO_SLOT ? 0 : g->runs[length - 1].newest[slot];
        if (behind) {
            *guess = history[behind];
            return length;
        }
    }
    return 0;
}
