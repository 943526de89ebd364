/* SPDX-License-Identifier: MIT */
/*
 * read.c - from the text of a grammar to its program.
 *
 *     rule      name "::=" choice, to the end of the line
 *     choice    sequence { "|" sequence }
 *     sequence  { item { "*" | "+" | "?" | "{m}" | "{m,}" | "{m,n}" } }
 *     item      "text" | [class] | [^class] | . | name | ( choice )
 *
 * A line ends a rule unless a parenthesis is open or "|" or "::=" stands before it. Comments
 * go from # to the end of the line.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "grammar/program.h"

enum { NAME_SHOWN = 40, UNBOUNDED = -1 };

typedef struct reader {
    lx_program *program;
    const lynx_allocator *memory;
    const char *text, *at, *end;
    uint32_t nesting;
    char *error;
    lynx_status status;
} reader;

/* Remember the first reason, with its place. Returns false. */
static bool fail(reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fail(reader *r, const char *format, ...)
{
    char reason[LX_GRAMMAR_ERROR_BYTES - 64];
    va_list arguments;
    unsigned line = 1, column = 1;
    if (r->status != LYNX_OK)
        return false;
    for (const char *c = r->text; c < r->at; c++) {
        column = *c == '\n' ? 1 : column + 1;
        line += *c == '\n';
    }
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    snprintf(r->error, LX_GRAMMAR_ERROR_BYTES, "line %u, column %u: %s", line, column, reason);
    r->status = LYNX_ERR_ARGUMENT;
    return false;
}

static bool too_long(reader *r)
{
    return fail(r, "the grammar is too large; use fewer repetitions or smaller rules");
}

static bool add(reader *r, lx_code code)
{
    return lx_program_add(r->program, code) || too_long(r);
}

/* ---- characters ---------------------------------------------------------------------- */

static bool is_here(const reader *r, char c)
{
    return r->at < r->end && *r->at == c;
}

static bool take(reader *r, char c)
{
    const bool is_it = is_here(r, c);
    r->at += is_it;
    return is_it;
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '_';
}

static void skip_space(reader *r, bool with_lines)
{
    while (r->at < r->end) {
        if (*r->at == '#')
            while (r->at < r->end && *r->at != '\n' && *r->at != '\r')
                r->at++;
        else if (*r->at == ' ' || *r->at == '\t' ||
                 (with_lines && (*r->at == '\n' || *r->at == '\r')))
            r->at++;
        else
            return;
    }
}

static bool take_hex(reader *r, uint32_t digits, uint32_t *value)
{
    *value = 0;
    for (uint32_t i = 0; i < digits; i++, r->at++) {
        const char c = r->at < r->end ? *r->at : '\0';
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0)
            return fail(r, "%u hexadecimal digits are expected", digits);
        *value = *value << 4 | (uint32_t)digit;
    }
    return *value <= 0x10FFFF || fail(r, "there is no such character");
}

static bool take_escape(reader *r, uint32_t *character)
{
    static const char names[] = "nrt\\\"[]-^", values[] = "\n\r\t\\\"[]-^";
    const char c = r->at < r->end ? *r->at : '\0';
    const char *found = c ? strchr(names, c) : NULL;
    r->at += r->at < r->end;
    if (found)
        *character = (uint8_t)values[found - names];
    else if (c == 'x' || c == 'u' || c == 'U')
        return take_hex(r, c == 'x' ? 2 : c == 'u' ? 4 : 8, character);
    else
        return fail(r, "an unknown escape; there are n r t \\ \" [ ] - ^ xHH uHHHH UHHHHHHHH");
    return true;
}

/* One character in UTF-8. */
static bool take_utf8(reader *r, uint32_t *character)
{
    const uint8_t lead = (uint8_t)*r->at;
    const uint32_t count = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    uint8_t check[4];
    uint32_t value = count == 1 ? lead : lead & (0xFFu >> (count + 1));
    if ((size_t)(r->end - r->at) < count)
        return fail(r, "the text is not UTF-8");
    for (uint32_t i = 1; i < count; i++)
        value = value << 6 | ((uint8_t)r->at[i] & 0x3F);
    if (value > 0x10FFFF || lx_utf8_encode(value, check) != count ||
        memcmp(check, r->at, count) != 0)
        return fail(r, "the text is not UTF-8");
    r->at += count;
    *character = value;
    return true;
}

static bool take_character(reader *r, uint32_t *character)
{
    if (r->at >= r->end)
        return fail(r, "the text ends in the middle of an item");
    return take(r, '\\') ? take_escape(r, character) : take_utf8(r, character);
}

/* ---- items --------------------------------------------------------------------------- */

static bool read_text(reader *r)
{
    while (!take(r, '"')) {
        uint32_t character;
        uint8_t bytes[4];
        if (!take_character(r, &character))
            return false;
        const uint32_t count = lx_utf8_encode(character, bytes);
        for (uint32_t i = 0; i < count; i++)
            if (!add(r, (lx_code){.kind = LX_CODE_BYTE, .least = bytes[i], .most = bytes[i]}))
                return false;
    }
    return true;
}

static bool read_class(reader *r)
{
    lx_span spans[LX_SPANS_MAX + 1];
    uint32_t count = 0;
    const bool is_other = take(r, '^');
    while (!take(r, ']')) {
        lx_span span;
        if (count == LX_SPANS_MAX)
            return fail(r, "a class has more than %d parts", LX_SPANS_MAX);
        if (!take_character(r, &span.least))
            return false;
        span.most = span.least;
        if (is_here(r, '-') && r->end - r->at > 1 && r->at[1] != ']') {
            r->at++;
            if (!take_character(r, &span.most))
                return false;
        }
        if (span.most < span.least)
            return fail(r, "a range of characters runs backwards");
        spans[count++] = span;
    }
    if (count == 0)
        return fail(r, "an empty class of characters");
    return lx_program_add_class(r->program, spans, count, is_other) || too_long(r);
}

static bool read_any(reader *r)
{
    lx_span spans[1];
    return lx_program_add_class(r->program, spans, 0, true) || too_long(r);
}

static bool take_name(reader *r, const char **name, size_t *size)
{
    *name = r->at;
    while (r->at < r->end && is_name(*r->at))
        r->at++;
    *size = (size_t)(r->at - *name);
    return *size > 0 || fail(r, "the name of a rule is expected");
}

static bool find_rule(reader *r, const char *name, size_t size, uint32_t *rule)
{
    lx_program *p = r->program;
    for (*rule = 0; *rule < p->rule_count; ++*rule)
        if (p->rules[*rule].name_size == size && memcmp(p->rules[*rule].name, name, size) == 0)
            return true;
    if (p->rule_count == LX_RULES_MAX)
        return fail(r, "there are more than %d rules", LX_RULES_MAX);
    p->rules[p->rule_count++] = (lx_rule){name, size, LX_CODE_MAX};
    return true;
}

static bool read_reference(reader *r)
{
    const char *name;
    size_t size;
    uint32_t rule;
    return take_name(r, &name, &size) && find_rule(r, name, size, &rule) &&
           add(r, (lx_code){.kind = LX_CODE_CALL, .target = (int32_t)rule});
}

static bool read_choice(reader *r);

static bool read_group(reader *r)
{
    if (++r->nesting > LX_NESTING_MAX)
        return fail(r, "more than %d parentheses are open", LX_NESTING_MAX);
    skip_space(r, true);
    if (!read_choice(r))
        return false;
    if (!take(r, ')'))
        return fail(r, "')' is expected");
    r->nesting--;
    return true;
}

/* ---- repetitions --------------------------------------------------------------------- */

/* 'count' copies of the 'size' codes at 'block' follow; with 'skips' each may be left out, and
 * all behind it. */
static bool copy_block(reader *r, const lx_code *block, uint32_t size, uint32_t count,
                       bool skips)
{
    for (uint32_t left = count; left > 0; left--) {
        if (skips &&
            !add(r, (lx_code){.kind = LX_CODE_SPLIT, .target = (int32_t)(left * (size + 1))}))
            return false;
        for (uint32_t i = 0; i < size; i++)
            if (!add(r, block[i]))
                return false;
    }
    return true;
}

static bool write_repeated(reader *r, const lx_code *block, uint32_t size, uint32_t least,
                           int32_t most)
{
    if (!copy_block(r, block, size, least, false))
        return false;
    if (most != UNBOUNDED)
        return copy_block(r, block, size, (uint32_t)most - least, true);
    return add(r, (lx_code){.kind = LX_CODE_SPLIT, .target = (int32_t)size + 2}) &&
           copy_block(r, block, size, 1, false) &&
           add(r, (lx_code){.kind = LX_CODE_JUMP, .target = -(int32_t)size - 1});
}

/* The code from 'start' on, from 'least' to 'most' times. */
static bool repeat(reader *r, uint32_t start, uint32_t least, int32_t most)
{
    lx_program *p = r->program;
    const uint32_t size = p->size - start;
    const uint64_t copies = most == UNBOUNDED ? (uint64_t)least + 1 : (uint64_t)most;
    if (copies * (size + 1) > p->room)
        return too_long(r);
    lx_code *block = lx_alloc(r->memory, size, sizeof(*block));
    if (size && !block) {
        r->status = LYNX_ERR_MEMORY;
        return false;
    }
    if (size)
        memcpy(block, p->code + start, size * sizeof(*block));
    p->size = start;
    const bool is_good = write_repeated(r, block, size, least, most);
    lx_free(r->memory, block, size, sizeof(*block));
    return is_good;
}

static bool take_number(reader *r, uint32_t *number)
{
    *number = 0;
    const char *first = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9' && *number <= LX_REPEATS_MAX)
        *number = *number * 10 + (uint32_t)(*r->at++ - '0');
    if (r->at == first)
        return fail(r, "a number is expected");
    return *number <= LX_REPEATS_MAX ||
           fail(r, "more than %d repetitions; use {m,} or fewer", LX_REPEATS_MAX);
}

/* Behind "{". */
static bool take_bounds(reader *r, uint32_t *least, int32_t *most)
{
    uint32_t number;
    skip_space(r, false);
    if (!take_number(r, least))
        return false;
    *most = (int32_t)*least;
    skip_space(r, false);
    if (take(r, ',')) {
        *most = UNBOUNDED;
        skip_space(r, false);
        if (!is_here(r, '}')) {
            if (!take_number(r, &number))
                return false;
            *most = (int32_t)number;
        }
        skip_space(r, false);
    }
    if (*most != UNBOUNDED && *most < (int32_t)*least)
        return fail(r, "the bounds of a repetition run backwards");
    return take(r, '}') || fail(r, "'}' is expected");
}

static bool read_repetitions(reader *r, uint32_t start)
{
    for (;;) {
        uint32_t least = 0;
        int32_t most = UNBOUNDED;
        skip_space(r, r->nesting > 0);
        if (take(r, '+'))
            least = 1;
        else if (take(r, '?'))
            most = 1;
        else if (take(r, '{')) {
            if (!take_bounds(r, &least, &most))
                return false;
        } else if (!take(r, '*'))
            return true;
        if (!repeat(r, start, least, most))
            return false;
    }
}

/* ---- sequences, rules ---------------------------------------------------------------- */

/* '*is_there': an item stood here. */
static bool read_item(reader *r, bool *is_there)
{
    const char c = r->at < r->end ? *r->at : '\0';
    *is_there = true;
    if (is_name(c))
        return read_reference(r);
    if (take(r, '"'))
        return read_text(r);
    if (take(r, '['))
        return read_class(r);
    if (take(r, '.'))
        return read_any(r);
    if (take(r, '('))
        return read_group(r);
    if (c == '<' || c == '!')
        return fail(r, "tokens (<...>) are not supported; write their text");
    *is_there = false;
    return true;
}

static bool read_sequence(reader *r)
{
    for (;;) {
        bool is_there;
        const uint32_t start = r->program->size;
        skip_space(r, r->nesting > 0);
        if (!read_item(r, &is_there))
            return false;
        if (!is_there)
            return true;
        if (!read_repetitions(r, start))
            return false;
    }
}

static bool read_choice(reader *r)
{
    lx_choice choice = lx_choice_begin(r->program);
    if (!read_sequence(r))
        return false;
    while (take(r, '|')) {
        if (!lx_choice_next(r->program, &choice))
            return too_long(r);
        skip_space(r, true);
        if (!read_sequence(r))
            return false;
    }
    lx_choice_end(r->program, &choice);
    return true;
}

static bool read_rule(reader *r)
{
    const char *name;
    size_t size;
    uint32_t rule;
    if (!take_name(r, &name, &size) || !find_rule(r, name, size, &rule))
        return false;
    skip_space(r, false);
    if (r->end - r->at < 3 || memcmp(r->at, "::=", 3) != 0)
        return fail(r, "\"::=\" is expected");
    r->at += 3;
    if (r->program->rules[rule].first != LX_CODE_MAX)
        return fail(r, "the rule '%.*s' is defined twice",
                    size < NAME_SHOWN ? (int)size : NAME_SHOWN, name);
    r->program->rules[rule].first = r->program->size;
    skip_space(r, true);
    if (!read_choice(r) || !add(r, (lx_code){.kind = LX_CODE_RETURN}))
        return false;
    if (r->at < r->end && *r->at != '\n' && *r->at != '\r')
        return fail(r, "an item, '|' or the end of the line is expected");
    return true;
}

static bool check_names(reader *r)
{
    lx_program *p = r->program;
    for (uint32_t i = 0; i < p->rule_count; i++) {
        const lx_rule *rule = &p->rules[i];
        r->at = rule->name;
        if (rule->first == LX_CODE_MAX)
            return fail(r, "the rule '%.*s' is used and not defined",
                        rule->name_size < NAME_SHOWN ? (int)rule->name_size : NAME_SHOWN,
                        rule->name);
    }
    r->at = r->end;
    for (p->root = 0; p->root < p->rule_count; p->root++)
        if (p->rules[p->root].name_size == 4 && memcmp(p->rules[p->root].name, "root", 4) == 0)
            return true;
    return fail(r, "there is no rule 'root'");
}

static bool read_all(reader *r)
{
    if (r->end - r->text > LX_GRAMMAR_BYTES_MAX)
        return fail(r, "the grammar has more than %d bytes", LX_GRAMMAR_BYTES_MAX);
    for (skip_space(r, true); r->at < r->end; skip_space(r, true))
        if (!read_rule(r))
            return false;
    return check_names(r);
}

lynx_status lx_program_read(lx_program *program, const char *text, size_t size,
                            const lynx_allocator *memory, char *error)
{
    reader r = {.program = program,
                .memory = memory,
                .text = text,
                .at = text,
                .end = text + size,
                .error = error};
    program->size = program->rule_count = 0;
    return read_all(&r) ? LYNX_OK : r.status;
}
