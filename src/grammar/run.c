/* SPDX-License-Identifier: MIT */
/* run.c - states of a grammar, made as texts reach them; see grammar.h. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "grammar/program.h"

enum {
    UNKNOWN = -1,
    STATES_MAX = 16384,   /* kept */
    STATES_FULL = 8192,   /* should be dropped */
    CALLS_MAX = 16384,    /* kept; a power of two */
    PLACES_MAX = 1 << 20, /* of all states together */
    CLOSURE_MAX = 4096,   /* places that are looked at for one state; a power of two */
    HASH_MAX = 32768      /* a power of two above STATES_MAX */
};

/* Where a text is, and the calls that it returns to; the code of a place is a byte. */
typedef struct place {
    uint32_t at, call;
} place;

/* An open call: where it goes on, and the call around it. Equal ones are one. Number 0 is none.
 */
typedef struct call {
    uint32_t back, outer;
} call;

typedef struct state {
    uint32_t first, count; /* its places, sorted */
    bool may_end;
} state;

struct lx_grammar {
    const lynx_allocator *memory;
    lx_program program;
    uint8_t class_of[256]; /* bytes that no code tells apart */
    uint32_t class_count;

    state *states; /* STATES_MAX */
    int32_t *next; /* [state][class]; UNKNOWN */
    size_t next_room;
    uint32_t state_count;
    place *places; /* 'place_room' of them */
    uint32_t place_count, place_room;
    call *calls; /* CALLS_MAX */
    uint32_t call_count;
    uint32_t *state_hash; /* HASH_MAX; 0: free */
    uint32_t *call_hash;  /* 2 * CALLS_MAX; 0: free */

    /* For the state in work. */
    place todo[CLOSURE_MAX], seen[2 * CLOSURE_MAX];
    uint32_t seen_in[2 * CLOSURE_MAX], round;
    uint32_t todo_count, seen_count;
    place found[CLOSURE_MAX];
    uint32_t found_count;
    bool reaches_end;
};

static uint32_t mix(uint64_t value)
{
    value = (value ^ (value >> 33)) * 0xFF51AFD7ED558CCDu;
    return (uint32_t)(value >> 32);
}

/* ---- calls --------------------------------------------------------------------------- */

static lynx_status find_call(lx_grammar *g, call wanted, uint32_t *number)
{
    uint32_t at = mix((uint64_t)wanted.back << 32 | wanted.outer) % (2 * CALLS_MAX);
    for (; g->call_hash[at]; at = (at + 1) % (2 * CALLS_MAX)) {
        const call *known = &g->calls[g->call_hash[at]];
        if (known->back == wanted.back && known->outer == wanted.outer) {
            *number = g->call_hash[at];
            return LYNX_OK;
        }
    }
    LX_REQUIRE(g->call_count < CALLS_MAX, LYNX_ERR_LIMIT);
    g->calls[g->call_count] = wanted;
    *number = g->call_hash[at] = g->call_count++;
    return LYNX_OK;
}

/* ---- the places of a state ----------------------------------------------------------- */

static lynx_status push(lx_grammar *g, uint32_t at, uint32_t in_call)
{
    uint32_t slot = mix((uint64_t)at << 32 | in_call) % (2 * CLOSURE_MAX);
    for (; g->seen_in[slot] == g->round; slot = (slot + 1) % (2 * CLOSURE_MAX))
        if (g->seen[slot].at == at && g->seen[slot].call == in_call)
            return LYNX_OK;
    LX_REQUIRE(g->seen_count < CLOSURE_MAX, LYNX_ERR_LIMIT);
    g->seen_in[slot] = g->round;
    g->seen[slot] = g->todo[g->todo_count++] = (place){at, in_call};
    g->seen_count++;
    return LYNX_OK;
}

/* A call that is the last thing of its rule returns to where the rule itself returns. */
static lynx_status enter(lx_grammar *g, place from)
{
    const lx_code *code = g->program.code;
    uint32_t back = from.at + 1, in_call = from.call;
    while (code[back].kind == LX_CODE_JUMP)
        back = (uint32_t)((int32_t)back + code[back].target);
    if (code[back].kind != LX_CODE_RETURN)
        LX_TRY(find_call(g, (call){back, from.call}, &in_call));
    return push(g, g->program.rules[code[from.at].target].first, in_call);
}

static lynx_status leave(lx_grammar *g, place from)
{
    if (from.call)
        return push(g, g->calls[from.call].back, g->calls[from.call].outer);
    g->reaches_end = true;
    return LYNX_OK;
}

static lynx_status follow(lx_grammar *g, place from)
{
    const lx_code code = g->program.code[from.at];
    const uint32_t target = (uint32_t)((int32_t)from.at + code.target);
    switch ((lx_code_kind)code.kind) {
    case LX_CODE_BYTE:
        g->found[g->found_count++] = from;
        return LYNX_OK;
    case LX_CODE_SPLIT:
        LX_TRY(push(g, from.at + 1, from.call));
        return push(g, target, from.call);
    case LX_CODE_JUMP:
        return push(g, target, from.call);
    case LX_CODE_CALL:
        return enter(g, from);
    case LX_CODE_RETURN:
        return leave(g, from);
    }
    return LYNX_ERR_STATE;
}

static void begin_state(lx_grammar *g)
{
    g->round++;
    g->todo_count = g->seen_count = g->found_count = 0;
    g->reaches_end = false;
}

static int by_place(const void *a, const void *b)
{
    const place *left = a, *right = b;
    if (left->at != right->at)
        return left->at < right->at ? -1 : 1;
    return left->call < right->call ? -1 : left->call > right->call;
}

static bool is_found(const lx_grammar *g, const state *known)
{
    return known->count == g->found_count && known->may_end == g->reaches_end &&
           (known->count == 0 ||
            memcmp(&g->places[known->first], g->found, known->count * sizeof(place)) == 0);
}

static lynx_status make_next(lx_grammar *g)
{
    const size_t needed = (size_t)(g->state_count + 1) * g->class_count;
    if (needed <= g->next_room)
        return LYNX_OK;
    const size_t room = 2 * needed;
    int32_t *grown = lx_alloc(g->memory, room, sizeof(*grown));
    LX_REQUIRE(grown, LYNX_ERR_MEMORY);
    memcpy(grown, g->next, (size_t)g->state_count * g->class_count * sizeof(*grown));
    lx_free(g->memory, g->next, g->next_room, sizeof(*grown));
    g->next = grown;
    g->next_room = room;
    return LYNX_OK;
}

static lynx_status make_places(lx_grammar *g)
{
    const uint32_t needed = g->place_count + g->found_count;
    LX_REQUIRE(needed <= PLACES_MAX, LYNX_ERR_LIMIT);
    if (needed <= g->place_room)
        return LYNX_OK;
    place *grown = lx_alloc(g->memory, 2 * (size_t)needed, sizeof(*grown));
    LX_REQUIRE(grown, LYNX_ERR_MEMORY);
    if (g->place_count)
        memcpy(grown, g->places, g->place_count * sizeof(*grown));
    lx_free(g->memory, g->places, g->place_room, sizeof(*grown));
    g->places = grown;
    g->place_room = 2 * needed;
    return LYNX_OK;
}

/* The number of the state in work: of one that is known, or a new one. */
static lynx_status end_state(lx_grammar *g, uint32_t *number)
{
    while (g->todo_count)
        LX_TRY(follow(g, g->todo[--g->todo_count]));
    qsort(g->found, g->found_count, sizeof(place), by_place);
    uint32_t hash = g->reaches_end;
    for (uint32_t i = 0; i < g->found_count; i++)
        hash = mix(((uint64_t)g->found[i].at << 32 | g->found[i].call) + hash);
    uint32_t at = hash % HASH_MAX;
    for (; g->state_hash[at]; at = (at + 1) % HASH_MAX)
        if (is_found(g, &g->states[g->state_hash[at] - 1])) {
            *number = g->state_hash[at] - 1;
            return LYNX_OK;
        }
    LX_REQUIRE(g->state_count < STATES_MAX, LYNX_ERR_LIMIT);
    LX_TRY(make_places(g));
    LX_TRY(make_next(g));
    g->states[g->state_count] = (state){g->place_count, g->found_count, g->reaches_end};
    if (g->found_count)
        memcpy(g->places + g->place_count, g->found, g->found_count * sizeof(place));
    g->place_count += g->found_count;
    for (uint32_t i = 0; i < g->class_count; i++)
        g->next[(size_t)g->state_count * g->class_count + i] = UNKNOWN;
    *number = g->state_count++;
    g->state_hash[at] = g->state_count;
    return LYNX_OK;
}

/* ---- steps --------------------------------------------------------------------------- */

static lynx_status step_byte(lx_grammar *g, uint32_t from, uint8_t byte, uint32_t *next)
{
    const size_t edge = (size_t)from * g->class_count + g->class_of[byte];
    if (g->next[edge] == UNKNOWN) {
        begin_state(g);
        for (uint32_t i = 0; i < g->states[from].count; i++) {
            const place at = g->places[g->states[from].first + i];
            const lx_code code = g->program.code[at.at];
            if (byte >= code.least && byte <= code.most)
                LX_TRY(push(g, at.at + 1, at.call));
        }
        uint32_t number;
        LX_TRY(end_state(g, &number));
        g->next[edge] = (int32_t)number;
    }
    *next = (uint32_t)g->next[edge];
    return LYNX_OK;
}

lynx_status lx_grammar_step(lx_grammar *g, uint32_t from, const char *bytes, size_t size,
                            uint32_t *next)
{
    *next = from;
    for (size_t i = 0; i < size && *next != LX_GRAMMAR_DEAD; i++)
        LX_TRY(step_byte(g, *next, (uint8_t)bytes[i], next));
    return LYNX_OK;
}

bool lx_grammar_may_end(const lx_grammar *g, uint32_t at)
{
    return g->states[at].may_end;
}

bool lx_grammar_is_full(const lx_grammar *g)
{
    return g->state_count >= STATES_FULL || g->place_count >= PLACES_MAX / 2 ||
           g->call_count >= CALLS_MAX / 2;
}

lynx_status lx_grammar_reset(lx_grammar *g)
{
    uint32_t dead, start;
    g->state_count = g->place_count = 0;
    g->call_count = 1;
    memset(g->state_hash, 0, HASH_MAX * sizeof(*g->state_hash));
    memset(g->call_hash, 0, 2 * (size_t)CALLS_MAX * sizeof(*g->call_hash));
    begin_state(g);
    LX_TRY(end_state(g, &dead)); /* no place: LX_GRAMMAR_DEAD */
    begin_state(g);
    LX_TRY(push(g, g->program.rules[g->program.root].first, 0));
    return end_state(g, &start);
}

/* ---- life ---------------------------------------------------------------------------- */

/* Bytes that lie in the same ranges of all codes behave alike. */
static void find_classes(lx_grammar *g)
{
    bool begins[257] = {true};
    for (uint32_t i = 0; i < g->program.size; i++) {
        const lx_code code = g->program.code[i];
        if (code.kind == LX_CODE_BYTE) {
            begins[code.least] = true;
            begins[code.most + 1] = true;
        }
    }
    g->class_count = 0;
    for (uint32_t byte = 0; byte < 256; byte++) {
        g->class_count += begins[byte];
        g->class_of[byte] = (uint8_t)(g->class_count - 1);
    }
}

static lynx_status make(lx_grammar *g, const char *text, size_t size, char *error)
{
    lx_program *p = &g->program;
    p->room = LX_CODE_MAX;
    p->code = lx_alloc(g->memory, p->room, sizeof(*p->code));
    g->states = lx_alloc(g->memory, STATES_MAX, sizeof(*g->states));
    g->calls = lx_alloc(g->memory, CALLS_MAX, sizeof(*g->calls));
    g->state_hash = lx_alloc(g->memory, HASH_MAX, sizeof(*g->state_hash));
    g->call_hash = lx_alloc(g->memory, 2 * CALLS_MAX, sizeof(*g->call_hash));
    LX_REQUIRE(p->code && g->states && g->calls && g->state_hash && g->call_hash,
               LYNX_ERR_MEMORY);
    LX_TRY(lx_program_read(p, text, size, g->memory, error));
    LX_TRY(lx_program_check_recursion(p, g->memory, error));
    find_classes(g);
    g->next_room = (size_t)g->class_count * 64;
    g->next = lx_alloc(g->memory, g->next_room, sizeof(*g->next));
    if (!g->next) {
        g->next_room = 0;
        return LYNX_ERR_MEMORY;
    }
    const lynx_status status = lx_grammar_reset(g);
    if (status == LYNX_ERR_LIMIT)
        memcpy(error, "the grammar is too ambiguous", sizeof("the grammar is too ambiguous"));
    return status == LYNX_ERR_LIMIT ? LYNX_ERR_ARGUMENT : status;
}

lynx_status lx_grammar_create(lx_grammar **grammar, const char *text, size_t size,
                              const lynx_allocator *memory, char *error)
{
    memory = lx_allocator_or_default(memory);
    error[0] = '\0';
    lx_grammar *g = lx_alloc_zeroed(memory, 1, sizeof(*g));
    LX_REQUIRE(g, LYNX_ERR_MEMORY);
    g->memory = memory;
    const lynx_status status = make(g, text, size, error);
    if (status != LYNX_OK) {
        lx_grammar_destroy(g);
        return status;
    }
    *grammar = g;
    return LYNX_OK;
}

void lx_grammar_destroy(lx_grammar *g)
{
    if (!g)
        return;
    const lynx_allocator *memory = g->memory;
    lx_free(memory, g->program.code, g->program.room, sizeof(*g->program.code));
    lx_free(memory, g->states, STATES_MAX, sizeof(*g->states));
    lx_free(memory, g->next, g->next_room, sizeof(*g->next));
    lx_free(memory, g->places, g->place_room, sizeof(*g->places));
    lx_free(memory, g->calls, CALLS_MAX, sizeof(*g->calls));
    lx_free(memory, g->state_hash, HASH_MAX, sizeof(*g->state_hash));
    lx_free(memory, g->call_hash, 2 * CALLS_MAX, sizeof(*g->call_hash));
    lx_free(memory, g, 1, sizeof(*g));
}
