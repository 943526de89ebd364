/* SPDX-License-Identifier: MIT */
/*
 * answer_view.h - an answer that appears on a stream while it is made.
 *
 * On a terminal drafts are dim and are written over when a pass withdraws them or verifies
 * them; elsewhere only valid tokens are written.
 */
#ifndef ANSWER_VIEW_H
#define ANSWER_VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lynx/engine.h"
#include "lynx/runtime.h"

typedef struct answer_view {
    FILE *stream;
    lynx_engine *engine;
    bool is_terminal;
    uint32_t columns;       /* of the terminal */
    uint32_t column;        /* where the cursor is */
    uint32_t drafts_column; /* where the first draft began */
    uint32_t drafts_lines;  /* lines that the drafts went down */
    lynx_token *drafts;     /* that stand on the terminal */
    size_t draft_count, draft_room;
    bool has_answer; /* a valid token was written */
    bool has_drafts;
    bool has_progress; /* a progress line stands on the terminal */
    uint64_t bytes;    /* received so far, for the progress line */
} answer_view;

void answer_view_init(answer_view *view, FILE *stream, lynx_engine *engine);

/* To be called from lynx_on_moment. */
void answer_view_moment(answer_view *view, const lynx_moment *moment);

/* End the last line, if there is one. */
void answer_view_end(answer_view *view);

#endif
