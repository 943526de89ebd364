/* SPDX-License-Identifier: MIT */
#include "engine/constraint.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

enum { TOKEN_BYTES_MAX = 512 };

void lx_constraint_init(lx_constraint *c, const lynx_allocator *memory)
{
    *c = (lx_constraint){.memory = memory};
}

static void drop_grammar(lx_constraint *c)
{
    lx_grammar_destroy(c->grammar);
    lx_free(c->memory, c->text, c->text_size, 1);
    c->grammar = NULL;
    c->text = NULL;
    c->text_size = 0;
    c->count = 0;
}

static void drop_tokens(lx_constraint *c)
{
    lx_free(c->memory, c->tokens, c->room, sizeof(*c->tokens));
    lx_free(c->memory, c->states, c->room, sizeof(*c->states));
    c->tokens = NULL;
    c->states = NULL;
    c->count = c->room = 0;
}

void lx_constraint_fini(lx_constraint *c)
{
    drop_grammar(c);
    drop_tokens(c);
}

bool lx_constraint_is_active(const lx_constraint *c)
{
    return c->sampling->grammar || c->sampling->allowed;
}

static lynx_status explain(lx_constraint *c, lynx_status status, const char *text)
{
    snprintf(c->error, sizeof(c->error), "%s", text);
    return status;
}

/* Have the grammar of the sampling. */
static lynx_status take_grammar(lx_constraint *c)
{
    const uint32_t size = c->sampling->grammar_bytes;
    char error[LX_GRAMMAR_ERROR_BYTES];
    if (c->grammar && c->text_size == size &&
        (size == 0 || memcmp(c->text, c->sampling->grammar, size) == 0))
        return LYNX_OK;
    drop_grammar(c);
    lx_grammar *grammar = NULL;
    const lynx_status status =
        lx_grammar_create(&grammar, c->sampling->grammar, size, c->memory, error);
    if (status != LYNX_OK) {
        snprintf(c->error, sizeof(c->error), "the grammar is wrong: %s", error);
        return status;
    }
    c->grammar = grammar;
    c->text = lx_alloc(c->memory, size, 1);
    if (!c->text) {
        drop_grammar(c);
        return LYNX_ERR_MEMORY;
    }
    memcpy(c->text, c->sampling->grammar, size);
    c->text_size = size;
    return LYNX_OK;
}

static lynx_status make_room(lx_constraint *c, uint32_t count)
{
    if (count <= c->room)
        return LYNX_OK;
    const uint32_t room = 2 * count + 64;
    lynx_token *tokens = lx_alloc(c->memory, room, sizeof(*tokens));
    uint32_t *states = lx_alloc(c->memory, room, sizeof(*states));
    if (!tokens || !states) {
        lx_free(c->memory, tokens, room, sizeof(*tokens));
        lx_free(c->memory, states, room, sizeof(*states));
        return LYNX_ERR_MEMORY;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        tokens[i] = c->tokens[i];
        states[i] = c->states[i];
    }
    const uint32_t kept = c->count;
    drop_tokens(c);
    c->tokens = tokens;
    c->states = states;
    c->count = kept;
    c->room = room;
    return LYNX_OK;
}

/* '*next' behind a token. An end token changes nothing, where it may come; one without a text,
 * such as a control token, fits nowhere. */
static lynx_status step(lx_constraint *c, lynx_engine *engine, uint32_t state, lynx_token token,
                        uint32_t *next)
{
    char text[TOKEN_BYTES_MAX];
    size_t size = 0;
    *next = LX_GRAMMAR_DEAD;
    if (engine->ops->token_is_end(engine, token)) {
        *next = lx_grammar_may_end(c->grammar, state) ? state : LX_GRAMMAR_DEAD;
        return LYNX_OK;
    }
    if (engine->ops->token_text(engine, token, text, sizeof(text), &size) != LYNX_OK ||
        size == 0)
        return LYNX_OK;
    const lynx_status status = lx_grammar_step(c->grammar, state, text, size, next);
    return status == LYNX_ERR_LIMIT
               ? explain(c, LYNX_ERR_ENGINE, "the grammar is too ambiguous for this answer")
               : status;
}

/* The state behind the answer. */
static lynx_status walk(lx_constraint *c, lynx_engine *engine, const lynx_token *answer,
                        uint32_t count)
{
    uint32_t known = 0;
    if (lx_grammar_is_full(c->grammar)) {
        LX_TRY(lx_grammar_reset(c->grammar));
        c->count = 0;
    }
    while (known < c->count && known < count && c->tokens[known] == answer[known])
        known++;
    LX_TRY(make_room(c, count));
    c->count = known;
    c->state = known ? c->states[known - 1] : LX_GRAMMAR_START;
    for (; c->count < count; c->count++) {
        LX_TRY(step(c, engine, c->state, answer[c->count], &c->state));
        if (c->state == LX_GRAMMAR_DEAD)
            return explain(c, LYNX_ERR_ARGUMENT, "the answer does not fit the grammar");
        c->tokens[c->count] = answer[c->count];
        c->states[c->count] = c->state;
    }
    return LYNX_OK;
}

lynx_status lx_constraint_begin(lx_constraint *c, lynx_engine *engine,
                                const lynx_sampling *sampling, const lynx_token *answer,
                                uint32_t count)
{
    c->sampling = sampling;
    c->error[0] = '\0';
    if (!sampling->grammar)
        return LYNX_OK;
    LX_TRY(take_grammar(c));
    return walk(c, engine, answer, count);
}

lynx_status lx_constraint_allows(lx_constraint *c, lynx_engine *engine, lynx_token token,
                                 bool *is_allowed)
{
    const lynx_sampling *s = c->sampling;
    const uint32_t index = (uint32_t)token;
    uint32_t next = LX_GRAMMAR_START;
    if (s->grammar)
        LX_TRY(step(c, engine, c->state, token, &next));
    *is_allowed = next != LX_GRAMMAR_DEAD &&
                  (!s->allowed ||
                   (index / 8 < s->allowed_bytes && (s->allowed[index / 8] >> index % 8 & 1)));
    return LYNX_OK;
}

lynx_status lx_constraint_first_tokens(lx_constraint *c, lynx_engine *engine,
                                       const lynx_sampling *sampling, uint8_t *allowed)
{
    const uint32_t vocabulary = engine->ops->model(engine)->vocabulary;
    bool has_any = false;
    memset(allowed, 0, (vocabulary + 7) / 8);
    LX_TRY(lx_constraint_begin(c, engine, sampling, NULL, 0));
    for (uint32_t i = 0; i < vocabulary; i++) {
        bool is_allowed;
        LX_TRY(lx_constraint_allows(c, engine, (lynx_token)i, &is_allowed));
        allowed[i / 8] |= (uint8_t)((unsigned)is_allowed << i % 8);
        has_any |= is_allowed;
    }
    return has_any ? LYNX_OK
                   : explain(c, LYNX_ERR_ARGUMENT,
                             "the grammar lets no token of this model come first");
}
