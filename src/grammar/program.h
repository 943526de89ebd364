/* SPDX-License-Identifier: MIT */
/*
 * program.h - what a grammar becomes, between its reader and its runner.
 *
 * Branches are relative, so that a piece of code can be moved and repeated.
 */
#ifndef LX_GRAMMAR_PROGRAM_H
#define LX_GRAMMAR_PROGRAM_H

#include "grammar/grammar.h"

enum { LX_CODE_MAX = 65536, LX_RULES_MAX = 1024, LX_NESTING_MAX = 64, LX_REPEATS_MAX = 1024 };

typedef enum lx_code_kind {
    LX_CODE_BYTE,  /* one from 'least' to 'most' */
    LX_CODE_SPLIT, /* go on here, or at 'target' from here */
    LX_CODE_JUMP,  /* go on at 'target' from here */
    LX_CODE_CALL,  /* rule 'target' */
    LX_CODE_RETURN
} lx_code_kind;

typedef struct lx_code {
    uint8_t kind, least, most;
    int32_t target;
} lx_code;

typedef struct lx_rule {
    const char *name; /* in the text */
    size_t name_size;
    uint32_t first; /* code; LX_CODE_MAX: not defined yet */
} lx_rule;

typedef struct lx_program {
    lx_code *code; /* 'room' of them */
    uint32_t size, room;
    lx_rule rules[LX_RULES_MAX];
    uint32_t rule_count;
    uint32_t root; /* a rule */
} lx_program;

/* Read a text into a program whose code has room for LX_CODE_MAX. */
lynx_status lx_program_read(lx_program *program, const char *text, size_t size,
                            const lynx_allocator *memory, char *error);

/* No rule may come back to itself before a byte: LYNX_ERR_ARGUMENT names one that does. */
lynx_status lx_program_check_recursion(const lx_program *program, const lynx_allocator *memory,
                                       char *error);

/* ---- for the reader ------------------------------------------------------------------ */

/* Alternatives that are written one behind the other. */
typedef struct lx_choice {
    uint32_t start;    /* of the newest */
    uint32_t last_end; /* the jump behind the one before it; LX_CODE_MAX: none */
} lx_choice;

/* False: the program has no room. */
bool lx_program_add(lx_program *program, lx_code code);
bool lx_program_insert(lx_program *program, uint32_t at, lx_code code);
lx_choice lx_choice_begin(const lx_program *program);
bool lx_choice_next(lx_program *program, lx_choice *choice);
void lx_choice_end(lx_program *program, const lx_choice *choice);

typedef struct lx_span {
    uint32_t least, most;
} lx_span;

enum { LX_SPANS_MAX = 256 }; /* of one class of characters */

/* Code for one character of 'spans', in UTF-8; 'is_other': of none of them. Sorts 'spans',
 * which has room for one more. False: the program has no room. */
bool lx_program_add_class(lx_program *program, lx_span *spans, uint32_t count, bool is_other);

/* Put 'character' into 'bytes'; their number. */
uint32_t lx_utf8_encode(uint32_t character, uint8_t bytes[4]);

#endif
