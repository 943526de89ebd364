/* SPDX-License-Identifier: MIT */
/*
 * next_token.h - token after token: a step, a choice, and a guess beside the step.
 *
 * A strictly exact step computes two tokens, because one alone would take other kernels. The
 * second is a guess (speculate/guess.h) where there is one: if the first row's choice is what
 * was guessed, the row behind it is there already, and the next choice needs no step. Row and
 * step have the same bits (engine.h), so the tokens are those without guesses. Nothing but
 * time is lost with a wrong one, and that would have been spent on the padding.
 *
 * Drafts need no exact step, because the verification computes all that they left in the cache
 * anew. They are made by steps of one token, and by those of two only where the guess is likely
 * enough to be right (speculate/guess_worth.h).
 */
#ifndef LX_RUNTIME_NEXT_TOKEN_H
#define LX_RUNTIME_NEXT_TOKEN_H

#include "speculate/guess_worth.h"

typedef struct lx_next {
    lynx_engine *engine;
    const lynx_sampling *sampling;
    uint32_t prompt_tokens;
    bool is_guessing;
    lx_guesses guesses;
    lx_guess_worth worth;
    uint32_t ahead; /* the cache has all of so many tokens, and row 'ahead_row' what is behind
                       them. 0: it lacks the last, as usual */
    uint32_t ahead_row;
    uint32_t row;   /* of logits, from which the last token was chosen */
    bool is_strict; /* the last step was: its rows may stay */
    uint32_t steps, guessed, guessed_right;
} lx_next;

/* For a history of up to 'room' tokens, 'prompt_tokens' of them of the prompt. 'engine' and
 * 'sampling' are borrowed. Guesses are made if they are wanted and cost nothing on the engine.
 * LYNX_ERR_MEMORY; fini may be called then, too. */
lynx_status lx_next_init(lx_next *next, lynx_engine *engine, const lynx_sampling *sampling,
                         uint32_t prompt_tokens, uint32_t room, bool wants_guesses,
                         const lynx_allocator *memory);
void lx_next_fini(lx_next *next);

/* Choose the token behind the first 'count' of 'history'. The cache has all of them but the
 * last, or what the last call left there. 'most': tokens that are wanted in a row, this one
 * counted, and have room in the context; with 1 there is nothing to guess. */
lynx_status lx_next_choose(lx_next *next, const lynx_token *history, uint32_t count,
                           uint32_t most, lynx_token *token);

/* The same for a draft: what was put in the cache is taken back before anything is chosen on it
 * that has to be exact. */
lynx_status lx_next_draft(lx_next *next, const lynx_token *history, uint32_t count,
                          uint32_t most, lynx_token *token);

/* Row 'row' of a batch of the caller tells what is behind the first 'count' tokens, all of
 * which are in the cache. */
void lx_next_note(lx_next *next, uint32_t count, uint32_t row);

/* The history may be another behind 'length' tokens, and the cache is filled anew from there.
 */
void lx_next_forget(lx_next *next, uint32_t length);

/* Forget, and take the cache back to 'length', if it has more. */
lynx_status lx_next_rewind(lx_next *next, uint32_t length);

#endif
