/* SPDX-License-Identifier: MIT */
/*
 * grammar.h - which bytes may follow, by a grammar in GBNF, the notation of llama.cpp.
 *
 *     root ::= "yes" | "no" (" " [a-z]{1,8})?
 *
 * A text becomes a program of bytes, branches and calls; a state is the set of places in it
 * where a text can be, each with the calls that it will return to. States are made as texts
 * reach them and are kept with what follows by each byte, so that a step is a look-up once it
 * was done before. All of it is bounded: a grammar can be refused or given up, but cannot take
 * memory or time without end.
 *
 * Threads: one at a time for each object.
 */
#ifndef LX_GRAMMAR_GRAMMAR_H
#define LX_GRAMMAR_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lynx/memory.h"
#include "lynx/status.h"

enum {
    LX_GRAMMAR_BYTES_MAX = 65536, /* of a text */
    LX_GRAMMAR_ERROR_BYTES = 256,
    LX_GRAMMAR_START = 1, /* the state after no byte */
    LX_GRAMMAR_DEAD = 0   /* nothing may follow, and it is no end */
};

typedef struct lx_grammar lx_grammar;

/*
 * Read 'size' bytes. LYNX_ERR_ARGUMENT, with a sentence in 'error' (LX_GRAMMAR_ERROR_BYTES):
 * it is wrong or beyond a limit. LYNX_ERR_MEMORY.
 */
lynx_status lx_grammar_create(lx_grammar **grammar, const char *text, size_t size,
                              const lynx_allocator *memory, char *error);
void lx_grammar_destroy(lx_grammar *grammar);

/* The state after 'size' more bytes; LX_GRAMMAR_DEAD: they do not fit. LYNX_ERR_LIMIT: the
 * grammar is too ambiguous, or too many states were reached; LYNX_ERR_MEMORY. */
lynx_status lx_grammar_step(lx_grammar *grammar, uint32_t state, const char *bytes, size_t size,
                            uint32_t *next);

/* The text may end here. */
bool lx_grammar_may_end(const lx_grammar *grammar, uint32_t state);

/* So many states are kept that they should be dropped. */
bool lx_grammar_is_full(const lx_grammar *grammar);
/* Drop all states but the first: their numbers mean nothing any more. */
lynx_status lx_grammar_reset(lx_grammar *grammar);

#endif
