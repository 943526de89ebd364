/* SPDX-License-Identifier: MIT */
/* recursion.c - finds rules that could come back to themselves without having taken a byte. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "grammar/program.h"

enum { WORDS = LX_RULES_MAX / 64, NAME_SHOWN = 40 };

/* What can be reached in each rule before its first byte. */
typedef struct survey {
    const lx_program *program;
    uint64_t empty[WORDS];               /* rules that may be empty */
    uint64_t grounded[WORDS];            /* rules that take a byte before they come back */
    uint64_t calls[LX_RULES_MAX][WORDS]; /* of each rule, before its first byte */
    uint32_t seen[LX_CODE_MAX];          /* in which round */
    uint32_t todo[LX_CODE_MAX + 2];
    uint32_t round;
} survey;

static bool has(const uint64_t *set, uint32_t i)
{
    return set[i / 64] >> i % 64 & 1;
}

static void put(uint64_t *set, uint32_t i)
{
    set[i / 64] |= (uint64_t)1 << i % 64;
}

/* Push each place once in a round, so that the list never overflows. */
static void push(survey *s, uint32_t *count, uint32_t at)
{
    if (s->seen[at] == s->round)
        return;
    s->seen[at] = s->round;
    s->todo[(*count)++] = at;
}

/* Walk a rule up to its first bytes; true when its end was reached. */
static bool walk(survey *s, uint32_t rule)
{
    bool reaches_end = false;
    uint32_t count = 0;
    s->round++;
    push(s, &count, s->program->rules[rule].first);
    while (count) {
        const uint32_t at = s->todo[--count];
        const lx_code code = s->program->code[at];
        const uint32_t target = (uint32_t)((int32_t)at + code.target);
        if (code.kind == LX_CODE_RETURN)
            reaches_end = true;
        if (code.kind == LX_CODE_SPLIT || code.kind == LX_CODE_JUMP)
            push(s, &count, target);
        if (code.kind == LX_CODE_CALL)
            put(s->calls[rule], (uint32_t)code.target);
        if (code.kind == LX_CODE_SPLIT ||
            (code.kind == LX_CODE_CALL && has(s->empty, (uint32_t)code.target)))
            push(s, &count, at + 1);
    }
    return reaches_end;
}

static bool calls_grounded_only(const survey *s, uint32_t rule)
{
    for (uint32_t word = 0; word < WORDS; word++)
        if (s->calls[rule][word] & ~s->grounded[word])
            return false;
    return true;
}

/* Mark what 'test' holds for until nothing changes. */
static void settle(survey *s, uint64_t *set, bool (*test)(survey *s, uint32_t rule))
{
    for (bool has_changed = true; has_changed;) {
        has_changed = false;
        for (uint32_t rule = 0; rule < s->program->rule_count; rule++) {
            if (has(set, rule) || !test(s, rule))
                continue;
            put(set, rule);
            has_changed = true;
        }
    }
}

static bool is_grounded(survey *s, uint32_t rule)
{
    return calls_grounded_only(s, rule);
}

lynx_status lx_program_check_recursion(const lx_program *p, const lynx_allocator *memory,
                                       char *error)
{
    survey *s = lx_alloc_zeroed(memory, 1, sizeof(*s));
    LX_REQUIRE(s, LYNX_ERR_MEMORY);
    s->program = p;
    settle(s, s->empty, walk);
    for (uint32_t rule = 0; rule < p->rule_count; rule++)
        (void)walk(s, rule); /* once more, now that all empty ones are known */
    settle(s, s->grounded, is_grounded);
    uint32_t bad = 0;
    while (bad < p->rule_count && has(s->grounded, bad))
        bad++;
    lx_free(memory, s, 1, sizeof(*s));
    if (bad == p->rule_count)
        return LYNX_OK;
    const size_t size = p->rules[bad].name_size;
    snprintf(error, LX_GRAMMAR_ERROR_BYTES,
             "the rule '%.*s' can come back to itself before a character (left recursion); "
             "turn the repetition round",
             size < NAME_SHOWN ? (int)size : NAME_SHOWN, p->rules[bad].name);
    return LYNX_ERR_ARGUMENT;
}
