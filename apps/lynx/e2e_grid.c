/* SPDX-License-Identifier: MIT */
#include "e2e_grid.h"

#include <stdlib.h>
#include <string.h>

const char e2e_grid_help[] =
    "      --links X[,X...]        Mbit/s of the emulated link (10,20,40,100)\n"
    "      --delays X[,X...]       ms one way (1)\n"
    "      --prompts N[,N...]      prompt tokens taken of a document (640)\n"
    "      --concurrency N[,N...]  requests at the same time, 1 to 16 (1)\n"
    "      --scenarios WHAT        cold, stored, or both with a comma (cold,stored)\n"
    "      --methods NAME[,...]    f16, f16_streamed, int8, int4, anchor_only, lynx, "
    "lynx_3,\n"
    "                              carry, recompute, carry_on (all)\n"
    "      --rounds N              rounds of each point (3)\n";

void e2e_grid_init(e2e_grid *g)
{
    *g = (e2e_grid){.links = {.values = {10, 20, 40, 100}, .count = 4},
                    .delays = {.values = {1}, .count = 1},
                    .prompts = {.values = {640}, .count = 1},
                    .concurrency = {.values = {1}, .count = 1},
                    .scenarios = {true, true},
                    .rounds = 3};
    memset(g->has_method, true, sizeof(g->has_method));
}

/* The next word of '*list', which commas separate; NULL behind the last. */
static char *next_word(char **list)
{
    return *list && **list ? strsep(list, ",") : NULL;
}

static bool take_numbers(e2e_numbers *numbers, const char *text, double least, double most,
                         bool is_whole)
{
    char *copy = strdup(text);
    char *rest = copy;
    bool is_good = copy != NULL;
    numbers->count = 0;
    for (char *word; is_good && (word = next_word(&rest));) {
        double value;
        is_good = numbers->count < E2E_LIST_MAX &&
                  cli_parse_double(word, least, most, &value) &&
                  (!is_whole || value == (double)(uint32_t)value);
        if (is_good)
            numbers->values[numbers->count++] = value;
    }
    free(copy);
    return is_good && numbers->count > 0;
}

static bool take_methods(e2e_grid *g, const char *text)
{
    char *copy = strdup(text);
    char *rest = copy;
    bool is_good = copy && *copy;
    memset(g->has_method, 0, sizeof(g->has_method));
    for (char *word; is_good && (word = next_word(&rest));) {
        const way *w = way_named(word);
        is_good = w != NULL;
        if (w)
            g->has_method[w - ways] = true;
    }
    free(copy);
    return is_good;
}

static bool take_scenarios(e2e_grid *g, const char *text)
{
    g->scenarios[0] = strcmp(text, "cold") == 0 || strcmp(text, "cold,stored") == 0;
    g->scenarios[1] = strcmp(text, "stored") == 0 || strcmp(text, "cold,stored") == 0;
    return g->scenarios[0] || g->scenarios[1];
}

bool e2e_grid_take(e2e_grid *g, int option, const char *value)
{
    switch (option) {
    case E2E_OPT_LINKS:
        return take_numbers(&g->links, value, 0.01, 20000, false);
    case E2E_OPT_DELAYS:
        return take_numbers(&g->delays, value, 0, 10000, false);
    case E2E_OPT_PROMPTS:
        return take_numbers(&g->prompts, value, 1, LYNX_PROMPT_TOKENS_MAX, true);
    case E2E_OPT_CONCURRENCY:
        return take_numbers(&g->concurrency, value, 1, LYNX_LLAMA_SLOTS_MAX, true);
    case E2E_OPT_SCENARIOS:
        return take_scenarios(g, value);
    case E2E_OPT_METHODS:
        return take_methods(g, value);
    case E2E_OPT_ROUNDS:
        return cli_parse_u32(value, 1, 1000, &g->rounds);
    default:
        return false;
    }
}

/* ---- points -------------------------------------------------------------------------- */

typedef struct walk {
    const e2e_grid *grid;
    int (*visit)(void *user, const way *w, const e2e_point *point);
    void *user;
    e2e_point point;
} walk;

static bool is_asked(const e2e_grid *g, const way *w, bool is_stored)
{
    return g->has_method[w - ways] && g->scenarios[is_stored] &&
           (is_stored ? w->in_stored : w->in_cold);
}

uint32_t e2e_grid_points(const e2e_grid *g)
{
    uint32_t asked = 0;
    for (int stored = 0; stored < 2; stored++)
        for (size_t i = 0; i < WAYS; i++)
            asked += is_asked(g, &ways[i], stored);
    return asked * g->rounds * g->concurrency.count * g->file_count * g->prompts.count *
           g->links.count * g->delays.count;
}

/* Ways take turns inside a round. */
static int each_way(walk *w)
{
    int code = CLI_OK;
    for (uint32_t round = 1; round <= w->grid->rounds; round++)
        for (int stored = 0; stored < 2; stored++)
            for (size_t i = 0; i < WAYS && code == CLI_OK; i++) {
                if (!is_asked(w->grid, &ways[i], stored))
                    continue;
                w->point.method = ways[i].name;
                w->point.round = round;
                w->point.is_stored = stored;
                code = w->visit(w->user, &ways[i], &w->point);
            }
    return code;
}

static int each_link(walk *w)
{
    const e2e_grid *g = w->grid;
    int code = CLI_OK;
    for (uint32_t l = 0; l < g->links.count; l++)
        for (uint32_t d = 0; d < g->delays.count && code == CLI_OK; d++) {
            w->point.link_mbps = g->links.values[l];
            w->point.delay_ms = g->delays.values[d];
            code = each_way(w);
        }
    return code;
}

int e2e_grid_each(const e2e_grid *g, const char *model,
                  int (*visit)(void *user, const way *w, const e2e_point *point), void *user)
{
    walk w = {.grid = g, .visit = visit, .user = user, .point = {.model = model}};
    int code = CLI_OK;
    for (uint32_t c = 0; c < g->concurrency.count; c++)
        for (uint32_t f = 0; f < g->file_count; f++)
            for (uint32_t p = 0; p < g->prompts.count && code == CLI_OK; p++) {
                w.point.concurrency = (uint32_t)g->concurrency.values[c];
                w.point.document = g->files[f];
                w.point.prompt_tokens = (uint32_t)g->prompts.values[p];
                code = each_link(&w);
            }
    return code;
}
