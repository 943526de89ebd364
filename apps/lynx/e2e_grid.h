/* SPDX-License-Identifier: MIT */
/* e2e_grid.h - the points that 'lynx bench e2e' is asked for, in the order that costs least. */
#ifndef E2E_GRID_H
#define E2E_GRID_H

#include <stdbool.h>
#include <stdint.h>

#include "cli.h"
#include "e2e_rows.h"
#include "ways.h"

enum { E2E_LIST_MAX = 32 };

enum {
    E2E_OPT_LINKS = CLI_OPT_OWN,
    E2E_OPT_DELAYS,
    E2E_OPT_PROMPTS,
    E2E_OPT_CONCURRENCY,
    E2E_OPT_SCENARIOS,
    E2E_OPT_METHODS,
    E2E_OPT_ROUNDS,
    E2E_OPT_OWN /* first number that the command may use */
};

#define E2E_GRID_OPTIONS                                                                       \
    {"links", required_argument, NULL, E2E_OPT_LINKS},                                         \
        {"delays", required_argument, NULL, E2E_OPT_DELAYS},                                   \
        {"prompts", required_argument, NULL, E2E_OPT_PROMPTS},                                 \
        {"concurrency", required_argument, NULL, E2E_OPT_CONCURRENCY},                         \
        {"scenarios", required_argument, NULL, E2E_OPT_SCENARIOS},                             \
        {"methods", required_argument, NULL, E2E_OPT_METHODS},                                 \
    {                                                                                          \
        "rounds", required_argument, NULL, E2E_OPT_ROUNDS                                      \
    }

extern const char e2e_grid_help[];

typedef struct e2e_numbers {
    double values[E2E_LIST_MAX];
    uint32_t count;
} e2e_numbers;

typedef struct e2e_grid {
    e2e_numbers links, delays, prompts, concurrency;
    bool scenarios[2]; /* cold, stored */
    bool has_method[WAYS];
    uint32_t rounds;
    const char *files[E2E_LIST_MAX];
    uint32_t file_count;
} e2e_grid;

void e2e_grid_init(e2e_grid *grid);

/* Take one of the options above; false when the value is wrong or it is none of them. */
bool e2e_grid_take(e2e_grid *grid, int option, const char *value);

uint32_t e2e_grid_points(const e2e_grid *grid);

/* Call 'visit' for each point; requests at once change least often, then prompts, then links.
 * Ends with the first code that is not CLI_OK. */
int e2e_grid_each(const e2e_grid *grid, const char *model,
                  int (*visit)(void *user, const way *w, const e2e_point *point), void *user);

#endif
