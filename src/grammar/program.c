/* SPDX-License-Identifier: MIT */
/* program.c - code that is written, and classes of characters as bytes. */
#include "grammar/program.h"

#include <stdlib.h>
#include <string.h>

enum { CHARACTER_MAX = 0x10FFFF };

/* ---- code ---------------------------------------------------------------------------- */

bool lx_program_add(lx_program *p, lx_code code)
{
    if (p->size >= p->room)
        return false;
    p->code[p->size++] = code;
    return true;
}

bool lx_program_insert(lx_program *p, uint32_t at, lx_code code)
{
    if (p->size >= p->room)
        return false;
    memmove(p->code + at + 1, p->code + at, (p->size - at) * sizeof(*p->code));
    p->code[at] = code;
    p->size++;
    return true;
}

lx_choice lx_choice_begin(const lx_program *p)
{
    return (lx_choice){p->size, LX_CODE_MAX};
}

/* Until the end is known, a jump to it holds the place of the one before. */
bool lx_choice_next(lx_program *p, lx_choice *choice)
{
    const int32_t over = (int32_t)(p->size - choice->start) + 2;
    if (!lx_program_insert(p, choice->start,
                           (lx_code){.kind = LX_CODE_SPLIT, .target = over}) ||
        !lx_program_add(p,
                        (lx_code){.kind = LX_CODE_JUMP, .target = (int32_t)choice->last_end}))
        return false;
    *choice = (lx_choice){p->size, p->size - 1};
    return true;
}

void lx_choice_end(lx_program *p, const lx_choice *choice)
{
    uint32_t at = choice->last_end;
    while (at != LX_CODE_MAX) {
        const uint32_t before = (uint32_t)p->code[at].target;
        p->code[at].target = (int32_t)(p->size - at);
        at = before;
    }
}

/* ---- classes ------------------------------------------------------------------------- */

uint32_t lx_utf8_encode(uint32_t character, uint8_t bytes[4])
{
    const uint32_t count = character < 0x80      ? 1
                           : character < 0x800   ? 2
                           : character < 0x10000 ? 3
                                                 : 4;
    static const uint8_t leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (uint32_t i = count - 1; i > 0; i--) {
        bytes[i] = (uint8_t)(0x80 | (character & 0x3F));
        character >>= 6;
    }
    bytes[0] = (uint8_t)(leads[count] | character);
    return count;
}

/* Where a span must be cut so that every byte of a character runs on its own; 0: nowhere. The
 * cut is before the character that is returned. */
static uint32_t find_cut(lx_span span)
{
    static const uint32_t lengths[] = {0x80, 0x800, 0x10000};
    for (size_t i = 0; i < 3; i++)
        if (span.least < lengths[i] && span.most >= lengths[i])
            return lengths[i];
    for (uint32_t bits = 6; span.most >= 0x80 && bits <= 18; bits += 6) {
        const uint32_t low = (1u << bits) - 1;
        if ((span.least & ~low) == (span.most & ~low))
            return 0;
        if (span.least & low)
            return (span.least | low) + 1;
        if ((span.most & low) != low)
            return span.most & ~low;
    }
    return 0;
}

static bool add_bytes(lx_program *p, lx_span span)
{
    uint8_t least[4], most[4];
    const uint32_t count = lx_utf8_encode(span.least, least);
    (void)lx_utf8_encode(span.most, most);
    for (uint32_t i = 0; i < count; i++)
        if (!lx_program_add(
                p, (lx_code){.kind = LX_CODE_BYTE, .least = least[i], .most = most[i]}))
            return false;
    return true;
}

/* One span, cut into alternatives; 'is_first': none stands there yet. */
static bool add_span(lx_program *p, lx_choice *choice, lx_span span, bool *is_first)
{
    while (span.least <= span.most) {
        lx_span part = span;
        for (uint32_t cut = find_cut(part); cut; cut = find_cut(part))
            part.most = cut - 1;
        if (!*is_first && !lx_choice_next(p, choice))
            return false;
        *is_first = false;
        if (!add_bytes(p, part))
            return false;
        span.least = part.most + 1;
    }
    return true;
}

static int by_least(const void *a, const void *b)
{
    const lx_span *left = a, *right = b;
    return left->least < right->least ? -1 : left->least > right->least;
}

static bool add_without_surrogates(lx_program *p, lx_choice *choice, lx_span span,
                                   bool *is_first)
{
    const lx_span low = {span.least, span.most < 0xD7FF ? span.most : 0xD7FF};
    const lx_span high = {span.least > 0xE000 ? span.least : 0xE000, span.most};
    return add_span(p, choice, low, is_first) && add_span(p, choice, high, is_first);
}

/* Nothing fits: a byte that is none. */
static bool add_nothing(lx_program *p)
{
    return lx_program_add(p, (lx_code){.kind = LX_CODE_BYTE, .least = 1, .most = 0});
}

bool lx_program_add_class(lx_program *p, lx_span *spans, uint32_t count, bool is_other)
{
    lx_choice choice = lx_choice_begin(p);
    bool is_first = true;
    uint32_t next = 0; /* the first character that is not covered yet */
    qsort(spans, count, sizeof(*spans), by_least);
    spans[count] = (lx_span){CHARACTER_MAX + 1, CHARACTER_MAX + 1};
    for (uint32_t i = 0; i <= count; i++) {
        lx_span span = spans[i];
        if (is_other && span.least > next &&
            !add_without_surrogates(p, &choice, (lx_span){next, span.least - 1}, &is_first))
            return false;
        span.least = span.least > next ? span.least : next;
        if (!is_other && i < count && span.least <= span.most &&
            !add_without_surrogates(p, &choice, span, &is_first))
            return false;
        next = span.most + 1 > next ? span.most + 1 : next;
    }
    lx_choice_end(p, &choice);
    return !is_first || add_nothing(p);
}
