/* SPDX-License-Identifier: MIT */
/*
 * constraint.h - what may be chosen, by a sampling's grammar or its set of tokens.
 *
 * A constraint remembers the grammar and the states after the tokens of an answer, so that the
 * next choice goes on from the longest part of its history that is known: drafts that were
 * withdrawn cost nothing. What it says is a function of its arguments alone.
 */
#ifndef LX_ENGINE_CONSTRAINT_H
#define LX_ENGINE_CONSTRAINT_H

#include "grammar/grammar.h"
#include "lynx/engine.h"

typedef struct lx_constraint {
    const lynx_allocator *memory;
    lx_grammar *grammar;
    char *text; /* of the grammar */
    uint32_t text_size;
    lynx_token *tokens; /* of an answer; 'room' of both */
    uint32_t *states;   /* after each of them */
    uint32_t count, room;

    /* For the choice in work. */
    const lynx_sampling *sampling;
    uint32_t state;
    char error[LX_GRAMMAR_ERROR_BYTES + 64];
} lx_constraint;

void lx_constraint_init(lx_constraint *constraint, const lynx_allocator *memory);
void lx_constraint_fini(lx_constraint *constraint);

/* Prepare a choice behind the 'count' tokens of 'answer'. On failure 'error' says why. Keeps
 * 'sampling' until the next call. */
lynx_status lx_constraint_begin(lx_constraint *constraint, lynx_engine *engine,
                                const lynx_sampling *sampling, const lynx_token *answer,
                                uint32_t count);

/* '*is_allowed': the token may be chosen. */
lynx_status lx_constraint_allows(lx_constraint *constraint, lynx_engine *engine,
                                 lynx_token token, bool *is_allowed);

/* Is there anything to ask? */
bool lx_constraint_is_active(const lx_constraint *constraint);

/* All that may be chosen first by the grammar of 'sampling'; as lynx_engine_ops.first_tokens.
 */
lynx_status lx_constraint_first_tokens(lx_constraint *constraint, lynx_engine *engine,
                                       const lynx_sampling *sampling, uint8_t *allowed);

#endif
